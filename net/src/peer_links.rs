//! Peers on their connections: admission, frames both ways.
//!
//! Owns: carrying out what [`crate::peers`] decides. Never: the decisions.
//!
//! The queue of a peer belongs to the peer, not to a connection: when a duplicate is resolved the
//! frames go out on the connection that stays. When the peer goes down the queue is emptied, since
//! its frames answer a state that the peer may have left. The drop policy of a full queue is in
//! [`crate::queue`].

use crate::class_queue::Parts;
use crate::error::{CloseReason, NetError, SendError};
use crate::handler::{Handler, PeerAlarm};
use crate::limits::{Limits, PEER_KEPT_BYTES};
use crate::link::{PendingKind, Retired, Role};
use crate::peers::{self, Dial, Dialer, Peer, Peers};
use crate::poller::Net;
use crate::queue::Class;
use crate::slots::Slot;

impl Net {
    /// Queues `frame` for `peer`; it leaves with the next [`Net::flush`], and arrives at most once.
    ///
    /// # Errors
    /// [`SendError::NotConnected`], [`SendError::Full`] (see [`Class`]), [`SendError::Length`].
    pub fn send_peer(&mut self, peer: u16, frame: &[u8], class: Class) -> Result<(), SendError> {
        self.send_peer_parts(peer, Parts::whole(frame), class)
    }

    /// [`Net::send_peer`] of a frame in parts, of which the body is not copied.
    ///
    /// # Errors
    /// Those of [`Net::send_peer`].
    pub fn send_peer_parts(
        &mut self,
        peer: u16,
        frame: Parts<'_>,
        class: Class,
    ) -> Result<(), SendError> {
        self.check_length(frame.bytes())?;
        let Some(peer) = self.peers.get_mut(peer) else {
            return Err(SendError::NotConnected);
        };
        let Some(slot) = peer.send_on() else {
            return Err(SendError::NotConnected);
        };
        let Some(link) = self.links.get(slot) else {
            return Err(SendError::NotConnected);
        };
        if link.doomed.is_some() {
            return Err(SendError::NotConnected);
        }
        let bytes_max = self
            .limits
            .peer_queue_bytes_max
            .saturating_sub(link.connection.sealed.len());
        let pushed = peer
            .outbound
            .push(frame, class, bytes_max, &mut self.counters.dropped);
        self.soil(slot);
        pushed.map_err(|_| {
            self.counters.refused[class as usize] += 1;
            SendError::Full
        })
    }

    /// [`Net::send_peer`] to every connected peer. Returns how many took it.
    ///
    /// # Errors
    /// [`SendError::Length`].
    pub fn broadcast(&mut self, frame: &[u8], class: Class) -> Result<usize, SendError> {
        self.broadcast_parts(Parts::whole(frame), class)
    }

    /// [`Net::send_peer_parts`] to every connected peer. Returns how many took it.
    ///
    /// # Errors
    /// [`SendError::Length`].
    pub fn broadcast_parts(&mut self, frame: Parts<'_>, class: Class) -> Result<usize, SendError> {
        self.check_length(frame.bytes())?;
        let taken = (0..self.peers.index_end())
            .filter(|peer| self.send_peer_parts(*peer, frame, class).is_ok());
        Ok(taken.count())
    }

    /// Whether `peer` is connected.
    #[must_use]
    pub fn is_up(&self, peer: u16) -> bool {
        self.peers
            .get(peer)
            .is_some_and(|peer| peer.send_on().is_some())
    }

    /// Closes every connection to `peer` and refuses it until the next dial is due, with a delay
    /// that grows while this repeats. For bytes that break the protocol above. Does nothing while
    /// it is refused already: many faults that were found in one turn are one.
    pub fn drop_peer(&mut self, peer: u16, reason: CloseReason) {
        let now = self.now;
        let links = &self.links;
        let Some(peer) = self.peers.get_mut(peer) else {
            return;
        };
        let is_open = |slot| links.get(slot).is_some_and(|link| link.doomed.is_none());
        let is_connected = peer.all_slots().into_iter().flatten().any(is_open);
        if !is_connected && peer.is_refused(now) {
            return;
        }
        peer.refuse_until_redial(now);
        for slot in peer.all_slots().into_iter().flatten() {
            self.doom(slot, reason);
        }
    }

    /// Replaces the peer list: new peers are dialed, known ones keep their connection and get the
    /// new address, others are disconnected.
    ///
    /// # Errors
    /// [`NetError::Peer`]; then nothing changed.
    pub fn set_peers(&mut self, list: &[(u16, String)]) -> Result<(), NetError> {
        Peers::check(self.local.index, list)?;
        for index in self.peers.indices() {
            if list.iter().any(|(listed, _)| *listed == index) {
                continue;
            }
            let Some(peer) = self.peers.get_mut(index) else {
                continue;
            };
            peer.removed = true;
            let attempt = if let Dial::Trying(slot) = peer.dial {
                Some(slot)
            } else {
                None
            };
            // The peer itself goes when its last connection is buried, which tells the handler.
            let is_down = peer.slots().iter().all(Option::is_none);
            for slot in peer.all_slots().into_iter().flatten().chain(attempt) {
                self.doom(slot, CloseReason::Removed);
            }
            if is_down {
                self.peers.remove(index);
            }
        }
        for (index, address) in list {
            self.peers.set(self.now, *index, address);
        }
        self.next_timer = self.now;
        Ok(())
    }

    // Admission.

    pub(crate) fn peer_identified(
        &mut self,
        slot: Slot,
        index: u16,
        incarnation: u64,
        handler: &mut impl Handler,
    ) -> Result<(), CloseReason> {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(index) else {
            return Err(CloseReason::HelloIndex);
        };
        if let Err(reason) = peer.admit(now, incarnation) {
            if reason == CloseReason::StaleIncarnation && peer.tells_stale(now) {
                let seen = peer.incarnation_seen().unwrap_or(incarnation);
                handler.peer_alarm(
                    index,
                    PeerAlarm::StaleIncarnation {
                        seen,
                        offered: incarnation,
                    },
                );
            }
            return Err(reason);
        }
        let Some(link) = self.links.get_mut(slot) else {
            return Ok(());
        };
        let role = Role::Peer {
            index,
            confirmed: false,
            retired: None,
        };
        let Role::Pending(pending) = std::mem::replace(&mut link.role, role) else {
            return Ok(());
        };
        self.counters.peer_connections_now += 1;
        let (dialer, handshake) = match pending.kind {
            PendingKind::Dialing { handshake, .. } => {
                peer.dial = Dial::At(now);
                self.counters.dials_now -= 1;
                (Dialer::Own, handshake)
            }
            PendingKind::Accepted { port, handshake } => {
                self.forget_stranger(port, slot);
                (Dialer::Remote, handshake)
            }
            PendingKind::Connecting { .. } => return Err(CloseReason::Handshake),
        };
        let Some(link) = self.links.get_mut(slot) else {
            return Ok(());
        };
        let session = handshake.finish(&mut link.connection.sealed)?;
        let Limits {
            frame_bytes_max,
            peer_read_buffer_bytes,
            ..
        } = self.limits;
        link.connection
            .authenticate(session, frame_bytes_max, peer_read_buffer_bytes);
        link.connection.keep(PEER_KEPT_BYTES);
        (link.received, link.sent) = (now, now);
        self.counters.peers_authenticated += 1;
        self.install(slot, index, dialer, incarnation, handler);
        Ok(())
    }

    /// Lets an authenticated connection take its place among those of its peer.
    fn install(
        &mut self,
        slot: Slot,
        index: u16,
        dialer: Dialer,
        incarnation: u64,
        handler: &mut impl Handler,
    ) {
        let (now, own) = (self.now, self.local.index);
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        let installed = peer.install(now, own, slot, dialer, incarnation);
        if installed.was_up {
            peer.outbound.clear(&mut self.counters.dropped);
            handler.peer_down(index, CloseReason::Replaced);
        }
        if installed.comes_up {
            handler.peer_up(index, incarnation);
        }
        for older in installed.replaced.into_iter().flatten() {
            self.doom(older, CloseReason::Replaced);
        }
        self.retire(installed.retired);
        self.cancel_dial(index);
        self.next_timer = self.next_timer.min(now + self.limits.keepalive_interval);
    }

    fn retire(&mut self, retired: Option<peers::Retired>) {
        let Some(peers::Retired { slot, earlier }) = retired else {
            return;
        };
        if let Some(earlier) = earlier {
            self.doom(earlier, CloseReason::Duplicate);
        }
        let Some(link) = self.links.get_mut(slot) else {
            return;
        };
        if let Role::Peer { retired, .. } = &mut link.role {
            let deadline = self.now + self.limits.handshake_timeout;
            *retired = Some(Retired {
                deadline,
                told: false,
            });
            self.next_timer = self.next_timer.min(deadline);
            self.flush_link(slot);
        }
    }

    pub(crate) fn peer_link_gone(
        &mut self,
        slot: Slot,
        index: u16,
        reason: CloseReason,
        handler: &mut impl Handler,
    ) {
        self.counters.peer_connections_now -= 1;
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        if peer.lost(self.now, slot) {
            peer.outbound.clear(&mut self.counters.dropped);
            // Nothing of it is handed over any more until it is up again.
            let retired = peer.take_retired();
            let is_removed = peer.removed;
            handler.peer_down(index, reason);
            self.next_timer = self.now;
            if is_removed {
                self.peers.remove(index);
            }
            if let Some(retired) = retired {
                self.doom(retired, CloseReason::Duplicate);
            }
        } else if let Some(slot) = peer.send_on() {
            // What waits goes out on the other connection.
            self.soil(slot);
        }
    }

    // Frames in.

    pub(crate) fn serve_peers(&mut self, handler: &mut impl Handler) -> usize {
        let mut work = 0;
        for _ in 0..self.ready_peers.len() {
            let Some(slot) = self.ready_peers.pop_front() else {
                break;
            };
            work += self.serve_peer(slot, handler);
        }
        work
    }

    fn serve_peer(&mut self, slot: Slot, handler: &mut impl Handler) -> usize {
        let Some(link) = self.links.get_mut(slot) else {
            return 0;
        };
        link.listed = false;
        if link.doomed.is_some() {
            return 0;
        }
        let Role::Peer {
            index, confirmed, ..
        } = &mut link.role
        else {
            return 0;
        };
        let index = *index;
        let received = link.connection.receive(
            self.limits.peer_read_bytes_per_turn,
            self.limits.peer_frames_per_turn,
            &mut self.counters,
            |frame| handler.peer_frame(index, frame),
        );
        let received = match received {
            Ok(received) => received,
            Err(reason) => {
                let reason = self.why(index, slot, reason);
                self.doom(slot, reason);
                return 1;
            }
        };
        if received.messages > 0 {
            link.received = self.now;
            if !std::mem::replace(confirmed, true) {
                let own = self.local.index;
                let retired = self
                    .peers
                    .get_mut(index)
                    .and_then(|peer| peer.confirm(own, slot));
                self.retire(retired);
                self.soil(slot);
            }
        }
        if received.more {
            self.list(slot);
        }
        received.items()
    }

    /// The end of a connection while another one stays is a duplicate resolved.
    fn why(&self, index: u16, slot: Slot, reason: CloseReason) -> CloseReason {
        let other_stays = self
            .peers
            .get(index)
            .and_then(Peer::send_on)
            .is_some_and(|on| on != slot);
        let two = self
            .peers
            .get(index)
            .is_some_and(|peer| peer.slots().iter().all(Option::is_some));
        if reason == CloseReason::RemoteClosed && (other_stays || two) {
            CloseReason::Duplicate
        } else {
            reason
        }
    }
}
