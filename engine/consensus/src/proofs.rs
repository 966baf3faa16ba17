//! Certificates: built from signed records, taken from others, kept to be served.
//!
//! Owns everything that must convince a third party. Built from `Verified` records alone (5.1).
//! Never: counting; a certificate yields one sticky fact and its records join nothing.

use crate::certificate::{Certificate, SignedRecord, Target};
use crate::effect::{Destination, Effect, Effects};
use crate::header::Header;
use crate::limits;
use crate::machine::{Consensus, Disposition, Ignored};
use crate::message::Message;
use crate::record::Record;
use crate::types::{BlockId, Index, Now, Point, Stake, ValidatorIndex, Window};
use crate::verify::{Claim, Fact, judge};
use crate::window::WindowState;
use crate::window::tree::{BlockPlace, Lineage, PerBlock, Tree};
use alloc::vec;
use alloc::vec::Vec;

impl Consensus {
    /// Looks for a higher block that signed records alone make final, and logs the newest proof
    /// at least every t_flush. `true` when the proven block moved.
    pub(crate) fn prove(&mut self, now: Now, effects: &mut Effects) -> bool {
        let dirty = self.select(|_, _, state| state.is_signed_dirty);
        let mut moved = false;
        for &window in &dirty {
            moved |= self.prove_in(window, now, effects);
        }
        self.give_back(dirty);
        self.persist_proof(now, effects);
        moved
    }

    fn prove_in(&mut self, window: Window, now: Now, effects: &mut Effects) -> bool {
        let Some(state) = self.windows.get_mut(&window) else {
            return false;
        };
        state.is_signed_dirty = false;
        let Some(place) = state.tally.highest_signed_final(&self.config.set) else {
            return false;
        };
        let block = state.tally.tree.block(place);
        let Some(header) = block.header else {
            return false;
        };
        let point = header.point(block.id);
        if point.height <= self.proven.height || point.height > self.finalized.height {
            // Not yet final by count: its own records are on their way through `count_record`.
            return false;
        }
        let Some(proof) = self.final_certificate(window, place) else {
            return false;
        };
        self.adopt_proof(point, proof, effects);
        // R9 for a proof of one's own making as for another's: what lies below is dropped, and with
        // it every other way into this window.
        if self.entered.is_none_or(|entered| entered < window) {
            self.enter(window, now, effects);
        }
        true
    }

    /// Makes a verified proof the newest one.
    pub(crate) fn adopt_proof(&mut self, point: Point, proof: Certificate, effects: &mut Effects) {
        self.proven = point;
        self.proof = Some(proof);
        effects.push(Effect::Proven(point));
    }

    /// Logs the newest proof once every body up to it is in the log. While bodies are behind proofs
    /// that is never: one proof waits for its own meanwhile, then the next.
    fn persist_proof(&mut self, now: Now, effects: &mut Effects) {
        let is_due =
            now.mono_ns.saturating_sub(self.proof_persisted_ns) >= self.config.timers.flush_ns;
        if !is_due || self.proof_persisted >= self.proven.height {
            return;
        }
        let delivered = self.delivery.delivered();
        let has_bodies = |(point, _): &(Point, Certificate)| delivered >= point.height;
        let newest = self.proof.as_ref().map(|proof| (self.proven, proof));
        let newest = newest.filter(|(point, _)| delivered >= point.height);
        let deliverable = match newest {
            Some((point, proof)) => Some((point, proof.clone())),
            None => self.proof_waiting.take_if(|waiting| has_bodies(waiting)),
        };
        if let Some((point, proof)) = deliverable {
            self.proof_waiting = None;
            self.proof_persisted = point.height;
            self.proof_persisted_ns = now.mono_ns;
            effects.push(Effect::PersistProof { point, proof });
        } else if self.proof_waiting.is_none() {
            self.proof_waiting = self.proof.clone().map(|proof| (self.proven, proof));
        }
    }

    pub(crate) fn skip_certificate(&self, window: Window, from: Index) -> Option<Certificate> {
        let state = self.windows.get(&window)?;
        let skips = |record: &Record| {
            let skips = record.skip_from().is_some_and(|start| start <= from);
            skips.then(|| record.tip.map(|(index, _)| index))
        };
        let quorum = self.config.set.thresholds().quorum;
        self.signed_records_of(state, Choice::Newest, skips, quorum)
            .map(|records| Certificate {
                epoch: self.config.set.epoch(),
                window,
                target: Target::Skip { from },
                records,
                headers: Vec::new(),
            })
            .or_else(|| {
                let held = state.certificates.iter().find(
                    |held| matches!(held.target, Target::Skip { from: start } if start <= from),
                );
                held.cloned()
            })
    }

    pub(crate) fn certified_certificate(
        &self,
        window: Window,
        point: Point,
    ) -> Option<Certificate> {
        if point.id == self.proven.id {
            return self.proof.clone();
        }
        let state = self.windows.get(&window)?;
        let built = state
            .tally
            .tree
            .find_connected(point.index, point.id)
            .and_then(|place| {
                let tree = &state.tally.tree;
                let mut above = tree.lineage(place);
                let target = Target::Certified {
                    index: point.index,
                    id: point.id,
                };
                let quorum = self.config.set.thresholds().quorum;
                // Where the newest records are too far above the block, others may not be: what a
                // voter said once it has said for ever.
                [Choice::Newest, Choice::Nearest]
                    .into_iter()
                    .find_map(|choice| {
                        let supports = |record: &Record| {
                            let named = record.tip.iter().chain(&record.also);
                            let top = choice.top_above(tree, &mut above, named)?;
                            Some(match choice {
                                Choice::Newest => record.tip.map(|(index, _)| index),
                                Choice::Nearest => Some(tree.block(top).index),
                            })
                        };
                        let records = self.signed_records_of(state, choice, supports, quorum)?;
                        self.with_headers(state, place, target, (choice, records), true)
                    })
            });
        built.or_else(|| {
            let held = state
                .certificates
                .iter()
                .find(|held| matches!(held.target, Target::Certified { id, .. } if id == point.id));
            held.cloned()
        })
    }

    fn final_certificate(&self, window: Window, place: BlockPlace) -> Option<Certificate> {
        let state = self.windows.get(&window)?;
        let block = state.tally.tree.block(place);
        let target = Target::Final {
            index: block.index,
            id: block.id,
        };
        let thresholds = self.config.set.thresholds();
        let first = |record: &Record| {
            let votes = state.tally.record_first_votes(record, place);
            votes.then(|| record.tip.map(|(index, _)| index))
        };
        let fin = |record: &Record| {
            let is_final = record.fin.is_some_and(|fin| fin >= block.index);
            is_final.then(|| first(record)).flatten()
        };
        [Choice::Newest, Choice::Nearest]
            .into_iter()
            .find_map(|choice| {
                let records = self
                    .signed_records_of(state, choice, fin, thresholds.quorum)
                    .or_else(|| self.signed_records_of(state, choice, first, thresholds.fast))?;
                self.with_headers(state, place, target, (choice, records), false)
            })
    }

    /// Signed records that hold, one of each voter, until their weight suffices: those first that
    /// `top_of` says stand lowest, since each needs the headers up to there.
    fn signed_records_of<K: Copy + Ord>(
        &self,
        state: &WindowState,
        choice: Choice,
        mut top_of: impl FnMut(&Record) -> Option<K>,
        needed: Stake,
    ) -> Option<Vec<SignedRecord>> {
        let set = &self.config.set;
        let mut fitting: Vec<(K, SignedRecord, Stake)> = state
            .tally
            .voters(set)
            .filter_map(|(validator, stake, voter)| {
                let earlier = voter.signed_earlier.iter();
                let earlier = earlier.filter(|_| choice == Choice::Nearest);
                let records = voter.signed.iter().chain(earlier);
                let fitting = records.filter_map(|signed| Some((top_of(&signed.0)?, signed)));
                let (top, (record, signature)) = fitting.min_by_key(|(top, _)| *top)?;
                let signed = SignedRecord {
                    validator,
                    record: record.clone(),
                    signature: *signature,
                };
                Some((top, signed, stake))
            })
            .collect();
        fitting.sort_by_key(|(top, ..)| *top);
        let mut weight = Stake::ZERO;
        let mut chosen = Vec::new();
        for (_, signed, stake) in fitting {
            if weight >= needed {
                break;
            }
            weight.add(stake);
            chosen.push(signed);
        }
        chosen.sort_by_key(|signed| signed.validator);
        (weight >= needed).then_some(chosen)
    }

    /// Adds the headers that link each record to the target.
    fn with_headers(
        &self,
        state: &WindowState,
        place: BlockPlace,
        target: Target,
        (choice, records): (Choice, Vec<SignedRecord>),
        with_also: bool,
    ) -> Option<Certificate> {
        let tree = &state.tally.tree;
        let (mut above, mut seen) = (tree.lineage(place), PerBlock::default());
        let mut linked: Vec<(Index, BlockId, BlockPlace)> = Vec::new();
        for signed in &records {
            let also = signed.record.also.iter().filter(|_| with_also);
            let named = signed.record.tip.iter().chain(also);
            let top = choice.top_above(tree, &mut above, named)?;
            // What another record's path has is in it with all below.
            for at in tree.chain(top) {
                if at == place || seen.get(at).is_some() {
                    break;
                }
                seen.set(at, ());
                linked.push((tree.block(at).index, tree.block(at).id, at));
                if linked.len() >= limits::CERTIFICATE_HEADERS_MAX {
                    return None;
                }
            }
        }
        linked.sort_unstable();
        let mut headers = vec![tree.block(place).header?];
        headers.extend(
            linked
                .iter()
                .filter_map(|&(_, _, at)| tree.block(at).header),
        );
        Some(Certificate {
            epoch: self.config.set.epoch(),
            window: state.window,
            target,
            records,
            headers,
        })
    }

    pub(crate) fn send_certificates(
        &mut self,
        to: ValidatorIndex,
        certificates: Vec<Certificate>,
        effects: &mut Effects,
    ) {
        if certificates.is_empty() {
            return;
        }
        self.counters.certificates_sent = self.counters.certificates_sent.saturating_add(1);
        let message = Message::Certificates(certificates);
        effects.push(Effect::Send {
            to: Destination::Peer(to),
            message,
        });
    }

    /// Certificates from a peer: one check in flight a peer, and only for news.
    pub(crate) fn handle_certificates(
        &mut self,
        from: ValidatorIndex,
        certificates: Vec<Certificate>,
        effects: &mut Effects,
    ) -> Disposition {
        let certificates: Vec<_> = certificates
            .into_iter()
            .filter(|certificate| self.is_news(certificate))
            .collect();
        if certificates.is_empty() {
            return Disposition::Ignored(Ignored::Stale);
        }
        if self.peers[from.place()].certificates_checked {
            return Disposition::Ignored(Ignored::Full);
        }
        if !self.ask_check(from, Claim::Certificates { certificates }, effects) {
            return Disposition::Ignored(Ignored::Full);
        }
        self.peers[from.place()].certificates_checked = true;
        Disposition::Applied
    }

    fn is_news(&self, certificate: &Certificate) -> bool {
        if certificate.epoch != self.config.set.epoch() || certificate.window < self.proven.window {
            // A proof below the proven block still helps to cut a wide gap of history.
            return matches!(certificate.target, Target::Final { .. })
                && self.delivery.gap().is_some();
        }
        let held = self.windows.get(&certificate.window);
        match certificate.target {
            Target::Final { index, .. } => {
                certificate.window > self.proven.window
                    || index > self.proven.index
                    || self.config.set.is_genesis(&self.proven)
                    || self.delivery.gap().is_some()
            }
            Target::Skip { from } => {
                held.is_none_or(|state| state.skip_fact.is_none_or(|fact| fact > from))
            }
            Target::Certified { index, id } => {
                // Nothing stands on a block of the proven window but on the proven one or above.
                let is_settled = certificate.window == self.proven.window
                    && index <= self.proven.index
                    && !self.config.set.is_genesis(&self.proven);
                !is_settled && held.is_none_or(|state| state.wants_certified(index, id))
            }
        }
    }

    /// A claim came back with good signatures.
    pub(crate) fn handle_verified(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        claim: Claim,
        effects: &mut Effects,
    ) -> Disposition {
        match claim {
            Claim::Record { window, signed } => {
                self.note_signature_checked(signed.validator);
                self.take_signed_record(now, window, signed, effects);
            }
            Claim::Header { header, signature } => {
                self.take_signed_header(header, signature, effects);
            }
            Claim::Certificates { certificates } => {
                self.peers[from.place()].certificates_checked = false;
                for certificate in certificates {
                    self.take_certificate(now, certificate, effects);
                }
            }
            Claim::FenceRecord { held } => self.take_fence_record(from, &held, effects),
            Claim::RecoverAnswer { answerer, answer } => {
                self.take_recover_answer(answerer, &answer, effects);
            }
            Claim::Evidence(evidence) => {
                self.peers[from.place()].evidence_checked = false;
                self.tell_evidence(evidence, effects);
            }
            Claim::State {
                validator,
                statement,
                signature,
            } => self.take_attestation(validator, statement, signature, effects),
            // Checked for whoever joins by it; nothing is counted from it here.
            Claim::StateCertificate(_) => {}
        }
        Disposition::Applied
    }

    /// Turns a verified certificate into its sticky fact.
    fn take_certificate(&mut self, now: Now, certificate: Certificate, effects: &mut Effects) {
        let Ok(fact) = judge(&self.config.set, &certificate) else {
            return;
        };
        self.counters.certificates_taken = self.counters.certificates_taken.saturating_add(1);
        let target: Option<Header> = certificate.headers.first().copied();
        match (fact, target) {
            (Fact::Final(point), Some(header)) => {
                self.r9_jump(now, point, header, certificate, effects);
            }
            (Fact::Certified(point), Some(header)) => {
                self.take_certified(point, header, certificate);
            }
            (Fact::Skip { window, from }, _) => {
                if let Some(state) = self.proven_window_mut(window) {
                    state.keep_skip(from);
                    state.is_dirty = true;
                    state.keep_certificate(certificate);
                }
            }
            (_, None) => {}
        }
    }

    fn take_certified(&mut self, point: Point, header: Header, certificate: Certificate) {
        let Some(state) = self.proven_window_mut(point.window) else {
            return;
        };
        if state.keep_certified(point, header.time_ns) {
            state.is_dirty = true;
            state.keep_certificate(certificate);
        }
    }

    /// A window that a verified certificate speaks of, also above the range of plain records.
    pub(crate) fn proven_window_mut(&mut self, window: Window) -> Option<&mut WindowState> {
        let validators = self.config.set.len();
        let room = self.windows.len() < limits::WINDOWS_LIVE_MAX;
        if window < self.proven.window || (!room && !self.windows.contains_key(&window)) {
            return None;
        }
        Some(
            self.windows
                .entry(window)
                .or_insert_with(|| WindowState::new(window, validators)),
        )
    }
}

/// Which signed records a certificate is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// Of each voter the newest one, those with the lowest tips.
    Newest,
    /// Of each voter the one that needs the fewest headers, and of the voters those that do.
    Nearest,
}

impl Choice {
    /// The block named by a record by which it stands on the base of a lineage.
    fn top_above<'a>(
        self,
        tree: &Tree,
        above: &mut Lineage<'_>,
        named: impl Iterator<Item = &'a (Index, BlockId)>,
    ) -> Option<BlockPlace> {
        let tops = named.filter_map(|&(index, id)| tree.find_connected(index, id));
        let mut tops = tops.filter(|&at| above.holds(at));
        match self {
            Self::Newest => tops.next(),
            Self::Nearest => tops.min_by_key(|&at| tree.block(at).index),
        }
    }
}
