//! Validators of the consensus crate in memory, without log, wire and time: every message arrives
//! at once, every write is durable at once, and nothing is signed.
//!
//! Owns the carrying out of effects as far as the steady state needs it. Never: what is measured.

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_consensus::effect::{Destination, Effect, Effects};
use quorate_consensus::input::Input;
use quorate_consensus::machine::{Config, Consensus, Durability, Restored, TimerConfig};
use quorate_consensus::message::Message;
use quorate_consensus::signing::ValidatorKey;
use quorate_consensus::thresholds::{default_fault, default_slack};
use quorate_consensus::trust::{Authenticated, Durable};
use quorate_consensus::types::{Epoch, Now, Stake, ValidatorIndex};
use quorate_consensus::validators::{SetParameters, Validator, ValidatorSet};

use super::frames::payload;

/// Time that passes with each block, nanoseconds.
const BLOCK_NS: u64 = 1_000;

fn set_of(validators: u8) -> Arc<ValidatorSet> {
    let weights = vec![Stake::new(1); usize::from(validators)];
    let fault = default_fault(&weights);
    let members = (1..=validators)
        .map(|seed| Validator::new(ValidatorKey::from_seed(&[seed; 32]).public(), Stake::new(1)))
        .collect();
    let parameters = SetParameters {
        chain_id: [7; 32],
        genesis_hash: [9; 32],
        epoch: Epoch::ZERO,
        fault,
        slack: default_slack(Stake::new(u64::from(validators)), fault),
        window_slots: quorate_consensus::limits::WINDOW_SLOTS_DEFAULT,
        turn_windows: quorate_consensus::limits::TURN_WINDOWS_DEFAULT,
        crash_only: false,
        genesis_time_ns: 1_000,
    };
    Arc::new(ValidatorSet::new(parameters, members).expect("a valid set"))
}

/// All validators of a set.
pub(crate) struct World {
    members: Vec<Consensus>,
    flights: VecDeque<(usize, usize, Message)>,
    now: Now,
    payloads: u64,
    finalized: u64,
}

impl World {
    pub(crate) fn new(validators: u8) -> Self {
        let set = set_of(validators);
        let now = Now {
            mono_ns: 1_000_000,
            wall_ns: 1_000_000_000_000,
        };
        let mut world = Self {
            members: Vec::new(),
            flights: VecDeque::new(),
            now,
            payloads: 0,
            finalized: 0,
        };
        for own in set.indices() {
            let config = Config {
                own,
                set: Arc::clone(&set),
                durability: Durability::Async,
                timers: TimerConfig::laptop(),
                incarnation: 1,
                nonce_seed: [1; 32],
                snapshot_heights: 0,
            };
            let mut effects = Vec::new();
            let restored = Restored::fresh(&set);
            let member = Consensus::new(config, restored, now, &mut effects);
            world.members.push(member);
            world.carry_out(own.place(), effects);
        }
        for member in set.indices() {
            for other in set.indices().filter(|other| *other != member) {
                world.input(member.place(), Input::PeerUp(other));
            }
        }
        world.run();
        world
    }

    /// Proposes one block and lets it become final everywhere.
    pub(crate) fn block(&mut self) {
        self.now.mono_ns += BLOCK_NS;
        self.now.wall_ns += BLOCK_NS;
        let wanted = self.finalized + self.members.len() as u64;
        let room = |member: &Consensus| member.proposal_room().is_some();
        let leader = self.members.iter().position(room).expect("somebody leads");
        self.payloads += 1;
        let payload = payload(self.payloads, 128);
        self.input(leader, Input::Payload(payload));
        self.input(leader, Input::Settle);
        self.run();
        assert!(self.finalized >= wanted, "the block did not become final");
    }

    /// Delivers until nothing is on its way.
    fn run(&mut self) {
        while let Some((from, to, message)) = self.flights.pop_front() {
            let from = ValidatorIndex::new(u16::try_from(from).expect("a small set"));
            let message = Authenticated::assert_authenticated(from, message);
            self.input(to, Input::Message(message));
            self.input(to, Input::Settle);
        }
    }

    fn input(&mut self, member: usize, input: Input) {
        let mut effects = Vec::new();
        self.members[member].handle(self.now, input, &mut effects);
        self.carry_out(member, effects);
    }

    fn carry_out(&mut self, member: usize, effects: Effects) {
        let mut answers = Vec::new();
        for effect in effects {
            match effect {
                Effect::PersistRecord(own) => {
                    answers.push(Input::RecordDurable(Durable::assert_durable(own)));
                }
                Effect::PersistLease(lease) => {
                    answers.push(Input::LeaseDurable(Durable::assert_durable_lease(lease)));
                }
                Effect::Send { to, message } => self.send(member, to, &message),
                Effect::Finalized { .. } => self.finalized += 1,
                _ => {}
            }
        }
        let is_answered = !answers.is_empty();
        for answer in answers {
            self.input(member, answer);
        }
        if is_answered {
            self.input(member, Input::Settle);
        }
    }

    fn send(&mut self, from: usize, to: Destination, message: &Message) {
        let everybody = 0..self.members.len();
        let to = |other: &usize| match to {
            Destination::All => *other != from,
            Destination::Peer(peer) => *other == peer.place(),
        };
        let flights = everybody.filter(to);
        self.flights
            .extend(flights.map(|other| (from, other, message.clone())));
    }
}
