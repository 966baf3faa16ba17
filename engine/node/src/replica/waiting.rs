//! Since when an application's timer has waited for a block.
//!
//! Owns from when on that is told to the consensus as if a command waited. Never: fires timers;
//! blocks do.

use quorate_consensus::limits::TIME_AHEAD_MAX_NS;
use quorate_consensus::types::Now;

/// Heights that may be final and not delivered while timers are still believed: what is on its way
/// here without a gap is fewer.
const UNDELIVERED_MAX: u64 = 16;

/// Since when a timer that is due at `due_ns`, by replicated time, has waited, by the monotonic
/// clock: once even the slowest honest clock says so. `undelivered` heights are final here and not
/// delivered: where they are many the timers are those of an old state. They may have fired long
/// ago, and whoever waited for them would stop honest leaders for as long as it is behind.
pub(super) fn timer_waits_since_ns(due_ns: Option<u64>, undelivered: u64, now: Now) -> Option<u64> {
    let due_ns = due_ns.filter(|_| undelivered <= UNDELIVERED_MAX)?;
    let late_ns = now
        .wall_ns
        .checked_sub(due_ns.saturating_add(TIME_AHEAD_MAX_NS))?;
    Some(now.mono_ns.saturating_sub(late_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_due_timer_waits_and_that_of_an_old_state_does_not() {
        let now = Now {
            mono_ns: 70_000_000_000,
            wall_ns: 1_700_000_000_000_000_000,
        };
        let due_ns = now.wall_ns - TIME_AHEAD_MAX_NS - 5_000_000_000;
        let since = |due_ns, undelivered| timer_waits_since_ns(Some(due_ns), undelivered, now);
        assert_eq!(since(due_ns, 0), Some(65_000_000_000));
        assert_eq!(since(due_ns, UNDELIVERED_MAX), Some(65_000_000_000));
        assert_eq!(since(due_ns, UNDELIVERED_MAX + 1), None);
        assert_eq!(
            since(now.wall_ns, 0),
            None,
            "a slow clock says that it is not due"
        );
        assert_eq!(timer_waits_since_ns(None, 0, now), None);
    }
}
