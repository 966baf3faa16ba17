//! Whether the mutants still fit: the code that each is to break, and the test that noticed it.
//!
//! Never: runs one.

use std::collections::HashSet;

use super::TextFile;
use super::finding::Finding;
use crate::mutants::catalog;

/// Complains about every mutant that no longer applies, that was never seen to be noticed, or whose
/// test is gone.
pub(crate) fn check(files: &[TextFile], found: &mut Vec<Finding>) {
    let text_of = |path: &str| {
        let file = files.iter().find(|file| file.path == path);
        file.map(|file| file.text.as_str())
    };
    let functions = functions_of(files);
    let patches = files.iter().filter(|file| {
        file.path.starts_with(catalog::FOLDER) && file.path.ends_with(catalog::ENDING)
    });
    for TextFile { path, text } in patches {
        if let Some(what) = catalog::misfit(path, text, text_of) {
            let remedy = "make the patch anew against the sources as they are";
            found.push(Finding::new(path, 0, what, remedy));
            continue;
        }
        let caught_by = catalog::parse(path, text)
            .ok()
            .and_then(|one| one.caught_by);
        let what = match caught_by {
            Some(test) if functions.contains(function_of(&test)) => continue,
            Some(test) => format!("there is no test \"{test}\" that could have caught it"),
            None => "it does not say which test has caught it".to_owned(),
        };
        let remedy = "run the mutant and note what catches it (cargo xtask mutants --note)";
        found.push(Finding::new(path, 0, what, remedy));
    }
}

/// The last part of a test's name.
fn function_of(test: &str) -> &str {
    let name = test.rsplit(' ').next().unwrap_or(test);
    name.rsplit(':').next().unwrap_or(name)
}

/// The names of all functions.
fn functions_of(files: &[TextFile]) -> HashSet<&str> {
    let sources = files.iter().filter(|file| file.path.ends_with(".rs"));
    let names = sources.flat_map(|file| file.text.split("fn ").skip(1));
    let is_of_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    names
        .filter_map(|rest| rest.split(|letter| !is_of_name(letter)).next())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_fits_its_code_and_names_a_test_that_is_there() {
        let file = |path: &str, text: &str| TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let patch = |caught_by: &str| {
            let header = "# name: a\n# breaks: R1: x\n# kind: safety\n# tests: p\n";
            let diff = "--- a/log/x.rs\n+++ b/log/x.rs\n@@ -1 +1 @@\n-x > 1\n+x > 2\n";
            format!("{header}{caught_by}{diff}")
        };
        let complaint = |caught_by: &str, source: &str| {
            let path = format!("{}a{}", catalog::FOLDER, catalog::ENDING);
            let test = file("log/y.rs", "#[test]\nfn it_holds() {}\n");
            let files = [
                file(&path, &patch(caught_by)),
                file("log/x.rs", source),
                test,
            ];
            let mut found = Vec::new();
            check(&files, &mut found);
            found.pop().map(|one| one.what)
        };
        for sound in [
            "# caught by: p t a::it_holds\n",
            "# caught by: p t it_holds\n",
        ] {
            assert_eq!(complaint(sound, "x > 1\n"), None, "{sound}");
        }
        let gone = complaint("# caught by: p t a::it_hold\n", "x > 1\n");
        assert!(gone.expect("no such test").contains("a::it_hold"));
        let unseen = complaint("", "x > 1\n");
        assert!(unseen.expect("never caught").contains("does not say"));
        let misfit = complaint("", "x > 3\n");
        assert!(misfit.expect("other code").contains("not apply"));
    }
}
