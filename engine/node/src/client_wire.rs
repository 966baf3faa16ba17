//! The frames between a client and a validator: bytes to values and back, one encoding a value.
//!
//! Owns the layout (docs/client-protocol.md) and every bound of it. Never: sockets, sessions'
//! state, or what a command means. Decoding borrows from the frame and allocates nothing; a frame
//! that decodes encodes to the same bytes.
//!
//! A connection is one client key, so one session; frames do not repeat its name.

mod decode;
mod encode;
mod private;
mod public;

pub use decode::{
    ClientFrame, Outputs, ResultView, Results, Sections, ServerFrame, Stream, Verdicts,
};
pub use encode::{
    ClientFrameWriter, RESULT_OUTPUTS_MAX, ResultsFrame, StreamFrame, VerdictsWriter,
    encode_answer, encode_busy, encode_query, encode_refused, encode_root, encode_root_ask,
    encode_session, encode_session_ask, encode_status, encode_status_ask,
};

pub use private::{Private, PrivateFrame, PrivateItem, PrivateState, encode_private_ask};
pub use public::{
    Public, PublicAsk, PublicEvent, PublicFrame, PublicMark, PublicState, encode_public_ask,
    encode_public_mark, encode_public_stop, encode_public_subscribe,
};

pub use crate::lanes::{Rejection, Verdict};
pub use crate::results::{Mark, Outcome, Place};

use quorate_consensus::types::ValidatorIndex;

/// Version of the client protocol, in every frame.
pub const CLIENT_WIRE_VERSION: u16 = 4;
/// Longest question of a query, bytes.
pub const QUESTION_BYTES_MAX: usize = 64 * 1024;
/// Longest frame that a client sends, bytes: a full batch of commands.
pub const CLIENT_FRAME_BYTES_MAX: usize = 128 * 1024;
/// Commands in one Submit.
pub const SUBMIT_COMMANDS_MAX: usize = 4096;
/// Sections of a state root, and the longest name of one, bytes.
pub const SECTIONS_MAX: usize = 64;
/// Longest name of a section, bytes.
pub const SECTION_NAME_BYTES_MAX: usize = 64;
/// The leader's index while none is known.
const LEADER_UNKNOWN: u16 = u16::MAX;

/// Kinds of frames. A client's are below 128.
mod kind {
    pub(super) const SUBMIT: u8 = 1;
    pub(super) const QUERY: u8 = 2;
    pub(super) const STATUS_ASK: u8 = 3;
    pub(super) const ROOT_ASK: u8 = 4;
    pub(super) const SESSION_ASK: u8 = 5;
    pub(super) const PUBLIC_SUBSCRIBE: u8 = 6;
    pub(super) const PUBLIC_ASK: u8 = 7;
    pub(super) const PUBLIC_STOP: u8 = 8;
    pub(super) const PRIVATE_ASK: u8 = 9;
    pub(super) const VERDICTS: u8 = 129;
    pub(super) const RESULTS: u8 = 130;
    pub(super) const ANSWER: u8 = 131;
    pub(super) const STATUS: u8 = 132;
    pub(super) const ROOT: u8 = 133;
    pub(super) const SESSION: u8 = 134;
    pub(super) const BUSY: u8 = 135;
    pub(super) const STREAM: u8 = 136;
    pub(super) const REFUSED: u8 = 137;
    pub(super) const PUBLIC: u8 = 138;
    pub(super) const PUBLIC_MARK: u8 = 139;
    pub(super) const PRIVATE: u8 = 140;
}

/// One finalized command, without its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultItem {
    /// Its number in the session.
    pub seq: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// Where it was applied: in this block, or for a duplicate earlier, if that is still known.
    pub applied: Option<Place>,
    /// The command's mark; of a duplicate that of the command which was applied under its number,
    /// if that is still known.
    pub mark: Option<Mark>,
    /// From this validator's receipt to finality here, nanoseconds; 0 when another one admitted
    /// it.
    pub finality_ns: u64,
}

/// Verdicts on commands with consecutive numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerdictRun {
    /// The first number.
    pub seq_first: u64,
    /// How many; at least 1.
    pub count: u32,
    /// The same for all.
    pub verdict: Verdict,
}

/// Why a validator answers nothing at all. The numbers stand on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Refusal {
    /// Its state is another than the others': what it would answer may be wrong.
    Diverged = 1,
}

/// Why bytes are no frame of this protocol. The connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It ends before its content does.
    #[error("the frame ends too early")]
    Truncated,
    /// Something stands after its content.
    #[error("{0} bytes stand after the frame's content")]
    Trailing(usize),
    /// Another version.
    #[error("version {0} of the client protocol, this build speaks {CLIENT_WIRE_VERSION}")]
    Version(u16),
    /// No such kind, or one that the other side sends.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// A field holds a value that it must not.
    #[error("field {0} holds a value that it must not")]
    Field(&'static str),
    /// More elements or bytes than allowed.
    #[error("{0} is above its bound")]
    Bound(&'static str),
    /// A Submit whose entries are no commands.
    #[error("entries: {0}")]
    Entries(&'static str),
}

/// The rejection with this code, if this build knows it.
const fn rejection_from_code(code: u32) -> Option<Rejection> {
    match code {
        1 => Some(Rejection::ForeignSession),
        2 => Some(Rejection::TooLarge),
        3 => Some(Rejection::Conflict),
        4 => Some(Rejection::TooFarAhead),
        5 => Some(Rejection::TableFull),
        6 => Some(Rejection::Stopping),
        7 => Some(Rejection::BadSignature),
        8 => Some(Rejection::SessionEnded),
        9 => Some(Rejection::Diverged),
        10 => Some(Rejection::OpeningTooOld),
        11 => Some(Rejection::OpeningTooFarAhead),
        12 => Some(Rejection::SessionOpen),
        _ => None,
    }
}

/// The refusal with this code, if this build knows it.
const fn refusal_from_code(code: u32) -> Option<Refusal> {
    match code {
        1 => Some(Refusal::Diverged),
        _ => None,
    }
}

fn leader_to_wire(leader: Option<ValidatorIndex>) -> u16 {
    leader.map_or(LEADER_UNKNOWN, ValidatorIndex::number)
}

fn leader_from_wire(leader: u16) -> Option<ValidatorIndex> {
    (leader != LEADER_UNKNOWN).then(|| ValidatorIndex::new(leader))
}

#[cfg(test)]
mod tests;
