//! What the unit tests of this crate share. Never: compiled into what ships.

mod logged;
mod member;
mod net;
mod signed;

pub(crate) use logged::logged;
pub(crate) use member::{Member, Stateless, signed_auth};
pub(crate) use net::{Login, chain_of, net_of};
pub(crate) use signed::signed_entry;

use crate::executor::FinalBlock;
use crate::genesis::{
    Application, Auth, ChainLimits, Genesis, GenesisPlan, GenesisValidator, Hex32,
};
use crate::keys::KeyPair;
use quorate_consensus::header::{HEADER_VERSION, Header};
use quorate_consensus::payload::{Entry, Lane, PayloadBuilder, encode_entry, session_of_key};
use quorate_consensus::types::{BlockId, Epoch, Height, Index, Window};
use quorate_consensus::validators::ValidatorSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// A folder of this test alone, mode 0700, removed when dropped.
#[derive(Debug)]
pub(crate) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    pub(crate) fn new(name: &str) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("quorate-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(folder);
        crate::keys::create_private_folder(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A genesis of validators on loopback, with their keys.
pub(crate) fn sample_genesis(validators: u8) -> (Genesis, Vec<KeyPair>) {
    genesis_of_stakes(&vec![1; usize::from(validators)])
}

/// The same with validators of these stakes.
pub(crate) fn genesis_of_stakes(stakes: &[u64]) -> (Genesis, Vec<KeyPair>) {
    let (plan, keys) = plan_of_stakes(stakes);
    (Genesis::build(plan).unwrap(), keys)
}

/// The same with validators of one stake, some of which have client addresses.
pub(crate) fn genesis_reached_at(has_address: &[bool]) -> (Genesis, Vec<KeyPair>) {
    let all: Vec<_> = has_address.iter().map(|&has| (1, has)).collect();
    let (plan, keys) = plan_of(&all);
    (Genesis::build(plan).unwrap(), keys)
}

/// What a genesis of validators of these stakes is made of.
pub(crate) fn plan_of_stakes(stakes: &[u64]) -> (GenesisPlan, Vec<KeyPair>) {
    let all: Vec<_> = stakes.iter().map(|&stake| (stake, true)).collect();
    plan_of(&all)
}

fn plan_of(stakes: &[(u64, bool)]) -> (GenesisPlan, Vec<KeyPair>) {
    let keys: Vec<KeyPair> = (1..)
        .take(stakes.len())
        .map(|seed| KeyPair::from_seed(&[seed; 32]))
        .collect();
    let members = keys
        .iter()
        .zip(stakes)
        .zip(0_u16..)
        .map(|((key, &(stake, has_address)), place)| GenesisValidator {
            key: Hex32(key.public()),
            stake,
            leader_weight: None,
            peer_address: format!("127.0.0.1:{}", 7000 + 4 * place),
            client_addresses: has_address
                .then(|| format!("127.0.0.1:{}", 7001 + 4 * place))
                .into_iter()
                .collect(),
        })
        .collect();
    let plan = GenesisPlan {
        chain_id: [8; 32],
        // Within the life of an opening with number 1.
        genesis_time_ns: 1_000_000_000,
        fault_weight: None,
        fast_slack: None,
        crash_only: stakes.len() < 4,
        window_slots: None,
        turn_windows: None,
        auth: Auth::Session,
        application: Application {
            name: "opaque".to_owned(),
            parameters: serde_json::Map::new(),
        },
        limits: ChainLimits::default(),
        validators: members,
    };
    (plan, keys)
}

/// A final block of this set with commands of clients: number of the client, of its command, text.
pub(crate) fn final_block(
    set: &ValidatorSet,
    height: u64,
    parent_id: BlockId,
    commands: &[(u8, u64, &[u8])],
) -> FinalBlock {
    let mut builder = PayloadBuilder::new();
    for &(client, seq, text) in commands {
        let key = [client; 32];
        let session = session_of_key(&key);
        let body = [if seq == 1 { &key[..] } else { &[] }, text].concat();
        let entry = Entry {
            lane: Lane::Order,
            session: &session,
            seq,
            signature: None,
            body: &body,
        };
        let mut encoded = Vec::new();
        encode_entry(&entry, &mut encoded);
        builder.push_entry(&encoded).unwrap();
    }
    let payload = builder.finish();
    let header = Header {
        version: HEADER_VERSION,
        flags: 0,
        chain_id: *set.chain_id(),
        epoch: Epoch::ZERO,
        set_hash: *set.set_hash(),
        window: Window::ZERO,
        index: Index::new(u32::try_from(height - 1).unwrap()),
        height: Height::new(height),
        time_ns: set.genesis_time_ns() + height,
        parent_id,
        payload_hash: *blake3::hash(&payload).as_bytes(),
        payload_bytes: u32::try_from(payload.len()).unwrap(),
    };
    FinalBlock {
        id: header.id(),
        header,
        payload,
        path: None,
        final_ns: 0,
        admitted: Vec::new(),
    }
}
