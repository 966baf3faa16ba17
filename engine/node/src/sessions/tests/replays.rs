//! Old commands again: after a session has ended, has been opened anew, and has been forgotten.

use super::*;
use std::collections::BTreeSet;

const LIFE: u64 = OPENING_LIFE_NS;

/// One command as its owner has signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Signed {
    number: u32,
    seq: u64,
    is_opening: bool,
    is_close: bool,
}

const fn opening(number: u32, seq: u64) -> Signed {
    Signed {
        number,
        seq,
        is_opening: true,
        is_close: false,
    }
}

const fn next(number: u32, seq: u64) -> Signed {
    Signed {
        is_opening: false,
        ..opening(number, seq)
    }
}

const fn close(number: u32, seq: u64) -> Signed {
    Signed {
        is_close: true,
        ..next(number, seq)
    }
}

/// Does with a command what execution does; whether it was applied.
fn play(table: &mut SessionTable, command: Signed, now_ns: u64) -> Result<(), Standing> {
    let name = id(command.number);
    let room = room(now_ns);
    let open = |table: &mut SessionTable| {
        drop_slot(table.open(name, ([1; 32], command.seq), last(1), now_ns));
    };
    match table.standing(&name, (command.seq, command.is_opening), &room) {
        Standing::Next(slot) => table.advance(slot, last(1), now_ns),
        Standing::Opens => open(table),
        Standing::OpensInstead(victim) => {
            table.end(&victim, now_ns);
            open(table);
        }
        refused => return Err(refused),
    }
    if command.is_close {
        table.end(&name, now_ns);
    }
    Ok(())
}

const TOO_OLD: Result<(), Standing> = Err(Standing::Untimely(Opening::TooOld));
const ENDED: Result<(), Standing> = Err(Standing::Ended);

#[test]
fn an_opening_out_of_its_time_opens_nothing() {
    let mut table = SessionTable::new(2);
    let now_ns = 5 * LIFE;
    assert_eq!(play(&mut table, opening(1, 4 * LIFE), now_ns), TOO_OLD);
    let ahead = play(&mut table, opening(1, 6 * LIFE + 1), now_ns);
    assert_eq!(ahead, Err(Standing::Untimely(Opening::TooFarAhead)));
    assert_eq!(play(&mut table, opening(1, 6 * LIFE), now_ns), Ok(()));
    assert_eq!(play(&mut table, next(1, 6 * LIFE + 1), now_ns), Ok(()));
}

/// Between the end and the time when the name is forgotten.
#[test]
fn what_a_closed_session_had_is_refused_and_its_owner_opens_it_with_a_higher_number() {
    let mut table = SessionTable::new(1);
    let at = 5 * LIFE;
    let old = [opening(1, at), next(1, at + 1), close(1, at + 2)];
    for command in old {
        assert_eq!(play(&mut table, command, at), Ok(()));
    }
    for command in old {
        assert_eq!(play(&mut table, command, at + 10), ENDED);
    }
    // Nobody else has its place, and itself it does.
    let other = play(&mut table, opening(2, at + 20), at + 20);
    assert_eq!(other, Err(Standing::TableFull));
    assert_eq!(play(&mut table, opening(1, at + 20), at + 20), Ok(()));
    for command in old {
        let again = play(&mut table, command, at + 30);
        assert_eq!(again, ENDED, "{command:?}");
    }
    assert_eq!(play(&mut table, next(1, at + 21), at + 30), Ok(()));
    let again = play(&mut table, opening(1, at + 20), at + 30);
    assert_eq!(again, Err(Standing::Duplicate(None)));
}

/// Two hands of one key, of which the second opens with the higher number: what the first one sent
/// never ran, and must not be called a repeat.
#[test]
fn what_is_below_an_opening_was_not_applied_by_this_session_and_is_not_called_so() {
    let mut table = SessionTable::new(1);
    let at = 5 * LIFE;
    assert_eq!(play(&mut table, opening(1, at + 9), at), Ok(()));
    for command in [opening(1, at), next(1, at + 1), next(1, at + 8)] {
        assert_eq!(play(&mut table, command, at), ENDED, "{command:?}");
    }
    let again = play(&mut table, opening(1, at + 9), at);
    assert!(matches!(again, Err(Standing::Duplicate(Some(_)))));
    // A table that was restored knows it too.
    let mut bytes = Vec::new();
    table.encode(&mut bytes);
    let mut restored = SessionTable::decode(&bytes, 1).expect("a table");
    assert_eq!(play(&mut restored, opening(1, at), at), ENDED);
    assert_eq!(restored.root(), table.root());
}

#[test]
fn a_name_that_is_forgotten_gives_its_place_and_its_old_commands_are_refused_by_their_age() {
    let mut table = SessionTable::new(1);
    let at = 5 * LIFE;
    let old = [opening(1, at), close(1, at + 1)];
    for command in old {
        assert_eq!(play(&mut table, command, at), Ok(()));
    }
    let (before, then) = (at + LIFE, at + LIFE + 1);
    let early = play(&mut table, opening(2, before), before);
    assert_eq!(early, Err(Standing::TableFull));
    assert_eq!(play(&mut table, opening(2, then), then), Ok(()));
    assert!(!table.has_ended(&id(1)));
    assert_eq!(play(&mut table, old[0], then), TOO_OLD);
    assert_eq!(play(&mut table, old[1], then), ENDED);
}

/// Closed when its opening is old already, it need not be remembered at all.
#[test]
fn a_session_that_is_closed_late_makes_room_at_once() {
    let mut table = SessionTable::new(1);
    let at = 5 * LIFE;
    assert_eq!(play(&mut table, opening(1, at), at), Ok(()));
    assert_eq!(play(&mut table, close(1, at + 1), at + LIFE + 1), Ok(()));
    assert!(table.is_empty());
    let then = at + LIFE + 1;
    assert_eq!(play(&mut table, opening(1, at), then), TOO_OLD);
    assert_eq!(play(&mut table, opening(2, then), then), Ok(()));
}

#[test]
fn an_opening_of_an_open_session_is_none_of_its_next_commands() {
    let mut table = SessionTable::new(2);
    let at = 5 * LIFE;
    assert_eq!(play(&mut table, opening(1, at), at), Ok(()));
    for seq in [at + 1, at + 2] {
        let again = play(&mut table, opening(1, seq), at + 5);
        assert_eq!(again, Err(Standing::Gap), "{seq}");
    }
    assert_eq!(play(&mut table, next(1, at + 1), at + 5), Ok(()));
}

/// Owners that open, go on, close and lose their memory, and others that play anything ever signed
/// again: no number of a name is applied twice, whatever the table has forgotten meanwhile.
#[test]
fn each_signed_command_is_applied_once_over_all_time() {
    let (mut replayed, mut opened, mut forgotten) = (0_u32, 0_u32, 0_u32);
    for seed in 0..20_u64 {
        let mut state = seed * 7 + 1;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let mut table = SessionTable::new(4);
        let mut signed: Vec<Signed> = Vec::new();
        let mut applied = BTreeSet::new();
        let mut now_ns = 10 * LIFE;
        for step in 0..3_000_u64 {
            let is_long = random(200) == 0;
            let pause_ns = if is_long { IDLE_MIN_NS } else { LIFE / 40 };
            now_ns += random(4) / 3 * random(pause_ns);
            let number = random(8) as u32;
            let known = table.session(&id(number)).copied();
            let open = known.filter(|known| !known.is_closed);
            let command = match (random(4), open) {
                (0, _) if !signed.is_empty() => signed[random(signed.len() as u64) as usize],
                (1, Some(open)) => close(number, open.last_seq + 1),
                (_, Some(open)) => next(number, open.last_seq + 1 + random(8) / 7),
                (_, None) => opening(number, now_ns - LIFE / 2 + random(LIFE)),
            };
            let is_replay = signed.contains(&command);
            signed.push(command);
            let what = (command.number, command.seq);
            let length = table.len();
            if play(&mut table, command, now_ns).is_ok() {
                assert!(applied.insert(what), "{command:?} in step {step} of {seed}");
                opened += u32::from(command.is_opening);
                forgotten += u32::from(command.is_opening && table.len() == length);
            }
            replayed += u32::from(is_replay && applied.contains(&what));
            if step % 16 == 0 {
                let mut bytes = Vec::new();
                table.encode(&mut bytes);
                let mut copy = SessionTable::decode(&bytes, 4).expect("own bytes");
                assert_eq!(copy.root(), table.root());
                table = copy;
            }
        }
    }
    assert!(replayed > 5_000 && opened > 2_000 && forgotten > 1_000);
}
