//! Where the time of a command goes: nine stages from its intended time to its result.
//!
//! Owns the joining of what clients wrote down with the stamps of the validators
//! ([`quorate::trace`]), all by one machine's clock. Of each command the stages sum to its total
//! exactly, so their means do as well; percentiles of stages do not add up and are not made to.
//! Never: measures.
//!
//! A command's way goes through the validator whose vote completed the fast quorum at the leader,
//! the leader itself included:
//!
//! ```text
//! client  intended |client_wire|                                                |deliver| result
//! leader                     received |queue|propose|              |count| final
//! other                                            |wire|hash|journal|vote|wire|
//! ```

use std::collections::BTreeMap;

use quorate::trace::{Dump, Moment, Stamp};
use serde::Serialize;

use crate::load::Trip;

/// How many stages there are.
pub const STAGES: usize = 9;
/// Their names, in the order of a command's way; `wire` is passed twice.
pub const STAGE_NAMES: [&str; STAGES] = [
    "client_wire",
    "queue",
    "propose",
    "wire",
    "hash",
    "journal",
    "vote",
    "count",
    "deliver",
];
/// The stage of each step of the way: the wire is passed there and back.
const STEPS: [usize; STAGES + 1] = [0, 1, 2, 3, 4, 5, 6, 3, 7, 8];
/// Stages of the client, which finality does not have.
const CLIENT_STAGES: [usize; 2] = [0, 8];

/// Nanoseconds of each stage.
pub type StageNs = [u64; STAGES];

/// One command's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Journey {
    /// Nanoseconds of each stage.
    pub stages: StageNs,
    /// From the intended time to the result, nanoseconds.
    pub total_ns: u64,
}

impl Journey {
    /// From the gateway's receipt to finality there, nanoseconds.
    #[must_use]
    pub fn finality_ns(&self) -> u64 {
        let client: u64 = CLIENT_STAGES.iter().map(|stage| self.stages[*stage]).sum();
        self.total_ns - client
    }
}

/// What the commands of a load took.
#[derive(Clone, Debug, Default)]
pub struct Attribution {
    /// Commands that were handed to who led, proposed by it, and final by first votes.
    pub journeys: Vec<Journey>,
    /// Finality of all commands that were handed to who led, whoever proposed them in the end:
    /// those that a leader could not bring through waited longest. Nanoseconds.
    pub leader_ns: Vec<u64>,
    /// Finality of those that were handed to another validator, nanoseconds.
    pub other_ns: Vec<u64>,
    /// Commands of blocks whose stamps were not kept.
    pub unknown: u64,
}

/// Means over the journeys, microseconds, and of how many commands they are: the values of
/// `stages_us` sum to `stages_total_us`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StageMeans {
    /// Of each stage, by its name; empty when no command is in the means.
    #[serde(rename = "stages_us")]
    pub stages: BTreeMap<&'static str, f64>,
    /// From the intended time to the result.
    #[serde(rename = "stages_total_us")]
    pub total: Option<f64>,
    /// Commands that are in the means.
    pub attributed: u64,
    /// Commands of the leader's gateway that are not: they did not become final by first votes, or
    /// their way was not whole.
    pub unattributed: u64,
}

impl StageMeans {
    /// The means of what was found.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "sums of a run are far below 2^53"
    )]
    pub fn of(found: &Attribution) -> Self {
        let journeys = &found.journeys;
        let mean_us = |sum: u64| sum as f64 / (journeys.len() as f64 * 1000.0);
        let sum = |stage: usize| journeys.iter().map(|journey| journey.stages[stage]).sum();
        let named = STAGE_NAMES.iter().enumerate();
        let named = named.filter(|_| !journeys.is_empty());
        let total = || mean_us(journeys.iter().map(|journey| journey.total_ns).sum());
        Self {
            stages: named
                .map(|(stage, name)| (*name, mean_us(sum(stage))))
                .collect(),
            total: (!journeys.is_empty()).then(total),
            attributed: journeys.len() as u64,
            unattributed: found.leader_ns.len().saturating_sub(journeys.len()) as u64,
        }
    }

    /// Of several runs those of one, so that they sum: of the runs of which any command has its
    /// stages the one whose mean total is the middle one. Where no run has any, the first one's,
    /// which are none.
    #[must_use]
    pub fn middle<'a>(runs: impl Iterator<Item = &'a Self>) -> Self {
        let mut runs: Vec<&Self> = runs.collect();
        let first = runs.first().copied();
        runs.retain(|means| means.attributed > 0);
        let total = |means: &Self| means.total.unwrap_or_default();
        runs.sort_by(|one, other| total(one).total_cmp(&total(other)));
        let middle = runs.get(runs.len() / 2).copied();
        middle.or(first).cloned().unwrap_or_default()
    }
}

/// A block's place: window and index.
type Slot = (u64, u32);

/// One validator's stamps, ready to be looked up. All times are the machine's.
#[derive(Debug, Default)]
struct Stamps {
    /// First time of each moment of each block.
    first: BTreeMap<(Moment, Slot), u64>,
    /// First votes of each validator, by tip.
    votes: BTreeMap<(u16, Slot), u64>,
    /// Flushes, in order.
    flushes: Vec<u64>,
    /// Blocks by height: place, finality, the time that latencies were told with, fast or not.
    finals: BTreeMap<u64, Final>,
}

#[derive(Clone, Copy, Debug)]
struct Final {
    slot: Slot,
    at_ns: u64,
    told_ns: u64,
    is_fast: bool,
}

impl Stamps {
    fn of(dump: &Dump) -> Self {
        let mut stamps = Self::default();
        for stamp in &dump.stamps {
            stamps.take(dump.base_ns, stamp);
        }
        stamps.flushes.sort_unstable();
        stamps
    }

    fn take(&mut self, base_ns: u64, stamp: &Stamp) {
        let (slot, at_ns) = ((stamp.window, stamp.index), base_ns + stamp.at_ns);
        match stamp.moment {
            Moment::Flushed => self.flushes.push(at_ns),
            Moment::VoteReceived => {
                self.votes.entry((stamp.peer, slot)).or_insert(at_ns);
            }
            Moment::Final => {
                let found = Final {
                    slot,
                    at_ns,
                    told_ns: base_ns + stamp.told_ns,
                    is_fast: stamp.peer == 0,
                };
                self.finals.entry(stamp.height).or_insert(found);
            }
            // After the block is final: of no stage.
            Moment::Executed => {}
            moment => {
                self.first.entry((moment, slot)).or_insert(at_ns);
            }
        }
    }

    fn at(&self, moment: Moment, slot: Slot) -> Option<u64> {
        self.first.get(&(moment, slot)).copied()
    }

    /// When it first happened to the block or one above it in its window.
    fn covered(&self, moment: Moment, (window, index): Slot) -> Option<u64> {
        let range = (moment, (window, index))..=(moment, (window, u32::MAX));
        self.first.range(range).map(|(_, at_ns)| *at_ns).min()
    }

    /// When what was queued at that time went to the sockets.
    fn sent(&self, queued_ns: u64) -> Option<u64> {
        let place = self.flushes.partition_point(|&flush| flush < queued_ns);
        self.flushes.get(place).copied()
    }

    /// The first vote of a validator for a block or one above it in its window: place and time.
    fn vote(&self, peer: u16, (window, index): Slot) -> Option<(Slot, u64)> {
        let range = (peer, (window, index))..=(peer, (window, u32::MAX));
        let votes = self.votes.range(range);
        votes
            .map(|((_, slot), at_ns)| (*slot, *at_ns))
            .min_by_key(|(_, at_ns)| *at_ns)
    }
}

/// Joins what clients wrote down with what the validators stamped. `weights` are theirs, `fast` is
/// what first votes must have to make a block final, `start_ns` the machine's clock when the run's
/// stood at 0.
#[must_use]
pub fn attribute(
    dumps: &[Dump],
    weights: &[u64],
    fast: u64,
    start_ns: u64,
    trips: &[Trip],
) -> Attribution {
    let stamps: Vec<Stamps> = dumps.iter().map(Stamps::of).collect();
    let cluster = Cluster {
        stamps: &stamps,
        weights,
        fast,
    };
    let mut found = Attribution::default();
    for trip in trips {
        let gateway = usize::from(trip.gateway);
        let finality = stamps
            .get(gateway)
            .and_then(|own| own.finals.get(&trip.height));
        let Some(finality) = finality else {
            found.unknown += 1;
            continue;
        };
        let received_ns = finality.told_ns.saturating_sub(trip.finality_ns);
        let finality_ns = finality.at_ns.saturating_sub(received_ns);
        if !trip.to_leader {
            found.other_ns.push(finality_ns);
            continue;
        }
        found.leader_ns.push(finality_ns);
        let way = cluster.way(gateway, finality).filter(|_| finality.is_fast);
        if let Some([proposed, rest @ ..]) = way {
            let mut times = [0; STEPS.len() + 1];
            times[0] = start_ns + trip.intended_ns;
            times[1] = received_ns;
            times[2] = proposed;
            times[3..3 + rest.len()].copy_from_slice(&rest);
            times[STEPS.len()] = start_ns + trip.result_ns;
            found.journeys.push(journey(times));
        }
    }
    found
}

/// Times that follow one another: what a clock read a little early or late elsewhere moves between
/// two stages, and never changes the sum.
fn journey(mut times: [u64; STEPS.len() + 1]) -> Journey {
    let last = times[STEPS.len()].max(times[0]);
    let mut stages = [0; STAGES];
    for (step, stage) in STEPS.iter().enumerate() {
        let from = times[step];
        let to = if step + 1 == STEPS.len() {
            last
        } else {
            times[step + 1].clamp(from, last)
        };
        times[step + 1] = to;
        stages[*stage] += to - from;
    }
    Journey {
        stages,
        total_ns: last - times[0],
    }
}

/// All validators' stamps.
struct Cluster<'a> {
    stamps: &'a [Stamps],
    weights: &'a [u64],
    fast: u64,
}

impl Cluster<'_> {
    /// Proposed, sent, received, checked, journaled, vote sent, vote received, final.
    fn way(&self, leader: usize, finality: &Final) -> Option<[u64; 8]> {
        let (own, slot) = (self.stamps.get(leader)?, finality.slot);
        let proposed = own.at(Moment::Proposed, slot)?;
        let queued = own.at(Moment::ProposalQueued, slot)?;
        let sent = own.sent(queued)?;
        let (voter, tip, voted) = self.last_voter(leader, slot)?;
        if voter == leader {
            // Its own log was the slowest: nothing crossed a wire that was waited for.
            let sent = sent.min(voted);
            let at = finality.at_ns;
            return Some([proposed, sent, sent, sent, voted, voted, voted, at]);
        }
        let other = self.stamps.get(voter)?;
        Some([
            proposed,
            sent,
            other.at(Moment::Received, slot)?,
            other.at(Moment::Checked, slot)?,
            other.at(Moment::Journaled, tip)?,
            other.sent(other.at(Moment::VoteQueued, tip)?)?,
            voted,
            finality.at_ns,
        ])
    }

    /// The validator whose vote completed the fast quorum at the leader, the tip it voted for, and
    /// when.
    fn last_voter(&self, leader: usize, slot: Slot) -> Option<(usize, Slot, u64)> {
        let own = self.stamps.get(leader)?;
        let mut votes = Vec::with_capacity(self.weights.len());
        for (voter, weight) in self.weights.iter().enumerate() {
            let vote = if voter == leader {
                own.covered(Moment::Journaled, slot)
                    .map(|at_ns| (slot, at_ns))
            } else {
                own.vote(u16::try_from(voter).ok()?, slot)
            };
            votes.extend(vote.map(|(tip, at_ns)| (at_ns, voter, tip, *weight)));
        }
        votes.sort_unstable();
        let mut sum = 0;
        votes.into_iter().find_map(|(at_ns, voter, tip, weight)| {
            sum += weight;
            (sum >= self.fast).then_some((voter, tip, at_ns))
        })
    }
}

#[cfg(test)]
#[path = "stages_tests.rs"]
mod tests;
