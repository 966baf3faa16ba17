//! One validator, with the test in the place of everybody else and of its log, its lease file and
//! its signature workers.
//!
//! Owns what was asked of the outside, in order, and which of it is answered by itself. Never: a
//! second validator; see `support` for a world of them.

use crate::fixtures::{
    Block, MS, sign_answer, sign_header, sign_record, sign_state, v, verdict, w,
};
use quorate_consensus::certificate::{Certificate, SignatureBytes};
use quorate_consensus::effect::Effect;
use quorate_consensus::header::Header;
use quorate_consensus::input::Input;
use quorate_consensus::machine::{
    Config, Consensus, Disposition, Durability, Restored, TimerConfig,
};
use quorate_consensus::message::{HeldRecord, Message, OwnAnswer, Propose, Status, Vote};
use quorate_consensus::record::{OwnRecord, Record};
use quorate_consensus::trust::{Authenticated, Durable, Lease};
use quorate_consensus::types::{Height, Now, ValidatorIndex};
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::verify::Claim;
use std::collections::VecDeque;
use std::sync::Arc;

/// The start number of every validator on a bench.
pub(crate) const INCARNATION: u64 = 3;

/// How a bench is set up, before its validator starts.
pub(crate) struct Setup {
    pub(crate) set: Arc<ValidatorSet>,
    pub(crate) own: u16,
    pub(crate) timers: TimerConfig,
    pub(crate) durability: Durability,
    pub(crate) restored: Restored,
    pub(crate) nonce_seed: [u8; 32],
    pub(crate) snapshot_heights: u64,
    pub(crate) answers: Answers,
}

impl Setup {
    pub(crate) fn new(set: &Arc<ValidatorSet>, own: u16) -> Self {
        Self {
            set: Arc::clone(set),
            own,
            timers: TimerConfig {
                final_holdoff_ns: 0,
                ..TimerConfig::laptop()
            },
            durability: Durability::Async,
            restored: Restored::fresh(set),
            nonce_seed: [3; 32],
            snapshot_heights: 0,
            answers: Answers {
                journal: true,
                lease: true,
                signing: true,
                checks: true,
            },
        }
    }

    /// Puts an own record of window 0 and the blocks of its log back, under a wide lease.
    pub(crate) fn with_log(mut self, record: Record, blocks: &[&Block]) -> Self {
        self.restored.lease.lease = Some(w(100));
        self.restored.records = vec![OwnRecord {
            window: w(0),
            record,
        }];
        self.restored.blocks = blocks
            .iter()
            .map(|block| (block.id, block.header))
            .collect();
        self
    }

    /// A progress timer so long that it plays no part.
    pub(crate) fn patient(mut self) -> Self {
        self.timers.progress_ns = 100_000 * MS;
        self.timers.progress_max_ns = 100_000 * MS;
        self
    }

    /// Starts the validator: its peers are connected, none has answered its fence.
    pub(crate) fn start(self) -> Bench {
        let config = Config {
            own: v(self.own),
            set: Arc::clone(&self.set),
            durability: self.durability,
            timers: self.timers,
            incarnation: INCARNATION,
            nonce_seed: self.nonce_seed,
            snapshot_heights: self.snapshot_heights,
        };
        let now = Now {
            mono_ns: 1_000 * MS,
            wall_ns: 1_000_000 * MS,
        };
        let mut effects = Vec::new();
        let consensus = Consensus::new(config, self.restored, now, &mut effects);
        let mut bench = Bench {
            set: self.set,
            own: v(self.own),
            now,
            consensus,
            seen: Vec::new(),
            answers: self.answers,
            journal: VecDeque::new(),
            logged_answers: VecDeque::new(),
            leases: VecDeque::new(),
            unchecked: VecDeque::new(),
            inputs: VecDeque::new(),
        };
        bench.take(effects);
        for peer in bench.peers() {
            bench.feed(Input::PeerUp(v(peer)));
        }
        bench.settle();
        bench
    }

    /// Starts the validator and lets its fence pass: no peer holds anything of it.
    pub(crate) fn run(self) -> Bench {
        let mut bench = self.start();
        for peer in bench.peers() {
            bench.answer_fence(peer, None);
        }
        bench
    }
}

/// What the outside answers by itself.
pub(crate) struct Answers {
    pub(crate) journal: bool,
    pub(crate) lease: bool,
    pub(crate) signing: bool,
    pub(crate) checks: bool,
}

pub(crate) struct Bench {
    pub(crate) set: Arc<ValidatorSet>,
    pub(crate) own: ValidatorIndex,
    pub(crate) now: Now,
    pub(crate) consensus: Consensus,
    /// Everything asked of the outside, in order.
    pub(crate) seen: Vec<Effect>,
    pub(crate) answers: Answers,
    /// Records that the journal has not answered yet.
    journal: VecDeque<OwnRecord>,
    /// Answers of R13 that the journal has not answered yet.
    logged_answers: VecDeque<OwnAnswer>,
    /// Leases that the lease file does not hold yet.
    leases: VecDeque<Lease>,
    /// What the workers have not checked yet.
    unchecked: VecDeque<(ValidatorIndex, Claim)>,
    inputs: VecDeque<Input>,
}

impl Bench {
    /// A fresh validator past its fence, in window 0.
    pub(crate) fn new(set: &Arc<ValidatorSet>, own: u16) -> Self {
        Setup::new(set, own).run()
    }

    fn peers(&self) -> Vec<u16> {
        let others = self.set.indices().filter(|&index| index != self.own);
        others.map(ValidatorIndex::number).collect()
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.answer(&effect);
            self.seen.push(effect);
        }
    }

    fn answer(&mut self, effect: &Effect) {
        match effect {
            Effect::PersistRecord(own) => self.journal.push_back(own.clone()),
            Effect::PersistAnswer(answer) => self.logged_answers.push_back(*answer),
            Effect::PersistLease(lease) => self.leases.push_back(*lease),
            Effect::PersistProof { point, .. } => {
                self.inputs.push_back(Input::Flushed(point.height));
            }
            Effect::SignRecord { window, record } if self.answers.signing => {
                let signature = sign_record(&self.set, self.own, *window, record);
                let (window, record) = (*window, record.clone());
                self.inputs.push_back(Input::RecordSigned {
                    window,
                    record,
                    signature,
                });
            }
            Effect::SignAnswer(answer) if self.answers.signing => {
                self.inputs.push_back(Input::AnswerSigned {
                    answer: *answer,
                    signature: sign_answer(&self.set, self.own, answer),
                });
            }
            Effect::SignHeader { id, header } if self.answers.signing => {
                let signature = sign_header(&self.set, header);
                self.inputs
                    .push_back(Input::HeaderSigned { id: *id, signature });
            }
            Effect::SignState(statement) if self.answers.signing => {
                let signature = sign_state(&self.set, self.own, statement);
                self.inputs.push_back(Input::StateSigned {
                    statement: statement.clone(),
                    signature,
                });
            }
            Effect::Verify { from, claim } => {
                self.unchecked.push_back((*from, claim.clone()));
            }
            _ => {}
        }
        if self.answers.journal {
            self.finish_journal();
        }
        if self.answers.lease {
            self.finish_leases();
        }
        if self.answers.checks {
            self.finish_checks();
        }
    }

    /// The workers answer for every signature that is to be checked so far.
    pub(crate) fn finish_checks(&mut self) {
        for (from, claim) in self.unchecked.drain(..) {
            let verdict = verdict(&self.set, self.own, from, claim);
            self.inputs.extend(verdict);
        }
    }

    /// The workers answer for the newest signatures that are to be checked, before all others.
    pub(crate) fn finish_newest_check(&mut self) {
        if let Some((from, claim)) = self.unchecked.pop_back() {
            let verdict = verdict(&self.set, self.own, from, claim);
            self.inputs.extend(verdict);
        }
    }

    /// The journal answers for everything handed to it so far.
    pub(crate) fn finish_journal(&mut self) {
        for own in self.journal.drain(..) {
            self.inputs
                .push_back(Input::RecordDurable(Durable::assert_durable(own)));
        }
        for answer in self.logged_answers.drain(..) {
            let answer = Durable::assert_durable_answer(answer);
            self.inputs.push_back(Input::AnswerDurable(answer));
        }
    }

    /// The journal answers within the turn.
    pub(crate) fn finish_journal_now(&mut self) {
        self.finish_journal();
        while let Some(input) = self.inputs.pop_front() {
            self.feed(input);
        }
    }

    /// The journal answers for the oldest record handed to it, in a turn of its own.
    pub(crate) fn finish_oldest(&mut self) {
        if let Some(own) = self.journal.pop_front() {
            self.input(Input::RecordDurable(Durable::assert_durable(own)));
        }
    }

    /// The lease file holds everything handed to it so far.
    pub(crate) fn finish_leases(&mut self) {
        for lease in self.leases.drain(..) {
            self.inputs
                .push_back(Input::LeaseDurable(Durable::assert_durable_lease(lease)));
        }
    }

    /// One input and what the outside answers, without the end of the turn.
    pub(crate) fn feed(&mut self, input: Input) -> Disposition {
        let mut effects = Vec::new();
        let disposition = self.consensus.handle(self.now, input, &mut effects);
        self.take(effects);
        disposition
    }

    /// A message over the channel of a peer, within a turn.
    pub(crate) fn hear(&mut self, from: u16, message: Message) -> Disposition {
        self.feed(Input::Message(Authenticated::assert_authenticated(
            v(from),
            message,
        )))
    }

    /// Ends the turn, as often as there are answers to it.
    pub(crate) fn settle(&mut self) {
        loop {
            while let Some(input) = self.inputs.pop_front() {
                self.feed(input);
            }
            self.feed(Input::Settle);
            if self.inputs.is_empty() {
                break;
            }
        }
    }

    /// One input in a turn of its own.
    pub(crate) fn input(&mut self, input: Input) -> Disposition {
        let disposition = self.feed(input);
        self.settle();
        disposition
    }

    /// A message over the channel of a peer, in a turn of its own.
    pub(crate) fn message(&mut self, from: u16, message: Message) -> Disposition {
        self.input(Input::Message(Authenticated::assert_authenticated(
            v(from),
            message,
        )))
    }

    /// A block over its leader's channel.
    pub(crate) fn propose(&mut self, block: &Block) -> Disposition {
        let leader = self.set.leader(block.header.window).number();
        self.propose_from(leader, block, Vec::new())
    }

    pub(crate) fn propose_from(
        &mut self,
        from: u16,
        block: &Block,
        justification: Vec<Certificate>,
    ) -> Disposition {
        let propose = Propose {
            header: block.header,
            payload: Arc::clone(&block.payload),
            justification,
            record: None,
        };
        self.message(from, Message::Propose(propose))
    }

    /// A vote without a signature over its author's channel.
    pub(crate) fn vote(&mut self, from: u16, window: u64, record: Record) -> Disposition {
        self.vote_with(from, window, record, None)
    }

    /// The same vote of several validators.
    pub(crate) fn votes(&mut self, from: &[u16], window: u64, record: &Record) {
        for &from in from {
            self.vote(from, window, record.clone());
        }
    }

    /// A vote with its author's good signature.
    pub(crate) fn vote_signed(&mut self, from: u16, window: u64, record: Record) -> Disposition {
        let signature = sign_record(&self.set, v(from), w(window), &record);
        self.vote_with(from, window, record, Some(signature))
    }

    pub(crate) fn votes_signed(&mut self, from: &[u16], window: u64, record: &Record) {
        for &from in from {
            self.vote_signed(from, window, record.clone());
        }
    }

    pub(crate) fn vote_with(
        &mut self,
        from: u16,
        window: u64,
        record: Record,
        signature: Option<SignatureBytes>,
    ) -> Disposition {
        let epoch = self.set.epoch();
        let vote = Vote {
            epoch,
            window: w(window),
            record,
            signature,
        };
        self.message(from, Message::Vote(vote))
    }

    /// Headers of one window from a voter.
    pub(crate) fn headers(&mut self, from: u16, blocks: &[&Block]) -> Disposition {
        let headers: Vec<Header> = blocks.iter().map(|block| block.header).collect();
        self.message(
            from,
            Message::Headers {
                window: headers[0].window,
                headers,
            },
        )
    }

    /// A whole block from whoever was asked.
    pub(crate) fn body(&mut self, from: u16, block: &Block) -> Disposition {
        let (header, payload) = (block.header, Arc::clone(&block.payload));
        self.message(from, Message::Block { header, payload })
    }

    /// Headers and bodies of a branch that came from a voter and not from the leader.
    pub(crate) fn branch(&mut self, from: u16, blocks: &[&Block]) {
        self.headers(from, blocks);
        for block in blocks {
            self.body(from, block);
        }
    }

    pub(crate) fn certificates(&mut self, from: u16, certificates: Vec<Certificate>) {
        self.message(from, Message::Certificates(certificates));
    }

    /// A Status of a peer that knows of nothing but its window.
    pub(crate) fn status_of(&self, window: u64) -> Status {
        Status {
            epoch: self.set.epoch(),
            finalized: self.set.genesis(),
            proven: self.set.genesis(),
            window: w(window),
            record: Record::default(),
            gap: None,
            ready: Vec::new(),
            flushed: Height::ZERO,
            abstains: false,
            recovering: false,
            no_proposals: false,
        }
    }

    pub(crate) fn status(&mut self, from: u16, status: Status) -> Disposition {
        self.message(from, Message::Status(status))
    }

    pub(crate) fn answer_fence(
        &mut self,
        from: u16,
        held: impl IntoIterator<Item = HeldRecord>,
    ) -> Disposition {
        self.message(
            from,
            Message::FenceAnswer {
                incarnation: INCARNATION,
                held: held.into_iter().collect(),
            },
        )
    }

    /// Lets time pass: the validator is called at each of its deadlines.
    pub(crate) fn lapse(&mut self, ms: u64) {
        let end = self.now.mono_ns + ms * MS;
        while self.now.mono_ns < end {
            let deadline = self.consensus.next_deadline_ns().max(self.now.mono_ns + 1);
            self.sleep_ns(deadline.min(end) - self.now.mono_ns);
            self.settle();
        }
    }

    /// Lets time pass without a call.
    pub(crate) fn sleep_ns(&mut self, by_ns: u64) {
        self.now.mono_ns += by_ns;
        self.now.wall_ns += by_ns;
    }

    /// Stops the current window by its timer: a command waits, so not even an own window's timer
    /// starts anew.
    pub(crate) fn stop_by_timer(&mut self) {
        let ms = 1 + TimerConfig::laptop().progress_ns / MS;
        self.input(Input::Waiting { oldest_ns: Some(0) });
        self.lapse(2 * ms);
        self.input(Input::Waiting { oldest_ns: None });
        let window = self.consensus.window();
        assert!(
            self.own_record(window.number()).stop,
            "the timer stops the window"
        );
    }

    /// The durable own record of a window.
    pub(crate) fn own_record(&self, window: u64) -> Record {
        self.consensus
            .own_record(w(window))
            .cloned()
            .unwrap_or_default()
    }
}
