//! Plain data to bytes and back: fixed width, little-endian, one encoding a value.
//!
//! Owns the layout of everything that validators send or log; `docs/wire.md` has the tables.
//! Never: frames, channels, signatures, or whether what was decoded is true. A decoder consumes
//! the whole input, checks every count against its bound and against the bytes that are left
//! before it allocates, and never panics; `encode(decode(bytes)) == bytes`.

pub mod attestation;
pub mod certificate;
pub mod evidence;
pub mod header;
pub mod record;

mod error;
mod message;
mod reader;
mod snapshot;
mod status;

pub use attestation::{
    decode as decode_state_certificate, encode as encode_state_certificate, encode_statement,
};
pub use certificate::{decode as decode_certificate, encode as encode_certificate};
pub use error::DecodeError;
pub use evidence::{decode as decode_evidence, encode as encode_evidence};
pub use header::{decode as decode_header, encode as encode_header};
pub use message::{decode, encode, encode_around};
pub use record::{decode as decode_record, encode as encode_record};

use crate::message::Message;
use alloc::vec::Vec;

/// Something decoded and nothing more: bytes of the right form, from whoever sent them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified<T>(T);

impl<T> AsRef<T> for Unverified<T> {
    fn as_ref(&self) -> &T {
        &self.0
    }
}

impl Unverified<Message> {
    /// The message. The caller says next whose channel brought it
    /// (`Authenticated::assert_authenticated`), or has its signatures checked.
    #[must_use]
    pub fn into_message(self) -> Message {
        self.0
    }
}

/// Appends a count or length. Every decoder's bound is far below 2^32, so a longer list would be
/// refused there; it cannot be mistaken for a shorter one.
fn put_count(count: usize, bytes: &mut Vec<u8>) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&count.to_le_bytes());
}

/// Appends a presence byte, and the value when there is one.
fn put_option<T>(value: Option<&T>, bytes: &mut Vec<u8>, put: impl FnOnce(&T, &mut Vec<u8>)) {
    bytes.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(value, bytes);
    }
}
