//! Why a validator set is refused, and what deserves a second look. Owns the words only.

use crate::limits::{
    ALSO_ENTRIES_MAX, PIPELINE_BLOCKS, TURN_WINDOWS_MAX, VALIDATORS_MAX, WINDOW_SLOTS_MAX,
};
use crate::schedule::ScheduleError;
use crate::thresholds::ThresholdError;
use crate::types::{Stake, ValidatorIndex};
use core::fmt;

/// Why a set is refused. Each names the field, the validator where there is one, and the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetError {
    /// No validator, or more than `VALIDATORS_MAX`.
    Count {
        /// How many.
        count: usize,
    },
    /// A validator without weight.
    StakeZero {
        /// Who.
        validator: ValidatorIndex,
    },
    /// The stakes sum to 2^62 or more.
    TotalTooLarge {
        /// The sum.
        total: u128,
    },
    /// Two validators with one key.
    KeyRepeated {
        /// Who has it first.
        first: ValidatorIndex,
        /// Who has it again.
        validator: ValidatorIndex,
        /// The key.
        key: [u8; 32],
    },
    /// The key is no point of the curve.
    KeyInvalid {
        /// Who.
        validator: ValidatorIndex,
        /// The key.
        key: [u8; 32],
    },
    /// The key is a point written in another way than the one right way.
    KeyNotCanonical {
        /// Who.
        validator: ValidatorIndex,
        /// The key.
        key: [u8; 32],
    },
    /// The key is one of the eight points of small order, under which anyone can sign.
    KeySmallOrder {
        /// Who.
        validator: ValidatorIndex,
        /// The key.
        key: [u8; 32],
    },
    /// The key has a part of small order.
    KeyTorsion {
        /// Who.
        validator: ValidatorIndex,
        /// The key.
        key: [u8; 32],
    },
    /// F is zero without `crash_only`.
    FaultZero,
    /// N, F and P do not go together.
    Thresholds(ThresholdError),
    /// A slot could have more certifiable blocks than a record can name.
    BranchesMany {
        /// N / AMP.
        branches: u64,
    },
    /// Nobody leads.
    Schedule(ScheduleError),
    /// Those who lead weigh no more than F + C.
    SeatedTooLittle {
        /// Weight of validators with a seat.
        seated: Stake,
        /// F + C + 1.
        needed: Stake,
    },
    /// Slots of a window out of range.
    WindowSlots {
        /// The value.
        window_slots: u32,
    },
    /// Windows of a turn out of range.
    TurnWindows {
        /// The value.
        turn_windows: u32,
    },
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { count } => {
                write!(
                    f,
                    "validators: {count} given, 1 to {VALIDATORS_MAX} are possible"
                )
            }
            Self::StakeZero { validator } => write!(f, "validator {validator:?}: stake is 0"),
            Self::TotalTooLarge { total } => {
                write!(f, "stake: the sum {total} is not below 2^62")
            }
            Self::KeyRepeated {
                first,
                validator,
                key,
            } => {
                write!(
                    f,
                    "validator {validator:?}: key {} is also that of {first:?}",
                    Hex(key)
                )
            }
            Self::KeyInvalid { validator, key } => {
                write_key(f, *validator, key, "is no point of the curve")
            }
            Self::KeyNotCanonical { validator, key } => {
                write_key(f, *validator, key, "is not in canonical form")
            }
            Self::KeySmallOrder { validator, key } => {
                write_key(f, *validator, key, "has small order")
            }
            Self::KeyTorsion { validator, key } => {
                write_key(f, *validator, key, "has a torsion part")
            }
            Self::FaultZero => f.write_str(
                "fault: 0 tolerates no Byzantine validator; set crash_only if that is meant",
            ),
            Self::Thresholds(error) => write!(f, "fault, slack: {error}"),
            Self::BranchesMany { branches } => write!(
                f,
                "fault: stake over fault + 1 is {branches}, which with more than \
                 {ALSO_ENTRIES_MAX} validators may be at most {ALSO_ENTRIES_MAX}"
            ),
            Self::Schedule(error) => write!(f, "leader_weight: {error}"),
            Self::SeatedTooLittle { seated, needed } => write!(
                f,
                "leader_weight: leaders have stake {seated:?}, at least \
                 fault + crash + 1 = {needed:?} is needed"
            ),
            Self::WindowSlots { window_slots } => {
                write!(
                    f,
                    "window_slots: {window_slots} is not in 1 to {WINDOW_SLOTS_MAX}"
                )
            }
            Self::TurnWindows { turn_windows } => {
                write!(
                    f,
                    "turn_windows: {turn_windows} is not in 1 to {TURN_WINDOWS_MAX}"
                )
            }
        }
    }
}

fn write_key(
    f: &mut fmt::Formatter<'_>,
    validator: ValidatorIndex,
    key: &[u8; 32],
    fault: &str,
) -> fmt::Result {
    write!(f, "validator {validator:?}: key {} {fault}", Hex(key))
}

impl core::error::Error for SetError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Thresholds(error) => Some(error),
            Self::Schedule(error) => Some(error),
            _ => None,
        }
    }
}

/// What is legal but probably not meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetWarning {
    /// The heaviest validator alone exceeds what may be Byzantine.
    StakeAboveFault {
        /// Who.
        validator: ValidatorIndex,
        /// Its weight.
        stake: Stake,
        /// F.
        fault: Stake,
    },
    /// The heaviest validator alone, when silent, stops the fast path.
    StakeAboveSlack {
        /// Who.
        validator: ValidatorIndex,
        /// Its weight.
        stake: Stake,
        /// P.
        slack: Stake,
    },
    /// Weight that neither F, P nor C uses and a larger P would.
    SlackUnused {
        /// N - 3F - 2P - 1.
        unused: Stake,
        /// P.
        slack: Stake,
    },
    /// A window too short for two full pipelines.
    WindowShort {
        /// W.
        slots: u32,
    },
}

impl fmt::Display for SetWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StakeAboveFault {
                validator,
                stake,
                fault,
            } => write!(
                f,
                "validator {validator:?} has stake {stake:?}, more than fault {fault:?}: \
                 its misbehaviour alone breaks the assumptions"
            ),
            Self::StakeAboveSlack {
                validator,
                stake,
                slack,
            } => write!(
                f,
                "validator {validator:?} has stake {stake:?}, more than slack {slack:?}: \
                 its silence alone stops the fast path"
            ),
            Self::SlackUnused { unused, slack } => write!(
                f,
                "stake {unused:?} above 3*fault + 2*slack + 1 is more than slack {slack:?} uses: \
                 a larger slack would lower the quorums"
            ),
            Self::WindowShort { slots } => write!(
                f,
                "window_slots {slots} is below {}: the pipeline cannot fill",
                2 * PIPELINE_BLOCKS
            ),
        }
    }
}

/// A key in hexadecimal, as it stands in configuration files.
struct Hex<'a>(&'a [u8; 32]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
