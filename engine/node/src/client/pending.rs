//! The commands of one session that are not finalized yet.
//!
//! Owns their numbers, their bytes and how far they were sent on the present connection. Never:
//! sockets or clocks; times come from the caller.
//!
//! Numbers have no gaps, so everything is said by four of them:
//!
//! ```text
//! first .. accepted .. sent .. next        finalized below first, not yet made from next on
//! ```
//! Invariant: `first <= sent <= next`, and the queue holds exactly `first .. next`.

use super::send_window::SendWindow;
use crate::auth::CommandMessages;
use crate::client_wire::{ClientFrameWriter, Outcome, Rejection, Verdict, VerdictRun};
use crate::keys::KeyPair;
use crate::results::Mark;
use crate::sessions::SessionCommand;
use crate::stages::inlet::{Kind, wire_lane};
use crate::state_machine::{Lane, SessionId};
use quorate_consensus::payload::{self, Entry};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Shortest wait before something that was refused for want of room is sent again.
pub(super) const RETRY_MIN: Duration = Duration::from_micros(100);
/// Longest such wait, whatever a validator asks for.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// What a verdict or a result did to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that the owner must know.
    None,
    /// This command and, before it, `passed` commands whose results were not seen are finalized.
    Finalized { passed: u64 },
    /// These commands will never be admitted; they were forgotten and their numbers are free.
    Dropped {
        seq_first: u64,
        count: u64,
        rejection: Rejection,
    },
    /// The validator is stopping: another one should be used.
    Leave,
}

/// A clock that says the wall time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wall {
    /// A moment.
    pub(super) at: Instant,
    /// Its wall time, nanoseconds since the Unix epoch.
    pub(super) ns: u64,
}

impl Wall {
    fn ns(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.at).as_nanos();
        self.ns
            .saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pending {
    session: SessionId,
    key: Arc<KeyPair>,
    messages: Arc<CommandMessages>,
    wall: Wall,
    /// Number of the command that opens the session, until that is final.
    opening: Option<u64>,
    first: u64,
    sent: u64,
    next: u64,
    /// Entries of `first .. next`, one behind the other, from `start`.
    bytes: Vec<u8>,
    start: usize,
    /// Offset in `bytes` of the entry `sent`.
    sent_at: usize,
    lengths: VecDeque<u32>,
    /// Nothing is sent before, after a validator was busy.
    hold_until: Option<Instant>,
    /// How many may be sent and not final.
    window: SendWindow,
    /// Last time that something was finalized, or that the queue began to fill.
    progressed_at: Instant,
    body: Vec<u8>,
}

impl Pending {
    /// `messages` says whether commands are signed with `key`. The session is opened by the first
    /// command, whose number is the time of `wall` then.
    pub(super) fn new(key: Arc<KeyPair>, messages: Arc<CommandMessages>, wall: Wall) -> Self {
        let (now, first) = (wall.at, wall.ns.max(1));
        Self {
            session: SessionId(payload::session_of_key(&key.public())),
            key,
            messages,
            wall,
            opening: Some(first),
            first,
            sent: first,
            next: first,
            bytes: Vec::new(),
            start: 0,
            sent_at: 0,
            lengths: VecDeque::new(),
            hold_until: None,
            window: SendWindow::default(),
            progressed_at: now,
            body: Vec::new(),
        }
    }

    pub(super) const fn session(&self) -> SessionId {
        self.session
    }

    /// The mark of a command that waits.
    pub(super) fn mark(&self, seq: u64) -> Mark {
        let before = usize::try_from(seq.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let skipped = self.lengths.iter().take(before);
        let from = self.start + skipped.map(|&length| length as usize).sum::<usize>();
        let bytes = self
            .lengths
            .get(before)
            .map_or(0, |&length| length as usize);
        Mark::of(self.bytes.get(from..from + bytes).unwrap_or_default())
    }

    /// The numbers of the commands that wait for finality.
    pub(super) const fn waiting(&self) -> std::ops::Range<u64> {
        self.first..self.next
    }

    /// How many commands wait for finality.
    pub(super) fn len(&self) -> usize {
        self.lengths.len()
    }

    pub(super) const fn bytes_len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// How many of them have not been sent on the present connection.
    pub(super) const fn unsent(&self) -> u64 {
        self.next - self.sent
    }

    /// Whether something may be sent as soon as nothing holds it back any more; if not, only a
    /// result makes room.
    pub(super) const fn has_sendable(&self) -> bool {
        self.unsent() > 0 && self.window.room(self.sent - self.first) > 0
    }

    pub(super) const fn hold_until(&self) -> Option<Instant> {
        self.hold_until
    }

    pub(super) const fn progressed_at(&self) -> Instant {
        self.progressed_at
    }

    /// A new connection gets its own time to show progress.
    pub(super) const fn restart_patience(&mut self, now: Instant) {
        self.progressed_at = now;
    }

    /// Numbers go on behind `seq_last`, the session's last applied command. Only while nothing
    /// waits.
    pub(super) fn start_behind(&mut self, seq_last: u64) -> bool {
        let empty = self.lengths.is_empty();
        if empty {
            self.opening = None;
            self.begin_at(seq_last.saturating_add(1));
        }
        empty
    }

    /// The session is opened by the next command, with a number above `seq_last`. Only while
    /// nothing waits.
    pub(super) fn open_behind(&mut self, seq_last: u64) -> bool {
        let empty = self.lengths.is_empty();
        if empty {
            self.begin_at(seq_last.saturating_add(1));
            self.opening = Some(self.first);
        }
        empty
    }

    fn begin_at(&mut self, seq: u64) {
        self.first = seq;
        self.sent = seq;
        self.next = seq;
    }

    /// Adds a command; says its number.
    pub(super) fn push(&mut self, lane: Lane, body: &[u8], now: Instant) -> u64 {
        self.push_as(Kind::Application, lane, body, now)
    }

    /// Adds a command about the session itself; says its number.
    pub(super) fn push_session(&mut self, command: SessionCommand, now: Instant) -> u64 {
        let mut body = Vec::new();
        command.encode(&mut body);
        self.push_as(Kind::Session, Lane::Order, &body, now)
    }

    fn push_as(&mut self, kind: Kind, lane: Lane, body: &[u8], now: Instant) -> u64 {
        if self.lengths.is_empty() {
            self.progressed_at = now;
            if self.opening.is_some() {
                // Nobody has it yet, or it was refused: the session is opened now.
                self.begin_at(self.next.max(self.wall.ns(now)));
                self.opening = Some(self.next);
            }
        }
        let seq = self.next;
        let is_opening = self.opening == Some(seq);
        let body = if is_opening {
            // The first command brings the session's key.
            self.body.clear();
            self.body.extend_from_slice(&self.key.public());
            self.body.extend_from_slice(body);
            &self.body
        } else {
            body
        };
        let before = self.bytes.len();
        let lane = wire_lane(lane);
        let session = &self.session.0;
        let signature = self
            .messages
            .is_signed()
            .then(|| kind.unsigned(lane, session, (seq, is_opening), body))
            .and_then(|unsigned| self.messages.message(&unsigned))
            .map(|message| self.key.sign(&message));
        let entry = Entry {
            lane,
            session,
            seq,
            signature: signature.as_ref(),
            body,
        };
        kind.encode(&entry, is_opening, &mut self.bytes);
        self.lengths.push_back((self.bytes.len() - before) as u32);
        self.next = seq.saturating_add(1);
        seq
    }

    /// Writes one Submit of what has not been sent; says how many commands. Zero while held back,
    /// and while as many are on their way as the validator is thought to have room for.
    pub(super) fn write_submit(&self, now: Instant, frame: &mut Vec<u8>) -> u32 {
        if self.unsent() == 0 || self.hold_until.is_some_and(|until| now < until) {
            return 0;
        }
        let on_their_way = self.sent - self.first;
        let room = self.window.room(on_their_way) as usize;
        if room == 0 {
            return 0;
        }
        let mut writer = ClientFrameWriter::submit(frame);
        let mut at = self.sent_at;
        for &length in self.lengths.range(on_their_way as usize..).take(room) {
            let end = at + length as usize;
            if !writer.push(&self.bytes[at..end]) {
                break;
            }
            at = end;
        }
        writer.finish()
    }

    /// The last Submit, of `count` commands, is on its way.
    pub(super) fn mark_sent(&mut self, count: u32) {
        let skip = (self.sent - self.first) as usize;
        let bytes: usize = self
            .lengths
            .range(skip..skip + count as usize)
            .map(|&length| length as usize)
            .sum();
        self.sent += u64::from(count);
        self.sent_at += bytes;
        self.hold_until = None;
    }

    /// Everything that waits is to be sent again: the connection is another one.
    pub(super) fn rewind(&mut self) {
        self.rewind_to(self.first);
        self.hold_until = None;
    }

    /// Everything from `seq` on is to be sent again.
    fn rewind_to(&mut self, seq: u64) {
        let seq = seq.max(self.first);
        if seq >= self.sent {
            return;
        }
        let (from, to) = (
            (seq - self.first) as usize,
            (self.sent - self.first) as usize,
        );
        let bytes: usize = self
            .lengths
            .range(from..to)
            .map(|&length| length as usize)
            .sum();
        self.sent = seq;
        self.sent_at -= bytes;
    }

    /// Takes verdicts. Only those on commands that were sent count.
    pub(super) fn on_verdict(&mut self, run: VerdictRun, now: Instant) -> Change {
        let end = run.seq_first.saturating_add(u64::from(run.count));
        if end <= self.first || run.seq_first >= self.sent {
            return Change::None;
        }
        let seq_first = run.seq_first.max(self.first);
        match run.verdict {
            Verdict::Accepted => Change::None,
            Verdict::Busy { retry_after_us } => {
                // Held already: another answer to what was sent before the hold.
                if self.hold_until.is_none() {
                    self.window.on_refused(seq_first - self.first);
                }
                self.hold(u64::from(retry_after_us), now);
                self.rewind_to(seq_first);
                Change::None
            }
            // It has lost those before: they come first again.
            Verdict::Rejected(Rejection::TooFarAhead) => {
                self.hold(0, now);
                self.rewind_to(self.first);
                Change::None
            }
            Verdict::Rejected(Rejection::Stopping | Rejection::Diverged) => {
                self.hold(0, now);
                self.rewind_to(seq_first);
                Change::Leave
            }
            Verdict::Rejected(rejection) => {
                let count = self.next - seq_first;
                self.drop_from(seq_first);
                Change::Dropped {
                    seq_first,
                    count,
                    rejection,
                }
            }
        }
    }

    /// Takes a finalized result.
    pub(super) fn on_result(&mut self, seq: u64, outcome: Outcome, now: Instant) -> Change {
        if seq < self.first || seq >= self.next {
            return Change::None;
        }
        match outcome {
            Outcome::Applied | Outcome::Duplicate => {
                // Whoever applied this one has applied those before it.
                let passed = seq - self.first;
                self.window.on_finalized(passed + 1);
                self.finalize_through(seq);
                self.progressed_at = now;
                Change::Finalized { passed }
            }
            // Something else stood under this number, or nothing before it: as it was.
            Outcome::Gap | Outcome::BadSignature => {
                self.rewind_to(self.first);
                Change::None
            }
            Outcome::TableFull => self.give_up(seq, Rejection::TableFull),
            Outcome::SessionEnded => self.give_up(seq, Rejection::SessionEnded),
            Outcome::OpeningTooOld => self.give_up(seq, Rejection::OpeningTooOld),
            Outcome::OpeningTooFarAhead => self.give_up(seq, Rejection::OpeningTooFarAhead),
        }
    }

    fn give_up(&mut self, seq: u64, rejection: Rejection) -> Change {
        let count = self.next - seq;
        self.drop_from(seq);
        Change::Dropped {
            seq_first: seq,
            count,
            rejection,
        }
    }

    fn hold(&mut self, retry_after_us: u64, now: Instant) {
        let wait = Duration::from_micros(retry_after_us).clamp(RETRY_MIN, RETRY_MAX);
        self.hold_until = Some(now + wait);
    }

    fn finalize_through(&mut self, seq: u64) {
        let sent_after = self.sent.max(seq + 1);
        self.opening = self.opening.filter(|&opening| opening > seq);
        while self.first <= seq {
            let Some(length) = self.lengths.pop_front() else {
                break;
            };
            self.start += length as usize;
            self.first += 1;
        }
        // What was finalized by another validator's doing need not be sent here.
        if sent_after > self.sent {
            self.sent = sent_after;
            self.sent_at = self.start;
        }
        if self.lengths.is_empty() {
            self.bytes.clear();
            self.start = 0;
            self.sent_at = 0;
        } else if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.sent_at -= self.start;
            self.start = 0;
        }
    }

    fn drop_from(&mut self, seq: u64) {
        self.rewind_to(seq);
        let keep = (seq.max(self.first) - self.first) as usize;
        let bytes: usize = self
            .lengths
            .range(keep..)
            .map(|&length| length as usize)
            .sum();
        self.lengths.truncate(keep);
        self.bytes.truncate(self.bytes.len() - bytes);
        self.next = self.first + keep as u64;
    }
}

#[cfg(test)]
mod tests;
