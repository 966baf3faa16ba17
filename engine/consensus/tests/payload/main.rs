//! Payloads: what a block may carry, and how it is refused.

mod block;
mod builder;
mod format;

use quorate_consensus::payload::{
    BlockRules, Entry, Lane, PayloadError, PayloadView, encode_entry, session_of_key,
};

pub(crate) fn entry(lane: Lane, session: u8, seq: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let session = &[session; 16];
    encode_entry(
        &Entry {
            lane,
            session,
            seq,
            signature: None,
            body,
        },
        &mut bytes,
    );
    bytes
}

pub(crate) fn payload(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = (entries.len() as u32).to_le_bytes().to_vec();
    entries
        .iter()
        .for_each(|entry| bytes.extend_from_slice(entry));
    bytes
}

pub(crate) fn parse(entries: &[Vec<u8>]) -> Result<usize, PayloadError> {
    parse_under(&BlockRules::default(), entries)
}

/// How many commands a payload has that is one in a chain of these rules.
pub(crate) fn parse_under(rules: &BlockRules, entries: &[Vec<u8>]) -> Result<usize, PayloadError> {
    let payload = payload(entries);
    let view = PayloadView::parse(&payload)?;
    view.check_rules(rules)?;
    Ok(view.len())
}

/// An opening command of the session of a key.
pub(crate) fn opening(key: [u8; 32], rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let body = [&key[..], rest].concat();
    let session = &session_of_key(&key);
    let entry = Entry {
        lane: Lane::Order,
        session,
        seq: 1,
        signature: None,
        body: &body,
    };
    encode_entry(&entry, &mut bytes);
    bytes
}
