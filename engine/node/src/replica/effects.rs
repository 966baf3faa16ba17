//! Carrying out what the consensus asks for: each effect to where it is done.
//!
//! Owns what finality, entering and stopping mean for pool and index. Never: changes the order of
//! effects, or decides anything of the protocol.

use std::sync::Arc;

use quorate_consensus::effect::{Effect, FinalPath};
use quorate_consensus::evidence::Evidence;
use quorate_consensus::header::Header;
use quorate_consensus::limits::UNDELIVERED_BLOCKS_MAX;
use quorate_consensus::types::{BlockId, Now, ValidatorIndex, Window};
use quorate_consensus::validators::ValidatorSet;

use super::checks::Check;
use super::jobs::Job;
use super::order::{OrderError, OrderOut, OrderStage};
use super::outbox::Event;
use super::serve::Request;
use super::unsettled::Unsettled;
use crate::executor::FinalBlock;
use crate::journal::JournalOp;
use crate::store::Abandoned;
use crate::trace::{FinalStamp, Moment};

/// Blocks of live windows from which on it is looked at which of them nobody counts on.
pub(super) const LIVE_BLOCKS_MIN: usize = 2 * UNDELIVERED_BLOCKS_MAX;

impl OrderStage {
    /// Carries out what the consensus asked for, in its order.
    pub(super) fn carry_out(&mut self, now: Now, out: &mut OrderOut) -> Result<(), OrderError> {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            self.carry_out_one(now, effect, out)?;
        }
        self.effects = effects;
        Ok(())
    }

    fn carry_out_one(
        &mut self,
        now: Now,
        effect: Effect,
        out: &mut OrderOut,
    ) -> Result<(), OrderError> {
        match effect {
            Effect::PersistBlock {
                id,
                header,
                payload,
            } => {
                self.trace
                    .stamp(Moment::Checked, header.window, header.index);
                self.persist_block(id, header, payload, out);
            }
            Effect::PersistRecord(own) => out.journal.push(JournalOp::Record(own)),
            Effect::PersistAnswer(answer) => out.journal.push(JournalOp::Answer(answer)),
            Effect::SignAnswer(answer) => out.jobs.push(Job::SignAnswer(answer)),
            Effect::PersistProof { point, proof } => {
                out.journal.push(JournalOp::Proof { point, proof });
            }
            Effect::PersistLease(lease) => out.journal.push(JournalOp::Lease(lease)),
            Effect::Send { to, message } => self.send_effect(to, message, out),
            Effect::SignRecord { window, record } => {
                out.jobs.push(Job::SignRecord { window, record });
            }
            Effect::SignHeader { id, header } => out.jobs.push(Job::SignHeader { id, header }),
            Effect::SignState(statement) => out.jobs.push(Job::SignState(statement)),
            Effect::Snapshot { from, part } => out.events.push(Event::Snapshot { from, part }),
            Effect::StateProven(proven) => out.events.push(Event::StateProven(Box::new(proven))),
            Effect::Diverged(found) => out.events.push(Event::Diverged(found)),
            Effect::Verify { from, claim } => out.jobs.push(Job::Verify { from, claim }),
            Effect::Finalized { id, header, path } => self.finalize(now, id, header, path, out)?,
            Effect::Durable(height) => out.events.push(Event::Durable(height)),
            Effect::Proven(point) => {
                out.events.push(Event::Proven(point));
                self.forget(now, out)?;
            }
            Effect::ServeBodies { to, blocks } => {
                self.requests.push(to, Request::Bodies(blocks.into()));
            }
            Effect::ServeHistory { to, top, count } => {
                self.requests.push(to, Request::History { top, count });
            }
            Effect::ServeFinality { to, at_least } => {
                self.requests.push(to, Request::Finality { at_least });
            }
            Effect::Forwarded { from, commands } if self.is_signed => {
                let run = self.intake.take(now.mono_ns, from, commands);
                out.checks.extend(run.map(Check::Forwarded));
            }
            Effect::Forwarded { from, commands } => {
                let taken = self.lanes.take_forwarded(now.mono_ns, from, &commands);
                if taken.is_err() {
                    out.events.push(Event::PeerFault(from));
                }
            }
            Effect::Abscissas { from, block, told } => self.take_told(from, &block, &told),
            Effect::Entered { window, leader } => {
                self.entered(now, leader)?;
                out.events.push(Event::Entered { window, leader });
            }
            Effect::Stopped(window) => self.stopped(window, out),
            Effect::Evidence(evidence) => tell_evidence(self.consensus.set(), evidence, out),
            Effect::Alarm(alarm) => out.events.push(Event::Alarm(alarm)),
        }
        Ok(())
    }

    fn persist_block(
        &mut self,
        id: BlockId,
        header: Header,
        payload: Arc<[u8]>,
        out: &mut OrderOut,
    ) {
        self.store.add_block(id, header, Some(Arc::clone(&payload)));
        if self.is_signed {
            let is_own = self.consensus.set().leader(header.window) == self.own;
            self.telling.note(id, header, is_own);
            let payload = Arc::clone(&payload);
            out.checks.push(Check::Block { id, payload });
        }
        out.journal.push(JournalOp::Block {
            id,
            header,
            payload,
        });
    }

    fn stopped(&mut self, window: Window, out: &mut OrderOut) {
        self.has_stopped = true;
        self.lanes.unchain_all();
        out.events.push(Event::Stopped(window));
    }

    fn finalize(
        &mut self,
        now: Now,
        id: BlockId,
        header: Header,
        path: FinalPath,
        out: &mut OrderOut,
    ) -> Result<(), OrderError> {
        let missing = OrderError::BodyMissing {
            id,
            height: header.height,
        };
        self.trace.finalized(FinalStamp {
            window: header.window,
            index: header.index,
            height: header.height.number(),
            is_fast: path == FinalPath::Fast,
            told_ns: now.mono_ns,
        });
        let payload = self.store.payload(&id)?.ok_or(missing)?;
        let mut block = FinalBlock {
            id,
            header,
            payload,
            path: Some(path),
            final_ns: now.mono_ns,
            admitted: Vec::new(),
        };
        self.store.finalize(block.id, &block.header);
        self.unsettled.push(Unsettled {
            height: header.height.number(),
            window: header.window,
            payload: Arc::clone(&block.payload),
        });
        let times = (now.mono_ns, block.header.time_ns);
        self.lanes
            .finalize_block(times, &block.payload, &mut block.admitted)?;
        let is_new_window = block.header.window > self.delivered_window;
        self.delivered_window = self.delivered_window.max(block.header.window);
        out.journal.push(JournalOp::Finalized(block));
        if is_new_window {
            self.forget(now, out)?;
        }
        Ok(())
    }

    /// Forgets windows that are proven and delivered.
    fn forget(&mut self, now: Now, out: &mut OrderOut) -> Result<(), OrderError> {
        let window = self.consensus.proven().window.min(self.delivered_window);
        if window > self.forgotten {
            self.forgotten = window;
            for block in self.store.prune(window) {
                self.take_abandoned(now, &block)?;
            }
            out.journal.push(JournalOp::Forget(window));
        }
        self.forget_above_gap(out);
        Ok(())
    }

    /// While a gap does not close, windows above it are proven and not delivered. Of their blocks
    /// those stay that the consensus counts on; it asks for the others again. Their commands are
    /// not offered again: all but a few are final.
    fn forget_above_gap(&mut self, out: &mut OrderOut) {
        if self.store.live_blocks() < self.live_max {
            return;
        }
        let consensus = &self.consensus;
        let gone = self
            .store
            .keep_if(|id, header| consensus.counts_on(header, *id));
        // PERF: all are looked at, so not before there are twice as many.
        self.live_max = LIVE_BLOCKS_MIN.max(2 * self.store.live_blocks());
        out.journal.push(JournalOp::ForgetBlocks(gone));
    }

    /// Whoever saw a command keeps it until it is final: its block may be given up, and the
    /// validator that admitted it may be gone.
    fn take_abandoned(&mut self, now: Now, block: &Abandoned) -> Result<(), OrderError> {
        if let Some(payload) = self.store.abandoned_payload(block)? {
            self.lanes.take_abandoned(now.mono_ns, &payload)?;
        }
        Ok(())
    }

    fn entered(&mut self, now: Now, leader: ValidatorIndex) -> Result<(), OrderError> {
        let is_own = leader == self.own;
        let is_orderly = self.leader == Some(leader) && !self.has_stopped;
        self.has_stopped = false;
        self.lanes.set_leader((!is_own).then_some(leader));
        self.leader = Some(leader);
        // PERF: the same leader goes on where its last window ended; what it has chained still is,
        // and a full pipeline is a million commands that need not be looked at again.
        if is_orderly {
            return Ok(());
        }
        self.lanes.unchain_all();
        // Blocks that are not final may be given up now, here or elsewhere. Above a gap nearly all
        // are final: so many would fill the pool, and go to each leader again and again. What of
        // them is given up is told when their window is forgotten.
        let delivered = self.consensus.delivered();
        let finalized = self.consensus.finalized().height;
        let is_undelivered = |height| height > delivered && height <= finalized;
        for block in self.store.take_pending(is_undelivered) {
            self.take_abandoned(now, &block)?;
        }
        self.is_rebase_due = is_own;
        Ok(())
    }
}

/// An operator's alarm, in words.
fn tell_evidence(set: &ValidatorSet, evidence: Evidence, out: &mut OrderOut) {
    tracing::error!(
        validator = evidence.accused(set).number(),
        window = evidence.window().number(),
        proof = evidence.what(),
        "a validator is proven to misbehave: `quorate log evidence` gives the proof out"
    );
    record_evidence(Box::new(evidence), out);
}

fn record_evidence(evidence: Box<Evidence>, out: &mut OrderOut) {
    out.journal.push(JournalOp::Evidence(evidence.clone()));
    out.events.push(Event::Evidence(evidence));
}
