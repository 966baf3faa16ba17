//! What is told of commands that were taken by one validator and refused by another, and what a
//! lying validator can do to a session.

mod following;

use super::*;
use crate::client::gateway::State;
use crate::client::pending::Pending;
use crate::client::{ClientOptions, Clients, Trust};
use crate::client_wire::{Place, ResultItem, ResultsFrame};
use crate::keys::KeyPair;
use crate::lanes::SEQ_MAX;
use crate::results::Mark;
use crate::state_machine::Lane;
use crate::testing::sample_genesis;
use std::sync::Arc;
use std::time::Duration;

struct Fixture {
    clients: Clients,
    client: ClientRef,
    told: Vec<String>,
}

impl Fixture {
    /// A session with commands 1 to 4 on their way to the first validator.
    fn new() -> Self {
        Self::trusting(Trust::OneValidator)
    }

    fn trusting(trust: Trust) -> Self {
        let (genesis, _) = sample_genesis(4);
        let mut clients = Clients::new(&genesis).expect("an event queue");
        let key = Arc::new(KeyPair::from_seed(&[5; 32]));
        let client = clients.add(
            key,
            ClientOptions {
                trust,
                ..ClientOptions::default()
            },
        );
        // Numbers from 1 on, whatever the time is.
        clients.table.sessions[0].pending.start_behind(0);
        for seq in 1..=4 {
            let body = [seq; 8];
            let pushed = clients.submit(client, Lane::Order, &body, Instant::now());
            assert_eq!(pushed.expect("room"), u64::from(seq));
        }
        let mut fixture = Self {
            clients,
            client,
            told: Vec::new(),
        };
        fixture.send();
        fixture
    }

    /// A session that is to be opened, with two commands that wait for that. Gives the number of
    /// its opening, which is on its way.
    fn unopened(trust: Trust) -> (Self, u64) {
        let (genesis, _) = sample_genesis(4);
        let mut clients = Clients::new(&genesis).expect("an event queue");
        let options = ClientOptions {
            trust,
            ..ClientOptions::default()
        };
        let client = clients.add(Arc::new(KeyPair::from_seed(&[6; 32])), options);
        assert!(clients.resume(client, 0), "nothing waits");
        let now = Instant::now();
        let first = clients.submit(client, Lane::Order, &[1; 8], now);
        let first = first.expect("room");
        let second = clients.submit(client, Lane::Order, &[2; 8], now);
        assert_eq!(second.expect("room"), first + 1);
        assert_eq!(clients.pending(client), 2);
        let mut fixture = Self {
            clients,
            client,
            told: Vec::new(),
        };
        fixture.send();
        (fixture, first - 1)
    }

    /// Adds a command; its number.
    fn submit(&mut self, body: u8) -> u64 {
        let (client, now) = (self.client, Instant::now());
        let submitted = self.clients.submit(client, Lane::Order, &[body; 8], now);
        submitted.expect("room")
    }

    fn send(&mut self) {
        let pending = &mut self.clients.table.sessions[0].pending;
        let count = pending.write_submit(Instant::now(), &mut Vec::new());
        pending.mark_sent(count);
    }

    /// The validator that is asked says this; whether the session leaves it.
    fn verdict(&mut self, seq_first: u64, count: u32, verdict: Verdict) -> bool {
        let told = &mut self.told;
        let mut taking = Taking {
            table: &mut self.clients.table,
            now: Instant::now(),
            on_event: &mut |_, event: ClientEvent<'_>| told.push(name_of(&event)),
        };
        let run = VerdictRun {
            seq_first,
            count,
            verdict,
        };
        taking.take_verdict(self.client.place(), run);
        !std::mem::take(&mut self.clients.table.leaving).is_empty()
    }

    /// It turns to the next validator, and sends all that waits again.
    fn next(&mut self) {
        let session = &mut self.clients.table.sessions[0];
        session.gateway.next(Instant::now());
        session.pending.rewind();
        self.send();
    }

    /// `validator` tells in one block what came of these commands, each that waits here unless said
    /// otherwise.
    fn results(&mut self, validator: u16, seqs: &[u64], other: Option<&[u8]>) {
        let applied = |pending: &Pending, seq| (Outcome::Applied, Some(pending.mark(seq)));
        self.outcomes(validator, seqs, |pending, seq| match other {
            Some(other) => (Outcome::Applied, Some(Mark::of(other))),
            None => applied(pending, seq),
        });
    }

    /// `validator` tells in one block what `told` says of these commands.
    fn outcomes(
        &mut self,
        validator: u16,
        seqs: &[u64],
        told: impl Fn(&Pending, u64) -> (Outcome, Option<Mark>),
    ) {
        let pending = &self.clients.table.sessions[0].pending;
        let mut frame = ResultsFrame::default();
        frame.begin(None, 7, 70);
        for &seq in seqs {
            let (outcome, mark) = told(pending, seq);
            let place = Place {
                height: 7,
                index: u32::try_from(seq % 1_000).expect("small"),
            };
            let item = ResultItem {
                seq,
                outcome,
                applied: (outcome == Outcome::Applied).then_some(place),
                mark,
                finality_ns: 0,
            };
            let outputs: &[&[u8]] = match outcome {
                Outcome::Applied => &[b"fill"],
                _ => &[],
            };
            frame.push(item, outputs.iter().copied());
        }
        let frame = frame.finish().to_vec();
        let told = &mut self.told;
        let mut taking = Taking {
            table: &mut self.clients.table,
            now: Instant::now(),
            on_event: &mut |_, event: ClientEvent<'_>| told.push(name_of(&event)),
        };
        let Ok((_, ServerFrame::Results(results))) = ServerFrame::decode(&frame) else {
            panic!("not results");
        };
        for result in results {
            let place = self.client.place();
            match taking.table.sessions[0].quorum.is_some() {
                true => {
                    taking.count_result(place, ValidatorIndex::new(validator), (7, 70), result);
                }
                false => taking.take_result(place, 7, 70, result),
            }
        }
    }

    /// What is kept has been waited for long enough; whether it told something.
    fn release_overdue(&mut self) -> bool {
        let (told, now) = (&mut self.told, Instant::now());
        let mut tell = |_: ClientRef, event: ClientEvent<'_>| told.push(name_of(&event));
        self.clients.release_overdue(0, now, &mut tell)
    }

    fn waiting(&self) -> std::ops::Range<u64> {
        self.clients.table.sessions[0].pending.waiting()
    }
}

fn name_of(event: &ClientEvent<'_>) -> String {
    match event {
        ClientEvent::Accepted { seq_first, count } => format!("accepted {seq_first} {count}"),
        ClientEvent::Result { result, .. } => format!("result {}", result.item.seq),
        ClientEvent::Passed { seq_first, count } => format!("passed {seq_first} {count}"),
        ClientEvent::Displaced { seq } => format!("displaced {seq}"),
        ClientEvent::Unsure {
            seq_first, count, ..
        } => format!("unsure {seq_first} {count}"),
        ClientEvent::Opened { seq, .. } => format!("opened {seq}"),
        ClientEvent::Held(run) => format!("held {}", run.seq_first),
        ClientEvent::Dropped {
            seq_first,
            count,
            rejection,
        } => format!("dropped {seq_first} {count} {rejection:?}"),
        other => format!("{other:?}"),
    }
}

const TOO_LARGE: Verdict = Verdict::Rejected(Rejection::TooLarge);

/// Those behind it may have been taken and follow the other one: what comes of the number tells.
#[test]
fn a_conflict_gives_no_number_away_and_what_is_applied_under_it_tells() {
    let mut fixture = Fixture::new();
    fixture.verdict(1, 1, Verdict::Accepted);
    let conflict = Verdict::Rejected(Rejection::Conflict);
    assert!(!fixture.verdict(2, 1, conflict), "the validator is kept");
    fixture.verdict(3, 2, Verdict::Accepted);
    assert_eq!(fixture.waiting(), 1..5);
    fixture.results(0, &[1], None);
    fixture.results(0, &[2], Some(b"from before"));
    fixture.results(0, &[3, 4], None);
    let told = ["result 1", "displaced 2", "result 3", "result 4"];
    let is_verdict = |told: &String| told.starts_with("accepted");
    let results: Vec<_> = fixture
        .told
        .iter()
        .filter(|told| !is_verdict(told))
        .collect();
    assert_eq!(results, told);
}

#[test]
fn a_session_whose_numbers_are_told_to_be_used_up_stays_where_it_was() {
    let (genesis, _) = sample_genesis(4);
    let mut clients = Clients::new(&genesis).expect("an event queue");
    let key = Arc::new(KeyPair::from_seed(&[7; 32]));
    let client = clients.add(key, ClientOptions::default());
    assert!(clients.resume(client, 7));
    for told in [SEQ_MAX, u64::MAX] {
        assert!(!clients.resume(client, told));
        assert!(!clients.reopen(client, told));
    }
    let seq = clients.submit(client, Lane::Order, &[1; 8], Instant::now());
    assert_eq!(seq.expect("room"), 8);
}

#[test]
fn of_what_was_sent_behind_a_refused_command_nobody_says_that_it_will_never_be_applied() {
    let mut fixture = Fixture::new();
    assert!(!fixture.verdict(2, 1, TOO_LARGE));
    assert_eq!(fixture.told, ["dropped 2 1 TooLarge", "unsure 3 2"]);
    assert_eq!(fixture.waiting(), 1..2);
}

#[test]
fn the_number_of_a_command_that_was_taken_is_not_free_because_another_validator_refuses_it() {
    let mut fixture = Fixture::new();
    assert!(!fixture.verdict(1, 3, Verdict::Accepted));
    fixture.next();
    assert!(fixture.verdict(2, 1, TOO_LARGE), "another one is asked");
    assert_eq!(fixture.waiting(), 1..5, "it waits as before");
    fixture.next();
    assert!(fixture.verdict(2, 1, TOO_LARGE));
    assert!(fixture.verdict(2, 1, TOO_LARGE), "each counts once");
    assert_eq!(fixture.waiting(), 1..5);
    assert!(!fixture.told.iter().any(|told| told.starts_with("dropped")));
    // All but one refuse it now: the last one may never answer.
    fixture.next();
    assert!(!fixture.verdict(2, 1, TOO_LARGE));
    assert_eq!(fixture.waiting(), 1..2);
    assert!(fixture.told.iter().any(|told| told.starts_with("dropped")));
}

#[test]
fn who_takes_a_refused_command_again_has_a_copy_that_the_others_know_nothing_of() {
    let mut fixture = Fixture::new();
    fixture.verdict(1, 4, Verdict::Accepted);
    for _ in 0..2 {
        fixture.next();
        assert!(fixture.verdict(2, 1, TOO_LARGE));
    }
    fixture.next();
    assert!(!fixture.verdict(1, 4, Verdict::Accepted));
    assert!(fixture.verdict(2, 1, TOO_LARGE));
    assert_eq!(fixture.waiting(), 1..5);
}

#[test]
fn a_command_that_nobody_took_and_one_of_a_session_that_has_ended_are_dropped_at_once() {
    let mut fixture = Fixture::new();
    fixture.verdict(1, 3, Verdict::Accepted);
    assert!(!fixture.verdict(4, 1, TOO_LARGE));
    assert_eq!(fixture.waiting(), 1..4);
    let ended = Verdict::Rejected(Rejection::SessionEnded);
    assert!(!fixture.verdict(1, 3, ended));
    assert_eq!(fixture.waiting(), 1..1);
}

#[test]
fn a_run_that_begins_below_what_waits_is_one_validator_s_word_like_any_other() {
    let mut fixture = Fixture::trusting(Trust::FaultStake);
    for validator in 0..2 {
        fixture.results(validator, &[1], None);
    }
    assert_eq!(fixture.waiting(), 2..5);
    assert!(!fixture.verdict(2, 3, Verdict::Accepted));
    // Validator 0 lies of number 1, which is final, and with it of the next one.
    assert!(fixture.verdict(1, 2, TOO_LARGE));
    assert_eq!(fixture.waiting(), 2..5);
    let mut alone = Fixture::new();
    alone.results(0, &[1], None);
    alone.verdict(2, 3, Verdict::Accepted);
    assert!(alone.verdict(1, 2, TOO_LARGE), "it was taken elsewhere");
    assert_eq!(alone.waiting(), 2..5);
}

#[test]
fn what_is_accepted_beyond_what_there_is_says_nothing() {
    let mut fixture = Fixture::new();
    fixture.verdict(3, 100, Verdict::Accepted);
    assert_eq!(fixture.told, ["accepted 3 2"]);
    assert_eq!(fixture.clients.table.sessions[0].accepted_to, 5);
    fixture.verdict(5, 1, Verdict::Accepted);
    assert_eq!(fixture.clients.table.sessions[0].accepted_to, 5);
}

#[test]
fn however_many_reasons_it_gives_a_validator_is_left_for_the_next_one() {
    let mut fixture = Fixture::new();
    let now = Instant::now();
    fixture.clients.dial(0, now);
    fixture.clients.table.leaving.extend([(0, None); 4]);
    fixture.clients.leave(now, &mut |_, _| ());
    let gateway = &fixture.clients.table.sessions[0].gateway;
    assert_eq!(gateway.validator(), ValidatorIndex::new(1));
}

#[test]
fn a_result_of_another_command_with_this_number_is_not_told_as_this_one_s() {
    let mut fixture = Fixture::new();
    fixture.results(0, &[1], Some(b"from before"));
    assert_eq!(fixture.told, ["displaced 1"]);
    assert_eq!(fixture.waiting(), 2..5, "the others keep their numbers");
    fixture.results(0, &[2], None);
    assert_eq!(fixture.told, ["displaced 1", "result 2"]);
    let mut many = Fixture::trusting(Trust::FaultStake);
    many.results(0, &[1], None);
    many.results(1, &[1], Some(b"from before"));
    assert_eq!(many.told, [""; 0], "two words");
    many.results(2, &[1], Some(b"from before"));
    assert!(
        many.told.contains(&"displaced 1".to_owned()),
        "{:?}",
        many.told
    );
}

#[test]
fn a_liar_that_tells_the_last_of_a_block_alone_does_not_take_the_other_results_away() {
    let mut fixture = Fixture::trusting(Trust::FaultStake);
    fixture.results(3, &[4], None);
    fixture.results(0, &[1, 2, 3, 4], None);
    assert_eq!(fixture.told, [""; 0]);
    assert_eq!(fixture.waiting(), 1..5);
    fixture.results(1, &[1, 2, 3, 4], None);
    assert_eq!(
        fixture.told,
        ["result 1", "result 2", "result 3", "result 4"]
    );
    assert_eq!(fixture.waiting(), 5..5);
}

#[test]
fn a_result_does_not_wait_for_ever_for_those_before_it() {
    let mut fixture = Fixture::trusting(Trust::FaultStake);
    fixture.results(0, &[3, 4], None);
    fixture.results(1, &[3, 4], None);
    assert_eq!(fixture.told, [""; 0]);
    assert!(fixture.release_overdue());
    assert_eq!(fixture.told, ["unsure 1 2", "result 3", "result 4"]);
}

#[test]
fn results_that_waited_long_enough_are_told_and_no_validator_is_left_for_them() {
    let mut fixture = Fixture::trusting(Trust::FaultStake);
    fixture.clients.dial(0, Instant::now());
    let gateway = &mut fixture.clients.table.sessions[0].gateway;
    let link = gateway.link().expect("on its way");
    gateway.up(link);
    fixture.results(0, &[3, 4], None);
    fixture.results(1, &[3, 4], None);
    let late = Instant::now() + ClientOptions::default().patience;
    fixture.clients.table.stuck.push(LinkUse::Session(0));
    let told = &mut fixture.told;
    let mut tell = |_: ClientRef, event: ClientEvent<'_>| told.push(name_of(&event));
    fixture.clients.judge_stuck(late, &mut tell);
    assert_eq!(fixture.told, ["unsure 1 2", "result 3", "result 4"]);
    assert!(fixture.clients.table.leaving.is_empty());
}

/// What one of several validators, or the only one that is asked, tells of the opening.
fn tell_all(fixture: &mut Fixture, seq: u64, outcome: Outcome) {
    for validator in 0..2 {
        fixture.outcomes(validator, &[seq], |pending, seq| {
            (outcome, Some(pending.mark(seq)))
        });
    }
}

/// What validators say by themselves, and not of an entry in a block, has no mark.
fn repeat_all(fixture: &mut Fixture, seq: u64, outcome: Outcome) {
    for validator in 0..2 {
        fixture.outcomes(validator, &[seq], |_, _| (outcome, None));
    }
}

#[test]
fn a_full_table_is_told_as_a_hold_and_the_command_behind_the_opening_runs_once() {
    for trust in [Trust::OneValidator, Trust::FaultStake] {
        let (mut fixture, opening) = Fixture::unopened(trust);
        tell_all(&mut fixture, opening, Outcome::TableFull);
        let held = format!("held {opening}");
        assert!(!fixture.told.is_empty(), "{trust:?}");
        assert!(fixture.told.iter().all(|told| *told == held), "{trust:?}");
        fixture.told.clear();
        let (again, first) = {
            let now = Instant::now();
            let again = fixture
                .clients
                .submit(fixture.client, Lane::Order, &[1; 8], now);
            (again.expect("room"), opening + 1)
        };
        assert_eq!(again, opening + 3, "behind those that wait");
        fixture.next();
        tell_all(&mut fixture, opening, Outcome::Applied);
        fixture.send();
        for validator in 0..2 {
            fixture.results(validator, &[first, first + 1, again], None);
        }
        let told = [first, first + 1, again].map(|seq| format!("result {seq}"));
        assert_eq!(fixture.told[0], format!("opened {opening}"), "{trust:?}");
        assert_eq!(fixture.told[1..], told, "{trust:?}");
    }
}

#[test]
fn an_opening_that_is_refused_for_its_time_drops_what_waits_for_it_by_enough_stake_alone() {
    for (outcome, rejection) in [
        (Outcome::OpeningTooOld, Rejection::OpeningTooOld),
        (Outcome::OpeningTooFarAhead, Rejection::OpeningTooFarAhead),
    ] {
        let (mut fixture, opening) = Fixture::unopened(Trust::FaultStake);
        fixture.outcomes(3, &[opening], |pending, seq| {
            (outcome, Some(pending.mark(seq)))
        });
        assert_eq!(fixture.told, [""; 0], "one may lie");
        tell_all(&mut fixture, opening, outcome);
        let dropped = format!("dropped {} 2 {rejection:?}", opening + 1);
        assert_eq!(fixture.told, [dropped]);
    }
}

/// All honest validators tell what came of an entry that the session never signed.
#[test]
fn an_opening_is_not_given_up_for_what_another_s_entry_with_its_number_came_to() {
    for trust in [Trust::OneValidator, Trust::FaultStake] {
        for outcome in [Outcome::Gap, Outcome::SessionEnded] {
            let (mut fixture, opening) = Fixture::unopened(trust);
            let forged = Some(Mark::of(b"forged"));
            for validator in 0..4 {
                fixture.outcomes(validator, &[opening], |_, _| (outcome, forged));
            }
            assert_eq!(fixture.told, [""; 0], "{trust:?} {outcome:?}");
            tell_all(&mut fixture, opening, Outcome::Applied);
            assert_eq!(fixture.told, [format!("opened {opening}")]);
        }
    }
}

#[test]
fn an_opening_is_refused_at_the_door_as_any_command_is() {
    for rejection in [
        Rejection::OpeningTooOld,
        Rejection::OpeningTooFarAhead,
        Rejection::SessionOpen,
        Rejection::Conflict,
    ] {
        let refused = Verdict::Rejected(rejection);
        let dropped = |opening: u64| format!("dropped {} 2 {rejection:?}", opening + 1);
        let (mut alone, opening) = Fixture::unopened(Trust::OneValidator);
        assert!(!alone.verdict(opening, 1, refused));
        assert_eq!(alone.told, [dropped(opening)]);
        // One word of four is not enough.
        let (mut many, opening) = Fixture::unopened(Trust::FaultStake);
        assert!(many.verdict(opening, 1, refused), "it is left");
        assert_eq!(many.told, [""; 0]);
        many.next();
        assert!(!many.verdict(opening, 1, refused));
        assert_eq!(many.told, [dropped(opening)]);
        // Nor is it when the opening was taken: all that answer must refuse it.
        let (mut taken, opening) = Fixture::unopened(Trust::OneValidator);
        assert!(!taken.verdict(opening, 1, Verdict::Accepted));
        assert_eq!(taken.told, [""; 0], "the library's own command");
        for _ in 0..2 {
            taken.next();
            assert!(taken.verdict(opening, 1, refused), "another one is asked");
        }
        taken.next();
        assert!(!taken.verdict(opening, 1, refused));
        assert_eq!(taken.told, [dropped(opening)]);
    }
}

#[test]
fn two_processes_with_one_key_are_not_told_that_the_other_one_s_commands_were_theirs() {
    for trust in [Trust::OneValidator, Trust::FaultStake] {
        // Both found no session. The other one opened it first, later by its clock, and this
        // one's number is below all of that session.
        let (mut late, opening) = Fixture::unopened(trust);
        repeat_all(&mut late, opening, Outcome::SessionEnded);
        let ended = format!("dropped {} 2 SessionEnded", opening + 1);
        assert_eq!(late.told, [ended], "{trust:?}");
        // Both go on from the same number, and a validator does not know any more whose the
        // commands of those numbers were.
        let mut both = Fixture::trusting(trust);
        both.next();
        repeat_all(&mut both, 1, Outcome::Duplicate);
        assert_eq!(both.told, ["unsure 1 1"], "{trust:?}");
        both.told.clear();
        for validator in 0..2 {
            both.outcomes(validator, &[3], |_, _| {
                (Outcome::Duplicate, Some(Mark::of(b"the other's")))
            });
        }
        assert_eq!(both.told, ["unsure 2 1", "displaced 3"], "{trust:?}");
        // The session is opened anew by the other one, and all this one had is below that.
        both.told.clear();
        repeat_all(&mut both, 4, Outcome::SessionEnded);
        assert_eq!(both.told, ["unsure 4 1"], "{trust:?}");
        assert_eq!(both.clients.pending(both.client), 0);
    }
}

#[test]
fn a_session_is_opened_anew_above_the_number_with_which_it_has_ended() {
    let (mut fixture, opening) = Fixture::unopened(Trust::OneValidator);
    let client = fixture.client;
    assert!(!fixture.clients.reopen(client, 7), "commands wait");
    assert!(!fixture.clients.resume(client, 0), "commands wait");
    repeat_all(&mut fixture, opening, Outcome::SessionEnded);
    let last = opening + 3_600_000_000_000;
    assert!(fixture.clients.reopen(client, last));
    let seq = fixture
        .clients
        .submit(client, Lane::Order, &[3; 8], Instant::now());
    assert_eq!(seq.expect("room"), last + 2, "behind the opening");
    assert_eq!(
        fixture.clients.table.sessions[0].pending.opening(),
        Some(last + 1)
    );
}

/// Whoever was asked may have passed it on and been silent of what came of it.
#[test]
fn where_several_are_listened_to_nobody_is_sure_that_what_was_sent_once_was_not_applied() {
    for (trust, told) in [
        (Trust::OneValidator, "dropped 1 4 SessionEnded"),
        (Trust::FaultStake, "unsure 1 4"),
    ] {
        let mut fixture = Fixture::trusting(trust);
        tell_all(&mut fixture, 1, Outcome::SessionEnded);
        assert_eq!(fixture.told, [told], "{trust:?}");
    }
}

#[test]
fn that_a_number_was_accepted_says_nothing_of_the_next_command_that_has_it() {
    let given_anew = || {
        let mut fixture = Fixture::new();
        fixture.verdict(1, 4, Verdict::Accepted);
        for _ in 0..2 {
            fixture.next();
            assert!(fixture.verdict(2, 1, TOO_LARGE));
        }
        fixture.next();
        assert!(!fixture.verdict(2, 1, TOO_LARGE), "all that answer");
        assert_eq!(fixture.submit(9), 2);
        fixture.send();
        fixture.told.clear();
        fixture
    };
    let mut taken = given_anew();
    taken.verdict(2, 1, Verdict::Accepted);
    assert_eq!(taken.told, ["accepted 2 1"]);
    let mut refused = given_anew();
    assert!(!refused.verdict(2, 1, TOO_LARGE), "nobody took this one");
    assert_eq!(refused.told, ["dropped 2 1 TooLarge"]);
}

#[test]
fn what_is_told_of_a_command_that_was_given_up_does_not_count_for_the_next_with_its_number() {
    // With a result of another command in between, which makes room for others, and without.
    for is_other_told in [false, true] {
        let mut fixture = Fixture::trusting(Trust::FaultStake);
        let repeat = |_: &Pending, _| (Outcome::Duplicate, None);
        fixture.outcomes(3, &[4], repeat);
        assert!(fixture.verdict(4, 1, TOO_LARGE), "one word");
        fixture.next();
        assert!(!fixture.verdict(4, 1, TOO_LARGE));
        assert_eq!(fixture.told, ["dropped 4 1 TooLarge"]);
        if is_other_told {
            fixture.results(0, &[1], None);
        }
        assert_eq!(fixture.submit(9), 4);
        fixture.send();
        fixture.outcomes(2, &[4], repeat);
        assert_eq!(fixture.waiting(), 1..5, "{is_other_told}: one word of it");
        fixture.outcomes(1, &[4], repeat);
        assert_eq!(fixture.waiting(), 5..5, "{is_other_told}: two");
    }
}

#[test]
fn after_a_login_every_validator_is_tried_again_before_there_is_a_wait() {
    let mut fixture = Fixture::new();
    let mut now = Instant::now();
    let gateway = &mut fixture.clients.table.sessions[0].gateway;
    (0..8).for_each(|_| gateway.next(now));
    // Longer than any wait.
    now += Duration::from_secs(10);
    fixture.clients.dial(0, now);
    let link = fixture.clients.table.sessions[0].gateway.link();
    let link = link.expect("on its way");
    let mut taking = Taking {
        table: &mut fixture.clients.table,
        now,
        on_event: &mut |_, _: ClientEvent<'_>| (),
    };
    taking.link_up(link, 0, 1);
    assert!(taking.table.sessions[0].gateway.is_up());
    taking.link_down(link, CloseReason::Handshake);
    let state = taking.table.sessions[0].gateway.state;
    assert_eq!(state, State::Down { dial_at: now });
}

/// Those who have it repeat it to whoever sent it again; what came of it is known by then.
#[test]
fn a_result_that_is_kept_is_told_in_its_turn_though_others_repeat_its_number() {
    let mut fixture = Fixture::trusting(Trust::FaultStake);
    for validator in [0, 1] {
        fixture.results(validator, &[4], None);
    }
    for validator in [2, 3] {
        fixture.outcomes(validator, &[4], |pending, seq| {
            (Outcome::Duplicate, Some(pending.mark(seq)))
        });
    }
    assert_eq!(fixture.told, [""; 0], "those before it are not known");
    for validator in [0, 1] {
        fixture.results(validator, &[1, 2, 3], None);
    }
    let told = ["result 1", "result 2", "result 3", "result 4"];
    assert_eq!(fixture.told, told);
}

/// Whoever tells of a later one alone must not take what is known of those before it away.
#[test]
fn a_repeat_does_not_pass_over_what_is_agreed_on_before_it() {
    let mut fixture = Fixture::trusting(Trust::FaultStake);
    fixture.results(0, &[1, 2], None);
    fixture.results(3, &[2], None);
    for validator in [1, 3] {
        fixture.outcomes(validator, &[4], |pending, seq| {
            (Outcome::Duplicate, Some(pending.mark(seq)))
        });
    }
    let told = ["unsure 1 1", "result 2", "unsure 3 1", "passed 4 1"];
    assert_eq!(fixture.told, told);
    assert_eq!(fixture.waiting(), 5..5);
    assert!(!fixture.release_overdue(), "nothing is kept");
}

/// What came of it is told as it is, so that its validator is left when it tells nothing more.
#[test]
fn a_kept_result_whose_number_went_by_is_not_waited_for() {
    let mut fixture = Fixture::trusting(Trust::FaultStake);
    for validator in [0, 3] {
        fixture.results(validator, &[2], None);
    }
    let pending = &mut fixture.clients.table.sessions[0].pending;
    pending.on_result(4, (Outcome::Duplicate, Whose::Own), Instant::now());
    assert!(!fixture.release_overdue(), "it goes by");
    assert_eq!(fixture.told, [""; 0]);
}
