//! The order book under a flow like the one of a real market. Sizes are resting orders.

use gungraun::prelude::*;

use crate::support::market::{self, Market, Next};

/// Commands, as the ids of the benches say: one differs much from the next.
const COMMANDS: usize = 1_000;

fn market_and_commands(orders: u32) -> (Market, Vec<Next>) {
    let (market, mut next) = market::market(orders);
    let commands = (0..COMMANDS).map(|_| next()).collect();
    (market, commands)
}

#[library_benchmark(setup = market_and_commands)]
#[bench::size_1000_times_1000(1_000)]
#[bench::size_10000_times_1000(10_000)]
fn command((mut market, commands): (Market, Vec<Next>)) -> (Market, Vec<Next>) {
    commands.iter().for_each(|next| market.apply(next));
    (market, commands)
}

library_benchmark_group!(name = book, benchmarks = command);
