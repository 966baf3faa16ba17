//! Any number of sessions on one thread: connections, batching, results.
//!
//! Owns the event loop of the client side. One turn takes what the sockets have, tells the owner,
//! and sends what waits: all commands of a session that one turn found waiting leave in as few
//! frames as they fit. Never: blocks except in the event queue.

use super::ClientError;
use super::event::ClientEvent;
use super::everybody::Everybody;
use super::feed::Feed;
use super::gateway::{Contact, Gateway, State, contacts};
use super::identity::Identity;
use super::opening::Wall;
use super::pending::Pending;
use super::quorum::{Quorum, Trust};
use super::refusals::Refusals;
use super::silence::Silence;
use super::taking::Taking;
use super::unreached::Unreached;
use super::watch::{LinkUse, Watcher};
use crate::auth::CommandMessages;
use crate::client_wire::{
    QUESTION_BYTES_MAX, encode_query, encode_root_ask, encode_session_ask, encode_status_ask,
};
use crate::genesis::Genesis;
use crate::keys::KeyPair;
use crate::lanes::SEQ_MAX;
use crate::sessions::{SessionCommand, TIMEOUT_MAX_NS, TIMEOUT_MIN_NS};
use crate::state_machine::{Lane, SessionId};
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;
use quorate_net::{ChainIds, ClientLinks, Limits, LinkId, SendError, Waker};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a session stays at a validator at least before it turns to another leader.
pub(super) const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);

/// What commands leave free of what may wait on a connection: they come again with each turn, and a
/// question would never find room among them.
const QUESTIONS_BYTES: usize = 4 * QUESTION_BYTES_MAX;

/// How a session behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// The validator to begin with.
    pub first: ValidatorIndex,
    /// Whether to move to the leader that answers name. Otherwise the validator forwards.
    pub follow_leader: bool,
    /// Commands that may wait for finality.
    pub pending_max: usize,
    /// Bytes of these commands.
    pub pending_bytes_max: usize,
    /// A validator under which nothing is finalized for this long, while something waits, is left
    /// for the next one. While nothing waits, one that tells nothing for this long is asked whether
    /// it is there, and left when it tells nothing for as long again; so is one that is only
    /// listened to, whatever waits, and then dialed again.
    pub patience: Duration,
    /// Whose word is taken for results. Answers to questions, streams and the session's last
    /// number are always those of the one validator.
    pub trust: Trust,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            first: ValidatorIndex::new(0),
            follow_leader: false,
            pending_max: 65_536,
            pending_bytes_max: 64 * 1024 * 1024,
            patience: Duration::from_secs(3),
            trust: Trust::OneValidator,
        }
    }
}

/// One session of a [`Clients`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientRef(pub(super) usize);

impl ClientRef {
    /// Its place in the order of [`Clients::add`], from 0.
    #[must_use]
    pub const fn place(self) -> usize {
        self.0
    }
}

pub(super) struct Session {
    pub(super) key: Arc<KeyPair>,
    pub(super) pending: Pending,
    pub(super) gateway: Gateway,
    pub(super) options: ClientOptions,
    /// The leader that the last frame named.
    pub(super) leader: Option<ValidatorIndex>,
    /// Numbers below were told as accepted.
    pub(super) accepted_to: u64,
    /// When it turned to a leader, or was logged in anywhere, last.
    pub(super) followed_at: Instant,
    /// Connections that ended while it was logged in, and not by its own doing.
    pub(super) losses: u64,
    /// The validator that refused to serve anybody last.
    pub(super) refused_by: Option<ValidatorIndex>,
    /// Validators that it could not reach, or that brought nothing on.
    pub(super) unreached: Unreached,
    /// Commands from this number on were made while it was logged in where it is: no other
    /// validator was given them.
    pub(super) first_here: u64,
    pub(super) listed: bool,
    /// The time-out that was declared for it, nanoseconds.
    pub(super) timeout_ns: Option<u64>,
    spoke_at: Instant,
    /// No sign of life is sent by itself.
    pub(super) rests_heartbeats: bool,
    /// Who refuses what was taken before.
    pub(super) refusals: Refusals,
    /// Where no single validator's word is taken.
    pub(super) quorum: Option<Quorum>,
    /// Its private stream, where that is followed.
    pub(super) feed: Option<Feed>,
}

/// All that a turn's callbacks may touch, apart from the connections themselves.
pub(super) struct Table {
    pub(super) sessions: Vec<Session>,
    // Looked up, never walked.
    pub(super) by_link: HashMap<LinkId, LinkUse>,
    pub(super) watchers: Vec<Watcher>,
    /// Sessions with something to send.
    pub(super) dirty: Vec<usize>,
    /// Sessions that give their connection up, and whether for the named leader.
    pub(super) leaving: Vec<(usize, Option<ValidatorIndex>)>,
    /// Connections whose validator seemed to tell nothing for too long before this turn's reading.
    pub(super) stuck: Vec<LinkUse>,
    /// Of each validator, whichever session it tells something: one question is enough for all.
    pub(super) silences: Vec<Silence>,
    pub(super) next_due: Instant,
}

/// Sessions on one event loop. See the module.
pub struct Clients {
    pub(super) links: ClientLinks,
    pub(super) chain: ChainIds,
    pub(super) set: Arc<ValidatorSet>,
    pub(super) contacts: Arc<[Contact]>,
    command_bytes_max: usize,
    messages: Arc<CommandMessages>,
    pub(super) table: Table,
    pub(super) frame: Vec<u8>,
    asked: u64,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients")
            .field("sessions", &self.table.sessions.len())
            .finish_non_exhaustive()
    }
}

impl Clients {
    /// An event loop without sessions.
    ///
    /// # Errors
    /// No validator has a client address, or the operating system refuses an event queue.
    pub fn new(genesis: &Genesis) -> Result<Self, ClientError> {
        let contacts = contacts(genesis);
        if contacts.is_empty() {
            return Err(ClientError::NoAddress);
        }
        let limits = Limits {
            client_read_buffer_bytes: 256 * 1024,
            ..Limits::default()
        };
        let limits = Limits {
            client_read_bytes_per_turn: 1024 * 1024,
            ..limits
        };
        Ok(Self {
            links: ClientLinks::new(limits)?,
            chain: ChainIds {
                chain_id: *genesis.chain_id(),
                genesis_hash: *genesis.hash(),
            },
            set: Arc::clone(genesis.validator_set()),
            contacts,
            messages: Arc::new(CommandMessages::of(genesis)),
            command_bytes_max: genesis.file().limits.command_bytes_max as usize,
            table: Table {
                sessions: Vec::new(),
                by_link: HashMap::new(),
                watchers: Vec::new(),
                dirty: Vec::new(),
                leaving: Vec::new(),
                stuck: Vec::new(),
                silences: vec![Silence::new(Instant::now()); genesis.validator_set().len()],
                next_due: Instant::now(),
            },
            frame: Vec::new(),
            asked: 0,
        })
    }

    /// Adds a session; it is dialed in the next turn. With [`Trust::FaultStake`] it sends nothing
    /// before validators of stake above 2 F listen: where those that have client addresses are
    /// fewer, which is an error in the log, it never will.
    pub fn add(&mut self, key: Arc<KeyPair>, options: ClientOptions) -> ClientRef {
        let now = Instant::now();
        let place = self.table.sessions.len();
        let trust = options.trust;
        self.table.sessions.push(Session {
            pending: Pending::new(
                Arc::clone(&key),
                Arc::clone(&self.messages),
                Wall::machine(),
                (trust == Trust::FaultStake, now),
            ),
            gateway: Gateway::new(Arc::clone(&self.contacts), options.first, now),
            key,
            options,
            leader: None,
            accepted_to: 0,
            followed_at: now,
            losses: 0,
            refused_by: None,
            unreached: Unreached::default(),
            first_here: 0,
            listed: false,
            timeout_ns: None,
            spoke_at: now,
            rests_heartbeats: false,
            refusals: Refusals::new(self.everybody()),
            quorum: None,
            feed: None,
        });
        self.add_watchers(place, trust, now);
        self.table.next_due = now;
        ClientRef(place)
    }

    /// Who must have said something before it is what everybody says.
    pub(super) fn everybody(&self) -> Everybody {
        Everybody::new(Arc::clone(&self.set), Arc::clone(&self.contacts))
    }

    /// Takes a command; it is sent in the next turn or [`flush`](Self::flush). Gives its number.
    ///
    /// Where the session is to be opened, a sign of life that opens it is sent first, with the time
    /// as its number; this command has the next one, or the one after it where a time-out is
    /// declared again, and is sent once that is applied ([`ClientEvent::Opened`]).
    ///
    /// # Errors
    /// [`ClientError::Full`]: too many commands wait. [`ClientError::Length`]: too long.
    pub fn submit(
        &mut self,
        client: ClientRef,
        lane: Lane,
        body: &[u8],
        now: Instant,
    ) -> Result<u64, ClientError> {
        let bytes_max = self.command_bytes_max;
        if body.len() > bytes_max {
            return Err(ClientError::Length {
                bytes: body.len(),
                bytes_max,
            });
        }
        let Some(session) = self.table.sessions.get_mut(client.0) else {
            return Err(ClientError::NotConnected);
        };
        let pending = session.pending.len();
        if pending >= session.options.pending_max
            || session.pending.bytes_len() >= session.options.pending_bytes_max
        {
            return Err(ClientError::Full { pending });
        }
        session.declare_anew(now);
        let seq = session.pending.push(lane, body, now);
        session.spoke_at = now;
        self.table.soil(client.0);
        Ok(seq)
    }

    /// Says something of the session itself; it is sent as a command is. Once a time-out has been
    /// declared, a sign of life follows whenever a third of it has passed without a command, for as
    /// long as [`turn`](Self::turn) is called. A session is opened without a time-out, so each
    /// later opening is followed by one command more, which declares it again. Gives the number.
    ///
    /// # Errors
    /// [`ClientError::Full`]: too many commands wait.
    pub fn tell_session(
        &mut self,
        client: ClientRef,
        command: SessionCommand,
        now: Instant,
    ) -> Result<u64, ClientError> {
        let session = self.table.sessions.get_mut(client.0);
        let session = session.ok_or(ClientError::NotConnected)?;
        let pending = session.pending.len();
        if pending >= session.options.pending_max {
            return Err(ClientError::Full { pending });
        }
        match command {
            SessionCommand::Heartbeat => {}
            SessionCommand::Close | SessionCommand::Timeout(0) => session.timeout_ns = None,
            SessionCommand::Timeout(ns) => {
                session.timeout_ns = Some(ns.clamp(TIMEOUT_MIN_NS, TIMEOUT_MAX_NS));
            }
        }
        if !matches!(command, SessionCommand::Timeout(_)) {
            session.declare_anew(now);
        }
        let seq = session.pending.push_session(command, now);
        session.spoke_at = now;
        self.table.soil(client.0);
        self.table.next_due = now;
        Ok(seq)
    }

    /// Lets a session's numbers go on behind `seq_last`, as [`ClientEvent::Session`] told it of one
    /// that is open. Where there is none, 0, it is opened before the next command, as it is without
    /// this. False, and nothing changed, while commands wait, and where no number is left: none is
    /// above 2^63 - 1, whatever a validator at fault tells. What is still on its way from before
    /// may be applied under numbers that are given anew ([`ClientEvent::Displaced`],
    /// [`ClientEvent::Unsure`]). Whoever opened that session may have declared no time-out: one
    /// that is wanted is to be told again ([`SessionCommand::Timeout`]).
    pub fn resume(&mut self, client: ClientRef, seq_last: u64) -> bool {
        let session = self.table.sessions.get_mut(client.0);
        session.is_some_and(|session| match seq_last {
            SEQ_MAX.. => false,
            0 => session.pending.open_behind(0),
            seq_last => session.pending.start_behind(seq_last),
        })
    }

    /// Lets the session be opened again before the next command, of which [`ClientEvent::Session`]
    /// told that it has ended with the number `seq_last`. False, and nothing changed, while
    /// commands wait, and where no number is left, as in [`resume`](Self::resume).
    pub fn reopen(&mut self, client: ClientRef, seq_last: u64) -> bool {
        let session = self.table.sessions.get_mut(client.0);
        session
            .filter(|_| seq_last < SEQ_MAX)
            .is_some_and(|session| session.pending.open_behind(seq_last))
    }

    /// Asks the application a read-only question. Gives the id that the answer will carry.
    ///
    /// # Errors
    /// [`ClientError::Length`]: it is longer than [`QUESTION_BYTES_MAX`], and a validator would end
    /// the connection for it. Not connected, or too much waits on the connection
    /// ([`ClientError::Crowded`]).
    pub fn query(&mut self, client: ClientRef, question: &[u8]) -> Result<u64, ClientError> {
        if question.len() > QUESTION_BYTES_MAX {
            return Err(ClientError::Length {
                bytes: question.len(),
                bytes_max: QUESTION_BYTES_MAX,
            });
        }
        self.ask(client, |id, frame| encode_query(id, question, frame))
    }

    /// Asks the connected validator for its status.
    ///
    /// # Errors
    /// Not connected, or too much waits on the connection ([`ClientError::Crowded`]).
    pub fn ask_status(&mut self, client: ClientRef) -> Result<u64, ClientError> {
        self.ask(client, encode_status_ask)
    }

    /// Asks the connected validator for its state root.
    ///
    /// # Errors
    /// Not connected, or too much waits on the connection ([`ClientError::Crowded`]).
    pub fn ask_root(&mut self, client: ClientRef) -> Result<u64, ClientError> {
        self.ask(client, encode_root_ask)
    }

    /// Asks for the number of the session's last applied command.
    ///
    /// # Errors
    /// Not connected, or too much waits on the connection ([`ClientError::Crowded`]).
    pub fn ask_session(&mut self, client: ClientRef) -> Result<u64, ClientError> {
        self.ask(client, encode_session_ask)
    }

    pub(super) fn ask(
        &mut self,
        client: ClientRef,
        encode: impl FnOnce(u64, &mut Vec<u8>),
    ) -> Result<u64, ClientError> {
        let Some(State::Up { link }) = self.table.sessions.get(client.0).map(|s| s.gateway.state)
        else {
            return Err(ClientError::NotConnected);
        };
        self.asked += 1;
        self.frame.clear();
        encode(self.asked, &mut self.frame);
        match self.links.send(link, &self.frame) {
            Ok(()) => Ok(self.asked),
            Err(SendError::Full) => Err(ClientError::Crowded),
            Err(_) => Err(ClientError::NotConnected),
        }
    }

    /// The validator at which a session is logged in.
    #[must_use]
    pub fn connected(&self, client: ClientRef) -> Option<ValidatorIndex> {
        let session = self.table.sessions.get(client.0)?;
        session.gateway.is_up().then(|| session.gateway.validator())
    }

    /// The leader that a session heard of last.
    #[must_use]
    pub fn leader(&self, client: ClientRef) -> Option<ValidatorIndex> {
        self.table.sessions.get(client.0)?.leader
    }

    /// How many connections a session has lost. Those that it gave up itself are none of them: for
    /// a leader, or for want of patience.
    pub(super) fn losses(&self, client: ClientRef) -> u64 {
        self.table
            .sessions
            .get(client.0)
            .map_or(0, |one| one.losses)
    }

    /// Commands of a session that are not finalized.
    #[must_use]
    pub fn pending(&self, client: ClientRef) -> usize {
        self.table
            .sessions
            .get(client.0)
            .map_or(0, |session| session.pending.len())
    }

    /// The name of a session.
    #[must_use]
    pub fn session(&self, client: ClientRef) -> Option<SessionId> {
        Some(self.table.sessions.get(client.0)?.pending.session())
    }

    /// Wakes a [`turn`](Self::turn) that waits, from another thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.links.waker()
    }

    /// Sends what waits, waits at most `timeout` for something to happen (for ever when absent),
    /// takes it, and sends what came of that. Says how much was done.
    ///
    /// # Errors
    /// The event queue failed.
    pub fn turn(
        &mut self,
        now: Instant,
        timeout: Option<Duration>,
        mut on_event: impl FnMut(ClientRef, ClientEvent<'_>),
    ) -> Result<usize, ClientError> {
        self.run_timers(now, &mut on_event);
        self.flush(now);
        let due = self.table.next_due.saturating_duration_since(now);
        let timeout = timeout.map_or(due, |timeout| timeout.min(due));
        let mut taking = Taking {
            table: &mut self.table,
            now,
            on_event: &mut on_event,
        };
        let mut work = self.links.turn(now, Some(timeout), &mut taking)?;
        self.judge_stuck(now, &mut on_event);
        work += self.leave(now, &mut on_event);
        self.flush(now);
        Ok(work)
    }

    /// Sends what waits, in as few frames and system calls as it fits.
    pub fn flush(&mut self, now: Instant) {
        let mut dirty = std::mem::take(&mut self.table.dirty);
        dirty.retain(|&place| self.send_session(place, now));
        // Sessions whose connection is full stay listed; nothing else was added meanwhile.
        self.table.dirty = dirty;
        self.links.flush();
    }

    /// Whether the session still has something that its connection had no room for.
    fn send_session(&mut self, place: usize, now: Instant) -> bool {
        let may_send = self.may_send(place);
        let Some(session) = self.table.sessions.get_mut(place) else {
            return false;
        };
        if let State::Up { link } = session.gateway.state
            && may_send
        {
            loop {
                self.frame.clear();
                let count = session.pending.write_submit(now, &mut self.frame);
                if count == 0 {
                    break;
                }
                let sent = self.links.send_leaving(link, &self.frame, QUESTIONS_BYTES);
                match sent {
                    Ok(()) => session.pending.mark_sent(count),
                    Err(SendError::Full) => return true,
                    // Its end is told by the next turn.
                    Err(_) => break,
                }
            }
        }
        session.listed = false;
        if let Some(due) = session.due() {
            self.table.next_due = self.table.next_due.min(due);
        }
        false
    }

    /// Gives up the connections that are to be left.
    pub(super) fn leave(
        &mut self,
        now: Instant,
        on_event: &mut impl FnMut(ClientRef, ClientEvent<'_>),
    ) -> usize {
        let leaving = std::mem::take(&mut self.table.leaving);
        let count = leaving.len();
        for (place, leader) in leaving {
            let Some(session) = self.table.sessions.get_mut(place) else {
                continue;
            };
            let (link, validator) = (session.gateway.link(), session.gateway.validator());
            let was_up = session.gateway.is_up();
            if link.is_none() && leader.is_none() {
                // Left already: whoever gives several reasons to leave it must not choose in that
                // way where the session goes next.
                continue;
            }
            match leader {
                Some(leader) if !session.gateway.turn_to(leader, now) => continue,
                Some(_) => session.followed_at = now,
                None => session.gateway.next(now),
            }
            if let Some(link) = link {
                self.links.close(link);
                self.table.by_link.remove(&link);
            }
            if was_up {
                on_event(ClientRef(place), ClientEvent::Disconnected(validator));
            }
            self.table.next_due = now;
        }
        count
    }

    fn run_timers(&mut self, now: Instant, on_event: &mut impl FnMut(ClientRef, ClientEvent<'_>)) {
        if now < self.table.next_due {
            return;
        }
        self.table.next_due = now + Duration::from_secs(1);
        for place in 0..self.table.sessions.len() {
            let session = &mut self.table.sessions[place];
            if session.gateway.is_up() && session.heartbeat_due().is_some_and(|due| due <= now) {
                session.spoke_at = now;
                // A command that waits will be a sign of life.
                if session.pending.len() == 0 {
                    session.declare_anew(now);
                    session.pending.push_session(SessionCommand::Heartbeat, now);
                    self.table.soil(place);
                }
            }
            let session = &mut self.table.sessions[place];
            session.pending.run_again(now);
            match session.gateway.state {
                State::Down { dial_at } if dial_at <= now => self.dial(place, now),
                State::Up { .. } if session.is_stuck(now) => {
                    self.table.stuck.push(LinkUse::Session(place));
                }
                State::Up { link } => {
                    if session.pending.has_sendable() {
                        self.table.soil(place);
                    }
                    self.run_silence(LinkUse::Session(place), link, now);
                    self.run_feed(place, now);
                }
                State::Down { .. } | State::Dialing { .. } => {}
            }
            if let Some(due) = self.table.sessions[place].due() {
                self.table.next_due = self.table.next_due.min(due.max(now));
            }
        }
        self.run_watchers(now);
        self.leave(now, on_event);
    }

    pub(super) fn dial(&mut self, place: usize, now: Instant) {
        let Some(session) = self.table.sessions.get_mut(place) else {
            return;
        };
        let wanted = session.gateway.validator();
        let identity = Identity::new(Arc::clone(&session.key), Arc::clone(&self.set), wanted);
        let Some(address) = session.gateway.address() else {
            return session.gateway.next(now);
        };
        match self
            .links
            .connect(now, address, self.chain, Arc::new(identity))
        {
            Ok(link) => {
                session.gateway.dialing(link);
                self.table.by_link.insert(link, LinkUse::Session(place));
            }
            Err(error) => {
                tracing::debug!(%error, address, "cannot dial");
                session.unreached.note(wanted, now);
                session.gateway.next(now);
            }
        }
    }
}

impl Session {
    /// When this session must be looked at again without anything happening.
    fn due(&self) -> Option<Instant> {
        let pending = &self.pending;
        let hold = pending.hold_until().filter(|_| pending.has_sendable());
        // One without an end is never over.
        let patience_end = || {
            self.pending
                .progressed_at()
                .checked_add(self.options.patience)
        };
        let stuck = (self.pending.len() > 0).then(patience_end).flatten();
        match self.gateway.state {
            State::Down { dial_at } => Some(dial_at),
            State::Dialing { .. } => None,
            State::Up { .. } => {
                let patience = self.options.patience;
                let feed = self.feed.as_ref().and_then(|feed| feed.due(patience));
                let own = [hold, stuck, pending.again_at()];
                let all = own.into_iter().chain([feed, self.heartbeat_due()]);
                all.flatten().min()
            }
        }
    }

    /// Silence after which a sign of life is sent.
    fn heartbeat_due(&self) -> Option<Instant> {
        let pause = |ns| Duration::from_nanos(ns / 3);
        let timeout_ns = self.timeout_ns.filter(|_| !self.rests_heartbeats);
        timeout_ns.map(|ns| self.spoke_at + pause(ns))
    }

    /// Declares the time-out again where the next command is preceded by an opening, after which
    /// the session has none.
    fn declare_anew(&mut self, now: Instant) {
        if let Some(ns) = self.timeout_ns.filter(|_| self.pending.needs_opening()) {
            let command = SessionCommand::Timeout(ns);
            self.pending.push_session(command, now);
        }
    }

    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        self.pending.len() > 0
            && now.saturating_duration_since(self.pending.progressed_at()) >= self.options.patience
    }
}

impl Table {
    pub(super) fn soil(&mut self, place: usize) {
        if let Some(session) = self.sessions.get_mut(place)
            && !session.listed
        {
            session.listed = true;
            self.dirty.push(place);
        }
    }
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
