//! What is wrong with a file that an operator wrote: which file, which field, what stands there,
//! and what to do about it.
//!
//! Owns the error and the search for the field's name in JSON and TOML text. Never: decides what
//! is wrong, or repeats what may be a private key: the message ends up in logs and tickets.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::keys::KEY_FORMAT;
use crate::refused::{EXIT_TRY_AGAIN, system_code};

/// Exit code for what somebody has to correct.
const EXIT_CONFIGURATION: u8 = 3;

/// Longest part of a value that an error repeats, characters.
const VALUE_CHARS_MAX: usize = 80;
/// Hex digits in a row from which on a text may be a private key, or half of one.
const PRIVATE_DIGITS_MIN: usize = 32;
/// What is said in place of text that may be a private key.
const WITHHELD: &str = "(not shown: it may be a private key)";

/// A genesis, configuration or key file that cannot be used. The node refuses to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The file.
    pub file: PathBuf,
    /// The field, as a path such as `validators[2].stake`; empty when the file as a whole is meant.
    pub field: String,
    /// What stands there; empty when nothing does, or when it must not be shown.
    pub value: String,
    /// What is wrong with it.
    pub problem: Box<str>,
    /// What to do about it.
    pub remedy: String,
    /// Exit code of a process that ends for it: 3, or what a refusal of the system asks for.
    pub code: u8,
}

impl FileError {
    pub(crate) fn new(file: &Path, field: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self {
            file: file.to_path_buf(),
            field: field.into(),
            value: String::new(),
            problem: problem.to_string().into_boxed_str(),
            remedy: String::new(),
            code: EXIT_CONFIGURATION,
        }
    }

    /// Adds what stands in the field, unless that may be a private key.
    #[must_use]
    pub(crate) fn value(self, value: impl fmt::Display) -> Self {
        self.public_value(shown(value.to_string()))
    }

    /// Adds what stands in the field, of which the caller knows that it is no private key.
    #[must_use]
    pub(crate) fn public_value(mut self, value: impl fmt::Display) -> Self {
        self.value = shortened(&value.to_string());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub(crate) fn remedy(mut self, remedy: impl fmt::Display) -> Self {
        self.remedy = remedy.to_string();
        self
    }

    /// The error of a file that could not be read, written or created.
    pub(crate) fn io(file: &Path, doing: &str, error: &std::io::Error) -> Self {
        let remedy = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path",
            std::io::ErrorKind::PermissionDenied => {
                "run as the user who owns the file, or correct its permissions"
            }
            std::io::ErrorKind::AlreadyExists => "choose another path, or remove the file first",
            _ => "check the disk and the path",
        };
        let remedy = match system_code(error, EXIT_CONFIGURATION) {
            EXIT_TRY_AGAIN => "make room, or wait until there is some",
            _ => remedy,
        };
        Self {
            code: system_code(error, EXIT_CONFIGURATION),
            ..Self::new(file, "", format!("cannot {doing}: {error}")).remedy(remedy)
        }
    }

    /// The error of JSON text that is not what is expected, with the field found by its place.
    pub(crate) fn json(file: &Path, text: &[u8], error: &serde_json::Error) -> Self {
        let offset = offset_of(text, error.line(), error.column());
        let place = json_place(text, offset);
        let message = error.to_string();
        // The message ends in its place; the field says it better.
        let problem = message
            .split(" at line ")
            .next()
            .unwrap_or(&message)
            .to_owned();
        let value = String::from_utf8_lossy(text.get(place.value).unwrap_or_default()).into_owned();
        Self::new(file, shown(place.field), shown(problem))
            .value(value.trim())
            .remedy(format!(
                "correct line {}, column {}",
                error.line(),
                error.column()
            ))
    }

    /// The error of TOML text that is not what is expected, with the field found by its place.
    pub(crate) fn toml(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let offset = error.span().map_or(0, |span| span.start);
        let (field, value, line) = toml_place(text, offset);
        Self::new(file, shown(field), shown(error.message().to_owned()))
            .value(value)
            .remedy(format!(
                "correct line {line}; `quorate testnet init` writes a file with every key"
            ))
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key that was pasted where its path belongs.
        write!(f, "{}: ", shown(self.file.display().to_string()))?;
        match (self.field.is_empty(), self.value.is_empty()) {
            (true, true) => {}
            (true, false) => write!(f, "`{}`: ", self.value)?,
            (false, true) => write!(f, "field {}: ", self.field)?,
            (false, false) => write!(f, "field {} = {}: ", self.field, self.value)?,
        }
        f.write_str(&self.problem)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for FileError {}

/// Reads a file of at most `bytes_max` bytes.
///
/// # Errors
/// It cannot be read, or is longer.
pub fn read_bounded(path: &Path, bytes_max: usize) -> Result<Vec<u8>, FileError> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| FileError::io(path, "read the file", &error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let bound = u64::try_from(bytes_max)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    file.take(bound).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > bytes_max {
        return Err(FileError::new(path, "", "the file is too long")
            .remedy(format!("at most {bytes_max} bytes are read")));
    }
    Ok(bytes)
}

/// The text, or that it is not shown.
fn shown(text: String) -> String {
    let digits = text.split(|c: char| !c.is_ascii_hexdigit()).map(str::len);
    let is_private =
        text.contains(KEY_FORMAT) || digits.max().unwrap_or_default() >= PRIVATE_DIGITS_MIN;
    if is_private {
        WITHHELD.to_owned()
    } else {
        text
    }
}

fn shortened(value: &str) -> String {
    let mut line: String = value.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((place, _)) = line.char_indices().nth(VALUE_CHARS_MAX) {
        line.truncate(place);
        line.push_str("...");
    }
    line
}

/// The byte offset of a line and column, both from 1.
fn offset_of(text: &[u8], line: usize, column: usize) -> usize {
    let before: usize = text
        .split(|&byte| byte == b'\n')
        .take(line.saturating_sub(1))
        .map(|l| l.len() + 1)
        .sum();
    (before + column).min(text.len())
}

/// A field of a JSON text and where its value stands.
struct Place {
    field: String,
    value: std::ops::Range<usize>,
}

/// One level of nesting: an object with its last key, or an array with its element's number.
enum Level {
    Object {
        key: Option<String>,
        expects_key: bool,
    },
    Array {
        index: usize,
    },
}

/// Walks JSON text up to `end` and says in which field that is.
fn json_place(text: &[u8], end: usize) -> Place {
    let end = end.min(text.len());
    let mut levels: Vec<Level> = Vec::new();
    let mut value_start = 0;
    let mut at = 0;
    while let Some(&byte) = text.get(at).filter(|_| at < end) {
        match byte {
            b'"' => {
                let close = string_end(text, at);
                if let Some(Level::Object {
                    key,
                    expects_key: true,
                }) = levels.last_mut()
                {
                    let inner = text
                        .get(at + 1..close.saturating_sub(1))
                        .unwrap_or_default();
                    *key = Some(String::from_utf8_lossy(inner).into_owned());
                    value_start = close;
                }
                at = close;
                continue;
            }
            b'{' => levels.push(Level::Object {
                key: None,
                expects_key: true,
            }),
            b'[' => {
                levels.push(Level::Array { index: 0 });
                value_start = at + 1;
            }
            // The bracket at the very end still belongs to the level that it closes.
            b'}' | b']' if at + 1 < end => {
                levels.pop();
            }
            b':' => {
                value_start = at + 1;
                if let Some(Level::Object { expects_key, .. }) = levels.last_mut() {
                    *expects_key = false;
                }
            }
            b',' => {
                value_start = at + 1;
                match levels.last_mut() {
                    Some(Level::Object { expects_key, .. }) => *expects_key = true,
                    Some(Level::Array { index }) => *index += 1,
                    None => {}
                }
            }
            _ => {}
        }
        at += 1;
    }
    let closes = matches!(text.get(end.wrapping_sub(1)), Some(b'}' | b']'));
    let value = if closes {
        end..end
    } else {
        value_start.min(end)..end
    };
    Place {
        field: path_of(&levels, closes),
        value,
    }
}

/// The place behind the string that opens at `open`.
fn string_end(text: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// The levels as a path. Where the text ends in a closing bracket the last key is not meant, but
/// the whole it belongs to.
fn path_of(levels: &[Level], closes: bool) -> String {
    let mut path = String::new();
    for (depth, level) in levels.iter().enumerate() {
        if closes && depth + 1 == levels.len() {
            break;
        }
        match level {
            Level::Object { key: Some(key), .. } => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
            }
            Level::Object { key: None, .. } => {}
            Level::Array { index } => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// The field, the value and the line number (from 1) at an offset of TOML text, by its line. A line
/// without `=` is none of a configuration, so nothing is known of what it holds: it has no value.
fn toml_place(text: &str, offset: usize) -> (String, String, usize) {
    let mut start = offset.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let before = &text[..start];
    let line_start = before.rfind('\n').map_or(0, |place| place + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let table = before
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| line.starts_with('['))
        .map(|line| line.trim_matches(|c| c == '[' || c == ']').to_owned());
    let line_number = before.matches('\n').count() + 1;
    let Some((key, value)) = line.split_once('=') else {
        return (String::new(), String::new(), line_number);
    };
    let field = match table {
        Some(table) => format!("{table}.{}", key.trim()),
        None => key.trim().to_owned(),
    };
    (field, value.trim().to_owned(), line_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors of reading it are looked at")]
    struct Outer {
        name: String,
        list: Vec<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors of reading it are looked at")]
    struct Inner {
        stake: u64,
    }

    fn json_error(text: &str) -> FileError {
        let error = serde_json::from_str::<Outer>(text).unwrap_err();
        FileError::json(Path::new("g.json"), text.as_bytes(), &error)
    }

    #[test]
    fn a_wrong_type_in_json_names_path_and_value() {
        let error = json_error(
            "{\"name\": \"a, [\\\" {\", \"list\": [{\"stake\": 1}, {\"stake\": \"x\"}]}",
        );
        assert_eq!(
            (error.field.as_str(), error.value.as_str()),
            ("list[1].stake", "\"x\"")
        );
        assert!(error.problem.contains("expected u64"), "{error}");
    }

    #[test]
    fn an_unknown_field_in_json_is_named() {
        let error = json_error("{\"name\": \"a\", \"list\": [{\"stake\": 1, \"stakes\": 2}]}");
        assert_eq!(error.field, "list[0].stakes");
        assert!(error.problem.contains("unknown field `stakes`"), "{error}");
    }

    #[test]
    fn a_missing_field_in_json_names_the_object_that_lacks_it() {
        let error = json_error("{\"name\": \"a\", \"list\": [{\"stake\": 1}, {}]}");
        assert_eq!(
            (error.field.as_str(), error.value.as_str()),
            ("list[1]", "")
        );
        assert!(error.problem.contains("missing field `stake`"), "{error}");
    }

    #[test]
    fn a_field_given_twice_in_json_is_refused() {
        let error = json_error("{\"name\": \"a\", \"name\": \"b\", \"list\": []}");
        assert!(error.problem.contains("duplicate field `name`"), "{error}");
        assert_eq!(error.field, "name");
    }

    #[test]
    fn every_cut_of_a_json_text_gives_an_error_and_no_panic() {
        let text = "{\"name\": \"\\\"a\", \"list\": [{\"stake\": 1}, {\"stake\": 22}]}";
        for cut in 0..text.len() {
            assert!(!json_error(&text[..cut]).problem.is_empty());
        }
    }

    #[test]
    fn a_wrong_type_in_toml_names_table_key_and_value() {
        let text = "name = \"a\"\n[[list]]\nstake = 1\n[[list]]\nstake = \"x\" \n";
        let error = toml::from_str::<Outer>(text).unwrap_err();
        let error = FileError::toml(Path::new("q.toml"), text, &error);
        assert_eq!(
            (error.field.as_str(), error.value.as_str()),
            ("list.stake", "\"x\"")
        );
        assert!(error.remedy.contains("line 5"), "{error}");
    }

    #[test]
    fn a_long_value_is_cut() {
        let error = FileError::new(Path::new("f"), "x", "too long").value("z".repeat(1000));
        assert!(error.to_string().len() < 200);
    }

    #[test]
    fn what_may_be_a_private_key_is_not_repeated_and_a_public_one_is() {
        let digits = "0123456789abcdef".repeat(4);
        let file = Path::new("q.toml");
        for private in [
            format!("{KEY_FORMAT} {digits}"),
            format!("\"{digits}\""),
            format!("{KEY_FORMAT} x"),
            digits[..PRIVATE_DIGITS_MIN].to_owned(),
        ] {
            let error = FileError::new(file, "key", "no").value(&private);
            assert_eq!(error.value, WITHHELD);
            let error = FileError::new(Path::new(&private), "", "no");
            assert!(!error.to_string().contains(&private), "{error}");
        }
        let error = FileError::new(file, "key", "no").public_value(&digits);
        assert!(error.to_string().contains(&digits), "{error}");
        let short = &digits[..PRIVATE_DIGITS_MIN - 1];
        let error = FileError::new(file, "key", "no").value(short);
        assert!(error.to_string().contains(short), "{error}");
    }

    #[test]
    fn a_private_key_in_json_is_repeated_nowhere() {
        let digits = "0123456789abcdef".repeat(4);
        for text in [
            format!("{{\"{digits}\": 1}}"),
            format!("{{\"name\": 1, \"list\": \"{KEY_FORMAT} {digits}\"}}"),
            format!("{{\"list\": \"{digits}\"}}"),
            format!("{KEY_FORMAT} {digits}\n"),
        ] {
            let error = json_error(&text).to_string();
            assert!(!error.contains(&digits[..8]), "{error}");
        }
    }
}
