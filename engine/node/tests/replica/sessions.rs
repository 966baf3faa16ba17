//! Sessions that fall silent and that end, on whole validators.

use crate::commands::opening;
use crate::world::{MS, World, command, session};
use quorate::lanes::{Rejection, Verdict};
use quorate::sessions::SessionCommand;
use quorate_consensus::machine::Durability;
use quorate_consensus::payload::{Entry, Lane, encode_session_entry, session_of_key};

fn about(client: u8, seq: u64, command: SessionCommand) -> Vec<u8> {
    let key = [client; 32];
    let mut body = if seq == 1 { key.to_vec() } else { Vec::new() };
    command.encode(&mut body);
    let session = session_of_key(&key);
    let entry = Entry {
        lane: Lane::Order,
        session: &session,
        seq,
        signature: None,
        body: &body,
    };
    let mut bytes = Vec::new();
    encode_session_entry(&entry, &mut bytes);
    bytes
}

#[test]
fn an_idle_chain_makes_a_block_when_a_session_times_out_and_tells_everywhere() {
    let mut world = World::new(4, 1, 0, Durability::Async);
    let declare = about(1, 1, SessionCommand::Timeout(500 * MS));
    world.submit(2, &[declare, command(1, 2, "x")]);
    world.run_until_applied(1, 500 * MS);
    world.run(300 * MS);
    for (_, running) in world.up() {
        assert!(running.replica.executor().app().absences.is_empty());
    }
    // The leader's clock says so a moment later; then there is nothing more to be told.
    world.run_until("the time-out", 2_000 * MS, |world| {
        let told = |app: &crate::world::Tape| app.absences == [(session(1), "TimedOut".to_owned())];
        world.up().all(|(_, up)| told(up.replica.executor().app()))
    });
    let height = world.replica(0).executor().height();
    world.run(3_000 * MS);
    assert_eq!(world.replica(0).executor().height(), height);
    world.assert_equal_states();
    // A restart finds the deadline again, and that it has passed.
    world.kill(3);
    world.start(3).expect("its log is whole");
    world.submit(2, &[command(1, 3, "back")]);
    world.run_until_applied(2, 1_000 * MS);
    world.run_until("the second time-out", 2_000 * MS, |world| {
        let twice = |app: &crate::world::Tape| app.absences.len() == 2;
        world.up().all(|(_, up)| twice(up.replica.executor().app()))
    });
    world.assert_equal_states();
}

#[test]
fn a_session_that_ends_leaves_no_pool_and_cannot_be_played_again() {
    let mut world = World::new(4, 1, 0, Durability::Async);
    world.submit(1, &[command(1, 1, "a"), command(1, 2, "b")]);
    world.submit(1, &[about(1, 3, SessionCommand::Close), command(1, 4, "c")]);
    world.run_until_applied(2, 500 * MS);
    world.run_until("the end", 1_000 * MS, |world| {
        let ended = |app: &crate::world::Tape| app.absences.len() == 1;
        world.up().all(|(_, up)| ended(up.replica.executor().app()))
    });
    world.run(200 * MS);
    for place in 0..4 {
        assert!(world.replica(place).order().lanes().is_empty(), "{place}");
    }
    let ended = Verdict::Rejected(Rejection::SessionEnded);
    assert_eq!(world.submit(0, &[command(1, 1, "a")]), [ended]);
    world.kill(3);
    world.start(3).expect("its log is whole");
    assert_eq!(world.submit(3, &[command(1, 5, "a")]), [ended]);
    world.assert_equal_states();
    assert_eq!(world.applied(0).len(), 2);
    // Its owner opens it with a higher number, at the validator that was away; all else is as
    // before.
    let base = 60_000 * MS;
    let anew = [opening(1, base, "d"), command(1, base + 1, "e")];
    assert_eq!(world.submit(3, &anew), [Verdict::Accepted; 2]);
    world.run_until_applied(4, 1_000 * MS);
    let old = [command(1, 1, "a"), command(1, 2, "b")];
    assert_eq!(
        world.submit(0, &old),
        [Verdict::Accepted; 2],
        "they are repeats"
    );
    let twice = Verdict::Rejected(Rejection::SessionOpen);
    assert_eq!(world.submit(0, &[opening(1, base + 2, "f")]), [twice]);
    world.run(200 * MS);
    world.assert_equal_states();
    assert_eq!(world.applied(0).len(), 4);
    for place in 0..4 {
        assert!(world.replica(place).order().lanes().is_empty(), "{place}");
    }
}

#[test]
fn an_opening_out_of_its_time_is_refused_at_the_door_and_by_every_block() {
    let mut world = World::new(4, 1, 0, Durability::Async);
    let ahead = Verdict::Rejected(Rejection::OpeningTooFarAhead);
    assert_eq!(world.submit(1, &[opening(1, 400_000 * MS, "a")]), [ahead]);
    world.run(320_000 * MS);
    let old = Verdict::Rejected(Rejection::OpeningTooOld);
    assert_eq!(world.submit(1, &[command(1, 1, "a")]), [old]);
    assert_eq!(
        world.submit(1, &[opening(1, 400_000 * MS, "a")]),
        [Verdict::Accepted]
    );
    world.run_until_applied(1, 1_000 * MS);
    world.assert_equal_states();
}

#[test]
fn a_session_opened_in_the_block_that_made_room_for_it_goes_on_at_every_validator() {
    let mut world = World::new(4, 1, 0, Durability::Async);
    world.sessions_max = 1;
    for place in 0..4 {
        world.kill(place);
    }
    for place in 0..4 {
        world.start(place).expect("its log is whole");
    }
    let leader = world.leader();
    world.submit(leader, &[command(1, 1, "a")]);
    world.run_until_applied(1, 10_000 * MS);
    // Until its opening is too old, a session that closes keeps its place.
    let base = 300_000 * MS;
    world.run(base);
    let height = world.replica(0).executor().height();
    let both = [about(1, 2, SessionCommand::Close), opening(2, base, "b")];
    assert_eq!(world.submit(leader, &both), [Verdict::Accepted; 2]);
    world.run_until_applied(2, 500 * MS);
    let last = world.replica(0).executor().height();
    assert_eq!(last, height + 1, "one block made the room and took it");
    for place in 0..4 {
        let seq = place as u64 + 1;
        let next = world.submit(place, &[command(2, base + seq, "c")]);
        assert_eq!(next, [Verdict::Accepted], "{place}");
        world.run_until_applied(seq as usize + 2, 1_000 * MS);
    }
    world.assert_equal_states();
    for place in 0..4 {
        assert!(world.replica(place).order().lanes().is_empty(), "{place}");
    }
}
