//! Who has signed what stands in blocks, in a chain of signed commands.
//!
//! Owns, for every block whose payload was on the wire, which of its commands the client of their
//! session has made, bit for bit. Never: checks a signature; what a client has made the clients
//! know, and whatever they have not made is forged, however it is signed.

use std::collections::HashMap;

use quorate_consensus::header::Header;
use quorate_consensus::payload::PayloadView;
use quorate_consensus::types::BlockId;

use super::Violation;

/// All payloads seen; they are looked up and never listed.
#[derive(Debug, Default)]
pub(crate) struct Authors {
    /// By block, for each command whether its client has made it.
    blocks: HashMap<BlockId, Vec<bool>>,
}

impl Authors {
    /// A payload was on the wire under a header; `is_made` says of an entry whether its client has
    /// made it. A payload that the header does not name is nobody's.
    pub(crate) fn see(&mut self, header: &Header, payload: &[u8], is_made: impl Fn(&[u8]) -> bool) {
        let id = header.id();
        if self.blocks.contains_key(&id) || *blake3::hash(payload).as_bytes() != header.payload_hash
        {
            return;
        }
        if let Ok(commands) = PayloadView::parse(payload) {
            let made = commands.iter().map(|view| is_made(view.entry)).collect();
            self.blocks.insert(id, made);
        }
    }

    /// For each command of a final block whether its client has made it.
    pub(crate) fn made(&self, height: u64, id: BlockId) -> Result<&[bool], Violation> {
        self.blocks.get(&id).map(Vec::as_slice).ok_or_else(|| {
            let what = format!(
                "the payload of the final block {id:?} of height {height} never was \
                                on the wire"
            );
            Violation::new("authors", what)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::SAMPLE;
    use quorate_consensus::payload::{Entry, Lane, PayloadBuilder, encode_entry};

    fn entry(seq: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let entry = Entry {
            lane: Lane::Order,
            session: &[1; 16],
            seq,
            signature: None,
            body: b"body",
        };
        encode_entry(&entry, &mut bytes);
        bytes
    }

    #[test]
    fn only_what_its_client_has_made_is_its_client_s() {
        let mut builder = PayloadBuilder::new();
        builder.push_entry(&entry(2)).unwrap();
        builder.push_entry(&entry(3)).unwrap();
        let payload = builder.finish();
        let header = Header {
            payload_hash: *blake3::hash(&payload).as_bytes(),
            payload_bytes: u32::try_from(payload.len()).unwrap(),
            ..SAMPLE
        };
        let mut authors = Authors::default();
        let made = entry(3);
        authors.see(&header, b"other bytes", |_| true);
        assert!(authors.made(1, header.id()).is_err(), "never seen");
        authors.see(&header, &payload, |entry| entry == made);
        assert_eq!(authors.made(1, header.id()), Ok(&[false, true][..]));
    }
}
