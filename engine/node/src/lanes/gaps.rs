//! What waits behind a missing number, and for how long.
//!
//! Owns when such a wait begins again and when it is given up. Never: whether a number is missing;
//! the session's queue says that.

use super::pool::{Handle, Lanes, Timed};
use super::queue::Command;

impl Lanes {
    /// Numbers of a session may be missing that were not, or the other way round.
    pub(super) fn recount_gapped(&mut self, slot: u32) {
        let session = &mut self.sessions[slot as usize];
        let generation = session.generation;
        let regapped = &mut self.regapped;
        let (before, now) = session.recount_gapped(|seq| {
            regapped.push(Handle {
                slot,
                generation,
                seq,
            });
        });
        self.gapped_commands = self.gapped_commands - before + now;
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
                self.forget(&command);
                self.counters.gaps_expired += 1;
                self.free_if_unused(handle.slot);
            }
        }
    }
}
