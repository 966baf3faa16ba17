//! How a session comes to be open, and what is known of its numbers since.
//!
//! Owns the number of the command that opens it, and whether a number below the session's last one
//! can be another command's. Never: the commands' bytes, or sockets.
//!
//! An opening's signed bytes stay good until its number is five minutes old
//! ([`OPENING_LIFE_NS`](crate::sessions::OPENING_LIFE_NS)), whatever a validator has said of it
//! meanwhile: it may be forwarded, kept, or put into a block by whoever has a copy. So it carries
//! nothing that could be done twice, and nothing is sent behind it before it is known to be
//! applied: what is given up with it was never seen by anybody.

use std::sync::Arc;

use crate::lanes::Rejection;
use crate::sessions::is_past;
use crate::stages::clock::wall_ns;

/// Reads the wall time, nanoseconds since the Unix epoch. It is read anew for each opening: a
/// clock that is set, or a machine that slept, is no reason to be refused for ever after.
#[derive(Clone)]
pub(super) struct Wall(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Wall {
    /// That of the machine.
    pub(super) fn machine() -> Self {
        Self::read_by(wall_ns)
    }

    pub(super) fn read_by(read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    pub(super) fn ns(&self) -> u64 {
        (self.0)()
    }
}

impl std::fmt::Debug for Wall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Wall").finish()
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// The next command needs one before it, of this number at least.
    Needed { floor: u64 },
    /// It is the first command that waits.
    Waits { seq: u64 },
    /// The session is open. `is_ours`: by the opening made here, and no other command of its key
    /// has been met or told of since, so that whatever was applied under a number was the one made
    /// here.
    Done { is_ours: bool },
}

impl Opening {
    /// The number that waits.
    pub(super) const fn waiting(self) -> Option<u64> {
        match self {
            Self::Waits { seq } => Some(seq),
            Self::Needed { .. } | Self::Done { .. } => None,
        }
    }

    /// Why one that found no room is given up by now, if it is.
    pub(super) fn over(self, wall: &Wall) -> Option<Rejection> {
        let seq = self.waiting()?;
        is_past(seq, wall.ns()).then_some(Rejection::TableFull)
    }

    /// What follows one that is given up for this reason.
    pub(super) const fn given_up(self, rejection: Rejection) -> Self {
        match (self, rejection) {
            // The clock was ahead and will be set back: the next one is not to be held to it.
            (Self::Waits { .. }, Rejection::OpeningTooFarAhead) => Self::Needed { floor: 1 },
            (Self::Waits { seq }, _) => Self::Needed {
                floor: seq.saturating_add(1),
            },
            (other, _) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::OPENING_LIFE_NS;

    #[test]
    fn an_opening_without_room_is_over_when_its_life_is() {
        let waits = Opening::Waits { seq: 7 };
        let young = Wall::read_by(|| 7 + OPENING_LIFE_NS - 1);
        assert_eq!(waits.over(&young), None);
        let old = Wall::read_by(|| 7 + OPENING_LIFE_NS);
        assert_eq!(waits.over(&old), Some(Rejection::TableFull));
        assert_eq!(Opening::Done { is_ours: true }.over(&old), None);
    }

    #[test]
    fn only_one_that_was_ahead_of_its_time_may_be_followed_by_a_lower_one() {
        let waits = Opening::Waits { seq: 7 };
        let ahead = waits.given_up(Rejection::OpeningTooFarAhead);
        assert_eq!(ahead, Opening::Needed { floor: 1 });
        let old = waits.given_up(Rejection::OpeningTooOld);
        assert_eq!(old, Opening::Needed { floor: 8 });
    }
}
