//! The checks of clients' signatures that the order stage asks for.
//!
//! Owns what is to be checked, and the way of doing it in bounded pieces for a replica without
//! workers. Never: on the way of a vote; a vote needs no signature, only execution does.

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_consensus::payload::{CommandView, Commands, parse_entries};
use quorate_consensus::types::{BlockId, ValidatorIndex};

use crate::auth::{Ahead, BATCH_COMMANDS, BatchCheck, Checked, CommandAuth, KeySource};
use crate::executor::FinalBlock;
use crate::lanes::commands_of_block;

/// Signatures checked in one turn at most, so that the next vote waits for no more than these: two
/// or three milliseconds, in one batch of all that waits. Clients' submissions have as many of
/// their own.
pub(crate) const CHECKS_PER_TURN: usize = BATCH_COMMANDS;
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
    waiting: VecDeque<Piece<Check>>,
    /// Final blocks that wait for their signatures, lowest first.
    held: VecDeque<Piece<Box<FinalBlock>>>,
}

/// Something of which the first `at` commands are checked.
#[derive(Debug)]
struct Piece<T> {
    of: T,
    at: usize,
    is_done: bool,
}

impl<T> Piece<T> {
    const fn new(of: T) -> Self {
        Self {
            of,
            at: 0,
            is_done: false,
        }
    }
}

/// Puts the commands of pieces, each given with how many of it are checked, into a batch until it
/// is full. How far each was walked then, and whether to its end.
fn walk<'a>(
    pieces: impl Iterator<Item = (usize, Option<Commands<'a>>)>,
    ahead: &mut Ahead<'a>,
) -> Vec<(usize, bool)> {
    let mut places = Vec::new();
    for (at, commands) in pieces {
        if ahead.is_full() {
            break;
        }
        // What is malformed is refused by whoever is to use it.
        let Some(commands) = commands else {
            places.push((at, true));
            continue;
        };
        let at = at + ahead.walk(commands.clone().skip(at), KeySource::Known);
        places.push((at, at >= commands.count()));
    }
    places
}

fn note<T>(pieces: &mut VecDeque<Piece<T>>, places: Vec<(usize, bool)>) {
    for (piece, (at, is_done)) in pieces.iter_mut().zip(places) {
        (piece.at, piece.is_done) = (at, is_done);
    }
}

impl PieceChecks {
    pub(super) fn new(auth: Arc<CommandAuth>) -> Self {
        Self {
            check: auth.batch_check(1),
            auth,
            waiting: VecDeque::new(),
            held: VecDeque::new(),
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
        }
        self.waiting.push_back(Piece::new(check));
    }

    pub(super) fn hold(&mut self, block: Box<FinalBlock>) {
        self.held.push_back(Piece::new(block));
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

    /// Checks the next `commands_max` commands that nobody has checked, of final blocks first, in
    /// one batch.
    pub(super) fn go_on(&mut self, commands_max: usize) {
        let mut ahead = Ahead::new(&self.auth, commands_max);
        let held = self.held.iter();
        let held = held.map(|piece| (piece.at, commands_of_block(&piece.of.payload).ok()));
        let held = walk(held, &mut ahead);
        let waiting = self.waiting.iter().map(|piece| {
            let commands = match &piece.of {
                Check::Block { payload, .. } => commands_of_block(payload),
                Check::Forwarded { commands, .. } => parse_entries(commands),
            };
            (piece.at, commands.ok())
        });
        let waiting = walk(waiting, &mut ahead);
        ahead.check(&mut self.check);
        note(&mut self.held, held);
        note(&mut self.waiting, waiting);
    }

    /// The next final block whose signatures are all checked.
    pub(super) fn next_executable(&mut self) -> Option<Box<FinalBlock>> {
        let block = self.held.pop_front_if(|block| block.is_done)?;
        Some(block.of)
    }

    /// The next forwarded commands that are all checked.
    pub(super) fn next_forwarded(&mut self) -> Option<CheckedForward> {
        while let Some(piece) = self.waiting.pop_front_if(|piece| piece.is_done) {
            if let Check::Forwarded { from, commands } = piece.of {
                // Each finds its verdict made.
                let (auth, check) = (&self.auth, &mut self.check);
                return Some(check_forwarded(auth, check, from, &commands));
            }
        }
        None
    }
}
