//! Order flow: what is sent when, by whom.
//!
//! Owns the [`OrderFlow`] trait, its sources and their counters. Never: a clock, a socket or a
//! signature; whoever sends turns an offset into a time and a [`Sender`] into a session.
//!
//! All sources are open loop: the offset of a command depends on the source and the target rate
//! alone, never on answers. A flow that is asked late does not skip; the sender sees that the
//! offset has passed and sends at once, and measures from the intended time.

pub mod generator;
pub mod lobster;
pub mod opaque;
mod pace;
#[cfg(test)]
mod venue_check;

use quorate::state_machine::Lane;

pub use generator::{Generator, GeneratorConfig};
pub use lobster::{Lobster, LobsterConfig, LobsterError};
pub use opaque::{Noise, Opaque};

/// Clients that a flow may be spread over at most.
pub const CLIENTS_MAX: u32 = 1 << 16;

/// Who is to send a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The client of this index, below the count of clients the flow was made for. All commands
    /// about an order come from the client that entered it.
    Client(u32),
    /// An administrator of the venue.
    Admin,
}

/// When and by whom a command is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Nanoseconds from the start of the flow; never falls.
    pub offset_ns: u64,
    /// Who sends it.
    pub sender: Sender,
    /// The lane it belongs in.
    pub lane: Lane,
}

/// What a flow has given so far, by kind, and what its source held that it did not give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Limit orders, without those that set up a book.
    pub limits: u64,
    /// Reductions.
    pub reduces: u64,
    /// Cancels.
    pub cancels: u64,
    /// Immediate-or-cancel orders.
    pub iocs: u64,
    /// Mass cancels, which clear the book before a source is repeated.
    pub mass_cancels: u64,
    /// Limit orders that set up a book.
    pub seeds: u64,
    /// Halts and resumes.
    pub halts: u64,
    /// Opaque commands.
    pub opaques: u64,
    /// Messages of the source that have no counterpart, such as hidden executions.
    pub skipped: u64,
    /// Messages of the source about orders that it never told of.
    pub unknown: u64,
    /// How many times the source was started again.
    pub wraps: u64,
}

impl Counters {
    /// How many commands were given.
    #[must_use]
    pub const fn commands(&self) -> u64 {
        self.limits
            + self.reduces
            + self.cancels
            + self.iocs
            + self.mass_cancels
            + self.seeds
            + self.halts
            + self.opaques
    }
}

/// A source of commands.
pub trait OrderFlow: Send {
    /// Replaces `command` by the bytes of the next command and says when and by whom it is to be
    /// sent. `None` at the end, after which there is nothing more; most flows have none.
    fn plan_next(&mut self, command: &mut Vec<u8>) -> Option<Planned>;

    /// What was given so far.
    fn counters(&self) -> &Counters;
}

/// Spreads a number over 64 bits: the finalizer of SplitMix64.
const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The client that a number falls to, below `clients`.
const fn client_of(number: u64, clients: u32) -> u32 {
    (mix(number) % clients as u64) as u32
}
