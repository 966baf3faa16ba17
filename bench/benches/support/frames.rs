//! Messages, frames and signatures as validators exchange them.
//!
//! Owns their making. Never: looks into them.

use std::sync::Arc;

use quorate::keys::KeyPair;
use quorate_consensus::header::{HEADER_VERSION, Header};
use quorate_consensus::message::{Message, Propose, Vote};
use quorate_consensus::payload::{Entry, Lane, PayloadBuilder, encode_entry};
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Epoch, Height, Index, Window};
use quorate_consensus::verify::{SignatureCheck as _, SignatureItem, Zip215};
use quorate_consensus::wire;
use quorate_net::wire::{Channel, answer, dial};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

/// A header that nobody checks.
pub(crate) fn header(payload: &[u8]) -> Header {
    Header {
        version: HEADER_VERSION,
        flags: 0,
        chain_id: [7; 32],
        epoch: Epoch::ZERO,
        set_hash: [1; 32],
        window: Window::ZERO,
        index: Index::new(1),
        height: Height::new(2),
        time_ns: 1,
        parent_id: BlockId::new([1; 32]),
        payload_hash: *blake3::hash(payload).as_bytes(),
        payload_bytes: u32::try_from(payload.len()).expect("a small payload"),
    }
}

/// A payload of one command.
pub(crate) fn payload(number: u64, body_bytes: usize) -> Arc<[u8]> {
    let body = vec![0x5a; body_bytes];
    let mut session = [0; 16];
    session[..8].copy_from_slice(&number.to_le_bytes());
    let entry = Entry {
        lane: Lane::Order,
        session: &session,
        seq: 2,
        signature: None,
        body: &body,
    };
    let mut bytes = Vec::new();
    encode_entry(&entry, &mut bytes);
    let mut builder = PayloadBuilder::new();
    builder.push_entry(&bytes).expect("one command fits");
    builder.finish()
}

pub(crate) fn record() -> Record {
    Record {
        tip: Some((Index::new(1), BlockId::new([1; 32]))),
        fin: Some(Index::ZERO),
        ..Record::default()
    }
}

pub(crate) fn vote() -> Message {
    Message::Vote(Vote {
        epoch: Epoch::ZERO,
        window: Window::ZERO,
        record: record(),
        signature: None,
    })
}

/// A proposal of one command.
pub(crate) fn propose(body_bytes: usize) -> Message {
    let payload = payload(1, body_bytes);
    Message::Propose(Propose {
        header: header(&payload),
        payload,
        justification: Vec::new(),
        record: Some(record()),
    })
}

pub(crate) fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode(message, &mut bytes);
    bytes
}

/// Two ends of a channel after its handshake: the first one dialed.
pub(crate) fn channel() -> (Channel, Channel) {
    let (dialing, first) = dial(b"bench").expect("a handshake");
    let (other, second) = answer(b"bench", &first).expect("an answer");
    let own = dialing.complete(&second).expect("a channel");
    (own, other)
}

/// A message of 128 bytes with signatures of it, to be checked as often as one likes.
pub(crate) struct Signed {
    message: [u8; 128],
    signers: Vec<([u8; 32], [u8; 64])>,
}

impl Signed {
    /// Signed by so many keys.
    pub(crate) fn by(signers: usize) -> Self {
        let message = [0x5a; 128];
        let sign = |number: usize| {
            let mut seed = [3; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            let key = KeyPair::from_seed(&seed);
            (key.public(), key.sign(&message))
        };
        Self {
            message,
            signers: (0..signers).map(sign).collect(),
        }
    }

    /// The keys, the message and their signatures in turn, so many in all.
    pub(crate) fn items(&self, count: usize) -> Vec<(&[u8; 32], &[u8], &[u8; 64])> {
        let signers = self.signers.iter().cycle().take(count);
        signers
            .map(|(key, signature)| (key, &self.message[..], signature))
            .collect()
    }

    /// Each once.
    pub(crate) fn each(&self) -> Vec<SignatureItem<'_>> {
        let items = self.items(self.signers.len()).into_iter();
        items
            .map(|(key, message, signature)| SignatureItem {
                key,
                message,
                signature,
                abscissa: None,
            })
            .collect()
    }
}

/// A check that has met the keys of these before, as that of a validator has.
pub(crate) fn knowing(signed: &Signed) -> Zip215<ChaCha20Rng> {
    let mut check = Zip215::new(ChaCha20Rng::from_seed([1; 32]));
    let verdicts = check.check(&signed.each());
    assert!(verdicts.iter().all(|&is_good| is_good));
    check
}
