//! What stands in for the harness of a program that is a test and reads arguments of its own.
//!
//! Owns which tests are asked for and the lines that name them, as the usual harness writes them:
//! who reads these learns which one failed. Never: runs two at once.

use std::io::{self, Write};
use std::panic::{catch_unwind, resume_unwind};

/// A test and its name.
pub(crate) type Test = (&'static str, fn());

/// Runs those tests that the arguments ask for; true when each passes.
pub(crate) fn run(tests: &[Test], arguments: &[&str], out: &mut impl Write) -> io::Result<bool> {
    let asked = tests.iter().filter(|(name, _)| is_asked(name, arguments));
    let asked: Vec<&Test> = asked.collect();
    if arguments.contains(&"--list") {
        for (name, _) in &asked {
            writeln!(out, "{name}: test")?;
        }
        return Ok(true);
    }
    let noun = if asked.len() == 1 { "test" } else { "tests" };
    writeln!(out, "\nrunning {} {noun}", asked.len())?;
    let mut failed = 0;
    for (name, test) in &asked {
        let word = if catch_unwind(test).is_ok() {
            "ok"
        } else {
            failed += 1;
            "FAILED"
        };
        writeln!(out, "test {name} ... {word}")?;
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    let (passed, left_out) = (asked.len() - failed, tests.len() - asked.len());
    writeln!(
        out,
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; \
         {left_out} filtered out\n"
    )?;
    Ok(failed == 0)
}

/// Whether the test of this name is meant by the arguments of the usual harness.
fn is_asked(name: &str, arguments: &[&str]) -> bool {
    let (mut words, mut skipped, mut is_exact) = (Vec::new(), Vec::new(), false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "--exact" => is_exact = true,
            // None is ignored here.
            "--ignored" => return false,
            "--skip" => skipped.extend(rest.next()),
            "--test-threads" | "--color" | "--format" | "--logfile" | "--shuffle-seed" | "-Z" => {
                rest.next();
            }
            option if option.starts_with('-') => {}
            _ => words.push(argument),
        }
    }
    let is_meant = |word: &&&str| match is_exact {
        true => name == **word,
        false => name.contains(**word),
    };
    !skipped.iter().any(is_meant) && (words.is_empty() || words.iter().any(is_meant))
}

/// Of the harness itself.
pub(crate) fn a_test_that_fails_is_named_and_those_that_are_not_asked_for_do_not_run() {
    // Nothing is written of a panic that is only gone on with.
    let fails = || {
        resume_unwind(Box::new(()));
    };
    let tests: [Test; 2] = [("fails", fails), ("passes", || ())];
    let run = |arguments: &[&str]| {
        let mut out = Vec::new();
        let is_good = run(&tests, arguments, &mut out).expect("memory takes it");
        (is_good, String::from_utf8(out).expect("text"))
    };
    let (is_good, told) = run(&[]);
    assert!(!is_good);
    for line in [
        "running 2 tests",
        "test fails ... FAILED",
        "test passes ... ok",
    ] {
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
    assert!(told.contains("\ntest result: FAILED. 1 passed; 1 failed;"));
    for arguments in [
        &["--exact", "passes", "--test-threads=1"][..],
        &["pass", "other"],
        &["--test-threads", "1", "--skip", "fail"],
    ] {
        let (is_good, told) = run(arguments);
        assert!(is_good && told.contains("running 1 test\ntest passes ... ok\n"));
    }
    for arguments in [&["--exact", "pass"][..], &["--ignored"], &["other"]] {
        assert!(
            run(arguments).1.contains("running 0 tests"),
            "{arguments:?}"
        );
    }
    assert_eq!(run(&["--list", "fail"]), (true, "fails: test\n".to_owned()));
}
