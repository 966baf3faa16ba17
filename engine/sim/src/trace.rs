//! What happened, as one hash; and as text for whoever replays a run.
//!
//! Owns the running hash over every event of a run. Two runs of one seed must have the same.
//! Never: influences a run.

use std::fmt::Arguments;
use std::io::Write as _;

/// So many bytes are hashed at once.
const PENDING_BYTES: usize = 64 * 1024;

/// The trace of one run.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    /// What is hashed next: the hash is several times faster over many bytes at once.
    pending: Vec<u8>,
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
        self.pending.push(kind);
        for number in [now_ns, one as u64, other as u64, bytes.len() as u64] {
            self.pending.extend_from_slice(&number.to_le_bytes());
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= PENDING_BYTES {
            self.hasher.update(&self.pending);
            self.pending.clear();
        }
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
        let mut hasher = self.hasher.clone();
        *hasher.update(&self.pending).finalize().as_bytes()
    }
}
