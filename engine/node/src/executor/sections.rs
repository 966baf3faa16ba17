//! The replicated state section by section: roots, bytes, and back.
//!
//! Owns which sections the engine itself has, and where they stand. Never: what they mean.

use quorate_proof::events::{EVENTS_PLACE, EventHistory};
use quorate_proof::outputs::{OUTPUTS_PLACE, OutputHistory};

use super::Executor;
use crate::roots::{EVENTS_SECTION, OUTPUTS_SECTION, StateRoot};
use crate::sessions::{SESSIONS_SECTION, SessionTable};
use crate::state_machine::StateMachine;

/// Sections that the engine itself has, before those of the application.
const OWN_SECTIONS: [&str; 3] = [SESSIONS_SECTION, OUTPUTS_SECTION, EVENTS_SECTION];

/// Whose section one is.
enum SectionPlace {
    Sessions,
    Outputs,
    Events,
    /// By its number there.
    Application(usize),
}

const fn place_of_section(section: usize) -> SectionPlace {
    match section {
        0 => SectionPlace::Sessions,
        OUTPUTS_PLACE => SectionPlace::Outputs,
        EVENTS_PLACE => SectionPlace::Events,
        other => SectionPlace::Application(other - OWN_SECTIONS.len()),
    }
}

impl<S: StateMachine> Executor<S> {
    /// The state root as of the last executed block, taken now and kept.
    pub fn root(&mut self) -> StateRoot {
        let names = self.app.sections();
        let mut sections = Vec::with_capacity(names.len() + OWN_SECTIONS.len());
        sections.push((SESSIONS_SECTION, self.sessions.root()));
        sections.push((OUTPUTS_SECTION, self.history.root()));
        sections.push((EVENTS_SECTION, self.events.root()));
        for (number, name) in names.iter().copied().enumerate() {
            sections.push((name, self.app.section_root(number)));
        }
        let root = StateRoot::combine(self.height, sections);
        self.roots.push(root.clone());
        root
    }

    /// Names of all sections in root order, the engine's own first.
    #[must_use]
    pub fn section_names(&self) -> Vec<&'static str> {
        let mut names = OWN_SECTIONS.to_vec();
        names.extend_from_slice(self.app.sections());
        names
    }

    /// Root of one section as it stands; `section` is its place in
    /// [`section_names`](Self::section_names).
    pub fn section_root(&mut self, section: usize) -> [u8; 32] {
        match place_of_section(section) {
            SectionPlace::Sessions => self.sessions.root(),
            SectionPlace::Outputs => self.history.root(),
            SectionPlace::Events => self.events.root(),
            SectionPlace::Application(section) => self.app.section_root(section),
        }
    }

    /// Appends the canonical bytes of one section.
    pub(crate) fn save_section(&self, section: usize, bytes: &mut Vec<u8>) {
        match place_of_section(section) {
            SectionPlace::Sessions => self.sessions.encode(bytes),
            SectionPlace::Outputs => self.history.encode(bytes),
            SectionPlace::Events => self.events.encode(bytes),
            SectionPlace::Application(section) => self.app.snapshot_section(section, bytes),
        }
    }

    /// Replaces one section by saved bytes.
    pub(crate) fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        match place_of_section(section) {
            SectionPlace::Sessions => {
                let sessions_max = self.sessions.sessions_max();
                self.sessions =
                    SessionTable::decode(bytes, sessions_max).map_err(|error| error.to_string())?;
                self.timeout_next_ns = self.sessions.due_next_ns();
                self.note_keys();
                Ok(())
            }
            SectionPlace::Outputs => {
                let history = OutputHistory::decode(bytes);
                self.history = history.map_err(|error| error.to_string())?;
                Ok(())
            }
            SectionPlace::Events => {
                let events = EventHistory::decode(bytes);
                self.events = events.map_err(|error| error.to_string())?;
                Ok(())
            }
            SectionPlace::Application(section) => self.app.restore_section(section, bytes),
        }
    }

    /// Says after which block the restored sections stand.
    pub(crate) fn restore_position(&mut self, height: u64, time_ns: u64) -> Result<(), String> {
        self.height = height;
        self.time_ns = time_ns;
        let heights = [self.history.height(), self.events.height()];
        match heights.into_iter().find(|found| *found != height) {
            None => Ok(()),
            Some(found) => Err(format!("it is that after height {found}, not {height}")),
        }
    }
}
