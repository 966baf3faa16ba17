//! After healing the chain goes on within a bounded number of windows.
//!
//! Owns the highest window that any honest validator has entered, and how many windows in a row
//! passed without a new block delivered since healing, while no more stake is away than the
//! protocol promises to do without. Windows that fill with blocks pass faster than a peer can be
//! found out that does not answer, so a while has to pass as well.

use super::Violation;

/// The count of windows without a final block.
#[derive(Debug)]
pub(crate) struct Progress {
    /// More in a row are too many.
    bound: u64,
    /// A body that is missing may have to be asked of every peer in turn, for so long.
    patience_ns: u64,
    entered: u64,
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
            height: 0,
            base: 0,
            base_ns: 0,
            is_healed: false,
            is_reported: false,
            windows_max: 0,
        }
    }

    /// Trouble is over, or the last of those whom it kept away is back: windows count from here on.
    pub(crate) const fn heal(&mut self, now_ns: u64) {
        self.is_healed = true;
        self.base = self.entered;
        self.base_ns = now_ns;
    }

    /// A validator delivers a block.
    pub(crate) const fn deliver(&mut self, now_ns: u64, height: u64) {
        if height > self.height {
            self.height = height;
            self.base = self.entered;
            self.base_ns = now_ns;
        }
    }

    /// A validator enters a window. `is_promised`: those who are Byzantine, and those whom the last
    /// of the faults keeps away still, are together within F and C.
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
            self.base = self.entered;
            self.base_ns = now_ns;
            return Ok(());
        }
        let windows = self.entered - self.base;
        self.windows_max = self.windows_max.max(windows);
        let has_waited = now_ns.saturating_sub(self.base_ns) > self.patience_ns;
        if windows > self.bound && has_waited && !self.is_reported {
            self.is_reported = true;
            let what = format!(
                "{windows} windows without a final block after healing, up to window {}",
                self.entered
            );
            return Err(Violation::new("progress", what));
        }
        Ok(())
    }

    /// The most windows in a row without a final block after healing.
    pub(crate) const fn windows_max(&self) -> u64 {
        self.windows_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_without_a_final_block_count_from_healing_and_from_the_newest_block() {
        let mut progress = Progress::new(3, 10);
        assert_eq!(
            progress.enter(1, 50, true),
            Ok(()),
            "trouble is not over yet"
        );
        progress.heal(20);
        assert_eq!(progress.enter(40, 53, true), Ok(()));
        progress.deliver(50, 1);
        assert_eq!(progress.enter(70, 56, true), Ok(()));
        assert!(progress.enter(70, 57, true).is_err());
        assert_eq!(progress.enter(90, 58, true), Ok(()), "said once");
        assert_eq!(progress.windows_max(), 5);
    }

    #[test]
    fn windows_that_pass_while_too_many_are_away_are_not_counted() {
        let mut progress = Progress::new(3, 10);
        progress.heal(20);
        assert_eq!(progress.enter(40, 9, false), Ok(()));
        progress.heal(50);
        assert_eq!(progress.enter(70, 12, true), Ok(()));
        assert!(progress.enter(71, 13, true).is_err());
    }

    #[test]
    fn windows_that_pass_in_no_time_are_not_counted_against_the_chain() {
        let mut progress = Progress::new(3, 10);
        progress.heal(20);
        assert_eq!(
            progress.enter(30, 9, true),
            Ok(()),
            "not longer than a fetch may take"
        );
        assert!(progress.enter(31, 9, true).is_err());
    }
}
