//! The dialing side of the client port: many connections, to several validators, on one thread.
//!
//! Owns: its own event queue and connections, and a thread that looks names up when there are any:
//! a name that is answered slowly holds up its own links alone. Never: reconnects; whoever opened a
//! link decides.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::class_queue::Parts;
use crate::connection::{Connection, connected};
use crate::counters::Counters;
use crate::error::{CloseReason, NetError, SendError};
use crate::handshake::{ChainIds, ClientAuthenticator, Handshake, Remote};
use crate::keepalive::keep_alive_client;
use crate::limits::Limits;
use crate::linger::Linger;
use crate::lookups::Lookups;
use crate::noise::check_suites;
use crate::queue::{CLASSES, Class, Outbound};
use crate::resolver::{LookUp, numeric, resolve_now};
use crate::slots::{Slot, Slots};
use crate::waker::{Slept, Waker};

const WAKER_TOKEN: Token = Token(2);
const EVENTS_PER_TURN: usize = 1024;

/// A connection to a validator's client port. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(Slot);

/// Called by [`ClientLinks::turn`], on its thread.
pub trait LinkHandler {
    /// Logged in at `validator`, or rather: the Login is sent. A validator that refuses it closes.
    fn link_up(&mut self, link: LinkId, validator: u16, incarnation: u64);
    /// The link ended. It is not opened again.
    fn link_down(&mut self, link: LinkId, reason: CloseReason);
    /// A frame from the validator, 1 to `frame_bytes_max` bytes.
    fn link_frame(&mut self, link: LinkId, frame: &[u8]);
    /// Something came that is no whole frame yet: a long one is on its way.
    fn link_bytes(&mut self, link: LinkId) {
        _ = link;
    }
}

enum Stage {
    Connecting {
        chain: ChainIds,
        authenticator: Arc<dyn ClientAuthenticator>,
    },
    Shaking(Box<Handshake>),
    Up,
}

/// One entry of the loop's table.
enum Entry {
    Looking(Looking),
    Dialed(Box<Link>),
}

/// A link whose name is being looked up.
struct Looking {
    name: String,
    chain: ChainIds,
    authenticator: Arc<dyn ClientAuthenticator>,
    deadline: Instant,
    doomed: Option<CloseReason>,
}

struct Link {
    connection: Connection,
    stage: Stage,
    deadline: Instant,
    /// The name that was looked up, and the place of the address among those found.
    found: Option<(String, usize)>,
    outbound: Outbound,
    listed: bool,
    dirty: bool,
    doomed: Option<CloseReason>,
}

/// Client connections and their event loop.
///
/// Of the [`Limits`] it uses `frame_bytes_max`, `client_queue_bytes_max` (what may wait to be sent
/// on one link), `client_read_buffer_bytes`, `client_read_bytes_per_turn` and `handshake_timeout`.
pub struct ClientLinks {
    poll: Poll,
    is_precise: bool,
    events: Events,
    waker: Waker,
    limits: Limits,
    links: Slots<Entry>,
    lookups: Lookups,
    ready: Vec<Slot>,
    serving: Vec<Slot>,
    dirty: Vec<Slot>,
    doomed: Vec<Slot>,
    counters: Counters,
    now: Instant,
    next_timer: Option<Instant>,
}

impl std::fmt::Debug for ClientLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientLinks").finish_non_exhaustive()
    }
}

impl ClientLinks {
    /// # Errors
    /// [`NetError::Limit`], [`NetError::Poll`], [`NetError::Noise`].
    pub fn new(limits: Limits) -> Result<Self, NetError> {
        Self::looking_up(limits, Arc::new(resolve_now))
    }

    fn looking_up(limits: Limits, look_up: LookUp) -> Result<Self, NetError> {
        limits.check()?;
        check_suites()?;
        let poll = Poll::new().map_err(NetError::Poll)?;
        let waker = mio::Waker::new(poll.registry(), WAKER_TOKEN).map_err(NetError::Poll)?;
        Ok(Self {
            poll,
            is_precise: false,
            events: Events::with_capacity(EVENTS_PER_TURN),
            waker: Waker::new(waker),
            limits,
            links: Slots::new(),
            lookups: Lookups::new(look_up),
            ready: Vec::new(),
            serving: Vec::new(),
            dirty: Vec::new(),
            doomed: Vec::new(),
            counters: Counters::default(),
            now: Instant::now(),
            next_timer: None,
        })
    }

    /// Begins to connect to `address` (`host:port`). Success or failure comes through the handler,
    /// after at most `handshake_timeout`, and as long for the look-up of a name. Of several
    /// addresses of a name each is dialed in its turn, from one failed link to the next.
    ///
    /// # Errors
    /// [`NetError::Connect`]: no way to the address, or no resources; [`NetError::Resolver`].
    pub fn connect(
        &mut self,
        now: Instant,
        address: &str,
        chain: ChainIds,
        authenticator: Arc<dyn ClientAuthenticator>,
    ) -> Result<LinkId, NetError> {
        self.now = self.now.max(now);
        let Some(candidate) = numeric(address) else {
            self.lookups.ask(&self.waker, address)?;
            let deadline = self.deadline_from_now();
            let looking = Looking {
                name: address.to_owned(),
                chain,
                authenticator,
                deadline,
                doomed: None,
            };
            return Ok(LinkId(self.links.insert(Entry::Looking(looking))));
        };
        let opened = self.open(self.links.next(), candidate);
        let connection = opened.map_err(|source| NetError::Connect {
            address: address.to_owned(),
            source,
        })?;
        let link = self.dialed(connection, chain, authenticator, None);
        Ok(LinkId(self.links.insert(Entry::Dialed(Box::new(link)))))
    }

    /// Begins to connect, as the link at `slot`.
    fn open(&self, slot: Slot, address: SocketAddr) -> io::Result<Connection> {
        let mut connection = Connection::new(TcpStream::connect(address)?);
        let interests = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry.register(connection.stream(), slot.token(), interests)?;
        Ok(connection)
    }

    /// Of a step that begins now, whenever the turn began.
    fn deadline_from_now(&mut self) -> Instant {
        let deadline = self.now.max(Instant::now()) + self.limits.handshake_timeout;
        self.next_timer = Some(self.next_timer.map_or(deadline, |next| next.min(deadline)));
        deadline
    }

    fn dialed(
        &mut self,
        connection: Connection,
        chain: ChainIds,
        authenticator: Arc<dyn ClientAuthenticator>,
        found: Option<(String, usize)>,
    ) -> Link {
        Link {
            connection,
            stage: Stage::Connecting {
                chain,
                authenticator,
            },
            deadline: self.deadline_from_now(),
            found,
            outbound: Outbound::default(),
            listed: false,
            dirty: false,
            doomed: None,
        }
    }

    /// Goes on with links whose names have been looked up.
    fn take_answers(&mut self) -> usize {
        let mut answers = 0;
        while let Some(answer) = self.lookups.answer() {
            answers += 1;
            let waits = |entry: &Entry| {
                matches!(entry, Entry::Looking(looking)
                    if looking.name == answer.of && looking.doomed.is_none())
            };
            let waiting = self.links.iter().filter(|(_, entry)| waits(entry));
            let waiting: Vec<Slot> = waiting.map(|(slot, _)| slot).collect();
            for slot in waiting {
                if let Err(reason) = self.dial_found(slot, &answer.addresses) {
                    self.doom(slot, reason);
                }
            }
        }
        answers
    }

    /// Dials the first address whose turn it is and to which there is a way.
    fn dial_found(&mut self, slot: Slot, addresses: &[SocketAddr]) -> Result<(), CloseReason> {
        let Some(Entry::Looking(looking)) = self.links.get(slot) else {
            return Ok(());
        };
        if addresses.is_empty() {
            return Err(CloseReason::ResolveFailed);
        }
        let (name, chain) = (looking.name.clone(), looking.chain);
        let authenticator = Arc::clone(&looking.authenticator);
        let first = self.lookups.turn_of(&name, addresses.len());
        let places = (first..addresses.len()).chain(0..first);
        let mut opened = places.filter_map(|place| {
            let connection = self.open(slot, *addresses.get(place)?).ok()?;
            Some((connection, place))
        });
        let (connection, place) = opened.next().ok_or(CloseReason::ConnectFailed)?;
        drop(opened);
        let link = self.dialed(connection, chain, authenticator, Some((name, place)));
        if let Some(entry) = self.links.get_mut(slot) {
            *entry = Entry::Dialed(Box::new(link));
        }
        Ok(())
    }

    /// A link that has been dialed.
    fn link_mut(&mut self, slot: Slot) -> Option<&mut Link> {
        match self.links.get_mut(slot)? {
            Entry::Dialed(link) => Some(link),
            Entry::Looking(_) => None,
        }
    }

    /// Queues `frame`; it leaves with the next [`ClientLinks::flush`]. Order is kept.
    ///
    /// # Errors
    /// [`SendError::NotConnected`], [`SendError::Length`], [`SendError::Full`]: the validator takes
    /// no more for now.
    pub fn send(&mut self, link: LinkId, frame: &[u8]) -> Result<(), SendError> {
        self.send_leaving(link, frame, 0)
    }

    /// As [`send`](Self::send), where so many bytes of what may wait stay free for other frames.
    ///
    /// # Errors
    /// As there.
    pub fn send_leaving(
        &mut self,
        link: LinkId,
        frame: &[u8],
        free_bytes: usize,
    ) -> Result<(), SendError> {
        let (bytes, bytes_max) = (frame.len(), self.limits.frame_bytes_max);
        if bytes == 0 || bytes > bytes_max {
            return Err(SendError::Length { bytes, bytes_max });
        }
        let slot = link.0;
        let queue_bytes_max = self.limits.client_queue_bytes_max;
        let Some(link) = self.link_mut(slot) else {
            return Err(SendError::NotConnected);
        };
        if link.doomed.is_some() || !matches!(link.stage, Stage::Up) {
            return Err(SendError::NotConnected);
        }
        let sealed = link.connection.sealed.len();
        let taken = sealed.saturating_add(free_bytes);
        let queue_max = queue_bytes_max.saturating_sub(taken);
        link.outbound
            .push(
                Parts::whole(frame),
                Class::Bulk,
                queue_max,
                &mut [0; CLASSES],
            )
            .map_err(|_| SendError::Full)?;
        if !link.dirty {
            link.dirty = true;
            self.dirty.push(slot);
        }
        Ok(())
    }

    /// Seals and sends everything that was queued.
    pub fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            if let Some(link) = self.link_mut(slot) {
                link.dirty = false;
                self.flush_link(slot);
            }
        }
        self.dirty = dirty;
    }

    /// Ends a link. The handler is told in the next turn.
    pub fn close(&mut self, link: LinkId) {
        self.doom(link.0, CloseReason::Requested);
    }

    /// One turn; as [`crate::Net::turn`].
    ///
    /// # Errors
    /// [`NetError::Poll`]: the loop cannot go on.
    pub fn turn(
        &mut self,
        now: Instant,
        timeout: Option<Duration>,
        handler: &mut impl LinkHandler,
    ) -> Result<usize, NetError> {
        self.now = self.now.max(now);
        let mut work = self.take_answers();
        work += self.bury(handler);
        let timeout = if work > 0 || !self.ready.is_empty() {
            Some(Duration::ZERO)
        } else {
            let until_timer = self
                .next_timer
                .map(|at| at.saturating_duration_since(self.now));
            [timeout, until_timer].into_iter().flatten().min()
        };
        let events = self.wait(timeout)?;
        work += events;
        std::mem::swap(&mut self.ready, &mut self.serving);
        while let Some(slot) = self.serving.pop() {
            if let Err(reason) = self.serve(slot, handler) {
                self.doom(slot, reason);
            }
        }
        // Deadlines are judged when what has come is read: where there was no turn for long, the
        // answer waits in the socket. When events were left for the next turn, so is this.
        if events < EVENTS_PER_TURN {
            self.run_timers();
        }
        work += self.bury(handler);
        Ok(work)
    }

    /// A handle to wake the loop from other threads.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// From here on a turn without anything to do ends at its time-out, as precisely as the timers
    /// of the thread, and not up to a millisecond later. When something comes, that costs a system
    /// call more.
    pub const fn wake_precisely(&mut self) {
        self.is_precise = true;
    }

    /// What was counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<usize, NetError> {
        let (poll, events) = (&mut self.poll, &mut self.events);
        let mut at_once = Linger::new(Duration::ZERO);
        let sleep = match self.is_precise {
            true => self.waker.sleep_precisely(poll, events, timeout),
            false => self.waker.sleep(poll, events, timeout, &mut at_once),
        };
        let Slept {
            for_a_while, came, ..
        } = sleep?;
        if for_a_while {
            self.now = self.now.max(Instant::now());
        }
        if !came {
            return Ok(0);
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let mut work = 0;
        for event in &events {
            work += 1;
            let Some(slot) = Slot::from_token(event.token()) else {
                continue;
            };
            let Some(link) = self.link_mut(slot) else {
                continue;
            };
            let was_full = !link.connection.is_writable();
            link.connection.on_event(event);
            if was_full && event.is_writable() {
                self.flush_link(slot);
            }
            self.list(slot);
        }
        self.events = events;
        Ok(work)
    }

    fn list(&mut self, slot: Slot) {
        if let Some(link) = self.link_mut(slot)
            && !link.listed
        {
            link.listed = true;
            self.ready.push(slot);
        }
    }

    fn flush_link(&mut self, slot: Slot) {
        let Some(Entry::Dialed(link)) = self.links.get_mut(slot) else {
            return;
        };
        if link.doomed.is_some() {
            return;
        }
        let counters = &mut self.counters;
        if let Err(reason) = link.connection.flush(&mut link.outbound, counters) {
            self.doom(slot, reason);
        }
    }

    fn serve(&mut self, slot: Slot, handler: &mut impl LinkHandler) -> Result<(), CloseReason> {
        let Some(Entry::Dialed(link)) = self.links.get_mut(slot) else {
            return Ok(());
        };
        link.listed = false;
        while link.doomed.is_none() && !matches!(link.stage, Stage::Up) {
            let Some(remote) = shake(link, &mut self.counters)? else {
                break;
            };
            let Some(Remote::Validator { index, incarnation }) = remote else {
                continue;
            };
            let Stage::Shaking(handshake) = std::mem::replace(&mut link.stage, Stage::Up) else {
                return Err(CloseReason::Handshake);
            };
            let session = handshake.finish(&mut link.connection.sealed)?;
            let Limits {
                frame_bytes_max,
                client_read_buffer_bytes,
                ..
            } = self.limits;
            link.connection
                .authenticate(session, frame_bytes_max, client_read_buffer_bytes);
            handler.link_up(LinkId(slot), index, incarnation);
        }
        link.connection.write(&mut self.counters)?;
        if link.doomed.is_some() || !matches!(link.stage, Stage::Up) {
            return Ok(());
        }
        let received = link.connection.receive(
            self.limits.client_read_bytes_per_turn,
            usize::MAX,
            &mut self.counters,
            |frame| handler.link_frame(LinkId(slot), frame),
        )?;
        if received.bytes > 0 && received.frames == 0 {
            handler.link_bytes(LinkId(slot));
        }
        if received.more {
            self.list(slot);
        }
        Ok(())
    }

    fn run_timers(&mut self) {
        if self.next_timer.is_none_or(|at| self.now < at) {
            return;
        }
        self.next_timer = None;
        let mut late = Vec::new();
        for (slot, entry) in self.links.iter_mut() {
            let (deadline, reason) = match entry {
                Entry::Looking(looking) => (looking.deadline, CloseReason::ResolveFailed),
                Entry::Dialed(link) if matches!(link.stage, Stage::Up) => continue,
                Entry::Dialed(link) => (link.deadline, CloseReason::HandshakeTimeout),
            };
            if deadline <= self.now {
                late.push((slot, reason));
            } else {
                let next = self.next_timer.map_or(deadline, |next| next.min(deadline));
                self.next_timer = Some(next);
            }
        }
        for (slot, reason) in late {
            self.doom(slot, reason);
        }
    }

    fn doom(&mut self, slot: Slot, reason: CloseReason) {
        let Some(entry) = self.links.get_mut(slot) else {
            return;
        };
        let doomed = match entry {
            Entry::Looking(looking) => &mut looking.doomed,
            Entry::Dialed(link) => &mut link.doomed,
        };
        if doomed.is_none() {
            *doomed = Some(reason);
            self.doomed.push(slot);
        }
    }

    fn bury(&mut self, handler: &mut impl LinkHandler) -> usize {
        let mut buried = 0;
        while let Some(slot) = self.doomed.pop() {
            let reason = match self.links.remove(slot) {
                Some(Entry::Looking(looking)) => looking.doomed,
                Some(Entry::Dialed(link)) => self.end(link),
                None => continue,
            };
            let reason = reason.unwrap_or(CloseReason::Requested);
            buried += 1;
            self.counters.count_close(reason);
            handler.link_down(LinkId(slot), reason);
        }
        buried
    }

    /// Lets a connection go, and says why.
    fn end(&mut self, mut link: Box<Link>) -> Option<CloseReason> {
        if let Err(error) = self.poll.registry().deregister(link.connection.stream()) {
            tracing::debug!(%error, "deregister");
        }
        let is_wanted = link.doomed != Some(CloseReason::Requested);
        let has_failed = is_wanted && !matches!(link.stage, Stage::Up);
        if let Some((name, place)) = link.found.filter(|_| has_failed) {
            self.lookups.failed(name, place);
        }
        link.doomed
    }
}

/// One step towards being logged in. `None` when there is none to take.
fn shake(link: &mut Link, counters: &mut Counters) -> Result<Option<Option<Remote>>, CloseReason> {
    match &mut link.stage {
        Stage::Connecting {
            chain,
            authenticator,
        } => {
            if !link.connection.is_writable() {
                return Ok(None);
            }
            let stream = link.connection.stream();
            if !connected(stream)? {
                return Ok(None);
            }
            // Whoever only listens sends nothing that would find out that nobody is there any more.
            keep_alive_client(stream);
            let authenticator = Arc::clone(authenticator);
            let handshake =
                Handshake::dial_client(chain, authenticator, &mut link.connection.sealed)?;
            link.stage = Stage::Shaking(Box::new(handshake));
            Ok(Some(None))
        }
        Stage::Shaking(handshake) => link
            .connection
            .next_message(counters, |message, out| handshake.message(message, out)),
        Stage::Up => Ok(None),
    }
}

#[cfg(test)]
#[path = "client_link_tests.rs"]
mod tests;
