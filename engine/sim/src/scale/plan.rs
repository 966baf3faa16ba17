//! What the validators of a prediction are, and the times that they go by.
//!
//! Owns the choice of timers: those of the profile for such ways, and never shorter than a round.
//! Never: costs.

use quorate_consensus::machine::{Durability, TimerConfig};
use quorate_consensus::thresholds::{default_fault, default_slack};
use quorate_consensus::types::Stake;

use super::ScaleOptions;
use crate::byzantine::Cast;
use crate::keyring::Scheme;
use crate::plan::{Pace, Plan};
use crate::world::MS;

/// What the validators are, and what times they go by.
pub(super) fn plan_of(options: &ScaleOptions) -> Plan {
    let stakes = vec![1; usize::from(options.validators)];
    let weights: Vec<Stake> = stakes.iter().copied().map(Stake::new).collect();
    let total = Stake::new(u64::from(options.validators));
    let fault = default_fault(&weights);
    let longest_ns = options.matrix.longest_ns();
    let mut timers = if options.cores.is_some() {
        // Short times are for cores of their own.
        TimerConfig::laptop()
    } else if longest_ns <= 50_000 {
        TimerConfig::colo()
    } else if longest_ns <= MS {
        TimerConfig::lan()
    } else {
        TimerConfig::laptop()
    };
    // Nobody runs with timers shorter than the ways, or shorter than what the votes of all cost.
    let costs = &options.costs;
    let round_ns = 4 * longest_ns + work_ns(options);
    timers.progress_ns = timers.progress_ns.max(4 * round_ns);
    timers.progress_max_ns = timers.progress_max_ns.max(timers.progress_ns);
    timers.retransmit_ns = timers.retransmit_ns.max(2 * round_ns);
    timers.retransmit_max_ns = timers.retransmit_max_ns.max(timers.retransmit_ns);
    Plan {
        has_snapshots: false,
        joiners: Vec::new(),
        loser: None,
        fault: fault.amount(),
        slack: default_slack(total, fault).amount(),
        window_slots: 4096,
        turn_windows: 4,
        durability: if options.is_synced {
            Durability::Sync
        } else {
            Durability::Async
        },
        timers,
        scheme: Scheme::StandIn,
        wire_ns: longest_ns,
        disk_ns: costs.sync_ns,
        verify_ns: costs.verify_ns,
        turn_ns: costs.turn_ns,
        trouble_ns: 0,
        abstainers: Vec::new(),
        bad_clocks: Vec::new(),
        hold_ns: 0,
        cache_bytes_max: 1024 * 1024,
        sessions: 1,
        pace: Pace {
            interval_units: (1, 1),
            unit_ns: MS,
            in_flight_max: 1,
        },
        cast: Cast::default(),
        has_rot: false,
        is_signed: false,
        has_visits: false,
        followers: Vec::new(),
        executes_late: false,
        begins: None,
        stakes,
    }
}

/// Enough for what one block costs a validator, with all that follows it, and for what it costs the
/// others where they share cores.
pub(super) fn work_ns(options: &ScaleOptions) -> u64 {
    let (costs, validators) = (&options.costs, u64::from(options.validators));
    let turn_ns = costs.turn_ns + costs.rest_ns + costs.poll_ns + costs.switch_ns + costs.wake_ns;
    let turn_ns = turn_ns + costs.rested_ns + costs.rested_turn_ns + costs.rested_send_ns;
    let frame_ns = costs.receive_ns + costs.read_ns + costs.send_ns + costs.waking_ns + turn_ns;
    let block_ns = costs.propose_ns + costs.command_ns + costs.final_ns + 4 * costs.cold_ns;
    let sharing = options
        .cores
        .map_or(1, |cores| validators.div_ceil(u64::from(cores).max(1)));
    (4 * validators * frame_ns + block_ns) * sharing
}
