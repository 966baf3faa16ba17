//! The dialing side of the client port: many connections, to several validators, on one thread.
//!
//! Owns: its own event queue and connections. Never: reconnects; whoever opened a link decides.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::connection::{Connection, connected};
use crate::counters::Counters;
use crate::error::{CloseReason, NetError, SendError};
use crate::handshake::{ChainIds, ClientAuthenticator, Handshake, Remote};
use crate::keepalive::keep_alive_client;
use crate::limits::Limits;
use crate::noise::check_suites;
use crate::queue::{CLASSES, Class, Outbound};
use crate::resolver::resolve_now;
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
}

enum Stage {
    Connecting {
        chain: ChainIds,
        authenticator: Arc<dyn ClientAuthenticator>,
    },
    Shaking(Box<Handshake>),
    Up,
}

struct Link {
    connection: Connection,
    stage: Stage,
    deadline: Instant,
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
    events: Events,
    waker: Waker,
    limits: Limits,
    links: Slots<Link>,
    ready: Vec<Slot>,
    serving: Vec<Slot>,
    dirty: Vec<Slot>,
    doomed: Vec<Slot>,
    scratch: Vec<u8>,
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
        limits.check()?;
        check_suites()?;
        let poll = Poll::new().map_err(NetError::Poll)?;
        let waker = mio::Waker::new(poll.registry(), WAKER_TOKEN).map_err(NetError::Poll)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_PER_TURN),
            waker: Waker::new(waker),
            limits,
            links: Slots::new(),
            ready: Vec::new(),
            serving: Vec::new(),
            dirty: Vec::new(),
            doomed: Vec::new(),
            scratch: Vec::new(),
            counters: Counters::default(),
            now: Instant::now(),
            next_timer: None,
        })
    }

    /// Begins to connect to `address` (`host:port`, looked up on this thread). Success or failure
    /// comes through the handler, after at most `handshake_timeout`.
    ///
    /// # Errors
    /// [`NetError::Connect`]: no such address, or no resources.
    pub fn connect(
        &mut self,
        now: Instant,
        address: &str,
        chain: ChainIds,
        authenticator: Arc<dyn ClientAuthenticator>,
    ) -> Result<LinkId, NetError> {
        self.now = self.now.max(now);
        let failed = |source| NetError::Connect {
            address: address.to_owned(),
            source,
        };
        let candidates = resolve_now(address).map_err(failed)?;
        let none = || failed(io::Error::new(io::ErrorKind::NotFound, "no such address"));
        let candidate = candidates.first().ok_or_else(none)?;
        let mut connection = Connection::new(TcpStream::connect(*candidate).map_err(failed)?);
        let interests = Interest::READABLE | Interest::WRITABLE;
        let token = self.links.next().token();
        self.poll
            .registry()
            .register(connection.stream(), token, interests)
            .map_err(failed)?;
        let deadline = self.now + self.limits.handshake_timeout;
        self.next_timer = Some(self.next_timer.map_or(deadline, |next| next.min(deadline)));
        let slot = self.links.insert(Link {
            connection,
            stage: Stage::Connecting {
                chain,
                authenticator,
            },
            deadline,
            outbound: Outbound::default(),
            listed: false,
            dirty: false,
            doomed: None,
        });
        Ok(LinkId(slot))
    }

    /// Queues `frame`; it leaves with the next [`ClientLinks::flush`]. Order is kept.
    ///
    /// # Errors
    /// [`SendError::NotConnected`], [`SendError::Length`], [`SendError::Full`]: the validator takes
    /// no more for now.
    pub fn send(&mut self, link: LinkId, frame: &[u8]) -> Result<(), SendError> {
        let (bytes, bytes_max) = (frame.len(), self.limits.frame_bytes_max);
        if bytes == 0 || bytes > bytes_max {
            return Err(SendError::Length { bytes, bytes_max });
        }
        let slot = link.0;
        let Some(link) = self.links.get_mut(slot) else {
            return Err(SendError::NotConnected);
        };
        if link.doomed.is_some() || !matches!(link.stage, Stage::Up) {
            return Err(SendError::NotConnected);
        }
        let sealed = link.connection.sealed.len();
        let queue_max = self.limits.client_queue_bytes_max.saturating_sub(sealed);
        link.outbound
            .push(frame, Class::Bulk, queue_max, &mut [0; CLASSES])
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
            if let Some(link) = self.links.get_mut(slot) {
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
        self.run_timers();
        let mut work = self.bury(handler);
        let timeout = if work > 0 || !self.ready.is_empty() {
            Some(Duration::ZERO)
        } else {
            let until_timer = self
                .next_timer
                .map(|at| at.saturating_duration_since(self.now));
            [timeout, until_timer].into_iter().flatten().min()
        };
        work += self.wait(timeout)?;
        std::mem::swap(&mut self.ready, &mut self.serving);
        while let Some(slot) = self.serving.pop() {
            if let Err(reason) = self.serve(slot, handler) {
                self.doom(slot, reason);
            }
        }
        work += self.bury(handler);
        Ok(work)
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

    fn wait(&mut self, timeout: Option<Duration>) -> Result<usize, NetError> {
        let sleep = self.waker.sleep(&mut self.poll, &mut self.events, timeout);
        let Slept { for_a_while, came } = sleep?;
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
            let Some(link) = self.links.get_mut(slot) else {
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
        if let Some(link) = self.links.get_mut(slot)
            && !link.listed
        {
            link.listed = true;
            self.ready.push(slot);
        }
    }

    fn flush_link(&mut self, slot: Slot) {
        let Some(link) = self.links.get_mut(slot) else {
            return;
        };
        if link.doomed.is_some() {
            return;
        }
        let (scratch, counters) = (&mut self.scratch, &mut self.counters);
        if let Err(reason) = link.connection.flush(&mut link.outbound, scratch, counters) {
            self.doom(slot, reason);
        }
    }

    fn serve(&mut self, slot: Slot, handler: &mut impl LinkHandler) -> Result<(), CloseReason> {
        let Some(link) = self.links.get_mut(slot) else {
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
        for (slot, link) in self.links.iter_mut() {
            if matches!(link.stage, Stage::Up) {
                continue;
            }
            if link.deadline <= self.now {
                late.push(slot);
            } else {
                let next = self
                    .next_timer
                    .map_or(link.deadline, |next| next.min(link.deadline));
                self.next_timer = Some(next);
            }
        }
        for slot in late {
            self.doom(slot, CloseReason::HandshakeTimeout);
        }
    }

    fn doom(&mut self, slot: Slot, reason: CloseReason) {
        if let Some(link) = self.links.get_mut(slot)
            && link.doomed.is_none()
        {
            link.doomed = Some(reason);
            self.doomed.push(slot);
        }
    }

    fn bury(&mut self, handler: &mut impl LinkHandler) -> usize {
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
            handler.link_down(LinkId(slot), reason);
        }
        buried
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
mod tests {
    use rustix::net::sockopt;

    use super::*;
    use crate::handler::{ClientId, Handler};
    use crate::handshake::Authenticator;
    use crate::link::Role;
    use crate::poller::{Net, NetConfig};

    /// Believes everything.
    struct Everybody;

    impl Authenticator for Everybody {
        fn sign_hello(&self, _hash: &[u8; 32], _peer: u16) -> [u8; 64] {
            [0; 64]
        }
        fn verify_hello(&self, _: &[u8; 32], _: u16, _: u16, _: &[u8; 64]) -> bool {
            true
        }
        fn verify_login(&self, _: &[u8; 32], _: &[u8; 32], _: &[u8; 64]) -> bool {
            true
        }
    }

    impl ClientAuthenticator for Everybody {
        fn key(&self) -> [u8; 32] {
            [1; 32]
        }
        fn sign_login(&self, _hash: &[u8; 32], _validator: u16) -> [u8; 64] {
            [0; 64]
        }
        fn verify_hello(&self, _: &[u8; 32], _: u16, _: &[u8; 64]) -> bool {
            true
        }
    }

    /// How many have logged in.
    #[derive(Default)]
    struct Logins(usize);

    impl Handler for Logins {
        fn peer_up(&mut self, _peer: u16, _incarnation: u64) {}
        fn peer_down(&mut self, _peer: u16, _reason: CloseReason) {}
        fn peer_frame(&mut self, _peer: u16, _frame: &[u8]) {}
        fn client_up(&mut self, _client: ClientId, _key: [u8; 32]) {
            self.0 += 1;
        }
        fn client_down(&mut self, _client: ClientId) {}
        fn client_frame(&mut self, _client: ClientId, _frame: &[u8]) {}
    }

    impl LinkHandler for Logins {
        fn link_up(&mut self, _link: LinkId, _validator: u16, _incarnation: u64) {}
        fn link_down(&mut self, _link: LinkId, reason: CloseReason) {
            panic!("{reason:?}");
        }
        fn link_frame(&mut self, _link: LinkId, _frame: &[u8]) {}
    }

    const CHAIN: ChainIds = ChainIds {
        chain_id: [1; 32],
        genesis_hash: [2; 32],
    };

    /// A validator and a client that has logged in there.
    fn logged_in() -> (Net, ClientLinks) {
        let config = NetConfig {
            index: 3,
            incarnation: 1,
            chain: CHAIN,
            peer_listen: "127.0.0.1:0".to_owned(),
            client_listen: Some("127.0.0.1:0".to_owned()),
            peers: Vec::new(),
            limits: Limits::default(),
            jitter_seed: 7,
        };
        let mut net = Net::bind(config, Arc::new(Everybody)).unwrap();
        let mut links = ClientLinks::new(Limits::default()).unwrap();
        let address = net.client_address().unwrap().to_string();
        let begun = Instant::now();
        links
            .connect(begun, &address, CHAIN, Arc::new(Everybody))
            .unwrap();
        let (mut of_net, mut of_links) = (Logins::default(), Logins::default());
        while of_net.0 == 0 {
            let now = Instant::now();
            assert!(now < begun + Duration::from_secs(20), "nobody logs in");
            let timeout = Some(Duration::ZERO);
            net.turn(now, timeout, &mut of_net).unwrap();
            links.turn(now, timeout, &mut of_links).unwrap();
        }
        (net, links)
    }

    /// Silence is legitimate at both ends, so that nothing else would find out.
    #[test]
    fn the_kernel_asks_at_both_ends_of_a_client_s_connection_whether_anybody_is_there() {
        let (mut net, mut links) = logged_in();
        let is_client = |link: &crate::link::Link| matches!(link.role, Role::Client { .. });
        let of_net = net.links.iter_mut().map(|(_, link)| link);
        let of_net = of_net.filter(|link| is_client(link));
        let of_net = of_net.map(|link| link.connection.stream());
        let of_links = links.links.iter_mut();
        let of_links = of_links.map(|(_, link)| link.connection.stream());
        let mut ends = 0;
        for stream in of_net.chain(of_links) {
            ends += 1;
            assert_eq!(sockopt::socket_keepalive(&*stream), Ok(true));
            let after = sockopt::tcp_keepidle(&*stream);
            assert_eq!(after, Ok(Duration::from_secs(10)));
        }
        assert_eq!(ends, 2);
    }
}
