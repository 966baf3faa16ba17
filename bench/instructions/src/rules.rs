//! The rules without wire, log and time. Sizes are validators, of a record its further entries.

use std::hint::black_box;

use gungraun::prelude::*;
use quorate_consensus::record::Record;

use crate::support::records::older_and_newer;
use crate::support::world::World;

/// Blocks before those that are counted: buffers have grown, and the window runs.
const BLOCKS_BEFORE: u32 = 64;
/// As the ids of the benches say.
const BLOCKS: u32 = 64;

#[library_benchmark(setup = older_and_newer)]
#[bench::size_0(0)]
#[bench::size_4(4)]
#[bench::size_64(64)]
fn extends((older, newer): (Record, Record)) -> (Record, Record) {
    let is_good = {
        let (older, newer) = (black_box(&older), black_box(&newer));
        older.may_extend_to(newer) && older.also_may_grow_to(newer)
    };
    assert!(black_box(is_good), "the newer one extends the older one");
    (older, newer)
}

library_benchmark_group!(name = record, benchmarks = extends);

fn world(validators: u8) -> World {
    let mut world = World::new(validators);
    (0..BLOCKS_BEFORE).for_each(|_| world.block());
    world
}

// A proposal, the votes of all for it, and all hold it as final.
#[library_benchmark(setup = world)]
#[bench::size_4_times_64(4)]
fn step(mut world: World) -> World {
    (0..BLOCKS).for_each(|_| world.block());
    world
}

library_benchmark_group!(name = consensus, benchmarks = step);

// The same with so many validators that it is nearly all the counting of votes.
#[library_benchmark(setup = world)]
#[bench::size_16_times_64(16)]
fn round(mut world: World) -> World {
    (0..BLOCKS).for_each(|_| world.block());
    world
}

library_benchmark_group!(name = tally, benchmarks = round);
