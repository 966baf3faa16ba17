//! The checks of clients' signatures that the order stage asks for.
//!
//! Owns what is to be checked, and the way of doing it in bounded pieces for a replica without
//! workers. Never: on the way of a vote; a vote needs no signature, only execution does.

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_consensus::payload::{CommandView, parse_entries};
use quorate_consensus::types::{BlockId, ValidatorIndex};

use crate::auth::{BatchCheck, Checked, CommandAuth, KeySource};
use crate::executor::FinalBlock;
use crate::lanes::commands_of_block;

/// Signatures checked in one turn at most, so that the next vote waits for no more than these.
pub(crate) const CHECKS_PER_TURN: usize = 64;
/// Checks that may wait. One more and the oldest is left out: a block's is made before it is
/// executed anyway, and what a peer forwarded comes again.
const WAITING_MAX: usize = 1024;

/// Final blocks that may wait for their signatures while clients' submissions are still taken.
const HELD_MAX: usize = 4;

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
    /// Commands that a peer forwarded, before they enter the pool.
    Forwarded {
        /// The peer.
        from: ValidatorIndex,
        /// A run of entries.
        commands: Arc<[u8]>,
    },
}

/// Forwarded commands whose signatures are good.
#[derive(Debug)]
pub(crate) struct CheckedForward {
    pub(crate) from: ValidatorIndex,
    /// A run of entries; what cannot be parsed stands here as it came.
    pub(crate) commands: Vec<u8>,
    /// How many were left out because their signature is not good.
    pub(crate) refused: u64,
}

/// Keeps the commands of a forwarded run that are signed. One whose session is not known here is
/// left out: its opening has not come, and the peer sends both again.
pub(crate) fn check_forwarded(
    auth: &CommandAuth,
    check: &mut BatchCheck,
    from: ValidatorIndex,
    entries: &[u8],
) -> CheckedForward {
    let mut commands = Vec::with_capacity(entries.len());
    let mut refused = 0;
    let keep = |view: &CommandView<'_>, checked| match checked {
        Checked::Good => commands.extend_from_slice(view.entry),
        Checked::Bad => refused += 1,
        Checked::Unknown => {}
    };
    if auth
        .check_run(entries, KeySource::Known, check, keep)
        .is_err()
    {
        commands = entries.to_vec();
    }
    CheckedForward {
        from,
        commands,
        refused,
    }
}

/// Checks in pieces, for a replica whose one thread does everything.
#[derive(Debug)]
pub(super) struct PieceChecks {
    auth: Arc<CommandAuth>,
    check: BatchCheck,
    waiting: VecDeque<Check>,
    /// Commands of the first waiting block that are checked.
    waiting_at: usize,
    /// Final blocks that wait for their signatures, lowest first.
    held: VecDeque<Box<FinalBlock>>,
    /// Commands of the first of them that are checked.
    held_at: usize,
}

impl PieceChecks {
    pub(super) fn new(auth: Arc<CommandAuth>) -> Self {
        Self {
            check: auth.batch_check(1),
            auth,
            waiting: VecDeque::new(),
            waiting_at: 0,
            held: VecDeque::new(),
            held_at: 0,
        }
    }

    pub(super) fn is_signed(&self) -> bool {
        self.auth.is_signed()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.held.is_empty()
    }

    /// Whether so many final blocks wait for their signatures that no more load should come in.
    pub(super) fn is_behind(&self) -> bool {
        self.held.len() > HELD_MAX
    }

    pub(super) fn ask(&mut self, check: Check) {
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
            self.waiting_at = 0;
        }
        self.waiting.push_back(check);
    }

    pub(super) fn hold(&mut self, block: Box<FinalBlock>) {
        self.held.push_back(block);
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

    /// Goes on with the final blocks; gives the next one whose signatures are all checked. What is
    /// left of `budget` is for other checks.
    pub(super) fn next_executable(&mut self, budget: &mut usize) -> Option<Box<FinalBlock>> {
        let block = self.held.front()?;
        if !check_piece(
            &self.auth,
            &mut self.check,
            &block.payload,
            &mut self.held_at,
            budget,
        ) {
            return None;
        }
        self.held_at = 0;
        self.held.pop_front()
    }

    /// Goes on with what is to be checked besides; forwarded commands come out.
    pub(super) fn go_on(&mut self, budget: &mut usize, forwarded: &mut Vec<CheckedForward>) {
        while *budget > 0
            && let Some(check) = self.waiting.front()
        {
            match check {
                Check::Block { payload, .. } => {
                    let at = &mut self.waiting_at;
                    if !check_piece(&self.auth, &mut self.check, payload, at, budget) {
                        return;
                    }
                }
                Check::Forwarded { from, commands } => {
                    // A run is at most a frame long and is checked as a whole.
                    let count = parse_entries(commands).map_or(0, Iterator::count);
                    *budget = budget.saturating_sub(count);
                    let (auth, check) = (&self.auth, &mut self.check);
                    forwarded.push(check_forwarded(auth, check, *from, commands));
                }
            }
            self.waiting_at = 0;
            self.waiting.pop_front();
        }
    }
}

/// Checks the next commands of a block, within `budget`; whether all are checked now.
fn check_piece(
    auth: &CommandAuth,
    check: &mut BatchCheck,
    payload: &[u8],
    at: &mut usize,
    budget: &mut usize,
) -> bool {
    // A malformed block is refused at its execution, which ends this validator.
    let Ok(commands) = commands_of_block(payload) else {
        return true;
    };
    let mut done = 0;
    let piece = commands.clone().skip(*at).take(*budget);
    auth.check_part(piece, KeySource::Known, check, |_, _| done += 1);
    *budget -= done;
    *at += done;
    *at >= commands.count()
}
