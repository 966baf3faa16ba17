//! A cluster on this machine, for examples and tests.
//!
//! Owns the choice of ports that no other program here gets, the making of keys and of a genesis
//! on loopback, and folders that are ready to start. Never: for a chain that anybody relies on.

use crate::config::NodeConfig;
use crate::genesis::{
    Application, Auth, ChainLimits, Genesis, GenesisPlan, GenesisValidator, Hex32,
};
use crate::keys::KeyPair;
use crate::node::{StartError, initialize};
use crate::profiles::Profile;
use crate::stages::clock::wall_ns;
use parking_lot::Mutex;
use std::net::TcpListener;
use std::path::Path;

/// Log segments of a local cluster, bytes: short ones are made quickly.
const SEGMENT_BYTES: u32 = 8 * 1024 * 1024;

/// Where ports of local clusters are looked for: below the range from which systems as shipped take
/// the ports of outgoing connections, so that no connection of another program takes one meanwhile.
const PORTS: std::ops::Range<u16> = 8_192..32_768;
/// Blocks of ports are given whole: the first port of one says whose it is.
const BLOCK_PORTS: u16 = 128;

/// The first port of each block that is this process's, held until the process ends.
static CLAIMS: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());

/// Finds `count` ports in a row on loopback, nobody listening on any of them, and keeps them from
/// others who ask here until this process ends, by listening on the port in front of them. (A port
/// that was found free and let go may be another's before it is used.) At most 127.
///
/// # Errors
/// More than that are asked for, or no block of ports is free.
pub fn claim_ports(count: u16) -> std::io::Result<u16> {
    let none = || {
        let what = format!("no {count} free ports in a row within {PORTS:?} on loopback");
        std::io::Error::new(std::io::ErrorKind::AddrInUse, what)
    };
    if count >= BLOCK_PORTS {
        return Err(none());
    }
    let blocks = (PORTS.end - PORTS.start) / BLOCK_PORTS;
    // Two programs that look at the same time should not begin at the same place.
    let begin = (std::process::id() ^ wall_ns() as u32) % u32::from(blocks);
    for turn in 0..u32::from(blocks) {
        let block = u16::try_from((begin + turn) % u32::from(blocks)).unwrap_or(0);
        let claim = PORTS.start + block * BLOCK_PORTS;
        let mut held: Vec<TcpListener> = (claim..=claim + count)
            .map_while(|port| TcpListener::bind(("127.0.0.1", port)).ok())
            .collect();
        if held.len() == usize::from(count) + 1 {
            CLAIMS.lock().push(held.swap_remove(0));
            return Ok(claim + 1);
        }
    }
    Err(none())
}

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
    let base_port = claim_ports(validators.saturating_mul(2))?;
    let members = keys
        .iter()
        .zip((base_port..).step_by(2))
        .map(|(key, port)| GenesisValidator {
            key: Hex32(key.public()),
            stake: 1,
            leader_weight: None,
            peer_address: format!("127.0.0.1:{port}"),
            client_addresses: vec![format!("127.0.0.1:{}", port + 1)],
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
        auth: Auth::Session,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claimed_ports_are_free_and_are_given_to_nobody_else() {
        let mut given = std::collections::BTreeSet::new();
        for _ in 0..10 {
            let base = claim_ports(8).unwrap();
            for port in base..base + 8 {
                assert!(given.insert(port), "{port} was given twice");
                drop(TcpListener::bind(("127.0.0.1", port)).unwrap());
            }
        }
        assert!(claim_ports(0).is_ok());
        for too_many in [BLOCK_PORTS, u16::MAX] {
            assert!(claim_ports(too_many).is_err());
        }
    }
}
