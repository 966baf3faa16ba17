//! Validators in memory: one alone under test, or three that hear one another.
//!
//! Owns the carrying out of effects with disks that are instant, virtual time, and the stand-in for
//! signatures. Never: what the Byzantine peer says.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use quorate_consensus::certificate::SignatureBytes;
use quorate_consensus::effect::{Destination, Effect, Effects};
use quorate_consensus::header::Header;
use quorate_consensus::input::Input;
use quorate_consensus::machine::{
    Config, Consensus, Disposition, Durability, Restored, TimerConfig,
};
use quorate_consensus::message::{BlockRef, Message};
use quorate_consensus::payload::{Entry, Lane, PayloadBuilder, encode_entry};
use quorate_consensus::signing::{self, ValidatorKey};
use quorate_consensus::trust::{Authenticated, Durable};
use quorate_consensus::types::{BlockId, Epoch, Now, Stake, ValidatorIndex};
use quorate_consensus::validators::{SetParameters, Validator, ValidatorSet};
use quorate_consensus::verify::{Claim, SignatureCheck, SignatureItem, check_claims};

/// The one that may say anything.
pub(super) const BYZANTINE: ValidatorIndex = ValidatorIndex::new(0);
/// The one that is fed.
pub(super) const UNDER_TEST: ValidatorIndex = ValidatorIndex::new(3);
/// Virtual time from one round of deliveries to the next.
pub(super) const LINK_MS: u8 = 5;
const MS: u64 = 1_000_000;
/// Rounds of a recorded run.
const ROUNDS: u32 = 30;

/// Four equal validators with F = 1, in windows of two slots, so that a run sees many of them.
static SET: LazyLock<Arc<ValidatorSet>> = LazyLock::new(|| {
    let key = |seed| ValidatorKey::from_seed(&[seed; 32]).public();
    let validators = (1..=4).map(|seed| Validator::new(key(seed), Stake::new(1)));
    let parameters = SetParameters {
        chain_id: [7; 32],
        genesis_hash: [9; 32],
        epoch: Epoch::ZERO,
        fault: Stake::new(1),
        slack: Stake::new(0),
        window_slots: 2,
        turn_windows: 1,
        crash_only: false,
        genesis_time_ns: 1_000,
    };
    Arc::new(ValidatorSet::new(parameters, validators.collect()).expect("a valid set"))
});

/// What came to the validator under test in a run of the others; time passed where nothing stands.
pub(super) struct Heard {
    pub(super) events: Vec<Option<(ValidatorIndex, Message)>>,
    /// What became final there, by height.
    pub(super) finalized: BTreeMap<u64, BlockId>,
}

/// A run of the others, the Byzantine one acting as an honest one, or falling silent half-way.
pub(super) fn heard(falls_silent: bool) -> Heard {
    let mut members: Vec<Member> = SET
        .indices()
        .filter(|index| *index != UNDER_TEST)
        .map(Member::new)
        .collect();
    let mut events = Vec::new();
    for round in 0..ROUNDS {
        if falls_silent && round == ROUNDS / 3 {
            members.retain(|member| member.own != BYZANTINE);
        }
        let sent: Vec<_> = members
            .iter_mut()
            .flat_map(|member| {
                let own = member.own;
                std::mem::take(&mut member.sent)
                    .into_iter()
                    .map(move |(to, message)| (own, to, message))
            })
            .collect();
        for (from, to, message) in sent {
            let is_for = |who| to == Destination::All || to == Destination::Peer(who);
            if is_for(UNDER_TEST) {
                events.push(Some((from, message.clone())));
            }
            for member in members.iter_mut().filter(|member| member.own != from) {
                if is_for(member.own) {
                    let message = Authenticated::assert_authenticated(from, message.clone());
                    member.input(Input::Message(message));
                    member.settle();
                }
            }
        }
        events.push(None);
        for member in &mut members {
            member.pass(u64::from(LINK_MS));
        }
    }
    let finalized = members.pop().map(|member| member.finalized);
    Heard {
        events,
        finalized: finalized.unwrap_or_default(),
    }
}

/// A validator whose disk is instant.
pub(super) struct Member {
    own: ValidatorIndex,
    consensus: Consensus,
    now: Now,
    payloads: u64,
    blocks: BTreeMap<BlockId, (Header, Arc<[u8]>)>,
    sent: Vec<(Destination, Message)>,
    pub(super) finalized: BTreeMap<u64, BlockId>,
}

impl Member {
    /// One that has never run, with a connection to each of the others.
    pub(super) fn new(own: ValidatorIndex) -> Self {
        let now = Now {
            mono_ns: MS,
            wall_ns: 1_000_000 * MS,
        };
        let config = Config {
            own,
            set: Arc::clone(&SET),
            durability: Durability::Async,
            timers: TimerConfig::laptop(),
            incarnation: 1,
            nonce_seed: [1; 32],
            snapshot_heights: 0,
        };
        let mut effects = Vec::new();
        let consensus = Consensus::new(config, Restored::fresh(&SET), now, &mut effects);
        let mut member = Self {
            own,
            consensus,
            now,
            payloads: 0,
            blocks: BTreeMap::new(),
            sent: Vec::new(),
            finalized: BTreeMap::new(),
        };
        member.carry_out(effects);
        for peer in SET.indices().filter(|peer| *peer != own) {
            member.input(Input::PeerUp(peer));
        }
        member.settle();
        member
    }

    pub(super) fn input(&mut self, input: Input) -> Disposition {
        let mut effects = Vec::new();
        let disposition = self.consensus.handle(self.now, input, &mut effects);
        self.carry_out(effects);
        disposition
    }

    /// Ends the turn; a leader proposes what it may.
    pub(super) fn settle(&mut self) {
        self.input(Input::Settle);
        if self.consensus.proposal_room().is_some() {
            self.payloads += 1;
            let payload = payload(self.own, self.payloads);
            self.input(Input::Payload(payload));
            self.input(Input::Settle);
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now.mono_ns += ms * MS;
        self.now.wall_ns += ms * MS;
        self.settle();
    }

    /// I2: what is final here is final there, as far as there is anything.
    pub(super) fn must_agree(&self, others: &BTreeMap<u64, BlockId>) {
        for (height, id) in &self.finalized {
            let other = others.get(height).unwrap_or(id);
            assert_eq!(id, other, "two blocks are final at height {height}");
        }
    }

    fn carry_out(&mut self, effects: Effects) {
        let mut answers = Vec::new();
        for effect in effects {
            self.carry_out_one(effect, &mut answers);
        }
        if answers.is_empty() {
            return;
        }
        for answer in answers {
            self.input(answer);
        }
        self.input(Input::Settle);
    }

    fn carry_out_one(&mut self, effect: Effect, answers: &mut Vec<Input>) {
        match effect {
            Effect::PersistBlock {
                id,
                header,
                payload,
            } => {
                self.blocks.insert(id, (header, payload));
            }
            Effect::PersistRecord(own) => {
                answers.push(Input::RecordDurable(Durable::assert_durable(own)));
            }
            Effect::PersistLease(lease) => {
                answers.push(Input::LeaseDurable(Durable::assert_durable_lease(lease)));
            }
            Effect::PersistAnswer(answer) => {
                let answer = Durable::assert_durable_answer(answer);
                answers.push(Input::AnswerDurable(answer));
            }
            Effect::PersistProof { point, .. } => answers.push(Input::Flushed(point.height)),
            Effect::Send { to, message } => self.sent.push((to, message)),
            Effect::Finalized { id, header, .. } => {
                let height = header.height.number();
                assert!(self.blocks.contains_key(&id), "final without its body");
                assert_eq!(height, self.finalized.len() as u64 + 1, "out of order");
                self.finalized.insert(height, id);
            }
            Effect::ServeBodies { to, blocks } => self.serve(to, &blocks),
            Effect::Verify { from, claim } => answers.extend(verdict(self.own, from, claim)),
            signed => answers.extend(self.signature(signed)),
        }
    }

    fn serve(&mut self, to: ValidatorIndex, blocks: &[BlockRef]) {
        for block in blocks {
            if let Some((header, payload)) = self.blocks.get(&block.id).cloned() {
                let message = Message::Block { header, payload };
                self.sent.push((Destination::Peer(to), message));
            }
        }
    }

    /// The answer to what asks for a signature; none to anything else.
    fn signature(&self, effect: Effect) -> Option<Input> {
        let key = &SET.validator(self.own)?.key;
        let mut said = Vec::new();
        Some(match effect {
            Effect::SignRecord { window, record } => {
                signing::record_message(&SET, self.own, window, &record, &mut said);
                let signature = sign(key, &said);
                Input::RecordSigned {
                    window,
                    record,
                    signature,
                }
            }
            Effect::SignHeader { id, header } => {
                signing::header_message(&SET, &header, &mut said);
                let signature = sign(key, &said);
                Input::HeaderSigned { id, signature }
            }
            Effect::SignAnswer(answer) => {
                signing::recover_message(&SET, self.own, &answer, &mut said);
                let signature = sign(key, &said);
                Input::AnswerSigned { answer, signature }
            }
            _ => return None,
        })
    }
}

/// The first command of a session that nobody else has.
fn payload(own: ValidatorIndex, number: u64) -> Arc<[u8]> {
    let mut session = [0; 16];
    session[..8].copy_from_slice(&number.to_le_bytes());
    session[8..10].copy_from_slice(&own.number().to_le_bytes());
    let mut bytes = Vec::new();
    let entry = Entry {
        lane: Lane::Order,
        session: &session,
        seq: 2,
        signature: None,
        body: b"a command",
    };
    encode_entry(&entry, &mut bytes);
    let mut builder = PayloadBuilder::new();
    builder.push_entry(&bytes).expect("one command fits");
    builder.finish()
}

fn verdict(own: ValidatorIndex, from: ValidatorIndex, claim: Claim) -> Option<Input> {
    let verdict = check_claims(&SET, own, vec![(from, claim)], &mut StandIn).pop()?;
    Some(match verdict {
        Ok((from, claim)) => Input::Verified { from, claim },
        Err(refusal) => Input::Refused {
            from: refusal.from,
            own_record: refusal.own_record,
        },
    })
}

/// A hash over key and message; it costs less than a signature, and an input cannot make one up.
fn sign(key: &[u8; 32], message: &[u8]) -> SignatureBytes {
    let mut signature = [0; 64];
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(message).finalize_xof().fill(&mut signature);
    signature
}

struct StandIn;

impl SignatureCheck for StandIn {
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool> {
        let byzantine = SET.validator(BYZANTINE).map(|validator| validator.key);
        let is_good = |item: &SignatureItem<'_>| {
            Some(*item.key) == byzantine || sign(item.key, item.message) == *item.signature
        };
        items.iter().map(is_good).collect()
    }
}
