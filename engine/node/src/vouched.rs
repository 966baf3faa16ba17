//! Snapshots of a folder that may come from anywhere, and the certificates beside them.
//!
//! Owns what is checked of such a certificate before its state is used: that the snapshot is of
//! this chain, and that stake of AMP signed what its manifest says. Never: the chunks, which are
//! checked as they are read (`snapshot`), or the choice of a snapshot.

use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::wire::{self, DecodeError};

use crate::join::{Lie, believe};
use crate::shadow::statement_of;
use crate::snapshot::{Manifest, Origin, SnapshotError, SnapshotFolder};

/// Why what stands beside a snapshot proves nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum VouchedError {
    /// The snapshot cannot be read, or is of another chain.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The certificate is not the bytes of one.
    #[error("the certificate of the snapshot of height {height} is damaged: {source}")]
    Damaged {
        /// Height of the snapshot.
        height: u64,
        /// What is wrong with the bytes.
        #[source]
        source: DecodeError,
    },
    /// It is a certificate, but not of this snapshot.
    #[error("the certificate of the snapshot of height {height} is of another state")]
    AnotherState {
        /// Height of the snapshot.
        height: u64,
    },
    /// Signatures are not good, or of too little stake.
    #[error("the certificate of the snapshot of height {height} does not hold")]
    Unproven {
        /// Height of the snapshot.
        height: u64,
    },
}

/// The certificate beside a snapshot, with the manifest that it was held against; no certificate
/// when there is none yet.
///
/// # Errors
/// [`VouchedError`] when manifest or certificate are damaged, or prove nothing under `set`.
pub fn certificate(
    set: &ValidatorSet,
    folder: &SnapshotFolder,
    height: u64,
) -> Result<(Manifest, Option<StateCertificate>), VouchedError> {
    let manifest = folder.manifest(height)?;
    Origin::of(set).check(&manifest)?;
    let Some(bytes) = folder.certificate(height)? else {
        return Ok((manifest, None));
    };
    let certificate = wire::decode_state_certificate(&bytes)
        .map_err(|source| VouchedError::Damaged { height, source })?;
    if certificate.statement != statement_of(&manifest) {
        return Err(VouchedError::AnotherState { height });
    }
    match believe(set, &certificate, &manifest) {
        Ok(()) => Ok((manifest, Some(certificate))),
        Err(Lie::Manifest | Lie::Certificate | Lie::Chunk) => {
            Err(VouchedError::Unproven { height })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::SectionEntry;
    use crate::testing::{TemporaryFolder, final_block, sample_genesis};
    use quorate_consensus::signing::{self, Signer as _, ValidatorKey};
    use quorate_consensus::types::{BlockId, ValidatorIndex};

    const HEIGHT: u64 = 64;

    struct World {
        set: std::sync::Arc<ValidatorSet>,
        keys: Vec<ValidatorKey>,
        folder: SnapshotFolder,
        _temporary: TemporaryFolder,
    }

    /// A snapshot without a certificate.
    fn world() -> World {
        let (genesis, keys) = sample_genesis(4);
        let temporary = TemporaryFolder::new("vouched");
        let world = World {
            set: std::sync::Arc::clone(genesis.validator_set()),
            keys: keys
                .iter()
                .map(|key| ValidatorKey::from_seed(&key.seed()))
                .collect(),
            folder: SnapshotFolder::new(temporary.path().join("snapshots")),
            _temporary: temporary,
        };
        world.write(HEIGHT, *world.set.genesis_hash());
        world
    }

    impl World {
        fn write(&self, height: u64, genesis_hash: [u8; 32]) {
            let mut writer = self.folder.write(height).unwrap();
            writer.push(b"text").unwrap();
            let block = final_block(&self.set, height, BlockId::new([3; 32]), &[]);
            let section = SectionEntry {
                name: "text".to_owned(),
                root: [5; 32],
                bytes: 4,
            };
            let manifest = writer.finish(Manifest {
                genesis_hash,
                header: block.header,
                sections: vec![section],
                chunks: Vec::new(),
            });
            manifest.unwrap();
        }

        fn certify(&self, height: u64, signers: &[u16]) -> Vec<u8> {
            let statement = statement_of(&self.folder.manifest(height).unwrap());
            let sign = |&signer: &u16| {
                let signer = ValidatorIndex::new(signer);
                let mut message = Vec::new();
                signing::state_message(&self.set, signer, &statement, &mut message);
                (signer, self.keys[signer.place()].sign(&message))
            };
            let signatures = signers.iter().map(sign).collect();
            let mut bytes = Vec::new();
            let certificate = StateCertificate {
                statement: statement.clone(),
                signatures,
            };
            wire::encode_state_certificate(&certificate, &mut bytes);
            bytes
        }

        fn put(&self, bytes: &[u8]) {
            self.folder.put_certificate(HEIGHT, bytes).unwrap();
        }

        fn found(&self) -> Result<Option<StateCertificate>, VouchedError> {
            certificate(&self.set, &self.folder, HEIGHT).map(|(_, found)| found)
        }
    }

    #[test]
    fn a_certificate_counts_with_amp_good_signatures_and_for_its_own_snapshot_alone() {
        let world = world();
        assert!(matches!(world.found(), Ok(None)), "nobody vouches yet");
        let good = world.certify(HEIGHT, &[0, 2]);
        world.put(&good);
        assert!(matches!(world.found(), Ok(Some(_))));
        world.put(&world.certify(HEIGHT, &[0]));
        let found = world.found();
        assert!(matches!(found, Err(VouchedError::Unproven { height: 64 })));
        // Every byte of it counts.
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            world.put(&bad);
            assert!(world.found().is_err(), "byte {place}");
        }
        world.put(&good[..good.len() - 1]);
        assert!(matches!(world.found(), Err(VouchedError::Damaged { .. })));
        world.write(128, *world.set.genesis_hash());
        world.put(&world.certify(128, &[0, 2]));
        let found = world.found();
        assert!(matches!(found, Err(VouchedError::AnotherState { .. })));
    }

    #[test]
    fn a_snapshot_of_another_genesis_is_refused_whoever_signed_it() {
        let world = world();
        world.write(HEIGHT, [9; 32]);
        world.put(&world.certify(HEIGHT, &[0, 1, 2, 3]));
        assert!(matches!(
            world.found(),
            Err(VouchedError::Snapshot(SnapshotError::Foreign {
                height: HEIGHT,
                what: "genesis"
            }))
        ));
    }
}
