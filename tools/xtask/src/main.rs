//! Project chores and checks: `cargo xtask tidy`, `ci`, `mutants`, `rules`, `bless` and others.
//!
//! Owns the checks that a compiler and clippy cannot make, and the one list of steps that CI runs.
//! Never: part of what ships; no crate of the workspace depends on this one.

#![forbid(unsafe_code)]

mod bless;
mod ci;
mod decoders;
mod instructions;
mod loom;
mod mutants;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <task>

tasks:
  tidy    check layout, words, rule numbers, trust and the dependency table
  ci      everything that CI runs, cheap steps first
  bless   write the traces of the scenario scripts (engine/sim/scripts) anew; review the diff
  decoders [--inputs N] [--seed S] [--json]
          damaged inputs to every decoder; more options in tools/decoders/src/main.rs
  instructions [--json] [--against FILE]
          count the instructions of the hot parts with valgrind, and compare with an earlier --json
  loom    every interleaving of what threads share, by model
  rules   write the table of docs/protocol.md that says where each rule stands
  mutants [PART..] [--slice K/N] [--json]
          break the rules one at a time, by the patch files in engine/sim/mutants whose name
          contains a PART (or by the patch file of that path), and say which test noticed;
          of N slices the K-th alone
  mutants --sum FILE.. [--json]
          add up what --json printed of slices, and ask it for every mutant
  mutants --note FILE..
          write into the patches which test noticed each, as those reports have it
  mutants --list [PART..] [--json]
          tell what each mutant breaks, and the test that noticed it last
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match names.as_slice() {
        ["tidy"] => tidy::run(&repository_root()),
        ["bless"] => bless::run(&repository_root()),
        ["rules"] => tidy::write_rules(&repository_root()),
        ["mutants", options @ ..] => mutants::run(&repository_root(), options),
        ["decoders", options @ ..] => decoders::run(&repository_root(), options),
        ["instructions", options @ ..] => instructions::run(&repository_root(), options),
        ["loom"] => loom::run(&repository_root()),
        ["ci"] => ci::run(&repository_root()),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder that holds the workspace manifest: two above this crate's own. Cargo says at run time
/// where that is; what it said when this was built is older where a checkout, and what was built in
/// it, has been moved or copied since.
fn repository_root() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    own.ancestors().nth(2).unwrap_or(&own).to_path_buf()
}
