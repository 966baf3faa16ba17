//! The order book under a flow of orders like the one of a real market.
//!
//! Names are `part::operation/size`, sizes in resting orders.

#[expect(dead_code, reason = "each bench uses a part of it")]
mod support;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use support::market::market;

fn book(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("book::command");
    group.throughput(Throughput::Elements(1));
    for orders_target in [1_000_u32, 10_000] {
        let (mut market, mut next) = market(orders_target);
        group.bench_function(BenchmarkId::from_parameter(orders_target), |bench| {
            bench.iter_batched_ref(&mut next, |next| market.apply(next), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, book);
criterion_main!(benches);
