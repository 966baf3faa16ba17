//! Load, order flow and measurement for Quorate.

pub mod cluster;
pub mod histogram;
pub mod load;
pub mod applications;
pub mod testnet;
