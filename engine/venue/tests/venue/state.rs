//! Roots and snapshots.

use crate::support::pit::{Pit, ROUND, ask, bid};
use crate::support::{ADMIN, Desk, cancel, config, limit, session};
use quorate::state_machine::{SessionEvent, SessionId, StateMachine};
use quorate_venue::{
    Answer, ClearingCommand, Command, ExerciseStyle, InstrumentId, Question, Right, SeriesState,
    Side, Venue, VenueLimits,
};

const SECTIONS: [&str; 3] = ["venue", "instruments", "book"];

/// A desk with some orders on both sides, of two sessions.
fn busy() -> Desk {
    let mut desk = Desk::new(VenueLimits::default());
    for name in 1..=6 {
        desk.apply(session(1), &limit(name, Side::Buy, 90 + name as i64, 5));
        desk.apply(session(2), &limit(name, Side::Sell, 100 + name as i64, 5));
    }
    desk.apply(session(3), &limit(1, Side::Buy, 101, 2));
    desk
}

#[test]
fn roots_do_not_depend_on_how_the_arena_was_filled() {
    let run = |cancels: [u64; 3], ask_between: bool| {
        let mut desk = busy();
        for name in cancels {
            desk.apply(session(1), &cancel(name));
            if ask_between {
                desk.roots();
            }
        }
        for name in 10..13 {
            desk.apply(session(2), &limit(name, Side::Buy, 80, 5));
        }
        (desk.roots(), desk.snapshot())
    };
    let expected = run([1, 2, 3], false);
    for cancels in [[3, 2, 1], [2, 3, 1], [1, 3, 2]] {
        for ask_between in [false, true] {
            assert_eq!(run(cancels, ask_between), expected);
        }
    }
}

#[test]
fn priority_is_part_of_the_root() {
    let run = |first: u8, second: u8| {
        let mut desk = Desk::new(VenueLimits::default());
        desk.apply(session(first), &limit(1, Side::Buy, 10, 5));
        desk.apply(session(second), &limit(1, Side::Buy, 10, 5));
        desk.roots()
    };
    let (one, other) = (run(1, 2), run(2, 1));
    assert_ne!(one[2], other[2]);
    assert_eq!(one[..2], other[..2], "and only the book differs");
}

#[test]
fn a_halt_changes_the_root_of_the_instruments() {
    let mut desk = busy();
    let before = desk.roots();
    desk.apply(
        ADMIN,
        &Command::Halt {
            instrument: InstrumentId(0),
        },
    );
    let halted = desk.roots();
    assert_ne!(halted[1], before[1]);
    assert_eq!((halted[0], halted[2]), (before[0], before[2]));
    desk.apply(
        ADMIN,
        &Command::Resume {
            instrument: InstrumentId(0),
        },
    );
    assert_eq!(desk.roots(), before);
}

/// The roots that a question is answered.
fn told(desk: &Desk) -> Vec<Option<[u8; 32]>> {
    let (mut bytes, mut answer) = (Vec::new(), Vec::new());
    Question::Roots.encode(&mut bytes);
    desk.venue.query(&bytes, &mut answer);
    match Answer::decode(&answer) {
        Ok(Answer::Roots(roots)) => roots,
        other => panic!("{other:?}"),
    }
}

/// One command.
fn step(desk: &mut Desk) {
    let name = desk.height + 1;
    desk.apply(session(1), &limit(name, Side::Buy, 90, 5));
}

/// A client compares what it is answered by several validators, and each is asked for its status by
/// others.
#[test]
fn a_question_is_answered_the_roots_of_heights_at_which_all_take_them_whoever_asks_for_others() {
    let mut desks = [
        Desk::new(VenueLimits::default()),
        Desk::new(VenueLimits::default()),
    ];
    assert_eq!(told(&desks[0]), [None; 3], "nothing has happened");
    let mut expected = desks[0].roots();
    for height in 1..=200_u64 {
        for (asked, desk) in desks.iter_mut().enumerate() {
            // One executes blocks without commands, as does the other.
            if !(60..=70).contains(&height) && !(190..).contains(&height) {
                desk.height = height - 1;
                step(desk);
            }
            if asked == 1 {
                desk.roots();
            }
        }
        if [71, 129].contains(&height) {
            // What stood after 64 stood after 59 already.
            let mut copy = Desk::new(VenueLimits::default());
            let heights = 1..=if height == 71 { 59 } else { 128 };
            for below in heights.filter(|below| !(60..=70).contains(below)) {
                copy.height = below - 1;
                step(&mut copy);
            }
            expected = copy.roots();
        }
        let known: Vec<_> = expected.iter().copied().map(Some).collect();
        for desk in &desks {
            assert_eq!(told(desk), known, "{height}");
        }
    }
}

/// What a timer or a time-out does is done after the block below.
#[test]
fn the_roots_told_are_those_of_before_a_block_that_begins_without_a_command() {
    let mut pit = traded();
    let before = pit.roots();
    pit.seq = 65;
    pit.at(pit.time_ns + ROUND);
    assert_ne!(pit.roots(), before);
    let known = before.into_iter().map(Some).collect();
    assert_eq!(pit.ask(Question::Roots), Answer::Roots(known));

    let mut desk = Desk::new(VenueLimits::default());
    step(&mut desk);
    let before = desk.roots();
    desk.height = 64;
    desk.befall(session(1), SessionEvent::TimedOut);
    assert_ne!(desk.roots(), before);
    let known: Vec<_> = before.into_iter().map(Some).collect();
    assert_eq!(told(&desk), known);
}

/// Which blocks without effect were before the snapshot it cannot know.
#[test]
fn who_was_restored_is_answered_no_roots_until_it_knows_those_of_the_others() {
    let mut desk = Desk::new(VenueLimits::default());
    (0..100).for_each(|_| step(&mut desk));
    for (first, after) in [(65, 64), (70, 128), (129, 128)] {
        let mut copy = Desk::new(VenueLimits::default());
        step(&mut copy);
        for (section, bytes) in desk.snapshot().iter().enumerate() {
            copy.venue.restore_section(section, bytes).unwrap();
        }
        assert_eq!(told(&copy), [None; 3]);
        copy.height = first - 1;
        let mut expected = copy.roots();
        while copy.height < after + 1 {
            if copy.height == after {
                expected = copy.roots();
            }
            assert_eq!(told(&copy), [None; 3], "{first}");
            let name = 1_000 + copy.height;
            copy.apply(session(2), &limit(name, Side::Buy, 90, 5));
        }
        let expected: Vec<_> = expected.into_iter().map(Some).collect();
        assert_eq!(told(&copy), expected, "{first}");
    }
}

/// Whoever restores may have asked for its roots before.
#[test]
fn what_was_restored_has_its_own_roots_and_not_those_of_before() {
    let mut desk = busy();
    let mut copy = Desk::new(VenueLimits::default());
    copy.apply(session(9), &limit(1, Side::Buy, 10, 5));
    assert_ne!(copy.roots(), desk.roots());
    for (section, bytes) in desk.snapshot().iter().enumerate() {
        copy.venue.restore_section(section, bytes).unwrap();
        copy.roots();
    }
    assert_eq!(copy.roots(), desk.roots());
}

/// The same of a venue with accounts, in which there are more orders, no halt and another price.
#[test]
fn a_venue_with_accounts_that_was_restored_has_no_root_of_before() {
    let mut pit = traded();
    let instrument = InstrumentId(0);
    pit.done(ADMIN, &Command::Halt { instrument });
    let mut copy = Pit::new();
    copy.deposit(session(9), 5);
    copy.price(50);
    for name in 1..=5 {
        copy.done(session(9), &limit(name, Side::Buy, 10, 5));
    }
    let (before, expected) = (copy.roots(), pit.roots());
    for (section, (before, expected)) in before.iter().zip(&expected).enumerate() {
        assert_ne!(before, expected, "{section}");
    }
    for (section, bytes) in pit.snapshot().iter().enumerate() {
        copy.venue.restore_section(section, bytes).unwrap();
    }
    assert_eq!(copy.roots(), expected);
}

/// A session of zeros is one like any other, and the fund has no session.
#[test]
fn the_fund_of_a_venue_that_was_restored_is_the_account_of_no_session() {
    let mut pit = traded();
    let mut copy = pit.restored();
    let zeros = SessionId([0; 16]);
    assert_eq!((pit.find(zeros), copy.find(zeros)), (None, None));
    for pit in [&mut pit, &mut copy] {
        pit.deposit(zeros, 7);
        assert_eq!((pit.account(zeros).cash, pit.fund().cash), (7, 0));
    }
    assert_eq!(copy.snapshot(), pit.snapshot());
    assert_eq!(copy.roots(), pit.roots());
}

/// A height is executed again by who goes back to a snapshot from before it.
#[test]
fn what_was_exercised_after_a_snapshot_is_forgotten_when_it_is_restored() {
    let mut pit = Pit::new();
    pit.deposit(session(1), 1_000);
    pit.deposit(session(2), 1_000);
    pit.price(100);
    pit.list(Right::Call, ExerciseStyle::American, 100, 20);
    pit.trade(session(1), session(2), 1, 1, 10);
    pit.price(113);
    let sections = pit.snapshot();
    let exercise = ClearingCommand::Exercise {
        instrument: InstrumentId(1),
        lots: 1,
    };
    pit.clear(session(2), exercise);
    let expected = pit.roots();
    for (section, bytes) in sections.iter().enumerate() {
        pit.venue.restore_section(section, bytes).unwrap();
    }
    pit.seq -= 1;
    pit.clear(session(2), exercise);
    assert_eq!(pit.roots(), expected);
}

#[test]
fn the_configuration_is_part_of_the_roots() {
    let mut plain = Venue::new(config(VenueLimits::default())).unwrap();
    let mut other = config(VenueLimits::default());
    other.admins.push(session(1));
    other.instruments[1].size_lots_max -= 1;
    let mut other = Venue::new(other).unwrap();
    assert_ne!(plain.section_root(0), other.section_root(0));
    assert_ne!(plain.section_root(1), other.section_root(1));
    assert_eq!(plain.section_root(2), other.section_root(2));
}

#[test]
fn a_flipped_bit_of_a_snapshot_is_refused_or_shows_in_the_root() {
    let mut desk = busy();
    let (sections, roots) = (desk.snapshot(), desk.roots());
    let mut accepted = 0;
    for (section, bytes) in sections.iter().enumerate() {
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut copy = Desk::new(VenueLimits::default());
                for (earlier, bytes) in sections.iter().enumerate().take(section) {
                    copy.venue.restore_section(earlier, bytes).unwrap();
                }
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                if copy.venue.restore_section(section, &changed).is_ok() {
                    accepted += 1;
                    assert_ne!(copy.roots()[section], roots[section]);
                    assert_eq!(copy.snapshot()[section], changed);
                }
            }
        }
    }
    assert!(
        accepted > 0,
        "some flips give another valid state, as that of a client's name"
    );
}

#[test]
fn a_truncated_or_padded_section_is_refused_by_name() {
    let sections = busy().snapshot();
    for (section, bytes) in sections.iter().enumerate() {
        let mut padded = bytes.clone();
        padded.push(0);
        let cut = (0..bytes.len()).map(|length| bytes[..length].to_vec());
        for bad in cut.chain([padded]) {
            let mut venue = Venue::new(config(VenueLimits::default())).unwrap();
            for (earlier, bytes) in sections.iter().enumerate().take(section) {
                venue.restore_section(earlier, bytes).unwrap();
            }
            let error = venue.restore_section(section, &bad).unwrap_err();
            assert!(error.contains(SECTIONS[section]), "{error}");
        }
    }
    let mut venue = Venue::new(config(VenueLimits::default())).unwrap();
    assert_eq!(venue.sections(), SECTIONS);
    assert!(venue.restore_section(3, &[1]).is_err());
}

#[test]
fn a_snapshot_that_breaks_an_invariant_is_refused() {
    let sections = busy().snapshot();
    const ORDER: usize = 61;
    let order_at = |index: usize| 9 + index * ORDER;
    type Spoil = fn(&mut [u8]);
    // Offsets inside an order: session 8, name 24, side 36, price 37, open 45, executed 53.
    // It is an ask at 106 and the last of twelve, of which one more is gone; the best bid is at 96.
    let spoils: [(&str, Spoil); 10] = [
        ("not been given", |order| order[0] = 14),
        ("rise", |order| order[0] = 11),
        ("crossed", |order| order[37] = 96),
        ("rise", |order| order[0] = 0),
        ("not been given", |order| order[7] = 1),
        ("nothing open", |order| order[45..53].fill(0)),
        ("size is above", |order| order[53..61].fill(0xff)),
        ("size is above", |order| order[54] = 1),
        ("outside", |order| order[44] = 0x80),
        ("does not exist", |order| order[35] = 1),
    ];
    let with = |spoil: Spoil| {
        let mut book = sections[2].clone();
        let last = order_at(book[1] as usize - 1);
        spoil(&mut book[last..]);
        let mut venue = Venue::new(config(VenueLimits::default())).unwrap();
        venue.restore_section(0, &sections[0]).unwrap();
        venue.restore_section(2, &book)
    };
    for (expected, spoil) in spoils {
        let error = with(spoil).unwrap_err();
        assert!(error.contains(expected), "{error} instead of {expected}");
    }
    let good: [Spoil; 3] = [|_| (), |order| order[0] = 13, |order| order[37] = 97];
    for spoil in good {
        assert_eq!(with(spoil), Ok(()));
    }
    let mut crossed = sections[2].clone();
    crossed[order_at(0) + 36] ^= 1;
    let mut venue = Venue::new(config(VenueLimits::default())).unwrap();
    venue.restore_section(0, &sections[0]).unwrap();
    let error = venue.restore_section(2, &crossed).unwrap_err();
    assert!(error.contains("crossed"), "{error}");
}

/// Session 2 is long ten calls that session 1 is short.
pub(crate) fn traded() -> Pit {
    let mut pit = Pit::new();
    pit.deposit(session(1), 1_000);
    pit.deposit(session(2), 1_000);
    pit.price(100);
    pit.list(Right::Call, ExerciseStyle::European, 100, 20);
    pit.trade(session(1), session(2), 1, 1, 10);
    pit
}

/// What comes of a snapshot of a venue with accounts in which one section was changed.
pub(crate) fn restored(
    pit: &Pit,
    section: usize,
    spoil: impl Fn(&mut Vec<u8>),
) -> Result<(), String> {
    let mut sections = pit.snapshot();
    spoil(&mut sections[section]);
    let mut copy = Pit::new();
    let mut restored = sections.iter().enumerate();
    restored.try_for_each(|(section, bytes)| copy.venue.restore_section(section, bytes))
}

/// More samples than the rules keep would be another settlement price than that of validators
/// which never restored.
#[test]
fn a_snapshot_with_more_samples_than_a_window_has_rounds_is_refused() {
    let mut pit = Pit::new();
    for _ in 0..5 {
        pit.price(100);
    }
    let with_window = |rounds: u32| {
        restored(&pit, 4, |series| {
            series[9..13].copy_from_slice(&rounds.to_le_bytes());
        })
    };
    assert_eq!(with_window(5), Ok(()));
    let error = with_window(4).unwrap_err();
    assert!(error.contains("count 4"), "{error}");
}

/// The cash of one of them would be out of reach.
#[test]
fn a_snapshot_in_which_a_session_has_two_accounts_is_refused() {
    let mut pit = Pit::new();
    for number in 1..=3 {
        pit.deposit(session(number), 10);
    }
    // The last account, which has no position, is a session, cash and a count.
    let of_last = |number: u8| {
        restored(&pit, 5, |accounts| {
            let last = accounts.len() - 28;
            accounts[last..last + 16].fill(number);
        })
    };
    assert_eq!(of_last(4), Ok(()));
    let error = of_last(2).unwrap_err();
    assert!(error.contains("its session has another account"), "{error}");
}

/// Changes the number of eight bytes that begins so far before the end.
fn add(bytes: &mut [u8], from_end: usize, change: i64) {
    let at = bytes.len() - from_end;
    let field = &mut bytes[at..at + 8];
    let number = i64::from_le_bytes(field.try_into().expect("eight bytes"));
    field.copy_from_slice(&(number + change).to_le_bytes());
}

/// A lot that is long and nowhere short would be paid by nobody.
#[test]
fn a_snapshot_in_which_the_positions_of_a_series_do_not_sum_to_zero_is_refused() {
    let pit = traded();
    // The last account ends with the lots of its only position.
    let with = |lots| restored(&pit, 5, |accounts| add(accounts, 8, lots));
    assert_eq!(with(0), Ok(()));
    for lots in [-1, 1] {
        let error = with(lots).unwrap_err();
        let expected = format!("the positions in instrument 1 sum to {lots}");
        assert!(error.contains(&expected), "{error}");
    }
}

/// It would be settled at another time than where nobody restored.
#[test]
fn a_snapshot_in_which_a_series_is_not_due_when_its_state_says_is_refused() {
    // The last series ends with the time when it is due and its settlement price.
    let with = |pit: &Pit, later: i64| restored(pit, 4, |series| add(series, 16, later));
    let mut pit = traded();
    assert_eq!(with(&pit, 0), Ok(()));
    for later in [-1, 1] {
        let error = with(&pit, later).unwrap_err();
        assert!(error.contains("it is not due"), "{error}");
    }
    let due = pit.series_state(1).due_ns;
    pit.at(due);
    assert_eq!(pit.series_state(1).state, SeriesState::Deferred);
    let window = 5 * ROUND.cast_signed();
    assert_eq!(with(&pit, 1 - window), Ok(()));
    let error = with(&pit, -window).unwrap_err();
    assert!(error.contains("it is not due"), "{error}");
}

/// The round would count twice in a settlement price.
#[test]
fn a_snapshot_with_two_samples_of_one_round_is_refused() {
    let mut pit = Pit::new();
    for price in [100, 101] {
        pit.price(price);
    }
    // The feed ends with the round and the price of its last sample.
    let with = |later| restored(&pit, 3, |feeds| add(feeds, 16, later));
    assert_eq!((with(0), with(1)), (Ok(()), Ok(())));
    for earlier in [-1, -2] {
        let error = with(earlier).unwrap_err();
        assert!(error.contains("its samples are"), "{error}");
    }
}

/// One state has one encoding, and so one root.
#[test]
fn a_snapshot_with_a_position_of_no_lots_is_refused() {
    let mut pit = traded();
    pit.deposit(session(3), 10);
    // The last account, which has no position, ends with their number.
    let with = |lots: &[i64]| {
        restored(&pit, 5, |accounts| {
            let count = accounts.len() - 4;
            accounts[count] = lots.len().try_into().expect("few");
            for lots in lots {
                accounts.extend_from_slice(&1_u32.to_le_bytes());
                accounts.extend_from_slice(&lots.to_le_bytes());
            }
        })
    };
    assert_eq!(with(&[]), Ok(()));
    let error = with(&[0]).unwrap_err();
    assert!(error.contains("position"), "{error}");
    let error = with(&[3]).unwrap_err();
    assert!(
        error.contains("the positions in instrument 1 sum to 3"),
        "{error}"
    );
}

/// Whoever sells to those bids would not be paid.
#[test]
fn a_snapshot_in_which_bids_cost_more_than_there_is_cash_is_refused() {
    let mut pit = Pit::new();
    pit.deposit(session(1), 1_000);
    pit.deposit(session(2), 1_000);
    pit.price(100);
    pit.list(Right::Call, ExerciseStyle::European, 100, 20);
    pit.done(session(2), &bid(1, 1, 5, 10));
    // The last two accounts, which have no position, are a session, cash and a count each.
    let moved = |amount: i64| {
        restored(&pit, 5, |accounts| {
            add(accounts, 12, -amount);
            add(accounts, 40, amount);
        })
    };
    assert_eq!(moved(950), Ok(()));
    let error = moved(951).unwrap_err();
    assert!(error.contains("its bids cost more than it has"), "{error}");
}

/// It would be matched, or withdrawn, where nobody else has it.
#[test]
fn a_snapshot_with_an_order_in_a_series_that_has_expired_is_refused() {
    let mut pit = traded();
    pit.done(session(2), &bid(1, 1, 5, 10));
    let book = pit.snapshot().swap_remove(2);
    let with_bid = |pit: &Pit| restored(pit, 2, |now| now.clone_from(&book));
    assert_eq!(with_bid(&pit), Ok(()));
    let due = pit.series_state(1).due_ns;
    pit.at(due);
    assert_eq!(pit.series_state(1).state, SeriesState::Deferred);
    assert_eq!(restored(&pit, 2, |_| ()), Ok(()));
    let error = with_bid(&pit).unwrap_err();
    assert!(error.contains("its series has expired"), "{error}");
}

/// What such a position pays would not fit an amount.
#[test]
fn a_snapshot_in_which_orders_could_exceed_the_bound_of_a_position_is_refused() {
    for of_one in [ask, bid] {
        let mut pit = Pit::new();
        pit.deposit(session(1), 1 << 60);
        pit.deposit(session(2), 1 << 60);
        pit.price(100);
        let mut terms = pit.series(Right::Call, ExerciseStyle::European, 100, 20);
        if let ClearingCommand::ListSeries { multiplier, .. } = &mut terms {
            *multiplier = u32::MAX; // So that 2^62 is what 1,073 lots can pay.
        }
        pit.clear(ADMIN, terms);
        pit.done(session(1), &of_one(1, 1, 1, 600));
        for (lots, expected) in [(473, true), (474, false)] {
            pit.done(session(2), &of_one(1, 2, 1, lots));
            // The last order is a number and then its session.
            let all_of_one = restored(&pit, 2, |book| {
                let last = book.len() - 61;
                book[last + 8..last + 24].fill(1);
            });
            assert_eq!(restored(&pit, 2, |_| ()), Ok(()));
            assert_eq!(all_of_one.is_ok(), expected, "{lots} lots: {all_of_one:?}");
            if let Err(error) = all_of_one {
                let fault = "its orders could take its position above its bound";
                assert!(error.contains(fault), "{error}");
            }
            pit.done(session(2), &cancel(2));
        }
    }
}
