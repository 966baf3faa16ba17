//! How long a command waits in this pool, as far as can be told.
//!
//! Owns one estimate: what is kept, over how fast the pool has been draining while more was kept
//! than a few blocks take. Orders are taken only while it is short. Otherwise a pool that is large
//! enough for a burst is filled by a load that lasts, every command waits for all of it, and what
//! has waited for `T_censor` costs the leader its turn although it left nothing out. Never: a
//! clock, or what waits longest: one command that a leader leaves out says nothing of the others.

/// Commands that are always taken: below them nothing is estimated.
const ALWAYS: usize = 1_024;
/// How long the draining is counted before the estimate is made anew.
const WINDOW_NS: u64 = 50_000_000;
/// After so many windows without anything final the estimate is that of a pool that stands.
const STANDING_WINDOWS: u64 = 20;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pressure {
    /// Since when is counted; none while little is kept.
    since_ns: Option<u64>,
    /// Commands gone since then.
    gone: u64,
    /// Time that a command takes to go, with the ones before it; 0 while it is not known.
    command_ns: u64,
}

impl Pressure {
    /// A block is final: `gone` commands of the pool went with it and `kept` are left.
    pub(super) fn drained(&mut self, now_ns: u64, gone: u64, kept: usize) {
        if kept < ALWAYS {
            // A pool that is nearly empty drains as slowly as it is filled.
            self.since_ns = None;
            return;
        }
        let Some(since_ns) = self.since_ns else {
            self.since_ns = Some(now_ns);
            self.gone = 0;
            return;
        };
        self.gone += gone;
        let passed_ns = now_ns.saturating_sub(since_ns);
        if passed_ns < WINDOW_NS {
            return;
        }
        let sample_ns = passed_ns / self.gone.max(1);
        self.command_ns = match self.command_ns {
            0 => sample_ns,
            // A quarter of what was: a pool that stood is forgotten within a few windows.
            before_ns => before_ns / 4 + sample_ns / 4 * 3,
        };
        self.since_ns = Some(now_ns);
        self.gone = 0;
    }

    /// How long a command that came now would wait.
    pub(super) fn wait_ns(&self, now_ns: u64, kept: usize) -> u64 {
        if kept < ALWAYS {
            return 0;
        }
        // Nothing final for long: what was known of a moving pool is no longer true.
        let standing_ns = if self.is_moving(now_ns) {
            0
        } else {
            self.silent_ns(now_ns)
        };
        self.command_ns.saturating_mul(kept as u64).max(standing_ns)
    }

    /// Whether something of a full pool became final lately.
    pub(super) fn is_moving(&self, now_ns: u64) -> bool {
        self.silent_ns(now_ns) <= WINDOW_NS * STANDING_WINDOWS
    }

    fn silent_ns(&self, now_ns: u64) -> u64 {
        self.since_ns
            .map_or(0, |since_ns| now_ns.saturating_sub(since_ns))
    }
}

/// A time after which to come again, not so short that it is asked for in vain and not so long that
/// room stands empty, microseconds.
pub(super) fn bounded_us(wait_ns: u64) -> u32 {
    let wait_us = (wait_ns / 1_000).clamp(200, 200_000);
    u32::try_from(wait_us).unwrap_or(200_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_wait_is_what_is_kept_over_how_fast_it_goes() {
        let mut pressure = Pressure::default();
        assert_eq!(pressure.wait_ns(0, 100_000), 0, "nothing is known");
        for block in 0..=10 {
            pressure.drained(block * 10 * MS, 500, 20_000);
        }
        // 50,000 a second.
        assert_eq!(pressure.wait_ns(100 * MS, 20_000), 400 * MS);
        assert_eq!(pressure.wait_ns(100 * MS, ALWAYS - 1), 0);
    }

    #[test]
    fn what_a_light_load_does_is_not_taken_for_all_that_can_be_done() {
        let mut pressure = Pressure::default();
        for block in 0..1_000 {
            pressure.drained(block * 10 * MS, 1, 3);
        }
        assert_eq!(pressure.wait_ns(10_000 * MS, 50_000), 0);
    }

    #[test]
    fn the_time_in_which_a_pool_was_nearly_empty_is_not_taken_for_its_draining() {
        let mut pressure = Pressure::default();
        pressure.drained(0, 500, 20_000);
        pressure.drained(10 * MS, 500, 3);
        // A minute later the next burst.
        assert_eq!(pressure.wait_ns(60_000 * MS, 20_000), 0);
        pressure.drained(60_000 * MS, 500, 20_000);
        pressure.drained(60_100 * MS, 5_000, 20_000);
        assert!(pressure.wait_ns(60_100 * MS, 20_000) <= 400 * MS);
    }

    #[test]
    fn a_pool_that_stands_is_known_to_stand_and_forgotten_when_it_moves() {
        let mut pressure = Pressure::default();
        pressure.drained(0, 500, 20_000);
        assert!(pressure.wait_ns(3_000 * MS, 20_000) >= 3_000 * MS);
        pressure.drained(3_000 * MS, 500, 19_500);
        for block in 1..=50 {
            pressure.drained(3_000 * MS + block * 10 * MS, 1_000, 20_000);
        }
        assert!(pressure.wait_ns(3_500 * MS, 20_000) < 250 * MS);
    }
}
