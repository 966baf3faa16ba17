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

use std::collections::VecDeque;

use crate::state_machine::{Lane, SessionId};

/// How far back a correction may go with what is held above it kept.
const CORRECTION_MAX: u64 = 4096;

/// A command that is kept until it stands in a finalized block.
#[derive(Debug)]
pub(super) struct Command {
    /// The whole entry, as it will stand in a payload.
    pub(super) entry: Box<[u8]>,
    /// When it came here, by the monotonic clock.
    pub(super) admitted_ns: u64,
    /// Its lane.
    pub(super) lane: Lane,
    /// Whether a client of this validator sent it, who waits for the answer here.
    pub(super) is_local: bool,
    /// Whether it is counted among those that wait for a missing number.
    pub(super) is_gapped: bool,
    /// When it is given up while it waits for one, by the monotonic clock.
    pub(super) expires_ns: u64,
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
    /// Numbers from `last_seq + 1` upward; absent where one has not come.
    commands: VecDeque<Option<Command>>,
    /// How many are held.
    held: u32,
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
            commands: VecDeque::new(),
            held: 0,
            is_lined_up: false,
            is_listed_chained: false,
        }
    }

    pub(super) const fn held(&self) -> u32 {
        self.held
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
            None if self.held == 0 => Some(below),
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

    fn place(&self, seq: u64) -> Option<usize> {
        let place = seq.checked_sub(self.last_seq)?.checked_sub(1)?;
        usize::try_from(place).ok()
    }

    pub(super) fn command(&self, seq: u64) -> Option<&Command> {
        self.commands.get(self.place(seq)?)?.as_ref()
    }

    pub(super) fn command_mut(&mut self, seq: u64) -> Option<&mut Command> {
        let place = self.place(seq)?;
        self.commands.get_mut(place)?.as_mut()
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

    /// Keeps a command with a number above `last_seq` that is not held yet. The caller has
    /// checked how far above.
    pub(super) fn insert(&mut self, seq: u64, command: Command) {
        let Some(place) = self.place(seq) else { return };
        while self.commands.len() <= place {
            self.commands.push_back(None);
        }
        if self.commands[place].replace(command).is_none() {
            self.held += 1;
        }
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
        let command = self.commands.pop_front().flatten();
        self.held -= u32::from(command.is_some());
        self.last_seq = self.last_seq.saturating_add(1);
        self.chained_seq = self.chained_seq.max(self.last_seq);
        command
    }

    /// Sets back, or on, which number was applied last; what is held above it stays.
    pub(super) fn correct(&mut self, last_seq: u64) -> Vec<Command> {
        let mut gone = Vec::new();
        while self.last_seq < last_seq && !self.commands.is_empty() {
            gone.extend(self.finalize_next());
        }
        let back = self.last_seq.saturating_sub(last_seq);
        if self.held == 0 {
            self.commands.clear();
        } else if back > CORRECTION_MAX {
            let opening = self.opening;
            gone.extend(self.drain());
            self.opening = opening;
        } else {
            (0..back).for_each(|_| self.commands.push_front(None));
        }
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
        let place = self.place(seq)?;
        let command = self.commands.get_mut(place)?.take();
        if self.opening == Some(seq) {
            self.opening = None;
        }
        self.held -= u32::from(command.is_some());
        while self.commands.back().is_some_and(Option::is_none) {
            self.commands.pop_back();
        }
        self.ready_end = self
            .ready_end
            .min(seq)
            .max(self.chained_seq.saturating_add(1));
        command
    }

    /// Says of every held command anew whether a number before it is missing: how many it was said
    /// of before, and how many now. `begins` is told the numbers of which it was not.
    pub(super) fn recount_gapped(&mut self, mut begins: impl FnMut(u64)) -> (usize, usize) {
        let numbers = self.last_seq.saturating_add(1)..;
        let (mut before, mut now) = (0, 0);
        for (seq, command) in numbers.zip(&mut self.commands) {
            if let Some(command) = command {
                let was_gapped = command.is_gapped;
                command.is_gapped = seq >= self.ready_end;
                before += usize::from(was_gapped);
                now += usize::from(command.is_gapped);
                if command.is_gapped && !was_gapped {
                    begins(seq);
                }
            }
        }
        (before, now)
    }

    /// Gives up every held command.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Command> + '_ {
        self.held = 0;
        self.opening = None;
        self.ready_end = self.chained_seq.saturating_add(1);
        self.commands.drain(..).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(byte: u8) -> Command {
        Command {
            entry: Box::new([byte]),
            admitted_ns: 0,
            lane: Lane::Order,
            is_local: false,
            is_gapped: false,
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
        assert_eq!(queue.drain().count(), 3);
        assert_eq!((queue.held(), queue.ready_end), (0, 1));
    }
}
