//! Answers about private streams that come from disk, on their way to the clients that asked.
//!
//! Owns how much of them one turn tells. Never: who may ask for whose, which the connection has
//! said before, and what is still in memory, which the executor answers.

use super::archive::Fetched;
use super::fetch::PrivateFetch;
use super::public::{Outlet, RETRY_US, is_full};
use crate::client_wire::{PrivateFrame, PrivateState, encode_busy};
use crate::private::archived::{self, PrivateOutputs, PrivatePiece};
use crate::streams::{StreamPosition, Unavailable};
use crossbeam::channel::Receiver;
use quorate_consensus::types::ValidatorIndex;

/// Bytes that one turn tells, about: what comes from peers meanwhile waits for it.
const TURN_BYTES: usize = 256 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct PrivateStage {
    /// What has been read; none where nothing is kept on disk.
    answers: Option<Receiver<Fetched<PrivateOutputs>>>,
    /// How many of them may be told, where blocks come from another thread.
    due: Option<usize>,
}

impl PrivateStage {
    pub(crate) const fn new(answers: Option<Receiver<Fetched<PrivateOutputs>>>) -> Self {
        Self { answers, due: None }
    }

    /// What has been read so far may be told in this turn and nothing more: the blocks below the
    /// tip of what is read later are not all taken yet.
    pub(crate) fn note_due(&mut self) {
        self.due = Some(self.answers.as_ref().map_or(0, Receiver::len));
    }

    /// Nobody is told anything any more.
    pub(crate) fn clear(&mut self) {
        self.answers = None;
    }

    /// Whether the next turn has something to tell at once.
    pub(crate) fn is_unfinished(&self) -> bool {
        let answers = self.answers.as_ref();
        answers.is_some_and(|answers| !answers.is_empty())
    }

    /// Tells what has been read, a bounded part of it.
    pub(crate) fn pump(&self, leader: Option<ValidatorIndex>, out: &mut impl Outlet) {
        let (mut told, mut left) = (0, self.due.unwrap_or(usize::MAX));
        while told < TURN_BYTES
            && left > 0
            && let Some(Ok((fetch, read, _ticket))) = self.answers.as_ref().map(Receiver::try_recv)
        {
            left -= 1;
            let Some(waiting) = out.waiting(fetch.client) else {
                continue;
            };
            // One that has not read what it was told before asks again when it has.
            let frame = match is_full(waiting, out) {
                true => busy(leader, &fetch),
                false => answer(leader, &fetch, read),
            };
            told += frame.len();
            out.send(fetch.client, &frame);
        }
    }
}

fn busy(leader: Option<ValidatorIndex>, fetch: &PrivateFetch) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_busy(leader, fetch.id, RETRY_US, &mut bytes);
    bytes
}

fn answer(
    leader: Option<ValidatorIndex>,
    fetch: &PrivateFetch,
    read: Result<PrivatePiece, Unavailable>,
) -> Vec<u8> {
    let PrivateFetch {
        id,
        range,
        ring,
        tip,
        ..
    } = *fetch;
    let mut frame = PrivateFrame::new(leader, id);
    let oldest_of = |first: u64| StreamPosition::before(first).min(ring);
    let (state, next, oldest) = match read {
        Ok(PrivatePiece::Here(chunk, first)) => {
            let next = archived::write(&range, &chunk, &mut frame);
            (PrivateState::Done, next, oldest_of(first))
        }
        Ok(PrivatePiece::Busy) => return busy(leader, fetch),
        Ok(PrivatePiece::Gone(first)) => (PrivateState::Gone, range.from, oldest_of(first)),
        // Nothing more is kept in this run.
        Err(_) => (PrivateState::Gone, range.from, ring),
    };
    frame.finish(state, next, oldest, tip);
    frame.into_bytes()
}

#[cfg(test)]
#[path = "private_tests.rs"]
pub(in crate::stages) mod tests;
