//! What one session of the load still owes: its commands from their intended time to their
//! result.
//!
//! Owns the session's sequence numbers and the rules of resending: a busy answer holds the session
//! back and makes it go on from the refused number, so that its numbers stay free of gaps; the
//! loss of the gateway makes it send everything again that is not finalized, with the same
//! numbers; a number refused at admission is given to the next command. Never: reads a clock,
//! touches a socket.

use core::ops::Range;
use std::collections::VecDeque;

use quorate::client::SendWindow;
use quorate_consensus::payload::Lane;

use super::source::Body;
use crate::orders::Noise;

/// Commands of one session that may be unfinalized at one time.
pub(super) const FLIGHTS_MAX: usize = quorate::client::SEND_WINDOW_MAX as usize;
/// Bytes of command bodies that one session may hold for sending again.
pub(super) const FLIGHT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be handed to the gateway.
    Waiting,
    /// Handed to the gateway, not answered.
    Sent,
    /// The gateway took it.
    Accepted,
    /// Refused at admission; its number waits for another command.
    Vacant,
    /// Its result is known.
    Finalized,
}

/// What is kept of a command to send it, again or at first.
#[derive(Debug)]
enum Kept {
    /// Its body.
    Body(Vec<u8>),
    /// Its index among the opaque ones.
    Opaque(u64),
}

/// What is kept of a command that need not be sent any more.
const NOTHING: Kept = Kept::Body(Vec::new());

#[derive(Debug)]
struct Flight {
    /// When the command should have been sent, on the run's clock.
    intended_ns: u64,
    stage: Stage,
    /// Some gateway answered accepted, now or earlier.
    was_accepted: bool,
    lane: Lane,
    kept: Kept,
    /// Bytes of its body, kept or not.
    body_bytes: usize,
    /// It was meant for the validator that leads.
    to_leader: bool,
}

/// Counts of one session, or of a whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commands that were given a number.
    pub generated: u64,
    /// Commands that some validator accepted, each counted once.
    pub accepted: u64,
    /// Busy answers.
    pub busy: u64,
    /// Commands refused at admission.
    pub rejected: u64,
    /// Commands whose result came.
    pub finalized: u64,
    /// Commands handed to a gateway again, for whatever reason.
    pub resent: u64,
}

impl Counts {
    /// Adds `other` to these.
    pub fn add(&mut self, other: &Self) {
        self.generated += other.generated;
        self.accepted += other.accepted;
        self.busy += other.busy;
        self.rejected += other.rejected;
        self.finalized += other.finalized;
        self.resent += other.resent;
    }
}

/// A command that is to be handed to the gateway now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outgoing<'a> {
    pub(super) seq: u64,
    pub(super) lane: Lane,
    pub(super) body: &'a [u8],
    pub(super) is_opening: bool,
}

/// The books of one session.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Number of the first flight; every lower one is finalized.
    first_seq: u64,
    /// The number that opens the session, if it is not open, and the public key that its body
    /// begins with.
    opening: Option<u64>,
    opening_key: [u8; 32],
    flights: VecDeque<Flight>,
    /// Every flight before this index has left `Waiting`. Invariant: at most `flights.len()`.
    cursor: usize,
    /// Flights in stage `Vacant`.
    vacant: usize,
    body_bytes: usize,
    hold_until_ns: u64,
    /// How many may be sent and not final: the rule of the client library.
    window: SendWindow,
    /// Emptied bodies, for those that come. There may be as many as commands in flight, or each
    /// command of a session with more takes memory of the system and gives it back.
    spare: Vec<Vec<u8>>,
    /// Memory of these. Invariant: with the bodies in flight at most `FLIGHT_BYTES_MAX`, when the
    /// last of them was emptied.
    spare_bytes: usize,
    /// Where the opaque commands have their bytes.
    noise: Option<Noise>,
    /// The body of the last of them that was handed out.
    opaque: Vec<u8>,
    counts: Counts,
}

impl Ledger {
    /// The books of a session whose numbers begin with `first_seq`, which opens it or not.
    pub(super) fn new(opening_key: [u8; 32], (first_seq, opens): (u64, bool)) -> Self {
        Self {
            first_seq,
            opening: opens.then_some(first_seq),
            opening_key,
            flights: VecDeque::new(),
            cursor: 0,
            vacant: 0,
            body_bytes: 0,
            hold_until_ns: 0,
            window: SendWindow::default(),
            spare: Vec::new(),
            spare_bytes: 0,
            noise: None,
            opaque: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub(super) const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether the session may take another command of `body_bytes`.
    pub(super) fn has_room(&self, body_bytes: usize) -> bool {
        let held = self.body_bytes + body_bytes;
        (self.vacant > 0 || self.flights.len() < FLIGHTS_MAX) && held <= FLIGHT_BYTES_MAX
    }

    /// Whether each command has a result or was refused.
    pub(super) fn is_answered(&self) -> bool {
        !self.flights.iter().any(|flight| is_open(flight.stage))
    }

    /// Commands that are not finalized and not refused: what is missing when the load is over.
    pub(super) fn open(&self) -> usize {
        self.flights
            .iter()
            .filter(|flight| is_open(flight.stage))
            .count()
    }

    /// Of the open commands those that wait here and that no gateway ever took.
    pub(super) fn held(&self) -> usize {
        self.flights
            .iter()
            .filter(|flight| flight.stage == Stage::Waiting && !flight.was_accepted)
            .count()
    }

    /// Whether this number opens the session.
    pub(super) fn is_opening(&self, seq: u64) -> bool {
        self.opening == Some(seq)
    }

    /// The number of the next command; none when it is one that was refused before.
    pub(super) fn next_seq(&self) -> Option<u64> {
        (self.vacant == 0).then(|| self.first_seq + self.flights.len() as u64)
    }

    /// Takes a command in; gives its number.
    pub(super) fn push<'a>(
        &mut self,
        intended_ns: u64,
        lane: Lane,
        body: impl Into<Body<'a>>,
    ) -> u64 {
        let body = body.into();
        let index = self.take_vacancy().unwrap_or(self.flights.len());
        let seq = self.first_seq + index as u64;
        let key: &[u8] = match self.opening == Some(seq) {
            true => &self.opening_key,
            false => &[],
        };
        let body_bytes = key.len() + body.len();
        let kept = match body {
            Body::Opaque(noise, index) => {
                self.noise.get_or_insert_with(|| noise.clone());
                Kept::Opaque(index)
            }
            Body::Bytes(bytes) => {
                let mut body = self.spare.pop().unwrap_or_default();
                self.spare_bytes -= body.capacity();
                body.extend_from_slice(key);
                body.extend_from_slice(bytes);
                Kept::Body(body)
            }
        };
        self.body_bytes += body_bytes;
        self.counts.generated += 1;
        let flight = Flight {
            intended_ns,
            stage: Stage::Waiting,
            was_accepted: false,
            lane,
            kept,
            body_bytes,
            to_leader: false,
        };
        match self.flights.get_mut(index) {
            Some(vacancy) => *vacancy = flight,
            None => self.flights.push_back(flight),
        }
        self.cursor = self.cursor.min(index);
        seq
    }

    /// Notes that a command is meant for the validator that leads, whoever turns out to.
    pub(super) fn aim(&mut self, seq: u64) {
        if let Some(index) = self.index_of(seq) {
            self.flights[index].to_leader = true;
        }
    }

    /// Whether it was.
    pub(super) fn is_aimed(&self, seq: u64) -> bool {
        let index = self.index_of(seq);
        index.is_some_and(|index| self.flights[index].to_leader)
    }

    /// The lane of the last command, unless it is finalized: a later one may stand before it in
    /// no block, whatever its own lane.
    pub(super) fn last_lane(&self) -> Option<Lane> {
        self.flights
            .back()
            .filter(|flight| is_open(flight.stage))
            .map(|flight| flight.lane)
    }

    fn take_vacancy(&mut self) -> Option<usize> {
        if self.vacant == 0 {
            return None;
        }
        let index = self
            .flights
            .iter()
            .position(|flight| flight.stage == Stage::Vacant)?;
        self.vacant -= 1;
        Some(index)
    }

    /// When the session may send again; not later than now when it is not held back.
    pub(super) const fn hold_until_ns(&self) -> u64 {
        self.hold_until_ns
    }

    /// Whether something waits to be handed over, held back or not.
    pub(super) fn has_waiting(&mut self) -> bool {
        self.skip_sent();
        self.cursor < self.flights.len()
    }

    fn skip_sent(&mut self) {
        while self
            .flights
            .get(self.cursor)
            .is_some_and(|flight| flight.stage != Stage::Waiting)
        {
            self.cursor += 1;
        }
    }

    /// The next command to hand over, if there is one and the session is not held back; it counts
    /// as sent from here on.
    pub(super) fn send_next(&mut self, now_ns: u64) -> Option<Outgoing<'_>> {
        if now_ns < self.hold_until_ns {
            return None;
        }
        self.skip_sent();
        if self.window.room(self.cursor as u64) == 0 {
            return None;
        }
        let flight = self.flights.get_mut(self.cursor)?;
        flight.stage = Stage::Sent;
        let seq = self.first_seq + self.cursor as u64;
        self.cursor += 1;
        let is_opening = self.opening == Some(seq);
        let body = match (&flight.kept, &self.noise) {
            (Kept::Body(body), _) => body,
            (Kept::Opaque(index), noise) => {
                self.opaque.clear();
                if is_opening {
                    self.opaque.extend_from_slice(&self.opening_key);
                }
                if let Some(noise) = noise {
                    noise.append(*index, &mut self.opaque);
                }
                &self.opaque
            }
        };
        Some(Outgoing {
            is_opening,
            seq,
            lane: flight.lane,
            body,
        })
    }

    /// The last command handed out did not leave after all.
    pub(super) fn unsend(&mut self, seq: u64) {
        if let Some(index) = self.index_of(seq)
            && self.flights[index].stage == Stage::Sent
        {
            self.flights[index].stage = Stage::Waiting;
            self.cursor = self.cursor.min(index);
        }
    }

    fn index_of(&self, seq: u64) -> Option<usize> {
        let index = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        (index < self.flights.len()).then_some(index)
    }

    /// The numbers of this run that this session has given and whose results are not all known.
    pub(super) fn in_flight(&self, seq_first: u64, count: u32) -> Range<u64> {
        let first = seq_first.max(self.first_seq);
        let behind = seq_first.saturating_add(u64::from(count));
        let behind = behind.min(self.first_seq + self.flights.len() as u64);
        first..behind.max(first)
    }

    /// A gateway accepted the command.
    pub(super) fn on_accepted(&mut self, seq: u64) {
        let Some(index) = self.index_of(seq) else {
            return;
        };
        let flight = &mut self.flights[index];
        if !is_open(flight.stage) {
            return;
        }
        flight.stage = Stage::Accepted;
        if !flight.was_accepted {
            flight.was_accepted = true;
            self.counts.accepted += 1;
        }
    }

    /// A gateway is busy: the session goes on from this number when the time is over.
    pub(super) fn on_busy(&mut self, seq: u64, now_ns: u64, retry_after_ns: u64) {
        self.counts.busy += 1;
        let Some(index) = self.index_of(seq) else {
            return;
        };
        // An answer to an earlier sending may be late: what was accepted since stays accepted.
        if self.flights[index].stage == Stage::Sent {
            self.again(index);
        }
        // Held already: another answer to what was sent before the hold.
        if now_ns >= self.hold_until_ns {
            self.window.on_refused(index as u64);
        }
        self.hold(now_ns, retry_after_ns);
    }

    /// A gateway lacks what comes before the command: the session goes on a little later. That says
    /// nothing of room.
    pub(super) fn on_ahead(&mut self, seq: u64, now_ns: u64, retry_after_ns: u64) {
        self.counts.busy += 1;
        if let Some(index) = self.index_of(seq)
            && self.flights[index].stage == Stage::Sent
        {
            self.again(index);
        }
        self.hold(now_ns, retry_after_ns);
    }

    fn hold(&mut self, now_ns: u64, retry_after_ns: u64) {
        self.hold_until_ns = self
            .hold_until_ns
            .max(now_ns.saturating_add(retry_after_ns));
    }

    /// A gateway refused the command for good: its number is free for the next one.
    pub(super) fn on_rejected(&mut self, seq: u64) {
        let Some(index) = self.index_of(seq) else {
            return;
        };
        let flight = &mut self.flights[index];
        // What some gateway took may come to a result whatever another one says about it now.
        if flight.stage != Stage::Sent || flight.was_accepted {
            return;
        }
        flight.stage = Stage::Vacant;
        self.let_go(index);
        self.vacant += 1;
        self.counts.rejected += 1;
    }

    /// The command stood in a finalized block behind a gap, so it had no effect: it must come
    /// again.
    pub(super) fn on_gap(&mut self, seq: u64) {
        if let Some(index) = self.index_of(seq)
            && matches!(self.flights[index].stage, Stage::Sent | Stage::Accepted)
        {
            self.again(index);
        }
    }

    /// The command's result came. Gives its intended time, once.
    pub(super) fn on_finalized(&mut self, seq: u64) -> Option<u64> {
        let index = self.index_of(seq)?;
        let flight = &mut self.flights[index];
        if !is_open(flight.stage) {
            return None;
        }
        if !flight.was_accepted {
            // The result overtook the answer; no result comes of a command that nobody took.
            self.counts.accepted += 1;
        }
        flight.stage = Stage::Finalized;
        let intended_ns = flight.intended_ns;
        self.let_go(index);
        self.counts.finalized += 1;
        self.window.on_finalized(1);
        while self
            .flights
            .front()
            .is_some_and(|flight| flight.stage == Stage::Finalized)
        {
            self.flights.pop_front();
            self.first_seq += 1;
            self.cursor = self.cursor.saturating_sub(1);
        }
        Some(intended_ns)
    }

    /// The gateway is gone: everything unfinalized goes to the next one.
    pub(super) fn on_gateway_lost(&mut self) {
        for index in 0..self.flights.len() {
            if matches!(self.flights[index].stage, Stage::Sent | Stage::Accepted) {
                self.again(index);
            }
        }
        self.hold_until_ns = 0;
    }

    fn again(&mut self, index: usize) {
        self.flights[index].stage = Stage::Waiting;
        self.cursor = self.cursor.min(index);
        self.counts.resent += 1;
    }

    /// The body of this flight is not sent any more.
    fn let_go(&mut self, index: usize) {
        let flight = &mut self.flights[index];
        self.body_bytes -= flight.body_bytes;
        flight.body_bytes = 0;
        let Kept::Body(mut body) = core::mem::replace(&mut flight.kept, NOTHING) else {
            return;
        };
        let spare_bytes = self.spare_bytes + body.capacity();
        let has_room = self.body_bytes + spare_bytes <= FLIGHT_BYTES_MAX;
        if has_room && self.spare.len() < FLIGHTS_MAX {
            body.clear();
            self.spare_bytes = spare_bytes;
            self.spare.push(body);
        }
    }
}

const fn is_open(stage: Stage) -> bool {
    matches!(stage, Stage::Waiting | Stage::Sent | Stage::Accepted)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
