//! How often each fault was injected.
//!
//! Owns plain numbers.

use serde::Serialize;

/// Faults of one run or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(
    missing_docs,
    reason = "each name is its meaning: how often that happened"
)]
pub struct FaultCounts {
    pub kills: u64,
    pub leader_kills: u64,
    pub clean_stops: u64,
    pub blackouts: u64,
    pub power_cuts: u64,
    pub torn_power_cuts: u64,
    pub sync_failures: u64,
    pub restarts: u64,
    pub pauses: u64,
    pub disk_stalls: u64,
    pub cuts: u64,
    pub connection_resets: u64,
    pub clock_jumps: u64,
    pub frames_sent: u64,
    pub frames_lost: u64,
    pub frames_cut: u64,
    pub frames_doubled: u64,
    pub frames_reordered: u64,
    pub resubmissions: u64,
}

impl FaultCounts {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        let Self {
            kills,
            leader_kills,
            clean_stops,
            blackouts,
            power_cuts,
            torn_power_cuts,
            sync_failures,
            restarts,
            pauses,
            disk_stalls,
            cuts,
            connection_resets,
            clock_jumps,
            frames_sent,
            frames_lost,
            frames_cut,
            frames_doubled,
            frames_reordered,
            resubmissions,
        } = other;
        self.kills += kills;
        self.leader_kills += leader_kills;
        self.clean_stops += clean_stops;
        self.blackouts += blackouts;
        self.power_cuts += power_cuts;
        self.torn_power_cuts += torn_power_cuts;
        self.sync_failures += sync_failures;
        self.restarts += restarts;
        self.pauses += pauses;
        self.disk_stalls += disk_stalls;
        self.cuts += cuts;
        self.connection_resets += connection_resets;
        self.clock_jumps += clock_jumps;
        self.frames_sent += frames_sent;
        self.frames_lost += frames_lost;
        self.frames_cut += frames_cut;
        self.frames_doubled += frames_doubled;
        self.frames_reordered += frames_reordered;
        self.resubmissions += resubmissions;
    }
}
