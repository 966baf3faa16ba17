//! Clients on their connections: admission, frames both ways, back-pressure.
//!
//! Owns: the bounds on what clients may take. Never: sessions, keys' rights, or sequence numbers.
//!
//! Inbound: frames wait in the sockets unless the embedder takes them: a budget of frames and one
//! of bytes a turn, for all of them together, or no reading at all while paused; TCP then slows the
//! senders down. Connections are served in turn. Outbound: a client that does not read is
//! disconnected when more than its queue would wait; it resumes from the sequence numbers of the
//! protocol above.
//!
//! **Who makes room.** Keys cost nothing, so places that are taken for ever by whoever came first
//! keep everybody else out for nothing. When all are taken the client that has sent nothing for
//! longest makes room for the next one: not before `client_idle_min`, so that whoever gets a place
//! can use it, and never one that the embedder [keeps](Net::keep_client) since it has what others
//! cannot have for nothing. What is sent to a client does not count: to be told things costs
//! nothing either. Those that have not logged in have other places, which are not these.

use crate::class_queue::Parts;
use crate::error::{CloseReason, SendError};
use crate::handler::{ClientId, Handler};
use crate::keepalive::keep_alive_client;
use crate::limits::CLIENT_KEPT_BYTES;
use crate::link::{Link, PendingKind, Role};
use crate::poller::Net;
use crate::queue::{CLASSES, Class, Outbound};
use crate::slots::Slot;
use std::time::Instant;

impl Net {
    /// Queues `frame` for `client`; it leaves with the next [`Net::flush`]. Frames to one client
    /// keep their order and none is dropped while it is connected.
    ///
    /// # Errors
    /// [`SendError::NotConnected`], [`SendError::Length`], [`SendError::SlowReader`]: too much
    /// waits, the client is being disconnected.
    pub fn send_client(&mut self, client: ClientId, frame: &[u8]) -> Result<(), SendError> {
        self.check_length(frame.len())?;
        let Some(link) = self.links.get_mut(client.0) else {
            return Err(SendError::NotConnected);
        };
        let Role::Client { outbound, .. } = &mut link.role else {
            return Err(SendError::NotConnected);
        };
        if link.doomed.is_some() {
            return Err(SendError::NotConnected);
        }
        let waiting = outbound.len() + link.connection.sealed.len();
        if waiting.saturating_add(frame.len()) > self.limits.client_queue_bytes_max {
            // What was queued since the last flush says nothing of how fast it reads.
            self.flush_link(client.0);
        }
        if !self.queue_for(client.0, frame) {
            self.doom(client.0, CloseReason::SlowReader);
            return Err(SendError::SlowReader);
        }
        self.recount(client.0);
        self.soil(client.0);
        self.make_room();
        match self.links.get(client.0) {
            Some(link) if link.doomed.is_none() => Ok(()),
            _ => Err(SendError::SlowReader),
        }
    }

    /// Disconnects those that most waits for until no more waits for all than may. Each is offered
    /// to its socket first: what was queued since the last flush says nothing of how fast it reads.
    fn make_room(&mut self) {
        while self.clients_waiting_bytes > self.limits.clients_queue_bytes_max {
            let Some(slowest) = self.slowest_client() else {
                break;
            };
            let before = self.clients_waiting_bytes;
            self.flush_link(slowest);
            if self.clients_waiting_bytes >= before {
                self.doom(slowest, CloseReason::SlowReader);
            }
        }
    }

    /// More than half of what may wait for all clients together waits: time to tell no more to
    /// those that have not read what they were told.
    #[must_use]
    pub const fn clients_are_crowded(&self) -> bool {
        self.clients_waiting_bytes > self.limits.clients_queue_bytes_max / 2
    }

    /// Brings the sum over all clients up to date with what waits for one, or the memory that this
    /// takes: nothing for one that is being disconnected.
    pub(crate) fn recount(&mut self, slot: Slot) {
        let Some(link) = self.links.get_mut(slot) else {
            return;
        };
        let is_doomed = link.doomed.is_some();
        let sealed = link.connection.sealed.weight();
        if let Role::Client {
            outbound,
            counted_bytes,
            ..
        } = &mut link.role
        {
            let waiting = if is_doomed {
                0
            } else {
                outbound.weight() + sealed
            };
            self.clients_waiting_bytes = self.clients_waiting_bytes + waiting - *counted_bytes;
            *counted_bytes = waiting;
        }
    }

    /// The client that most waits for.
    fn slowest_client(&self) -> Option<Slot> {
        let waiting = |(slot, link): (Slot, &Link)| match &link.role {
            Role::Client {
                outbound,
                counted_bytes,
                ..
            } if *counted_bytes > 0 => Some((outbound.len() + link.connection.sealed.len(), slot)),
            _ => None,
        };
        let most = self.links.iter().filter_map(waiting).max();
        most.map(|(_, slot)| slot)
    }

    /// Queues a frame; whether there was room, or nobody to have it.
    fn queue_for(&mut self, slot: Slot, frame: &[u8]) -> bool {
        let Some(link) = self.links.get_mut(slot) else {
            return true;
        };
        let sealed = link.connection.sealed.len();
        let bytes_max = self.limits.client_queue_bytes_max.saturating_sub(sealed);
        let Role::Client { outbound, .. } = &mut link.role else {
            return true;
        };
        // One class for all: order is part of the promise, and this class pushes nothing out.
        outbound
            .push(
                Parts::whole(frame),
                Class::Bulk,
                bytes_max,
                &mut [0; CLASSES],
            )
            .is_ok()
    }

    /// Bytes that wait for `client`, sealed or not; none when it is not connected.
    #[must_use]
    pub fn client_waiting(&self, client: ClientId) -> Option<usize> {
        let link = self.links.get(client.0)?;
        match &link.role {
            Role::Client { outbound, .. } if link.doomed.is_none() => {
                Some(outbound.len() + link.connection.sealed.len())
            }
            _ => None,
        }
    }

    /// Disconnects `client`. What is queued is flushed as far as the socket takes it at once.
    pub fn close_client(&mut self, client: ClientId, reason: CloseReason) {
        let is_client = |link: &Link| matches!(link.role, Role::Client { .. });
        if self.links.get(client.0).is_some_and(is_client) {
            self.flush_link(client.0);
            self.doom(client.0, reason);
        }
    }

    /// `client` makes no room for others, however long it is silent.
    pub fn keep_client(&mut self, client: ClientId) {
        if let Some(link) = self.links.get_mut(client.0) {
            link.is_kept = true;
        }
    }

    /// The client that makes room for another one, if one does. Looks at all of them.
    fn idlest_client(&self) -> Option<Slot> {
        let idle_min = self.limits.client_idle_min;
        let since = |(slot, link): (Slot, &Link)| match link.role {
            Role::Client { .. } if !link.is_kept && link.doomed.is_none() => {
                Some((link.received, slot))
            }
            _ => None,
        };
        let idlest = self.links.iter().filter_map(since).min();
        let is_idle = |heard: Instant| self.now.saturating_duration_since(heard) >= idle_min;
        idlest.and_then(|(heard, slot)| is_idle(heard).then_some(slot))
    }

    /// Frames of all clients together that each of the next turns may hand over, and messages that
    /// it may open for them. 0 stops reading.
    pub const fn set_client_budget(&mut self, frames_per_turn: usize) {
        self.client_budget = frames_per_turn;
    }

    /// Reads nothing from `client` until then: what it sends waits in its socket, and after that
    /// with it. Replies go on. A later time replaces an earlier one.
    pub fn hold_client(&mut self, client: ClientId, until: Instant) {
        let Some(link) = self.links.get_mut(client.0) else {
            return;
        };
        if matches!(link.role, Role::Client { .. }) && until > self.now {
            link.held_until = Some(link.held_until.map_or(until, |held| held.max(until)));
            self.counters.clients_held += 1;
        }
    }

    /// Puts those back whose time is over; says when the next one's is.
    pub(crate) fn release_held(&mut self) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut held = std::mem::take(&mut self.held_clients);
        held.retain(|&slot| {
            let Some(link) = self.links.get_mut(slot) else {
                return false;
            };
            match link.held_until.filter(|&until| until > self.now) {
                Some(until) => {
                    next = Some(next.map_or(until, |at| at.min(until)));
                    true
                }
                None => {
                    link.held_until = None;
                    self.ready_clients.push_back(slot);
                    false
                }
            }
        });
        self.held_clients = held;
        next
    }

    /// Stops or resumes reading from clients. Logins and replies go on.
    pub const fn pause_clients(&mut self, paused: bool) {
        self.clients_paused = paused;
    }

    pub(crate) fn client_identified(
        &mut self,
        slot: Slot,
        key: [u8; 32],
        handler: &mut impl Handler,
    ) -> Result<(), CloseReason> {
        if self.clients_of(&key) >= self.limits.clients_per_key_max {
            return Err(CloseReason::ClientsFull);
        }
        if self.counters.clients_now >= self.limits.clients_max as u64 {
            let idlest = self.idlest_client().ok_or(CloseReason::ClientsFull)?;
            self.doom(idlest, CloseReason::MadeRoom);
        }
        let now = self.now;
        let Some(link) = self.links.get_mut(slot) else {
            return Ok(());
        };
        let role = Role::Client {
            key,
            outbound: Box::new(Outbound::keeping(CLIENT_KEPT_BYTES)),
            counted_bytes: 0,
        };
        link.received = now;
        let Role::Pending(pending) = std::mem::replace(&mut link.role, role) else {
            return Ok(());
        };
        self.counters.clients_now += 1;
        self.counters.clients_authenticated += 1;
        handler.client_up(ClientId(slot), key);
        let PendingKind::Accepted { port, handshake } = pending.kind else {
            return Err(CloseReason::Handshake);
        };
        self.forget_stranger(port, slot);
        let Some(link) = self.links.get_mut(slot) else {
            return Ok(());
        };
        let session = handshake.finish(&mut link.connection.sealed)?;
        link.connection.authenticate(
            session,
            self.limits.client_frame_bytes_max,
            self.limits.client_read_buffer_bytes,
        );
        link.connection.keep(CLIENT_KEPT_BYTES);
        keep_alive_client(link.connection.stream());
        Ok(())
    }

    /// Connections that have logged in with `key`. Looks at all of them, which costs far less than
    /// the handshake before it.
    fn clients_of(&self, key: &[u8; 32]) -> usize {
        let has_key =
            |link: &&Link| matches!(&link.role, Role::Client { key: of, .. } if of == key);
        let links = self.links.iter().map(|(_, link)| link);
        links
            .filter(|link| link.doomed.is_none())
            .filter(has_key)
            .count()
    }

    pub(crate) fn serve_clients(&mut self, handler: &mut impl Handler) -> usize {
        let mut work = 0;
        let mut budget = if self.clients_readable() {
            self.client_budget
        } else {
            0
        };
        let mut bytes_left = self.limits.clients_read_bytes_per_turn;
        for _ in 0..self.ready_clients.len() {
            if budget == 0 || bytes_left == 0 {
                break;
            }
            let Some(slot) = self.ready_clients.pop_front() else {
                break;
            };
            let Some(link) = self.links.get_mut(slot) else {
                continue;
            };
            if let Some(until) = link.held_until.filter(|&until| until > self.now) {
                // It stays listed, so that no event lists it again.
                self.held_clients.push(slot);
                self.next_timer = self.next_timer.min(until);
                continue;
            }
            link.held_until = None;
            link.listed = false;
            if link.doomed.is_some() {
                continue;
            }
            let received = link.connection.receive(
                self.limits.client_read_bytes_per_turn.min(bytes_left),
                budget,
                &mut self.counters,
                |frame| handler.client_frame(ClientId(slot), frame),
            );
            match received {
                Ok(received) => {
                    budget = budget.saturating_sub(received.items());
                    bytes_left = bytes_left.saturating_sub(received.bytes);
                    work += received.items();
                    if received.items() > 0 {
                        link.received = self.now;
                    }
                    if received.more {
                        self.list(slot);
                    }
                }
                Err(reason) => {
                    work += 1;
                    self.doom(slot, reason);
                }
            }
        }
        work
    }
}
