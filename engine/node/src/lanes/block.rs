//! Making payloads from what waits.
//!
//! Owns which commands go into the next block and in which order. Two structural rules meet here:
//! lanes do not fall inside a block, and a session's numbers rise by one. So a session's run ends
//! where its next command belongs to a lower lane (its cancel of an order that stands in this
//! very block); that command opens the next block instead. Never: validity of commands.
//!
//! Inside a lane sessions take turns, a few commands each, so that one session's flood does not
//! hold up the others.

use std::sync::Arc;

use quorate_consensus::payload::{Lane, PayloadBuilder, PushError};

use super::pool::Lanes;

/// Commands that a session puts into a block before the others of its lane get their turn.
const TURN_COMMANDS: usize = 16;
/// Bytes after which its turn is over as well, with the command that passes them: a few long ones
/// are as much as many short ones.
const TURN_BYTES: usize = PAYLOAD_BYTES_TARGET / 16;
/// Bytes after which a payload is full although more would fit: several blocks in flight keep
/// wire, log and hash busy at once, and each gives a sign of life.
const PAYLOAD_BYTES_TARGET: usize = 256 * 1024;
/// The part of a payload that cancels and orders leave to prices and administration while some
/// wait: one of so many. And the part of it that prices leave to administration.
pub(super) const URGENT_PART: usize = 8;
pub(super) const ADMIN_PART: usize = 16;

/// What of a payload one lane may fill.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    bytes_target: usize,
    bytes_max: usize,
    commands_max: usize,
}

/// How a session's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// By itself.
    Over,
    /// The next command does not fit, and others went in before it.
    Cut,
    /// Not even its first command fits.
    NoRoom,
}

impl Lanes {
    /// Whether a command may be waiting that can be proposed now. May be wrong on the side of
    /// yes, never on the side of no.
    #[must_use]
    pub fn has_proposable(&self) -> bool {
        self.lines.iter().any(|line| !line.is_empty())
    }

    /// One payload of all of these lanes that fits, marked as chained; `None` when nothing of them
    /// can be proposed. The lanes are in block order.
    pub fn build_payload(
        &mut self,
        lanes: &[Lane],
        builder: &mut PayloadBuilder,
    ) -> Option<Arc<[u8]>> {
        builder.clear();
        for (at, &lane) in lanes.iter().enumerate() {
            self.fill_lane(lane as usize, &lanes[at + 1..], builder);
        }
        (!builder.is_empty()).then(|| builder.finish())
    }

    /// Takes from one lane until its line is empty or the next command does not fit.
    fn fill_lane(&mut self, lane: usize, behind: &[Lane], builder: &mut PayloadBuilder) {
        let (bounds, before) = (self.bounds(lane, behind), builder.len());
        while let Some(slot) = self.lines[lane].pop_front() {
            let turn = self.take_turn(slot, (lane, before), &bounds, builder);
            // Where the session goes on depends on its new head; that of a lower lane waits for
            // the next block, because this block is past that lane.
            self.sessions[slot as usize].is_lined_up = false;
            match turn {
                Turn::Over => self.line_up(slot),
                // It has had its turn: first again in the next block, it would keep the others
                // waiting for as long as it has more than a block takes.
                Turn::Cut => return self.line_up(slot),
                Turn::NoRoom => return self.line_up_first(slot),
            }
        }
    }

    /// What a lane may fill, with these lanes to come. Orders and cancels could fill every block,
    /// and prices what they leave: then feeds go stale, nobody can halt the flood, and the leader
    /// is taken for one that leaves commands out.
    fn bounds(&self, lane: usize, behind: &[Lane]) -> Bounds {
        let waits = |of: Lane| behind.contains(&of) && !self.lines[of as usize].is_empty();
        let is_urgent = lane >= Lane::Price as usize;
        let part = match is_urgent {
            false if waits(Lane::Price) || waits(Lane::Admin) => URGENT_PART,
            true if waits(Lane::Admin) => ADMIN_PART,
            _ => usize::MAX,
        };
        // Of two commands one is left, in a chain whose blocks are that small; and of three two,
        // one for either.
        let of_commands = match self.config.block_commands_max {
            max if part == usize::MAX || max < 2 => max,
            max if is_urgent => max - (max / part).max(1),
            max => max - (max / part).max(2).min(max - 1),
        };
        let less = |max: usize| max - max / part;
        // One that is longer than that part is to fit all the same.
        let longer = behind.iter().filter(|&&of| of >= Lane::Price);
        let longer: usize = longer.map(|&of| self.first_bytes(of as usize)).sum();
        let bytes_max = self.config.payload_bytes_max;
        Bounds {
            bytes_target: less(PAYLOAD_BYTES_TARGET),
            bytes_max: less(bytes_max).min(bytes_max.saturating_sub(longer)),
            commands_max: of_commands,
        }
    }

    /// Bytes of the command that is first in a lane's line.
    fn first_bytes(&self, lane: usize) -> usize {
        let slot = self.lines[lane].front();
        let head = slot.and_then(|&slot| self.sessions[slot as usize].head());
        head.map_or(0, |(_, command)| command.entry.len())
    }

    /// Moves a few commands of one session into the block; `before` stood in it before its lane.
    fn take_turn(
        &mut self,
        slot: u32,
        (lane, before): (usize, usize),
        bounds: &Bounds,
        builder: &mut PayloadBuilder,
    ) -> Turn {
        let (first, start) = (builder.len(), builder.payload_bytes());
        while builder.len() - first < TURN_COMMANDS && builder.payload_bytes() - start < TURN_BYTES
        {
            let session = &self.sessions[slot as usize];
            let Some((seq, command)) = session.head() else {
                return Turn::Over;
            };
            if command.lane as usize != lane {
                return Turn::Over;
            }
            let cut = if builder.len() > first {
                Turn::Cut
            } else {
                Turn::NoRoom
            };
            let bytes_after = builder.payload_bytes() + command.entry.len();
            // The first of its lane passes: one that is longer than what the others have left
            // would wait for ever.
            let is_sated = builder.len() > before
                && (bytes_after > bounds.bytes_target || bytes_after > bounds.bytes_max);
            if is_sated
                || bytes_after > self.config.payload_bytes_max
                || builder.len() >= bounds.commands_max
            {
                return cut;
            }
            match builder.push_entry(&command.entry) {
                Ok(()) => {}
                Err(PushError::Full | PushError::LaneFull(_)) => return cut,
                // What stands in a line can be pushed: everything was checked at admission.
                Err(PushError::Invalid(error)) => {
                    debug_assert!(false, "a lined up command is refused: {error}");
                    return cut;
                }
            }
            self.sessions[slot as usize].chained_seq = seq;
            self.list_chained(slot);
        }
        Turn::Over
    }
}
