//! How many instructions the hot parts take, counted by valgrind.
//!
//! The fixtures and the names, `part::operation/size`, are those of the Criterion benches in
//! `bench/benches`. The id of a bench is `size_N`, or `size_N_times_K` when it does K of them, of
//! which `cargo xtask instructions` tells the mean. Owns what is counted. Never: measures a time.

#![forbid(unsafe_code)]

#[path = "../../benches/support/mod.rs"]
mod support;

mod bytes;
mod decoding;
mod encoding;
mod market;
mod messages;
mod rules;
mod storage;

use gungraun::main;

use bytes::{frame, hash, seal, verify};
use decoding::decode;
use encoding::encode;
use market::book;
use rules::{consensus, record, tally};
use storage::{log, queue};

main!(
    library_benchmark_groups = [
        decode, encode, frame, hash, seal, verify, record, consensus, tally, log, queue, book
    ]
);
