//! What waits behind a missing number, for how long, and how much of the pool.
//!
//! Owns when such a wait begins again and when it is given up, and the share of each who sends
//! such. Never: whether a number is missing; the session's queue says that.

use super::pool::{Handle, LANES, Lanes, Timed};
use super::queue::{Command, Origin};
use super::verdict::LanesConfig;
use crate::state_machine::Lane;

/// Somebody's commands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    pub(super) commands: usize,
    pub(super) bytes: usize,
}

impl Share {
    pub(super) fn add(&mut self, command: &Command) {
        self.commands += 1;
        self.bytes += command.entry.len();
    }

    pub(super) fn subtract(&mut self, command: &Command) {
        self.commands -= 1;
        self.bytes -= command.entry.len();
    }
}

/// How much waits for a number: in all, and of each who sent it.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    all: Share,
    /// How many of all, by lane.
    in_lane: [usize; LANES],
    /// Clients' of this validator, of blocks, and then peers', by [`place_of`].
    shares: Vec<Share>,
}

const fn place_of(origin: Origin) -> usize {
    match origin {
        Origin::Local => 0,
        Origin::Block => 1,
        Origin::Peer(peer) => 2 + peer.place(),
    }
}

impl Gaps {
    pub(super) const fn commands(&self) -> usize {
        self.all.commands
    }

    pub(super) const fn commands_in(&self, lane: Lane) -> usize {
        self.in_lane[lane as usize]
    }

    /// Whether none ever waited for one.
    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        self.shares.is_empty()
    }

    /// A command waits for a number from now on.
    pub(super) fn begin(&mut self, command: &Command) {
        let place = place_of(command.origin);
        if self.shares.len() <= place {
            self.shares.resize(place + 1, Share::default());
        }
        self.shares[place].add(command);
        self.all.add(command);
        self.in_lane[command.lane as usize] += 1;
    }

    /// It does so no more, or is given up.
    pub(super) fn end(&mut self, command: &Command) {
        self.shares[place_of(command.origin)].subtract(command);
        self.all.subtract(command);
        self.in_lane[command.lane as usize] -= 1;
    }

    /// Nothing of what waits for a number has to come to anything, so it takes half of the pool at
    /// most; and of that half nobody has more than is left, so that whatever some send, there is
    /// room for others'.
    pub(super) fn has_room(&self, origin: Origin, bytes: usize, config: &LanesConfig) -> bool {
        let own = self.shares.get(place_of(origin)).copied();
        let own = own.unwrap_or_default();
        let commands_left = (config.commands_max / 2).saturating_sub(self.all.commands);
        let bytes_left = (config.bytes_max / 2).saturating_sub(self.all.bytes);
        own.commands < commands_left && own.bytes + bytes <= bytes_left
    }
}

impl Lanes {
    /// Numbers of a session may be missing that were not, or the other way round.
    pub(super) fn recount_gapped(&mut self, slot: u32) {
        let session = &mut self.sessions[slot as usize];
        let generation = session.generation;
        let (regapped, gaps) = (&mut self.regapped, &mut self.gaps);
        let forwarding = &mut self.forwarding;
        session.recount_gapped(|seq, command| {
            let handle = Handle {
                slot,
                generation,
                seq,
            };
            if command.is_gapped {
                gaps.begin(command);
                regapped.push(handle);
            } else {
                gaps.end(command);
                forwarding.found(handle, command);
            }
        });
    }

    /// Whoever waits for a number again does so from now on: what was thought to stand in a block
    /// may never come.
    fn begin_waits(&mut self, now_ns: u64) {
        let at_ns = now_ns.saturating_add(self.config.gap_ns);
        for handle in std::mem::take(&mut self.regapped) {
            if self.session(handle).is_none() {
                continue;
            }
            let command = self.sessions[handle.slot as usize].command_mut(handle.seq);
            if let Some(command) = command.filter(|command| command.is_gapped) {
                command.expires_ns = at_ns;
                self.gapped.push_back(Timed { at_ns, handle });
            }
        }
    }

    /// Gives up commands whose missing predecessor has not come in time.
    pub fn drop_expired(&mut self, now_ns: u64) {
        self.begin_waits(now_ns);
        while let Some(front) = self.gapped.front().copied() {
            if front.at_ns > now_ns && self.command(front.handle).is_some() {
                return;
            }
            self.gapped.pop_front();
            let handle = front.handle;
            // What has come to wait again since is named further behind.
            let waits = |command: &Command| command.expires_ns == front.at_ns;
            if self.is_ready(handle) || !self.command(handle).is_some_and(waits) {
                continue;
            }
            if let Some(command) = self.sessions[handle.slot as usize].remove(handle.seq) {
                self.drop_command(command);
                self.counters.gaps_expired += 1;
                self.free_if_unused(handle.slot);
            }
        }
    }
}
