//! What one folder proves: never more than others have signed.

use super::*;
use crate::inspect::chain::tests::{fill_joined, header, written};
use quorate::keys::KeyPair;
use quorate::shadow::statement_of;
use quorate::snapshot::{Manifest, SectionEntry, SnapshotFolder};
use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::signing;
use quorate_consensus::wire;
use std::fs;

/// Height of the base.
const BASE: u64 = 64;

/// A snapshot of the block of the base, or of another one, without a certificate.
fn write_snapshot(genesis: &Genesis, folder: &SnapshotFolder, parent: BlockId) -> Manifest {
    let mut writer = folder.write(BASE).unwrap();
    writer.push(b"text").unwrap();
    let manifest = Manifest {
        genesis_hash: *genesis.hash(),
        header: header(genesis, BASE, parent),
        sections: vec![SectionEntry {
            name: "text".to_owned(),
            root: [5; 32],
            bytes: 4,
        }],
        chunks: Vec::new(),
    };
    writer.finish(manifest).unwrap()
}

fn certify(genesis: &Genesis, folder: &SnapshotFolder, manifest: &Manifest, seed: u8) {
    let statement = statement_of(manifest);
    let validator = ValidatorIndex::new(0);
    let mut message = Vec::new();
    signing::state_message(genesis.validator_set(), validator, &statement, &mut message);
    let certificate = StateCertificate {
        statement,
        signatures: vec![(validator, KeyPair::from_seed(&[seed; 32]).sign(&message))],
    };
    let mut bytes = Vec::new();
    wire::encode_state_certificate(&certificate, &mut bytes);
    folder.put_certificate(BASE, &bytes).unwrap();
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
    let manifest = write_snapshot(&genesis, &folder, BlockId::new([9; 32]));
    assert_eq!(proven(), 0, "a snapshot for which nobody vouches");
    certify(&genesis, &folder, &manifest, 2);
    assert_eq!(proven(), 0, "a signature that is none");
    certify(&genesis, &folder, &manifest, 1);
    assert_eq!(proven(), BASE);
    // One that is vouched for says nothing of another block in the log.
    folder.remove(BASE).unwrap();
    let other = write_snapshot(&genesis, &folder, BlockId::new([4; 32]));
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
