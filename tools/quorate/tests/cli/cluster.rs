//! A testnet as an operator runs it: load, a crash, the return, the logs afterwards.

use crate::common::{
    Folder, STOP, init, json_of, quorate, run_json, running_below, text, wait_until,
};
use quorate_bench::cluster::{Cluster, Launch};
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;

/// The validators of a testnet, each a process of its own.
fn cluster(dir: &Path, validators: usize) -> Cluster {
    let launch = |index| Launch {
        program: env!("CARGO_BIN_EXE_quorate").into(),
        arguments: vec![
            "node".to_owned(),
            "--leash".to_owned(),
            "--config".to_owned(),
            text(&dir.join(format!("validator-{index:02}/quorate.toml"))).to_owned(),
        ],
    };
    Cluster::new((0..validators).map(launch).collect(), Arc::new(|_, _| ()))
}

fn status(dir: &Path) -> Option<Value> {
    let output = quorate()
        .args(["status", "--json", "--dir", text(dir)])
        .args(["--timeout-ms", "60000"])
        .output()
        .unwrap();
    output.status.success().then(|| json_of(&output, 0))
}

/// Whether all answer, are connected to all, and stand at one height.
fn is_settled(dir: &Path) -> bool {
    let Some(status) = status(dir) else {
        return false;
    };
    let all = status["validators"].as_array().unwrap().clone();
    all.iter().all(|one| {
        one["connected"].as_u64() == Some(all.len() as u64 - 1) && one["height"] == all[0]["height"]
    })
}

fn load_arguments<'a>(dir: &'a Path, seconds: &'a str) -> Vec<&'a str> {
    vec![
        "load",
        "--dir",
        text(dir),
        "--rate",
        "300",
        "--seconds",
        seconds,
    ]
}

/// Runs a load; kills validator 1 when the load tells that commands become final.
fn load_with_a_crash(dir: &Path, cluster: &mut Cluster) -> Output {
    let mut child = quorate()
        .args(load_arguments(dir, "4"))
        .arg("--json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().contains("finalized")),
        "the load did not begin"
    );
    assert_eq!(cluster.kill(1).unwrap().code(), None);
    lines.for_each(drop);
    child.wait_with_output().unwrap()
}

#[test]
fn a_validator_that_is_killed_costs_no_command_and_comes_back() {
    let folder = Folder::new("crash");
    let dir = folder.join("net");
    init(&dir, 4, &["--durability", "async", "--workload", "opaque"]);
    let mut cluster = cluster(&dir, 4);
    cluster.start_all().unwrap();
    wait_until("all validators answer", || is_settled(&dir));

    let report = json_of(&load_with_a_crash(&dir, &mut cluster), 1);
    assert_eq!(report["gateways_lost"], 1, "{report}");
    assert_eq!(report["accepted"], report["finalized"], "{report}");
    assert_eq!(report["offered"], report["finalized"], "{report}");
    let differences = report["differences"].to_string();
    assert!(differences.contains("validator 1"), "{differences}");

    let broken = run_json(&["status", "--dir", text(&dir), "--timeout-ms", "60000"], 1);
    assert!(broken["validators"][1]["error"].is_string(), "{broken}");
    assert!(
        broken["validators"][0]["height"].as_u64().unwrap() > 0,
        "{broken}"
    );

    cluster.start(1).unwrap();
    wait_until("validator 1 has caught up", || is_settled(&dir));
    let report = run_json(&load_arguments(&dir, "1")[..], 0);
    assert_eq!(
        (&report["state_roots_equal"], &report["logs_equal"]),
        (&true.into(), &true.into())
    );
    let height = report["state_height"].as_u64().unwrap();

    for ended in cluster.stop_all(STOP).unwrap() {
        assert_eq!(ended.status.code(), Some(0), "validator {}", ended.index);
    }
    logs_are_whole_and_a_flipped_bit_is_found(&dir, height);
    a_damaged_log_heals(&dir, &mut cluster, height);
}

/// All logs are whole and hold the same blocks; the heights at which they end.
fn logs_are_whole(dir: &Path, height: u64) -> Vec<u64> {
    let validator = |index: u32| dir.join(format!("validator-{index:02}"));
    let mut tops = Vec::new();
    for index in 0..4 {
        let report = run_json(&["log", "verify", text(&validator(index))], 0);
        assert!(report["height"].as_u64() >= Some(height), "{report}");
        assert_eq!(report["blocks"], report["height"]);
        assert_eq!(report["clean_stop"], true);
        assert!(
            report["certificates_verified"].as_u64().unwrap() > 0,
            "{report}"
        );
        assert_eq!(report["faulty"].as_array().unwrap().len(), 0);
        tops.push(report["height"].as_u64().unwrap());
    }
    // One may have stopped a block before another.
    let common = tops.iter().min().unwrap().to_string();
    let tip = |index| {
        let dir = validator(index);
        let show = [
            "log",
            "show",
            text(&dir),
            "--from",
            &common,
            "--to",
            &common,
        ];
        run_json(&show, 0)["blocks"][0]["id"].clone()
    };
    let tips: Vec<Value> = (0..4).map(tip).collect();
    assert!(tips.iter().all(|tip| tip.is_string() && *tip == tips[0]));
    tops
}

fn logs_are_whole_and_a_flipped_bit_is_found(dir: &Path, height: u64) {
    let validator = |index: u32| dir.join(format!("validator-{index:02}"));
    let tops = logs_are_whole(dir, height);
    let data = validator(2).join("data");
    for accepted in [data.clone(), data.join("log")] {
        assert_eq!(
            run_json(&["log", "verify", text(&accepted)], 0)["height"],
            tops[2]
        );
    }
    let shown = run_json(&["log", "show", text(&data), "--from", "1", "--to", "3"], 0);
    let heights: Vec<_> = shown["blocks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| &b["height"])
        .collect();
    assert_eq!(heights, [1, 2, 3]);
    assert_eq!(shown["blocks"][1]["parent"], shown["blocks"][0]["id"]);

    let path = data.join("log/segment-0000000000");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let report = run_json(&["log", "verify", text(&validator(2))], 5);
    let faulty = &report["faulty"][0];
    assert_eq!(
        (&faulty["segment"], &faulty["kind"]),
        (&0.into(), &"faulty".into()),
        "{report}"
    );
    assert!(
        faulty["offset"].as_u64().unwrap() as usize <= middle,
        "{report}"
    );
    assert!(report["height"].as_u64().unwrap() < height);
    assert!(
        report["next"]
            .as_str()
            .unwrap()
            .contains("start the validator"),
        "{report}"
    );

    // The log of one validator, held against another genesis.
    let (own, other) = (validator(0), dir.join("other-genesis.json"));
    let genesis = fs::read_to_string(dir.join("genesis.json")).unwrap();
    fs::write(&other, format!("{genesis} ")).unwrap();
    let arguments = ["log", "verify", text(&own), "--genesis", text(&other)];
    assert_eq!(run_json(&arguments, 3)["faulty"][0]["kind"], "foreign");
}

/// A start marks the damage and fetches what it took; all logs are equal again afterwards.
fn a_damaged_log_heals(dir: &Path, cluster: &mut Cluster, height: u64) {
    cluster.start_all().unwrap();
    wait_until("validator 2 has healed", || is_settled(dir));
    let report = run_json(&load_arguments(dir, "1")[..], 0);
    assert_eq!(report["logs_equal"], true, "{report}");
    for ended in cluster.stop_all(STOP).unwrap() {
        assert_eq!(ended.status.code(), Some(0), "validator {}", ended.index);
    }
    let report = run_json(&["log", "verify", text(&dir.join("validator-02"))], 0);
    assert_eq!(report["marked"][0]["kind"], "marked", "{report}");
    assert!(report["height"].as_u64().unwrap() > height, "{report}");
}

#[test]
fn testnet_up_runs_all_validators_until_it_is_told_to_stop() {
    let folder = Folder::new("up");
    let dir = folder.join("net");
    init(&dir, 4, &["--durability", "async"]);
    let mut child = quorate()
        .args(["testnet", "up", "--json", "--dir", text(&dir)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let reader = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
    wait_until("all validators answer", || is_settled(&dir));
    let second = run_json(
        &[
            "node",
            "--config",
            text(&dir.join("validator-00/quorate.toml")),
        ],
        75,
    );
    assert!(
        second["error"]["what"].as_str().unwrap().contains("data"),
        "{second}"
    );

    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let report = json_of(&child.wait_with_output().unwrap(), 0);
    let ends = report["validators"].as_array().unwrap();
    assert!(
        ends.len() == 4 && ends.iter().all(|end| end["exit_code"] == 0),
        "{report}"
    );
    assert!(running_below(&dir).is_empty());
    let lines = reader.join().unwrap();
    for index in 0..4 {
        let prefix = format!("validator-{index:02} | ");
        assert!(
            lines.iter().any(|line| line.starts_with(&prefix)),
            "no line of {prefix}"
        );
        for told in [
            "N=4 F=1 P=0 C=0 Q=3 FAST=4",
            "validators whose loss stops the fast path: 0, 1, 2, 3; all progress: none",
        ] {
            assert!(
                lines
                    .iter()
                    .any(|line| line.starts_with(&prefix) && line.contains(told)),
                "{prefix} does not say {told}: {lines:?}"
            );
        }
    }
}
