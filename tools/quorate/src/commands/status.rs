//! `quorate status`: how the validators of a testnet are.
//!
//! Owns the choice of what of a status is shown, and the spread over validators of the moments at
//! which they published the same block. Never: judges it, beyond who answers and whose state is
//! another than the others'.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use quorate::publication::spreads_ns;
use quorate_bench::load::Chain;
use quorate_bench::probe::{Question, Reply, ask_all};
use quorate_bench::testnet::Testnet;
use serde::Serialize;
use serde_json::Value;

use crate::drive::percent;
use crate::failure::{Code, Failure};
use crate::output::{Report, table};

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Folder with the chain's genesis.json; nothing else in it is read
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// How long to wait for answers, milliseconds
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    timeout_ms: u64,
}

/// A validator's own words, or why there are none.
#[derive(Serialize)]
#[serde(untagged)]
enum Validator {
    /// It answered: its index and all that it told.
    Answered(Value),
    /// It did not.
    Unreachable {
        /// Its index.
        index: usize,
        /// Why.
        error: String,
    },
}

#[derive(Serialize)]
struct Fields {
    validators: Vec<Validator>,
    /// From the first to the last validator that published a block; null while they have none in
    /// common.
    release_skew_us: Option<Skew>,
}

/// How far apart the validators publish, by their own clocks.
#[derive(Debug, PartialEq, Serialize)]
struct Skew {
    p50: f64,
    p99: f64,
    max: f64,
    /// Blocks that this was measured on.
    blocks: usize,
}

impl Skew {
    /// Of those validators that answered.
    fn of(validators: &[Validator]) -> Option<Self> {
        let published = |one: &Validator| match one {
            Validator::Answered(status) => {
                serde_json::from_value::<Vec<(u64, u64)>>(status["published"].clone()).ok()
            }
            Validator::Unreachable { .. } => None,
        };
        let stamps: Vec<_> = validators.iter().filter_map(published).collect();
        let mut spreads = spreads_ns(&stamps);
        if stamps.len() < 2 || spreads.is_empty() {
            return None;
        }
        spreads.sort_unstable();
        let quantile = |percent: usize| {
            let place = (spreads.len() * percent).div_ceil(100).max(1) - 1;
            spreads.get(place).map_or(0.0, |&ns| ns as f64 / 1000.0)
        };
        Some(Self {
            p50: quantile(50),
            p99: quantile(99),
            max: quantile(100),
            blocks: spreads.len(),
        })
    }
}

/// Asks.
///
/// # Errors
/// The folder holds no testnet, or this machine has no sockets left.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let testnet = Testnet::open(&options.dir)?;
    let deadline = Instant::now() + Duration::from_millis(options.timeout_ms);
    let answers = ask_all(
        &Chain::of(testnet.genesis()),
        Question::Status,
        deadline,
        false,
    )?;
    let validators: Vec<Validator> = answers
        .into_iter()
        .enumerate()
        .map(|(index, answer)| match answer {
            Ok(Reply::Status(status)) => Validator::Answered(status),
            Ok(Reply::Root { .. }) => Validator::Unreachable {
                index,
                error: "it answered another question".to_owned(),
            },
            Err(silence) => Validator::Unreachable {
                index,
                error: silence.why,
            },
        })
        .collect();
    let unequal = unequal(&validators);
    let all = validators
        .iter()
        .all(|one| matches!(one, Validator::Answered(status) if !status["diverged"].is_object()));
    let release_skew_us = Skew::of(&validators);
    let skew = release_skew_us.as_ref().map_or_else(String::new, |skew| {
        let Skew {
            p50,
            p99,
            max,
            blocks,
        } = skew;
        format!(
            "\nrelease skew by the validators' clocks: p50 {p50:.0}, p99 {p99:.0}, max {max:.0} us \
             over {blocks} blocks"
        )
    });
    let text = text(&validators) + &skew + &diverged(&validators) + &unequal;
    let code = if all && unequal.is_empty() {
        Code::Done
    } else {
        Code::No
    };
    let fields = Fields {
        validators,
        release_skew_us,
    };
    Ok(Report::new(&fields, text)?.with_code(code))
}

fn text(validators: &[Validator]) -> String {
    let header = [
        "validator",
        "is",
        "height",
        "durable",
        "window",
        "leader",
        "connected",
        "fast path",
        "days to full",
        "alarms",
        "state root at",
    ];
    let mut rows = table(&header);
    for validator in validators {
        match validator {
            Validator::Unreachable { index, error } => {
                rows.add_row(vec![index.to_string(), format!("unreachable: {error}")]);
            }
            Validator::Answered(status) => {
                let cell = |key: &str| plain(&status[key]);
                rows.add_row(vec![
                    cell("index"),
                    condition(status),
                    cell("height"),
                    cell("durable"),
                    cell("window"),
                    cell("leader"),
                    cell("connected"),
                    percent(status["fast_path_fraction"].as_f64()),
                    days(status["log_days_to_full"].as_f64()),
                    status["faults"]["alarms"].as_u64().unwrap_or(0).to_string(),
                    format!("{} at {}", short(&cell("state_root")), cell("state_height")),
                ]);
            }
        }
    }
    rows.to_string()
}

/// What a validator does, by what keeps it most from doing its part.
fn condition(status: &Value) -> String {
    let joining = &status["joining"];
    match (status["voting"].as_bool(), status["recovering"].as_bool()) {
        _ if joining.is_object() => format!(
            "joining {} ({}/{})",
            plain(&joining["height"]),
            plain(&joining["chunks"]),
            plain(&joining["chunks_all"]),
        ),
        (_, Some(true)) => "recovering".to_owned(),
        _ if status["disk_full"].as_bool() == Some(true) => "disk full".to_owned(),
        (Some(true), _) if status["diverged"].is_object() => "voting, diverged".to_owned(),
        (Some(true), _) => "voting".to_owned(),
        (Some(false), _) => "abstaining".to_owned(),
        (None, _) => "-".to_owned(),
    }
}

/// Days in few digits: they are an outlook.
fn days(days: Option<f64>) -> String {
    match days {
        None => "-".to_owned(),
        Some(days) if days < 10.0 => format!("{days:.1}"),
        Some(days) if days < 10_000.0 => format!("{days:.0}"),
        Some(_) => ">9999".to_owned(),
    }
}

/// A line for each validator whose state is another than the others'.
fn diverged(validators: &[Validator]) -> String {
    let mut lines = String::new();
    for validator in validators {
        let Validator::Answered(status) = validator else {
            continue;
        };
        let diverged = &status["diverged"];
        if diverged.is_object() {
            lines.push_str(&format!(
                "\nvalidator {} DIVERGED at height {} in section {}: it serves no clients; see {}",
                plain(&status["index"]),
                plain(&diverged["height"]),
                plain(&diverged["section"]),
                plain(&diverged["bundle"]),
            ));
        }
    }
    lines
}

/// A line for each height at which validators tell different roots of the state.
fn unequal(validators: &[Validator]) -> String {
    let mut roots: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    for validator in validators {
        if let Validator::Answered(status) = validator
            && let Some(height) = status["state_height"].as_u64()
            && let Some(root) = status["state_root"].as_str()
        {
            roots.entry(height).or_default().insert(root);
        }
    }
    let lines = roots.iter().filter(|(_, roots)| roots.len() > 1);
    lines
        .map(|(height, roots)| {
            let roots: Vec<&str> = roots.iter().map(|root| short(root)).collect();
            format!("\nSTATES DIFFER at height {height}: {}", roots.join(", "))
        })
        .collect()
}

/// A JSON value without quotes; a list by its length.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.len().to_string(),
        other => other.to_string(),
    }
}

fn short(digits: &str) -> &str {
    digits.get(..16).unwrap_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_that_differ_at_one_height_are_told_and_those_of_other_heights_are_not() {
        let at = |height: u64, root: &str| {
            let status = serde_json::json!({"state_height": height, "state_root": root});
            Validator::Answered(status)
        };
        assert_eq!(unequal(&[at(7, "aa"), at(7, "aa"), at(8, "bb")]), "");
        assert_eq!(
            unequal(&[at(7, "aa"), at(8, "bb"), at(7, "cc")]),
            "\nSTATES DIFFER at height 7: aa, cc"
        );
    }

    #[test]
    fn the_text_tells_what_each_does_its_durable_height_days_to_full_and_alarms() {
        let told = |index: u64, rest: Value| {
            let mut status = serde_json::json!({"index": index, "height": 90, "durable": 80});
            let all = status.as_object_mut().unwrap();
            all.extend(rest.as_object().unwrap().clone());
            Validator::Answered(status)
        };
        let joining = serde_json::json!({"height": 64, "chunks": 3, "chunks_all": 9, "sources": 2});
        let text = text(&[
            told(
                0,
                serde_json::json!({"voting": true, "log_days_to_full": 41.7, "faults": {}}),
            ),
            told(
                1,
                serde_json::json!({"voting": false, "log_days_to_full": 0.52}),
            ),
            told(2, serde_json::json!({"voting": false, "recovering": true})),
            told(3, serde_json::json!({"voting": false, "joining": joining})),
            told(
                4,
                serde_json::json!({"voting": true, "faults": {"alarms": 7}}),
            ),
            told(5, serde_json::json!({"voting": true, "disk_full": true})),
        ]);
        let rows: Vec<Vec<&str>> = text
            .lines()
            .skip(2)
            .map(|row| row.split('|').map(str::trim).collect())
            .collect();
        let column = |place: usize| rows.iter().map(|row| row[place]).collect::<Vec<_>>();
        let conditions = [
            "voting",
            "abstaining",
            "recovering",
            "joining 64 (3/9)",
            "voting",
            "disk full",
        ];
        assert_eq!(column(2), conditions, "{text}");
        assert_eq!(column(4), ["80"; 6], "{text}");
        assert_eq!(column(9), ["42", "0.5", "-", "-", "-", "-"], "{text}");
        assert_eq!(column(10), ["0", "0", "0", "0", "7", "0"], "{text}");
    }

    #[test]
    fn the_skew_is_over_blocks_that_all_who_answer_have_published() {
        let told =
            |stamps: &[(u64, u64)]| Validator::Answered(serde_json::json!({ "published": stamps }));
        let down = || Validator::Unreachable {
            index: 2,
            error: "down".to_owned(),
        };
        let validators = [
            told(&[(1, 5_000), (2, 9_000), (3, 1)]),
            down(),
            told(&[(1, 6_000), (2, 12_000)]),
        ];
        let skew = Skew {
            p50: 1.0,
            p99: 3.0,
            max: 3.0,
            blocks: 2,
        };
        assert_eq!(Skew::of(&validators), Some(skew));
        assert_eq!(Skew::of(&[told(&[(1, 1)]), down()]), None);
        assert_eq!(Skew::of(&[told(&[(1, 1)]), told(&[(2, 1)])]), None);
    }
}
