//! `quorate status`: how the validators of a testnet are.
//!
//! Owns the choice of what of a status is shown. Never: judges it, beyond who answers.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
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
    /// Folder that `testnet init` wrote
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
            Err(error) => Validator::Unreachable { index, error },
        })
        .collect();
    let all = validators
        .iter()
        .all(|one| matches!(one, Validator::Answered(_)));
    let text = text(&validators) + &diverged(&validators);
    let code = if all { Code::Done } else { Code::No };
    Ok(Report::new(&Fields { validators }, text)?.with_code(code))
}

fn text(validators: &[Validator]) -> String {
    let header = [
        "validator",
        "height",
        "window",
        "leader",
        "connected",
        "fast path",
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
                    cell("height"),
                    cell("window"),
                    cell("leader"),
                    cell("connected"),
                    percent(status["fast_path_fraction"].as_f64()),
                    format!("{} at {}", short(&cell("state_root")), cell("state_height")),
                ]);
            }
        }
    }
    rows.to_string()
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
