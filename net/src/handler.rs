//! What the loop tells its embedder, and the ids it uses.

use crate::error::CloseReason;
use crate::slots::Slot;
use std::time::Duration;

/// How long the loop sleeps on when what has come is no reason to end its sleep: the shortest time
/// that the event queue knows.
pub const PATIENCE: Duration = Duration::from_millis(1);

/// An authenticated client connection. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(crate) Slot);

impl ClientId {
    /// As a number, for queues and logs. The numbers have no order and no gaps to rely on.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    /// The inverse of [`ClientId::to_bits`]. An invented number names no client.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(Slot::from_bits(bits))
    }
}

/// Something about a peer that an operator must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerAlarm {
    /// A process with the peer's key and an older incarnation connected and was refused: two
    /// processes run with one key, or a backup was started. Told once a minute of each peer,
    /// however often it comes.
    StaleIncarnation {
        /// The highest incarnation seen.
        seen: u64,
        /// The one offered.
        offered: u64,
    },
}

/// Called by [`crate::Net::turn`], on its thread. Collect here, act after the turn.
pub trait Handler {
    /// The peer is connected. Its frames come after this.
    fn peer_up(&mut self, peer: u16, incarnation: u64);
    /// The peer's last connection ended. What waited for it was dropped.
    fn peer_down(&mut self, peer: u16, reason: CloseReason);
    /// A frame of the peer, 1 to `frame_bytes_max` bytes.
    fn peer_frame(&mut self, peer: u16, frame: &[u8]);
    /// Whether something that has come from this peer is a reason to end the sleep, or of use only
    /// with what others are about to send: then the loop sleeps on, for [`PATIENCE`] at most, until
    /// something comes that is a reason. Asked once for each peer from which something has come
    /// during the sleep. Always a reason unless implemented.
    fn is_reason(&mut self, peer: u16) -> bool {
        let _ = peer;
        true
    }
    /// The loop has slept on for as long as it may, and no reason has come. Does nothing unless
    /// implemented.
    fn waited_in_vain(&mut self) {}
    /// A client has logged in with `key`. Several connections may have the same key.
    fn client_up(&mut self, client: ClientId, key: [u8; 32]);
    /// The client's connection ended.
    fn client_down(&mut self, client: ClientId);
    /// A frame of the client, 1 to `client_frame_bytes_max` bytes.
    fn client_frame(&mut self, client: ClientId, frame: &[u8]);
    /// A peer that was dialed ended the connection when it had seen who dialed, and before it
    /// showed who it is: it refuses this validator, mostly since it has seen a newer run of its
    /// key. One that was killed in between ends it just so, or by a failure of the socket. Does
    /// nothing unless implemented.
    fn peer_refused(&mut self, peer: u16, reason: CloseReason) {
        let _ = (peer, reason);
    }
    /// See [`PeerAlarm`]. Does nothing unless implemented.
    fn peer_alarm(&mut self, peer: u16, alarm: PeerAlarm) {
        let _ = (peer, alarm);
    }
}
