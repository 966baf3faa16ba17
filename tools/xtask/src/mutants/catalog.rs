//! The mutants: one small wrong change each, a patch file in `engine/sim/mutants`.
//!
//! Owns what such a file says of itself and whether it still fits the sources. A change that leaves
//! the behaviour the same is no mutant. Never: runs anything.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::patch::{self, FilePatch};

/// Where the patch files stand.
pub(crate) const FOLDER: &str = "engine/sim/mutants/";
/// How their names end.
pub(crate) const ENDING: &str = ".patch";

/// What is lost when the broken rule is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something wrong may happen.
    Safety,
    /// Something right may never happen.
    Liveness,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Safety => "safety",
            Self::Liveness => "liveness",
        }
    }
}

/// One small change that makes the code wrong.
#[derive(Clone, Debug)]
pub(crate) struct Mutant {
    /// The name of its file, without the ending.
    pub(crate) name: String,
    /// What it breaks: a rule, a threshold, a promise.
    pub(crate) breaks: String,
    pub(crate) kind: Kind,
    /// Whose tests must notice, the narrowest first: packages, single test programs of them
    /// (`package:program`), or those tests of a program whose names contain something
    /// (`package:program:part`).
    pub(crate) tests: Vec<String>,
    pub(crate) files: Vec<FilePatch>,
}

/// Reads a patch file of the catalogue.
///
/// # Errors
/// When a line of its header is missing, twice or unknown, its name is not that of the file, or its
/// diff cannot be read.
pub(crate) fn parse(path: &str, text: &str) -> Result<Mutant> {
    let (header, diff) = patch::split(text);
    let mut fields = Fields::default();
    for line in header.lines() {
        fields.take(line)?;
    }
    let name = fields.name.context("its header does not say \"name\"")?;
    ensure!(
        stem(path) == Some(name.as_str()),
        "its name \"{name}\" is not that of its file"
    );
    Ok(Mutant {
        name,
        breaks: fields
            .breaks
            .context("its header does not say \"breaks\"")?,
        kind: fields.kind.context("its header does not say \"kind\"")?,
        tests: fields.tests.context("its header does not say \"tests\"")?,
        files: patch::parse(diff)?,
    })
}

/// A patch file from elsewhere, which may say nothing of itself: the packages are then those whose
/// sources it changes, with those that are built on them.
///
/// # Errors
/// When its diff cannot be read.
pub(crate) fn parse_foreign(path: &str, text: &str) -> Result<Mutant> {
    if let Ok(mutant) = parse(path, text) {
        return Ok(mutant);
    }
    let files = patch::parse(patch::split(text).1)?;
    let tests = packages_around(&files);
    ensure!(
        !tests.is_empty(),
        "it changes no package whose tests could notice"
    );
    Ok(Mutant {
        name: stem(path).unwrap_or(path).to_owned(),
        breaks: "not said".to_owned(),
        kind: Kind::Safety,
        tests,
        files,
    })
}

/// Packages by folder, those first that know of the fewest others.
const PACKAGES: &[(&str, &[&str])] = &[
    (
        "engine/consensus/",
        &["quorate-consensus", "quorate", "quorate-sim"],
    ),
    ("log/", &["quorate-log", "quorate", "quorate-sim"]),
    ("net/", &["quorate-net", "quorate"]),
    ("engine/node/", &["quorate", "quorate-sim"]),
    ("engine/venue/", &["quorate-venue"]),
];

fn packages_around(files: &[FilePatch]) -> Vec<String> {
    let mut packages: Vec<String> = Vec::new();
    for (folder, names) in PACKAGES {
        if files.iter().any(|file| file.path.starts_with(folder)) {
            for name in *names {
                if !packages.iter().any(|held| held == name) {
                    packages.push((*name).to_owned());
                }
            }
        }
    }
    packages
}

fn stem(path: &str) -> Option<&str> {
    path.rsplit('/').next()?.strip_suffix(ENDING)
}

/// The header of a patch file, as far as it has been read.
#[derive(Default)]
struct Fields {
    name: Option<String>,
    breaks: Option<String>,
    kind: Option<Kind>,
    tests: Option<Vec<String>>,
}

impl Fields {
    fn take(&mut self, line: &str) -> Result<()> {
        let field = line
            .strip_prefix("# ")
            .and_then(|line| line.split_once(": "));
        let (key, value) = field.with_context(|| format!("no line of a header: \"{line}\""))?;
        let is_first = match key {
            "name" => self.name.replace(value.to_owned()).is_none(),
            "breaks" => self.breaks.replace(value.to_owned()).is_none(),
            "kind" => self.kind.replace(kind_of(value)?).is_none(),
            "tests" => {
                let tests = value.split_whitespace().map(str::to_owned).collect();
                self.tests.replace(tests).is_none()
            }
            _ => bail!("its header says something unknown: \"{key}\""),
        };
        ensure!(is_first, "its header says \"{key}\" twice");
        Ok(())
    }
}

fn kind_of(value: &str) -> Result<Kind> {
    match value {
        "safety" => Ok(Kind::Safety),
        "liveness" => Ok(Kind::Liveness),
        _ => bail!("its kind is neither safety nor liveness: \"{value}\""),
    }
}

/// Why a patch file is no mutant of these sources, if it is not. `text_of` gives a file's text.
pub(crate) fn misfit<'a>(
    path: &str,
    text: &str,
    text_of: impl Fn(&str) -> Option<&'a str>,
) -> Option<String> {
    let mutant = match parse(path, text) {
        Ok(mutant) => mutant,
        Err(error) => return Some(format!("the mutant cannot be read: {error:#}")),
    };
    mutant.files.iter().find_map(|file| {
        let Some(text) = text_of(&file.path) else {
            let path = &file.path;
            return Some(format!("the mutant changes {path}, which is not there"));
        };
        let error = file.apply(text).err()?;
        Some(format!(
            "the mutant does not apply to {}: {error:#}",
            file.path
        ))
    })
}

/// Every mutant of the catalogue, by name.
///
/// # Errors
/// When a file cannot be read or is no mutant.
pub(crate) fn load(root: &Path) -> Result<Vec<Mutant>> {
    let folder = root.join(FOLDER);
    let mut paths = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {FOLDER}"))? {
        paths.push(entry.with_context(|| format!("reading {FOLDER}"))?.path());
    }
    paths.retain(|path| path.to_string_lossy().ends_with(ENDING));
    paths.sort();
    paths
        .iter()
        .map(|path| read(path, parse))
        .collect::<Result<Vec<_>>>()
}

/// One mutant from a file anywhere.
///
/// # Errors
/// When the file cannot be read or is no patch.
pub(crate) fn load_one(path: &Path) -> Result<Mutant> {
    read(path, parse_foreign)
}

fn read(path: &Path, parse: impl Fn(&str, &str) -> Result<Mutant>) -> Result<Mutant> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).with_context(|| format!("reading {name}"))?;
    parse(&name, &text).with_context(|| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "engine/sim/mutants/a.patch";
    const HEADER: &str = "# name: a\n# breaks: R1: x\n# kind: safety\n# tests: p q\n";
    const DIFF: &str = "--- a/log/x.rs\n+++ b/log/x.rs\n@@ -1 +1 @@\n-x > 1\n+x > 2\n";

    fn refusal(header: &str) -> String {
        let error = parse(PATH, &format!("{header}{DIFF}")).expect_err("a bad header");
        format!("{error:#}")
    }

    #[test]
    fn a_patch_file_says_what_it_breaks_and_who_must_notice() {
        let mutant = parse(PATH, &format!("{HEADER}{DIFF}")).expect("a good one");
        assert_eq!(
            (mutant.name.as_str(), mutant.breaks.as_str()),
            ("a", "R1: x")
        );
        assert_eq!(mutant.kind, Kind::Safety);
        assert_eq!(mutant.tests, ["p", "q"]);
        assert_eq!(mutant.files[0].path, "log/x.rs");
    }

    #[test]
    fn a_header_is_whole_or_refused() {
        for key in ["name", "breaks", "kind", "tests"] {
            let lines = HEADER.lines().filter(|line| !line.contains(key));
            let header: String = lines.map(|line| format!("{line}\n")).collect();
            assert!(refusal(&header).contains(key));
        }
        assert!(refusal(&format!("{HEADER}# kind: liveness\n")).contains("twice"));
        assert!(refusal(&format!("{HEADER}# mood: good\n")).contains("unknown"));
        assert!(refusal(&format!("{HEADER}some words\n")).contains("no line"));
        assert!(refusal(&HEADER.replace("safety", "both")).contains("neither"));
        assert!(refusal(&HEADER.replace("name: a", "name: b")).contains("that of its file"));
    }

    #[test]
    fn a_mutant_that_does_not_fit_says_why() {
        let text = format!("{HEADER}{DIFF}");
        let found = |file: Option<&'static str>| misfit(PATH, &text, |_| file);
        assert_eq!(found(Some("x > 1")), None);
        assert!(
            found(Some("x > 3"))
                .expect("other text")
                .contains("not apply")
        );
        assert!(found(None).expect("no file").contains("not there"));
        let bad = misfit(PATH, DIFF, |_| Some("x > 1"));
        assert!(bad.expect("no header").contains("cannot be read"));
    }

    #[test]
    fn a_patch_from_elsewhere_is_put_to_the_tests_around_what_it_changes() {
        let mutant = parse_foreign("/x/mine.patch", DIFF).expect("a diff is enough");
        assert_eq!(mutant.name, "mine");
        assert_eq!(mutant.tests, ["quorate-log", "quorate", "quorate-sim"]);
        let docs = DIFF.replace("log/x.rs", "docs/x.md");
        assert!(parse_foreign("mine.patch", &docs).is_err());
    }

    #[test]
    fn the_catalogue_is_read_and_no_name_stands_in_it_twice() {
        let mutants = load(&crate::repository_root()).expect("all of them are whole");
        assert!(mutants.len() >= 25);
        for pair in mutants.windows(2) {
            assert!(pair[0].name < pair[1].name, "{}", pair[1].name);
        }
    }
}
