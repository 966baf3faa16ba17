//! Attested state roots (protocol.md 5.6).

use crate::bench::{Bench, Setup};
use crate::fixtures::{set_of, sign_state, six, v, verdict};
use quorate_consensus::attestation::{
    Divergence, StateCertificate, StateCertificateError, StateStatement, differences, judge_state,
    sections_digest,
};
use quorate_consensus::effect::{Alarm, Destination, Effect};
use quorate_consensus::input::Input;
use quorate_consensus::limits;
use quorate_consensus::machine::{Disposition, Ignored, PeerFault};
use quorate_consensus::message::Message;
use quorate_consensus::trust::Authenticated;
use quorate_consensus::types::{BlockId, Height, Stake};
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::verify::Claim;

fn state(height: u64, book: u8) -> StateStatement {
    StateStatement {
        height: Height::new(height),
        id: BlockId::new([3; 32]),
        sections: vec![[1; 32], [book; 32]],
        snapshot: None,
    }
}

fn attestation(set: &ValidatorSet, from: u16, statement: &StateStatement) -> Message {
    Message::Attestation {
        statement: statement.clone(),
        signature: sign_state(set, v(from), statement),
    }
}

fn say(bench: &mut Bench, from: u16, statement: &StateStatement) -> Disposition {
    let message = attestation(&bench.set, from, statement);
    bench.message(from, message)
}

fn proven(bench: &Bench) -> Vec<&StateCertificate> {
    let proven = bench.seen.iter().filter_map(|effect| match effect {
        Effect::StateProven(certificate) => Some(certificate),
        _ => None,
    });
    proven.collect()
}

fn alarms(bench: &Bench) -> Vec<Alarm> {
    let alarms = bench.seen.iter().filter_map(|effect| match effect {
        Effect::Alarm(alarm) => Some(*alarm),
        _ => None,
    });
    alarms.collect()
}

fn divergences(bench: &Bench) -> Vec<&Divergence> {
    let divergences = bench.seen.iter().filter_map(|effect| match effect {
        Effect::Diverged(divergence) => Some(&**divergence),
        _ => None,
    });
    divergences.collect()
}

#[test]
fn weight_f_plus_one_alike_proves_a_state_and_less_does_not() {
    // F = 3 by weight: AMP = 4.
    let set = set_of(&[3, 1, 3, 3, 3, 3], 3, 3, 4, 1);
    let mut bench = Bench::new(&set, 0);
    say(&mut bench, 2, &state(64, 5));
    say(&mut bench, 3, &state(64, 6));
    say(&mut bench, 4, &state(128, 5));
    assert!(proven(&bench).is_empty());
    say(&mut bench, 1, &state(64, 5));
    let certificate = proven(&bench)[0];
    assert_eq!(certificate.statement, state(64, 5));
    let signers: Vec<u16> = certificate
        .signatures
        .iter()
        .map(|(signer, _)| signer.number())
        .collect();
    assert_eq!(signers, [1, 2]);
    let claim = Claim::StateCertificate(certificate.clone());
    let checked = verdict(&set, v(5), v(0), claim);
    assert!(matches!(checked, Some(Input::Verified { .. })));
    // Once a height.
    say(&mut bench, 5, &state(64, 5));
    assert_eq!(proven(&bench).len(), 1);
}

#[test]
fn a_certificate_with_a_repeat_a_stranger_too_little_or_a_bad_signature_proves_nothing() {
    let set = six(4);
    let statement = state(64, 5);
    let signed = |from: u16| (v(from), sign_state(&set, v(from), &statement));
    let of = |signatures| StateCertificate {
        statement: statement.clone(),
        signatures,
    };
    assert_eq!(judge_state(&set, &of(vec![signed(1), signed(4)])), Ok(()));
    assert_eq!(
        judge_state(&set, &of(vec![signed(1), signed(1)])),
        Err(StateCertificateError::NotAscending { validator: v(1) })
    );
    assert_eq!(
        judge_state(&set, &of(vec![signed(1), (v(6), [0; 64])])),
        Err(StateCertificateError::UnknownValidator { validator: v(6) })
    );
    assert_eq!(
        judge_state(&set, &of(vec![signed(1)])),
        Err(StateCertificateError::TooLittleWeight {
            weight: Stake::new(1),
            needed: Stake::new(2)
        })
    );
    let mut forged = of(vec![signed(1), signed(4)]);
    forged.statement.snapshot = Some([9; 32]);
    let checked = verdict(&set, v(0), v(1), Claim::StateCertificate(forged));
    assert!(matches!(checked, Some(Input::Refused { .. })));
}

#[test]
fn an_own_state_is_signed_told_to_all_and_told_again_to_a_peer_that_was_away() {
    let set = six(4);
    let snapshot = StateStatement {
        snapshot: Some([8; 32]),
        ..state(64, 5)
    };
    for own in [state(64, 5), snapshot] {
        let mut bench = Bench::new(&set, 0);
        if own.snapshot.is_some() {
            bench.input(Input::State(state(64, 5)));
        }
        bench.seen.clear();
        bench.input(Input::State(own.clone()));
        let told = |bench: &Bench, expected: Destination| {
            bench.seen.iter().any(|effect| match effect {
                Effect::Send { to, message } => {
                    *to == expected && *message == attestation(&bench.set, 0, &own)
                }
                _ => false,
            })
        };
        assert!(told(&bench, Destination::All));
        bench.input(Input::PeerDown(v(3)));
        bench.input(Input::PeerUp(v(3)));
        assert!(told(&bench, Destination::Peer(v(3))));
        // The own word counts as everybody's does.
        say(&mut bench, 4, &own);
        assert_eq!(proven(&bench)[0].signatures.len(), 2);
        assert_eq!(alarms(&bench), []);
    }
}

/// One that found no room on its way is lost, and on an idle chain no other follows it.
#[test]
fn the_newest_own_states_are_told_again_at_intervals_to_peers_that_are_there() {
    let set = six(4);
    let mut bench = Bench::new(&set, 0);
    for own in [state(64, 5), state(128, 5), snapshot(128, 5)] {
        bench.input(Input::State(own));
    }
    bench.input(Input::PeerDown(v(3)));
    let told = |bench: &mut Bench, ms| -> Vec<(Destination, StateStatement)> {
        bench.seen.clear();
        bench.lapse(ms);
        let told = bench.seen.iter().filter_map(|effect| match effect {
            Effect::Send {
                to,
                message: Message::Attestation { statement, .. },
            } => Some((*to, statement.clone())),
            _ => None,
        });
        told.collect()
    };
    let peers = [1, 2, 4, 5].map(|peer| Destination::Peer(v(peer)));
    let newest = |to| [(to, state(128, 5)), (to, snapshot(128, 5))];
    let all: Vec<_> = peers.into_iter().flat_map(newest).collect();
    let repeat_ms = limits::STATE_REPEAT_NS / 1_000_000;
    assert_eq!(told(&mut bench, repeat_ms - 500), []);
    for _ in 0..2 {
        assert_eq!(told(&mut bench, 1_000), all);
        assert_eq!(told(&mut bench, repeat_ms - 1_000), []);
    }
    // It costs no check where it has come before.
    for expected in [Disposition::Applied, Disposition::Ignored(Ignored::Stale)] {
        assert_eq!(say(&mut bench, 2, &state(64, 5)), expected);
    }
}

#[test]
fn a_validator_whose_state_is_another_than_an_honest_one_s_says_which_section() {
    let set = six(4);
    for is_own_first in [true, false] {
        let mut bench = Bench::new(&set, 0);
        if is_own_first {
            bench.input(Input::State(state(64, 5)));
        }
        say(&mut bench, 1, &state(64, 6));
        // One may lie.
        assert_eq!(alarms(&bench), []);
        say(&mut bench, 2, &state(64, 6));
        if !is_own_first {
            bench.input(Input::State(state(64, 5)));
        }
        let differs = Alarm::StateDiffers {
            height: Height::new(64),
            section: Some(1),
        };
        assert_eq!(alarms(&bench), [differs]);
    }
}

#[test]
fn two_instances_on_one_machine_that_differ_are_told() {
    let mut bench = Bench::new(&six(4), 0);
    let snapshot = |book| StateStatement {
        snapshot: Some([8; 32]),
        ..state(64, book)
    };
    bench.input(Input::State(state(64, 5)));
    bench.input(Input::State(snapshot(5)));
    assert_eq!(alarms(&bench), []);
    bench.input(Input::State(snapshot(6)));
    assert_eq!(alarms(&bench).len(), 1);
    let mut bench = Bench::new(&six(4), 0);
    bench.input(Input::State(state(64, 5)));
    bench.input(Input::State(snapshot(6)));
    assert_eq!(alarms(&bench).len(), 1, "at once");
    // Whatever others say: it is no snapshot of the state that was told.
    let other = attestation(&bench.set, 0, &snapshot(6));
    let is_told =
        |effect: &Effect| matches!(effect, Effect::Send { message, .. } if *message == other);
    assert!(!bench.seen.iter().any(is_told));
    say(&mut bench, 1, &snapshot(6));
    assert!(proven(&bench).is_empty());
}

fn snapshot(height: u64, book: u8) -> StateStatement {
    StateStatement {
        snapshot: Some([8; 32]),
        ..state(height, book)
    }
}

/// What this validator has said of its own state, in order.
fn own_words(bench: &Bench) -> Vec<&StateStatement> {
    let words = bench.seen.iter().filter_map(|effect| match effect {
        Effect::SignState(statement) => Some(statement),
        _ => None,
    });
    words.collect()
}

/// Under load the second instance comes to a snapshot long after the first one has passed it.
#[test]
fn a_snapshot_is_held_against_a_state_that_is_long_past() {
    let passed = limits::ATTESTED_ROOTS_MAX as u64 + 1;
    for book in [5, 6] {
        let mut bench = Bench::new(&six(4), 0);
        for count in 1..=1 + passed {
            bench.input(Input::State(state(64 * count, 5)));
        }
        bench.seen.clear();
        bench.input(Input::State(snapshot(64, book)));
        if book == 5 {
            assert_eq!(own_words(&bench), [&snapshot(64, 5)]);
            assert_eq!(alarms(&bench), []);
        } else {
            let (height, section) = (Height::new(64), None);
            let differs = Alarm::StateDiffers { height, section };
            assert_eq!(alarms(&bench), [differs]);
            assert!(own_words(&bench).is_empty());
        }
    }
}

#[test]
fn a_snapshot_of_a_state_that_is_not_known_any_more_is_not_attested() {
    let mut setup = Setup::new(&six(4), 0);
    let digest = sections_digest(&state(64, 5).sections);
    let most = limits::OWN_DIGESTS_MAX as u64;
    let kept = (1..=most).map(|count| (Height::new(64 * count), digest));
    setup.restored.states = kept.collect();
    let mut bench = setup.run();
    bench.input(Input::State(snapshot(64, 5)));
    assert_eq!(alarms(&bench), [], "as many as are kept");
    bench.input(Input::State(state(64 * (most + 1), 5)));
    bench.seen.clear();
    bench.input(Input::State(snapshot(64, 5)));
    let forgotten = Alarm::StateUncompared(Height::new(64));
    assert_eq!(alarms(&bench), [forgotten]);
    assert!(own_words(&bench).is_empty());
    bench.input(Input::State(snapshot(128, 5)));
    assert_eq!(own_words(&bench), [&snapshot(128, 5)]);
}

/// Digests of this many states from `from` on, 64 heights apart.
fn digests(from: u64, count: usize) -> impl Iterator<Item = (Height, [u8; 32])> {
    let digest = sections_digest(&state(64, 5).sections);
    (0..count as u64).map(move |passed| (Height::new(from + 64 * passed), digest))
}

/// One that is not attested was taken in vain, for which the next ones are rarer: up to 64 times as
/// rare as configured, and with `every_heights` = 65,536 further back than other states are kept.
#[test]
fn a_snapshot_at_its_interval_is_held_against_a_state_however_far_it_is_past() {
    let height = 64 * 65_536;
    for book in [5, 6] {
        let mut setup = Setup::new(&six(4), 0);
        setup.snapshot_heights = 65_536;
        setup.restored.states = digests(height, 1 + limits::OWN_DIGESTS_MAX).collect();
        let mut bench = setup.run();
        let next = height + 64 * (1 + limits::OWN_DIGESTS_MAX as u64);
        bench.input(Input::State(state(next, 5)));
        bench.seen.clear();
        bench.input(Input::State(snapshot(height, book)));
        if book == 5 {
            assert_eq!(own_words(&bench), [&snapshot(height, 5)]);
            assert_eq!(alarms(&bench), []);
        } else {
            let (height, section) = (Height::new(height), None);
            let differs = Alarm::StateDiffers { height, section };
            assert_eq!(alarms(&bench), [differs]);
            assert!(own_words(&bench).is_empty());
        }
        // Taken out of turn, or by a configuration of before.
        bench.seen.clear();
        bench.input(Input::State(snapshot(height + 64, 5)));
        let forgotten = Alarm::StateUncompared(Height::new(height + 64));
        assert_eq!(alarms(&bench), [forgotten]);
    }
}

#[test]
fn of_states_at_which_snapshots_are_taken_a_bounded_number_is_kept() {
    let most = limits::OWN_SNAPSHOT_DIGESTS_MAX;
    let mut setup = Setup::new(&six(4), 0);
    setup.snapshot_heights = 128;
    let last = 128 * (1 + most as u64);
    let above = digests(last + 64, 2 * limits::OWN_DIGESTS_MAX);
    let odd = above.filter(|(height, _)| !height.number().is_multiple_of(128));
    setup.restored.states = digests(64, 2 * (1 + most)).chain(odd).collect();
    let mut bench = setup.run();
    bench.input(Input::State(snapshot(128, 5)));
    let forgotten = Alarm::StateUncompared(Height::new(128));
    assert_eq!(alarms(&bench), [forgotten]);
    bench.input(Input::State(snapshot(256, 5)));
    assert_eq!(own_words(&bench), [&snapshot(256, 5)]);
}

/// The first instance executed it before this run told anybody of anything.
#[test]
fn a_snapshot_is_held_against_what_the_start_executed_again() {
    for book in [5, 6] {
        let mut setup = Setup::new(&six(4), 0);
        let digest = sections_digest(&state(64, 5).sections);
        setup.restored.states = vec![(Height::new(64), digest)];
        let mut bench = setup.run();
        bench.input(Input::State(snapshot(64, book)));
        assert_eq!(own_words(&bench).len(), usize::from(book == 5));
        assert_eq!(alarms(&bench).len(), usize::from(book == 6));
    }
}

#[test]
fn a_snapshot_that_is_ahead_of_the_first_instance_waits_for_it() {
    for book in [5, 6] {
        let mut bench = Bench::new(&six(4), 0);
        bench.input(Input::State(snapshot(64, book)));
        bench.input(Input::State(snapshot(128, 5)));
        assert!(own_words(&bench).is_empty());
        assert_eq!(alarms(&bench), []);
        bench.input(Input::State(state(64, 5)));
        assert_eq!(own_words(&bench).len(), 1 + usize::from(book == 5));
        assert_eq!(alarms(&bench).len(), usize::from(book == 6));
        bench.input(Input::State(state(128, 5)));
        assert_eq!(own_words(&bench).last(), Some(&&snapshot(128, 5)));
    }
}

/// However many wait, what others say of them is not lost for it.
#[test]
fn of_snapshots_that_wait_for_the_first_instance_the_highest_are_kept() {
    let most = limits::ATTESTED_SNAPSHOTS_MAX as u64;
    let mut bench = Bench::new(&six(4), 0);
    for count in 1..=most + 1 {
        bench.input(Input::State(snapshot(64 * count, 5)));
    }
    for count in 1..=most + 1 {
        bench.input(Input::State(state(64 * count, 5)));
    }
    let of_snapshots = |word: &&&StateStatement| word.snapshot.is_some();
    let words = own_words(&bench);
    let heights: Vec<u64> = words
        .iter()
        .filter(of_snapshots)
        .map(|word| word.height.number())
        .collect();
    let highest: Vec<u64> = (2..=most + 1).map(|count| 64 * count).collect();
    assert_eq!(heights, highest);
}

#[test]
fn a_state_that_others_have_proven_is_proven_again_with_the_own_word() {
    let mut bench = Bench::new(&six(4), 0);
    say(&mut bench, 1, &state(64, 5));
    say(&mut bench, 2, &state(64, 5));
    say(&mut bench, 3, &state(64, 5));
    bench.input(Input::State(state(64, 5)));
    let signers = |certificate: &&StateCertificate| -> Vec<u16> {
        let signatures = certificate.signatures.iter();
        signatures.map(|(signer, _)| signer.number()).collect()
    };
    let lists: Vec<_> = proven(&bench).iter().map(signers).collect();
    assert_eq!(lists, [vec![1, 2], vec![0, 1, 2, 3]]);
    assert_eq!(judge_state(&bench.set, proven(&bench)[1]), Ok(()));
    // Another state than the own one is not, nor what a peer adds.
    say(&mut bench, 4, &state(64, 5));
    say(&mut bench, 1, &state(128, 6));
    say(&mut bench, 2, &state(128, 6));
    bench.input(Input::State(state(128, 5)));
    assert_eq!(proven(&bench).len(), 3);
    assert!(!signers(&proven(&bench)[2]).contains(&0));
}

/// What a start is held against would be worth nothing, and stand in the place of what is.
#[test]
fn a_state_is_not_proven_again_when_too_few_of_those_who_proved_it_are_known() {
    let set = six(4);
    let mut bench = Bench::new(&set, 0);
    say(&mut bench, 1, &state(64, 5));
    say(&mut bench, 2, &state(64, 5));
    assert_eq!(proven(&bench).len(), 1);
    for (from, book) in [(1, 6), (2, 7)] {
        for count in 2..2 + limits::ATTESTED_ROOTS_MAX as u64 {
            say(&mut bench, from, &state(64 * count, book));
        }
    }
    bench.input(Input::State(state(64, 5)));
    let is_good = |one: &StateCertificate| judge_state(&set, one) == Ok(());
    assert!(proven(&bench).into_iter().all(is_good));
    assert_eq!(proven(&bench).len(), 1, "the own word alone is not enough");
    say(&mut bench, 3, &state(128, 7));
    assert!(proven(&bench).into_iter().all(is_good));
    assert_eq!(proven(&bench).len(), 2);
}

/// Its certificate goes to those who have the snapshot, which is kept whoever signed.
#[test]
fn a_snapshot_that_others_have_proven_is_not_proven_again() {
    let mut bench = Bench::new(&six(4), 0);
    say(&mut bench, 1, &snapshot(64, 5));
    say(&mut bench, 2, &snapshot(64, 5));
    bench.input(Input::State(state(64, 5)));
    bench.input(Input::State(snapshot(64, 5)));
    assert_eq!(own_words(&bench).last(), Some(&&snapshot(64, 5)));
    assert_eq!(proven(&bench).len(), 1);
}

#[test]
fn a_bad_signature_and_a_height_that_nobody_attests_are_faults() {
    let set = six(4);
    let mut bench = Setup::new(&set, 0).run();
    let odd = say(&mut bench, 1, &state(65, 5));
    assert_eq!(odd, Disposition::Fault(PeerFault::InvalidAttestation));
    // Another validator's word on its own channel is nobody's.
    let relayed = attestation(&set, 2, &state(64, 5));
    bench.message(1, relayed);
    say(&mut bench, 3, &state(64, 5));
    assert!(proven(&bench).is_empty());
}

#[test]
fn a_validator_that_floods_heights_displaces_nobody_s_word_but_its_own() {
    let set = six(4);
    let mut bench = Bench::new(&set, 0);
    say(&mut bench, 2, &state(64, 5));
    for count in 1..=2 * limits::ATTESTED_ROOTS_MAX as u64 {
        say(&mut bench, 1, &state(64_000_000 + 64 * count, 5));
    }
    for height in [64, 64_000_064] {
        let low = say(&mut bench, 1, &state(height, 5));
        assert_eq!(low, Disposition::Ignored(Ignored::OutOfRange), "{height}");
    }
    say(&mut bench, 3, &state(64, 5));
    assert_eq!(proven(&bench).len(), 1);
    let again = say(&mut bench, 3, &state(64, 6));
    assert_eq!(again, Disposition::Ignored(Ignored::Stale));
}

#[test]
fn a_validator_that_floods_snapshots_displaces_nobody_s_word_but_its_own() {
    let snapshot = |height| StateStatement {
        snapshot: Some([8; 32]),
        ..state(height, 5)
    };
    let mut bench = Bench::new(&six(4), 0);
    say(&mut bench, 2, &snapshot(64));
    for count in 1..=2 * limits::ATTESTED_SNAPSHOTS_MAX as u64 {
        let said = say(&mut bench, 1, &snapshot(64_000_000 + 64 * count));
        assert_eq!(said, Disposition::Applied);
    }
    for height in [64, 64_000_064] {
        let low = say(&mut bench, 1, &snapshot(height));
        assert_eq!(low, Disposition::Ignored(Ignored::OutOfRange), "{height}");
    }
    say(&mut bench, 3, &snapshot(64));
    assert_eq!(proven(&bench).len(), 1);
}

/// Else their author could stand in certificates of two states of one height.
#[test]
fn of_two_statements_of_a_height_that_are_checked_at_once_the_first_one_counts() {
    let set = six(4);
    let mut bench = Bench::new(&set, 0);
    for book in [5, 6] {
        let message = attestation(&set, 1, &state(64, book));
        let message = Authenticated::assert_authenticated(v(1), message);
        assert_eq!(bench.feed(Input::Message(message)), Disposition::Applied);
    }
    bench.settle();
    say(&mut bench, 2, &state(64, 6));
    assert!(proven(&bench).is_empty());
    say(&mut bench, 3, &state(64, 5));
    assert_eq!(proven(&bench)[0].statement, state(64, 5));
}

#[test]
fn a_state_that_more_weight_than_could_still_stand_by_the_own_one_denies_has_diverged_once() {
    let set = six(4);
    let mut bench = Bench::new(&set, 0);
    for height in [64, 128] {
        bench.input(Input::State(state(height, 5)));
        for from in 1..=5 {
            say(&mut bench, from, &state(height, 5));
        }
    }
    bench.input(Input::State(state(192, 5)));
    for from in 1..=3 {
        // Up to here those who are silent may still stand by the own state.
        assert!(divergences(&bench).is_empty());
        say(&mut bench, from, &state(192, 6));
    }
    // Three for it, one against and two silent: the alarm is there, the decision is not.
    assert!(divergences(&bench).is_empty());
    assert_eq!(alarms(&bench).len(), 1);
    say(&mut bench, 4, &state(192, 6));
    let found = divergences(&bench)[0].clone();
    assert_eq!(found.common, Some(state(128, 5)), "the newest");
    assert_eq!(found.own, state(192, 5));
    assert!(differences(&found.own, &found.proven.statement).eq([1]));
    assert_eq!(found.proven.statement, state(192, 6));
    assert_eq!(judge_state(&set, &found.proven), Ok(()));
    let checked = verdict(&set, v(5), v(0), Claim::StateCertificate(found.proven));
    assert!(matches!(checked, Some(Input::Verified { .. })));
    bench.input(Input::State(state(256, 5)));
    for from in 1..=5 {
        say(&mut bench, from, &state(256, 6));
    }
    assert_eq!(divergences(&bench).len(), 1);
}

#[test]
fn a_liar_and_a_faulty_build_silence_nobody_who_is_not_alone() {
    let set = six(4);
    let mut bench = Bench::new(&set, 0);
    bench.input(Input::State(state(64, 5)));
    // F = 1, so that these two are AMP: one of them may be honest, and wrong.
    say(&mut bench, 1, &state(64, 6));
    say(&mut bench, 2, &state(64, 6));
    assert_eq!(alarms(&bench).len(), 1);
    say(&mut bench, 3, &state(64, 5));
    bench.input(Input::State(state(128, 5)));
    say(&mut bench, 4, &state(64, 5));
    assert!(divergences(&bench).is_empty());
    // A single one never decides, however long the others are silent.
    say(&mut bench, 1, &state(128, 6));
    bench.input(Input::State(state(192, 5)));
    assert!(divergences(&bench).is_empty());
}

/// All who may be faulty together are less than AMP, however much more than one validator they are.
#[test]
fn a_liar_that_outweighs_who_is_alone_decides_nothing() {
    let set = set_of(&[3, 1, 3, 3, 3, 3], 3, 3, 4, 1);
    let mut bench = Bench::new(&set, 1);
    bench.input(Input::State(state(64, 5)));
    say(&mut bench, 0, &state(64, 6));
    bench.input(Input::State(state(128, 5)));
    assert!(divergences(&bench).is_empty(), "3 of AMP = 4");
    say(&mut bench, 2, &state(64, 6));
    assert_eq!(divergences(&bench).len(), 1);
}

#[test]
fn the_silent_stand_by_the_own_state_with_all_their_stake() {
    let set = set_of(&[3, 1, 3, 3, 3, 3], 3, 3, 4, 1);
    let mut bench = Bench::new(&set, 1);
    bench.input(Input::State(state(64, 5)));
    say(&mut bench, 0, &state(64, 6));
    say(&mut bench, 2, &state(64, 6));
    assert!(divergences(&bench).is_empty(), "6 against 1, and 9 silent");
    say(&mut bench, 3, &state(64, 6));
    assert_eq!(divergences(&bench).len(), 1, "9 against 1, and 6 silent");
}

#[test]
fn who_is_silent_while_the_own_state_goes_on_stands_by_nobody() {
    let mut bench = Bench::new(&six(4), 0);
    bench.input(Input::State(state(64, 5)));
    say(&mut bench, 1, &state(64, 6));
    say(&mut bench, 2, &state(64, 6));
    assert!(divergences(&bench).is_empty());
    bench.input(Input::State(state(128, 5)));
    let found = divergences(&bench)[0];
    assert_eq!((found.common.clone(), &found.own), (None, &state(64, 5)));
}

#[test]
fn snapshots_of_a_second_instance_are_told_and_do_not_decide() {
    let mut bench = Bench::new(&six(4), 0);
    let snapshot = |book| StateStatement {
        snapshot: Some([8; 32]),
        ..state(64, book)
    };
    bench.input(Input::State(state(64, 5)));
    bench.input(Input::State(snapshot(5)));
    for from in 1..=5 {
        say(&mut bench, from, &snapshot(6));
    }
    assert_eq!(alarms(&bench).len(), 1);
    assert!(divergences(&bench).is_empty());
}

#[test]
fn a_state_of_more_sections_than_a_statement_holds_is_not_told() {
    let most = limits::STATE_SECTIONS_MAX;
    for (count, is_taken) in [
        (most - 1, true),
        (most, true),
        (most + 1, false),
        (most + 2, false),
    ] {
        let mut bench = Bench::new(&six(4), 0);
        let sections = vec![[1; 32]; count];
        let disposition = bench.input(Input::State(StateStatement {
            sections,
            ..state(64, 5)
        }));
        assert_eq!(disposition == Disposition::Applied, is_taken, "{count}");
    }
}

/// Certificates come in any order, and those of snapshots are of a second instance.
#[test]
fn the_last_state_in_common_is_the_highest_one_of_those_that_decide() {
    let mut bench = Bench::new(&six(4), 0);
    let snapshot = StateStatement {
        snapshot: Some([8; 32]),
        ..state(192, 5)
    };
    for own in [state(64, 5), state(128, 5), state(192, 5), snapshot.clone()] {
        bench.input(Input::State(own));
    }
    for said in [state(128, 5), state(64, 5), snapshot] {
        say(&mut bench, 1, &said);
    }
    assert_eq!(proven(&bench).len(), 3, "own and v1: AMP");
    bench.input(Input::State(state(256, 5)));
    for from in 2..=5 {
        say(&mut bench, from, &state(256, 6));
    }
    let found = divergences(&bench)[0];
    assert_eq!(found.common, Some(state(128, 5)));
}

/// AMP stand by the own state, and twice as many against it.
#[test]
fn a_height_at_which_the_state_went_apart_is_not_in_common() {
    let mut bench = Bench::new(&six(4), 0);
    bench.input(Input::State(state(64, 5)));
    say(&mut bench, 1, &state(64, 5));
    assert_eq!(proven(&bench).len(), 1);
    for from in 2..=5 {
        say(&mut bench, from, &state(64, 6));
    }
    assert_eq!(divergences(&bench)[0].common, None);
}
