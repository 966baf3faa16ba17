//! Which state a chain begins with: the one of its genesis, whole, and no other.

use std::fs;

use super::*;
use crate::genesis::Hex32;
use crate::results::BlockResults;
use crate::state_machine::{Context, Output};
use crate::testing::{TemporaryFolder, final_block, sample_genesis};

/// All text so far.
#[derive(Debug, Default)]
struct Text(Vec<u8>);

impl StateMachine for Text {
    fn sections(&self) -> &'static [&'static str] {
        &["text"]
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        self.0.extend_from_slice(command);
        output.to_session(context.session, command);
    }

    fn section_root(&mut self, _section: usize) -> [u8; 32] {
        *blake3::hash(&self.0).as_bytes()
    }

    fn snapshot_section(&self, _section: usize, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.0);
    }

    fn restore_section(&mut self, _section: usize, bytes: &[u8]) -> Result<(), String> {
        self.0 = bytes.to_vec();
        Ok(())
    }

    fn query(&self, _question: &[u8], answer: &mut Vec<u8>) {
        answer.extend_from_slice(&self.0);
    }
}

fn fresh(genesis: &Genesis) -> Executor<Text> {
    Executor::new(Text::default(), 8, genesis.file().genesis_time_ns)
}

struct Scene {
    next: Genesis,
    state: PathBuf,
    root: [u8; 32],
    temporary: TemporaryFolder,
}

/// Two blocks, the state after them, and the genesis of the chain that goes on from there.
fn scene() -> Scene {
    let (genesis, _) = sample_genesis(4);
    let set = genesis.validator_set();
    let temporary = TemporaryFolder::new("begins");
    let state = temporary.path().join("begins");
    let mut executor = fresh(&genesis);
    let (mut results, mut parent) = (BlockResults::new(), set.genesis().id);
    let mut last = None;
    for height in 1..=2 {
        let block = final_block(set, height, parent, &[(3, height, b"a command")]);
        executor.execute(&block, &mut results).unwrap();
        parent = block.id;
        last = Some(block.header);
    }
    let header = last.unwrap();
    let folder = SnapshotFolder::new(state.clone());
    let manifest = snapshot::take(&mut executor, &header, &Origin::of(set), &folder).unwrap();
    let begins = Begins {
        generation: 1,
        of: Hex32(*genesis.hash()),
        height: 2,
        block: Hex32(*header.id().as_bytes()),
        snapshot: Hex32(manifest.root()),
    };
    Scene {
        next: genesis.succeed(begins, header.time_ns, None).unwrap(),
        root: executor.root().combined,
        state,
        temporary,
    }
}

/// The genesis with its `begins` changed.
fn changed(genesis: &Genesis, change: impl FnOnce(&mut Begins, &mut u64)) -> Genesis {
    let mut begins = genesis.file().begins.unwrap();
    let mut time_ns = genesis.file().genesis_time_ns;
    change(&mut begins, &mut time_ns);
    genesis.succeed(begins, time_ns, None).unwrap()
}

#[test]
fn a_chain_begins_with_the_state_height_and_time_that_its_genesis_names() {
    let scene = scene();
    let mut executor = fresh(&scene.next);
    let first = FirstState::of(&scene.next, scene.state.clone()).unwrap();
    let manifest = first.restore(&mut executor).unwrap();
    assert_eq!(executor.height(), 2);
    assert_eq!(executor.time_ns(), manifest.header.time_ns);
    assert_eq!(executor.root().combined, scene.root);
    let known = executor.sessions().iter().next().unwrap();
    assert_eq!(known.last_seq, 2, "the numbers of clients go on");
    let genesis = scene.next.validator_set().genesis();
    assert_eq!(genesis.height.number(), 2);
    assert!(FirstState::of(&sample_genesis(4).0, scene.state).is_none());
}

#[test]
fn a_state_that_the_genesis_does_not_name_is_refused_with_what_differs() {
    let scene = scene();
    let refused = |genesis: &Genesis| {
        let first = FirstState::of(genesis, scene.state.clone()).unwrap();
        let error = first.restore(&mut fresh(genesis)).unwrap_err();
        assert!(first.verify().is_err());
        match error {
            BeginsError::Other { what, .. } => what,
            error => panic!("{error}"),
        }
    };
    let next = &scene.next;
    let of = |change: fn(&mut Begins, &mut u64)| refused(&changed(next, change));
    assert_eq!(of(|begins, _| begins.of.0[0] ^= 1), "genesis");
    assert_eq!(of(|begins, _| begins.block.0[31] ^= 1), "block");
    assert_eq!(of(|begins, _| begins.snapshot.0[7] ^= 1), "root");
    assert_eq!(of(|_, time_ns| *time_ns += 1), "time");
    let higher = changed(next, |begins, _| begins.height += 1);
    let error = FirstState::of(&higher, scene.state.clone())
        .unwrap()
        .verify();
    let error = error.unwrap_err();
    assert!(
        matches!(error, BeginsError::Missing { height: 3, .. }),
        "{error}"
    );
}

#[test]
fn a_state_with_a_flipped_bit_is_refused() {
    let scene = scene();
    let first = FirstState::of(&scene.next, scene.state.clone()).unwrap();
    first.verify().unwrap();
    for entry in fs::read_dir(&scene.state).unwrap() {
        let path = entry.unwrap().path();
        let good = fs::read(&path).unwrap();
        for place in (0..good.len()).step_by(13) {
            let mut bytes = good.clone();
            bytes[place] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert!(first.verify().is_err(), "{}: {place}", path.display());
            assert!(first.restore(&mut fresh(&scene.next)).is_err());
        }
        fs::write(&path, &good).unwrap();
    }
    first.verify().unwrap();
}

#[test]
fn a_state_is_brought_into_the_data_folder_once_and_only_the_right_one() {
    let scene = scene();
    let data = scene.temporary.path().join("data");
    let kept = FirstState::of(&scene.next, begins_path(&data)).unwrap();
    bring(&scene.next, None, &data).unwrap();
    assert!(matches!(kept.verify(), Err(BeginsError::Missing { .. })));
    let other = changed(&scene.next, |begins, _| begins.snapshot.0[0] ^= 1);
    assert!(bring(&other, Some(&scene.state), &data).is_err());
    assert!(matches!(kept.verify(), Err(BeginsError::Missing { .. })));
    bring(&scene.next, Some(&scene.state), &data).unwrap();
    kept.verify().unwrap();
    // It is not needed beside the genesis any more.
    fs::remove_dir_all(&scene.state).unwrap();
    bring(&scene.next, Some(&scene.state), &data).unwrap();
    kept.verify().unwrap();
}
