//! What follows from the inputs of a turn, pass by pass.
//!
//! Owns the order of it: what others wait for, then the rules, the log, the executor, proposals,
//! and again until nothing new comes. Never: sends, or checks what clients have signed.

use super::outbox::Outbox;
use super::{Replica, ReplicaError};
use crate::journal::{JournalOp, Journaled};
use crate::state_machine::StateMachine;
use quorate_consensus::types::Now;

/// Passes of one turn at most: what is left then is done in the next one.
const PASSES_PER_TURN: usize = 8;

impl<S: StateMachine> Replica<S> {
    pub(super) fn run_passes(&mut self, now: Now, outbox: &mut Outbox) -> Result<(), ReplicaError> {
        // What the last turn has left.
        if !self.out.journal.is_empty() {
            self.append_all(now, outbox)?;
        }
        self.is_hasty = !self.is_hasty && self.hasten(now, outbox)?;
        if self.is_hasty {
            self.is_unfinished = true;
            return Ok(());
        }
        for _ in 0..PASSES_PER_TURN {
            self.order.settle(now, &mut self.out)?;
            if self.has_frames_before_blocks() {
                self.is_unfinished = true;
                break;
            }
            let mut is_changed = self.append_all(now, outbox)?;
            // A proposed block is logged in the next pass, by one write with the own record that
            // names it.
            is_changed |= self.order.propose(now, &mut self.out)?;
            self.is_unfinished = is_changed;
            if !is_changed {
                break;
            }
        }
        Ok(())
    }

    /// Brings what the others wait for on its way before the rest is judged: a proposal and the own
    /// vote for it, or a vote for what has come. `true` when frames wait to be sent; the next turn
    /// does the rest, and is never hasty itself.
    ///
    /// R11 ORDER: a record goes to the log first, and is said when the journal has it.
    fn hasten(&mut self, now: Now, outbox: &mut Outbox) -> Result<bool, ReplicaError> {
        self.order.propose(now, &mut self.out)?;
        let mut is_said = self.order.hasten(now, &mut self.out)?;
        if !self.out.journal.is_empty() && self.append_all(now, outbox)? {
            is_said |= self.order.hasten(now, &mut self.out)?;
        }
        Ok(is_said && !self.out.frames.is_empty())
    }

    /// Whether blocks have become final that are to be logged and executed, and frames wait that
    /// need none of it. The last vote of a block to be made often makes it final here, and leaves
    /// before that is carried out: others wait for it.
    fn has_frames_before_blocks(&self) -> bool {
        let is_final = |op: &JournalOp| matches!(op, JournalOp::Finalized(_));
        !self.out.frames.is_empty() && self.out.journal.iter().any(is_final)
    }

    /// Moves what is to be logged into the journal, and what comes of it onward; `true` when the
    /// consensus has something new.
    fn append_all(&mut self, now: Now, outbox: &mut Outbox) -> Result<bool, ReplicaError> {
        self.journal.retry(now.mono_ns, &mut self.journaled)?;
        let ops = self.out.journal.drain(..);
        self.journal
            .append_all(now.mono_ns, ops, &mut self.journaled)?;
        let mut is_changed = false;
        let mut journaled = std::mem::take(&mut self.journaled);
        for done in journaled.drain(..) {
            match done {
                Journaled::Executable(block) => {
                    if self.checks.is_signed() {
                        self.checks.hold(block);
                    } else {
                        self.execute(now, &block, outbox)?;
                    }
                }
                done => {
                    is_changed |= matches!(done, Journaled::Record(_) | Journaled::Answer(_));
                    self.order.journaled(now, done);
                }
            }
        }
        self.journaled = journaled;
        Ok(is_changed)
    }
}
