//! What the output of a test program means, and how one that fails is asked again.

use super::*;

fn shell(script: &str, limit: Duration) -> Outcome {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    watch(command, "p t", limit, |_| {}).expect("a shell runs")
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn the_first_test_that_fails_is_named_and_ends_the_run() {
    let script = "echo 'test a ... ok'; echo 'test b::c ... FAILED'; sleep 600";
    assert_eq!(shell(script, LONG), failed(0));
}

fn failed(passes: u32) -> Outcome {
    let test = "p t b::c".into();
    Outcome::Failed { test, passes }
}

/// What comes of a test program that is this script, given how often it was run before.
fn runs_of(name: &str, script: &str) -> Outcome {
    let folder = std::env::temp_dir().join(format!("quorate-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).expect("a folder");
    let counts = "#!/bin/sh\nbefore=$(cat runs 2>/dev/null || echo 0)\n\
        echo $((before + 1)) > runs\n";
    // By a shell: a file that this process still wrote could not be started by another.
    let written = Command::new("sh")
        .args(["-c", "printf %s \"$0\" > program && chmod +x program"])
        .arg(format!("{counts}{script}\n"))
        .current_dir(&folder)
        .status();
    assert!(written.expect("a shell runs").success());
    let program = Program {
        target: Target {
            tests: "p".into(),
            name: "p t".into(),
            selection: Vec::new(),
        },
        executable: folder.join("program"),
        folder: folder.clone(),
    };
    let suite = Suite::new(folder.clone(), folder.join("build"));
    let outcome = suite.run_part(&program, Part::Fast, &mut Vec::new(), LONG);
    std::fs::remove_dir_all(&folder).expect("it can be removed");
    outcome.expect("a shell runs")
}

#[test]
fn a_test_that_fails_among_others_and_never_alone_is_no_catch() {
    let fails = "echo 'test b::c ... FAILED'; exit 101";
    let passes = "echo 'running 1 test'; echo 'test b::c ... ok'";
    assert_eq!(runs_of("always", fails), failed(0));
    let once = format!("[ $before = 0 ] && {{ {fails}; }}; {passes}");
    let outcome = runs_of("once", &once);
    assert!(
        matches!(&outcome, Outcome::Undecided(what)
            if what == "p t b::c failed among others, and passed 3 times alone"),
        "{outcome:?}"
    );
    // The last of the runs alone counts as well as the first.
    for (place, passed) in [(2, 1), (3, 2)] {
        let script =
            format!("[ $before = 0 ] || [ $before = {place} ] && {{ {fails}; }}; {passes}");
        assert_eq!(runs_of("seldom", &script), failed(passed));
    }
    assert_eq!(runs_of("never", passes), Outcome::Passed);
}

#[test]
fn a_test_is_run_alone_by_its_name_and_fails_there_whatever_it_writes() {
    let among = "[ $before = 0 ] && { echo 'test b::c - should panic ... FAILED'; exit 101; }";
    // It finds its own name and nothing else, and writes before the word that it failed.
    let alone = format!(
        "{among}; [ \"$*\" = '--exact b::c --test-threads=1' ] || exit 0\n\
         echo 'test b::c ... some words'; echo FAILED\n\
         echo 'test result: FAILED. 0 passed; 1 failed'; exit 101"
    );
    assert_eq!(runs_of("writes", &alone), failed(0));
    let dies = format!("{among}; [ \"$2\" = --skip ] || kill -ABRT $$");
    let outcome = runs_of("dies", &dies);
    assert!(
        matches!(&outcome, Outcome::Undecided(what) if what.contains("alone: p t ended")),
        "{outcome:?}"
    );
    // Nothing has that name.
    let outcome = runs_of("gone", &format!("{among}; echo 'running 0 tests'"));
    assert!(
        matches!(&outcome, Outcome::Undecided(what) if what.contains("cannot be run alone")),
        "{outcome:?}"
    );
}

#[test]
fn what_others_disturb_is_left_out_and_the_rest_is_asked() {
    // `d` and `e` fail among others only; what comes after them counts.
    let script = |rest: &str| {
        format!(
            "case \"$*\" in\n\
             '--exact --skip d --skip e') {rest};;\n\
             '--exact --skip d') echo 'test e ... FAILED'; exit 101;;\n\
             '--exact') echo 'test d ... FAILED'; exit 101;;\n\
             '--exact b::c --test-threads=1') echo 'test b::c ... FAILED'; exit 101;;\n\
             *) echo 'running 1 test';;\nesac"
        )
    };
    let catches = script("echo 'test b::c ... FAILED'; exit 101");
    assert_eq!(runs_of("caught", &catches), failed(0));
    let outcome = runs_of("undecided", &script("exit 0"));
    assert!(
        matches!(&outcome, Outcome::Undecided(what) if what.starts_with("p t d failed")),
        "{outcome:?}"
    );
    let outcome = runs_of("dead", &script("exit 1"));
    assert!(matches!(outcome, Outcome::Unnamed(_)), "{outcome:?}");
    // One that would be disturbed for ever ends the questions.
    let runs = "[ \"$2\" = d ] || echo 'test d ... FAILED'; echo 'running 1 test'";
    let outcome = runs_of("all", runs);
    assert!(matches!(outcome, Outcome::Undecided(_)), "{outcome:?}");
}

#[test]
fn a_run_without_a_failure_passes_and_every_line_is_seen() {
    assert_eq!(shell("echo 'test a ... ok'", LONG), Outcome::Passed);
    let mut command = Command::new("sh");
    command.args(["-c", "echo 'test a::b ... ok'; echo 'test result: ok'"]);
    let mut passed = Vec::new();
    let outcome = watch(command, "p t", LONG, |line| {
        passed.extend(passed_test(line).map(str::to_owned));
    });
    assert_eq!(outcome.expect("a shell runs"), Outcome::Passed);
    assert_eq!(passed, ["a::b"]);
}

#[test]
fn tests_about_the_same_are_known_by_the_longer_words_and_the_rule() {
    assert_eq!(words_of("r13-ask-of-a-lost-disk"), ["r13", "lost", "disk"]);
    assert!(words_of("a-b-rx-ref").is_empty());
}

#[test]
fn a_run_that_hangs_is_ended_and_is_no_failure_of_a_test() {
    let outcome = shell("sleep 600", Duration::from_millis(1));
    assert!(matches!(outcome, Outcome::Unnamed(what) if what.contains("not done")));
}

#[test]
fn a_program_that_dies_without_naming_a_test_is_no_failure_of_a_test() {
    let outcome = shell("echo 'test a ... ok'; kill -ABRT $$", LONG);
    assert!(matches!(outcome, Outcome::Unnamed(what) if what.contains("ended")));
}

#[test]
fn cargo_s_messages_give_test_programs_and_complaints() {
    let message = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let built = message(
        r#"{"reason":"compiler-artifact","manifest_path":"/p/Cargo.toml",
            "target":{"name":"rules","kind":["test"]},"profile":{"test":true},"executable":"/b/rules-1"}"#,
    );
    let program = program_of(&built, "p").expect("a test program");
    assert_eq!(program.target.name, "p rules");
    assert_eq!(program.target.selection, ["--test", "rules"]);
    assert_eq!(program.folder, Path::new("/p"));
    let one = program_of(&built, "p:rules").expect("a test program");
    assert_eq!(
        (one.target.name, one.folder),
        (program.target.name, program.folder)
    );
    assert_eq!(selection_of("p:rules"), one.target.selection);
    assert_eq!(selection_of("p:lib"), ["--lib"]);
    assert_eq!(selection_of("p:bins:part"), ["--bins"]);
    assert!(selection_of("p").is_empty() && part_of("p:rules").is_none());
    assert_eq!(selection_of("p:rules:r6::a"), one.target.selection);
    assert_eq!(part_of("p:rules:r6::a"), Some("r6::a"));
    let library = message(r#"{"target":{"name":"p"},"profile":{"test":false}}"#);
    assert!(program_of(&library, "p").is_none());
    let error = message(r#"{"message":{"level":"error","message":"no such thing"}}"#);
    assert_eq!(first_error(&error).as_deref(), Some("no such thing"));
    let warning = message(r#"{"message":{"level":"warning","message":"unused"}}"#);
    assert_eq!(first_error(&warning), None);
}
