//! A cluster on this machine, for examples and tests.
//!
//! Owns the making of keys, a genesis on loopback with ports that are free at this moment, and
//! folders that are ready to start. Never: for a chain that anybody relies on.

use crate::config::NodeConfig;
use crate::genesis::{Application, ChainLimits, Genesis, GenesisPlan, GenesisValidator, Hex32};
use crate::keys::KeyPair;
use crate::node::{StartError, initialize};
use crate::profiles::Profile;
use crate::stages::clock::wall_ns;
use std::net::TcpListener;
use std::path::Path;

/// Log segments of a local cluster, bytes: short ones are made quickly.
const SEGMENT_BYTES: u32 = 8 * 1024 * 1024;

/// Makes `validators` validators of one weight under `folder`, ready for `Node::start`.
///
/// # Errors
/// The folder holds validators already, or the system refuses ports, files or randomness.
pub fn cluster(
    folder: &Path,
    validators: u16,
    application: &str,
) -> Result<Vec<NodeConfig>, StartError> {
    let keys: Vec<KeyPair> = (0..validators)
        .map(|_| KeyPair::generate())
        .collect::<Result<_, _>>()?;
    // All are held until all are known, so that no port is given twice.
    let listeners: Vec<TcpListener> = (0..usize::from(validators) * 2)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    let addresses: Vec<String> = listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.to_string()))
        .collect::<Result<_, std::io::Error>>()?;
    drop(listeners);
    let members = keys
        .iter()
        .zip(addresses.chunks_exact(2))
        .map(|(key, addresses)| GenesisValidator {
            key: Hex32(key.public()),
            stake: 1,
            leader_weight: None,
            peer_address: addresses[0].clone(),
            client_addresses: vec![addresses[1].clone()],
        })
        .collect();
    let genesis = Genesis::build(GenesisPlan {
        chain_id: KeyPair::generate()?.public(),
        genesis_time_ns: wall_ns(),
        fault_weight: None,
        fast_slack: None,
        crash_only: validators < 4,
        window_slots: None,
        turn_windows: None,
        application: Application {
            name: application.to_owned(),
            parameters: serde_json::Map::new(),
        },
        limits: ChainLimits::default(),
        validators: members,
    })?;
    let mut configs = Vec::with_capacity(keys.len());
    for (place, key) in keys.into_iter().enumerate() {
        let data = folder.join(format!("validator-{place:02}"));
        let mut config = NodeConfig::embed(genesis.clone(), key, &data, Profile::Laptop)?;
        config.log.segment_bytes = SEGMENT_BYTES;
        initialize(&config)?;
        configs.push(config);
    }
    Ok(configs)
}
