//! A reader of the public stream for programs that want to wait for what comes.
//!
//! Owns what came and nobody has taken yet, within bounds. Never: the going on after a loss; the
//! polled reader does that.

use super::{PublicOptions, PublicReader, PublicUpdate};
use crate::client::{ClientError, end_of};
use crate::client_wire::PublicEvent;
use crate::genesis::Genesis;
use crate::keys::KeyPair;
use crate::streams::StreamPosition;
use quorate_consensus::types::ValidatorIndex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An event of the public stream, by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicItem {
    /// Its address.
    pub position: StreamPosition,
    /// Replicated time of its block, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// The application's bytes.
    pub bytes: Vec<u8>,
}

impl PublicItem {
    fn of(event: &PublicEvent<'_>) -> Self {
        Self {
            position: event.position,
            time_ns: event.time_ns,
            bytes: event.bytes.to_vec(),
        }
    }
}

/// Events that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) items: VecDeque<PublicItem>,
    /// What they take up.
    pub(super) bytes: usize,
    /// The first event that found no room: nothing behind it is kept.
    pub(super) left_at: Option<StreamPosition>,
}

/// What an event takes up, besides its bytes.
pub(super) const ITEM_BYTES: usize = size_of::<PublicItem>();

impl Kept {
    /// Keeps the next event if there is room for it; there always is for one.
    pub(super) fn push(&mut self, event: &PublicEvent<'_>, bytes_max: usize) {
        let bytes = self.bytes + ITEM_BYTES + event.bytes.len();
        let has_room = self.items.is_empty() || bytes <= bytes_max;
        if self.left_at.is_none() && has_room {
            self.bytes = bytes;
            self.items.push_back(PublicItem::of(event));
        } else {
            self.left_at.get_or_insert(event.position);
        }
    }

    pub(super) fn pop(&mut self) -> Option<PublicItem> {
        let item = self.items.pop_front()?;
        self.bytes -= ITEM_BYTES + item.bytes.len();
        Some(item)
    }
}

/// A reader that waits for what comes.
#[derive(Debug)]
pub struct PublicClient {
    reader: PublicReader,
    kept: Kept,
}

impl PublicClient {
    /// A reader that connects when it is first asked for something.
    ///
    /// # Errors
    /// As [`PublicReader::new`].
    pub fn new(
        genesis: &Genesis,
        key: Arc<KeyPair>,
        options: PublicOptions,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            reader: PublicReader::new(genesis, key, options)?,
            kept: Kept::default(),
        })
    }

    /// Where a reader would go on that begins after what [`next`](Self::next) has given.
    #[must_use]
    pub fn position(&self) -> StreamPosition {
        let next = self.kept.items.front().map(|item| item.position);
        next.unwrap_or_else(|| self.reader.position())
    }

    /// The validator at which it is logged in.
    #[must_use]
    pub fn connected(&self) -> Option<ValidatorIndex> {
        self.reader.connected()
    }

    /// The next event.
    ///
    /// # Errors
    /// [`ClientError::Timeout`]: none came in time; otherwise as [`PublicReader::turn`].
    pub fn next(&mut self, timeout: Duration) -> Result<PublicItem, ClientError> {
        let end = end_of(timeout);
        loop {
            if let Some(item) = self.kept.pop() {
                return Ok(item);
            }
            self.kept.left_at = None;
            self.reader.resume();
            let now = Instant::now();
            if now >= end {
                return Err(ClientError::Timeout);
            }
            let kept = &mut self.kept;
            self.reader.turn(now, end - now, |update| {
                if let PublicUpdate::Event(event) = update {
                    // No more than a turn takes out of the socket.
                    kept.push(&event, usize::MAX);
                }
            })?;
        }
    }

    /// All events between two positions, as far as the stream goes and `bytes_max` takes them, one
    /// at least; and where to go on, which is before the second position if there is more. What
    /// comes of the subscription meanwhile is kept for [`next`](Self::next), up to as many bytes;
    /// what is behind that comes when it is asked for. An event takes up some bytes besides its
    /// own, and an answer of a validator 1 MiB, so much less is not worth its while.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn range(
        &mut self,
        (from, to): (StreamPosition, StreamPosition),
        bytes_max: usize,
        timeout: Duration,
    ) -> Result<(Vec<PublicItem>, StreamPosition), ClientError> {
        let end = end_of(timeout);
        self.reader.ask_range(from, to);
        let (mut ranged, mut done) = (Kept::default(), None);
        loop {
            let now = Instant::now();
            if now >= end {
                self.reader.end_range();
                return Err(ClientError::Timeout);
            }
            let kept = &mut self.kept;
            let turned = self.reader.turn(now, end - now, |update| match update {
                PublicUpdate::Event(event) => kept.push(&event, bytes_max),
                PublicUpdate::Ranged(event) => ranged.push(&event, bytes_max),
                PublicUpdate::RangeDone(at) => done = Some(at),
                _ => {}
            });
            if let Some(at) = self.kept.left_at {
                self.reader.pause_at(at);
            }
            let done = turned.map(|_| ranged.left_at.or(done)).transpose();
            if let Some(done) = done {
                self.reader.end_range();
                return done.map(|at| (ranged.items.into(), at));
            }
        }
    }
}
