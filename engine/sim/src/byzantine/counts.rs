//! What was seen of Byzantine validators, by the name of what they play.
//!
//! Owns plain numbers.

use std::collections::BTreeMap;

use serde::Serialize;

/// What was seen of one kind of actor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ActorCounts {
    /// Validators that played it.
    pub played: u64,
    /// Frames that left in place of those of its replica, or of its own accord.
    pub frames: u64,
    /// Frames of its replica that did not leave as they were.
    pub changed: u64,
    /// Faults, alarms and dropped connections at honest validators that named it.
    pub accusations: u64,
    /// Evidence at honest validators that names it: two headers of one position.
    pub two_headers: u64,
    /// Two records that are not ordered.
    pub two_records: u64,
    /// One record that contradicts itself.
    pub one_record: u64,
}

impl ActorCounts {
    fn add(&mut self, other: &Self) {
        self.played += other.played;
        self.frames += other.frames;
        self.changed += other.changed;
        self.accusations += other.accusations;
        self.two_headers += other.two_headers;
        self.two_records += other.two_records;
        self.one_record += other.one_record;
    }

    /// Evidence of all kinds.
    #[must_use]
    pub const fn evidence(&self) -> u64 {
        self.two_headers + self.two_records + self.one_record
    }
}

/// By name; a pair on one validator counts for both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ByzantineCounts {
    /// Runs with any Byzantine validator.
    pub runs: u64,
    /// Virtual partitions of a Twins script that came to pass.
    pub twin_phases: u64,
    /// By the name of what is played.
    pub actors: BTreeMap<&'static str, ActorCounts>,
}

impl ByzantineCounts {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.twin_phases += other.twin_phases;
        for (name, counts) in &other.actors {
            self.actors.entry(name).or_default().add(counts);
        }
    }

    /// Those of one actor.
    #[must_use]
    pub fn of(&self, name: &str) -> ActorCounts {
        self.actors.get(name).copied().unwrap_or_default()
    }
}
