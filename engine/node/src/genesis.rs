//! The genesis file: everything that all validators of a chain must agree on before its first
//! block.
//!
//! Owns the file's fields, their checks and the hash over the file's exact bytes, which stand as
//! record 0 in every log and in every signature. Never: anything that may differ between two
//! validators; that is in [`config`](crate::config).

mod begins;
mod check;

pub use begins::{Begins, Successors};
pub(crate) use check::address as check_address;
/// Shared with whoever checks proofs by the file alone.
pub use quorate_proof::genesis::{GENESIS_FORMAT, hash_of};

use crate::file_error::FileError;
use crate::hex;
use quorate_consensus::limits::{
    BLOCK_COMMANDS_MAX, COMMAND_BYTES_MAX, PAYLOAD_BYTES_MAX, TURN_WINDOWS_DEFAULT,
    WINDOW_SLOTS_DEFAULT,
};
use quorate_consensus::payload::{BlockRules, LANE_PERCENT_DEFAULT};
use quorate_consensus::thresholds::{default_fault, default_slack};
use quorate_consensus::types::{Stake, ValidatorIndex};
use quorate_consensus::validators::ValidatorSet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::path::Path;
use std::sync::Arc;

/// Longest genesis file, bytes.
pub const GENESIS_BYTES_MAX: usize = 256 * 1024;
/// Sessions that the replicated table holds at most, whatever a genesis says.
pub const SESSIONS_MAX: u32 = 1 << 20;
/// Client addresses of one validator at most.
pub const CLIENT_ADDRESSES_MAX: usize = 8;

/// 32 bytes that stand as 64 lower-case hex digits in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hex32(pub [u8; 32]);

impl Serialize for Hex32 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex32 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode_32(&text)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("expected 64 lower-case hex digits"))
    }
}

/// How a client's command proves whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// By the login of the session at the validator that admits it; all others take that
    /// validator's word, so one Byzantine validator can forge commands of any session.
    Session,
    /// By the client's own Ed25519 signature, which every validator checks.
    Signed,
}

impl Auth {
    /// What an operator should know of it, one line.
    #[must_use]
    pub const fn remark(self) -> &'static str {
        match self {
            Self::Session => {
                "auth session: commands are not signed; a Byzantine validator can forge commands \
                 of any session"
            }
            Self::Signed => "auth signed: every command carries its client's signature",
        }
    }
}

/// Which state machine the chain runs, and with what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// Its name, as the embedding program knows it: 1 to 64 characters of `a-z 0-9 - _`.
    pub name: String,
    /// Its own parameters, not read by the engine.
    pub parameters: serde_json::Map<String, serde_json::Value>,
}

/// Bounds of the chain. Each may be lower than the built-in one, never higher. Those on blocks are
/// part of a block's validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainLimits {
    /// Bytes of one command's body.
    pub command_bytes_max: u32,
    /// Bytes of one block's payload.
    pub payload_bytes_max: u32,
    /// Commands in one block.
    pub block_commands_max: u32,
    /// Sessions in the replicated table.
    pub sessions_max: u32,
    /// Shares of the lanes.
    #[serde(default)]
    pub lane_percent: LanePercent,
}

/// Percent of a block's payload that each lane may take, 1 to 100, judged of payloads above
/// 64 KiB. Part of a block's validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanePercent {
    /// Cancels and kill switches: 100, since nothing may hold them back.
    pub cancel: u8,
    /// Orders.
    pub order: u8,
    /// Prices from outside.
    pub price: u8,
    /// Administration.
    pub admin: u8,
}

impl Default for LanePercent {
    fn default() -> Self {
        let [cancel, order, price, admin] = LANE_PERCENT_DEFAULT;
        Self {
            cancel,
            order,
            price,
            admin,
        }
    }
}

impl ChainLimits {
    /// What they ask of a block.
    #[must_use]
    pub const fn block_rules(&self) -> BlockRules {
        let LanePercent {
            cancel,
            order,
            price,
            admin,
        } = self.lane_percent;
        BlockRules {
            payload_bytes_max: self.payload_bytes_max as usize,
            commands_max: self.block_commands_max as usize,
            command_bytes_max: self.command_bytes_max as usize,
            lane_percent: [cancel, order, price, admin],
        }
    }
}

impl Default for ChainLimits {
    fn default() -> Self {
        Self {
            command_bytes_max: COMMAND_BYTES_MAX as u32,
            payload_bytes_max: PAYLOAD_BYTES_MAX as u32,
            block_commands_max: BLOCK_COMMANDS_MAX as u32,
            sessions_max: 65_536,
            lane_percent: LanePercent::default(),
        }
    }
}

/// One validator of the first epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisValidator {
    /// Its Ed25519 public key.
    pub key: Hex32,
    /// Its voting weight, at least 1.
    pub stake: u64,
    /// Its share of leading; its stake when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_weight: Option<u64>,
    /// `host:port` where other validators reach it.
    pub peer_address: String,
    /// `host:port` where clients reach it, in order of preference.
    pub client_addresses: Vec<String>,
}

/// The fields of a genesis file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisFile {
    /// [`GENESIS_FORMAT`].
    pub format: u32,
    /// Name of the chain: random, never used for another one.
    pub chain_id: Hex32,
    /// The first epoch: 0.
    pub epoch: u64,
    /// Wall clock at which the chain was made, nanoseconds since the Unix epoch: time of block 0.
    /// With `begins` the time of that block.
    pub genesis_time_ns: u64,
    /// The state of another chain that this one goes on from; none of one that begins with
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins: Option<Begins>,
    /// F: weight that may be Byzantine.
    pub fault_weight: u64,
    /// P: weight that may be silent without stopping the fast path.
    pub fast_slack: u64,
    /// Whether `fault_weight = 0` is meant: only crashes are survived.
    pub crash_only: bool,
    /// Slots of a window.
    pub window_slots: u32,
    /// Windows of a leader's turn.
    pub turn_windows: u32,
    /// How commands prove whose they are.
    pub auth: Auth,
    /// The state machine.
    pub application: Application,
    /// Bounds.
    pub limits: ChainLimits,
    /// The validators; a validator's index is its place here.
    pub validators: Vec<GenesisValidator>,
}

/// What [`Genesis::build`] needs; the rest has defaults.
#[derive(Clone, Debug)]
pub struct GenesisPlan {
    /// Name of the chain.
    pub chain_id: [u8; 32],
    /// Wall clock, nanoseconds since the Unix epoch.
    pub genesis_time_ns: u64,
    /// F; by default as `default_fault` derives it from the stakes.
    pub fault_weight: Option<u64>,
    /// P; by default as `default_slack` derives it from the stakes and F.
    pub fast_slack: Option<u64>,
    /// Whether F = 0 is meant.
    pub crash_only: bool,
    /// Slots of a window, by default 4,096.
    pub window_slots: Option<u32>,
    /// Windows of a turn, by default 4.
    pub turn_windows: Option<u32>,
    /// How commands prove whose they are.
    pub auth: Auth,
    /// The state machine.
    pub application: Application,
    /// Bounds.
    pub limits: ChainLimits,
    /// The validators.
    pub validators: Vec<GenesisValidator>,
}

/// A genesis file that passed every check, with its exact bytes.
#[derive(Clone, Debug)]
pub struct Genesis {
    file: GenesisFile,
    bytes: Arc<[u8]>,
    hash: [u8; 32],
    set: Arc<ValidatorSet>,
}

impl Genesis {
    /// Reads and checks a genesis file.
    ///
    /// # Errors
    /// It cannot be read, or as [`parse`](Self::parse).
    pub fn load(path: &Path) -> Result<Self, FileError> {
        let bytes = crate::file_error::read_bounded(path, GENESIS_BYTES_MAX)?;
        Self::parse(&bytes, path)
    }

    /// Checks the bytes of a genesis file; `path` stands in errors only.
    ///
    /// # Errors
    /// The bytes are not such a file, or a field has a value that is not allowed.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, FileError> {
        if bytes.len() > GENESIS_BYTES_MAX {
            return Err(FileError::new(path, "", "the file is too long")
                .value(format_args!("{} bytes", bytes.len()))
                .remedy(format!("at most {GENESIS_BYTES_MAX} bytes are read")));
        }
        check::format(bytes, path)?;
        let file: GenesisFile =
            serde_json::from_slice(bytes).map_err(|error| FileError::json(path, bytes, &error))?;
        let hash = hash_of(bytes);
        let set = check::all(&file, hash, path)?;
        Ok(Self {
            file,
            bytes: bytes.into(),
            hash,
            set: Arc::new(set),
        })
    }

    /// Makes a genesis from a plan: fills in the defaults, writes them out, checks the result.
    ///
    /// # Errors
    /// A field has a value that is not allowed; the file is named `genesis.json` there.
    pub fn build(plan: GenesisPlan) -> Result<Self, FileError> {
        let weights = Weights::derive(
            &plan.validators,
            plan.crash_only,
            (plan.fault_weight, plan.fast_slack),
        );
        let file = GenesisFile {
            format: GENESIS_FORMAT,
            chain_id: Hex32(plan.chain_id),
            epoch: 0,
            genesis_time_ns: plan.genesis_time_ns,
            begins: None,
            fault_weight: weights.fault,
            fast_slack: weights.slack,
            crash_only: plan.crash_only,
            window_slots: plan.window_slots.unwrap_or(WINDOW_SLOTS_DEFAULT),
            turn_windows: plan.turn_windows.unwrap_or(TURN_WINDOWS_DEFAULT),
            auth: plan.auth,
            application: plan.application,
            limits: plan.limits,
            validators: plan.validators,
        };
        Self::write_out(&file)
    }

    /// The file of these fields, the same bytes everywhere, checked.
    fn write_out(file: &GenesisFile) -> Result<Self, FileError> {
        let path = Path::new("genesis.json");
        let mut bytes = serde_json::to_vec_pretty(file)
            .map_err(|error| FileError::new(path, "", error).remedy("report this"))?;
        bytes.push(b'\n');
        Self::parse(&bytes, path)
    }

    /// The fields.
    #[must_use]
    pub const fn file(&self) -> &GenesisFile {
        &self.file
    }

    /// The exact bytes: what is hashed, and record 0 of every log.
    #[must_use]
    pub const fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// BLAKE3 of the domain and the exact bytes.
    #[must_use]
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// Name of the chain.
    #[must_use]
    pub const fn chain_id(&self) -> &[u8; 32] {
        &self.file.chain_id.0
    }

    /// The validator set of the first epoch.
    #[must_use]
    pub const fn validator_set(&self) -> &Arc<ValidatorSet> {
        &self.set
    }

    /// The validator with this public key, if it is one.
    #[must_use]
    pub fn index_of(&self, key: &[u8; 32]) -> Option<ValidatorIndex> {
        self.set.indices().find(|&v| {
            self.set
                .validator(v)
                .is_some_and(|member| member.key == *key)
        })
    }

    /// What an operator should know about this set besides the errors: F, P, C, Q, FAST, who
    /// stops what, and warnings; one line each.
    #[must_use]
    pub fn summary(&self) -> Vec<String> {
        let mut lines = check::summary(&self.set);
        lines.push(self.file.auth.remark().to_owned());
        lines.extend(self.file.begins.as_ref().map(Begins::remark));
        lines
    }
}

/// F and P of a genesis.
struct Weights {
    fault: u64,
    slack: u64,
}

impl Weights {
    /// As given, and where they are not as the stakes make them.
    fn derive(
        validators: &[GenesisValidator],
        crash_only: bool,
        (fault, slack): (Option<u64>, Option<u64>),
    ) -> Self {
        let stakes: Vec<Stake> = validators.iter().map(|v| Stake::new(v.stake)).collect();
        let total = stakes
            .iter()
            .fold(0_u64, |sum, stake| sum.saturating_add(stake.amount()));
        let fault = fault.unwrap_or_else(|| match crash_only {
            true => 0,
            false => default_fault(&stakes).amount(),
        });
        let default = || default_slack(Stake::new(total), Stake::new(fault)).amount();
        Self {
            fault,
            slack: slack.unwrap_or_else(default),
        }
    }
}
