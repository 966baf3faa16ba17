//! The replicated state section by section: roots, bytes, and back.
//!
//! Owns which sections the engine itself has, where they stand, and what the application's may be
//! called. Never: what they mean.

use quorate_consensus::limits::STATE_SECTIONS_MAX;
use quorate_proof::events::{EVENTS_PLACE, EventHistory};
use quorate_proof::outputs::{OUTPUTS_PLACE, OutputHistory};

use super::Executor;
use crate::applying::applying;
use crate::roots::{EVENTS_SECTION, OUTPUTS_SECTION, StateRoot};
use crate::sessions::{SESSIONS_SECTION, SessionTable};
use crate::snapshot::{SECTION_NAME_BYTES_MAX, is_section_name};
use crate::state_machine::StateMachine;

/// Sections that the engine itself has, in root order, before those of the application.
pub const OWN_SECTIONS: [&str; 3] = [SESSIONS_SECTION, OUTPUTS_SECTION, EVENTS_SECTION];

/// Sections that an application may have besides: with more a state could not be attested, and no
/// snapshot taken of it.
pub const SECTIONS_MAX: usize = STATE_SECTIONS_MAX - OWN_SECTIONS.len();

/// Sections of an application with which no validator starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SectionsError {
    /// There are too many.
    #[error(
        "the application has {count} sections, from {first:?} on too many: {SECTIONS_MAX} at most"
    )]
    TooMany {
        /// How many.
        count: usize,
        /// The first one that is too many.
        first: &'static str,
    },
    /// One may not be called so.
    #[error(
        "section {place} of the application is called {name:?}: a name is 1 to \
         {SECTION_NAME_BYTES_MAX} bytes of printable ASCII without spaces"
    )]
    Name {
        /// Its place among the application's.
        place: usize,
        /// Its name.
        name: &'static str,
    },
    /// It is called as one of the engine's own.
    #[error("the application has a section {name:?}, which the engine has itself: rename it")]
    Taken {
        /// Its name.
        name: &'static str,
    },
    /// Two are called alike.
    #[error("the application has two sections {name:?}: rename one")]
    Twice {
        /// Their name.
        name: &'static str,
    },
}

/// Checks the names of an application's sections, before anything is done with its state.
pub(crate) fn check_sections(names: &[&'static str]) -> Result<(), SectionsError> {
    if let Some(&first) = names.get(SECTIONS_MAX) {
        let count = names.len();
        return Err(SectionsError::TooMany { count, first });
    }
    for (place, &name) in names.iter().enumerate() {
        if !is_section_name(name) {
            return Err(SectionsError::Name { place, name });
        }
        if OWN_SECTIONS.contains(&name) {
            return Err(SectionsError::Taken { name });
        }
        if names.iter().take(place).any(|before| *before == name) {
            return Err(SectionsError::Twice { name });
        }
    }
    Ok(())
}

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
        let root = self.take_root();
        self.roots.push(root.clone());
        root
    }

    /// The same, taken once a block at most, for whoever asks as often as they like: what a root
    /// takes is the application's to say. Not kept beyond that block.
    pub fn root_once(&mut self) -> StateRoot {
        match &self.told_root {
            Some(root) => root.clone(),
            None => self.take_root(),
        }
    }

    fn take_root(&mut self) -> StateRoot {
        let names = self.app.sections();
        let mut sections = Vec::with_capacity(names.len() + OWN_SECTIONS.len());
        sections.push((SESSIONS_SECTION, self.sessions.root()));
        sections.push((OUTPUTS_SECTION, self.history.root()));
        sections.push((EVENTS_SECTION, self.events.root()));
        for (number, name) in names.iter().copied().enumerate() {
            sections.push((name, self.app_root(number)));
        }
        let root = StateRoot::combine(self.height, sections);
        self.told_root = Some(root.clone());
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
            SectionPlace::Application(section) => self.app_root(section),
        }
    }

    fn app_root(&mut self, section: usize) -> [u8; 32] {
        let call = self.call_of_section("asking for the root of a section", section);
        applying(call, || self.app.section_root(section))
    }

    /// Appends the canonical bytes of one section.
    pub(crate) fn save_section(&self, section: usize, bytes: &mut Vec<u8>) {
        match place_of_section(section) {
            SectionPlace::Sessions => self.sessions.encode(bytes),
            SectionPlace::Outputs => self.history.encode(bytes),
            SectionPlace::Events => self.events.encode(bytes),
            SectionPlace::Application(section) => {
                let call = self.call_of_section("writing a section of a snapshot", section);
                applying(call, || self.app.snapshot_section(section, bytes));
            }
        }
    }

    /// Puts another instance of the application in the place of the one that executed, to be
    /// restored from what that has saved.
    pub(crate) fn replace_app(&mut self, app: S) {
        self.told_root = None;
        self.app = app;
    }

    /// Replaces one section by saved bytes.
    pub(crate) fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        self.told_root = None;
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
            SectionPlace::Application(section) => {
                let call = self.call_of_section("restoring a section of a snapshot", section);
                applying(call, || self.app.restore_section(section, bytes))
            }
        }
    }

    /// Says after which block the restored sections stand.
    pub(crate) fn restore_position(&mut self, height: u64, time_ns: u64) -> Result<(), String> {
        self.told_root = None;
        self.height = height;
        self.time_ns = time_ns;
        let heights = [self.history.height(), self.events.height()];
        match heights.into_iter().find(|found| *found != height) {
            None => Ok(()),
            Some(found) => Err(format!("it is that after height {found}, not {height}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::BlockResults;
    use crate::testing::{Stateless, final_block, sample_genesis};

    const LONGEST: &str = "0123456789012345678901234567890123456789012345678901234567890123";
    const TOO_LONG: &str = "01234567890123456789012345678901234567890123456789012345678901234";

    #[test]
    fn a_root_is_taken_once_a_block_however_often_it_is_told_and_anew_after_a_restore() {
        let (genesis, _) = sample_genesis(1);
        let set = genesis.validator_set();
        let mut executor = Executor::new(Stateless, 8, set.genesis_time_ns());
        let before = Stateless::roots_taken();
        let mut sections = Vec::new();
        executor.save_section(0, &mut sections);
        let first = executor.root_once();
        assert_eq!(executor.root_once(), first);
        assert_eq!(Stateless::roots_taken() - before, 1);
        let block = final_block(set, 1, set.genesis().id, &[(1, 1, b"text")]);
        executor.execute(&block, &mut BlockResults::new()).unwrap();
        let second = executor.root_once();
        assert_eq!(executor.root_once(), second);
        assert_eq!((second.height, Stateless::roots_taken() - before), (1, 2));
        assert_eq!(executor.root(), second, "one that is kept is taken anew");
        assert_eq!(Stateless::roots_taken() - before, 3);
        // Without the session that the block has opened.
        executor.restore_section(0, &sections).unwrap();
        assert_ne!(executor.root_once(), second);
        assert_eq!(Stateless::roots_taken() - before, 4);
    }

    #[test]
    fn an_application_has_as_many_sections_as_can_be_attested_beside_the_engine_s_own() {
        let names: Vec<&'static str> = (0..=SECTIONS_MAX)
            .map(|place| &*format!("s{place}").leak())
            .collect();
        assert_eq!(SECTIONS_MAX, 29);
        assert_eq!(check_sections(&names[..SECTIONS_MAX]), Ok(()));
        let too_many = SectionsError::TooMany {
            count: 30,
            first: "s29",
        };
        assert_eq!(check_sections(&names), Err(too_many));
        assert_eq!(check_sections(&[]), Ok(()));
    }

    #[test]
    fn a_section_s_name_is_short_and_visible_and_nobody_else_s() {
        assert_eq!(check_sections(&["book", "Book-2/~!", LONGEST]), Ok(()));
        for name in ["", "two words", "\u{e9}", "a\n", TOO_LONG] {
            let error = SectionsError::Name { place: 1, name };
            assert_eq!(check_sections(&["book", name]), Err(error));
        }
        for name in ["sessions", "outputs", "events"] {
            let error = SectionsError::Taken { name };
            assert_eq!(check_sections(&["book", name]), Err(error));
            assert!(error.to_string().contains(name), "{error}");
        }
        let error = SectionsError::Twice { name: "book" };
        assert_eq!(check_sections(&["book", "fees", "book"]), Err(error));
    }
}
