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

#[cfg(test)]
mod tests {
    use super::*;

    type Note<'a> = (u64, u8, usize, usize, &'a [u8]);

    fn hash(notes: &[Note<'_>]) -> [u8; 32] {
        let mut trace = Trace::new(false);
        for &(now_ns, kind, one, other, bytes) in notes {
            trace.note(now_ns, kind, one, other, bytes);
        }
        assert_eq!(trace.events, notes.len() as u64);
        trace.hash()
    }

    #[test]
    fn runs_that_differ_in_anything_that_happened_have_other_traces() {
        let event: Note<'_> = (7, b'o', 1, 2, b"said");
        let runs: [&[Note<'_>]; 11] = [
            &[],
            &[event],
            &[event, event],
            &[(8, b'o', 1, 2, b"said")],
            &[(7, b'p', 1, 2, b"said")],
            &[(7, b'o', 3, 2, b"said")],
            &[(7, b'o', 1, 3, b"said")],
            // Of the same length, longer, and nothing at all.
            &[(7, b'o', 1, 2, b"sand")],
            &[(7, b'o', 1, 2, b"said so")],
            &[(7, b'o', 1, 2, b"")],
            &[event, (7, b'o', 1, 2, b"sand")],
        ];
        let hashes: std::collections::BTreeSet<_> = runs.iter().map(|run| hash(run)).collect();
        assert_eq!(hashes.len(), runs.len());
        assert_eq!(hash(runs[10]), hash(runs[10]));
    }

    #[test]
    fn the_last_event_and_every_one_before_are_in_the_trace_however_long_it_is() {
        // Several times as many bytes as are hashed at once.
        let bytes = [7; 1_000];
        let all: Vec<Note<'_>> = (0..200)
            .map(|now_ns| (now_ns, b'o', 0, 1, &bytes[..]))
            .collect();
        let whole = hash(&all);
        for place in 0..all.len() {
            let mut other = all.clone();
            other[place].1 = b'p';
            assert_ne!(hash(&other), whole, "the event at {place}");
        }
        assert_ne!(hash(&all[..199]), whole);
    }

    #[test]
    fn a_hash_on_the_way_leaves_the_trace_as_it_is() {
        let mut trace = Trace::new(false);
        trace.note(1, b'o', 0, 1, b"one");
        let first = trace.hash();
        assert_eq!(trace.hash(), first);
        trace.note(2, b'o', 0, 1, b"two");
        let both = [(1, b'o', 0, 1, &b"one"[..]), (2, b'o', 0, 1, &b"two"[..])];
        assert_eq!(trace.hash(), hash(&both));
    }
}
