//! What a frame costs on its way through the system: writes and reads of a socket, and threads that
//! are woken by them. All through the net crate as validators use it, over loopback.
//!
//! Names are `part::operation/size`, sizes in bytes of a frame; of a way and of a write to one who
//! sleeps in microseconds for which both rested before, of `both_ways` in cores.

#[expect(dead_code, reason = "each bench uses a part of it")]
mod support;

#[path = "support/nets.rs"]
mod nets;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use nets::{End, pair};
use support::frames;

/// A frame that ends the other thread.
const END: &[u8] = &[0];
/// What a load of a thousand commands a second leaves between two of them.
const REST_US: u64 = 1_000;

/// A vote and the proposal of a command of 128 bytes.
fn both_kinds() -> [Vec<u8>; 2] {
    [frames::vote(), frames::propose(128)].map(|message| frames::encoded(&message))
}

/// Nobody sleeps: what the sender pays for a frame, and what the receiver.
fn frame(criterion: &mut Criterion) {
    let [mut own, mut other] = pair();
    let mut group = criterion.benchmark_group("wire::send");
    for bytes in both_kinds() {
        group.bench_function(BenchmarkId::from_parameter(bytes.len()), |bench| {
            bench.iter_custom(|times| (0..times).map(|_| send(&mut own, &mut other, &bytes)).sum());
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("wire::receive");
    for bytes in both_kinds() {
        group.bench_function(BenchmarkId::from_parameter(bytes.len()), |bench| {
            bench.iter_custom(|times| {
                let receive = |_| receive(&mut own, &mut other, &bytes);
                (0..times).map(receive).sum()
            });
        });
    }
    // The poller asked, and nothing has come.
    group.bench_function(BenchmarkId::from_parameter(0), |bench| {
        bench.iter(|| own.turn());
    });
    group.finish();
}

fn send(own: &mut End, other: &mut End, bytes: &[u8]) -> Duration {
    let began = Instant::now();
    own.send(bytes);
    let took = began.elapsed();
    receive_all(other);
    took
}

fn receive(own: &mut End, other: &mut End, bytes: &[u8]) -> Duration {
    own.send(bytes);
    receive_all(other)
}

/// Turns until the frame is there; what the turn took that brought it.
fn receive_all(other: &mut End) -> Duration {
    loop {
        let began = Instant::now();
        other.turn();
        let took = began.elapsed();
        if other.has_come() {
            return took;
        }
    }
}

/// What is measured of a way to one who sleeps.
#[derive(Clone, Copy)]
enum Part {
    /// From before the write until the frame is handed over there.
    Way,
    /// The write alone.
    Send,
    /// There, and back to one who sleeps as well.
    BothWays,
}

/// Rounds with another thread that answers each frame and sleeps in between.
fn rounds(ends: &mut [End; 2], part: Part, rest: Duration, times: u64) -> Duration {
    let [vote, _] = both_kinds();
    let [own, other] = ends;
    let base = Instant::now();
    let came_ns = AtomicU64::new(0);
    let since = |at: Instant| u64::try_from(at.duration_since(base).as_nanos()).unwrap_or(u64::MAX);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let (at, bytes) = other.wait();
                if bytes == END.len() {
                    return;
                }
                came_ns.store(since(at), Ordering::Release);
                other.send(&vote);
            }
        });
        let mut round = || {
            pause(rest);
            let began = Instant::now();
            own.send(&vote);
            let sent = Instant::now();
            let (back, _) = own.wait();
            let took = match part {
                Part::Way => came_ns.load(Ordering::Acquire).saturating_sub(since(began)),
                Part::Send => since(sent) - since(began),
                Part::BothWays => since(back) - since(began),
            };
            Duration::from_nanos(took)
        };
        // The other thread has begun then.
        round();
        let all = (0..times).map(|_| round()).sum();
        own.send(END);
        all
    })
}

/// One who sleeps is woken on a core that nobody uses.
fn way(criterion: &mut Criterion) {
    let mut ends = pair();
    let cores = Cores::allowed();
    cores.use_so_many(2);
    for (name, part) in [("wire::way", Part::Way), ("wire::send_waking", Part::Send)] {
        let mut group = criterion.benchmark_group(name);
        for rest_us in [0, REST_US] {
            let rest = Duration::from_micros(rest_us);
            group.bench_function(BenchmarkId::from_parameter(rest_us), |bench| {
                bench.iter_custom(|times| rounds(&mut ends, part, rest, times));
            });
        }
        group.finish();
    }
    cores.use_all();
}

/// There and back, where both have a core and where they share one.
fn both_ways(criterion: &mut Criterion) {
    let mut ends = pair();
    let cores = Cores::allowed();
    let mut group = criterion.benchmark_group("wire::both_ways");
    for count in [1, 2] {
        cores.use_so_many(count);
        group.bench_function(BenchmarkId::from_parameter(count), |bench| {
            bench.iter_custom(|times| rounds(&mut ends, Part::BothWays, Duration::ZERO, times));
        });
        cores.use_all();
    }
    group.finish();
}

/// The cores that this thread may use, and those that it begins after it.
struct Cores(CpuSet);

impl Cores {
    fn allowed() -> Self {
        Self(sched_getaffinity(None).expect("the system tells"))
    }

    fn use_so_many(&self, count: usize) {
        let mut some = CpuSet::new();
        let allowed = (0..CpuSet::MAX_CPU).filter(|core| self.0.is_set(*core));
        allowed.take(count).for_each(|core| some.set(core));
        sched_setaffinity(None, &some).expect("they may be used");
    }

    fn use_all(&self) {
        sched_setaffinity(None, &self.0).expect("they could be used before");
    }
}

/// The pace of a load, in which both cores have nothing to do.
#[expect(
    clippy::disallowed_methods,
    reason = "time with nothing to do is what is measured"
)]
fn pause(time: Duration) {
    if !time.is_zero() {
        std::thread::sleep(time);
    }
}

criterion_group!(benches, frame, way, both_ways);
criterion_main!(benches);
