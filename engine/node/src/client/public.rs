//! A reader of the public stream: any key will do, no session is opened, nothing is submitted.
//!
//! Owns one connection at a time, the position up to which everything was told, and the going on
//! from it at whichever validator answers: after a lost connection, or when it was too slow and was
//! cut. So its owner sees each event once and in order. Never: threads, or more than one turn's
//! worth of events; what its owner does not take waits in the socket, then in the validator's ring.
//!
//! [`PublicReader`] is polled by [`turn`](PublicReader::turn); [`PublicClient`] waits.

mod waiting;

pub use waiting::{PublicClient, PublicItem};

use super::ClientError;
use super::feed::lower_middle;
use super::gateway::{Gateway, State, contacts};
use super::identity::Identity;
use super::pending::RETRY_MAX;
use super::silence::{SILENCE_ID, Silence, Waited};
use crate::client_wire::{
    Public, PublicEvent, PublicMark, PublicState, ServerFrame, encode_public_ask,
    encode_public_stop, encode_public_subscribe, encode_status_ask,
};
use crate::genesis::Genesis;
use crate::keys::KeyPair;
use crate::streams::StreamPosition;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;
use quorate_net::{ChainIds, ClientLinks, CloseReason, Limits, LinkHandler, LinkId};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Far longer than a validator that works takes for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// After a subscription to a place that does not exist, until it is asked for again.
const NOWHERE_PAUSE: Duration = Duration::from_secs(1);
/// After a cut, until it is subscribed to again: who cuts each time is left in the end, and not
/// asked as fast as it answers until then.
const CUT_PAUSE: Duration = Duration::from_millis(50);
/// Until the next validator is dialed after one that has not what is wanted, and after a round of
/// all: else a subscription to what nobody has would be asked for as fast as they answer.
const ELSEWHERE_PAUSE: Duration = Duration::from_millis(50);
const NOBODY_PAUSE: Duration = Duration::from_secs(1);
/// How often a validator that has not come to where a range begins is asked again before another
/// one is, and how long it is given each time.
const RANGE_AHEAD_MAX: u32 = 20;
const RANGE_AHEAD_PAUSE: Duration = Duration::from_millis(50);

/// How a reader behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicOptions {
    /// The validator to begin with.
    pub first: ValidatorIndex,
    /// Whether to read at that validator alone, and never at another one.
    pub only_first: bool,
    /// Where to begin: [`StreamPosition::BEGIN`] for all that there ever was,
    /// [`StreamPosition::LIVE`] for what comes.
    pub from: StreamPosition,
    /// A validator that tells nothing for this long is asked whether it is there, and left for the
    /// next one when it tells nothing for as long again; so is one that tells for twice as long
    /// nothing of a range that it was asked for, or of whether a subscription holds, busy or not.
    pub patience: Duration,
}

impl Default for PublicOptions {
    fn default() -> Self {
        Self {
            first: ValidatorIndex::new(0),
            only_first: false,
            from: StreamPosition::LIVE,
            patience: PATIENCE,
        }
    }
}

/// What a turn of a reader has to tell.
#[derive(Debug)]
pub enum PublicUpdate<'a> {
    /// Logged in at a validator.
    Connected(ValidatorIndex),
    /// The connection to the validator ended.
    Disconnected(ValidatorIndex),
    /// The subscription holds; `tip` is where the validator's stream ended then.
    Subscribed {
        /// Where the validator's stream ended.
        tip: StreamPosition,
    },
    /// The next event of the subscription.
    Event(PublicEvent<'a>),
    /// This reader was too slow; it subscribes again, and misses nothing.
    Cut(StreamPosition),
    /// The next event of the range that was asked for.
    Ranged(PublicEvent<'a>),
    /// The range is told up to here: to its end, or to that of the validator's stream.
    RangeDone(StreamPosition),
}

#[derive(Clone, Copy, Debug)]
struct Range {
    at: StreamPosition,
    to: StreamPosition,
    /// Where the question on its way begins.
    from: StreamPosition,
    is_asked: bool,
    /// Since this validator was there to be asked for it, or told of it last: one that is busy each
    /// time tells nothing of it either.
    waited: Waited,
}

/// What the callbacks of a turn may touch.
struct Reading {
    gateway: Gateway,
    contacts_len: usize,
    position: StreamPosition,
    id: u64,
    is_subscribed: bool,
    /// The subscription that is asked for last, 0 for none: what is told of any other one, or of a
    /// range that is wanted no more, is still on its way and passed over.
    subscription_id: u64,
    /// Its owner has no room for what the subscription brings.
    is_paused: bool,
    /// Since a subscription is wanted of which this validator has not told whether it holds: one
    /// that is busy each time does not.
    subscribing: Option<Waited>,
    /// This validator cut a subscription, and has brought nothing of it since: there is more, so
    /// that to say yes to the next one is not enough.
    is_cut: bool,
    /// A subscription that is to be ended.
    stops: Option<u64>,
    range: Option<Range>,
    /// The question for the range, 0 while there is none.
    range_id: u64,
    /// Validators that one after another had the position no more.
    gone: usize,
    /// The same of the range.
    range_gone: usize,
    /// Up to where those are that one after another had not come to the position.
    ahead: Vec<StreamPosition>,
    /// When the connection is lost, until the next one is dialed.
    pause: Duration,
    /// How often in a row this validator has not come to where the range begins.
    range_ahead: u32,
    leaves: bool,
    hold_until: Option<Instant>,
    failure: Option<ClientError>,
    patience: Duration,
    silence: Silence,
    now: Instant,
    /// How long the last turn could wait.
    turned_for: Duration,
    /// In the last turn the validator came up. How long that took is no silence of it.
    is_new: bool,
}

/// A polled reader of the public stream. See the module.
pub struct PublicReader {
    links: ClientLinks,
    chain: ChainIds,
    set: Arc<ValidatorSet>,
    key: Arc<KeyPair>,
    reading: Reading,
    frame: Vec<u8>,
}

impl std::fmt::Debug for PublicReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicReader")
            .field("position", &self.reading.position)
            .finish_non_exhaustive()
    }
}

impl PublicReader {
    /// A reader that connects in its first turn.
    ///
    /// # Errors
    /// No validator, or not the only one that is wanted, has a client address, or the operating
    /// system refuses an event queue.
    pub fn new(
        genesis: &Genesis,
        key: Arc<KeyPair>,
        options: PublicOptions,
    ) -> Result<Self, ClientError> {
        let mut contacts = contacts(genesis);
        if options.only_first {
            let wanted = contacts.iter().filter(|one| one.validator == options.first);
            contacts = wanted.cloned().collect();
        }
        if contacts.is_empty() {
            return Err(ClientError::NoAddress);
        }
        let now = Instant::now();
        let limits = Limits {
            client_read_buffer_bytes: 256 * 1024,
            client_read_bytes_per_turn: 1024 * 1024,
            ..Limits::default()
        };
        Ok(Self {
            links: ClientLinks::new(limits)?,
            chain: ChainIds {
                chain_id: *genesis.chain_id(),
                genesis_hash: *genesis.hash(),
            },
            set: Arc::clone(genesis.validator_set()),
            key,
            reading: Reading {
                contacts_len: contacts.len(),
                gateway: Gateway::new(contacts, options.first, now),
                position: options.from,
                id: 0,
                is_subscribed: false,
                subscription_id: 0,
                is_paused: false,
                subscribing: Some(Waited::default()),
                is_cut: false,
                stops: None,
                range: None,
                range_id: 0,
                gone: 0,
                range_gone: 0,
                ahead: Vec::new(),
                pause: Duration::ZERO,
                range_ahead: 0,
                leaves: false,
                hold_until: None,
                failure: None,
                patience: options.patience,
                silence: Silence::new(now),
                now,
                turned_for: Duration::ZERO,
                is_new: false,
            },
            frame: Vec::new(),
        })
    }

    /// Up to where everything was told: where another reader would go on.
    #[must_use]
    pub const fn position(&self) -> StreamPosition {
        self.reading.position
    }

    /// The validator at which it is logged in.
    #[must_use]
    pub fn connected(&self) -> Option<ValidatorIndex> {
        let gateway = &self.reading.gateway;
        gateway.is_up().then(|| gateway.validator())
    }

    /// Asks for what lies between two positions, beside the subscription: a gap that another source
    /// left. It takes the place of the range that was asked for before.
    pub fn ask_range(&mut self, from: StreamPosition, to: StreamPosition) {
        self.reading.range_gone = 0;
        self.reading.range_ahead = 0;
        self.reading.range_id = 0;
        self.reading.range = Some(Range {
            at: from,
            from,
            to: to.max(from),
            is_asked: false,
            waited: Waited::default(),
        });
    }

    /// Wants no more of the range that was asked for: nothing more is told of it.
    pub const fn end_range(&mut self) {
        self.reading.range = None;
        self.reading.range_id = 0;
    }

    /// Takes no more of the subscription for now; it goes on at `position`.
    const fn pause_at(&mut self, position: StreamPosition) {
        let reading = &mut self.reading;
        if !reading.is_paused && reading.is_subscribed {
            reading.stops = Some(reading.subscription_id);
        }
        reading.is_paused = true;
        reading.is_subscribed = false;
        reading.subscribing = None;
        reading.is_cut = false;
        reading.subscription_id = 0;
        reading.position = position;
    }

    fn resume(&mut self) {
        if std::mem::take(&mut self.reading.is_paused) {
            self.reading.subscribing = Some(Waited::default());
        }
    }

    /// Waits at most `timeout` for something to happen, takes it, and tells of it.
    ///
    /// # Errors
    /// The event queue failed; [`ClientError::Gone`]: no validator has the position any more;
    /// [`ClientError::Ahead`]: none has come to that of the subscription;
    /// [`ClientError::NoSuchPosition`]. After these three the reader can be polled on, and comes to
    /// the same end unless what it wants has changed, or they come to it.
    pub fn turn(
        &mut self,
        now: Instant,
        timeout: Duration,
        mut on_update: impl FnMut(PublicUpdate<'_>),
    ) -> Result<usize, ClientError> {
        self.reading.begin_turn(now);
        self.dial(now);
        self.send(now);
        self.links.flush();
        let mut timeout = timeout;
        let dial_at = match self.reading.gateway.state {
            State::Down { dial_at } => Some(dial_at),
            State::Dialing { .. } | State::Up { .. } => None,
        };
        let dues = [
            dial_at,
            self.reading.hold_until,
            self.reading.patience_ends(),
        ];
        for due in dues.into_iter().flatten() {
            timeout = timeout.min(due.saturating_duration_since(now));
        }
        self.reading.turned_for = timeout;
        let mut taking = Taking {
            reading: &mut self.reading,
            on_update: &mut on_update,
        };
        let work = self.links.turn(now, Some(timeout), &mut taking)?;
        // After what has come was read: where this process itself did not run, it waits there.
        self.reading.leaves |= self.reading.is_out_of_patience();
        if std::mem::take(&mut self.reading.leaves) {
            let (was_up, validator) = (
                self.reading.gateway.is_up(),
                self.reading.gateway.validator(),
            );
            // Whoever has ended the connection besides is left once all the same.
            if let Some(link) = self.reading.gateway.link() {
                self.links.close(link);
                self.reading.lost(now);
            }
            if was_up {
                on_update(PublicUpdate::Disconnected(validator));
            }
        }
        self.send(now);
        self.links.flush();
        match self.reading.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(work),
        }
    }

    fn dial(&mut self, now: Instant) {
        let gateway = &mut self.reading.gateway;
        if !matches!(gateway.state, State::Down { dial_at } if dial_at <= now) {
            return;
        }
        let wanted = gateway.validator();
        let identity = Identity::new(Arc::clone(&self.key), Arc::clone(&self.set), wanted);
        let Some(address) = gateway.address() else {
            return gateway.next(now);
        };
        let identity = Arc::new(identity);
        match self.links.connect(now, address, self.chain, identity) {
            Ok(link) => gateway.dialing(link),
            Err(error) => {
                tracing::debug!(%error, address, "cannot dial");
                gateway.next(now);
            }
        }
    }

    /// Asks for what is wanted and not asked for yet.
    fn send(&mut self, now: Instant) {
        let reading = &mut self.reading;
        let State::Up { link } = reading.gateway.state else {
            return;
        };
        if reading.silence.is_to_be_asked(now, reading.patience) {
            self.frame.clear();
            encode_status_ask(SILENCE_ID, &mut self.frame);
            // Where it takes nothing any more, nothing is heard either.
            self.links.send(link, &self.frame).ok();
            reading.silence.asked(now);
        }
        if reading.hold_until.is_some_and(|until| now < until) {
            return;
        }
        reading.hold_until = None;
        if let Some(id) = reading.stops {
            self.frame.clear();
            encode_public_stop(id, &mut self.frame);
            if self.links.send(link, &self.frame).is_ok() {
                reading.stops = None;
            }
        }
        if !reading.is_subscribed && !reading.is_paused {
            self.frame.clear();
            reading.id += 1;
            reading.subscription_id = reading.id;
            encode_public_subscribe(reading.id, reading.position, &mut self.frame);
            reading.is_subscribed = self.links.send(link, &self.frame).is_ok();
        }
        if let Some(range) = reading.range.as_mut().filter(|range| !range.is_asked) {
            self.frame.clear();
            reading.id += 1;
            reading.range_id = reading.id;
            range.from = range.at;
            encode_public_ask(reading.id, range.at, range.to, &mut self.frame);
            range.is_asked = self.links.send(link, &self.frame).is_ok();
        }
    }
}

impl Reading {
    fn begin_turn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.now);
        self.now = now;
        if std::mem::take(&mut self.is_new) {
            self.silence.heard(now);
            return;
        }
        let turned_for = self.turned_for;
        for waited in self.waiting_mut() {
            waited.poll(passed, turned_for);
        }
    }

    /// What the validator has not told of yet.
    fn waiting(&self) -> impl Iterator<Item = &Waited> {
        let range = self.range.as_ref().map(|range| &range.waited);
        self.subscribing.iter().chain(range)
    }

    fn waiting_mut(&mut self) -> impl Iterator<Item = &mut Waited> {
        let range = self.range.as_mut().map(|range| &mut range.waited);
        self.subscribing.iter_mut().chain(range)
    }

    /// When the patience with this validator ends, or it is to be asked whether it is there.
    fn patience_ends(&self) -> Option<Instant> {
        if !self.gateway.is_up() {
            return None;
        }
        let most = self.patience.saturating_mul(2);
        let end = |waited: &Waited| self.now.checked_add(waited.left_of(most));
        let ends = self.waiting().filter_map(end);
        let silence_ends = self.silence.due(self.patience);
        ends.chain(silence_ends).min()
    }

    /// Whether it has told nothing for too long: nothing at all, or nothing of what is wanted.
    fn is_out_of_patience(&self) -> bool {
        let most = self.patience.saturating_mul(2);
        let is_over = |waited: &Waited| waited.left_of(most).is_zero();
        let is_silent = self.silence.is_over(self.now, self.patience);
        self.gateway.is_up() && (is_silent || self.waiting().any(is_over))
    }

    /// The connection is no more: on to the next validator, and everything is asked for again.
    fn lost(&mut self, now: Instant) {
        self.gateway.next(now);
        let pause = std::mem::take(&mut self.pause);
        self.gateway.rest_until(now + pause);
        self.is_subscribed = false;
        self.subscribing = (!self.is_paused).then(Waited::default);
        self.is_cut = false;
        self.is_new = false;
        self.stops = None;
        self.hold_until = None;
        self.range_ahead = 0;
        if let Some(range) = &mut self.range {
            range.is_asked = false;
        }
    }

    /// What was asked by this id found no room, and is asked for again in a moment: after the pause
    /// that the validator names, if it is not too long.
    fn busy(&mut self, id: u64, pause: Duration) {
        let pause = pause.min(RETRY_MAX);
        if self.is_of_range(id) {
            self.ask_range_later(pause);
        } else if id == self.subscription_id {
            self.is_subscribed = false;
            self.hold_until = Some(self.now + pause);
        }
    }

    /// Asks for the range again in a moment.
    fn ask_range_later(&mut self, pause: Duration) {
        if let Some(range) = &mut self.range {
            range.is_asked = false;
        }
        self.hold_until = Some(self.now + pause);
    }

    fn is_of_range(&self, id: u64) -> bool {
        self.range.is_some() && id == self.range_id
    }
}

/// The callbacks of one turn.
struct Taking<'t, F> {
    reading: &'t mut Reading,
    on_update: &'t mut F,
}

impl<F: FnMut(PublicUpdate<'_>)> LinkHandler for Taking<'_, F> {
    fn link_up(&mut self, link: LinkId, _validator: u16, _incarnation: u64) {
        if self.reading.gateway.link() == Some(link) {
            self.reading.gateway.up(link);
            self.reading.silence.heard(self.reading.now);
            self.reading.is_new = true;
            for waited in self.reading.waiting_mut() {
                *waited = Waited::default();
            }
            let validator = self.reading.gateway.validator();
            (self.on_update)(PublicUpdate::Connected(validator));
        }
    }

    fn link_down(&mut self, link: LinkId, reason: CloseReason) {
        if self.reading.gateway.link() != Some(link) {
            return;
        }
        let (was_up, validator) = (
            self.reading.gateway.is_up(),
            self.reading.gateway.validator(),
        );
        tracing::debug!(reason = reason.name(), "a reader's connection ended");
        self.reading.lost(self.reading.now);
        if was_up {
            (self.on_update)(PublicUpdate::Disconnected(validator));
        }
    }

    fn link_bytes(&mut self, link: LinkId) {
        if self.reading.gateway.link() == Some(link) {
            self.reading.silence.heard(self.reading.now);
        }
    }

    fn link_frame(&mut self, link: LinkId, frame: &[u8]) {
        if self.reading.gateway.link() != Some(link) || self.reading.leaves {
            return;
        }
        self.reading.silence.heard(self.reading.now);
        match ServerFrame::decode(frame) {
            Ok((_, ServerFrame::Public(public))) => self.take(public),
            Ok((_, ServerFrame::PublicMark(mark))) => self.mark(&mark),
            Ok((_, ServerFrame::Busy { id, retry_after_us })) => {
                let pause = Duration::from_micros(retry_after_us.into());
                self.reading.busy(id, pause);
            }
            Ok((_, ServerFrame::Refused { .. })) => self.reading.leaves = true,
            // A session with the same key may be somewhere else; its results are not for here.
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "a validator's frame is malformed");
                self.reading.leaves = true;
            }
        }
    }
}

impl<F: FnMut(PublicUpdate<'_>)> Taking<'_, F> {
    /// A stretch counts only where it joins what was told before.
    fn take(&mut self, public: Public<'_>) {
        let (from, end) = (public.from(), public.end());
        if self.reading.is_of_range(public.id()) {
            let fits = |range: &&mut Range| range.at == from && end <= range.to;
            let Some(range) = self.reading.range.as_mut().filter(fits) else {
                self.reading.leaves = true;
                return;
            };
            range.at = end;
            range.waited = Waited::default();
            self.reading.range_gone = 0;
            self.reading.range_ahead = 0;
            public.for_each(|event| (self.on_update)(PublicUpdate::Ranged(event)));
            return;
        }
        if public.id() != self.reading.subscription_id {
            return;
        }
        if from != self.reading.position {
            tracing::warn!(%from, "a validator left something of the public stream out");
            self.reading.leaves = true;
            return;
        }
        if end > from {
            self.reading.subscribing = None;
            self.reading.is_cut = false;
        }
        self.reading.position = end;
        public.for_each(|event| (self.on_update)(PublicUpdate::Event(event)));
    }

    fn mark(&mut self, mark: &PublicMark) {
        let is_range = self.reading.is_of_range(mark.id);
        if !is_range && mark.id != self.reading.subscription_id {
            return;
        }
        match mark.state {
            PublicState::Subscribed => {
                self.reading.subscribing.take_if(|_| !self.reading.is_cut);
                self.reading.gone = 0;
                self.reading.ahead.clear();
                if self.reading.position == StreamPosition::LIVE {
                    self.reading.position = mark.next;
                }
                (self.on_update)(PublicUpdate::Subscribed { tip: mark.tip });
            }
            PublicState::Done if is_range => self.range_done(),
            PublicState::Cut => {
                self.reading.is_subscribed = false;
                // Until it brings something: it could say yes and cut for ever.
                self.reading.subscribing.get_or_insert_default();
                self.reading.is_cut = true;
                self.reading.hold_until = Some(self.reading.now + CUT_PAUSE);
                (self.on_update)(PublicUpdate::Cut(self.reading.position));
            }
            PublicState::Gone => {
                // A subscription that holds says nothing of the range, nor the other way round.
                let gone = match is_range {
                    true => &mut self.reading.range_gone,
                    false => &mut self.reading.gone,
                };
                *gone += 1;
                self.reading.pause = ELSEWHERE_PAUSE;
                if *gone >= self.reading.contacts_len {
                    *gone = 0;
                    if !is_range {
                        self.reading.pause = NOBODY_PAUSE;
                    }
                    self.fail(is_range, |position| ClientError::Gone {
                        position,
                        oldest: mark.oldest,
                    });
                }
                self.reading.leaves = true;
            }
            PublicState::Nowhere => {
                self.fail(is_range, |position| ClientError::NoSuchPosition {
                    position,
                });
                if !is_range {
                    // Whoever polls on is told again, and not each moment.
                    self.reading.is_subscribed = false;
                    self.reading.subscribing = Some(Waited::default());
                    self.reading.hold_until = Some(self.reading.now + NOWHERE_PAUSE);
                }
            }
            PublicState::Ahead if is_range && self.reading.range_ahead < RANGE_AHEAD_MAX => {
                self.reading.range_ahead += 1;
                self.reading.ask_range_later(RANGE_AHEAD_PAUSE);
            }
            PublicState::Ahead => {
                if !is_range {
                    self.subscription_ahead(mark.tip);
                }
                self.reading.leaves = true;
            }
            PublicState::Done | PublicState::Stopped => {}
        }
    }

    /// Another one may have come so far. Where none has, somebody may have made the position up.
    fn subscription_ahead(&mut self, tip: StreamPosition) {
        self.reading.ahead.push(tip);
        self.reading.pause = ELSEWHERE_PAUSE;
        if self.reading.ahead.len() >= self.reading.contacts_len {
            let tip = lower_middle(&mut self.reading.ahead);
            self.reading.ahead.clear();
            self.reading.pause = NOBODY_PAUSE;
            self.fail(false, |position| ClientError::Ahead { position, tip });
        }
    }

    fn range_done(&mut self) {
        let Some(range) = &mut self.reading.range else {
            return;
        };
        // One answer takes only so much, and one that brought nothing came to the end.
        if range.from < range.at && range.at < range.to {
            range.is_asked = false;
            return;
        }
        let at = range.at;
        self.reading.range = None;
        (self.on_update)(PublicUpdate::RangeDone(at));
    }

    fn fail(&mut self, is_range: bool, why: impl FnOnce(StreamPosition) -> ClientError) {
        let range = self.reading.range.take_if(|_| is_range);
        let position = range.map_or(self.reading.position, |range| range.at);
        self.reading.failure = Some(why(position));
    }
}

#[cfg(test)]
mod tests;
