//! What the command refuses, and what it takes for whole. Never: measures.

use super::*;
use clap::Parser;
use quorate_bench::load::Counts;

const KIND: FloorKind = FloorKind {
    gives_way: true,
    lingers: false,
};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn options(words: &[&str]) -> Options {
    let line = [&["latency"][..], words].concat();
    Line::try_parse_from(line).unwrap().options
}

fn run(generated: u64, unknown: u64, untold: u64) -> Run {
    let outcome = Outcome {
        offered: 100,
        counts: Counts {
            generated,
            finalized: generated,
            ..Counts::default()
        },
        elapsed_ns: 1,
        finality: Latencies::new(),
        client: Latencies::new(),
        height: 1,
        gateways_lost: 0,
        missing: 0,
        held: 0,
        reasons: Vec::new(),
        acknowledged: Vec::new(),
        trips: Vec::new(),
        untold,
        waits: Vec::new(),
        start_ns: 0,
        is_interrupted: false,
    };
    let found = Attribution {
        unknown,
        ..Attribution::default()
    };
    let samples = Samples {
        began: SystemTime::UNIX_EPOCH,
        seconds: 1,
        floor: Latencies::new(),
        finality: Latencies::new(),
        client: Latencies::new(),
    };
    Run::new((Default::default(), KIND), &outcome, &found, samples)
}

#[test]
fn what_was_never_handed_over_or_lost_its_stamps_is_not_whole() {
    assert!(run(100, 0, 0).is_whole());
    assert!(!run(60, 0, 0).is_whole());
    assert!(!run(100, 1, 0).is_whole());
    assert!(!run(100, 0, 1).is_whole());
}

#[test]
fn a_run_whose_stamps_the_validators_do_not_keep_is_refused() {
    for (seconds, is_kept) in [("3", true), ("100", true), ("120", false), ("3600", false)] {
        let found = options(&["--seconds", seconds]).check();
        assert_eq!(found.is_ok(), is_kept, "{seconds} s: {found:?}");
    }
    // More validators vote, so that a block has more stamps.
    let many = ["--seconds", "100", "--validators", "64"];
    assert_eq!(options(&many).check().unwrap_err().code, Code::Usage);
    // Commands share blocks at such a rate.
    assert!(options(&["--rate", "100000"]).check().is_ok());
}

#[test]
fn what_was_measured_is_told_beside_which_floor_and_of_which_validators() {
    let figures = Figures {
        durability: "async",
        threads: "shared".to_owned(),
        idle: "linger".to_owned(),
        finality_us: Percentiles::default(),
        floor_us: Percentiles::default(),
        floor_intended_us: Percentiles::default(),
        ratio_p50: None,
        ratio_p99: None,
        client_us: Percentiles::default(),
        other_gateways: Others {
            commands: 0,
            finality_us: Percentiles::default(),
        },
        stages: StageMeans::of(&Attribution::default()),
        curves_us: Curves::of(std::iter::empty()),
        group_sync_us: None,
        fast_path_fraction: None,
        windows_stopped: 0,
        spread: Spread::of(&[]),
        state_roots_equal: None,
        logs_equal: None,
        differences: Vec::new(),
        runs: vec![run(100, 0, 0)],
    };
    assert!(
        figures
            .text()
            .contains("floor (members block in their poll)")
    );
    let told = Fields::of(&options(&[]), figures, None);
    let told = serde_json::to_value(told).unwrap();
    let floor = serde_json::json!({"gives_way": true, "lingers": false});
    assert_eq!(told["floor"], floor);
    assert_eq!(
        (&told["auth"], &told["profile"]),
        (&"session".into(), &"laptop".into())
    );
}
