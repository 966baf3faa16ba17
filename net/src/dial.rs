//! Dialing peers.
//!
//! Owns: looking up, connecting, giving up. Never: when to dial; [`crate::peers`] says so.

use std::sync::Arc;

use mio::net::TcpStream;

use crate::connection::Connection;
use crate::error::{CloseReason, NetError};
use crate::link::{Pending, PendingKind, Role};
use crate::peers::Dial;
use crate::poller::Net;
use crate::resolver::{Resolver, numeric, resolve_now};
use crate::slots::Slot;

impl Net {
    pub(crate) fn begin_dial(&mut self, index: u16) -> Result<(), NetError> {
        let Some(peer) = self.peers.get_mut(index) else {
            return Ok(());
        };
        self.counters.dials += 1;
        if let Some(address) = numeric(&peer.address) {
            self.connect(index, address);
            return Ok(());
        }
        let resolver = match &mut self.resolver {
            Some(resolver) => resolver,
            empty => empty.insert(Resolver::start(self.waker.clone(), Arc::new(resolve_now))?),
        };
        if resolver.ask(index, &peer.address) {
            peer.dial = Dial::Resolving;
        } else {
            peer.dial_ended(self.now);
        }
        Ok(())
    }

    /// Goes on with dials whose names have been looked up.
    pub(crate) fn take_answers(&mut self) -> usize {
        let mut answers = 0;
        while let Some(answer) = self.resolver.as_ref().and_then(Resolver::answer) {
            answers += 1;
            let Some(peer) = self.peers.get_mut(answer.of) else {
                continue;
            };
            if peer.dial != Dial::Resolving {
                continue;
            }
            peer.dials = peer.dials.wrapping_add(1);
            if answer.addresses.is_empty() {
                self.counters.count_close(CloseReason::ResolveFailed);
                peer.dial_ended(self.now);
            } else {
                let address = answer.addresses[peer.dials % answer.addresses.len()];
                self.connect(answer.of, address);
            }
            // A dial that has ended here has a time for the next one, which nothing else looks for.
            self.next_timer = self.now;
        }
        answers
    }

    fn connect(&mut self, index: u16, address: std::net::SocketAddr) {
        let deadline = self.now + self.limits.handshake_timeout;
        let kind = PendingKind::Connecting { peer: index };
        let slot = TcpStream::connect(address).and_then(|stream| {
            self.insert(
                Connection::new(stream),
                Role::Pending(Pending { kind, deadline }),
            )
        });
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        match slot {
            Ok(slot) => {
                peer.dial = Dial::Trying(slot);
                self.counters.dials_now += 1;
                self.next_timer = self.next_timer.min(deadline);
            }
            Err(_) => {
                self.counters.count_close(CloseReason::ConnectFailed);
                peer.dial_ended(self.now);
            }
        }
    }

    pub(crate) fn dial_failed(&mut self, index: u16, slot: Slot) {
        self.counters.dials_now -= 1;
        if let Some(peer) = self.peers.get_mut(index)
            && peer.dial == Dial::Trying(slot)
        {
            peer.dial_ended(self.now);
            self.next_timer = self.now;
        }
    }

    /// Gives up a dial that the peer cannot yet count on.
    pub(crate) fn cancel_dial(&mut self, index: u16) {
        let Some(peer) = self.peers.get(index) else {
            return;
        };
        let Dial::Trying(slot) = peer.dial else {
            return;
        };
        let Some(link) = self.links.get(slot) else {
            return;
        };
        let cancel = match &link.role {
            Role::Pending(Pending {
                kind: PendingKind::Connecting { .. },
                ..
            }) => true,
            Role::Pending(Pending {
                kind: PendingKind::Dialing { handshake, .. },
                ..
            }) => !handshake.hello_sent(),
            _ => false,
        };
        if cancel {
            self.doom(slot, CloseReason::Duplicate);
        }
    }
}

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
