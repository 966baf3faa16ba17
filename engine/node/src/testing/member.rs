//! A validator of a chain of signed commands, with its disk in memory, for unit tests of what runs
//! its parts. Never: compiled into what ships.

use super::{sample_genesis, signed_entry};
use crate::auth::{BatchSeed, CommandAuth};
use crate::genesis::Genesis;
use crate::keys::KeyPair;
use crate::lanes::LanesConfig;
use crate::lease;
use crate::recovery;
use crate::replica::{Companions, Parts, ReplicaConfig};
use crate::state_machine::{Context, Output, StateMachine};
use quorate_consensus::machine::{Durability, TimerConfig};
use quorate_consensus::message::Message;
use quorate_consensus::payload::Lane;
use quorate_consensus::types::{Now, ValidatorIndex};
use quorate_consensus::wire;
use quorate_log::{DataFolder, LogConfig, MemoryBackend};
use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    /// How often a root was asked for on this thread.
    static ROOTS: Cell<usize> = const { Cell::new(0) };
}

/// An application without a state.
#[derive(Debug)]
pub(crate) struct Stateless;

impl Stateless {
    /// How often its root was asked for on this thread.
    pub(crate) fn roots_taken() -> usize {
        ROOTS.get()
    }
}

impl StateMachine for Stateless {
    fn sections(&self) -> &'static [&'static str] {
        &["nothing"]
    }

    fn apply(&mut self, _: &Context, _: &[u8], _: &mut Output) {}

    fn section_root(&mut self, _: usize) -> [u8; 32] {
        ROOTS.set(ROOTS.get() + 1);
        [0; 32]
    }

    fn snapshot_section(&self, _: usize, _: &mut Vec<u8>) {}

    fn restore_section(&mut self, _: usize, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn query(&self, _: &[u8], _: &mut Vec<u8>) {}
}

/// The rule of a chain of signed commands.
pub(crate) fn signed_auth(genesis: &Genesis) -> CommandAuth {
    CommandAuth::signed(
        genesis.validator_set(),
        BatchSeed::assert_unpredictable([4; 32]),
    )
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) genesis: Genesis,
    pub(crate) own: ValidatorIndex,
    pub(crate) parts: Parts<Stateless>,
    pub(crate) companions: Companions,
    /// What it started with.
    pub(crate) now: Now,
}

impl Member {
    /// Opens validator `place` of so many for the first time. Its votes leave before they are
    /// synced.
    pub(crate) fn open(validators: u8, place: u16, auth: fn(&Genesis) -> CommandAuth) -> Self {
        Self::open_as(validators, place, auth, false)
    }

    /// The same of one whose disk an operator has called lost.
    pub(crate) fn open_lost(validators: u8, place: u16, auth: fn(&Genesis) -> CommandAuth) -> Self {
        Self::open_as(validators, place, auth, true)
    }

    fn open_as(
        validators: u8,
        place: u16,
        auth: fn(&Genesis) -> CommandAuth,
        is_lost: bool,
    ) -> Self {
        let (genesis, keys) = sample_genesis(validators);
        let set = Arc::clone(genesis.validator_set());
        let own = ValidatorIndex::new(place);
        let log = LogConfig {
            segment_bytes: 4 * 1024 * 1024,
            ..LogConfig::new([9; 32])
        };
        let folder = DataFolder::in_memory(&MemoryBackend::new());
        let key = keys[usize::from(place)].public();
        recovery::initialize(&folder, &log, genesis.bytes(), [3; 16], key).unwrap();
        if is_lost {
            lease::declare_lost(&folder, &log, genesis.bytes(), [3; 16], key).unwrap();
        }
        let config = ReplicaConfig {
            own,
            set: Arc::clone(&set),
            durability: Durability::Async,
            timers: TimerConfig::laptop(),
            incarnation_min: 1,
            nonce_seed: [5; 32],
            snapshot_heights: 0,
            boot_id: [3; 16],
            genesis: Arc::clone(genesis.bytes()),
            log,
            lanes: LanesConfig::new(64, 20_000_000),
            cache_bytes_max: 1024 * 1024,
            public_bytes_max: 0,
            private_bytes_max: 0,
            public_archive: None,
            private_archive: None,
            auth: Arc::new(auth(&genesis)),
            snapshots: None,
            first: None,
        };
        let now = Now {
            mono_ns: 1_000_000_000,
            wall_ns: set.genesis_time_ns() + 1_000_000_000,
        };
        let (parts, companions) = Parts::open(&folder, &config, Stateless, now).unwrap();
        Self {
            genesis,
            own,
            parts,
            companions,
            now,
        }
    }

    /// Frames in which all others say that they hold no record of this validator (R12), so that it
    /// may vote.
    pub(crate) fn fence_answers(&self) -> Vec<(ValidatorIndex, Vec<u8>)> {
        let answer = Message::FenceAnswer {
            incarnation: self.companions.summary.lease.incarnation,
            held: Vec::new(),
        };
        let mut frame = Vec::new();
        wire::encode(&answer, &mut frame);
        let count = self.genesis.validator_set().len();
        let all = (0..).take(count).map(ValidatorIndex::new);
        let others = all.filter(|place| *place != self.own);
        others.map(|place| (place, frame.clone())).collect()
    }

    /// Command `seq` of a client, which opens its session with number 1.
    pub(crate) fn entry(genesis: &Genesis, client: &KeyPair, seq: u64) -> Vec<u8> {
        let auth = signed_auth(genesis);
        let sign = |unsigned: &[u8]| client.sign(&auth.message(unsigned).unwrap());
        signed_entry(Lane::Order, &client.public(), seq, b"text", sign)
    }
}
