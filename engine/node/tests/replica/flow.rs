//! From submission to result, with everybody up or one crashed.

use crate::world::{MS, World, command, commands, index, session};
use quorate::lanes::Verdict;
use quorate::replica::Outbox;
use quorate::results::Outcome;
use quorate_consensus::machine::Durability;
use quorate_consensus::message::{BlockRef, Get, Message};
use quorate_consensus::types::{BlockId, Height, Point};
use quorate_consensus::{limits, wire};

const BOTH: [Durability; 2] = [Durability::Sync, Durability::Async];

#[test]
fn commands_of_any_validator_s_client_become_final_everywhere_in_one_order() {
    for durability in BOTH {
        let mut world = World::new(4, 1, 0, durability);
        for client in 0..4u8 {
            let verdicts = world.submit(client.into(), &commands(client + 1, 1, 5));
            assert!(verdicts.iter().all(|&verdict| verdict == Verdict::Accepted));
        }
        world.run_until_applied(20, 500 * MS);
        world.assert_equal_states();
        assert_eq!(world.alarms(), []);
        for place in 0..4 {
            // Only the validator that took a command times it.
            assert_eq!(
                world.answered(place, Outcome::Applied),
                5,
                "{durability:?} {place}"
            );
            assert!(world.replica(place).order().lanes().is_empty());
        }
    }
}

#[test]
fn steady_load_passes_windows_and_turns_without_duplicates_or_stops() {
    for durability in BOTH {
        let mut world = World::new(4, 1, 0, durability);
        world.run_until("voting", 500 * MS, |world| {
            world
                .up()
                .all(|(_, running)| running.replica.consensus().is_voting())
        });
        // More blocks than two turns have slots.
        for seq in 1..=400 {
            let place = usize::try_from(seq % 4).expect("small");
            world.submit(
                place,
                &[command(
                    1 + u8::try_from(seq % 4).expect("small"),
                    1 + seq / 4 - u64::from(seq % 4 == 0),
                    "x",
                )],
            );
            world.run(MS);
        }
        world.run_until_applied(400, 1_000 * MS);
        world.assert_equal_states();
        for place in 0..4 {
            let results = &world.slots[place].results;
            let applied = results
                .iter()
                .filter(|result| result.outcome == Outcome::Applied);
            assert_eq!(applied.count(), 400);
            assert_eq!(results.len(), 400, "{durability:?}: commands came twice");
        }
        assert_eq!(world.alarms(), []);
        assert!(world.replica(0).consensus().window().number() >= 2);
    }
}

/// A world in which everybody votes and the leader's client has opened its session.
fn flowing() -> (World, usize) {
    let mut world = World::new(4, 1, 0, Durability::Async);
    world.run_until("voting", 500 * MS, |world| {
        world
            .up()
            .all(|(_, running)| running.replica.consensus().is_voting())
    });
    let leader = world.leader();
    world.submit(leader, &commands(1, 1, 1));
    world.run_until_applied(1, 500 * MS);
    (world, leader)
}

#[test]
fn what_comes_while_a_block_is_in_flight_shares_the_next_one_and_lone_commands_have_their_own() {
    let (mut world, leader) = flowing();
    let height = |world: &mut World| world.replica(leader).executor().height();
    let before = height(&mut world);
    // Finality takes two ways of the wire, 200 us.
    for seq in 2..=16 {
        world.submit(leader, &commands(1, seq, seq));
        world.run(MS / 100);
    }
    world.run_until_applied(16, 500 * MS);
    assert_eq!(
        height(&mut world) - before,
        2,
        "the first one and the others"
    );
    for seq in 17..=26 {
        let (sent, frames) = (height(&mut world), world.frames);
        world.submit(leader, &commands(1, seq, seq));
        assert!(
            world.frames > frames,
            "nothing in flight, nothing to wait for"
        );
        world.run_until_applied(usize::try_from(seq).expect("few"), MS / 2);
        assert_eq!(height(&mut world) - sent, 1);
    }
}

/// One turn of a validator whose frames go nowhere by themselves: these, and how many blocks were
/// carried out.
fn turn_alone(world: &mut World, place: usize) -> (Vec<Vec<u8>>, usize) {
    let (now, mut outbox) = (world.now, Outbox::new());
    let replica = world.replica(place);
    replica.turn(now, &mut outbox).expect("it goes on");
    let frames = outbox.frames.iter().map(|frame| frame.bytes().into_owned());
    (frames.collect(), outbox.results.len())
}

#[test]
fn the_vote_that_makes_a_block_final_leaves_before_the_block_is_carried_out() {
    let (mut world, leader) = flowing();
    let now = world.now;
    let entries = commands(1, 2, 2).concat();
    let submitted = world
        .replica(leader)
        .submit(now, None, &entries, &mut Vec::new());
    submitted.expect("a command");
    let last = (leader + 3) % 4;
    let mut came = vec![(leader, turn_alone(&mut world, leader).0)];
    for place in [(leader + 1) % 4, (leader + 2) % 4] {
        for frame in &came[0].1 {
            let outcome = world.replica(place).peer_frame(now, index(leader), frame);
            assert!(!outcome.is_fault(), "{outcome:?}");
        }
        let vote = turn_alone(&mut world, place).0;
        came.push((place, vote));
    }
    // Everything waits when it wakes: with its own vote the block is final.
    for (from, frames) in came {
        for frame in frames {
            let outcome = world.replica(last).peer_frame(now, index(from), &frame);
            assert!(!outcome.is_fault(), "{outcome:?}");
        }
    }
    let (votes, carried_out) = turn_alone(&mut world, last);
    assert_eq!((votes.len(), carried_out), (1, 0));
    assert!(world.replica(last).is_unfinished());
    assert_eq!(world.replica(last).deadline_ns(now), 0);
    assert_eq!(turn_alone(&mut world, last).1, 1);
    assert!(!world.replica(last).is_unfinished());
}

/// Hands frames of a validator to all others.
fn deliver(world: &mut World, from: usize, frames: &[Vec<u8>]) {
    let now = world.now;
    for to in (0..4).filter(|&to| to != from) {
        for frame in frames {
            let outcome = world.replica(to).peer_frame(now, index(from), frame);
            assert!(!outcome.is_fault(), "{outcome:?}");
        }
    }
}

/// Turns of a validator until it has nothing left to do, with what it says to all others.
fn turn_to_the_end(world: &mut World, place: usize) {
    loop {
        let (frames, _) = turn_alone(world, place);
        deliver(world, place, &frames);
        if !world.replica(place).is_unfinished() {
            break;
        }
    }
}

/// A block with one command, to which all but the last validator say what they can. Gives what that
/// one says in one turn, for which everything waits.
fn propose_to_all(world: &mut World, leader: usize, seq: u64) -> Vec<Vec<u8>> {
    let now = world.now;
    let entries = commands(1, seq, seq).concat();
    let replica = world.replica(leader);
    let taken = replica.submit(now, None, &entries, &mut Vec::new());
    taken.expect("a command");
    (leader..leader + 3).for_each(|place| turn_to_the_end(world, place % 4));
    turn_alone(world, (leader + 3) % 4).0
}

/// What waits for the vote comes first, and yet the rest comes however fast blocks follow.
#[test]
fn hasty_turns_send_votes_and_leave_the_rest_to_a_whole_one_that_comes_next() {
    let (mut world, leader) = flowing();
    let last = (leader + 3) % 4;
    let before = world.replica(last).executor().height();
    for seq in 2..=9 {
        let votes = propose_to_all(&mut world, leader, seq);
        assert!(!votes.is_empty(), "command {seq}");
        deliver(&mut world, last, &votes);
        (leader..leader + 3).for_each(|place| turn_to_the_end(&mut world, place % 4));
    }
    let height = world.replica(leader).executor().height();
    assert_eq!(height - before, 8, "each was final before the next");
    let behind = height - world.replica(last).executor().height();
    assert!(behind <= 2, "{behind} blocks wait for a whole turn");
}

/// The vote that makes a block final leaves before the block is carried out, also in a whole turn:
/// whoever is stopped in between has said more than its log holds.
#[test]
fn r12_a_stop_within_a_turn_leaves_no_marker() {
    let (mut world, leader) = flowing();
    let last = (leader + 3) % 4;
    // Cut short for its vote, so that the next turn is whole.
    let votes = propose_to_all(&mut world, leader, 2);
    deliver(&mut world, last, &votes);
    (leader..leader + 3).for_each(|place| turn_to_the_end(&mut world, place % 4));
    let votes = propose_to_all(&mut world, leader, 3);
    assert!(!votes.is_empty() && world.replica(last).is_unfinished());
    world.stop(last);
    assert_eq!(world.slots[last].memory.file("clean-stop"), None);
    world.start(last).expect("its disk is good");
    let lease = world.lease(last);
    assert!(lease.lease.is_some());
    assert_eq!(lease.no_proposals_until, lease.lease);
}

/// R10: each read may have to come from the disk, while a vote waits.
#[test]
fn r10_a_turn_reads_64_blocks_for_peers_however_many_they_ask_for() {
    const REQUESTS: usize = 128;
    const READS: usize = 64;
    let (mut world, leader) = flowing();
    let (now, place) = (world.now, (leader + 1) % 4);
    let finalized = world.replica(place).consensus().finalized();
    let wanted = BlockRef {
        height: finalized.height,
        id: finalized.id,
    };
    let ask = Message::Get(Get::Bodies(vec![wanted; READS]));
    let mut bytes = Vec::new();
    wire::encode(&ask, &mut bytes);
    for _ in 0..REQUESTS {
        let outcome = world.replica(place).peer_frame(now, index(leader), &bytes);
        assert!(!outcome.is_fault(), "{outcome:?}");
    }
    let is_block = |frame: &&Vec<u8>| {
        let message = wire::decode(frame).expect("own bytes").into_message();
        matches!(message, Message::Block { .. })
    };
    let mut served = Vec::new();
    for _ in 0..2 * REQUESTS {
        let (frames, _) = turn_alone(&mut world, place);
        served.push(frames.iter().filter(is_block).count());
    }
    assert_eq!(served.iter().max(), Some(&READS));
    assert_eq!(served.iter().sum::<usize>(), REQUESTS * READS);
}

/// R10: what leads to a block is read too, and a peer may ask for what is not there.
#[test]
fn r10_a_turn_reads_few_marks_for_peers_however_far_from_the_remembered_ones_they_ask() {
    const ASKED: usize = 4 * 64;
    /// Of those whose height is one above a multiple of 64, which take so many reads each.
    const READS_EACH: u64 = 64;
    let (mut world, leader) = flowing();
    for seq in 2..=130 {
        world.submit(leader, &commands(1, seq, seq));
        world.run_until_applied(usize::try_from(seq).expect("few"), 500 * MS);
    }
    let (now, place) = (world.now, (leader + 1) % 4);
    assert!(world.replica(place).executor().height() >= 129);
    let nowhere = BlockRef {
        height: Height::new(65),
        id: BlockId::new([9; 32]),
    };
    let mut bytes = Vec::new();
    wire::encode(&Message::Get(Get::Bodies(vec![nowhere; 64])), &mut bytes);
    for _ in 0..ASKED / 64 {
        let outcome = world.replica(place).peer_frame(now, index(leader), &bytes);
        assert!(!outcome.is_fault(), "{outcome:?}");
    }
    let reads = |world: &mut World| world.replica(place).order().store().reads();
    let (mut all, mut most) = (0, 0);
    for _ in 0..ASKED {
        let before = reads(&mut world);
        turn_alone(&mut world, place);
        let turn = reads(&mut world) - before;
        (all, most) = (all + turn, turn.max(most));
    }
    assert_eq!(all, ASKED as u64 * READS_EACH, "each is looked for");
    assert!(most <= 8 * READS_EACH, "{most} reads in one turn");
}

/// R10: others wait for a vote, and whoever asks can wait for the next turn.
#[test]
fn r10_a_vote_leaves_before_anything_is_read_for_peers() {
    let (mut world, leader) = flowing();
    let (now, last) = (world.now, (leader + 3) % 4);
    let finalized = world.replica(last).consensus().finalized();
    let wanted = BlockRef {
        height: finalized.height,
        id: finalized.id,
    };
    let mut bytes = Vec::new();
    wire::encode(&Message::Get(Get::Bodies(vec![wanted; 64])), &mut bytes);
    for _ in 0..100 {
        let outcome = world.replica(last).peer_frame(now, index(leader), &bytes);
        assert!(!outcome.is_fault(), "{outcome:?}");
    }
    let is_block = |frame: &Vec<u8>| {
        let message = wire::decode(frame).expect("own bytes").into_message();
        matches!(message, Message::Block { .. })
    };
    let (first, _) = turn_alone(&mut world, last);
    assert!(
        first.iter().any(is_block),
        "it is served while nothing is due"
    );
    let votes = propose_to_all(&mut world, leader, 2);
    assert!(!votes.is_empty() && !votes.iter().any(is_block));
    let (next, _) = turn_alone(&mut world, last);
    assert!(next.iter().any(is_block), "it does not wait for longer");
}

#[test]
fn what_waits_for_a_larger_block_leaves_by_itself_when_nothing_becomes_final() {
    let (mut world, leader) = flowing();
    let proposals = |world: &mut World| world.replica(leader).consensus().counters().proposals;
    world.cut = (0..4).map(|other| (other, leader)).collect();
    let before = proposals(&mut world);
    world.submit(leader, &commands(1, 2, 2));
    world.submit(leader, &commands(1, 3, 3));
    assert_eq!(proposals(&mut world) - before, 1);
    world.run(3 * MS);
    assert_eq!(proposals(&mut world) - before, 2);
    assert!(
        world.replica(leader).order().lanes().len() == 2,
        "none is final"
    );
}

#[test]
fn a_command_submitted_everywhere_applies_once_and_is_answered_everywhere() {
    let mut world = World::new(4, 1, 0, Durability::Async);
    for place in 0..4 {
        world.submit(place, &commands(7, 1, 3));
    }
    world.run_until_applied(3, 500 * MS);
    world.run(200 * MS);
    for place in 0..4 {
        assert_eq!(world.applied(place).len(), 3);
        assert_eq!(world.answered(place, Outcome::Applied), 3);
    }
    // Once more, after it is final: accepted, and answered with where it was applied.
    assert_eq!(world.submit(2, &commands(7, 3, 3)), [Verdict::Accepted]);
    let repeat = world.slots[2].repeats.pop().expect("an answer");
    assert_eq!(
        (repeat.session, repeat.seq, repeat.outcome),
        (session(7), 3, Outcome::Duplicate)
    );
    assert!(repeat.applied.is_some());
    world.assert_equal_states();
}

#[test]
fn commands_in_flight_outlive_a_crashed_leader() {
    for durability in BOTH {
        let mut world = World::new(4, 1, 0, durability);
        world.submit(0, &commands(1, 1, 3));
        world.run_until_applied(3, 500 * MS);
        let leader = world.leader();
        let gateway = (leader + 1) % 4;
        world.submit(gateway, &commands(2, 1, 10));
        // The leader has proposed them, and dies before they are final.
        world.run(MS / 10 + MS / 20);
        world.kill(leader);
        world.run_until_applied(13, 5_000 * MS);
        world.assert_equal_states();
        assert_eq!(world.answered(gateway, Outcome::Applied), 10);
        // Those of a dead gateway's clients come again through another validator.
        let other = (leader + 2) % 4;
        assert_eq!(
            world.submit(other, &commands(2, 10, 11)),
            [Verdict::Accepted; 2]
        );
        world.run_until_applied(14, 5_000 * MS);
        assert_eq!(world.alarms(), []);
    }
}

/// Its own last block filled the window, so it has said all it can of it and stops nothing.
#[test]
fn a_leader_whose_last_blocks_are_cut_proposes_their_commands_in_its_next_window() {
    let mut world = World::new(4, 1, 0, Durability::Async);
    let leader = world.leader();
    let others: Vec<usize> = (0..4).filter(|&place| place != leader).collect();
    // A block for each, up to the last two slots of the window.
    for seq in 1..=62 {
        world.submit(leader, &[command(1, seq, "-")]);
        world.run_until_applied(seq as usize, 500 * MS);
    }
    world
        .cut
        .extend(others.iter().map(|&other| (leader, other)));
    for seq in [63, 64] {
        world.submit(leader, &[command(1, seq, "-")]);
        world.run(20 * MS);
    }
    let closed = world.replica(leader).consensus().proposal_room();
    assert_eq!(closed, None, "the window is full");
    world.submit(others[0], &[command(2, 1, "-")]);
    world.run_until("the others stopped", 5_000 * MS, |world| {
        others.iter().all(|&place| {
            world.slots[place]
                .running
                .as_ref()
                .is_some_and(|running| running.replica.consensus().window().number() == 1)
        })
    });
    world.cut.clear();
    assert_eq!(world.leader(), leader, "its turn has two windows");
    world.run_until_applied(65, 100 * MS);
    assert_eq!(world.replica(leader).consensus().window().number(), 1);
    world.assert_equal_states();
    assert_eq!(world.alarms(), []);
}

#[test]
fn commands_seen_in_an_abandoned_block_outlive_both_leader_and_gateway() {
    let mut world = World::new(4, 1, 0, Durability::Async);
    world.submit(0, &commands(1, 1, 1));
    world.run_until_applied(1, 500 * MS);
    let leader = world.leader();
    let others: Vec<usize> = (0..4).filter(|&place| place != leader).collect();
    // The gateway is the leader, and its block reaches one other validator alone: too few for it
    // to become a parent.
    world.cut.extend([(leader, others[1]), (leader, others[2])]);
    world.submit(leader, &commands(2, 1, 4));
    world.run(MS / 5);
    world.kill(leader);
    assert!(
        world
            .slots
            .iter()
            .all(|slot| slot.running.is_none() || slot.results.len() == 1)
    );
    // Nobody is asked again: what one validator saw is enough.
    world.run_until_applied(5, 10_000 * MS);
    world.assert_equal_states();
    assert_eq!(world.alarms(), []);
}

#[test]
fn application_timers_fire_without_commands() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.submit(1, &[command(1, 1, "timer 300")]);
    world.run_until_applied(1, 500 * MS);
    let height = world.replica(0).executor().height();
    world.run_until("a timer fired everywhere", 1_000 * MS, |world| {
        world
            .up()
            .all(|(_, running)| !running.replica.executor().app().timers_fired.is_empty())
    });
    // One empty block did it.
    assert_eq!(world.replica(0).executor().height(), height + 1);
    world.run(500 * MS);
    assert_eq!(world.replica(0).executor().height(), height + 1);
    world.assert_equal_states();
}

/// Due at the time of the block that set it, or before, is due in the next one.
#[test]
fn a_timer_that_is_set_into_the_past_fires_at_once_and_costs_no_leader_a_window() {
    for past in ["timer 0", "timer -1000"] {
        let mut world = World::new(4, 1, 0, Durability::Sync);
        world.submit(1, &[command(1, 1, past)]);
        world.run_until_applied(1, 500 * MS);
        let height = world.replica(0).executor().height();
        world.run_until("a timer fired everywhere", 100 * MS, |world| {
            world
                .up()
                .all(|(_, running)| !running.replica.executor().app().timers_fired.is_empty())
        });
        world.run(3_000 * MS);
        for (_, running) in world.up() {
            let executor = running.replica.executor();
            assert_eq!(executor.height(), height + 1, "one empty block did it");
            assert_eq!(executor.app().timers_fired.len(), 1);
            assert_eq!(running.replica.consensus().counters().stops_timer, 0);
        }
        world.assert_equal_states();
    }
}

/// What is due is known from the state alone, not from commands that come.
#[test]
fn application_timers_fire_after_a_start_of_all_without_commands() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.submit(1, &[command(1, 1, "timer 300")]);
    world.run_until_applied(1, 500 * MS);
    world.run_until("durable everywhere", 200 * MS, |world| {
        world.up().all(|(_, running)| {
            let consensus = running.replica.consensus();
            consensus.durable() == consensus.delivered()
        })
    });
    let height = world.replica(0).executor().height();
    for place in 0..4 {
        let fired = &world.replica(place).executor().app().timers_fired;
        assert!(fired.is_empty(), "it is not due yet");
        world.kill(place);
    }
    for place in 0..4 {
        world.start(place).unwrap();
        assert_eq!(world.replica(place).executor().height(), height);
    }
    world.run_until("a timer fired everywhere", 5_000 * MS, |world| {
        world
            .up()
            .all(|(_, running)| !running.replica.executor().app().timers_fired.is_empty())
    });
    world.assert_equal_states();
}

/// What is not read is not lost: it waits at whoever sent it.
#[test]
fn on_a_full_disk_nothing_more_is_to_be_read_long_before_too_much_waits() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.slots[3].memory.set_full(true);
    let text = "x".repeat(60 * 1024);
    let mut seq = 0;
    while !world.replica(3).is_full() {
        let batch: Vec<_> = (seq + 1..=seq + 8)
            .map(|seq| command(1, seq, &text))
            .collect();
        world.submit(0, &batch);
        seq += 8;
        world.run(20 * MS);
        let failure = &world.slots[3].failure;
        assert!(failure.is_none(), "{failure:?}");
        assert!(seq < 4_000, "it is never full");
    }
    world.slots[3].memory.set_full(false);
    world.run_until_applied(usize::try_from(seq).unwrap(), 20_000 * MS);
    assert!(!world.replica(3).is_full());
    world.assert_equal_states();
    assert_eq!(world.alarms(), []);
}

#[test]
fn an_idle_chain_makes_no_blocks() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.run(2_000 * MS);
    for place in 0..4 {
        assert_eq!(world.replica(place).executor().height(), 0);
        assert_eq!(
            world.replica(place).consensus().window().number(),
            0,
            "no leader is given up"
        );
    }
}

#[test]
fn finality_becomes_proven_and_durable() {
    for durability in BOTH {
        let mut world = World::new(4, 1, 0, durability);
        world.submit(3, &commands(1, 1, 10));
        world.run_until_applied(10, 500 * MS);
        world.run_until("durable everywhere", 2_000 * MS, |world| {
            world.up().all(|(_, running)| {
                let consensus = running.replica.consensus();
                consensus.proven().height == consensus.delivered()
                    && consensus.durable() == consensus.delivered()
            })
        });
    }
}

/// A question of a few bytes costs no more than one answer, however many headers it asks for.
#[test]
fn r10_history_is_sent_as_far_as_one_answer_goes_whatever_a_peer_asks_for() {
    let mut world = World::new(2, 0, 0, Durability::Async);
    let longest = limits::HEADERS_PER_ANSWER_MAX;
    let mut seq = 0;
    while world.replica(0).executor().height() <= longest as u64 + 10 {
        seq += 1;
        world.submit(0, &[command(1, seq, "one more")]);
        world.run(2 * MS);
        assert!(seq < 5_000, "{:?}", world.brief());
    }
    world.run(100 * MS);
    let Point { height, id, .. } = world.replica(0).consensus().finalized();
    for (count, expected) in [(3, 3), (u32::MAX, longest)] {
        let top = BlockRef { height, id };
        let mut question = Vec::new();
        wire::encode(&Message::Get(Get::History { top, count }), &mut question);
        let (now, mut outbox) = (world.now, Outbox::new());
        world.replica(0).peer_frame(now, index(1), &question);
        // It is taken in the first turn and served in the second.
        for _ in 0..2 {
            world.replica(0).turn(now, &mut outbox).expect("a turn");
        }
        let lengths = outbox.frames.iter().filter_map(|frame| {
            let message = wire::decode(&frame.bytes()).expect("own bytes");
            match message.into_message() {
                Message::History(headers) => Some(headers.len()),
                _ => None,
            }
        });
        assert_eq!(lengths.collect::<Vec<_>>(), [expected]);
    }
}
