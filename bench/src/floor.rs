//! The floor: the bare pattern of messages, with nothing in it.
//!
//! Owns threads in a mesh of TCP connections on loopback that propose and vote: frames of the sizes
//! that validators send, one blocking poll a turn, and neither hashing, logging nor an application.
//! What a cluster takes beyond that is what the software costs. Never: the product's network code,
//! which is part of what is compared with this.

mod frames;
mod member;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use quorate_consensus::thresholds::{Thresholds, default_fault, default_slack};
use quorate_consensus::types::Stake;
use serde::Serialize;

use crate::histogram::{Latencies, Percentiles};
use frames::Sizes;
use member::{Leader, follow};

/// Rounds before the first that counts, for caches and buffers of the system.
const WARM_UP_ROUNDS: u64 = 200;
/// A round that takes so long has failed.
const ROUND_MAX: Duration = Duration::from_secs(5);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloorPlan {
    /// Members of the mesh, the proposer included; 2 to 64.
    pub validators: u16,
    /// Votes that make a round final, the proposer's own included, at least 2; none: as many as the
    /// fast path needs.
    pub need: Option<u16>,
    /// Rounds a second, open loop; none: back to back.
    pub rate: Option<u32>,
    /// Bytes of the one command in a proposal.
    pub command_bytes: usize,
    /// For how long.
    pub duration: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Floor {
    /// Members of the mesh.
    pub validators: u16,
    /// Votes that made a round final.
    pub need: u16,
    /// Rounds a second, none for back to back.
    pub rate: Option<u32>,
    /// Rounds that counted.
    pub rounds: u64,
    /// Bytes of a proposal on the wire.
    pub propose_bytes: usize,
    /// Bytes of a vote on the wire.
    pub vote_bytes: usize,
    /// From the intended start of a round to its last vote at the proposer.
    pub floor_us: Percentiles,
    /// The same as they were recorded.
    #[serde(skip)]
    pub latencies: Latencies,
}

/// Why there is no floor.
#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    /// Votes that no mesh of this size can have.
    #[error("{need} votes of {validators} members: give 2 to 64 members, and 2 votes to as many")]
    Plan {
        /// Members.
        validators: u16,
        /// Votes.
        need: u16,
    },
    /// The system refused a socket.
    #[error("the mesh of the floor: {0}")]
    Io(#[from] io::Error),
    /// A member ended before its time, or a round never did.
    #[error("a round of the floor did not end within {} s", ROUND_MAX.as_secs())]
    Stalled,
}

/// Measures.
///
/// # Errors
/// [`FloorError`].
pub fn measure(plan: &FloorPlan) -> Result<Floor, FloorError> {
    let validators = plan.validators;
    let need = plan.need.unwrap_or_else(|| need_of(validators));
    if !(2..=64).contains(&validators) || !(2..=validators).contains(&need) {
        return Err(FloorError::Plan { validators, need });
    }
    let sizes = Sizes::of(plan.command_bytes);
    let mut mesh = mesh(usize::from(validators))?;
    let own = mesh.swap_remove(0);
    let mut latencies = Latencies::new();
    std::thread::scope(|scope| {
        for links in mesh {
            scope.spawn(move || follow(links, sizes));
        }
        // Dropped at the end of this block in any case: its connections end, and with them all
        // followers.
        let mut leader = Leader::new(own, sizes, need);
        run(plan, &mut leader, &mut latencies)
    })?;
    Ok(Floor {
        validators,
        need,
        rate: plan.rate,
        rounds: latencies.count(),
        propose_bytes: sizes.propose,
        vote_bytes: sizes.vote,
        floor_us: latencies.percentiles(),
        latencies,
    })
}

/// Votes of equal weight that make a block final at once, with the thresholds that a genesis has
/// when none are given.
fn need_of(validators: u16) -> u16 {
    let weights = vec![Stake::new(1); usize::from(validators)];
    let total = Stake::new(u64::from(validators));
    let fault = default_fault(&weights);
    let found = Thresholds::new(total, fault, default_slack(total, fault));
    found.map_or(validators, |found| {
        u16::try_from(found.fast.amount()).unwrap_or(validators)
    })
}

/// Rounds for as long as the plan says, each from its intended start.
fn run(plan: &FloorPlan, leader: &mut Leader, latencies: &mut Latencies) -> Result<(), FloorError> {
    for _ in 0..WARM_UP_ROUNDS {
        leader.propose()?;
        leader.wait(Instant::now() + ROUND_MAX)?;
    }
    let start = Instant::now();
    let interval = plan.rate.map(|rate| Duration::from_secs(1) / rate.max(1));
    // Intended starts of the rounds that are not final, the oldest first.
    let mut open = std::collections::VecDeque::new();
    let mut next = start;
    while start.elapsed() < plan.duration || !open.is_empty() {
        let now = Instant::now();
        let may_start = interval.is_some() || open.is_empty();
        if may_start && now >= next && now < start + plan.duration {
            leader.propose()?;
            open.push_back(next);
            next = interval.map_or(now, |interval| next + interval);
            continue;
        }
        let until = match interval {
            Some(_) if next < start + plan.duration => next,
            _ if open.is_empty() => start + plan.duration,
            _ => now + ROUND_MAX,
        };
        let done = leader.turn(until)?;
        let now = Instant::now();
        for _ in 0..done {
            let Some(intended) = open.pop_front() else {
                break;
            };
            let latency = now.saturating_duration_since(intended);
            latencies.record_ns(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
            if interval.is_none() {
                next = now;
            }
        }
        if open.front().is_some_and(|oldest| now > *oldest + ROUND_MAX) {
            return Err(FloorError::Stalled);
        }
    }
    Ok(())
}

/// Connections between all: of each member, those to all others.
fn mesh(members: usize) -> io::Result<Vec<Vec<TcpStream>>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut mesh: Vec<Vec<TcpStream>> = (0..members).map(|_| Vec::new()).collect();
    for one in 0..members {
        for other in one + 1..members {
            let there = TcpStream::connect(address)?;
            let (here, _) = listener.accept()?;
            for (at, stream) in [(one, here), (other, there)] {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                mesh[at].push(stream);
            }
        }
    }
    Ok(mesh)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(validators: u16, rate: Option<u32>) -> FloorPlan {
        FloorPlan {
            validators,
            need: None,
            rate,
            command_bytes: 128,
            duration: Duration::from_millis(60),
        }
    }

    #[test]
    fn rounds_end_back_to_back_and_at_a_rate() {
        for (validators, rate, need) in [(4, None, 4), (6, None, 5), (4, Some(500), 4)] {
            let floor = measure(&plan(validators, rate)).unwrap();
            assert_eq!(floor.need, need);
            assert!(
                floor.rounds > 0 && floor.floor_us.p50 > Some(0.0),
                "{floor:?}"
            );
            assert!(
                floor.propose_bytes > 128 + floor.vote_bytes / 2,
                "{floor:?}"
            );
        }
    }

    #[test]
    fn votes_that_nobody_can_have_are_refused() {
        for (validators, need) in [(4, 5), (4, 1), (1, 1), (65, 3)] {
            let asked = FloorPlan {
                need: Some(need),
                ..plan(validators, None)
            };
            assert!(matches!(measure(&asked), Err(FloorError::Plan { .. })));
        }
    }
}
