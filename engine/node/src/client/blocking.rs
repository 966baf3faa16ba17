//! One session for programs that want to wait: submit and see the result, ask and see the answer.
//!
//! Owns a [`Clients`] with one session. Never: threads; all work is done inside the calls.

use super::event::ClientEvent;
use super::feed::StreamHole;
use super::sessions::{ClientOptions, ClientRef, Clients};
use super::{ClientError, end_of, pending};
use crate::client_wire::{Outcome, Place, Stream};
use crate::genesis::Genesis;
use crate::keys::KeyPair;
use crate::lanes::Rejection;
use crate::sessions::SessionCommand;
use crate::state_machine::Lane;
use crate::streams::StreamPosition;
use quorate_consensus::types::ValidatorIndex;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A finalized command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finalized {
    /// Its number in the session.
    pub seq: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// Where it was applied, if that is known.
    pub applied: Option<Place>,
    /// From the validator's receipt to its finality, nanoseconds; 0 when another one admitted it.
    pub finality_ns: u64,
    /// What the application put out for this session; empty when the result was not seen.
    pub outputs: Vec<Vec<u8>>,
}

/// One session that waits for its answers.
#[derive(Debug)]
pub struct Client {
    pub(super) clients: Clients,
    pub(super) client: ClientRef,
    pub(super) patience: Duration,
    pub(super) on_stream: OnStream,
    /// Since when the connected validator is asked where the session stands, in one call after
    /// another.
    pub(super) asks_since: Option<Instant>,
}

/// Who is told of the session's private stream, if anybody is.
#[derive(Default)]
pub(super) struct OnStream {
    told: Option<TellStream>,
    /// Where it did not go on as it was. Bound: `HOLES_MAX`.
    pub(super) holes: Vec<StreamHole>,
}

/// Holes of the private stream that are kept for whoever asks.
const HOLES_MAX: usize = 64;

/// Connections that a question to the application may cost: it is in all likelihood what ends the
/// validators that are asked it, so it is not carried on to the next one.
const QUESTION_LOSSES_MAX: u32 = 2;

/// How long a submission without a wait waits all the same, where the session has to be asked for.
const FIND_MAX: Duration = Duration::from_secs(1);

type TellStream = Box<dyn FnMut(Stream<'_>) + Send>;

impl OnStream {
    pub(super) fn tell(&mut self, event: &ClientEvent<'_>) {
        match event {
            ClientEvent::Stream(stream) => {
                if let Some(tell) = &mut self.told {
                    tell(stream.clone());
                }
            }
            ClientEvent::StreamHole(hole) => {
                if self.holes.len() >= HOLES_MAX {
                    self.holes.remove(0);
                }
                self.holes.push(*hole);
            }
            _ => {}
        }
    }
}

impl fmt::Debug for OnStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("OnStream")
            .field(&self.told.is_some())
            .finish()
    }
}

impl Client {
    /// Connects a session and learns where its numbers stand. One that has ended is opened again by
    /// the first command.
    ///
    /// A command may be refused since the session is open already ([`Rejection::SessionOpen`]), or
    /// has ended ([`Rejection::SessionEnded`]): by another process with this key, by a copy of an
    /// earlier opening, or since it was closed. Then the client asks where the session stands
    /// before it takes the next one, and goes on from there, or opens it again. A time-out that was
    /// declared is declared again, by a command with a number of its own. That command is not sent
    /// again by itself: it did nothing and may be submitted, unless it was told to be
    /// [`Unsure`](ClientError::Unsure). Nothing is asked while anything waits: a sign of life that
    /// is about to open the session may be refused once more, and what was submitted behind it.
    ///
    /// Commands that another process sent with this key and that are not applied yet may be applied
    /// under the numbers that this one gives anew. Then [`submit_and_wait`](Self::submit_and_wait)
    /// ends with [`Rejection::Conflict`]: the new command did nothing and may be submitted again.
    ///
    /// # Errors
    /// [`ClientError::TooFewAddresses`]: no result could ever be trusted. No validator answers in
    /// time.
    pub fn connect(
        genesis: &Genesis,
        key: Arc<KeyPair>,
        options: ClientOptions,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let mut clients = Clients::new(genesis)?;
        clients.can_listen(options.trust)?;
        let patience = options.patience;
        let client = clients.add(key, options);
        let mut connected = Self {
            clients,
            client,
            patience,
            on_stream: OnStream::default(),
            asks_since: None,
        };
        connected.learn_session(timeout)?;
        Ok(connected)
    }

    /// Has `tell` called, within any later call of this client, with the outputs for this session
    /// that commands of others and timers made: the fill of an order that rests, say, which no
    /// result of an own command tells. So it is with what such a result has no room for. One frame
    /// at a time, as [`ClientEvent::Stream`]; nothing is kept here, and without this call they are
    /// passed over. A client that is not called is told nothing meanwhile: between commands
    /// [`turn`](Self::turn) is what listens.
    ///
    /// Each is told once, and none is left out once
    /// [`stream_position`](Self::stream_position) tells one: what was put out in a time without a
    /// connection is asked for and told after the next login, at whichever validator. What they do
    /// not have any more is a hole ([`take_stream_holes`](Self::take_stream_holes)); and where they
    /// never came to what was told, what is told from there on may have been told before
    /// ([`HoleKind::Ahead`](super::HoleKind)). They are one
    /// validator's word, also with [`Trust::FaultStake`](super::Trust).
    pub fn on_stream(&mut self, tell: impl FnMut(Stream<'_>) + Send + 'static) {
        self.tell_stream_to(None, tell);
    }

    pub(super) fn tell_stream_to(
        &mut self,
        from: Option<StreamPosition>,
        tell: impl FnMut(Stream<'_>) + Send + 'static,
    ) {
        self.on_stream.told = Some(Box::new(tell));
        self.clients
            .follow_stream(self.client, from, Instant::now());
    }

    /// The validator at which the session is logged in.
    #[must_use]
    pub fn connected(&self) -> Option<ValidatorIndex> {
        self.clients.connected(self.client)
    }

    /// Submits a command and waits until it is finalized. When the time is over the command may
    /// still become final: the session keeps it and sends it on.
    ///
    /// # Errors
    /// It was refused for good or its number was another command's, or it is not known whether it
    /// was applied ([`ClientError::Unsure`]), or the time was over.
    pub fn submit_and_wait(
        &mut self,
        lane: Lane,
        body: &[u8],
        timeout: Duration,
    ) -> Result<Finalized, ClientError> {
        let end = end_of(timeout);
        self.find_session(timeout)?;
        let wanted = self
            .clients
            .submit(self.client, lane, body, Instant::now())?;
        self.await_result(wanted, end)
    }

    /// Says something of the session itself, and waits until that is finalized. Whoever declares a
    /// time-out must call often enough: this client does nothing between calls.
    ///
    /// # Errors
    /// It was refused for good, or the time was over.
    pub fn tell_session(
        &mut self,
        command: SessionCommand,
        timeout: Duration,
    ) -> Result<Finalized, ClientError> {
        let end = end_of(timeout);
        self.find_session(timeout)?;
        let wanted = self
            .clients
            .tell_session(self.client, command, Instant::now())?;
        self.await_result(wanted, end)
    }

    fn await_result(&mut self, wanted: u64, end: Instant) -> Result<Finalized, ClientError> {
        let left = end.saturating_duration_since(Instant::now());
        self.wait(left, |event| {
            let mut told = None;
            ended(event, |seq, end| {
                if seq == wanted {
                    told = Some(end);
                }
            });
            told
        })?
    }

    /// Submits a command and does not wait for it: [`turn`](Self::turn) tells of it. Gives its
    /// number.
    ///
    /// # Errors
    /// As [`Clients::submit`]. [`ClientError::Timeout`]: the session was told to be another one
    /// than it was taken for ([`connect`](Self::connect)), and within a second its validator did
    /// not say where it stands; nothing was submitted, and it may be tried again. Once that has
    /// taken as long as [`ClientOptions::patience`], the next validator is asked.
    pub fn submit(&mut self, lane: Lane, body: &[u8]) -> Result<u64, ClientError> {
        self.find_session(FIND_MAX)?;
        let now = Instant::now();
        let seq = self.clients.submit(self.client, lane, body, now)?;
        self.clients.flush(now);
        Ok(seq)
    }

    /// Commands that are not finalized.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.clients.pending(self.client)
    }

    /// Waits at most `timeout` for something to happen, and tells of each command that it ended,
    /// and how: as [`submit_and_wait`](Self::submit_and_wait) would. What that and the questions
    /// see meanwhile of other commands is not told again. Of the private stream
    /// [`on_stream`](Self::on_stream) tells.
    ///
    /// # Errors
    /// The event queue failed.
    pub fn turn(
        &mut self,
        timeout: Duration,
        mut on_end: impl FnMut(u64, Result<Finalized, ClientError>),
    ) -> Result<(), ClientError> {
        let (now, on_stream) = (Instant::now(), &mut self.on_stream);
        self.clients.turn(now, Some(timeout), |_, event| {
            on_stream.tell(&event);
            ended(&event, &mut on_end);
        })?;
        Ok(())
    }

    /// Asks the application a read-only question.
    ///
    /// # Errors
    /// [`ClientError::Length`]: it is longer than any validator takes
    /// ([`QUESTION_BYTES_MAX`](crate::client_wire::QUESTION_BYTES_MAX)).
    /// [`ClientError::QuestionLost`]: two connections were lost while it was asked, and it is asked
    /// nobody else; those that this client gave up itself do not count. The time was over.
    pub fn query(&mut self, question: &[u8], timeout: Duration) -> Result<Vec<u8>, ClientError> {
        self.question_until(
            (timeout, QUESTION_LOSSES_MAX),
            |clients, client| clients.query(client, question),
            |id, event| match event {
                ClientEvent::Answer { id: of, answer } if *of == id => Some(answer.to_vec()),
                _ => None,
            },
        )
    }

    /// Asks the validator for its status, a JSON object.
    ///
    /// # Errors
    /// The time was over.
    pub fn status(&mut self, timeout: Duration) -> Result<String, ClientError> {
        self.question(timeout, Clients::ask_status, |id, event| match event {
            ClientEvent::Status { id: of, json } if *of == id => Some((*json).to_owned()),
            _ => None,
        })
    }

    /// Asks the validator for its state root: the height and the root after it.
    ///
    /// # Errors
    /// The time was over.
    pub fn state_root(&mut self, timeout: Duration) -> Result<(u64, [u8; 32]), ClientError> {
        self.question(timeout, Clients::ask_root, |id, event| match event {
            ClientEvent::Root {
                id: of,
                height,
                root,
                ..
            } if *of == id => Some((*height, *root)),
            _ => None,
        })
    }

    /// Asks until an answer comes: again after a lost connection or a busy validator, and another
    /// validator when none has come for as long as commands would wait for it.
    pub(super) fn question<T>(
        &mut self,
        timeout: Duration,
        ask: impl Fn(&mut Clients, ClientRef) -> Result<u64, ClientError>,
        answer: impl Fn(u64, &ClientEvent<'_>) -> Option<T>,
    ) -> Result<T, ClientError> {
        self.question_until((timeout, u32::MAX), ask, answer)
    }

    /// The same until so many connections were lost that had it.
    fn question_until<T>(
        &mut self,
        (timeout, losses_max): (Duration, u32),
        ask: impl Fn(&mut Clients, ClientRef) -> Result<u64, ClientError>,
        answer: impl Fn(u64, &ClientEvent<'_>) -> Option<T>,
    ) -> Result<T, ClientError> {
        let end = end_of(timeout);
        let mut asked_since = Instant::now();
        let mut losses = 0;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let id = match ask(&mut self.clients, self.client) {
                Ok(id) => id,
                Err(ClientError::NotConnected) => {
                    self.wait(left, |event| {
                        matches!(event, ClientEvent::Connected(_)).then_some(())
                    })?;
                    asked_since = Instant::now();
                    continue;
                }
                // The connection is up, and nothing but time makes room on it.
                Err(ClientError::Crowded) => {
                    self.wait_for_room(&mut asked_since, left)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let patience = self.patience.saturating_sub(asked_since.elapsed());
            let lost_before = self.clients.losses(self.client);
            let found = self.wait(patience.min(left), |event| match event {
                ClientEvent::Disconnected(_) => Some(ControlFlow::Continue(pending::RETRY_MIN)),
                ClientEvent::Busy {
                    id: of,
                    retry_after_us,
                } if *of == id => {
                    let pause = Duration::from_micros(u64::from(*retry_after_us));
                    let pause = pause.clamp(pending::RETRY_MIN, pending::RETRY_MAX);
                    Some(ControlFlow::Continue(pause))
                }
                event => answer(id, event).map(ControlFlow::Break),
            });
            let pause = match found {
                Ok(ControlFlow::Break(value)) => return Ok(value),
                Ok(ControlFlow::Continue(pause)) => pause,
                Err(ClientError::Timeout) if patience < left => {
                    self.clients.turn_away(self.client);
                    asked_since = Instant::now();
                    pending::RETRY_MIN
                }
                Err(error) => return Err(error),
            };
            // A connection that was left for another leader ended no validator.
            losses += u32::from(self.clients.losses(self.client) > lost_before);
            if losses >= losses_max {
                return Err(ClientError::QuestionLost { losses });
            }
            // A busy validator is to be left in peace for a moment, however long it asks for, and
            // one that is left is left in a turn.
            match self.wait(pause.min(left), |_| None::<()>) {
                Ok(()) | Err(ClientError::Timeout) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits a moment, and not for ever at a validator that takes nothing more.
    fn wait_for_room(
        &mut self,
        asked_since: &mut Instant,
        left: Duration,
    ) -> Result<(), ClientError> {
        if asked_since.elapsed() >= self.patience {
            self.clients.turn_away(self.client);
            *asked_since = Instant::now();
        }
        match self.wait(pending::RETRY_MIN.min(left), |_| None::<()>) {
            Err(ClientError::Timeout) if left > pending::RETRY_MIN => Ok(()),
            waited => waited,
        }
    }

    /// Turns until `pick` finds what it wants.
    fn wait<T>(
        &mut self,
        timeout: Duration,
        mut pick: impl FnMut(&ClientEvent<'_>) -> Option<T>,
    ) -> Result<T, ClientError> {
        let end = end_of(timeout);
        let mut found = None;
        loop {
            let now = Instant::now();
            if now >= end {
                return Err(ClientError::Timeout);
            }
            let on_stream = &mut self.on_stream;
            self.clients.turn(now, Some(end - now), |_, event| {
                on_stream.tell(&event);
                if found.is_none() {
                    found = pick(&event);
                }
            })?;
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }
}

/// Which commands this ends, and how.
fn ended(event: &ClientEvent<'_>, mut on_end: impl FnMut(u64, Result<Finalized, ClientError>)) {
    let numbers = |first: u64, count: u64| first..first.saturating_add(count);
    match event {
        ClientEvent::Result { result, .. } => {
            let item = result.item;
            let finalized = Finalized {
                seq: item.seq,
                outcome: item.outcome,
                applied: item.applied,
                finality_ns: item.finality_ns,
                outputs: result.outputs.clone().map(<[u8]>::to_vec).collect(),
            };
            on_end(item.seq, Ok(finalized));
        }
        ClientEvent::Passed { seq_first, count } => {
            numbers(*seq_first, *count).for_each(|seq| on_end(seq, Ok(unseen(seq))));
        }
        ClientEvent::Displaced { seq } => {
            on_end(*seq, Err(ClientError::Rejected(Rejection::Conflict)));
        }
        ClientEvent::Unsure {
            seq_first, count, ..
        } => {
            let unsure = |seq| on_end(seq, Err(ClientError::Unsure { seq }));
            numbers(*seq_first, *count).for_each(unsure);
        }
        ClientEvent::Dropped {
            seq_first,
            count,
            rejection,
        } => {
            let dropped = |seq| on_end(seq, Err(ClientError::Rejected(*rejection)));
            numbers(*seq_first, *count).for_each(dropped);
        }
        _ => {}
    }
}

/// A command that is final and whose result another validator had.
const fn unseen(seq: u64) -> Finalized {
    Finalized {
        seq,
        outcome: Outcome::Applied,
        applied: None,
        finality_ns: 0,
        outputs: Vec::new(),
    }
}

#[cfg(test)]
#[path = "blocking_tests.rs"]
mod tests;
