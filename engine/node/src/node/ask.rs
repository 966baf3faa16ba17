//! Before a folder is made for a key: what the peers know of one that runs, or has signed.
//!
//! Owns one round of questions over the ports between validators, as the key's owner and in its
//! name, with the oldest incarnation there is: a peer that has seen a newer run of the key refuses
//! it and keeps that one. Never: votes, writes, or proves that a key has not signed; what no peer
//! holds any more cannot be seen.

use super::StartError;
use super::addresses::net_config;
use crate::config::NodeConfig;
use crate::keys::KeyPair;
use crate::stages::clock::Clock;
use crate::stages::identity::ValidatorIdentity;
use quorate_consensus::message::Message;
use quorate_consensus::types::{ValidatorIndex, Window};
use quorate_consensus::wire;
use quorate_net::{Class, ClientId, CloseReason, Handler, Net, SendError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Older than the incarnation of any run, which is a wall clock at least.
const INCARNATION: u64 = 1;
/// Where peers could connect to; nobody knows the port.
const LISTEN: &str = "127.0.0.1:0";
/// Longest time without a look at the deadline.
const LOOK: Duration = Duration::from_millis(50);

/// So many times a peer has to end the connection before that is taken for a refusal.
const REFUSALS_MIN: u32 = 2;

/// What one peer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerWord {
    /// It holds no vote of the key.
    Nothing,
    /// It holds a vote of the key in this window.
    Signed(Window),
    /// It ended the connection when it saw the key, and did so again: it has seen a newer run of
    /// it, or refuses this validator for another reason.
    Runs,
}

#[derive(Debug, Default)]
struct Asking {
    words: BTreeMap<ValidatorIndex, PeerWord>,
    /// How often each peer has ended the connection once it had seen the key.
    closed: BTreeMap<ValidatorIndex, u32>,
    up: Vec<u16>,
}

impl Asking {
    /// A peer that is killed closes its connections as one does that refuses, but once alone; and a
    /// connection that failed says nothing.
    fn note_closed(&mut self, peer: u16, reason: CloseReason) {
        if reason != CloseReason::RemoteClosed {
            return;
        }
        let peer = ValidatorIndex::new(peer);
        let times = self.closed.entry(peer).or_default();
        *times = times.saturating_add(1);
        if *times >= REFUSALS_MIN {
            self.words.entry(peer).or_insert(PeerWord::Runs);
        }
    }
}

impl Handler for Asking {
    fn peer_up(&mut self, peer: u16, _incarnation: u64) {
        self.up.push(peer);
    }

    fn peer_down(&mut self, peer: u16, reason: CloseReason) {
        self.note_closed(peer, reason);
    }

    fn peer_frame(&mut self, peer: u16, frame: &[u8]) {
        let Ok(message) = wire::decode(frame) else {
            return;
        };
        if let Message::FenceAnswer { incarnation, held } = message.into_message()
            && incarnation == INCARNATION
        {
            let newest = held.iter().map(|held| held.window).max();
            let word = newest.map_or(PeerWord::Nothing, PeerWord::Signed);
            self.words.insert(ValidatorIndex::new(peer), word);
        }
    }

    fn peer_refused(&mut self, peer: u16, reason: CloseReason) {
        self.note_closed(peer, reason);
    }

    fn client_up(&mut self, _client: ClientId, _key: [u8; 32]) {}
    fn client_down(&mut self, _client: ClientId) {}
    fn client_frame(&mut self, _client: ClientId, _frame: &[u8]) {}
}

/// Asks every peer of the genesis, for `patience` at most, what it knows of this validator's key.
/// Peers that cannot be reached say nothing. One that refuses raises its own alarm, as for any
/// second process with a key.
///
/// # Errors
/// The system gives no sockets.
pub fn ask_peers(
    config: &NodeConfig,
    patience: Duration,
) -> Result<BTreeMap<ValidatorIndex, PeerWord>, StartError> {
    let mut net_config = net_config(config, INCARNATION)?;
    net_config.peer_listen = LISTEN.to_owned();
    net_config.client_listen = None;
    let peers = net_config.peers.len();
    let set = Arc::clone(config.genesis.validator_set());
    let key = KeyPair::from_seed(&config.key.seed());
    let identity = ValidatorIdentity::new(set, config.own, key);
    let mut net = Net::bind(net_config, Arc::new(identity))?;
    let mut question = Vec::new();
    let message = Message::FenceAsk {
        incarnation: INCARNATION,
    };
    wire::encode(&message, &mut question);
    let mut asking = Asking::default();
    let clock = Clock::new();
    let (began, _) = clock.read();
    loop {
        let (now, _) = clock.read();
        let left = patience.saturating_sub(now.saturating_duration_since(began));
        if left.is_zero() || asking.words.len() == peers {
            return Ok(asking.words);
        }
        net.turn(now, Some(left.min(LOOK)), &mut asking)?;
        for peer in std::mem::take(&mut asking.up) {
            match net.send_peer(peer, &question, Class::Certificate) {
                Ok(()) | Err(SendError::NotConnected | SendError::Full) => {}
                Err(error) => tracing::error!(peer, %error, "the question cannot be sent"),
            }
        }
        net.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is known of a peer whose connections ended so, in this order.
    fn word(reasons: &[CloseReason]) -> Option<PeerWord> {
        let mut asking = Asking::default();
        for (place, reason) in reasons.iter().enumerate() {
            match place % 2 {
                0 => asking.peer_refused(3, *reason),
                _ => asking.peer_down(3, *reason),
            }
        }
        asking.words.get(&ValidatorIndex::new(3)).copied()
    }

    #[test]
    fn a_peer_refuses_that_closes_twice_and_no_failure_of_a_connection_counts() {
        let (closed, failed) = (CloseReason::RemoteClosed, CloseReason::Io);
        assert_eq!(word(&[closed]), None);
        assert_eq!(word(&[failed, CloseReason::Silent, failed, closed]), None);
        assert_eq!(word(&[closed, failed, closed]), Some(PeerWord::Runs));
        assert_eq!(word(&[closed, closed]), Some(PeerWord::Runs));
    }
}
