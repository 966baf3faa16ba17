//! A few kills by the harness, as an operator runs it: a slice of what docs/verification.md
//! records in full.

use crate::common::{SHORT_SEGMENTS, quorate, run_json};

fn series(arguments: &[&str]) -> serde_json::Value {
    let mut all = vec!["bench", "crash", "--workload", "opaque", "--rate", "100"];
    all.extend(SHORT_SEGMENTS);
    all.extend(arguments);
    let report = run_json(&all, 0);
    for broken in [
        "lost",
        "doubled",
        "unfinished",
        "rejected",
        "conflicting_votes",
        "rewritten",
    ] {
        assert_eq!(report[broken], 0, "{broken}: {report}");
    }
    assert!(report["acknowledged"].as_u64().unwrap() > 0, "{report}");
    assert!(report["vote_records"].as_u64().unwrap() > 0, "{report}");
    assert!(
        report["recovery_ms"]["max"].as_u64().unwrap() > 0,
        "{report}"
    );
    report
}

#[test]
fn one_validator_after_the_other_is_killed_twice_and_nothing_is_lost() {
    let report = series(&["--kills", "2", "--double"]);
    assert_eq!(
        (&report["kills"], &report["processes_killed"]),
        (&2.into(), &4.into())
    );
}

#[test]
fn all_validators_are_killed_at_once_and_nothing_is_lost() {
    let report = series(&["--kills", "2", "--all", "--durability", "async"]);
    assert_eq!(report["processes_killed"], 8);
}

#[test]
fn old_backups_are_put_back_while_the_others_run_and_what_was_said_is_judged() {
    let mut all = vec!["bench", "crash", "--restores", "3"];
    all.extend(["--workload", "opaque", "--rate", "100", "--json"]);
    all.extend(SHORT_SEGMENTS);
    let output = quorate().args(all).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |key: &str| report[key].as_u64().unwrap();
    assert_eq!((count("restores"), count("processes_killed")), (3, 3));
    let broken = ["lost", "doubled", "unfinished", "rejected", "rewritten"];
    for broken in broken.into_iter().chain(["conflicting_votes"]) {
        assert_eq!(count(broken), 0, "{broken}: {report}");
    }
    assert!(count("found_old") + count("refused") <= 3, "{report}");
    assert!(count("acknowledged") > 0 && count("vote_records") > 0);
    assert_eq!(report["differences"], serde_json::json!([]));
    assert!(output.status.success());
}

#[test]
fn a_disk_that_refuses_a_sync_ends_a_validator_and_nothing_told_is_lost() {
    let traces = std::process::Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .status()
        .is_ok_and(|status| status.success());
    if !traces {
        eprintln!("skipped: this machine has no strace, or it may not trace");
        return;
    }
    let mut all = vec!["bench", "syncs", "--rate", "50"];
    // Whose disk refused says nothing in the window that the others are in.
    all.extend(["--window-slots", "64"]);
    all.extend(SHORT_SEGMENTS);
    // Of the log one that each start comes to and one of a life; one beside it.
    for only in ["lease.new by main", "segment-N by main", "data.new"] {
        all.extend(["--only", only]);
    }
    let report = run_json(&all, 0);
    let count = |key: &str| report[key].as_u64().unwrap();
    assert_eq!(
        (count("lost"), count("conflicting_votes")),
        (0, 0),
        "{report}"
    );
    assert!(count("acknowledged") > 0 && count("vote_records") > 0);
    let places = report["sync_places"].as_array().unwrap();
    for (call, file, end) in [
        ("msync", "data/log/segment-N", "eio exit 70"),
        ("fsync", "data/log/lease.new", "kill signal 9"),
        (
            "fsync",
            "data/snapshots/snapshot-N.data.new",
            "eio went on with an alarm",
        ),
    ] {
        let is_met = |place: &&serde_json::Value| {
            place["call"] == call && place["file"] == file && place["ends"][end].is_u64()
        };
        assert!(
            places.iter().any(|place| is_met(&place)),
            "{call} of {file}: {end}: {report}"
        );
    }
    let recovery = report["recovery_ms"]["max"].as_u64();
    assert!(recovery > Some(0), "returns are timed: {report}");
}

#[test]
fn snapshots_of_a_long_state_are_taken_under_load_and_their_times_told() {
    let mut all = vec!["bench", "snapshot", "--state-mib", "16", "--rate", "400"];
    // The stretch before the first taking alone has enough results, whatever a taking lasts.
    all.extend(["--seconds", "6", "--every-heights", "256"]);
    let report = run_json(&all, 0);
    assert!(report["snapshots"].as_u64() >= Some(4), "{report}");
    let bytes = report["snapshot_bytes"].as_u64();
    assert!(bytes > Some(16 << 20), "{report}");
    assert_eq!(report["alarms"], 0, "{report}");
    for time in [
        &report["during"]["client_ms"]["p99"],
        &report["during"]["pause_ms"]["max"],
        &report["take_ms"]["p50"],
        &report["start_ms"],
    ] {
        assert!(time.as_f64() > Some(0.0), "{report}");
    }
    let memory = report["memory_peak_bytes"].as_u64();
    assert!(
        memory > bytes.map(|bytes| 2 * bytes),
        "two states: {report}"
    );
}
