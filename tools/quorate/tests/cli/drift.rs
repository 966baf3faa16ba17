//! A validator that computes wrongly on purpose, from the first command that it misses to the
//! repaired one: the others go on, it serves nobody, and what it leaves behind names the command.

use crate::common::{Folder, STOP, init, quorate, run, run_json, text, wait_until};
use quorate::client::{Client, ClientOptions};
use quorate::genesis::Genesis;
use quorate::keys::KeyPair;
use quorate_bench::cluster::{Cluster, Launch};
use quorate_consensus::types::ValidatorIndex;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Who computes wrongly, and from which height on.
const WRONG: usize = 3;
const WRONG_AT: u64 = 70;

fn config(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("validator-{index:02}/quorate.toml"))
}

fn bundle(dir: &Path) -> PathBuf {
    dir.join(format!("validator-{WRONG:02}/data/diverged"))
}

fn cluster(dir: &Path) -> Cluster {
    let launch = |index| {
        let config = config(dir, index);
        let arguments = ["node", "--leash", "--testing", "--config", text(&config)];
        Launch {
            program: env!("CARGO_BIN_EXE_quorate").into(),
            arguments: arguments.map(str::to_owned).to_vec(),
        }
    };
    let mut cluster = Cluster::new((0..4).map(launch).collect(), Arc::new(|_, _| ()));
    cluster.start_all().unwrap();
    cluster
}

/// What every validator says of itself, once all answer.
fn statuses(dir: &Path) -> Option<Vec<Value>> {
    let output = quorate()
        .args(["status", "--json", "--dir", text(dir)])
        .args(["--timeout-ms", "60000"])
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).ok()?;
    let all = told["validators"].as_array()?.clone();
    if all.iter().any(|one| one["error"].is_string()) {
        return None;
    }
    // The answer is no as soon as one of them is known to be wrong.
    let is_diverged = all.iter().any(|one| one["diverged"].is_object());
    (!is_diverged || output.status.code() == Some(1)).then_some(all)
}

/// Load until something holds of the statuses, which are given.
fn load_until(dir: &Path, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut found = None;
    wait_until(what, || {
        let (rate, seconds) = ("300", "1");
        let load = [
            "load",
            "--dir",
            text(dir),
            "--rate",
            rate,
            "--seconds",
            seconds,
        ];
        run(&load);
        found = statuses(dir).filter(|statuses| holds(statuses));
        found.is_some()
    });
    found.unwrap()
}

/// Stops all; the exit codes.
fn stop(mut cluster: Cluster) -> Vec<Option<i32>> {
    let ended = cluster.stop_all(STOP).unwrap();
    let mut codes = vec![None; 4];
    for one in ended {
        codes[one.index] = one.status.code();
    }
    codes
}

/// The first block from a height on that has a command, as the log of a validator has it.
fn first_with_commands(dir: &Path, index: usize, from: u64) -> u64 {
    let folder = dir.join(format!("validator-{index:02}"));
    let from = from.to_string();
    let shown = run_json(&["log", "show", text(&folder), "--from", &from], 0);
    let blocks = shown["blocks"].as_array().unwrap();
    let found = blocks
        .iter()
        .find(|block| block["payload_bytes"].as_u64() > Some(4));
    found.unwrap()["height"].as_u64().unwrap()
}

/// The configuration of the wrong one, with the fault in it; gives it as it is without.
fn make_wrong(dir: &Path) -> String {
    let wrong = config(dir, WRONG);
    let right = fs::read_to_string(&wrong).unwrap();
    let fault = format!("{right}\n[testing]\nwrong_at_height = {WRONG_AT}\n");
    fs::write(&wrong, fault).unwrap();
    let refused = run_json(&["node", "--config", text(&wrong)], 3);
    assert_eq!(refused["error"]["kind"], "configuration");
    right
}

/// Runs until the wrong one is found and all have gone on; its words, and the greatest height then.
fn run_until_found(dir: &Path) -> (Value, Option<u64>) {
    let running = cluster(dir);
    let found = load_until(dir, "the wrong one is found", |all| {
        all[WRONG]["diverged"].is_object()
    });
    let diverged = &found[WRONG]["diverged"];
    assert_eq!(diverged["height"], 128, "{diverged}");
    let others = found[..WRONG].iter();
    assert!(
        others.clone().all(|one| one["diverged"].is_null()),
        "{found:?}"
    );
    let heights = found.iter().map(|one| one["height"].as_u64());
    let height = heights.max().flatten();
    let later = load_until(dir, "all go on", |all| {
        let on = height.map(|height| height + 64);
        all.iter().all(|one| one["height"].as_u64() > on)
    });
    assert_eq!(later[WRONG]["voting"], true);
    assert_eq!(later[WRONG]["diverged"], *diverged);
    // A client that begins there is served by another one.
    let genesis = Genesis::load(&dir.join("genesis.json")).unwrap();
    let options = ClientOptions {
        first: ValidatorIndex::new(WRONG as u16),
        ..ClientOptions::default()
    };
    let key = Arc::new(KeyPair::from_seed(&[9; 32]));
    let client = Client::connect(&genesis, key, options, STOP).unwrap();
    assert!(
        client
            .connected()
            .is_some_and(|other| other.place() != WRONG)
    );
    drop(client);
    // A supervisor must not start it again by itself.
    assert_eq!(stop(running), [Some(0), Some(0), Some(0), Some(4)]);
    (diverged.clone(), height)
}

/// The bundle names the command that was missed, with the log beside it and with another's.
fn bisect(dir: &Path, diverged: &Value) {
    let bundle = bundle(dir);
    let bisected = run_json(&["log", "replay", "--bisect", text(&bundle)], 0);
    let first = &bisected["first"];
    let missed = first_with_commands(dir, 0, WRONG_AT);
    assert_eq!(first["height"], missed, "{bisected}");
    assert_eq!(first["index"], 0, "{bisected}");
    assert_eq!(bisected["computes"], "proven");
    assert_eq!(bisected["common"], 64);
    assert_eq!(bisected["section"], diverged["section"]);
    let other = dir.join("validator-00");
    let again = ["log", "replay", text(&other), "--bisect", text(&bundle)];
    assert_eq!(run_json(&again, 0)["first"], *first);
    bisect_states(dir, &bundle, &bisected);
    forged_evidence_is_refused(&bundle);
}

/// The others' state is theirs by their signatures alone.
fn forged_evidence_is_refused(bundle: &Path) {
    let path = bundle.join("bundle.json");
    let good = fs::read(&path).unwrap();
    let mut written: Value = serde_json::from_slice(&good).unwrap();
    let certificate = written["certificate"].as_str().unwrap();
    // The last digit is of the last signature.
    let (rest, last) = certificate.split_at(certificate.len() - 1);
    let other = if last == "0" { "1" } else { "0" };
    written["certificate"] = format!("{rest}{other}").into();
    fs::write(&path, serde_json::to_vec(&written).unwrap()).unwrap();
    let refused = run_json(&["log", "replay", "--bisect", text(bundle)], 1);
    let what = refused["error"]["what"].as_str().unwrap();
    assert!(what.contains("does not hold"), "{what}");
    fs::write(&path, good).unwrap();
}

/// What another build prints that has another state from a command on, in the block at a place.
fn with_another_state(bisected: &Value, from: usize, index: usize) -> Value {
    let mut other = bisected.clone();
    let roots = other["roots"].as_array_mut().unwrap();
    for (place, one) in roots.iter_mut().enumerate().skip(from) {
        one["root"] = "00".repeat(32).into();
        let within = one["within"].as_str().unwrap();
        // The timers come before the first command.
        let same = if place == from { (index + 1) * 16 } else { 0 };
        let changed = "0".repeat(within.len() - same);
        one["within"] = (within[..same].to_owned() + &changed).into();
    }
    other
}

/// The section's root after each block, and the first one that another build has otherwise.
fn bisect_states(dir: &Path, bundle: &Path, bisected: &Value) {
    let roots = bisected["roots"].as_array().unwrap();
    let heights: Vec<_> = roots
        .iter()
        .map(|one| one["height"].as_u64().unwrap())
        .collect();
    let last = bisected["height"].as_u64().unwrap();
    assert_eq!(heights, (65..=last).collect::<Vec<_>>());
    let written = fs::read(bundle.join("bundle.json")).unwrap();
    let written: Value = serde_json::from_slice(&written).unwrap();
    let sections = written["proven"]["sections"].as_array().unwrap();
    let proven = sections
        .iter()
        .find(|one| one["name"] == bisected["section"]);
    assert_eq!(roots.last().unwrap()["root"], proven.unwrap()["root"]);
    assert!(bisected["first_state"].is_null());

    let file = dir.join("other.json");
    let against = |other: &Value, code| {
        fs::write(&file, serde_json::to_vec(other).unwrap()).unwrap();
        let bisect = [
            "log",
            "replay",
            "--bisect",
            text(bundle),
            "--against",
            text(&file),
        ];
        run_json(&bisect, code)
    };
    let same = against(bisected, 0);
    assert!(same["first_state"].is_null(), "the same build");
    assert_eq!(same["states_compared"], serde_json::json!([65, last]));
    assert_eq!(same["roots_each_to"], last);
    assert!(same["roots_end"].is_null(), "{same}");
    let height = last.to_string();
    let bisect = ["log", "replay", "--bisect", text(bundle)];
    let moved = run_json(&[&bisect[..], &["--commands-from", &height]].concat(), 0);
    assert_eq!(moved["roots"], serde_json::json!([roots.last()]));
    // One that has another state from the last command of the fullest block on.
    let prints = |one: &Value| one["within"].as_str().unwrap().len() / 16;
    let from = (0..roots.len()).filter(|&place| prints(&roots[place]) > 1);
    let from = from.max_by_key(|&place| prints(&roots[place])).unwrap();
    let index = prints(&roots[from]) - 2;
    let mut other = with_another_state(bisected, from, index);
    let named = against(&other, 0);
    assert_eq!(named["first_state"], heights[from]);
    let command = &named["first_state_command"];
    assert_eq!(command["height"], heights[from], "{named}");
    assert_eq!(command["index"], index, "{named}");
    assert!(
        command["session"].is_string() && command["seq"].is_u64(),
        "{named}"
    );
    // Without what is within the block, the block.
    other["roots"][from]["within"] = Value::Null;
    let named = against(&other, 0);
    assert_eq!(named["first_state"], heights[from]);
    assert!(named["first_state_command"].is_null(), "{named}");
    other["section"] = "another".into();
    assert_eq!(against(&other, 3)["error"]["kind"], "configuration");
}

#[test]
fn a_wrong_validator_stops_serving_votes_on_and_the_command_is_named() {
    let folder = Folder::new("drift");
    let dir = folder.join("net");
    init(&dir, 4, &["--durability", "async", "--workload", "venue"]);
    let right = make_wrong(&dir);
    let (diverged, height) = run_until_found(&dir);
    bisect(&dir, &diverged);

    // It does not come back by a restart alone, but by the operator's word and a right build.
    let running = cluster(&dir);
    wait_until("it is there and serves nobody", || {
        statuses(&dir).is_some_and(|all| all[WRONG]["diverged"] == diverged)
    });
    assert_eq!(stop(running)[WRONG], Some(4));
    fs::rename(bundle(&dir), folder.join("kept")).unwrap();
    fs::write(config(&dir, WRONG), right).unwrap();
    let running = cluster(&dir);
    load_until(&dir, "it serves again", |all| {
        let attested = all[WRONG]["attested"].as_u64();
        all[WRONG]["diverged"].is_null() && attested > height
    });
    assert_eq!(stop(running), [Some(0); 4]);
}
