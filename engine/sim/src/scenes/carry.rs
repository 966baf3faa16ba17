//! What a validator asks of the outside: its log, its lease file, its signature workers, the wire.
//!
//! Owns one arm an effect. Everything but the log's sync is answered at once. Never: decides when a
//! held log is synced; the script does.

use quorate_consensus::certificate::SignatureBytes;
use quorate_consensus::effect::{Destination, Effect};
use quorate_consensus::header::Header;
use quorate_consensus::input::Input;
use quorate_consensus::machine::{Consensus, Durability};
use quorate_consensus::message::{BlockRef, Message};
use quorate_consensus::record::{OwnRecord, Record};
use quorate_consensus::signing::{self, Signer as _};
use quorate_consensus::trust::{Durable, Lease};
use quorate_consensus::types::{ValidatorIndex, Window};
use quorate_consensus::verify::{Claim, check_claims};

use super::disk::Entry;
use super::line::Line;
use super::member::Unsynced;
use super::names::{NamedBlock, v};
use super::stage::Stage;
use super::tell::{self, Growth};

impl Stage {
    /// Carries out effects in order; `mark` stands before what is sent.
    pub(crate) fn carry(&mut self, who: ValidatorIndex, effects: Vec<Effect>, mark: &str) {
        for effect in effects {
            match effect {
                Effect::PersistBlock { .. }
                | Effect::PersistRecord(_)
                | Effect::PersistProof { .. }
                | Effect::PersistLease(_) => self.persist(who, effect),
                Effect::Send { to, message } => self.say(who, to, &message, mark),
                Effect::SignRecord { window, record } => {
                    let signature = self.sign_record(who, window, &record);
                    self.answers.push(Input::RecordSigned {
                        window,
                        record,
                        signature,
                    });
                }
                Effect::SignHeader { id, header } => {
                    let signature = self.sign_header(who, &header);
                    self.answers.push(Input::HeaderSigned { id, signature });
                }
                Effect::PersistAnswer(answer) => {
                    let text = format!("logs its answer to {}", v(answer.asker));
                    self.tell(who, "R11", text);
                    let answer = Durable::assert_durable_answer(answer);
                    self.answers.push(Input::AnswerDurable(answer));
                }
                Effect::SignAnswer(answer) => {
                    let mut message = Vec::new();
                    signing::recover_message(&self.set, who, &answer, &mut message);
                    let signature = self.keyring.keys()[who.place()].sign(&message);
                    self.answers.push(Input::AnswerSigned { answer, signature });
                }
                // Scenes have no application whose state could be attested.
                Effect::SignState(_)
                | Effect::StateProven(_)
                | Effect::Diverged(_)
                | Effect::Snapshot { .. } => {}
                Effect::Verify { from, claim } => self.verify(who, from, claim),
                Effect::ServeBodies { to, blocks } => self.serve_bodies(who, to, &blocks, mark),
                Effect::ServeHistory { to, top, count } => {
                    self.serve_history(who, to, top, count, mark);
                }
                Effect::ServeFinality { to, at_least } => {
                    let proofs = self.member(who).disk.proofs();
                    let proof = proofs.filter(|(point, _)| point.height >= at_least);
                    let lowest = proof.min_by_key(|(point, _)| point.height);
                    if let Some((_, proof)) = lowest {
                        let message = Message::Certificates(vec![proof.clone()]);
                        self.say(who, Destination::Peer(to), &message, mark);
                    }
                }
                told => self.note(who, told),
            }
        }
    }

    /// What is only told.
    fn note(&mut self, who: ValidatorIndex, effect: Effect) {
        match effect {
            Effect::Finalized { id, header, path } => {
                let line = tell::finalized(who, self.names.name(id), path);
                self.lines.push(line);
                let member = self.member_mut(who);
                member.finalized.push((id, path));
                self.append(who, Entry::Finalized(id, header), None);
            }
            Effect::Proven(point) => {
                let names = vec![self.names.name(point.id)];
                let line = Line::about(who, "==", "can prove to others ", names, "");
                self.lines.push(line);
            }
            Effect::Entered { window, leader } => {
                let at = window.number();
                let text = format!("enters w{at}, led by {}", v(leader));
                let by_proof = self.machine(who).is_ok_and(|machine| {
                    let proven = machine.proven();
                    proven.window == window && !self.set.is_genesis(&proven)
                });
                self.tell(who, if by_proof { "R9" } else { "R1" }, text);
            }
            Effect::Evidence(evidence) => self.tell(who, "!!", tell::evidence(&evidence)),
            Effect::Alarm(alarm) => {
                let (mark, text) = tell::alarm(&self.names, alarm);
                self.tell(who, mark, text);
            }
            // The record that follows tells the stop; what is durable at others is no event here.
            _ => {}
        }
    }

    /// Something is said: told, unless it is a Status, and put on its way.
    fn say(&mut self, who: ValidatorIndex, to: Destination, message: &Message, mark: &str) {
        if !matches!(message, Message::Status(_)) {
            let (before, names, after) = self.names.message(message);
            let line = Line::about(who, mark, before, names, &after);
            let line = match to {
                Destination::All => line.with(" to all", None),
                Destination::Peer(peer) => line.with(" to ", Some(peer)),
            };
            self.lines.push(line);
        }
        self.send(who, to, message);
    }

    fn persist(&mut self, who: ValidatorIndex, effect: Effect) {
        match effect {
            Effect::PersistBlock {
                id,
                header,
                payload,
            } => {
                if let Some(name) = self.payloads.remove(&header.payload_hash) {
                    let payload = payload.clone();
                    let block = NamedBlock {
                        id,
                        header,
                        payload,
                    };
                    self.names.learn(&name, block);
                }
                self.member_mut(who).view.hear_header(&header);
                self.append(who, Entry::Block(id, header, payload), None);
            }
            Effect::PersistRecord(own) => self.persist_record(who, own),
            Effect::PersistProof { point, proof } => {
                let entry = Entry::Proof(point, proof);
                self.append(who, entry, Some(Unsynced::Proof(point.height)));
            }
            Effect::PersistLease(lease) => self.persist_lease(who, lease),
            _ => {}
        }
    }

    fn persist_lease(&mut self, who: ValidatorIndex, lease: Lease) {
        self.member_mut(who).disk.lease.lease = lease;
        if let Some(window) = lease.lease {
            self.tell(
                who,
                "R11",
                format!("leases windows up to w{}", window.number()),
            );
        }
        let lease = Durable::assert_durable_lease(lease);
        self.answers.push(Input::LeaseDurable(lease));
    }

    /// R11: the record is in the log before anyone hears it.
    fn persist_record(&mut self, who: ValidatorIndex, own: OwnRecord) {
        let leads = self.set.leader(own.window) == who;
        let member = self.member_mut(who);
        let counters = member.consensus.as_ref().map(Consensus::counters).cloned();
        let counters = counters.unwrap_or_default();
        let reason = tell::stop_reason(&member.counters, &counters);
        member.counters = counters;
        let before = member.said.insert(own.window, own.record.clone());
        let growth = Growth {
            who,
            window: own.window,
            before: &before.unwrap_or_default(),
            after: &own.record,
            leads,
            reason,
        };
        let lines = growth.lines(&self.names);
        self.lines.extend(lines);
        if self.member(who).is_held {
            let (at, record) = (own.window.number(), self.names.record(&own.record));
            let what = match self.durability {
                Durability::Sync => "waits for the log's sync",
                Durability::Async => "written, not synced",
            };
            self.tell(who, "R11", format!("record w{at} {record}: {what}"));
        }
        self.append(who, Entry::Record(own.clone()), Some(Unsynced::Record(own)));
    }

    /// Appends to the log, and syncs unless it is held. In `async` durability a record counts as
    /// durable when it is written.
    fn append(&mut self, who: ValidatorIndex, entry: Entry, unsynced: Option<Unsynced>) {
        let durability = self.durability;
        let member = self.member_mut(who);
        member.disk.append(entry);
        let is_held = member.is_held;
        match unsynced {
            Some(Unsynced::Record(own)) if is_held && durability == Durability::Async => {
                self.count_own(who, own);
            }
            Some(unsynced) => member.unsynced.push(unsynced),
            None => {}
        }
        if !is_held {
            self.sync(who);
        }
    }

    /// The log is synced as far as it goes.
    pub(crate) fn sync(&mut self, who: ValidatorIndex) {
        let member = self.member_mut(who);
        member.disk.sync();
        for unsynced in core::mem::take(&mut member.unsynced) {
            match unsynced {
                Unsynced::Record(own) => self.count_own(who, own),
                Unsynced::Proof(height) => self.answers.push(Input::Flushed(height)),
            }
        }
    }

    fn count_own(&mut self, who: ValidatorIndex, own: OwnRecord) {
        let view = &mut self.member_mut(who).view;
        view.hear_record(who, own.window, &own.record);
        let durable = Durable::assert_durable(own);
        self.answers.push(Input::RecordDurable(durable));
    }

    pub(crate) fn sign_record(
        &self,
        who: ValidatorIndex,
        window: Window,
        record: &Record,
    ) -> SignatureBytes {
        let mut message = Vec::new();
        signing::record_message(&self.set, who, window, record, &mut message);
        self.keyring.keys()[who.place()].sign(&message)
    }

    pub(crate) fn sign_header(&self, who: ValidatorIndex, header: &Header) -> SignatureBytes {
        let mut message = Vec::new();
        signing::header_message(&self.set, header, &mut message);
        self.keyring.keys()[who.place()].sign(&message)
    }

    fn verify(&mut self, who: ValidatorIndex, from: ValidatorIndex, claim: Claim) {
        let set = std::sync::Arc::clone(&self.set);
        let (_, mut check) = self.keyring.signer_and_check(who.place());
        for verdict in check_claims(&set, who, vec![(from, claim)], &mut check) {
            self.answers.push(match verdict {
                Ok((from, claim)) => Input::Verified { from, claim },
                Err(refusal) => Input::Refused {
                    from: refusal.from,
                    own_record: refusal.own_record,
                },
            });
        }
    }

    fn serve_bodies(
        &mut self,
        who: ValidatorIndex,
        to: ValidatorIndex,
        blocks: &[BlockRef],
        mark: &str,
    ) {
        let disk = &self.member(who).disk;
        let held: Vec<_> = blocks
            .iter()
            .filter_map(|block| disk.block(block.id))
            .collect();
        for (header, payload) in held {
            let message = Message::Block { header, payload };
            self.say(who, Destination::Peer(to), &message, mark);
        }
    }

    fn serve_history(
        &mut self,
        who: ValidatorIndex,
        to: ValidatorIndex,
        top: BlockRef,
        count: u32,
        mark: &str,
    ) {
        let chain = self.member(who).disk.chain();
        let below = chain.iter().rev().skip_while(|(id, _)| *id != top.id);
        let headers: Vec<Header> = below
            .take(count as usize)
            .map(|(_, header)| *header)
            .collect();
        if !headers.is_empty() {
            let message = Message::History(headers);
            self.say(who, Destination::Peer(to), &message, mark);
        }
    }
}
