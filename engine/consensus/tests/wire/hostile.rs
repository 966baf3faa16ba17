//! Bytes from a peer that means harm: an error or another value, never a panic, and no memory for
//! what was not sent.

use crate::samples::{certificate, header, messages, record, state_certificate, targets};
use quorate_consensus::attestation::{StateCertificate, StateStatement};
use quorate_consensus::certificate::Certificate;
use quorate_consensus::limits::{
    ABSCISSAS_BYTES_MAX, ALSO_ENTRIES_MAX, BODIES_PER_REQUEST_MAX, CERTIFICATE_HEADERS_MAX,
    CERTIFICATES_PER_MESSAGE_MAX, EVENTS_BYTES_MAX, EVENTS_TOPS_MAX, FRAME_BYTES_MAX,
    HEADERS_PER_ANSWER_MAX, PAYLOAD_BYTES_MAX, READY_SUMMARY_MAX, RECOVER_CERTIFICATES_MAX,
    SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_MANIFEST_BYTES_MAX, STATE_SECTIONS_MAX, VALIDATORS_MAX,
};
use quorate_consensus::message::{EventStretch, Get, Message, RecoverAnswer, SnapshotPart};
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Height, Index, ValidatorIndex, Window};
use quorate_consensus::wire::{self, DecodeError};

fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode(message, &mut bytes);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
    wire::decode(bytes).map(wire::Unverified::into_message)
}

fn all_encoded() -> Vec<Vec<u8>> {
    messages()
        .iter()
        .map(|(_, message)| encoded(message))
        .collect()
}

/// What is decoded must encode to the very bytes it came from.
fn assert_canonical(bytes: &[u8]) {
    if let Ok(message) = decode(bytes) {
        assert_eq!(encoded(&message), bytes);
    }
}

#[test]
fn cut_at_every_byte_it_is_an_error() {
    for bytes in all_encoded() {
        for length in 0..bytes.len() {
            assert!(
                decode(&bytes[..length]).is_err(),
                "{length} of {}",
                bytes.len()
            );
        }
    }
}

#[test]
fn with_bytes_after_its_end_it_is_an_error() {
    for mut bytes in all_encoded() {
        bytes.push(0);
        assert_eq!(decode(&bytes), Err(DecodeError::Trailing { left: 1 }));
    }
}

#[test]
fn with_any_bit_flipped_it_is_an_error_or_another_canonical_value() {
    for bytes in all_encoded() {
        let original = decode(&bytes);
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[place] ^= 1 << bit;
                assert_canonical(&changed);
                assert_ne!(
                    decode(&changed),
                    original,
                    "byte {place} bit {bit} says nothing"
                );
            }
        }
    }
}

#[test]
fn any_byte_anywhere_is_an_error_or_a_canonical_value() {
    for bytes in all_encoded() {
        for place in 0..bytes.len() {
            for byte in [0, 1, 2, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[place] = byte;
                assert_canonical(&changed);
            }
        }
    }
}

#[test]
fn unknown_tags_are_refused_by_name() {
    for tag in (0..=255).filter(|tag| !(1..=18).contains(tag)) {
        let unknown = DecodeError::UnknownTag {
            what: "message",
            tag,
        };
        assert_eq!(decode(&[tag, 0, 0]), Err(unknown));
    }
    let request = DecodeError::UnknownTag {
        what: "request",
        tag: 6,
    };
    assert_eq!(decode(&[4, 6]), Err(request));
    let evidence = DecodeError::UnknownTag {
        what: "evidence",
        tag: 0,
    };
    assert_eq!(decode(&[10, 0]), Err(evidence));
    for tag in [0, 7] {
        let what = "snapshot";
        let unknown = DecodeError::UnknownTag { what, tag };
        assert_eq!(decode(&[17, tag]), Err(unknown));
    }
}

#[test]
fn nothing_at_all_is_an_error() {
    let what = "message";
    assert_eq!(
        decode(&[]),
        Err(DecodeError::Truncated {
            what,
            needed: 1,
            left: 0
        })
    );
}

/// The same bytes with another count at a place.
fn with_count(mut bytes: Vec<u8>, at: usize, count: u32) -> Vec<u8> {
    bytes[at..at + 4].copy_from_slice(&count.to_le_bytes());
    bytes
}

/// Messages with an empty list, where its count stands, what it counts, and its bound.
fn empty_lists() -> Vec<(Vec<u8>, usize, &'static str, usize)> {
    let header_bytes = wire::header::to_array(&header(1)).len();
    vec![
        (
            encoded(&Message::Certificates(Vec::new())),
            1,
            "certificates",
            CERTIFICATES_PER_MESSAGE_MAX,
        ),
        (
            encoded(&Message::Get(Get::Bodies(Vec::new()))),
            2,
            "bodies",
            BODIES_PER_REQUEST_MAX,
        ),
        (
            encoded(&Message::Headers {
                window: Window::ZERO,
                headers: Vec::new(),
            }),
            9,
            "headers",
            HEADERS_PER_ANSWER_MAX,
        ),
        (
            encoded(&Message::History(Vec::new())),
            1,
            "headers",
            HEADERS_PER_ANSWER_MAX,
        ),
        (
            encoded(&Message::Block {
                header: header(1),
                payload: [].into(),
            }),
            1 + header_bytes,
            "payload",
            PAYLOAD_BYTES_MAX,
        ),
        (
            encoded(&Message::Forward([].into())),
            1,
            "forward",
            PAYLOAD_BYTES_MAX,
        ),
        (
            encoded(&Message::Abscissas {
                block: BlockId::new([1; 32]),
                told: [].into(),
            }),
            33,
            "abscissas",
            ABSCISSAS_BYTES_MAX,
        ),
        (
            encoded(&Message::RecoverAnswer(RecoverAnswer {
                nonce: [1; 32],
                window: Window::ZERO,
                certificates: Vec::new(),
                signature: [2; 64],
            })),
            41,
            "certificates",
            RECOVER_CERTIFICATES_MAX,
        ),
    ]
}

/// The same of what is said of states, snapshots and older events.
fn empty_lists_of_states() -> Vec<(Vec<u8>, usize, &'static str, usize)> {
    let statement = StateStatement {
        sections: Vec::new(),
        snapshot: None,
        ..state_certificate().statement
    };
    let certificate = StateCertificate {
        statement: statement.clone(),
        signatures: Vec::new(),
    };
    let attestation = Message::Attestation {
        statement,
        signature: [2; 64],
    };
    let offer = Message::Snapshot(SnapshotPart::Offer {
        certificate: Box::new(certificate),
        manifest: [].into(),
    });
    let chunk = Message::Snapshot(SnapshotPart::Chunk {
        root: [1; 32],
        chunk: 2,
        bytes: [].into(),
    });
    let events = Message::Snapshot(SnapshotPart::Events {
        below: Height::new(1),
        stretch: Some(Box::new(EventStretch {
            first: Height::new(2),
            tops: Vec::new(),
            frame: [].into(),
        })),
    });
    let lists = [
        (&attestation, 41, "state sections", STATE_SECTIONS_MAX),
        (&offer, 47, "state signatures", VALIDATORS_MAX),
        (&offer, 51, "manifest", SNAPSHOT_MANIFEST_BYTES_MAX),
        (&chunk, 38, "chunk", SNAPSHOT_CHUNK_BYTES_MAX),
        (&events, 19, "tops of events", EVENTS_TOPS_MAX),
        (&events, 23, "events", EVENTS_BYTES_MAX),
    ];
    let encode = |(message, at, what, max)| (encoded(message), at, what, max);
    lists.map(encode).into()
}

#[test]
fn every_count_is_refused_above_its_bound() {
    for list in [empty_lists(), empty_lists_of_states()].concat() {
        assert_count_is_bounded(list);
    }
}

fn assert_count_is_bounded((bytes, at, what, max): (Vec<u8>, usize, &'static str, usize)) {
    // Enough bytes behind it that only the bound can refuse.
    let mut padded = bytes.clone();
    padded.resize(FRAME_BYTES_MAX, 0);
    let count = max + 1;
    let too_many = Err(DecodeError::TooMany { what, count, max });
    assert_eq!(decode(&with_count(padded, at, count as u32)), too_many);
    let huge = u32::MAX as usize;
    let too_many = Err(DecodeError::TooMany {
        what,
        count: huge,
        max,
    });
    assert_eq!(decode(&with_count(bytes.clone(), at, u32::MAX)), too_many);
    // A count inside the bound but beyond what was sent is refused before the elements are.
    let mut cut = with_count(bytes, at, max as u32);
    cut.truncate(at + 4);
    let found = decode(&cut);
    let Err(DecodeError::Truncated {
        what: found,
        left: 0,
        ..
    }) = found
    else {
        panic!("{what}: {found:?}");
    };
    assert_eq!(found, what);
}

#[test]
fn the_counts_inside_certificates_and_records_are_bounded_too() {
    let also = |count: usize| Record {
        also: (0..count)
            .map(|n| (Index::new(n as u32), BlockId::new([0; 32])))
            .collect(),
        ..record()
    };
    let decoded = |count| {
        let mut bytes = Vec::new();
        wire::encode_record(&also(count), &mut bytes);
        wire::decode_record(&bytes)
    };
    assert_eq!(decoded(ALSO_ENTRIES_MAX), Ok(also(ALSO_ENTRIES_MAX)));
    let (count, max) = (ALSO_ENTRIES_MAX + 1, ALSO_ENTRIES_MAX);
    assert_eq!(
        decoded(count),
        Err(DecodeError::TooMany {
            what: "also",
            count,
            max
        })
    );

    let mut full = certificate(targets()[1].1);
    let signed = full.records[0].clone();
    full.records = (0..=VALIDATORS_MAX)
        .map(|n| {
            let mut one = signed.clone();
            one.validator = ValidatorIndex::new(n as u16);
            one
        })
        .collect();
    let decoded = |certificate: &Certificate| {
        let mut bytes = Vec::new();
        wire::encode_certificate(certificate, &mut bytes);
        wire::decode_certificate(&bytes)
    };
    let (count, max) = (VALIDATORS_MAX + 1, VALIDATORS_MAX);
    let too_many = DecodeError::TooMany {
        what: "certificate records",
        count,
        max,
    };
    assert_eq!(decoded(&full), Err(too_many));
    full.records.pop();
    full.headers = vec![header(1); CERTIFICATE_HEADERS_MAX];
    assert!(decoded(&full).is_ok());
    full.headers.push(header(1));
    let (count, max) = (CERTIFICATE_HEADERS_MAX + 1, CERTIFICATE_HEADERS_MAX);
    let too_many = DecodeError::TooMany {
        what: "certificate headers",
        count,
        max,
    };
    assert_eq!(decoded(&full), Err(too_many));
}

#[test]
fn the_ready_summary_is_bounded() {
    let (_, message) = messages()
        .into_iter()
        .find(|(name, _)| *name == "status_small")
        .expect("a sample");
    let Message::Status(mut status) = message else {
        panic!("another kind")
    };
    status.ready = vec![BlockId::new([1; 32]); READY_SUMMARY_MAX];
    assert!(decode(&encoded(&Message::Status(status.clone()))).is_ok());
    status.ready.push(BlockId::new([1; 32]));
    let (count, max) = (READY_SUMMARY_MAX + 1, READY_SUMMARY_MAX);
    let too_many = DecodeError::TooMany {
        what: "ready",
        count,
        max,
    };
    assert_eq!(decode(&encoded(&Message::Status(status))), Err(too_many));
}

#[test]
fn sets_have_one_order() {
    let mut disordered = record();
    disordered.also.swap(0, 1);
    let mut repeated = record();
    repeated.also[1] = repeated.also[0];
    for record in [disordered, repeated] {
        let mut bytes = Vec::new();
        wire::encode_record(&record, &mut bytes);
        let what = "also";
        assert_eq!(
            wire::decode_record(&bytes),
            Err(DecodeError::NotAscending { what })
        );
    }
    let mut disordered = certificate(targets()[0].1);
    disordered.records.swap(0, 1);
    let mut repeated = certificate(targets()[0].1);
    repeated.records[1] = repeated.records[0].clone();
    for certificate in [disordered, repeated] {
        let mut bytes = Vec::new();
        wire::encode_certificate(&certificate, &mut bytes);
        let what = "certificate records";
        assert_eq!(
            wire::decode_certificate(&bytes),
            Err(DecodeError::NotAscending { what })
        );
    }
    let mut disordered = state_certificate();
    disordered.signatures.swap(0, 1);
    let mut repeated = state_certificate();
    repeated.signatures[1] = repeated.signatures[0];
    for certificate in [disordered, repeated] {
        let mut bytes = Vec::new();
        wire::encode_state_certificate(&certificate, &mut bytes);
        let what = "state signatures";
        assert_eq!(
            wire::decode_state_certificate(&bytes),
            Err(DecodeError::NotAscending { what })
        );
    }
}

#[test]
fn yes_and_no_have_one_form_each() {
    let mut bytes = Vec::new();
    wire::encode_record(&Record::default(), &mut bytes);
    for (place, what) in [(0, "tip"), (1, "stop"), (2, "final"), (3, "skip fallback")] {
        let mut changed = bytes.clone();
        changed[place] = 2;
        let error = DecodeError::NotCanonical { what, byte: 2 };
        assert_eq!(wire::decode_record(&changed), Err(error));
    }
    let (_, message) = messages()
        .into_iter()
        .find(|(name, _)| *name == "status_small")
        .expect("a sample");
    let mut bytes = encoded(&message);
    *bytes.last_mut().expect("flags") = 8;
    let error = DecodeError::NotCanonical {
        what: "status flags",
        byte: 8,
    };
    assert_eq!(decode(&bytes), Err(error));
}
