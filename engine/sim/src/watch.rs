//! What is seen from outside: every frame that leaves, every result, every alarm.
//!
//! Owns the handing of what was seen to the checkers and to clients. Never: judges.

use quorate::lanes::{Rejection, Verdict};
use quorate::replica::{Event, FrameOutcome};
use quorate::results::{CommandResult, Outcome};
use quorate::state_machine::{SessionId, StateMachine};
use quorate_consensus::certificate::Certificate;
use quorate_consensus::effect::{Alarm, Destination};
use quorate_consensus::header::Header;
use quorate_consensus::input::Input;
use quorate_consensus::message::Message;
use quorate_consensus::types::BlockId;
use quorate_consensus::wire;

use crate::checks::handed::Calls;
use crate::checks::{Checks, Violation, conduct, leases, records};
use crate::clients::{Heard, Submission};
use crate::member::{Delivered, Life, Turned};
use crate::world::{World, index};

impl<S: StateMachine> World<S> {
    /// A validator begins a life: what it restored must be what was.
    pub(crate) fn watch_start(&mut self, at: usize) {
        let Some(life) = self.members[at].life.as_mut() else {
            return;
        };
        let (height, root) = life.root();
        let summary = life.companions.summary.clone();
        self.trace.tell(
            self.now_ns,
            format_args!("v{at} starts at height {height}: {:?}", summary.lease),
        );
        self.reached_of(at).note_start(&summary);
        if self.is_byzantine(at) {
            return;
        }
        self.see_site_start(at);
        self.checks.chain.start(at, height);
        self.checks.certificates.start(at, height);
        let outcome = self.checks.roots.see(at, height, root);
        self.checks.take(outcome);
        // What the log has was executed again, on the state that it begins with.
        let below = summary.snapshot.max(self.plan.begins.unwrap_or_default());
        self.see_handed(at, below + 1..=height);
    }

    /// Looks at what a turn brought and hands it on.
    pub(crate) fn watch_turn(&mut self, at: usize, mut turned: Turned) -> Turned {
        if self.is_byzantine(at) {
            // What it says is nobody's promise, and nobody believes its answers.
            for (_, bytes) in &turned.frames {
                self.note_byzantine_frame(at, bytes);
            }
            for event in &turned.events {
                self.note_event(at, event);
            }
            return turned;
        }
        for (to, bytes) in &turned.frames {
            self.trace.note(self.now_ns, b'o', at, 0, bytes);
            match wire::decode(bytes) {
                Ok(message) => {
                    let line = format_args!("v{at} to {to:?}: {:?}", message.as_ref());
                    self.trace.tell(self.now_ns, line);
                    self.watch_message(at, message.as_ref());
                    self.watch_lease(at, message.as_ref());
                    self.watch_shown(*to, message.as_ref());
                }
                Err(error) => {
                    let what = format!("v{at} sends what cannot be decoded: {error}");
                    self.checks.take(Err(Violation::new("wire", what)));
                }
            }
        }
        for block in &turned.delivered {
            self.trace
                .note(self.now_ns, b'b', at, 0, &block.height.to_le_bytes());
            if self.trace.is_told() {
                let commands = block.commands.len();
                let (height, id) = (block.height, block.id);
                let line = format_args!("v{at} delivers {height} {id:?} of {commands} commands");
                self.trace.tell(self.now_ns, line);
            }
            self.checks.progress.deliver(self.now_ns, block.height);
            if let Some(id) = block.id {
                self.see_good_clocks();
                let Checks { times, headers, .. } = &mut self.checks;
                let outcome = times.deliver(block.height, &id, headers);
                self.checks.take(outcome);
                let outcome = self.checks.chain.deliver(at, block.height, id);
                self.checks.take(outcome);
            }
            let outcome = self.see_results(at, block);
            self.checks.take(outcome);
            let results = &mut self.checks.results;
            let outcome = results.see_outputs(at, block.height, block.outputs);
            self.checks.take(outcome);
        }
        if let Some((height, root)) = turned.root {
            self.see_handed(at, turned.delivered.iter().map(|block| block.height));
            let outcome = self.checks.roots.see(at, height, root);
            self.checks.take(outcome);
        }
        let answers = turned.delivered.iter().flat_map(|block| &block.commands);
        for result in answers.chain(&turned.repeats) {
            let heard = self.clients.hear(at, self.now_ns, result);
            if heard != Heard::Nothing {
                let outcome = self.checks.acknowledged.see(result);
                self.checks.take(outcome);
            }
            self.see_ended(result.session, heard);
        }
        for event in turned.events.drain(..) {
            self.watch_event(at, &event);
        }
        turned
    }

    /// A client knows that its session has ended.
    fn see_ended(&mut self, session: SessionId, heard: Heard) {
        if let Heard::Ended(numbers) = heard {
            let acknowledged = &mut self.checks.acknowledged;
            let each = numbers.into_iter();
            each.for_each(|seq| acknowledged.see_ended(session, seq));
        }
    }

    /// What came of a block, and of whom its commands were.
    fn see_results(&mut self, at: usize, block: &Delivered) -> Result<(), Violation> {
        let Checks {
            results,
            authors,
            handed,
            ..
        } = &mut self.checks;
        let commands = &block.commands;
        let asked = match block.id {
            Some(id) => authors.told((block.height, id), commands)?,
            None => None,
        };
        if let Some(asked) = &asked {
            handed.expect(block.height, asked.calls)?;
        }
        let made = asked.map_or_else(Vec::new, |asked| asked.made);
        let is_refused = |result: &&CommandResult| result.outcome == Outcome::BadSignature;
        let refused = commands.iter().filter(is_refused).count() as u64;
        self.reached.note("forged_refused", refused);
        let outcome = results.see(at, block.height, commands, &made);
        let (reopened, refused) = results.take_openings();
        self.reached.note("sessions_reopened", reopened);
        self.reached.note("openings_refused", refused);
        outcome
    }

    /// A payload was on the wire.
    pub(crate) fn see_payload(&mut self, id: BlockId, header: &Header, payload: &[u8]) {
        let (clients, is_signed) = (&self.clients, self.plan.is_signed);
        // Elsewhere nobody makes one in another's name.
        let is_made = |entry: &[u8]| !is_signed || clients.has_made(entry);
        self.checks.authors.see((id, header), payload, is_made);
    }

    /// What a validator has handed to its instances since this was last seen; in a turn of this
    /// world it executes blocks whole, or not at all. It tells that it executed those: nothing was
    /// handed over of one of which nothing was heard.
    pub(crate) fn see_handed(&mut self, at: usize, executed: impl Iterator<Item = u64>) {
        let Some(life) = &self.members[at].life else {
            return;
        };
        let [first, second] = &life.ears;
        let mut calls = first.take();
        let is_silent = |height: &u64| calls.iter().all(|(heard, _)| heard != height);
        let silent = executed.filter(is_silent);
        let silent: Vec<_> = silent.map(|height| (height, Calls::default())).collect();
        calls.extend(silent);
        calls.extend(second.take());
        for (height, calls) in calls {
            let outcome = self.checks.handed.see(at, height, calls);
            self.checks.take(outcome);
        }
    }

    /// What those clocks show that are promised to be about right.
    pub(crate) fn see_good_clocks(&mut self) {
        for place in 0..self.members.len() {
            let validator = self.validator(place).place();
            if !self.is_byzantine(place) && !self.plan.bad_clocks.contains(&validator) {
                let wall_ns = self.now(place).wall_ns;
                self.checks.times.see_clock(wall_ns);
            }
        }
    }

    fn watch_event(&mut self, at: usize, event: &Event) {
        self.trace
            .tell(self.now_ns, format_args!("v{at} {event:?}"));
        self.note_accusation(index(at), event);
        self.note_event(at, event);
        if let Event::Entered { window, .. } = event {
            let is_promised = self.is_progress_promised();
            let progress = &mut self.checks.progress;
            let outcome = progress.enter(self.now_ns, window.number(), is_promised);
            self.checks.take(outcome);
        }
        if let Event::Durable(height) = event {
            self.see_durable(at, height.number());
        }
        if let Event::Stopped(window) = event {
            self.checks.progress.give_up(window.number());
        }
        let outcome = conduct::judge(&self.set, index(at), event, |peer| {
            self.may_be_accused(peer)
        });
        self.checks.take(outcome);
    }

    fn note_event(&mut self, at: usize, event: &Event) {
        let name = match event {
            Event::Durable(_) => "r11_flushed_by_many",
            Event::Alarm(Alarm::Recovered(_)) => "r13_recovered",
            // An honest one that says so accuses itself (`checks::conduct`).
            Event::Alarm(Alarm::DiskOlderThanSent(_)) => return self.note_old_disk(at),
            _ => return,
        };
        self.reached_of(at).note(name, 1);
    }

    /// A validator says something.
    fn watch_message(&mut self, from: usize, message: &Message) {
        self.reached.note_message(message);
        if let Some((window, record)) = records::own(message) {
            self.checks.records.see(from, window, record);
        }
        match message {
            Message::Propose(propose) => {
                let id = self.watch_proposal(from, &propose.header);
                self.see_payload(id, &propose.header, &propose.payload);
                propose
                    .justification
                    .iter()
                    .for_each(|proof| self.watch_certificate(from, proof));
            }
            Message::Status(status) => {
                self.checks.certificates.finalize(from, &status.finalized);
                self.note_flushed(from, status.flushed.number());
            }
            Message::Certificates(proofs) => {
                proofs
                    .iter()
                    .for_each(|proof| self.watch_certificate(from, proof));
            }
            Message::Headers { headers, .. } | Message::History(headers) => {
                for header in headers {
                    self.watch_header(header);
                }
            }
            Message::Block { header, payload } => {
                let id = self.watch_header(header);
                self.see_payload(id, header, payload);
            }
            Message::HeaderSignature { header, .. } => {
                self.watch_proposal(from, header);
            }
            Message::RecoverAnswer(answer) => {
                answer
                    .certificates
                    .iter()
                    .for_each(|proof| self.watch_certificate(from, proof));
            }
            Message::Vote(_)
            | Message::Get(_)
            | Message::Recover { .. }
            | Message::Evidence(_)
            | Message::FenceAsk { .. }
            | Message::FenceAnswer { .. }
            | Message::Forward(_)
            | Message::Attestation { .. }
            | Message::Abscissas { .. }
            | Message::Snapshot(_) => {}
        }
    }

    /// What an honest validator says of its own has to be within what is on its disk.
    fn watch_lease(&mut self, at: usize, message: &Message) {
        let member = &self.members[at];
        if member.life.is_none() || !leases::is_judged(message) {
            return;
        }
        let lease = (member.disk.durable_lease(), member.silent_until);
        let leads = |window| self.set.leader(window) == index(at);
        let outcome = leases::judge(at, lease, message, leads);
        self.checks.take(outcome);
    }

    /// An honest validator shows what others said to it.
    fn watch_shown(&mut self, to: Destination, message: &Message) {
        let to = match to {
            Destination::Peer(peer) => Some(peer.place()),
            Destination::All => None,
        };
        for (validator, window, record) in records::shown(to, message) {
            if !self.is_byzantine(validator) {
                self.checks.records.see(validator, window, record);
            }
        }
    }

    /// A header that an honest validator shows: of a window that an honest one leads, unless a
    /// Byzantine voter has brought up a block that its leader never made.
    fn watch_header(&mut self, header: &Header) -> BlockId {
        let id = self.checks.see_header(header);
        if !self.troupe.cast.is_any() {
            let outcome = self.checks.proposals.see(id, header);
            self.checks.take(outcome);
        }
        id
    }

    /// A header that an honest validator shows as its own.
    fn watch_proposal(&mut self, from: usize, header: &Header) -> BlockId {
        let id = self.checks.see_header(header);
        if self.set.leader(header.window) == index(from) {
            let outcome = self.checks.proposals.see(id, header);
            self.checks.take(outcome);
        }
        id
    }

    /// A certificate that an honest validator shows, or has in its log. What was signed was said,
    /// whoever shows it.
    pub(crate) fn watch_certificate(&mut self, from: usize, proof: &Certificate) {
        let (_, mut check) = self.keyring.signer_and_check(0);
        match self.checks.certificates.see(from, proof, &mut check) {
            Ok(Some(proven)) => self.reached.note(proven.name(), 1),
            // It was judged before, and so was what is in it.
            Ok(None) => return,
            Err(violation) => self.checks.take(Err(violation)),
        }
        for header in &proof.headers {
            self.watch_header(header);
        }
        for signed in &proof.records {
            let signer = signed.validator.place();
            if !self.is_byzantine(signer) {
                self.checks
                    .records
                    .see(signer, proof.window, &signed.record);
            }
        }
    }

    /// A validator drops a peer for what it sent.
    pub(crate) fn watch_fault(
        &mut self,
        from: usize,
        to: usize,
        outcome: &FrameOutcome,
        bytes: &[u8],
    ) {
        if self.is_deserved(from, to) {
            return;
        }
        let message = wire::decode(bytes);
        let what = format!("v{to} finds {outcome:?} in v{from}'s {message:?}");
        self.checks.take(Err(Violation::new("conduct", what)));
    }

    /// A worker's verdict that what a peer sent is signed badly.
    pub(crate) fn watch_refusal(&mut self, at: usize, input: &Input) {
        if let Input::Refused { from, own_record } = input
            && !self.is_byzantine(at)
            && !self.may_be_accused(*from)
        {
            let what = format!("v{at} refuses a claim of {from:?}, own record: {own_record}");
            self.checks.take(Err(Violation::new("conduct", what)));
        }
    }

    /// A client is refused a command; whether there was a reason for it, since it closes its
    /// session and opens it anew.
    fn watch_rejection(
        &mut self,
        gateway: usize,
        session: SessionId,
        (seq, rejection): (u64, Rejection),
    ) -> bool {
        let is_clock_good = !self
            .plan
            .bad_clocks
            .contains(&self.validator(gateway).place());
        let refusal = (rejection, is_clock_good);
        let (heard, is_expected) = self.clients.hear_refusal(session, seq, refusal);
        self.see_ended(session, heard);
        let is_refused = is_expected && self.checks.results.is_opening(session, seq);
        self.reached.note("openings_refused", u64::from(is_refused));
        is_expected
    }

    /// A client submits; a validator that takes commands at all has no reason to refuse one.
    pub(crate) fn submit(&mut self, submission: &Submission) {
        let mut verdicts = Vec::new();
        let Submission {
            gateway,
            session,
            entries,
            ..
        } = submission;
        self.trace.note(self.now_ns, b'u', *gateway, 0, entries);
        let outcome = self.with_life(*gateway, |life, now| {
            life.replica
                .submit(now, Some(*session), entries, &mut verdicts)
        });
        if let Some(Err(error)) = outcome {
            let what = format!("v{gateway} takes no entries: {error}");
            self.checks.take(Err(Violation::new("admission", what)));
        }
        if self.is_byzantine(*gateway) {
            return;
        }
        let table = |life: &mut Life<S>, _| {
            let sessions = life.replica.executor().sessions();
            // One that has ended stays in the table for a while, and its key does not.
            sessions.session(session).is_some() && !sessions.has_ended(session)
        };
        let is_open = self.with_life(*gateway, table).unwrap_or(false);
        for verdict in verdicts {
            if let Verdict::Rejected(rejection) = verdict.verdict {
                // A signature cannot be checked where its session's opening has not come yet.
                let is_unknown = self.plan.is_signed && !is_open;
                if is_unknown && rejection == Rejection::TooFarAhead {
                    continue;
                }
                if self.watch_rejection(*gateway, *session, (verdict.seq, rejection)) {
                    continue;
                }
                let what = format!(
                    "v{gateway} rejects {session:?} {}: {rejection:?}",
                    verdict.seq
                );
                self.checks.take(Err(Violation::new("admission", what)));
            }
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "watch_living_tests.rs"]
mod living_tests;
