//! Every interleaving of what the log's threads share, by loom: `src/claim.rs`, `src/published.rs`
//! and `src/handover.rs` themselves, over loom's atomics and locks.

#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

/// What the three files are written over.
mod atomics {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
}

#[path = "../src/claim.rs"]
mod claim;
#[path = "../src/handover.rs"]
mod handover;
#[path = "../src/published.rs"]
mod published;

use claim::Claim;
use handover::Handover;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use published::Published;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

/// The memory of a region. Loom fails a run in which a read and a write of one cell are not
/// ordered by what the threads share; the values do not matter.
struct Memory(Vec<UnsafeCell<()>>);

impl Memory {
    fn new(cells: usize) -> Self {
        Self((0..cells).map(|_| UnsafeCell::new(())).collect())
    }

    fn write(&self, at: usize) {
        self.0[at].with_mut(|_| ());
    }

    fn read(&self, at: usize) {
        self.0[at].with(|_| ());
    }
}

#[test]
fn a_reader_of_a_region_touches_nothing_that_is_being_written() {
    const CELLS: usize = 2;
    loom::model(|| {
        let shared = Rc::new((Memory::new(CELLS), Published::default()));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let shared = Rc::clone(&shared);
                thread::spawn(move || {
                    let (memory, published) = &*shared;
                    let end = published.end();
                    (0..end).for_each(|at| memory.read(at));
                    assert!(published.end() >= end, "what was published was taken back");
                })
            })
            .collect();
        let (memory, published) = &*shared;
        for at in 0..CELLS {
            memory.write(at);
            published.raise(at + 1);
        }
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!(published.end(), CELLS);
    });
}

#[test]
fn two_openings_never_write_the_same_files_at_once() {
    loom::model(|| {
        let shared = Rc::new((Memory::new(1), Arc::new(AtomicBool::new(false))));
        let openings: Vec<_> = (0..2)
            .map(|_| {
                let shared = Rc::clone(&shared);
                thread::spawn(move || {
                    let (memory, taken) = &*shared;
                    let claim = Claim::take(taken);
                    if claim.is_some() {
                        memory.write(0);
                    }
                    claim.is_some()
                })
            })
            .collect();
        let opened = openings
            .into_iter()
            .map(|opening| usize::from(opening.join().unwrap()))
            .sum::<usize>();
        assert!((1..=2).contains(&opened), "{opened} of two openings");
        assert!(Claim::take(&shared.1).is_some(), "the claim is not free");
    });
}

/// A writer that takes `takes` things from number `first` on, and a thread that makes them ready;
/// it gives up at its first failure if `fails`.
fn hand_over(first: u32, takes: u32, fails: bool) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let handover = Arc::new(Handover::new(Some(first), None));
        // How often each number was made, by whomever.
        let made: Arc<Vec<AtomicU32>> = Arc::new((0..=takes).map(|_| AtomicU32::new(0)).collect());
        let preparer = {
            let (handover, made) = (Arc::clone(&handover), Arc::clone(&made));
            thread::spawn(move || {
                while handover.wait_until_needed() {
                    let prepared = handover.prepare(|number| {
                        if fails {
                            return Err(());
                        }
                        made[(number - first) as usize].fetch_add(1, Ordering::Relaxed);
                        Ok(number)
                    });
                    if prepared.is_err() {
                        return;
                    }
                }
            })
        };
        for number in first..first + takes {
            let taken = handover.take(|number| {
                made[(number - first) as usize].fetch_add(1, Ordering::Relaxed);
                Ok::<_, Infallible>(number)
            });
            assert_eq!(taken, Ok(Some((number, number))));
        }
        handover.close();
        preparer.join().unwrap();
        for count in &made[..takes as usize] {
            assert_eq!(count.load(Ordering::Relaxed), 1, "made twice, or never");
        }
        assert!(made[takes as usize].load(Ordering::Relaxed) <= 1);
    });
}

#[test]
fn everything_is_made_once_and_taken_in_order_and_the_maker_ends() {
    hand_over(0, 1, false);
    hand_over(7, 2, false);
}

#[test]
fn a_maker_that_fails_holds_up_nobody() {
    hand_over(0, 2, true);
}

#[test]
fn what_is_taken_is_made_anew_without_another_word() {
    loom::model(|| {
        let handover = Arc::new(Handover::new(Some(0), Some(0)));
        let made = Arc::new((Mutex::new(0), Condvar::new()));
        let preparer = {
            let (handover, made) = (Arc::clone(&handover), Arc::clone(&made));
            thread::spawn(move || {
                while handover.wait_until_needed() {
                    handover.prepare(Ok::<_, Infallible>).unwrap();
                    *made.0.lock().unwrap() += 1;
                    made.1.notify_one();
                }
            })
        };
        let taken = handover.take(|_| Err("it was ready"));
        assert_eq!(taken, Ok(Some((0, 0))));
        let mut count = made.0.lock().unwrap();
        while *count == 0 {
            count = made.1.wait(count).unwrap();
        }
        drop(count);
        let is_made = handover.prepare(|_| Err("made although it was ready"));
        assert_eq!(is_made, Ok(false));
        handover.close();
        preparer.join().unwrap();
    });
}

#[test]
fn past_the_last_number_the_maker_sleeps_until_the_writer_is_gone() {
    loom::model(|| {
        let handover = Arc::new(Handover::new(Some(u32::MAX), None));
        let preparer = {
            let handover = Arc::clone(&handover);
            thread::spawn(move || {
                while handover.wait_until_needed() {
                    handover.prepare(Ok::<_, Infallible>).unwrap();
                }
            })
        };
        assert_eq!(
            handover.take(Ok::<_, Infallible>),
            Ok(Some((u32::MAX, u32::MAX)))
        );
        assert_eq!(handover.take(Ok::<_, Infallible>), Ok(None));
        handover.close();
        preparer.join().unwrap();
    });
}
