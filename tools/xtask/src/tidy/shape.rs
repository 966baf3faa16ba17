//! The shape of a Rust file: how long, how wide, how it begins.
//!
//! Never: judges words or dependencies.

use super::finding::Finding;
use super::source::Source;

/// Longest function, from the line of `fn` to its closing brace, in lines.
const FUNCTION_LINES_MAX: usize = 70;
/// Longest file, in lines.
const FILE_LINES_MAX: usize = 700;
/// Widest line, in columns, not counting what stands in literals.
const COLUMNS_MAX: usize = 100;

/// Files that may be longer than [`FILE_LINES_MAX`], each with its own limit in lines.
const LONG_FILES: &[(&str, usize)] = &[];

/// Every complaint about the shape of `source`.
pub(crate) fn check(source: &Source, found: &mut Vec<Finding>) {
    header(source, found);
    length(source, found);
    functions(source, found);
    lines(source, found);
}

fn header(source: &Source, found: &mut Vec<Finding>) {
    let first = source
        .lines
        .iter()
        .position(|line| !line.text.trim().is_empty());
    let begins_well = first.is_some_and(|at| source.lines[at].text.starts_with("//!"));
    if !begins_well {
        found.push(Finding::new(
            &source.path,
            1,
            "the file does not begin with //!",
            "say in its first lines what it owns and what it never does",
        ));
    }
}

fn length(source: &Source, found: &mut Vec<Finding>) {
    let listed = LONG_FILES.iter().find(|(path, _)| *path == source.path);
    let limit = listed.map_or(FILE_LINES_MAX, |(_, limit)| *limit);
    let count = source.lines.len();
    if count > limit {
        found.push(Finding::new(
            &source.path,
            count,
            format!("the file has {count} lines, the limit is {limit}"),
            "cut it where it holds two ideas",
        ));
    }
}

fn functions(source: &Source, found: &mut Vec<Finding>) {
    for function in source.functions() {
        let count = function.last - function.first + 1;
        if count > FUNCTION_LINES_MAX {
            found.push(Finding::new(
                &source.path,
                function.first,
                format!(
                    "fn {} has {count} lines, the limit is {FUNCTION_LINES_MAX}",
                    function.name
                ),
                "name a part of it and move that out",
            ));
        }
    }
}

fn lines(source: &Source, found: &mut Vec<Finding>) {
    for (number, line) in source.numbered() {
        if !line.text.is_ascii() {
            found.push(Finding::new(
                &source.path,
                number,
                "a character outside ASCII",
                "write it in ASCII or as an escape",
            ));
        }
        let columns = line.text.chars().count();
        if columns > COLUMNS_MAX && !is_excused(&line.text, &line.code, &line.comment) {
            found.push(Finding::new(
                &source.path,
                number,
                format!("the line has {columns} columns, the limit is {COLUMNS_MAX}"),
                "break it",
            ));
        }
    }
}

/// A line may be wide because of a literal, an address, or because it is a row of a Markdown table
/// in a comment: none of them can be broken well.
fn is_excused(text: &str, code: &str, comment: &str) -> bool {
    let blank = |view: &str, at: usize| view.as_bytes().get(at).is_none_or(|&b| b == b' ');
    let literal = text
        .bytes()
        .enumerate()
        .filter(|&(at, b)| b != b' ' && blank(code, at) && blank(comment, at));
    let is_row = comment
        .trim_start()
        .trim_start_matches(['/', '!'])
        .trim_start()
        .starts_with('|');
    text.contains("://") || is_row || text.len().saturating_sub(literal.count()) <= COLUMNS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<Finding> {
        let mut found = Vec::new();
        check(&Source::new("net/src/a.rs", text), &mut found);
        found
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        assert!(findings("fn a() {}\n")[0].what.contains("//!"));
        assert!(findings("//! Owns a.\nfn a() {}\n").is_empty());
        assert_eq!(findings("").len(), 1);
    }

    #[test]
    fn a_function_of_71_lines_is_found_and_one_of_70_is_not() {
        let with_body =
            |lines: usize| format!("//! A.\nfn a() {{\n{}}}\n", "    b();\n".repeat(lines));
        assert!(findings(&with_body(68)).is_empty());
        let found = findings(&with_body(69));
        assert_eq!((found.len(), found[0].line), (1, 2));
        assert!(found[0].what.contains("fn a has 71 lines"));
    }

    #[test]
    fn a_file_of_701_lines_is_found() {
        let text = |lines: usize| format!("//! A.\n{}", "// x\n".repeat(lines - 1));
        assert!(findings(&text(700)).is_empty());
        assert!(findings(&text(701))[0].what.contains("701 lines"));
    }

    #[test]
    fn a_wide_line_is_found_unless_it_cannot_be_broken() {
        let wide = "x".repeat(101);
        assert!(
            findings(&format!("//! A.\n// {wide}\n"))[0]
                .what
                .contains("columns")
        );
        assert!(findings(&format!("//! A.\nlet a = \"{wide}\";\n")).is_empty());
        assert!(findings(&format!("//! A.\n//! | {wide} |\n")).is_empty());
        assert!(findings(&format!("//! A.\n// https://a.example/{wide}\n")).is_empty());
    }

    #[test]
    fn a_character_outside_ascii_is_found() {
        let found = findings("//! A.\n// \u{3b4}\n");
        assert_eq!((found.len(), found[0].line), (1, 2));
    }
}
