//! When snapshots were being taken, and what clients and the application saw of it.
//!
//! Owns the watching of the folders of snapshots from outside, and the arithmetic on what clients
//! and validators wrote down. Never: judges a time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use quorate::trace::{Dump, Moment};

use crate::load::Trip;

/// A stretch of a run on the machine's monotonic clock, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its begin.
    pub from_ns: u64,
    /// Its end.
    pub until_ns: u64,
}

impl Span {
    /// How long it is, nanoseconds.
    #[must_use]
    pub const fn length_ns(self) -> u64 {
        self.until_ns.saturating_sub(self.from_ns)
    }

    fn holds(self, at_ns: u64) -> bool {
        (self.from_ns..self.until_ns).contains(&at_ns)
    }
}

/// Whether a moment is in one of some spans.
#[must_use]
pub fn is_in(spans: &[Span], at_ns: u64) -> bool {
    spans.iter().any(|span| span.holds(at_ns))
}

/// When the files of one snapshot of one validator were there, on the machine's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taking {
    /// Its data is being written.
    pub begun_ns: Option<u64>,
    /// It is one.
    pub taken_ns: Option<u64>,
    /// Bytes of its data.
    pub bytes: u64,
}

/// Looks again and again into the folders of snapshots.
#[derive(Debug)]
pub struct Watch {
    folders: Vec<PathBuf>,
    /// By height and validator.
    takings: BTreeMap<(u64, usize), Taking>,
}

impl Watch {
    /// Over the folders of all validators, in order.
    #[must_use]
    pub const fn new(folders: Vec<PathBuf>) -> Self {
        Self {
            folders,
            takings: BTreeMap::new(),
        }
    }

    /// Looks once; `now_ns` is what the machine's clock says.
    pub fn look(&mut self, now_ns: u64) {
        for (validator, folder) in self.folders.iter().enumerate() {
            // There is none before the first snapshot.
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let Some((height, ending)) = name.to_str().and_then(parts) else {
                    continue;
                };
                let taking = self.takings.entry((height, validator)).or_default();
                match ending {
                    "data.new" => taking.begun_ns = taking.begun_ns.or(Some(now_ns)),
                    "data" => taking.bytes = entry.metadata().map_or(0, |data| data.len()),
                    "manifest" => taking.taken_ns = taking.taken_ns.or(Some(now_ns)),
                    _ => continue,
                }
            }
        }
    }

    /// What was seen of each snapshot, by height and validator.
    #[must_use]
    pub const fn takings(&self) -> &BTreeMap<(u64, usize), Taking> {
        &self.takings
    }

    /// How long each took that was seen from its begin to its end, nanoseconds.
    #[must_use]
    pub fn lengths_ns(&self) -> Vec<u64> {
        let ended = |one: &Taking| Some(one.taken_ns?.saturating_sub(one.begun_ns?));
        self.takings.values().filter_map(ended).collect()
    }

    /// The stretches in which a snapshot was being taken at any validator: from the first result at
    /// its height, since then the shadow reads on, to the last validator's snapshot, or to
    /// `end_ns` where one was not taken by then. `trips` are of a run whose clock began at
    /// `start_ns`.
    #[must_use]
    pub fn spans(&self, trips: &[Trip], start_ns: u64, end_ns: u64) -> Vec<Span> {
        let mut spans: BTreeMap<u64, Span> = BTreeMap::new();
        for (&(height, _), taking) in &self.takings {
            let Some(seen_ns) = taking.begun_ns.or(taking.taken_ns) else {
                continue;
            };
            let until_ns = taking.taken_ns.unwrap_or(end_ns);
            let span = spans.entry(height).or_insert(Span {
                from_ns: seen_ns,
                until_ns,
            });
            span.from_ns = span.from_ns.min(seen_ns);
            span.until_ns = span.until_ns.max(until_ns);
        }
        for (&height, span) in &mut spans {
            let due = trips.iter().filter(|trip| trip.height >= height);
            if let Some(due_ns) = due.map(|trip| start_ns + trip.result_ns).min() {
                span.from_ns = span.from_ns.min(due_ns);
            }
        }
        merged(spans.into_values().collect())
    }
}

fn parts(name: &str) -> Option<(u64, &str)> {
    let (digits, ending) = name.strip_prefix("snapshot-")?.split_once('.')?;
    Some((digits.parse().ok()?, ending))
}

/// The same moments in spans that do not touch.
fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(|span| span.from_ns);
    let mut whole: Vec<Span> = Vec::new();
    for span in spans {
        match whole.last_mut() {
            Some(last) if span.from_ns <= last.until_ns => {
                last.until_ns = last.until_ns.max(span.until_ns);
            }
            _ => whole.push(span),
        }
    }
    whole
}

/// What is left of one span between others that do not touch.
#[must_use]
pub fn between(whole: Span, spans: &[Span]) -> Vec<Span> {
    let mut from_ns = whole.from_ns;
    let mut rest = Vec::new();
    let end = Span {
        from_ns: whole.until_ns,
        until_ns: whole.until_ns,
    };
    for span in spans.iter().chain([&end]) {
        let until_ns = span.from_ns.min(whole.until_ns);
        if until_ns > from_ns {
            rest.push(Span { from_ns, until_ns });
        }
        from_ns = from_ns.max(span.until_ns);
    }
    rest
}

/// How long the application stood before a block that it could execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When the block was executed, on the machine's clock.
    pub at_ns: u64,
    /// Since it was final here and all below it were executed, nanoseconds: the execution itself
    /// is in it.
    pub pause_ns: u64,
    /// The execution alone, nanoseconds.
    pub execution_ns: u64,
}

/// Of every block that a validator executed, by its stamps. Those whose finality is not among them
/// are left out; [`unstamped`] counts those.
#[must_use]
pub fn pauses(dump: &Dump) -> Vec<Pause> {
    let stamps = || dump.stamps.iter();
    let finals = stamps().filter(|stamp| stamp.moment == Moment::Final);
    let finals: BTreeMap<u64, u64> = finals.map(|stamp| (stamp.height, stamp.at_ns)).collect();
    let executed = stamps().filter(|stamp| stamp.moment == Moment::Executed);
    let mut executed: Vec<_> = executed.collect();
    executed.sort_by_key(|stamp| stamp.at_ns);
    let mut last_ns = 0;
    let mut found = Vec::new();
    for stamp in executed {
        if let Some(&final_ns) = finals.get(&stamp.height) {
            found.push(Pause {
                at_ns: dump.base_ns + stamp.at_ns,
                pause_ns: stamp.at_ns.saturating_sub(final_ns.max(last_ns)),
                execution_ns: stamp.told_ns,
            });
        }
        last_ns = stamp.at_ns;
    }
    found
}

/// Blocks of these heights that a validator executed, and whose [`Pause`] is not known: its stamps
/// went for newer ones. Those above the last one of which it tells it may not have executed yet;
/// one that tells of none at all has executed all.
#[must_use]
pub fn unstamped(dump: &Dump, heights: RangeInclusive<u64>) -> u64 {
    let of = |moment| {
        let stamps = dump.stamps.iter().filter(move |one| one.moment == moment);
        stamps.map(|stamp| stamp.height).collect::<BTreeSet<u64>>()
    };
    let (finals, executed) = (of(Moment::Final), of(Moment::Executed));
    let last = executed.last().unwrap_or_else(|| heights.end());
    let heights = *heights.start()..=*heights.end().min(last);
    let known = executed.intersection(&finals);
    let known = known.filter(|height| heights.contains(height)).count() as u64;
    (heights.end() + 1)
        .saturating_sub(*heights.start())
        .saturating_sub(known)
}

#[cfg(test)]
#[path = "snapshots_tests.rs"]
mod tests;
