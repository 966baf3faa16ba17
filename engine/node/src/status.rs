//! What a node says about itself.
//!
//! Owns the fields and their JSON; the command line, HTTP and clients all get the same object.
//! Never: on the path of a command; it is made when it is asked for.

use crate::drift::DivergedStatus;
use crate::metrics::{Durations, DurationsSummary, Metrics};
use crate::profiles::{Idle, Threading};
use crate::replica::OrderStage;
use crate::roots::StateRoot;
use quorate_consensus::types::ValidatorIndex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// One validator's condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// 1; rises when a field changes its meaning.
    pub schema: u32,
    /// Which validator this is.
    pub index: u16,
    /// Height of its highest finalized block.
    pub height: u64,
    /// The window it is in.
    pub window: u64,
    /// Who leads that window.
    pub leader: u16,
    /// Whether it may vote now.
    pub voting: bool,
    /// Whether it asks its peers how far it can have spoken, since its disk is lost or too old.
    pub recovering: bool,
    /// How many other validators are connected.
    pub connected: u16,
    /// Share of blocks that became final here first by first votes.
    pub fast_path_fraction: f64,
    /// State root as of `state_height`, 64 hex digits.
    pub state_root: String,
    /// Height of the last executed block.
    pub state_height: u64,
    /// Height up to which blocks are provable to others.
    pub proven: u64,
    /// Height up to which blocks survive the loss of the site.
    pub durable: u64,
    /// Height of the newest state that weight AMP attests alike.
    pub attested: u64,
    /// Where the state is another than the others': then no client is served. Null while it is not.
    #[serde(default)]
    pub diverged: Option<DivergedStatus>,
    /// Height of the newest snapshot here, taken in this run or started from; 0 for none.
    pub snapshot: u64,
    /// The snapshot that is being fetched from peers; null for none.
    pub joining: Option<Joining>,
    /// Bytes of the log's segments.
    pub log_bytes: u64,
    /// Bytes that the log may have before its oldest segments go; 0 when they never do.
    pub log_bytes_max: u64,
    /// Bytes that its file system had left a little before; 0 while that is not known.
    #[serde(default)]
    pub log_free_bytes: u64,
    /// Whether the disk is full: nothing is logged and nothing said until there is room.
    #[serde(default)]
    pub disk_full: bool,
    /// Days until the log has reached its budget, or its file system is full if that comes first,
    /// as it has grown in this run; null when it does not grow. At its budget, where old segments
    /// go, until its file system would be full if none went.
    pub log_days_to_full: Option<f64>,
    /// What was read of the log to see whether the disk still has it; null when nothing is.
    #[serde(default)]
    pub log_scrub: Option<Scrubbing>,
    /// Commands that wait here for a block or for finality.
    pub pool_commands: u64,
    /// Bytes of them.
    pub pool_bytes: u64,
    /// Commands in finalized blocks since the start.
    pub commands_finalized: u64,
    /// From a command's receipt here to its finality here, microseconds.
    pub finality: DurationsSummary,
    /// The same by lane, for clients of this validator: cancel, order, price, admin.
    #[serde(default)]
    pub inclusion: Vec<DurationsSummary>,
    /// From a block's finality here to its results and events on their way to the sockets,
    /// microseconds.
    #[serde(default)]
    pub publish: DurationsSummary,
    /// Heights and when they were published here, nanoseconds since the Unix epoch by this
    /// machine's clock: the newest ones and every 64th of a longer time.
    #[serde(default)]
    pub published: Vec<(u64, u64)>,
    /// Height of the oldest block of the public stream that is kept.
    #[serde(default)]
    pub public_oldest: u64,
    /// Subscriptions to the public stream.
    #[serde(default)]
    pub public_subscriptions: u64,
    /// One sync of the log, microseconds.
    pub sync: DurationsSummary,
    /// Clients that are connected.
    pub clients: u64,
    /// How the stages are spread over threads.
    pub threads: String,
    /// What idle threads do.
    pub idle: String,
    /// What went wrong so far, by name; nothing that did not.
    pub faults: BTreeMap<String, u64>,
}

/// What became of looking at the log's complete segments, since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrubbing {
    /// Bytes read.
    pub bytes: u64,
    /// Times that all were looked at.
    pub passes: u64,
    /// Faulty places found.
    pub found: u64,
    /// Of these, repaired.
    pub repaired: u64,
    /// Faulty now.
    pub faulty: u64,
    /// Whether it is the disk that is read, and not what memory holds of it.
    pub direct: bool,
}

impl Scrubbing {
    fn of(metrics: &Metrics) -> Option<Self> {
        let scrubbing = Self {
            bytes: metrics.scrub_bytes.read(),
            passes: metrics.scrub_passes.read(),
            found: metrics.scrub_faults.read(),
            repaired: metrics.scrub_repaired.read(),
            faulty: metrics.scrub_faulty.read(),
            direct: metrics.scrub_direct.read() > 0,
        };
        (scrubbing.bytes > 0).then_some(scrubbing)
    }
}

/// How far a validator has come that joins by a snapshot of its peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joining {
    /// Height of the snapshot.
    pub height: u64,
    /// Chunks of it that are here.
    pub chunks: u64,
    /// Chunks that it has.
    pub chunks_all: u64,
    /// Peers that chunks can be asked of.
    pub sources: u64,
}

impl Joining {
    fn of(metrics: &Metrics) -> Option<Self> {
        let joining = Self {
            height: metrics.joining_height.read(),
            chunks: metrics.joining_chunks.read(),
            chunks_all: metrics.joining_chunks_all.read(),
            sources: metrics.joining_sources.read(),
        };
        (joining.height > 0).then_some(joining)
    }
}

/// What a status is made from besides the metrics.
pub(crate) struct StatusFacts<'a> {
    pub(crate) own: ValidatorIndex,
    pub(crate) order: &'a OrderStage,
    pub(crate) root: &'a StateRoot,
    pub(crate) threading: Threading,
    pub(crate) idle: Idle,
}

impl NodeStatus {
    pub(crate) fn new(facts: &StatusFacts<'_>, metrics: &Metrics) -> Self {
        let consensus = facts.order.consensus();
        let log_bytes = facts.order.store().log_usage().bytes;
        let log_bytes_max = metrics.log_bytes_max.read();
        let log_free_bytes = metrics.log_free_bytes.read();
        let growth = facts.order.store().log_growth();
        let is_pruned = facts.order.store().log_start().offset.segment() > 0;
        let room = room(log_bytes, log_bytes_max, log_free_bytes, is_pruned);
        Self {
            schema: 1,
            index: facts.own.number(),
            height: consensus.delivered().number(),
            window: consensus.window().number(),
            leader: consensus.leader().number(),
            voting: consensus.is_voting(),
            recovering: consensus.is_lost(),
            connected: u16::try_from(metrics.peers_connected.read()).unwrap_or(u16::MAX),
            fast_path_fraction: metrics.fast_path_fraction(),
            state_root: crate::hex::encode(&facts.root.combined),
            state_height: facts.root.height,
            proven: consensus.proven().height.number(),
            durable: consensus.durable().number(),
            attested: metrics.height_attested.read(),
            diverged: metrics.diverged.get().cloned(),
            snapshot: metrics.snapshot_height.read(),
            joining: Joining::of(metrics),
            log_bytes,
            log_bytes_max,
            log_free_bytes,
            disk_full: facts.order.lanes().is_disk_full(),
            log_days_to_full: room.and_then(|room| days_to_full(room, growth)),
            log_scrub: Scrubbing::of(metrics),
            pool_commands: facts.order.lanes().len() as u64,
            pool_bytes: facts.order.lanes().bytes() as u64,
            commands_finalized: metrics.commands_finalized.read(),
            finality: metrics.finality.summary(),
            inclusion: metrics.inclusion.iter().map(Durations::summary).collect(),
            publish: metrics.publish.summary(),
            published: metrics.publication.read(),
            public_oldest: metrics.public_oldest.read(),
            public_subscriptions: metrics.public_subscriptions.read(),
            sync: metrics.sync.summary(),
            clients: metrics.clients_connected.read(),
            threads: format!("{:?}", facts.threading).to_lowercase(),
            idle: format!("{:?}", facts.idle).to_lowercase(),
            faults: metrics.faults(),
        }
    }

    /// The status as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| {
            tracing::error!(%error, "a status is no JSON");
            "{}".to_owned()
        })
    }
}

/// Bytes that a log may still grow by, as far as its budget and its file system are known. One that
/// has its budget stays there: it can take more only while nothing of it may go, and then it takes
/// what the file system has.
fn room(bytes: u64, bytes_max: u64, free_bytes: u64, is_pruned: bool) -> Option<u64> {
    let left = bytes_max.saturating_sub(bytes);
    // Whole segments go, and the budget has four at least: when one of four went, three are left.
    let is_at_budget = left == 0 || is_pruned && left <= bytes_max.div_ceil(4);
    let budget = (bytes_max > 0 && !is_at_budget).then_some(left);
    let disk = (free_bytes > 0).then_some(free_bytes);
    budget.into_iter().chain(disk).min()
}

/// Days until `room` bytes are taken by what grew by so many bytes in such a time.
fn days_to_full(room: u64, (grown, elapsed): (u64, Duration)) -> Option<f64> {
    const DAY: f64 = 86_400.0;
    let per_day = grown as f64 * DAY / elapsed.as_secs_f64();
    let days = room as f64 / per_day;
    days.is_finite().then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_of_a_log_is_what_its_budget_leaves_and_without_one_what_the_disk_does() {
        let room = |bytes, bytes_max, free| room(bytes, bytes_max, free, false);
        assert_eq!(room(10, 0, 0), None, "nobody knows yet");
        assert_eq!(room(10, 0, 500), Some(500));
        assert_eq!(room(10, 100, 0), Some(90));
        assert_eq!(room(10, 100, 500), Some(90));
        assert_eq!(
            room(10, 100, 50),
            Some(50),
            "the disk is smaller than the budget"
        );
    }

    /// Else a healthy log and one of which nothing can go would tell the same for ever.
    #[test]
    fn at_its_budget_a_log_has_the_room_of_its_disk() {
        assert_eq!(room(99, 100, 500, false), Some(1), "it gets there");
        for bytes in [100, 110] {
            assert_eq!(room(bytes, 100, 500, false), Some(500));
        }
        for bytes in [75, 76, 99, 100, 110] {
            assert_eq!(room(bytes, 100, 500, true), Some(500), "pruned to {bytes}");
        }
        // Four segments are the least budget, of which three are left when one went.
        let segment = 64 << 20;
        let pruned = room(3 * segment, 4 * segment, 500, true);
        assert_eq!(pruned, Some(500));
        assert_eq!(room(74, 100, 500, true), Some(26), "its budget was raised");
        assert_eq!(room(110, 100, 0, true), None, "nobody knows yet");
    }

    #[test]
    fn days_to_full_follow_from_the_growth_seen_and_are_none_without_growth() {
        let hour = Duration::from_secs(3600);
        let days = days_to_full(48 << 20, (1 << 20, hour)).expect("it grows");
        assert!((days - 2.0).abs() < 1e-9, "{days}");
        assert_eq!(days_to_full(0, (1, hour)), Some(0.0));
        assert_eq!(days_to_full(1 << 20, (0, hour)), None);
        assert_eq!(days_to_full(1 << 20, (5, Duration::ZERO)), Some(0.0));
        assert_eq!(days_to_full(0, (0, Duration::ZERO)), None);
    }
}
