//! What one folder proves: never more than others have signed.

use super::*;
use crate::inspect::chain::tests::{
    certify, fill_joined, fill_proven, finalize, header, prove, write_snapshot, written,
    written_pruned,
};
use quorate::genesis::{Begins, Hex32};
use quorate::keys::KeyPair;
use quorate_log::{LogConfig, Writer, open};
use std::fs;

/// Height of the base.
const BASE: u64 = 64;

/// A validator's folder with this log and this lease of its own.
fn folder_of(
    name: &str,
    lease: Lease,
    fill: impl FnOnce(&mut Writer, &Genesis),
) -> (PathBuf, Genesis) {
    let (data, chain) = written(name, fill);
    let lease = Lease {
        owner: KeyPair::from_seed(&[1; 32]).public(),
        ..lease
    };
    let folder = DataFolder::open(&data.join("log")).unwrap();
    LeaseFile::new(&folder).replace(&lease.encode()).unwrap();
    (data, chain.genesis)
}

#[test]
fn a_base_counts_by_the_certificate_of_its_snapshot_alone() {
    let (data, chain) = written("site-base", |writer, genesis| {
        fill_joined(writer, genesis, None, BASE);
    });
    assert!(chain.findings.is_empty(), "{:?}", chain.findings);
    let (log, genesis) = (data.join("log"), chain.genesis.clone());
    let proven = || provable(&chain, BASE, attested(&log, &chain));
    assert_eq!(proven(), 0, "a base without a snapshot");
    let folder = snapshots_beside(&log);
    let of = |parent| header(&genesis, BASE, parent);
    let manifest = write_snapshot(&genesis, &folder, of(BlockId::new([9; 32])));
    assert_eq!(proven(), 0, "a snapshot for which nobody vouches");
    certify(&genesis, &folder, &manifest, 2);
    assert_eq!(proven(), 0, "a signature that is none");
    certify(&genesis, &folder, &manifest, 1);
    assert_eq!(proven(), BASE);
    // One that is vouched for says nothing of another block in the log.
    folder.remove(BASE).unwrap();
    let other = write_snapshot(&genesis, &folder, of(BlockId::new([4; 32])));
    certify(&genesis, &folder, &other, 1);
    assert_eq!(proven(), 0, "a snapshot of another block");
    fs::remove_dir_all(data).unwrap();
}

#[test]
fn a_folder_whose_validator_came_from_elsewhere_counts_once_its_proofs_are_newer() {
    let lacks = |newest: Option<u64>, elsewhere: Option<u64>| {
        let mut lease = Lease::default();
        // A start after a loss of power leaves these; what was flushed is there all the same.
        lease.lease.lease = Some(Window::new(9));
        lease.lease.abstain_until = Some(Window::new(9));
        lease.lease.proofs_elsewhere = elsewhere.map(Window::new);
        let position = newest.map(|window| (Window::new(window), Index::new(3)));
        may_lack(&lease, position)
    };
    assert!(!lacks(None, None), "it never had any");
    assert!(!lacks(Some(5), None), "it stayed");
    assert!(lacks(None, Some(0)));
    assert!(lacks(Some(0), Some(0)), "another block of window 0");
    assert!(!lacks(Some(1), Some(0)));
    assert!(lacks(Some(5), Some(5)) && lacks(Some(4), Some(5)));
    assert!(!lacks(Some(6), Some(5)));
}

#[test]
fn of_folders_that_prove_different_blocks_at_one_height_no_block_is_chosen() {
    let found = |name: &str, other_from| {
        let fill = |writer: &mut Writer, genesis: &Genesis| {
            fill_proven(writer, genesis, other_from);
        };
        let (data, genesis) = folder_of(name, Lease::default(), fill);
        let (_, found) = look(&data, &genesis).unwrap();
        fs::remove_dir_all(data).unwrap();
        assert_eq!((found.report.height, found.report.not_counted), (3, None));
        found
    };
    let mut all = vec![found("site-first", 9), found("site-equal", 9)];
    refuse_conflict(&all).unwrap();
    all.push(found("site-forked", 3));
    let refused = refuse_conflict(&all).unwrap_err();
    assert_eq!(refused.code, Code::Safety, "{refused}");
    assert!(refused.to_string().contains("at height 3"), "{refused}");
}

#[test]
fn a_folder_whose_last_run_saw_a_failed_sync_is_no_witness_and_is_used() {
    let suspect = Lease {
        suspect: true,
        ..Lease::default()
    };
    let (data, genesis) = folder_of("site-suspect", suspect, |writer, genesis| {
        fill_proven(writer, genesis, 9);
    });
    let (_, found) = look(&data, &genesis).unwrap();
    let why = found.report.not_counted.unwrap();
    assert!(why.contains("failed sync"), "{why}");
    assert_eq!(found.report.height, 3);
    fs::remove_dir_all(data).unwrap();
}

#[test]
fn a_lease_that_cannot_be_read_is_told_by_where_it_is() {
    let (data, genesis) = folder_of("site-lease", Lease::default(), |_, _| ());
    let lease = data.join("log").join("lease");
    fs::remove_file(&lease).unwrap();
    fs::create_dir(&lease).unwrap();
    let refused = look(&data, &genesis).err().unwrap().to_string();
    assert!(refused.contains(&lease.display().to_string()), "{refused}");
    fs::remove_dir_all(data).unwrap();
}

/// A start marks what is damaged and goes on behind it: a proof may have stood there.
#[test]
fn a_folder_with_parts_that_are_marked_faulty_is_no_witness() {
    let (data, genesis) = folder_of("site-marked", Lease::default(), |writer, genesis| {
        fill_proven(writer, genesis, 9);
        // What is damaged below.
        let other = header(genesis, 4, BlockId::new([6; 32]));
        prove(writer, genesis, &other, 4);
    });
    let log = data.join("log");
    let reopen = || {
        let config = LogConfig {
            segment_bytes: 1 << 16,
            ..LogConfig::new([7; 32])
        };
        open(&DataFolder::open(&log).unwrap(), &config, genesis.bytes()).unwrap()
    };
    let mut opened = reopen();
    opened.syncer.sync(opened.writer.unsynced()).unwrap();
    drop(opened);
    let segment = log.join("segment-0000000000");
    let mut bytes = fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[end - 100] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let (_, damaged) = look(&data, &genesis).unwrap();
    assert_eq!(damaged.report.not_counted, Some("its log is damaged"));
    drop(damaged);
    assert_eq!(reopen().recovery.marked.len(), 1);
    let (_, found) = look(&data, &genesis).unwrap();
    let why = found.report.not_counted.unwrap();
    assert!(why.contains("marked faulty"), "{why}");
    assert_eq!(found.report.height, 3, "what it has is used");
    fs::remove_dir_all(data).unwrap();
}

#[test]
fn a_folder_whose_proof_is_of_another_block_than_its_own_is_left_out() {
    let fill = |writer: &mut Writer, genesis: &Genesis| {
        let first = header(genesis, 1, genesis.validator_set().genesis().id);
        finalize(writer, &first, None);
        let other = header(genesis, 1, BlockId::new([6; 32]));
        prove(writer, genesis, &other, 1);
    };
    let (data, genesis) = folder_of("site-contradictory", Lease::default(), fill);
    let refused = look(&data, &genesis).err().unwrap();
    assert_eq!(refused.code, Code::Damaged, "{refused}");
    assert!(refused.to_string().contains("another block"), "{refused}");
    fs::remove_dir_all(data).unwrap();
}

/// The genesis is on the command line: what the folder has lost of it harms nobody.
#[test]
fn a_pruned_folder_without_its_genesis_is_a_witness_as_before() {
    let (data, chain) = written_pruned("site-genesis");
    let looked = || look(&data, &chain.genesis).unwrap().1.report;
    let whole = looked();
    assert_eq!((whole.height, whole.not_counted), (400, None));
    fs::remove_file(data.join("log").join("genesis")).unwrap();
    let without = looked();
    assert_eq!((without.height, without.not_counted), (400, None));
    assert_eq!(without.id, whole.id);
    fs::remove_dir_all(data).unwrap();
}

/// Its stake would count for each of them.
#[test]
fn two_folders_of_one_validator_are_refused_wherever_they_lie() {
    let fill = |writer: &mut Writer, genesis: &Genesis| fill_proven(writer, genesis, 9);
    let (one, genesis) = folder_of("site-original", Lease::default(), fill);
    let (other, _) = folder_of("site-copy", Lease::default(), fill);
    let path = one.join("genesis.json");
    fs::write(&path, genesis.bytes()).unwrap();
    let choose = |dirs: &[&PathBuf]| {
        let options = Options {
            genesis: path.clone(),
            out: None,
            validators: None,
            dirs: dirs.iter().map(|&dir| dir.clone()).collect(),
        };
        run(&Applications::new(), &options)
    };
    assert!(choose(&[&other]).is_ok());
    let refused = choose(&[&one, &other]).unwrap_err();
    assert_eq!(refused.code, Code::Configuration, "{refused}");
    let told = refused.to_string();
    assert!(told.contains("are both of validator 0"), "{told}");
    for data in [one, other] {
        fs::remove_dir_all(data).unwrap();
    }
}

/// A proof may stand in what the disk does not give.
#[test]
fn a_folder_with_pages_that_cannot_be_read_is_no_witness() {
    let (data, genesis) = folder_of("site-unreadable", Lease::default(), |writer, genesis| {
        fill_proven(writer, genesis, 9);
    });
    let (_, mut found) = look(&data, &genesis).unwrap();
    let mut why = |pages| {
        found.verification.unreadable_pages = pages;
        not_counted(&Lease::default(), &found.verification, found.position)
    };
    assert_eq!(why(0), None);
    let told = why(1).unwrap();
    assert!(told.contains("cannot be read"), "{told}");
    fs::remove_dir_all(data).unwrap();
}

/// Without blocks nothing but its genesis says of which chain it is.
#[test]
fn an_empty_folder_of_another_generation_of_the_chain_is_refused() {
    let (data, genesis) = folder_of("site-generation", Lease::default(), |_, _| ());
    assert!(look(&data, &genesis).is_ok());
    let begins = Begins {
        generation: 1,
        of: Hex32(*genesis.hash()),
        height: BASE,
        block: Hex32([9; 32]),
        snapshot: Hex32([8; 32]),
    };
    let time_ns = genesis.validator_set().genesis_time_ns();
    let next = genesis.succeed(begins, time_ns + 1, None).unwrap();
    let refused = look(&data, &next).err().unwrap();
    assert_eq!(refused.code, Code::Configuration, "{refused}");
    assert!(refused.to_string().contains("another chain"), "{refused}");
    fs::remove_dir_all(data).unwrap();
}
