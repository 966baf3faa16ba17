//! Messages and records of a size that a name says, and their bytes.
//!
//! Owns the assertion that the size is the one of the name.

use quorate_consensus::message::Message;
use quorate_consensus::record::Record;
use quorate_consensus::wire;

use crate::support::frames;
use crate::support::records::older_and_newer;

/// Room for the longest message that is encoded here.
const ROOM_BYTES: usize = 1 << 17;

pub(crate) fn vote(bytes: usize) -> Message {
    let message = frames::vote();
    assert_eq!(frames::encoded(&message).len(), bytes, "bytes of a vote");
    message
}

/// A proposal with a command as long as fills it.
pub(crate) fn propose(bytes: usize) -> Message {
    let without_body = frames::encoded(&frames::propose(0)).len();
    let message = frames::propose(bytes - without_body);
    assert_eq!(frames::encoded(&message).len(), bytes, "a proposal's bytes");
    message
}

/// A record with so many further entries.
pub(crate) fn record(entries: u32) -> Record {
    older_and_newer(entries).1
}

pub(crate) fn vote_bytes(bytes: usize) -> Vec<u8> {
    frames::encoded(&vote(bytes))
}

pub(crate) fn propose_bytes(bytes: usize) -> Vec<u8> {
    frames::encoded(&propose(bytes))
}

pub(crate) fn record_bytes(entries: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode_record(&record(entries), &mut bytes);
    bytes
}

/// A buffer that need not grow, as one that is used again.
pub(crate) fn room() -> Vec<u8> {
    Vec::with_capacity(ROOM_BYTES)
}
