//! The lines in which sessions wait for their turn, one a lane.
//!
//! Owns who stands where. An entry that is no longer right is dropped when a block is made; where
//! none is made for long, since others lead, it is dropped when there are too many of them. Never:
//! what goes into a block.

use super::pool::Lanes;

/// A line has so many entries for each session at most, and some more.
const ENTRIES_PER_SESSION: usize = 2;
const ENTRIES_MORE: usize = 64;

impl Lanes {
    /// Puts a session into the line of its head's lane, at the back.
    pub(super) fn line_up(&mut self, slot: u32) {
        if !self.sessions[slot as usize].is_lined_up
            && let Some(lane) = self.lane_of_head(slot)
        {
            self.lines[lane].push_back(slot);
            self.note_lined_up(slot, lane);
        }
    }

    /// Puts a session to the front of its lane's line, wherever it stands already.
    pub(super) fn line_up_first(&mut self, slot: u32) {
        if let Some(lane) = self.lane_of_head(slot) {
            self.lines[lane].push_front(slot);
            self.note_lined_up(slot, lane);
        }
    }

    fn lane_of_head(&self, slot: u32) -> Option<usize> {
        let (_, command) = self.sessions[slot as usize].head()?;
        Some(command.lane as usize)
    }

    fn note_lined_up(&mut self, slot: u32, lane: usize) {
        self.sessions[slot as usize].is_lined_up = true;
        let entries_max = self.sessions.len() * ENTRIES_PER_SESSION + ENTRIES_MORE;
        if self.lines[lane].len() > entries_max {
            self.thin(lane);
        }
    }

    /// Leaves of a line the first entry of each session that waits.
    fn thin(&mut self, lane: usize) {
        let sessions = &self.sessions;
        let mut stands = vec![false; sessions.len()];
        self.lines[lane].retain(|&slot| {
            let place = slot as usize;
            !std::mem::replace(&mut stands[place], true) && sessions[place].is_lined_up
        });
    }
}
