//! A chain that goes on from a snapshot of peers, and logs in which it does not.

use super::*;
use crate::inspect::replay;
use quorate::genesis::{Application, Auth, ChainLimits, GenesisPlan, GenesisValidator, Hex32};
use quorate::journal::{KIND_BASE, KIND_BLOCK, KIND_FINALIZED, KIND_PROOF};
use quorate::shadow::statement_of;
use quorate::snapshot::{Manifest, SectionEntry, SnapshotFolder};
use quorate_consensus::attestation::{StateCertificate, StateStatement};
use quorate_consensus::certificate::{SignedRecord, Target};
use quorate_consensus::record::Record as VoteRecord;
use quorate_consensus::restart;
use quorate_consensus::signing::{self, Signer as _, ValidatorKey};
use quorate_consensus::types::{Epoch, Height, Index, Window};
use quorate_consensus::wire;
use quorate_log::{DataFolder, LeaseFile, LogConfig, Writer, open, verify_path};
use std::fs;
use std::path::PathBuf;

const VERSION: [u8; 2] = [1, 0];
/// The payload of a block without commands.
const NO_COMMANDS: [u8; 4] = [0; 4];

pub(crate) fn genesis() -> Genesis {
    Genesis::build(GenesisPlan {
        chain_id: [3; 32],
        genesis_time_ns: 1_700_000_000_000_000_000,
        fault_weight: None,
        fast_slack: None,
        crash_only: true,
        window_slots: None,
        turn_windows: None,
        auth: Auth::Session,
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

pub(crate) fn header(genesis: &Genesis, height: u64, parent_id: BlockId) -> Header {
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
        payload_hash: *blake3::hash(&NO_COMMANDS).as_bytes(),
        payload_bytes: NO_COMMANDS.len() as u32,
    }
}

fn bytes_of(header: &Header) -> Vec<u8> {
    let mut bytes = VERSION.to_vec();
    wire::encode_header(header, &mut bytes);
    bytes
}

/// Appends a block and its mark.
pub(crate) fn finalize(
    writer: &mut Writer,
    header: &Header,
    below: Option<RecordRef>,
) -> RecordRef {
    let put = |place: RecordRef| {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&place.offset.segment().to_le_bytes());
        bytes.extend_from_slice(&place.offset.bytes().to_le_bytes());
        bytes.extend_from_slice(&place.index.count().to_le_bytes());
        bytes
    };
    let block = [&bytes_of(header)[..], &NO_COMMANDS];
    let block = writer.append(KIND_BLOCK, &block).unwrap();
    let (presence, below) = match below {
        Some(below) => ([1], put(below)),
        None => ([0], vec![0; 16]),
    };
    let mark = [&bytes_of(header)[..], &put(block), &presence, &below].concat();
    writer.append(KIND_FINALIZED, &[&mark]).unwrap()
}

/// Appends a proof by the only validator, as one of a block of this height.
pub(crate) fn prove(writer: &mut Writer, genesis: &Genesis, header: &Header, height: u64) {
    let (set, validator) = (genesis.validator_set(), ValidatorIndex::new(0));
    let record = VoteRecord {
        tip: Some((header.index, header.id())),
        ..VoteRecord::default()
    };
    let mut message = Vec::new();
    signing::record_message(set, validator, header.window, &record, &mut message);
    let proof = Certificate {
        epoch: Epoch::ZERO,
        window: header.window,
        target: Target::Final {
            index: header.index,
            id: header.id(),
        },
        records: vec![SignedRecord {
            validator,
            record,
            signature: ValidatorKey::from_seed(&[1; 32]).sign(&message),
        }],
        headers: vec![*header],
    };
    let mut bytes = VERSION.to_vec();
    bytes.extend_from_slice(&header.window.number().to_le_bytes());
    bytes.extend_from_slice(&header.index.number().to_le_bytes());
    bytes.extend_from_slice(&height.to_le_bytes());
    bytes.extend_from_slice(header.id().as_bytes());
    wire::encode_certificate(&proof, &mut bytes);
    writer.append(KIND_PROOF, &[&bytes]).unwrap();
}

/// A snapshot of a block, without a certificate.
pub(crate) fn write_snapshot(
    genesis: &Genesis,
    folder: &SnapshotFolder,
    header: Header,
) -> Manifest {
    let mut writer = folder.write(header.height.number()).unwrap();
    writer.push(b"text").unwrap();
    let manifest = Manifest {
        genesis_hash: *genesis.hash(),
        header,
        sections: vec![SectionEntry {
            name: "text".to_owned(),
            root: [5; 32],
            bytes: 4,
        }],
        chunks: Vec::new(),
    };
    writer.finish(manifest).unwrap()
}

/// A certificate by the only validator, whose key is that of seed 1: with another seed one that
/// does not hold.
pub(crate) fn attest(genesis: &Genesis, statement: StateStatement, seed: u8) -> Vec<u8> {
    let validator = ValidatorIndex::new(0);
    let mut message = Vec::new();
    signing::state_message(genesis.validator_set(), validator, &statement, &mut message);
    let signature = ValidatorKey::from_seed(&[seed; 32]).sign(&message);
    let certificate = StateCertificate {
        statement,
        signatures: vec![(validator, signature)],
    };
    let mut bytes = Vec::new();
    wire::encode_state_certificate(&certificate, &mut bytes);
    bytes
}

/// Puts such a certificate beside a snapshot.
pub(crate) fn certify(genesis: &Genesis, folder: &SnapshotFolder, manifest: &Manifest, seed: u8) {
    let bytes = attest(genesis, statement_of(manifest), seed);
    folder.put_certificate(manifest.height(), &bytes).unwrap();
}

/// A data folder with a log of the genesis and what `fill` appends, and what is read of it.
pub(crate) fn written(name: &str, fill: impl FnOnce(&mut Writer, &Genesis)) -> (PathBuf, Chain) {
    let genesis = genesis();
    let data = std::env::temp_dir().join(format!("quorate-chain-{name}-{}", std::process::id()));
    let dir = data.join("log");
    fs::create_dir_all(&data).unwrap();
    let folder = DataFolder::open(&dir).unwrap();
    let log = LogConfig {
        segment_bytes: 1 << 16,
        ..LogConfig::new([7; 32])
    };
    let mut opened = open(&folder, &log, genesis.bytes()).unwrap();
    fill(&mut opened.writer, &genesis);
    drop(opened);
    let chain = read(&dir, &verify_path(&dir).unwrap()).unwrap();
    (data, chain)
}

/// So many blocks and marks, and a proof of the last one.
pub(crate) fn fill_blocks(writer: &mut Writer, genesis: &Genesis, top: u64) {
    let (mut parent, mut mark) = (genesis.validator_set().genesis().id, None);
    for height in 1..=top {
        let block = header(genesis, height, parent);
        mark = Some(finalize(writer, &block, mark));
        parent = block.id();
        if height == top {
            prove(writer, genesis, &block, height);
        }
    }
}

/// Removes the first segments of a log, as a running validator does; what is read of it then.
pub(crate) fn prune(data: &Path, genesis: &Genesis, first: u32) -> Chain {
    let dir = data.join("log");
    let folder = DataFolder::open(&dir).unwrap();
    let log = LogConfig {
        segment_bytes: 1 << 16,
        ..LogConfig::new([7; 32])
    };
    let mut opened = open(&folder, &log, genesis.bytes()).unwrap();
    opened.syncer.sync(opened.writer.unsynced()).unwrap();
    opened.pruner.prune(first).unwrap();
    drop((opened, folder));
    let chain = read(&dir, &verify_path(&dir).unwrap()).unwrap();
    assert!(chain.findings.is_empty() && chain.below > 0, "{chain:?}");
    chain
}

/// A data folder with a log that was pruned and ends with a proof of its last block, 400, the lease
/// of the only validator, and a snapshot of that block; and what is read of the log.
pub(crate) fn written_pruned(name: &str) -> (PathBuf, Chain) {
    const TOP: u64 = 400;
    let (data, chain) = written(name, |writer, genesis| fill_blocks(writer, genesis, TOP));
    let (genesis, top) = (chain.genesis, chain.blocks[&TOP].header);
    let dir = data.join("log");
    write_snapshot(&genesis, &replay::snapshots_beside(&dir), top);
    let lease = restart::LeaseFile {
        owner: quorate::keys::KeyPair::from_seed(&[1; 32]).public(),
        ..restart::LeaseFile::default()
    };
    let folder = DataFolder::open(&dir).unwrap();
    LeaseFile::new(&folder).replace(&lease.encode()).unwrap();
    drop(folder);
    let chain = prune(&data, &genesis, 2);
    (data, chain)
}

/// A base of this height.
pub(crate) fn fill_base(writer: &mut Writer, genesis: &Genesis, height: u64) -> Header {
    let base = header(genesis, height, BlockId::new([9; 32]));
    let entry = [&bytes_of(&base)[..], &[8; 32]].concat();
    writer.append(KIND_BASE, &[&entry]).unwrap();
    base
}

/// Two blocks, a base of height 64, and two blocks above it whose lowest names this parent.
pub(crate) fn fill_joined(
    writer: &mut Writer,
    genesis: &Genesis,
    parent: Option<BlockId>,
    base_height: u64,
) {
    let first = header(genesis, 1, genesis.validator_set().genesis().id);
    let second = header(genesis, 2, first.id());
    let mark = finalize(writer, &first, None);
    finalize(writer, &second, Some(mark));
    let base = fill_base(writer, genesis, base_height);
    let parent = parent.unwrap_or_else(|| base.id());
    let above = header(genesis, base_height + 1, parent);
    let mark = finalize(writer, &above, None);
    let top = header(genesis, base_height + 2, above.id());
    finalize(writer, &top, Some(mark));
}

/// Blocks and marks 1 to 3 and a proof of the last one. From the height `other_from` on they are
/// others than those of a log with another such height.
pub(crate) fn fill_proven(writer: &mut Writer, genesis: &Genesis, other_from: u64) {
    let (mut parent, mut mark) = (genesis.validator_set().genesis().id, None);
    for height in 1..=3 {
        let mut block = header(genesis, height, parent);
        block.time_ns += u64::from(height >= other_from);
        mark = Some(finalize(writer, &block, mark));
        parent = block.id();
        if height == 3 {
            prove(writer, genesis, &block, height);
        }
    }
}

fn read_log(name: &str, parent: Option<BlockId>, base_height: u64) -> Chain {
    let fill = |writer: &mut Writer, genesis: &Genesis| {
        fill_joined(writer, genesis, parent, base_height);
    };
    let (data, chain) = written(name, fill);
    fs::remove_dir_all(data).unwrap();
    chain
}

/// Blocks and marks 1 to 3, and a proof of block `proven` that the log says is of `height`.
fn read_proven(name: &str, proven: u64, height: u64) -> Chain {
    let fill = |writer: &mut Writer, genesis: &Genesis| {
        let mut headers = vec![header(genesis, 1, genesis.validator_set().genesis().id)];
        let mut mark = None;
        for height in 1..=3 {
            let block = headers[headers.len() - 1];
            mark = Some(finalize(writer, &block, mark));
            headers.push(header(genesis, height + 1, block.id()));
        }
        prove(writer, genesis, &headers[proven as usize - 1], height);
    };
    let (data, chain) = written(name, fill);
    fs::remove_dir_all(data).unwrap();
    assert_eq!(chain.certificates_verified, 1, "{:?}", chain.findings);
    chain
}

#[test]
fn a_proof_is_of_its_own_block_whatever_height_the_log_says() {
    let right = read_proven("right", 2, 2);
    assert_eq!((right.proven, right.findings.len()), (2, 0));
    for height in [3, 9] {
        let chain = read_proven(&format!("relabelled-{height}"), 1, height);
        assert_eq!(chain.proven, 1, "said to be of {height}");
        let found: Vec<&str> = chain.findings.iter().map(|one| one.what.as_str()).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("another block than the log says"));
    }
}

#[test]
fn a_proof_of_a_block_that_is_not_here_proves_nothing_that_is() {
    let chain = read_proven("unmarked", 4, 4);
    assert!(chain.findings.is_empty(), "{:?}", chain.findings);
    assert_eq!(chain.proven, 0);
}

#[test]
fn a_proof_proves_nothing_across_a_missing_link() {
    let fill = |writer: &mut Writer, genesis: &Genesis| {
        let first = header(genesis, 1, genesis.validator_set().genesis().id);
        let top = header(genesis, 2, BlockId::new([5; 32]));
        let mark = finalize(writer, &first, None);
        finalize(writer, &top, Some(mark));
        prove(writer, genesis, &top, 2);
    };
    let (data, chain) = written("unlinked", fill);
    fs::remove_dir_all(data).unwrap();
    assert_eq!(chain.certificates_verified, 1, "{:?}", chain.findings);
    assert_eq!(chain.proven, 0, "block 1 is not below what is proven");
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

#[test]
fn chains_that_differ_at_one_height_are_told_with_that_height() {
    let read = |name: &str, other_from| {
        let (data, chain) = written(name, |writer, genesis| {
            fill_proven(writer, genesis, other_from);
        });
        fs::remove_dir_all(data).unwrap();
        assert!(chain.findings.is_empty(), "{:?}", chain.findings);
        chain
    };
    let mut chains = vec![(0, read("first", 9)), (1, read("equal", 9))];
    assert!(differences(&chains).is_empty());
    chains.push((2, read("forked", 2)));
    assert_eq!(
        differences(&chains),
        ["validators 0 and 2 finalized different blocks at height 2"]
    );
}

/// Who has just joined has no block above.
#[test]
fn a_chain_that_is_a_base_alone_is_compared_by_that() {
    let written = |name: &str, fill: &dyn Fn(&mut Writer, &Genesis)| {
        let (data, chain) = written(name, |writer, genesis| fill(writer, genesis));
        fs::remove_dir_all(data).unwrap();
        assert!(chain.findings.is_empty(), "{:?}", chain.findings);
        chain
    };
    let whole = |name: &str| written(name, &|writer, genesis| fill_proven(writer, genesis, 9));
    let based = |name: &str, base: &Header| {
        let mut chain = written(name, &|writer, genesis| {
            fill_base(writer, genesis, 2);
        });
        assert!(chain.blocks.is_empty() && chain.base.is_some());
        chain.base = Some(*base);
        chain
    };
    let second = whole("whole").blocks[&2].header;
    let other = Header {
        time_ns: second.time_ns + 1,
        ..second
    };
    let told = ["validators 0 and 1 finalized different blocks at height 2"];
    for (base, expected) in [(second, &[][..]), (other, &told)] {
        let chains = [(0, whole("beside")), (1, based("based", &base))];
        assert_eq!(differences(&chains), expected);
        // Whichever of the two is read first.
        let chains = [(0, based("based", &base)), (1, whole("beside"))];
        assert_eq!(differences(&chains), expected);
    }
}

/// A log of years has millions of them, and each is named once.
#[test]
fn bodies_are_known_as_long_as_a_mark_may_name_them() {
    let (data, _) = written("trimmed", |_, _| ());
    let found = verify_path(&data.join("log")).unwrap();
    let mut reading = Reading::start(genesis(), &found);
    let mut parent = reading.chain.genesis.validator_set().genesis().id;
    let (mut below, mut most) = (None, 0);
    for height in 1..=100 {
        let header = Header {
            window: Window::new(height / 10),
            ..header(&genesis(), height, parent)
        };
        let place = |bytes| RecordRef {
            offset: LogOffset::new(1, height as u32 * 1024 + bytes),
            index: RecordIndex::new(height * 2),
        };
        let block = place(0);
        reading.take_block(block.offset, &header, &NO_COMMANDS);
        let mark = FinalMark {
            header,
            block,
            below,
        };
        reading.take_mark(place(512).offset, &mark);
        most = most.max(reading.bodies.len());
        // It may stand in the log twice.
        reading.take_mark(place(768).offset, &mark);
        (parent, below) = (header.id(), Some(place(512)));
    }
    assert_eq!(reading.chain.findings.len(), 0);
    assert_eq!((reading.chain.blocks.len(), most), (100, 10));
    assert!(
        reading
            .chain
            .blocks
            .values()
            .all(|block| block.body.is_some())
    );
    fs::remove_dir_all(data).unwrap();
}
