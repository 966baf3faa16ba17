//! How long the frames of the bare pattern are: as long as those of validators.
//!
//! Owns the two sizes, taken from the product's own encoder. Never: content; the frames of the
//! floor hold a kind and zeros.

use std::sync::Arc;

use quorate_consensus::header::{HEADER_VERSION, Header};
use quorate_consensus::message::{Message, Propose, Vote};
use quorate_consensus::payload::{Entry, Lane, PayloadBuilder, encode_entry};
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Epoch, Height, Index, Window};
use quorate_consensus::wire;

/// What an encrypted link adds to a frame that it sends alone: its length inside, the length of
/// the sealed message, and its tag (docs/wire.md).
const LINK_BYTES: usize = 4 + 2 + 16;

/// The two kinds of frames, bytes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) propose: usize,
    pub(super) vote: usize,
}

impl Sizes {
    /// The sizes for blocks of one command of so many bytes.
    pub(super) fn of(command_bytes: usize) -> Self {
        let id = BlockId::new([1; 32]);
        let record = Record {
            tip: Some((Index::new(1), id)),
            fin: Some(Index::ZERO),
            ..Record::default()
        };
        let payload = payload(command_bytes);
        let header = Header {
            version: HEADER_VERSION,
            flags: 0,
            chain_id: [0; 32],
            epoch: Epoch::ZERO,
            set_hash: [0; 32],
            window: Window::ZERO,
            index: Index::new(1),
            height: Height::new(2),
            time_ns: 1,
            parent_id: id,
            payload_hash: [0; 32],
            payload_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
        };
        let propose = Message::Propose(Propose {
            header,
            payload,
            justification: Vec::new(),
            record: Some(record.clone()),
        });
        let vote = Message::Vote(Vote {
            epoch: Epoch::ZERO,
            window: Window::ZERO,
            record,
            signature: None,
        });
        let bytes = |message: &Message| {
            let mut bytes = Vec::new();
            wire::encode(message, &mut bytes);
            bytes.len() + LINK_BYTES
        };
        Self {
            propose: bytes(&propose),
            vote: bytes(&vote),
        }
    }
}

fn payload(command_bytes: usize) -> Arc<[u8]> {
    let body = vec![0; command_bytes];
    let entry = Entry {
        lane: Lane::Order,
        session: &[1; 16],
        seq: 2,
        signature: None,
        body: &body,
    };
    let mut bytes = Vec::new();
    encode_entry(&entry, &mut bytes);
    let mut builder = PayloadBuilder::new();
    // It is the first one, of a session of its own: there is nothing that it could contradict.
    builder.push_entry(&bytes).ok();
    builder.finish()
}
