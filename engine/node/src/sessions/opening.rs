//! When a session may be opened: the number of an opening is a time.
//!
//! Owns the rule that makes names forgettable. An opening's number is the base of its session's
//! numbers and says when it was made, in nanoseconds since the Unix epoch; it applies only within
//! [`OPENING_LIFE_NS`] of that time, by the time of blocks. So an old opening is refused without
//! anybody remembering it, and with it every command behind it: those have higher numbers than
//! their opening and lower ones than that of the next. Never: reads a clock.

/// How far an opening's number may lie from the time of the block that holds it, either way,
/// nanoseconds: five minutes. More than clocks differ that anybody looks after, and than a command
/// waits for its block; the place of a session that closes young is held for twice that at most.
pub const OPENING_LIFE_NS: u64 = 300_000_000_000;

/// What an opening's number says of it at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It can open its session.
    InTime,
    /// It was made too long ago, and never will.
    TooOld,
    /// It says that it is made later than can be, and may come again then.
    TooFarAhead,
}

impl Opening {
    /// Of an opening with the number `seq`, in a block of the time `now_ns`.
    #[must_use]
    pub const fn of(seq: u64, now_ns: u64) -> Self {
        if is_past(seq, now_ns) {
            Self::TooOld
        } else if seq > now_ns.saturating_add(OPENING_LIFE_NS) {
            Self::TooFarAhead
        } else {
            Self::InTime
        }
    }
}

/// Whether no opening with this number, or a lower one, applies at `now_ns` or ever after: of a
/// session whose last number this is nothing needs to be remembered any more.
#[must_use]
pub const fn is_past(seq: u64, now_ns: u64) -> bool {
    seq.saturating_add(OPENING_LIFE_NS) <= now_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_is_in_time_for_its_life_before_and_after_its_number() {
        let at = 2 * OPENING_LIFE_NS;
        for (seq, found) in [
            (at - OPENING_LIFE_NS, Opening::TooOld),
            (at - OPENING_LIFE_NS + 1, Opening::InTime),
            (at, Opening::InTime),
            (at + OPENING_LIFE_NS, Opening::InTime),
            (at + OPENING_LIFE_NS + 1, Opening::TooFarAhead),
            (u64::MAX, Opening::TooFarAhead),
        ] {
            assert_eq!(Opening::of(seq, at), found, "{seq}");
        }
        assert_eq!(Opening::of(1, 0), Opening::InTime);
        assert_eq!(Opening::of(u64::MAX, u64::MAX), Opening::TooOld);
    }
}
