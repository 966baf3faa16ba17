//! A Rust file cut into code, comments and literals, line by line.
//!
//! Owns the one scanner that every check reads through, so that a word in a string is never taken
//! for code. Never: parses Rust; it knows tokens' edges only, which is enough for text that has
//! passed rustfmt and the compiler.

use std::collections::BTreeSet;

use super::unused::declaration_of;

/// What a byte of a source file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// One line of a Rust file in the views the checks need. All three have the same columns.
#[derive(Debug)]
pub(crate) struct Line {
    /// The line as written.
    pub(crate) text: String,
    /// Code alone: comments and the insides of literals are spaces.
    pub(crate) code: String,
    /// Comments alone, with their markers.
    pub(crate) comment: String,
    /// Whether the line is compiled for tests only.
    pub(crate) is_test: bool,
}

/// One Rust file, scanned.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path from the root of the repository, with forward slashes.
    pub(crate) path: String,
    /// The lines in order; `lines[0]` is line 1.
    pub(crate) lines: Vec<Line>,
}

impl Source {
    /// Scans `text`, which stands at `path`.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let kinds = classify(text.as_bytes());
        let code = masked(text, &kinds, Kind::Code);
        let comment = masked(text, &kinds, Kind::Comment);
        let is_test_file = is_test_path(path);
        let mut lines: Vec<Line> = text
            .lines()
            .zip(code.lines().zip(comment.lines()))
            .map(|(text, (code, comment))| Line {
                text: text.to_owned(),
                code: code.to_owned(),
                comment: comment.to_owned(),
                is_test: is_test_file,
            })
            .collect();
        mark_test_items(&mut lines);
        Self {
            path: path.to_owned(),
            lines,
        }
    }

    /// The lines with their numbers from 1.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines
            .iter()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }

    /// The modules that this file declares without a body: line from 0, and name.
    pub(crate) fn declared_modules(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().enumerate().flat_map(|(index, line)| {
            word_columns(&line.code, "mod")
                .into_iter()
                .filter_map(move |at| {
                    let name = line.code[at + 3..].split_once(';')?.0.trim();
                    (!name.is_empty() && name.chars().all(is_word_char)).then_some((index, name))
                })
        })
    }

    /// Every `fn` with a name: its name, its first line and its last line, from 1. A declaration
    /// without a body ends where it begins.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for (number, line) in self.numbered() {
            for column in word_columns(&line.code, "fn") {
                let name: String = line.code[column + 2..]
                    .trim_start()
                    .chars()
                    .take_while(|c| is_word_char(*c))
                    .collect();
                if !name.is_empty() {
                    let last = end_of_item(&self.lines, number - 1, column) + 1;
                    found.push(Function {
                        name,
                        first: number,
                        last,
                        is_test: line.is_test,
                    });
                }
            }
        }
        found
    }
}

/// A named function of a [`Source`].
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) first: usize,
    pub(crate) last: usize,
    pub(crate) is_test: bool,
}

/// Whether every line of the file at `path` is test, bench or example code.
fn is_test_path(path: &str) -> bool {
    ["/tests/", "/benches/", "/examples/"]
        .iter()
        .any(|part| path.contains(part))
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
}

/// Marks the files whose module is declared for tests only (`#[cfg(test)] mod pair;`), and the
/// files below them.
pub(crate) fn mark_test_files(sources: &mut [Source]) {
    loop {
        let mut marked = BTreeSet::new();
        for (index, source) in sources.iter().enumerate() {
            let Some((name, parents)) = declaration_of(&source.path) else {
                continue;
            };
            let is_marked = source.lines.iter().all(|line| line.is_test);
            let is_for_tests = sources
                .iter()
                .filter(|other| parents.contains(&other.path))
                .any(|parent| {
                    parent
                        .declared_modules()
                        .any(|(line, module)| module == name && parent.lines[line].is_test)
                });
            if is_for_tests && !is_marked {
                marked.insert(index);
            }
        }
        if marked.is_empty() {
            return;
        }
        for index in marked {
            for line in &mut sources[index].lines {
                line.is_test = true;
            }
        }
    }
}

pub(crate) fn is_word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The columns (byte offsets) at which `word` stands in `text` as a word of its own.
pub(crate) fn word_columns(text: &str, word: &str) -> Vec<usize> {
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(|&at| {
            let before = text[..at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            let is_open = |edge: Option<char>| edge.is_none_or(|c| !is_word_char(c));
            is_open(before) && is_open(after)
        })
        .collect()
}

/// Whether `word` stands in `text` as a word of its own.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    !word_columns(text, word).is_empty()
}

/// `text` with every byte that is not of kind `keep` turned into a space; line ends stay.
fn masked(text: &str, kinds: &[Kind], keep: Kind) -> String {
    text.bytes()
        .zip(kinds)
        .map(|(byte, kind)| match byte {
            b'\n' => '\n',
            b'\r' => '\r',
            _ if *kind != keep => ' ',
            _ if byte.is_ascii() => char::from(byte),
            // A byte of a non-ASCII character: its own check reports it.
            _ => '?',
        })
        .collect()
}

/// Sorts every byte of a Rust file into code, comment or literal.
fn classify(text: &[u8]) -> Vec<Kind> {
    let mut kinds = vec![Kind::Code; text.len()];
    let mut at = 0;
    while at < text.len() {
        let (end, kind) = match text[at] {
            b'/' if text.get(at + 1) == Some(&b'/') => (end_of_line(text, at), Kind::Comment),
            b'/' if text.get(at + 1) == Some(&b'*') => (end_of_block(text, at), Kind::Comment),
            b'"' => (end_of_string(text, at), Kind::Literal),
            b'r' | b'b' | b'c' if !is_inside_word(text, at) => match raw_string_end(text, at) {
                Some(end) => (end, Kind::Literal),
                None => (at + 1, Kind::Code),
            },
            b'\'' => match char_end(text, at) {
                Some(end) => (end, Kind::Literal),
                None => (at + 1, Kind::Code),
            },
            _ => (at + 1, Kind::Code),
        };
        kinds[at..end].fill(kind);
        at = end;
    }
    kinds
}

fn is_inside_word(text: &[u8], at: usize) -> bool {
    at > 0 && is_word_char(char::from(text[at - 1]))
}

fn end_of_line(text: &[u8], from: usize) -> usize {
    text[from..]
        .iter()
        .position(|&b| b == b'\n')
        .map_or(text.len(), |n| from + n)
}

/// The end of the block comment that starts at `from`; Rust's block comments nest.
fn end_of_block(text: &[u8], from: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = from;
    while at < text.len() {
        match &text[at..text.len().min(at + 2)] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    text.len()
}

/// The end of the string whose opening quote stands at `from`.
fn end_of_string(text: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// The end of the raw string that starts at `from` (`r"`, `r#"`, `br"`, `cr#"`), if one does.
fn raw_string_end(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    if matches!(text[at], b'b' | b'c') {
        at += 1;
    }
    if text.get(at) != Some(&b'r') {
        return None;
    }
    at += 1;
    let hashes = text[at..].iter().take_while(|&&b| b == b'#').count();
    at += hashes;
    if text.get(at) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let body = at + 1;
    let end = text[body..]
        .windows(close.len())
        .position(|w| w == close.as_slice());
    Some(end.map_or(text.len(), |n| body + n + close.len()))
}

/// The end of the character literal that starts at `from`; `None` when it is a lifetime.
fn char_end(text: &[u8], from: usize) -> Option<usize> {
    let first = *text.get(from + 1)?;
    if first == b'\\' {
        let close = text[from + 3..].iter().position(|&b| b == b'\'')?;
        return Some(from + 3 + close + 1);
    }
    // One character, at most four bytes long, then the closing quote.
    let close = text[from + 1..]
        .iter()
        .take(5)
        .skip(1)
        .position(|&b| b == b'\'')?;
    let is_single = close == 0 || !first.is_ascii();
    is_single.then_some(from + 2 + close + 1)
}

/// The last line (index) of the item that starts at `column` of line `start`: the line of the
/// brace that closes its body, or of the semicolon that ends it without one.
fn end_of_item(lines: &[Line], start: usize, column: usize) -> usize {
    let mut braces = 0_usize;
    let mut brackets = 0_usize;
    for (index, line) in lines.iter().enumerate().skip(start) {
        let from = if index == start { column } else { 0 };
        for c in line.code[from..].chars() {
            match c {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets = brackets.saturating_sub(1),
                '{' if brackets == 0 => braces += 1,
                '}' if brackets == 0 => {
                    braces = braces.saturating_sub(1);
                    if braces == 0 {
                        return index;
                    }
                }
                ';' if braces == 0 && brackets == 0 => return index,
                _ => {}
            }
        }
    }
    lines.len().saturating_sub(1)
}

/// Marks the items that stand behind `#[cfg(test)]` or `#[test]`, attribute to closing brace.
fn mark_test_items(lines: &mut [Line]) {
    let mut index = 0;
    while index < lines.len() {
        let code = lines[index].code.trim();
        let opens = code.starts_with("#[cfg(test)")
            || code.starts_with("#[cfg(all(test")
            || code.starts_with("#[test]");
        if opens {
            // The item begins behind its attributes; an attribute's own brackets are balanced,
            // so that the walk passes over them.
            let last = end_of_item(lines, index, 0);
            for line in &mut lines[index..=last] {
                line.is_test = true;
            }
            index = last;
        }
        index += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_in_a_string_or_a_comment_is_not_code() {
        let text =
            "let a = \"unsafe\"; // unsafe\nlet b = r#\"un\"safe\"#; /* x /* y */ z */ let c;\n";
        let source = Source::new("net/src/a.rs", text);
        assert!(
            source
                .lines
                .iter()
                .all(|line| !has_word(&line.code, "unsafe"))
        );
        assert!(has_word(&source.lines[0].comment, "unsafe"));
        assert!(source.lines[1].code.contains("let c;"));
        assert!(!source.lines[1].code.contains('z'));
    }

    #[test]
    fn a_lifetime_is_not_a_character() {
        let source = Source::new(
            "net/src/a.rs",
            "fn f<'a>(x: &'a str) -> char { '\"' }\nfn g() {}\n",
        );
        let names: Vec<String> = source.functions().into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["f", "g"]);
    }

    #[test]
    fn escapes_end_where_they_should() {
        let source = Source::new(
            "a.rs",
            "let q = '\\''; let s = \"\\\"{\"; let n = '\\n'; fin();\n",
        );
        assert!(source.lines[0].code.contains("fin();"));
        assert!(!source.lines[0].code.contains('{'));
    }

    #[test]
    fn test_items_are_marked_to_their_closing_brace() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        let source = Source::new("engine/node/src/a.rs", text);
        let marks: Vec<bool> = source.lines.iter().map(|line| line.is_test).collect();
        assert_eq!(marks, [false, true, true, true, true, false]);
        assert!(Source::new("engine/node/tests/a.rs", "fn a() {}\n").lines[0].is_test);
    }

    #[test]
    fn a_file_declared_for_tests_is_marked_with_the_files_below_it() {
        let mut sources = [
            ("net/src/lib.rs", "mod a;\n#[cfg(test)]\nmod pair;\n"),
            ("net/src/pair.rs", "mod link;\n"),
            ("net/src/pair/link.rs", "fn a() {}\n"),
            ("net/src/a.rs", "fn a() {}\n"),
        ]
        .map(|(path, text)| Source::new(path, text));
        mark_test_files(&mut sources);
        let marks = sources.map(|source| source.lines[0].is_test);
        assert_eq!(marks, [false, true, true, false]);
    }

    #[test]
    fn a_function_ends_at_its_closing_brace() {
        let text = "trait T {\n    fn a(&self) -> [u8; 4];\n    fn b(\n        x: u8,\n    ) {\n        {\n        }\n    }\n}\n";
        let spans: Vec<(usize, usize)> = Source::new("a.rs", text)
            .functions()
            .iter()
            .map(|f| (f.first, f.last))
            .collect();
        assert_eq!(spans, [(2, 2), (3, 8)]);
    }
}
