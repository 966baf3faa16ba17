//! One batch of signatures out of much that waits: several blocks, several submissions.
//!
//! Owns the batch in the making. A signature alone costs several times what it costs in a large
//! batch, and blocks and submissions are small when the wire is fast; so what waits is walked
//! first, what nobody has checked yet goes into one batch, and each block then finds its verdicts
//! made. Never: decides what is walked, or what follows from a verdict.

use foldhash::fast::RandomState;
use std::collections::HashSet;

use quorate_consensus::payload::CommandView;
use quorate_consensus::types::BlockId;
use quorate_consensus::verify::{Abscissa, SignatureCheck};

use super::names::Name;
use super::{CommandAuth, KeySource};
use crate::state_machine::SessionMap;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ahead<'a> {
    auth: &'a CommandAuth,
    commands: Vec<(CommandView<'a>, [u8; 32])>,
    names: Vec<Name>,
    /// What is said of each one's signature.
    told: Vec<Option<Abscissa>>,
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
/// Verdicts looked up together, at most.
const LOOKUPS_MAX: usize = 32;

impl<'a> Ahead<'a> {
    /// A batch of at most `commands_max` commands that are not checked yet; with 0 those that are
    /// known already are found so.
    pub(crate) fn new(auth: &'a CommandAuth, commands_max: usize) -> Self {
        Self {
            auth,
            commands: Vec::new(),
            names: Vec::new(),
            told: Vec::new(),
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
        self.walk_told(views.map(|view| (view, None)), source)
    }

    /// Walks over commands of a block, each with its place there, with what is said of its
    /// signatures.
    pub(crate) fn walk_block(
        &mut self,
        id: &BlockId,
        views: impl Iterator<Item = (usize, CommandView<'a>)>,
    ) -> Walked {
        let told = self.auth.found.abscissas.told_of(id);
        let of = |place| told.as_ref().and_then(|told| told.at(place));
        let views = views.map(|(place, view)| (view, of(place)));
        self.walk_told(views, KeySource::Known)
    }

    fn walk_told(
        &mut self,
        mut views: impl Iterator<Item = (CommandView<'a>, Option<Abscissa>)>,
        source: KeySource,
    ) -> Walked {
        let mut walked = Walked::default();
        let (mut few, mut names) = (Vec::new(), Vec::new());
        while self.walks_left > 0 {
            // One is looked at beyond the room, and finds the batch full.
            let room = self.commands_max.saturating_sub(self.commands.len()) + 1;
            let lookups = room.min(LOOKUPS_MAX).min(self.walks_left);
            for (view, abscissa) in views.by_ref().take(lookups) {
                let key = self.auth.key_for(&view, source, &mut self.opening);
                let name = |key| self.auth.found.names.of(key, view.entry);
                names.push(key.as_ref().map_or_else(Name::default, name));
                few.push((view, key, abscissa));
            }
            if few.is_empty() {
                break;
            }
            let verdicts = self.auth.verdicts(&names).into_iter();
            let named = names.drain(..).zip(verdicts);
            for ((view, key, abscissa), (name, verdict)) in few.drain(..).zip(named) {
                let is_taken = match (key, verdict) {
                    (Some(key), None) => self.take(view, key, name, abscissa),
                    (_, verdict) => {
                        walked.is_bad |= key.is_none() || verdict == Some(false);
                        true
                    }
                };
                if !is_taken {
                    return walked;
                }
                walked.keys.extend(key);
                walked.count += 1;
                self.walks_left -= 1;
            }
        }
        walked
    }

    /// Whether a command that nobody has checked is in the batch now.
    fn take(
        &mut self,
        view: CommandView<'a>,
        key: [u8; 32],
        name: Name,
        abscissa: Option<Abscissa>,
    ) -> bool {
        if self.has.contains(&name) {
            return true;
        }
        if self.commands.len() >= self.commands_max {
            self.is_full = true;
            return false;
        }
        self.has.insert(name);
        self.names.push(name);
        self.told.push(abscissa);
        self.commands.push((view, key));
        true
    }

    /// Checks what was collected and keeps the verdicts where everybody looks for them.
    pub(crate) fn check(self, check: &mut impl SignatureCheck) -> CheckedAhead {
        let began_ns = self.auth.stopwatch_ns();
        let count = self.commands.len();
        let places: Vec<usize> = (0..count).collect();
        let (commands, names) = (&self.commands, &self.names);
        let verdicts = self
            .auth
            .check_named(commands, names, &self.told, &places, check);
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
