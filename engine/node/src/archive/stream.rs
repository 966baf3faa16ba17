//! A stream while a start executes: the newest blocks in memory, and all on disk.
//!
//! Owns what is written of blocks that are executed before anything runs. Never: a thread, or what
//! is written afterwards (`stages::archive`).

use std::sync::Arc;

use super::kind::{Before, Kind};
use super::{ArchiveError, Archived, Store};
use crate::results::BlockResults;

/// While the disk is full, a start tries to archive what it executes after so many blocks.
const RETRY_BLOCKS: u64 = 64;

/// The newest blocks of a stream, from one height on without holes.
pub(crate) trait Ring {
    /// What is kept of them when they are passed.
    type Kind: Kind;

    /// Takes an executed block.
    fn push(&mut self, results: &BlockResults);
    /// Forgets everything: the next block comes after those of `before`.
    fn begin(&mut self, before: &<Self::Kind as Kind>::Before);
    /// Height of the oldest one here.
    fn first(&self) -> u64;
    /// Height of the one that comes next.
    fn end(&self) -> u64;
    /// What is known of all that are not here any more, if it is.
    fn before(&self) -> Option<<Self::Kind as Kind>::Before>;
    /// The one of a height.
    fn block(&self, height: u64) -> Option<&Arc<<Self::Kind as Kind>::Block>>;
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Stream<R: Ring> {
    pub(crate) ring: R,
    pub(crate) archive: Option<Store<R::Kind>>,
    /// What the threads know of the archive, also when it has failed; none where none is kept.
    pub(crate) archived: Option<Arc<Archived>>,
    /// The archive goes on from where this start began to execute.
    is_placed: bool,
}

impl<R: Ring> Stream<R> {
    /// A validator without what is older is one all the same, though no snapshot is taken then
    /// above what may be there.
    pub(crate) fn new(ring: R, opened: Option<Result<Store<R::Kind>, ArchiveError>>) -> Self {
        let archived = opened.as_ref().map(|opened| match opened {
            Ok(archive) => Arc::clone(archive.state()),
            Err(_) => Arc::new(Archived::of(R::Kind::WHAT)),
        });
        let mut stream = Self {
            ring,
            archive: None,
            archived,
            is_placed: false,
        };
        if let Some(opened) = opened {
            let opened = opened.map(|archive| stream.archive = Some(archive));
            stream.settle(opened);
        }
        stream
    }

    /// Takes what an executed block has put out, which was [placed](Self::place).
    pub(crate) fn push(&mut self, results: &BlockResults) {
        self.ring.push(results);
        let height = results.height;
        let is_level = |archive: &Store<R::Kind>| archive.end() == height;
        if height.is_multiple_of(RETRY_BLOCKS) || self.archive.as_ref().is_some_and(is_level) {
            self.catch_up();
        }
    }

    /// Archives what the ring has and the archive lacks: while the disk is full it waits there.
    fn catch_up(&mut self) {
        let Some(archive) = &mut self.archive else {
            return;
        };
        let mut done = Ok(());
        while done.is_ok() && archive.end() < self.ring.end() {
            let height = archive.end();
            let Some(block) = self.ring.block(height) else {
                let what = R::Kind::WHAT;
                tracing::error!(height, "older {what} found no room on the disk");
                return self.fail();
            };
            done = archive.append(height, block);
        }
        self.settle(done);
    }

    /// Nothing more is executed; the next block comes after those of `before`.
    pub(crate) fn finish(&mut self, before: &<R::Kind as Kind>::Before) {
        // Nothing may have been executed on a snapshot, and then nothing of it was taken in.
        self.place(before);
        self.catch_up();
        let flushed = self.archive.as_mut().map_or(Ok(()), Store::flush);
        self.settle(flushed);
    }

    /// The next block comes after those of `before`, which is known from the state.
    pub(crate) fn place(&mut self, before: &<R::Kind as Kind>::Before) {
        if std::mem::replace(&mut self.is_placed, true) {
            return;
        }
        self.ring.begin(before);
        let placed = self.archive.as_mut().map(|one| one.go_on_from(before));
        if let Some(Err(error)) = placed {
            // Where it goes on is not known then, so nothing may be appended: the next start does
            // it again, with what is here as it is.
            let (what, height) = (R::Kind::WHAT, before.height());
            tracing::error!(%error, height, "older {what} are not kept in this run");
            self.fail();
        }
    }

    fn settle(&mut self, done: Result<(), ArchiveError>) {
        let Err(error) = done else { return };
        let what = R::Kind::WHAT;
        if self.archive.is_none() || !error.is_for_want_of_room() {
            tracing::error!(%error, "older {what} are not kept in this run");
            return self.fail();
        }
        let archived = self.archived.as_ref();
        if archived.is_some_and(|archived| archived.begin_waiting()) {
            tracing::error!(%error, "the disk is full: older {what} wait for room");
        }
    }

    fn fail(&mut self) {
        self.archive = None;
        if let Some(archived) = &self.archived {
            archived.fail();
        }
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
