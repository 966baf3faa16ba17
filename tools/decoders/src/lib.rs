//! Every decoder of the project, fed with damaged input.
//!
//! Owns the list of decoders with valid inputs for each, the mutator, and the sweep that runs many
//! damaged inputs and reports what must not be: a panic, an allocation above the cap, an accepted
//! input that does not encode to itself. The fuzz targets beside it call the same functions. One of
//! the decoders is a whole validator's rules, under what a peer makes up (`machine`).
//! Never: part of what ships; decides what a decoder must accept.
//!
//! Read in this order: [`decoder`] (what is judged), [`mutate`] (where inputs come from),
//! [`sweep`] (the run and its report), then the decoders by crate.

#![forbid(unsafe_code)]

pub mod decoder;
pub mod mutate;
pub mod sweep;

mod bench;
mod consensus;
mod log;
mod machine;
mod mend;
mod net;
mod node;
mod proof;
mod venue;

use decoder::Decoder;

/// Every decoder, in the order of the crates.
#[must_use]
pub fn all() -> Vec<Decoder> {
    let mut all = consensus::decoders();
    all.extend(machine::decoders());
    all.extend(net::decoders());
    all.extend(log::decoders());
    all.extend(node::decoders());
    all.extend(proof::decoders());
    all.extend(venue::decoders());
    all.extend(bench::decoders());
    all
}

/// The decoder of this name.
#[must_use]
pub fn named(name: &str) -> Option<Decoder> {
    all().into_iter().find(|decoder| decoder.name == name)
}
