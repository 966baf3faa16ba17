//! `quorate sim`: seeded worlds with faults around the code that ships, checked.
//!
//! Never: real time, real disks or real sockets; one seed always does the same.

use std::ops::Range;
use std::str::FromStr;

use clap::Args;
use quorate_sim::{RunOptions, Scenario, Summary, SweepOptions, run as run_seed, sweep};
use serde_json::Value;

use crate::failure::{Code, Failure};
use crate::output::{Report, progress, table};

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seeds from A to B, B not included
    #[arg(long, value_name = "A..B", default_value = "0..20")]
    seeds: Seeds,
    /// Validators in each world
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(4..=64))]
    validators: u16,
    /// Which faults; an unknown name lists those there are
    #[arg(long, value_name = "NAME", default_value = "mixed", value_parser = scenario)]
    scenario: Scenario,
    /// Worlds at once; by default one a core
    #[arg(long)]
    threads: Option<usize>,
    /// Tell everything that happens on standard error; for one seed
    #[arg(long)]
    tell: bool,
}

/// A range of seeds as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seeds(Range<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("expected A..B with A below B, such as 0..100, not {text:?}");
        let (from, to) = text.split_once("..").ok_or_else(wanted)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| wanted());
        let range = number(from)?..number(to)?;
        if range.is_empty() {
            Err(wanted())
        } else {
            Ok(Self(range))
        }
    }
}

fn scenario(text: &str) -> Result<Scenario, String> {
    text.parse().map_err(|_| {
        let names: Vec<_> = Scenario::all().map(Scenario::name).collect();
        format!("no such scenario; there are {}", names.join(", "))
    })
}

/// Runs the worlds.
///
/// # Errors
/// Usage: `--tell` with more than one seed.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let Seeds(seeds) = options.seeds.clone();
    if options.tell {
        return tell(&seeds, options);
    }
    let threads = options.threads.unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
    });
    let sweep_options = SweepOptions {
        seeds,
        validators: options.validators,
        scenario: options.scenario,
        threads: threads.max(1),
    };
    let summary = sweep(&sweep_options, &|failure| {
        progress(&format!(
            "FAILED seed {}: {}\nreplay: {}",
            failure.seed,
            failure.what.join("; "),
            failure.replay
        ));
    });
    let is_good = summary.failures.is_empty();
    let code = if is_good { Code::Done } else { Code::No };
    let text = text(&summary);
    Ok(Report::new(&summary, text)?.with_code(code))
}

/// Runs one seed again and tells all of it.
fn tell(seeds: &Range<u64>, options: &Options) -> Result<Report, Failure> {
    if seeds.end - seeds.start != 1 {
        return Err(Failure::usage("--tell takes one seed").remedy(format!(
            "give --seeds {}..{}",
            seeds.start,
            seeds.start + 1
        )));
    }
    let outcome = run_seed(
        &RunOptions {
            seed: seeds.start,
            validators: options.validators,
            scenario: options.scenario,
        },
        true,
    );
    let violations: Vec<String> = outcome
        .violations
        .iter()
        .map(|violation| format!("{}: {}", violation.check, violation.what))
        .collect();
    let fields = serde_json::json!({
        "seeds": 1,
        "validators": options.validators,
        "scenario": options.scenario.name(),
        "finalized": outcome.finalized,
        "commands": outcome.commands,
        "violations": violations.len(),
        "stuck": u64::from(outcome.stuck.is_some()),
        "what": violations,
        "state": outcome.stuck,
        "faults": outcome.faults,
    });
    let code = if outcome.is_good() {
        Code::Done
    } else {
        Code::No
    };
    let text = serde_json::to_string_pretty(&fields).unwrap_or_default();
    Ok(Report::new(&fields, text)?.with_code(code))
}

fn text(summary: &Summary) -> String {
    let mut facts = table(&["what", "count"]);
    for (what, count) in [
        ("worlds", summary.seeds),
        ("validators in each", u64::from(summary.validators)),
        ("blocks finalized", summary.finalized),
        ("commands applied", summary.commands),
        ("violations", summary.violations),
        ("stuck", summary.stuck),
        ("longest recovery, virtual ms", summary.recovery_ms_max),
    ] {
        facts.add_row(vec![what.to_owned(), count.to_string()]);
    }
    if let Ok(Value::Object(faults)) = serde_json::to_value(summary.faults) {
        for (name, count) in faults {
            facts.add_row(vec![name, count.to_string()]);
        }
    }
    let mut text = format!("scenario {}\n{facts}", summary.scenario);
    for failure in &summary.failures {
        text.push_str(&format!(
            "\nFAILED seed {}\nreplay: {}",
            failure.seed, failure.replay
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_that_is_not_empty() {
        assert_eq!("3..9".parse(), Ok(Seeds(3..9)));
        for text in [
            "", "3", "3..", "..3", "3..3", "9..3", "a..b", "0..1x", "-1..3",
        ] {
            assert!(
                text.parse::<Seeds>().unwrap_err().contains("A..B"),
                "{text}"
            );
        }
    }

    #[test]
    fn an_unknown_scenario_names_those_there_are() {
        assert_eq!(scenario("mixed"), Ok(Scenario::Mixed));
        let error = scenario("sunny").unwrap_err();
        assert!(
            error.contains("equivocator") && error.contains("calm"),
            "{error}"
        );
    }
}
