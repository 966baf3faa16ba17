//! Logs of the process: to standard error, in text or JSON, filtered.
//!
//! Never: standard output, which belongs to the command's result; or a wait for whoever reads
//! (`stderr`).

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::failure::{Code, Failure};
use crate::stderr;

/// Environment variable with a filter such as `info,quorate=debug`.
const VARIABLE: &str = "QUORATE_LOG";

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line of text an event.
    Text,
    /// One JSON object an event.
    Json,
}

/// Starts logging with `filter`, or with what the environment says, or with `default`.
///
/// # Errors
/// A filter that cannot be read: usage. The system gives no thread.
pub(crate) fn start(filter: Option<&str>, format: LogFormat, default: &str) -> Result<(), Failure> {
    let from_environment = std::env::var(VARIABLE).ok();
    let text = filter.or(from_environment.as_deref()).unwrap_or(default);
    let filter = EnvFilter::try_new(text).map_err(|error| {
        Failure::usage(format!("log filter {text:?}: {error}")).remedy(format!(
            "give --log or {VARIABLE} a value such as info or debug"
        ))
    })?;
    stderr::start().map_err(|error| {
        Failure::new(
            Code::TryAgain,
            format!("starting the log's thread: {error}"),
        )
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| stderr::Said)
        // Else what cannot be formatted is told by a print, which waits for whoever reads.
        .log_internal_errors(false)
        .with_ansi(crate::output::is_watched());
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| Failure::usage(format!("starting the log: {error}")))
}
