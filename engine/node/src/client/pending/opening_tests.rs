//! How a session is opened: what of its commands can have been applied whatever is said of the
//! opening, and what is told of commands under whose numbers something was.

use super::tests::{BASE, Fixture, NOT_APPLIED};
use super::*;
use crate::sessions::OPENING_LIFE_NS;

const BUSY_MAX: Duration = RETRY_MAX;

fn dropped(seq_first: u64, count: u64, rejection: Rejection) -> Change {
    Change::Dropped {
        seq_first,
        unsure: 0,
        count,
        rejection,
    }
}

#[test]
fn nothing_is_sent_behind_an_opening_before_it_is_known_to_be_applied() {
    let mut fixture = Fixture::unopened(3);
    assert_eq!(fixture.pending.len(), 3);
    assert_eq!(fixture.send(), [BASE]);
    assert_eq!(fixture.verdict(BASE, 1, Verdict::Accepted), Change::None);
    assert!(fixture.send().is_empty());
    assert!(!fixture.pending.has_sendable(), "a result is waited for");
    fixture.pending.rewind();
    assert_eq!(fixture.send(), [BASE], "on another connection as well");
    assert_eq!(fixture.applied(BASE), Change::Opened);
    assert_eq!(fixture.send(), [BASE + 1, BASE + 2, BASE + 3]);
}

#[test]
fn an_opening_without_room_is_offered_again_and_its_command_runs_once_when_it_is_applied() {
    let mut fixture = Fixture::unopened(1);
    fixture.send();
    let full = fixture.told(BASE, Outcome::TableFull, Whose::Own);
    assert_eq!(full, Change::Held, "nothing is given up");
    assert!(fixture.send().is_empty(), "not at once");
    fixture.now += BUSY_MAX;
    // What is submitted meanwhile goes behind the same opening.
    assert_eq!(fixture.push(BASE + 2), BASE + 2);
    assert_eq!(fixture.send(), [BASE], "the same number");
    let full = Verdict::Rejected(Rejection::TableFull);
    assert_eq!(fixture.verdict(BASE, 1, full), Change::Held);
    // A copy of the opening is applied by whoever had it.
    assert_eq!(fixture.applied(BASE), Change::Opened);
    assert_eq!(fixture.applied(BASE), Change::None, "told once");
    fixture.now += BUSY_MAX;
    assert_eq!(fixture.send(), [BASE + 1, BASE + 2]);
}

#[test]
fn what_is_dropped_with_an_opening_was_never_sent_whatever_the_reason() {
    let outcomes = [
        (Outcome::OpeningTooOld, Rejection::OpeningTooOld),
        (Outcome::OpeningTooFarAhead, Rejection::OpeningTooFarAhead),
        // What a validator says by itself, and not of an entry in a block, has no mark.
        (Outcome::SessionEnded, Rejection::SessionEnded),
        // The session is open, and not by this opening.
        (Outcome::Gap, Rejection::SessionOpen),
    ];
    for (outcome, rejection) in outcomes {
        let mut fixture = Fixture::unopened(2);
        assert_eq!(fixture.send(), [BASE]);
        let change = fixture.told(BASE, outcome, Whose::Unknown);
        assert_eq!(change, dropped(BASE + 1, 2, rejection), "{outcome:?}");
        assert_eq!(fixture.pending.len(), 0);
        // The opening may be applied yet: nobody waits for that any more.
        assert_eq!(fixture.applied(BASE), Change::None);
    }
    for rejection in [
        Rejection::OpeningTooOld,
        Rejection::OpeningTooFarAhead,
        Rejection::SessionOpen,
        Rejection::SessionEnded,
        Rejection::Conflict,
    ] {
        let mut fixture = Fixture::unopened(2);
        assert_eq!(fixture.send(), [BASE]);
        let change = fixture.verdict(BASE, 1, Verdict::Rejected(rejection));
        assert_eq!(change, dropped(BASE + 1, 2, rejection));
    }
}

/// Whoever leads may put an entry with this number into a block that its session never signed.
#[test]
fn what_another_s_entry_came_to_says_nothing_of_an_opening() {
    for outcome in NOT_APPLIED {
        let mut fixture = Fixture::unopened(2);
        assert_eq!(fixture.send(), [BASE]);
        let change = fixture.told(BASE, outcome, Whose::Another);
        assert_eq!(change, Change::None, "{outcome:?}");
        assert_eq!(fixture.pending.len(), 2);
        assert!(!fixture.pending.is_astray());
        assert!(fixture.send().is_empty(), "{outcome:?}");
        assert_eq!(fixture.applied(BASE), Change::Opened);
        assert_eq!(fixture.send(), [BASE + 1, BASE + 2]);
    }
}

/// Four bytes of a signature that nobody looks at make any mark of any entry.
#[test]
fn an_opening_whose_mark_came_to_nothing_is_offered_again_and_the_door_says_the_rest() {
    for outcome in [Outcome::Gap, Outcome::SessionEnded] {
        let mut fixture = Fixture::unopened(2);
        assert_eq!(fixture.send(), [BASE]);
        for _ in 0..3 {
            let change = fixture.told(BASE, outcome, Whose::Own);
            assert_eq!(change, Change::None, "{outcome:?}");
            assert!(fixture.send().is_empty(), "not at once");
            fixture.now += Duration::from_micros(CONFLICT_RETRY_US);
            assert_eq!(fixture.send(), [BASE]);
        }
        assert!(!fixture.pending.is_astray());
        let open = Rejection::SessionOpen;
        let refused = fixture.verdict(BASE, 1, Verdict::Rejected(open));
        assert_eq!(refused, dropped(BASE + 1, 2, open));
        assert!(fixture.pending.is_astray());
    }
}

#[test]
fn a_session_that_is_another_one_is_astray_until_it_is_known_where_it_stands() {
    for rejection in [Rejection::SessionOpen, Rejection::SessionEnded] {
        let mut fixture = Fixture::unopened(2);
        fixture.send();
        fixture.verdict(BASE, 1, Verdict::Rejected(rejection));
        assert!(fixture.pending.is_astray(), "{rejection:?}");
        // Another opening changes nothing of that: it may be refused as well.
        fixture.push(BASE + 2);
        fixture.send();
        assert!(fixture.pending.is_astray());
        fixture.applied(BASE + 1);
        assert!(!fixture.pending.is_astray(), "it is the one made here");
        fixture.applied(BASE + 2);
        fixture.pending.open_behind(BASE + 2);
        fixture.push(BASE + 4);
        fixture.send();
        fixture.verdict(BASE + 3, 1, Verdict::Rejected(rejection));
        assert!(fixture.pending.is_astray());
        assert!(fixture.pending.start_behind(BASE + 7));
        assert!(!fixture.pending.is_astray());
    }
    for is_verdict in [false, true] {
        let mut fixture = Fixture::with(2);
        fixture.send();
        match is_verdict {
            true => fixture.verdict(1, 2, Verdict::Rejected(Rejection::SessionEnded)),
            false => fixture.told(1, Outcome::SessionEnded, Whose::Own),
        };
        assert!(fixture.pending.is_astray());
        assert!(fixture.pending.open_behind(2));
        assert!(!fixture.pending.is_astray());
    }
    let mut fixture = Fixture::unopened(1);
    fixture.send();
    let too_old = Verdict::Rejected(Rejection::OpeningTooOld);
    fixture.verdict(BASE, 1, too_old);
    assert!(!fixture.pending.is_astray(), "the next one may be in time");
}

#[test]
fn a_full_table_is_a_reason_when_the_opening_is_too_old_to_be_applied_and_not_before() {
    let mut fixture = Fixture::unopened(1);
    fixture.send();
    fixture.set_wall(BASE + OPENING_LIFE_NS - 1);
    let full = fixture.told(BASE, Outcome::TableFull, Whose::Own);
    assert_eq!(full, Change::Held);
    fixture.set_wall(BASE + OPENING_LIFE_NS);
    let full = fixture.told(BASE, Outcome::TableFull, Whose::Own);
    assert_eq!(full, dropped(BASE + 1, 1, Rejection::TableFull));
}

#[test]
fn the_wall_clock_is_read_for_each_opening() {
    let mut fixture = Fixture::with(0);
    assert!(fixture.pending.open_behind(0));
    // The machine slept for a day, of which no other clock needs to know.
    let day = 86_400_000_000_000;
    fixture.set_wall(BASE + day);
    assert_eq!(fixture.push(BASE + day + 1), BASE + day + 1);
    fixture.send();
    fixture.told(BASE + day, Outcome::OpeningTooFarAhead, Whose::Own);
    // It was a day ahead and is set back.
    fixture.set_wall(BASE);
    assert_eq!(fixture.push(BASE + 1), BASE + 1);
    assert_eq!(fixture.send(), [BASE]);
}

#[test]
fn a_session_that_has_ended_is_opened_above_its_last_number_whatever_the_clock_says() {
    let mut fixture = Fixture::with(0);
    assert!(fixture.pending.open_behind(BASE + 7));
    assert_eq!(fixture.push(BASE + 9), BASE + 9);
    assert!(!fixture.pending.open_behind(0), "not while something waits");
    assert_eq!(fixture.send(), [BASE + 8]);
}

#[test]
fn an_opening_of_another_process_with_this_number_is_not_taken_for_the_own_one() {
    let mut fixture = Fixture::unopened(1);
    fixture.send();
    let change = fixture.told(BASE, Outcome::Applied, Whose::Another);
    assert_eq!(change, dropped(BASE + 1, 1, Rejection::SessionOpen));
}

/// Commands 1 to 3 behind an opening, or not; sent, and sent again on another connection.
fn sent(is_ours: bool) -> (Fixture, u64) {
    let (mut fixture, first) = match is_ours {
        true => (Fixture::unopened(3), BASE + 1),
        false => (Fixture::with(3), 1),
    };
    if is_ours {
        fixture.send();
        assert_eq!(fixture.applied(BASE), Change::Opened);
    }
    fixture.send();
    fixture.pending.rewind();
    fixture.send();
    (fixture, first)
}

#[test]
fn what_is_told_of_a_command_under_whose_number_something_was_applied() {
    let own = Whose::Own;
    let cases = [
        // (opened here, told of the second) -> (told of the second, and whether the first is own)
        ((true, Whose::Own), (own, true)),
        ((true, Whose::Unknown), (own, true)),
        ((true, Whose::Another), (Whose::Another, false)),
        ((false, Whose::Own), (own, false)),
        ((false, Whose::Unknown), (Whose::Unknown, false)),
        ((false, Whose::Another), (Whose::Another, false)),
    ];
    for ((is_ours, told), (whose, are_own)) in cases {
        for outcome in [Outcome::Applied, Outcome::Duplicate] {
            let (mut fixture, first) = sent(is_ours);
            let change = fixture.told(first + 1, outcome, told);
            let expected = Change::Finalized {
                passed: 1,
                are_own,
                whose,
            };
            assert_eq!(change, expected, "{is_ours} {told:?} {outcome:?}");
        }
    }
}

#[test]
fn once_another_process_with_the_key_was_met_no_number_alone_says_whose_a_command_was() {
    let (mut fixture, first) = sent(true);
    fixture.told(first, Outcome::Duplicate, Whose::Another);
    let change = fixture.told(first + 1, Outcome::Duplicate, Whose::Unknown);
    let unknown = |passed| Change::Finalized {
        passed,
        are_own: false,
        whose: Whose::Unknown,
    };
    assert_eq!(change, unknown(0));
    // Another one has this number where the door says so.
    let (mut fixture, first) = sent(true);
    fixture.verdict(first + 1, 1, Verdict::Rejected(Rejection::Conflict));
    let change = fixture.told(first + 1, Outcome::Duplicate, Whose::Unknown);
    assert_eq!(change, unknown(1));
}

#[test]
fn of_a_session_that_has_ended_only_what_had_one_chance_is_known_not_to_be_applied() {
    let ended = |mut fixture: Fixture, is_verdict| match is_verdict {
        true => fixture.verdict(1, 3, Verdict::Rejected(Rejection::SessionEnded)),
        false => fixture.told(1, Outcome::SessionEnded, Whose::Own),
    };
    for is_verdict in [false, true] {
        let mut once = Fixture::with(3);
        once.send();
        let none = Change::Ended {
            seq_first: 1,
            unsure: 0,
            not_applied: 3,
        };
        assert_eq!(ended(once, is_verdict), none);
        let (mut twice, _) = sent(false);
        twice.push(4);
        let some = Change::Ended {
            seq_first: 1,
            unsure: 3,
            not_applied: 1,
        };
        assert_eq!(ended(twice, is_verdict), some);
    }
}

/// What was sent behind one that is refused may be applied under a number that is given anew.
#[test]
fn a_repeat_without_a_mark_is_nobody_s_once_numbers_of_commands_that_were_sent_were_given_anew() {
    let told_of = |refused: u64, given_anew: u64| {
        let mut fixture = Fixture::unopened(3);
        fixture.send();
        assert_eq!(fixture.applied(BASE), Change::Opened);
        fixture.send();
        let too_large = Verdict::Rejected(Rejection::TooLarge);
        fixture.verdict(BASE + refused, 1, too_large);
        for seq in BASE + refused..=BASE + given_anew {
            assert_eq!(fixture.push(seq), seq);
        }
        fixture.send();
        fixture.told(BASE + given_anew, Outcome::Duplicate, Whose::Unknown)
    };
    let of = |passed, are_own, whose| Change::Finalized {
        passed,
        are_own,
        whose,
    };
    assert_eq!(told_of(2, 3), of(2, false, Whose::Unknown));
    // Nothing was sent behind the last one, and it is never admitted itself.
    assert_eq!(told_of(3, 3), of(2, true, Whose::Own));
}

/// A validator that refused them may have kept a copy, and their owner was told that they were not
/// applied.
#[test]
fn a_session_is_opened_anew_above_all_that_was_sent_though_the_clock_was_set_back() {
    let mut fixture = Fixture::unopened(4);
    fixture.send();
    assert_eq!(fixture.applied(BASE), Change::Opened);
    fixture.send();
    // It closes the session.
    let last = BASE + 1;
    fixture.applied(last);
    let ended = Verdict::Rejected(Rejection::SessionEnded);
    let change = fixture.verdict(last + 1, 3, ended);
    assert!(matches!(change, Change::Ended { not_applied: 3, .. }));
    fixture.set_wall(BASE - OPENING_LIFE_NS / 2);
    assert!(fixture.pending.open_behind(last));
    assert_eq!(fixture.push(last + 5), last + 5);
    assert_eq!(fixture.send(), [last + 4]);
    // Where that is too far ahead of all clocks no session comes to those numbers.
    fixture.verdict(
        last + 4,
        1,
        Verdict::Rejected(Rejection::OpeningTooFarAhead),
    );
    assert!(fixture.pending.open_behind(0));
    fixture.push(BASE - OPENING_LIFE_NS / 2 + 1);
    assert_eq!(fixture.send(), [BASE - OPENING_LIFE_NS / 2]);
}

/// They were never sent, so nobody has a copy.
#[test]
fn what_waited_behind_an_opening_in_vain_keeps_no_number_from_the_next_one() {
    let mut fixture = Fixture::unopened(3);
    assert_eq!(fixture.send(), [BASE]);
    let too_old = Rejection::OpeningTooOld;
    fixture.verdict(BASE, 1, Verdict::Rejected(too_old));
    assert!(fixture.pending.open_behind(0));
    assert_eq!(fixture.push(BASE + 1), BASE + 1);
    assert_eq!(fixture.send(), [BASE]);
}
