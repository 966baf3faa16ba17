//! Damage in the middle of a log: marked and never cut, healed from peers and from what is left,
//! and no vote by a validator that cannot know what it said.

use quorate::journal::{JournalEntry, decode};
use quorate::replica::{Event, Replica};
use quorate_consensus::evidence::Evidence;
use quorate_consensus::input::Input;
use quorate_consensus::limits::HEADERS_PER_ANSWER_MAX;
use quorate_consensus::machine::Durability;
use quorate_consensus::message::{Get, Message, Vote};
use quorate_consensus::record::Record;
use quorate_consensus::restart;
use quorate_consensus::signing::{Signer as _, ValidatorKey, record_message};
use quorate_consensus::types::{BlockId, Index, ValidatorIndex};
use quorate_consensus::wire;
use quorate_log::{
    Action, DataFolder, LeaseFile, LeaseRead, MemoryBackend, RecordKind, RecordRef, Row, open,
    verify,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::world::{GENESIS, MS, Tape, World, command, commands, log_config};

/// Kind and place of every record of a log at rest, the genesis included.
fn records(memory: &MemoryBackend) -> Vec<(RecordKind, RecordRef)> {
    let folder = DataFolder::in_memory(&memory.process_kill());
    let log = open(&folder, &log_config(), GENESIS).expect("a sound log");
    let records = log.reader.iter().map(|record| {
        let record = record.expect("a whole record");
        (record.kind(), record.place())
    });
    records.collect()
}

/// Flips a bit of the payload of a record.
fn rot(memory: &MemoryBackend, place: RecordRef) {
    let name = format!("segment-{:010}", place.offset.segment());
    let mut bytes = memory.file(&name).expect("it is there");
    bytes[place.offset.bytes() as usize + 33] ^= 0x10;
    memory.set_file(&name, &bytes);
}

/// Damages the record in the middle of a log at rest.
pub(crate) fn damage_the_middle(memory: &MemoryBackend) {
    let all = records(memory);
    let (_, place) = all[all.len() / 2];
    rot(memory, place);
}

/// Every block, mark, proof and vote of a log that says how much it has of each.
fn finalized_heights(memory: &MemoryBackend) -> Vec<u64> {
    let folder = DataFolder::in_memory(&memory.process_kill());
    let log = open(&folder, &log_config(), GENESIS).expect("a sound log");
    let heights = log.reader.iter().filter_map(|record| {
        let record = record.expect("a whole record");
        match decode(record.kind(), &record) {
            Ok(JournalEntry::Finalized(mark)) => Some(mark.header.height.number()),
            _ => None,
        }
    });
    heights.collect()
}

/// A world with a few dozen blocks in every log.
fn grown(durability: Durability) -> World {
    let mut world = World::new(4, 1, 0, durability);
    for seq in 1..=40 {
        world.submit(0, &[command(1, seq, "before")]);
        world.run(5 * MS);
    }
    world.run_until_applied(40, 2_000 * MS);
    world.run(100 * MS);
    world
}

#[test]
fn a_record_lost_in_the_middle_comes_back_and_r12_no_window_is_voted_in_twice() {
    for damaged in [0.1, 0.5, 0.9] {
        let mut world = grown(Durability::Sync);
        let lease = world.lease(3).lease;
        world.stop(3);
        let memory = world.slots[3].memory.clone();
        let all = records(&memory);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place"
        )]
        let (_, place) = all[(all.len() as f64 * damaged) as usize];
        rot(&memory, place);
        let kept = memory.file("segment-0000000000");
        world.submit(0, &commands(2, 1, 5));
        world
            .start(3)
            .expect("damage in the middle is no reason to refuse");
        assert!(
            world.applied(3).len() < 40,
            "what follows the damage is not believed"
        );
        // In every window that it may have voted in it is silent, in this run and later ones.
        assert_eq!(world.lease(3).abstain_until, lease);
        world.run_until_applied(45, 20_000 * MS);
        world.assert_equal_states();
        world.submit(3, &commands(3, 1, 5));
        world.run_until_applied(50, 20_000 * MS);
        world.run_until("it votes again", 60_000 * MS, |world| {
            world
                .up()
                .all(|(_, running)| running.replica.consensus().is_voting())
        });
        assert_eq!(world.alarms(), []);
        world.stop(3);
        let memory = &world.slots[3].memory;
        assert_eq!(
            memory.file("segment-0000000000"),
            kept,
            "nothing of it was cut"
        );
        let heights = finalized_heights(memory);
        let expected: Vec<u64> = (1..=heights.len() as u64).collect();
        assert_eq!(heights, expected, "the chain is whole again, in order");
        world.start(3).expect("a healed log");
        assert_eq!(world.applied(3).len(), 50);
        world.assert_equal_states();
    }
}

/// Above what is missing nearly all is final, and its commands would only go to each leader again.
#[test]
fn what_is_final_above_a_gap_and_not_delivered_is_not_offered_to_the_pool() {
    let mut world = grown(Durability::Sync);
    let submit = |world: &mut World, seqs: std::ops::Range<u64>| {
        for seq in seqs {
            world.submit(0, &[command(1, seq, "more")]);
            world.run(5 * MS);
        }
    };
    world.without_history = Some(3);
    world.cut = (0..3).map(|peer| (peer, 3)).collect();
    submit(&mut world, 41..61);
    world.cut.clear();
    submit(&mut world, 61..81);
    world.run(50 * MS);
    let order_of = |world: &World| {
        let (_, running) = world.up().last().expect("it is up");
        let (order, consensus) = (running.replica.order(), running.replica.consensus());
        let heights = (consensus.delivered(), consensus.finalized().height);
        (heights, consensus.leader(), order.lanes().len())
    };
    let ((delivered, finalized), leader, kept) = order_of(&world);
    let missing = finalized.number() - delivered.number();
    assert!(missing >= 30, "{missing}");
    world.stop(leader.place());
    world.run(200 * MS);
    let (_, next, offered) = order_of(&world);
    assert_ne!(next, leader);
    assert!(offered <= kept, "{offered} of {missing}");
    // What has come meanwhile is there once the gap closes.
    world.without_history = None;
    world.run_until("it is level", 20_000 * MS, |world| {
        world.applied(3).len() >= 80
    });
    assert_eq!(order_of(&world).2, 0);
}

/// Validator i loses every record with number i mod 4, the genesis and the votes among them.
#[test]
fn helical_damage_on_all_validators_heals_on_all() {
    let mut world = grown(Durability::Sync);
    world.assert_equal_states();
    let leases: Vec<_> = (0..4).map(|place| world.lease(place).lease).collect();
    for place in 0..4 {
        world.stop(place);
    }
    for place in 0..4 {
        let memory = world.slots[place].memory.clone();
        for (number, (_, record)) in records(&memory).into_iter().enumerate() {
            if number % 4 == place {
                rot(&memory, record);
            }
        }
        let found = verify(&DataFolder::in_memory(&memory)).expect("a header to read");
        assert_eq!(found.row.action(), Action::Resume);
        assert!(found.faults.len() > 10, "{}", found.faults.len());
    }
    for place in 0..4 {
        world.start(place).expect("damage is no reason to refuse");
    }
    for place in 0..4 {
        assert!(world.applied(place).len() < 40, "it is damaged");
    }
    world.run_until_applied(40, 120_000 * MS);
    world.assert_equal_states();
    assert_eq!(world.alarms(), []);
    for (place, lease) in leases.into_iter().enumerate() {
        assert_eq!(world.lease(place).abstain_until, lease);
        world.stop(place);
        let heights = finalized_heights(&world.slots[place].memory);
        assert_eq!(heights, (1..=heights.len() as u64).collect::<Vec<_>>());
        assert!(!heights.is_empty());
    }
}

/// A question stands until all that it asks for is here: what the own log answers of it must not
/// leave the rest unasked until the question is put again.
#[test]
fn what_the_own_log_lacks_of_the_history_is_asked_of_a_peer_at_once() {
    let mut world = grown(Durability::Sync);
    world.stop(3);
    let memory = world.slots[3].memory.clone();
    let heights = finalized_heights(&memory);
    let (lost, top) = (heights[heights.len() / 2], heights[heights.len() - 1]);
    let folder = DataFolder::in_memory(&memory.process_kill());
    let log = open(&folder, &log_config(), GENESIS).expect("a sound log");
    for record in log.reader.iter() {
        let record = record.expect("a whole record");
        let header = match decode(record.kind(), &record) {
            Ok(JournalEntry::Block { header, .. }) => header,
            Ok(JournalEntry::Finalized(mark)) => mark.header,
            _ => continue,
        };
        if header.height.number() == lost {
            rot(&memory, record.place());
        }
    }
    world.watched = Some(3);
    world.start(3).expect("damage is no reason to refuse");
    let began = world.now.mono_ns;
    world.run_until("it asks for history", 1_000 * MS, |world| {
        !world.asked.is_empty()
    });
    let (asked_at, Get::History { top: asked, count }) = &world.asked[0] else {
        panic!("{:?}", world.asked);
    };
    let here = u64::try_from(HEADERS_PER_ANSWER_MAX).expect("few") - u64::from(*count);
    assert_eq!(asked.height.number(), lost);
    assert!((1..top - lost + 1).contains(&here), "{here} were here");
    // As long as a question waits before it is put again.
    let wait_ns = 4 * world.timers.retransmit_ns;
    assert!(asked_at - began < wait_ns, "{} ns", asked_at - began);
    world.run_until_applied(40, 20_000 * MS);
    world.assert_equal_states();
}

#[test]
fn a_crash_between_the_mark_and_the_lease_does_not_make_the_start_look_sound() {
    let mut world = grown(Durability::Sync);
    let lease = world.lease(3).lease;
    world.stop(3);
    let memory = world.slots[3].memory.clone();
    let all = records(&memory);
    rot(&memory, all[all.len() / 2].1);
    // The mark is made, and the process dies before the lease says what it means.
    let folder = DataFolder::in_memory(&memory);
    drop(open(&folder, &log_config(), GENESIS).expect("it goes on"));
    world.start(3).expect("it goes on");
    assert_eq!(world.lease(3).abstain_until, lease);
}

/// The own records that stand in the middle of a log at rest, and the bytes of each.
fn own_records(memory: &MemoryBackend) -> Vec<(RecordRef, usize)> {
    let folder = DataFolder::in_memory(&memory.process_kill());
    let log = open(&folder, &log_config(), GENESIS).expect("a sound log");
    let all: Vec<_> = log
        .reader
        .iter()
        .map(|record| record.expect("whole"))
        .collect();
    // Behind each stand at least two more.
    let own = all.windows(3).filter_map(|next| {
        let (place, end) = (next[0].place(), next[1].place());
        let entry = decode(next[0].kind(), &next[0]).ok()?;
        let is_own = matches!(entry, JournalEntry::Record { .. });
        let is_near = place.offset.segment() == end.offset.segment();
        let bytes = end.offset.bytes().checked_sub(place.offset.bytes());
        (is_own && is_near).then_some((place, bytes? as usize))
    });
    own.collect()
}

#[test]
fn r12_an_own_record_that_lost_several_bytes_is_found_and_makes_the_start_suspect() {
    for durability in [Durability::Sync, Durability::Async] {
        let mut world = grown(durability);
        let lease = world.lease(3).lease.expect("it has voted");
        world.stop(3);
        let memory = world.slots[3].memory.clone();
        let own = own_records(&memory);
        assert!(own.len() > 10, "{}", own.len());
        for seed in 0..100 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut below = |bound: usize| random.next_u32() as usize % bound;
            let (place, bytes) = own[below(own.len())];
            let memory = memory.process_kill();
            let name = format!("segment-{:010}", place.offset.segment());
            let mut file = memory.file(&name).expect("it is there");
            let mut left: Vec<usize> = (0..bytes).collect();
            let count = 2 + below(63);
            for _ in 0..count {
                let at = left.swap_remove(below(left.len()));
                file[place.offset.bytes() as usize + at] ^= 1 + below(255) as u8;
            }
            memory.set_file(&name, &file);
            let what = format!("seed {seed}: {count} bytes at {place:?}");
            let folder = DataFolder::in_memory(&memory);
            let found = verify(&folder).expect("a header to read");
            assert_eq!(found.row, Row::SyncedDamage, "{what}");
            assert_eq!(found.end.index, place.index, "{what}");

            let started = Replica::open(&folder, &world.config(3), Tape::default(), world.now);
            assert!(started.is_ok(), "{what}");
            drop(started);
            let LeaseRead::Present(kept) = LeaseFile::new(&folder).read().expect("memory") else {
                panic!("{what}: no lease");
            };
            let kept = restart::LeaseFile::decode(&kept).expect("own bytes");
            assert_eq!(kept.lease.abstain_until, Some(lease), "{what}");
            assert!(
                memory.file(&name) == Some(file),
                "{what}: a byte was changed"
            );
        }
    }
}

#[test]
fn a_peer_whose_certificates_are_bad_is_dropped_and_one_whose_own_record_is_bad_is_not() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.run(5 * MS);
    for own_record in [true, false] {
        let now = world.now;
        let from = ValidatorIndex::new(2);
        let refused = Input::Refused { from, own_record };
        world.replica(1).input(now, refused);
        world.turn(1);
        let faults = world.alarms();
        let faults = faults
            .iter()
            .filter(|(_, event)| matches!(event, Event::PeerFault(peer) if *peer == from));
        let expected = usize::from(!own_record);
        assert_eq!(faults.count(), expected, "own record {own_record}");
    }
}

/// What proves that a validator has contradicted itself is there after the run, for whoever has to
/// be shown.
#[test]
fn evidence_stays_in_the_log_of_who_saw_it() {
    let mut world = World::new(4, 1, 0, Durability::Sync);
    world.kill(2);
    let liar = ValidatorIndex::new(2);
    let key = ValidatorKey::from_seed(&[3; 32]);
    let window = world.replica(0).consensus().window().next();
    for stop in [true, false] {
        let record = Record {
            tip: (!stop).then_some((Index::ZERO, BlockId::new([9; 32]))),
            stop,
            ..Record::default()
        };
        let mut message = Vec::new();
        record_message(&world.set, liar, window, &record, &mut message);
        let vote = Vote {
            epoch: world.set.epoch(),
            window,
            record,
            signature: Some(key.sign(&message)),
        };
        let mut bytes = Vec::new();
        wire::encode(&Message::Vote(vote), &mut bytes);
        let now = world.now;
        world.replica(0).peer_frame(now, liar, &bytes);
        world.turn(0);
        world.run(20 * MS);
    }
    world.kill(0);
    let folder = DataFolder::in_memory(&world.slots[0].memory);
    let log = open(&folder, &log_config(), GENESIS).expect("a sound log");
    let mut accused = Vec::new();
    for record in log.reader.iter() {
        let record = record.expect("a whole record");
        if let Ok(JournalEntry::Evidence(Evidence::TwoRecords { validator, .. })) =
            decode(record.kind(), &record)
        {
            accused.push(validator);
        }
    }
    assert_eq!(accused, [liar]);
}
