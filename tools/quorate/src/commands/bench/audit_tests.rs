//! The audit finds what it is for: a vote that contradicts an earlier one, and a lost command.

use super::*;
use quorate_consensus::header::Header;
use quorate_consensus::record::OwnRecord;
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
    let mut audit = Audit::after(Lives::default(), 8);
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
        let mut audit = Audit::after(audit.into_lives(), 8);
        audit.take_record(window, record);
        (audit.vote_records, audit.conflicting_votes)
    };
    assert_eq!(after_loss(vote(Some((1, second.id())))), (1, 0));
    assert_eq!(after_loss(vote(Some((0, first.id())))), (1, 1));
    assert_eq!(after_loss(vote(None)), (1, 1));
}

/// An own vote about window 3 that stands at this byte of the first segment.
fn take_at(audit: &mut Audit, bytes: u32, record: &Record) {
    let own = OwnRecord {
        window: Window::new(3),
        record: record.clone(),
    };
    let entry = JournalEntry::Record {
        epoch: Epoch::new(0),
        own,
    };
    audit.take(LogOffset::new(0, bytes), entry);
}

/// Two logs that begin alike: what both have was said once, and what is behind it in the one that
/// goes on is held against what the one that was replaced said.
#[test]
fn a_vote_behind_a_copy_that_contradicts_one_of_the_log_that_it_replaced_is_a_conflict() {
    let first = header(3, 0, BlockId::new([1; 32]));
    let (second, third) = (
        header(3, 1, first.id()),
        header(3, 2, BlockId::new([2; 32])),
    );
    let other = Header {
        payload_hash: [9; 32],
        ..header(3, 1, first.id())
    };
    let copied = vote(Some((0, first.id())));
    let behind_the_copy = |replaced: &Record, goes_on: &Record| {
        let mut audit = with_blocks(&[first, second, third, other]);
        for (bytes, record) in [(512, &copied), (640, replaced)] {
            take_at(&mut audit, bytes, record);
        }
        let mut lives = audit.into_lives();
        lives.go_on_behind(Mark {
            place: LogOffset::new(0, 640),
            hash: [0; HASH_BYTES],
        });
        let mut audit = Audit::after(lives, 8);
        for (bytes, record) in [(512, &copied), (640, goes_on)] {
            take_at(&mut audit, bytes, record);
        }
        (audit.vote_records, audit.conflicting_votes)
    };
    let said = vote(Some((1, second.id())));
    assert_eq!(behind_the_copy(&said, &said), (1, 0));
    assert_eq!(behind_the_copy(&said, &vote(Some((1, other.id())))), (1, 1));
    assert_eq!(
        behind_the_copy(&said, &copied),
        (1, 1),
        "a word is taken back"
    );
    // The next log has nothing of it.
    let mut lives = with_blocks(&[first]).into_lives();
    lives.go_on_behind(Mark {
        place: LogOffset::new(0, 640),
        hash: [0; HASH_BYTES],
    });
    lives.begin_anew();
    let mut audit = Audit::after(lives, 8);
    take_at(&mut audit, 512, &copied);
    assert_eq!(audit.vote_records, 1);
}

/// Votes of one validator about one window, one after the other: how many are found.
fn conflicts(headers: &[Header], votes: &[Record]) -> u64 {
    let mut audit = with_blocks(headers);
    for record in votes {
        audit.take_record(Window::new(3), record.clone());
    }
    audit.conflicting_votes
}

/// A chain over a window's first slots, and a branch of it from one of them on.
fn branches(length: u32, fork: u32) -> (Vec<Header>, Vec<Header>) {
    let chain = |below: &[Header], mark: u8| {
        let mut chain = below.to_vec();
        for index in u32::try_from(below.len()).unwrap()..length {
            let parent = chain.last().map_or(BlockId::new([1; 32]), Header::id);
            let mut next = header(3, index, parent);
            next.payload_hash = [mark; 32];
            chain.push(next);
        }
        chain
    };
    let main = chain(&[], 0);
    let other = chain(&main[..fork as usize], 9);
    (main, other)
}

fn at(chain: &[Header], index: u32) -> (Index, BlockId) {
    (Index::new(index), chain[index as usize].id())
}

#[test]
fn a_final_at_or_above_a_fallback_is_a_conflict() {
    let (main, other) = branches(6, 4);
    let all = [&main[..], &other[..]].concat();
    let finalized = Record {
        tip: Some(at(&main, 5)),
        fin: Some(Index::new(5)),
        ..Record::default()
    };
    let stopped = Record {
        stop: true,
        ..finalized.clone()
    };
    assert_eq!(conflicts(&all, &[finalized.clone(), stopped.clone()]), 0);
    let skips = Record {
        skip_fallback: Some(Index::new(3)),
        ..stopped.clone()
    };
    assert_eq!(conflicts(&all, &[finalized.clone(), skips]), 1);
    // Supporting another branch from slot 4 on is the same as to what stands there.
    let supports = |fin| Record {
        fin: Some(Index::new(fin)),
        also: vec![at(&other, 5)],
        ..stopped.clone()
    };
    assert_eq!(conflicts(&all, &[supports(3)]), 0);
    assert_eq!(conflicts(&all, &[supports(4)]), 1);
    let nothing = Record {
        fin: Some(Index::ZERO),
        ..Record::default()
    };
    assert_eq!(conflicts(&all, &[nothing]), 1, "nothing was voted for");
}

#[test]
fn a_fallback_that_moves_to_another_branch_is_a_conflict() {
    let (main, other) = branches(6, 2);
    let (_, third) = branches(6, 3);
    let mut all = [&main[..], &other[..]].concat();
    all.extend_from_slice(&third);
    let supports = |also| Record {
        tip: Some(at(&main, 5)),
        stop: true,
        also: vec![also],
        ..Record::default()
    };
    let low = supports(at(&other, 3));
    assert_eq!(conflicts(&all, &[low.clone(), supports(at(&other, 5))]), 0);
    assert_eq!(conflicts(&all, &[low.clone(), supports(at(&third, 5))]), 1);
    assert_eq!(conflicts(&all, &[supports(at(&other, 5)), low]), 1);
}

/// The body of a final block is fetched for its delivery: its support may be logged before.
#[test]
fn support_of_blocks_that_the_log_gets_later_is_judged_when_they_are_there() {
    let (main, other) = branches(6, 0);
    let supports = |entry| Record {
        stop: true,
        also: vec![entry],
        ..Record::default()
    };
    let judged = |second: &[Header], in_the_log: bool| {
        let mut audit = with_blocks(&[]);
        audit.take_record(Window::new(3), supports(at(&main, 2)));
        audit.take_record(Window::new(3), supports(at(second, 3)));
        assert_eq!(audit.conflicting_votes, 0, "open until then");
        // Over the loss of the log too.
        let mut audit = Audit::after(audit.into_lives(), 8);
        let all = [&main[..], &other[..]].concat();
        let all: Headers = all.into_iter().map(|it| (it.id(), it)).collect();
        if in_the_log {
            audit.headers = all;
            audit.close(&[]);
        } else {
            audit.close(&[&Headers::new(), &all]);
        }
        (audit.conflicting_votes, audit.conflicts.len())
    };
    for in_the_log in [true, false] {
        assert_eq!(judged(&main, in_the_log), (0, 0));
        assert_eq!(judged(&other, in_the_log), (1, 1));
    }
    let mut audit = with_blocks(&[]);
    audit.take_record(Window::new(3), supports(at(&main, 2)));
    audit.take_record(Window::new(3), supports(at(&main, 3)));
    audit.close(&[&Headers::new()]);
    assert_eq!(audit.conflicting_votes, 1, "no log has it");
    assert!(audit.conflicts[0].starts_with("in window 3 it said Some(Record"));
}

#[test]
fn a_fallback_in_an_open_window_or_beyond_it_is_a_conflict() {
    let (main, other) = branches(9, 2);
    let all = [&main[..], &other[..]].concat();
    let falls = |tip, stop| Record {
        tip: Some(at(&main, tip)),
        stop,
        also: vec![at(&other, 3)],
        ..Record::default()
    };
    assert_eq!(conflicts(&all, &[falls(5, false)]), 1);
    assert_eq!(conflicts(&all, &[falls(5, true)]), 0);
    assert_eq!(conflicts(&all, &[falls(7, false)]), 0, "the window is full");
    assert_eq!(
        conflicts(&all, &[vote(Some((8, main[8].id())))]),
        1,
        "outside"
    );
    let skips = Record {
        skip_fallback: Some(Index::ZERO),
        ..Record::default()
    };
    assert_eq!(conflicts(&all, &[skips]), 1);
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

#[test]
fn records_that_cannot_be_decoded_are_no_answer() {
    use super::super::toll::Toll;
    let mut toll = Toll::default();
    let mut audit = Audit::default();
    // The first record of every log.
    audit.take_bytes(LogOffset::new(0, 512), RecordKind::GENESIS, b"{}");
    toll.note_conflicts(0, &audit);
    assert_eq!(toll.differences.len(), 0);
    // No kind of record, and one without its bytes.
    audit.take_bytes(LogOffset::new(0, 512), RecordKind::new(999), b"");
    audit.take_bytes(LogOffset::new(0, 512), RecordKind::new(2), b"");
    toll.note_conflicts(2, &audit);
    let what = "validator 2: 2 records of its log cannot be decoded";
    assert_eq!(toll.differences, [what]);
}
