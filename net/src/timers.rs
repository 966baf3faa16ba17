//! What is due: dials, deadlines, keep-alives.
//!
//! Owns: finding out, seldom, by looking at everything; in between one comparison a turn. Never: a
//! clock.

use std::time::Instant;

use crate::error::{CloseReason, NetError};
use crate::limits::Limits;
use crate::link::{Link, Role};
use crate::peers::Peer;
use crate::poller::Net;

impl Net {
    /// Does what is due and finds out when the next thing is. Costs one comparison when nothing is.
    pub(crate) fn run_timers(&mut self) -> Result<usize, NetError> {
        let answers = self.take_answers();
        if self.now < self.next_timer {
            return Ok(answers);
        }
        let mut next = self.now + self.limits.keepalive_interval;
        for index in self.peers.indices() {
            match self.peers.get(index).and_then(Peer::dial_at) {
                Some(at) if at <= self.now => self.begin_dial(index)?,
                Some(_) | None => {}
            }
            if let Some(at) = self.peers.get(index).and_then(Peer::dial_at) {
                next = next.min(at);
            }
        }
        next = self.release_held().map_or(next, |at| next.min(at));
        for listener in self.listeners.iter().flatten() {
            next = listener.paused_until().map_or(next, |at| next.min(at));
        }
        let mut due = Vec::new();
        self.silent.clear();
        for (slot, link) in self.links.iter_mut() {
            match link_timer(link, self.now, &self.limits) {
                Timer::At(at) => next = next.min(at),
                Timer::Close(reason) => due.push((slot, reason)),
                Timer::Silent => self.silent.push(slot),
                Timer::None => {}
            }
        }
        for (slot, reason) in &due {
            self.doom(*slot, *reason);
        }
        self.keep_alive();
        self.next_timer = next;
        Ok(answers + due.len() + self.silent.len())
    }

    /// Closes those that have been silent for too long and are so still, now that what waited has
    /// been read. When events were left for the next turn, so is this.
    pub(crate) fn judge_silence(&mut self, has_all_events: bool) {
        let mut silent = std::mem::take(&mut self.silent);
        if !silent.is_empty() {
            // What is due on those that are not silent has not been found out.
            self.next_timer = self.now;
        }
        for slot in silent.drain(..).filter(|_| has_all_events) {
            let is_silent = self.links.get(slot).is_some_and(|link| {
                self.now.duration_since(link.received) >= self.limits.silence_max
            });
            if is_silent {
                self.doom(slot, CloseReason::Silent);
            }
        }
        self.silent = silent;
    }

    fn keep_alive(&mut self) {
        for index in 0..self.peers.index_end() {
            let Some(slot) = self.peers.get(index).and_then(Peer::send_on) else {
                continue;
            };
            let Some(link) = self.links.get_mut(slot) else {
                continue;
            };
            if self.now.duration_since(link.sent) < self.limits.keepalive_interval {
                continue;
            }
            match link.connection.keep_alive() {
                Ok(()) => self.flush_link(slot),
                Err(reason) => self.doom(slot, reason),
            }
        }
    }
}

enum Timer {
    None,
    At(Instant),
    Close(CloseReason),
    Silent,
}

fn link_timer(link: &Link, now: Instant, limits: &Limits) -> Timer {
    let (at, reason) = match &link.role {
        Role::Pending(pending) => (pending.deadline, CloseReason::HandshakeTimeout),
        Role::Peer {
            retired: Some(retired),
            ..
        } => (retired.deadline, CloseReason::Duplicate),
        Role::Peer { .. } if now.duration_since(link.received) >= limits.silence_max => {
            return Timer::Silent;
        }
        Role::Peer { .. } => {
            let silent = link.received + limits.silence_max;
            let quiet = link.sent + limits.keepalive_interval;
            // A keep-alive that is due now is sent in this run.
            return Timer::At(if quiet > now {
                silent.min(quiet)
            } else {
                silent
            });
        }
        Role::Client { .. } => return Timer::None,
    };
    if at <= now {
        Timer::Close(reason)
    } else {
        Timer::At(at)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::time::Duration;

    use mio::net::TcpStream;

    use super::*;
    use crate::connection::Connection;
    use crate::handshake::{Authenticator, ChainIds};
    use crate::poller::NetConfig;

    /// Proves nothing and believes nothing.
    struct Nobody;

    impl Authenticator for Nobody {
        fn sign_hello(&self, _hash: &[u8; 32], _peer: u16) -> [u8; 64] {
            [0; 64]
        }
        fn verify_hello(&self, _: &[u8; 32], _: u16, _: u16, _: &[u8; 64]) -> bool {
            false
        }
        fn verify_login(&self, _: &[u8; 32], _: &[u8; 32], _: &[u8; 64]) -> bool {
            false
        }
    }

    fn net() -> Net {
        let config = NetConfig {
            index: 3,
            incarnation: 1,
            chain: ChainIds {
                chain_id: [1; 32],
                genesis_hash: [2; 32],
            },
            peer_listen: "127.0.0.1:0".to_owned(),
            client_listen: None,
            peers: Vec::new(),
            limits: Limits::default(),
            jitter_seed: 7,
        };
        Net::bind(config, Arc::new(Nobody)).expect("a free port")
    }

    /// What is left may be all that it has sent: many events are where much is going on.
    #[test]
    fn nobody_is_called_silent_in_a_turn_that_leaves_events_for_the_next_one() {
        let mut net = net();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let connection = Connection::new(TcpStream::connect(address).expect("a socket"));
        let role = Role::Peer {
            index: 1,
            confirmed: true,
            retired: None,
        };
        let begun = net.now;
        let slot = net.links.insert(Link::new(connection, role, begun));
        net.now = begun + net.limits.silence_max;
        for (has_all_events, reason) in [(false, None), (true, Some(CloseReason::Silent))] {
            net.run_timers().expect("nothing is dialed");
            assert_eq!(net.silent, [slot]);
            net.judge_silence(has_all_events);
            assert_eq!(net.links.get(slot).expect("it is there").doomed, reason);
            net.now += Duration::from_nanos(1);
        }
    }
}
