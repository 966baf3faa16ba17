//! A chain of signed commands: what is forged does nothing, wherever it comes from.

use crate::world::{MS, Telling, World};
use quorate::keys::KeyPair;
use quorate::lanes::{Rejection, Verdict};
use quorate::results::Outcome;
use quorate::state_machine::SessionId;
use quorate_consensus::payload::{Lane, session_of_key};
use quorate_consensus::signing::command_message;
use quorate_consensus::validators::ValidatorSet;

#[path = "../../src/testing/signed.rs"]
mod testing;
use testing::signed_entry;

fn key(client: u8) -> KeyPair {
    KeyPair::from_seed(&[client; 32])
}

fn session(client: u8) -> SessionId {
    SessionId(session_of_key(&key(client).public()))
}

/// A command of `client`, signed by `signer`.
fn signed(set: &ValidatorSet, client: u8, seq: u64, text: &str, signer: &KeyPair) -> Vec<u8> {
    let sign = |unsigned: &[u8]| {
        signer.sign(&command_message(
            set.chain_id(),
            set.genesis_hash(),
            unsigned,
        ))
    };
    signed_entry(
        Lane::Order,
        &key(client).public(),
        seq,
        text.as_bytes(),
        sign,
    )
}

fn own(world: &World, client: u8, seq: u64, text: &str) -> Vec<u8> {
    signed(&world.set, client, seq, text, &key(client))
}

fn outcomes(world: &World, place: usize, client: u8) -> Vec<(u64, Outcome)> {
    let results = world.slots[place].results.iter();
    results
        .filter(|result| result.session == session(client))
        .map(|result| (result.seq, result.outcome))
        .collect()
}

#[test]
fn signed_commands_become_final_and_others_are_refused_at_admission() {
    let mut world = World::signed(4, 1, None);
    let good: Vec<Vec<u8>> = (1..=5).map(|seq| own(&world, 1, seq, "good")).collect();
    let verdicts = world.submit(1, &good);
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Accepted));
    let forged = signed(&world.set, 2, 1, "forged", &key(3));
    let bare = crate::world::command(9, 1, "bare");
    assert_eq!(
        world.submit(1, &[forged, bare]),
        [Verdict::Rejected(Rejection::BadSignature); 2]
    );
    world.run_until_applied(5, 500 * MS);
    world.assert_equal_states();
    assert_eq!(world.alarms(), []);
    assert_eq!(world.answered(1, Outcome::Applied), 5);
    assert!(world.replica(1).order().lanes().is_empty());
}

#[test]
fn a_forged_command_of_a_byzantine_leader_does_nothing_and_the_client_s_own_applies() {
    let mut world = World::signed(4, 1, Some(0));
    let opening = own(&world, 1, 1, "open");
    world.submit(1, &[opening]);
    world.run_until_applied(1, 500 * MS);
    world.run_until("its turn", 60_000 * MS, |world| {
        world.leader() == 0 && world.up().all(|(_, up)| up.replica.consensus().is_voting())
    });
    // It forges two commands of the client, whose own wait at another validator.
    let forged = [2, 3].map(|seq| signed(&world.set, 1, seq, "forged", &key(8)));
    world.cut.extend([(2, 0)]);
    let mine: Vec<Vec<u8>> = [2, 3, 4].map(|seq| own(&world, 1, seq, "mine")).into();
    let verdicts = world.submit(2, &mine);
    assert_eq!(verdicts, [Verdict::Accepted; 3]);
    assert_eq!(world.submit(0, &forged), [Verdict::Accepted; 2]);
    world.run_until("the forged ones are final", 10_000 * MS, |world| {
        (1..4).all(|place| outcomes(world, place, 1).len() >= 3)
    });
    for place in 1..4 {
        assert_eq!(
            outcomes(&world, place, 1)[..3],
            [
                (1, Outcome::Applied),
                (2, Outcome::BadSignature),
                (3, Outcome::Gap)
            ],
            "validator {place}"
        );
    }
    world.cut.clear();
    world.kill(0);
    world.run_until_applied(4, 20_000 * MS);
    world.assert_equal_states();
    let texts: Vec<&[u8]> = world
        .applied(3)
        .iter()
        .map(|(_, _, text)| &text[..])
        .collect();
    assert_eq!(texts, [&b"open"[..], b"mine", b"mine", b"mine"]);
}

/// Each costs every validator a check of its own, which takes longer than to propose it.
#[test]
fn a_leader_that_proposes_forged_commands_is_given_no_more_time() {
    let mut world = World::signed(4, 1, Some(0));
    let opening = own(&world, 1, 1, "open");
    world.submit(1, &[opening]);
    world.run_until_applied(1, 500 * MS);
    world.run_until("its turn", 60_000 * MS, |world| {
        world.leader() == 0 && world.up().all(|(_, up)| up.replica.consensus().is_voting())
    });
    let forged = signed(&world.set, 2, 1, "forged", &key(8));
    world.submit(0, &[forged]);
    world.run_until("another leads", 1_000 * MS, |world| world.leader() != 0);
    let marked =
        |world: &mut World, place: usize| world.replica(place).consensus().counters().turns_marked;
    assert_eq!([1, 2, 3].map(|place| marked(&mut world, place)), [1; 3]);
    // Validator 0 applied what it does not check: its state is another one.
    let mine = own(&world, 1, 2, "mine");
    world.submit(1, &[mine]);
    world.run_until("it is applied", 1_000 * MS, |world| {
        (1..4).all(|place| outcomes(world, place, 1).contains(&(2, Outcome::Applied)))
    });
}

/// A validator that catches up holds what is final back until all its signatures are checked; what
/// stands there under the client's number is forged, which it does not know yet.
#[test]
fn a_command_whose_number_is_final_and_not_executed_is_told_nothing_but_its_own_result() {
    let mut world = World::signed(4, 1, Some(0));
    let opening = own(&world, 1, 1, "open");
    let other = own(&world, 2, 1, "open");
    world.submit(1, &[opening, other]);
    world.run_until_applied(2, 500 * MS);
    world.run_until("its turn", 60_000 * MS, |world| {
        world.leader() == 0 && world.up().all(|(_, up)| up.replica.consensus().is_voting())
    });
    world.cut.extend([(0, 2), (1, 2), (3, 2)]);
    let mut entries = vec![signed(&world.set, 1, 2, "forged", &key(8))];
    // More than are checked in one turn.
    entries.extend((2..=300).map(|seq| own(&world, 2, seq, "more")));
    world.submit(0, &entries);
    let forged = (2, Outcome::BadSignature);
    world.run_until("it is executed elsewhere", 10_000 * MS, |world| {
        outcomes(world, 1, 1).contains(&forged)
    });
    let height = world.replica(1).executor().height();
    world.cut.clear();
    world.run_until("it is final there too", 10_000 * MS, |world| {
        let (_, up) = world.up().find(|(place, _)| *place == 2).expect("it is up");
        up.replica.consensus().delivered().number() >= height
    });
    assert!(
        !outcomes(&world, 2, 1).contains(&forged),
        "and not executed"
    );
    let mine = own(&world, 1, 2, "mine");
    assert_eq!(world.submit(2, &[mine]), [Verdict::Accepted]);
    world.run_until("it is executed there", 10_000 * MS, |world| {
        outcomes(world, 2, 1).contains(&forged)
    });
    assert_eq!(
        world.slots[2].repeats,
        [],
        "nothing of the kind was applied"
    );
    // Its client hears of the forged one, and sends its own again.
    let mine = own(&world, 1, 2, "mine");
    assert_eq!(world.submit(2, &[mine]), [Verdict::Accepted]);
    world.run_until("its own is applied", 20_000 * MS, |world| {
        outcomes(world, 2, 1).contains(&(2, Outcome::Applied))
    });
    assert_eq!(world.slots[2].repeats, []);
    let (_, _, text) = world.applied(2).last().expect("it is");
    assert_eq!(text, b"mine");
}

#[test]
fn what_a_byzantine_gateway_forwards_forged_enters_no_other_pool() {
    let mut world = World::signed(4, 1, Some(0));
    world.run_until("another leads", 60_000 * MS, |world| {
        world.leader() == 1 && world.up().all(|(_, up)| up.replica.consensus().is_voting())
    });
    let forged = signed(&world.set, 1, 1, "forged", &key(8));
    assert_eq!(world.submit(0, &[forged]), [Verdict::Accepted]);
    world.run(5 * MS);
    let counters = *world.replica(1).order().lanes().counters();
    assert_eq!((counters.forwards_refused, counters.taken_over), (1, 0));
    let mine = own(&world, 1, 1, "mine");
    world.submit(2, &[mine]);
    world.run_until("the client's own", 500 * MS, |world| {
        (1..4).all(|place| world.applied(place).len() == 1)
    });
    assert_eq!(world.applied(1)[0].2, b"mine");
}

#[test]
fn a_start_that_replays_the_log_comes_to_the_same_verdicts() {
    let mut world = World::signed(4, 1, Some(0));
    let forged = signed(&world.set, 1, 1, "forged", &key(8));
    world.submit(0, &[forged]);
    world.run_until("the forged one is final", 60_000 * MS, |world| {
        (1..4).all(|place| outcomes(world, place, 1) == [(1, Outcome::BadSignature)])
    });
    let good: Vec<Vec<u8>> = (1..=100).map(|seq| own(&world, 2, seq, "good")).collect();
    world.submit(1, &good);
    world.run_until_applied(100, 2_000 * MS);
    world.kill(0);
    world.kill(3);
    world.start(3).expect("its log is whole");
    world.run_until_applied(100, 2_000 * MS);
    world.assert_equal_states();
}

/// How many points of signatures each validator had to decode when `count` commands that were
/// submitted to the leader are final.
fn decoded_of(count: u64, telling: Option<Telling>) -> [u64; 4] {
    let mut world = World::signed(4, 1, None);
    world.is_together = true;
    world.telling = telling;
    let leader = world.leader();
    for seq in 1..=count {
        let command = own(&world, 1, seq, "good");
        assert_eq!(world.submit(leader, &[command]), [Verdict::Accepted]);
        world.run_until_applied(seq as usize, 500 * MS);
    }
    world.assert_equal_states();
    assert_eq!(world.answered(leader, Outcome::Applied), count as usize);
    let mut decoded = [0, 1, 2, 3].map(|place| world.replica(place).executor().auth().decoded());
    decoded.rotate_left(leader);
    decoded
}

#[test]
fn what_the_leader_has_decoded_no_other_decodes() {
    assert_eq!(decoded_of(20, None), [20, 0, 0, 0]);
}

#[test]
fn what_is_told_wrong_by_half_or_by_another_costs_checks_and_changes_nothing() {
    let wrong = |_: usize, _: &mut usize, told: &mut Vec<u8>| told[0] ^= 2;
    let half = |_: usize, _: &mut usize, told: &mut Vec<u8>| told.truncate(31);
    let nothing = |_: usize, _: &mut usize, told: &mut Vec<u8>| told.fill(0);
    let long = |_: usize, _: &mut usize, told: &mut Vec<u8>| told.extend_from_slice(&[1; 32]);
    let noise = |_: usize, _: &mut usize, told: &mut Vec<u8>| told.fill(0xff);
    for telling in [wrong, half, nothing, long, noise] {
        assert_eq!(decoded_of(5, Some(telling)), [5; 4]);
    }
}

#[test]
fn nobody_but_the_leader_is_listened_to_about_its_blocks() {
    let by_another = |to: usize, from: &mut usize, _: &mut Vec<u8>| {
        let leader = *from;
        *from = [(leader + 1) % 4, (leader + 2) % 4][usize::from(to == (leader + 1) % 4)];
    };
    let mut world = World::signed(4, 1, None);
    world.is_together = true;
    world.telling = Some(by_another);
    let leader = world.leader();
    let command = own(&world, 1, 1, "good");
    world.submit(leader, &[command]);
    world.run_until_applied(1, 500 * MS);
    let decoded = |world: &mut World, place| world.replica(place).executor().auth().decoded();
    let others = [1, 2, 3].map(|ahead| (leader + ahead) % 4);
    assert_eq!(others.map(|place| decoded(&mut world, place)), [1; 3]);
}

/// A second telling of the same block finds no ear: the first one, which was wrong, is all that a
/// follower has.
#[test]
fn a_leader_is_listened_to_once_for_each_of_its_blocks() {
    let mut world = World::signed(4, 1, None);
    world.is_together = true;
    world.telling = Some(|_, _, told| told.truncate(1));
    let leader = world.leader();
    let follower = (leader + 1) % 4;
    let command = own(&world, 1, 1, "good");
    world.submit(leader, &[command]);
    world.run_until_applied(1, 500 * MS);
    // What is of the wrong length is looked at no further, and was listened to all the same.
    let order = world.replica(follower).order();
    assert_eq!(order.tellings_due(), 0);
}
