//! R12: what a restart takes away. The fence stands in `r12_fence`.

use crate::bench::{Bench, Setup};
use crate::fixtures::{
    Block, MS, certificate, certified, chain, final_of, i, payload_numbered, set_of, sign_header,
    six, skip_of, stop, stop_at, tip, v, w,
};
use quorate_consensus::certificate::Target;
use quorate_consensus::effect::{Alarm, Destination, Effect};
use quorate_consensus::input::Input;
use quorate_consensus::machine::{Disposition, Durability, Ignored};
use quorate_consensus::message::{Get, Message};
use quorate_consensus::record::{OwnRecord, Record};
use quorate_consensus::restart::{LeaseFile, StartFacts, plan};
use quorate_consensus::trust::Lease;

const BOTH: [Durability; 2] = [Durability::Sync, Durability::Async];
const OLD_BOOT: [u8; 16] = [1; 16];
const NEW_BOOT: [u8; 16] = [2; 16];

fn facts(durability: Durability, boot_id: [u8; 16], clean_stop: bool) -> StartFacts {
    StartFacts {
        durability,
        boot_id,
        clean_stop,
        incarnation_min: 5,
    }
}

fn file(abstain_until: Option<u64>, suspect: bool) -> LeaseFile {
    let lease = Lease {
        lease: Some(w(8)),
        abstain_until: abstain_until.map(w),
        no_proposals_until: Some(w(2)),
        ..Lease::default()
    };
    LeaseFile {
        lease,
        boot_id: OLD_BOOT,
        suspect,
        ran_async: false,
        owner: [7; 32],
        incarnation: 9,
    }
}

#[test]
fn r12_the_plan_of_a_start_follows_the_table() {
    use Durability::{Async, Sync};
    // Durability, same boot, clean stop, suspect: abstains up to the lease, proposes in it.
    let table = [
        (Sync, true, true, false, false, true),
        (Sync, true, false, false, false, false),
        (Sync, false, true, false, false, true),
        (Sync, false, false, false, false, false),
        (Async, true, true, false, false, true),
        (Async, true, false, false, false, false),
        (Async, false, true, false, false, true),
        (Async, false, false, false, true, false),
        (Sync, true, false, true, true, false),
        (Sync, true, true, true, true, true),
        (Async, true, false, true, true, false),
        (Async, false, true, true, true, true),
    ];
    for row in table {
        let (durability, same_boot, clean_stop, suspect, abstains, proposes) = row;
        let boot_id = if same_boot { OLD_BOOT } else { NEW_BOOT };
        let planned = plan(file(None, suspect), &facts(durability, boot_id, clean_stop));
        let Lease {
            lease,
            abstain_until,
            no_proposals_until,
            is_lost: _,
            proofs_elsewhere,
        } = planned.lease;
        assert_eq!(lease, Some(w(8)), "{row:?}");
        assert_eq!(
            proofs_elsewhere, None,
            "what it has flushed is here: {row:?}"
        );
        assert_eq!(abstain_until, abstains.then_some(w(8)), "{row:?}");
        assert_eq!(
            no_proposals_until,
            Some(w(if proposes { 2 } else { 8 })),
            "{row:?}"
        );
        assert_eq!(
            (planned.boot_id, planned.suspect, planned.owner),
            (boot_id, false, [7; 32]),
            "{row:?}"
        );
    }
}

/// What the log may lack was decided by the run that wrote it.
#[test]
fn r12_a_start_abstains_for_what_the_last_run_was_whatever_is_configured_since() {
    use Durability::{Async, Sync};
    // Ran async, durability now, same boot, clean stop: abstains up to the lease.
    let table = [
        (true, Sync, false, false, true),
        (true, Sync, true, false, false),
        (true, Sync, false, true, false),
        (false, Async, false, false, true),
        (false, Sync, false, false, false),
    ];
    for row in table {
        let (ran_async, durability, same_boot, clean_stop, abstains) = row;
        let boot_id = if same_boot { OLD_BOOT } else { NEW_BOOT };
        let last = LeaseFile {
            ran_async,
            ..file(None, false)
        };
        let planned = plan(last, &facts(durability, boot_id, clean_stop));
        let abstain_until = planned.lease.abstain_until;
        assert_eq!(abstain_until, abstains.then_some(w(8)), "{row:?}");
        assert_eq!(planned.ran_async, durability == Async, "{row:?}");
    }
}

#[test]
fn r12_abstention_outlasts_every_later_start_and_never_falls() {
    let first = plan(
        file(Some(12), false),
        &facts(Durability::Async, NEW_BOOT, false),
    );
    assert_eq!(
        first.lease.abstain_until,
        Some(w(12)),
        "above the lease, and it stays there"
    );
    let power_lost = plan(
        file(None, false),
        &facts(Durability::Async, NEW_BOOT, false),
    );
    for durability in BOTH {
        for clean_stop in [false, true] {
            let later = plan(power_lost, &facts(durability, NEW_BOOT, clean_stop));
            assert_eq!(later.lease.abstain_until, Some(w(8)));
            assert_eq!(later.lease.no_proposals_until, Some(w(8)));
        }
    }
}

#[test]
fn r12_the_lease_file_reads_back_and_nothing_else_does() {
    let mut file = file(Some(3), true);
    file.lease.is_lost = true;
    for (suspect, ran_async) in [(false, false), (true, false), (false, true), (true, true)] {
        (file.suspect, file.ran_async) = (suspect, ran_async);
        let bytes = file.encode();
        assert_eq!(LeaseFile::decode(&bytes), Some(file));
        // Without the second bit these are the bytes of every version before it.
        assert_eq!(bytes[43], u8::from(suspect) + 2 * u8::from(ran_async));
    }
    let bytes = file.encode();
    assert_eq!(LeaseFile::decode(&bytes[1..]), None);
    for (at, wrong) in [(0, 2), (43, 7), (44, 2), (0, 0), (9, 0), (18, 0)] {
        let mut bytes = bytes.clone();
        bytes[at] = wrong;
        assert_eq!(LeaseFile::decode(&bytes), None);
    }
    for window in [0, 3, u64::MAX] {
        file.lease.proofs_elsewhere = Some(w(window));
        let marked = file.encode();
        assert_eq!(LeaseFile::decode(&marked), Some(file));
        assert_eq!(LeaseFile::decode(&marked[..marked.len() - 1]), None);
        let (before, number) = marked.split_at(bytes.len());
        assert_eq!((before, number), (&bytes[..], &window.to_le_bytes()[..]));
        assert_eq!(LeaseFile::decode(&[&marked[..], &[0]].concat()), None);
    }
}

/// docs/log-format.md, *Lease file*.
#[test]
fn r12_the_lease_file_has_these_bytes() {
    let mut file = file(None, true);
    let golden = concat!(
        "010800000000000000",
        "000000000000000000",
        "010200000000000000",
        "01010101010101010101010101010101",
        "01",
        "00",
        "0707070707070707070707070707070707070707070707070707070707070707",
        "0900000000000000",
    );
    let hex = |file: &LeaseFile| -> String {
        let bytes = file.encode();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    assert_eq!(hex(&file), golden);
    file.lease.proofs_elsewhere = Some(w(4));
    assert_eq!(hex(&file), [golden, "0400000000000000"].concat());
}

/// The mark of a folder that its validator moved to outlasts every start, and none makes one.
#[test]
fn r12_no_start_makes_or_takes_away_the_mark_of_proofs_that_are_elsewhere() {
    for durability in BOTH {
        for suspect in [false, true] {
            for window in [None, Some(w(0)), Some(w(30))] {
                let mut file = file(None, suspect);
                file.lease.proofs_elsewhere = window;
                let planned = plan(file, &facts(durability, NEW_BOOT, false));
                assert_eq!(planned.lease.proofs_elsewhere, window);
            }
        }
    }
}

/// 3.5: of two processes with one key, peers keep the one that started later.
#[test]
fn r12_the_number_of_a_start_grows_whatever_the_clock_says() {
    let facts = |incarnation_min| StartFacts {
        incarnation_min,
        ..facts(Durability::Sync, OLD_BOOT, true)
    };
    let behind = plan(file(None, false), &facts(5));
    assert_eq!(behind.incarnation, 10, "one more than the last start");
    assert_eq!(plan(behind, &facts(5)).incarnation, 11);
    assert_eq!(plan(behind, &facts(700)).incarnation, 700);
}

/// A validator started again under this lease, with a record and a block of window 0 in its log.
fn abstaining(durability: Durability, until: u64, own: u16) -> (Setup, Block) {
    let set = set_of(&[1; 6], 1, 1, 64, 2);
    let block = Block::first(&set, 1);
    let mut setup = Setup::new(&set, own).with_log(tip(&block), &[&block]);
    setup.durability = durability;
    setup.restored.lease = Lease {
        lease: Some(w(until)),
        abstain_until: Some(w(until)),
        no_proposals_until: Some(w(until)),
        ..Lease::default()
    };
    (setup, block)
}

fn says_nothing(bench: &Bench) {
    assert!(bench.persisted().is_empty(), "no record");
    assert!(bench.proposals_sent().is_empty(), "no proposal");
    let votes = |(_, message): &(Destination, &Message)| matches!(message, Message::Vote(_));
    assert_eq!(bench.sent().filter(votes).count(), 0, "no vote");
    let signs = |effect: &&Effect| matches!(effect, Effect::SignRecord { .. });
    assert_eq!(bench.seen.iter().filter(signs).count(), 0, "no signature");
    for status in bench.statuses_sent() {
        assert!(status.record.is_empty(), "no record in a status");
        assert!(status.abstains && status.no_proposals);
    }
}

#[test]
fn r12_nothing_of_its_own_is_said_up_to_abstain_until_in_either_durability() {
    for durability in BOTH {
        let (setup, block) = abstaining(durability, 1, 5);
        let mut bench = setup.run();
        assert!(
            bench.own_record(0).is_empty(),
            "the log's own records are ignored"
        );
        bench.propose(&block.child(&bench.set.clone(), 2));
        bench.votes(&[1, 2, 3], 0, &stop());
        let status = bench.status_of(0);
        bench.status(4, status);
        bench.lapse(120);
        says_nothing(&bench);
        assert!(!bench.consensus.is_voting());
        assert!(!bench.statuses_sent().is_empty());
    }
}

#[test]
fn r12_an_abstaining_leader_proposes_nothing() {
    let (setup, _) = abstaining(Durability::Sync, 1, 0);
    let mut bench = setup.run();
    let disposition = bench.input(Input::Payload(payload_numbered(9)));
    assert_eq!(disposition, Disposition::Ignored(Ignored::NotAllowed));
    says_nothing(&bench);
}

#[test]
fn r12_an_abstaining_validator_still_enters_counts_and_serves() {
    let (setup, block) = abstaining(Durability::Async, 1, 5);
    let mut bench = setup.run();
    bench.votes(&[0, 1, 2, 3, 4], 0, &tip(&block));
    assert_eq!(bench.finalized(), vec![block.point()]);
    let (index, id) = block.at();
    bench.message(
        3,
        Message::Get(Get::Headers {
            window: w(0),
            index,
            id,
            above: None,
        }),
    );
    let serves = |(to, message): &(Destination, &Message)| {
        *to == Destination::Peer(v(3)) && matches!(message, Message::Headers { .. })
    };
    assert!(bench.sent().any(|sent| serves(&sent)));
    says_nothing(&bench);
    let (setup, _) = abstaining(Durability::Async, 1, 5);
    let mut bench = setup.run();
    bench.certificates(2, vec![skip_of(&bench.set.clone(), 0, &[0, 1, 2, 3])]);
    assert_eq!(bench.consensus.window(), w(1));
    bench.message(3, Message::Get(Get::Ready { window: w(1) }));
    assert_eq!(bench.certificates_sent(3).len(), 1);
    says_nothing(&bench);
}

#[test]
fn r12_above_abstain_until_it_votes_again_under_a_lease_asked_for_there() {
    let (setup, _) = abstaining(Durability::Async, 1, 5);
    let mut bench = setup.run();
    let set = bench.set.clone();
    bench.certificates(2, vec![skip_of(&set, 0, &[0, 1, 2, 3])]);
    assert!(
        bench.leases_asked().is_empty(),
        "not extended while it abstains"
    );
    bench.certificates(2, vec![skip_of(&set, 1, &[0, 1, 2, 3])]);
    assert_eq!(bench.consensus.window(), w(2));
    assert_eq!(bench.leases_asked(), vec![Some(w(4))]);
    assert!(bench.consensus.is_voting());
    bench.lapse(60);
    assert!(bench.own_record(2).stop);
    assert!(bench.own_record(1).is_empty() && bench.own_record(0).is_empty());
}

#[test]
fn r12_the_lease_keeps_the_limits_when_it_is_extended() {
    let (setup, _) = abstaining(Durability::Async, 1, 5);
    let mut bench = setup.run();
    let set = bench.set.clone();
    bench.certificates(
        2,
        vec![
            skip_of(&set, 0, &[0, 1, 2, 3]),
            skip_of(&set, 1, &[0, 1, 2, 3]),
        ],
    );
    let lease = bench.seen.iter().find_map(|effect| match effect {
        Effect::PersistLease(lease) => Some(*lease),
        _ => None,
    });
    let limits = lease.map(|lease| (lease.abstain_until, lease.no_proposals_until));
    assert_eq!(limits, Some((Some(w(1)), Some(w(1)))));
}

#[test]
fn r12_the_window_of_abstain_until_itself_belongs_to_it() {
    let (mut setup, block) = abstaining(Durability::Async, 0, 5);
    setup.restored.lease.lease = Some(w(9));
    let above = OwnRecord {
        window: w(1),
        record: stop(),
    };
    setup.restored.records.push(above);
    let mut bench = setup.run();
    assert!(bench.own_record(0).is_empty());
    assert_eq!(bench.own_record(1), stop(), "one above, restored exactly");
    bench.propose(&block.child(&bench.set.clone(), 2));
    assert!(bench.own_record(0).is_empty());
}

#[test]
fn r12_a_restored_record_is_sent_again_and_counts_again() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let mut bench = Setup::new(&set, 5).with_log(tip(&block), &[&block]).run();
    let votes = bench.votes_sent(0);
    assert!(
        votes
            .iter()
            .any(|(to, vote)| *to == Destination::All && vote.record == tip(&block))
    );
    bench.votes(&[0, 1, 2, 3], 0, &tip(&block));
    assert_eq!(
        bench.finalized(),
        vec![block.point()],
        "5 of FAST = 5 with its own"
    );
}

#[test]
fn r12_a_restored_validator_goes_on_from_its_record_and_from_nothing_else() {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let rival = Block::first(&set, 9);
    let mut bench = Setup::new(&set, 5)
        .with_log(tip(&blocks[0]), &[&blocks[0]])
        .run();
    bench.propose(&rival);
    assert_eq!(bench.own_record(0).tip, Some(blocks[0].at()));
    let stopped = Record {
        stop: true,
        ..tip(&blocks[0])
    };
    let mut bench = Setup::new(&set, 5)
        .with_log(stopped.clone(), &[&blocks[0]])
        .run();
    bench.propose(&blocks[1]);
    assert_eq!(bench.own_record(0), stopped);
}

#[test]
fn r12_a_record_whose_block_the_log_lacks_stands_until_it_comes() {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let rival = Block::first(&set, 9);
    let record = tip(&blocks[0]);
    let mut bench = Setup::new(&set, 5).with_log(record.clone(), &[]).run();
    bench.propose(&rival);
    bench.headers(1, &[&blocks[0]]);
    bench.votes(&[0, 1, 2, 3], 0, &tip(&blocks[0]));
    assert_eq!(bench.own_record(0), record, "without its body");
    assert!(bench.persisted().iter().all(|own| own.window != w(0)));
    bench.body(1, &blocks[0]);
    bench.body(1, &blocks[1]);
    bench.propose(&blocks[1]);
    assert_eq!(bench.own_record(0).tip, Some(blocks[1].at()));
}

/// A stop is always safe, and a skip asks of the own chain only how long it is: others may wait for
/// both. What depends on the chain waits for it.
#[test]
fn r12_without_its_block_a_record_stops_and_skips_and_no_more() {
    let set = six(64);
    let blocks = chain(&set, 1, 1);
    let mut bench = Setup::new(&set, 5).with_log(tip(&blocks[0]), &[]).run();
    bench.votes(&[0, 1, 2, 3], 0, &stop());
    bench.propose(&Block::first(&set, 9));
    let own = bench.own_record(0);
    assert_eq!(own.tip, Some(blocks[0].at()));
    assert!(own.stop && own.fin.is_none() && own.also.is_empty());
    assert_eq!(own.skip_fallback, Some(i(0)));
}

#[test]
fn r12_without_its_block_a_record_supports_no_other() {
    let set = six(64);
    let (block, rival) = (Block::first(&set, 1), Block::first(&set, 9));
    for has_block in [false, true] {
        let logged: &[&Block] = if has_block { &[&block] } else { &[] };
        let record = Record {
            stop: true,
            ..tip(&block)
        };
        let mut bench = Setup::new(&set, 5).with_log(record, logged).run();
        bench.propose(&rival);
        bench.votes(&[0, 1, 2, 3], 0, &tip(&rival));
        let also = bench.own_record(0).also;
        assert_eq!(also, if has_block { vec![rival.at()] } else { vec![] });
    }
}

/// Below the block of a snapshot no log has what the window began with. The voters have.
#[test]
fn r12_blocks_of_the_log_are_placed_when_the_headers_below_them_have_come() {
    let set = six(64);
    let blocks = chain(&set, 4, 1);
    let setup = Setup::new(&set, 5).with_log(tip(&blocks[2]), &[&blocks[1], &blocks[2]]);
    let mut bench = setup.run();
    bench.vote(1, 0, tip(&blocks[2]));
    bench.headers(1, &[&blocks[0]]);
    bench.propose(&blocks[3]);
    assert_eq!(bench.own_record(0), tip(&blocks[3]));
    let logged = bench.seen.iter().filter_map(|effect| match effect {
        Effect::PersistBlock { id, .. } => Some(*id),
        _ => None,
    });
    let logged: Vec<_> = logged.collect();
    assert_eq!(logged, [blocks[3].id], "the log has the others");
}

/// The block of the snapshot stands in the middle of a window, and the next window begins on blocks
/// of the log above it.
#[test]
fn r12_a_block_on_blocks_of_the_log_is_voted_for_when_they_are_placed() {
    let set = six(64);
    let blocks = chain(&set, 3, 1);
    let (top, voters) = (&blocks[2], [0, 1, 2, 3]);
    let logged = [&blocks[1], &blocks[2]];
    let mut setup = Setup::new(&set, 5).with_log(tip(top), &logged).patient();
    setup.restored.finalized = blocks[0].point();
    setup.restored.finalized_time_ns = blocks[0].header.time_ns;
    let mut bench = setup.run();
    let above = Target::Skip { from: i(3) };
    let skip = certificate(&set, 0, above, (&voters, &stop_at(top)), Vec::new());
    bench.certificates(3, vec![certified(&set, top, &voters), skip]);
    let next = top.opening(&set, 1, 9);
    bench.propose(&next);
    assert_eq!(bench.own_record(1), Record::default());
    bench.headers(1, &[&blocks[0]]);
    assert_eq!(bench.own_record(1), tip(&next));
}

/// It was sent once, and whoever was away then has to learn it all the same (5, R10).
#[test]
fn r12_a_record_that_stands_as_it_is_is_said_and_signed_to_who_asks() {
    let set = six(64);
    let record = tip(&chain(&set, 1, 1)[0]);
    let setup = Setup::new(&set, 5).with_log(record.clone(), &[]);
    let mut bench = setup.patient().run();
    bench.lapse(50);
    bench.forget();
    let status = bench.status_of(0);
    bench.status(1, status);
    let sent = bench.votes_sent(0);
    let to_asker = sent.iter().find(|(to, _)| *to == Destination::Peer(v(1)));
    let (_, vote) = to_asker.expect("an answer");
    assert!(vote.record == record && vote.signature.is_some());
    bench.lapse(20);
    let statuses = bench.statuses_sent();
    assert_eq!(statuses.last().expect("one each T_retx").record, record);
}

#[test]
fn r12_the_highest_window_comes_from_parents_and_not_from_an_own_record() {
    let set = six(64);
    let mut setup = Setup::new(&set, 5);
    setup.restored.lease.lease = Some(w(9));
    setup.restored.records = vec![OwnRecord {
        window: w(5),
        record: stop(),
    }];
    let mut bench = setup.run();
    assert_eq!(bench.consensus.window(), w(0));
    bench.lapse(52);
    assert!(bench.own_record(0).stop, "and its timer runs");
}

#[test]
fn r12_no_proposal_up_to_no_proposals_until_and_votes_all_the_same() {
    let set = six(64);
    let mut setup = Setup::new(&set, 0);
    setup.restored.lease = Lease {
        lease: Some(w(9)),
        abstain_until: None,
        no_proposals_until: Some(w(0)),
        ..Lease::default()
    };
    let mut bench = setup.run();
    assert_eq!(bench.consensus.proposal_room(), None);
    assert!(bench.consensus.is_voting());
    bench.settle();
    assert!(bench.own_record(0).stop, "its own window gets no time");
    bench.lapse(10);
    let statuses = bench.statuses_sent();
    let last = *statuses.last().unwrap();
    assert!(last.no_proposals && !last.abstains);
    let mut setup = Setup::new(&set, 1);
    setup.restored.lease.lease = Some(w(9));
    setup.restored.lease.no_proposals_until = Some(w(0));
    let mut bench = setup.run();
    bench.certificates(2, vec![skip_of(&set, 0, &[0, 2, 3, 4])]);
    assert!(bench.consensus.proposal_room().is_some(), "one above");
}

/// A log holds what anybody brought, as far as it was wanted: that it holds a block does not say
/// who made it.
#[test]
fn r3_a_block_out_of_the_log_is_authentic_below_an_own_vote_alone() {
    let set = six(64);
    let (forged, real) = (Block::first(&set, 30), Block::first(&set, 1));
    let mut setup = Setup::new(&set, 5).patient();
    setup.restored.lease.lease = Some(w(100));
    setup.restored.blocks = vec![(forged.id, forged.header)];
    let mut bench = setup.run();
    assert!(bench.own_record(0).is_empty(), "nobody stands behind it");
    bench.propose(&real);
    assert_eq!(bench.own_record(0), tip(&real));
    assert!(bench.alarms().is_empty(), "the leader made one block");
}

#[test]
fn r3_what_the_own_vote_stood_on_is_the_leaders_after_a_restart_too() {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let logged = [&blocks[0], &blocks[1]];
    for rival_of in [None, Some(&blocks[0])] {
        let setup = Setup::new(&set, 5).with_log(tip(&blocks[1]), &logged);
        let mut bench = setup.patient().run();
        let next = match rival_of {
            None => Block::first(&set, 9),
            Some(first) => first.child(&set, 9),
        };
        bench.propose(&next);
        assert_eq!(bench.alarms(), [Alarm::TwoBlocks(v(0))]);
    }
}

/// A block that was logged before it could be voted for, and comes again.
#[test]
fn r3_a_logged_block_is_voted_for_when_its_leader_says_again_that_it_is_its_own() {
    let set = six(64);
    let block = Block::first(&set, 1);
    for by_signature in [false, true] {
        let mut setup = Setup::new(&set, 5).patient();
        setup.restored.lease.lease = Some(w(100));
        setup.restored.blocks = vec![(block.id, block.header)];
        let mut bench = setup.run();
        assert!(bench.own_record(0).is_empty());
        if by_signature {
            let header = block.header;
            let signature = sign_header(&set, &header);
            bench.message(3, Message::HeaderSignature { header, signature });
        } else {
            bench.body(0, &block);
        }
        assert_eq!(bench.own_record(0), tip(&block));
    }
}

/// Bodies that were fetched stand in the log in the order in which they came.
#[test]
fn r12_a_record_is_restored_whatever_the_order_of_the_blocks_in_the_log() {
    let set = six(64);
    let blocks = chain(&set, 3, 1);
    let setup = Setup::new(&set, 5).with_log(tip(&blocks[1]), &[&blocks[1], &blocks[0]]);
    let mut bench = setup.run();
    bench.propose(&blocks[2]);
    assert_eq!(bench.own_record(0), tip(&blocks[2]));
}

/// What the log holds was flushed by an earlier run: it is announced as that, and the proof is
/// there for who lacks it.
#[test]
fn r12_the_proof_in_the_log_is_announced_as_flushed_and_served_after_a_restart() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let proof = final_of(&set, &block, &[0, 1, 2, 3, 4]);
    let mut setup = Setup::new(&set, 5).with_log(tip(&block), &[&block]);
    setup.restored.finalized = block.point();
    setup.restored.finalized_time_ns = block.header.time_ns;
    setup.restored.proven = block.point();
    setup.restored.proof = Some(proof.clone());
    let mut bench = setup.run();
    bench.forget();
    bench.lapse(15);
    let statuses = bench.statuses_sent();
    let last = statuses.last().expect("one was due");
    let height = block.header.height;
    assert_eq!((last.proven, last.flushed), (block.point(), height));
    let status = bench.status_of(0);
    bench.status(1, status);
    assert_eq!(bench.certificates_sent(1), [[proof]]);
}

/// A validator whose log ends with a final block of this time, the last one of window 0.
fn restarted_on(block: &Block, own: u16) -> Bench {
    let set = six(1);
    let mut setup = Setup::new(&set, own).with_log(tip(block), &[block]);
    setup.restored.records.clear();
    setup.restored.finalized = block.point();
    setup.restored.finalized_time_ns = block.header.time_ns;
    let bench = setup.patient().run();
    assert_eq!(bench.consensus.window(), w(1));
    bench
}

/// Clocks may have been set back in between; time that commands have seen does not fall.
#[test]
fn r12_time_does_not_fall_below_that_of_the_last_final_block_over_a_restart() {
    let set = six(1);
    let first = Block::first(&set, 1);
    let late_ns = Bench::new(&set, 5).now.wall_ns + 100 * MS;
    let block = first.with(|header| header.time_ns = late_ns);
    let room = restarted_on(&block, 1).consensus.proposal_room();
    let room = room.map(|room| (room.parent_id, room.time_ns_min));
    assert_eq!(room, Some((block.id, late_ns + 1)));
    let later = block.opening(&set, 1, 2);
    let not_later = later.with(|header| header.time_ns = late_ns);
    for (next, is_voted) in [(later, true), (not_later, false)] {
        let mut bench = restarted_on(&block, 5);
        bench.propose(&next);
        assert_eq!(bench.own_record(1).tip == Some(next.at()), is_voted);
    }
}
