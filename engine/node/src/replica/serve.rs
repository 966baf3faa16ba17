//! Serving peers that ask for blocks, history and proofs.
//!
//! Owns the queue of requests and how much of it is answered in one turn, so that a peer that
//! catches up does not slow down those that vote. Never: decides who may ask.

use std::collections::VecDeque;

use quorate_consensus::effect::Destination;
use quorate_consensus::message::{BlockRef, Message};
use quorate_consensus::types::{Height, ValidatorIndex};

use super::order::{OrderError, OrderOut, OrderStage};
use crate::store::LoggedBlock;

/// Requests of peers that wait to be served; a peer asks again for what is dropped.
const REQUESTS_MAX: usize = 256;
/// Bytes of blocks served in one turn.
const SERVED_BYTES_PER_TURN: usize = 2 * 1024 * 1024;

/// A peer's request that waits for its turn.
#[derive(Debug)]
pub(super) enum Request {
    Bodies {
        to: ValidatorIndex,
        blocks: VecDeque<BlockRef>,
    },
    History {
        to: ValidatorIndex,
        top: BlockRef,
        count: u32,
    },
    Finality {
        to: ValidatorIndex,
        at_least: Height,
    },
}

impl OrderStage {
    pub(super) fn enqueue(&mut self, request: Request) {
        if self.requests.len() < REQUESTS_MAX {
            self.requests.push_back(request);
        }
    }

    /// Serves peers from memory and log, a bounded amount a turn.
    ///
    /// # Errors
    /// [`OrderError`] when the log cannot be believed: this validator must stop.
    pub fn serve(&mut self, out: &mut OrderOut) -> Result<(), OrderError> {
        let mut served_bytes = 0;
        while served_bytes < SERVED_BYTES_PER_TURN {
            let Some(request) = self.requests.pop_front() else {
                break;
            };
            match request {
                Request::Bodies { to, mut blocks } => {
                    let Some(wanted) = blocks.pop_front() else {
                        continue;
                    };
                    if let Some(LoggedBlock { header, payload }) = self.store.block(&wanted)? {
                        served_bytes += payload.len();
                        let message = Message::Block { header, payload };
                        out.frames.push(Destination::Peer(to), &message);
                    }
                    served_bytes += 1024;
                    self.requests.push_front(Request::Bodies { to, blocks });
                }
                Request::History { to, top, count } => {
                    let headers = self.store.history(&top, count as usize)?;
                    served_bytes += 256 * headers.len();
                    if !headers.is_empty() {
                        out.frames
                            .push(Destination::Peer(to), &Message::History(headers));
                    }
                }
                Request::Finality { to, at_least } => {
                    if let Some(proof) = self.store.proof(at_least)? {
                        let message = Message::Certificates(vec![proof]);
                        out.frames.push(Destination::Peer(to), &message);
                    }
                    served_bytes += 4096;
                }
            }
        }
        Ok(())
    }
}
