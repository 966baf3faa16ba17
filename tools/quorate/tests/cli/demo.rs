//! The demo: what it reports, and that it leaves nothing behind however it ends.

use crate::common::{
    Folder, json_of, quorate, run, run_json, running_below, text, validator, wait_until,
};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const KEYS: &[&str] = &[
    "validators",
    "weights",
    "fault_weight",
    "fast_slack",
    "seconds",
    "offered",
    "accepted",
    "busy",
    "rejected",
    "finalized",
    "throughput_per_s",
    "finality_us",
    "client_us",
    "fast_path_fraction",
    "blocks",
    "state_roots_equal",
    "logs_equal",
    "durability",
    "threads",
    "idle",
];

#[test]
fn a_short_demo_of_the_venue_agrees_and_reports_every_key() {
    let folder = Folder::new("demo");
    let hgrm = folder.join("client.hgrm");
    let report = run_json(
        &[
            "demo",
            "--seconds",
            "2",
            "--rate",
            "500",
            "--dir",
            text(&folder.join("")),
            "--hgrm",
            text(&hgrm),
        ],
        0,
    );
    for key in KEYS {
        assert!(report.get(key).is_some(), "{key} is missing: {report}");
    }
    assert_eq!(
        (&report["state_roots_equal"], &report["logs_equal"]),
        (&true.into(), &true.into())
    );
    assert_eq!(
        (&report["durability"], &report["workload"]),
        (&"sync".into(), &"venue".into())
    );
    assert_eq!(
        (&report["validators"], &report["fault_weight"]),
        (&4.into(), &1.into())
    );
    let count = |key: &str| report[key].as_u64().unwrap();
    assert!(count("finalized") > 0 && count("blocks") > 0, "{report}");
    assert_eq!(count("accepted"), count("finalized"), "{report}");
    assert_eq!(
        count("offered"),
        count("finalized") + count("unsent"),
        "{report}"
    );
    for which in ["finality_us", "client_us"] {
        let at = |key: &str| report[which][key].as_f64().unwrap();
        assert!(
            at("p50") > 0.0 && at("p50") <= at("p99") && at("p99") <= at("max"),
            "{report}"
        );
    }
    let lines = std::fs::read_to_string(&hgrm).unwrap();
    assert!(
        lines.trim_start().starts_with("Value") && lines.contains("#[Mean"),
        "{lines}"
    );
    assert_eq!(
        std::fs::read_dir(folder.join("")).unwrap().count(),
        1,
        "more than the .hgrm is left"
    );
}

#[test]
fn the_exchange_settles_to_zero_while_a_validator_is_killed_and_comes_back() {
    let folder = Folder::new("demo-exchange");
    let dir = folder.join("");
    let arguments = [
        "demo",
        "--workload",
        "exchange",
        "--seconds",
        "8",
        "--rate",
        "200",
        "--dir",
        text(&dir),
        "--keep",
    ];
    let report = run_json(&arguments, 0);
    for key in KEYS {
        assert!(report.get(key).is_some(), "{key} is missing: {report}");
    }
    assert_eq!(report["workload"], "exchange");
    let count = |key: &str| report[key].as_i64().unwrap();
    assert_eq!((count("settled"), count("settlement_sum")), (4, 0));
    assert!(count("settled_amount") > 0, "one is always in the money");
    assert!(count("exercised_lots") > 0 && count("audits") > 0);
    for key in ["exactly_once", "rejoined", "state_roots_equal"] {
        assert_eq!(report[key], true, "{key}: {report}");
    }
    assert!(report["killed"].is_u64(), "four of weight 1 spare one");
    assert!(count("acknowledged") >= count("finalized"));
    let prices = &report["prices"];
    let rounds = |state: &str| prices[state].as_u64().unwrap();
    assert!(rounds("fresh") >= 3, "a fixing needs three: {prices}");
    assert!(count("release_skew_results") > 0);
    assert!(count("public_skew_events") > 0);
    let skew = |key: &str| report["release_skew_us"][key].as_f64().unwrap();
    assert!(skew("p50") <= skew("p99") && skew("p99") <= skew("max"));
    let kept: Vec<_> = std::fs::read_dir(&dir).unwrap().collect();
    let [Ok(kept)] = kept.as_slice() else {
        panic!("one folder is kept: {kept:?}");
    };
    let heights = fixings_are_counted_anew(&validator(&kept.path().join("testnet"), 0));
    assert_eq!(report["audits"], heights.div_ceil(64), "the end is one");
}

/// Gives the last height of the log.
fn fixings_are_counted_anew(dir: &Path) -> u64 {
    let replay = ["log", "replay", "--fixings", text(dir)];
    let fixings = run_json(&replay, 0);
    let settlements = fixings["settlements"].as_array().unwrap();
    assert_eq!(settlements.len(), 4, "{fixings}");
    for one in settlements {
        assert_eq!(one["equal"], true, "{one}");
        assert_eq!(one["counted"], one["price"], "{one}");
        let rounds = one["rounds"].as_array().unwrap();
        let taken = rounds.iter().filter(|round| round["taken"] == true);
        assert_eq!(one["samples"], taken.count(), "{one}");
        let within = |round: &Value| round["round"].as_u64() >= one["first_round"].as_u64();
        assert!(rounds.iter().all(within), "{one}");
    }
    assert!(fixings["deferrals"].is_array(), "{fixings}");
    let table = run(&replay);
    let table = String::from_utf8_lossy(&table.stdout);
    assert_eq!(table.matches("| yes ").count(), 4, "{table}");
    fixings["height"].as_u64().unwrap()
}

#[test]
fn opaque_commands_of_any_weights_agree_too() {
    let folder = Folder::new("opaque");
    let report = run_json(
        &[
            "demo",
            "--seconds",
            "1",
            "--rate",
            "400",
            "--workload",
            "opaque",
            "--size",
            "64",
            // Every session has one after it.
            "--seed",
            "18446744073709551615",
            "--weights",
            "40,25,15,10,10",
            "--fault-weight",
            "15",
            "--fast-slack",
            "27",
            "--durability",
            "async",
            "--dir",
            text(&folder.join("")),
        ],
        0,
    );
    assert_eq!(report["offered"], 400);
    assert_eq!(report["weights"], serde_json::json!([40, 25, 15, 10, 10]));
    assert_eq!(report["logs_equal"], true);
}

/// Starts a long demo below `dir` and waits until its load runs.
fn start_long(dir: &Path) -> Child {
    let mut child = quorate()
        .args([
            "demo",
            "--seconds",
            "600",
            "--rate",
            "200",
            "--json",
            "--durability",
            "async",
        ])
        .args(["--dir", text(dir)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let runs = lines.any(|line| line.unwrap().contains("finalized"));
    assert!(runs, "the load did not begin");
    // Kept flowing, so that the demo does not wait for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn an_interrupted_demo_still_compares_and_leaves_nothing() {
    let folder = Folder::new("interrupted");
    let dir = folder.join("");
    let child = start_long(&dir);
    assert_eq!(running_below(&dir).len(), 5, "the demo and its validators");
    signal(&child, Signal::INT);
    let report = json_of(&child.wait_with_output().unwrap(), 0);
    assert_eq!(
        (&report["state_roots_equal"], &report["logs_equal"]),
        (&true.into(), &true.into())
    );
    assert!(running_below(&dir).is_empty());
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
}

/// What did not end well is what somebody wants to look at.
#[test]
fn a_demo_that_fails_leaves_the_folder_that_is_to_be_kept() {
    let folder = Folder::new("kept");
    let dir = folder.join("");
    let hgrm = ["--hgrm", "/dev/full", "--dir", text(&dir), "--keep"];
    let short = ["demo", "--seconds", "1", "--rate", "200"];
    let failed = run(&[&short[..], &hgrm].concat());
    assert_eq!(failed.status.code(), Some(75));
    let told = String::from_utf8_lossy(&failed.stderr);
    assert!(told.contains("--hgrm /dev/full"), "{told}");
    let kept = std::fs::read_dir(&dir).unwrap().next().unwrap().unwrap();
    assert!(kept.path().join("testnet/genesis.json").is_file());
    assert!(
        told.contains(&kept.path().display().to_string()),
        "it is said where it is: {told}"
    );
    assert!(running_below(&dir).is_empty());
}

#[test]
fn validators_do_not_outlive_a_demo_that_is_killed() {
    let folder = Folder::new("killed");
    let dir = folder.join("");
    let mut child = start_long(&dir);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the validators end", || running_below(&dir).is_empty());
}
