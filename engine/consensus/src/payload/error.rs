//! Why bytes are not a payload. Owns the words only.

use super::{LANE_SHARES_FROM_BYTES, Lane};
use core::fmt;

/// Why a payload or a run of entries is refused. `command` is the place in it, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadError {
    /// More bytes than its bound.
    TooLarge {
        /// How many.
        bytes: usize,
        /// How many there may be.
        max: usize,
    },
    /// More commands than a block may carry.
    TooManyCommands {
        /// How many, at least.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// The bytes end inside a command, or before the count says.
    Truncated {
        /// Which.
        command: usize,
    },
    /// Bytes after the last command.
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A lane that does not exist.
    UnknownLane {
        /// Which.
        command: usize,
        /// The byte.
        lane: u8,
    },
    /// A kind of authentication that does not exist.
    UnknownAuth {
        /// Which.
        command: usize,
        /// The byte.
        auth: u8,
    },
    /// A flag that is not defined.
    UnknownFlags {
        /// Which.
        command: usize,
        /// The flags.
        flags: u16,
    },
    /// A body beyond its bound: `COMMAND_BYTES_MAX`, or that of the chain.
    BodyTooLarge {
        /// Which.
        command: usize,
        /// How many bytes.
        bytes: usize,
        /// How many there may be.
        max: usize,
    },
    /// A command of a lower lane after one of a higher.
    LaneOrder {
        /// Which.
        command: usize,
    },
    /// Numbers start at 1.
    SeqZero {
        /// Which.
        command: usize,
    },
    /// A session's numbers do not rise by one.
    Sequence {
        /// Which.
        command: usize,
        /// The session's number before it in this payload.
        before: u64,
        /// Its number.
        seq: u64,
    },
    /// Number 1 without the opening flag.
    OpenMisplaced {
        /// Which.
        command: usize,
        /// Its number.
        seq: u64,
    },
    /// An opening body does not begin with the public key of its session.
    OpenKey {
        /// Which.
        command: usize,
    },
    /// A lane takes more than its share of the bytes.
    LaneShare {
        /// Which lane.
        lane: Lane,
        /// Bytes of its entries.
        bytes: usize,
        /// Bytes of the payload.
        payload_bytes: usize,
        /// Percent of them that it may take.
        percent: u8,
    },
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes, max } => {
                write!(f, "{bytes} bytes of commands, at most {max} are possible")
            }
            Self::TooManyCommands { count, max } => {
                write!(f, "{count} commands, at most {max} are possible")
            }
            Self::Truncated { command } => write!(f, "the bytes end before command {command} does"),
            Self::Trailing { bytes } => write!(f, "{bytes} bytes after the last command"),
            Self::UnknownLane { command, lane } => {
                write!(f, "command {command}: unknown lane {lane}")
            }
            Self::UnknownAuth { command, auth } => {
                write!(f, "command {command}: unknown authentication {auth}")
            }
            Self::UnknownFlags { command, flags } => {
                write!(f, "command {command}: undefined flags {flags:#06x}")
            }
            Self::BodyTooLarge {
                command,
                bytes,
                max,
            } => write!(
                f,
                "command {command}: body of {bytes} bytes, at most {max} are possible"
            ),
            Self::LaneOrder { command } => {
                write!(
                    f,
                    "command {command}: its lane belongs before the one in front of it"
                )
            }
            Self::SeqZero { command } => write!(f, "command {command}: numbers start at 1"),
            Self::Sequence {
                command,
                before,
                seq,
            } => {
                write!(
                    f,
                    "command {command}: number {seq} follows {before} in its session"
                )
            }
            Self::OpenMisplaced { command, seq } => {
                write!(
                    f,
                    "command {command}: number {seq} does not open its session"
                )
            }
            Self::OpenKey { command } => {
                write!(
                    f,
                    "command {command}: its body does not begin with its session's key"
                )
            }
            Self::LaneShare {
                lane,
                bytes,
                payload_bytes,
                percent,
            } => write!(
                f,
                "lane {lane}: {bytes} of {payload_bytes} bytes, above {percent} percent in a \
                 payload of more than {LANE_SHARES_FROM_BYTES} bytes"
            ),
        }
    }
}

impl core::error::Error for PayloadError {}
