//! What the message path counts. Owns: plain numbers, written by the loop's thread alone.
//! Never: an atomic or a lock; the embedder copies them out between turns.

use crate::error::CloseReason;
use crate::queue::{CLASSES, Class};

const REASONS: usize = CloseReason::ALL.len();

/// Counts since the start, except those that say `now`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Bytes read from sockets.
    pub bytes_in: u64,
    /// Bytes written to sockets.
    pub bytes_out: u64,
    /// Read system calls.
    pub reads: u64,
    /// Write system calls.
    pub writes: u64,
    /// Noise messages opened after authentication.
    pub messages_in: u64,
    /// Noise messages sealed after authentication.
    pub messages_out: u64,
    /// Frames handed to the embedder.
    pub frames_in: u64,
    /// Frames taken from the embedder and sealed.
    pub frames_out: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Accept calls that failed for want of resources.
    pub accept_failures: u64,
    /// Dials begun.
    pub dials: u64,
    /// Handshakes finished with a peer.
    pub peers_authenticated: u64,
    /// Handshakes finished with a client.
    pub clients_authenticated: u64,
    /// Dials in progress now.
    pub dials_now: u64,
    /// Authenticated connections to peers now. Two with one peer only while a duplicate is
    /// resolved.
    pub peer_connections_now: u64,
    /// Times that a client was not read from for a while.
    pub clients_held: u64,
    /// Authenticated clients now.
    pub clients_now: u64,
    /// Accepted connections that have not proved who they are, now.
    pub unauthenticated_now: u64,
    pub(crate) dropped: [u64; CLASSES],
    pub(crate) refused: [u64; CLASSES],
    pub(crate) closed: Closed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed([u64; REASONS]);

impl Default for Closed {
    fn default() -> Self {
        Self([0; REASONS])
    }
}

impl Counters {
    /// Connections closed for `reason`, failed dials and refused logins included.
    #[must_use]
    pub const fn closed_by(&self, reason: CloseReason) -> u64 {
        self.closed.0[reason as usize]
    }

    /// Frames of `class` that had been queued for a peer and made room for others, or were lost
    /// with the connection.
    #[must_use]
    pub const fn dropped(&self, class: Class) -> u64 {
        self.dropped[class as usize]
    }

    /// Frames of `class` that were not taken because a peer's queue was full.
    #[must_use]
    pub const fn refused(&self, class: Class) -> u64 {
        self.refused[class as usize]
    }

    pub(crate) fn count_close(&mut self, reason: CloseReason) {
        self.closed.0[reason as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_counts_for_itself() {
        let mut counters = Counters::default();
        for reason in CloseReason::ALL {
            counters.count_close(*reason);
            assert_eq!(counters.closed_by(*reason), 1);
        }
    }
}
