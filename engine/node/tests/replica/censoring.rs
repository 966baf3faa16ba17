//! A leader that leaves a client's cancel out, and makes blocks of everything else: it is found by
//! the fan-out, `T_censor` and the turn limit (protocol.md 2.6), and replaced.

use std::sync::Arc;

use quorate::state_machine::SessionId;
use quorate_consensus::machine::TimerConfig;
use quorate_consensus::message::Message;
use quorate_consensus::payload::{Lane, parse_entries};
use quorate_consensus::wire;

use crate::commands::command_in;
use crate::world::{MS, World, command, session};

/// The client whose cancel is left out.
const CLIENT: u8 = 9;
/// The client whose orders keep the leader's window going.
const BUSY: u8 = 1;
const CENSOR_NS: u64 = 500 * MS;
const TURN_NS: u64 = 200 * MS;

/// What a validator makes of a frame that leaves out the commands of a session, if it does.
pub(crate) fn without_session(
    bytes: Arc<[u8]>,
    hated: Option<(usize, SessionId)>,
) -> Option<Arc<[u8]>> {
    let (Some((_, hated)), Ok(message)) = (hated, wire::decode(&bytes)) else {
        return Some(bytes);
    };
    let Message::Forward(entries) = message.into_message() else {
        return Some(bytes);
    };
    let commands = parse_entries(&entries).expect("honest validators forward commands");
    let kept: Vec<u8> = commands
        .filter(|command| *command.session != hated.0)
        .flat_map(|command| command.entry.iter().copied())
        .collect();
    let mut again = Vec::new();
    wire::encode(&Message::Forward(kept.as_slice().into()), &mut again);
    (!kept.is_empty()).then(|| again.into())
}

/// Four validators of which the leader does not take the client's commands; the leader, and the
/// validator that the client speaks to.
fn world() -> (World, usize, usize) {
    let timers = TimerConfig {
        censor_ns: CENSOR_NS,
        turn_censored_ns: TURN_NS,
        ..TimerConfig::laptop()
    };
    let mut world = World::timed(4, 1, timers);
    world.submit(0, &[command(BUSY, 1, "open"), command(CLIENT, 1, "open")]);
    world.run_until_applied(2, 500 * MS);
    let leader = world.leader();
    world.censor = Some((leader, session(CLIENT)));
    (world, leader, (leader + 1) % 4)
}

/// Lets time go by for so long, with an order every 10 ms at the leader.
fn run_busily(world: &mut World, at: usize, seq: &mut u64, duration_ns: u64) {
    let end_ns = world.now.mono_ns + duration_ns;
    while world.now.mono_ns < end_ns {
        *seq += 1;
        world.submit(at, &[command(BUSY, *seq, "order")]);
        world.run(10 * MS);
    }
}

fn is_cancelled(world: &World) -> bool {
    world.up().all(|(place, _)| {
        let applied = world.applied(place);
        applied.iter().any(|(_, _, body)| body == b"cancel")
    })
}

fn marked(world: &mut World) -> Vec<u64> {
    (0..4)
        .map(|place| world.replica(place).consensus().counters().turns_marked)
        .collect()
}

#[test]
fn r5_a_leader_that_leaves_a_cancel_out_is_found_and_replaced() {
    let (mut world, leader, gateway) = world();
    let (mut seq, before) = (1, world.replica(gateway).consensus().window());
    let turn = world.set.turn(before);
    let cancel = command_in(Lane::Cancel, CLIENT, 2, "cancel");
    let since_ns = world.now.mono_ns;
    world.submit(gateway, &[cancel]);

    // After T_fan everybody who is honest holds it, and the censor makes blocks without it.
    run_busily(&mut world, leader, &mut seq, 60 * MS);
    assert_eq!(
        world.replica(gateway).order().lanes().counters().fanned_out,
        1
    );
    for place in (0..4).filter(|&place| place != leader) {
        let oldest = world.replica(place).order().lanes().len();
        assert!(oldest >= 1, "validator {place} has it");
    }
    run_busily(&mut world, leader, &mut seq, 300 * MS);
    assert!(!is_cancelled(&world));
    assert!(
        world.applied(gateway).len() > 20,
        "the leader is not silent"
    );
    assert_eq!(
        marked(&mut world),
        [0; 4],
        "nothing has waited for T_censor"
    );

    // After T_censor, in a turn longer than its limit, all of them mark the turn.
    run_busily(&mut world, leader, &mut seq, 400 * MS);
    let marks = marked(&mut world);
    for place in (0..4).filter(|&place| place != leader) {
        assert_eq!(marks[place], 1, "{marks:?}");
    }
    assert_ne!(world.leader(), leader, "{:?}", world.brief());
    assert!(is_cancelled(&world), "{:?}", world.brief());
    // The bound: what is left of the turn burns, and the next leader's first window brings it.
    let (window, turns) = (world.replica(gateway).consensus().window(), turn + 1);
    assert_eq!(world.set.turn(window), turns, "not before its turn");
    let last = turns * u64::from(world.set.turn_windows());
    assert!(
        window.number() <= last,
        "{window:?} is not the first of its turn"
    );
    assert!(world.now.mono_ns - since_ns < CENSOR_NS + 300 * MS);
    world.assert_equal_states();
    assert_eq!(world.alarms(), [], "nothing of it can be proven");
}
