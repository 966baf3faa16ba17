//! The rules without wire, log and time: records, and whole rounds of validators on one thread.
//!
//! Names are `part::operation/size`, sizes in validators or entries.

#[expect(dead_code, reason = "each bench uses a part of it")]
mod support;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use support::records::older_and_newer;
use support::world::World;

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record::extends");
    for entries in [0_u32, 4, 64] {
        let (older, newer) = older_and_newer(entries);
        group.bench_function(BenchmarkId::from_parameter(entries), |bench| {
            bench.iter(|| {
                let (older, newer) = (black_box(&older), black_box(&newer));
                older.may_extend_to(newer) && older.also_may_grow_to(newer)
            });
        });
    }
    group.finish();
}

/// One block proposed, voted for and final, at all validators: with many of them the counting of
/// votes is nearly all of it.
fn rounds(criterion: &mut Criterion) {
    for (name, validators) in [("consensus::step", 4), ("tally::round", 16)] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20);
        group.throughput(Throughput::Elements(1));
        let mut world = World::new(validators);
        group.bench_function(BenchmarkId::from_parameter(validators), |bench| {
            bench.iter(|| world.block());
        });
        group.finish();
    }
}

criterion_group!(benches, record, rounds);
criterion_main!(benches);
