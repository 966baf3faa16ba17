//! The business of a venue in short: prices from every validator, accounts, and option series that
//! are traded, expire and are settled while it runs.
//!
//! Owns what is listed and by whom it is traded, and the reading of what came of it. Never: starts
//! or stops a validator, or decides what a rule of the venue is.
//!
//! In the order of the data: `market` (the series, and how the price of their underlying walks),
//! `desk` (the traders' orders), `book` (what the sessions are told), `driver` (the sessions and
//! the loop), and beside them `listeners` (when each validator tells the same) and `ledger` (what
//! the finalized blocks came to).

mod book;
mod desk;
mod driver;
mod ledger;
mod listeners;
mod market;

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate::client::ClientError;
use quorate::keys::KeyPair;
use quorate_net::NetError;

use crate::load::Acknowledged;

pub use driver::{Signs, run};
pub use ledger::{Ledger, PriceCounts};
pub use listeners::{Skew, listen};
pub use market::accounts;

/// Traders of options.
pub const TRADERS: usize = 4;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct ExchangePlan {
    /// How long it is traded, seconds; settlement may take a little longer.
    pub seconds: u64,
    /// Seed of prices and trades.
    pub seed: u64,
}

/// Who takes part.
#[derive(Debug)]
pub struct ExchangeKeys {
    /// The administrator: lists series and brings cash in.
    pub admin: Arc<KeyPair>,
    /// The feed key of each validator.
    pub feeds: Vec<Arc<KeyPair>>,
    /// The traders, [`TRADERS`] of them.
    pub traders: Vec<Arc<KeyPair>>,
}

/// Why there was no business.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The client library gave up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The network cannot be used.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A thread ended by a panic.
    #[error("a thread of the exchange panicked")]
    Panicked,
}

/// What the sessions were told.
#[derive(Debug, Default)]
pub struct ExchangeOutcome {
    /// Every result.
    pub acknowledged: Vec<Acknowledged>,
    /// Commands without a result at the end.
    pub unanswered: u64,
    /// Commands that were refused at admission.
    pub dropped: u64,
    /// Refusals of the venue by reason; each is a result.
    pub refused: BTreeMap<String, u64>,
    /// Observations submitted.
    pub observations: u64,
    /// Series that were to be listed.
    pub series: usize,
    /// Series that a validator has called settled.
    pub settled: usize,
    /// Height of the highest block with a result.
    pub height: u64,
}
