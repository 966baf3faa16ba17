//! The simulator from the command line.

mod common;

use common::{Folder, quorate, run, run_json};

#[test]
fn a_few_worlds_are_good_and_the_same_seeds_do_the_same() {
    let arguments = [
        "sim",
        "--seeds",
        "0..2",
        "--validators",
        "4",
        "--scenario",
        "calm",
    ];
    let first = run_json(&arguments, 0);
    assert_eq!(
        (&first["seeds"], &first["violations"], &first["stuck"]),
        (&2.into(), &0.into(), &0.into())
    );
    assert!(first["finalized"].as_u64().unwrap() > 0);
    assert!(
        first["faults"]
            .as_object()
            .unwrap()
            .values()
            .all(serde_json::Value::is_u64)
    );
    assert!(first["faults"]["frames_sent"].as_u64() > Some(0), "{first}");
    assert!(first["blocks_per_s"].as_f64() > Some(0.0), "{first}");
    let timeless = |mut report: serde_json::Value| {
        let report = report.as_object_mut().unwrap();
        assert!(report.remove("wall_s").is_some() && report.remove("blocks_per_s").is_some());
        report.clone()
    };
    assert_eq!(timeless(run_json(&arguments, 0)), timeless(first));
}

#[test]
fn one_world_can_be_told() {
    let output = quorate()
        .args([
            "sim",
            "--seeds",
            "3..4",
            "--scenario",
            "calm",
            "--tell",
            "--json",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(!output.stderr.is_empty());
    assert_eq!(
        run(&["sim", "--seeds", "3..5", "--tell"]).status.code(),
        Some(2)
    );
}

#[test]
fn a_small_world_is_explored_to_its_end() {
    let one = run_json(&["sim", "--exhaustive", "--slots", "1"], 0);
    let expected = serde_json::json!({
        "schema": 1,
        "validators": 4,
        "slots": 1,
        "fault": 1,
        "slack": 0,
        "stakes": [1, 1, 1, 1],
        "method": "states",
        "violations": 0,
        "stuck": 0,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&one[key], value, "{key}");
    }
    assert!(one["states"].as_u64() > Some(1_000), "{one}");
    for refused in ["--slots=4", "--seeds=0..1"] {
        let output = run(&["sim", "--exhaustive", refused]);
        assert_eq!(output.status.code(), Some(2), "{refused}");
    }
}

#[test]
fn a_script_prints_its_trace_and_a_failed_expectation_ends_with_one() {
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/../../engine/sim/scripts");
    let script = format!("{scripts}/slow_path.script");
    let output = run(&["sim", "--script", &script]);
    assert_eq!(output.status.code(), Some(0));
    let trace = std::fs::read_to_string(format!("{scripts}/slow_path.trace")).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), trace);

    let folder = Folder::new("script");
    let wrong = folder.join("wrong.script");
    std::fs::write(&wrong, "validators 4\n\nexpect v0 window 1\n").unwrap();
    let told = run_json(&["sim", "--script", wrong.to_str().unwrap()], 1);
    let failure = told["failure"].as_str().unwrap();
    assert!(
        failure.ends_with("wrong.script:3: expected window 1 at v0, found window 0"),
        "{failure}"
    );
}
