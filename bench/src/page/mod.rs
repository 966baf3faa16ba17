//! The report as one HTML page without anything from elsewhere: style and charts are in it, and
//! there are no scripts.
//!
//! Owns what the page consists of. Its numbers are those of the JSON that the measuring commands
//! print; what was not measured is said to be missing. Never: measures, compares figures of
//! different machines, or draws what is not there.
//!
//! In the order of the way: `inputs` (which file is what), `sections` and `faults` (what is said),
//! `verdict` (what is not as it should be), `chart` and `table` (how it looks), `text` (numbers and
//! markup).

mod chart;
mod faults;
mod inputs;
mod sections;
mod table;
mod text;
mod verdict;

pub use inputs::{InputError, Inputs, Kind};

use text::escape;

const STYLE: &str = include_str!("style.css");

/// What of the page does not stand in the measurements.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heading<'a> {
    /// The commit that the program was built from, as whoever made the page told it.
    pub commit: Option<&'a str>,
    /// When the page was made.
    pub date: &'a str,
}

/// The page.
#[must_use]
pub fn render(inputs: &Inputs, heading: Heading<'_>) -> String {
    let commit = heading.commit.map_or_else(
        || "not told".to_owned(),
        |commit| format!("<code>{}</code>", escape(commit)),
    );
    let date = escape(heading.date);
    let body = [
        sections::tiles(inputs),
        sections::circumstances(inputs),
        sections::latency(inputs),
        sections::stages(inputs),
        sections::throughput(inputs),
        sections::cost(inputs),
        faults::faults(inputs),
        sections::peers(inputs),
    ]
    .concat();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
         name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Quorate, \
         measured</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n\
         <h1>Quorate, measured</h1>\n<p class=\"soft\">Page made {date}. Commit: {commit}. Absolute \
         times mean little without the machine; ratios were taken in one run.</p>\n</header>\n\
         {body}</main>\n</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests;
