//! A start before the time of the genesis.
//!
//! Owns the words alone. Such a start is not refused: a chain may be made to begin at a time that
//! is agreed upon, and where it is this machine's clock that is wrong, as after a loss of power, it
//! is set while the validator runs, and a supervisor would be no help. But until the clock has got
//! there blocks are not voted for, nothing says so, and of a time that is mistyped in the genesis
//! nobody would ever hear.

use std::time::Duration;

use quorate_consensus::limits::TIME_AHEAD_MAX_NS;

const DAY_SECONDS: u64 = 86_400;

/// What is to be said at a start by this clock, if anything is.
pub(super) fn early_start(genesis_time_ns: u64, wall_ns: u64) -> Option<String> {
    let ahead_ns = genesis_time_ns.saturating_sub(wall_ns);
    if ahead_ns <= TIME_AHEAD_MAX_NS {
        return None;
    }
    let seconds = Duration::from_nanos(ahead_ns).as_secs();
    let wait = match seconds / DAY_SECONDS {
        0 => format!("{seconds} s"),
        days => format!("{days} days"),
    };
    Some(format!(
        "genesis_time_ns {genesis_time_ns} is {wait} ahead of this machine's clock: until the clock \
         has got there this validator votes for no block that others have not made good already. \
         If that is not meant, set the clock; if it is right, correct the genesis at every validator \
         before the chain begins, and make each data folder anew (quorate init)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_genesis_that_the_clock_has_not_reached_is_told_of_with_what_to_do() {
        let at = 1_700_000_000_000_000_000;
        for wall_ns in [at, at - TIME_AHEAD_MAX_NS, u64::MAX] {
            assert_eq!(early_start(at, wall_ns), None);
        }
        let soon = early_start(at, at - 90_000_000_000).unwrap();
        assert!(soon.contains("is 90 s ahead"), "{soon}");
        // A digit that is mistyped, or a clock without a battery.
        for (genesis_time_ns, wall_ns) in [(2 * at, at), (at, 0)] {
            let far = early_start(genesis_time_ns, wall_ns).unwrap_or_default();
            assert!(far.contains("is 19675 days ahead"), "{far}");
            assert!(far.contains("set the clock"), "{far}");
        }
    }
}
