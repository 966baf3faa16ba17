//! What the command refuses, and what it takes for whole. Never: measures.

use super::*;
use clap::Parser;
use quorate_bench::load::Counts;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn options(words: &[&str]) -> Options {
    let line = [&["latency"][..], words].concat();
    Line::try_parse_from(line).unwrap().options
}

#[test]
fn what_was_never_handed_over_or_lost_its_stamps_is_not_whole() {
    let run = |generated, unknown, untold| {
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
        Run::new(Default::default(), &outcome, &found, samples)
    };
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
