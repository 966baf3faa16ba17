//! The private stream of one session without holes, over any number of connections.
//!
//! Owns up to where it has been told, and when to ask for what a time without a connection left
//! out. Never: sockets, or the outputs themselves.
//!
//! What comes live has no hole while one connection lasts. After a login everything from the last
//! position on is asked for, and what comes live meanwhile is passed over: the answer has it, or
//! the next one. Results of a block leave a validator before an answer that covers the block, but
//! those of later ones may overtake it; so the stream is level with the live one again when an
//! answer reaches its validator's end, and all that came live before it.

use super::ClientError;
use super::event::ClientEvent;
use super::everybody::Everybody;
use super::pending::{RETRY_MAX, RETRY_MIN};
use super::sessions::{ClientRef, Clients, Table};
use super::taking::Taking;
use super::watch::LinkUse;
use crate::client_wire::{
    Private, PrivateItem, PrivateState, ServerFrame, Stream, StreamFrame, encode_private_ask,
};
use crate::streams::StreamPosition;
use quorate_consensus::types::ValidatorIndex;
use std::time::{Duration, Instant};

/// When a validator that has not come to the position is asked again.
const BEHIND_RETRY: Duration = Duration::from_millis(5);
/// A validator may take so many times the patience until the stream is level there, else the next
/// one is to go on with it: an answer need not bring much.
const FILL_PATIENCES: u32 = 16;
/// Heights behind the oldest position of a validator that are given up at most when what is before
/// it is gone, and an eighth of what it has: a disk has far more than comes while one asks.
const MARGIN_HEIGHTS: u64 = 1024;
/// The same where that was gone as well: an archive lets go of a segment at a time.
const WIDER_HEIGHTS: u64 = 65_536;

/// How long a session stays where the position was said to be gone before, when it comes there once
/// more since no other one can be reached: its commands get on meanwhile.
const GONE_PAUSE: Duration = RETRY_MAX;
/// Longest such stay; it is twice as long each time. To look for the others takes some seconds in
/// which the session is nowhere, each time.
const GONE_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Why the private stream of a session does not go on where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoleKind {
    /// They have no more what lies in between: the stream goes on at `to`, and what came before
    /// that is not told. An application can be asked how things stand.
    Gone,
    /// None of them came to `to`, up to which it was told: the stream goes on at `from`. Whoever
    /// told what lies in between made it up, or was the only one that had it; then it is told once
    /// more, and has the same addresses.
    Ahead,
}

/// A hole in the private stream of a session. Validators of all stake but F, or all that have
/// client addresses, have said so, each when it was asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHole {
    /// Where it begins.
    pub from: StreamPosition,
    /// Where it ends.
    pub to: StreamPosition,
    /// On which side of it the stream goes on.
    pub kind: HoleKind,
}

/// What a validator that refuses a position has: from where on, and up to where.
type Span = (StreamPosition, StreamPosition);

/// What a validator has said of the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// It has it no more, but this.
    Gone(Span),
    /// It is there, and had not come to the position while one had patience.
    Ahead(StreamPosition),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Feed {
    /// Behind what has been told; none before anything is known.
    at: Option<StreamPosition>,
    /// What comes live is passed over.
    is_filling: bool,
    /// Behind what came live and was passed over.
    seen: StreamPosition,
    /// The question on its way.
    asked: Option<u64>,
    /// When to ask.
    ask_at: Option<Instant>,
    /// Since when the connected validator is asked and brings nothing on.
    since: Option<Instant>,
    /// Since when it is asked and the stream is not level.
    filling_since: Option<Instant>,
    /// Who must have said that they cannot tell what is at the position.
    everybody: Everybody,
    /// What each of them has said last, since it was told on. One that is met again and again
    /// while no other can be reached is one all the same.
    said: Vec<(ValidatorIndex, Word)>,
    /// Who is connected and where that one is, if it had not come there when it was asked last.
    is_at: Option<(ValidatorIndex, StreamPosition)>,
    /// The connected one, which has said before that the position is gone, is asked once more.
    is_asked_again: bool,
    /// How long it stays there then.
    gone_pause: Duration,
    /// The connected one is left since it brought nothing on.
    is_left: bool,
    /// Holes since something was told last.
    holes: u32,
}

/// What comes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fed {
    /// Its outputs from this position on are to be told.
    Tell(StreamPosition),
    /// Another validator may have what this one has not.
    Leave,
    /// The stream does not go on where it was.
    Hole(StreamHole),
    /// It waits for validators that cannot be reached, from now on.
    Waits,
    /// Nothing.
    Nothing,
}

impl Feed {
    /// One whose outputs before `from` are known, or that begins with what comes.
    pub(super) fn new(from: Option<StreamPosition>, everybody: Everybody, now: Instant) -> Self {
        // The end of the stream is no position in it.
        let from = from.filter(|from| *from != StreamPosition::LIVE);
        Self {
            at: from,
            is_filling: from.is_some(),
            seen: StreamPosition::BEGIN,
            asked: None,
            ask_at: Some(now),
            since: None,
            filling_since: None,
            everybody,
            said: Vec::new(),
            is_at: None,
            is_asked_again: false,
            gone_pause: GONE_PAUSE,
            is_left: false,
            holes: 0,
        }
    }

    /// Logged in, perhaps somewhere else.
    pub(super) fn connected(&mut self, now: Instant) {
        self.is_filling = self.at.is_some();
        // What was passed over elsewhere is behind `at` too.
        self.seen = StreamPosition::BEGIN;
        (self.asked, self.ask_at) = (None, Some(now));
        (self.since, self.filling_since) = (None, None);
        let is_at = self.is_at.take();
        if let Some((validator, tip)) = is_at.filter(|_| self.is_left) {
            self.note(validator, Some(Word::Ahead(tip)));
        }
        (self.is_left, self.is_asked_again) = (false, false);
    }

    /// Behind what has been told, if that is known yet.
    pub(super) const fn position(&self) -> Option<StreamPosition> {
        self.at
    }

    /// When to look at it again.
    pub(super) fn due(&self, patience: Duration) -> Option<Instant> {
        match self.asked {
            None => self.ask_at,
            Some(_) => self.stuck_at(patience),
        }
    }

    /// From where to ask now, if that is due.
    pub(super) fn wants(&self, now: Instant) -> Option<StreamPosition> {
        let is_due = self.asked.is_none() && self.ask_at.is_some_and(|at| at <= now);
        is_due.then(|| self.at.unwrap_or(StreamPosition::LIVE))
    }

    /// The question went out with this id, or found no room.
    pub(super) fn note_asked(&mut self, id: Option<u64>, now: Instant) {
        self.asked = id;
        self.since = self.since.or(Some(now));
        self.filling_since = self.filling_since.or(Some(now));
        self.ask_at = id.is_none().then(|| now + RETRY_MIN);
    }

    /// When the validator is to be left, unless it brings something on.
    fn stuck_at(&self, patience: Duration) -> Option<Instant> {
        let idle = self.since.and_then(|since| since.checked_add(patience));
        let whole = patience.saturating_mul(FILL_PATIENCES);
        let slow = self
            .filling_since
            .and_then(|since| since.checked_add(whole));
        idle.into_iter().chain(slow).min()
    }

    /// The validator is left, unless what is still to be read changes that.
    pub(super) const fn leaves(&mut self) {
        self.is_left = true;
    }

    /// Whether the validator has brought nothing on for too long, or too little.
    pub(super) fn is_stuck(&self, now: Instant, patience: Duration) -> bool {
        self.stuck_at(patience).is_some_and(|at| at <= now)
    }

    /// Whether a frame that came live is to be told.
    pub(super) fn takes(&mut self, stream: &Stream<'_>) -> bool {
        let last = stream.clone().last().map(|(number, _)| number);
        let Some(last) = last else { return false };
        let end = StreamPosition {
            height: stream.height(),
            index: last.saturating_add(1),
        };
        if self.is_filling {
            self.seen = self.seen.max(end);
            return false;
        }
        if self.at.is_some_and(|at| end <= at) {
            return false;
        }
        self.at = Some(end);
        self.forget_said();
        true
    }

    /// Whether this id is that of the question on its way.
    pub(super) fn is_asked(&self, id: u64) -> bool {
        self.asked == Some(id)
    }

    /// The validator wants to be asked again later.
    pub(super) fn busy(&mut self, retry_after_us: u32, now: Instant) {
        let pause = Duration::from_micros(u64::from(retry_after_us));
        self.asked = None;
        self.ask_at = Some(now + pause.clamp(RETRY_MIN, RETRY_MAX));
    }

    /// What a validator says now stands for it, and nothing where that is not known yet.
    fn note(&mut self, validator: ValidatorIndex, word: Option<Word>) {
        self.said.retain(|(of, _)| *of != validator);
        self.said.extend(word.map(|word| (validator, word)));
    }

    /// The position is another one.
    fn forget_said(&mut self) {
        self.said.clear();
        self.gone_pause = GONE_PAUSE;
    }

    /// What `pick` takes of what was said, if that is what everybody says.
    fn all_say<T>(&self, pick: impl Fn(Word) -> Option<T>) -> Option<Vec<T>> {
        let (who, what) = self.who_say(pick);
        self.everybody.are(&who).then_some(what)
    }

    /// What `pick` takes of what was said, and who has said so.
    fn who_say<T>(&self, pick: impl Fn(Word) -> Option<T>) -> (Vec<ValidatorIndex>, Vec<T>) {
        let said = self.said.iter();
        said.filter_map(|(validator, word)| Some((*validator, pick(*word)?)))
            .unzip()
    }

    /// Takes an answer of a validator.
    pub(super) fn answered(
        &mut self,
        answer: &Private<'_>,
        validator: ValidatorIndex,
        now: Instant,
    ) -> Fed {
        self.asked = None;
        (self.is_at, self.is_left) = (None, false);
        match answer.state() {
            PrivateState::Done => Fed::Tell(self.done(answer, validator, now)),
            PrivateState::Ahead => self.ahead(answer, validator, now),
            PrivateState::Gone => self.gone(answer, validator, now),
        }
    }

    fn ahead(&mut self, answer: &Private<'_>, validator: ValidatorIndex, now: Instant) -> Fed {
        self.is_at = Some((validator, answer.tip()));
        self.ask_at = Some(now + BEHIND_RETRY);
        // It counts when one has had patience with it, and did once where that was so before.
        let is_known = |(of, word): &(_, Word)| *of == validator && matches!(word, Word::Ahead(_));
        let word = self.said.iter().any(is_known);
        self.note(validator, word.then_some(Word::Ahead(answer.tip())));
        let tips = self.all_say(|word| match word {
            Word::Ahead(tip) => Some(tip),
            Word::Gone(_) => None,
        });
        let Some(mut tips) = tips else {
            return Fed::Nothing;
        };
        // Somebody told of a block that there is not, or that is lost.
        let from = lower_middle(&mut tips);
        let to = self.at.replace(from).unwrap_or(from);
        self.forget_said();
        (self.is_at, self.ask_at) = (None, Some(now));
        let kind = HoleKind::Ahead;
        Fed::Hole(StreamHole { from, to, kind })
    }

    fn gone(&mut self, answer: &Private<'_>, validator: ValidatorIndex, now: Instant) -> Fed {
        let is_known = |(of, word): &(_, Word)| *of == validator && matches!(word, Word::Gone(_));
        let was_said = self.said.iter().any(is_known);
        let word = Word::Gone((answer.oldest(), answer.tip()));
        self.note(validator, Some(word));
        let (who, spans) = self.who_say(|word| match word {
            Word::Gone(span) => Some(span),
            Word::Ahead(_) => None,
        });
        // Where some have not said so they may be there and have it: not before the round is
        // about, in which each was dialed.
        let is_round = was_said || self.everybody.are_all(&who);
        let is_said = is_round && self.everybody.are(&who);
        let from = self.at.unwrap_or(StreamPosition::BEGIN);
        // One that has what it says is gone tells nothing.
        let is_told = |(oldest, tip): &Span| *oldest > from && tip >= oldest;
        let spans: Vec<Span> = spans
            .into_iter()
            .filter(|one| is_said && is_told(one))
            .collect();
        if spans.is_empty() {
            if was_said && !self.is_asked_again {
                return self.stay(now);
            }
            return Fed::Leave;
        }
        self.forget_said();
        let to = self.landing(spans);
        let to = to.unwrap_or_else(|| answer.tip().max(self.seen).max(from));
        self.at = Some(to);
        self.ask_at = self.is_filling.then_some(now);
        let kind = HoleKind::Gone;
        Fed::Hole(StreamHole { from, to, kind })
    }

    /// Stays where the position is gone, since none of those that may have it can be reached.
    fn stay(&mut self, now: Instant) -> Fed {
        let is_first = self.gone_pause == GONE_PAUSE;
        (self.is_asked_again, self.ask_at) = (true, Some(now + self.gone_pause));
        self.gone_pause = self.gone_pause.saturating_mul(2).min(GONE_PAUSE_MAX);
        // Nothing is to be brought on meanwhile.
        (self.since, self.filling_since) = (None, None);
        match is_first {
            true => Fed::Waits,
            false => Fed::Nothing,
        }
    }

    /// Takes what is there from the position on; says from where it is to be told.
    fn done(
        &mut self,
        answer: &Private<'_>,
        validator: ValidatorIndex,
        now: Instant,
    ) -> StreamPosition {
        let from = self.at.unwrap_or_else(|| answer.end());
        let is_on = self.at.is_none_or(|at| answer.end() > at);
        self.at = Some(from.max(answer.end()));
        // Who only says that it has it does not undo what the others have said.
        match is_on {
            true => self.forget_said(),
            false => self.note(validator, None),
        }
        self.holes = 0;
        let is_level = answer.end() >= answer.tip().max(self.seen);
        self.is_filling &= !is_level;
        self.since = self.since.filter(|_| self.is_filling && !is_on);
        self.filling_since = self.filling_since.filter(|_| self.is_filling);
        self.ask_at = self.is_filling.then_some(now);
        from
    }

    /// Where to ask on when nobody has the position any more: where the first of them has
    /// something, and a little behind that, since the oldest may go with each block. Where that was
    /// gone as well, what most have decides, and more is given up, half of it the third time; where
    /// they have nothing, or that was gone too, everything up to what comes live, which is told
    /// then. None is for that.
    fn landing(&mut self, mut spans: Vec<Span>) -> Option<StreamPosition> {
        spans.sort_unstable();
        let place = match self.holes {
            0 => 0,
            _ => spans.len().saturating_sub(1) / 2,
        };
        let (oldest, tip) = *spans.get(place)?;
        let span = tip.height.saturating_sub(oldest.height);
        let given_up = match self.holes {
            0 => (span / 8).min(MARGIN_HEIGHTS),
            1 => (span / 8).min(WIDER_HEIGHTS),
            2 => span / 2,
            _ => span,
        };
        self.holes = self.holes.saturating_add(1);
        let is_level = span == 0 || given_up == span;
        (self.is_filling, self.since) = (!is_level, self.since.filter(|_| !is_level));
        self.filling_since = self.filling_since.filter(|_| !is_level);
        let landing = StreamPosition::before(oldest.height.saturating_add(given_up)).max(oldest);
        (!is_level).then_some(landing)
    }
}

/// The lower middle of what was told: with F of 3 F + 1 liars among them it is not beyond what
/// somebody honest told.
pub(super) fn lower_middle(told: &mut [StreamPosition]) -> StreamPosition {
    told.sort_unstable();
    let place = told.len().saturating_sub(1) / 2;
    told.get(place).copied().unwrap_or(StreamPosition::BEGIN)
}

impl Clients {
    /// Has the private stream of a session told without holes, over any number of connections and
    /// validators: after each login what was put out meanwhile is asked for, and told as
    /// [`ClientEvent::Stream`] before anything else of it. With `from` it begins there, as a
    /// program does that has kept [`stream_position`](Self::stream_position); without, where the
    /// stream is when the session is connected first. Where validators of all stake but F, or all
    /// that have addresses, cannot go on from there, that is told as [`ClientEvent::StreamHole`];
    /// while more of them are away none is told, and they are waited for. It holds from the moment
    /// on from which [`stream_position`](Self::stream_position) tells one: before that a lost
    /// connection leaves nothing to go on from.
    ///
    /// Each part is one validator's word ([`Trust`](super::Trust)).
    pub fn follow_stream(&mut self, client: ClientRef, from: Option<StreamPosition>, now: Instant) {
        let everybody = self.everybody();
        let session = self.table.sessions.get_mut(client.0);
        // Where it is followed already it goes on.
        let session = session.filter(|session| from.is_some() || session.feed.is_none());
        if let Some(session) = session {
            session.feed = Some(Feed::new(from, everybody, now));
            self.table.next_due = now;
        }
    }

    /// Behind what has been told of a session's private stream, for a program that is to go on from
    /// there later; none where it is not followed or nothing is known yet.
    #[must_use]
    pub fn stream_position(&self, client: ClientRef) -> Option<StreamPosition> {
        self.table.sessions.get(client.0)?.feed.as_ref()?.position()
    }

    /// Asks for what lies between two positions of the session's private stream, as much of it as
    /// one answer takes: everything that was put out for it, with what stood in results of its own
    /// commands. `to` is not before `from`.
    ///
    /// # Errors
    /// Not connected, or too much waits on the connection ([`ClientError::Crowded`]).
    pub fn ask_private(
        &mut self,
        client: ClientRef,
        from: StreamPosition,
        to: StreamPosition,
    ) -> Result<u64, ClientError> {
        let to = to.max(from);
        self.ask(client, |id, frame| encode_private_ask(id, from, to, frame))
    }

    /// How many validators there are to ask.
    pub(super) fn contacts_len(&self) -> usize {
        self.contacts.len()
    }

    /// Asks on for a session's private stream, when that is due.
    pub(super) fn run_feed(&mut self, place: usize, now: Instant) {
        let Some(session) = self.table.sessions.get(place) else {
            return;
        };
        let patience = session.options.patience;
        let Some(feed) = &session.feed else { return };
        if feed.is_stuck(now, patience) {
            self.table.stuck.push(LinkUse::Session(place));
            if let Some(feed) = self.feed_mut(place) {
                feed.leaves();
            }
        } else if let Some(from) = feed.wants(now) {
            let asked = self.ask_private(ClientRef(place), from, StreamPosition::LIVE);
            if let Some(feed) = self.feed_mut(place) {
                feed.note_asked(asked.ok(), now);
            }
        }
    }

    fn feed_mut(&mut self, place: usize) -> Option<&mut Feed> {
        self.table.sessions.get_mut(place)?.feed.as_mut()
    }
}

impl Table {
    /// Whether a session's validator brings nothing of its private stream.
    pub(super) fn is_unfed(&self, place: usize, now: Instant) -> bool {
        let session = self.sessions.get(place);
        session.is_some_and(|session| {
            let patience = session.options.patience;
            let feed = session.feed.as_ref();
            feed.is_some_and(|feed| feed.is_stuck(now, patience))
        })
    }
}

impl<F: FnMut(ClientRef, ClientEvent<'_>)> Taking<'_, F> {
    /// Tells what came live of a session's private stream, unless it will come once more.
    pub(super) fn take_stream(&mut self, place: usize, stream: Stream<'_>) {
        let session = self.table.sessions.get_mut(place);
        let feed = session.and_then(|session| session.feed.as_mut());
        if feed.is_none_or(|feed| feed.takes(&stream)) {
            self.tell(place, ClientEvent::Stream(stream));
        }
    }

    /// Takes an answer about a session's private stream: whoever asked for it is told, or it fills
    /// what a time without a connection left out.
    pub(super) fn take_private(&mut self, place: usize, answer: Private<'_>) {
        let session = self.table.sessions.get_mut(place);
        let validator = session.as_ref().map(|session| session.gateway.validator());
        let feed = session.and_then(|session| session.feed.as_mut());
        let feed = feed.filter(|feed| feed.is_asked(answer.id()));
        let (Some(feed), Some(validator)) = (feed, validator) else {
            return self.tell(place, ClientEvent::Private(answer));
        };
        let fed = feed.answered(&answer, validator, self.now);
        self.table.next_due = self.now;
        match fed {
            Fed::Tell(from) => self.tell_missed(place, answer, from),
            Fed::Leave => self.table.leaving.push((place, None)),
            Fed::Hole(hole) => self.tell(place, ClientEvent::StreamHole(hole)),
            Fed::Waits => tracing::warn!(
                validator = validator.number(),
                "the private stream waits for validators that cannot be reached: \
                 it is not there any more where it is to go on"
            ),
            Fed::Nothing => {}
        }
    }

    /// Tells what the stream would have told, block by block.
    fn tell_missed(&mut self, place: usize, answer: Private<'_>, from: StreamPosition) {
        let is_missed = |item: &PrivateItem<'_>| item.address >= from && !item.is_in_result;
        let mut missed = answer.filter(is_missed).peekable();
        let mut frame = StreamFrame::default();
        while let Some(first) = missed.next() {
            let height = first.address.height;
            frame.begin(None, height, first.time_ns);
            frame.push(first.address.index, first.bytes);
            while let Some(item) = missed.next_if(|item| item.address.height == height) {
                frame.push(item.address.index, item.bytes);
            }
            if let Ok((_, ServerFrame::Stream(stream))) = ServerFrame::decode(frame.finish()) {
                self.tell(place, ClientEvent::Stream(stream));
            }
        }
    }

    /// Whether it was the feed that found the validator busy.
    pub(super) fn take_busy_feed(&mut self, place: usize, id: u64, retry_after_us: u32) -> bool {
        let session = self.table.sessions.get_mut(place);
        let feed = session.and_then(|session| session.feed.as_mut());
        let Some(feed) = feed.filter(|feed| feed.is_asked(id)) else {
            return false;
        };
        feed.busy(retry_after_us, self.now);
        self.table.next_due = self.now;
        true
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
