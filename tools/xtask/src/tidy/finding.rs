//! One complaint of a check: where, what, and what to do about it.
//!
//! Never: decides whether something is wrong; that is each check's own business.

use std::fmt;

/// A breach of a project rule. Printed as `file:line: what, remedy`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Path from the root of the repository, with forward slashes.
    pub(crate) path: String,
    /// Line, counted from 1; 0 when the finding is about the file as a whole.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) remedy: String,
}

impl Finding {
    /// A finding at `line` (from 1; 0 for the whole file) of `path`.
    pub(crate) fn new(
        path: &str,
        line: usize,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}, {}",
            self.path, self.line, self.what, self.remedy
        )
    }
}
