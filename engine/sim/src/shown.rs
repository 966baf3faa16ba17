//! What a sweep has shown, apart from what went wrong in it.
//!
//! Owns the sum of what pieces of one sweep have shown, and what is asked of it: a piece is too
//! short to show everything, and all of them together are not. Never: runs anything.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::byzantine::{ActorCounts, Byzantine, ByzantineCounts};
use crate::counts::FaultCounts;
use crate::reached::Reached;
use crate::run::Summary;
use crate::script::Scenario;

/// What happened in the runs of a sweep, as its report has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// What happened of all that can.
    pub reached: Reached,
    /// Faults that hit somebody honest; of frames, those of all links.
    pub faults: FaultCounts,
    /// What was seen of Byzantine validators, by what they play.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub actors: BTreeMap<Cow<'static, str>, ActorCounts>,
}

impl Shown {
    /// Adds what another piece of the sweep has shown.
    pub fn add(&mut self, other: &Self) {
        self.reached.add(&other.reached);
        self.faults.add(&other.faults);
        for (name, counts) in &other.actors {
            self.actors.entry(name.clone()).or_default().add(counts);
        }
    }

    /// What never happened of all that a long sweep of this kind has to show.
    #[must_use]
    pub fn unreached(&self, scenario: Scenario, byzantine: &Byzantine) -> Vec<&'static str> {
        self.reached.missing(&self.faults, scenario, byzantine)
    }

    /// What those that were played often never did of all that they are for.
    #[must_use]
    pub fn inert(&self, scenario: Scenario) -> Vec<String> {
        let counts = ByzantineCounts {
            actors: self.actors.clone(),
            ..ByzantineCounts::default()
        };
        counts.inert(scenario)
    }
}

impl Summary {
    /// What of the report can be added to that of other seeds.
    #[must_use]
    pub fn shown(&self) -> Shown {
        Shown {
            reached: self.reached.clone(),
            faults: self.faults,
            actors: self.byzantine.actors.clone(),
        }
    }
}
