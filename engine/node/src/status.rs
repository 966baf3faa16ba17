//! What a node says about itself.
//!
//! Owns the fields and their JSON; the command line, HTTP and clients all get the same object.
//! Never: on the path of a command; it is made when it is asked for.

use crate::metrics::{DurationsSummary, Metrics};
use crate::profiles::{Idle, Threading};
use crate::replica::OrderStage;
use crate::roots::StateRoot;
use quorate_consensus::types::ValidatorIndex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// Height of the newest snapshot here, taken in this run or started from; 0 for none.
    pub snapshot: u64,
    /// Commands that wait here for a block or for finality.
    pub pool_commands: u64,
    /// Bytes of them.
    pub pool_bytes: u64,
    /// Commands in finalized blocks since the start.
    pub commands_finalized: u64,
    /// From a command's receipt here to its finality here, microseconds.
    pub finality: DurationsSummary,
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
            snapshot: metrics.snapshot_height.read(),
            pool_commands: facts.order.lanes().len() as u64,
            pool_bytes: facts.order.lanes().bytes() as u64,
            commands_finalized: metrics.commands_finalized.read(),
            finality: metrics.finality.summary(),
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
