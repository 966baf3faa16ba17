//! R5 STOP: the leader gives up a window of its own that has lost the fast path.
//!
//! Owns when it does. Never: a window of somebody else, or a vote.
//!
//! Whoever has stopped in a window first-votes no block of it any more, so one stop, of a validator
//! that got no core for a moment, costs every block of the rest of the window the fast path,
//! thousands of blocks long. In the next window all vote again, and a window costs one exchange
//! more. A stop is always safe (R5), this one too.

use crate::machine::Consensus;
use crate::types::{Now, Stake, ValidatorIndex, Window};
use crate::window::WindowState;

/// A leader gives up no window within so many T_prog of the last one: beside one that always stops
/// that is the bound of what it costs.
const PROGRESS_TIMES: u64 = 10;

impl Consensus {
    /// Whether the own window has lost the fast path to stops of validators that are there, so that
    /// the next one can have it; the others would follow the own stop; and it costs no block.
    pub(crate) fn gives_up_slow_window(
        &self,
        window: Window,
        state: &WindowState,
        now: Now,
    ) -> bool {
        let own = self.config.own;
        let is_led = self.entered == Some(window) && self.config.set.leader(window) == own;
        // Contested: without a stop nothing is lost, which is nearly always.
        if !is_led || !state.tally.is_contested() || self.gave_up_lately(now) {
            return false;
        }
        // The others cannot tell this stop from one for want of time, and lengthen T_prog for it.
        // Beside one that always stops, each turn of an honest leader would, up to the bound.
        if self.pace.backoff > 0 {
            return false;
        }
        let tip = state.own_tip_index();
        let is_settled = tip.is_some() && tip == state.tally.highest_notarized();
        is_settled && self.lost_fast_path(state)
    }

    fn gave_up_lately(&self, now: Now) -> bool {
        let pause_ns = self.progress_timeout_ns().saturating_mul(PROGRESS_TIMES);
        let gave_up = self.pace.gave_up_ns;
        gave_up.is_some_and(|at| now.mono_ns.saturating_sub(at) < pause_ns)
    }

    /// FAST is out of reach in this window and within it in the next; and with the own stop the
    /// weight of those who skip is FB, by which everybody else stops too.
    fn lost_fast_path(&self, state: &WindowState) -> bool {
        let set = &self.config.set;
        let own = self.config.own;
        let is_here = |validator: ValidatorIndex| {
            validator == own
                || self
                    .peers
                    .get(validator.place())
                    .is_some_and(|peer| peer.is_up)
        };
        let (mut here, mut voting, mut skipping) = (Stake::ZERO, Stake::ZERO, set.stake(own));
        for (validator, stake, voter) in state.tally.voters(set) {
            let has_stopped = voter.counted.stop;
            if is_here(validator) {
                here.add(stake);
                voting.add(if has_stopped { Stake::ZERO } else { stake });
            }
            if has_stopped && validator != own {
                skipping.add(stake);
            }
        }
        let limits = set.thresholds();
        voting < limits.fast && here >= limits.fast && skipping >= limits.fallback
    }
}
