//! The commands of one session that are not finalized yet.
//!
//! Owns their numbers, their bytes and how far they were sent on the present connection. Never:
//! sockets or clocks, but the wall's when a session is opened; other times come from the caller.
//!
//! Numbers have no gaps, so everything is said by four of them:
//!
//! ```text
//! first .. accepted .. sent .. next        finalized below first, not yet made from next on
//! ```
//! Invariant: `first <= sent <= next`, and the queue holds exactly `first .. next`. While the
//! command that opens the session waits it is `first`, and `sent` is not beyond it.

use super::opening::{Opening, Wall};
use super::quorum::Whose;
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
pub(super) const RETRY_MAX: Duration = Duration::from_secs(1);
/// A number that another command has is offered again after this: it ends with that one's finality,
/// and everything behind it is sent again each time.
const CONFLICT_RETRY_US: u64 = 20_000;
/// So long nothing becomes final after a command that did nothing for want of those before it,
/// before all are sent again. Whoever leads can make such a result of each command that it was
/// sent, and validators that hold the others offer them again by themselves.
const GAP_RETRY_MIN: Duration = Duration::from_millis(20);

/// What a verdict or a result did to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that the owner must know.
    None,
    /// The session is open.
    Opened,
    /// The opening found no room and will be offered again.
    Held,
    /// Under this number a command was applied, of which `whose` tells; and one under each of the
    /// `passed` numbers before it whose results were not seen, each the one that waited if
    /// `are_own`.
    Finalized {
        passed: u64,
        are_own: bool,
        whose: Whose,
    },
    /// These commands were forgotten and their numbers are free. The first one will never be
    /// admitted. Of the `unsure` behind it, which were sent, that is not known: they may stand
    /// somewhere and wait for the number before them. The others were never sent.
    Dropped {
        seq_first: u64,
        unsure: u64,
        count: u64,
        rejection: Rejection,
    },
    /// Their session has ended. Of the first so many it is not known whether they were applied
    /// before; those behind were not.
    Ended {
        seq_first: u64,
        unsure: u64,
        not_applied: u64,
    },
    /// The validator is stopping: another one should be used.
    Leave,
}

/// What is known of the entry of one command without its bytes.
#[derive(Clone, Copy, Debug)]
struct Command {
    bytes_len: u32,
    /// Worked out once: whoever lies about results has it looked at as often as it likes.
    mark: Mark,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pending {
    session: SessionId,
    key: Arc<KeyPair>,
    messages: Arc<CommandMessages>,
    wall: Wall,
    opening: Opening,
    first: u64,
    sent: u64,
    next: u64,
    /// Numbers below were sent where an answer may have been missed: on an earlier connection, or
    /// on any where several validators are listened to (`hears_many`).
    doubtful: u64,
    /// Behind the highest number under which a command was ever sent, but for openings, which do
    /// nothing that could be done twice: whoever has a copy of one can bring it to any session that
    /// comes to its number.
    sent_ever: u64,
    hears_many: bool,
    /// The highest number that became final; 0 before the first.
    final_to: u64,
    /// The session was said to be another one than it is taken for here.
    is_astray: bool,
    /// Entries of `first .. next`, one behind the other, from `start`.
    bytes: Vec<u8>,
    start: usize,
    /// Offset in `bytes` of the entry `sent`.
    sent_at: usize,
    commands: VecDeque<Command>,
    /// Nothing is sent before, after a validator was busy.
    hold_until: Option<Instant>,
    /// All are sent again then, unless something becomes final before.
    again_at: Option<Instant>,
    /// How long that takes the next time: twice as long each time, until something becomes final.
    gap_pause: Duration,
    /// How many may be sent and not final.
    window: SendWindow,
    /// Last time that something was finalized, or that the queue began to fill.
    progressed_at: Instant,
}

impl Pending {
    /// `messages` says whether commands are signed with `key`, `hears_many` whether results are
    /// those of several validators. The session is opened before the
    /// first command, by one whose number is the time of `wall` then.
    pub(super) fn new(
        key: Arc<KeyPair>,
        messages: Arc<CommandMessages>,
        wall: Wall,
        (hears_many, now): (bool, Instant),
    ) -> Self {
        Self {
            session: SessionId(payload::session_of_key(&key.public())),
            key,
            messages,
            wall,
            opening: Opening::Needed { floor: 1 },
            first: 1,
            sent: 1,
            next: 1,
            doubtful: 1,
            sent_ever: 1,
            hears_many,
            final_to: 0,
            is_astray: false,
            bytes: Vec::new(),
            start: 0,
            sent_at: 0,
            commands: VecDeque::new(),
            hold_until: None,
            again_at: None,
            gap_pause: GAP_RETRY_MIN,
            window: SendWindow::default(),
            progressed_at: now,
        }
    }

    pub(super) const fn session(&self) -> SessionId {
        self.session
    }

    /// The mark of a command that waits.
    pub(super) fn mark(&self, seq: u64) -> Mark {
        let before = usize::try_from(seq.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let command = self.commands.get(before);
        command.map_or_else(|| Mark::of(&[]), |command| command.mark)
    }

    /// The numbers of the commands that wait for finality.
    pub(super) const fn waiting(&self) -> std::ops::Range<u64> {
        self.first..self.next
    }

    /// How many commands wait for finality, but for the one that opens the session: there is
    /// another one while that waits.
    pub(super) fn len(&self) -> usize {
        self.commands.len() - usize::from(self.opening.waiting().is_some())
    }

    /// Number of the command that opens the session, while it waits.
    pub(super) const fn opening(&self) -> Option<u64> {
        self.opening.waiting()
    }

    /// Whether the next command is preceded by one that opens the session.
    pub(super) const fn needs_opening(&self) -> bool {
        matches!(self.opening, Opening::Needed { .. })
    }

    /// Whether the session was said to be open, and not by the opening made here, or to have ended,
    /// since it was last known where it stands.
    pub(super) const fn is_astray(&self) -> bool {
        self.is_astray
    }

    /// The highest number that was seen to be final, whatever the session was since.
    pub(super) const fn final_to(&self) -> u64 {
        self.final_to
    }

    pub(super) const fn bytes_len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// How many of them may be sent now and have not been on the present connection.
    pub(super) const fn unsent(&self) -> u64 {
        let end = match self.opening.waiting() {
            Some(opening) => opening.saturating_add(1),
            None => self.next,
        };
        end - self.sent
    }

    /// Whether something may be sent as soon as nothing holds it back any more; if not, only a
    /// result makes room.
    pub(super) const fn has_sendable(&self) -> bool {
        self.unsent() > 0 && self.window.room(self.sent - self.first) > 0
    }

    pub(super) const fn hold_until(&self) -> Option<Instant> {
        self.hold_until
    }

    /// When all are to be sent again, if they are.
    pub(super) const fn again_at(&self) -> Option<Instant> {
        self.again_at
    }

    /// Sends all again if that is due.
    pub(super) fn run_again(&mut self, now: Instant) {
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
            self.rewind_to(self.first);
        }
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
        let empty = self.commands.is_empty();
        if empty {
            // What was on its way before may still take these numbers.
            self.opening = Opening::Done { is_ours: false };
            self.is_astray = false;
            self.begin_at(seq_last.saturating_add(1));
        }
        empty
    }

    /// The session is opened before the next command, with a number above `seq_last` and above all
    /// that were sent: a clock that was set back does not keep them apart. Only while nothing
    /// waits.
    pub(super) fn open_behind(&mut self, seq_last: u64) -> bool {
        let empty = self.commands.is_empty();
        if empty {
            let floor = seq_last.saturating_add(1).max(self.sent_ever);
            self.opening = Opening::Needed { floor };
            self.is_astray = false;
        }
        empty
    }

    fn begin_at(&mut self, seq: u64) {
        self.first = seq;
        self.sent = seq;
        self.next = seq;
        self.doubtful = seq;
    }

    /// Adds a command; says its number.
    pub(super) fn push(&mut self, lane: Lane, body: &[u8], now: Instant) -> u64 {
        self.push_as(Kind::Application, lane, body, now)
    }

    /// Adds a command about the session itself; says its number. It goes with the cancels: a sign
    /// of life that found no room among orders would keep out the cancel behind it, and cost a
    /// client its orders although it is there.
    pub(super) fn push_session(&mut self, command: SessionCommand, now: Instant) -> u64 {
        let mut body = Vec::new();
        command.encode(&mut body);
        self.push_as(Kind::Session, Lane::Cancel, &body, now)
    }

    fn push_as(&mut self, kind: Kind, lane: Lane, body: &[u8], now: Instant) -> u64 {
        if self.commands.is_empty() {
            self.progressed_at = now;
        }
        if let Opening::Needed { floor } = self.opening {
            self.begin_at(self.wall.ns().max(floor));
            self.opening = Opening::Waits { seq: self.next };
            // It brings the session's key, and nothing that could be done twice.
            let mut body = self.key.public().to_vec();
            SessionCommand::Heartbeat.encode(&mut body);
            self.append((Kind::Session, true), Lane::Order, &body);
        }
        self.append((kind, false), lane, body)
    }

    fn append(&mut self, (kind, is_opening): (Kind, bool), lane: Lane, body: &[u8]) -> u64 {
        let seq = self.next;
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
        let entry = &self.bytes[before..];
        self.commands.push_back(Command {
            bytes_len: entry.len() as u32,
            mark: Mark::of(entry),
        });
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
        let room = room.min(usize::try_from(self.unsent()).unwrap_or(usize::MAX));
        for command in self.commands.range(on_their_way as usize..).take(room) {
            let end = at + command.bytes_len as usize;
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
            .commands
            .range(skip..skip + count as usize)
            .map(|command| command.bytes_len as usize)
            .sum();
        self.sent += u64::from(count);
        if self.opening.waiting().is_none() {
            self.sent_ever = self.sent_ever.max(self.sent);
        }
        if self.hears_many {
            self.doubtful = self.doubtful.max(self.sent);
        }
        self.sent_at += bytes;
        self.hold_until = None;
    }

    /// Everything that waits is to be sent again: the connection is another one.
    pub(super) fn rewind(&mut self) {
        self.doubtful = self.doubtful.max(self.sent);
        self.rewind_to(self.first);
        (self.hold_until, self.again_at) = (None, None);
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
            .commands
            .range(from..to)
            .map(|command| command.bytes_len as usize)
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
            // Those behind it may have been taken, and follow what has this number: they keep
            // theirs, and what comes of this one tells.
            Verdict::Rejected(Rejection::Conflict) if self.opening.waiting() != Some(seq_first) => {
                self.meet_another();
                self.hold(CONFLICT_RETRY_US, now);
                self.rewind_to(seq_first);
                Change::None
            }
            Verdict::Rejected(Rejection::TableFull) => self.offer_again(seq_first, now),
            Verdict::Rejected(Rejection::SessionEnded) => self.end(seq_first),
            Verdict::Rejected(rejection) => self.give_up(seq_first, rejection),
        }
    }

    /// Takes a finalized result; `whose` says which command was applied, where one was.
    pub(super) fn on_result(
        &mut self,
        seq: u64,
        (outcome, whose): (Outcome, Whose),
        now: Instant,
    ) -> Change {
        if seq < self.first || seq >= self.next {
            return Change::None;
        }
        let has_applied = matches!(outcome, Outcome::Applied | Outcome::Duplicate);
        let is_opening = self.opening.waiting() == Some(seq);
        if whose == Whose::Another && !has_applied {
            // Whoever leads puts what it likes under this number into a block, and a signature is
            // looked at only where something could be applied. Nothing is said of the own command,
            // which stands where it stood: it neither goes for that, nor is sent again.
            return Change::None;
        }
        match outcome {
            Outcome::Applied | Outcome::Duplicate => {
                self.progressed_at = now;
                match self.opening {
                    Opening::Waits { seq: opening } if seq == opening => self.open(whose),
                    // Nothing behind it was sent: it is another process's.
                    Opening::Waits { seq: opening } => {
                        self.give_up(opening, Rejection::SessionOpen)
                    }
                    Opening::Needed { .. } | Opening::Done { .. } => self.finalize(seq, whose),
                }
            }
            // A mark is no signature: the entry may be one that was never signed. The doors say
            // whether its session is open, or has ended, each for itself.
            Outcome::Gap | Outcome::SessionEnded if whose == Whose::Own && is_opening => {
                self.hold(CONFLICT_RETRY_US, now);
                self.rewind_to(seq);
                Change::None
            }
            // Its session is open, with lower numbers.
            Outcome::Gap if is_opening => self.give_up(seq, Rejection::SessionOpen),
            // There was nothing before it, or a validator does not say what it was: as it was.
            Outcome::Gap | Outcome::BadSignature => {
                self.send_again_later(now);
                Change::None
            }
            Outcome::TableFull => self.offer_again(seq, now),
            Outcome::SessionEnded => self.end(seq),
            Outcome::OpeningTooOld => self.give_up(seq, Rejection::OpeningTooOld),
            Outcome::OpeningTooFarAhead => self.give_up(seq, Rejection::OpeningTooFarAhead),
        }
    }

    /// An opening with this number was applied.
    fn open(&mut self, whose: Whose) -> Change {
        if whose == Whose::Another {
            return self.give_up(self.first, Rejection::SessionOpen);
        }
        let is_ours = whose == Whose::Own;
        // It stands where it was thought to.
        self.is_astray = false;
        self.opening = Opening::Done { is_ours };
        self.window.on_finalized(1);
        self.finalize_through(self.first);
        Change::Opened
    }

    /// A command was applied under this number, and so under each one before it.
    fn finalize(&mut self, seq: u64, whose: Whose) -> Change {
        let passed = seq - self.first;
        if whose == Whose::Another {
            self.meet_another();
        }
        let are_own = self.opening == Opening::Done { is_ours: true };
        let whose = match whose {
            Whose::Unknown if are_own => Whose::Own,
            whose => whose,
        };
        self.window.on_finalized(passed + 1);
        self.finalize_through(seq);
        Change::Finalized {
            passed,
            are_own,
            whose,
        }
    }

    /// There was no room for the session. Its opening can be applied for as long as it is young
    /// enough, so it is not made anew before.
    fn offer_again(&mut self, seq: u64, now: Instant) -> Change {
        if let Some(rejection) = self.opening.over(&self.wall) {
            return self.give_up(seq, rejection);
        }
        self.hold(u64::MAX, now);
        self.rewind_to(seq);
        Change::Held
    }

    /// The session has ended: what waits from `seq` on is not applied any more.
    fn end(&mut self, seq: u64) -> Change {
        if self.opening.waiting().is_some() {
            return self.give_up(seq, Rejection::SessionEnded);
        }
        self.is_astray = true;
        let unsure = self.doubtful.saturating_sub(seq);
        let not_applied = self.next - seq - unsure;
        self.drop_from(seq);
        Change::Ended {
            seq_first: seq,
            unsure,
            not_applied,
        }
    }

    /// These commands are forgotten, and an opening if it is the first of them.
    fn give_up(&mut self, seq: u64, rejection: Rejection) -> Change {
        let (end, sent) = (self.next, self.sent.max(self.doubtful));
        self.drop_from(seq);
        self.is_astray |= matches!(rejection, Rejection::SessionOpen | Rejection::SessionEnded);
        let is_opening = self.opening.waiting() == Some(seq);
        if is_opening {
            self.opening = self.opening.given_up(rejection);
            if rejection == Rejection::OpeningTooFarAhead {
                // Numbers that no session can come to bind none either.
                self.sent_ever = 1;
            }
        }
        let seq_first = seq + u64::from(is_opening);
        // Nothing was sent behind an opening.
        let unsure = sent.saturating_sub(seq + 1);
        if unsure > 0 {
            // What stands somewhere may be applied under the numbers that are given anew.
            self.meet_another();
        }
        Change::Dropped {
            seq_first,
            unsure,
            count: end - seq_first,
            rejection,
        }
    }

    /// A number of the session can be another command's than the one that waits.
    fn meet_another(&mut self) {
        if let Opening::Done { is_ours } = &mut self.opening {
            *is_ours = false;
        }
    }

    fn hold(&mut self, retry_after_us: u64, now: Instant) {
        let wait = Duration::from_micros(retry_after_us).clamp(RETRY_MIN, RETRY_MAX);
        self.hold_until = Some(now + wait);
    }

    fn send_again_later(&mut self, now: Instant) {
        if self.again_at.is_none() {
            self.again_at = Some(now + self.gap_pause);
            self.gap_pause = self.gap_pause.saturating_mul(2).min(RETRY_MAX);
        }
    }

    fn finalize_through(&mut self, seq: u64) {
        self.final_to = self.final_to.max(seq);
        // Those that wait are there, and follow.
        (self.again_at, self.gap_pause) = (None, GAP_RETRY_MIN);
        let sent_after = self.sent.max(seq + 1);
        while self.first <= seq {
            let Some(command) = self.commands.pop_front() else {
                break;
            };
            self.start += command.bytes_len as usize;
            self.first += 1;
        }
        // What was finalized by another validator's doing need not be sent here.
        if sent_after > self.sent {
            self.sent = sent_after;
            self.sent_at = self.start;
        }
        if self.commands.is_empty() {
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
            .commands
            .range(keep..)
            .map(|command| command.bytes_len as usize)
            .sum();
        self.commands.truncate(keep);
        self.bytes.truncate(self.bytes.len() - bytes);
        self.next = self.first + keep as u64;
        self.doubtful = self.doubtful.min(self.next);
    }
}

#[cfg(test)]
mod opening_tests;
#[cfg(test)]
mod tests;
