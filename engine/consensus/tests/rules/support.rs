//! A small world around `Consensus` for the tests of the rules: virtual time, instant disks,
//! links that can be cut, signatures stood in for by a keyed hash.

pub(crate) use crate::fixtures::{LINK_NS, MS, payload_numbered, set_of, sign_state, v};
use crate::fixtures::{sign_answer, sign_header, sign_record, verdict};
use crate::member::{Disk, Member};
use quorate_consensus::effect::{Destination, Effect, Effects, FinalPath};
use quorate_consensus::header::Header;
use quorate_consensus::input::Input;
use quorate_consensus::machine::{
    Config, Consensus, Disposition, Durability, Restored, TimerConfig,
};
use quorate_consensus::message::{BlockRef, Message};
use quorate_consensus::record::{OwnRecord, Record};
use quorate_consensus::trust::{Authenticated, Durable};
use quorate_consensus::types::{BlockId, Now, ValidatorIndex, Window};
use quorate_consensus::validators::ValidatorSet;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(crate) struct Flight {
    pub(crate) at_ns: u64,
    pub(crate) from: ValidatorIndex,
    pub(crate) to: ValidatorIndex,
    pub(crate) message: Message,
}

type Filter = Box<dyn FnMut(ValidatorIndex, ValidatorIndex, &mut Message) -> bool>;

pub(crate) struct World {
    pub(crate) set: Arc<ValidatorSet>,
    pub(crate) now: Now,
    pub(crate) members: Vec<Member>,
    pub(crate) flights: VecDeque<Flight>,
    pub(crate) timers: TimerConfig,
    pub(crate) durability: Durability,
    /// Says whether a message may pass; may change it.
    pub(crate) filter: Filter,
    pub(crate) payload_counter: u32,
}

impl World {
    pub(crate) fn new(set: Arc<ValidatorSet>) -> Self {
        let timers = TimerConfig {
            final_holdoff_ns: 0,
            ..TimerConfig::laptop()
        };
        Self::with(set, timers, Durability::Async)
    }

    pub(crate) fn with(
        set: Arc<ValidatorSet>,
        timers: TimerConfig,
        durability: Durability,
    ) -> Self {
        let members = set
            .indices()
            .map(|_| Member {
                consensus: None,
                disk: Disk::default(),
                finalized: Vec::new(),
                alarms: Vec::new(),
                evidence: Vec::new(),
                faults: 0,
                entered: Vec::new(),
                stopped: Vec::new(),
                incarnation: 0,
                has_commands: true,
            })
            .collect();
        let now = Now {
            mono_ns: MS,
            wall_ns: 1_000_000 * MS,
        };
        let mut world = Self {
            set,
            now,
            members,
            flights: VecDeque::new(),
            timers,
            durability,
            filter: Box::new(|_, _, _| true),
            payload_counter: 0,
        };
        for index in world.set.indices() {
            world.start(index);
        }
        world
    }

    pub(crate) fn restored(&self, index: ValidatorIndex) -> Restored {
        let disk = &self.members[index.place()].disk;
        let mut restored = Restored::fresh(&self.set);
        if let Some((id, header)) = disk.chain.last() {
            restored.finalized = header.point(*id);
            restored.finalized_time_ns = header.time_ns;
        }
        if let Some((point, proof)) = &disk.proof {
            restored.proven = *point;
            restored.proof = Some(proof.clone());
        }
        let lowest = restored.proven.window;
        restored.lease = disk.lease;
        let records = disk.records.iter().filter(|(window, _)| **window >= lowest);
        restored.records = records
            .map(|(window, record)| OwnRecord {
                window: *window,
                record: record.clone(),
            })
            .collect();
        let blocks = disk.order.iter().map(|id| (*id, disk.blocks[id].0));
        restored.blocks = blocks
            .filter(|(_, header)| header.window >= lowest)
            .collect();
        restored
    }

    pub(crate) fn start(&mut self, index: ValidatorIndex) {
        let restored = self.restored(index);
        self.start_with(index, restored);
    }

    pub(crate) fn start_with(&mut self, index: ValidatorIndex, restored: Restored) {
        let member = &mut self.members[index.place()];
        member.incarnation += 1;
        let config = Config {
            own: index,
            set: self.set.clone(),
            durability: self.durability,
            timers: self.timers,
            incarnation: member.incarnation,
            nonce_seed: [u8::try_from(member.incarnation).unwrap_or(0); 32],
            snapshot_heights: 0,
        };
        let mut effects = Vec::new();
        member.consensus = Some(Consensus::new(config, restored, self.now, &mut effects));
        self.carry_out(index, effects);
        let others: Vec<_> = self
            .set
            .indices()
            .filter(|&other| other != index && self.is_up(other))
            .collect();
        for other in others {
            self.input(index, Input::PeerUp(other));
            self.input(other, Input::PeerUp(index));
        }
        self.settle(index);
    }

    pub(crate) fn crash(&mut self, index: ValidatorIndex) {
        self.members[index.place()].consensus = None;
        self.flights.retain(|flight| flight.to != index);
        for other in self.set.indices() {
            if other != index && self.is_up(other) {
                self.input(other, Input::PeerDown(index));
            }
        }
    }

    pub(crate) fn is_up(&self, index: ValidatorIndex) -> bool {
        self.members[index.place()].consensus.is_some()
    }

    pub(crate) fn consensus(&self, index: u16) -> &Consensus {
        self.members[index as usize]
            .consensus
            .as_ref()
            .expect("it is up")
    }

    pub(crate) fn input(&mut self, index: ValidatorIndex, input: Input) -> Option<Disposition> {
        let mut effects = Vec::new();
        let member = &mut self.members[index.place()];
        let disposition = member
            .consensus
            .as_mut()?
            .handle(self.now, input, &mut effects);
        if let Disposition::Fault(_) = disposition {
            member.faults += 1;
        }
        self.carry_out(index, effects);
        Some(disposition)
    }

    pub(crate) fn settle(&mut self, index: ValidatorIndex) {
        self.input(index, Input::Hasten);
        self.input(index, Input::Settle);
        self.propose(index);
    }

    fn propose(&mut self, index: ValidatorIndex) {
        for _ in 0..2 {
            let member = &self.members[index.place()];
            let room = member.consensus.as_ref().and_then(Consensus::proposal_room);
            if room.is_none() || !member.has_commands {
                return;
            }
            let payload = self.payload();
            self.input(index, Input::Payload(payload));
            self.input(index, Input::Settle);
        }
    }

    /// A payload unlike any other: the first command of a fresh session.
    pub(crate) fn payload(&mut self) -> Arc<[u8]> {
        self.payload_counter += 1;
        payload_numbered(self.payload_counter)
    }

    fn carry_out(&mut self, index: ValidatorIndex, effects: Effects) {
        let mut inputs = Vec::new();
        for effect in effects {
            self.carry_out_one(index, effect, &mut inputs);
        }
        let again = !inputs.is_empty();
        for input in inputs {
            self.input(index, input);
        }
        if again {
            self.input(index, Input::Settle);
        }
    }

    fn carry_out_one(&mut self, index: ValidatorIndex, effect: Effect, inputs: &mut Vec<Input>) {
        match effect {
            Effect::PersistBlock { .. }
            | Effect::PersistRecord(_)
            | Effect::PersistProof { .. }
            | Effect::PersistAnswer(_)
            | Effect::PersistLease(_) => self.persist(index, effect, inputs),
            Effect::Send { to, message } => self.send(index, to, message),
            Effect::SignRecord { window, record } => {
                let signature = sign_record(&self.set, index, window, &record);
                inputs.push(Input::RecordSigned {
                    window,
                    record,
                    signature,
                });
            }
            Effect::SignAnswer(answer) => {
                let signature = sign_answer(&self.set, index, &answer);
                inputs.push(Input::AnswerSigned { answer, signature });
            }
            Effect::SignHeader { id, header } => {
                let signature = sign_header(&self.set, &header);
                inputs.push(Input::HeaderSigned { id, signature });
            }
            Effect::SignState(statement) => {
                let signature = sign_state(&self.set, index, &statement);
                inputs.push(Input::StateSigned {
                    statement,
                    signature,
                });
            }
            Effect::Verify { from, claim } => inputs.extend(verdict(&self.set, index, from, claim)),
            Effect::Finalized { id, header, path } => self.finalized(index, id, header, path),
            Effect::ServeBodies { to, blocks } => self.serve_bodies(index, to, &blocks),
            Effect::ServeHistory { to, top, count } => {
                let chain = &self.members[index.place()].disk.chain;
                let below = chain.iter().rev().skip_while(|(id, _)| *id != top.id);
                let headers: Vec<Header> = below
                    .take(count as usize)
                    .map(|(_, header)| *header)
                    .collect();
                self.send(index, Destination::Peer(to), Message::History(headers));
            }
            Effect::ServeFinality { to, .. } => {
                if let Some((_, proof)) = self.members[index.place()].disk.proof.clone() {
                    self.send(
                        index,
                        Destination::Peer(to),
                        Message::Certificates(vec![proof]),
                    );
                }
            }
            noted => self.members[index.place()].note(noted),
        }
    }

    /// What goes to the disk, and what the disk says when it is there.
    fn persist(&mut self, index: ValidatorIndex, effect: Effect, inputs: &mut Vec<Input>) {
        let disk = &mut self.members[index.place()].disk;
        match effect {
            Effect::PersistBlock {
                id,
                header,
                payload,
            } => {
                if disk.blocks.insert(id, (header, payload)).is_none() {
                    disk.order.push(id);
                }
            }
            Effect::PersistRecord(own) => {
                disk.history.push(own.clone());
                disk.records.insert(own.window, own.record.clone());
                inputs.push(Input::RecordDurable(Durable::assert_durable(own)));
            }
            Effect::PersistProof { point, proof } => {
                disk.proof = Some((point, proof));
                inputs.push(Input::Flushed(point.height));
            }
            Effect::PersistAnswer(answer) => {
                inputs.push(Input::AnswerDurable(Durable::assert_durable_answer(answer)));
            }
            Effect::PersistLease(lease) => {
                disk.lease = lease;
                inputs.push(Input::LeaseDurable(Durable::assert_durable_lease(lease)));
            }
            other => unreachable!("not for the disk: {other:?}"),
        }
    }

    fn finalized(&mut self, index: ValidatorIndex, id: BlockId, header: Header, path: FinalPath) {
        let genesis = self.set.genesis().height;
        let member = &mut self.members[index.place()];
        let disk = &mut member.disk;
        assert!(disk.blocks.contains_key(&id), "delivered without its body");
        let expected = disk
            .chain
            .last()
            .map_or(genesis, |(_, header)| header.height)
            .number();
        assert_eq!(
            header.height.number(),
            expected + 1,
            "delivered out of order"
        );
        disk.chain.push((id, header));
        member.finalized.push((header.height, id, path));
    }

    fn serve_bodies(&mut self, index: ValidatorIndex, to: ValidatorIndex, blocks: &[BlockRef]) {
        let disk = &self.members[index.place()].disk;
        let held: Vec<_> = blocks
            .iter()
            .filter_map(|block| disk.blocks.get(&block.id).cloned())
            .collect();
        for (header, payload) in held {
            self.send(
                index,
                Destination::Peer(to),
                Message::Block { header, payload },
            );
        }
    }

    fn send(&mut self, from: ValidatorIndex, to: Destination, message: Message) {
        let receivers: Vec<_> = match to {
            Destination::Peer(peer) => vec![peer],
            Destination::All => self.set.indices().filter(|&other| other != from).collect(),
        };
        for to in receivers {
            self.fly(from, to, message.clone());
        }
    }

    /// Puts a message on its link, if the filter lets it pass.
    pub(crate) fn fly(&mut self, from: ValidatorIndex, to: ValidatorIndex, mut message: Message) {
        if !(self.filter)(from, to, &mut message) {
            return;
        }
        let at_ns = self.now.mono_ns + LINK_NS;
        self.flights.push_back(Flight {
            at_ns,
            from,
            to,
            message,
        });
    }

    /// Hands a message to a validator as if it came over the channel of `from`, now.
    pub(crate) fn deliver(
        &mut self,
        from: ValidatorIndex,
        to: ValidatorIndex,
        message: Message,
    ) -> Option<Disposition> {
        let message = Authenticated::assert_authenticated(from, message);
        let disposition = self.input(to, Input::Message(message));
        self.settle(to);
        disposition
    }

    /// Lets virtual time pass: messages arrive, timers fire.
    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.now.mono_ns + ms * MS;
        while self.step(end) {}
        let gap = end - self.now.mono_ns;
        self.advance(gap);
    }

    /// Runs until a condition holds; says whether it came to hold within the time.
    pub(crate) fn run_until(&mut self, ms: u64, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now.mono_ns + ms * MS;
        while !done(self) {
            if !self.step(end) {
                return done(self);
            }
        }
        true
    }

    fn advance(&mut self, by_ns: u64) {
        self.now.mono_ns += by_ns;
        self.now.wall_ns += by_ns;
    }

    /// The next event up to `end`; `false` when there is none.
    fn step(&mut self, end: u64) -> bool {
        let flight = self.flights.front().map_or(u64::MAX, |flight| flight.at_ns);
        let timer = self
            .members
            .iter()
            .enumerate()
            .filter_map(|(index, member)| {
                Some((member.consensus.as_ref()?.next_deadline_ns(), index))
            })
            .min();
        let timer_ns = timer.map_or(u64::MAX, |(at, _)| at.max(self.now.mono_ns + 1));
        let next = flight.min(timer_ns);
        if next > end {
            return false;
        }
        self.advance(next.saturating_sub(self.now.mono_ns));
        if flight <= timer_ns {
            let flight = self.flights.pop_front().expect("one is due");
            if self.is_up(flight.to) {
                self.deliver(flight.from, flight.to, flight.message);
            }
        } else if let Some((_, index)) = timer {
            self.settle(v(u16::try_from(index).expect("a small set")));
        }
        true
    }

    /// Blocks that a validator has delivered.
    pub(crate) fn height(&self, index: u16) -> u64 {
        self.members[index as usize].disk.chain.len() as u64
    }

    /// Safety, over everything: one block a height, records of each validator ordered.
    pub(crate) fn check(&self) {
        for member in &self.members {
            let longest = self
                .members
                .iter()
                .max_by_key(|other| other.disk.chain.len())
                .expect("a member");
            for (mine, theirs) in member.disk.chain.iter().zip(&longest.disk.chain) {
                assert_eq!(mine.0, theirs.0, "two blocks at one height");
            }
            let mut newest: BTreeMap<Window, &Record> = BTreeMap::new();
            for own in &member.disk.history {
                assert!(
                    own.record.is_consistent(self.set.slots()),
                    "I1: inconsistent record"
                );
                if let Some(before) = newest.insert(own.window, &own.record) {
                    assert!(
                        before.may_extend_to(&own.record),
                        "I1: {before:?} {:?}",
                        own.record
                    );
                }
            }
        }
    }
}
