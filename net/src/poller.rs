//! The event loop: one thread, one `turn` at a time.
//!
//! Owns: the event queue, the table of connections, and the order of work in a turn. Never: blocks
//! except in the event queue; never ends because of a remote's bytes.
//!
//! A turn: timers, closed connections, wait for events, then peers before clients before strangers.
//! Whether a peer is silent is judged when what it sent has been read: when there was no turn for
//! long, it is this loop that was silent.
//! Edge-triggered events only mark connections; the ready lists say who still has something, so a
//! budget can end the work on one connection without losing its place.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::accept::Listener;
use crate::connection::Connection;
use crate::counters::Counters;
use crate::error::{CloseReason, NetError, SendError};
use crate::handler::{ClientId, Handler, PATIENCE};
use crate::handshake::{Authenticator, ChainIds, Local, Port};
use crate::limits::Limits;
use crate::linger::Linger;
use crate::link::{Link, PendingKind, Role, Waiting};
use crate::noise::check_suites;
use crate::peers::{Peer, Peers};
use crate::reserve::{Ports, failed};
use crate::resolver::Resolver;
use crate::slots::{Slot, Slots};
use crate::waker::{Slept, Waker};

const WAKER_TOKEN: Token = Token(2);
const EVENTS_PER_TURN: usize = 1024;

/// What a [`Net`] is and whom it knows.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// Own validator index, not 65535.
    pub index: u16,
    /// Larger at every start of this validator: a newer incarnation replaces an older one.
    pub incarnation: u64,
    /// What every remote must agree on.
    pub chain: ChainIds,
    /// Where peers connect, `host:port`; port 0 picks one.
    pub peer_listen: String,
    /// Where clients connect, if any may.
    pub client_listen: Option<String>,
    /// The other validators: index and `host:port`. An address is a hint, looked up at every dial;
    /// a peer is who its Hello proves it to be.
    pub peers: Vec<(u16, String)>,
    /// Bounds.
    pub limits: Limits,
    /// Seed of the jitter between dials.
    pub jitter_seed: u64,
}

/// The message path of one validator: peers, clients and their frames.
pub struct Net {
    pub(crate) poll: Poll,
    events: Events,
    pub(crate) waker: Waker,
    pub(crate) local: Arc<Local>,
    pub(crate) limits: Limits,
    pub(crate) listeners: [Option<Listener>; 2],
    pub(crate) links: Slots<Link>,
    pub(crate) peers: Peers,
    pub(crate) resolver: Option<Resolver<u16>>,
    pub(crate) counters: Counters,
    /// Connections that may have something to read, by who they are.
    pub(crate) ready_peers: VecDeque<Slot>,
    pub(crate) ready_clients: VecDeque<Slot>,
    pub(crate) ready_strangers: [VecDeque<Slot>; Waiting::ALL.len()],
    /// Clients that may have something to read and are held back.
    pub(crate) held_clients: Vec<Slot>,
    /// Connections to peers with frames to flush, and all others.
    dirty_peers: Vec<Slot>,
    dirty_clients: Vec<Slot>,
    /// Connections to close.
    doomed: Vec<Slot>,
    /// Connections to peers on which nothing was read for too long.
    pub(crate) silent: Vec<Slot>,
    pub(crate) client_budget: usize,
    pub(crate) clients_paused: bool,
    /// Bytes that wait for all clients together.
    pub(crate) clients_waiting_bytes: usize,
    /// Time of the turn, as the caller gave it, or after a sleep.
    pub(crate) now: Instant,
    /// Nothing is due before this.
    pub(crate) next_timer: Instant,
    /// How a turn looks for what comes soon before it sleeps.
    linger: Linger,
}

/// What a wait has brought.
#[derive(Clone, Copy, Debug, Default)]
struct Waited {
    events: usize,
    /// Another thread has work for the loop.
    was_woken: bool,
    /// Nothing of it is a reason to end the sleep.
    sleeps_on: bool,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net")
            .field("index", &self.local.index)
            .finish_non_exhaustive()
    }
}

impl Net {
    /// Opens the listeners and begins to dial in the first turn.
    ///
    /// # Errors
    /// [`NetError`]: a limit or a peer out of range, an address that cannot be listened on, or an
    /// operating system without resources.
    pub fn bind(
        config: NetConfig,
        authenticator: Arc<dyn Authenticator>,
    ) -> Result<Self, NetError> {
        let ports = Ports::reserve(&config)?;
        Self::over(ports, config, authenticator)
    }

    /// As [`Self::bind`], at addresses that were reserved for this configuration before.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn over(
        ports: Ports,
        config: NetConfig,
        authenticator: Arc<dyn Authenticator>,
    ) -> Result<Self, NetError> {
        let NetConfig {
            index,
            incarnation,
            chain,
            limits,
            ..
        } = config;
        limits.check()?;
        Peers::check(index, &config.peers)?;
        check_suites()?;
        let poll = Poll::new().map_err(NetError::Poll)?;
        let waker = mio::Waker::new(poll.registry(), WAKER_TOKEN).map_err(NetError::Poll)?;
        let open = |port, reserved, address: &str| {
            Listener::open(&poll, port, reserved).map_err(failed(port, address))
        };
        let peer_port = open(Port::Peers, ports.peers, &config.peer_listen)?;
        let client_port = match ports.clients.zip(config.client_listen.as_deref()) {
            Some((reserved, address)) => Some(open(Port::Clients, reserved, address)?),
            None => None,
        };
        let now = Instant::now();
        let mut peers = Peers::new(index, config.jitter_seed, &limits);
        for (peer, address) in &config.peers {
            peers.set(now, *peer, address);
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_PER_TURN),
            waker: Waker::new(waker),
            local: Arc::new(Local {
                index,
                incarnation,
                chain,
                authenticator,
            }),
            client_budget: limits.client_frames_per_turn,
            limits,
            listeners: [Some(peer_port), client_port],
            links: Slots::new(),
            peers,
            resolver: None,
            counters: Counters::default(),
            ready_peers: VecDeque::new(),
            ready_clients: VecDeque::new(),
            ready_strangers: Default::default(),
            held_clients: Vec::new(),
            dirty_peers: Vec::new(),
            dirty_clients: Vec::new(),
            doomed: Vec::new(),
            silent: Vec::new(),
            clients_paused: false,
            clients_waiting_bytes: 0,
            now,
            next_timer: now,
            linger: Linger::new(Duration::ZERO),
        })
    }

    /// From now on a turn with nothing to do looks for so long for what comes soon, and gives its
    /// core up between looks, before it sleeps; none to begin with. That spares it the wake-up
    /// where frames follow each other closely, at the cost of that much processor time a sleep. It
    /// sleeps at once for a while when the core was given up for long.
    pub const fn set_linger(&mut self, time: Duration) {
        self.linger = Linger::new(time);
    }

    /// One turn: reads what arrived, calls `handler`, and returns how much was done (0: idle).
    ///
    /// Sleeps at most `timeout` (`None`: without end) and only if there is nothing to do; a
    /// [`Waker`] ends the sleep. `now` is the time of the call; after a sleep the loop reads the
    /// clock itself. Frames that the handler's work produces are sent afterwards, followed by
    /// [`Net::flush`].
    ///
    /// # Errors
    /// [`NetError::Poll`] or [`NetError::Resolver`]: the loop cannot go on. Nothing that a remote
    /// does leads here.
    pub fn turn(
        &mut self,
        now: Instant,
        timeout: Option<Duration>,
        handler: &mut impl Handler,
    ) -> Result<usize, NetError> {
        self.now = self.now.max(now);
        let mut work = self.run_timers()?;
        work += self.bury(handler);
        let timeout = if work > 0 || self.has_ready() {
            Some(Duration::ZERO)
        } else {
            let until_timer = self.next_timer.saturating_duration_since(self.now);
            Some(timeout.map_or(until_timer, |timeout| timeout.min(until_timer)))
        };
        let events = self.wait_for_reason(timeout, handler)?;
        work += events + self.serve_peers(handler);
        self.judge_silence(events < EVENTS_PER_TURN);
        work += self.serve_clients(handler);
        work += self.serve_strangers(handler);
        work += self.accept();
        work += self.bury(handler);
        Ok(work)
    }

    fn has_ready(&self) -> bool {
        !self.ready_peers.is_empty()
            || self.ready_strangers.iter().any(|ready| !ready.is_empty())
            || (self.clients_readable() && !self.ready_clients.is_empty())
            || self
                .listeners
                .iter()
                .flatten()
                .any(|listener| listener.is_ready(self.now))
    }

    pub(crate) const fn clients_readable(&self) -> bool {
        !self.clients_paused && self.client_budget > 0
    }

    /// Waits for events, and goes on waiting while what has come is no reason to do anything yet:
    /// for so long in all, whoever sends more of it meanwhile.
    fn wait_for_reason(
        &mut self,
        timeout: Option<Duration>,
        handler: &mut impl Handler,
    ) -> Result<usize, NetError> {
        let mut waited = self.wait(timeout, handler)?;
        let patience = timeout.map_or(PATIENCE, |timeout| timeout.min(PATIENCE));
        let until = self.now + patience;
        while waited.sleeps_on {
            let left = until.saturating_duration_since(self.now);
            let more = if left.is_zero() {
                Waited::default()
            } else {
                self.wait(Some(left), handler)?
            };
            if more.events == 0 && !more.was_woken {
                handler.waited_in_vain();
            }
            waited.events += more.events;
            waited.sleeps_on = more.sleeps_on;
        }
        Ok(waited.events)
    }

    /// Waits for events and marks the connections they belong to.
    fn wait(
        &mut self,
        timeout: Option<Duration>,
        handler: &mut impl Handler,
    ) -> Result<Waited, NetError> {
        let (poll, events) = (&mut self.poll, &mut self.events);
        let sleep = self.waker.sleep(poll, events, timeout, &mut self.linger);
        let Slept {
            for_a_while,
            came,
            was_woken,
        } = sleep?;
        if for_a_while {
            self.now = self.now.max(Instant::now());
        }
        if !came {
            return Ok(Waited {
                was_woken,
                ..Waited::default()
            });
        }
        // The events are taken out so that they can be looked at while the table changes.
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let (mut count, mut has_reason) = (0, was_woken);
        for event in &events {
            count += 1;
            if let Some(slot) = Slot::from_token(event.token()) {
                has_reason |= self.is_reason(slot, event, handler);
                self.on_event(slot, event);
            } else {
                has_reason = true;
                if let Some(Some(listener)) = self.listeners.get_mut(event.token().0) {
                    listener.on_event();
                }
            }
        }
        self.events = events;
        Ok(Waited {
            events: count,
            was_woken,
            sleeps_on: for_a_while && count > 0 && !has_reason,
        })
    }

    /// Whether an event is a reason to end the sleep: all are, but frames of a peer for which there
    /// is time. Of one that has sent something before that nobody has read, this is known.
    fn is_reason(&self, slot: Slot, event: &mio::event::Event, handler: &mut impl Handler) -> bool {
        let Some(link) = self.links.get(slot) else {
            return false;
        };
        match link.role {
            Role::Peer { index, .. } if !event.is_read_closed() && !event.is_error() => {
                !link.listed && handler.is_reason(index)
            }
            Role::Peer { .. } | Role::Client { .. } | Role::Pending(_) => true,
        }
    }

    fn on_event(&mut self, slot: Slot, event: &mio::event::Event) {
        let Some(link) = self.links.get_mut(slot) else {
            return;
        };
        // Each event says that the socket takes bytes; what waits does so because it took no more.
        let was_full = !link.connection.is_writable();
        link.connection.on_event(event);
        if was_full && event.is_writable() {
            self.flush_link(slot);
        }
        self.list(slot);
    }

    /// Puts a connection on the ready list of its kind.
    pub(crate) fn list(&mut self, slot: Slot) {
        let Some(link) = self.links.get_mut(slot) else {
            return;
        };
        if link.listed || link.doomed.is_some() {
            return;
        }
        link.listed = true;
        match &link.role {
            Role::Pending(pending) => {
                self.ready_strangers[Waiting::of(&pending.kind) as usize].push_back(slot);
            }
            Role::Peer { .. } => self.ready_peers.push_back(slot),
            Role::Client { .. } => self.ready_clients.push_back(slot),
        }
    }

    /// Registers a connection and puts it into the table.
    ///
    /// # Errors
    /// The event queue did not take it.
    pub(crate) fn insert(&mut self, mut connection: Connection, role: Role) -> io::Result<Slot> {
        let interests = Interest::READABLE | Interest::WRITABLE;
        let token = self.links.next().token();
        self.poll
            .registry()
            .register(connection.stream(), token, interests)?;
        Ok(self.links.insert(Link::new(connection, role, self.now)))
    }

    /// Marks a connection to be flushed.
    pub(crate) fn soil(&mut self, slot: Slot) {
        if let Some(link) = self.links.get_mut(slot)
            && !link.dirty
        {
            link.dirty = true;
            match link.role {
                Role::Peer { .. } => self.dirty_peers.push(slot),
                Role::Client { .. } | Role::Pending(_) => self.dirty_clients.push(slot),
            }
        }
    }

    /// Seals and sends everything that was queued, to peers and then to clients: one write for each
    /// remote that the socket takes.
    pub fn flush(&mut self) {
        self.flush_peers();
        let mut dirty = std::mem::take(&mut self.dirty_clients);
        self.flush_all(&mut dirty);
        self.dirty_clients = dirty;
    }

    /// The part of [`Self::flush`] that is for peers, before more is done for clients: no vote
    /// waits for that.
    pub fn flush_peers(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty_peers);
        self.flush_all(&mut dirty);
        self.dirty_peers = dirty;
    }

    /// In the order in which they were queued; flushing marks nothing again.
    fn flush_all(&mut self, dirty: &mut Vec<Slot>) {
        for slot in dirty.drain(..) {
            if let Some(link) = self.links.get_mut(slot) {
                link.dirty = false;
                self.flush_link(slot);
            }
        }
    }

    /// Seals and sends what was queued for one peer, ahead of what [`Self::flush`] sends. False
    /// when there is no connection to it.
    pub fn flush_peer(&mut self, index: u16) -> bool {
        let slot = self.peers.get(index).and_then(Peer::send_on);
        if let Some(slot) = slot {
            self.flush_link(slot);
        }
        slot.is_some()
    }

    /// Seals and writes as much as the socket takes.
    pub(crate) fn flush_link(&mut self, slot: Slot) {
        let Self {
            links,
            peers,
            counters,
            ..
        } = self;
        let Some(link) = links.get_mut(slot) else {
            return;
        };
        if link.doomed.is_some() {
            return;
        }
        let connection = &mut link.connection;
        let written = match &mut link.role {
            Role::Client { outbound, .. } => connection.flush(outbound, counters),
            Role::Peer {
                index,
                retired: None,
                ..
            } => match peers.get_mut(*index) {
                Some(peer) if peer.send_on() == Some(slot) => {
                    connection.flush(&mut peer.outbound, counters)
                }
                Some(_) | None => connection.write(counters),
            },
            Role::Peer {
                retired: Some(retired),
                ..
            } => {
                let written = connection.write(counters);
                retired.told = retired.told || connection.finish_writing();
                written
            }
            Role::Pending(_) => connection.write(counters),
        };
        match written {
            Ok(0) => {}
            Ok(_) => link.sent = self.now,
            Err(reason) => self.doom(slot, reason),
        }
        self.recount(slot);
    }

    /// Closes a connection at the end of the turn, or in the next one.
    pub(crate) fn doom(&mut self, slot: Slot, reason: CloseReason) {
        if let Some(link) = self.links.get_mut(slot)
            && link.doomed.is_none()
        {
            link.doomed = Some(reason);
            self.doomed.push(slot);
            self.recount(slot);
        }
    }

    /// Closes what is doomed and tells the handler.
    fn bury(&mut self, handler: &mut impl Handler) -> usize {
        let mut buried = 0;
        while let Some(slot) = self.doomed.pop() {
            let Some(mut link) = self.links.remove(slot) else {
                continue;
            };
            let reason = link.doomed.unwrap_or(CloseReason::Requested);
            buried += 1;
            self.counters.count_close(reason);
            if let Err(error) = self.poll.registry().deregister(link.connection.stream()) {
                tracing::debug!(%error, "deregister");
            }
            match link.role {
                Role::Pending(pending) => {
                    self.stranger_gone(slot, &pending.kind, reason, handler);
                }
                Role::Peer { index, .. } => self.peer_link_gone(slot, index, reason, handler),
                Role::Client { .. } => {
                    self.counters.clients_now -= 1;
                    handler.client_down(ClientId(slot));
                }
            }
        }
        buried
    }

    fn stranger_gone(
        &mut self,
        slot: Slot,
        kind: &PendingKind,
        reason: CloseReason,
        handler: &mut impl Handler,
    ) {
        if let PendingKind::Dialing { peer, handshake } = kind
            && handshake.hello_sent()
            && matches!(reason, CloseReason::RemoteClosed | CloseReason::Io)
        {
            handler.peer_refused(*peer, reason);
        }
        match kind {
            PendingKind::Connecting { peer } | PendingKind::Dialing { peer, .. } => {
                tracing::debug!(peer, reason = reason.name(), "dial failed");
                self.dial_failed(*peer, slot);
            }
            PendingKind::Accepted { port, .. } => self.forget_stranger(*port, slot),
        }
    }

    /// A handle to wake the loop from other threads.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where peers connect.
    #[must_use]
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.listeners[0].as_ref().and_then(Listener::address)
    }

    /// Where clients connect.
    #[must_use]
    pub fn client_address(&self) -> Option<SocketAddr> {
        self.listeners[1].as_ref().and_then(Listener::address)
    }

    /// Checks a frame's length on the way out.
    pub(crate) const fn check_length(&self, bytes: usize) -> Result<(), SendError> {
        let bytes_max = self.limits.frame_bytes_max;
        if bytes == 0 || bytes > bytes_max {
            Err(SendError::Length { bytes, bytes_max })
        } else {
            Ok(())
        }
    }
}
