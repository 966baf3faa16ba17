//! Keeping what was admitted.
//!
//! Owns what is written down of a command that is kept from now on. Nearly all come in order: such
//! a one is ready at once, and nothing of it is looked up. Never: whether it is kept.

use quorate_consensus::payload::CommandView;

use super::forward::Way;
use super::pool::{Lanes, Timed};
use super::queue::{Command, Origin, Times};
use crate::state_machine::Lane;

impl Lanes {
    pub(super) fn keep(
        &mut self,
        times: Times,
        slot: u32,
        view: &CommandView<'_>,
        lane: Lane,
        origin: Origin,
    ) {
        let (now_ns, received_ns) = times;
        self.compact();
        if !self.sessions[slot as usize].is_open {
            self.make_way(slot, view);
        }
        let entry = self.spare.filled(view.entry);
        self.commands += 1;
        self.in_lane[lane as usize] += 1;
        self.bytes += entry.len();
        let is_next = self.sessions[slot as usize].is_next_in_order(view.seq);
        let command = Command {
            entry,
            admitted_ns: now_ns,
            received_ns,
            lane,
            origin,
            is_gapped: !is_next,
            is_sent: false,
            way: Way::None,
            expires_ns: now_ns.saturating_add(self.config.gap_ns),
        };
        self.peers.add(&command);
        if is_next {
            self.keep_next(now_ns, slot, view.seq, command);
        } else {
            self.keep_apart(now_ns, slot, view.seq, command);
        }
    }

    /// Keeps the one that comes next in order: what [`keep_apart`](Self::keep_apart) makes of it,
    /// without counting it among those that wait for a number first.
    fn keep_next(&mut self, now_ns: u64, slot: u32, seq: u64, mut command: Command) {
        let handle = self.handle(slot, seq);
        match command.origin {
            Origin::Local => self.forwarding.admitted(handle, &mut command),
            Origin::Block => self.forwarding.saved(now_ns, handle),
            Origin::Peer(_) => {}
        }
        self.sessions[slot as usize].push_next(command);
        self.ages.push_back(Timed {
            at_ns: now_ns,
            handle,
        });
        self.line_up(slot);
    }

    /// Keeps any other one: a number before it may be missing, or it may be one that was.
    fn keep_apart(&mut self, now_ns: u64, slot: u32, seq: u64, command: Command) {
        let (origin, at_ns) = (command.origin, command.expires_ns);
        self.gaps.begin(&command);
        let handle = self.handle(slot, seq);
        let session = &mut self.sessions[slot as usize];
        session.insert(seq, command);
        // Before what waited for it.
        if let Some(command) = session.command_mut(seq) {
            match origin {
                Origin::Local => self.forwarding.admitted(handle, command),
                Origin::Block => self.forwarding.saved(now_ns, handle),
                Origin::Peer(_) => {}
            }
        }
        self.make_ready(now_ns, slot);
        if self.is_ready(handle) {
            // It may be the one of a number that stood in a block before it came here.
            let command = self.sessions[slot as usize].command_mut(seq);
            if let Some(command) = command.filter(|command| command.is_gapped) {
                self.gaps.end(command);
                command.is_gapped = false;
            }
        } else {
            self.gapped.push_back(Timed { at_ns, handle });
        }
    }

    /// Forgets a command that is gone for good; another one gets its memory.
    pub(super) fn drop_command(&mut self, command: Command) {
        self.forget(&command);
        self.spare.give_back(command.entry);
    }
}
