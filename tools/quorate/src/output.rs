//! What a command says when it is done: one JSON object, or text for people.
//!
//! Owns standard output; logs and progress go to standard error (`stderr`). Never: decides an exit
//! code.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::{Serialize, Serializer};
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

/// A path, or some, in the fields of a report: not every path of this system is text, and what is
/// none of it is shown by U+FFFD, since a command that is done does not fail for its name.
pub(crate) fn path<S: Serializer>(path: &impl Shown, serializer: S) -> Result<S::Ok, S::Error> {
    path.shown().serialize(serializer)
}

/// What [`path`] takes.
pub(crate) trait Shown {
    /// As JSON.
    fn shown(&self) -> Value;
}

impl Shown for PathBuf {
    fn shown(&self) -> Value {
        self.to_string_lossy().into()
    }
}

impl Shown for Option<PathBuf> {
    fn shown(&self) -> Value {
        self.as_ref().map_or(Value::Null, Shown::shown)
    }
}

impl Shown for Vec<PathBuf> {
    fn shown(&self) -> Value {
        self.iter().map(Shown::shown).collect()
    }
}

/// How this process has told that it ends: one object is what a program reads of it.
static TOLD: Mutex<Option<Code>> = Mutex::new(None);
/// How long a process that ends whatever hangs tries to tell so.
const END_MAX: Duration = Duration::from_secs(3);

/// Tells why this process ends and ends it, whichever of its threads hang, and also where nobody
/// reads what it tells.
pub(crate) fn end(failure: Failure, is_json: bool) -> ! {
    let own = failure.code;
    let (sender, told) = channel();
    let teller = std::thread::Builder::new().spawn(move || {
        // Nobody waits any more if it took too long.
        sender.send(finish(Err(failure), is_json)).ok();
    });
    let told = teller.ok().and_then(|_| told.recv_timeout(END_MAX).ok());
    std::process::exit(i32::from(told.unwrap_or(own) as u8));
}

/// Prints what a command gave, unless another thread has told the end of this process, and says
/// with what code the process ends.
pub(crate) fn finish(result: Result<Report, Failure>, is_json: bool) -> Code {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(code) = *told {
        return code;
    }
    let (code, text) = match result {
        Ok(report) if is_json => (report.code, Some(report.json.to_string())),
        Ok(report) => (report.code, Some(report.text.trim_end().to_owned())),
        Err(failure) => {
            stderr::say_last(format!("error: {failure}\n").as_bytes());
            let json = is_json.then(|| failure.to_json().to_string());
            (failure.code, json)
        }
    };
    *told = Some(code);
    // Where both go to one place the result comes last.
    stderr::flush();
    let printed = text.map_or(Ok(()), |text| print(&text));
    let code = match printed {
        Ok(()) => code,
        // Whoever read the output has gone; nobody is left to tell.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => {
            let what = format!("error: writing to standard output: {error}\n");
            stderr::say_last(what.as_bytes());
            stderr::flush();
            Code::TryAgain
        }
    };
    *told = Some(code);
    code
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

    /// Set in the environment of a process that ends: how.
    const ENDING: &str = "QUORATE_TEST_ENDING";

    /// In a process of its own.
    fn end_as(how: &str) -> ! {
        let failure = |what| Failure::new(Code::TryAgain, what);
        if how == "twice" {
            let other = failure("another thread").with_code(Code::Safety);
            finish(Err(other), true);
        }
        end(failure("it hangs"), true)
    }

    #[test]
    fn a_process_that_is_ended_whatever_hangs_tells_it_as_one_object() {
        if let Ok(how) = std::env::var(ENDING) {
            end_as(&how);
        }
        let name = "a_process_that_is_ended_whatever_hangs_tells_it_as_one_object";
        for (how, kind, code) in [("once", "try_again", 75), ("twice", "safety_stop", 4)] {
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args([&format!("output::tests::{name}"), "--exact", "--nocapture"])
                .env(ENDING, how)
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(code), "{how}");
            let out = String::from_utf8_lossy(&output.stdout).into_owned();
            // The test harness may have begun that line.
            let objects = out.lines().filter_map(|line| line.get(line.find('{')?..));
            let objects: Vec<&str> = objects.collect();
            let [object] = objects[..] else {
                panic!("{how}: {out}");
            };
            let object: Value = serde_json::from_str(object).unwrap();
            assert_eq!(object["error"]["kind"], kind, "{out}");
            assert!(
                String::from_utf8_lossy(&output.stderr).contains("error: "),
                "{how}"
            );
        }
    }

    #[test]
    fn hex_is_lower_case_and_keeps_zeros() {
        assert_eq!(hex(&[0, 0xab]), "00ab");
    }
}
