//! What is seen of validators that run, and of their clients, comes to the checkers.

use super::*;
use crate::app::App;
use crate::byzantine::{ActorName, Byzantine};
use crate::checks::SAMPLE;
use crate::checks::handed::Handed;
use crate::overheard::Ear;
use crate::plan::RunOptions;
use crate::script::Scenario;
use crate::tape::Tape;
use quorate_consensus::header::Header;
use quorate_consensus::machine::{Disposition, PeerFault};
use quorate_consensus::message::{Propose, Vote};
use quorate_consensus::payload::{Entry, Lane, encode_entry};
use quorate_consensus::record::Record;
use quorate_consensus::restart::LeaseFile;
use quorate_consensus::types::{Epoch, Window};

/// A world without faults, once everybody runs.
fn running(byzantine: Byzantine) -> World<Tape> {
    let options = RunOptions {
        seed: 1,
        scenario: Scenario::Calm,
        byzantine,
        ..RunOptions::default()
    };
    let mut world = World::new(&options, &App::default(), false).unwrap();
    while world.up().len() < world.members.len() {
        assert!(world.step(u64::MAX));
    }
    world
}

/// One who is Byzantine, and two honest ones.
fn liar_and_two(world: &World<Tape>) -> (usize, [usize; 2]) {
    let (liars, honest): (Vec<_>, Vec<_>) = (0..4).partition(|&at| world.is_byzantine(at));
    (liars[0], [honest[0], honest[1]])
}

fn found(world: &mut World<Tape>) -> Vec<&'static str> {
    let found = world.checks.finish();
    found.iter().map(|violation| violation.check).collect()
}

#[test]
fn windows_that_honest_validators_give_up_after_healing_without_a_block_are_found() {
    let (bound, patience_ns) = running(Byzantine::default()).plan.progress_bound();
    let see = |given_up: u64| {
        let mut world = running(Byzantine::default());
        world.is_healed = true;
        world.checks.progress.heal(world.now_ns);
        world.now_ns += patience_ns + 1;
        let first = world.checks.progress.entered();
        let stops = (first..first + given_up).map(|window| Event::Stopped(Window::new(window)));
        let window = Window::new(first + bound + 1);
        let entered = Event::Entered {
            window,
            leader: world.set.leader(window),
        };
        let turned = Turned {
            events: stops.chain([entered]).collect(),
            ..Turned::default()
        };
        assert!(world.is_progress_promised());
        world.watch_turn(0, turned);
        assert_eq!(world.checks.progress.windows_max(), given_up);
        found(&mut world)
    };
    assert_eq!(see(0), [""; 0], "they ended full of blocks");
    assert_eq!(see(bound), [""; 0]);
    assert_eq!(see(bound + 1), ["progress"]);
}

#[test]
fn an_honest_peer_that_is_dropped_for_what_it_sent_is_found_and_a_byzantine_one_is_not() {
    let outcome = FrameOutcome::Handled(Disposition::Fault(PeerFault::NotLeader));
    let silent = Byzantine {
        actors: [Some(ActorName::Silent), None],
        ..Byzantine::default()
    };
    let mut world = running(silent);
    let (liar, [one, other]) = liar_and_two(&world);
    let mut drops = |from, to| {
        world.watch_fault(from, to, &outcome, b"");
        found(&mut world)
    };
    assert_eq!(drops(liar, one), [""; 0]);
    assert_eq!(drops(one, liar), [""; 0], "nobody believes it");
    assert_eq!(drops(one, other), ["conduct"]);
}

/// A block of this height without commands is final.
fn delivers(height: u64) -> Turned {
    let block = Delivered {
        height,
        id: None,
        path: None,
        commands: Vec::new(),
        outputs: [0; 32],
    };
    Turned {
        delivered: vec![block],
        root: Some((height, [0; 32])),
        ..Turned::default()
    }
}

#[test]
fn what_an_application_is_handed_is_judged_in_turns_and_starts_and_of_both_instances() {
    let write = |bytes: &mut Vec<u8>| bytes.extend_from_slice(b"a call");
    let see = |at: usize, instance: usize, looks: fn(&mut World<Tape>, usize)| {
        let mut world = running(Byzantine::default());
        let calls = Calls::of(b"other calls");
        world.checks.handed.expect(9_999, calls).unwrap();
        let life = world.members[at].life.as_mut().unwrap();
        life.ears[instance] = Ear::open();
        life.ears[instance].hear(9_999, write);
        looks(&mut world, at);
        found(&mut world)
    };
    let turns: fn(&mut World<Tape>, usize) = |world, at| {
        world.watch_turn(at, delivers(9_998));
    };
    assert_eq!(see(0, 0, turns), ["handed"]);
    assert_eq!(see(1, 0, |world, at| world.watch_start(at)), ["handed"]);
    assert_eq!(see(1, 1, turns), ["handed"]);
}

#[test]
fn a_block_of_which_an_application_is_handed_nothing_is_judged() {
    let see = |calls: Calls| {
        let mut world = running(Byzantine::default());
        world.checks.handed.expect(9_999, calls).unwrap();
        world.watch_turn(0, delivers(9_999));
        found(&mut world)
    };
    assert_eq!(see(Calls::default()), [""; 0]);
    assert_eq!(see(Calls::of(b"a call")), ["handed"]);
}

#[test]
fn a_block_of_which_a_start_hands_over_nothing_is_judged() {
    let see = |calls: Calls| {
        let mut world = running(Byzantine::default());
        while world.members[0].life.as_mut().unwrap().root().0 == 0 {
            assert!(world.step(u64::MAX));
        }
        let (height, _) = world.members[0].life.as_mut().unwrap().root();
        let ear = Ear::open();
        world.members[0].life.as_mut().unwrap().ears = [ear.clone(), ear];
        world.checks.handed = Handed::default();
        world.checks.handed.expect(height, calls).unwrap();
        world.watch_start(0);
        found(&mut world)
    };
    assert_eq!(see(Calls::default()), [""; 0]);
    assert_eq!(see(Calls::of(b"a call")), ["handed"]);
}

/// What is found when validator 0 says this with a lease so changed on its disk.
fn says(changes: fn(&mut LeaseFile), message: &Message) -> Vec<&'static str> {
    says_where_it_may(None, changes, message)
}

/// The same when it is known of it that it may have lost what it said up to this window.
fn says_where_it_may(
    silent_until: Option<Window>,
    changes: fn(&mut LeaseFile),
    message: &Message,
) -> Vec<&'static str> {
    let mut world = running(Byzantine::default());
    world.members[0].silent_until = silent_until;
    let disk = &world.members[0].disk;
    let mut file = LeaseFile {
        lease: disk.durable_lease().unwrap(),
        boot_id: disk.boot_id(),
        ..LeaseFile::default()
    };
    file.lease.lease = Some(Window::new(70));
    changes(&mut file);
    let mut on_disk = quorate_log::LeaseFile::new(&disk.folder());
    on_disk.replace(&file.encode()).unwrap();
    let mut frame = Vec::new();
    wire::encode(message, &mut frame);
    let turned = Turned {
        frames: vec![(Destination::All, frame.into())],
        ..Turned::default()
    };
    world.watch_turn(0, turned);
    found(&mut world)
}

#[test]
fn what_a_validator_says_where_its_lease_does_not_let_it_is_found() {
    let stops = |window: u64, changes: fn(&mut LeaseFile)| {
        let record = Record {
            stop: true,
            ..Record::default()
        };
        let vote = Message::Vote(Vote {
            epoch: Epoch::ZERO,
            window: Window::new(window),
            record,
            signature: None,
        });
        says(changes, &vote)
    };
    let abstains: fn(&mut LeaseFile) = |file| file.lease.abstain_until = Some(Window::new(60));
    assert_eq!(stops(60, |_| ()), [""; 0]);
    assert_eq!(stops(60, abstains), ["leases"]);
    assert_eq!(stops(61, abstains), [""; 0]);
    assert_eq!(stops(71, abstains), ["leases"], "above the lease");
}

#[test]
fn a_lease_that_lets_a_validator_say_again_what_it_may_have_lost_is_found() {
    for (window, expected) in [(60, &["leases"][..]), (61, &[])] {
        let vote = Message::Vote(Vote {
            epoch: Epoch::ZERO,
            window: Window::new(window),
            record: Record {
                stop: true,
                ..Record::default()
            },
            signature: None,
        });
        let too_low: fn(&mut LeaseFile) = |file| file.lease.abstain_until = Some(Window::new(59));
        let found = says_where_it_may(Some(Window::new(60)), too_low, &vote);
        assert_eq!(found, expected, "{window}");
    }
}

#[test]
fn a_block_that_a_validator_makes_where_its_lease_does_not_let_it_is_found() {
    let set = running(Byzantine::default()).set;
    let windows = || (50..60).map(Window::new);
    let own = windows().find(|&w| set.leader(w) == index(0)).unwrap();
    let of_another = windows().find(|&w| set.leader(w) != index(0)).unwrap();
    let makes = |window: Window, changes: fn(&mut LeaseFile)| {
        let propose = Message::Propose(Propose {
            header: Header { window, ..SAMPLE },
            payload: [0; 4].into(),
            justification: Vec::new(),
            record: None,
        });
        says(changes, &propose).contains(&"leases")
    };
    let none: fn(&mut LeaseFile) = |file| file.lease.no_proposals_until = Some(Window::new(60));
    assert!(!makes(own, |_| ()));
    assert!(makes(own, none));
    assert!(
        !makes(of_another, none),
        "it passes on what another one made"
    );
}

/// A command of the first client with this number.
fn command(world: &mut World<Tape>, gateway: usize, seq: u64) -> Submission {
    let submission = world.clients.tick(0, world.now_ns, &[gateway]).unwrap();
    let entry = Entry {
        lane: Lane::Order,
        session: &submission.session.0,
        seq,
        signature: None,
        body: b"command",
    };
    let mut entries = Vec::new();
    encode_entry(&entry, &mut entries);
    Submission {
        entries,
        ..submission
    }
}

#[test]
fn a_command_that_is_refused_without_a_reason_is_found() {
    let silent = Byzantine {
        actors: [Some(ActorName::Silent), None],
        ..Byzantine::default()
    };
    let mut world = running(silent);
    assert!(!world.plan.is_signed);
    let (liar, [honest, _]) = liar_and_two(&world);
    let mut submits = |gateway, seq| {
        let submission = command(&mut world, gateway, seq);
        world.submit(&submission);
        found(&mut world)
    };
    assert_eq!(submits(honest, 2), [""; 0]);
    // Nobody holds a liar to what it says.
    assert_eq!(submits(liar, 1_000_000), [""; 0]);
    assert_eq!(submits(honest, 1_000_000), ["admission"]);
}
