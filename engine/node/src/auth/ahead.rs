//! One batch of signatures out of much that waits: several blocks, several submissions.
//!
//! Owns the batch in the making. A signature alone costs several times what it costs in a large
//! batch, and blocks and submissions are small when the wire is fast; so what waits is walked
//! first, what nobody has checked yet goes into one batch, and each block then finds its verdicts
//! made. Never: decides what is walked, or what follows from a verdict.

use foldhash::fast::RandomState;
use std::collections::HashSet;

use quorate_consensus::payload::CommandView;
use quorate_consensus::verify::SignatureCheck;

use super::names::Name;
use super::{CommandAuth, KeySource};
use crate::state_machine::SessionMap;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ahead<'a> {
    auth: &'a CommandAuth,
    commands: Vec<(CommandView<'a>, [u8; 32])>,
    names: Vec<Name>,
    /// The same names: a command may stand in a block and be forwarded besides.
    has: HashSet<Name, RandomState>,
    /// Keys that come in the same batch.
    opening: SessionMap<[u8; 32]>,
    commands_max: usize,
    /// Commands that may still be walked over: one that is known costs its hash as well.
    walks_left: usize,
    /// One that is not known has found no room.
    is_full: bool,
}

/// What was walked over.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// How many.
    pub(crate) count: usize,
    /// The key of each, of those that have one.
    pub(crate) keys: Vec<[u8; 32]>,
    /// One has no key, or was found not to be signed by it.
    pub(crate) is_bad: bool,
}

/// What came of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckedAhead {
    /// Signatures checked.
    pub(crate) count: usize,
    /// None of them is bad.
    pub(crate) is_good: bool,
    /// What that took, nanoseconds; what else had the processor meanwhile is in it.
    pub(crate) took_ns: u64,
}

/// What a signature is taken to cost where nothing measures it.
const CHECK_NS: u64 = 20_000;
/// Commands walked over for each that may be checked, at most.
const WALKS_PER_CHECK: usize = 16;

impl<'a> Ahead<'a> {
    /// A batch of at most `commands_max` commands that are not checked yet; with 0 those that are
    /// known already are found so.
    pub(crate) fn new(auth: &'a CommandAuth, commands_max: usize) -> Self {
        Self {
            auth,
            commands: Vec::new(),
            names: Vec::new(),
            has: HashSet::default(),
            opening: SessionMap::default(),
            commands_max,
            walks_left: commands_max.max(1).saturating_mul(WALKS_PER_CHECK),
            is_full: false,
        }
    }

    /// Whether it takes nothing more.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full || self.walks_left == 0
    }

    /// Walks over `views` until the batch is full. All that were walked over are checked once
    /// [`Self::check`] has run, but for those whose key nobody knows.
    pub(crate) fn walk(
        &mut self,
        views: impl Iterator<Item = CommandView<'a>>,
        source: KeySource,
    ) -> Walked {
        let mut walked = Walked::default();
        for view in views {
            if self.walks_left == 0 {
                break;
            }
            let key = self.auth.key_for(&view, source, &mut self.opening);
            if let Some(key) = key {
                let name = self.auth.found.names.of(&key, view.entry);
                match self.auth.verdict(&name) {
                    Some(is_good) => walked.is_bad |= !is_good,
                    None if self.has.contains(&name) => {}
                    None if self.commands.len() >= self.commands_max => {
                        self.is_full = true;
                        break;
                    }
                    None => {
                        self.has.insert(name);
                        self.names.push(name);
                        self.commands.push((view, key));
                    }
                }
            }
            walked.is_bad |= key.is_none();
            walked.keys.extend(key);
            walked.count += 1;
            self.walks_left -= 1;
        }
        walked
    }

    /// Checks what was collected and keeps the verdicts where everybody looks for them.
    pub(crate) fn check(self, check: &mut impl SignatureCheck) -> CheckedAhead {
        let began_ns = self.auth.stopwatch_ns();
        let count = self.commands.len();
        let places: Vec<usize> = (0..count).collect();
        let (commands, names) = (&self.commands, &self.names);
        let verdicts = self.auth.check_named(commands, names, &places, check);
        self.auth.announce(commands, &verdicts);
        let is_good = verdicts.iter().all(|verdict| *verdict);
        let took_ns = match (began_ns, self.auth.stopwatch_ns()) {
            (Some(began_ns), Some(ended_ns)) => ended_ns.saturating_sub(began_ns),
            _ => CHECK_NS.saturating_mul(count as u64),
        };
        CheckedAhead {
            count,
            is_good,
            took_ns,
        }
    }
}
