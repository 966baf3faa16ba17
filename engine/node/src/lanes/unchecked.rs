//! Commands of blocks for which nothing vouches yet, in a chain whose commands are signed.
//!
//! Owns those on their way to the check of their signatures: a block may hold what its session's
//! key has not signed, and a pool that took it in would refuse the client its own command of that
//! number, and propose what does nothing. Never: checks; whoever owns the pool takes them to where
//! that is done, and brings back those that are good.

use std::collections::HashSet;
use std::sync::Arc;

use quorate_consensus::limits::FORWARD_BYTES_MAX;
use quorate_consensus::payload::{CommandView, PayloadError, parse_entries};

use super::pool::Lanes;
use super::queue::Origin;
use crate::state_machine::SessionId;

/// Bytes on their way at most, as of commands of one block and of those above it. What finds no
/// room is left to the validators and clients that have it.
const BYTES_MAX: usize = 4 * FORWARD_BYTES_MAX;

/// Commands on their way, in runs that each fit one check.
#[derive(Debug, Default)]
pub(super) struct Unchecked {
    /// Not handed over yet.
    runs: Vec<Vec<u8>>,
    /// BLAKE3 of each entry that is handed over, or will be, and has not been answered: blocks that
    /// are corrected one after the other name the same ones again.
    asked: HashSet<[u8; 32]>,
    /// Of those.
    bytes: usize,
}

impl Unchecked {
    fn push(&mut self, entry: &[u8]) {
        let is_room = self.bytes.saturating_add(entry.len()) <= BYTES_MAX;
        if !is_room || !self.asked.insert(*blake3::hash(entry).as_bytes()) {
            return;
        }
        self.bytes += entry.len();
        match self.runs.last_mut() {
            Some(run) if run.len() + entry.len() <= FORWARD_BYTES_MAX => {
                run.extend_from_slice(entry);
            }
            _ => self.runs.push(entry.to_vec()),
        }
    }

    fn answered(&mut self, entry: &[u8]) {
        if self.asked.remove(blake3::hash(entry).as_bytes()) {
            self.bytes -= entry.len();
        }
    }
}

impl Lanes {
    /// Keeps a command of a block that may be given up, or was executed otherwise than it seemed;
    /// at once where commands are not signed.
    pub(super) fn take_of_block(&mut self, now_ns: u64, view: &CommandView<'_>) {
        if !self.config.is_signed {
            self.take_over(now_ns, view, Origin::Block);
        } else if !self.has(view) {
            self.unchecked.push(view.entry);
        }
    }

    /// Whether this very command is held, or another one with its number is final.
    fn has(&self, view: &CommandView<'_>) -> bool {
        let Some(slot) = self.places.get(&SessionId(*view.session)) else {
            return false;
        };
        let session = &self.sessions[slot as usize];
        let held = session.command(view.seq);
        (session.is_open && view.seq <= session.last_seq)
            || held.is_some_and(|held| *held.entry == *view.entry)
    }

    /// The commands of blocks whose signatures are to be checked before they are kept, in runs of
    /// entries; those that are good come back by [`take_checked`](Self::take_checked).
    pub fn take_unchecked(&mut self) -> impl Iterator<Item = Arc<[u8]>> + use<> {
        let runs = std::mem::take(&mut self.unchecked.runs);
        runs.into_iter().map(Arc::from)
    }

    /// Keeps commands of blocks that their clients have signed: those of the run `asked` that are
    /// good.
    ///
    /// # Errors
    /// When the bytes are no run of entries: nothing of them is taken.
    pub fn take_checked(
        &mut self,
        now_ns: u64,
        asked: &[u8],
        good: &[u8],
    ) -> Result<(), PayloadError> {
        for view in parse_entries(asked)? {
            self.unchecked.answered(view.entry);
        }
        for view in parse_entries(good)? {
            self.take_over(now_ns, &view, Origin::Block);
        }
        Ok(())
    }
}
