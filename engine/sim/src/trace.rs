//! What happened, as one hash; and as text for whoever replays a run.
//!
//! Owns the running hash over every event of a run. Two runs of one seed must have the same.
//! Never: influences a run.

use std::fmt::Arguments;
use std::io::Write as _;

/// The trace of one run.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    is_told: bool,
    pub(crate) events: u64,
}

impl Trace {
    /// A trace that also tells standard error what happens, when `is_told`.
    pub(crate) fn new(is_told: bool) -> Self {
        Self {
            is_told,
            ..Self::default()
        }
    }

    /// Notes an event with everything that tells it from another.
    pub(crate) fn note(&mut self, now_ns: u64, kind: u8, one: usize, other: usize, bytes: &[u8]) {
        self.events += 1;
        let mut head = [0; 25];
        head[0] = kind;
        head[1..9].copy_from_slice(&now_ns.to_le_bytes());
        head[9..17].copy_from_slice(&(one as u64).to_le_bytes());
        head[17..25].copy_from_slice(&(other as u64).to_le_bytes());
        self.hasher.update(&head);
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }

    /// Whether somebody reads along.
    pub(crate) const fn is_told(&self) -> bool {
        self.is_told
    }

    /// Tells a line, if somebody reads along.
    pub(crate) fn tell(&self, now_ns: u64, line: Arguments<'_>) {
        if self.is_told {
            let at_us = now_ns / 1_000;
            // Standard error may be closed; the run goes on all the same.
            writeln!(std::io::stderr().lock(), "{at_us:>10} us  {line}").ok();
        }
    }

    /// The hash so far.
    pub(crate) fn hash(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }
}
