//! What an actor can see and do: its own key, its own channels, what its fellows agreed on.
//!
//! Owns the list of what an actor sends. Never: anybody else's key, a channel between two others,
//! or a look into an honest validator: a Byzantine one has none of these.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_consensus::certificate::SignatureBytes;
use quorate_consensus::header::Header;
use quorate_consensus::message::{Message, OwnAnswer, Vote};
use quorate_consensus::record::Record;
use quorate_consensus::signing::{Signer as _, header_message, record_message, recover_message};
use quorate_consensus::types::{BlockId, Index, ValidatorIndex, Window};
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::wire;

use crate::dice::Dice;
use crate::keyring::WorldKey;

/// What goes over a channel.
#[derive(Clone, Debug)]
pub(crate) enum Words {
    /// A message, which a second actor of the same validator may still change.
    Message(Box<Message>),
    /// Bytes as they are, of whatever worth.
    Bytes(Arc<[u8]>),
}

/// Something on its way from a Byzantine validator.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) to: ValidatorIndex,
    pub(crate) words: Words,
    /// How long it is held back.
    pub(crate) delay_ns: u64,
}

/// What an actor wants done to its own machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Its wall clock is off by so much.
    Clock(i64),
    /// A copy of its disk is put aside.
    CopyDisk,
    /// Its process dies and starts again from that copy.
    RestoreDisk,
    /// Its own replica receives this now, as from that peer.
    Feed(ValidatorIndex, Box<Message>),
}

/// What the Byzantine validators of a run know together.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// All of them.
    gang: Vec<ValidatorIndex>,
    /// The newest block of either branch of a forked window.
    tops: BTreeMap<Window, [(Index, BlockId); 2]>,
}

impl Plot {
    /// Before anything was agreed.
    pub(crate) const fn new(gang: Vec<ValidatorIndex>) -> Self {
        Self {
            gang,
            tops: BTreeMap::new(),
        }
    }

    /// Whether a validator is one of them.
    pub(crate) fn is_fellow(&self, peer: ValidatorIndex) -> bool {
        self.gang.contains(&peer)
    }

    /// An equivocating leader's newest two blocks.
    pub(crate) fn note_fork(&mut self, window: Window, tops: [(Index, BlockId); 2]) {
        self.tops.insert(window, tops);
    }

    /// The branch that one side of the validators is shown in a forked window.
    pub(crate) fn top(&self, window: Window, is_other: bool) -> Option<(Index, BlockId)> {
        let tops = self.tops.get(&window)?;
        Some(tops[usize::from(is_other)])
    }
}

/// One actor's moment.
pub(crate) struct Stage<'a> {
    pub(crate) own: ValidatorIndex,
    pub(crate) set: &'a ValidatorSet,
    pub(crate) key: &'a WorldKey,
    pub(crate) now_ns: u64,
    pub(crate) dice: &'a mut Dice,
    pub(crate) plot: &'a mut Plot,
    pub(crate) out: Vec<Outgoing>,
    pub(crate) wishes: Vec<Wish>,
}

impl Stage<'_> {
    /// Sends a message over the own channel to a peer.
    pub(crate) fn send(&mut self, to: ValidatorIndex, message: Message) {
        self.send_later(to, message, 0);
    }

    /// The same, held back for a while.
    pub(crate) fn send_later(&mut self, to: ValidatorIndex, message: Message, delay_ns: u64) {
        self.out.push(Outgoing {
            to,
            words: Words::Message(Box::new(message)),
            delay_ns,
        });
    }

    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&mut self, to: ValidatorIndex, bytes: impl Into<Arc<[u8]>>) {
        self.out.push(Outgoing {
            to,
            words: Words::Bytes(bytes.into()),
            delay_ns: 0,
        });
    }

    /// Sends an own record as a Vote, with the own good signature or without one.
    pub(crate) fn vote(
        &mut self,
        to: ValidatorIndex,
        window: Window,
        record: Record,
        is_signed: bool,
    ) {
        let signature = is_signed.then(|| self.sign_record(window, &record));
        let vote = Vote {
            epoch: self.set.epoch(),
            window,
            record,
            signature,
        };
        self.send(to, Message::Vote(vote));
    }

    /// The own signature of a record.
    pub(crate) fn sign_record(&self, window: Window, record: &Record) -> SignatureBytes {
        let mut bytes = Vec::new();
        record_message(self.set, self.own, window, record, &mut bytes);
        self.key.sign(&bytes)
    }

    /// The own signature of an answer to a validator that lost its disk.
    pub(crate) fn sign_answer(&self, answer: &OwnAnswer) -> SignatureBytes {
        let mut bytes = Vec::new();
        recover_message(self.set, self.own, answer, &mut bytes);
        self.key.sign(&bytes)
    }

    /// The own signature of a header; worth something in own windows.
    pub(crate) fn sign_header(&self, header: &Header) -> SignatureBytes {
        let mut bytes = Vec::new();
        header_message(self.set, header, &mut bytes);
        self.key.sign(&bytes)
    }

    /// Whether this validator proposes in a window.
    pub(crate) fn leads(&self, window: Window) -> bool {
        self.set.leader(window) == self.own
    }

    /// All other validators.
    pub(crate) fn peers(&self) -> Vec<ValidatorIndex> {
        let own = self.own;
        self.set.indices().filter(|&peer| peer != own).collect()
    }

    /// One of them.
    pub(crate) fn any_peer(&mut self) -> ValidatorIndex {
        let peers = self.peers();
        self.dice.one_of(&peers).unwrap_or(self.own)
    }

    /// Whether a validator is one of the Byzantine ones.
    pub(crate) fn is_fellow(&self, peer: ValidatorIndex) -> bool {
        self.plot.is_fellow(peer)
    }

    /// On which of two sides an honest validator stands in a window. All Byzantine validators
    /// agree on the sides, which are halves and change from window to window.
    pub(crate) fn is_other_side(&self, window: Window, peer: ValidatorIndex) -> bool {
        let honest: Vec<_> = self
            .set
            .indices()
            .filter(|&one| !self.is_fellow(one))
            .collect();
        let rank = honest.iter().position(|&one| one == peer).unwrap_or(0) as u64;
        let count = (honest.len() as u64).max(1);
        let shift = window.number().wrapping_mul(7) / u64::from(self.set.turn_windows().max(1));
        (rank + shift % count) % count < count / 2
    }
}

/// The own record that a message carries, with its window.
pub(crate) fn own_record(message: &mut Message) -> Option<(Window, &mut Record)> {
    match message {
        Message::Vote(vote) => Some((vote.window, &mut vote.record)),
        Message::Status(status) => Some((status.window, &mut status.record)),
        Message::Propose(propose) => {
            let window = propose.header.window;
            propose.record.as_mut().map(|record| (window, record))
        }
        _ => None,
    }
}

/// Changes the own record in a message and signs it again where it was signed; `false` when the
/// message holds none.
pub(crate) fn change_record(
    stage: &Stage<'_>,
    message: &mut Message,
    change: impl FnOnce(Window, &mut Record),
) -> bool {
    let Some((window, record)) = own_record(message) else {
        return false;
    };
    change(window, record);
    if let Message::Vote(vote) = message
        && vote.signature.is_some()
    {
        vote.signature = Some(stage.sign_record(vote.window, &vote.record));
    }
    true
}

/// The canonical bytes of a message.
pub(crate) fn bytes_of(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode(message, &mut bytes);
    bytes
}
