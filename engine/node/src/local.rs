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
const PORTS: std::ops::Range<u16> = 8_448..32_768;
/// Ports are given in whole blocks of this many, several in a row if more are asked for.
const BLOCK_PORTS: u16 = 128;
/// One port for each block, in the same order, all below the blocks: who listens there has it.
const CLAIMS_START: u16 = 8_192;
const BLOCKS: u16 = (PORTS.end - PORTS.start) / BLOCK_PORTS;
const _: () = assert!(CLAIMS_START + BLOCKS <= PORTS.start);
/// Most ports given at once: those of 64 validators with four each, twice.
const PORTS_MAX: u16 = 512;

/// The ports that say which blocks are this process's, held until the process ends.
static CLAIMS: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());

/// Finds `count` ports in a row on loopback, nobody listening on any of them, and keeps them from
/// others who ask here until this process ends, by listening on the port that stands for each block
/// of them. (A port that was found free and let go may be another's before it is used.) At most
/// 512.
///
/// # Errors
/// More than that are asked for, or not enough blocks in a row are free.
pub fn claim_ports(count: u16) -> std::io::Result<u16> {
    if count <= PORTS_MAX {
        let wanted = count.div_ceil(BLOCK_PORTS).max(1);
        let places = BLOCKS - wanted + 1;
        // Two programs that look at the same time should not begin at the same place.
        let begin = (std::process::id() ^ wall_ns() as u32) % u32::from(places);
        for turn in 0..u32::from(places) {
            let block = u16::try_from((begin + turn) % u32::from(places)).unwrap_or(0);
            let base = PORTS.start + block * BLOCK_PORTS;
            let claim = CLAIMS_START + block;
            // Nobody else's ports are touched: a validator may be about to listen on them again.
            let Some(claims) = listen_on(claim..claim + wanted) else {
                continue;
            };
            if listen_on(base..base + count).is_some() {
                CLAIMS.lock().extend(claims);
                return Ok(base);
            }
        }
    }
    let what = format!("no {count} free ports in a row within {PORTS:?} on loopback");
    Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, what))
}

/// Listens on all of them, or on none.
fn listen_on(ports: std::ops::Range<u16>) -> Option<Vec<TcpListener>> {
    ports
        .map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .collect()
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
        for count in [8, 128, 129, 8, 256, 1, 8, 0, 128, PORTS_MAX, 8] {
            let base = claim_ports(count).unwrap();
            assert!(PORTS.contains(&base) && base + count <= PORTS.end);
            for port in base..base + count {
                assert!(given.insert(port), "{port} was given twice");
                drop(TcpListener::bind(("127.0.0.1", port)).unwrap());
            }
        }
        for too_many in [PORTS_MAX + 1, u16::MAX] {
            assert!(claim_ports(too_many).is_err());
        }
    }
}
