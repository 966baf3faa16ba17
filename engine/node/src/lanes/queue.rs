//! One session's commands on their way into a finalized block.
//!
//! Owns the order inside a session: what is finalized, what stands in a block of the chain that
//! this validator builds on, what can be proposed next, and what waits for a missing number.
//! Never: other sessions, bounds of the pool, who leads.
//!
//! ```text
//!            last_seq      chained_seq         ready_end
//! finalized .... | in blocks ... | proposable ... | a number is missing | later ones
//! ```

use std::collections::{BTreeMap, VecDeque};

use quorate_consensus::types::ValidatorIndex;

use super::forward::Way;
use crate::state_machine::{Lane, SessionId};

/// How far back a correction may go with what is held above it kept.
const CORRECTION_MAX: u64 = 4096;

/// Places for commands that a session keeps though they are empty. Beyond them it gives places back
/// once it holds less than an eighth of what they are for, so that one that goes up and down asks
/// for memory far less often than once a command.
const PLACES_KEPT: usize = 32;

/// Where a command came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A client of this validator.
    Local,
    /// A peer, which keeps it too.
    Peer(ValidatorIndex),
    /// A block that may be given up; who admitted it may be gone.
    Block,
}

/// When a command was admitted, and when a client's frame with it was received.
pub(super) type Times = (u64, u64);

/// A command that is kept until it stands in a finalized block.
#[derive(Debug)]
pub(super) struct Command {
    /// The whole entry, as it will stand in a payload.
    pub(super) entry: Vec<u8>,
    /// When it was admitted, by the monotonic clock.
    pub(super) admitted_ns: u64,
    /// When a client's frame with it came off the socket: before it was admitted, by what its
    /// signature and queues took. What clients are told of finality counts from here, and nothing
    /// else does.
    pub(super) received_ns: u64,
    /// Its lane.
    pub(super) lane: Lane,
    /// Where it came from.
    pub(super) origin: Origin,
    /// Whether it is counted among those that wait for a missing number.
    pub(super) is_gapped: bool,
    /// Whether it has been sent to a leader: everybody gets it a while after that.
    pub(super) is_sent: bool,
    /// How far it is on its way to this one.
    pub(super) way: Way,
    /// When it is given up while it waits for one, by the monotonic clock.
    pub(super) expires_ns: u64,
}

impl Command {
    /// Whether a client of this validator sent it, who waits for the answer here.
    pub(super) fn is_local(&self) -> bool {
        self.origin == Origin::Local
    }
}

/// The commands of one session.
#[derive(Debug)]
pub(super) struct SessionQueue {
    pub(super) id: SessionId,
    /// Tells this session from former users of its place in the pool.
    pub(super) generation: u32,
    /// Whether the chain's session table has it.
    pub(super) is_open: bool,
    /// Number of the opening that is held, while the chain has none.
    opening: Option<u64>,
    /// Number of the opening that was final last.
    base: u64,
    /// Newest number applied in finalized order; before the session is opened the one before its
    /// opening, or what is held of it.
    pub(super) last_seq: u64,
    /// Newest number in a block of the chain built on; at least `last_seq`.
    pub(super) chained_seq: u64,
    /// Lowest number above `chained_seq` that is not held.
    pub(super) ready_end: u64,
    /// Those of a run without a missing number, which begins with `run_seq`: what comes in order.
    run: VecDeque<Command>,
    /// Of the first of them, if there is one.
    run_seq: u64,
    /// The others by their numbers. What is held costs the same however far apart they are.
    apart: BTreeMap<u64, Command>,
    /// Whether the session stands in a lane's line.
    pub(super) is_lined_up: bool,
    /// Whether it stands in the list of sessions with chained commands.
    pub(super) is_listed_chained: bool,
}

impl SessionQueue {
    pub(super) fn new(id: SessionId, generation: u32) -> Self {
        Self {
            id,
            generation,
            is_open: false,
            opening: None,
            base: 1,
            last_seq: 0,
            chained_seq: 0,
            ready_end: 1,
            run: VecDeque::new(),
            run_seq: 0,
            apart: BTreeMap::new(),
            is_lined_up: false,
            is_listed_chained: false,
        }
    }

    /// How many are held.
    pub(super) fn held(&self) -> usize {
        self.run.len() + self.apart.len()
    }

    /// The number of the opening that is held.
    pub(super) const fn opening(&self) -> Option<u64> {
        self.opening
    }

    /// The number below which nothing of a session that is not open is waited for, and the lowest
    /// one that is missing, with a command of this number besides. None: it is further below what
    /// is held than `gap_max`, or below an opening.
    pub(super) fn floor_with(
        &self,
        seq: u64,
        is_opening: bool,
        gap_max: u64,
    ) -> Option<(u64, u64)> {
        let below = (seq.saturating_sub(2), seq.saturating_sub(1));
        match self.opening {
            _ if is_opening => Some((seq.saturating_sub(1), seq)),
            Some(opening) if seq <= opening => None,
            Some(_) => Some((self.last_seq, self.ready_end)),
            None if self.held() == 0 => Some(below),
            None if seq > self.last_seq.saturating_add(1) => Some((self.last_seq, self.ready_end)),
            None => (self.last_seq - seq.saturating_sub(1) <= gap_max).then_some(below),
        }
    }

    /// Sets a session that is not open to where a command of this number can be held; gives what
    /// is below its opening and what was held before another one.
    pub(super) fn make_way(&mut self, seq: u64, is_opening: bool) -> Vec<Command> {
        let Some((floor, _)) = self.floor_with(seq, is_opening, u64::MAX) else {
            return Vec::new();
        };
        if is_opening {
            self.opening = Some(seq);
        }
        if floor == self.last_seq && !is_opening {
            return Vec::new();
        }
        self.correct(floor)
    }

    /// The chain has the session, at this number: gives what is held of it and will not come.
    pub(super) fn open_at(&mut self, last_seq: u64) -> Vec<Command> {
        self.is_open = true;
        let opening = self.opening.take().filter(|&seq| seq > last_seq);
        let mut gone: Vec<Command> = opening
            .and_then(|seq| self.remove(seq))
            .into_iter()
            .collect();
        gone.extend(self.correct(last_seq));
        gone
    }

    /// The chain's next block opens the session with this number.
    pub(super) fn open_with(&mut self, seq: u64) -> Vec<Command> {
        self.base = seq;
        if self.opening == Some(seq) && self.last_seq.saturating_add(1) == seq {
            self.opening = None;
            self.is_open = true;
            return Vec::new();
        }
        self.open_at(seq.saturating_sub(1))
    }

    /// The chain does not have the session after all: gives what cannot be held any more.
    pub(super) fn close(&mut self) -> Vec<Command> {
        if std::mem::take(&mut self.is_open) {
            return self.correct(self.base.saturating_sub(1));
        }
        self.unchain();
        Vec::new()
    }

    /// Whether nothing can be proposed, since the session is to be opened first.
    const fn lacks_opening(&self) -> bool {
        !self.is_open && self.chained_seq == self.last_seq && self.opening.is_none()
    }

    fn place_in_run(&self, seq: u64) -> Option<usize> {
        let place = usize::try_from(seq.checked_sub(self.run_seq)?).ok()?;
        (place < self.run.len()).then_some(place)
    }

    pub(super) fn command(&self, seq: u64) -> Option<&Command> {
        match self.place_in_run(seq) {
            Some(place) => self.run.get(place),
            None => self.apart.get(&seq),
        }
    }

    pub(super) fn command_mut(&mut self, seq: u64) -> Option<&mut Command> {
        match self.place_in_run(seq) {
            Some(place) => self.run.get_mut(place),
            None => self.apart.get_mut(&seq),
        }
    }

    /// The number behind the run.
    fn run_end(&self) -> u64 {
        self.run_seq.saturating_add(self.run.len() as u64)
    }

    /// Whether the command is held and every number before it is known.
    pub(super) fn is_ready(&self, seq: u64) -> bool {
        seq > self.last_seq && seq < self.ready_end && self.command(seq).is_some()
    }

    /// The next command to be proposed, if it can be.
    pub(super) fn head(&self) -> Option<(u64, &Command)> {
        let seq = self.chained_seq.saturating_add(1);
        if seq >= self.ready_end {
            return None;
        }
        self.command(seq).map(|command| (seq, command))
    }

    /// Keeps a command with a number above `last_seq` that is not held yet.
    pub(super) fn insert(&mut self, seq: u64, command: Command) {
        if seq <= self.last_seq {
            return;
        }
        // No run begins behind a missing number: what comes in order may be before it.
        let is_first = self.run.is_empty() && seq <= self.ready_end;
        if is_first {
            self.run_seq = seq;
        }
        let is_beside = is_first || !self.run.is_empty();
        if is_beside && seq == self.run_end() {
            self.run.push_back(command);
        } else if is_beside && seq.saturating_add(1) == self.run_seq {
            self.run_seq = seq;
            self.run.push_front(command);
        } else {
            self.apart.insert(seq, command);
            return;
        }
        self.join();
    }

    /// Whether a command of this number is ready as soon as it is held, and nothing else becomes so
    /// with it: the session is open, and what is held is one run that ends before it.
    pub(super) fn is_next_in_order(&self, seq: u64) -> bool {
        self.is_open
            && seq == self.ready_end
            && seq > self.chained_seq
            && self.apart.is_empty()
            && (self.run.is_empty() || seq == self.run_end())
    }

    /// Keeps the command that comes [next in order](Self::is_next_in_order); it is ready.
    pub(super) fn push_next(&mut self, command: Command) {
        if self.run.is_empty() {
            self.run_seq = self.ready_end;
        }
        self.run.push_back(command);
        self.ready_end += 1;
    }

    /// Takes into the run what is held next to it.
    fn join(&mut self) {
        while !self.apart.is_empty()
            && let Some(command) = self.apart.remove(&self.run_end())
        {
            self.run.push_back(command);
        }
        while !self.apart.is_empty()
            && let Some(seq) = self.run_seq.checked_sub(1)
            && let Some(command) = self.apart.remove(&seq)
        {
            self.run_seq = seq;
            self.run.push_front(command);
        }
    }

    /// Gives places back that stand empty.
    fn shrink(&mut self) {
        let places = self.run.capacity();
        if places > PLACES_KEPT && self.run.len() < places / 8 {
            self.run.shrink_to(PLACES_KEPT.max(2 * self.run.len()));
        }
    }

    /// Gives up the command with the lowest number, if that is not above `seq_max`.
    fn pop_up_to(&mut self, seq_max: u64) -> Option<Command> {
        let of_run = (!self.run.is_empty()).then_some(self.run_seq);
        let apart = self.apart.first_key_value().map(|(&seq, _)| seq);
        let lowest = of_run.into_iter().chain(apart).min()?;
        if lowest > seq_max {
            return None;
        }
        if of_run != Some(lowest) {
            return self.apart.pop_first().map(|(_, command)| command);
        }
        self.run_seq = lowest.saturating_add(1);
        self.run.pop_front()
    }

    /// Moves `ready_end` over what is held now; gives the numbers that became ready.
    pub(super) fn extend_ready(&mut self) -> std::ops::Range<u64> {
        let first = self.ready_end.max(self.chained_seq.saturating_add(1));
        self.ready_end = first;
        while self.command(self.ready_end).is_some() && !self.lacks_opening() {
            self.ready_end += 1;
        }
        first..self.ready_end
    }

    /// The next number is applied: gives the command up, if it is held.
    pub(super) fn finalize_next(&mut self) -> Option<Command> {
        self.last_seq = self.last_seq.saturating_add(1);
        let command = self.pop_up_to(self.last_seq);
        self.shrink();
        self.chained_seq = self.chained_seq.max(self.last_seq);
        command
    }

    /// The next number is applied, where nothing at all is held.
    pub(super) fn pass_next(&mut self) {
        self.last_seq = self.last_seq.saturating_add(1);
        self.chained_seq = self.chained_seq.max(self.last_seq);
        self.ready_end = self.ready_end.max(self.chained_seq.saturating_add(1));
    }

    /// Sets back, or on, which number was applied last; what is held above it stays.
    pub(super) fn correct(&mut self, last_seq: u64) -> Vec<Command> {
        let mut gone: Vec<Command> = std::iter::from_fn(|| self.pop_up_to(last_seq)).collect();
        if self.last_seq.saturating_sub(last_seq) > CORRECTION_MAX {
            let opening = self.opening;
            gone.extend(self.drain());
            self.opening = opening;
        }
        self.shrink();
        self.last_seq = last_seq;
        self.unchain();
        gone
    }

    /// Forgets what stands in blocks that are not final: all of it may be proposed again.
    pub(super) fn unchain(&mut self) {
        self.chained_seq = self.last_seq;
        self.ready_end = self.last_seq.saturating_add(1);
        while self.command(self.ready_end).is_some() && !self.lacks_opening() {
            self.ready_end += 1;
        }
    }

    /// Gives up one held command.
    pub(super) fn remove(&mut self, seq: u64) -> Option<Command> {
        let command = match self.place_in_run(seq) {
            // What has waited too long mostly goes from the front.
            Some(0) => {
                self.run_seq = seq.saturating_add(1);
                self.run.pop_front()
            }
            Some(place) => {
                let behind = self.run.split_off(place + 1);
                let numbers = seq.saturating_add(1)..;
                self.apart.extend(numbers.zip(behind));
                self.run.pop_back()
            }
            None => self.apart.remove(&seq),
        };
        self.shrink();
        if self.opening == Some(seq) {
            self.opening = None;
        }
        self.ready_end = self
            .ready_end
            .min(seq)
            .max(self.chained_seq.saturating_add(1));
        command
    }

    /// Says of every held command anew whether a number before it is missing. `changed` is told of
    /// each of which it was said otherwise before, with its number.
    pub(super) fn recount_gapped(&mut self, mut changed: impl FnMut(u64, &mut Command)) {
        let run = (self.run_seq..).zip(&mut self.run);
        let apart = self.apart.iter_mut().map(|(&seq, command)| (seq, command));
        for (seq, command) in run.chain(apart) {
            let is_gapped = seq >= self.ready_end;
            if is_gapped != command.is_gapped {
                command.is_gapped = is_gapped;
                changed(seq, command);
            }
        }
    }

    /// Gives up every held command, lowest first, and their places.
    pub(super) fn drain(&mut self) -> Vec<Command> {
        let all = std::iter::from_fn(|| self.pop_up_to(u64::MAX)).collect();
        self.release();
        self.opening = None;
        self.ready_end = self.chained_seq.saturating_add(1);
        all
    }

    /// Gives the memory of empty places back: nothing is held, nor soon will be.
    pub(super) fn release(&mut self) {
        debug_assert!(self.held() == 0, "what is held is given up before");
        self.run = VecDeque::new();
        self.apart = BTreeMap::new();
    }

    /// Places for commands that memory is taken for.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.run.capacity() + self.apart.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(byte: u8) -> Command {
        Command {
            entry: vec![byte],
            admitted_ns: 0,
            received_ns: 0,
            lane: Lane::Order,
            origin: Origin::Block,
            is_gapped: false,
            is_sent: false,
            way: Way::None,
            expires_ns: 0,
        }
    }

    /// That of a session which is open.
    fn queue() -> SessionQueue {
        let mut queue = SessionQueue::new(SessionId([1; 16]), 0);
        assert!(queue.open_at(0).is_empty());
        queue
    }

    #[test]
    fn only_a_run_without_a_missing_number_becomes_ready() {
        let mut queue = queue();
        queue.insert(2, command(2));
        assert_eq!(queue.extend_ready(), 1..1);
        assert!(queue.head().is_none());
        queue.insert(1, command(1));
        assert_eq!(queue.extend_ready(), 1..3);
        assert_eq!(queue.head().map(|(seq, _)| seq), Some(1));
        assert!(queue.is_ready(2) && !queue.is_ready(3));
    }

    #[test]
    fn a_number_chained_elsewhere_lets_the_next_one_become_ready_until_it_is_unchained() {
        let mut queue = queue();
        queue.insert(3, command(3));
        queue.chained_seq = 2;
        assert_eq!(queue.extend_ready(), 3..4);
        queue.unchain();
        assert!(queue.head().is_none());
        assert_eq!(queue.held(), 1);
    }

    #[test]
    fn finalizing_gives_up_the_command_and_never_falls_behind_the_chain() {
        let mut queue = queue();
        queue.insert(1, command(1));
        queue.insert(3, command(3));
        queue.extend_ready();
        assert_eq!(
            queue.finalize_next().map(|command| command.entry[0]),
            Some(1)
        );
        assert!(queue.finalize_next().is_none());
        assert_eq!(queue.extend_ready(), 3..4);
        assert_eq!((queue.last_seq, queue.chained_seq, queue.held()), (2, 2, 1));
        assert_eq!(
            queue.head().map(|(seq, command)| (seq, command.entry[0])),
            Some((3, 3))
        );
    }

    /// What the queue has to hold, in the plainest way.
    fn ready_end(held: &BTreeMap<u64, u8>, chained_seq: u64) -> u64 {
        let above = chained_seq + 1..;
        above
            .into_iter()
            .find(|seq| !held.contains_key(seq))
            .unwrap_or(0)
    }

    #[test]
    fn whatever_comes_and_goes_in_whatever_order_is_held_once_under_its_number() {
        let mut state = 7_u64;
        let mut next = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let (mut queue, mut held) = (queue(), BTreeMap::new());
        for step in 0..20_000 {
            // Now in order, with few numbers missing, and now all over.
            let spread = if step % 2_000 < 1_000 { 3 } else { 200 };
            let seq = queue.last_seq + 1 + next(spread);
            match next(16) {
                0..9 if held.contains_key(&seq) => {}
                0..9 => {
                    let seq = if spread == 3 && next(3) > 0 {
                        queue.ready_end
                    } else {
                        seq
                    };
                    queue.insert(seq, command(seq as u8));
                    held.insert(seq, seq as u8);
                    queue.extend_ready();
                }
                9..12 => {
                    let gone = queue.finalize_next().map(|gone| gone.entry[0]);
                    assert_eq!(gone, held.remove(&queue.last_seq));
                    queue.extend_ready();
                }
                12 => {
                    let gone = queue.remove(seq).map(|gone| gone.entry[0]);
                    assert_eq!(gone, held.remove(&seq));
                    queue.extend_ready();
                }
                13 => queue.chained_seq = queue.chained_seq.max(queue.ready_end - 1),
                14 => queue.unchain(),
                _ => {
                    let last_seq = (queue.last_seq + next(12)).saturating_sub(6);
                    let gone = queue
                        .correct(last_seq)
                        .into_iter()
                        .map(|gone| gone.entry[0]);
                    let above = held.split_off(&(last_seq + 1));
                    assert!(gone.eq(std::mem::replace(&mut held, above).into_values()));
                }
            }
            assert_eq!(queue.held(), held.len());
            assert_eq!(queue.ready_end, ready_end(&held, queue.chained_seq));
            for seq in queue.last_seq..queue.last_seq + 210 {
                let of_queue = queue.command(seq).map(|command| command.entry[0]);
                assert_eq!(of_queue, held.get(&seq).copied(), "{seq} after step {step}");
            }
        }
    }

    #[test]
    fn removing_a_command_ends_the_ready_run_there() {
        let mut queue = queue();
        for seq in 1..=4 {
            queue.insert(seq, command(1));
        }
        queue.extend_ready();
        assert!(queue.remove(3).is_some());
        assert_eq!((queue.ready_end, queue.held()), (3, 3));
        assert!(queue.remove(3).is_none() && queue.remove(9).is_none());
        assert_eq!(queue.drain().len(), 3);
        assert_eq!((queue.held(), queue.ready_end), (0, 1));
    }
}
