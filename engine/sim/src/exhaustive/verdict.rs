//! What came of exploring one world.

use std::collections::BTreeMap;

use super::facts::Fault;

/// Examples kept of each kind of fault.
const EXAMPLES_MAX: u64 = 2;

/// A world's verdict, as it grows.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    /// States before reduction, or profiles.
    pub(super) states: u64,
    /// States that were looked at.
    pub(super) distinct: u64,
    /// What must never be, by kind.
    pub(super) violations: BTreeMap<Fault, u64>,
    /// States at rest that hand nothing on.
    pub(super) stuck: u64,
    /// What was found, told.
    pub(super) examples: Vec<String>,
}

impl Verdict {
    pub(super) fn violate(&mut self, fault: Fault, tell: impl FnOnce() -> String) {
        let count = self.violations.entry(fault).or_default();
        *count += 1;
        if *count <= EXAMPLES_MAX {
            self.examples.push(format!("{fault}: {}", tell()));
        }
    }

    pub(super) fn note_stuck(&mut self, tell: impl FnOnce() -> String) {
        self.stuck += 1;
        if self.stuck <= EXAMPLES_MAX {
            self.examples.push(format!("stuck: {}", tell()));
        }
    }

    pub(super) fn violation_count(&self) -> u64 {
        self.violations.values().sum()
    }

    /// Whether so much is wrong already.
    pub(super) fn has_found(&self, faults_max: u64) -> bool {
        self.violation_count() + self.stuck >= faults_max
    }

    pub(super) fn join(&mut self, other: Self) {
        self.states += other.states;
        self.distinct += other.distinct;
        self.stuck += other.stuck;
        for (fault, count) in other.violations {
            *self.violations.entry(fault).or_default() += count;
        }
        self.examples.extend(other.examples);
    }
}
