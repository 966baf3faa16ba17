//! A replay refuses the signatures that validators refuse.

use super::*;
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT as BASE;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use quorate::genesis::{Application, Auth, ChainLimits, GenesisPlan, GenesisValidator, Hex32};
use quorate::keys::KeyPair;
use quorate::results::Outcome;
use quorate_consensus::header::HEADER_VERSION;
use quorate_consensus::payload::{
    Entry, Lane, PayloadBuilder, encode_entry, entry_unsigned, session_of_key,
};
use quorate_consensus::types::{BlockId, Epoch, Height, Index, Window};
use quorate_consensus::verify::{SignatureCheck as _, SignatureItem, Zip215, single};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha512};

fn genesis() -> Genesis {
    Genesis::build(GenesisPlan {
        chain_id: [3; 32],
        // An opening's number is a time: so early, 1 is one.
        genesis_time_ns: 1_000_000_000,
        fault_weight: None,
        fast_slack: None,
        crash_only: true,
        window_slots: None,
        turn_windows: None,
        auth: Auth::Signed,
        application: Application {
            name: "opaque".to_owned(),
            parameters: serde_json::Map::new(),
        },
        limits: ChainLimits::default(),
        validators: vec![GenesisValidator {
            key: Hex32(KeyPair::from_seed(&[1; 32]).public()),
            stake: 1,
            leader_weight: None,
            peer_address: "127.0.0.1:7000".to_owned(),
            client_addresses: vec!["127.0.0.1:7001".to_owned()],
        }],
    })
    .unwrap()
}

/// The opening command of the session of `key`, and what is signed of it.
struct Opening {
    key: [u8; 32],
    message: Vec<u8>,
    signature: [u8; 64],
}

impl Opening {
    fn new(executor: &Executor<Hosted>, key: [u8; 32]) -> Self {
        let unsigned = entry_unsigned(Lane::Order, &session_of_key(&key), 1, &key);
        Self {
            key,
            message: executor.auth().message(&unsigned).unwrap(),
            signature: [0; 64],
        }
    }

    fn signed(mut self, signer: &KeyPair) -> Self {
        self.signature = signer.sign(&self.message);
        self
    }

    fn put(&mut self, r: &EdwardsPoint, s: &Scalar) {
        self.signature[..32].copy_from_slice(r.compress().as_bytes());
        self.signature[32..].copy_from_slice(s.as_bytes());
    }

    fn k(&self, r: &EdwardsPoint) -> Scalar {
        let hasher = Sha512::new().chain_update(r.compress().as_bytes());
        let hasher = hasher.chain_update(self.key).chain_update(&self.message);
        Scalar::from_bytes_mod_order_wide(&hasher.finalize().into())
    }

    fn item(&self) -> SignatureItem<'_> {
        SignatureItem {
            key: &self.key,
            message: &self.message,
            signature: &self.signature,
            abscissa: None,
        }
    }

    fn entry(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let entry = Entry {
            lane: Lane::Order,
            session: &session_of_key(&self.key),
            seq: 1,
            signature: Some(&self.signature),
            body: &self.key,
        };
        encode_entry(&entry, &mut bytes);
        bytes
    }
}

/// Four openings of which the first two are forged, the first one in the name of somebody whose
/// secret is not used, so that their errors make up for each other under the coefficients that a
/// seed of zeros gives.
fn forged(executor: &Executor<Hosted>) -> Vec<Opening> {
    let victim = KeyPair::from_seed(&[2; 32]).public();
    let own_secret = Scalar::from(987_654_321_u64);
    let own = (own_secret * BASE).compress().to_bytes();
    let honest = [3, 4].map(|seed| KeyPair::from_seed(&[seed; 32]));
    let mut openings = vec![
        Opening::new(executor, victim),
        Opening::new(executor, own),
        Opening::new(executor, honest[0].public()).signed(&honest[0]),
        Opening::new(executor, honest[1].public()).signed(&honest[1]),
    ];
    // Coefficients are drawn in the order of the keys.
    let mut keys: Vec<[u8; 32]> = openings.iter().map(|opening| opening.key).collect();
    keys.sort_unstable();
    let mut rng = ChaCha20Rng::from_seed([0; 32]);
    let coefficients: Vec<Scalar> = keys
        .iter()
        .map(|_| {
            let mut bytes = [0; 16];
            rng.fill_bytes(&mut bytes);
            Scalar::from(u128::from_le_bytes(bytes))
        })
        .collect();
    let z = |key| coefficients[keys.iter().position(|of| *of == key).unwrap()];
    let (first, second) = openings.split_at_mut(1);
    let (first, second) = (&mut first[0], &mut second[0]);
    let (r, s) = (Scalar::from(12_345_u64) * BASE, Scalar::from(777_u64));
    let victim_point = CompressedEdwardsY(victim).decompress().unwrap();
    let error = s * BASE - first.k(&r) * victim_point - r;
    first.put(&r, &s);
    let nonce = Scalar::from(999_u64);
    let r = nonce * BASE + z(victim) * z(own).invert() * error;
    let s = nonce + second.k(&r) * own_secret;
    second.put(&r, &s);
    openings
}

fn block(genesis: &Genesis, openings: &[Opening]) -> FinalBlock {
    let mut builder = PayloadBuilder::new();
    for opening in openings {
        builder.push_entry(&opening.entry()).unwrap();
    }
    let payload = builder.finish();
    let set = genesis.validator_set();
    let header = Header {
        version: HEADER_VERSION,
        flags: 0,
        chain_id: *set.chain_id(),
        epoch: Epoch::ZERO,
        set_hash: *set.set_hash(),
        window: Window::ZERO,
        index: Index::ZERO,
        height: Height::new(1),
        time_ns: set.genesis_time_ns() + 1,
        parent_id: BlockId::new([0; 32]),
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

#[test]
fn a_replay_refuses_what_only_coefficients_known_beforehand_would_let_pass() {
    let genesis = genesis();
    let mut executor = executor_of(&Applications::new(), &genesis).unwrap();
    let openings = forged(&executor);
    let items: Vec<SignatureItem<'_>> = openings.iter().map(Opening::item).collect();
    let alone = items.iter();
    let alone: Vec<bool> = alone
        .map(|item| single(item.key, item.message, item.signature))
        .collect();
    assert_eq!(alone, [false, false, true, true]);
    let known = Zip215::new(ChaCha20Rng::from_seed([0; 32])).check(&items);
    assert_eq!(known, [true; 4], "they make up for each other");
    let mut results = BlockResults::new();
    executor
        .execute(&block(&genesis, &openings), &mut results)
        .unwrap();
    let outcomes: Vec<Outcome> = results.commands.iter().map(|one| one.outcome).collect();
    let (bad, applied) = (Outcome::BadSignature, Outcome::Applied);
    // Blocks hold their commands in the order in which they were put in.
    assert_eq!(outcomes, [bad, bad, applied, applied]);
}
