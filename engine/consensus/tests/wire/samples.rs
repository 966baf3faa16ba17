//! One fixed value of every kind, each field different from every other, for the frozen bytes.

use quorate_consensus::attestation::{StateCertificate, StateStatement};
use quorate_consensus::certificate::{Certificate, SignedRecord, Target};
use quorate_consensus::evidence::{Evidence, SignedHeader};
use quorate_consensus::header::Header;
use quorate_consensus::message::{
    BlockRef, EventStretch, Get, HeldRecord, Message, Propose, RecoverAnswer, SnapshotPart, Status,
    Vote,
};
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Epoch, Height, Index, Point, ValidatorIndex, Window};
use std::sync::Arc;

fn id(byte: u8) -> BlockId {
    BlockId::new([byte; 32])
}

fn signature(byte: u8) -> [u8; 64] {
    [byte; 64]
}

pub(crate) fn header(salt: u8) -> Header {
    Header {
        version: 1,
        flags: 0,
        chain_id: [0x11; 32],
        epoch: Epoch::new(0x0102_0304_0506_0708),
        set_hash: [0x22; 32],
        window: Window::new(0x1112_1314_1516_1718),
        index: Index::new(0x2122_2324),
        height: Height::new(0x3132_3334_3536_3738),
        time_ns: 0x4142_4344_4546_4748,
        parent_id: id(0x33),
        payload_hash: [salt; 32],
        payload_bytes: 0x5152,
    }
}

pub(crate) fn record() -> Record {
    Record {
        tip: Some((Index::new(7), id(0x44))),
        stop: true,
        fin: Some(Index::new(3)),
        skip_fallback: Some(Index::new(5)),
        also: vec![(Index::new(4), id(0x55)), (Index::new(4), id(0x66))],
    }
}

fn signed(validator: u16) -> SignedRecord {
    let validator = ValidatorIndex::new(validator);
    SignedRecord {
        validator,
        record: record(),
        signature: signature(0x77),
    }
}

pub(crate) fn certificate(target: Target) -> Certificate {
    Certificate {
        epoch: Epoch::new(9),
        window: Window::new(10),
        target,
        records: vec![signed(1), signed(0x0203)],
        headers: vec![header(0x88), header(0x99)],
    }
}

pub(crate) fn targets() -> [(&'static str, Target); 3] {
    [
        (
            "certified",
            Target::Certified {
                index: Index::new(11),
                id: id(0xaa),
            },
        ),
        (
            "skip",
            Target::Skip {
                from: Index::new(12),
            },
        ),
        (
            "final",
            Target::Final {
                index: Index::new(13),
                id: id(0xbb),
            },
        ),
    ]
}

fn point(byte: u8) -> Point {
    Point {
        window: Window::new(u64::from(byte)),
        index: Index::new(u32::from(byte) + 1),
        height: Height::new(u64::from(byte) + 2),
        id: id(byte),
    }
}

fn block_ref(byte: u8) -> BlockRef {
    BlockRef {
        height: Height::new(u64::from(byte)),
        id: id(byte),
    }
}

fn status() -> Status {
    Status {
        epoch: Epoch::new(14),
        finalized: point(0xc0),
        proven: point(0xc8),
        window: Window::new(15),
        record: record(),
        gap: Some(Window::new(16)),
        ready: vec![id(0xd1), id(0xd0)],
        flushed: Height::new(17),
        abstains: true,
        recovering: false,
        no_proposals: true,
    }
}

fn held() -> HeldRecord {
    HeldRecord {
        window: Window::new(18),
        record: record(),
        signature: Some(signature(0xe1)),
    }
}

fn evidence() -> [(&'static str, Evidence); 3] {
    let (epoch, window) = (Epoch::new(19), Window::new(20));
    let signed_header = |salt| SignedHeader {
        header: header(salt),
        signature: signature(salt + 1),
    };
    [
        (
            "evidence_two_headers",
            Evidence::TwoHeaders(Box::new([signed_header(0x12), signed_header(0x14)])),
        ),
        (
            "evidence_two_records",
            Evidence::TwoRecords {
                epoch,
                window,
                validator: ValidatorIndex::new(21),
                records: Box::new([signed(22), signed(23)]),
                headers: vec![header(0x16)],
            },
        ),
        (
            "evidence_one_record",
            Evidence::OneRecord {
                epoch,
                window,
                record: Box::new(signed(24)),
            },
        ),
    ]
}

fn requests() -> [(&'static str, Get); 6] {
    let headers = |above| Get::Headers {
        window: Window::new(25),
        index: Index::new(26),
        id: id(0x1a),
        above,
    };
    [
        ("get_headers", headers(None)),
        ("get_headers_above", headers(Some(Index::new(27)))),
        (
            "get_bodies",
            Get::Bodies(vec![block_ref(0x1b), block_ref(0x1c)]),
        ),
        (
            "get_history",
            Get::History {
                top: block_ref(0x1d),
                count: 28,
            },
        ),
        (
            "get_finality",
            Get::Finality {
                at_least: Height::new(29),
            },
        ),
        (
            "get_ready",
            Get::Ready {
                window: Window::new(30),
            },
        ),
    ]
}

fn payload() -> Arc<[u8]> {
    Arc::from([1, 2, 3, 4, 5])
}

fn certificates() -> Vec<Certificate> {
    targets().map(|(_, target)| certificate(target)).to_vec()
}

/// Votes, proposals and conditions, each also in its smallest form.
fn whole_and_small() -> [(&'static str, Message); 6] {
    let vote = Vote {
        epoch: Epoch::new(31),
        window: Window::new(32),
        record: record(),
        signature: Some(signature(0x1e)),
    };
    let small_vote = Vote {
        record: Record::default(),
        signature: None,
        ..vote.clone()
    };
    let propose = Propose {
        header: header(0x1f),
        payload: payload(),
        justification: certificates(),
        record: Some(record()),
    };
    let small_propose = Propose {
        payload: Arc::from([]),
        justification: Vec::new(),
        record: None,
        ..propose.clone()
    };
    let small_status = Status {
        record: Record::default(),
        gap: None,
        ready: Vec::new(),
        ..status()
    };
    [
        ("propose", Message::Propose(propose)),
        ("propose_small", Message::Propose(small_propose)),
        ("vote", Message::Vote(vote)),
        ("vote_small", Message::Vote(small_vote)),
        ("status", Message::Status(status())),
        ("status_small", Message::Status(small_status)),
    ]
}

fn statement(snapshot: Option<[u8; 32]>) -> StateStatement {
    StateStatement {
        height: Height::new(64),
        id: BlockId::new([36; 32]),
        sections: vec![[37; 32], [38; 32]],
        snapshot,
    }
}

fn attestation(snapshot: Option<[u8; 32]>) -> Message {
    Message::Attestation {
        statement: statement(snapshot),
        signature: signature(40),
    }
}

pub(crate) fn state_certificate() -> StateCertificate {
    let signed = |validator| (ValidatorIndex::new(validator), signature(validator as u8));
    StateCertificate {
        statement: statement(Some([41; 32])),
        signatures: vec![signed(2), signed(5)],
    }
}

/// What answers a request, and what is sent beside votes.
fn answers() -> [(&'static str, Message); 15] {
    let headers = vec![header(1), header(2)];
    let answer = |held| Message::FenceAnswer {
        incarnation: 35,
        held,
    };
    [
        ("certificates", Message::Certificates(certificates())),
        (
            "headers",
            Message::Headers {
                window: Window::new(33),
                headers,
            },
        ),
        (
            "block",
            Message::Block {
                header: header(3),
                payload: payload(),
            },
        ),
        ("history", Message::History(vec![header(4), header(5)])),
        (
            "header_signature",
            Message::HeaderSignature {
                header: header(6),
                signature: signature(7),
            },
        ),
        ("fence_ask", Message::FenceAsk { incarnation: 34 }),
        ("fence_answer", answer(vec![held(), held()])),
        ("fence_answer_none", answer(Vec::new())),
        ("forward", Message::Forward(payload())),
        (
            "abscissas",
            Message::Abscissas {
                block: BlockId::new([55; 32]),
                told: payload(),
            },
        ),
        ("recover", Message::Recover { nonce: [36; 32] }),
        ("recover_answer", recover_answer(certificates())),
        ("recover_answer_first", recover_answer(Vec::new())),
        ("attestation", attestation(Some([39; 32]))),
        ("attestation_small", attestation(None)),
    ]
}

fn recover_answer(mut certificates: Vec<Certificate>) -> Message {
    certificates.truncate(2);
    Message::RecoverAnswer(RecoverAnswer {
        nonce: [37; 32],
        window: Window::new(38),
        certificates,
        signature: signature(39),
    })
}

/// Everything said of snapshots.
fn snapshot_parts() -> [(&'static str, Message); 8] {
    let certificate = Box::new(state_certificate());
    let (root, chunk) = ([42; 32], 0x4344_4546);
    let parts = [
        ("snapshot_ask", SnapshotPart::Ask),
        (
            "snapshot_offer",
            SnapshotPart::Offer {
                certificate,
                manifest: Arc::from([47; 5]),
            },
        ),
        (
            "snapshot_get",
            SnapshotPart::Get {
                height: Height::new(48),
                root,
                chunk,
            },
        ),
        (
            "snapshot_chunk",
            SnapshotPart::Chunk {
                root,
                chunk,
                bytes: payload(),
            },
        ),
        (
            "snapshot_get_events",
            SnapshotPart::GetEvents {
                below: Height::new(49),
                from: Some((Height::new(50), 51)),
            },
        ),
        (
            "snapshot_get_events_newest",
            SnapshotPart::GetEvents {
                below: Height::new(49),
                from: None,
            },
        ),
        (
            "snapshot_events",
            SnapshotPart::Events {
                below: Height::new(49),
                stretch: Some(Box::new(EventStretch {
                    first: Height::new(52),
                    tops: vec![[53; 32], [54; 32]],
                    frame: payload(),
                })),
            },
        ),
        (
            "snapshot_events_none",
            SnapshotPart::Events {
                below: Height::new(49),
                stretch: None,
            },
        ),
    ];
    parts.map(|(name, part)| (name, Message::Snapshot(part)))
}

/// Every kind of message, and the smallest form of those with optional parts.
pub(crate) fn messages() -> Vec<(&'static str, Message)> {
    let mut messages = whole_and_small().to_vec();
    messages.extend(answers());
    messages.extend(snapshot_parts());
    messages.extend(requests().map(|(name, get)| (name, Message::Get(get))));
    messages.extend(evidence().map(|(name, evidence)| (name, Message::Evidence(evidence))));
    messages
}
