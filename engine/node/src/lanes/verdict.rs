//! What the pool answers at once, and its bounds.
//!
//! Owns plain data only.

use quorate_consensus::limits::{BLOCK_COMMANDS_MAX, COMMAND_BYTES_MAX, PAYLOAD_BYTES_MAX};

use crate::state_machine::SessionId;

/// Bounds and times of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanesConfig {
    /// Commands kept at most.
    pub commands_max: usize,
    /// Bytes of entries kept at most.
    pub bytes_max: usize,
    /// Commands kept at most of one session.
    pub session_commands_max: u32,
    /// How far above the lowest missing number a session's command may be.
    pub gap_max: u32,
    /// How long a command behind a missing number is kept.
    pub gap_ns: u64,
    /// Sessions of the chain's session table at most (genesis).
    pub sessions_max: u32,
    /// Bytes of one command's body at most (genesis).
    pub command_bytes_max: usize,
    /// Bytes of a payload at most (genesis).
    pub payload_bytes_max: usize,
    /// Commands of a payload at most (genesis).
    pub block_commands_max: usize,
    /// `T_fan`: a command of a client of this validator that is not final after this long goes to
    /// every validator.
    pub fan_ns: u64,
    /// How often such a command is sent to the leader again afterwards.
    pub retry_ns: u64,
    /// Bytes of commands sent to the leader and not final at most; the rest waits here.
    pub forward_bytes_max: usize,
    /// Bytes of commands sent to all validators within one `fan_ns` at most: a slow chain must
    /// not be made slower by everybody's copies.
    pub fan_bytes_max: usize,
    /// How long a client's order may be expected to wait for its block: beyond that it is told to
    /// come again, though there is room. Far below `T_censor`, so that load is never taken for a
    /// leader that leaves commands out.
    pub queue_ns: u64,
    /// How long what waits may be held back for a larger block while others are in flight; 0: not
    /// at all (a configuration says 1 us).
    pub hold_ns: u64,
    /// Whether commands carry their clients' signatures (genesis).
    pub is_signed: bool,
}

/// Short beside what clients see under the load that makes blocks meet.
pub(crate) const HOLD_NS_DEFAULT: u64 = 2_000_000;

impl LanesConfig {
    /// The bounds to start from, with `fan_ns` from the profile of timers.
    #[must_use]
    pub const fn new(sessions_max: u32, fan_ns: u64) -> Self {
        Self {
            commands_max: 262_144,
            bytes_max: 24 * 1024 * 1024,
            session_commands_max: 65_536,
            gap_max: 4_096,
            gap_ns: 10_000_000_000,
            sessions_max,
            command_bytes_max: COMMAND_BYTES_MAX,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            block_commands_max: BLOCK_COMMANDS_MAX,
            fan_ns,
            retry_ns: fan_ns.saturating_mul(25),
            forward_bytes_max: 2 * 1024 * 1024,
            fan_bytes_max: 64 * 1024,
            queue_ns: fan_ns.saturating_mul(10),
            hold_ns: HOLD_NS_DEFAULT,
            is_signed: false,
        }
    }
}

/// The pool's answer to one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is kept until it stands in a finalized block; a command that already does is answered
    /// by a result.
    Accepted,
    /// There is no room now.
    Busy {
        /// When to try again.
        retry_after_us: u32,
    },
    /// It will not be taken as it is.
    Rejected(Rejection),
}

/// Why a command is not taken. The numbers stand on the client wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Rejection {
    /// The session is not the one of this connection.
    ForeignSession = 1,
    /// The body is longer than this chain allows.
    TooLarge = 2,
    /// Another command has this number of this session.
    Conflict = 3,
    /// The number is too far above the lowest missing one.
    TooFarAhead = 4,
    /// The chain's session table is full.
    TableFull = 5,
    /// The validator is stopping.
    Stopping = 6,
    /// The session's key has not signed it, in a chain whose commands are signed.
    BadSignature = 7,
    /// The session has ended, or never was: its key may open it anew, with a number of that time.
    SessionEnded = 8,
    /// The validator's state is another than the others': it serves nobody.
    Diverged = 9,
    /// It would open a session and was made too long ago.
    OpeningTooOld = 10,
    /// It would open a session and says that it is of a time to come.
    OpeningTooFarAhead = 11,
    /// It would open a session that is open: its numbers go on where they are.
    SessionOpen = 12,
}

/// The verdict on one command of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandVerdict {
    /// Whose command.
    pub session: SessionId,
    /// Its number.
    pub seq: u64,
    /// The answer.
    pub verdict: Verdict,
}

/// A command of a client of this validator that has become final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Its place in the block.
    pub index: u32,
    /// From its receipt here to its finality here.
    pub latency_ns: u64,
}
