//! Snapshots and replay as an operator sees them, of a testnet that ran.

use crate::common::{Folder, init, run, run_json, run_under_load, text};
use quorate::snapshot::SnapshotFolder;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn validator(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("validator-{index:02}"))
}

/// A testnet whose validators take a snapshot every 64 heights, run under load and stopped.
fn ran(dir: &Path) {
    init(dir, 4, &["--durability", "async", "--workload", "opaque"]);
    for index in 0..4 {
        let config = validator(dir, index).join("quorate.toml");
        let written = fs::read_to_string(&config).unwrap();
        let often = written.replace("# every_heights = 65536", "every_heights = 64");
        assert_ne!(written, often);
        fs::write(&config, often).unwrap();
    }
    run_under_load(dir, "a snapshot of each is vouched for", || {
        (0..4).all(|index| {
            let listed = run_json(&["snapshot", "list", text(&validator(dir, index))], 0);
            let all = listed["snapshots"].as_array().unwrap().clone();
            all.iter()
                .any(|one| !one["vouched_by"].as_array().unwrap().is_empty())
        })
    });
}

/// A proof that holds, and the same one with a flipped bit and cut short.
fn holds_and_damaged_does_not(genesis: &Path, proof: &Path) -> Value {
    let check = ["proof", "verify", "--genesis", text(genesis), text(proof)];
    let good = run_json(&check, 0);
    let bytes = fs::read(proof).unwrap();
    let mut bad = bytes.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(proof, &bad).unwrap();
    assert_eq!(run_json(&check, 1)["error"]["kind"], "no");
    fs::write(proof, &bytes[..20]).unwrap();
    assert_eq!(run_json(&check, 3)["error"]["kind"], "configuration");
    good
}

/// What a log gives to a third party, checked by the genesis alone; `attested` is the height of a
/// snapshot that others vouch for.
fn proofs_hold(folder: &Folder, dir: &Path, attested: u64) {
    let (genesis, proof) = (dir.join("genesis.json"), folder.join("proof"));
    let log = validator(dir, 0);
    let make = |height: u64, rest: &[&str], code: i32| {
        let height = height.to_string();
        let mut all = vec!["proof", "make", "--dir", text(&log), "--height", &height];
        all.extend(["--out", text(&proof)]);
        all.extend(rest);
        run_json(&all, code)
    };
    let shown = run_json(&["log", "show", text(&log), "--from", "1"], 0);
    let blocks = shown["blocks"].as_array().unwrap().clone();
    let full = blocks
        .iter()
        .find(|block| block["payload_bytes"].as_u64() > Some(4));
    let full = full.unwrap();
    let height = full["height"].as_u64().unwrap();
    let made = make(height, &["--index", "0"], 0);
    let good = holds_and_damaged_does_not(&genesis, &proof);
    assert_eq!(good, made);
    assert_eq!(
        (&good["id"], &good["height"]),
        (&full["id"], &full["height"])
    );
    assert_eq!(good["command"]["index"], 0);
    let far = make(height, &["--index", "99999"], 1);
    assert_eq!(far["error"]["kind"], "no");
    assert!(
        !far["error"]["what"]
            .as_str()
            .unwrap()
            .contains(text(&proof)),
        "no file is to blame: {far}"
    );
    let unattested = make(attested + 1, &["--state"], 1);
    assert!(
        unattested["error"]["remedy"]
            .as_str()
            .unwrap()
            .contains("snapshot list"),
        "{unattested}"
    );
    assert_eq!(make(999_999_999, &[], 1)["error"]["kind"], "no");
    make(attested, &["--state"], 0);
    let check = ["proof", "verify", "--genesis", text(&genesis), text(&proof)];
    let told = String::from_utf8(run(&check).stdout).unwrap();
    let good = holds_and_damaged_does_not(&genesis, &proof);
    assert_eq!(good["height"], attested);
    let names = ["sessions", "outputs", "events", "commands"];
    assert_eq!(good["section_names"], serde_json::json!(names));
    assert_eq!(good["sections"].as_array().unwrap().len(), names.len());
    // Each root stands beside its name.
    for (root, name) in good["sections"].as_array().unwrap().iter().zip(names) {
        let line = format!("\n  {} {name}", root.as_str().unwrap());
        assert!(told.contains(&line), "{told}");
    }
}

/// Nobody vouches for a snapshot with a signature that does not hold.
fn a_forged_certificate_is_named(dir: &Path, height: u64) {
    let path = dir.join(format!("data/snapshots/snapshot-{height:020}.certificate"));
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&path, bad).unwrap();
    let height = height.to_string();
    let verify = ["snapshot", "verify", text(dir), "--height", &height];
    let forged = &run_json(&verify, 5)["snapshots"][0];
    let fault = forged["fault"].as_str().unwrap();
    assert!(fault.contains("does not hold"), "{fault}");
    assert!(forged["vouched_by"].as_array().unwrap().is_empty());
    fs::write(&path, good).unwrap();
    run_json(&verify, 0);
}

/// A replay tells of a snapshot with another state than the log comes to.
fn a_snapshot_of_another_state_is_named(dir: &Path) {
    let folder = SnapshotFolder::new(dir.join("data/snapshots"));
    let height = *folder.heights().unwrap().last().unwrap();
    let mut manifest = folder.manifest(height).unwrap();
    let mut reader = folder.open(height).unwrap();
    let sections = (0..manifest.sections.len()).map(|place| reader.section(place).unwrap());
    let sections: Vec<Vec<u8>> = sections.collect();
    let last = manifest.sections.last_mut().unwrap();
    last.root[0] ^= 1;
    let name = last.name.clone();
    folder.remove(height).unwrap();
    let mut writer = folder.write(height).unwrap();
    for section in &sections {
        writer.push(section).unwrap();
    }
    writer.finish(manifest).unwrap();
    let to = height.to_string();
    let replayed = run_json(&["log", "replay", text(dir), "--to", &to], 1);
    let differences = replayed["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "{replayed}");
    assert_eq!(differences[0]["height"], height);
    assert_eq!(differences[0]["section"], name.as_str());
}

/// The newest may have been taken too shortly before the end for others to vouch for it.
fn remove_snapshot(dir: &Path, height: u64) {
    for ending in ["data", "manifest", "certificate"] {
        let path = dir.join(format!("data/snapshots/snapshot-{height:020}.{ending}"));
        if ending != "certificate" || path.exists() {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn snapshots_are_good_logs_replay_to_them_and_damage_is_named() {
    let folder = Folder::new("snapshots");
    let dir = folder.join("net");
    ran(&dir);
    let (first, second) = (validator(&dir, 0), validator(&dir, 1));
    let verified = run_json(&["snapshot", "verify", text(&first)], 0);
    let newest = verified["snapshots"].as_array().unwrap().last().unwrap();
    let height = newest["height"].as_u64().unwrap();
    assert_eq!(height % 64, 0);

    let all = verified["snapshots"].as_array().unwrap();
    let vouched = |one: &&Value| !one["vouched_by"].as_array().unwrap().is_empty();
    let attested = all.iter().find(vouched).unwrap()["height"].as_u64();
    proofs_hold(&folder, &dir, attested.unwrap());
    a_forged_certificate_is_named(&first, attested.unwrap());

    // The same bytes from the same log, and the same state from another one, or from a snapshot.
    let arguments = ["log", "replay", "--roots", text(&first), "--json"];
    assert_eq!(run(&arguments).stdout, run(&arguments).stdout);
    let to = height.to_string();
    let up_to = |dir: &Path| run_json(&["log", "replay", text(dir), "--to", &to], 0);
    let (one, other) = (up_to(&first), up_to(&second));
    for key in ["outputs_hash", "state_root", "commands", "height"] {
        assert_eq!(one[key], other[key], "{key}");
    }
    let compared = one["compared"].as_array().unwrap();
    assert!(compared.contains(&height.into()), "{one}");
    assert!(one["differences"].as_array().unwrap().is_empty(), "{one}");
    a_snapshot_of_another_state_is_named(&second);
    let whole = run_json(&["log", "replay", text(&first)], 0);
    let above = ["log", "replay", text(&first), "--from-snapshot", &to];
    let above = run_json(&above, 0);
    assert_eq!(above["state_root"], whole["state_root"]);
    assert_eq!(above["from"], height);
    assert!(above["blocks"].as_u64().unwrap() < whole["blocks"].as_u64().unwrap());

    // One made offline is the one that the running validator took.
    let root = newest["root"].clone();
    remove_snapshot(&first, height);
    let create = ["snapshot", "create", text(&first), "--height", &to];
    let made = run_json(&create, 0);
    assert_eq!(made["snapshots"][0]["root"], root);
    let none = ["snapshot", "create", text(&first), "--height", "999999999"];
    assert_eq!(run_json(&none, 1)["error"]["kind"], "no");
    let begin = ["snapshot", "create", text(&first), "--height", "0"];
    let what = run_json(&begin, 2)["error"]["what"].to_string();
    assert!(what.contains("begins at 0"), "{what}");
    let beyond = run(&["log", "replay", text(&first), "--to", "999999999"]);
    assert_eq!(beyond.status.code(), Some(1), "it was not reached");
    let told = String::from_utf8_lossy(&beyond.stdout);
    assert!(told.contains("below --to 999999999"), "{told}");

    let data = first.join(format!("data/snapshots/snapshot-{height:020}.data"));
    let mut bytes = fs::read(&data).unwrap();
    bytes[0] ^= 1;
    fs::write(&data, &bytes).unwrap();
    let broken = ["snapshot", "verify", text(&first), "--height", &to];
    let broken = run_json(&broken, 5);
    let fault = broken["snapshots"][0]["fault"].as_str().unwrap();
    assert!(fault.contains("chunk 0"), "{fault}");
    let refused = ["log", "replay", text(&first), "--from-snapshot", &to];
    assert_eq!(run_json(&refused, 5)["error"]["kind"], "damaged");
    let missing = ["snapshot", "verify", text(&first), "--height", "1"];
    assert_eq!(run_json(&missing, 3)["error"]["kind"], "configuration");
}
