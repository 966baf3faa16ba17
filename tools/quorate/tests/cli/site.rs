//! A chain that loses more than F at one stroke and goes on: with real processes, under load, from
//! the kill to new commands.

use crate::common::{
    Folder, init, launches, quorate, run, run_json, start_four, stop_four, text, wait_until,
};
use quorate::client::{Client, ClientEvent, ClientOptions, Clients};
use quorate::client_wire::{Outcome, Place};
use quorate::genesis::Genesis;
use quorate::keys::KeyPair;
use quorate::state_machine::Lane;
use quorate_bench::cluster::Cluster;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest that one answer may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of a log segment before its first record.
const SEGMENT_HEADER_BYTES: usize = 512;

fn validator(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("validator-{index:02}"))
}

fn key() -> Arc<KeyPair> {
    Arc::new(KeyPair::from_seed(&[77; 32]))
}

fn genesis(dir: &Path) -> Genesis {
    Genesis::load(&dir.join("genesis.json")).unwrap()
}

fn connect(dir: &Path) -> Client {
    let options = ClientOptions {
        patience: PATIENCE,
        ..ClientOptions::default()
    };
    Client::connect(&genesis(dir), key(), options, PATIENCE).unwrap()
}

/// Commands that the application has applied.
fn applied(client: &mut Client) -> u64 {
    let answer = client.query(b"", PATIENCE).unwrap();
    u64::from_le_bytes(answer.try_into().unwrap())
}

/// Sends a command of this number once more and gives what is told of it.
fn resubmit(dir: &Path, seq: u64, body: &[u8]) -> (Outcome, Option<Place>) {
    let mut clients = Clients::new(&genesis(dir)).unwrap();
    let client = clients.add(key(), ClientOptions::default());
    assert!(clients.resume(client, seq - 1));
    let sent = clients.submit(client, Lane::Order, body, Instant::now());
    assert_eq!(sent.unwrap(), seq);
    let mut told = None;
    let deadline = Instant::now() + PATIENCE;
    while told.is_none() {
        assert!(
            Instant::now() < deadline,
            "no answer to what was sent again"
        );
        let wait = Some(Duration::from_millis(50));
        clients
            .turn(Instant::now(), wait, |_, event| {
                // Signed for another chain the command has another mark, which nobody knows here.
                if let ClientEvent::Result { result, .. }
                | ClientEvent::Unsure {
                    result: Some(result),
                    ..
                } = event
                {
                    told = Some((result.item.outcome, result.item.applied));
                }
            })
            .unwrap();
    }
    told.unwrap()
}

/// Takes away what no sync had reached, as a loss of power does.
fn lose_tail(data: &Path) {
    let log = data.join("log");
    let synced = quorate_log::verify_path(&log).unwrap().synced_index.count();
    let path = log.join("segment-0000000000");
    let mut bytes = fs::read(&path).unwrap();
    let mut at = SEGMENT_HEADER_BYTES;
    for _ in 0..synced {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        at += 32 + length.next_multiple_of(8) + 32;
    }
    bytes[at..].fill(0);
    fs::write(&path, &bytes).unwrap();
}

/// A snapshot every 64 heights, before the start.
fn take_snapshots(dir: &Path) {
    for index in 0..4 {
        let config = validator(dir, index).join("quorate.toml");
        let was = fs::read_to_string(&config).unwrap();
        let line = "# every_heights = 65536";
        assert!(was.contains(line), "{line}");
        fs::write(&config, was.replace(line, "every_heights = 64")).unwrap();
    }
}

/// What was told to a client before the stroke.
struct Told {
    seq: u64,
    body: &'static [u8],
    place: Place,
    applied: u64,
}

/// Runs four validators until a command is durable, kills all, and takes the tails of two.
fn strike(dir: &Path) -> Told {
    let mut cluster = Cluster::new(launches(dir), Arc::new(|_, _| ()));
    cluster.start_all().unwrap();
    let mut client = connect(dir);
    let mut last = None;
    for _ in 0..40 {
        let done = client.submit_and_wait(Lane::Order, b"a command", PATIENCE);
        last = Some(done.unwrap());
    }
    let (last, count) = (last.unwrap(), applied(&mut client));
    let place = last.applied.unwrap();
    wait_until_durable(&mut client, place);
    let load = [
        "load",
        "--dir",
        text(dir),
        "--rate",
        "500",
        "--seconds",
        "9",
    ];
    let mut load = quorate().args(load).spawn().unwrap();
    wait_until("the load is on", || applied(&mut client) > count + 100);
    wait_until("each has taken a snapshot", || {
        (0..4).all(|index| validator(dir, index).join("data/snapshots").is_dir())
    });
    for index in 0..4 {
        cluster.kill(index).unwrap();
    }
    load.kill().unwrap();
    load.wait().unwrap();
    for index in [1, 3] {
        lose_tail(&validator(dir, index).join("data"));
    }
    Told {
        seq: last.seq,
        body: b"a command",
        place,
        applied: count,
    }
}

fn wait_until_durable(client: &mut Client, place: Place) {
    wait_until("the command is durable", || {
        let status: Value = serde_json::from_str(&client.status(PATIENCE).unwrap()).unwrap();
        status["durable"].as_u64() >= Some(place.height)
    });
}

/// Chooses the block and writes what goes on, by the folders in this order.
fn choose(dir: &Path, out: &Path, order: [usize; 4], more: &[&str]) -> Value {
    let genesis = dir.join("genesis.json");
    let dirs: Vec<PathBuf> = order.iter().map(|&index| validator(dir, index)).collect();
    let mut arguments = vec!["recover", "site", "--genesis", text(&genesis)];
    arguments.extend(more);
    arguments.extend(["--out", text(out)]);
    arguments.extend(dirs.iter().map(|dir| text(dir)));
    run_json(&arguments, 0)
}

/// Makes a validator's folder in the chain that goes on, with its old key.
fn make(old: &Path, next: &Path, index: usize, code: i32) -> Value {
    make_with(old, next, (index, &validator(old, index).join("key")), code)
}

/// The same with another key.
fn make_with(old: &Path, next: &Path, (index, key): (usize, &Path), code: i32) -> Value {
    let status = fs::read_to_string(validator(old, index).join("quorate.toml")).unwrap();
    let metrics = status
        .lines()
        .find_map(|line| line.strip_prefix("metrics = "))
        .unwrap()
        .trim_matches('"')
        .to_owned();
    let dir = validator(next, index);
    let genesis = next.join("genesis.json");
    let arguments = [
        "init",
        "--dir",
        text(&dir),
        "--genesis",
        text(&genesis),
        "--key",
        text(key),
        "--metrics",
        &metrics,
        "--profile",
        "laptop",
        "--durability",
        "async",
        "--ask-seconds",
        "0",
    ];
    run_json(&arguments, code)
}

/// Every file below a folder, with its bytes.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(dir).unwrap().to_path_buf();
                    found.push((name, fs::read(&path).unwrap()));
                }
            }
        }
    }
    found.sort();
    found
}

/// The chain goes on for its clients as if nothing had been. What they were told last.
fn check_goes_on(next: &Path, told: &Told) -> Told {
    let mut cluster = Cluster::new(launches(next), Arc::new(|_, _| ()));
    cluster.start_all().unwrap();
    let mut client = connect(next);
    let before = applied(&mut client);
    assert!(before >= told.applied, "what was durable is there");
    // The last command of the session, once more: told as before, and not applied.
    let again = resubmit(next, told.seq, told.body);
    assert_eq!(again, (Outcome::Duplicate, Some(told.place)));
    assert_eq!(applied(&mut client), before);
    let done = client.submit_and_wait(Lane::Order, b"a new one", PATIENCE);
    let done = done.unwrap();
    assert_eq!((done.seq, done.outcome), (told.seq + 1, Outcome::Applied));
    assert!(done.applied.unwrap().height > told.place.height);
    assert_eq!(applied(&mut client), before + 1);
    drop(client);
    wait_until_equal(next);
    stop_four(cluster);
    // A start finds its state again: from a snapshot of its own, and without one.
    for index in [0, 1] {
        fs::remove_dir_all(validator(next, index).join("data/snapshots")).unwrap();
    }
    let cluster = start_four(next);
    let mut client = connect(next);
    let done = client.submit_and_wait(Lane::Order, b"one more", PATIENCE);
    let done = done.unwrap();
    assert_eq!(done.seq, told.seq + 2);
    let (place, count) = (done.applied.unwrap(), applied(&mut client));
    wait_until_durable(&mut client, place);
    drop(client);
    let second = validator(next, 2);
    wait_until("a snapshot of validator 2 is vouched for", || {
        wait_until_equal(next);
        let listed = run_json(&["snapshot", "list", text(&second)], 0);
        listed["snapshots"]
            .as_array()
            .unwrap()
            .iter()
            .any(is_vouched)
    });
    stop_four(cluster);
    Told {
        seq: done.seq,
        body: b"one more",
        place,
        applied: count,
    }
}

fn is_vouched(snapshot: &Value) -> bool {
    !snapshot["vouched_by"].as_array().unwrap().is_empty()
}

/// Loads until all four come to one height and one root.
fn wait_until_equal(dir: &Path) {
    wait_until("equal roots at all", || {
        let load = [
            "load",
            "--dir",
            text(dir),
            "--rate",
            "200",
            "--seconds",
            "1",
        ];
        run(&load).status.code() == Some(0)
    });
}

/// The tools know where the chain begins.
fn check_tools(old: &Path, next: &Path, height: u64) {
    let mut tops = Vec::new();
    for index in 0..4 {
        let dir = validator(next, index);
        let verified = run_json(&["log", "verify", text(&dir)], 0);
        assert_eq!(verified["below"], height);
        assert_eq!(verified["begins"]["height"], height);
        assert!(verified["blocks"].as_u64() > Some(0), "{verified}");
        assert!(verified["faulty"].as_array().unwrap().is_empty());
        tops.push(verified["height"].as_u64().unwrap());
    }
    // One may have stopped a block before another.
    let top = tops.iter().min().unwrap().to_string();
    let replay = |index| {
        let dir = validator(next, index);
        let replayed = run_json(&["log", "replay", text(&dir), "--to", &top], 0);
        assert_eq!(replayed["from"], height);
        assert!(replayed["state_root"].is_string(), "{replayed}");
        replayed["state_root"].clone()
    };
    let roots: Vec<Value> = (0..4).map(replay).collect();
    assert!(roots.iter().all(|root| *root == roots[0]), "{roots:?}");
    // Snapshots of the new chain, taken above the state that it began with, and attested.
    let verified = run_json(&["snapshot", "verify", text(&validator(next, 2))], 0);
    let taken = verified["snapshots"].as_array().unwrap();
    assert!(taken.iter().any(is_vouched), "{verified}");
    assert!(
        taken
            .iter()
            .all(|one| one["height"].as_u64() > Some(height))
    );
    // A proof is judged by the genesis of its own chain.
    let proof = next.join("proof");
    let above = (height + 1).to_string();
    let (dir, new) = (validator(next, 0), next.join("genesis.json"));
    let make = [
        "proof",
        "make",
        "--dir",
        text(&dir),
        "--height",
        &above,
        "--out",
        text(&proof),
    ];
    run_json(&make, 0);
    let verify = |genesis: &Path, code| {
        let verify = ["proof", "verify", "--genesis", text(genesis), text(&proof)];
        run_json(&verify, code)
    };
    assert_eq!(verify(&new, 0)["height"], height + 1);
    verify(&old.join("genesis.json"), 1);
}

/// Nobody starts with another state, and nobody goes on in the old folder.
fn check_refusals(old: &Path, next: &Path, height: u64) {
    let config = validator(old, 0).join("quorate.toml");
    let was = fs::read_to_string(&config).unwrap();
    let new = format!("genesis = \"{}\"", next.join("genesis.json").display());
    fs::write(&config, was.replace("genesis = \"../genesis.json\"", &new)).unwrap();
    let refused = run_json(&["node", "--config", text(&config)], 3);
    let what = refused["error"]["what"].as_str().unwrap();
    assert!(
        what.contains(&format!("goes on after height {height}")),
        "{what}"
    );
    assert!(what.contains("quorate init"), "{what}");
    fs::write(&config, was).unwrap();

    // A folder of its own for what is broken on purpose.
    let broken = next.join("broken");
    fs::create_dir_all(broken.join("begins")).unwrap();
    let state = format!("begins/snapshot-{height:020}");
    for name in [
        "genesis.json",
        &format!("{state}.data"),
        &format!("{state}.manifest"),
    ] {
        fs::copy(next.join(name), broken.join(name)).unwrap();
    }
    let data = broken.join(format!("{state}.data"));
    let good = fs::read(&data).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    fs::write(&data, bad).unwrap();
    let what = make(old, &broken, 0, 5)["error"]["what"].to_string();
    assert!(what.contains("chunk 0"), "{what}");
    fs::write(&data, &good).unwrap();

    let path = broken.join("genesis.json");
    let text_of = fs::read_to_string(&path).unwrap();
    let mut file: Value = serde_json::from_str(&text_of).unwrap();
    let root = file["begins"]["snapshot"].as_str().unwrap().to_owned();
    let digit = if root.starts_with('0') { "1" } else { "0" };
    file["begins"]["snapshot"] = format!("{digit}{}", &root[1..]).into();
    fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
    let what = make(old, &broken, 0, 3)["error"]["what"].to_string();
    assert!(what.contains("its root is"), "{what}");
    fs::write(&path, text_of).unwrap();

    fs::remove_file(&data).unwrap();
    fs::remove_file(broken.join(format!("{state}.manifest"))).unwrap();
    let what = make(old, &broken, 0, 3)["error"]["what"].to_string();
    assert!(what.contains("no snapshot of height"), "{what}");
}

#[test]
fn a_chain_goes_on_after_a_loss_at_one_stroke_with_all_that_was_durable() {
    let folder = Folder::new("stroke");
    let (old, next) = (folder.join("net"), folder.join("next"));
    // All of a log stands in one segment, whose tail is taken away.
    let long = ["--segment-bytes", "67108864"];
    let arguments = ["--workload", "opaque", "--durability", "async"];
    init(&old, 4, &[&arguments[..], &long].concat());
    take_snapshots(&old);
    let told = strike(&old);
    let chosen = choose(&old, &next, [0, 1, 2, 3], &[]);
    let height = chosen["height"].as_u64().unwrap();
    assert!(height >= told.place.height, "no durable block is above it");
    assert_eq!(chosen["next"]["generation"], 1);
    // The same bytes at every operator, by whatever folder, executed from a snapshot or not.
    for index in 0..4 {
        fs::remove_dir_all(validator(&old, index).join("data/snapshots")).unwrap();
    }
    let again = choose(&old, &folder.join("again"), [3, 2, 1, 0], &[]);
    assert_eq!(
        again["next"]["genesis_hash"],
        chosen["next"]["genesis_hash"]
    );
    assert_eq!(files(&folder.join("again")), files(&next));
    let full = [
        "recover",
        "site",
        "--genesis",
        text(&old.join("genesis.json")),
    ]
    .map(str::to_owned)
    .to_vec();
    let dirs = (0..4).map(|index| text(&validator(&old, index)).to_owned());
    let full: Vec<String> = full
        .into_iter()
        .chain(["--out".to_owned(), text(&next).to_owned()])
        .chain(dirs)
        .collect();
    let full: Vec<&str> = full.iter().map(String::as_str).collect();
    assert_eq!(run_json(&full, 3)["error"]["kind"], "configuration");

    check_refusals(&old, &next, height);
    for index in 0..4 {
        assert_eq!(make(&old, &next, index, 0)["index"], index);
    }
    take_snapshots(&next);
    let told = check_goes_on(&next, &told);
    check_tools(&old, &next, height);
    check_second_generation(&folder, &old, &next, &told);
}

/// Who goes on from here: another validator in the place of the last one, with other stakes.
fn successors(folder: &Folder, of: &Path) -> (PathBuf, PathBuf) {
    let (file, key) = (folder.join("successors.json"), folder.join("new.key"));
    let made = run_json(&["keygen", "--out", text(&key)], 0);
    let bytes = fs::read(of.join("genesis.json")).unwrap();
    let genesis: Value = serde_json::from_slice(&bytes).unwrap();
    let mut validators = genesis["validators"].clone();
    validators[3]["key"] = made["public_key"].clone();
    validators[0]["stake"] = (2 * validators[0]["stake"].as_u64().unwrap()).into();
    let successors = serde_json::json!({ "validators": validators });
    fs::write(&file, serde_json::to_vec(&successors).unwrap()).unwrap();
    (file, key)
}

/// It can be struck again, goes on from there with other validators, and may be given up before
/// anything of it was proven.
fn check_second_generation(folder: &Folder, old: &Path, next: &Path, told: &Told) {
    let third = folder.join("third");
    let (file, new_key) = successors(folder, next);
    let chosen = choose(next, &third, [0, 1, 2, 3], &["--validators", text(&file)]);
    let height = chosen["height"].as_u64().unwrap();
    assert!(height >= told.place.height, "no durable block is above it");
    assert_eq!(chosen["next"]["generation"], 2);
    let (before, after) = (genesis(next), genesis(&third));
    assert_eq!(before.file().chain_id, after.file().chain_id);
    assert_eq!(after.file().begins.unwrap().of.0, *before.hash());
    assert_ne!(before.file().validators, after.file().validators);
    // The key that goes has no place in it, and the new one takes the folder of the old one.
    make(old, &third, 3, 3);
    assert_eq!(make_with(old, &third, (3, &new_key), 0)["index"], 3);
    for index in 0..3 {
        assert_eq!(make(old, &third, index, 0)["index"], index);
    }

    // Nothing of it is proven yet: the next one begins with the same state.
    let fourth = folder.join("fourth");
    let again = choose(&third, &fourth, [0, 1, 2, 3], &[]);
    assert_eq!(
        (&again["height"], &again["next"]["generation"]),
        (&height.into(), &3.into())
    );
    assert_eq!(files(&fourth.join("begins")), files(&third.join("begins")));
    let (begins, was) = (
        genesis(&fourth).file().begins,
        genesis(&third).file().begins,
    );
    let (begins, was) = (begins.unwrap(), was.unwrap());
    assert_eq!((begins.block, begins.snapshot), (was.block, was.snapshot));
    assert_eq!(genesis(&fourth).file().validators, after.file().validators);
    assert_eq!(make_with(old, &fourth, (3, &new_key), 0)["index"], 3);

    take_snapshots(&third);
    check_goes_on(&third, told);
    check_tools(next, &third, height);
}
