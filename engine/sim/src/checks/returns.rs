//! After healing every validator that was away votes again within a bounded time.
//!
//! Owns since when each validator has been expected to vote without doing so, and what it waits
//! for (R11 to R13). Who abstains is excused while it is in a window of its abstention, if
//! something that it said can be lost at all, and if those windows end soon after the highest one
//! that anybody has entered. Never: looks into a validator; the world says where each stands.

use std::mem::discriminant;

use super::Violation;

/// Where a validator stands that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may make records in its window.
    Votes,
    /// It makes none up to this window, and is in this one.
    Abstains { until: u64, window: u64 },
    /// Something has to come first.
    Waits(Wait),
}

/// What a validator that does not vote waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Answers of peers to its fence.
    Fence,
    /// Answers of peers by which it learns up to where it is to abstain.
    Recovery,
    /// The lease of its window.
    Lease { until: Option<u64>, window: u64 },
}

/// How long each may take, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Fence and lease.
    pub(crate) others_ns: u64,
    /// Answers of R13, for which a peer is asked again with a growing wait.
    pub(crate) recovery_ns: u64,
}

/// Who is expected to vote.
#[derive(Debug)]
pub(crate) struct Returns {
    patience: Patience,
    /// Windows of a turn: so far ahead of an entered one does a lease reach.
    turn_windows: u64,
    /// By validator: since when it waits, and for what.
    waits: Vec<Option<(u64, Wait)>>,
    wait_ns_max: u64,
}

impl Returns {
    pub(crate) fn new(validators: usize, turn_windows: u32, patience: Patience) -> Self {
        Self {
            patience,
            turn_windows: u64::from(turn_windows),
            waits: vec![None; validators],
            wait_ns_max: 0,
        }
    }

    /// Nobody expects this one to vote now: it is down or paused, or begins a life, or more are
    /// away than the protocol promises to do without.
    pub(crate) fn excuse(&mut self, validator: usize) {
        self.waits[validator] = None;
    }

    /// A validator that could vote stands there. `may_abstain`: what it said may have been lost.
    /// `entered`: the highest window that somebody honest has entered.
    pub(crate) fn see(
        &mut self,
        now_ns: u64,
        validator: usize,
        standing: Standing,
        (may_abstain, entered): (bool, u64),
    ) -> Result<(), Violation> {
        match standing {
            Standing::Votes => self.end_wait(now_ns, validator),
            Standing::Abstains { until, window } => {
                self.end_wait(now_ns, validator);
                if !may_abstain {
                    let what = format!(
                        "v{validator} abstains up to window {until}, and nothing that it said can be \
                         lost"
                    );
                    return Err(Violation::new("returns", what));
                }
                // Whoever led there may have died before anybody saw it, and the answers of R13
                // name a window more; a lease reaches as far as a turn.
                let last = entered + 1 + self.turn_windows.max(1);
                if until > last {
                    let what = format!(
                        "v{validator} in window {window} abstains up to window {until}, and nobody \
                         has entered one above {entered}"
                    );
                    return Err(Violation::new("returns", what));
                }
            }
            Standing::Waits(wait) => return self.wait(now_ns, validator, wait),
        }
        Ok(())
    }

    fn wait(&mut self, now_ns: u64, validator: usize, wait: Wait) -> Result<(), Violation> {
        let is_same = |before: &(u64, Wait)| discriminant(&before.1) == discriminant(&wait);
        let since_ns = match self.waits[validator].filter(is_same) {
            Some((since_ns, _)) => since_ns,
            None => {
                self.end_wait(now_ns, validator);
                now_ns
            }
        };
        self.waits[validator] = Some((since_ns, wait));
        let waited_ns = now_ns.saturating_sub(since_ns);
        let patience_ns = match wait {
            Wait::Recovery => self.patience.recovery_ns,
            Wait::Fence | Wait::Lease { .. } => self.patience.others_ns,
        };
        if waited_ns <= patience_ns {
            return Ok(());
        }
        let for_what = match wait {
            Wait::Fence => "answers of its peers to its fence (R12)".to_owned(),
            Wait::Recovery => "answers of its peers that say what it said (R13)".to_owned(),
            Wait::Lease { until, window } => {
                format!("a lease for window {window}, which ends at {until:?} (R11)")
            }
        };
        let what = format!(
            "v{validator} does not vote: for {} ms it has waited for {for_what}",
            waited_ns / 1_000_000
        );
        Err(Violation::new("returns", what))
    }

    fn end_wait(&mut self, now_ns: u64, validator: usize) {
        if let Some((since_ns, _)) = self.waits[validator].take() {
            let waited_ns = now_ns.saturating_sub(since_ns);
            self.wait_ns_max = self.wait_ns_max.max(waited_ns);
        }
    }

    /// The longest wait that came to its end.
    pub(crate) const fn wait_ns_max(&self) -> u64 {
        self.wait_ns_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn returns() -> Returns {
        let patience = Patience {
            others_ns: 100 * MS,
            recovery_ns: 300 * MS,
        };
        Returns::new(2, 4, patience)
    }

    fn fence() -> Standing {
        Standing::Waits(Wait::Fence)
    }

    #[test]
    fn whoever_waits_for_its_fence_for_longer_than_it_may_is_named_with_that() {
        let mut returns = returns();
        let mut see = |ms, at| returns.see(ms * MS, at, fence(), (true, 0));
        assert_eq!(see(10, 1), Ok(()));
        assert_eq!(see(60, 0), Ok(()));
        assert_eq!(see(110, 1), Ok(()));
        let found = see(111, 1).unwrap_err();
        assert_eq!(found.check, "returns");
        assert!(
            found.what.starts_with("v1 ") && found.what.contains("fence"),
            "{found:?}"
        );
        assert_eq!(see(120, 0), Ok(()), "it has waited for 60 ms");
    }

    #[test]
    fn a_wait_begins_anew_for_another_thing_and_after_a_vote_or_an_excuse() {
        let mut returns = returns();
        let recovery = Standing::Waits(Wait::Recovery);
        let mut see = |ms, standing| returns.see(ms * MS, 0, standing, (true, 0)).is_ok();
        assert!(see(0, fence()) && see(90, recovery));
        assert!(see(390, recovery), "R13 may take longer");
        assert!(!see(391, recovery));
        assert!(see(400, Standing::Votes) && see(410, fence()));
        assert!(see(510, fence()));
        returns.excuse(0);
        assert_eq!(returns.see(600 * MS, 0, fence(), (true, 0)), Ok(()));
        assert_eq!(returns.wait_ns_max(), 310 * MS);
    }

    #[test]
    fn a_lease_that_lags_behind_window_after_window_is_one_wait() {
        let mut returns = returns();
        let mut see = |ms, window| {
            let until = Some(3);
            let wait = Wait::Lease { until, window };
            returns.see(ms * MS, 0, Standing::Waits(wait), (true, 9))
        };
        assert_eq!(see(0, 4), Ok(()));
        assert_eq!(see(60, 5), Ok(()));
        let found = see(101, 6).unwrap_err();
        assert!(found.what.contains("window 6"), "{found:?}");
    }

    #[test]
    fn abstaining_is_an_excuse_for_those_alone_who_may_have_lost_something_and_ends_soon() {
        let abstains = |until| Standing::Abstains { until, window: 8 };
        let see = |until, may| returns().see(0, 0, abstains(until), (may, 10)).is_ok();
        assert!(see(15, true), "a turn above the window after the highest");
        assert!(!see(16, true), "nobody has come near it");
        assert!(!see(9, false), "nothing is lost by a kill");
    }
}
