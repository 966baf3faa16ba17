//! What one life must leave to the next, over real logs: what is lost between two lives is seen
//! though it was the last thing said, and so is a disk that is doubted for nothing.

use super::*;
use std::fs;
use std::path::PathBuf;

use quorate::journal::{ENTRY_VERSION, KIND_BLOCK, KIND_RECORD};
use quorate_consensus::header::Header;
use quorate_consensus::record::Record;
use quorate_consensus::trust::Lease;
use quorate_consensus::types::{BlockId, Epoch, Height, Index};
use quorate_consensus::wire;
use quorate_log::{DataFolder, LogConfig, LogOffset, Opened, open, verify_path};

const WINDOW: u64 = 3;

/// A validator's log folder, with its lease file.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("quorate-past-{name}-{}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        drop(folder.opened());
        folder.put_lease(Lease::default());
        folder
    }

    fn opened(&self) -> Opened {
        let config = LogConfig {
            segment_bytes: 4096,
            ..LogConfig::new([7; 32])
        };
        open(&DataFolder::open(&self.0).unwrap(), &config, b"genesis").unwrap()
    }

    fn put_lease(&self, lease: Lease) {
        let held = restart::LeaseFile {
            lease,
            boot_id: [1; 16],
            suspect: false,
            ran_async: true,
            owner: [2; 32],
            incarnation: 1,
        };
        let folder = DataFolder::open(&self.0).unwrap();
        let replaced = LeaseFile::new(&folder).replace(&held.encode());
        replaced.unwrap();
    }

    /// A life that logs blocks and votes, and is killed: where its last record begins.
    fn live(&self, headers: &[Header], votes: &[Record]) -> LogOffset {
        let mut log = self.opened();
        let mut last = log.writer.end().offset;
        for header in headers {
            let mut bytes = ENTRY_VERSION.to_le_bytes().to_vec();
            wire::encode_header(header, &mut bytes);
            log.writer.append(KIND_BLOCK, &[&bytes]).unwrap();
        }
        for record in votes {
            let mut bytes = ENTRY_VERSION.to_le_bytes().to_vec();
            bytes.extend(0_u64.to_le_bytes());
            bytes.extend(WINDOW.to_le_bytes());
            wire::encode_record(record, &mut bytes);
            last = log.writer.end().offset;
            log.writer.append(KIND_RECORD, &[&bytes]).unwrap();
        }
        last
    }

    /// What a start does that takes the last record for torn, though it is whole.
    fn cut(&self, last: LogOffset) {
        let segment = format!("segment-{:010}", last.segment());
        let path = self.0.join(segment);
        let mut bytes = fs::read(&path).unwrap();
        bytes[last.bytes() as usize..].fill(0);
        fs::write(path, bytes).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn header(index: u32, parent: BlockId, mark: u8) -> Header {
    Header {
        version: 1,
        flags: 0,
        chain_id: [0; 32],
        epoch: Epoch::new(0),
        set_hash: [0; 32],
        window: Window::new(WINDOW),
        index: Index::new(index),
        height: Height::new(u64::from(index) + 1),
        time_ns: 1,
        parent_id: parent,
        payload_hash: [mark; 32],
        payload_bytes: 0,
    }
}

/// Two blocks on one chain, and another one in the place of the second.
fn blocks() -> [Header; 3] {
    let first = header(0, BlockId::new([1; 32]), 0);
    [first, header(1, first.id(), 0), header(1, first.id(), 9)]
}

fn vote(header: &Header) -> Record {
    Record {
        tip: Some((header.index, header.id())),
        ..Record::default()
    }
}

/// At the end of a series: places rewritten, and votes read and conflicting in all.
fn concluded(mut past: Past, folder: &Folder, toll: &Toll) -> (u64, u64, u64) {
    let found = verify_path(&folder.0).unwrap();
    let rewritten = past.rewritten(&folder.0).unwrap();
    let mut audit = past.audit(&folder.0, &found).unwrap();
    audit.close(&[]);
    let votes = toll.vote_records + audit.vote_records;
    let conflicting = toll.conflicting_votes + audit.conflicting_votes;
    (rewritten, votes, conflicting)
}

#[test]
fn the_last_vote_of_a_life_that_the_next_start_cuts_is_missed_and_binds_all_the_same() {
    let [first, second, other] = blocks();
    let all = [first, second, other];
    for dies_again in [false, true] {
        let folder = Folder::new(&format!("cut-{dies_again}"));
        let (mut past, mut toll) = (Past::new(0, 8), Toll::default());
        let last = folder.live(&all, &[vote(&first), vote(&second)]);
        past.take_death(&folder.0, &mut toll).unwrap();
        assert_eq!((toll.places, toll.vote_records), (1, 2));
        folder.cut(last);
        folder.live(&[], &[vote(&other)]);
        if dies_again {
            past.take_death(&folder.0, &mut toll).unwrap();
            assert_eq!((toll.places, toll.conflicting_votes), (2, 1));
            assert!(toll.differences[0].starts_with("validator 0 contradicts itself"));
        }
        assert_eq!(concluded(past, &folder, &toll), (1, 3, 1));
    }
}

#[test]
fn a_log_that_goes_on_is_rewritten_nowhere_and_each_vote_of_it_is_read_once() {
    let [first, second, other] = blocks();
    let folder = Folder::new("goes-on");
    let (mut past, mut toll) = (Past::new(0, 8), Toll::default());
    // Over several segments, and one life that says nothing.
    for round in 0..40 {
        let said = if round == 0 {
            vec![vote(&first), vote(&second)]
        } else {
            vec![vote(&second); usize::from(round != 7)]
        };
        folder.live(&[first, second, other], &said);
        past.take_death(&folder.0, &mut toll).unwrap();
    }
    folder.live(&[], &[vote(&second)]);
    assert!(verify_path(&folder.0).unwrap().end.offset.segment() > 3);
    assert_eq!((toll.places, toll.vote_records), (40, 40));
    assert_eq!(concluded(past, &folder, &toll), (0, 41, 0));
    assert_eq!(toll.differences, Vec::<String>::new());
}

#[test]
fn what_was_rewritten_in_a_log_that_is_lost_is_counted_before_it_goes() {
    let [first, second, _] = blocks();
    let folder = Folder::new("lost");
    let (mut past, mut toll) = (Past::new(0, 8), Toll::default());
    let last = folder.live(&[first, second], &[vote(&first), vote(&second)]);
    past.take_death(&folder.0, &mut toll).unwrap();
    folder.cut(last);
    past.lose_log(&folder.0, &mut toll).unwrap();
    assert_eq!((toll.rewritten, toll.conflicting_votes), (1, 0));
    assert!(past.may_have_marked());
    // What the next log says is held against what went with the cut.
    fs::remove_dir_all(&folder.0).unwrap();
    folder.live(&[first, second], &[vote(&first)]);
    assert_eq!(concluded(past, &folder, &toll), (0, 3, 1));
}

#[test]
fn a_log_whose_end_is_gone_is_rewritten_and_one_that_was_pruned_is_not() {
    let [first, ..] = blocks();
    let folder = Folder::new("gone");
    let (mut past, mut toll) = (Past::new(0, 8), Toll::default());
    folder.live(&[first; 40], &[vote(&first)]);
    past.take_death(&folder.0, &mut toll).unwrap();
    assert_eq!(past.rewritten(&folder.0).unwrap(), 0);
    let end = verify_path(&folder.0).unwrap().end.offset.segment();
    let segment = |number: u32| folder.0.join(format!("segment-{number:010}"));
    let kept = segment(end + 9);
    fs::rename(segment(end), &kept).unwrap();
    assert_eq!(past.rewritten(&folder.0).unwrap(), 1);
    for number in 0..end {
        fs::remove_file(segment(number)).unwrap();
    }
    assert_eq!(past.rewritten(&folder.0).unwrap(), 0);
}

#[test]
fn a_disk_to_which_nothing_was_done_may_not_be_doubted() {
    let folder = Folder::new("doubts");
    let (mut past, mut toll) = (Past::new(4, 8), Toll::default());
    let mut dies = |lease: Option<Lease>, is_expected: bool| {
        match lease {
            Some(lease) => folder.put_lease(lease),
            None => fs::remove_file(folder.0.join("lease")).unwrap(),
        }
        if is_expected {
            past.expect_doubts();
        }
        past.take_death(&folder.0, &mut toll).unwrap();
        std::mem::take(&mut toll.differences)
    };
    let until = |window| Some(Window::new(window));
    let usual = Lease {
        lease: until(12),
        no_proposals_until: until(9),
        ..Lease::default()
    };
    assert_eq!(dies(Some(usual), false), Vec::<String>::new());
    let (mut abstains, mut asked, mut lost) = (usual, usual, usual);
    abstains.abstain_until = until(12);
    asked.proofs_elsewhere = until(13);
    lost.is_lost = true;
    for doubted in [Some(abstains), Some(asked), Some(lost), None] {
        let told = dies(doubted, false);
        assert_eq!(told.len(), 1, "{doubted:?}: {told:?}");
        assert!(told[0].contains("validator 4"), "{told:?}");
        // No life adds to what the one before it did.
        assert_eq!(dies(doubted.or(Some(usual)), false), Vec::<String>::new());
        assert_eq!(dies(Some(usual), true), Vec::<String>::new(), "an old copy");
        assert_eq!(dies(doubted, true), Vec::<String>::new());
        let falls = dies(Some(usual), false);
        assert_eq!(falls.len(), usize::from(doubted.is_some()), "{falls:?}");
    }
    assert!(past.may_have_marked());
}
