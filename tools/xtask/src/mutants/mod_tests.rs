//! Mutants of small packages, run to the end.

use super::*;

use catalog::Kind;

/// A workspace of three small packages, and the mutant that makes `a::one` wrong.
struct Workspace {
    folder: PathBuf,
    suite: Suite,
    limits: Limits,
    /// The test that noticed before.
    caught_by: Option<&'static str>,
}

/// Fails among others and passes alone, also when it is measured.
const DISTURBED: &str = "#[test] fn disturbed() \
    { assert!(std::env::args().any(|word| word == \"--test-threads=1\")); }\n";
/// One that passes, and one that passes among others only.
const LEANING: &str = "#[test] fn passes() {}\n#[test] fn leans() { \
    let has = |option: &str| std::env::args().any(|word| word == option); \
    assert!(!(has(\"--exact\") && has(\"--test-threads=1\"))); }\n";
const ONE: &str = "pub fn one() -> u32 {\n    1\n}\n";
const NOTICES: &str = "#[test] fn one_is_one() { assert_eq!(a::one(), 1); }\n";
const PATCH: &str = "--- a/a/src/lib.rs\n+++ b/a/src/lib.rs\n@@ -1,3 +1,3 @@\n\
     \x20pub fn one() -> u32 {\n-    1\n+    2\n }\n";

impl Workspace {
    /// The tests of `a` and `c`, each by the name of their file.
    fn new(name: &str, tests: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("quorate-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        let tree = folder.join("tree");
        let write = |path: &str, text: &str| {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
            fs::write(path, text).expect("it can be written");
        };
        let members = "[workspace]\nresolver = \"2\"\nmembers = [\"a\", \"b\", \"c\"]\n";
        write("Cargo.toml", members);
        let mut lock = "version = 4\n".to_owned();
        for (name, on) in [("a", ""), ("b", "a"), ("c", "a")] {
            let package = format!("name = \"{name}\"\nversion = \"0.1.0\"\n");
            let (manifest, locked) = match on {
                "" => (String::new(), String::new()),
                on => (
                    format!("[dependencies]\n{on}.path = \"../{on}\"\n"),
                    format!("dependencies = [\n \"{on}\",\n]\n"),
                ),
            };
            write(
                &format!("{name}/Cargo.toml"),
                &format!("[package]\n{package}edition = \"2021\"\n{manifest}"),
            );
            lock += &format!("\n[[package]]\n{package}{locked}");
        }
        write("Cargo.lock", &lock);
        write("a/src/lib.rs", ONE);
        write("b/src/lib.rs", "#[test] fn never_passes() { panic!(); }\n");
        write("c/src/lib.rs", "");
        for (path, text) in tests {
            write(path, text);
        }
        Self {
            suite: Suite::new(tree, folder.join("build")),
            folder,
            limits: Limits::default(),
            caught_by: None,
        }
    }

    /// What becomes of the mutant when `tests` are those that must notice.
    fn outcome(&mut self, tests: &[&str], built_on_it: &[&str]) -> Outcome {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let mutant = Mutant {
            name: "mine".to_owned(),
            breaks: "not said".to_owned(),
            kind: Kind::Safety,
            tests: owned(tests),
            built_on_it: owned(built_on_it),
            caught_by: self.caught_by.map(str::to_owned),
            files: patch::parse(PATCH).expect("a patch"),
        };
        for tests in tests {
            let measured = self.limits.measure(&mut self.suite, tests);
            let measured = measured.expect("cargo runs");
            measured.expect("they pass without it");
        }
        let tree = self.folder.join("tree");
        let outcome = try_mutant(&mut self.suite, &tree, &mutant, &mut self.limits);
        let text = fs::read_to_string(tree.join("a/src/lib.rs"));
        assert_eq!(text.expect("it is there"), ONE, "taken back");
        outcome.expect("cargo runs")
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn failed(test: &str) -> Outcome {
    let test = test.to_owned();
    Outcome::Failed { test, passes: 0 }
}

#[test]
fn a_test_that_others_disturb_keeps_no_other_program_and_no_other_package_from_being_asked() {
    let disturbed = ("a/tests/disturbed.rs", DISTURBED);
    let notices = ("a/tests/notices.rs", NOTICES);
    let mut programs = Workspace::new("programs", &[disturbed, notices]);
    assert_eq!(
        programs.outcome(&["a"], &[]),
        failed("a notices one_is_one")
    );

    let elsewhere = ("c/tests/notices.rs", NOTICES);
    let mut packages = Workspace::new("packages", &[disturbed, elsewhere]);
    let caught = failed("c notices one_is_one");
    assert_eq!(packages.outcome(&["a", "c"], &[]), caught);
    let outcome = packages.outcome(&["a"], &[]);
    assert!(
        matches!(&outcome, Outcome::Undecided(what)
            if what.starts_with("a disturbed disturbed failed among others")),
        "{outcome:?}"
    );
}

#[test]
fn a_package_built_on_the_changed_one_that_never_passes_is_an_error_when_no_other_notices() {
    let notices = ("c/tests/notices.rs", NOTICES);
    let mut workspace = Workspace::new("unsound", &[notices]);
    // Twice: that it never passes is found once and remembered.
    for _ in 0..2 {
        let outcome = workspace.outcome(&["a"], &["b"]);
        assert!(
            matches!(&outcome, Outcome::Undecided(what) if what.starts_with(
                "the tests of b do not pass without any mutant: b b never_passes"
            )),
            "{outcome:?}"
        );
    }
    let outcome = workspace.outcome(&["a"], &["b", "c"]);
    assert_eq!(outcome, failed("c notices one_is_one"));
}

#[test]
fn the_test_that_noticed_before_is_asked_first_and_any_other_where_it_says_nothing() {
    let own = ("a/tests/notices.rs", NOTICES);
    let both = NOTICES.to_owned() + LEANING;
    let elsewhere = ("c/tests/notices.rs", both.as_str());
    let mut workspace = Workspace::new("noted", &[own, elsewhere]);
    let noticed = "c notices one_is_one";
    let passes = "c notices passes";
    // Gone, of another program, no test, one that fails without it.
    let others = [
        "a notices gone",
        "d notices one_is_one",
        "a notices",
        "c notices leans",
    ];
    let noted = others
        .iter()
        .chain([&noticed, &passes])
        .map(|&test| test.to_owned());
    let folder = &workspace.folder;
    workspace.suite = Suite::new(folder.join("tree"), folder.join("build")).knowing(noted);
    let mut outcome_of = |tests: &[&'static str], caught_by| {
        workspace.caught_by = caught_by;
        workspace.outcome(tests, &[])
    };
    let (first, second) = (
        failed("a notices one_is_one"),
        failed("c notices one_is_one"),
    );
    let tests = &["a", "c:notices"];
    assert_eq!(outcome_of(tests, None), first);
    assert_eq!(outcome_of(tests, Some(noticed)), second);
    // The rest of its program is asked first all the same.
    assert_eq!(outcome_of(tests, Some(passes)), second);
    for caught_by in others {
        assert_eq!(outcome_of(tests, Some(caught_by)), first, "{caught_by}");
    }
    // It is none of those that are asked.
    let outcome = outcome_of(&["c:notices:passes"], Some(noticed));
    assert_eq!(outcome, Outcome::Passed);
}
