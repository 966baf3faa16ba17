//! The order book under a flow of orders like the one of a real market.
//!
//! Names are `part::operation/size`, sizes in resting orders.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quorate::genesis::Application;
use quorate::state_machine::{Context, Output, SessionId, StateMachine as _};
use quorate_bench::applications::{Hosted, VENUE, VenueParameters};
use quorate_bench::orders::{Generator, GeneratorConfig, OrderFlow as _, Planned, Sender};
use std::num::NonZeroU64;

/// Commands that set a book up before it is measured, for each order that it is to hold.
const SET_UP: u32 = 8;

/// The venue and what it is fed with.
struct Market {
    venue: Hosted,
    output: Output,
    height: u64,
}

impl Market {
    fn apply(&mut self, planned: &Planned, command: &[u8]) {
        let session = match planned.sender {
            Sender::Client(client) => u8::try_from(client + 1).expect("few clients"),
            Sender::Admin => 0,
        };
        self.height += 1;
        let context = Context {
            height: self.height,
            index: 0,
            time_ns: planned.offset_ns,
            session: SessionId([session; 16]),
            seq: self.height,
            lane: planned.lane,
        };
        self.output.clear();
        self.venue.apply(&context, command, &mut self.output);
    }
}

fn book(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("book::command");
    group.throughput(Throughput::Elements(1));
    for orders_target in [1_000_u32, 10_000] {
        let mut flow = Generator::new(GeneratorConfig {
            seed: 1,
            rate_per_s: NonZeroU64::new(100_000).expect("not zero"),
            clients: 16,
            instruments: 1,
            orders_target,
        });
        let parameters = VenueParameters::one_instrument("QRT", &[]);
        let parameters = serde_json::to_value(parameters).expect("plain data");
        let application = Application {
            name: VENUE.to_owned(),
            parameters: parameters.as_object().cloned().expect("an object"),
        };
        let mut market = Market {
            venue: Hosted::open(&application).expect("a venue"),
            output: Output::new(),
            height: 0,
        };
        let mut next = move || {
            let mut command = Vec::new();
            let planned = flow.plan_next(&mut command).expect("it has no end");
            (planned, command)
        };
        for _ in 0..orders_target * SET_UP {
            let (planned, command) = next();
            market.apply(&planned, &command);
        }
        group.bench_function(BenchmarkId::from_parameter(orders_target), |bench| {
            bench.iter_batched_ref(
                &mut next,
                |(planned, command)| market.apply(planned, command),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, book);
criterion_main!(benches);
