//! Sending clients' commands to whoever leads.
//!
//! Owns the policy of an admitting validator: to the leader at once, as far as what it holds
//! unfinished allows; to a new leader from the start; to everybody when a command is not final
//! `T_fan` after it was first sent, whoever leads by then, and again at intervals from then on,
//! since nothing is delivered for certain. Cancels go first everywhere.
//!
//! What waits for its turn waits here: a backlog that every
//! gateway pushed through to the leader would be pushed again to each next one, in front of the
//! very blocks that could end it. Commands of other validators' clients are theirs to forward, but
//! for those that stood in a block that may be given up. Nor does what waits for a missing number
//! stand in anybody's way: of such the leader has a small part besides, and it goes behind the
//! rest. Never: sockets, bytes of messages.

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_consensus::effect::Destination;
use quorate_consensus::limits::FORWARD_BYTES_MAX;
use quorate_consensus::types::ValidatorIndex;

use super::pool::{Handle, Lanes, Timed};
use super::queue::{Command, SessionQueue};
use super::verdict::LanesConfig;
use crate::state_machine::Lane;

/// How far a command is on its way to the leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    /// It is not this validator's to send.
    #[default]
    None,
    /// It is to be sent.
    Outgoing,
    /// The same, behind all others: it waits for a missing number.
    Behind,
    /// The leader has it.
    Sent,
    /// The leader has it as one that waits for a missing number.
    SentBehind,
    /// This validator leads.
    Own,
}

/// Which of the outgoing queues a command waits in.
const fn place_of(lane: Lane) -> usize {
    match lane {
        Lane::Cancel => 0,
        Lane::Order | Lane::Price | Lane::Admin => 1,
    }
}

/// Whether the leader has too much for another command. One alone always goes.
const fn is_full(held: usize, bytes: usize, held_max: usize) -> bool {
    held > 0 && held + bytes > held_max
}

fn command_mut(sessions: &mut [SessionQueue], handle: Handle) -> Option<&mut Command> {
    let session = sessions.get_mut(handle.slot as usize)?;
    if session.generation != handle.generation {
        return None;
    }
    session.command_mut(handle.seq)
}

/// What the forwarding remembers: handles only, and those gone are dropped when they are met.
#[derive(Debug)]
pub(super) struct Forwarding {
    /// Who leads, when it is another validator.
    leader: Option<ValidatorIndex>,
    /// Commands that this validator answers for, oldest first.
    pub(super) kept: VecDeque<Handle>,
    /// To be sent to the leader: cancels, then the rest, each oldest first. A cancel may so come
    /// before an order of its session, which the leader then waits for.
    outgoing: [VecDeque<Handle>; 2],
    /// To be sent behind those, since a number is missing, in the same two. One that is not missing
    /// any more is passed over.
    behind: [VecDeque<Handle>; 2],
    /// What the leader has, by when it was sent, oldest first.
    sent: VecDeque<Timed>,
    /// Bytes of it that are not final. Bound: `forward_bytes_max`.
    sent_bytes: usize,
    /// Bytes of it that wait for a missing number. Bound: an eighth of that, and as much again for
    /// cancels.
    behind_bytes: usize,
    /// Those that everybody gets when they are not final by then, oldest first: `T_fan` after each
    /// was first sent. No leader starts that anew by its coming, or by connecting again.
    fan_first: VecDeque<Timed>,
    /// Those that have met `T_fan`, by when everybody gets them again.
    fan_again: VecDeque<Timed>,
    /// Commands of blocks that may be given up, by when the leader gets them.
    saved: VecDeque<Timed>,
    fan_ns: u64,
    retry_ns: u64,
    /// Bytes that may still be sent to everybody before `fan_renewal_ns`: of cancels, and of the
    /// rest. A cancel that is left out is told to all whatever else waits.
    fan_bytes_left: [usize; 2],
    fan_renewal_ns: u64,
    scratch: Vec<u8>,
}

impl Forwarding {
    pub(super) fn new(config: &LanesConfig) -> Self {
        Self {
            leader: None,
            kept: VecDeque::new(),
            outgoing: Default::default(),
            behind: Default::default(),
            sent: VecDeque::new(),
            sent_bytes: 0,
            behind_bytes: 0,
            fan_first: VecDeque::new(),
            fan_again: VecDeque::new(),
            saved: VecDeque::new(),
            fan_ns: config.fan_ns,
            retry_ns: config.retry_ns,
            fan_bytes_left: [config.fan_bytes_max; 2],
            fan_renewal_ns: 0,
            scratch: Vec::new(),
        }
    }

    /// What is remembered of what everybody is to get.
    #[cfg(test)]
    pub(super) fn to_all_len(&self) -> usize {
        self.fan_first.len() + self.fan_again.len()
    }

    /// What is remembered of what the leader has.
    #[cfg(test)]
    pub(super) fn sent_len(&self) -> usize {
        self.sent.len()
    }

    /// A client's command has been taken.
    pub(super) fn admitted(&mut self, handle: Handle, command: &mut Command) {
        if command.way == Way::None {
            command.way = Way::Outgoing;
            self.kept.push_back(handle);
            self.outgoing[place_of(command.lane)].push_back(handle);
        }
    }

    /// No number before it is missing any more.
    pub(super) fn found(&mut self, handle: Handle, command: &mut Command) {
        let bytes = command.entry.len();
        match command.way {
            Way::Behind => {
                command.way = Way::Outgoing;
                self.outgoing[place_of(command.lane)].push_back(handle);
            }
            Way::SentBehind => {
                command.way = Way::Sent;
                self.behind_bytes -= bytes;
                self.sent_bytes += bytes;
            }
            Way::None | Way::Outgoing | Way::Sent | Way::Own => {}
        }
    }

    /// The leader's room for it is free again: it is final, given up, or to be sent anew.
    pub(super) fn give_back(&mut self, command: &Command) {
        match command.way {
            Way::Sent => self.sent_bytes -= command.entry.len(),
            Way::SentBehind => self.behind_bytes -= command.entry.len(),
            Way::None | Way::Outgoing | Way::Behind | Way::Own => {}
        }
    }

    /// A command of a block that may be given up has been kept: if it is not final soon, the
    /// leader gets it, because nobody else may have it any more.
    pub(super) fn saved(&mut self, now_ns: u64, handle: Handle) {
        let at_ns = now_ns.saturating_add(self.retry_ns);
        self.saved.push_back(Timed { at_ns, handle });
    }
}

impl Lanes {
    /// Says who leads now; `None` when this validator does. Everything that this validator answers
    /// for and that is not final goes to the new leader.
    pub fn set_leader(&mut self, leader: Option<ValidatorIndex>) {
        self.forwarding.leader = leader;
        self.forward_again();
    }

    /// Sends everything that is not final to the leader from the start: it is new, or its
    /// connection is. When everybody gets it stays as it is: a leader could otherwise connect
    /// again and again, and keep to itself what it leaves out.
    pub fn forward_again(&mut self) {
        let mut kept = std::mem::take(&mut self.forwarding.kept);
        kept.retain(|&handle| self.command(handle).is_some());
        let mut outgoing = std::mem::take(&mut self.forwarding.outgoing);
        outgoing.iter_mut().for_each(VecDeque::clear);
        for &handle in &kept {
            if let Some(command) = command_mut(&mut self.sessions, handle) {
                command.way = Way::Outgoing;
                outgoing[place_of(command.lane)].push_back(handle);
            }
        }
        let forwarding = &mut self.forwarding;
        forwarding.outgoing = outgoing;
        forwarding.behind.iter_mut().for_each(VecDeque::clear);
        forwarding.sent.clear();
        forwarding.sent_bytes = 0;
        forwarding.behind_bytes = 0;
        forwarding.kept = kept;
    }

    /// Hands over what is to be sent now, as runs of entries, at most one run to the leader and
    /// one to everybody. What does not fit stays for a later call.
    pub fn forward(&mut self, now_ns: u64, send: &mut impl FnMut(Destination, Arc<[u8]>)) {
        self.drop_finished();
        self.take_saved(now_ns);
        self.retry(now_ns);
        self.fan_out(now_ns, send);
        let Some(leader) = self.forwarding.leader else {
            self.note_own(now_ns);
            return;
        };
        let mut bytes = std::mem::take(&mut self.forwarding.scratch);
        bytes.clear();
        // The leader takes a cancel although it has all the orders that it may have from here.
        let orders_max = self.config.forward_bytes_max;
        for (place, held_max) in [(0, self.cancels_held_max()), (1, orders_max)] {
            self.send_from(now_ns, place, held_max, &mut bytes);
        }
        let part = orders_max / 8;
        for (place, held_max) in [(0, 2 * part), (1, part)] {
            self.send_behind(now_ns, place, held_max, &mut bytes);
        }
        if !bytes.is_empty() {
            send(Destination::Peer(leader), bytes.as_slice().into());
        }
        self.forwarding.scratch = bytes;
    }

    /// Bytes that the leader may hold of this validator when a cancel is sent to it.
    const fn cancels_held_max(&self) -> usize {
        let max = self.config.forward_bytes_max;
        max + max / 8
    }

    /// Moves what one of the outgoing queues holds into `bytes`, as far as that and what the leader
    /// may hold allow.
    fn send_from(&mut self, now_ns: u64, place: usize, held_max: usize, bytes: &mut Vec<u8>) {
        while let Some(&handle) = self.forwarding.outgoing[place].front() {
            let forwarding = &mut self.forwarding;
            let command = command_mut(&mut self.sessions, handle);
            if let Some(command) = command.filter(|command| command.way == Way::Outgoing) {
                let (held, length) = (forwarding.sent_bytes, command.entry.len());
                if command.is_gapped {
                    command.way = Way::Behind;
                    forwarding.behind[place].push_back(handle);
                } else if is_full(held, length, held_max)
                    || bytes.len() + length > FORWARD_BYTES_MAX
                {
                    return;
                } else {
                    bytes.extend_from_slice(&command.entry);
                    command.way = Way::Sent;
                    forwarding.sent_bytes += length;
                    self.note_sent(now_ns, handle);
                }
            }
            self.forwarding.outgoing[place].pop_front();
        }
    }

    /// The same with what waits for a missing number. Nothing says that it ever comes, so of such
    /// the leader has a small part, in which each has a turn.
    fn send_behind(&mut self, now_ns: u64, place: usize, held_max: usize, bytes: &mut Vec<u8>) {
        while let Some(&handle) = self.forwarding.behind[place].front() {
            let forwarding = &mut self.forwarding;
            let command = command_mut(&mut self.sessions, handle);
            if let Some(command) = command.filter(|command| command.way == Way::Behind) {
                let (held, length) = (forwarding.behind_bytes, command.entry.len());
                let is_full = is_full(held, length, held_max);
                if is_full || bytes.len() + length > FORWARD_BYTES_MAX {
                    return;
                }
                bytes.extend_from_slice(&command.entry);
                command.way = Way::SentBehind;
                forwarding.behind_bytes += length;
                self.note_sent(now_ns, handle);
            }
            self.forwarding.behind[place].pop_front();
        }
    }

    /// This validator leads: it has its own commands at once, and they still meet `T_fan`, since
    /// it may be its own window that does not get on.
    fn note_own(&mut self, now_ns: u64) {
        for place in 0..self.forwarding.outgoing.len() {
            while let Some(handle) = self.forwarding.outgoing[place].pop_front() {
                if let Some(command) = command_mut(&mut self.sessions, handle) {
                    command.way = Way::Own;
                    self.note_sent(now_ns, handle);
                }
            }
        }
    }

    fn note_sent(&mut self, now_ns: u64, handle: Handle) {
        let at_ns = now_ns;
        self.forwarding.sent.push_back(Timed { at_ns, handle });
        self.note_first_sent(now_ns, handle);
    }

    /// `T_fan` of a command runs from when it was first sent.
    fn note_first_sent(&mut self, now_ns: u64, handle: Handle) {
        let command = command_mut(&mut self.sessions, handle);
        if let Some(command) = command.filter(|command| !command.is_sent) {
            command.is_sent = true;
            let at_ns = now_ns.saturating_add(self.forwarding.fan_ns);
            self.forwarding.fan_first.push_back(Timed { at_ns, handle });
        }
    }

    /// Forgets what has become final, from the front of each list.
    fn drop_finished(&mut self) {
        while let Some(&handle) = self.forwarding.kept.front() {
            if self.command(handle).is_some() {
                break;
            }
            self.forwarding.kept.pop_front();
        }
        let length_max = 1024 + 2 * self.len();
        if self.forwarding.kept.len() > length_max {
            let mut kept = std::mem::take(&mut self.forwarding.kept);
            kept.retain(|&handle| self.command(handle).is_some());
            self.forwarding.kept = kept;
        }
        let mut sent = std::mem::take(&mut self.forwarding.sent);
        self.drop_finished_of(&mut sent, length_max);
        self.forwarding.sent = sent;
        let mut first = std::mem::take(&mut self.forwarding.fan_first);
        self.drop_finished_of(&mut first, length_max);
        self.forwarding.fan_first = first;
        let mut again = std::mem::take(&mut self.forwarding.fan_again);
        self.drop_finished_of(&mut again, length_max);
        self.forwarding.fan_again = again;
    }

    /// Forgets what has become final at the front, and wherever it is when it is much.
    fn drop_finished_of(&self, timed: &mut VecDeque<Timed>, length_max: usize) {
        let is_gone = |timed: &Timed| self.command(timed.handle).is_none();
        while timed.front().is_some_and(is_gone) {
            timed.pop_front();
        }
        if timed.len() > length_max {
            timed.retain(|timed| !is_gone(timed));
        }
    }

    /// Commands of abandoned blocks that are still not final are this validator's to forward now.
    fn take_saved(&mut self, now_ns: u64) {
        while let Some(&Timed { at_ns, handle }) = self.forwarding.saved.front() {
            let is_held = self.command(handle).is_some();
            if is_held && at_ns > now_ns {
                break;
            }
            self.forwarding.saved.pop_front();
            if let Some(command) = command_mut(&mut self.sessions, handle) {
                self.forwarding.admitted(handle, command);
            }
        }
    }

    /// Commands sent that did not become final: to everybody after `T_fan`, as far as the
    /// allowance goes.
    fn fan_out(&mut self, now_ns: u64, send: &mut impl FnMut(Destination, Arc<[u8]>)) {
        if now_ns >= self.forwarding.fan_renewal_ns {
            self.forwarding.fan_renewal_ns = now_ns.saturating_add(self.forwarding.fan_ns);
            // Orders that wait because many do, at a pool that drains, are not left out.
            let max = self.config.fan_bytes_max;
            let rest_max = if self.is_draining(now_ns) {
                max / 8
            } else {
                max
            };
            self.forwarding.fan_bytes_left = [max, rest_max];
        }
        let mut bytes = std::mem::take(&mut self.forwarding.scratch);
        bytes.clear();
        while let Some(handle) = self.next_to_all(now_ns) {
            if let Some(command) = self.command(handle) {
                let (place, length) = (place_of(command.lane), command.entry.len());
                let left = self.forwarding.fan_bytes_left[place].checked_sub(length);
                if let Some(left) = left.filter(|_| bytes.len() + length <= FORWARD_BYTES_MAX) {
                    bytes.extend_from_slice(&command.entry);
                    self.forwarding.fan_bytes_left[place] = left;
                    self.counters.fanned_out += 1;
                }
            }
        }
        if !bytes.is_empty() {
            send(Destination::All, bytes.as_slice().into());
        }
        self.forwarding.scratch = bytes;
    }

    /// The next command that everybody is to get now. It is noted for a later time.
    fn next_to_all(&mut self, now_ns: u64) -> Option<Handle> {
        let again_ns = now_ns.saturating_add(self.forwarding.retry_ns.max(1));
        loop {
            let forwarding = &mut self.forwarding;
            let is_due = |timed: &mut Timed| timed.at_ns <= now_ns;
            let first = forwarding.fan_first.pop_front_if(is_due);
            let handle = first
                .or_else(|| forwarding.fan_again.pop_front_if(is_due))?
                .handle;
            if self.command(handle).is_some() {
                self.forwarding.fan_again.push_back(Timed {
                    at_ns: again_ns,
                    handle,
                });
                return Some(handle);
            }
        }
    }

    /// What the leader has had for long without its becoming final is sent to it again; what waits
    /// for a missing number, behind all that waits for a turn.
    fn retry(&mut self, now_ns: u64) {
        let mut again = Vec::new();
        let forwarding = &mut self.forwarding;
        while let Some(front) = forwarding.sent.front() {
            if front.at_ns.saturating_add(forwarding.retry_ns) > now_ns {
                break;
            }
            let handle = front.handle;
            forwarding.sent.pop_front();
            let Some(command) = command_mut(&mut self.sessions, handle) else {
                continue;
            };
            if matches!(command.way, Way::Sent | Way::SentBehind | Way::Own) {
                forwarding.give_back(command);
                if command.is_gapped && forwarding.leader.is_some() {
                    command.way = Way::Behind;
                    forwarding.behind[place_of(command.lane)].push_back(handle);
                } else {
                    command.way = Way::Outgoing;
                    again.push((place_of(command.lane), handle));
                }
            }
        }
        for (place, handle) in again.into_iter().rev() {
            self.forwarding.outgoing[place].push_front(handle);
        }
    }

    /// When [`forward`](Self::forward) has something to do at latest, by the monotonic clock;
    /// `u64::MAX` when nothing waits.
    #[must_use]
    pub fn forward_deadline_ns(&self) -> u64 {
        let forwarding = &self.forwarding;
        let [cancels, rest] = &forwarding.outgoing;
        // Cancels go out although the leader has enough of the rest.
        let held = forwarding.sent_bytes;
        let fits = |handle: &Handle| {
            let bytes = self
                .command(*handle)
                .map_or(0, |command| command.entry.len());
            held == 0 || held + bytes <= self.cancels_held_max()
        };
        let waits = !rest.is_empty() || !forwarding.behind.iter().all(VecDeque::is_empty);
        if cancels.front().is_some_and(fits) || (waits && forwarding.sent.is_empty()) {
            return 0;
        }
        let retry = forwarding.sent.front().map_or(u64::MAX, |sent| {
            sent.at_ns.saturating_add(forwarding.retry_ns)
        });
        let timed = [
            &forwarding.fan_first,
            &forwarding.fan_again,
            &forwarding.saved,
        ];
        let fronts = timed.into_iter().filter_map(VecDeque::front);
        fronts.fold(retry, |least, timed| least.min(timed.at_ns))
    }
}
