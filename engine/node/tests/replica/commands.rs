//! Commands of clients, as they stand in a block. Never: signatures.

use quorate_consensus::payload::{Entry, Lane, encode_entry, session_of_key};

/// One order of a client.
pub(crate) fn command(client: u8, seq: u64, text: &str) -> Vec<u8> {
    command_in(Lane::Order, client, seq, text)
}

/// One command of a client in a lane.
pub(crate) fn command_in(lane: Lane, client: u8, seq: u64, text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    if seq == 1 {
        body.extend_from_slice(&[client; 32]);
    }
    body.extend_from_slice(text.as_bytes());
    let session = session_of_key(&[client; 32]);
    let mut bytes = Vec::new();
    let entry = Entry {
        lane,
        session: &session,
        seq,
        signature: None,
        body: &body,
    };
    encode_entry(&entry, &mut bytes);
    bytes
}

/// Commands `first..=last` of a client.
pub(crate) fn commands(client: u8, first: u64, last: u64) -> Vec<Vec<u8>> {
    (first..=last)
        .map(|seq| command(client, seq, &format!("{client}.{seq}")))
        .collect()
}
