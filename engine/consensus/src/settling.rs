//! How long finality takes at present, and what is said no more often than that.
//!
//! Owns the smoothed time from an own vote to the finality of its block. The timers are those of a
//! machine that has nothing else to do; where finality takes longer, since many commands share the
//! processors, a leader is given up that is no slower than everybody, and a Status or a signature
//! at each interval says what the next vote says anyway and takes the time that finality lacks.
//! They stretch with it, up to a few times what is configured, so that every bound of liveness is
//! that of a longer timer. Never: safety, which no timer touches.

use crate::timers::TimerConfig;
use crate::types::Height;

/// T_prog stretches to so many times itself at most: the bound of what a leader gains that is slow
/// on purpose.
const PROGRESS_TIMES_MAX: u64 = 8;
/// T_retx stretches to so many times itself at most.
const RETRANSMIT_TIMES_MAX: u64 = 8;
/// T_sig does.
const SIGN_TIMES_MAX: u64 = 4;
/// `final_holdoff` does, once finality takes longer than so many times that.
const HOLDOFF_TIMES_MAX: u64 = 20;
const HOLDOFF_TIMES_USUAL: u64 = 10;

/// The time from an own vote to finality: one vote at a time is followed, as one segment at a time
/// is for the round-trip time of a connection.
#[derive(Debug)]
pub(crate) struct Settling {
    followed: Option<(Height, u64)>,
    smoothed_ns: u64,
}

impl Settling {
    /// Nothing is known yet: the intervals are those configured.
    pub(crate) const fn new() -> Self {
        Self {
            followed: None,
            smoothed_ns: 0,
        }
    }

    /// An own vote for a block of this height leaves.
    pub(crate) fn voted(&mut self, height: Height, now_ns: u64) {
        self.followed.get_or_insert((height, now_ns));
    }

    /// Finality has come to this height. What took longer than T_prog can stretch to says that
    /// something had stopped, and no more how long finality takes.
    pub(crate) fn finalized(&mut self, height: Height, now_ns: u64, timers: &TimerConfig) {
        if let Some((followed, since_ns)) = self.followed
            && height >= followed
        {
            self.followed = None;
            let longest_ns = timers.progress_ns.saturating_mul(PROGRESS_TIMES_MAX);
            let took_ns = now_ns.saturating_sub(since_ns).min(longest_ns);
            self.smoothed_ns = self.smoothed_ns - self.smoothed_ns / 4 + took_ns / 4;
        }
    }

    /// The least that T_prog is at present: three times what finality takes, within the bounds. A
    /// leader that shares its processors with a load is as slow as finality under that load, and
    /// stopping it makes all that waits wait for the next one too.
    pub(crate) const fn progress_ns(&self, timers: &TimerConfig) -> u64 {
        let thrice = self.smoothed_ns.saturating_mul(3);
        stretched(timers.progress_ns, thrice, PROGRESS_TIMES_MAX)
    }

    /// T_retx at present: twice the time that finality takes, within the bounds.
    pub(crate) const fn retransmit_ns(&self, timers: &TimerConfig) -> u64 {
        let twice = self.smoothed_ns.saturating_mul(2);
        stretched(timers.retransmit_ns, twice, RETRANSMIT_TIMES_MAX)
    }

    /// The time that a Final waits for the fast path at present: where the first votes come
    /// milliseconds apart, a Final of everybody for each block costs more than it brings. It
    /// stretches only once finality takes many times what is configured, so that a validator that
    /// is always the last one delays nobody else's.
    pub(crate) const fn final_holdoff_ns(&self, timers: &TimerConfig) -> u64 {
        let configured_ns = timers.final_holdoff_ns;
        let usual_ns = configured_ns.saturating_mul(HOLDOFF_TIMES_USUAL);
        let wanted_ns = self.smoothed_ns.saturating_sub(usual_ns) / 2;
        stretched(configured_ns, wanted_ns, HOLDOFF_TIMES_MAX)
    }

    /// T_sig at present: once for what becomes final together, within the bounds.
    pub(crate) const fn sign_ns(&self, timers: &TimerConfig) -> u64 {
        stretched(timers.sign_ns, self.smoothed_ns, SIGN_TIMES_MAX)
    }
}

const fn stretched(configured_ns: u64, wanted_ns: u64, times_max: u64) -> u64 {
    let longest_ns = configured_ns.saturating_mul(times_max);
    if wanted_ns < configured_ns {
        configured_ns
    } else if wanted_ns > longest_ns {
        longest_ns
    } else {
        wanted_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMERS: TimerConfig = TimerConfig::colo();
    const MS: u64 = 1_000_000;

    /// A vote each millisecond, each final `took_ns` later.
    fn run(settling: &mut Settling, first: u64, took_ns: u64) {
        for number in first..first + 50 {
            let at_ns = number * 10 * MS;
            settling.voted(Height::new(number), at_ns);
            settling.voted(Height::new(number + 1), at_ns + 1);
            settling.finalized(Height::new(number - 1), at_ns + 2, &TIMERS);
            settling.finalized(Height::new(number), at_ns + took_ns, &TIMERS);
        }
    }

    #[test]
    fn intervals_are_those_configured_while_finality_is_faster() {
        let mut settling = Settling::new();
        assert_eq!(settling.retransmit_ns(&TIMERS), TIMERS.retransmit_ns);
        run(&mut settling, 1, MS / 4);
        assert_eq!(settling.retransmit_ns(&TIMERS), TIMERS.retransmit_ns);
        assert_eq!(settling.sign_ns(&TIMERS), TIMERS.sign_ns);
    }

    #[test]
    fn they_stretch_with_finality_within_bounds_and_come_back() {
        let mut settling = Settling::new();
        run(&mut settling, 1, 2 * MS);
        let near = |ns: u64, of: u64| ns > of - of / 10 && ns <= of;
        assert!(near(settling.retransmit_ns(&TIMERS), 4 * MS));
        assert!(near(settling.sign_ns(&TIMERS), 2 * MS));
        run(&mut settling, 51, 9 * MS);
        let longest = (8 * TIMERS.retransmit_ns, 4 * TIMERS.sign_ns);
        let now = (settling.retransmit_ns(&TIMERS), settling.sign_ns(&TIMERS));
        assert_eq!(now, longest);
        run(&mut settling, 101, MS / 10);
        assert_eq!(settling.retransmit_ns(&TIMERS), TIMERS.retransmit_ns);
    }

    #[test]
    fn a_stop_of_everything_is_forgotten_after_a_few_blocks() {
        let mut settling = Settling::new();
        settling.voted(Height::new(1), 0);
        settling.finalized(Height::new(1), 60_000 * MS, &TIMERS);
        assert!(settling.progress_ns(&TIMERS) > 2 * TIMERS.progress_ns);
        for number in 7_000..7_008 {
            settling.voted(Height::new(number), 0);
            settling.finalized(Height::new(number), MS / 4, &TIMERS);
        }
        assert_eq!(settling.progress_ns(&TIMERS), TIMERS.progress_ns);
    }
}
