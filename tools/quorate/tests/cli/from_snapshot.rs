//! Proofs made from a folder of snapshots that somebody kept, and the log of a validator that takes
//! none, while nobody runs.

use crate::common::{
    Folder, init, run, run_json, start_four, stop_four, text, validator, wait_until,
};
use quorate::client::{Client, ClientOptions, PublicClient, PublicItem, PublicOptions};
use quorate::genesis::Genesis;
use quorate::keys::KeyPair;
use quorate::snapshot::SnapshotFolder;
use quorate::state_machine::Lane;
use quorate::streams::StreamPosition;
use quorate_consensus::types::ValidatorIndex;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Who takes no snapshots.
const PLAIN: usize = 3;
/// Longest that one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn load(dir: &Path) {
    let load = ["load", "--dir", text(dir), "--rate", "300"];
    run(&[&load[..], &["--seconds", "1"]].concat());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where a command was applied, and its own output.
fn submit(genesis: &Genesis) -> (u64, u32, Vec<u8>) {
    let key = Arc::new(KeyPair::from_seed(&[77; 32]));
    let options = ClientOptions {
        // A validator that is slow is not left: another one would tell less of the command.
        patience: PATIENCE,
        ..ClientOptions::default()
    };
    let mut client = Client::connect(genesis, key, options, PATIENCE).unwrap();
    // The venue does not know such a command, and says so.
    let result = client.submit_and_wait(Lane::Order, &[0xee; 40], PATIENCE);
    let result = result.unwrap();
    let place = result.applied.unwrap();
    (place.height, place.index, result.outputs[0].clone())
}

fn first_public(genesis: &Genesis, from: u64) -> PublicItem {
    let options = PublicOptions {
        first: ValidatorIndex::new(0),
        only_first: false,
        from: StreamPosition::before(from),
        ..PublicOptions::default()
    };
    let key = Arc::new(KeyPair::from_seed(&[78; 32]));
    let mut reader = PublicClient::new(genesis, key, options).unwrap();
    reader.next(PATIENCE).unwrap()
}

/// Heights of the snapshots of a validator that are vouched for.
fn vouched(dir: &Path) -> Vec<u64> {
    let listed = run_json(&["snapshot", "list", text(&validator(dir, 0))], 0);
    let all = listed["snapshots"].as_array().unwrap().iter();
    let is_vouched = |one: &&Value| !one["vouched_by"].as_array().unwrap().is_empty();
    let heights = all.filter(is_vouched).map(|one| &one["height"]);
    heights.map(|height| height.as_u64().unwrap()).collect()
}

/// What somebody has: a log, the kept snapshots, and a stranger's genesis.
struct Kept {
    log: PathBuf,
    snapshots: PathBuf,
    genesis: PathBuf,
    proof: PathBuf,
}

impl Kept {
    /// Makes a proof, with this exit code.
    fn make(&self, height: u64, rest: &[&str], code: i32) -> Value {
        let height = height.to_string();
        let make = ["proof", "make", "--dir", text(&self.log)];
        let what = ["--height", &height, "--out", text(&self.proof)];
        run_json(&[&make[..], &what, rest].concat(), code)
    }

    fn make_from(&self, height: u64, rest: &[&str], code: i32) -> Value {
        let from = ["--from-snapshot", text(&self.snapshots)];
        self.make(height, &[rest, &from].concat(), code)
    }

    /// Makes a proof from the kept snapshots and lets the stranger check it.
    fn proven(&self, height: u64, rest: &[&str]) -> Value {
        self.make_from(height, rest, 0);
        let (genesis, proof) = (text(&self.genesis), text(&self.proof));
        run_json(&["proof", "verify", "--genesis", genesis, proof], 0)
    }

    fn file(&self, height: u64, ending: &str) -> PathBuf {
        let name = format!("snapshot-{height:020}.{ending}");
        self.snapshots.join(name)
    }

    /// Nothing is made while a file is otherwise.
    fn refused_with(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>), make: &dyn Fn(i32)) {
        let good = fs::read(path).unwrap();
        let mut bad = good.clone();
        change(&mut bad);
        fs::write(path, bad).unwrap();
        fs::remove_file(&self.proof).ok();
        make(5);
        assert!(!self.proof.exists(), "{}", path.display());
        fs::write(path, good).unwrap();
    }

    /// The snapshot of a height as another chain has it.
    fn make_foreign(&self, height: u64) {
        let folder = SnapshotFolder::new(self.snapshots.clone());
        let mut manifest = folder.manifest(height).unwrap();
        let data = fs::read(self.file(height, "data")).unwrap();
        manifest.genesis_hash[0] ^= 1;
        manifest.chunks.clear();
        let mut writer = folder.write(height).unwrap();
        writer.push(&data).unwrap();
        writer.finish(manifest).unwrap();
    }
}

/// Runs a testnet whose last validator takes no snapshots, until there are vouched ones below and
/// above a command; stops it and keeps the snapshots.
fn kept(folder: &Folder) -> (Kept, (u64, u32, Vec<u8>), PublicItem, Vec<u64>) {
    let dir = folder.join("net");
    init(&dir, 4, &["--durability", "async", "--workload", "venue"]);
    for index in 0..4 {
        let config = validator(&dir, index).join("quorate.toml");
        let written = fs::read_to_string(&config).unwrap();
        let every = if index == PLAIN { 0 } else { 64 };
        let every = format!("every_heights = {every}");
        let often = written.replace("# every_heights = 65536", &every);
        // From below the command until one above it is vouched for.
        let often = often.replace("# keep = 2", "keep = 64");
        assert!(often.contains(&every) && often.contains("\nkeep = 64"));
        fs::write(&config, often).unwrap();
    }
    let cluster = start_four(&dir);
    let genesis = Genesis::load(&dir.join("genesis.json")).unwrap();
    wait_until("a snapshot is vouched for", || {
        load(&dir);
        !vouched(&dir).is_empty()
    });
    let told = submit(&genesis);
    load(&dir);
    let public = first_public(&genesis, told.0 + 1);
    wait_until("one above both is, too", || {
        load(&dir);
        vouched(&dir).last() > Some(&public.position.height)
    });
    stop_four(cluster);
    let kept = Kept {
        log: validator(&dir, PLAIN),
        snapshots: folder.join("kept"),
        genesis: folder.join("genesis.json"),
        proof: folder.join("proof"),
    };
    fs::copy(dir.join("genesis.json"), &kept.genesis).unwrap();
    fs::create_dir(&kept.snapshots).unwrap();
    let own = validator(&dir, 0).join("data/snapshots");
    for entry in fs::read_dir(own).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), kept.snapshots.join(entry.file_name())).unwrap();
    }
    let heights = vouched(&dir);
    (kept, told, public, heights)
}

#[test]
fn proofs_are_made_from_a_kept_folder_of_snapshots_and_a_damaged_or_foreign_one_is_refused() {
    let folder = Folder::new("from-snapshot");
    let (kept, (height, index, output), public, heights) = kept(&folder);
    // Execution begins with the newest below it, whether or not anybody vouches for that one.
    let all = SnapshotFolder::new(kept.snapshots.clone()).heights();
    let below = all.unwrap().into_iter().rfind(|one| *one < height).unwrap();
    let above = *heights.iter().find(|one| **one >= height).unwrap();
    let own = index.to_string();
    let own = ["--index", &own, "--output", "0"];

    // The log has no state beside it that anybody vouches for.
    assert_eq!(kept.make(height, &own, 1)["error"]["kind"], "no");
    let good = kept.proven(height, &own);
    assert_eq!(good["output"]["output"], hex(&output), "{good}");
    assert_eq!(good["height"], height, "{good}");
    assert!(good["attested"].as_u64() <= Some(above), "{good}");
    let outcomes = kept.proven(height, &["--outcomes"])["outcomes"].clone();
    assert_eq!(outcomes[index as usize], "applied", "{outcomes}");
    let number = public.position.index.to_string();
    let good = kept.proven(public.position.height, &["--public", "--output", &number]);
    assert_eq!(good["output"]["output"], hex(&public.bytes), "{good}");
    let good = kept.proven(above, &["--state"]);
    assert_eq!(good["height"], above);
    assert!(good["sections"].as_array().unwrap().len() > 1, "{good}");

    // Of a block the log has all, so no state is asked for.
    assert_eq!(kept.make_from(height, &[], 2)["error"]["kind"], "usage");
    damaged(&kept, &own, height, (below, above));
    foreign(&kept, &own, height, (below, above));
}

fn damaged(kept: &Kept, own: &[&str], height: u64, (below, above): (u64, u64)) {
    let output = |code| {
        let told = kept.make_from(height, own, code);
        assert_eq!(told["error"]["kind"], "damaged", "{told}");
    };
    let state = |code| {
        let told = kept.make_from(above, &["--state"], code);
        assert_eq!(told["error"]["kind"], "damaged", "{told}");
    };
    let flip = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1);
    let has = |ending: &&str| kept.file(below, ending).exists();
    for ending in ["data", "manifest", "certificate"].into_iter().filter(has) {
        kept.refused_with(&kept.file(below, ending), flip, &output);
        kept.refused_with(&kept.file(below, ending), cut, &output);
    }
    for ending in ["manifest", "certificate"] {
        kept.refused_with(&kept.file(above, ending), flip, &state);
        kept.refused_with(&kept.file(above, ending), cut, &state);
    }
    kept.proven(height, own);
}

fn foreign(kept: &Kept, own: &[&str], height: u64, (below, above): (u64, u64)) {
    for (one, make) in [(below, own), (above, &["--state"])] {
        kept.make_foreign(one);
        let at = if one == below { height } else { above };
        let told = kept.make_from(at, make, 3);
        assert_eq!(told["error"]["kind"], "configuration", "{told}");
        let what = told["error"]["what"].as_str().unwrap();
        assert!(what.contains("of another genesis"), "{what}");
    }
    let nothing = kept.proof.with_file_name("nothing");
    fs::create_dir(&nothing).unwrap();
    let from = [own, &["--from-snapshot", text(&nothing)]].concat();
    let told = kept.make(height, &from, 3);
    assert!(told["error"]["what"].to_string().contains("no snapshot"));
}
