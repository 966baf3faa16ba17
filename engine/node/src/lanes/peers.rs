//! How much of the pool is each peer's.
//!
//! Owns how many commands, and bytes of them, are kept of each peer, and how many more of it may
//! be. Never: what of them waits for a number, or what room there is for all.
//!
//! What a peer hands on stays until it is final, and nothing says that it ever is: one that tells
//! everybody but the leader would otherwise fill every pool, and no client found room anywhere.

use super::gaps::Share;
use super::pool::Lanes;
use super::queue::{Command, Origin};

/// What is kept of each peer, in the order of validators.
#[derive(Debug, Default)]
pub(super) struct PeerShares {
    shares: Vec<Share>,
}

impl PeerShares {
    /// A command is kept from now on.
    pub(super) fn add(&mut self, command: &Command) {
        if let Origin::Peer(peer) = command.origin {
            let place = peer.place();
            if self.shares.len() <= place {
                self.shares.resize(place + 1, Share::default());
            }
            self.shares[place].add(command);
        }
    }

    /// It is so no more, or is a client's of this validator from now on.
    pub(super) fn subtract(&mut self, command: &Command) {
        if let Origin::Peer(peer) = command.origin {
            self.shares[peer.place()].subtract(command);
        }
    }
}

impl Lanes {
    /// Whether whoever handed a command on may have so much more here. An honest peer has somewhat
    /// more than `forward_bytes_max` at the leader, and that may know later than the peer what has
    /// become final: twice as much makes room for both, and what finds none comes again. And no
    /// peer has more than is left, so that whatever some of them do, there is room for others'.
    pub(super) fn has_peer_room(&self, origin: Origin, bytes: usize) -> bool {
        let Origin::Peer(peer) = origin else {
            return true;
        };
        let own = self.peers.shares.get(peer.place()).copied();
        let own = own.unwrap_or_default();
        // One alone finds what room there is.
        if own.commands == 0 {
            return true;
        }
        let bytes_max = self.config.forward_bytes_max.saturating_mul(2);
        let commands_left = self.config.commands_max.saturating_sub(self.commands);
        let bytes_left = self.config.bytes_max.saturating_sub(self.bytes);
        own.commands < commands_left && own.bytes + bytes <= bytes_left.min(bytes_max)
    }
}
