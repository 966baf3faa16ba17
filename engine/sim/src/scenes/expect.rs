//! What a script asserts of a validator.
//!
//! Never: looks inside a machine; everything here is what its owner sees of it.

use quorate_consensus::machine::Consensus;
use quorate_consensus::types::ValidatorIndex;

use super::command::Expectation;
use super::names::v;
use super::stage::Stage;
use super::tell::path_name;

impl Stage {
    /// Holds one validator to an expectation.
    pub(crate) fn expect(&self, who: ValidatorIndex, what: &Expectation) -> Result<(), String> {
        if self.member(who).is_byzantine {
            return Ok(());
        }
        let machine = self.machine(who)?;
        let (expected, found) = match what {
            Expectation::Finalized(name, path) => {
                self.finalized(who, name.as_deref(), path.as_deref())?
            }
            Expectation::Proven(name) => {
                self.known(name)?;
                (
                    format!("proven {name}"),
                    format!("proven {}", self.names.name(machine.proven().id)),
                )
            }
            Expectation::Window(window) => {
                let found = machine.window().number();
                (
                    format!("window {}", window.number()),
                    format!("window {found}"),
                )
            }
            Expectation::Record(window, spoken) => {
                let expected = self.names.record_of(spoken)?;
                let found = machine.own_record(*window).cloned().unwrap_or_default();
                let text =
                    |record| format!("record w{} {}", window.number(), self.names.record(record));
                (text(&expected), text(&found))
            }
            Expectation::Votes(votes) => (says(*votes), says(Consensus::is_voting(machine))),
        };
        if expected == found {
            return Ok(());
        }
        Err(format!("expected {expected} at {}, found {found}", v(who)))
    }

    fn known(&self, name: &str) -> Result<(), String> {
        if self.names.holds(name) {
            return Ok(());
        }
        Err(format!("no block is called {name}"))
    }

    /// The highest finalized block and the path by which it became final.
    fn finalized(
        &self,
        who: ValidatorIndex,
        name: Option<&str>,
        path: Option<&str>,
    ) -> Result<(String, String), String> {
        if let Some(name) = name {
            self.known(name)?;
        }
        let expected = path.map_or_else(String::new, |path| format!(" {path}"));
        let expected = format!("finalized {}{expected}", name.unwrap_or("none"));
        let found = self.member(who).finalized.last().map_or_else(
            || "finalized none".to_owned(),
            |&(id, by)| {
                let by = path.map_or_else(String::new, |_| format!(" {}", path_name(by)));
                format!("finalized {}{by}", self.names.name(id))
            },
        );
        Ok((expected, found))
    }
}

fn says(votes: bool) -> String {
    if votes { "votes" } else { "silent" }.to_owned()
}
