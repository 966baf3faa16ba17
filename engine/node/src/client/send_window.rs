//! How many commands of a session may be with its validator at one time.
//!
//! Owns one number, which falls when a validator has no room and rises with what becomes final.
//! Never: a clock, a socket, or the commands.
//!
//! A session's numbers have no gaps: when one is refused, all that were sent behind it are, and
//! come again. Without a bound, whoever wants more than the validators can carry sends the same
//! commands over and over, and refusing them costs the time that carrying others needs. The rule
//! is that of congestion avoidance: what was taken before the refusal tells how much there is room
//! for; less than that is sent at one time from then on, and a little more with every turnover.

/// Commands that may always be on their way.
const COMMANDS_MIN: u64 = 64;
/// Commands that are on their way at most, and may be until a validator first has no room.
pub const COMMANDS_MAX: u64 = 32 * 1024;
/// What remains of what was taken before a refusal, in quarters.
const CUT_QUARTERS: u64 = 3;
/// With each turnover it grows by this many commands,
const STEP: u64 = 64;
/// and by this part of itself, so that a wide window does not need hundreds of turnovers.
const STEP_PART: u64 = 32;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendWindow {
    commands: u64,
    /// What became final, times the step: the part that is no whole command yet.
    credit: u64,
}

impl Default for SendWindow {
    fn default() -> Self {
        Self {
            commands: COMMANDS_MAX,
            credit: 0,
        }
    }
}

impl SendWindow {
    /// How many more may be sent while `waiting` that were sent are not final.
    #[must_use]
    pub const fn room(&self, waiting: u64) -> u64 {
        self.commands.saturating_sub(waiting)
    }

    /// So many commands became final.
    pub const fn on_finalized(&mut self, count: u64) {
        let step = STEP + self.commands / STEP_PART;
        self.credit = self.credit.saturating_add(count.saturating_mul(step));
        let grown = self.commands.saturating_add(self.credit / self.commands);
        self.credit %= self.commands;
        self.commands = if grown < COMMANDS_MAX {
            grown
        } else {
            COMMANDS_MAX
        };
    }

    /// A validator had no room behind `taken` commands that wait for finality. To be called once
    /// for all that was refused of one sending.
    pub const fn on_refused(&mut self, taken: u64) {
        let left = taken.saturating_mul(CUT_QUARTERS) / 4;
        // Refusals of what was sent before a cut, which come after it, do not widen it.
        if left < self.commands {
            self.commands = if left > COMMANDS_MIN {
                left
            } else {
                COMMANDS_MIN
            };
            self.credit = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_was_never_refused_sends_as_much_as_ever_may_wait() {
        let mut window = SendWindow::default();
        window.on_finalized(1_000_000);
        assert_eq!(window.room(0), COMMANDS_MAX);
        assert_eq!(window.room(COMMANDS_MAX), 0);
        assert_eq!(window.room(u64::MAX), 0);
    }

    #[test]
    fn a_refusal_leaves_less_than_was_taken_and_never_nothing() {
        let mut window = SendWindow::default();
        window.on_refused(1_000);
        assert_eq!(window.room(0), 750);
        window.on_refused(2_000);
        assert_eq!(window.room(0), 750, "an old refusal widens nothing");
        window.on_refused(0);
        assert_eq!(window.room(0), COMMANDS_MIN);
    }

    #[test]
    fn it_grows_with_each_turnover_and_not_with_time() {
        let mut window = SendWindow::default();
        window.on_refused(4_000);
        for _ in 0..3_000 {
            window.on_finalized(1);
        }
        let grown = window.room(0) - 3_000;
        assert!((150..=160).contains(&grown), "{grown}");
        window.on_finalized(u64::MAX);
        assert_eq!(window.room(0), COMMANDS_MAX);
    }

    /// Two sessions share room for 2,000: each is refused when both together want more.
    #[test]
    fn sessions_that_share_the_room_waste_little_and_neither_starves() {
        const ROOM: u64 = 2_000;
        let mut windows = [SendWindow::default(), SendWindow::default()];
        let (mut sent, mut taken) = ([0_u64; 2], [0_u64; 2]);
        for turn in 0..2_000 {
            let mut left = ROOM;
            for place in [turn % 2, (turn + 1) % 2] {
                let want = windows[place].room(0);
                let got = want.min(left);
                left -= got;
                sent[place] += want;
                taken[place] += got;
                if got < want {
                    windows[place].on_refused(got);
                }
                windows[place].on_finalized(got);
            }
        }
        let (all_sent, all_taken): (u64, u64) = (sent.iter().sum(), taken.iter().sum());
        assert!(all_taken * 10 >= ROOM * 2_000 * 9, "{all_taken}");
        assert!(all_sent * 10 <= all_taken * 13, "{all_sent} {all_taken}");
        assert!(
            taken.iter().all(|count| *count * 4 >= all_taken),
            "{taken:?}"
        );
    }
}
