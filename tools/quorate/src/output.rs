//! What a command says when it is done: one JSON object, or text for people.
//!
//! Owns standard output; logs and progress go to standard error (`stderr`). Never: decides an exit
//! code.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::{Code, Failure};
use crate::stderr;

/// Version of the JSON objects: it rises when a key changes its meaning or goes.
pub(crate) const SCHEMA: u32 = 1;

/// The result of a command that ran.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) code: Code,
    pub(crate) json: Value,
    pub(crate) text: String,
}

impl Report {
    /// A report from its fields, which become the JSON object, and from its text.
    ///
    /// # Errors
    /// The fields are not a JSON object: a bug.
    pub(crate) fn new(fields: &impl Serialize, text: String) -> Result<Self, Failure> {
        let value = serde_json::to_value(fields)
            .map_err(|error| Failure::new(Code::Safety, error).remedy("report this"))?;
        let Value::Object(fields) = value else {
            let what = "the report is not an object";
            return Err(Failure::new(Code::Safety, what).remedy("report this"));
        };
        let mut json = json!({ "schema": SCHEMA });
        if let Value::Object(object) = &mut json {
            object.extend(fields);
        }
        Ok(Self {
            code: Code::Done,
            json,
            text,
        })
    }

    /// The same report with one more key, behind the others.
    ///
    /// # Errors
    /// The value is not JSON: a bug.
    pub(crate) fn with(mut self, key: &str, value: &impl Serialize) -> Result<Self, Failure> {
        let value = serde_json::to_value(value)
            .map_err(|error| Failure::new(Code::Safety, error).remedy("report this"))?;
        if let Value::Object(object) = &mut self.json {
            object.insert(key.to_owned(), value);
        }
        Ok(self)
    }

    /// The same report of a command that answers with this code.
    pub(crate) const fn with_code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }
}

/// Prints what a command gave and says with what code the process ends.
pub(crate) fn finish(result: Result<Report, Failure>, is_json: bool) -> Code {
    let (code, printed) = match result {
        Ok(report) if is_json => (report.code, print(&report.json.to_string())),
        Ok(report) => (report.code, print(report.text.trim_end())),
        Err(failure) => {
            stderr::say_last(format!("error: {failure}\n").as_bytes());
            let printed = if is_json {
                print(&failure.to_json().to_string())
            } else {
                Ok(())
            };
            (failure.code, printed)
        }
    };
    stderr::flush();
    match printed {
        Ok(()) => code,
        // Whoever read the output has gone; nobody is left to tell.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => {
            let what = format!("error: writing to standard output: {error}\n");
            stderr::say_last(what.as_bytes());
            Code::TryAgain
        }
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes a line for people to standard error.
pub(crate) fn progress(line: &str) {
    stderr::say(format!("{line}\n").as_bytes());
}

/// Whether somebody watches standard error.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// An empty table in the style of all commands.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    table
}

/// Bytes as lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Fields {
        height: u64,
    }

    #[test]
    fn a_report_carries_the_schema_beside_its_fields() {
        let report = Report::new(&Fields { height: 7 }, String::new()).unwrap();
        assert_eq!(report.json, json!({ "schema": 1, "height": 7 }));
        assert_eq!(report.code, Code::Done);
    }

    #[test]
    fn a_report_that_is_no_object_is_refused() {
        assert!(Report::new(&7, String::new()).is_err());
    }

    #[test]
    fn hex_is_lower_case_and_keeps_zeros() {
        assert_eq!(hex(&[0, 0xab]), "00ab");
    }
}
