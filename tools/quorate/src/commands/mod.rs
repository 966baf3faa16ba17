//! One command a file.

pub(crate) mod bench;
pub(crate) mod demo;
pub(crate) mod init;
pub(crate) mod keygen;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod node;
pub(crate) mod prices;
pub(crate) mod proof;
pub(crate) mod recover;
mod script;
pub(crate) mod sim;
pub(crate) mod snapshot;
pub(crate) mod status;
pub(crate) mod testnet;
pub(crate) mod vote_state;
