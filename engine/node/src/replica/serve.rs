//! Serving peers that ask for blocks, history and proofs.
//!
//! Owns the queue of requests and how much of it is answered in one turn, so that a peer that
//! catches up does not slow down those that vote. Never: decides who may ask.

use std::collections::VecDeque;

use quorate_consensus::effect::Destination;
use quorate_consensus::message::{BlockRef, Message};
use quorate_consensus::types::{Height, ValidatorIndex};

use super::order::{OrderError, OrderOut, OrderStage};
use super::outbox::Event;
use crate::store::{LoggedBlock, StoreError};
use quorate_log::ReadError;

/// Requests of peers that wait to be served; a peer asks again for what is dropped.
const REQUESTS_MAX: usize = 256;
/// Bytes of blocks served in one turn.
const SERVED_BYTES_PER_TURN: usize = 2 * 1024 * 1024;

/// What a read counts for at least. It may have to come from the disk, while a vote waits: with
/// this, a turn reads 64 blocks at most, however small they are.
const READ_BYTES_MIN: usize = 32 * 1024;
/// What each header of a history counts for, which is a read of its own.
const HEADER_BYTES_MIN: usize = 4 * 1024;

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
                    let mut read_bytes = READ_BYTES_MIN;
                    if let Some(LoggedBlock { header, payload }) =
                        unless_faulty(self.store.block(&wanted), out)?.flatten()
                    {
                        read_bytes = read_bytes.max(payload.len());
                        let message = Message::Block { header, payload };
                        out.frames.push(Destination::Peer(to), &message);
                    }
                    served_bytes += read_bytes;
                    self.requests.push_front(Request::Bodies { to, blocks });
                }
                Request::History { to, top, count } => {
                    let headers = self.store.history(&top, count as usize);
                    let headers = unless_faulty(headers, out)?.unwrap_or_default();
                    served_bytes += READ_BYTES_MIN.max(HEADER_BYTES_MIN * headers.len());
                    if !headers.is_empty() {
                        out.frames
                            .push(Destination::Peer(to), &Message::History(headers));
                    }
                }
                Request::Finality { to, at_least } => {
                    if let Some(proof) = unless_faulty(self.store.proof(at_least), out)?.flatten() {
                        let message = Message::Certificates(vec![proof]);
                        out.frames.push(Destination::Peer(to), &message);
                    }
                    served_bytes += READ_BYTES_MIN;
                }
            }
        }
        Ok(())
    }
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
