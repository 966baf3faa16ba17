//! From bytes to messages and records. Sizes are bytes, of a record its further entries.

use std::hint::black_box;

use gungraun::prelude::*;
use quorate_consensus::wire;

use crate::messages::{propose_bytes, record_bytes, vote_bytes};

/// The bytes go back to the caller, so that their end is not counted; what was decoded ends here.
type Decoded = (Vec<u8>, bool);

#[library_benchmark(setup = vote_bytes)]
#[bench::size_66(66)]
fn vote(bytes: Vec<u8>) -> Decoded {
    let is_good = wire::decode(black_box(&bytes)).is_ok();
    (bytes, is_good)
}

#[library_benchmark(setup = propose_bytes)]
#[bench::size_394(394)]
#[bench::size_4362(4362)]
#[bench::size_60266(60266)]
fn propose(bytes: Vec<u8>) -> Decoded {
    let is_good = wire::decode(black_box(&bytes)).is_ok();
    (bytes, is_good)
}

#[library_benchmark(setup = record_bytes)]
#[bench::size_0(0)]
#[bench::size_4(4)]
#[bench::size_64(64)]
fn record(bytes: Vec<u8>) -> Decoded {
    let is_good = wire::decode_record(black_box(&bytes)).is_ok();
    (bytes, is_good)
}

library_benchmark_group!(name = decode, benchmarks = [vote, propose, record]);
