//! The log, and a hop between two stages. Sizes are bytes, of a hop items.

use std::hint::black_box;

use crossbeam::channel::{Receiver, Sender, unbounded};
use gungraun::prelude::*;

use crate::support::storage::Log;

/// Records and items, as the ids of the benches say; so many before them, too.
const TIMES: usize = 64;

fn log_and_payload(bytes: usize) -> (Log, Vec<u8>) {
    let (mut log, payload) = (Log::create("instructions"), vec![0x5a; bytes]);
    (0..TIMES).for_each(|_| log.append(&payload));
    (log, payload)
}

#[library_benchmark(setup = log_and_payload)]
#[bench::size_64_times_64(64)]
#[bench::size_512_times_64(512)]
#[bench::size_4096_times_64(4096)]
fn append((mut log, payload): (Log, Vec<u8>)) -> (Log, Vec<u8>) {
    (0..TIMES).for_each(|_| log.append(black_box(&payload)));
    (log, payload)
}

library_benchmark_group!(name = log, benchmarks = append);

type Queue = (Sender<u64>, Receiver<u64>);

fn pass(queue: &Queue) {
    for item in 0..TIMES as u64 {
        queue.0.send(black_box(item)).expect("there is a reader");
        black_box(queue.1.recv()).expect("there is an item");
    }
}

fn queue_in_use(_: usize) -> Queue {
    let queue = unbounded();
    pass(&queue);
    queue
}

// In and out on one thread: what waking and waiting take is left to the scheduler, and differs
// from run to run.
#[library_benchmark(setup = queue_in_use)]
#[bench::size_1_times_64(1)]
fn hop(queue: Queue) -> Queue {
    pass(&queue);
    queue
}

library_benchmark_group!(name = queue, benchmarks = hop);
