//! The client side: sessions that submit commands and see their finalized results.
//!
//! Owns the connections of any number of sessions on one thread, the numbering of their commands,
//! and the sending again of what is not finalized when a validator is lost. Never: the meaning of a
//! command, or threads, but for one that looks names up where validators have them for addresses.
//!
//! [`Clients`] is the poll-style interface (`turn`, like the node's own stages); [`Client`] wraps
//! one session of it for programs that want to wait. A command that was accepted is not
//! acknowledged: only its result is, and until then it is kept and sent again, with the same
//! number, to whichever validator answers. The session table makes that exactly once.

mod astray;
mod blocking;
mod event;
mod everybody;
mod feed;
mod gateway;
mod identity;
mod missed;
mod opening;
mod patience;
mod pending;
mod public;
mod quorum;
mod refusals;
mod send_window;
mod sessions;
mod silence;
mod taking;
mod unreached;
mod watch;

// What stands in the functions of a client.
pub use quorate_consensus::types::ValidatorIndex;
pub use quorate_net::Waker;

pub use blocking::{Client, Finalized};
pub use event::ClientEvent;
pub use feed::{HoleKind, StreamHole};
pub use missed::{PrivateOutput, PrivatePiece};
pub use public::{PublicClient, PublicItem, PublicOptions, PublicReader, PublicUpdate};
pub use quorum::Trust;
pub use send_window::{COMMANDS_MAX as SEND_WINDOW_MAX, SendWindow};
pub use sessions::{ClientOptions, ClientRef, Clients};

use crate::streams::StreamPosition;
use std::time::{Duration, Instant};

/// Longer than anybody waits.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// When a wait is over that begins now; one that no clock can count, as `Duration::MAX`, is never.
fn end_of(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + FAR)
}

/// A client cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The event queue or the ciphers failed.
    #[error(transparent)]
    Net(#[from] quorate_net::NetError),
    /// No validator of the genesis has a client address.
    #[error("no validator of this genesis has a client address")]
    NoAddress,
    /// The validators that have client addresses are too few to tell a result, whatever happens:
    /// with [`Trust::FaultStake`] nothing is sent before stake above 2 F listens.
    #[error("validators of stake {stake} have client addresses, {needed} must listen")]
    TooFewAddresses {
        /// Of all that have addresses.
        stake: u64,
        /// 2 F + 1.
        needed: u64,
    },
    /// As many commands as allowed wait for finality.
    #[error("{pending} commands wait for finality, no more are taken")]
    Full {
        /// How many.
        pending: usize,
    },
    /// The command's body is longer than the chain allows, or the question than the protocol does.
    #[error("{bytes} bytes, where {bytes_max} are allowed")]
    Length {
        /// Its length.
        bytes: usize,
        /// The longest allowed.
        bytes_max: usize,
    },
    /// So much waits on the connection that the question has no room; try again in a moment.
    #[error("too much waits to be sent")]
    Crowded,
    /// So many connections ended while they had the question that it may be what ends validators:
    /// an application that panics on it ends whichever is asked. It is asked nobody else.
    #[error("{losses} connections ended while they had the question: it is asked nobody else")]
    QuestionLost {
        /// How many.
        losses: u32,
    },
    /// No validator is connected; try again.
    #[error("not connected")]
    NotConnected,
    /// A validator refused the command for good.
    #[error("rejected: {0:?}")]
    Rejected(crate::lanes::Rejection),
    /// The command was applied before, or never will be: which of the two is not known
    /// ([`ClientEvent::Unsure`]).
    #[error("it is not known whether command {seq} was applied, and it will not be any more")]
    Unsure {
        /// Its number.
        seq: u64,
    },
    /// No validator that was asked has this position of the stream any more.
    #[error("the stream begins at {oldest}, {position} is gone")]
    Gone {
        /// What was wanted.
        position: StreamPosition,
        /// The oldest position of the validator that was asked last.
        oldest: StreamPosition,
    },
    /// No validator that was asked has come to this position of the public stream.
    #[error("no validator has come to {position}, they are at {tip}")]
    Ahead {
        /// What was wanted.
        position: StreamPosition,
        /// The lower middle of where they are: not beyond where somebody honest is.
        tip: StreamPosition,
    },
    /// The block has fewer public outputs.
    #[error("there is no position {position} in the public stream")]
    NoSuchPosition {
        /// What was wanted.
        position: StreamPosition,
    },
    /// The time given was over.
    #[error("no answer within the time given")]
    Timeout,
}
