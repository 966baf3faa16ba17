//! After healing the chain goes on within a bounded number of windows.
//!
//! Owns the highest window that any honest validator has entered, and how many windows in a row
//! passed without a new final block since healing.

use super::Violation;

/// The count of windows without a final block.
#[derive(Debug)]
pub(crate) struct Progress {
    /// So many in a row are one too many.
    bound: u64,
    entered: u64,
    height: u64,
    /// The highest window entered when the newest block became final.
    base: u64,
    is_healed: bool,
    windows_max: u64,
}

impl Progress {
    pub(crate) const fn new(bound: u64) -> Self {
        Self {
            bound,
            entered: 0,
            height: 0,
            base: 0,
            is_healed: false,
            windows_max: 0,
        }
    }

    /// Trouble is over: windows count from here on.
    pub(crate) const fn heal(&mut self) {
        self.is_healed = true;
        self.base = self.entered;
    }

    /// A validator delivers a block.
    pub(crate) const fn deliver(&mut self, height: u64) {
        if height > self.height {
            self.height = height;
            self.base = self.entered;
        }
    }

    /// A validator enters a window.
    pub(crate) fn enter(&mut self, window: u64) -> Result<(), Violation> {
        self.entered = self.entered.max(window);
        if !self.is_healed {
            return Ok(());
        }
        let windows = self.entered - self.base;
        let is_too_many = windows > self.bound && self.windows_max <= self.bound;
        self.windows_max = self.windows_max.max(windows);
        if is_too_many {
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
        let mut progress = Progress::new(3);
        assert_eq!(progress.enter(50), Ok(()), "trouble is not over yet");
        progress.heal();
        assert_eq!(progress.enter(53), Ok(()));
        progress.deliver(1);
        assert_eq!(progress.enter(56), Ok(()));
        assert!(progress.enter(57).is_err());
        assert_eq!(progress.enter(58), Ok(()), "said once");
        assert_eq!(progress.windows_max(), 5);
    }
}
