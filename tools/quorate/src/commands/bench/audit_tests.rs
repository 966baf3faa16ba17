//! The audit finds what it is for: a vote that contradicts an earlier one, and a lost command.

use super::*;
use quorate_consensus::types::{Epoch, Height, Index};

fn header(window: u64, index: u32, parent: BlockId) -> Header {
    Header {
        window: Window::new(window),
        index: Index::new(index),
        height: Height::new(u64::from(index) + 1),
        parent_id: parent,
        version: 1,
        flags: 0,
        chain_id: [0; 32],
        epoch: Epoch::new(0),
        set_hash: [0; 32],
        time_ns: 1,
        payload_hash: [0; 32],
        payload_bytes: 0,
    }
}

fn vote(tip: Option<(u32, BlockId)>) -> Record {
    Record {
        tip: tip.map(|(index, id)| (Index::new(index), id)),
        ..Record::default()
    }
}

fn with_blocks(headers: &[Header]) -> Audit {
    let mut audit = Audit::default();
    for header in headers {
        audit.headers.insert(header.id(), *header);
    }
    audit
}

#[test]
fn a_record_on_another_branch_or_a_shorter_one_is_a_conflict() {
    let root = BlockId::new([1; 32]);
    let first = header(3, 0, root);
    let second = header(3, 1, first.id());
    let other = header(3, 1, BlockId::new([2; 32]));
    let window = Window::new(3);
    let conflicts = |votes: &[Record]| {
        let mut audit = with_blocks(&[first, second, other]);
        for record in votes {
            audit.take_record(window, record.clone());
        }
        audit.conflicting_votes
    };
    let (one, two) = (vote(Some((0, first.id()))), vote(Some((1, second.id()))));
    assert_eq!(conflicts(&[one.clone(), two.clone(), two.clone()]), 0);
    assert_eq!(conflicts(&[two, one.clone()]), 1);
    assert_eq!(conflicts(&[one, vote(Some((1, other.id())))]), 1);
}

#[test]
fn a_vote_that_contradicts_one_of_a_log_that_is_gone_is_a_conflict() {
    let root = BlockId::new([1; 32]);
    let first = header(3, 0, root);
    let second = header(3, 1, first.id());
    let window = Window::new(3);
    let after_loss = |record: Record| {
        let mut audit = with_blocks(&[first, second]);
        audit.take_record(window, vote(Some((1, second.id()))));
        let mut audit = Audit::after(audit.into_lives());
        audit.take_record(window, record);
        (audit.vote_records, audit.conflicting_votes)
    };
    assert_eq!(after_loss(vote(Some((1, second.id())))), (1, 0));
    assert_eq!(after_loss(vote(Some((0, first.id())))), (1, 1));
    assert_eq!(after_loss(vote(None)), (1, 1));
}

#[test]
fn a_command_is_lost_when_no_finalized_block_of_the_told_height_has_it() {
    let mut audit = Audit::default();
    audit.commands.insert(([7; 16], 1), Heights::of(4));
    // Behind a gap at 5, applied at 6.
    let mut twice = Heights::of(5);
    twice.more.push(6);
    audit.commands.insert(([7; 16], 3), twice);
    let told = |seq, height| Acknowledged {
        session: [7; 16],
        seq,
        height,
    };
    assert_eq!(audit.lost(&[told(1, Some(4)), told(1, None)]), 0);
    assert_eq!(audit.lost(&[told(3, Some(6)), told(3, Some(5))]), 0);
    assert_eq!(audit.lost(&[told(3, Some(7))]), 1);
    assert_eq!(
        audit.lost(&[told(1, Some(3)), told(1, Some(9)), told(2, None)]),
        3
    );
}
