//! `quorate sim --exhaustive`: explores small worlds to their end, by the rules that ship.
//!
//! Owns the report. Exit code 0 when nothing was found that must not be, 1 otherwise.

use std::time::Instant;

use quorate_sim::{ExhaustiveReport, ExhaustiveRun, exhaustive, exhaustive_of};

use crate::failure::{Code, Failure};
use crate::output::{Report, progress};

/// One size when any number is given, else the whole list.
///
/// # Errors
/// Numbers that are not explored.
pub(super) fn explore(validators: Option<u16>, slots: Option<u8>) -> Result<Report, Failure> {
    let begun = Instant::now();
    if validators.is_some() || slots.is_some() {
        let run = exhaustive_of(validators.unwrap_or(4), slots.unwrap_or(1));
        let run = run.map_err(Failure::usage)?;
        let text = format!("{run}\nin {:.1} s", begun.elapsed().as_secs_f64());
        return Ok(Report::new(&run, text)?.with_code(code(run.is_good())));
    }
    let tell = |run: &ExhaustiveRun| {
        progress(&format!("{run} [{:.1} s]", begun.elapsed().as_secs_f64()));
    };
    let report = exhaustive(&tell).map_err(|error| Failure::new(Code::Safety, error))?;
    let is_good = report.violations == 0 && report.stuck == 0;
    let text = text(&report, begun);
    Ok(Report::new(&report, text)?.with_code(code(is_good)))
}

const fn code(is_good: bool) -> Code {
    if is_good { Code::Done } else { Code::No }
}

fn text(report: &ExhaustiveReport, begun: Instant) -> String {
    format!(
        "{} runs in {:.1} s: {} states, {} profiles, {} violations, {} stuck",
        report.runs.len(),
        begun.elapsed().as_secs_f64(),
        report.states,
        report.profiles,
        report.violations,
        report.stuck,
    )
}
