//! Writes into the patch files which test noticed each mutant, as reports say it.
//!
//! That test is asked first from then on, and a reader of the patch finds what holds the rule. Owns
//! the line of the header. Never: runs a mutant, or takes the line for a catch.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::options::Options;
use super::sum::Sum;
use super::{catalog, patch, suite};

const KEY: &str = "# caught by: ";

/// Notes what the reports that are named say; of a mutant that two have, the one named last counts.
///
/// # Errors
/// When a report or a patch cannot be read, or a patch cannot be written.
pub(crate) fn run(root: &Path, options: &Options<'_>) -> Result<bool> {
    let sum = Sum::of(&options.parts)?;
    let (mut all, mut changed) = (0, 0);
    for mutant in catalog::load(root)? {
        let Some(test) = sum.caught_by(&mutant.name) else {
            continue;
        };
        // A patch from elsewhere may have had the same name.
        let package = test.split(' ').next().unwrap_or(test);
        if !mutant
            .tests
            .iter()
            .any(|tests| suite::package_of(tests) == package)
        {
            continue;
        }
        all += 1;
        if mutant.caught_by.as_deref() == Some(test) {
            continue;
        }
        changed += 1;
        let file = format!("{}{}{}", catalog::FOLDER, mutant.name, catalog::ENDING);
        let path = root.join(&file);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {file}"))?;
        fs::write(&path, noted(&text, test)).with_context(|| format!("writing {file}"))?;
    }
    println!("mutants: what noticed {all} of them is noted, of {changed} anew");
    Ok(true)
}

/// The patch with this test in its header, and no other.
fn noted(text: &str, test: &str) -> String {
    let (header, diff) = patch::split(text);
    let kept = header.lines().filter(|line| !line.starts_with(KEY));
    let kept: String = kept.map(|line| format!("{line}\n")).collect();
    format!("{kept}{KEY}{test}\n{diff}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_names_the_test_that_noticed_last_and_the_diff_stays() {
        let before = "# name: a\n# tests: p q\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-# x\n+# y\n";
        let once = noted(before, "p t a::b");
        assert_eq!(
            once,
            before.replace("q\n", "q\n# caught by: p t a::b\n"),
            "{once}"
        );
        let again = noted(&once, "q u c");
        assert_eq!(again, once.replace("p t a::b", "q u c"));
        assert_eq!(noted(&again, "q u c"), again);
    }
}
