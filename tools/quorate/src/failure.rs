//! Why a command did not do what was asked: exit code, message and remedy.
//!
//! Owns the exit codes, which are part of the interface and stand in docs/operations.md. Never:
//! prints.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use quorate::file_error::FileError;
use quorate::node::system_code;
use quorate_bench::cluster::ClusterError;
use serde_json::{Value, json};

/// How a command ended. The numbers are documented and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// It did what was asked.
    Done = 0,
    /// It ran, and the answer is no: a difference, an unreachable validator, a violation.
    No = 1,
    /// The command line is wrong. clap gives the same number.
    Usage = 2,
    /// The configuration, the genesis or a key cannot be used.
    Configuration = 3,
    /// A safety stop: do not start again without looking.
    Safety = 4,
    /// Data on disk is damaged.
    Damaged = 5,
    /// The disk failed: the next start will not trust it.
    DiskFailed = 70,
    /// A page of the log could not be read (SIGBUS). The handler gives this number.
    BusError = 71,
    /// Something may be better later: a port or a folder in use, a service that does not answer.
    TryAgain = 75,
}

impl Code {
    /// The code behind a number that the engine gives; an unknown one is a safety stop.
    pub(crate) const fn of_exit(number: u8) -> Self {
        match number {
            0 => Self::Done,
            1 => Self::No,
            2 => Self::Usage,
            3 => Self::Configuration,
            5 => Self::Damaged,
            70 => Self::DiskFailed,
            71 => Self::BusError,
            75 => Self::TryAgain,
            _ => Self::Safety,
        }
    }

    /// The word for it in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::No => "no",
            Self::Usage => "usage",
            Self::Configuration => "configuration",
            Self::Safety => "safety_stop",
            Self::Damaged => "damaged",
            Self::DiskFailed => "disk_failed",
            Self::BusError => "bus_error",
            Self::TryAgain => "try_again",
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// A command that could not do what was asked.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    what: String,
    remedy: String,
}

impl Failure {
    /// A failure with what happened, lower case and without a full stop.
    pub(crate) fn new(code: Code, what: impl fmt::Display) -> Self {
        Self {
            code,
            what: what.to_string(),
            remedy: String::new(),
        }
    }

    /// A file or a folder that the system refuses, with the code that its refusal asks for.
    pub(crate) fn of_system(path: &Path, error: &io::Error, otherwise: Code) -> Self {
        Self::of_refusal(format!("{}: {error}", path.display()), error, otherwise)
    }

    /// The same, with what happened in words of its own.
    pub(crate) fn of_refusal(what: impl fmt::Display, error: &io::Error, otherwise: Code) -> Self {
        let code = Code::of_exit(system_code(error, otherwise as u8));
        let remedy = match code {
            Code::TryAgain => "make room, or wait until there is some",
            Code::DiskFailed => "look at the disk",
            _ => "check the path and its permissions",
        };
        Self::new(code, what).remedy(remedy)
    }

    /// The command line asks for something that cannot be.
    pub(crate) fn usage(what: impl fmt::Display) -> Self {
        Self::new(Code::Usage, what)
    }

    /// The same with another code.
    pub(crate) const fn with_code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// Adds what to do about it.
    pub(crate) fn remedy(mut self, remedy: impl fmt::Display) -> Self {
        self.remedy = remedy.to_string();
        self
    }

    /// Adds where it was found, before the rest.
    pub(crate) fn within(mut self, place: impl fmt::Display) -> Self {
        self.what = format!("{place}: {}", self.what);
        self
    }

    /// Adds what follows from elsewhere, on lines of its own.
    pub(crate) fn detail(mut self, detail: impl fmt::Display) -> Self {
        self.what = format!("{}\n{detail}", self.what);
        self
    }

    /// The failure as a JSON object.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "schema": crate::output::SCHEMA,
            "error": {
                "code": self.code as u8,
                "kind": self.code.name(),
                "what": self.what,
                "remedy": self.remedy,
            },
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.remedy.is_empty() {
            write!(f, "\nremedy: {}", self.remedy)?;
        }
        Ok(())
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        let (remedy, code) = (error.remedy.clone(), Code::of_exit(error.code));
        let bare = FileError {
            remedy: String::new(),
            ..error
        };
        Self::new(code, bare).remedy(remedy)
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        Self::new(Code::TryAgain, error)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::drive;
    use crate::inspect::{self, replay};
    use quorate::begins::BeginsError;
    use quorate::snapshot::SnapshotError;
    use quorate_bench::testnet::TestnetError;
    use quorate_log::OpenError;

    /// Errors of the system, and the codes that docs/operations.md promises for them; none where
    /// that depends on what was tried.
    const PROMISED: [(i32, Option<Code>); 9] = [
        // ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM
        (28, Some(Code::TryAgain)),
        (122, Some(Code::TryAgain)),
        (24, Some(Code::TryAgain)),
        (23, Some(Code::TryAgain)),
        (12, Some(Code::TryAgain)),
        // EIO, EROFS
        (5, Some(Code::DiskFailed)),
        (30, Some(Code::DiskFailed)),
        // EACCES
        (13, Some(Code::Configuration)),
        // EISDIR
        (21, None),
    ];

    /// Whether what a command makes of each of them has its code, and this one where none is
    /// promised.
    pub(crate) fn assert_promised(otherwise: Code, make: impl Fn(io::Error) -> Failure) {
        for (errno, promised) in PROMISED {
            let error = || io::Error::from_raw_os_error(errno);
            let failure = make(error());
            let code = promised.unwrap_or(otherwise);
            assert_eq!(failure.code, code, "{}: {failure}", error());
            assert!(failure.to_string().contains("remedy: "), "{failure}");
            assert!(
                failure.to_string().contains(&error().to_string()),
                "{failure}"
            );
        }
    }

    #[test]
    fn what_is_short_may_be_tried_again_and_a_disk_that_fails_is_told_so_by_all_offline_commands() {
        let path = || std::path::PathBuf::from("there");
        let unusable = Code::Configuration;
        assert_promised(unusable, |error| {
            Failure::of_system(&path(), &error, unusable)
        });
        assert_promised(unusable, |error| inspect::unreadable(&path(), &error));
        assert_promised(unusable, |source| {
            let (action, name) = ("read", "segment-0000000000".to_owned());
            inspect::failure_of(
                &path(),
                &OpenError::Io {
                    action,
                    name,
                    source,
                },
            )
        });
        assert_promised(unusable, |error| {
            drive::unwritable(&path(), &error, unusable)
        });
        assert_promised(Code::TryAgain, |error| {
            drive::unwritable(&path(), &error, Code::TryAgain)
        });
        let of_snapshot = |source| SnapshotError::Io {
            path: path(),
            action: "write",
            source,
        };
        assert_promised(unusable, |source| replay::failure_of(&of_snapshot(source)));
        assert_promised(unusable, |source| {
            replay::failure_of_first(&BeginsError::Snapshot(of_snapshot(source)))
        });
        assert_promised(unusable, |source| {
            Failure::from(TestnetError::Io {
                path: path(),
                what: "writing the file",
                source,
            })
        });
    }

    #[test]
    fn the_numbers_are_the_documented_ones() {
        let text = include_str!("../../../docs/operations.md");
        for code in [
            Code::Done,
            Code::No,
            Code::Usage,
            Code::Configuration,
            Code::Safety,
            Code::Damaged,
            Code::DiskFailed,
            Code::BusError,
            Code::TryAgain,
        ] {
            let row = format!("| {} | `{}` |", code as u8, code.name());
            assert!(text.contains(&row), "docs/operations.md lacks {row}");
        }
    }

    #[test]
    fn a_failure_in_json_has_the_schema_and_the_remedy() {
        let failure = Failure::usage("no").remedy("say yes");
        let value = failure.to_json();
        assert_eq!(value["schema"], 1);
        assert_eq!(value["error"]["code"], 2);
        assert_eq!(value["error"]["remedy"], "say yes");
        assert_eq!(failure.to_string(), "no\nremedy: say yes");
    }

    /// An operator is told an alarm by its name, at whatever hour.
    #[test]
    fn every_alarm_has_its_line_in_the_operator_s_document() {
        let source = include_str!("../../../engine/consensus/src/effect.rs");
        let (_, of_alarms) = source.split_once("pub enum Alarm {").unwrap();
        let (of_alarms, _) = of_alarms.split_once("\n}").unwrap();
        let variants = of_alarms.lines().filter_map(|line| {
            let line = line.strip_prefix("    ")?;
            let ends = line.find(|c: char| !c.is_ascii_alphanumeric());
            let name = &line[..ends.unwrap_or(line.len())];
            name.starts_with(|c: char| c.is_ascii_uppercase())
                .then_some(name)
        });
        let variants: Vec<&str> = variants.collect();
        assert!(variants.len() >= 9, "{variants:?}");
        let text = include_str!("../../../docs/operations.md");
        for name in variants {
            let is_its_row = |line: &str| line.starts_with(&format!("| `{name}"));
            assert!(text.lines().any(is_its_row), "{name}");
        }
    }
}
