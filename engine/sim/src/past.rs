//! What every validator of a world begins with: its genesis, and the state of a chain before.
//!
//! Owns the making of that state where a world's chain goes on from another one (protocol.md
//! 3.4): commands of some clients, taken as theirs,
//! executed and put into a snapshot by the product's own code, and
//! the genesis that names it. The snapshot lies in a folder of the real disk that nobody else
//! uses. Never: faults in that folder, or anything of its name in what a run does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate::begins::FirstState;
use quorate::executor::{Executor, FinalBlock};
use quorate::genesis::{
    Application, Auth, Begins, ChainLimits, Genesis, GenesisPlan, GenesisValidator, Hex32,
};
use quorate::results::BlockResults;
use quorate::snapshot::{self, Origin, SnapshotFolder};
use quorate::state_machine::StateMachine;
use quorate_consensus::header::{HEADER_VERSION, Header};
use quorate_consensus::payload::PayloadBuilder;
use quorate_consensus::types::{Epoch, Height, Index, Window};
use quorate_consensus::validators::ValidatorSet;
use quorate_proof::outputs::OutputHistory;

use crate::keyring::WorldKey;
use crate::member::SESSIONS_MAX;
use crate::plan::{GENESIS, GENESIS_TIME_NS, Plan};

/// The chain before began so long before this one.
const PAST_NS: u64 = 5_000_000_000;

/// Tells the folders of worlds that run at once apart.
static FOLDERS: AtomicU64 = AtomicU64::new(0);

/// Genesis and first state of a world.
pub(crate) struct Past {
    /// The exact bytes that stand for the genesis file in every log.
    pub(crate) genesis: Arc<[u8]>,
    pub(crate) set: Arc<ValidatorSet>,
    /// What the chain goes on from, when it does not begin with nothing.
    pub(crate) first: Option<FirstState>,
    /// Where that lies, for as long as the world is.
    _folder: Option<Scratch>,
}

impl Past {
    /// The beginning of a world in this plan. `commands` are entries of clients, in the order in
    /// which the chain before executed them; they count where there is one.
    ///
    /// # Errors
    /// The plan cannot be made true, or the disk refuses.
    pub(crate) fn new<S: StateMachine>(
        plan: &Plan,
        keys: &[WorldKey],
        app: S,
        commands: &[Vec<u8>],
    ) -> Result<Self, String> {
        match plan.begins {
            Some(height) => Self::going_on(plan, height, keys, app, commands),
            None => Ok(Self {
                genesis: GENESIS.into(),
                set: plan.set(keys)?,
                first: None,
                _folder: None,
            }),
        }
    }

    fn going_on<S: StateMachine>(
        plan: &Plan,
        height: u64,
        keys: &[WorldKey],
        app: S,
        commands: &[Vec<u8>],
    ) -> Result<Self, String> {
        let before = genesis(plan, keys)?;
        let set = before.validator_set();
        let executor = Executor::new(app, SESSIONS_MAX, set.genesis_time_ns());
        let told = commands.len() as u64;
        let mut executor = executor.after(untold(height.saturating_sub(told))?);
        let header = execute(&mut executor, set, height, commands)?;
        let folder = Scratch::new();
        let snapshots = SnapshotFolder::new(folder.0.clone());
        let manifest = snapshot::take(&mut executor, &header, &Origin::of(set), &snapshots)
            .map_err(|error| format!("no snapshot of the chain before: {error}"))?;
        let begins = Begins {
            generation: 1,
            of: Hex32(*before.hash()),
            height,
            block: Hex32(*header.id().as_bytes()),
            snapshot: Hex32(manifest.root()),
        };
        let genesis = before
            .succeed(begins, GENESIS_TIME_NS, None)
            .map_err(|error| format!("no genesis that goes on: {error}"))?;
        Ok(Self {
            genesis: Arc::clone(genesis.bytes()),
            set: Arc::clone(genesis.validator_set()),
            first: FirstState::of(&genesis, folder.0.clone()),
            _folder: Some(folder),
        })
    }
}

/// The genesis of the chain before, with the same validators.
fn genesis(plan: &Plan, keys: &[WorldKey]) -> Result<Genesis, String> {
    let member = |(place, (key, &stake)): (usize, (&WorldKey, &u64))| GenesisValidator {
        key: Hex32(key.public()),
        stake,
        leader_weight: None,
        peer_address: format!("127.0.0.1:{}", 7000 + 2 * place),
        client_addresses: vec![format!("127.0.0.1:{}", 7001 + 2 * place)],
    };
    let members = keys.iter().zip(&plan.stakes).enumerate();
    Genesis::build(GenesisPlan {
        chain_id: [1; 32],
        genesis_time_ns: GENESIS_TIME_NS - PAST_NS,
        fault_weight: Some(plan.fault),
        fast_slack: Some(plan.slack),
        crash_only: plan.fault == 0,
        window_slots: Some(plan.window_slots),
        turn_windows: Some(plan.turn_windows),
        auth: if plan.is_signed {
            Auth::Signed
        } else {
            Auth::Session
        },
        application: Application {
            name: "simulated".to_owned(),
            parameters: Default::default(),
        },
        limits: ChainLimits::default(),
        validators: members.map(member).collect(),
    })
    .map_err(|error| format!("no genesis of the chain before: {error}"))
}

/// What so many blocks put out of which nothing is told.
fn untold(blocks: u64) -> Result<OutputHistory, String> {
    let mut bytes = blocks.to_le_bytes().to_vec();
    for place in 0..blocks.count_ones() {
        bytes.extend_from_slice(blake3::hash(&place.to_le_bytes()).as_bytes());
    }
    OutputHistory::decode(&bytes).map_err(|error| error.to_string())
}

/// One block a command, the last one at `height`; gives its header.
fn execute<S: StateMachine>(
    executor: &mut Executor<S>,
    set: &ValidatorSet,
    height: u64,
    commands: &[Vec<u8>],
) -> Result<Header, String> {
    let mut results = BlockResults::new();
    let (mut last, mut left) = (header(set, height), commands.len() as u64);
    for entry in commands {
        left -= 1;
        let mut builder = PayloadBuilder::new();
        builder
            .push_entry(entry)
            .map_err(|error| format!("a command of the chain before: {error:?}"))?;
        let payload = builder.finish();
        let header = Header {
            payload_hash: *blake3::hash(&payload).as_bytes(),
            payload_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            time_ns: GENESIS_TIME_NS - left,
            ..header(set, height.saturating_sub(left))
        };
        last = header;
        let block = FinalBlock {
            id: header.id(),
            header,
            payload,
            path: None,
            final_ns: 0,
            admitted: Vec::new(),
        };
        executor
            .execute(&block, &mut results)
            .map_err(|error| format!("the chain before: {error}"))?;
    }
    Ok(last)
}

/// A header of the chain before, of an empty block.
fn header(set: &ValidatorSet, height: u64) -> Header {
    Header {
        version: HEADER_VERSION,
        flags: 0,
        chain_id: *set.chain_id(),
        epoch: Epoch::ZERO,
        set_hash: *set.set_hash(),
        window: Window::ZERO,
        index: Index::ZERO,
        height: Height::new(height),
        time_ns: GENESIS_TIME_NS,
        parent_id: set.genesis().id,
        payload_hash: [0; 32],
        payload_bytes: 0,
    }
}

/// A folder of one world alone, which goes with it.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    /// It is made when something is written into it.
    fn new() -> Self {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("quorate-sim-{}-{number}", std::process::id());
        Self(Path::join(&std::env::temp_dir(), name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the system's temporary files.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{BEGINS_AFTER, RunOptions};
    use crate::run::run;

    #[test]
    fn a_chain_goes_on_after_every_height_to_a_good_end() {
        let options = |seed| RunOptions {
            seed,
            ..RunOptions::default()
        };
        for height in BEGINS_AFTER {
            let mut seeds = (0..).map(options);
            let found = seeds.find(|options| Plan::draw(options).begins == Some(height));
            let outcome = run(&found.unwrap(), false);
            assert!(outcome.is_good(), "{height}: {outcome:?}");
            assert!(outcome.commands > 0 && outcome.finalized < 1 << 20);
        }
    }
}
