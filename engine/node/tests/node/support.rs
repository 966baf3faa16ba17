//! A small cluster in one process, on loopback and in a temporary folder.

use quorate::client::ClientOptions;
use quorate::config::NodeConfig;
use quorate::genesis::{
    Application, Auth, ChainLimits, Genesis, GenesisPlan, GenesisValidator, Hex32,
};
use quorate::keys::KeyPair;
use quorate::local::claim_ports;
use quorate::node::{Node, StartError, initialize};
use quorate::profiles::{Durability, Idle, Profile, Threading};
use quorate::state_machine::{Context, Output, StateMachine};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Long enough for a slow machine; nothing waits for it when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A client that stays at its validator for as long as a test waits: one that lost patience on a
/// slow machine would hear of its commands elsewhere, and with less said of them.
pub(crate) fn patient() -> ClientOptions {
    ClientOptions {
        patience: PATIENCE,
        ..ClientOptions::default()
    }
}

/// Adds up numbers; tells each session the sum.
#[derive(Debug, Default)]
pub(crate) struct Adder {
    pub(crate) sum: u64,
}

impl StateMachine for Adder {
    fn sections(&self) -> &'static [&'static str] {
        &["sum"]
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        let number = command
            .first_chunk()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes));
        self.sum = self.sum.wrapping_add(number);
        output.to_session(context.session, &self.sum.to_le_bytes());
    }

    fn section_root(&mut self, _section: usize) -> [u8; 32] {
        let mut root = [0; 32];
        root[..8].copy_from_slice(&self.sum.to_le_bytes());
        root
    }

    fn snapshot_section(&self, _section: usize, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.sum.to_le_bytes());
    }

    fn restore_section(&mut self, _section: usize, bytes: &[u8]) -> Result<(), String> {
        let bytes = bytes.try_into().map_err(|_| "eight bytes".to_owned())?;
        self.sum = u64::from_le_bytes(bytes);
        Ok(())
    }

    fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
        answer.extend_from_slice(question);
        answer.extend_from_slice(&self.sum.to_le_bytes());
    }
}

/// Genesis, keys and folders of a cluster whose validators can be started one by one.
pub(crate) struct Cluster {
    pub(crate) folder: PathBuf,
    pub(crate) genesis: Genesis,
    pub(crate) durability: Durability,
    pub(crate) threading: Threading,
    pub(crate) idle: Idle,
}

pub(crate) fn key(place: u16) -> KeyPair {
    KeyPair::from_seed(&seed(place))
}

pub(crate) fn seed(place: u16) -> [u8; 32] {
    [u8::try_from(place).unwrap() + 1; 32]
}

impl Cluster {
    pub(crate) fn new(name: &str, validators: u16, durability: Durability) -> Self {
        Self::with_windows(name, validators, durability, None)
    }

    /// Of a chain whose commands are signed.
    pub(crate) fn signed(name: &str, validators: u16, durability: Durability) -> Self {
        Self::with(name, validators, durability, (None, Auth::Signed))
    }

    /// With windows of so many slots.
    pub(crate) fn with_windows(
        name: &str,
        validators: u16,
        durability: Durability,
        window_slots: Option<u32>,
    ) -> Self {
        Self::with(name, validators, durability, (window_slots, Auth::Session))
    }

    fn with(
        name: &str,
        validators: u16,
        durability: Durability,
        (window_slots, auth): (Option<u32>, Auth),
    ) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("quorate-{name}-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        let base_port = claim_ports(validators * 2).unwrap();
        let members = (0..validators)
            .map(|place| GenesisValidator {
                key: Hex32(key(place).public()),
                stake: 1,
                leader_weight: None,
                peer_address: format!("127.0.0.1:{}", base_port + place * 2),
                client_addresses: vec![format!("127.0.0.1:{}", base_port + place * 2 + 1)],
            })
            .collect();
        let genesis = Genesis::build(GenesisPlan {
            chain_id: [7; 32],
            genesis_time_ns: 1_700_000_000_000_000_000 + number,
            fault_weight: None,
            fast_slack: None,
            crash_only: validators < 4,
            window_slots,
            turn_windows: None,
            auth,
            application: Application {
                name: "adder".into(),
                parameters: serde_json::Map::new(),
            },
            limits: ChainLimits::default(),
            validators: members,
        })
        .unwrap();
        let (threading, idle) = (Threading::Shared, Idle::Linger);
        let cluster = Self {
            folder,
            genesis,
            durability,
            threading,
            idle,
        };
        for place in 0..validators {
            initialize(&cluster.config(place)).unwrap();
        }
        cluster
    }

    pub(crate) fn data(&self, place: u16) -> PathBuf {
        self.folder.join(format!("validator-{place}"))
    }

    pub(crate) fn config(&self, place: u16) -> NodeConfig {
        self.config_in(place, &self.data(place))
    }

    pub(crate) fn config_in(&self, place: u16, data: &Path) -> NodeConfig {
        let genesis = self.genesis.clone();
        let mut config = NodeConfig::embed(genesis, key(place), data, Profile::Laptop).unwrap();
        config.durability = self.durability;
        config.placement.threading = self.threading;
        config.placement.idle = self.idle;
        config.log.segment_bytes = 8 * 1024 * 1024;
        config
    }

    pub(crate) fn try_start(&self, place: u16) -> Result<Node, StartError> {
        Node::start(self.config(place), Adder::default())
    }

    pub(crate) fn start(&self, place: u16) -> Node {
        self.try_start(place).unwrap()
    }

    pub(crate) fn start_all(&self) -> Vec<Node> {
        let validators = u16::try_from(self.genesis.file().validators.len()).unwrap();
        (0..validators).map(|place| self.start(place)).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Looks until it holds.
pub(crate) fn eventually(what: &str, holds: impl FnMut() -> bool) {
    eventually_or_show(what, holds, String::new);
}

/// The same; when it gives up it says what there was instead.
pub(crate) fn eventually_or_show(
    what: &str,
    mut holds: impl FnMut() -> bool,
    found: impl Fn() -> String,
) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        let is_over = Instant::now() >= end;
        assert!(
            !is_over,
            "still not after {PATIENCE:?}: {what}\n{}",
            found()
        );
        std::thread::yield_now();
    }
}

/// What the window for operators answers.
pub(crate) fn http(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// All nodes come to the same state after the same block, at or above a height.
pub(crate) fn agree(nodes: &[Node], height: u64) {
    eventually("equal state roots", || {
        let states: Vec<(u64, String)> = nodes
            .iter()
            .map(|node| node.status().unwrap())
            .map(|status| (status.state_height, status.state_root))
            .collect();
        states[0].0 >= height && states.windows(2).all(|pair| pair[0] == pair[1])
    });
}

/// Stops all at once, as an operator does who stops a cluster.
pub(crate) fn stop_all(nodes: Vec<Node>) {
    let stopping: Vec<_> = nodes
        .into_iter()
        .map(|node| std::thread::spawn(move || node.shutdown(Duration::from_millis(300))))
        .collect();
    for thread in stopping {
        thread.join().unwrap().unwrap();
    }
}
