//! The table against repeats, gaps, silence, ends and damage.

use super::bytes::{PREFIX_BYTES, SESSION_BYTES};
use super::*;

mod replays;

fn id(number: u32) -> SessionId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    SessionId(bytes)
}

fn last(height: u64) -> LastResult {
    LastResult {
        height,
        index: 3,
        outputs_hash: [7; 32],
    }
}

/// Number 1 opens a session, as in a chain whose time begins with the clock's.
const fn num(seq: u64) -> (u64, bool) {
    (seq, seq == 1)
}

const fn drop_slot(_slot: SessionSlot) {}

/// A table of the tests is looked at whole, and nobody is kept.
fn room(now_ns: u64) -> Room<'static> {
    Room {
        height: 1,
        now_ns,
        keeps: &|_| false,
    }
}

fn advance(table: &mut SessionTable, number: u32, seq: u64, height: u64) {
    match table.standing(&id(number), num(seq), &room(height)) {
        Standing::Next(slot) => table.advance(slot, last(height), height),
        Standing::Opens => drop_slot(table.open(id(number), ([1; 32], seq), last(height), height)),
        other => panic!("command {seq} of {number} stands as {other:?}"),
    }
}

#[test]
fn the_next_number_applies_and_a_lower_or_higher_one_moves_nothing() {
    let mut table = SessionTable::new(4);
    advance(&mut table, 1, 1, 10);
    advance(&mut table, 1, 2, 11);
    let root = table.root();
    assert_eq!(
        table.standing(&id(1), num(2), &room(20)),
        Standing::Duplicate(Some(last(11)))
    );
    assert_eq!(
        table.standing(&id(1), num(1), &room(20)),
        Standing::Duplicate(None)
    );
    assert_eq!(table.standing(&id(1), num(4), &room(20)), Standing::Gap);
    assert_eq!(table.standing(&id(2), num(2), &room(20)), Standing::Gap);
    assert_eq!(table.root(), root);
    advance(&mut table, 1, 3, 12);
    assert_ne!(table.root(), root);
}

#[test]
fn a_full_table_refuses_new_sessions_and_serves_the_old_ones() {
    let mut table = SessionTable::new(2);
    advance(&mut table, 1, 1, 1);
    advance(&mut table, 2, 1, 1);
    assert_eq!(
        table.standing(&id(3), num(1), &room(20)),
        Standing::TableFull
    );
    advance(&mut table, 2, 2, 2);
    assert_eq!(table.len(), 2);
}

#[test]
fn the_root_kept_up_equals_the_root_of_a_table_read_back_whole() {
    let mut table = SessionTable::new(1000);
    for step in 0..900u64 {
        let number = u32::try_from(step * 7 % 301).expect("small");
        let seq = table
            .session(&id(number))
            .map_or(1, |session| session.last_seq + 1);
        advance(&mut table, number, seq, step);
        if step % 50 == 0 {
            let mut bytes = Vec::new();
            table.encode(&mut bytes);
            let mut copy = SessionTable::decode(&bytes, 1000).expect("own bytes");
            assert_eq!(table.root(), copy.root());
        }
    }
}

#[test]
fn the_root_kept_up_is_that_of_the_table_whichever_sessions_are_forgotten() {
    // More than two buckets at first, and none in the end.
    const NUMBERS: u32 = 200;
    let mut table = SessionTable::new(400);
    for number in 0..NUMBERS {
        advance(&mut table, number, 1, 1);
    }
    table.root();
    for step in 0..NUMBERS {
        // From the middle and from both ends.
        let number = step * 67 % NUMBERS;
        table.end(&id(number), 2 * OPENING_LIFE_NS);
        assert!(table.session(&id(number)).is_none());
        let mut bytes = Vec::new();
        table.encode(&mut bytes);
        let mut copy = SessionTable::decode(&bytes, 400).expect("own bytes");
        assert_eq!(table.root(), copy.root(), "without {number}");
    }
}

#[test]
fn every_flipped_bit_of_the_canonical_bytes_is_refused_or_changes_the_root() {
    let mut table = SessionTable::new(9);
    for number in 0..3 {
        advance(&mut table, number, 1, 5);
    }
    let root = table.root();
    let mut bytes = Vec::new();
    table.encode(&mut bytes);
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(mut other) = SessionTable::decode(&bytes, 9) {
            assert_ne!(other.root(), root, "bit {bit}");
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    for cut in 0..bytes.len() {
        assert!(
            SessionTable::decode(&bytes[..cut], 9).is_err(),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_repeated_session_and_another_bound_are_refused() {
    let mut table = SessionTable::new(9);
    advance(&mut table, 1, 1, 5);
    advance(&mut table, 2, 1, 5);
    let mut bytes = Vec::new();
    table.encode(&mut bytes);
    assert_eq!(
        SessionTable::decode(&bytes, 8).map(|_| ()),
        Err(SessionTableError::Bound {
            found: 9,
            expected: 8
        })
    );
    let (first, second) = (PREFIX_BYTES, PREFIX_BYTES + SESSION_BYTES);
    bytes.copy_within(first..first + SESSION_BYTES, second);
    assert_eq!(
        SessionTable::decode(&bytes, 9).map(|_| ()),
        Err(SessionTableError::Entry { place: 1 })
    );
}

/// Among those heard at one time the lower name ends, and a block is looked at before it is over.
#[test]
fn who_ends_for_want_of_room_is_the_same_for_a_table_that_looked_in_the_middle_of_a_block() {
    let (low, high, hour) = (1, 2, IDLE_MIN_NS);
    let mut table = SessionTable::new(2);
    advance(&mut table, high, 1, 10);
    advance(&mut table, low, 1, 20);
    // One block: the other one opens between the two.
    advance(&mut table, high, 2, 30);
    assert_eq!(
        table.standing(&id(3), num(1), &room(30)),
        Standing::TableFull
    );
    advance(&mut table, low, 2, 30);
    let mut bytes = Vec::new();
    table.encode(&mut bytes);
    let copy = SessionTable::decode(&bytes, 2).expect("own bytes");
    for now_ns in [29 + hour, 30 + hour] {
        let standing = table.standing(&id(3), (now_ns, true), &room(now_ns));
        assert_eq!(
            standing,
            copy.standing(&id(3), (now_ns, true), &room(now_ns)),
            "{now_ns}"
        );
    }
    let instead = Standing::OpensInstead(id(low));
    let standing = table.standing(&id(3), (30 + hour, true), &room(30 + hour));
    assert_eq!(standing, instead);
}

/// Nobody is idle where all were heard in the very block that asks, and each is an hour later.
#[test]
fn a_table_heard_whole_in_one_block_ends_nobody_until_the_hour_is_over() {
    let mut table = SessionTable::new(2);
    advance(&mut table, 2, 1, 10);
    advance(&mut table, 1, 1, 10);
    for now_ns in [10, 10, 9 + IDLE_MIN_NS] {
        assert_eq!(
            table.standing(&id(3), (now_ns, true), &room(now_ns)),
            Standing::TableFull
        );
    }
    assert_eq!(
        table.standing(&id(3), (IDLE_MIN_NS, true), &room(10 + IDLE_MIN_NS)),
        Standing::OpensInstead(id(1))
    );
    assert_eq!(
        SessionTable::new(0).standing(&id(3), num(1), &room(10)),
        Standing::TableFull
    );
}

/// Whom the application keeps can change without a word of that session, and counts at once: also
/// for a table that was asked before.
#[test]
fn who_is_kept_no_longer_ends_like_any_other() {
    let mut table = SessionTable::new(2);
    advance(&mut table, 1, 1, 10);
    advance(&mut table, 2, 1, 20);
    let standing = |kept: &'static [u32]| {
        let keeps = |session: &SessionId| kept.iter().any(|&number| id(number) == *session);
        let room = Room {
            keeps: &keeps,
            ..room(20 + IDLE_MIN_NS)
        };
        table.standing(&id(3), (room.now_ns, true), &room)
    };
    assert_eq!(standing(&[1]), Standing::OpensInstead(id(2)));
    assert_eq!(standing(&[1, 2]), Standing::TableFull);
    assert_eq!(standing(&[2]), Standing::OpensInstead(id(1)));
    assert_eq!(standing(&[]), Standing::OpensInstead(id(1)));
}

/// Kept sessions that fill what one block looks at hold up nobody for long, and no block looks at
/// more.
#[test]
fn blocks_look_around_a_large_table_piece_by_piece() {
    let count = 2 * LOOKED_AT_MAX as u32 + 1;
    let mut table = SessionTable::new(count);
    for number in 0..count {
        advance(&mut table, number, 1, 10);
    }
    let asked = core::cell::Cell::new(0);
    let keeps = |session: &SessionId| {
        asked.set(asked.get() + 1);
        *session != id(count - 1)
    };
    let mut standing = |height| {
        let room = Room {
            height,
            now_ns: 10 + IDLE_MIN_NS,
            keeps: &keeps,
        };
        asked.set(0);
        (
            table.standing(&id(count), (room.now_ns, true), &room),
            asked.get(),
        )
    };
    let full = (Standing::TableFull, LOOKED_AT_MAX);
    let found = (Standing::OpensInstead(id(count - 1)), 1);
    for round in [0, 3, 300] {
        let looks = [round, round + 1, round + 2].map(&mut standing);
        assert_eq!(looks, [full, full, found]);
    }
}

/// A table that went through everything, and one that is read back from it at each step.
#[test]
fn a_table_read_back_answers_as_the_one_that_lived_through_it_all() {
    let mut table = SessionTable::new(40);
    let mut state = 1_u64;
    let mut random = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let (mut now_ns, mut ended) = (0, 0);
    for step in 0..4000_u64 {
        // Many steps stand in one block, at one time.
        now_ns += (random(5) / 4) * random(900) * 1_000_000_000;
        let number = u32::try_from(random(500)).expect("small");
        let known = table.session(&id(number));
        let open = known.filter(|known| !known.is_closed);
        let seq = open.map_or_else(|| now_ns.max(1), |open| open.last_seq + 1);
        let is_opening = open.is_none();
        // One in three is kept, others at other times.
        let keeps = |session: &SessionId| (u64::from(session.0[0]) + step / 9).is_multiple_of(3);
        let room = Room {
            height: step,
            now_ns,
            keeps: &keeps,
        };
        match table.standing(&id(number), (seq, is_opening), &room) {
            Standing::Next(slot) => table.advance(slot, last(step), now_ns),
            Standing::Opens => {
                drop_slot(table.open(id(number), ([1; 32], seq), last(step), now_ns));
            }
            Standing::OpensInstead(victim) => {
                ended += 1;
                table.end(&victim, now_ns);
                table.open(id(number), ([1; 32], seq), last(step), now_ns);
            }
            _ => {}
        }
        match random(8) {
            0 => table.set_timeout(&id(number), TIMEOUT_MIN_NS * (1 + random(36_000))),
            1 => table.set_timeout(&id(number), 0),
            2 if step % 50 == 0 => table.end(&id(number), now_ns),
            _ => {}
        }
        if step % 7 == 0 {
            check_copy(&mut table, now_ns);
        }
        while table.time_out(now_ns).is_some() {}
    }
    assert!(ended > 10, "{ended}");
}

/// A table read back has the same bytes, root, deadlines and answers.
fn check_copy(table: &mut SessionTable, now_ns: u64) {
    let mut bytes = Vec::new();
    table.encode(&mut bytes);
    let mut copy = SessionTable::decode(&bytes, table.sessions_max()).expect("own bytes");
    let mut again = Vec::new();
    copy.encode(&mut again);
    assert_eq!(bytes, again);
    assert_eq!(copy.root(), table.root());
    assert_eq!(copy.due_next_ns(), table.due_next_ns());
    for number in (0..510).step_by(7) {
        for seq in 1..3 {
            assert_eq!(
                copy.standing(&id(number), num(seq), &room(now_ns)),
                table.standing(&id(number), num(seq), &room(now_ns))
            );
        }
    }
    let mut both = (Vec::new(), Vec::new());
    let mut other = SessionTable::decode(&bytes, table.sessions_max()).expect("own bytes");
    while let Some(lapsed) = copy.time_out(now_ns) {
        both.0.push(lapsed.id);
    }
    while let Some(lapsed) = other.time_out(now_ns) {
        both.1.push(lapsed.id);
    }
    assert_eq!(both.0, both.1);
}

#[test]
fn flags_and_time_outs_out_of_bounds_are_refused() {
    let mut table = SessionTable::new(9);
    advance(&mut table, 1, 1, 5);
    let mut bytes = Vec::new();
    table.encode(&mut bytes);
    let flags = PREFIX_BYTES + SESSION_BYTES - 1;
    for wrong in [1, 3, 4, 255] {
        bytes[flags] = wrong;
        assert!(SessionTable::decode(&bytes, 9).is_err(), "{wrong}");
    }
    bytes[flags] = 0;
    let timeout = flags - 8;
    bytes[timeout..flags].copy_from_slice(&1_u64.to_le_bytes());
    assert!(SessionTable::decode(&bytes, 9).is_err());
}

#[test]
fn each_session_has_its_own_last_command_s_mark_whichever_is_forgotten() {
    for forgotten in 1..=3 {
        let mut table = SessionTable::new(3);
        let mark = |number: u32| Mark::of(&number.to_le_bytes());
        for number in 1..=3 {
            let slot = table.open(id(number), ([1; 32], 1), last(1), 1);
            table.note_mark(slot, mark(number));
        }
        table.end(&id(forgotten), 2 * OPENING_LIFE_NS);
        assert_eq!(table.len(), 2, "it is closed late");
        for number in 1..=3 {
            let noted = (number != forgotten).then(|| mark(number));
            assert_eq!(table.mark(&id(number)), noted, "{number} of {forgotten}");
        }
    }
}

#[test]
fn a_session_more_than_the_bound_is_refused() {
    let mut table = SessionTable::new(10);
    for number in 0..10 {
        advance(&mut table, number, 1, 5);
    }
    let mut bytes = Vec::new();
    table.encode(&mut bytes);
    bytes[..4].copy_from_slice(&9_u32.to_le_bytes());
    assert_eq!(
        SessionTable::decode(&bytes, 9).map(|_| ()),
        Err(SessionTableError::Entry { place: 9 })
    );
}

#[test]
fn a_session_without_a_number_or_opened_above_its_last_one_is_refused() {
    let mut table = SessionTable::new(9);
    advance(&mut table, 1, 1, 5);
    advance(&mut table, 1, 2, 5);
    let mut bytes = Vec::new();
    table.encode(&mut bytes);
    let numbers = PREFIX_BYTES + 16 + 32;
    let mut decoded = |base_seq: u64, last_seq: u64| {
        bytes[numbers..][..8].copy_from_slice(&base_seq.to_le_bytes());
        bytes[numbers + 8..][..8].copy_from_slice(&last_seq.to_le_bytes());
        SessionTable::decode(&bytes, 9).map(|table| table.len())
    };
    assert_eq!(decoded(1, 2), Ok(1), "as it was");
    assert_eq!(decoded(2, 2), Ok(1));
    for (base_seq, last_seq) in [(0, 0), (0, 2), (3, 2), (1, 0)] {
        let refused = Err(SessionTableError::Entry { place: 0 });
        assert_eq!(
            decoded(base_seq, last_seq),
            refused,
            "{base_seq} {last_seq}"
        );
    }
}
