//! A command as a client signs it, for unit tests and for those in `tests/`, which take this file
//! in by its path. Never: compiled into what ships.

use quorate_consensus::payload::{Entry, Lane, encode_entry, entry_unsigned, session_of_key};

/// The entry of command `seq` of the client with this public key, which opens its session with
/// number 1. `sign` is given what is signed of the entry, without the chain.
pub(crate) fn signed_entry(
    lane: Lane,
    key: &[u8; 32],
    seq: u64,
    text: &[u8],
    sign: impl FnOnce(&[u8]) -> [u8; 64],
) -> Vec<u8> {
    let session = session_of_key(key);
    let opening: &[u8] = if seq == 1 { key } else { &[] };
    let body = [opening, text].concat();
    let signature = sign(&entry_unsigned(lane, &session, seq, &body));
    let mut bytes = Vec::new();
    let entry = Entry {
        lane,
        session: &session,
        seq,
        signature: Some(&signature),
        body: &body,
    };
    encode_entry(&entry, &mut bytes);
    bytes
}
