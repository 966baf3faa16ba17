//! The open loop: hands over what is due at its intended time, to whatever target.
//!
//! Owns the time at which a command is handed over, and how long the last answers are waited for:
//! the same for Quorate and for the systems it is compared with. Never: knows a protocol.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::LoadError;
use super::ledger::Counts;
use super::source::{LoadPlan, Next, Source};

/// How long the last results are waited for after the last send, seconds.
pub const DRAIN_SECONDS: u64 = 60;
/// The same.
const DRAIN: Duration = Duration::from_secs(DRAIN_SECONDS);
/// How long at most after somebody asked to stop.
const DRAIN_STOPPED: Duration = Duration::from_secs(10);
/// From when on it is told that results are waited for.
const DRAIN_UNTOLD: Duration = Duration::from_secs(1);
/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(100);
/// Longest time in which nothing is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(20);
/// From this rate on commands are handed over in batches, commands a second.
const BATCH_RATE: u64 = 20_000;
/// The time between two batches. A command waits half of it on average, and that counts.
const BATCH: Duration = Duration::from_micros(250);

/// How far the load is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Since the first send.
    pub elapsed: Duration,
    /// Sent and answered so far.
    pub counts: Counts,
    /// Commands intended so far.
    pub offered: u64,
    /// All is sent, and results are waited for this long at most.
    pub drains: Option<Duration>,
}

/// Whoever takes the commands.
pub(super) trait Target {
    /// The run's clock begins here.
    fn begin(&mut self, start: Instant);

    /// Takes a command over; false when answers must come first.
    fn take(&mut self, next: &Next<'_>) -> bool;

    /// One turn: sends, waits until `wake` at the latest, takes in what came.
    ///
    /// # Errors
    /// The load cannot go on.
    fn turn(&mut self, now: Instant, wake: Option<Instant>) -> Result<(), LoadError>;

    /// Sent and answered so far.
    fn counts(&self) -> Counts;

    /// Whether each command has a result or was refused.
    fn is_answered(&self) -> bool;
}

/// Drives `target` to the end of the plan, or until `stop` is set; gives the commands intended.
///
/// # Errors
/// As the target's turns.
pub(super) fn run(
    plan: &LoadPlan,
    source: Source,
    target: &mut impl Target,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&Progress),
) -> Result<u64, LoadError> {
    let start = Instant::now();
    target.begin(start);
    let mut open = OpenLoop {
        plan,
        source,
        target,
        start,
    };
    open.send_all(stop, tell)?;
    open.drain(stop, tell)?;
    // Last: making what was never taken takes time in which nobody would listen to results.
    if !stop.load(Ordering::Relaxed) {
        open.source.offer_rest();
    }
    Ok(open.source.offered())
}

struct OpenLoop<'a, T> {
    plan: &'a LoadPlan,
    source: Source,
    target: &'a mut T,
    start: Instant,
}

impl<T: Target> OpenLoop<'_, T> {
    /// Sends what the flow intends, at its time.
    fn send_all(
        &mut self,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(&Progress),
    ) -> Result<(), LoadError> {
        let end = self.start + Duration::from_secs(self.plan.seconds);
        let batch = if self.plan.rate.get() < BATCH_RATE {
            Duration::ZERO
        } else {
            BATCH
        };
        let mut tell_at = self.start + PROGRESS;
        loop {
            let now = Instant::now();
            if now >= end || stop.load(Ordering::Relaxed) {
                break;
            }
            if now >= tell_at {
                tell_at += PROGRESS;
                tell(&self.progress(now, None));
            }
            let next = self.take_due(now);
            if next.is_none() && self.source.peek().is_none() {
                break;
            }
            let wake = next.map(|next| next.max(now + batch));
            let wake = wake.into_iter().chain([end, tell_at]).min();
            self.target.turn(now, wake)?;
        }
        // What was due when the last turn took too long is late and not unsent: that is what finds
        // no room.
        if !stop.load(Ordering::Relaxed) {
            self.take_due(end);
        }
        Ok(())
    }

    /// Hands over every command whose time has come. Gives the time of the next one; none when a
    /// full target must first get answers.
    fn take_due(&mut self, now: Instant) -> Option<Instant> {
        let now_ns = now.saturating_duration_since(self.start).as_nanos();
        let now_ns = u64::try_from(now_ns).unwrap_or(u64::MAX);
        loop {
            let next = self.source.peek()?;
            if next.offset_ns > now_ns {
                return Some(self.start + Duration::from_nanos(next.offset_ns));
            }
            if !self.target.take(&next) {
                return None;
            }
            self.source.advance();
        }
    }

    fn progress(&self, now: Instant, drains: Option<Duration>) -> Progress {
        Progress {
            elapsed: now.saturating_duration_since(self.start),
            counts: self.target.counts(),
            offered: self.source.offered(),
            drains,
        }
    }

    /// Waits until each command has a result or was refused: who asked to stop wants to know that,
    /// too, since what is left is missing, but waits for less. Who asks to stop meanwhile does not
    /// want to wait any more.
    fn drain(
        &mut self,
        stop: &AtomicBool,
        tell: &mut dyn FnMut(&Progress),
    ) -> Result<(), LoadError> {
        let was_stopped = stop.load(Ordering::Relaxed);
        let longest = if was_stopped { DRAIN_STOPPED } else { DRAIN };
        let begin = Instant::now();
        let deadline = begin + longest;
        let mut tell_at = Some(begin + DRAIN_UNTOLD);
        loop {
            let now = Instant::now();
            let is_cut_short = !was_stopped && stop.load(Ordering::Relaxed);
            if self.target.is_answered() || is_cut_short || now >= deadline {
                return Ok(());
            }
            if tell_at.take_if(|at| now >= *at).is_some() {
                tell(&self.progress(now, Some(longest)));
            }
            self.target.turn(now, Some(deadline.min(now + LOOK)))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::load::source::{Flow, Routing};

    /// Takes so many, and stands still from its first turn until the load is over.
    struct Slow {
        start: Instant,
        taken: u64,
        takes_at_most: u64,
        is_answered: bool,
    }

    impl Target for Slow {
        fn begin(&mut self, start: Instant) {
            self.start = start;
        }

        fn take(&mut self, _: &Next<'_>) -> bool {
            let has_room = self.taken < self.takes_at_most;
            self.taken += u64::from(has_room);
            has_room
        }

        fn turn(&mut self, _: Instant, _: Option<Instant>) -> Result<(), LoadError> {
            let until = self.start + Duration::from_millis(1_001);
            while Instant::now() < until {
                std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
            }
            Ok(())
        }

        fn counts(&self) -> Counts {
            Counts::default()
        }

        fn is_answered(&self) -> bool {
            self.is_answered
        }
    }

    fn plan() -> LoadPlan {
        LoadPlan {
            flow: Flow::Opaque { size: 16 },
            rate: NonZeroU64::new(100).unwrap(),
            seconds: 1,
            clients: 1,
            seed: 1,
            keeps_acknowledged: false,
            routing: Routing::Flow,
            keeps_trips: false,
        }
    }

    /// A validator that is behind has the results of its clients, and gives none of them.
    #[test]
    fn results_that_do_not_come_are_told_of_once_and_not_waited_for_by_who_does_not_want_to() {
        let plan = plan();
        let mut target = Slow {
            start: Instant::now(),
            taken: 0,
            takes_at_most: u64::MAX,
            is_answered: false,
        };
        let (source, stop) = (Source::open(&plan).unwrap(), AtomicBool::new(false));
        let begin = Instant::now();
        let mut told = Vec::new();
        let mut tell = |now: &Progress| {
            if now.drains.is_some() {
                told.push(now.drains);
                stop.store(true, Ordering::Relaxed);
            }
        };
        run(&plan, source, &mut target, &stop, &mut tell).unwrap();
        assert_eq!(told, [Some(DRAIN)]);
        assert!(begin.elapsed() < DRAIN, "it waited all the same");
    }

    #[test]
    fn what_was_due_in_a_turn_that_was_too_long_is_late_and_what_found_no_room_is_unsent() {
        let plan = plan();
        for (takes_at_most, taken) in [(u64::MAX, 100), (60, 60)] {
            let mut target = Slow {
                start: Instant::now(),
                taken: 0,
                takes_at_most,
                is_answered: true,
            };
            let (source, stop) = (Source::open(&plan).unwrap(), AtomicBool::new(false));
            let offered = run(&plan, source, &mut target, &stop, &mut |_| ()).unwrap();
            assert_eq!((offered, target.taken), (100, taken));
        }
    }
}
