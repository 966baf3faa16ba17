//! Every interleaving of the park protocol, by loom: `src/park.rs` itself, over loom's atomics.
//!
//! The queue between producer and consumer is the weakest there is, one relaxed word a producer,
//! so that whatever the consumer sees of it, it sees by the protocol alone. A consumer that sleeps
//! for ever is a deadlock, which loom reports.

#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

/// What `src/park.rs` is written over.
mod atomics {
    pub(crate) use loom::sync::atomic::{AtomicU32, Ordering, fence};
}

#[path = "../src/park.rs"]
mod park;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use park::Park;
use std::sync::Arc;

/// The kernel's part: a wake-up stays until a sleep takes it.
#[derive(Default)]
struct Kernel {
    is_woken: Mutex<bool>,
    changed: Condvar,
}

impl Kernel {
    fn wake(&self) {
        *self.is_woken.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn sleep(&self) {
        let mut is_woken = self.is_woken.lock().unwrap();
        while !*is_woken {
            is_woken = self.changed.wait(is_woken).unwrap();
        }
        *is_woken = false;
    }
}

/// One consumer and its producers.
struct World {
    park: Park,
    kernel: Kernel,
    /// Items that each producer has pushed.
    pushed: Vec<AtomicU32>,
    wakes: AtomicU32,
    sleeps: AtomicU32,
}

impl World {
    fn new(producers: usize) -> Arc<Self> {
        Arc::new(Self {
            park: Park::default(),
            kernel: Kernel::default(),
            pushed: (0..producers).map(|_| AtomicU32::new(0)).collect(),
            wakes: AtomicU32::new(0),
            sleeps: AtomicU32::new(0),
        })
    }

    fn produce(&self, producer: usize, items: u32) {
        for item in 1..=items {
            self.pushed[producer].store(item, Ordering::Relaxed);
            self.park.notify(|| {
                self.wakes.fetch_add(1, Ordering::Relaxed);
                self.kernel.wake();
            });
        }
    }

    /// Turns as the event loop does, until everything was seen.
    fn consume(&self, items: u32, manner: Manner) {
        let mut seen = vec![0; self.pushed.len()];
        let mut turn = 0;
        while seen.iter().any(|count| *count < items) {
            let is_told = manner == Manner::Lingers && self.park.look(thread::yield_now).1;
            if !is_told && self.wait(turn > 0 || manner != Manner::FirstSpins) {
                self.sleeps.fetch_add(1, Ordering::Relaxed);
            }
            for (seen, pushed) in seen.iter_mut().zip(&self.pushed) {
                *seen = pushed.load(Ordering::Relaxed);
            }
            turn += 1;
        }
    }

    fn wait(&self, may_sleep: bool) -> bool {
        let ((), rest) = self.park.wait(may_sleep, |sleeps| {
            if sleeps {
                self.kernel.sleep();
            } else {
                thread::yield_now();
            }
        });
        rest.slept
    }

    /// Once every thread has ended: no sleep was woken twice.
    fn check(&self) {
        let (wakes, sleeps) = (
            self.wakes.load(Ordering::Relaxed),
            self.sleeps.load(Ordering::Relaxed),
        );
        assert!(wakes <= sleeps, "{wakes} wake-ups for {sleeps} sleeps");
    }
}

/// What a consumer does in a turn with nothing to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Sleeps,
    /// It does not sleep in its first turn.
    FirstSpins,
    /// It looks before it sleeps.
    Lingers,
}

/// Explores `producers` with `items` each, with at most so many switches that nobody asked for
/// (`None`: all of them).
fn explore(producers: usize, items: u32, preemptions: Option<usize>, manner: Manner) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        let world = World::new(producers);
        let threads: Vec<_> = (0..producers)
            .map(|producer| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.produce(producer, items))
            })
            .collect();
        world.consume(items, manner);
        for thread in threads {
            thread.join().unwrap();
        }
        world.check();
    });
}

#[test]
fn nothing_is_lost_and_no_sleep_is_woken_twice_with_one_producer() {
    explore(1, 1, None, Manner::Sleeps);
    explore(1, 2, None, Manner::Sleeps);
}

#[test]
fn nothing_is_lost_by_a_consumer_that_looks_before_it_sleeps() {
    explore(1, 1, None, Manner::FirstSpins);
    explore(1, 2, None, Manner::FirstSpins);
}

#[test]
fn nothing_is_lost_by_a_consumer_that_lingers() {
    explore(1, 1, None, Manner::Lingers);
    explore(1, 2, None, Manner::Lingers);
    explore(2, 1, Some(2), Manner::Lingers);
}

#[test]
fn nothing_is_lost_with_two_producers() {
    explore(2, 1, Some(3), Manner::Sleeps);
    explore(2, 2, Some(2), Manner::Sleeps);
}

#[test]
fn a_producer_wakes_nobody_who_does_not_sleep() {
    loom::model(|| {
        let world = World::new(1);
        let producer = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.pushed[0].store(1, Ordering::Relaxed);
                world.park.notify(|| panic!("nobody sleeps"));
            })
        };
        let told = (0..2)
            .map(|_| world.park.wait(false, |sleeps| assert!(!sleeps)).1)
            .filter(|rest| rest.was_notified);
        let told = told.count();
        producer.join().unwrap();
        let ((), rest) = world.park.wait(false, |_| ());
        assert_eq!(told + usize::from(rest.was_notified), 1, "it is told once");
    });
}
