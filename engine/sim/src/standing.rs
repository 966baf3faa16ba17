//! Where each validator stands after healing: voting, abstaining with reason, or waiting.
//!
//! Owns the look at that, by what a validator says of itself and by the lease file on its disk.
//! Never: a judgement (`checks::returns`).

use quorate::state_machine::StateMachine;

use crate::checks::returns::{Patience, Standing, Wait};
use crate::plan::Plan;
use crate::world::{MS, World};

/// Peers notice within 300 ms that a machine has gone, and connect again; a slow disk may hold up
/// two calls, of 150 ms and more each, up to 300 ms after the last fault; then a question goes
/// forth and an answer back. Several times that is too long.
const OTHERS_NS: u64 = 2_000 * MS;
/// Where its validators lost their disks, a peer answers so often at most (R13).
const ANSWER_LINE_NS: u64 = 1_000 * MS;
/// The longest wait before a peer is asked again (R13), in T_retx.
const ASK_AGAIN_PERIODS: u64 = 256;
/// A question that was asked before healing may be lost, and so may be the next one be refused,
/// which comes too soon after another run's.
const ASKS: u64 = 3;

impl Plan {
    /// How long a validator may wait before it votes again, when nothing goes wrong any more.
    pub(crate) const fn patience(&self) -> Patience {
        let again_ns = ASK_AGAIN_PERIODS * self.timers.retransmit_ns;
        Patience {
            others_ns: OTHERS_NS,
            recovery_ns: OTHERS_NS + ANSWER_LINE_NS + ASKS * again_ns,
        }
    }
}

impl<S: StateMachine> World<S> {
    /// Where a validator stands that runs.
    fn standing(&self, at: usize) -> Option<Standing> {
        let member = &self.members[at];
        let consensus = member.life.as_ref()?.replica.consensus();
        if consensus.is_voting() {
            return Some(Standing::Votes);
        }
        if consensus.is_lost() {
            return Some(Standing::Waits(Wait::Recovery));
        }
        let window = consensus.window().number();
        let lease = member.disk.lease().unwrap_or_default();
        let until = lease.lease.map(|until| until.number());
        Some(match lease.abstain_until.map(|until| until.number()) {
            Some(until) if window <= until => Standing::Abstains { until, window },
            _ if until < Some(window) => Standing::Waits(Wait::Lease { until, window }),
            _ => Standing::Waits(Wait::Fence),
        })
    }

    /// A validator has taken a turn: after healing it votes before long.
    pub(crate) fn see_return(&mut self, at: usize) {
        if !self.is_healed || self.is_byzantine(at) {
            return;
        }
        let member = &self.members[at];
        let is_present = member.paused_until_ns <= self.now_ns
            && member.life.as_ref().is_some_and(|life| !life.is_stopping);
        let standing = self.standing(at).filter(|_| is_present);
        // Whoever votes does so whatever is promised.
        let is_judged = standing == Some(Standing::Votes) || self.is_progress_promised();
        match standing {
            Some(standing) if is_judged => {
                let may_abstain = self.plan.abstainers.contains(&at);
                let entered = self.checks.progress.entered();
                let returns = &mut self.checks.returns;
                let outcome = returns.see(self.now_ns, at, standing, (may_abstain, entered));
                self.checks.take(outcome);
            }
            _ => self.checks.returns.excuse(at),
        }
    }

    /// Whether nothing keeps a validator from voting but its abstention.
    pub(crate) fn has_returned(&self, at: usize) -> bool {
        let standing = self.standing(at);
        standing.is_some_and(|standing| !matches!(standing, Standing::Waits(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;
    use crate::plan::RunOptions;
    use crate::script::Scenario;
    use crate::tape::Tape;

    /// What is found of the first of four that have started and hear nothing of each other, when
    /// it is looked at right after healing and this long after.
    fn found(after_ns: u64, change: fn(&mut World<Tape>)) -> Vec<&'static str> {
        let options = RunOptions {
            seed: 1,
            scenario: Scenario::Calm,
            ..RunOptions::default()
        };
        let mut world = World::new(&options, &App::default(), false).unwrap();
        (0..4).for_each(|at| world.start(at));
        world.is_healed = true;
        change(&mut world);
        world.see_return(0);
        world.now_ns += after_ns;
        world.see_return(0);
        let found = world.checks.finish();
        found.iter().map(|violation| violation.check).collect()
    }

    #[test]
    fn whoever_does_not_vote_in_time_after_healing_is_found() {
        assert_eq!(found(OTHERS_NS, |_| ()), [""; 0]);
        assert_eq!(found(OTHERS_NS + 1, |_| ()), ["returns"]);
    }

    #[test]
    fn nobody_waits_for_a_vote_before_healing_of_one_that_is_away_or_beside_too_many_that_are() {
        let excuses: [fn(&mut World<Tape>); 3] = [
            |world| world.is_healed = false,
            |world| world.members[0].paused_until_ns = u64::MAX,
            |world| (1..4).for_each(|at| world.members[at].life = None),
        ];
        for (number, excuse) in excuses.into_iter().enumerate() {
            assert_eq!(found(OTHERS_NS + 1, excuse), [""; 0], "{number}");
        }
    }
}
