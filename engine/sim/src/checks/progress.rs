//! After healing the chain goes on within a bounded number of windows.
//!
//! Owns the highest window that any honest validator has entered, and how many windows were given
//! up since healing without a new block delivered, while no more stake is away than the protocol
//! promises to do without. Windows that are given up can pass faster than a peer can be found out
//! that does not answer, so a while has to pass as well. A window that nobody honest gives up ends
//! full of blocks, which become final as soon as the slowest has said its word, however many
//! windows pass meanwhile: that is a matter of time, and for a run that ends stuck.

use std::collections::BTreeSet;

use super::Violation;

/// The count of windows given up without a final block.
#[derive(Debug)]
pub(crate) struct Progress {
    /// More in a row are too many.
    bound: u64,
    /// A body that is missing may have to be asked of every peer in turn, for so long.
    patience_ns: u64,
    entered: u64,
    /// Windows that somebody honest gave up, from `base` on.
    given_up: BTreeSet<u64>,
    height: u64,
    /// The highest window entered when the newest block became final.
    base: u64,
    /// When that was.
    base_ns: u64,
    is_healed: bool,
    is_reported: bool,
    windows_max: u64,
}

impl Progress {
    pub(crate) const fn new(bound: u64, patience_ns: u64) -> Self {
        Self {
            bound,
            patience_ns,
            entered: 0,
            given_up: BTreeSet::new(),
            height: 0,
            base: 0,
            base_ns: 0,
            is_healed: false,
            is_reported: false,
            windows_max: 0,
        }
    }

    /// Trouble is over, or the last of those whom it kept away is back: windows count from here on.
    pub(crate) fn heal(&mut self, now_ns: u64) {
        self.is_healed = true;
        self.begin(now_ns);
    }

    /// Windows count from the present one on.
    fn begin(&mut self, now_ns: u64) {
        self.base = self.entered;
        self.base_ns = now_ns;
        self.given_up = self.given_up.split_off(&self.base);
    }

    /// A validator gives a window up.
    pub(crate) fn give_up(&mut self, window: u64) {
        if window >= self.base {
            self.given_up.insert(window);
        }
    }

    /// A validator delivers a block.
    pub(crate) fn deliver(&mut self, now_ns: u64, height: u64) {
        if height > self.height {
            self.height = height;
            self.begin(now_ns);
        }
    }

    /// A validator enters a window: those below have passed. `is_promised`: those who are
    /// Byzantine, and those whom the last of the faults keeps away still, are together within F and
    /// C.
    pub(crate) fn enter(
        &mut self,
        now_ns: u64,
        window: u64,
        is_promised: bool,
    ) -> Result<(), Violation> {
        self.entered = self.entered.max(window);
        if !self.is_healed {
            return Ok(());
        }
        if !is_promised {
            self.begin(now_ns);
            return Ok(());
        }
        let passed = self.given_up.range(self.base..self.entered);
        let windows = passed.count() as u64;
        self.windows_max = self.windows_max.max(windows);
        let has_waited = now_ns.saturating_sub(self.base_ns) > self.patience_ns;
        if windows > self.bound && has_waited && !self.is_reported {
            self.is_reported = true;
            let what = format!(
                "{windows} windows given up without a final block after healing, up to window {}",
                self.entered
            );
            return Err(Violation::new("progress", what));
        }
        Ok(())
    }

    /// The highest window that somebody honest has entered.
    pub(crate) const fn entered(&self) -> u64 {
        self.entered
    }

    /// The most windows given up without a final block between them after healing.
    pub(crate) const fn windows_max(&self) -> u64 {
        self.windows_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All windows below are given up, and this one is entered.
    fn enter(progress: &mut Progress, now_ns: u64, window: u64, is_promised: bool) -> bool {
        (progress.entered..window).for_each(|below| progress.give_up(below));
        progress.enter(now_ns, window, is_promised).is_ok()
    }

    #[test]
    fn windows_without_a_final_block_count_from_healing_and_from_the_newest_block() {
        let mut progress = Progress::new(3, 10);
        assert!(enter(&mut progress, 1, 50, true), "trouble is not over yet");
        progress.heal(20);
        assert!(enter(&mut progress, 40, 53, true));
        progress.deliver(50, 1);
        assert!(enter(&mut progress, 70, 56, true));
        assert!(!enter(&mut progress, 70, 57, true));
        assert!(enter(&mut progress, 90, 58, true), "said once");
        assert_eq!(progress.windows_max(), 5);
    }

    #[test]
    fn windows_that_pass_while_too_many_are_away_are_not_counted() {
        let mut progress = Progress::new(3, 10);
        progress.heal(20);
        assert!(enter(&mut progress, 40, 9, false));
        progress.heal(50);
        assert!(enter(&mut progress, 70, 12, true));
        assert!(!enter(&mut progress, 71, 13, true));
    }

    #[test]
    fn windows_that_pass_in_no_time_are_not_counted_against_the_chain() {
        let mut progress = Progress::new(3, 10);
        progress.heal(20);
        assert!(
            enter(&mut progress, 30, 9, true),
            "not longer than a fetch may take"
        );
        assert!(!enter(&mut progress, 31, 9, true));
    }

    #[test]
    fn windows_that_end_full_are_not_counted_and_late_stops_of_earlier_ones_neither() {
        let mut progress = Progress::new(3, 10);
        progress.heal(20);
        assert_eq!(progress.enter(40, 100, true), Ok(()));
        progress.give_up(7);
        progress.deliver(50, 1);
        progress.give_up(99);
        assert!(enter(&mut progress, 70, 103, true));
        assert_eq!(progress.windows_max(), 3);
        assert!(!enter(&mut progress, 70, 104, true));
    }
}
