//! Serving peers that ask for blocks, history and proofs.
//!
//! Owns the requests that wait and how much of them is answered in one turn, so that a peer that
//! catches up does not slow down those that vote, and none keeps out another. Never: decides who
//! may ask.

use std::collections::VecDeque;

use quorate_consensus::effect::Destination;
use quorate_consensus::message::{BlockRef, Message};
use quorate_consensus::types::{Height, ValidatorIndex};

use super::order::{OrderError, OrderOut, OrderStage};
use super::outbox::Event;
use crate::store::{LoggedBlock, StoreError};
use quorate_log::ReadError;

/// Requests of one peer that wait to be served; it asks again for what is dropped. One that catches
/// up asks for the bodies of two full requests at once, each by itself.
const REQUESTS_PER_PEER_MAX: usize = 128;
/// Bytes of blocks served in one turn.
const SERVED_BYTES_PER_TURN: usize = 2 * 1024 * 1024;

/// What a read counts for at least. It may have to come from the disk, while a vote waits: with
/// this, a turn reads 64 blocks at most, however small they are.
const READ_BYTES_MIN: usize = 32 * 1024;
/// What each small record counts for that is read on the way: each header of a history, and each of
/// the up to 63 marks that lead to a block. They are read without being asked for by name, so that
/// an answer may take as many reads as 64 others.
const HEADER_BYTES_MIN: usize = 4 * 1024;

/// A peer's request that waits for its turn.
#[derive(Debug)]
pub(super) enum Request {
    Bodies(VecDeque<BlockRef>),
    History { top: BlockRef, count: u32 },
    Finality { at_least: Height },
}

/// Requests that wait: each peer has its own, and they are served in turn.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Whoever waits, the next one first. Nobody's list is empty, and nobody stands here twice.
    waiting: VecDeque<(ValidatorIndex, VecDeque<Request>)>,
}

impl Requests {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn of(&mut self, peer: ValidatorIndex) -> Option<&mut VecDeque<Request>> {
        let mut waiting = self.waiting.iter_mut();
        waiting.find_map(|(to, requests)| (*to == peer).then_some(requests))
    }

    pub(super) fn push(&mut self, to: ValidatorIndex, request: Request) {
        match self.of(to) {
            Some(requests) if requests.len() >= REQUESTS_PER_PEER_MAX => {}
            Some(requests) => requests.push_back(request),
            None => self.waiting.push_back((to, VecDeque::from([request]))),
        }
    }

    /// The oldest request of the peer whose turn it is.
    fn pop(&mut self) -> Option<(ValidatorIndex, Request)> {
        let (to, mut requests) = self.waiting.pop_front()?;
        let request = requests.pop_front()?;
        if !requests.is_empty() {
            self.waiting.push_back((to, requests));
        }
        Some((to, request))
    }

    /// What is left of a request goes on before the peer's others, when its turn has come again.
    fn put_back(&mut self, to: ValidatorIndex, rest: Request) {
        match self.of(to) {
            Some(requests) => requests.push_front(rest),
            None => self.waiting.push_back((to, VecDeque::from([rest]))),
        }
    }
}

impl OrderStage {
    /// Whether peers wait to be served.
    pub(super) fn is_asked(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Serves peers from memory and log, a bounded amount a turn. To be called when what others
    /// wait for is on its way.
    ///
    /// # Errors
    /// [`OrderError`] when the log cannot be believed: this validator must stop.
    pub fn serve(&mut self, out: &mut OrderOut) -> Result<(), OrderError> {
        let mut served_bytes = 0;
        while served_bytes < SERVED_BYTES_PER_TURN {
            let Some((to, request)) = self.requests.pop() else {
                break;
            };
            let reads = self.store.reads();
            let answer = match request {
                Request::Bodies(mut blocks) => {
                    let Some(wanted) = blocks.pop_front() else {
                        continue;
                    };
                    let block = unless_faulty(self.store.block(&wanted), out)?.flatten();
                    if !blocks.is_empty() {
                        self.requests.put_back(to, Request::Bodies(blocks));
                    }
                    let of_block =
                        |LoggedBlock { header, payload }| Message::Block { header, payload };
                    block.map(of_block)
                }
                Request::History { top, count } => {
                    let headers = self.store.history(&top, count as usize);
                    let headers = unless_faulty(headers, out)?.unwrap_or_default();
                    (!headers.is_empty()).then_some(Message::History(headers))
                }
                Request::Finality { at_least } => {
                    let proof = unless_faulty(self.store.proof(at_least), out)?.flatten();
                    proof.map(|proof| Message::Certificates(vec![proof]))
                }
            };
            let reads = self.store.reads() - reads;
            let sent_bytes = answer.map_or(0, |message| {
                out.frames.push(Destination::Peer(to), &message)
            });
            served_bytes += cost_bytes(reads, sent_bytes);
        }
        Ok(())
    }
}

/// What an answer counts for: its bytes, or one read of whatever size, and the small ones before.
fn cost_bytes(reads: u64, sent_bytes: usize) -> usize {
    let small = usize::try_from(reads.saturating_sub(1)).unwrap_or(usize::MAX);
    let on_the_way = small.saturating_mul(HEADER_BYTES_MIN);
    READ_BYTES_MIN.max(sent_bytes).saturating_add(on_the_way)
}

/// A record that has rotted since the start is not served, and never said to be absent: the peer
/// asks another one, and whoever repairs the log is told.
fn unless_faulty<T>(
    read: Result<T, StoreError>,
    out: &mut OrderOut,
) -> Result<Option<T>, OrderError> {
    match read {
        Err(StoreError::Read(ReadError::Faulty(fault))) => {
            out.events.push(Event::Faulty(fault));
            Ok(None)
        }
        read => Ok(read.map(Some)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_consensus::types::BlockId;

    fn peer(number: u16) -> ValidatorIndex {
        ValidatorIndex::new(number)
    }

    fn bodies(heights: std::ops::Range<u64>) -> Request {
        let block = |height| BlockRef {
            height: Height::new(height),
            id: BlockId::new([0; 32]),
        };
        Request::Bodies(heights.map(block).collect())
    }

    /// Serves block by block; whom, and which height.
    fn served(requests: &mut Requests, count: usize) -> Vec<(u16, u64)> {
        let next = || {
            let (to, request) = requests.pop()?;
            let Request::Bodies(mut blocks) = request else {
                return None;
            };
            let height = blocks.pop_front()?.height.number();
            if !blocks.is_empty() {
                requests.put_back(to, Request::Bodies(blocks));
            }
            Some((to.number(), height))
        };
        std::iter::from_fn(next).take(count).collect()
    }

    #[test]
    fn an_answer_counts_for_what_is_read_and_for_what_is_sent() {
        assert_eq!(cost_bytes(0, 0), READ_BYTES_MIN, "of what is in memory");
        assert_eq!(cost_bytes(1, 0), READ_BYTES_MIN);
        let mebibyte = 1024 * 1024;
        assert_eq!(cost_bytes(1, mebibyte), mebibyte, "a long proof");
        assert_eq!(cost_bytes(64, 0), READ_BYTES_MIN + 63 * HEADER_BYTES_MIN);
    }

    #[test]
    fn a_peer_that_asks_without_end_keeps_no_other_out_and_waits_for_its_turn() {
        let mut requests = Requests::default();
        for _ in 0..10 * REQUESTS_PER_PEER_MAX {
            requests.push(peer(1), bodies(0..64));
        }
        requests.push(peer(2), bodies(7..9));
        requests.push(peer(2), bodies(9..10));
        let expected = [(1, 0), (2, 7), (1, 1), (2, 8), (1, 2), (2, 9), (1, 3)];
        assert_eq!(served(&mut requests, 7), expected);
        let rest = served(&mut requests, usize::MAX);
        assert_eq!(
            rest.len(),
            REQUESTS_PER_PEER_MAX * 64 - 4,
            "what it may ask"
        );
        assert!(requests.is_empty());
    }
}
