//! Open-loop load.
mod ledger;
