//! The applications that a program can execute: those of this house, and what an embedder adds.
//!
//! Owns the way from the name in a genesis to a state machine. Never: an application.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use quorate::genesis::Application;
use quorate::state_machine::StateMachine;
use quorate_bench::applications::{ApplicationError, Hosted};

use crate::failure::{Code, Failure};

type Open = Arc<dyn Fn(&Application) -> Result<Box<dyn StateMachine>, String> + Send + Sync>;

/// What a program can execute: the applications of this house, and those that were added.
#[derive(Clone, Default)]
pub struct Applications {
    added: BTreeMap<String, Open>,
}

impl Applications {
    /// Those of this house alone.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            added: BTreeMap::new(),
        }
    }

    /// Adds one, in the place of another with this name: what a genesis has in `application.name`,
    /// and what makes an instance in its first state of what the genesis says. A validator that
    /// takes snapshots makes two, and another one for each snapshot, on a thread of its own.
    #[must_use]
    pub fn with<S: StateMachine>(
        mut self,
        name: &str,
        open: impl Fn(&Application) -> Result<S, String> + Send + Sync + 'static,
    ) -> Self {
        let open: Open = Arc::new(move |application| Ok(Box::new(open(application)?)));
        self.added.insert(name.to_owned(), open);
        self
    }

    /// Makes the application that a genesis names.
    ///
    /// # Errors
    /// The name is not known, or the parameters are not its own; with what is to be done.
    pub(crate) fn open(&self, application: &Application) -> Result<Hosted, Failure> {
        let opened = match self.added.get(&application.name) {
            Some(open) => open(application)
                .map(Hosted::Added)
                .map_err(ApplicationError::Added),
            None => Hosted::open(application),
        };
        opened.map_err(|error| {
            let remedy = match error {
                ApplicationError::Name(_) => {
                    "build the operator's program with your application: docs/embedding.md, The \
                     operator's commands"
                }
                _ => {
                    "the parameters are part of the genesis: correct them at every validator, or \
                     use the build that they are meant for"
                }
            };
            Failure::new(Code::Configuration, error).remedy(remedy)
        })
    }
}

impl fmt::Debug for Applications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.added.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_bench::applications::Opaque;
    use serde_json::json;

    fn application(name: &str, parameters: serde_json::Value) -> Application {
        Application {
            name: name.to_owned(),
            parameters: serde_json::from_value(parameters).unwrap(),
        }
    }

    fn open_own(application: &Application) -> Result<Opaque, String> {
        match application.parameters.get("size") {
            Some(_) => Err("size: none of ours".to_owned()),
            None => Ok(Opaque::default()),
        }
    }

    #[test]
    fn what_was_added_is_found_by_its_name_and_the_house_s_own_are_still_there() {
        let all = Applications::new()
            .with("own", open_own)
            .with("venue", open_own);
        assert_eq!(format!("{all:?}"), r#"{"own", "venue"}"#);
        let open = |name| all.open(&application(name, json!({}))).unwrap();
        assert!(matches!(open("own"), Hosted::Added(_)));
        assert!(matches!(open("venue"), Hosted::Added(_)), "in its place");
        assert!(matches!(open("opaque"), Hosted::Opaque(_)));
    }

    #[test]
    fn who_has_no_program_with_his_application_is_told_to_build_one() {
        let refused = |name: &str, parameters| {
            let all = Applications::new().with("own", open_own);
            let failure = all.open(&application(name, parameters)).unwrap_err();
            assert_eq!(failure.code, Code::Configuration);
            failure.to_string()
        };
        let told = refused("other", json!({}));
        assert!(told.contains("application.name = \"other\""), "{told}");
        assert!(told.contains("docs/embedding.md"), "{told}");
        for name in ["own", "opaque"] {
            let told = refused(name, json!({"size": 1}));
            assert!(told.contains("application.parameters: "), "{told}");
            assert!(told.contains("size"), "{told}");
            assert!(!told.contains("docs/embedding.md"), "{told}");
        }
    }
}
