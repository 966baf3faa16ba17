//! Strangers: connections that have not proved who they are.
//!
//! Owns: the listeners, the handshakes, and the bound on both. Never: a decision about a peer or a
//! client; once somebody is identified, [`crate::peer_links`] or [`crate::clients`] takes over.
//!
//! Each port has its own places for accepted strangers. When they are taken the oldest goes, so
//! that silent connections cannot keep others out; dials of our own do not count. Each port and the
//! own dials have their own steps in a turn, and a port lets nobody in while as many strangers wait
//! for theirs as have one in a turn: whoever is let in has its steps before it is the oldest, and
//! the others wait with the operating system.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Interest, Poll, Token};

use crate::connection::{Connection, connected};
use crate::error::CloseReason;
use crate::handler::Handler;
use crate::handshake::{Handshake, Port, Remote};
use crate::link::{Pending, PendingKind, Role, Waiting};
use crate::poller::Net;
use crate::reserve::Reserved;
use crate::slots::Slot;

/// Pause after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One listening socket and the strangers it let in.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    /// Connections may wait.
    ready: bool,
    /// Not before this time, after a failure.
    paused_until: Option<Instant>,
    /// Nobody was accepted since the system refused somebody, which was told.
    is_refused: bool,
    /// Oldest first.
    strangers: VecDeque<Slot>,
}

impl Listener {
    /// Lets others connect to an address that was reserved.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn open(poll: &Poll, port: Port, reserved: Reserved) -> io::Result<Self> {
        let socket = reserved.listen()?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpListener::from_std(socket);
        poll.registry()
            .register(&mut socket, Token(port as usize), Interest::READABLE)?;
        Ok(Self {
            socket,
            ready: true,
            paused_until: None,
            is_refused: false,
            strangers: VecDeque::new(),
        })
    }

    pub(crate) const fn on_event(&mut self) {
        self.ready = true;
    }

    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        self.ready && self.paused_until.is_none_or(|until| now >= until)
    }

    pub(crate) fn paused_until(&self) -> Option<Instant> {
        self.paused_until.filter(|_| self.ready)
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }
}

impl Net {
    /// Accepts what waits, within the turn's bound.
    pub(crate) fn accept(&mut self) -> usize {
        let mut accepted = 0;
        for port in [Port::Peers, Port::Clients] {
            for _ in 0..self.limits.handshakes_per_turn {
                let Some(listener) = &mut self.listeners[port as usize] else {
                    break;
                };
                let waiting = self.ready_strangers[Waiting::at(port) as usize].len();
                if !listener.is_ready(self.now) || waiting >= self.limits.handshakes_per_turn {
                    break;
                }
                listener.paused_until = None;
                match listener.socket.accept() {
                    Ok((stream, _)) => {
                        listener.is_refused = false;
                        accepted += 1;
                        self.counters.accepted += 1;
                        self.admit_stranger(port, Connection::new(stream));
                    }
                    Err(error) => self.accept_failed(port, &error),
                }
            }
        }
        accepted
    }

    fn accept_failed(&mut self, port: Port, error: &io::Error) {
        let Some(listener) = &mut self.listeners[port as usize] else {
            return;
        };
        match error.kind() {
            io::ErrorKind::WouldBlock => listener.ready = false,
            io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset => {}
            _ => {
                // Out of descriptors or memory: trying again at once would only spin.
                let until = self.now + ACCEPT_PAUSE;
                listener.paused_until = Some(until);
                self.next_timer = self.next_timer.min(until);
                self.counters.accept_failures += 1;
                if !std::mem::replace(&mut listener.is_refused, true) {
                    tracing::warn!(%error, "connections cannot be accepted for now");
                }
            }
        }
    }

    fn admit_stranger(&mut self, port: Port, mut connection: Connection) {
        if connection.stream().set_nodelay(true).is_err() {
            self.counters.count_close(CloseReason::Io);
            return;
        }
        let handshake = Box::new(Handshake::accept(&self.local, port));
        let kind = PendingKind::Accepted { port, handshake };
        let deadline = self.now + self.limits.handshake_timeout;
        let Ok(slot) = self.insert(connection, Role::Pending(Pending { kind, deadline })) else {
            self.counters.count_close(CloseReason::Io);
            return;
        };
        self.next_timer = self.next_timer.min(deadline);
        self.counters.unauthenticated_now += 1;
        let Some(listener) = &mut self.listeners[port as usize] else {
            return;
        };
        listener.strangers.push_back(slot);
        if listener.strangers.len() > self.limits.unauthenticated_max
            && let Some(oldest) = listener.strangers.front().copied()
        {
            self.forget_stranger(port, oldest);
            self.doom(oldest, CloseReason::Evicted);
        }
    }

    /// A stranger is one no more, or is gone.
    pub(crate) fn forget_stranger(&mut self, port: Port, slot: Slot) {
        if let Some(listener) = &mut self.listeners[port as usize]
            && let Some(place) = listener.strangers.iter().position(|other| *other == slot)
        {
            listener.strangers.remove(place);
            self.counters.unauthenticated_now -= 1;
        }
    }

    /// Takes handshakes forward, a bounded number of steps a turn at each port and of own dials.
    pub(crate) fn serve_strangers(&mut self, handler: &mut impl Handler) -> usize {
        let all = Waiting::ALL.into_iter();
        all.map(|waiting| self.serve_waiting(waiting, handler))
            .sum()
    }

    fn serve_waiting(&mut self, waiting: Waiting, handler: &mut impl Handler) -> usize {
        let mut steps = 0;
        for _ in 0..self.ready_strangers[waiting as usize].len() {
            if steps == self.limits.handshakes_per_turn {
                break;
            }
            let Some(slot) = self.ready_strangers[waiting as usize].pop_front() else {
                break;
            };
            if let Some(link) = self.links.get_mut(slot) {
                link.listed = false;
                if link.doomed.is_none() && self.step_handshake(slot, handler) {
                    steps += 1;
                    self.list(slot);
                }
            }
        }
        steps
    }

    /// One message of a handshake, or its end. False when there is none to take: one that does not
    /// hold costs as much to find out as one that does.
    fn step_handshake(&mut self, slot: Slot, handler: &mut impl Handler) -> bool {
        match self.next_handshake_message(slot) {
            Ok(None) => false,
            Ok(Some(identified)) => {
                if let Some(remote) = identified
                    && let Err(reason) = self.identified(slot, remote, handler)
                {
                    self.doom(slot, reason);
                }
                self.flush_link(slot);
                true
            }
            Err(reason) => {
                self.doom(slot, reason);
                true
            }
        }
    }

    fn next_handshake_message(
        &mut self,
        slot: Slot,
    ) -> Result<Option<Option<Remote>>, CloseReason> {
        let local = &self.local;
        let Some(link) = self.links.get_mut(slot) else {
            return Ok(None);
        };
        let Role::Pending(pending) = &mut link.role else {
            return Ok(None);
        };
        if let PendingKind::Connecting { peer } = pending.kind {
            if !link.connection.is_writable() {
                return Ok(None);
            }
            let stream = link.connection.stream();
            if !connected(stream)? {
                return Ok(None);
            }
            let handshake = Handshake::dial_peer(local, peer, &mut link.connection.sealed)?;
            pending.kind = PendingKind::Dialing {
                peer,
                handshake: Box::new(handshake),
            };
            return Ok(Some(None));
        }
        let (PendingKind::Dialing { handshake, .. } | PendingKind::Accepted { handshake, .. }) =
            &mut pending.kind
        else {
            return Ok(None);
        };
        link.connection
            .next_message(&mut self.counters, |message, out| {
                handshake.message(message, out)
            })
    }

    /// The other side has proved who it is: decide whether it stays.
    fn identified(
        &mut self,
        slot: Slot,
        remote: Remote,
        handler: &mut impl Handler,
    ) -> Result<(), CloseReason> {
        match remote {
            Remote::Validator { index, incarnation } => {
                self.peer_identified(slot, index, incarnation, handler)
            }
            Remote::Client { key } => self.client_identified(slot, key, handler),
        }
    }
}
