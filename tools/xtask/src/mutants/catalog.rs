//! The mutants: one small wrong change each, a patch file in `engine/sim/mutants`.
//!
//! Owns what such a file says of itself and whether it still fits the sources. A change that leaves
//! the behaviour the same is no mutant. Never: runs anything.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::patch::{self, FilePatch};
use crate::tidy::deps;

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
    /// Packages that are asked when none of these has noticed.
    pub(crate) built_on_it: Vec<String>,
    /// The test that noticed it when it was run last: package, program and name. It is asked first,
    /// and nothing depends on it.
    pub(crate) caught_by: Option<String>,
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
        built_on_it: Vec::new(),
        caught_by: fields.caught_by,
        files: patch::parse(diff)?,
    })
}

/// A patch file from elsewhere, which may say nothing of itself: the packages are then those whose
/// sources it changes, and after them those that are built on these.
///
/// # Errors
/// When its diff cannot be read, or changes a source of no package that is tested.
pub(crate) fn parse_foreign(path: &str, text: &str) -> Result<Mutant> {
    if let Ok(mutant) = parse(path, text) {
        return Ok(mutant);
    }
    let files = patch::parse(patch::split(text).1)?;
    let mut own: Vec<&str> = Vec::new();
    for file in &files {
        match package_of(&file.path) {
            Some(package) => own.push(package),
            None => ensure!(
                !is_source(&file.path),
                "{} is in no package whose tests could notice",
                file.path
            ),
        }
    }
    ensure!(
        !own.is_empty(),
        "it changes no package whose tests could notice"
    );
    let (tests, built_on_it): (Vec<&str>, Vec<&str>) = deps::built_on(&own)
        .into_iter()
        .partition(|package| own.contains(package));
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    Ok(Mutant {
        name: stem(path).unwrap_or(path).to_owned(),
        breaks: "not said".to_owned(),
        kind: Kind::Safety,
        tests: owned(tests),
        built_on_it: owned(built_on_it),
        caught_by: None,
        files,
    })
}

/// The packages of the workspace, by folder.
const PACKAGES: &[(&str, &str)] = &[
    ("bench/", "quorate-bench"),
    ("engine/consensus/", "quorate-consensus"),
    ("engine/curve/", "quorate-curve"),
    ("engine/node/", "quorate"),
    ("engine/proof/", "quorate-proof"),
    ("engine/sim/", "quorate-sim"),
    ("engine/venue/", "quorate-venue"),
    ("log/", "quorate-log"),
    ("net/", "quorate-net"),
    ("tools/decoders/", "quorate-decoders"),
    ("tools/quorate/", "quorate-cli"),
    ("tools/xtask/", "xtask"),
];

/// Workspaces of their own inside these folders: no test here builds them.
const ELSEWHERE: &[&str] = &[
    "bench/instructions/",
    "bench/peers/",
    "tools/decoders/fuzz/",
];

fn package_of(path: &str) -> Option<&'static str> {
    if ELSEWHERE.iter().any(|folder| path.starts_with(folder)) {
        return None;
    }
    let mut packages = PACKAGES.iter();
    let (_, package) = packages.find(|(folder, _)| path.starts_with(folder))?;
    Some(*package)
}

fn is_source(path: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|ending| ending == "rs")
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
    caught_by: Option<String>,
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
            "caught by" => self.caught_by.replace(value.to_owned()).is_none(),
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
    let mutants = paths.iter().map(|path| read(path, parse));
    let mut mutants = mutants.collect::<Result<Vec<_>>>()?;
    // By name and not by file: of two, one may be how the other begins.
    mutants.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(mutants)
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
        let caught = parse(PATH, &format!("{HEADER}# caught by: p t x\n{DIFF}"));
        let caught_by = caught.expect("a good one").caught_by;
        assert_eq!(caught_by.as_deref(), Some("p t x"));
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
        let around = |paths: &[&str]| {
            let diffs = paths.iter().map(|path| DIFF.replace("log/x.rs", path));
            let mutant = parse_foreign("mine.patch", &diffs.collect::<String>())?;
            Ok::<_, anyhow::Error>((mutant.tests.join(" "), mutant.built_on_it.join(" ")))
        };
        let (tests, built_on_it) = around(&["engine/proof/src/check.rs"]).expect("a package");
        assert_eq!(tests, "quorate-proof");
        assert_eq!(
            built_on_it,
            "quorate quorate-venue quorate-sim quorate-bench quorate-decoders quorate-cli"
        );
        let (tests, built_on_it) = around(&[
            "engine/proof/src/check.rs",
            "docs/x.md",
            "engine/consensus/src/types.rs",
        ])
        .expect("packages");
        assert_eq!(tests, "quorate-consensus quorate-proof");
        assert!(built_on_it.starts_with("quorate quorate-venue"));
        let (tests, built_on_it) = around(&["tools/xtask/src/main.rs"]).expect("a package");
        assert_eq!((tests.as_str(), built_on_it.as_str()), ("xtask", ""));
        assert!(around(&["docs/x.md"]).is_err());
    }

    #[test]
    fn a_patch_of_a_source_that_no_test_builds_is_refused_whatever_else_it_changes() {
        let both = |path: &str| DIFF.to_owned() + &DIFF.replace("log/x.rs", path);
        for path in [
            "bench/peers/raft/src/main.rs",
            "bench/instructions/benches/rules.rs",
            "tools/decoders/fuzz/fuzz_targets/wire.rs",
            "elsewhere/src/lib.rs",
        ] {
            let refused = parse_foreign("mine.patch", &both(path)).expect_err("no package");
            assert!(refused.to_string().starts_with(path), "{refused:#}");
        }
        assert!(parse_foreign("mine.patch", &both("README.md")).is_ok());
    }

    #[test]
    fn every_package_of_the_workspace_is_known_by_its_folder() {
        let root = crate::repository_root();
        let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("it is there");
        let (_, members) = manifest.split_once("members = [").expect("a workspace");
        let (members, rest) = members.split_once("\n]").expect("its end");
        let folders: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
        assert_eq!(folders.len(), PACKAGES.len());
        for folder in folders {
            let name = package_of(&format!("{folder}/src/lib.rs")).expect(folder);
            let text = fs::read_to_string(root.join(folder).join("Cargo.toml")).expect(folder);
            assert!(text.contains(&format!("name = \"{name}\"")), "{folder}");
        }
        let (_, excluded) = rest
            .split_once("exclude = [")
            .expect("workspaces of their own");
        let (excluded, _) = excluded.split_once(']').expect("its end");
        for folder in excluded.split('"').skip(1).step_by(2) {
            assert_eq!(package_of(&format!("{folder}/x.rs")), None, "{folder}");
        }
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
