//! One session of the embedding process: its opening, its numbers, and the answers given at once.
//!
//! Owns the way from a command to its entry. Never: waits, or reads results.
//!
//! An opening's bytes stay good for minutes, whatever has been said of it meanwhile, and the
//! program that is told of a refusal submits its command anew. So the opening carries a sign of
//! life and no command, and nothing is sent behind it before it is known to be applied: until then
//! every command is answered with `Busy`, and none of them was taken.
//!
//! A command is accepted when it is in the queue, before the pool has looked at it. What the pool
//! then refuses comes back here and is told of in place of the next answer: else the program would
//! go on in a session that has ended, and never hear of it.

use super::{Control, Inlet, Kind, Refused, SessionAt, Submitted, Waits, wire_lane};
use crate::client_wire::Verdict;
use crate::keys::KeyPair;
use crate::lanes::Rejection;
use crate::node::Asker;
use crate::sessions::{SessionCommand, is_past};
use crate::stages::clock::wall_ns;
use crate::state_machine::{Lane, SessionId};
use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use quorate_consensus::payload::{self, Entry};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When to try again after the queue was full, or while the session is being opened.
const RETRY_AFTER_US: u32 = 200;
/// An opening of which nothing is known after this long is offered again, as it was.
const OFFER_AGAIN: Duration = Duration::from_secs(1);

/// A session of the embedding process. Its numbers rise by one with each accepted command; one
/// thread at a time may use it.
#[derive(Debug)]
pub struct EmbeddedSession {
    inlet: Arc<Inlet>,
    asker: Asker,
    session: SessionId,
    key: [u8; 32],
    /// What signs its commands, in a chain whose commands are signed.
    signer: Option<Arc<KeyPair>>,
    opening: Opening,
    /// What the pool has refused of that which was accepted here, and nobody was told of. Bound:
    /// each of these was in the queue, and every further submission takes one out before it adds
    /// one.
    refused: (Sender<Refused>, Receiver<Refused>),
    /// What waits of it for the loop.
    waits: Arc<Waits>,
    /// Once the session is open.
    seq_next: u64,
    /// The wall clock, nanoseconds.
    wall_ns: fn() -> u64,
}

/// How the session comes to be open.
#[derive(Debug)]
enum Opening {
    /// The next command has one made before it, of this number at least.
    Needed { floor: u64 },
    /// It is on its way.
    Offered(Offer),
    /// The session is open.
    Done,
}

/// An opening on its way.
#[derive(Debug)]
struct Offer {
    seq: u64,
    entry: Box<[u8]>,
    at: Instant,
    /// What the pool has against it.
    refused: (Sender<Refused>, Receiver<Refused>),
    /// How far the session is: what was asked and is not answered.
    asked: Option<Receiver<SessionAt>>,
}

/// The answer to [`EmbeddedSession::submit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is on its way into the pool, under this number. Only a finalized result says more, or
    /// [`Lost`](Self::Lost).
    Accepted {
        /// Its number in the session.
        seq: u64,
    },
    /// There is no room now, or the session is still being opened; nothing was taken.
    Busy {
        /// When to try again, microseconds.
        retry_after_us: u32,
    },
    /// It will not be taken as it is.
    Rejected(Rejection),
    /// Nothing was taken, and one that was accepted before is lost: the pool refused it. See
    /// [`EmbeddedSession::lost`].
    Lost {
        /// The number of the one that is lost.
        seq: u64,
        /// Why.
        rejection: Rejection,
    },
}

const BUSY: Admission = Admission::Busy {
    retry_after_us: RETRY_AFTER_US,
};

impl Admission {
    /// The same in the words of the client protocol.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Accepted { .. } => Verdict::Accepted,
            Self::Busy { retry_after_us } => Verdict::Busy { retry_after_us },
            Self::Rejected(rejection) | Self::Lost { rejection, .. } => {
                Verdict::Rejected(rejection)
            }
        }
    }
}

impl EmbeddedSession {
    pub(crate) fn new(inlet: Arc<Inlet>, asker: Asker, key: [u8; 32], at: SessionAt) -> Self {
        let session = SessionId(payload::session_of_key(&key));
        let (opening, seq_next) = match at {
            SessionAt::Unknown => (Opening::Needed { floor: 1 }, 0),
            SessionAt::Open { seq_last } => (Opening::Done, seq_last.saturating_add(1)),
            SessionAt::Ended { seq_last } => {
                let floor = seq_last.saturating_add(1);
                (Opening::Needed { floor }, 0)
            }
        };
        Self {
            inlet,
            asker,
            session,
            key,
            signer: None,
            opening,
            refused: unbounded(),
            waits: Arc::default(),
            seq_next,
            wall_ns,
        }
    }

    /// The same, signing with `signer`, which is the pair of its key.
    #[must_use]
    pub(crate) fn signing(mut self, signer: Arc<KeyPair>) -> Self {
        self.signer = Some(signer);
        self
    }

    /// The session's name.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.session
    }

    /// The number that the next command gets; 0 while the session is not open, since its numbers
    /// begin with the time at which it is opened.
    #[must_use]
    pub const fn seq_next(&self) -> u64 {
        self.seq_next
    }

    /// Submits a command; never waits. The first one opens the session: it, and those after it, are
    /// answered with [`Admission::Busy`] until a block has opened it. The opening is a command of
    /// the session as well, a sign of life, and stands among the results of its block.
    ///
    /// [`Admission::Lost`] says in place of the answer that the pool refused one that was accepted
    /// before, as [`lost`](Self::lost) does; submit the command again.
    ///
    /// [`Rejection::SessionOpen`] says that an opening of an earlier run came first, of which
    /// nothing was known here: take a new handle from the node, whose numbers go on where it is.
    pub fn submit(&mut self, lane: Lane, body: &[u8]) -> Admission {
        self.submit_as(Kind::Application, lane, body)
    }

    /// A command that was accepted here and that the pool then refused, each told of once: its
    /// number, and why. [`submit`](Self::submit) tells it too; a program that submits nothing for a
    /// while, and waits for results, looks here.
    ///
    /// [`Rejection::SessionEnded`]: the session was closed, or was idle and had to make room. What
    /// was accepted and not applied before its end never will be, the one named or another, and is
    /// not told of one by one. The next command opens the session anew, and gets a higher number.
    ///
    /// [`Rejection::Conflict`]: another command of this key has the number. Those behind it wait
    /// for that one, and go on. After any other reason those behind the one that is lost wait for
    /// its number, and are given up: take a new handle from the node.
    pub fn lost(&mut self) -> Option<(u64, Rejection)> {
        let (seq, rejection) = self.refused.1.try_recv().ok()?;
        if rejection == Rejection::SessionEnded {
            // The same is told of all behind it.
            self.refused = unbounded();
            let floor = self.seq_next;
            self.opening = Opening::Needed { floor };
            self.seq_next = 0;
        }
        Some((seq, rejection))
    }

    /// Submits a word of the session about itself; never waits. It goes with the cancels, as that
    /// of a client does: a sign of life that found no room among orders would keep them out.
    pub fn submit_session(&mut self, command: SessionCommand) -> Admission {
        let mut body = Vec::new();
        command.encode(&mut body);
        self.submit_as(Kind::Session, Lane::Cancel, &body)
    }

    fn submit_as(&mut self, kind: Kind, lane: Lane, body: &[u8]) -> Admission {
        if let Some(rejection) = self.inlet.refuses() {
            return Admission::Rejected(rejection);
        }
        if body.len() > self.inlet.command_bytes_max {
            return Admission::Rejected(Rejection::TooLarge);
        }
        if self.inlet.auth.is_signed() && self.signer.is_none() {
            return Admission::Rejected(Rejection::BadSignature);
        }
        if let Some((seq, rejection)) = self.lost() {
            return Admission::Lost { seq, rejection };
        }
        if let Err(admission) = self.open() {
            return admission;
        }
        let seq = self.seq_next;
        let entry = self.entry((kind, false), lane, seq, body);
        if !self.offer(lane, entry, self.refused.0.clone()) {
            return BUSY;
        }
        self.seq_next = seq.saturating_add(1);
        Admission::Accepted { seq }
    }

    /// What a command is answered as long as the session is not open.
    fn open(&mut self) -> Result<(), Admission> {
        let (now, wall_ns) = (Instant::now(), (self.wall_ns)());
        let offer = match &mut self.opening {
            Opening::Done => return Ok(()),
            Opening::Needed { floor } => {
                let seq = wall_ns.max(*floor);
                self.offer_opening(seq, now);
                return Err(BUSY);
            }
            Opening::Offered(offer) => offer,
        };
        let seq = offer.seq;
        match offer.answer() {
            Some(SessionAt::Open { seq_last }) if seq_last == seq => {
                self.opening = Opening::Done;
                self.seq_next = seq.saturating_add(1);
                return Ok(());
            }
            // By another hand of its key, or by an opening of before: its numbers go on there.
            Some(SessionAt::Open { .. }) => {
                return Err(self.give_up(seq, Rejection::SessionOpen));
            }
            Some(SessionAt::Unknown | SessionAt::Ended { .. }) | None => {}
        }
        let is_over = is_past(seq, wall_ns);
        match offer.refused.1.try_recv().map(|(_, rejection)| rejection) {
            // Another one stands before it, which the session will be found open by, or not.
            Err(_) | Ok(Rejection::SessionOpen | Rejection::Conflict) => {}
            // There may be room for as long as it can be applied at all.
            Ok(Rejection::TableFull) if !is_over => {}
            Ok(rejection) => return Err(self.give_up(seq, rejection)),
        }
        if is_over {
            self.opening = Opening::Needed {
                floor: seq.saturating_add(1),
            };
            return Err(BUSY);
        }
        if now.saturating_duration_since(offer.at) >= OFFER_AGAIN {
            offer.at = now;
            let (entry, refused) = (offer.entry.clone(), offer.refused.0.clone());
            self.offer(Lane::Order, entry, refused);
        }
        self.ask();
        Err(BUSY)
    }

    /// Makes an opening of this number and sends it on its way.
    fn offer_opening(&mut self, seq: u64, now: Instant) {
        let mut body = self.key.to_vec();
        SessionCommand::Heartbeat.encode(&mut body);
        let entry = self.entry((Kind::Session, true), Lane::Order, seq, &body);
        let refused = bounded(1);
        if self.offer(Lane::Order, entry.clone(), refused.0.clone()) {
            self.opening = Opening::Offered(Offer {
                seq,
                entry,
                at: now,
                refused,
                asked: None,
            });
            self.ask();
        }
    }

    /// The opening is not waited for any more. It may be applied yet, which does nothing.
    fn give_up(&mut self, seq: u64, rejection: Rejection) -> Admission {
        let floor = match rejection {
            // The clock was ahead and will be set back: the next one is not to be held to it.
            Rejection::OpeningTooFarAhead => 1,
            _ => seq.saturating_add(1),
        };
        self.opening = Opening::Needed { floor };
        Admission::Rejected(rejection)
    }

    /// Asks how far the session is, unless an answer is waited for.
    fn ask(&mut self) {
        let id = self.session;
        if let Opening::Offered(offer) = &mut self.opening
            && offer.asked.is_none()
        {
            offer.asked = self.asker.try_ask(|reply| Control::SessionAt(id, reply));
        }
    }

    /// Puts an entry into the queue; whether there was room.
    fn offer(&self, lane: Lane, entry: Box<[u8]>, refused: Sender<Refused>) -> bool {
        let has_room = self.inlet.offer(Submitted {
            session: self.session,
            lane,
            entry,
            refused,
            own: Arc::clone(&self.waits),
        });
        if has_room {
            self.asker.wake();
        }
        has_room
    }

    fn entry(&self, kind: (Kind, bool), lane: Lane, seq: u64, body: &[u8]) -> Box<[u8]> {
        let ((kind, is_opening), lane) = (kind, wire_lane(lane));
        let (session, auth) = (&self.session.0, &self.inlet.auth);
        let sign = |signer: &KeyPair| {
            let unsigned = kind.unsigned(lane, session, (seq, is_opening), body);
            auth.message(&unsigned).map(|message| signer.sign(&message))
        };
        let signature = self.signer.as_deref().and_then(sign);
        let mut entry = Vec::with_capacity(payload::ENTRY_BYTES_FIXED + 64 + body.len());
        let parts = Entry {
            lane,
            session,
            seq,
            signature: signature.as_ref(),
            body,
        };
        kind.encode(&parts, is_opening, &mut entry);
        if signature.is_some() {
            auth.note_own(&self.key, &entry);
        }
        entry.into_boxed_slice()
    }
}

impl Offer {
    /// How far the session is, if that was answered.
    fn answer(&mut self) -> Option<SessionAt> {
        match self.asked.as_ref()?.try_recv() {
            Ok(at) => {
                self.asked = None;
                Some(at)
            }
            Err(TryRecvError::Empty) => None,
            // Nobody answers it any more.
            Err(TryRecvError::Disconnected) => {
                self.asked = None;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
