//! `quorate bench floor`: how fast the messages alone are on this machine.
//!
//! Never: starts a validator.

use std::time::Duration;

use clap::Args;
use quorate_bench::floor::{FloorError, FloorPlan, measure};

use crate::failure::{Code, Failure};
use crate::output::Report;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Threads in the mesh
    #[arg(long, default_value_t = 4)]
    validators: u16,
    /// Votes that end a round, the proposer's own included; as many as the fast path needs when
    /// not given
    #[arg(long)]
    need: Option<u16>,
    /// Members that neither read nor vote, as validators that stand still
    #[arg(long, default_value_t = 0)]
    silent: u16,
    /// Members vote for all in one go and read each vote at once, also where they share cores
    #[arg(long)]
    plain: bool,
    /// Members look for a moment for what comes soon before they sleep, as validators that linger
    #[arg(long)]
    linger: bool,
    /// Rounds a second, open loop; back to back when not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// Bytes of the one command in a proposal
    #[arg(long, default_value_t = 128)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
    size: u32,
    /// For how long
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

/// Measures and reports.
///
/// # Errors
/// A mesh that cannot be; sockets that the system refuses.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let speaking = options.validators.saturating_sub(options.silent);
    if options.silent > 0 && speaking < 2 {
        let what = format!(
            "--silent {}: of {} members at least 2 have to speak",
            options.silent, options.validators
        );
        return Err(Failure::usage(what).remedy("silence fewer, or measure with more validators"));
    }
    let floor = measure(&FloorPlan {
        validators: options.validators,
        need: options.need,
        rate: options.rate,
        command_bytes: options.size as usize,
        duration: Duration::from_secs(options.seconds),
        silent: options.silent,
        is_plain: options.plain,
        lingers: options.linger,
    })?;
    let us = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |us| format!("{us:.1}"));
    let text = format!(
        "{} rounds of {} threads, {} votes each, {}: p50 {} us, p90 {} us, p99 {} us, p99.9 {} us, \
         max {} us\nproposals of {} bytes, votes of {}",
        floor.rounds,
        floor.validators,
        floor.need,
        floor.rate.map_or_else(
            || "back to back".to_owned(),
            |rate| format!("{rate} a second")
        ),
        us(floor.floor_us.p50),
        us(floor.floor_us.p90),
        us(floor.floor_us.p99),
        us(floor.floor_us.p999),
        us(floor.floor_us.max),
        floor.propose_bytes,
        floor.vote_bytes,
    );
    Report::new(&floor, text)
}

impl From<FloorError> for Failure {
    fn from(error: FloorError) -> Self {
        match error {
            FloorError::Plan { .. } => Self::usage(error)
                .remedy("choose --validators, --silent and --need that fit one another"),
            FloorError::Io(_) | FloorError::Stalled => Self::new(Code::TryAgain, error),
        }
    }
}
