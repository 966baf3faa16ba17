//! R11: the log first, then the word; and the lease before the first word.

use crate::bench::{Bench, Setup};
use crate::fixtures::{Block, payload_numbered, set_of, six, skip_of, stop_at, tip, w};
use quorate_consensus::effect::Effect;
use quorate_consensus::input::Input;
use quorate_consensus::machine::{Disposition, Durability, Ignored};
use quorate_consensus::message::Message;
use quorate_consensus::trust::{Durable, Lease};

const BOTH: [Durability; 2] = [Durability::Sync, Durability::Async];

fn setup(own: u16, durability: Durability) -> Setup {
    let mut setup = Setup::new(&six(64), own);
    setup.durability = durability;
    setup
}

#[test]
fn r11_a_record_leaves_when_the_journal_has_it_and_not_before() {
    for durability in BOTH {
        let mut bench = setup(5, durability).run();
        bench.answers.journal = false;
        let block = Block::first(&bench.set, 1);
        bench.propose(&block);
        assert_eq!(bench.persisted()[0].record, tip(&block));
        bench.lapse(10);
        assert!(bench.votes_sent(0).is_empty(), "{durability:?}");
        let said = |status: &&&quorate_consensus::message::Status| !status.record.is_empty();
        assert_eq!(
            bench.statuses_sent().iter().filter(said).count(),
            0,
            "{durability:?}"
        );
        let signs = |effect: &&Effect| matches!(effect, Effect::SignRecord { .. });
        assert_eq!(bench.seen.iter().filter(signs).count(), 0, "{durability:?}");
        bench.finish_journal();
        bench.settle();
        assert_eq!(
            bench.votes_sent(0)[0].1.record,
            tip(&block),
            "{durability:?}"
        );
    }
}

#[test]
fn r11_what_the_journal_does_not_hold_yet_is_not_what_is_sent() {
    let mut bench = setup(5, Durability::Sync).run();
    let first = Block::first(&bench.set, 1);
    let second = first.child(&bench.set, 2);
    bench.propose(&first);
    bench.answers.journal = false;
    bench.propose(&second);
    bench.lapse(30);
    let newest = |vote: &quorate_consensus::message::Vote| vote.record.tip == Some(first.at());
    assert!(bench.votes_sent(0).iter().all(|(_, vote)| newest(vote)));
    let statuses = bench.statuses_sent();
    assert_eq!(statuses.last().unwrap().record.tip, Some(first.at()));
}

#[test]
fn r11_a_record_that_has_grown_since_leaves_as_the_journal_holds_it() {
    let mut bench = setup(5, Durability::Sync).run();
    let first = Block::first(&bench.set, 1);
    let second = first.child(&bench.set, 2);
    bench.answers.journal = false;
    bench.propose(&first);
    bench.propose(&second);
    for expected in [&first, &second] {
        bench.finish_oldest();
        let votes = bench.votes_sent(0);
        assert_eq!(votes.last().unwrap().1.record, tip(expected));
    }
    assert_eq!(bench.votes_sent(0).len(), 2);
}

#[test]
fn r11_the_block_is_logged_before_the_record_that_names_it() {
    for (own, durability) in [
        (5, Durability::Sync),
        (0, Durability::Sync),
        (0, Durability::Async),
    ] {
        let mut bench = setup(own, durability).run();
        if own == 0 {
            bench.input(Input::Payload(payload_numbered(1)));
        } else {
            let block = Block::first(&bench.set, 1);
            bench.propose(&block);
        }
        let place = |wanted: fn(&Effect) -> bool| bench.seen.iter().position(wanted).unwrap();
        let block = place(|effect| matches!(effect, Effect::PersistBlock { .. }));
        let record = place(|effect| matches!(effect, Effect::PersistRecord(_)));
        assert!(block < record, "{own} {durability:?}");
    }
}

#[test]
fn r11_a_body_supported_by_a_fallback_is_logged_before_it() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let first = Block::first(&set, 1);
    let second = first.child(&set, 2);
    bench.propose(&first);
    bench.stop_by_timer();
    bench.votes(&[2, 3], 0, &stop_at(&first));
    bench.votes(&[0, 1], 0, &tip(&second));
    bench.branch(0, &[&second]);
    let body = bench
        .seen
        .iter()
        .position(|effect| matches!(effect, Effect::PersistBlock { id, .. } if *id == second.id));
    let record = bench.seen.iter().position(
        |effect| matches!(effect, Effect::PersistRecord(own) if !own.record.also.is_empty()),
    );
    assert!(body.unwrap() < record.unwrap());
}

#[test]
fn r11_in_sync_durability_a_bare_proposal_leaves_at_once_and_is_no_vote() {
    let mut bench = setup(0, Durability::Sync).run();
    bench.answers.journal = false;
    bench.input(Input::Payload(payload_numbered(1)));
    let sent = bench.proposals_sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].record, None);
    assert!(bench.votes_sent(0).is_empty());
    bench.finish_journal();
    bench.settle();
    assert_eq!(bench.votes_sent(0).len(), 1, "the record follows the log");
}

#[test]
fn r11_in_async_durability_a_proposal_brings_the_logged_record() {
    let mut bench = setup(0, Durability::Async).run();
    bench.answers.journal = false;
    bench.input(Input::Payload(payload_numbered(1)));
    assert!(bench.proposals_sent().is_empty());
    bench.finish_journal();
    bench.settle();
    let sent = bench.proposals_sent();
    let record = sent[0].record.clone().unwrap();
    assert_eq!(record.tip.unwrap().1, sent[0].header.id());
    assert!(
        bench.votes_sent(0).is_empty(),
        "it needs no frame of its own"
    );
}

#[test]
fn r11_a_proposals_record_counts_as_its_leaders_vote() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.votes(&[1, 2], 0, &tip(&block));
    let propose = quorate_consensus::message::Propose {
        header: block.header,
        payload: block.payload.clone(),
        justification: Vec::new(),
        record: Some(tip(&block)),
    };
    bench.message(0, Message::Propose(propose));
    assert!(
        bench.own_record(0).fin.is_some(),
        "v0, v1, v2 and the own: Q"
    );
}

#[test]
fn r11_no_record_before_the_lease_is_durable() {
    for own in [0, 5] {
        let mut setup = Setup::new(&six(64), own);
        setup.answers.lease = false;
        let mut bench = setup.run();
        let block = Block::first(&bench.set, 1);
        bench.propose_from(0, &block, Vec::new());
        bench.lapse(60);
        assert!(bench.persisted().is_empty(), "{own}");
        assert_eq!(bench.consensus.proposal_room(), None);
        assert!(!bench.consensus.is_voting());
        bench.finish_leases();
        bench.settle();
        assert!(bench.consensus.is_voting());
        bench.stop_by_timer();
        assert!(!bench.persisted().is_empty(), "{own}");
    }
}

#[test]
fn r11_the_lease_runs_ahead_by_a_turn_on_entering() {
    let set = set_of(&[1; 6], 1, 1, 64, 4);
    let mut bench = Bench::new(&set, 5);
    assert_eq!(bench.leases_asked(), vec![Some(w(4))]);
    bench.certificates(2, vec![skip_of(&set, 0, &[0, 1, 2, 3])]);
    assert_eq!(bench.leases_asked(), vec![Some(w(4)), Some(w(5))]);
    bench.lapse(20);
    assert_eq!(bench.leases_asked().len(), 2, "once a window");
}

/// The lease is extended in the background: up to its end everything may be said.
#[test]
fn r11_the_last_leased_window_is_one_to_act_in() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let mut setup = Setup::new(&set, 5);
    setup.restored.lease.lease = Some(w(0));
    setup.answers.lease = false;
    let mut bench = setup.run();
    bench.propose(&block);
    assert_eq!(bench.own_record(0).tip, Some(block.at()));
}

/// In `async` durability a block goes with the own vote for it.
#[test]
fn r11_no_block_leaves_before_the_vote_for_the_last_of_them() {
    let set = six(64);
    let mut bench = Setup::new(&set, 0).run();
    bench.answers.journal = false;
    for salt in [1, 2] {
        bench.input(Input::Payload(payload_numbered(salt)));
    }
    bench.finish_oldest();
    assert!(bench.proposals_sent().is_empty(), "the second one waits");
    bench.finish_oldest();
    let sent = bench.proposals_sent();
    assert_eq!(sent.len(), 2);
    let voted = sent[1].record.as_ref().and_then(|record| record.tip);
    assert_eq!(voted, Some((sent[1].header.index, sent[1].header.id())));
}

/// A lease that the file held before, or that says that all is lost, is no news.
#[test]
fn r11_no_lease_but_a_later_one_is_taken() {
    let mut setup = Setup::new(&six(64), 5);
    setup.restored.lease.lease = Some(w(3));
    setup.answers.lease = false;
    let mut bench = setup.run();
    let lease = |window, is_lost| Lease {
        lease: Some(w(window)),
        is_lost,
        ..Lease::default()
    };
    let mut held = |lease| {
        let lease = Durable::assert_durable_lease(lease);
        bench.input(Input::LeaseDurable(lease))
    };
    let stale = Disposition::Ignored(Ignored::Stale);
    assert_eq!(held(lease(2, false)), stale);
    assert_eq!(held(lease(3, false)), stale);
    assert_eq!(held(lease(4, true)), stale);
    assert_eq!(held(lease(4, false)), Disposition::Applied);
}

#[test]
fn r11_a_lease_in_the_file_never_falls_over_a_restart() {
    let mut setup = Setup::new(&six(64), 5);
    setup.restored.lease.lease = Some(w(100));
    let mut bench = setup.run();
    bench.stop_by_timer();
    assert_eq!(bench.leases_asked(), []);
}

#[test]
fn r11_time_before_a_lease_is_durable_says_nothing_of_the_leader() {
    let mut setup = Setup::new(&six(64), 5);
    setup.answers.lease = false;
    let mut bench = setup.run();
    bench.lapse(60);
    bench.finish_leases();
    bench.settle();
    bench.lapse(45);
    assert!(!bench.own_record(0).stop, "T_prog is 50 ms");
    bench.lapse(6);
    assert!(bench.own_record(0).stop);
}

/// Nobody says again what was heard while the lease was on its way.
#[test]
fn r11_what_waited_for_the_lease_is_said_when_that_is_durable() {
    let mut setup = setup(5, Durability::Sync).patient();
    setup.answers.lease = false;
    let mut bench = setup.run();
    let block = Block::first(&bench.set, 1);
    bench.propose(&block);
    assert!(bench.persisted().is_empty(), "no lease is durable");
    bench.finish_leases();
    bench.settle();
    assert_eq!(bench.own_record(0), tip(&block));
}
