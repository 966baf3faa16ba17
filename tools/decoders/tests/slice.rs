//! A slice of the sweep, and that it could find something.

#[path = "../src/counting.rs"]
mod counting;

use counting::{Counting, ThreadMeter};
use quorate_decoders::decoder::Outcome;
use quorate_decoders::sweep::{SweepOptions, sweep};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn every_valid_input_is_accepted_within_its_cap() {
    for decoder in quorate_decoders::all() {
        assert!(!decoder.corpus.is_empty(), "{}", decoder.name);
        for input in &decoder.corpus {
            let (outcome, peak_bytes) = decoder.judge(input, &ThreadMeter);
            // The second message of a handshake answers one dialing end alone.
            let expected = if decoder.name == "net.handshake_second" {
                Outcome::Refused
            } else {
                Outcome::Accepted
            };
            assert_eq!(outcome, expected, "{}", decoder.name);
            assert!(peak_bytes > 0 || decoder.cap.base_bytes > 0);
        }
    }
}

#[test]
fn two_hundred_thousand_damaged_inputs_find_nothing() {
    let options = SweepOptions {
        inputs: 200_000,
        seed: 1,
        threads: 2,
    };
    let report = sweep(&quorate_decoders::all(), &options, &ThreadMeter);
    assert!(report.is_clean(), "{:#?}", report.findings);
    // Damage that no decoder lets through would be no damage worth having.
    for (name, counts) in &report.per_decoder {
        let expects_none = ["net.handshake_second", "net.sealed"].contains(name);
        assert!(
            counts.accepted > 0 || expects_none,
            "{name} accepted nothing"
        );
    }
}

#[test]
fn what_a_thread_holds_is_counted() {
    use quorate_decoders::decoder::Meter as _;
    ThreadMeter.start();
    let held = vec![1_u8; 100_000];
    drop(held);
    assert!((100_000..110_000).contains(&ThreadMeter.peak_bytes()));
}

#[test]
fn every_decoder_has_a_fuzz_target_of_its_name() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let manifest = folder.parent().expect("a folder").join("Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).expect("the manifest of the targets");
    let mut targets: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder of the targets")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a target");
            let stem = path.file_stem().expect("a name").to_string_lossy();
            let name = stem.replacen('_', ".", 1);
            assert!(text.contains(&format!("target!(\"{name}\")")), "{stem}");
            let lines = format!("name = \"{stem}\"\npath = \"fuzz_targets/{stem}.rs\"\n");
            assert!(manifest.contains(&lines), "{stem}");
            name
        })
        .collect();
    let mut names: Vec<String> = quorate_decoders::all()
        .iter()
        .map(|decoder| decoder.name.to_owned())
        .collect();
    targets.sort();
    names.sort();
    assert_eq!(targets, names);
}
