//! Load, order flow and measurement for Quorate.

#![forbid(unsafe_code)]

pub mod applications;
pub mod cluster;
pub mod exchange;
pub mod floor;
pub mod gaps;
pub mod histogram;
pub mod load;
pub mod machine;
pub mod orders;
pub mod page;
pub mod prices;
pub mod probe;
pub mod report;
mod slack;
pub mod snapshots;
pub mod stages;
pub mod testnet;
pub mod traces;
pub mod verifier;
