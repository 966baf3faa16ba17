//! The simulator from the command line.

use std::path::Path;

use crate::common;
use crate::common::{Folder, quorate, run, run_json};

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
fn what_byzantine_validators_did_is_said_of_a_sweep_and_of_a_night() {
    let named = ["--byzantine", "time-liar", "--seeds", "0..2"];
    let alone = run_json(&[&["sim"], &named[..]].concat(), 0);
    let deeds = &alone["byzantine"]["actors"]["time-liar"]["deeds"];
    assert!(deeds["rigged"]["clock"].as_u64() > Some(0), "{alone}");
    assert_eq!(alone["inert"], serde_json::json!([]));
    // Of 14,000 seeds: the same two.
    let part = ["--nightly", "--part", "time-liar-4", "--percent", "0.0143"];
    let night = run_json(&[&["sim"], &part[..], &["--seeds", "0..1"]].concat(), 0);
    let sweep = &night["sweeps"][0];
    assert_eq!(sweep["actors"], alone["byzantine"]["actors"], "{night}");
    assert_eq!(sweep["inert"], alone["inert"]);
}

#[test]
fn pieces_of_a_night_are_added_up_and_what_is_no_piece_is_refused() {
    let folder = Folder::new("sum");
    let piece = |from: &str| {
        let part = ["sim", "--nightly", "--part", "twins-4", "--percent", "5"];
        let printed = run(&[&part[..], &["--seeds", from, "--json"]].concat());
        let file = folder.join(from);
        std::fs::write(&file, printed.stdout).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (one, other) = (piece("0..1"), piece("2..3"));
    let all = run_json(&["sim", "--sum", &one, &other], 0);
    let sweep = &all["sweeps"][0];
    assert_eq!((&all["pieces"], &sweep["seeds"]), (&2.into(), &4.into()));
    let played = |file: &String| {
        let text = std::fs::read_to_string(file).unwrap();
        let piece: serde_json::Value = serde_json::from_str(&text).unwrap();
        let played = &piece["sweeps"][0]["actors"]["twins"]["played"];
        played.as_u64().unwrap()
    };
    let together = played(&one) + played(&other);
    assert_eq!(sweep["actors"]["twins"]["played"], together, "{all}");
    assert!(together >= 4, "{all}");
    assert!(sweep["faults"]["frames_sent"].as_u64() > Some(0), "{all}");

    let calm = run(&["sim", "--seeds", "0..1", "--scenario", "calm", "--json"]);
    let foreign = folder.join("foreign");
    std::fs::write(&foreign, calm.stdout).unwrap();
    let (foreign, absent) = (foreign.to_str().unwrap(), "no such file");
    for (second, what) in [
        (one.as_str(), "are in part the same"),
        (foreign, "no report of a night"),
        (absent, absent),
    ] {
        let refused = run_json(&["sim", "--sum", &one, second], 2);
        let told = refused["error"]["what"].as_str().unwrap();
        assert!(told.contains(second) && told.contains(what), "{told}");
    }
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
    // What is no script is a file of input like any other.
    std::fs::write(&wrong, "validators 4\nnonsense\n").unwrap();
    let told = run_json(&["sim", "--script", wrong.to_str().unwrap()], 2);
    let what = told["error"]["what"].as_str().unwrap();
    assert!(what.contains("wrong.script:2"), "{what}");
}

fn checked(file: &Path, code: i32) -> serde_json::Value {
    let arguments = ["sim", "--commands", "5", "--check-against"];
    run_json(&[&arguments[..], &[common::text(file)]].concat(), code)
}

/// The prediction that a measurement with that median is held against.
fn against(file: &Path, measured: f64, code: i32, more: &str) -> serde_json::Value {
    let text = format!(
        r#"{{"validators": 4, "size": 128, "durability": "async", {more}
            "finality_us": {{"p50": {measured}}}}}"#
    );
    std::fs::write(file, text).unwrap();
    let report = checked(file, code);
    let row = report.pointer("/predictions/0").cloned();
    row.unwrap_or_default()
}

fn predicted(row: &serde_json::Value) -> f64 {
    row["finality_us"]["p50"].as_f64().unwrap()
}

#[test]
fn finality_is_predicted_from_ways_and_costs_and_held_against_a_measurement() {
    let report = run_json(
        &[
            "sim",
            "--latency",
            "hall",
            "metro",
            "--validators",
            "6",
            "--commands",
            "5",
        ],
        0,
    );
    let predictions = report["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 2);
    let p50 = |place: usize| predictions[place]["finality_us"]["p50"].as_f64().unwrap();
    assert!(p50(0) > 10.0 && p50(1) > p50(0), "{report}");
    let folder = Folder::new("predict");
    let file = folder.join("latency.json");
    let against = |measured, code, more: &str| against(&file, measured, code, more);
    let off = against(1e6, 1, "");
    assert_eq!(
        (&off["is_close"], &off["cores"]),
        (&false.into(), &serde_json::Value::Null)
    );
    let close = against(predicted(&off) * 1.2, 0, "");
    assert_eq!(close["is_close"], true);
    // Its validators share what its machine has.
    let shared = against(
        1e6,
        1,
        r#""measured": {"machine": {"cores": 1}}, "cores": 9,"#,
    );
    assert_eq!(shared["cores"], 1);
    assert!(predicted(&shared) > 1.5 * predicted(&off), "{shared} {off}");
    assert_eq!(against(1e6, 1, r#""cores": 2,"#)["cores"], 2);
    for more in [
        r#""cores": "two","#,
        r#""cores": 0,"#,
        r#""measured": {"machine": {"cores": 0.5}},"#,
    ] {
        against(1e6, 2, more);
    }
}

#[test]
fn a_measurement_is_held_against_a_prediction_of_what_it_is_of() {
    let folder = Folder::new("predict-of");
    let file = folder.join("latency.json");
    let against = |measured, code, more: &str| {
        against(&file, measured, code, &format!(r#""cores": 2, {more}"#))
    };
    let off = against(1e6, 1, "");
    let measured = predicted(&off);
    for more in [
        r#""rate": 0,"#,
        r#""rate": "many","#,
        r#""rate": 1000000,"#,
        r#""differences": ["the chain differs"],"#,
        r#""runs": [{"offered": 9, "missing": 0}, {"offered": 9, "missing": 1}],"#,
        r#""runs": [{"offered": 9, "unsent": 9}],"#,
    ] {
        against(measured, 2, more);
    }
    // Who has a command each quarter of a millisecond does not rest between two.
    let often = against(200.0, 1, r#""rate": 4000,"#);
    assert!(predicted(&often) < 0.5 * measured, "{often} {off}");
    let alike = r#""rate": 200, "idle": "park", "threads": "shared", "differences": [],"#;
    let alike = against(measured, 0, alike);
    assert_eq!(alike["unlike"], serde_json::Value::Null);
    let lingers = against(measured, 0, r#""idle": "linger","#);
    assert_eq!(lingers["unlike"][0], "idle: linger, and park in the model");
}

/// A disk whose sync takes longer than a command's interval says nothing of the other half.
#[test]
fn half_a_measurement_that_cannot_be_compared_does_not_take_the_other_half_with_it() {
    let folder = Folder::new("predict-half");
    let file = folder.join("latency.json");
    let measured = predicted(&against(&file, 1e6, 1, r#""cores": 2,"#));
    let late = r#"{"durability": "sync", "finality_us": {"p50": 9e6}}"#;
    let lost = r#"{"durability": "sync", "finality_us": {"p50": 1},
                   "runs": [{"offered": 9, "missing": 1}]}"#;
    for (sync, why) in [(late, "lower --rate"), (lost, "`missing`")] {
        let more = format!(r#""cores": 2, "rate": 200, "sync": {sync},"#);
        let row = against(&file, measured, 1, &more);
        assert_eq!(
            (&row["is_close"], &row["durability"]),
            (&true.into(), &"async".into())
        );
        let report = checked(&file, 1);
        assert_eq!(report["predictions"].as_array().map(Vec::len), Some(1));
        let refused = report["refused"].as_array().unwrap();
        assert_eq!(
            (refused.len(), &refused[0]["durability"]),
            (1, &"sync".into())
        );
        let told = refused[0]["why"].as_str().unwrap();
        assert!(told.contains(why), "{told}");
        let text = run(&[
            "sim",
            "--commands",
            "5",
            "--check-against",
            common::text(&file),
        ]);
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        assert!(text.contains("sync: NOT COMPARED: "), "{text}");
        // With nothing left to compare it is no measurement for this.
        against(&file, 9e6, 2, &more);
    }
}

#[test]
fn a_prediction_that_cannot_be_made_ends_with_2_and_names_the_line() {
    let folder = Folder::new("predict-bad");
    let file = folder.join("ways.txt");
    std::fs::write(&file, "places a b\na 1 2\nb 0 1\n").unwrap();
    let output = run(&["sim", "--latency", common::text(&file)]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 3"));
    for arguments in [
        &["sim", "--latency", "nowhere.txt"][..],
        &["sim", "--latency", "hall", "--down", "3"],
        &["sim", "--latency", "hall", "--cores", "0"],
        &["sim", "--cores", "2"],
        &["sim", "--latency", "hall", "--validators", "241"],
        &["sim", "--validators", "65", "--seeds", "0..1"],
        &["sim", "--down", "1"],
        &["sim", "--check-against", "nowhere.json"],
    ] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
