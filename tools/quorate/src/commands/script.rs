//! `quorate sim --script FILE`: plays a golden scenario script and prints its trace.
//!
//! Exit code 0 when everything that the script expects holds, 1 when it does not, 2 when the script
//! cannot be read; the message names file, line and what was expected.

use std::path::Path;

use quorate_sim::scenes::play;
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::output::{Report, progress};

/// What is printed for machines.
#[derive(Debug, Serialize)]
struct Fields {
    script: String,
    passed: bool,
    failure: Option<String>,
    trace: Vec<String>,
}

/// Plays the script in `file`.
///
/// # Errors
/// The file cannot be read, or is no script.
pub(crate) fn play_file(file: &Path) -> Result<Report, Failure> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(format!("{name}: {error}")).remedy("name a script of engine/sim/scripts")
    })?;
    let played = play(&name, &text);
    let failure = played.failure.map(|failure| failure.to_string());
    // Everything that is played leaves its line in the trace.
    if let Some(what) = failure.as_ref().filter(|_| played.trace.is_empty()) {
        return Err(Failure::usage(what).remedy("correct the line of the script"));
    }
    if let Some(failure) = &failure {
        progress(failure);
    }
    let fields = Fields {
        script: name,
        passed: failure.is_none(),
        failure,
        trace: played.trace.lines().map(str::to_owned).collect(),
    };
    let code = if fields.passed { Code::Done } else { Code::No };
    Ok(Report::new(&fields, played.trace)?.with_code(code))
}
