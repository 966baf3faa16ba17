//! The measuring commands: what they refuse, and that their reports have the documented keys and
//! sums that hold. Never: judges how fast anything is.

use crate::common;
use crate::common::{run, run_json};
use serde_json::Value;

#[test]
fn measurements_that_cannot_be_end_with_2() {
    for arguments in [
        &["bench", "latency", "--runs", "0"][..],
        &["bench", "latency", "--validators", "1"],
        &["bench", "latency", "--validators", "65"],
        &["bench", "latency", "--rate", "0"],
        &["bench", "latency", "--size", "0"],
        // More commands than are kept of a run.
        &["bench", "latency", "--rate", "100000", "--seconds", "3600"],
        &["bench", "latency", "--seconds", "0"],
        &["bench", "latency", "--durability", "never"],
        &["bench", "throughput", "--auth", "nobody"],
        &["bench", "throughput", "--rate", "1"],
        &[
            "bench",
            "throughput",
            "--rate",
            "2000",
            "--rate-max",
            "1000",
        ],
        &["bench", "throughput", "--runs", "0"],
        &["bench", "latency", "--stopped", "2"],
        &["bench", "latency", "--validators", "6", "--stopped", "3"],
        &["bench", "recovery", "--log-mib", "1"],
        &["bench", "recovery", "--rate", "0"],
        &["bench", "failover", "--kills", "0"],
        &["bench", "failover", "--signal", "hup"],
        &["bench", "failover", "--validators", "3"],
        &["bench", "sweep", "--rate", "1"],
        &["bench", "overload", "--times", "1"],
        &["bench", "overload", "--cancels", "0"],
        &["bench", "overload", "--rate", "1"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

const PERCENTILES: &[&str] = &["p50", "p90", "p99", "p999", "max"];
const STAGES: &[&str] = &[
    "client_wire",
    "queue",
    "propose",
    "wire",
    "hash",
    "journal",
    "vote",
    "count",
    "deliver",
];

fn wants(value: &Value, keys: &[&str]) {
    for key in keys {
        assert!(
            value.get(key).is_some_and(|value| !value.is_null()),
            "{key} of {value}"
        );
    }
}

/// The keys of one durability, and that stages sum to their total.
fn check_latency(figures: &Value) {
    wants(
        figures,
        &[
            "durability",
            "threads",
            "idle",
            "ratio_p50",
            "ratio_p99",
            "fast_path_fraction",
            "spread",
        ],
    );
    for key in ["finality_us", "floor_us", "floor_intended_us", "client_us"] {
        wants(&figures[key], PERCENTILES);
    }
    wants(&figures["other_gateways"]["finality_us"], PERCENTILES);
    wants(&figures["spread"], &["ratio_p50", "ratio_p99"]);
    assert_eq!(figures["state_roots_equal"], true);
    assert_eq!(figures["logs_equal"], true);
    let runs = figures["runs"].as_array().expect("an array");
    assert_eq!(runs.len(), 1);
    assert_eq!(
        (&runs[0]["missing"], &runs[0]["rejected"]),
        (&0.into(), &0.into())
    );
    // Which path blocks went is the machine's; every command is told of.
    let count = |value: &Value| value.as_u64().expect("a count");
    for means in [&runs[0], figures] {
        let (attributed, left) = (count(&means["attributed"]), count(&means["unattributed"]));
        let all = count(&runs[0]["commands"]);
        assert!(all > 0 && attributed + left == all, "{means}");
        // Nothing but the stages stands among them.
        let stages = means["stages_us"].as_object().expect("an object");
        let sum: f64 = stages.values().filter_map(Value::as_f64).sum();
        let names = if attributed == 0 { 0 } else { STAGES.len() };
        assert_eq!(stages.len(), names, "{means}");
        assert!(stages.keys().all(|name| STAGES.contains(&name.as_str())));
        let total = means["stages_total_us"].as_f64().unwrap_or_default();
        assert!((sum - total).abs() <= 1e-6 * total, "{means}");
    }
}

#[test]
fn latency_tells_finality_beside_the_floor_and_stages_that_sum() {
    let arguments = [
        "bench",
        "latency",
        "--runs",
        "1",
        "--seconds",
        "1",
        "--rate",
        "200",
    ];
    let report = run_json(&arguments, 0);
    wants(&report, &["validators", "rate", "size", "seconds", "cores"]);
    assert_eq!(report["durability"], "async");
    check_latency(&report);
    assert_eq!(report["sync"]["durability"], "sync");
    check_latency(&report["sync"]);
    wants(&report["sync"]["group_sync_us"], &["p50_us", "p99_us"]);
    assert!(report.get("group_sync_us").is_none(), "of sync alone");
}

#[test]
fn distributions_are_written_and_one_of_six_may_stand_still() {
    let parent = common::Folder::new("histograms");
    let folder = parent.join("files");
    let arguments = [
        "bench",
        "latency",
        "--runs",
        "1",
        "--seconds",
        "1",
        "--rate",
        "200",
        "--validators",
        "6",
        "--stopped",
        "1",
        "--durability",
        "async",
        "--histograms",
        common::text(&folder),
    ];
    let report = run_json(&arguments, 0);
    assert_eq!(report["stopped"], 1);
    assert_eq!(report["state_roots_equal"], true, "it caught up");
    wants(&report, &["fast_path_fraction", "measured"]);
    wants(&report["measured"]["machine"], &["cores", "cpu", "kernel"]);
    for part in ["floor", "finality", "client"] {
        let curve = report["curves_us"][part].as_array().expect("points");
        assert!(!curve.is_empty());
        let file = folder.join(format!("{part}-async.hgrm"));
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains("1/(1-Percentile)") && text.contains("#[Max"));
    }
    let log = std::fs::read_to_string(folder.join("latency-async.hlog")).unwrap();
    assert!(log.contains("Tag=finality,") && log.contains("#[StartTime:"));
}

#[test]
fn recovery_tells_how_long_a_restart_and_a_blank_disk_take_and_what_clients_saw() {
    let arguments = [
        "bench",
        "recovery",
        "--log-mib",
        "64",
        "--rate",
        "200",
        "--quiet-seconds",
        "1",
    ];
    let report = run_json(&arguments, 0);
    assert!(report["log_bytes"].as_u64() >= Some(64 << 20), "{report}");
    for key in [
        "lost",
        "doubled",
        "unfinished",
        "rejected",
        "conflicting_votes",
        "rewritten",
    ] {
        assert_eq!(report[key], 0, "{key}");
    }
    for phase in ["restart", "join"] {
        let (level, voting) = (&report[phase]["level_ms"], &report[phase]["voting_ms"]);
        assert!(level.as_f64() > Some(0.0) && level.as_f64() <= voting.as_f64());
        assert!(report[phase]["clients"]["goodput_per_s"].as_f64() > Some(0.0));
    }
    wants(
        &report["quiet"],
        &[
            "seconds",
            "goodput_per_s",
            "gap_ms",
            "wait_ms",
            "wait_all_ms",
        ],
    );
    assert_eq!(report["unmeasured"], 0);
    assert!(report["quiet"]["is_open"].is_boolean(), "{report}");
    // Both times run from the start of the process.
    let voting_ms = ["restart", "join"].map(|phase| report[phase]["voting_ms"].as_f64().unwrap());
    let longest_ms = report["recovery_ms"]["max"].as_f64().unwrap();
    let least_ms = voting_ms[0].min(voting_ms[1]);
    assert!(
        longest_ms + 1.0 >= least_ms,
        "{longest_ms} ms, {voting_ms:?}"
    );
    let folder = &report["measured"]["folder"];
    assert!(folder["file_system"].is_string(), "{folder}");
}

#[test]
fn failover_tells_how_long_finality_stayed_away_and_that_nothing_was_lost() {
    let arguments = ["bench", "failover", "--kills", "2", "--rate", "200"];
    let report = run_json(&arguments, 0);
    assert_eq!(report["signal"], "kill");
    assert_eq!(report["stop"]["signal"], "stop");
    for figures in [&report, &report["stop"]] {
        assert_eq!(
            (&figures["kills"], &figures["lost"]),
            (&2.into(), &0.into())
        );
        assert_eq!(figures["unmeasured"], 0);
        assert_eq!(figures["conflicting_votes"], 0);
        for key in ["resume_ms", "wait_ms", "wait_all_ms"] {
            wants(&figures[key], &["p50", "p99", "max"]);
        }
        let max = |key: &str| figures[key]["max"].as_f64();
        assert!(max("wait_all_ms") >= max("wait_ms"), "{figures}");
    }
    assert_eq!(report["processes_killed"], 2);
    assert_eq!(report["stop"]["processes_killed"], 0);
    // A validator that stood still does not come back in the sense of a start.
    assert!(report["recovery_ms"]["max"].as_u64().is_some());
    assert!(report["stop"]["recovery_ms"]["max"].is_null());
}

#[test]
fn a_sweep_tells_what_a_command_costs_from_a_tenth_to_nine_tenths_of_a_rate() {
    let report = run_json(&["bench", "sweep", "--rate", "1000", "--seconds", "1"], 0);
    let steps = report["steps"].as_array().expect("an array");
    assert_eq!(steps.len(), 9);
    for (number, step) in steps.iter().enumerate() {
        assert_eq!(step["load_percent"], 10 * (number + 1));
        wants(
            step,
            &[
                "rate",
                "throughput_per_s",
                "p50_us",
                "p99_us",
                "cpu_us_per_command",
                "messages_per_s",
                "messages_per_command",
            ],
        );
        // Less than one where a slow machine put many commands into each block.
        assert!(step["messages_per_command"].as_f64() > Some(0.0), "{step}");
    }
    assert_eq!(report["state_roots_equal"], true);
}

#[test]
fn a_report_is_made_of_files_and_of_earlier_reports_and_refuses_what_is_none() {
    let folder = common::Folder::new("report");
    let (peers, page) = (folder.join("peers.json"), folder.join("page.html"));
    let systems = r#"{"systems": [{"name": "another one", "rate_borne": 61000,
        "client_us": {"p50": 4321.0}, "about": {"fsync": "never at all"}}]}"#;
    std::fs::write(&peers, systems).unwrap();
    let made = |from: &std::path::Path, code| {
        let arguments = ["bench", "report", "--from", common::text(from)];
        let end = ["--out", common::text(&page), "--commit", "c0ffee"];
        run_json(&[&arguments[..], &end].concat(), code)
    };
    let report = made(&peers, 0);
    assert_eq!(report["sections"], serde_json::json!(["peers"]));
    let html = std::fs::read_to_string(&page).unwrap();
    for part in [
        "another one",
        "61,000",
        "4,321",
        "never at all",
        "c0ffee",
        "quorate bench latency",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert_eq!(
        made(&folder.join("page.json"), 0)["sections"],
        report["sections"]
    );
    for bad in ["{}", "[", ""] {
        std::fs::write(&peers, bad).unwrap();
        let arguments = [
            "bench",
            "report",
            "--from",
            common::text(&peers),
            "--out",
            "x.html",
        ];
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{bad}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("peers.json"));
    }
    assert_eq!(
        run(&["bench", "report", "--out", "x.html"]).status.code(),
        Some(2)
    );
    let nameless = [
        "bench",
        "report",
        "--from",
        common::text(&peers),
        "--out",
        "x",
    ];
    assert_eq!(run(&nameless).status.code(), Some(2));
}

#[test]
fn overload_tells_what_becomes_final_of_many_times_the_peak_and_how_fast_cancels_are() {
    let arguments = [
        "bench",
        "overload",
        "--rate",
        "500",
        "--rate-max",
        "500",
        "--times",
        "4",
        "--cancels",
        "20",
        "--seconds",
        "1",
        "--json",
    ];
    let output = common::quorate().args(arguments).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    wants(
        &report,
        &[
            "peak_per_s",
            "offered_per_s",
            "goodput_per_s",
            "is_saturated",
            "cancel_p99_us_peak",
            "cancel_p99_us_overload",
            "busy_answers",
            "peak",
            "overload",
            "steps",
        ],
    );
    assert_eq!(report["steps"].as_array().map(Vec::len), Some(1));
    // One step shows no peak, so there is nothing that the overload could be a share of.
    assert_eq!(report["is_saturated"], false);
    assert_eq!(report["goodput_ratio"], Value::Null);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        report["overload"]["apart_ms"].as_f64().is_some(),
        "{report}"
    );
    assert_eq!(report["overload"]["missing"], 0);
    assert_eq!(report["overload"]["rejected"], 0);
    assert!(report["overload"]["cancels"].as_u64() > Some(0));
    assert!(
        report["overload"]["cancels_offered"].as_u64() >= report["overload"]["cancels"].as_u64()
    );
    assert_eq!(report["state_roots_equal"], true);
    assert_eq!(report["logs_equal"], true);
}

#[test]
fn throughput_tells_what_was_borne_beside_a_bare_verifier() {
    let arguments = [
        "bench",
        "throughput",
        "--rate",
        "500",
        "--rate-max",
        "500",
        "--runs",
        "1",
        "--seconds",
        "1",
        "--durability",
        "async",
    ];
    // A machine with much else to do may bear nothing; the report is whole all the same.
    let output = common::quorate()
        .args(arguments)
        .arg("--json")
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    wants(
        &report,
        &["auth", "durability", "rate", "steps", "threads", "idle"],
    );
    assert_eq!(report["auth"], "session");
    assert_eq!(report["state_roots_equal"], true);
    assert_eq!(report["logs_equal"], true);
    assert!(report.get("sync").is_none());
    let steps = report["steps"].as_array().unwrap();
    let is_served = |step: &Value| step["throughput_per_s"].as_f64() > Some(0.0);
    assert!(steps.iter().any(is_served), "{report}");
    if report["rate"].as_u64() > Some(0) {
        assert_eq!(output.status.code(), Some(0));
        wants(
            &report,
            &[
                "throughput_per_s",
                "p99_us",
                "verifier_rate_per_s",
                "ratio_to_verifier",
                "cpu_us_per_command",
            ],
        );
    } else {
        assert_eq!(output.status.code(), Some(1));
    }
}
