//! A chain that goes on from a snapshot of peers, and logs in which it does not.

use super::*;
use quorate::genesis::{Application, ChainLimits, GenesisPlan, GenesisValidator, Hex32};
use quorate::journal::{KIND_BASE, KIND_BLOCK, KIND_FINALIZED};
use quorate_consensus::types::{Epoch, Height, Index, Window};
use quorate_consensus::wire;
use quorate_log::{DataFolder, LogConfig, Writer, open, verify_path};
use std::fs;

const VERSION: [u8; 2] = [1, 0];

fn genesis() -> Genesis {
    Genesis::build(GenesisPlan {
        chain_id: [3; 32],
        genesis_time_ns: 1_700_000_000_000_000_000,
        fault_weight: None,
        fast_slack: None,
        crash_only: true,
        window_slots: None,
        turn_windows: None,
        application: Application {
            name: "opaque".to_owned(),
            parameters: serde_json::Map::new(),
        },
        limits: ChainLimits::default(),
        validators: vec![GenesisValidator {
            key: Hex32(quorate::keys::KeyPair::from_seed(&[1; 32]).public()),
            stake: 1,
            leader_weight: None,
            peer_address: "127.0.0.1:7000".to_owned(),
            client_addresses: vec!["127.0.0.1:7001".to_owned()],
        }],
    })
    .unwrap()
}

fn header(genesis: &Genesis, height: u64, parent_id: BlockId) -> Header {
    let set = genesis.validator_set();
    Header {
        version: 1,
        flags: 0,
        chain_id: *set.chain_id(),
        epoch: Epoch::ZERO,
        set_hash: *set.set_hash(),
        window: Window::ZERO,
        index: Index::new(height as u32),
        height: Height::new(height),
        time_ns: set.genesis_time_ns() + height,
        parent_id,
        payload_hash: *blake3::hash(b"").as_bytes(),
        payload_bytes: 0,
    }
}

fn bytes_of(header: &Header) -> Vec<u8> {
    let mut bytes = VERSION.to_vec();
    wire::encode_header(header, &mut bytes);
    bytes
}

/// Appends a block and its mark.
fn finalize(writer: &mut Writer, header: &Header, below: Option<RecordRef>) -> RecordRef {
    let put = |place: RecordRef| {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&place.offset.segment().to_le_bytes());
        bytes.extend_from_slice(&place.offset.bytes().to_le_bytes());
        bytes.extend_from_slice(&place.index.count().to_le_bytes());
        bytes
    };
    let block = writer.append(KIND_BLOCK, &[&bytes_of(header)]).unwrap();
    let (presence, below) = match below {
        Some(below) => ([1], put(below)),
        None => ([0], vec![0; 16]),
    };
    let mark = [&bytes_of(header)[..], &put(block), &presence, &below].concat();
    writer.append(KIND_FINALIZED, &[&mark]).unwrap()
}

/// Two blocks, a base of height 64, and two blocks above it whose lowest names this parent.
fn read_log(name: &str, parent: Option<BlockId>, base_height: u64) -> Chain {
    let genesis = genesis();
    let dir = std::env::temp_dir().join(format!("quorate-chain-{name}-{}", std::process::id()));
    let folder = DataFolder::open(&dir).unwrap();
    let log = LogConfig::new([7; 32]);
    let log = LogConfig {
        segment_bytes: 1 << 16,
        ..log
    };
    let mut opened = open(&folder, &log, genesis.bytes()).unwrap();
    let first = header(&genesis, 1, genesis.validator_set().genesis().id);
    let second = header(&genesis, 2, first.id());
    let mark = finalize(&mut opened.writer, &first, None);
    finalize(&mut opened.writer, &second, Some(mark));
    let base = header(&genesis, base_height, BlockId::new([9; 32]));
    let entry = [&bytes_of(&base)[..], &[8; 32]].concat();
    opened.writer.append(KIND_BASE, &[&entry]).unwrap();
    let above = header(
        &genesis,
        base_height + 1,
        parent.unwrap_or_else(|| base.id()),
    );
    let mark = finalize(&mut opened.writer, &above, None);
    let top = header(&genesis, base_height + 2, above.id());
    finalize(&mut opened.writer, &top, Some(mark));
    drop(opened);
    let chain = read(&dir, &verify_path(&dir).unwrap()).unwrap();
    fs::remove_dir_all(dir).unwrap();
    chain
}

#[test]
fn a_chain_goes_on_from_a_base_and_what_stands_before_is_no_part_of_it() {
    let chain = read_log("joined", None, 64);
    assert!(chain.findings.is_empty(), "{:?}", chain.findings);
    assert_eq!(chain.below, 64);
    assert_eq!(chain.blocks.keys().copied().collect::<Vec<_>>(), [65, 66]);
    assert_eq!(chain.tip().map(|(height, _)| height), Some(66));
    // It lacks nothing between where it begins and its tip.
    assert!(differences(&[(0, chain)]).is_empty());
}

#[test]
fn a_block_that_does_not_follow_the_base_and_a_base_below_the_tip_are_found() {
    let other = read_log("other", Some(BlockId::new([5; 32])), 64);
    assert_eq!(other.findings.len(), 1, "{:?}", other.findings);
    assert!(other.findings[0].what.contains("does not follow"));
    let below = read_log("below", None, 2);
    let found = below.findings.iter().map(|finding| &finding.what);
    assert!(
        found
            .clone()
            .any(|what| what.contains("a base is not above"))
    );
}
