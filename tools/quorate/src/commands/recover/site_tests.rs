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
