//! Where loads that are to run side by side wait for one another, before the clock of any begins.
//!
//! Owns the count of those that are not there yet. One that has failed is waited for no longer.
//! Never: reads a clock.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::LoadError;
use super::open_loop::{LOOK, Target};

/// Opens when every load has come to it, or is no more.
#[derive(Debug)]
pub struct Gate {
    missing: AtomicUsize,
}

impl Gate {
    /// For so many loads, each of which has a [`place`](Self::place) of its own.
    #[must_use]
    pub const fn of(loads: usize) -> Self {
        Self {
            missing: AtomicUsize::new(loads),
        }
    }

    /// One load's place, to be taken once for each before any of them runs.
    #[must_use]
    pub const fn place(&self) -> Place<'_> {
        Place {
            gate: self,
            is_there: false,
        }
    }

    fn is_open(&self) -> bool {
        self.missing.load(Ordering::Acquire) == 0
    }
}

/// The place of one load at a gate. Who lets go of it is there, as far as the others care.
#[derive(Debug)]
pub struct Place<'a> {
    gate: &'a Gate,
    is_there: bool,
}

impl Place<'_> {
    /// Comes to the gate and stays until it is open or `stop` is set. What the target has to do
    /// meanwhile is done.
    ///
    /// # Errors
    /// As the target's turns.
    pub(super) fn pass(
        mut self,
        target: &mut impl Target,
        stop: &AtomicBool,
    ) -> Result<(), LoadError> {
        self.come();
        while !self.gate.is_open() && !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            target.turn(now, Some(now + LOOK))?;
        }
        Ok(())
    }

    fn come(&mut self) {
        if !self.is_there {
            self.is_there = true;
            self.gate.missing.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.come();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::load::ledger::Counts;
    use crate::load::source::Next;

    /// A load without a network; each turn it does what it is told to.
    struct Turns<F>(F);

    impl<F: FnMut() -> Result<(), LoadError>> Target for Turns<F> {
        fn begin(&mut self, _: Instant) {}

        fn take(&mut self, _: &Next<'_>) -> bool {
            true
        }

        fn turn(&mut self, _: Instant, _: Option<Instant>) -> Result<(), LoadError> {
            (self.0)()
        }

        fn counts(&self) -> Counts {
            Counts::default()
        }

        fn is_answered(&self) -> bool {
            true
        }
    }

    #[test]
    fn nobody_passes_before_the_last_one_has_come_and_turns_go_on_until_then() {
        let (gate, stop) = (Gate::of(2), AtomicBool::new(false));
        let (early, late) = (gate.place(), gate.place());
        let log = Mutex::new(Vec::new());
        let note = |what: &'static str| log.lock().unwrap().push(what);
        let (turned, turns) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut target = Turns(move || {
                    _ = turned.send(());
                    std::thread::yield_now();
                    Ok(())
                });
                early.pass(&mut target, &stop).unwrap();
                note("passed");
            });
            // It waits, and is no further after some turns.
            for _ in 0..3 {
                turns.recv().unwrap();
            }
            note("signed");
            late.pass(&mut Turns(|| Ok(())), &stop).unwrap();
        });
        assert_eq!(*log.lock().unwrap(), ["signed", "passed"]);
    }

    #[test]
    fn a_load_that_failed_before_is_not_waited_for_nor_is_anybody_after_a_stop() {
        let stop = AtomicBool::new(false);
        let gate = Gate::of(2);
        let (one, other) = (gate.place(), gate.place());
        let fails = || Err(LoadError::SessionsFull);
        assert!(one.pass(&mut Turns(fails), &stop).is_err());
        // It had come, and this one opens the gate: no turn is needed any more.
        other.pass(&mut Turns(fails), &stop).unwrap();
        let gate = Gate::of(2);
        drop(gate.place());
        gate.place().pass(&mut Turns(fails), &stop).unwrap();
        stop.store(true, Ordering::Relaxed);
        let gate = Gate::of(2);
        gate.place().pass(&mut Turns(fails), &stop).unwrap();
    }
}
