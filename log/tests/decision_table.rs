//! The decision table of docs/log-format.md against the code and the tests: each row has its
//! decision there, and tests that exist and come to it.

use quorate_log::{Action, Row};

const DOCUMENT: &str = include_str!("../../docs/log-format.md");
const CRASH: &str = include_str!("crash.rs");
const DAMAGE: &str = include_str!("damage.rs");
const PRUNE: &str = include_str!("prune.rs");

/// Every row with its number; a new row does not compile here before it is added.
const fn number(row: Row) -> Option<u32> {
    match row {
        Row::CleanEnd => Some(1),
        Row::TornTail => Some(2),
        Row::TornGroup => Some(3),
        Row::LostEnd => Some(4),
        Row::SyncedDamage => Some(5),
        Row::NotACrash => Some(6),
        Row::NoWatermark => Some(7),
        Row::LostBeginning => Some(8),
        _ => None,
    }
}

const ROWS: [Row; 8] = [
    Row::CleanEnd,
    Row::TornTail,
    Row::TornGroup,
    Row::LostEnd,
    Row::SyncedDamage,
    Row::NotACrash,
    Row::NoWatermark,
    Row::LostBeginning,
];

/// How the line of a row begins: its number and its name in words.
fn start(row: Row) -> String {
    let mut words = String::new();
    for letter in format!("{row:?}").chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    format!("| {} {words} |", number(row).unwrap_or(0))
}

fn decision(row: Row) -> &'static str {
    match row.action() {
        Action::Continue => "go on at i",
        Action::Cut => "**cut**",
        Action::Resume => "**mark**",
        Action::Refuse => "refuse",
    }
}

/// The line of section 8 that names the tests of a row.
fn tests_of(number: u32) -> Vec<&'static str> {
    let (_, section) = DOCUMENT.split_once("## 8.").expect("section 8");
    let is_ours = |line: &&str| {
        let what = line
            .trim_start_matches("| ")
            .split(" |")
            .next()
            .unwrap_or("");
        let numbers = what
            .strip_prefix("rows")
            .or_else(|| what.strip_prefix("row"));
        numbers.is_some_and(|numbers| {
            numbers
                .split(',')
                .any(|one| one.trim().parse() == Ok(number))
        })
    };
    let lines = section.lines().filter(is_ours);
    let names = lines.flat_map(|line| line.split('`').skip(1).step_by(2));
    names.filter(|name| name.contains('_')).collect()
}

/// The text of a test function, up to the brace at the beginning of a line.
fn body_of(test: &str) -> Option<&'static str> {
    let head = format!("#[test]\nfn {test}() {{");
    let mut bodies = [CRASH, DAMAGE, PRUNE].into_iter().filter_map(|file| {
        let (_, rest) = file.split_once(&head)?;
        rest.split_once("\n}\n").map(|(body, _)| body)
    });
    bodies.next()
}

/// Whether a row stands in an assertion. What is compared with it there, nothing here can tell.
fn asserts(body: &str, row: Row) -> bool {
    let lines = body.lines().map(|line| match line.split_once("//") {
        Some((code, _)) => code,
        None => line,
    });
    let code = lines.collect::<Vec<_>>().join("\n");
    let name = format!("Row::{row:?}");
    let names_it = |arguments: &str| {
        arguments.split(&name).skip(1).any(|rest| {
            let next = rest.chars().next();
            !next.is_some_and(|next| next.is_alphanumeric() || next == '_')
        })
    };
    let calls = ["assert!(", "assert_eq!("];
    let mut all = calls.iter().flat_map(|call| code.split(call).skip(1));
    all.any(|rest| names_it(up_to_the_closing(rest)))
}

/// The text before the parenthesis that closes one which was opened before it.
fn up_to_the_closing(text: &str) -> &str {
    let mut depth = 1;
    let end = text.find(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        depth == 0
    });
    end.map_or(text, |end| &text[..end])
}

#[test]
fn a_row_that_stands_outside_of_an_assertion_is_not_asked_for() {
    let row = Row::TornTail;
    for body in [
        "assert_eq!(found.row, Row::TornTail);",
        "assert!(\n    matches!(found().row, Row::TornTail),\n    \"{}\", 1\n);",
    ] {
        assert!(asserts(body, row), "{body}");
    }
    for body in [
        "let row = Row::TornTail; assert_eq!(found(), 1);",
        "// assert_eq!(found.row, Row::TornTail);",
        "assert_eq!(found.row, Row::TornTails);",
        "assert_eq!(found.row, Row::TornGroup); drop(Row::TornTail);",
    ] {
        assert!(!asserts(body, row), "{body}");
    }
}

#[test]
fn every_row_stands_in_the_document_with_its_decision_and_tests_that_come_to_it() {
    for row in ROWS {
        let number = number(row).expect("a row that is listed");
        let start = start(row);
        let line = DOCUMENT.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("row {number} has no line"));
        assert!(
            line.ends_with(&format!("| {} |", decision(row))),
            "{row:?}: {line}"
        );

        let tests = tests_of(number);
        assert!(!tests.is_empty(), "row {number} names no test");
        for test in &tests {
            let is_there = body_of(test).is_some();
            assert!(is_there, "row {number}: there is no test {test}");
        }
        let asks = |test: &&str| body_of(test).is_some_and(|body| asserts(body, row));
        assert!(
            tests.iter().any(asks),
            "no test that is named for row {number} asserts {row:?}"
        );
    }
    let (_, table) = DOCUMENT
        .split_once("| row | found | decision |")
        .expect("the table");
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    assert_eq!(rows.count(), ROWS.len(), "a row that no code comes to");
}
