//! Clients that send what their keys have not signed: how often that is told.
//!
//! Owns how many came since that was told last. Never: what becomes of them, and no bound on how
//! often they come: keys cost nothing.

use std::time::{Duration, Instant};

/// How often it is told, at most.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// What came since it was told last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Forged {
    /// Submissions, each of a client that was cut off for it.
    pub(super) submissions: u64,
    /// Commands in them that are not signed.
    pub(super) commands: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Forgeries {
    untold: Forged,
    told: Option<Instant>,
}

impl Forgeries {
    /// A submission came with so many commands that are not signed; what is to be told now. What
    /// comes within a second of that is told with the next one.
    pub(super) fn note(&mut self, now: Instant, commands: usize) -> Option<Forged> {
        self.untold.submissions += 1;
        self.untold.commands += commands as u64;
        let is_due = |told: Instant| now.saturating_duration_since(told) >= TOLD_EVERY;
        self.told.is_none_or(is_due).then(|| {
            self.told = Some(now);
            std::mem::take(&mut self.untold)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_once_a_second_with_how_many_came() {
        let mut forgeries = Forgeries::default();
        let began = Instant::now();
        let mut told = Vec::new();
        for ms in 0..2_500_u32 {
            let now = began + Duration::from_millis(1) * ms;
            told.extend(forgeries.note(now, 3));
        }
        let of = |submissions| Forged {
            submissions,
            commands: submissions * 3,
        };
        assert_eq!(told, [of(1), of(1_000), of(1_000)]);
        let later = began + Duration::from_secs(60);
        assert_eq!(forgeries.note(later, 3), Some(of(500)));
    }
}
