//! What a decoded message holds is a small multiple of what was sent.

use crate::samples::{certificate, header, messages, record, targets};
use quorate_consensus::certificate::{Certificate, SignedRecord, Target};
use quorate_consensus::header::Header;
use quorate_consensus::limits::{CERTIFICATES_PER_MESSAGE_MAX, HEADERS_PER_ANSWER_MAX};
use quorate_consensus::message::{Message, Propose};
use quorate_consensus::record::Record;
use quorate_consensus::types::{Index, ValidatorIndex};
use quorate_consensus::wire;
use std::mem::size_of;

/// Heap bytes of a list itself, by its capacity and not by what it was asked to hold.
fn list_bytes<T>(list: &Vec<T>) -> usize {
    list.capacity() * size_of::<T>()
}

fn record_bytes(record: &Record) -> usize {
    list_bytes(&record.also)
}

fn certificates_bytes(certificates: &Vec<Certificate>) -> usize {
    let inner = |one: &Certificate| {
        let records = one
            .records
            .iter()
            .map(|signed| record_bytes(&signed.record));
        list_bytes(&one.records) + list_bytes(&one.headers) + records.sum::<usize>()
    };
    list_bytes(certificates) + certificates.iter().map(inner).sum::<usize>()
}

/// Heap bytes of the kinds that carry lists of lists; the others are bounded by one list.
fn heap_bytes(message: &Message) -> usize {
    match message {
        Message::Certificates(certificates) => certificates_bytes(certificates),
        Message::Propose(Propose {
            justification,
            record,
            payload,
            ..
        }) => {
            certificates_bytes(justification)
                + payload.len()
                + record.as_ref().map_or(0, record_bytes)
        }
        Message::History(headers) | Message::Headers { headers, .. } => list_bytes(headers),
        _ => 0,
    }
}

/// How many bytes may be held for one received.
const HELD_PER_BYTE_MAX: usize = 5;

fn assert_bounded(message: &Message) {
    let mut bytes = Vec::new();
    wire::encode(message, &mut bytes);
    let decoded = wire::decode(&bytes).expect("a sample").into_message();
    let held = heap_bytes(&decoded);
    assert!(
        held <= bytes.len() * HELD_PER_BYTE_MAX,
        "{held} held for {}",
        bytes.len()
    );
}

/// The smallest certificates: the worst ratio of what is held to what is sent.
fn smallest_certificates() -> Vec<Certificate> {
    let signed = |n: u16| SignedRecord {
        validator: ValidatorIndex::new(n),
        record: Record::default(),
        signature: [0; 64],
    };
    let empty = Certificate {
        target: Target::Skip { from: Index::ZERO },
        records: Vec::new(),
        headers: Vec::new(),
        ..certificate(targets()[1].1)
    };
    let full = Certificate {
        records: (0..64).map(signed).collect(),
        ..empty.clone()
    };
    let mut all = vec![empty; CERTIFICATES_PER_MESSAGE_MAX];
    all[0] = full;
    all
}

#[test]
fn no_message_makes_its_receiver_hold_more_than_five_times_its_bytes() {
    let small = smallest_certificates();
    assert_bounded(&Message::Certificates(small[1..].to_vec()));
    assert_bounded(&Message::Certificates(small[..1].to_vec()));
    assert_bounded(&Message::Certificates(small));
    let headers: Vec<Header> = vec![header(1); HEADERS_PER_ANSWER_MAX];
    assert_bounded(&Message::History(headers));
    messages()
        .iter()
        .for_each(|(_, message)| assert_bounded(message));
    // The measure itself sees a list: one that is held is not counted as nothing.
    assert!(record_bytes(&record()) > 0);
}
