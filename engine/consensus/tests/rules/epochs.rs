//! What is said of another epoch says nothing of this one: set_hash and epoch stand under every
//! statement, and stakes of two epochs are never in one sum.

use crate::bench::{Bench, Setup};
use crate::fixtures::{Block, certified, final_of, six, stop, tip, w};
use quorate_consensus::machine::{Disposition, Ignored};
use quorate_consensus::message::{Message, Propose, Status, Vote};
use quorate_consensus::signing::ValidatorKey;
use quorate_consensus::types::{Epoch, Stake};
use quorate_consensus::validators::{SetParameters, Validator, ValidatorSet};
use std::sync::Arc;

/// The six equal validators in their second epoch, so that there is one before and one after.
fn six_later() -> Arc<ValidatorSet> {
    let validators = (1..=6)
        .map(|seed| Validator::new(ValidatorKey::from_seed(&[seed; 32]).public(), Stake::new(1)))
        .collect();
    let parameters = SetParameters {
        chain_id: [7; 32],
        genesis_hash: [9; 32],
        epoch: Epoch::new(1),
        fault: Stake::new(1),
        slack: Stake::new(1),
        window_slots: 64,
        turn_windows: 1,
        crash_only: false,
        genesis_time_ns: 1_000,
    };
    Arc::new(ValidatorSet::new(parameters, validators).expect("a valid set"))
}

const OTHERS: [Epoch; 2] = [Epoch::new(0), Epoch::new(2)];
const REFUSED: Disposition = Disposition::Ignored(Ignored::OtherEpoch);

#[test]
fn epochs_a_vote_of_another_one_is_not_counted() {
    let set = six_later();
    for epoch in OTHERS {
        let mut bench = Bench::new(&set, 5);
        for from in [0, 1, 2, 3] {
            let vote = Vote {
                epoch,
                window: w(0),
                record: stop(),
                signature: None,
            };
            assert_eq!(bench.message(from, Message::Vote(vote)), REFUSED);
        }
        assert_eq!(bench.consensus.window(), w(0));
        bench.votes(&[0, 1, 2, 3], 0, &stop());
        assert_eq!(bench.consensus.window(), w(1), "those of its own are");
    }
}

#[test]
fn epochs_a_status_of_another_one_is_neither_counted_nor_answered() {
    let set = six_later();
    for epoch in OTHERS {
        let mut bench = Bench::new(&set, 5);
        let block = Block::first(&set, 1);
        bench.propose(&block);
        bench.forget();
        for from in [0, 1, 2, 3] {
            let status = Status {
                epoch,
                record: tip(&block),
                ..bench.status_of(0)
            };
            assert_eq!(bench.status(from, status), REFUSED);
        }
        assert!(bench.finalized().is_empty());
        assert!(bench.votes_sent(0).is_empty());
    }
}

#[test]
fn epochs_a_block_of_another_one_is_not_voted_for() {
    let set = six_later();
    for epoch in OTHERS {
        let mut bench = Bench::new(&set, 5);
        let block = Block::first(&set, 1).with(|header| header.epoch = epoch);
        let propose = Propose {
            header: block.header,
            payload: Arc::clone(&block.payload),
            justification: Vec::new(),
            record: None,
        };
        let leader = set.leader(w(0)).number();
        assert_eq!(bench.message(leader, Message::Propose(propose)), REFUSED);
        assert_eq!(bench.own_record(0).tip, None);
    }
}

#[test]
fn epochs_a_certificate_of_another_one_proves_nothing() {
    let set = six_later();
    for epoch in OTHERS {
        let mut bench = Bench::new(&set, 5);
        let block = Block::first(&set, 1);
        let mut proof = final_of(&set, &block, &[0, 1, 2, 3, 4]);
        proof.epoch = epoch;
        bench.certificates(1, vec![proof]);
        let mut certificate = certified(&set, &block, &[0, 1, 2, 3]);
        certificate.epoch = epoch;
        bench.certificates(2, vec![certificate]);
        assert!(set.is_genesis(&bench.consensus.proven()));
        assert!(set.is_genesis(&bench.consensus.finalized()));
    }
}

#[test]
fn epochs_no_header_of_another_one_is_held() {
    let set = six_later();
    for epoch in OTHERS {
        let mut bench = Bench::new(&set, 5);
        let block = Block::first(&set, 1).with(|header| header.epoch = epoch);
        bench.vote(3, 0, tip(&block));
        let disposition = bench.headers(3, &[&block]);
        assert!(matches!(disposition, Disposition::Fault(_)));
    }
}

/// The set's own epoch stands in what is sent.
#[test]
fn epochs_own_statements_name_the_one_of_the_set() {
    let set = six_later();
    let mut bench = Setup::new(&set, 5).run();
    bench.stop_by_timer();
    let votes = bench.votes_sent(0);
    assert!(!votes.is_empty());
    assert!(votes.iter().all(|(_, vote)| vote.epoch == set.epoch()));
    let statuses = bench.statuses_sent();
    assert!(!statuses.is_empty());
    assert!(statuses.iter().all(|status| status.epoch == set.epoch()));
    assert_ne!(six(64).set_hash(), set.set_hash(), "it is part of the hash");
}
