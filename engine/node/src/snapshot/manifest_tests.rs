//! The bytes of a manifest: frozen, canonical, bounded.

use quorate_consensus::header::HEADER_VERSION;
use quorate_consensus::types::{BlockId, Epoch, Height, Index, Window};

use super::*;

pub(crate) fn header(height: u64) -> Header {
    Header {
        version: HEADER_VERSION,
        flags: 0,
        chain_id: [1; 32],
        epoch: Epoch::ZERO,
        set_hash: [2; 32],
        window: Window::new(3),
        index: Index::new(4),
        height: Height::new(height),
        time_ns: 5,
        parent_id: BlockId::new([6; 32]),
        payload_hash: [7; 32],
        payload_bytes: 8,
    }
}

fn manifest() -> Manifest {
    let section = |name: &str, root, bytes| SectionEntry {
        name: name.to_owned(),
        root: [root; 32],
        bytes,
    };
    Manifest {
        genesis_hash: [9; 32],
        header: header(4096),
        sections: vec![
            section("sessions", 10, 8),
            section("book", 11, u64::from(CHUNK_BYTES)),
            section("empty", 12, 0),
        ],
        chunks: vec![[13; 32], [14; 32]],
    }
}

/// 32 bytes a line, so that a change shows where it is.
fn to_hex(bytes: &[u8]) -> String {
    bytes
        .chunks(32)
        .map(|line| crate::hex::encode(line) + "\n")
        .collect()
}

#[test]
fn the_bytes_of_a_manifest_are_those_frozen_in_testdata() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/snapshot-manifest.hex");
    let found = to_hex(&manifest().seal());
    if std::env::var_os("QUORATE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &found).expect("testdata is writable");
    }
    let frozen = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == frozen, "the manifest differs:\n{found}");
}

#[test]
fn a_manifest_comes_back_and_every_flip_and_cut_of_its_file_is_seen() {
    let manifest = manifest();
    let mut bytes = manifest.seal();
    assert_eq!(Manifest::unseal(&bytes), Ok(manifest.clone()));
    assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            Manifest::unseal(&bytes),
            Err(ManifestError::Checksum),
            "bit {bit}"
        );
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    for length in 0..bytes.len() {
        assert!(
            Manifest::unseal(&bytes[..length]).is_err(),
            "length {length}"
        );
    }
}

#[test]
fn what_decodes_is_canonical_and_has_another_root_than_what_it_came_from() {
    let manifest = manifest();
    let (mut bytes, root) = (manifest.encode(), manifest.root());
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = Manifest::decode(&bytes) {
            assert_eq!(other.encode(), bytes, "bit {bit}");
            assert_ne!(other.root(), root, "bit {bit}");
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    for length in 0..bytes.len() {
        assert!(
            Manifest::decode(&bytes[..length]).is_err(),
            "length {length}"
        );
    }
}

#[test]
fn bounds_and_counts_that_do_not_fit_are_refused() {
    let refusal = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = manifest();
        change(&mut manifest);
        Manifest::decode(&manifest.encode())
    };
    let chunks = |found| Err(ManifestError::ChunkCount { found });
    assert_eq!(refusal(&|all| all.chunks.truncate(1)), chunks(1));
    assert_eq!(refusal(&|all| all.sections[1].bytes = u64::MAX), chunks(2));
    assert_eq!(
        refusal(&|all| all.sections.clear()),
        Err(ManifestError::SectionCount { count: 0 })
    );
    assert_eq!(
        refusal(&|all| all.sections[1].name = "a b".to_owned()),
        Err(ManifestError::SectionName { place: 1 })
    );
    let many = |all: &mut Manifest| all.sections = vec![all.sections[0].clone(); SECTIONS_MAX + 1];
    assert_eq!(
        refusal(&many),
        Err(ManifestError::SectionCount {
            count: SECTIONS_MAX as u16 + 1
        })
    );
}

#[test]
fn a_chunk_is_known_by_its_bytes_and_its_length() {
    let mut manifest = manifest();
    manifest.chunks[1] = *blake3::hash(&[3; 8]).as_bytes();
    assert_eq!(manifest.chunk_bytes(0), CHUNK_BYTES as usize);
    assert_eq!(manifest.chunk_bytes(1), 8);
    assert_eq!(manifest.chunk_bytes(2), 0);
    assert!(manifest.is_chunk(1, &[3; 8]));
    assert!(!manifest.is_chunk(1, &[4; 8]));
    assert!(!manifest.is_chunk(0, &[3; 8]));
    assert!(!manifest.is_chunk(2, &[]));
}
