//! Commands of clients, as they stand in a block, and other small things that every world needs.
//! Never: signatures.

use quorate::state_machine::SessionId;
use quorate_consensus::payload::{
    Entry, FLAG_OPEN, Lane, encode_entry, encode_flagged_entry, session_of_key,
};
use quorate_consensus::types::ValidatorIndex;
use quorate_log::LogConfig;

/// One order of a client.
pub(crate) fn command(client: u8, seq: u64, text: &str) -> Vec<u8> {
    command_in(Lane::Order, client, seq, text)
}

/// The order that opens a client's session with this number, a time.
pub(crate) fn opening(client: u8, seq: u64, text: &str) -> Vec<u8> {
    let body = [&[client; 32], text.as_bytes()].concat();
    let entry = Entry {
        lane: Lane::Order,
        session: &session_of_key(&[client; 32]),
        seq,
        signature: None,
        body: &body,
    };
    let mut bytes = Vec::new();
    encode_flagged_entry(&entry, FLAG_OPEN, &mut bytes);
    bytes
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

/// The session of a client.
pub(crate) fn session(client: u8) -> SessionId {
    SessionId(session_of_key(&[client; 32]))
}

pub(crate) fn log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 4 * 1024 * 1024,
        ..LogConfig::new([9; 32])
    }
}

pub(crate) fn index(place: usize) -> ValidatorIndex {
    ValidatorIndex::new(u16::try_from(place).expect("few"))
}
