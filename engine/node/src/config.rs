//! `quorate.toml`: what is one validator's own choice, and what the node starts with.
//!
//! Owns the keys of the file, their checks, the template that explains them, and the joining of
//! file, genesis and private key. Never: what all validators must agree on; that is in
//! [`genesis`].

mod bounds;

use self::bounds::{Bounds, check_range};
use crate::begins::BEGINS_FOLDER;
use crate::file_error::{FileError, read_bounded};
use crate::genesis::{self, Genesis};
use crate::keys::KeyPair;
use crate::profiles::{
    Durability, Idle, Placement, PlacementFacts, Profile, Threads, TimerOverrides, Timers,
};
use crate::{hex, topology};
use quorate_consensus::types::ValidatorIndex;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Longest configuration file, bytes.
const CONFIG_BYTES_MAX: usize = 64 * 1024;
/// A log is bounded by no fewer segments than these.
const BUDGET_SEGMENTS_MIN: u64 = 4;
/// Stands for the file in errors where there is none.
const EMBEDDED: &str = "(embedded)";
/// The file with every key and its explanation.
const TEMPLATE: &str = include_str!("quorate.template.toml");

/// The fields of `quorate.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// Path of the genesis file.
    pub genesis: PathBuf,
    /// Path of the private key.
    pub key: PathBuf,
    /// Path of the data folder.
    pub data: PathBuf,
    /// Path of the folder with the state that the chain begins with, when its genesis names one.
    pub begins: Option<PathBuf>,
    /// Index that the key must belong to.
    pub validator: Option<u16>,
    /// Choices that go together.
    #[serde(default)]
    pub profile: Profile,
    /// What a record must be before it leaves.
    #[serde(default)]
    pub durability: Durability,
    /// Overrides the profile.
    pub threads: Option<Threads>,
    /// Overrides the profile.
    pub idle: Option<Idle>,
    /// Cores to pin threads to.
    #[serde(default)]
    pub pin: Vec<usize>,
    /// Where to listen.
    #[serde(default)]
    pub listen: Listen,
    /// Overrides the profile.
    #[serde(default)]
    pub timers: TimerOverrides,
    /// The log.
    #[serde(default)]
    pub log: LogConfig,
    /// Snapshots.
    #[serde(default)]
    pub snapshots: SnapshotConfig,
    /// Bounds of this node.
    #[serde(default)]
    pub limits: NodeLimits,
    /// Bounds of each client.
    #[serde(default)]
    pub rates: RateConfig,
    /// What only tests use.
    #[serde(default, skip_serializing_if = "TestingConfig::is_off")]
    pub testing: TestingConfig,
}

/// Where to listen, as `host:port`; by default as the genesis says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// For validators.
    pub peers: Option<String>,
    /// For clients.
    pub clients: Option<String>,
    /// For metrics over HTTP; not served when absent.
    pub metrics: Option<String>,
}

/// How the log is laid out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Length of a segment, bytes.
    pub segment_bytes: u32,
    /// Bytes that the log may have before its oldest segments go, as far as a start from the
    /// newest attested snapshot does not need them; 0: they never go.
    pub bytes_max: u64,
    /// Bytes a second at most that are read of the log's complete segments to see whether the disk
    /// still has them as they were written; 0: none.
    pub scrub_bytes_per_s: u64,
}

/// Bytes a second that are read of the log by default: 345 GB a day.
const SCRUB_BYTES_PER_S: u64 = 4 * 1024 * 1024;

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: quorate_log::SEGMENT_BYTES_DEFAULT,
            bytes_max: 0,
            scrub_bytes_per_s: SCRUB_BYTES_PER_S,
        }
    }
}

/// When snapshots are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotConfig {
    /// A snapshot is taken after every block whose height is a multiple of this, which is itself
    /// one of 64; 0: never. The same at all validators, or nobody can vouch for another's.
    pub every_heights: u64,
    /// How many are kept.
    pub keep: usize,
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        Self {
            every_heights: 65_536,
            keep: 2,
        }
    }
}

/// Bounds of this node; they may differ between validators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeLimits {
    /// Clients connected at one time.
    pub clients_max: usize,
    /// Commands that wait here for a block.
    pub pool_commands_max: usize,
    /// Bytes of these commands.
    pub pool_bytes_max: usize,
    /// Finalized blocks that may wait for the embedding program, 256 MiB of them at most.
    pub finalized_queue_max: usize,
    /// Bytes of the newest blocks of the public stream that are kept for those who read it.
    pub public_bytes_max: usize,
    /// Bytes of older blocks of it that are kept on disk before the oldest go; 0: none are.
    pub public_archive_bytes_max: u64,
    /// Bytes of the newest blocks' private outputs that are kept for sessions that ask for them; 0:
    /// none are.
    pub private_bytes_max: usize,
    /// Bytes of older ones that are kept on disk before the oldest go; 0: none are.
    pub private_archive_bytes_max: u64,
    /// Stamps of blocks kept for `/trace`, some 56 bytes each; 0: none are made.
    pub trace_stamps: usize,
}

/// How many commands a second each session may send here, lane by lane, and how many sessions all
/// clients together may open; 0: as many as find room. What is beyond is answered busy, and when to
/// come again. Not for the embedding program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateConfig {
    /// Cancels and kill switches; what a session sends in other lanes takes nothing from it.
    pub cancel: u32,
    /// Orders, and what a session says of itself.
    pub order: u32,
    /// Prices from outside.
    pub price: u32,
    /// Administration.
    pub admin: u32,
    /// So many milliseconds of a rate may come at once, 1 to 60,000, and one command always.
    pub burst_ms: u32,
    /// Sessions opened a minute, by whomever, at most 6,000,000: a key costs its owner nothing, and
    /// a session has its place in the chain's table until it has been idle for an hour.
    pub open_per_min: u32,
    /// So many of them may come at once after silence, 1 to 1,048,576.
    pub open_burst: u32,
}

impl Default for RateConfig {
    fn default() -> Self {
        Self {
            cancel: 40_000,
            order: 20_000,
            price: 5_000,
            admin: 1_000,
            burst_ms: 1_000,
            open_per_min: 60,
            open_burst: 4_096,
        }
    }
}

impl RateConfig {
    /// No bounds: for measurements of what a node bears.
    #[must_use]
    pub const fn unbounded() -> Self {
        Self {
            cancel: 0,
            order: 0,
            price: 0,
            admin: 0,
            burst_ms: 1_000,
            open_per_min: 0,
            open_burst: 1,
        }
    }
}

/// Faults on purpose. Not in the template: a program that hosts a node has to be told besides that
/// it is a test, and refuses to start otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestingConfig {
    /// The application misses the first command from this height on; 0: none.
    pub wrong_at_height: u64,
}

impl TestingConfig {
    /// Whether nothing is faulty on purpose.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.wrong_at_height == 0
    }
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self {
            clients_max: 1024,
            pool_commands_max: 262_144,
            pool_bytes_max: 256 * 1024 * 1024,
            finalized_queue_max: 4096,
            public_bytes_max: 64 * 1024 * 1024,
            public_archive_bytes_max: 16 * 1024 * 1024 * 1024,
            private_bytes_max: 64 * 1024 * 1024,
            private_archive_bytes_max: 16 * 1024 * 1024 * 1024,
            trace_stamps: 0,
        }
    }
}

/// What a node is started with, and nothing left to look up. A start checks the numbers that a
/// program may have set otherwise since, as those of a file are checked.
#[derive(Debug)]
pub struct NodeConfig {
    /// The chain.
    pub genesis: Genesis,
    /// This validator's key.
    pub key: KeyPair,
    /// Its index in the genesis.
    pub own: ValidatorIndex,
    /// Its data folder.
    pub data: PathBuf,
    /// Where the state that the chain begins with is taken from, when its genesis names one and the
    /// data folder lacks it; none when it is put there by other means.
    pub begins: Option<PathBuf>,
    /// Where to listen for validators.
    pub listen_peers: String,
    /// Where to listen for clients; nowhere when absent.
    pub listen_clients: Option<String>,
    /// Where to serve metrics; nowhere when absent.
    pub listen_metrics: Option<String>,
    /// What a record must be before it leaves.
    pub durability: Durability,
    /// Threads, idling and pinning on this machine.
    pub placement: Placement,
    /// Every timer.
    pub timers: Timers,
    /// The log.
    pub log: LogConfig,
    /// Snapshots.
    pub snapshots: SnapshotConfig,
    /// Bounds of this node.
    pub limits: NodeLimits,
    /// Bounds of each client.
    pub rates: RateConfig,
    /// What only tests use. The engine carries none of it out: the hosting program does.
    pub testing: TestingConfig,
}

impl ConfigFile {
    /// A configuration in which everything has its default.
    #[must_use]
    pub fn new(genesis: &Path, key: &Path, data: &Path) -> Self {
        Self {
            genesis: genesis.to_path_buf(),
            key: key.to_path_buf(),
            data: data.to_path_buf(),
            begins: None,
            validator: None,
            profile: Profile::default(),
            durability: Durability::default(),
            threads: None,
            idle: None,
            pin: Vec::new(),
            listen: Listen::default(),
            timers: TimerOverrides::default(),
            log: LogConfig::default(),
            snapshots: SnapshotConfig::default(),
            limits: NodeLimits::default(),
            rates: RateConfig::default(),
            testing: TestingConfig::default(),
        }
    }

    /// Reads and checks a configuration file; paths in it become relative to its folder.
    ///
    /// # Errors
    /// It cannot be read, has an unknown field, or a value that is not allowed.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        let bytes = read_bounded(path, CONFIG_BYTES_MAX)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            FileError::new(path, "", format!("not UTF-8: {error}")).remedy("save it as UTF-8 text")
        })?;
        let mut config = Self::parse(text, path)?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let paths = [&mut config.genesis, &mut config.key, &mut config.data];
        for field in paths.into_iter().chain(&mut config.begins) {
            *field = folder.join(&*field);
        }
        Ok(config)
    }

    /// Checks the text of a configuration file; `path` stands in errors only, and paths stay as
    /// they are.
    ///
    /// # Errors
    /// The text is no such file, has an unknown field, or a value that is not allowed.
    pub fn parse(text: &str, path: &Path) -> Result<Self, FileError> {
        let config: Self =
            toml::from_str(text).map_err(|error| FileError::toml(path, text, &error))?;
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), FileError> {
        let listen = [
            ("listen.peers", &self.listen.peers),
            ("listen.clients", &self.listen.clients),
            ("listen.metrics", &self.listen.metrics),
        ];
        for (field, address) in listen {
            if let Some(address) = address {
                genesis::check_address(address, field, path)?;
            }
        }
        if let Some((name, us)) = self.timers.out_of_range() {
            return Err(
                FileError::new(path, format!("timers.{name}"), "out of range")
                    .value(us)
                    .remedy("choose 1 microsecond to one hour"),
            );
        }
        let profile = self.profile;
        if let Some((us, longest_us)) = profile.retransmit_beyond(self.threads, &self.timers) {
            let reason = "above timers.retransmit_max_us";
            return Err(FileError::new(path, "timers.retransmit_us", reason)
                .value(us)
                .remedy(format!(
                    "choose {longest_us} at most, a longer retransmit_max_us, or threads = \"dedicated\" \
                     where the value comes from the profile"
                )));
        }
        if let Some((us, longest_us)) = profile.progress_beyond(&self.timers) {
            let reason = "above timers.progress_max_us";
            return Err(FileError::new(path, "timers.progress_us", reason)
                .value(us)
                .remedy(format!(
                    "choose {longest_us} at most, or a longer progress_max_us"
                )));
        }
        self.bounds().check(path)?;
        self.check_log_size(path)?;
        let cores = topology::cores();
        if let Some(core) = self.pin.iter().find(|core| !cores.contains(core)) {
            return Err(
                FileError::new(path, "pin", "this process may not use the core")
                    .value(core)
                    .remedy(format!("choose among {cores:?}")),
            );
        }
        Ok(())
    }

    const fn bounds(&self) -> Bounds<'_> {
        Bounds {
            log: &self.log,
            snapshots: &self.snapshots,
            limits: &self.limits,
            rates: &self.rates,
        }
    }

    /// What the log itself would take in smaller sizes, which are of no use but to tests.
    fn check_log_size(&self, path: &Path) -> Result<(), FileError> {
        let (bytes_max, segment_bytes) = (self.log.bytes_max, self.log.segment_bytes);
        let (most, wanted) = (quorate_log::SEGMENT_BYTES_MAX, u64::from(segment_bytes));
        check_range(path, "log.segment_bytes", wanted, (4 << 20, most.into()))?;
        if !segment_bytes.is_multiple_of(4096) {
            return Err(
                FileError::new(path, "log.segment_bytes", "not a multiple of 4096")
                    .value(segment_bytes)
                    .remedy("choose a multiple of 4096"),
            );
        }
        let least = u64::from(segment_bytes) * BUDGET_SEGMENTS_MIN;
        if (1..least).contains(&bytes_max) {
            return Err(FileError::new(path, "log.bytes_max", "out of range")
                .value(bytes_max)
                .remedy(format!(
                    "choose at least {least}, or 0 to keep the whole log"
                )));
        }
        if bytes_max > 0 && self.snapshots.every_heights == 0 {
            return Err(FileError::new(path, "log.bytes_max", "needs snapshots")
                .value(bytes_max)
                .remedy("set snapshots.every_heights, or log.bytes_max to 0"));
        }
        Ok(())
    }

    /// The file with every key and its explanation. Filled in: the three paths, `validator`,
    /// `profile`, `durability`, `threads`, `idle`, `listen.metrics`, `limits.trace_stamps` and
    /// `rates`; the rest shows its default as a comment, `threads` and `idle` that of the profile.
    #[must_use]
    pub fn to_commented_toml(&self) -> String {
        let quoted =
            |path: &Path| toml::Value::String(path.to_string_lossy().into_owned()).to_string();
        let named = |key: &str, value: Option<String>, default: &str| match value {
            Some(value) => format!("{key} = {value}"),
            None => format!("# {key} = {default}"),
        };
        let word = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
        self.with_lengths(TEMPLATE)
            .replace("\"@GENESIS@\"", &quoted(&self.genesis))
            .replace("\"@KEY@\"", &quoted(&self.key))
            .replace("\"@DATA@\"", &quoted(&self.data))
            .replace("@PROFILE@", &word(&self.profile))
            .replace("@DURABILITY@", &word(&self.durability))
            .replace(
                "@VALIDATOR@",
                &named(
                    "validator",
                    self.validator.map(|index| index.to_string()),
                    "0",
                ),
            )
            .replace(
                "@THREADS@",
                &named(
                    "threads",
                    self.threads.map(|t| format!("\"{}\"", word(&t))),
                    &format!("\"{}\"", word(&self.profile.threads())),
                ),
            )
            .replace(
                "@IDLE@",
                &named(
                    "idle",
                    self.idle.map(|idle| format!("\"{}\"", word(&idle))),
                    &format!("\"{}\"", word(&self.profile.idle())),
                ),
            )
            .replace(
                "@METRICS@",
                &named(
                    "metrics",
                    self.listen
                        .metrics
                        .as_ref()
                        .map(|address| format!("{address:?}")),
                    "\"127.0.0.1:7002\"",
                ),
            )
            .replace("@TRACE@", &named("trace_stamps", self.stamps(), "0"))
            .replace("@RATES@", &self.rate_lines())
    }

    /// The template with the lengths of this file that are not the usual ones, which stand there as
    /// comments.
    fn with_lengths(&self, template: &str) -> String {
        let ((log, snapshots), usual) = ((&self.log, &self.snapshots), SnapshotConfig::default());
        let lengths = [
            (
                "segment_bytes",
                log.segment_bytes.into(),
                quorate_log::SEGMENT_BYTES_DEFAULT.into(),
            ),
            (
                "every_heights",
                snapshots.every_heights,
                usual.every_heights,
            ),
            ("keep", snapshots.keep as u64, usual.keep as u64),
        ];
        let unusual = lengths.iter().filter(|(_, own, usual)| own != usual);
        unusual.fold(template.to_owned(), |text, (key, own, usual)| {
            text.replace(&format!("# {key} = {usual}\n"), &format!("{key} = {own}\n"))
        })
    }

    /// Every rate, those with their default as a comment.
    fn rate_lines(&self) -> String {
        let (own, default) = (self.rates, RateConfig::default());
        let lines = [
            ("cancel", own.cancel, default.cancel),
            ("order", own.order, default.order),
            ("price", own.price, default.price),
            ("admin", own.admin, default.admin),
            ("burst_ms", own.burst_ms, default.burst_ms),
            ("open_per_min", own.open_per_min, default.open_per_min),
            ("open_burst", own.open_burst, default.open_burst),
        ];
        let line = |(key, value, default): (&str, u32, u32)| {
            let mark = if value == default { "# " } else { "" };
            format!("{mark}{key} = {value}")
        };
        lines.map(line).join("\n")
    }

    fn stamps(&self) -> Option<String> {
        let stamps = self.limits.trace_stamps;
        (stamps > 0).then(|| stamps.to_string())
    }

    /// Joins the file with the genesis and the key that it names.
    ///
    /// # Errors
    /// Either file is refused, or the key is not that of the configured validator.
    pub fn resolve(&self, path: &Path) -> Result<NodeConfig, FileError> {
        let genesis = Genesis::load(&self.genesis)?;
        let key = KeyPair::load(&self.key)?;
        let public = key.public();
        let Some(own) = genesis.index_of(&public) else {
            return Err(FileError::new(path, "key", "the key is not in the genesis")
                .public_value(hex::encode(&public))
                .remedy(format!(
                    "give the key of a validator of {}, or another genesis",
                    self.genesis.display()
                )));
        };
        if let Some(wanted) = self.validator.filter(|&wanted| wanted != own.number()) {
            return Err(FileError::new(
                path,
                "validator",
                format!("the key belongs to validator {}", own.number()),
            )
            .value(wanted)
            .remedy("correct the index, or give the other key"));
        }
        let config = self.join(genesis, key, own, path)?;
        config.check_addresses(path)?;
        Ok(config)
    }

    fn join(
        &self,
        genesis: Genesis,
        key: KeyPair,
        own: ValidatorIndex,
        path: &Path,
    ) -> Result<NodeConfig, FileError> {
        let Some(member) = genesis.file().validators.get(own.place()) else {
            return Err(FileError::new(path, "validator", "not in the genesis").value(own.number()));
        };
        let placement = Placement::decide(PlacementFacts {
            profile: self.profile,
            threads: self.threads,
            idle: self.idle,
            pin: self.pin.clone(),
            cores: topology::cores(),
            validators_here: topology::validators_here(&genesis, own),
        });
        Ok(NodeConfig {
            own,
            data: self.data.clone(),
            begins: self.begins.clone().or_else(|| {
                let folder = self.genesis.parent();
                folder.map(|folder| folder.join(BEGINS_FOLDER))
            }),
            listen_peers: self
                .listen
                .peers
                .clone()
                .unwrap_or_else(|| member.peer_address.clone()),
            listen_clients: self
                .listen
                .clients
                .clone()
                .or_else(|| member.client_addresses.first().cloned()),
            listen_metrics: self.listen.metrics.clone(),
            durability: self.durability,
            timers: self.profile.timers(placement.threading, &self.timers),
            placement,
            log: self.log.clone(),
            snapshots: self.snapshots.clone(),
            limits: self.limits.clone(),
            rates: self.rates,
            testing: self.testing.clone(),
            genesis,
            key,
        })
    }
}

impl NodeConfig {
    /// Checks what can be checked of the fields: all numbers but the size of the log, which the log
    /// itself checks.
    pub(crate) fn check(&self) -> Result<(), FileError> {
        let bounds = Bounds {
            log: &self.log,
            snapshots: &self.snapshots,
            limits: &self.limits,
            rates: &self.rates,
        };
        bounds.check(Path::new(EMBEDDED))?;
        self.check_addresses(Path::new(EMBEDDED))
    }

    /// Refuses one address for two purposes: it can be taken twice, and only when the log has been
    /// read would the second one find that the first listens there.
    fn check_addresses(&self, path: &Path) -> Result<(), FileError> {
        let [peers, clients, metrics] = ["listen.peers", "listen.clients", "listen.metrics"];
        let taken = [
            (peers, Some(&self.listen_peers)),
            (clients, self.listen_clients.as_ref()),
            (metrics, self.listen_metrics.as_ref()),
        ];
        for (place, (field, address)) in taken.into_iter().enumerate() {
            let Some(address) = address.filter(|address| !address.ends_with(":0")) else {
                continue;
            };
            let same = |(_, earlier): &&(&str, Option<&String>)| *earlier == Some(address);
            if let Some((earlier, _)) = taken[..place].iter().find(same) {
                return Err(
                    FileError::new(path, field, format!("the same as {earlier}"))
                        .value(address)
                        .remedy("give each a port of its own"),
                );
            }
        }
        Ok(())
    }

    /// Reads a configuration file and the genesis and key that it names.
    ///
    /// # Errors
    /// Any of the three is refused.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        ConfigFile::load(path)?.resolve(path)
    }

    /// A configuration without files, for a program that holds genesis and key itself; all else
    /// has the defaults of the profile. A chain that goes on from another one finds its state in
    /// the data folder, or where the program then says (`begins`).
    ///
    /// # Errors
    /// The key is not in the genesis.
    pub fn embed(
        genesis: Genesis,
        key: KeyPair,
        data: &Path,
        profile: Profile,
    ) -> Result<Self, FileError> {
        let path = Path::new(EMBEDDED);
        let public = key.public();
        let Some(own) = genesis.index_of(&public) else {
            return Err(FileError::new(path, "key", "the key is not in the genesis")
                .public_value(hex::encode(&public))
                .remedy("give the key of one of its validators"));
        };
        let mut file = ConfigFile::new(path, path, data);
        file.profile = profile;
        let config = file.join(genesis, key, own, path)?;
        Ok(Self {
            begins: None,
            ..config
        })
    }
}

#[cfg(test)]
mod tests;
