//! The golden scenario scripts of engine/sim/scripts: each must give the trace that stands beside
//! it, word for word.
//!
//! `cargo xtask bless` writes the traces anew (it runs this test with `QUORATE_BLESS` set); a
//! change of one is reviewed as a diff.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use quorate_sim::scenes::play;

/// Set by `cargo xtask bless`.
const BLESS: &str = "QUORATE_BLESS";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")
}

/// Names of the files with this ending, without it.
fn names(ending: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder()).expect("the folder of scripts can be read");
    let paths = entries.map(|entry| entry.expect("an entry can be read").path());
    paths
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .map(|path| {
            path.file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

/// The first line that differs, with what stands around it on both sides.
fn difference(expected: &str, found: &str) -> Option<String> {
    const AROUND: usize = 4;
    if expected == found {
        return None;
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let first = same.saturating_sub(AROUND);
    let mut text = format!("line {}:\n", same + 1);
    for line in &new[first..same] {
        text.push_str(&format!("    {line}\n"));
    }
    for (mark, lines) in [('-', &old), ('+', &new)] {
        for line in lines.iter().skip(same).take(AROUND) {
            text.push_str(&format!("  {mark} {line}\n"));
        }
    }
    Some(text)
}

#[test]
fn every_script_gives_the_trace_that_stands_beside_it() {
    let blesses = std::env::var_os(BLESS).is_some();
    let mut complaints = Vec::new();
    for name in names("script") {
        let file = folder().join(format!("{name}.script"));
        let text = fs::read_to_string(&file).expect("a script can be read");
        let played = play(&format!("engine/sim/scripts/{name}.script"), &text);
        if let Some(failure) = played.failure {
            complaints.push(format!("{failure}"));
        }
        let trace = folder().join(format!("{name}.trace"));
        if blesses {
            fs::write(&trace, &played.trace).expect("a trace can be written");
            continue;
        }
        let Ok(expected) = fs::read_to_string(&trace) else {
            complaints.push(format!("{name}.trace is missing: run cargo xtask bless"));
            continue;
        };
        if let Some(difference) = difference(&expected, &played.trace) {
            complaints.push(format!(
                "{name}.trace (- as it stands, + as it is now), {difference}"
            ));
        }
    }
    assert!(
        complaints.is_empty(),
        "{}\nIf this is meant: cargo xtask bless, and review the diff.",
        complaints.join("\n")
    );
}

#[test]
fn every_trace_has_its_script() {
    let orphans: Vec<_> = names("trace")
        .difference(&names("script"))
        .cloned()
        .collect();
    assert!(orphans.is_empty(), "traces without a script: {orphans:?}");
    assert!(names("script").len() >= 10, "the scripts are gone");
}

#[test]
fn a_difference_is_shown_with_its_line() {
    assert_eq!(difference("a\nb\n", "a\nb\n"), None);
    let shown = difference("a\nb\nc\n", "a\nx\nc\n").expect("they differ");
    assert!(shown.starts_with("line 2:"), "{shown}");
    assert!(
        shown.contains("  - b\n") && shown.contains("  + x\n"),
        "{shown}"
    );
    assert!(
        difference("a\n", "a\nb\n")
            .expect("they differ")
            .contains("  + b")
    );
}
