//! The validator set of one epoch, checked at construction and never changed after.
//!
//! Owns keys, stakes, thresholds, the leader schedule and the set's hash; every check of a set's
//! configuration happens in [`ValidatorSet::new`]. Never: votes, connections, or another epoch's
//! weights.

mod error;

pub use error::{SetError, SetWarning};

use crate::limits::{
    ALSO_ENTRIES_MAX, PIPELINE_BLOCKS, TURN_WINDOWS_MAX, VALIDATORS_MAX, WINDOW_SLOTS_MAX,
};
use crate::payload::BlockRules;
use crate::schedule::Schedule;
use crate::thresholds::{TOTAL_MAX_EXCLUSIVE, Thresholds};
use crate::types::{BlockId, Epoch, Height, Point, Stake, ValidatorIndex, Window};
use alloc::vec::Vec;
use curve25519_dalek::edwards::CompressedEdwardsY;

/// The domain of the set's hash.
const SET_DOMAIN: &[u8] = b"bft/set/v1";
/// The domain of the genesis block's name.
const GENESIS_DOMAIN: &[u8] = b"bft/genesis/v1";

/// One voting member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validator {
    /// Ed25519 public key.
    pub key: [u8; 32],
    /// Voting weight, at least 1.
    pub stake: Stake,
    /// Share of the leader's turns; zero for one that never leads.
    pub leader_weight: u64,
}

impl Validator {
    /// A validator that leads in proportion to its stake.
    #[must_use]
    pub const fn new(key: [u8; 32], stake: Stake) -> Self {
        Self {
            key,
            stake,
            leader_weight: stake.amount(),
        }
    }
}

/// What a set is made from besides its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetParameters {
    /// Which chain.
    pub chain_id: [u8; 32],
    /// Hash of the genesis configuration.
    pub genesis_hash: [u8; 32],
    /// Which epoch this set votes in.
    pub epoch: Epoch,
    /// F: weight that may be Byzantine.
    pub fault: Stake,
    /// P: weight that may be silent on the fast path.
    pub slack: Stake,
    /// W: slots of a window.
    pub window_slots: u32,
    /// R: windows of a leader's turn.
    pub turn_windows: u32,
    /// Whether F = 0 is meant: crashes only, no Byzantine validator.
    pub crash_only: bool,
    /// Time of the genesis block, nanoseconds since the Unix epoch.
    pub genesis_time_ns: u64,
}

/// The validators of one epoch, with everything derived from them.
#[derive(Clone, Debug)]
pub struct ValidatorSet {
    parameters: SetParameters,
    validators: Vec<Validator>,
    thresholds: Thresholds,
    schedule: Schedule,
    set_hash: [u8; 32],
    genesis: Point,
    block_rules: BlockRules,
}

impl ValidatorSet {
    /// Checks the members and parameters and derives thresholds, schedule and hash.
    ///
    /// # Errors
    ///
    /// [`SetError`], which names the field, the validator and the value.
    pub fn new(parameters: SetParameters, validators: Vec<Validator>) -> Result<Self, SetError> {
        check_parameters(&parameters)?;
        check_validators(&validators)?;
        let total: u128 = validators
            .iter()
            .map(|v| u128::from(v.stake.amount()))
            .sum();
        let total = u64::try_from(total)
            .ok()
            .filter(|&amount| amount < TOTAL_MAX_EXCLUSIVE)
            .ok_or(SetError::TotalTooLarge { total })?;
        let thresholds = Thresholds::new(Stake::new(total), parameters.fault, parameters.slack)
            .map_err(SetError::Thresholds)?;
        check_branches(validators.len(), &thresholds)?;
        let weights: Vec<u64> = validators.iter().map(|v| v.leader_weight).collect();
        let schedule = Schedule::new(&weights).map_err(SetError::Schedule)?;
        check_seated(&validators, &schedule, &thresholds)?;
        let set_hash = hash_set(&parameters, &validators, &schedule);
        let genesis = Point::genesis(Height::ZERO, genesis_id(&parameters.genesis_hash));
        Ok(Self {
            parameters,
            validators,
            thresholds,
            schedule,
            set_hash,
            genesis,
            block_rules: BlockRules::default(),
        })
    }

    /// The same set in a chain whose genesis asks this of blocks. Its hash is that of before: the
    /// genesis' own hash, which is in it, covers the rules.
    #[must_use]
    pub const fn with_block_rules(mut self, rules: BlockRules) -> Self {
        self.block_rules = rules;
        self
    }

    /// The same set in a chain that goes on from a block of another one (3.4): its first block has
    /// the height after `height`. Its hash is that of before: the genesis' own hash, which is in
    /// it, covers the height.
    #[must_use]
    pub const fn with_genesis_height(mut self, height: Height) -> Self {
        self.genesis.height = height;
        self
    }

    /// What the chain's genesis asks of blocks.
    #[must_use]
    pub const fn block_rules(&self) -> &BlockRules {
        &self.block_rules
    }

    /// How many validators there are, 1 to `VALIDATORS_MAX`.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.validators.len()
    }

    /// Never true: a set has at least one validator.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.validators.is_empty()
    }

    /// All validators' numbers, ascending.
    pub fn indices(&self) -> impl ExactSizeIterator<Item = ValidatorIndex> + Clone + use<> {
        // At most VALIDATORS_MAX, far below 2^16.
        (0..self.validators.len() as u16).map(ValidatorIndex::new)
    }

    /// The weight of a validator; zero if there is none of that number.
    #[must_use]
    pub fn stake(&self, validator: ValidatorIndex) -> Stake {
        self.validators
            .get(validator.place())
            .map_or(Stake::ZERO, |member| member.stake)
    }

    /// The validator of a number, if there is one.
    #[must_use]
    pub fn validator(&self, validator: ValidatorIndex) -> Option<&Validator> {
        self.validators.get(validator.place())
    }

    /// Whether there is a validator of that number.
    #[must_use]
    pub const fn contains(&self, validator: ValidatorIndex) -> bool {
        validator.place() < self.validators.len()
    }

    /// Q, FAST, FB, AMP and what they come from.
    #[must_use]
    pub const fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Who proposes in a window.
    #[must_use]
    pub fn leader(&self, window: Window) -> ValidatorIndex {
        self.schedule.leader(self.turn(window))
    }

    /// The turn that a window belongs to: one leader's run of windows.
    #[must_use]
    pub fn turn(&self, window: Window) -> u64 {
        window.number() / u64::from(self.parameters.turn_windows)
    }

    /// W: slots of a window.
    #[must_use]
    pub const fn slots(&self) -> u32 {
        self.parameters.window_slots
    }

    /// R: windows of a turn.
    #[must_use]
    pub const fn turn_windows(&self) -> u32 {
        self.parameters.turn_windows
    }

    /// The leader table.
    #[must_use]
    pub const fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Which epoch this set votes in.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.parameters.epoch
    }

    /// Hash of everything above, the schedule included; stands in every header and signature.
    #[must_use]
    pub const fn set_hash(&self) -> &[u8; 32] {
        &self.set_hash
    }

    /// Which chain.
    #[must_use]
    pub const fn chain_id(&self) -> &[u8; 32] {
        &self.parameters.chain_id
    }

    /// Hash of the genesis configuration.
    #[must_use]
    pub const fn genesis_hash(&self) -> &[u8; 32] {
        &self.parameters.genesis_hash
    }

    /// The block before all others.
    #[must_use]
    pub const fn genesis(&self) -> Point {
        self.genesis
    }

    /// Whether a point of this chain is its genesis, below which it has none.
    #[must_use]
    pub const fn is_genesis(&self, point: &Point) -> bool {
        point.height.number() <= self.genesis.height.number()
    }

    /// Time of the genesis block, nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn genesis_time_ns(&self) -> u64 {
        self.parameters.genesis_time_ns
    }

    /// What the set was made from besides its members.
    #[must_use]
    pub const fn parameters(&self) -> &SetParameters {
        &self.parameters
    }

    /// Validators whose silence alone stops the fast path.
    #[must_use]
    pub fn who_stops_fast(&self) -> Vec<ValidatorIndex> {
        self.indices()
            .filter(|&v| self.stake(v) > self.thresholds.slack)
            .collect()
    }

    /// Validators whose silence alone stops all progress.
    #[must_use]
    pub fn who_stops_all(&self) -> Vec<ValidatorIndex> {
        let rest = |v| self.thresholds.total.minus(self.stake(v));
        self.indices()
            .filter(|&v| rest(v) < self.thresholds.quorum)
            .collect()
    }

    /// What is legal here but probably not meant.
    #[must_use]
    pub fn warnings(&self) -> Vec<SetWarning> {
        let mut warnings = Vec::new();
        let Thresholds {
            total,
            fault,
            slack,
            ..
        } = self.thresholds;
        let heaviest = self
            .indices()
            .max_by_key(|&v| (self.stake(v), core::cmp::Reverse(v)));
        if let Some(validator) = heaviest {
            let stake = self.stake(validator);
            if stake > fault {
                warnings.push(SetWarning::StakeAboveFault {
                    validator,
                    stake,
                    fault,
                });
            }
            if stake > slack {
                warnings.push(SetWarning::StakeAboveSlack {
                    validator,
                    stake,
                    slack,
                });
            }
        }
        // N >= 3F + 2P + 1 and N < 2^62: no step leaves 64 bits.
        let unused = total.amount() - 3 * fault.amount() - 2 * slack.amount() - 1;
        if unused >= 2 && unused > slack.amount() {
            warnings.push(SetWarning::SlackUnused {
                unused: Stake::new(unused),
                slack,
            });
        }
        if self.slots() < 2 * PIPELINE_BLOCKS {
            warnings.push(SetWarning::WindowShort {
                slots: self.slots(),
            });
        }
        warnings
    }
}

fn check_parameters(parameters: &SetParameters) -> Result<(), SetError> {
    let SetParameters {
        fault,
        window_slots,
        turn_windows,
        crash_only,
        ..
    } = *parameters;
    if !(1..=WINDOW_SLOTS_MAX).contains(&window_slots) {
        return Err(SetError::WindowSlots { window_slots });
    }
    if !(1..=TURN_WINDOWS_MAX).contains(&turn_windows) {
        return Err(SetError::TurnWindows { turn_windows });
    }
    if fault == Stake::ZERO && !crash_only {
        return Err(SetError::FaultZero);
    }
    Ok(())
}

fn check_validators(validators: &[Validator]) -> Result<(), SetError> {
    if validators.is_empty() || validators.len() > VALIDATORS_MAX {
        return Err(SetError::Count {
            count: validators.len(),
        });
    }
    for (place, member) in validators.iter().enumerate() {
        // At most VALIDATORS_MAX.
        let validator = ValidatorIndex::new(place as u16);
        if member.stake == Stake::ZERO {
            return Err(SetError::StakeZero { validator });
        }
        check_key(validator, &member.key)?;
        let twin = validators[..place]
            .iter()
            .position(|other| other.key == member.key);
        if let Some(first) = twin {
            let first = ValidatorIndex::new(first as u16);
            return Err(SetError::KeyRepeated {
                first,
                validator,
                key: member.key,
            });
        }
    }
    Ok(())
}

/// A registered key is a canonical point of prime order: then no torsion lets one signature be
/// judged in two ways by other implementations.
fn check_key(validator: ValidatorIndex, key: &[u8; 32]) -> Result<(), SetError> {
    let key = *key;
    let point = CompressedEdwardsY(key).decompress();
    let Some(point) = point else {
        return Err(SetError::KeyInvalid { validator, key });
    };
    if point.compress().to_bytes() != key {
        return Err(SetError::KeyNotCanonical { validator, key });
    }
    if point.is_small_order() {
        return Err(SetError::KeySmallOrder { validator, key });
    }
    if !point.is_torsion_free() {
        return Err(SetError::KeyTorsion { validator, key });
    }
    Ok(())
}

/// A record has room for every branch that a slot can have: each has first votes of weight AMP, and
/// every validator votes on one.
fn check_branches(validators: usize, thresholds: &Thresholds) -> Result<(), SetError> {
    let branches = thresholds.total.amount() / thresholds.amplify.amount();
    if validators > ALSO_ENTRIES_MAX && branches > ALSO_ENTRIES_MAX as u64 {
        return Err(SetError::BranchesMany { branches });
    }
    Ok(())
}

/// Whoever holds F and C together must not be able to own every turn.
fn check_seated(
    validators: &[Validator],
    schedule: &Schedule,
    thresholds: &Thresholds,
) -> Result<(), SetError> {
    let mut is_seated = [false; VALIDATORS_MAX];
    for seat in schedule.seats() {
        is_seated[seat.place()] = true;
    }
    let seated: Stake = validators
        .iter()
        .zip(is_seated)
        .filter(|(_, sits)| *sits)
        .map(|(v, _)| v.stake)
        .sum();
    let needed = thresholds.fault.plus(thresholds.crash).plus(Stake::new(1));
    if seated < needed {
        return Err(SetError::SeatedTooLittle { seated, needed });
    }
    Ok(())
}

fn hash_set(parameters: &SetParameters, validators: &[Validator], schedule: &Schedule) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(SET_DOMAIN);
    hasher.update(&parameters.chain_id);
    hasher.update(&parameters.genesis_hash);
    hasher.update(&parameters.epoch.number().to_le_bytes());
    hasher.update(&parameters.fault.amount().to_le_bytes());
    hasher.update(&parameters.slack.amount().to_le_bytes());
    hasher.update(&parameters.window_slots.to_le_bytes());
    hasher.update(&parameters.turn_windows.to_le_bytes());
    hasher.update(&[u8::from(parameters.crash_only)]);
    hasher.update(&parameters.genesis_time_ns.to_le_bytes());
    hasher.update(&(validators.len() as u32).to_le_bytes());
    for member in validators {
        hasher.update(&member.key);
        hasher.update(&member.stake.amount().to_le_bytes());
        hasher.update(&member.leader_weight.to_le_bytes());
    }
    hasher.update(&schedule.hash());
    *hasher.finalize().as_bytes()
}

fn genesis_id(genesis_hash: &[u8; 32]) -> BlockId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(GENESIS_DOMAIN);
    hasher.update(genesis_hash);
    BlockId::new(*hasher.finalize().as_bytes())
}
