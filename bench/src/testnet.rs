//! A testnet on disk: one folder with a genesis and a folder a validator.
//!
//! Owns the layout of that folder, its ports and its permissions. Never: starts anything.
//!
//! ```text
//! DIR/genesis.json
//! DIR/admin.key                      only for the venue: may halt and resume instruments
//! DIR/validator-00/quorate.toml      folder mode 0700
//! DIR/validator-00/key               mode 0600
//! DIR/validator-00/feed.key          only where prices are fed: its observations' session
//! DIR/validator-00/data/log/         an empty log, and the lease of a key that never signed
//! ```
//!
//! Validator i uses ports P + 4i (validators), + 1 (clients) and + 2 (metrics) on loopback.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use quorate::config::{ConfigFile, NodeConfig, RateConfig, SnapshotConfig};
use quorate::file_error::FileError;
use quorate::genesis::{
    Application, Auth, ChainLimits, Genesis, GenesisPlan, GenesisValidator, Hex32,
};
use quorate::keys::{self, KeyPair};
use quorate::local::claim_ports;
use quorate::node::{self, StartError};
use quorate::profiles::{Durability, Idle, Profile, Threads};
use quorate::state_machine::SessionId;
use quorate_consensus::payload::session_of_key;
use serde_json::Map;

use crate::applications::{
    FeedValidatorParameters, OPAQUE, PAGES, PagesParameters, VENUE, VenueParameters,
};
use crate::exchange;

/// Ports between two validators.
pub const PORTS_PER_VALIDATOR: u16 = 4;
/// Name of the genesis file.
pub const GENESIS_FILE: &str = "genesis.json";
/// Name of the configuration file.
pub const CONFIG_FILE: &str = "quorate.toml";
/// Name of the key file of the session that may halt and resume.
pub const ADMIN_KEY_FILE: &str = "admin.key";
/// Name of a validator's key file.
const KEY_FILE: &str = "key";
/// Name of the key file of a validator's observations.
const FEED_KEY_FILE: &str = "feed.key";
/// Name of a validator's data folder.
const DATA_FOLDER: &str = "data";
/// What the venue of a testnet trades.
const SYMBOL: &str = "QRT";

/// What a testnet's commands are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Orders, cancels and the rest at the order book.
    Venue,
    /// The same with accounts, price feeds and option series beside the book.
    Exchange,
    /// Bytes without a meaning.
    Opaque,
    /// The same, written into a state of so many MiB.
    Pages {
        /// Its length.
        state_mib: u32,
    },
}

impl Workload {
    /// The workload that an application takes, if it is one of this program.
    #[must_use]
    pub fn of_application(application: &Application) -> Option<Self> {
        match application.name.as_str() {
            VENUE => Some(Self::Venue),
            OPAQUE => Some(Self::Opaque),
            PAGES => {
                let PagesParameters { state_mib } = PagesParameters::of(application).ok()?;
                Some(Self::Pages { state_mib })
            }
            _ => None,
        }
    }

    /// Its own name, as the command line has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Venue => VENUE,
            Self::Exchange => "exchange",
            Self::Opaque => OPAQUE,
            Self::Pages { .. } => PAGES,
        }
    }

    /// The name of the application that takes it.
    #[must_use]
    pub const fn application(self) -> &'static str {
        match self {
            Self::Venue | Self::Exchange => VENUE,
            Self::Opaque => OPAQUE,
            Self::Pages { .. } => PAGES,
        }
    }
}

/// What a testnet is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Weight of each validator, in order; as many as there are validators.
    pub weights: Vec<u64>,
    /// F, or what the weights suggest.
    pub fault_weight: Option<u64>,
    /// P, or what the weights and F suggest.
    pub fast_slack: Option<u64>,
    /// Whether F = 0 is meant.
    pub crash_only: bool,
    /// The application.
    pub workload: Workload,
    /// How commands prove whose they are.
    pub auth: Auth,
    /// P of the ports.
    pub base_port: u16,
    /// What a vote record must be before it leaves.
    pub durability: Durability,
    /// Choices that go together.
    pub profile: Profile,
    /// Overrides the profile.
    pub threads: Option<Threads>,
    /// Overrides the profile.
    pub idle: Option<Idle>,
    /// Stamps of blocks that each validator keeps for `/trace`; 0: none.
    pub trace_stamps: usize,
    /// Slots of a window; by default as many as any chain has.
    pub window_slots: Option<u32>,
    /// Length of a segment of each log, bytes; by default as long as any log's.
    pub segment_bytes: Option<u32>,
}

impl Plan {
    /// What clusters of measurements have in common, for each to change what it measures:
    /// `validators` of weight 1, opaque commands over authenticated channels, `async`, and the
    /// profile `laptop`. Below four validators only crashes are borne.
    #[must_use]
    pub fn of_equals(validators: usize, base_port: u16) -> Self {
        Self {
            weights: vec![1; validators],
            fault_weight: None,
            fast_slack: None,
            crash_only: validators < 4,
            workload: Workload::Opaque,
            auth: Auth::Session,
            base_port,
            durability: Durability::Async,
            profile: Profile::Laptop,
            threads: None,
            idle: None,
            trace_stamps: 0,
            window_slots: None,
            segment_bytes: None,
        }
    }
}

/// Why there is no testnet.
#[derive(Debug, thiserror::Error)]
pub enum TestnetError {
    /// A file of it is wrong, or cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// No genesis can be made of what was asked for.
    #[error(transparent)]
    Plan(FileError),
    /// The data folder of a validator cannot be made.
    #[error(transparent)]
    Data(#[from] StartError),
    /// The ports do not fit below 65,536.
    #[error("{validators} validators do not fit into the ports from {base_port}")]
    Ports {
        /// How many validators.
        validators: usize,
        /// The first port.
        base_port: u16,
    },
    /// No run of ports is free.
    #[error("no ports for {validators} validators: {source}")]
    NoPorts {
        /// Whose ports were looked for.
        validators: usize,
        /// What stood against it.
        source: io::Error,
    },
    /// The folder holds something already.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// The folder or a file in it cannot be used.
    #[error("{}: {what}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// A testnet that is on disk and passed every check.
#[derive(Clone, Debug)]
pub struct Testnet {
    dir: PathBuf,
    genesis: Genesis,
}

impl Testnet {
    /// Writes a testnet into a folder that is new or empty.
    ///
    /// # Errors
    /// The plan is not allowed (as in [`Genesis::build`]), or a file cannot be written.
    pub fn create(dir: &Path, plan: &Plan) -> Result<Self, TestnetError> {
        let ports = ports(plan)?;
        refuse_full(dir)?;
        let is_new = !dir.exists();
        keys::create_private_folder(dir)?;
        Self::fill(dir, plan, &ports).inspect_err(|_| clear(dir, is_new))
    }

    fn fill(dir: &Path, plan: &Plan, ports: &[u16]) -> Result<Self, TestnetError> {
        let mut members = Vec::with_capacity(plan.weights.len());
        for (index, (stake, port)) in plan.weights.iter().zip(ports).enumerate() {
            let key = KeyPair::create(&validator_folder(dir, index).join(KEY_FILE))?;
            members.push(GenesisValidator {
                key: Hex32(key.public()),
                stake: *stake,
                leader_weight: None,
                peer_address: loopback(*port),
                client_addresses: vec![loopback(port + 1)],
            });
        }
        let genesis = Genesis::build(GenesisPlan {
            chain_id: KeyPair::generate()
                .map_err(|source| io_error(dir, "make an id", source))?
                .public(),
            genesis_time_ns: wall_clock_ns(),
            fault_weight: plan.fault_weight,
            fast_slack: plan.fast_slack,
            crash_only: plan.crash_only,
            window_slots: plan.window_slots,
            turn_windows: None,
            auth: plan.auth,
            application: application(dir, plan)?,
            limits: ChainLimits::default(),
            validators: members,
        })
        .map_err(TestnetError::Plan)?;
        write_new(&dir.join(GENESIS_FILE), genesis.bytes(), 0o644)?;
        for (index, port) in ports.iter().enumerate() {
            let genesis_path = Path::new("..").join(GENESIS_FILE);
            let mut config =
                ConfigFile::new(&genesis_path, Path::new(KEY_FILE), Path::new(DATA_FOLDER));
            config.validator = u16::try_from(index).ok();
            config.profile = plan.profile;
            config.durability = plan.durability;
            config.threads = plan.threads;
            config.idle = plan.idle;
            config.limits.trace_stamps = plan.trace_stamps;
            config.listen.metrics = Some(loopback(port + 2));
            let path = validator_folder(dir, index).join(CONFIG_FILE);
            if let Some(segment_bytes) = plan.segment_bytes {
                config.log.segment_bytes = segment_bytes;
            }
            write_new(&path, config.to_commented_toml().as_bytes(), 0o600)?;
            node::initialize(&NodeConfig::load(&path)?)?;
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            genesis,
        })
    }

    /// Opens a testnet that was written before.
    ///
    /// # Errors
    /// Its genesis cannot be read or is not allowed.
    pub fn open(dir: &Path) -> Result<Self, TestnetError> {
        let genesis = Genesis::load(&dir.join(GENESIS_FILE))?;
        Ok(Self {
            dir: dir.to_path_buf(),
            genesis,
        })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The genesis.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Bounds what every validator lets one client send; before they start.
    ///
    /// # Errors
    /// A configuration cannot be read or written.
    pub fn set_rates(&self, rates: &RateConfig) -> Result<(), TestnetError> {
        self.configure(|config| config.rates = *rates)
    }

    /// Says when every validator takes snapshots, and how many it keeps; before they start.
    ///
    /// # Errors
    /// A configuration cannot be read or written.
    pub fn set_snapshots(&self, snapshots: &SnapshotConfig) -> Result<(), TestnetError> {
        self.configure(|config| config.snapshots = snapshots.clone())
    }

    fn configure(&self, change: impl Fn(&mut ConfigFile)) -> Result<(), TestnetError> {
        for index in 0..self.validators() {
            let path = self.config_path(index);
            let text = fs::read_to_string(&path)
                .map_err(|source| io_error(&path, "reading the file", source))?;
            let mut config = ConfigFile::parse(&text, &path)?;
            change(&mut config);
            fs::write(&path, config.to_commented_toml())
                .map_err(|source| io_error(&path, "writing the file", source))?;
        }
        Ok(())
    }

    /// How many validators there are.
    #[must_use]
    pub fn validators(&self) -> usize {
        self.genesis.file().validators.len()
    }

    /// The weights, in order.
    #[must_use]
    pub fn weights(&self) -> Vec<u64> {
        self.genesis
            .file()
            .validators
            .iter()
            .map(|member| member.stake)
            .collect()
    }

    /// What its commands are, if the application is one of this program.
    #[must_use]
    pub fn workload(&self) -> Option<Workload> {
        Workload::of_application(&self.genesis.file().application)
    }

    /// The configuration file of a validator.
    #[must_use]
    pub fn config_path(&self, index: usize) -> PathBuf {
        validator_folder(&self.dir, index).join(CONFIG_FILE)
    }

    /// Where a validator serves metrics and traces, if it does.
    ///
    /// # Errors
    /// Its configuration cannot be read.
    pub fn metrics_address(&self, index: usize) -> Result<Option<String>, TestnetError> {
        Ok(ConfigFile::load(&self.config_path(index))?.listen.metrics)
    }

    /// The log folder of a validator.
    ///
    /// # Errors
    /// Its configuration cannot be read.
    pub fn log_folder(&self, index: usize) -> Result<PathBuf, TestnetError> {
        Ok(ConfigFile::load(&self.config_path(index))?.data.join("log"))
    }

    /// The key of the session that may halt and resume instruments, where there is one.
    ///
    /// # Errors
    /// The file is there and cannot be used.
    pub fn admin_key(&self) -> Result<Option<KeyPair>, TestnetError> {
        let path = self.dir.join(ADMIN_KEY_FILE);
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(KeyPair::load(&path)?))
    }

    /// The keys of the validators' observations, where prices are fed.
    ///
    /// # Errors
    /// A file is there and cannot be used.
    pub fn feed_keys(&self) -> Result<Option<Vec<KeyPair>>, TestnetError> {
        let path = |index| validator_folder(&self.dir, index).join(FEED_KEY_FILE);
        if !path(0).exists() {
            return Ok(None);
        }
        let keys = (0..self.validators()).map(|index| Ok(KeyPair::load(&path(index))?));
        keys.collect::<Result<_, TestnetError>>().map(Some)
    }
}

/// The folder of a validator.
#[must_use]
pub fn validator_folder(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("validator-{index:02}"))
}

/// Finds `validators` blocks of ports in a row that are free on loopback, and keeps them from
/// others who ask until this process ends ([`quorate::local::claim_ports`]).
///
/// # Errors
/// [`TestnetError::NoPorts`].
pub fn free_base_port(validators: usize) -> Result<u16, TestnetError> {
    u16::try_from(validators)
        .ok()
        .and_then(|validators| validators.checked_mul(PORTS_PER_VALIDATOR))
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
        .and_then(claim_ports)
        .map_err(|source| TestnetError::NoPorts { validators, source })
}

fn ports(plan: &Plan) -> Result<Vec<u16>, TestnetError> {
    let validators = plan.weights.len();
    let refused = || TestnetError::Ports {
        validators,
        base_port: plan.base_port,
    };
    (0..validators)
        .map(|index| {
            let offset = u16::try_from(index)
                .ok()?
                .checked_mul(PORTS_PER_VALIDATOR)?;
            let first = plan.base_port.checked_add(offset)?;
            first.checked_add(PORTS_PER_VALIDATOR - 1)?;
            (plan.base_port > 0).then_some(first)
        })
        .collect::<Option<_>>()
        .ok_or_else(refused)
}

fn application(dir: &Path, plan: &Plan) -> Result<Application, TestnetError> {
    let parameters = match plan.workload {
        Workload::Opaque => Map::new(),
        Workload::Pages { state_mib } => PagesParameters { state_mib }.to_map(),
        Workload::Venue | Workload::Exchange => {
            let admin = KeyPair::create(&dir.join(ADMIN_KEY_FILE))?;
            let admins = [SessionId(session_of_key(&admin.public()))];
            let mut parameters = VenueParameters::one_instrument(SYMBOL, &admins);
            if plan.workload == Workload::Exchange {
                parameters.accounts = Some(exchange::accounts(feed_validators(dir, plan)?));
            }
            match serde_json::to_value(parameters) {
                Ok(serde_json::Value::Object(parameters)) => parameters,
                _ => Map::new(),
            }
        }
    };
    Ok(Application {
        name: plan.workload.application().to_owned(),
        parameters,
    })
}

/// Makes each validator's feed key; in the median it has the weight that it votes with.
fn feed_validators(dir: &Path, plan: &Plan) -> Result<Vec<FeedValidatorParameters>, TestnetError> {
    let weights = plan.weights.iter().enumerate();
    weights
        .map(|(index, stake)| {
            let key = KeyPair::create(&validator_folder(dir, index).join(FEED_KEY_FILE))?;
            Ok(FeedValidatorParameters {
                session: format!("{:?}", SessionId(session_of_key(&key.public()))),
                stake: *stake,
            })
        })
        .collect()
}

fn refuse_full(dir: &Path) -> Result<(), TestnetError> {
    match fs::read_dir(dir).map(|mut entries| entries.next().is_some()) {
        Ok(true) => Err(TestnetError::NotEmpty(dir.to_path_buf())),
        Ok(false) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(io_error(dir, "reading the folder", source)),
    }
}

/// Removes what a refused plan left in a folder that was empty, and the folder if it was not there.
fn clear(dir: &Path, is_new: bool) {
    let cleared = if is_new {
        fs::remove_dir_all(dir)
    } else {
        fs::read_dir(dir).and_then(|entries| {
            for entry in entries {
                let path = entry?.path();
                if path.is_dir() {
                    fs::remove_dir_all(path)?
                } else {
                    fs::remove_file(path)?
                }
            }
            Ok(())
        })
    };
    if let Err(error) = cleared {
        tracing::warn!(%error, dir = %dir.display(), "cannot remove an unfinished testnet");
    }
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TestnetError> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(|source| io_error(path, "writing the file", source))
}

fn io_error(path: &Path, what: &'static str, source: io::Error) -> TestnetError {
    TestnetError::Io {
        path: path.to_path_buf(),
        what,
        source,
    }
}

fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn wall_clock_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_validators_as_a_testnet_may_have_find_ports() {
        let base = free_base_port(64).unwrap();
        for port in base..base + 64 * PORTS_PER_VALIDATOR {
            drop(std::net::TcpListener::bind(("127.0.0.1", port)).unwrap());
        }
        assert!(matches!(
            free_base_port(60_000),
            Err(TestnetError::NoPorts { .. })
        ));
    }
}
