//! The configuration on disk: paths, the joining with genesis and key, and what is refused.

#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

use quorate::config::{ConfigFile, NodeConfig};
use quorate::genesis::{
    Application, Auth, ChainLimits, Genesis, GenesisPlan, GenesisValidator, Hex32,
};
use quorate::keys::{KeyPair, create_private_folder};
use quorate::profiles::{Idle, Profile, Threading};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

struct Folder(PathBuf);

impl Folder {
    /// A testnet's layout for one of four validators.
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("quorate-config-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        let own = path.join("validator-00");
        create_private_folder(&own).unwrap();
        let key = KeyPair::create(&own.join("key")).unwrap();
        let validators = (0..4_u8)
            .map(|place| GenesisValidator {
                key: Hex32(match place {
                    0 => key.public(),
                    _ => KeyPair::from_seed(&[place; 32]).public(),
                }),
                stake: 1,
                leader_weight: None,
                peer_address: format!("127.0.0.1:{}", 7000 + 4 * u16::from(place)),
                client_addresses: vec![format!("127.0.0.1:{}", 7001 + 4 * u16::from(place))],
            })
            .collect();
        let genesis = Genesis::build(GenesisPlan {
            chain_id: [1; 32],
            genesis_time_ns: 1,
            fault_weight: None,
            fast_slack: None,
            crash_only: false,
            window_slots: None,
            turn_windows: None,
            auth: Auth::Session,
            application: Application {
                name: "opaque".into(),
                parameters: serde_json::Map::new(),
            },
            limits: ChainLimits::default(),
            validators,
        })
        .unwrap();
        std::fs::write(path.join("genesis.json"), genesis.bytes()).unwrap();
        let folder = Self(path);
        folder.write(&folder.file());
        folder
    }

    fn file(&self) -> ConfigFile {
        let mut file = ConfigFile::new(
            Path::new("../genesis.json"),
            Path::new("key"),
            Path::new("data"),
        );
        file.validator = Some(0);
        file
    }

    fn own(&self) -> PathBuf {
        self.0.join("validator-00")
    }

    fn path(&self) -> PathBuf {
        self.own().join("quorate.toml")
    }

    fn write(&self, file: &ConfigFile) {
        std::fs::write(self.path(), file.to_commented_toml()).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn a_testnet_layout_loads_from_any_folder_and_defaults_to_the_genesis_addresses() {
    let folder = Folder::new("load");
    let config = NodeConfig::load(&folder.path()).unwrap();
    assert_eq!(config.own.number(), 0);
    assert_eq!(config.data, folder.own().join("data"));
    assert_eq!(config.listen_peers, "127.0.0.1:7000");
    assert_eq!(config.listen_clients.as_deref(), Some("127.0.0.1:7001"));
    assert_eq!(config.listen_metrics, None);
    assert_eq!(config.placement.threading, Threading::Shared);
    assert_eq!(config.placement.idle, Idle::Linger);
}

#[test]
fn one_address_for_two_purposes_is_refused_by_both_names() {
    let folder = Folder::new("address-twice");
    // The genesis says 7000 for validators and 7001 for clients.
    for (metrics, earlier) in [("7000", "listen.peers"), ("7001", "listen.clients")] {
        let mut file = folder.file();
        file.listen.metrics = Some(format!("127.0.0.1:{metrics}"));
        folder.write(&file);
        let error = NodeConfig::load(&folder.path()).unwrap_err();
        assert_eq!(error.field, "listen.metrics");
        assert!(error.problem.contains(earlier), "{error}");
    }
    let listening = |lines: &str| {
        let text = folder.file().to_commented_toml();
        assert_eq!(text.matches("\n[listen]\n").count(), 1);
        let text = text.replace("\n[listen]\n", &format!("\n[listen]\n{lines}"));
        std::fs::write(folder.path(), text).unwrap();
        NodeConfig::load(&folder.path())
    };
    let clients = "clients = \"127.0.0.1:7000\"\n";
    assert_eq!(listening(clients).unwrap_err().field, "listen.clients");
    // What the genesis says is nobody's when the file says another one.
    listening(&format!("peers = \"127.0.0.1:7001\"\n{clients}")).unwrap();
}

#[test]
fn a_key_of_nobody_is_refused_with_its_public_half() {
    let folder = Folder::new("stranger");
    std::fs::remove_file(folder.own().join("key")).unwrap();
    let stranger = KeyPair::create(&folder.own().join("key")).unwrap();
    let error = NodeConfig::load(&folder.path()).unwrap_err();
    assert_eq!(error.field, "key");
    let public: String = stranger
        .public()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(error.value, public);
}

#[test]
fn a_private_key_where_something_else_belongs_is_refused_and_never_shown() {
    let folder = Folder::new("private");
    let key = folder.own().join("key");
    let line = std::fs::read_to_string(&key).unwrap();
    let line = line.trim();
    let digits = line.split(' ').next_back().unwrap();
    let good = std::fs::read_to_string(folder.path()).unwrap();
    let refused = |text: &str| {
        std::fs::write(folder.path(), text).unwrap();
        let error = NodeConfig::load(&folder.path()).unwrap_err();
        for shown in [
            error.to_string(),
            error.value,
            error.problem.into_string(),
            error.field,
        ] {
            assert!(!shown.contains(&digits[..16]), "{shown}");
        }
    };
    // The key itself instead of the configuration.
    refused(line);
    // What it holds instead of its path, as one pastes it.
    for pasted in [line, digits] {
        refused(&good.replace("key = \"key\"", &format!("key = {pasted}")));
        refused(&good.replace("key = \"key\"", &format!("key = \"{pasted}\"")));
        refused(&good.replace(
            "durability = \"sync\"",
            &format!("durability = \"{pasted}\""),
        ));
        refused(&format!("{pasted} = 1\n{good}"));
        refused(&format!("\"{pasted}\" = 1\n{good}"));
    }
    let error = ConfigFile::load(&key).unwrap_err().to_string();
    assert!(!error.contains(&digits[..16]), "{error}");
    std::fs::write(folder.0.join("genesis.json"), line).unwrap();
    refused(&good);
}

#[test]
fn the_key_of_another_validator_is_refused() {
    let folder = Folder::new("other");
    let mut file = folder.file();
    file.validator = Some(2);
    folder.write(&file);
    let error = NodeConfig::load(&folder.path()).unwrap_err();
    assert_eq!(
        (error.field.as_str(), error.value.as_str()),
        ("validator", "2")
    );
}

#[test]
fn a_key_that_others_can_read_keeps_the_node_from_starting() {
    let folder = Folder::new("open");
    let key = folder.own().join("key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = NodeConfig::load(&folder.path()).unwrap_err();
    assert_eq!(error.file, key);
    assert_eq!(error.value, "0644");
}

#[test]
fn a_missing_file_is_named() {
    let folder = Folder::new("missing");
    let error = NodeConfig::load(&folder.own().join("no.toml")).unwrap_err();
    assert!(error.to_string().contains("no.toml"), "{error}");
    std::fs::remove_file(folder.0.join("genesis.json")).unwrap();
    let error = NodeConfig::load(&folder.path()).unwrap_err();
    assert!(error.to_string().contains("genesis.json"), "{error}");
}

#[test]
fn a_malformed_genesis_is_blamed_and_not_the_configuration() {
    let folder = Folder::new("malformed");
    let path = folder.0.join("genesis.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"stake\": 1", "\"stake\": 0")).unwrap();
    let error = NodeConfig::load(&folder.path()).unwrap_err();
    assert_eq!(error.field, "validators[0].stake");
    assert!(error.file.ends_with("genesis.json"), "{error}");
}

#[test]
fn an_embedding_program_needs_no_file() {
    let folder = Folder::new("embed");
    let genesis = Genesis::load(&folder.0.join("genesis.json")).unwrap();
    let key = KeyPair::from_seed(&[2; 32]);
    let config = NodeConfig::embed(
        genesis.clone(),
        key,
        &folder.0.join("data"),
        Profile::Laptop,
    )
    .unwrap();
    assert_eq!(config.own.number(), 2);
    let stranger = KeyPair::from_seed(&[77; 32]);
    assert!(NodeConfig::embed(genesis, stranger, Path::new("d"), Profile::Laptop).is_err());
}
