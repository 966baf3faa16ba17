//! Every entry there and back, cut, flipped and grown. Never: a log; entries are bytes here.

use quorate_consensus::certificate::{SignedRecord, Target};
use quorate_consensus::evidence::SignedHeader;
use quorate_consensus::header::HEADER_VERSION;
use quorate_consensus::record::Record;

use super::*;

fn header() -> Header {
    Header {
        version: HEADER_VERSION,
        flags: 0,
        chain_id: [1; 32],
        epoch: Epoch::new(2),
        set_hash: [3; 32],
        window: Window::new(4),
        index: Index::new(5),
        height: Height::new(6),
        time_ns: 7,
        parent_id: BlockId::new([8; 32]),
        payload_hash: [9; 32],
        payload_bytes: 3,
    }
}

fn record() -> Record {
    Record {
        tip: Some((Index::new(1), BlockId::new([2; 32]))),
        stop: true,
        fin: Some(Index::ZERO),
        skip_fallback: Some(Index::new(3)),
        also: vec![(Index::new(1), BlockId::new([4; 32]))],
    }
}

fn place(number: u32) -> RecordRef {
    RecordRef {
        offset: LogOffset::new(number, number + 1),
        index: RecordIndex::new(u64::from(number) + 2),
    }
}

fn proof() -> Certificate {
    Certificate {
        epoch: Epoch::new(2),
        window: Window::new(4),
        target: Target::Final {
            index: Index::new(5),
            id: header().id(),
        },
        records: vec![SignedRecord {
            validator: ValidatorIndex::new(1),
            record: record(),
            signature: [5; 64],
        }],
        headers: vec![header()],
    }
}

/// Every kind of entry, encoded.
fn samples() -> Vec<(RecordKind, Vec<u8>)> {
    let mut samples = Vec::new();
    let mut add = |kind, encode: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        samples.push((kind, bytes));
    };
    add(KIND_BLOCK, &|bytes| {
        encode_block(&header(), bytes);
        bytes.extend_from_slice(b"pay");
    });
    let own = OwnRecord {
        window: Window::new(9),
        record: record(),
    };
    add(KIND_RECORD, &|bytes| {
        encode_record(Epoch::new(1), &own, bytes)
    });
    for below in [None, Some(place(30))] {
        let mark = FinalMark {
            header: header(),
            block: place(10),
            below,
        };
        add(KIND_FINALIZED, &|bytes| encode_mark(&mark, bytes));
    }
    let point = header().point(header().id());
    add(KIND_PROOF, &|bytes| encode_proof(&point, &proof(), bytes));
    let signed = SignedHeader {
        header: header(),
        signature: [6; 64],
    };
    let evidence = Evidence::TwoHeaders(Box::new([signed.clone(), signed]));
    add(KIND_EVIDENCE, &|bytes| encode_evidence(&evidence, bytes));
    let answer = OwnAnswer {
        asker: ValidatorIndex::new(3),
        nonce: [7; 32],
        window: Window::new(8),
    };
    add(KIND_ANSWER, &|bytes| {
        encode_answer(Epoch::new(1), &answer, bytes);
    });
    add(KIND_BASE, &|bytes| encode_base(&header(), &[8; 32], bytes));
    samples
}

fn encode_again(entry: &JournalEntry<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    match entry {
        JournalEntry::Block { header, payload } => {
            encode_block(header, &mut bytes);
            bytes.extend_from_slice(payload);
        }
        JournalEntry::Record { epoch, own } => encode_record(*epoch, own, &mut bytes),
        JournalEntry::Finalized(mark) => encode_mark(mark, &mut bytes),
        JournalEntry::Proof { point, proof } => encode_proof(point, proof, &mut bytes),
        JournalEntry::Evidence(evidence) => encode_evidence(evidence, &mut bytes),
        JournalEntry::Answer { epoch, answer } => encode_answer(*epoch, answer, &mut bytes),
        JournalEntry::Base { header, root } => encode_base(header, root, &mut bytes),
    }
    bytes
}

#[test]
fn every_entry_comes_back_as_it_was_written() {
    for (kind, bytes) in samples() {
        let entry = decode(kind, &bytes).expect("own bytes");
        assert_eq!(encode_again(&entry), bytes);
    }
    let point = header().point(header().id());
    let mut bytes = Vec::new();
    encode_proof(&point, &proof(), &mut bytes);
    assert_eq!(
        decode(KIND_PROOF, &bytes),
        Ok(JournalEntry::Proof {
            point,
            proof: proof()
        })
    );
}

#[test]
fn an_entry_cut_anywhere_or_with_a_byte_after_it_is_refused() {
    for (kind, bytes) in samples() {
        for cut in 0..bytes.len() {
            assert!(
                decode(kind, &bytes[..cut]).is_err(),
                "kind {} cut {cut}",
                kind.number()
            );
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(decode(kind, &longer).is_err(), "kind {}", kind.number());
    }
}

#[test]
fn a_flipped_bit_is_refused_or_gives_another_entry_with_its_own_one_encoding() {
    for (kind, mut bytes) in samples() {
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(entry) = decode(kind, &bytes) {
                assert_eq!(
                    encode_again(&entry),
                    bytes,
                    "kind {} bit {bit}",
                    kind.number()
                );
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn unknown_kinds_and_versions_are_named() {
    let (_, mut bytes) = samples().remove(0);
    let kind = RecordKind::new(99);
    assert_eq!(decode(kind, &bytes), Err(EntryError::UnknownKind { kind }));
    bytes[0] = 2;
    assert_eq!(
        decode(KIND_BLOCK, &bytes),
        Err(EntryError::Version { version: 2 })
    );
}

/// The bytes stand on disks: a change here is a change of the format and needs a new version.
#[test]
fn the_bytes_of_a_base_are_those_of_version_1() {
    let mut bytes = Vec::new();
    encode_base(&header(), &[8; 32], &mut bytes);
    assert_eq!(KIND_BASE.number(), 7);
    assert_eq!(bytes.len(), 2 + HEADER_BYTES + 32);
    assert_eq!(bytes[..6], [1, 0, 1, 0, 0, 0]);
    assert_eq!(bytes[2 + HEADER_BYTES..], [8; 32]);
}

/// The bytes stand on disks: a change here is a change of the format and needs a new version.
#[test]
fn the_bytes_of_a_mark_are_those_of_version_1() {
    let mark = FinalMark {
        header: header(),
        block: place(10),
        below: Some(place(30)),
    };
    let mut bytes = Vec::new();
    encode_mark(&mark, &mut bytes);
    assert_eq!(HEADER_BYTES, 172);
    assert_eq!(bytes.len(), 2 + HEADER_BYTES + 16 + 1 + 16);
    assert_eq!(bytes[..6], [1, 0, 1, 0, 0, 0]);
    let tail = [
        10, 0, 0, 0, 11, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, // block
        1, 30, 0, 0, 0, 31, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, // below
    ];
    assert_eq!(bytes[2 + HEADER_BYTES..], tail);
}
