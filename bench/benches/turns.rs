//! What a validator's thread does for a block, in one piece: the turns of whole validators, each
//! with its log on the disk, without sockets and without waiting.
//!
//! Names are `part::operation/size`, sizes in validators. Those of `turn_cold` are of a core that
//! has forgotten what it knew: before each, more than its own caches hold was written. Those of
//! `turn_rested` are of one that has had nothing to do for a millisecond.

#[expect(dead_code, reason = "each bench uses a part of it")]
mod support;

#[path = "support/replicas.rs"]
mod replicas;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

use replicas::{Before, Part, Replicas};

/// Blocks before those that count: buffers that are used again have grown by then.
const BLOCKS_WARM: u64 = 200;
const VALIDATORS: usize = 4;

const PARTS: [(&str, Part); 6] = [
    ("propose", Part::Propose),
    ("vote", Part::Vote),
    ("rest", Part::Rest),
    ("early", Part::Early),
    ("count", Part::Count),
    ("empty", Part::Empty),
];

fn turns(criterion: &mut Criterion) {
    let mut replicas = Replicas::new();
    replicas.time(Part::Vote, Before::Busy, BLOCKS_WARM);
    let all = [
        ("turn", Before::Busy),
        ("turn_cold", Before::Forgot),
        ("turn_rested", Before::Rested),
    ];
    for (group, before) in all {
        for (name, part) in PARTS {
            let mut group = criterion.benchmark_group(format!("{group}::{name}"));
            group.sample_size(50);
            group.bench_function(BenchmarkId::from_parameter(VALIDATORS), |bench| {
                bench.iter_custom(|blocks| replicas.time(part, before, blocks));
            });
            group.finish();
        }
    }
}

criterion_group!(benches, turns);
criterion_main!(benches);
