//! Open-loop load over the client port.
//!
//! Commands have intended times that depend on the flow alone; what cannot be sent then is sent
//! as soon as it can and its latency counts from the intended time, so a stall of the cluster is
//! seen in full. Owns the sessions, the loop and what is recorded. Never: starts validators.
//!
//! In the order of the data: `source` (what, when, by whom), `ledger` (a session's numbers and
//! what must be sent again), `presigned` (what it has signed before), `session` (its frames and
//! its gateway), `open_loop` (when a command is handed over), `gate` (from when on, where loads run
//! side by side), `driver` (Quorate as its target), `peer` (another system as its target), and
//! beside them `key` (who a session is).

mod driver;
mod gate;
mod key;
mod ledger;
mod open_loop;
pub mod peer;
mod presigned;
mod session;
mod source;

use std::collections::BTreeSet;

use quorate::client_wire::{FrameError, Rejection};
use quorate_net::NetError;

use crate::histogram::Latencies;
use crate::orders::LobsterError;

pub use driver::{Outcome, machine_ns, run, run_beside};
pub use gate::{Gate, Place};
pub use key::Chain;
pub(crate) use key::SessionKey;
pub use ledger::Counts;
pub use open_loop::{DRAIN_SECONDS, Progress};
pub use source::{Flow, LoadPlan, Routing};

/// Why a load did not run, or ended early.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The recording cannot be replayed.
    #[error(transparent)]
    Orders(#[from] LobsterError),
    /// The network cannot be used.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A key for a session cannot be made.
    #[error("making a session's key: {0}")]
    Key(#[source] std::io::Error),
    /// A validator does not speak the protocol.
    #[error("validator {validator}: {source}")]
    Protocol {
        /// Which.
        validator: usize,
        /// What it sent.
        source: FrameError,
    },
    /// The chain's session table is full.
    #[error("the chain holds as many sessions as it may (genesis field limits.sessions_max)")]
    SessionsFull,
    /// A node of another system ended the connection, or it could not be used.
    #[error("node {node}: {source}")]
    Peer {
        /// Which.
        node: usize,
        /// What became of the connection.
        source: std::io::Error,
    },
    /// A node of another system sent what is no frame of the adapters' protocol.
    #[error("node {node}: {source}")]
    PeerProtocol {
        /// Which.
        node: usize,
        /// What it sent.
        source: peer::FrameError,
    },
    /// No validator let the sessions in.
    #[error("{waiting} of {sessions} sessions could not log in within {seconds} s")]
    NoGateway {
        /// How many could not.
        waiting: usize,
        /// Of how many.
        sessions: usize,
        /// How long they tried.
        seconds: u64,
    },
}

/// A command whose result a session was told: it may never be lost again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acknowledged {
    /// The session.
    pub session: [u8; 16],
    /// Number of the command in it.
    pub seq: u64,
    /// Height of its block, as far as it was told: a command that was sent again and is final
    /// already is answered without.
    pub height: Option<u64>,
}

/// The times of one command, as its client knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trip {
    /// The validator that it was handed to.
    pub gateway: u16,
    /// Height of its block.
    pub height: u64,
    /// When it should have been sent, nanoseconds of the run's clock.
    pub intended_ns: u64,
    /// When its result was read, on the same clock.
    pub result_ns: u64,
    /// From the gateway's receipt to finality there, as the gateway told.
    pub finality_ns: u64,
    /// That validator led when the command was given a number, as far as was known here.
    pub to_leader: bool,
}

/// From when a command should have been sent to its result, whoever told it: also of those that
/// were sent again, and so have no [`Trip`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When it should have been sent, nanoseconds of the run's clock.
    pub intended_ns: u64,
    /// When its result was read, on the same clock.
    pub result_ns: u64,
}

/// What is recorded while the load runs.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// From the accepting validator's receipt to finality there.
    pub(crate) finality: Latencies,
    /// From the intended send time to the receipt of the result.
    pub(crate) client: Latencies,
    /// When the last result came, on the run's clock.
    pub(crate) last_result_ns: u64,
    /// Height of the highest block with a result.
    pub(crate) height: u64,
    /// Why commands were refused at admission.
    pub(crate) reasons: BTreeSet<Rejection>,
    /// Every result, where the plan wants it.
    pub(crate) acknowledged: Option<Vec<Acknowledged>>,
    /// The times of every command whose gateway told them, where the plan wants them.
    pub(crate) trips: Option<Vec<Trip>>,
    /// Of every command with a result, where the plan wants trips.
    pub(crate) waits: Option<Vec<Wait>>,
    /// Commands with a result of which no gateway told when they became final.
    pub(crate) untold: u64,
    /// Who led when a validator last said so.
    pub(crate) leader: Option<u16>,
}
