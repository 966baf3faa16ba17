//! R13: how a validator whose disk lost what it said learns from which window on it may speak.
//!
//! Owns both sides: asking and what the answers add up to, and the guards under which a validator
//! answers. Never: files, randomness, signatures; the caller brings the seed of the nonces, logs
//! and signs answers, and writes the lease file.

use crate::certificate::SignatureBytes;
use crate::effect::{Alarm, Destination, Effect, Effects};
use crate::machine::{Consensus, Disposition, Ignored};
use crate::message::{Message, Nonce, OwnAnswer, RecoverAnswer};
use crate::record::Record;
use crate::restart::Fence;
use crate::trust::Lease;
use crate::types::{Now, Stake, ValidatorIndex, Window};
use crate::verify::{Claim, proves_ready};
use alloc::vec;
use alloc::vec::Vec;

/// The first question is asked again after this many T_retx, then after twice as long each time.
const ASK_PERIODS: u64 = 8;
/// Doublings of that wait at most.
const ASK_DOUBLINGS_MAX: u32 = 5;

/// A peer's questions cost it a line of the log and a signature once in this time, nanoseconds: a
/// peer that starts again asks anew, and none has reason to do so more often.
const ANSWER_LINE_NS: u64 = 1_000_000_000;

/// The last answer to a peer and how far it has come. What was stated stays true: the same question
/// gets it again.
#[derive(Debug)]
pub(crate) struct Told {
    answer: OwnAnswer,
    is_logged: bool,
    signature: Option<SignatureBytes>,
}

/// How far a validator without its lease has come.
#[derive(Debug)]
pub(crate) struct Recovery {
    nonce: Nonce,
    /// What each peer answered, verified.
    answers: Vec<Option<Window>>,
    /// When each peer is asked next, and how often it was.
    asks: Vec<(u64, u32)>,
    /// Enough have answered: no act up to here, once the lease file says so.
    until: Option<Window>,
}

impl Consensus {
    /// Begins R13: nothing of the own is believed or said until peers have answered.
    pub(crate) fn begin_recovery(&mut self) {
        self.fence.is_failed = true;
        self.recoveries = self.recoveries.saturating_add(1);
        let validators = self.config.set.len();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.config.nonce_seed);
        hasher.update(&self.recoveries.to_le_bytes());
        self.recovery = Some(Recovery {
            nonce: *hasher.finalize().as_bytes(),
            answers: vec![None; validators],
            asks: vec![(0, 0); validators],
            until: None,
        });
        for state in self.windows.values_mut() {
            state.forget_own();
            if let Some(voter) = state.tally.voter_mut(self.config.own) {
                // No own record in a certificate. What was counted was said once, and stays.
                voter.signed = None;
                voter.signed_earlier = Vec::new();
            }
        }
        self.proposals.forget();
        // Answers on their way to the log or the signer do not cover what is found lost now.
        for peer in &mut self.peers {
            peer.told = None;
        }
    }

    /// Whether anything of the own may still come out of a window: not of one that R12 or R13 has
    /// closed to this validator while a record was with the journal or the signer.
    pub(crate) fn may_speak_of(&self, window: Window) -> bool {
        self.recovery.is_none() && self.lease.abstain_until.is_none_or(|until| window > until)
    }

    /// Asks a peer, again and again with a growing wait until it has answered: a question or its
    /// answer may be lost, and a peer may not be able to answer yet.
    pub(crate) fn ask_recover(&mut self, now: Now, peer: ValidatorIndex, effects: &mut Effects) {
        let period = self.config.timers.retransmit_ns.max(1);
        let Some(recovery) = &mut self.recovery else {
            return;
        };
        let (next_ns, asked) = &mut recovery.asks[peer.place()];
        let is_answered = recovery.answers[peer.place()].is_some();
        if recovery.until.is_some() || is_answered || now.mono_ns < *next_ns {
            return;
        }
        let wait_ns = period.saturating_mul(ASK_PERIODS) << *asked;
        *next_ns = now.mono_ns.saturating_add(wait_ns);
        *asked = asked.saturating_add(1).min(ASK_DOUBLINGS_MAX);
        effects.push(Effect::Send {
            to: Destination::Peer(peer),
            message: Message::Recover {
                nonce: recovery.nonce,
            },
        });
    }

    /// R13, the answering side. The window answered with covers everything that this validator has
    /// ever said, and its proof keeps a liar from sending the asker far ahead.
    pub(crate) fn handle_recover(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        nonce: Nonce,
        effects: &mut Effects,
    ) -> Disposition {
        // Who lost its own memory, or may have, cannot say what it covers.
        if self.is_recovering() || self.entered <= self.lease.abstain_until {
            return Disposition::Ignored(Ignored::NotAllowed);
        }
        // No peer gets many.
        let period = self.config.timers.retransmit_ns;
        let peer = &mut self.peers[from.place()];
        if now.mono_ns < peer.recover_after_ns {
            return Disposition::Ignored(Ignored::Full);
        }
        peer.recover_after_ns = now
            .mono_ns
            .saturating_add(period.saturating_mul(ASK_PERIODS / 2));
        if let Some(again) = self.tell_again(from, nonce, effects) {
            return again;
        }
        // A new answer is a line of the log and a signature: far fewer of them.
        if now.mono_ns < self.peers[from.place()].recover_line_after_ns {
            return Disposition::Ignored(Ignored::Full);
        }
        let Some(window) = self.window_to_answer() else {
            return Disposition::Ignored(Ignored::Pending);
        };
        let answer = OwnAnswer {
            asker: from,
            nonce,
            window,
        };
        let peer = &mut self.peers[from.place()];
        peer.recover_line_after_ns = now.mono_ns.saturating_add(ANSWER_LINE_NS);
        peer.told = Some(Told {
            answer,
            is_logged: false,
            signature: None,
        });
        // R11: what is stated for ever is in the log before it leaves.
        effects.push(Effect::PersistAnswer(answer));
        Disposition::Applied
    }

    /// The same question again: the first answer may have been lost. It was made after the question
    /// and so covers what it has to. None when there is none, or its proof is gone.
    fn tell_again(
        &self,
        from: ValidatorIndex,
        nonce: Nonce,
        effects: &mut Effects,
    ) -> Option<Disposition> {
        let told = self.peers[from.place()].told.as_ref()?;
        if told.answer.nonce != nonce {
            return None;
        }
        match told.signature {
            Some(signature) => self
                .send_answer(&told.answer, signature, effects)
                .then_some(Disposition::Applied),
            // It is with the journal or the signer.
            None => Some(Disposition::Ignored(Ignored::Pending)),
        }
    }

    /// The lowest window that covers the own abstention and every own record, and whose
    /// ParentReady signed evidence here proves.
    fn window_to_answer(&self) -> Option<Window> {
        let voted = self.windows.iter().rev();
        let voted = voted
            .filter(|(_, state)| !state.own.is_empty())
            .map(|(window, _)| *window)
            .next();
        let covered = voted.max(self.lease.abstain_until);
        let lowest = covered.unwrap_or(Window::ZERO).max(self.proven.window);
        let highest = self.entered?;
        let mut window = lowest;
        while window <= highest {
            if self.ready_proof(window).is_some() {
                return Some(window);
            }
            window = window.next();
        }
        None
    }

    /// The certificates that prove to a third party that a window can be entered: of a block proven
    /// final there or above, since windows may pass while an answer is signed, else of the window
    /// before.
    fn ready_proof(&self, window: Window) -> Option<Vec<crate::certificate::Certificate>> {
        if window == Window::ZERO {
            return Some(Vec::new());
        }
        if self.proven.window >= window
            && let Some(proof) = &self.proof
        {
            return Some(vec![proof.clone()]);
        }
        let mut certificates = self.certificates_behind(window)?;
        certificates.retain(|certificate| certificate.window.next() == window);
        proves_ready(&self.config.set, window, &certificates).then_some(certificates)
    }

    /// An own answer is past the journal: it may be signed.
    pub(crate) fn handle_answer_durable(
        &mut self,
        answer: OwnAnswer,
        effects: &mut Effects,
    ) -> Disposition {
        if self.is_recovering() {
            return Disposition::Ignored(Ignored::NotAllowed);
        }
        let Some(told) = self.told_mut(&answer) else {
            return Disposition::Ignored(Ignored::Stale);
        };
        if core::mem::replace(&mut told.is_logged, true) {
            return Disposition::Ignored(Ignored::Stale);
        }
        effects.push(Effect::SignAnswer(answer));
        Disposition::Applied
    }

    /// An own answer came back signed: it leaves with its proof. When that is gone by now, the
    /// asker asks again.
    pub(crate) fn handle_answer_signed(
        &mut self,
        answer: &OwnAnswer,
        signature: SignatureBytes,
        effects: &mut Effects,
    ) -> Disposition {
        if self.is_recovering() {
            return Disposition::Ignored(Ignored::NotAllowed);
        }
        // One that was made before the last recovery is none any more.
        let Some(told) = self.told_mut(answer).filter(|told| told.is_logged) else {
            return Disposition::Ignored(Ignored::Stale);
        };
        told.signature = Some(signature);
        if self.send_answer(answer, signature, effects) {
            Disposition::Applied
        } else {
            Disposition::Ignored(Ignored::Stale)
        }
    }

    /// The last answer to its asker, if it is this one.
    fn told_mut(&mut self, answer: &OwnAnswer) -> Option<&mut Told> {
        let told = self.peers[answer.asker.place()].told.as_mut();
        told.filter(|told| told.answer == *answer)
    }

    /// `false` when the proof of its window is gone.
    fn send_answer(
        &self,
        answer: &OwnAnswer,
        signature: SignatureBytes,
        effects: &mut Effects,
    ) -> bool {
        let Some(certificates) = self.ready_proof(answer.window) else {
            return false;
        };
        effects.push(Effect::Send {
            to: Destination::Peer(answer.asker),
            message: Message::RecoverAnswer(RecoverAnswer {
                nonce: answer.nonce,
                window: answer.window,
                certificates,
                signature,
            }),
        });
        true
    }

    /// An answer of a peer: worth something once its signature and its certificates are checked.
    pub(crate) fn handle_recover_answer(
        &mut self,
        from: ValidatorIndex,
        answer: RecoverAnswer,
        effects: &mut Effects,
    ) -> Disposition {
        if !self.awaits_answer(&answer.nonce) {
            return Disposition::Ignored(Ignored::Unasked);
        }
        let claim = Claim::RecoverAnswer {
            answerer: from,
            answer,
        };
        if !self.ask_check(from, claim, effects) {
            return Disposition::Ignored(Ignored::Full);
        }
        Disposition::Applied
    }

    /// An answer to an earlier question says nothing of what was said since.
    fn awaits_answer(&self, nonce: &Nonce) -> bool {
        self.recovery
            .as_ref()
            .is_some_and(|recovery| recovery.nonce == *nonce && recovery.until.is_none())
    }

    /// A peer's answer came back verified. Answers of stake N - Q + F + 1 meet, in an honest
    /// validator, the records on which this one entered any window it ever spoke in.
    pub(crate) fn take_recover_answer(
        &mut self,
        answerer: ValidatorIndex,
        answer: &RecoverAnswer,
        effects: &mut Effects,
    ) {
        if !self.awaits_answer(&answer.nonce) {
            return;
        }
        let set = self.config.set.clone();
        let Some(recovery) = &mut self.recovery else {
            return;
        };
        let known = &mut recovery.answers[answerer.place()];
        *known = (*known).max(Some(answer.window));
        let weight: Stake = set
            .indices()
            .filter(|index| recovery.answers[index.place()].is_some())
            .map(|index| set.stake(index))
            .sum();
        if weight < set.thresholds().recover() {
            return;
        }
        let Some(highest) = recovery.answers.iter().flatten().max().copied() else {
            return;
        };
        let until = highest.next();
        recovery.until = Some(until);
        // None of them ever falls. Any proof that was flushed before is of records which the
        // answers cover as well.
        let lease = &self.lease;
        effects.push(Effect::PersistLease(Lease {
            lease: lease.lease.max(Some(until)),
            abstain_until: lease.abstain_until.max(Some(until)),
            no_proposals_until: lease.no_proposals_until.max(Some(until)),
            is_lost: false,
            proofs_elsewhere: lease.proofs_elsewhere.max(Some(until)),
        }));
    }

    /// The lease file holds what R13 found, when it is that: this validator goes on as R12 says,
    /// with its fence. `true` when it does.
    pub(crate) fn finish_recovery(&mut self, lease: Lease, effects: &mut Effects) -> bool {
        let is_found = self.recovery.as_ref().is_some_and(|recovery| {
            let until = recovery.until;
            until.is_some() && !lease.is_lost && lease.abstain_until >= until
        });
        if !is_found {
            return false;
        }
        self.recovery = None;
        self.lease = lease;
        self.lease_asked = lease.lease;
        self.fence = Fence::new(self.config.set.len());
        self.counters.recoveries = self.counters.recoveries.saturating_add(1);
        if let Some(until) = lease.abstain_until {
            effects.push(Effect::Alarm(Alarm::Recovered(until)));
        }
        let set = self.config.set.clone();
        for peer in set.indices() {
            if self.peers[peer.place()].is_up {
                self.ask_fence(peer, effects);
            }
        }
        self.check_fence();
        true
    }
}

impl crate::window::WindowState {
    /// Takes back what the log said of the own: it may be older than what was sent.
    fn forget_own(&mut self) {
        self.own = Record::default();
        self.own_tip = None;
        self.is_frozen = false;
        self.persisted = Record::default();
        self.durable = Record::default();
        self.is_unsent = false;
        self.signing = None;
        self.unsigned_since_ns = None;
        self.sign_now = false;
        self.signed_at_ns = None;
        self.is_stop_sent = false;
        self.is_dirty = true;
    }
}
