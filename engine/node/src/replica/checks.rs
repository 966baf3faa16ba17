//! The checks of clients' signatures that the order stage asks for.
//!
//! Owns what is to be checked, and the way of doing it in bounded pieces for a replica without
//! workers. Never: between a vote and its leaving; a vote needs no signature, only execution does.

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_consensus::payload::{CommandView, Commands, PayloadError};
use quorate_consensus::types::BlockId;

use super::forward_queue::{CheckedForward, ForwardQueue};
use super::forwards::ForwardedRun;
use crate::auth::{
    Ahead, BATCH_COMMANDS, BatchCheck, Checked, CheckedAhead, CommandAuth, KeySource, Pace, Walked,
};
use crate::executor::FinalBlock;
use crate::lanes::commands_of_block;

/// Signatures checked in one turn at most, so that the next vote waits for no more than these: two
/// or three milliseconds, in one batch of all that waits. Clients' submissions have as many of
/// their own.
pub(crate) const CHECKS_PER_TURN: usize = BATCH_COMMANDS;
/// Blocks whose check may wait while they are voted on. One more and the oldest is left out: its
/// check is made before it is executed anyway.
const WAITING_MAX: usize = 1024;
/// The same in bytes of their payloads: many blocks of the size that is aimed at.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of final blocks that may wait for their signatures while clients' submissions are still
/// taken: several batches.
const HELD_BYTES_MAX: usize = 256 * 1024;

/// What is to be checked.
#[derive(Clone, Debug)]
pub enum Check {
    /// A block that may become final, so that its execution need not wait.
    Block {
        /// Its name.
        id: BlockId,
        /// Its payload.
        payload: Arc<[u8]>,
    },
    /// Commands on their way to the pool.
    Forwarded(ForwardedRun),
}

/// Checks in pieces, for a replica whose one thread does everything.
#[derive(Debug)]
pub(super) struct PieceChecks {
    auth: Arc<CommandAuth>,
    check: BatchCheck,
    /// Final blocks that wait for their signatures, lowest first.
    held: VecDeque<Piece<FinalBlock>>,
    /// Blocks that are voted on.
    waiting: VecDeque<Piece<Arc<[u8]>>>,
    /// After all blocks: results wait for those.
    forwards: ForwardQueue,
    waiting_bytes: usize,
    held_bytes: usize,
    pace: Pace,
    /// Something has come that may be known already.
    has_new: bool,
}

/// Something of which the first commands are checked.
#[derive(Debug)]
struct Piece<T> {
    of: T,
    /// The block that it is the payload of.
    block: BlockId,
    /// How many commands are checked.
    at: usize,
    is_done: bool,
    /// One of them is not signed, as far as was looked; or something else in its batch.
    is_bad: bool,
    /// The keys of those that are checked, of a block.
    keys: Vec<[u8; 32]>,
}

/// How far a piece was walked in one turn.
struct Step {
    walked: Walked,
    is_done: bool,
}

impl<T> Piece<T> {
    const fn new(of: T, block: BlockId) -> Self {
        Self {
            of,
            block,
            at: 0,
            is_done: false,
            is_bad: false,
            keys: Vec::new(),
        }
    }

    /// Takes in what the turn brought. When that was the last of a block that is signed
    /// throughout, this need not be found out again.
    fn note(&mut self, step: Step, is_batch_good: bool, auth: &CommandAuth) {
        self.is_done = step.is_done;
        self.at += step.walked.count;
        self.is_bad |= step.walked.is_bad || !is_batch_good;
        if !self.is_bad {
            self.keys.extend(step.walked.keys);
            if step.is_done && auth.block_keys(&self.block).is_none() {
                auth.note_block(self.block, std::mem::take(&mut self.keys));
            }
        }
    }
}

/// What has commands to be checked.
trait Checkable {
    fn commands(&self) -> Result<Commands<'_>, PayloadError>;
}

impl Checkable for Arc<[u8]> {
    fn commands(&self) -> Result<Commands<'_>, PayloadError> {
        commands_of_block(self)
    }
}

impl Checkable for FinalBlock {
    fn commands(&self) -> Result<Commands<'_>, PayloadError> {
        commands_of_block(&self.payload)
    }
}

/// Puts the commands of pieces into a batch until it is full; how far each was walked then.
fn walk<'a, T: Checkable>(
    pieces: &'a VecDeque<Piece<T>>,
    ahead: &mut Ahead<'a>,
    auth: &CommandAuth,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for piece in pieces {
        if ahead.is_full() {
            break;
        }
        let is_known = auth.block_keys(&piece.block).is_some();
        // What is malformed is refused by whoever is to use it.
        let commands = piece.of.commands().ok().filter(|_| !is_known);
        let Some(commands) = commands else {
            let walked = Walked {
                is_bad: !is_known,
                ..Walked::default()
            };
            let is_done = true;
            steps.push(Step { walked, is_done });
            continue;
        };
        let left = commands.enumerate().skip(piece.at);
        let walked = ahead.walk_block(&piece.block, left);
        let is_done = !ahead.is_full();
        steps.push(Step { walked, is_done });
    }
    steps
}

impl PieceChecks {
    pub(super) fn new(auth: Arc<CommandAuth>) -> Self {
        Self {
            check: auth.batch_check(1),
            auth,
            held: VecDeque::new(),
            waiting: VecDeque::new(),
            forwards: ForwardQueue::default(),
            waiting_bytes: 0,
            held_bytes: 0,
            pace: Pace::default(),
            has_new: false,
        }
    }

    pub(super) fn is_signed(&self) -> bool {
        self.auth.is_signed()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.held.is_empty() && self.forwards.is_empty()
    }

    /// Whether so many final blocks wait for their signatures that no more load should come in.
    pub(super) fn is_behind(&self) -> bool {
        self.held_bytes > HELD_BYTES_MAX
    }

    pub(super) fn ask(&mut self, check: Check) {
        self.has_new = true;
        match check {
            Check::Block { id, payload } => {
                self.waiting_bytes += payload.len();
                self.waiting.push_back(Piece::new(payload, id));
                while self.waiting.len() > WAITING_MAX || self.waiting_bytes > WAITING_BYTES_MAX {
                    self.pop_waiting(|_| true);
                }
            }
            Check::Forwarded(run) => self.forwards.push(run),
        }
    }

    pub(super) fn hold(&mut self, block: FinalBlock) {
        self.held_bytes += block.payload.len();
        let id = block.id;
        self.held.push_back(Piece::new(block, id));
        self.has_new = true;
    }

    /// Whether a client's submission is signed throughout, each by `key`.
    pub(super) fn check_submission(&mut self, key: KeySource, entries: &[u8]) -> Vec<Checked> {
        let mut all = Vec::new();
        let on = |_: &CommandView<'_>, checked| all.push(checked);
        // What is no run of entries is refused by the pool.
        self.auth
            .check_run(entries, key, &mut self.check, on)
            .unwrap_or_default();
        all
    }

    /// Checks the next batch if it is time for it; what came since and is known to be checked goes
    /// on anyway.
    pub(super) fn turn(&mut self, now_ns: u64) {
        let is_due = !self.is_idle() && self.pace.is_due(now_ns, self.bytes());
        // To walk over what waits in each turn would cost as much as to check some of it.
        let is_news = std::mem::take(&mut self.has_new);
        if is_due || is_news {
            let checked = self.go_on(if is_due { CHECKS_PER_TURN } else { 0 });
            let ended_ns = now_ns.saturating_add(checked.took_ns);
            self.pace.note(ended_ns, checked);
        }
    }

    const fn bytes(&self) -> usize {
        self.waiting_bytes + self.held_bytes + self.forwards.bytes()
    }

    /// When the next turn is due at latest, by the monotonic clock.
    pub(super) fn deadline_ns(&self) -> u64 {
        if self.is_idle() {
            return u64::MAX;
        }
        self.pace.deadline_ns(self.bytes())
    }

    /// Checks the next `commands_max` commands that nobody has checked, of final blocks first, in
    /// one batch; says what came of it.
    fn go_on(&mut self, commands_max: usize) -> CheckedAhead {
        let mut ahead = Ahead::new(&self.auth, commands_max);
        let held = walk(&self.held, &mut ahead, &self.auth);
        let waiting = walk(&self.waiting, &mut ahead, &self.auth);
        let forwards = self.forwards.walk(&mut ahead, commands_max);
        let checked = ahead.check(&mut self.check);
        for (piece, step) in self.held.iter_mut().zip(held) {
            piece.note(step, checked.is_good, &self.auth);
        }
        for (piece, step) in self.waiting.iter_mut().zip(waiting) {
            piece.note(step, checked.is_good, &self.auth);
        }
        while self.pop_waiting(|piece| piece.is_done) {}
        let (auth, check) = (&self.auth, &mut self.check);
        self.forwards.note(&forwards, checked, auth, check);
        checked
    }

    /// The next final block whose signatures are all checked.
    pub(super) fn next_executable(&mut self) -> Option<FinalBlock> {
        let block = self.held.pop_front_if(|block| block.is_done)?;
        self.held_bytes -= block.of.payload.len();
        Some(block.of)
    }

    /// Forgets the oldest block that is voted on if it is such a one; whether it was.
    fn pop_waiting(&mut self, is_it: impl FnOnce(&Piece<Arc<[u8]>>) -> bool) -> bool {
        let piece = self.waiting.pop_front_if(|piece| is_it(piece));
        self.waiting_bytes -= piece.as_ref().map_or(0, |piece| piece.of.len());
        piece.is_some()
    }

    /// The next forwarded commands that are all checked.
    pub(super) fn next_forwarded(&mut self) -> Option<CheckedForward> {
        self.forwards.next()
    }
}

#[cfg(test)]
mod tests;
