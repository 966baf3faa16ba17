//! The measuring commands: what they refuse, and that their reports have the documented keys and
//! sums that hold. Never: judges how fast anything is.

mod common;

use common::{run, run_json};
use serde_json::Value;

#[test]
fn measurements_that_cannot_be_end_with_2() {
    for arguments in [
        &["bench", "latency", "--runs", "0"][..],
        &["bench", "latency", "--validators", "1"],
        &["bench", "latency", "--validators", "65"],
        &["bench", "latency", "--rate", "0"],
        &["bench", "latency", "--size", "0"],
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
    for key in ["finality_us", "floor_us", "client_us"] {
        wants(&figures[key], PERCENTILES);
    }
    wants(&figures["other_gateways"]["finality_us"], PERCENTILES);
    wants(&figures["spread"], &["ratio_p50", "ratio_p99"]);
    assert_eq!(figures["state_roots_equal"], true);
    assert_eq!(figures["logs_equal"], true);
    let runs = figures["runs"].as_array().expect("an array");
    assert_eq!(runs.len(), 1);
    // Which path blocks went is the machine's; every command is told of.
    let count = |value: &Value| value.as_u64().expect("a count");
    let attributed = count(&runs[0]["stages_us"]["commands"]);
    let (all, left) = (count(&runs[0]["commands"]), count(&runs[0]["unattributed"]));
    assert!(all > 0 && attributed + left == all, "{}", runs[0]);
    for means in runs
        .iter()
        .map(|run| &run["stages_us"])
        .chain([&figures["stages_us"]])
    {
        let sum: f64 = STAGES
            .iter()
            .map(|stage| means[*stage].as_f64().expect("a number"))
            .sum();
        let total = means["total"].as_f64().expect("a number");
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
            "goodput_ratio",
            "cancel_p99_us_peak",
            "cancel_p99_us_overload",
            "busy_answers",
            "peak",
            "overload",
            "steps",
        ],
    );
    assert_eq!(report["steps"].as_array().map(Vec::len), Some(1));
    assert_eq!(report["overload"]["missing"], 0);
    assert!(report["overload"]["cancels"].as_u64() > Some(0));
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
