//! Waits that end when they should, and not some fifty microseconds later.
//!
//! Owns how late the system may end a wait of the thread that asks. Never: outlives that need.
//! Processes and threads that a thread starts inherit its slack, and validators that are measured
//! are to have the usual one.

use std::marker::PhantomData;
use std::num::NonZeroU64;

/// Shortest wait that the system may round up to, nanoseconds.
const SLACK_NS: NonZeroU64 = NonZeroU64::MIN;

/// While this lives, waits of the thread that made it end as precisely as the system can.
#[derive(Debug)]
pub(crate) struct Precise {
    /// Slack is a thread's own: this is not to be dropped by another one.
    stays: PhantomData<*const ()>,
}

impl Precise {
    /// From here on.
    pub(crate) fn begin() -> Self {
        // Where the system refuses, waits end some fifty microseconds late: worse, not wrong.
        rustix::thread::set_current_timer_slack(Some(SLACK_NS)).ok();
        Self { stays: PhantomData }
    }
}

impl Drop for Precise {
    fn drop(&mut self) {
        rustix::thread::set_current_timer_slack(None).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::current_timer_slack;

    #[test]
    fn a_thread_has_its_usual_slack_again_when_it_need_not_be_precise() {
        let usual = current_timer_slack().unwrap();
        let precise = Precise::begin();
        assert_eq!(current_timer_slack().unwrap(), SLACK_NS.get());
        drop(precise);
        assert_eq!(current_timer_slack().unwrap(), usual);
    }
}
