//! A state machine with a state of any length, for measuring what its length costs the engine.
//!
//! Owns the pages, which commands write into, and a tree of hashes over each section of them that
//! is kept up page by page. Never: a meaning of what is written.

use quorate::genesis::Application;
use quorate::state_machine::{Context, Output, StateMachine};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ApplicationError, mixed};

/// Longest state: what a snapshot has room for besides the engine's own sections.
pub(super) const STATE_MIB_MAX: u32 = 16 * 1024;
/// Length of a page, bytes.
const PAGE_BYTES: usize = 4096;
/// Of a page's bytes the first ones, which each write changes.
const MARK_BYTES: usize = 8;
/// Its sections: one that counts, and those of the pages.
const SECTIONS: [&str; 1 + PAGED] = [
    "commands", "pages-00", "pages-01", "pages-02", "pages-03", "pages-04", "pages-05", "pages-06",
    "pages-07", "pages-08", "pages-09", "pages-10", "pages-11", "pages-12", "pages-13", "pages-14",
    "pages-15",
];
/// Over so many sections the pages are spread: what takes or restores a snapshot has the bytes of
/// one of them in memory besides.
const PAGED: usize = 16;
/// Pages of a section for each MiB of the state.
const PAGES_PER_MIB: usize = (1 << 20) / PAGE_BYTES / PAGED;

/// Its parameters as they stand in a genesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagesParameters {
    /// Length of the state, MiB.
    pub state_mib: u32,
}

impl PagesParameters {
    /// Those of an application that a genesis names.
    ///
    /// # Errors
    /// They are none, or a state cannot have that length.
    pub fn of(application: &Application) -> Result<Self, ApplicationError> {
        let parameters: Self =
            serde_json::from_value(Value::Object(application.parameters.clone()))?;
        match parameters.state_mib {
            1..=STATE_MIB_MAX => Ok(parameters),
            other => Err(ApplicationError::StateLength(other)),
        }
    }

    pub(crate) fn to_map(self) -> Map<String, Value> {
        let state_mib = "state_mib".to_owned();
        [(state_mib, self.state_mib.into())].into_iter().collect()
    }
}

/// See the module. A command is written over what stands in one page, or in more where it is
/// longer than one; session and number choose which.
#[derive(Clone, Debug)]
pub struct Pages {
    commands: u64,
    sections: Vec<Section>,
}

/// The pages of one section.
#[derive(Clone, Debug)]
struct Section {
    bytes: Vec<u8>,
    /// Hashes as a heap: that of all pages at 1, the pages' own from `leaves` on.
    tree: Vec<[u8; 32]>,
    leaves: usize,
    /// Pages whose hashes are older than they are, each once.
    written: Vec<usize>,
    is_written: Vec<bool>,
}

impl Pages {
    /// A state of this length, whose pages hold what nothing compresses.
    #[must_use]
    pub fn new(state_mib: u32) -> Self {
        let pages = state_mib as usize * PAGES_PER_MIB;
        let section = |number: usize| {
            let mut bytes = vec![0; pages * PAGE_BYTES];
            let (words, _) = bytes.as_chunks_mut::<8>();
            let mut state = number as u64 + 1;
            for word in words {
                state = mixed(state, 0x5851_f42d_4c95_7f2d, 0).wrapping_add(1);
                *word = state.to_le_bytes();
            }
            Section::of(bytes)
        };
        Self {
            commands: 0,
            sections: (0..PAGED).map(section).collect(),
        }
    }

    fn bytes(&self) -> usize {
        self.sections
            .iter()
            .map(|section| section.bytes.len())
            .sum()
    }

    /// The section of pages that stands there, if it is one.
    fn paged(&mut self, section: usize) -> Option<&mut Section> {
        self.sections.get_mut(section.checked_sub(1)?)
    }
}

impl Section {
    fn of(bytes: Vec<u8>) -> Self {
        let pages = bytes.len() / PAGE_BYTES;
        let leaves = pages.next_power_of_two();
        let mut section = Self {
            bytes,
            tree: vec![[0; 32]; 2 * leaves],
            leaves,
            written: (0..pages).collect(),
            is_written: vec![true; pages],
        };
        section.hash();
        section
    }

    fn write(&mut self, page: usize, mark: u64, part: &[u8]) {
        let Some(bytes) = self
            .bytes
            .get_mut(page * PAGE_BYTES..(page + 1) * PAGE_BYTES)
        else {
            return;
        };
        let (head, body) = bytes.split_at_mut(MARK_BYTES);
        let (before, _) = head.as_chunks::<8>();
        let before = before.first().map_or(0, |word| u64::from_le_bytes(*word));
        head.copy_from_slice(&mixed(before, mark, 1).to_le_bytes());
        body[..part.len()].copy_from_slice(part);
        if !std::mem::replace(&mut self.is_written[page], true) {
            self.written.push(page);
        }
    }

    /// Hashes the pages that were written, and what stands above them, each once.
    fn hash(&mut self) {
        self.written.sort_unstable();
        let mut row = Vec::with_capacity(self.written.len());
        for page in self.written.drain(..) {
            let bytes = &self.bytes[page * PAGE_BYTES..(page + 1) * PAGE_BYTES];
            self.tree[self.leaves + page] = *blake3::hash(bytes).as_bytes();
            self.is_written[page] = false;
            row.push((self.leaves + page) / 2);
        }
        while row.first().is_some_and(|&node| node > 0) {
            row.dedup();
            for node in &mut row {
                let pair = self.tree[2 * *node..2 * *node + 2].as_flattened();
                self.tree[*node] = *blake3::hash(pair).as_bytes();
                *node /= 2;
            }
        }
    }

    fn root(&mut self) -> [u8; 32] {
        self.hash();
        self.tree[1]
    }
}

impl StateMachine for Pages {
    fn sections(&self) -> &'static [&'static str] {
        &SECTIONS
    }

    fn apply(&mut self, context: &Context, command: &[u8], _: &mut Output) {
        self.commands += 1;
        let mut place = context.seq;
        let (words, _) = context.session.0.as_chunks::<8>();
        for word in words {
            place = mixed(place, u64::from_le_bytes(*word), 2);
        }
        let mut part = command;
        loop {
            let (head, rest) = part.split_at(part.len().min(PAGE_BYTES - MARK_BYTES));
            place = mixed(place, part.len() as u64, 3);
            // The high bits are the better mixed ones.
            let chosen = (place >> 16) as usize;
            let section = &mut self.sections[chosen % PAGED];
            let pages = section.is_written.len();
            section.write((chosen / PAGED) % pages, context.seq, head);
            part = rest;
            if part.is_empty() {
                return;
            }
        }
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        let commands = self.commands;
        self.paged(section).map_or_else(
            || *blake3::hash(&commands.to_le_bytes()).as_bytes(),
            Section::root,
        )
    }

    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
        match section.checked_sub(1).and_then(|at| self.sections.get(at)) {
            Some(section) => bytes.extend_from_slice(&section.bytes),
            None => bytes.extend_from_slice(&self.commands.to_le_bytes()),
        }
    }

    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        let wrong = |expected| format!("expected {expected} bytes, got {}", bytes.len());
        if let Some(section) = self.paged(section) {
            let expected = section.bytes.len();
            if bytes.len() != expected {
                return Err(wrong(expected));
            }
            section.bytes.copy_from_slice(bytes);
            section.written = (0..section.is_written.len()).collect();
            section.is_written.fill(true);
            return Ok(());
        }
        let commands = bytes.try_into().map_err(|_| wrong(8))?;
        self.commands = u64::from_le_bytes(commands);
        Ok(())
    }

    /// Answers with the number of commands, and the bytes of the state.
    fn query(&self, _: &[u8], answer: &mut Vec<u8>) {
        answer.extend_from_slice(&self.commands.to_le_bytes());
        answer.extend_from_slice(&(self.bytes() as u64).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate::state_machine::{Lane, SessionId};

    fn context(seq: u64) -> Context {
        Context {
            height: 1,
            index: 0,
            time_ns: 1,
            session: SessionId([7; 16]),
            seq,
            lane: Lane::Order,
        }
    }

    fn after(pages: &mut Pages, commands: &[&[u8]]) {
        for (at, command) in commands.iter().enumerate() {
            pages.apply(&context(at as u64 + 1), command, &mut Output::new());
        }
    }

    fn roots(pages: &mut Pages) -> Vec<[u8; 32]> {
        (0..SECTIONS.len())
            .map(|section| pages.section_root(section))
            .collect()
    }

    #[test]
    fn roots_that_are_kept_up_are_those_of_the_whole_state() {
        let mut pages = Pages::new(3);
        let begin = roots(&mut pages);
        let long = vec![5; 3 * PAGE_BYTES];
        for commands in [&[&b"one"[..], &b"two"[..]], &[&long[..], &b""[..]]] {
            after(&mut pages, commands);
            let kept = roots(&mut pages);
            let mut anew = pages.clone();
            for section in &mut anew.sections {
                *section = Section::of(section.bytes.clone());
            }
            assert_eq!(kept, roots(&mut anew));
            assert_ne!(kept, begin);
        }
    }

    #[test]
    fn contents_numbers_and_orders_are_told_apart() {
        let mut found = Vec::new();
        for commands in [
            &[&b"a"[..], &b"b"[..]],
            &[&b"b"[..], &b"a"[..]],
            &[&b"a"[..], &b""[..]],
        ] {
            let mut pages = Pages::new(1);
            after(&mut pages, commands);
            found.push(roots(&mut pages));
        }
        assert!(found[0] != found[1] && found[0] != found[2] && found[1] != found[2]);
    }

    #[test]
    fn the_state_comes_back_from_its_snapshot_into_an_instance_that_has_another() {
        let (mut pages, mut other) = (Pages::new(2), Pages::new(2));
        after(&mut pages, &[b"one", &[9; 5000]]);
        after(&mut other, &[b"another", b"and", b"more"]);
        for section in 0..SECTIONS.len() {
            let mut bytes = Vec::new();
            pages.snapshot_section(section, &mut bytes);
            assert!(other.restore_section(section, &bytes[1..]).is_err());
            other.restore_section(section, &bytes).unwrap();
            bytes.push(0);
            assert!(other.restore_section(section, &bytes).is_err());
            let root = other.section_root(section);
            assert_eq!(root, pages.section_root(section));
        }
        let (mut told, mut answer) = (Vec::new(), Vec::new());
        pages.query(&[], &mut told);
        other.query(&[], &mut answer);
        assert_eq!(told, answer);
        assert_eq!(told[8..], (2_u64 << 20).to_le_bytes());
    }

    #[test]
    fn a_state_has_a_length_that_a_snapshot_has_room_for() {
        let of = |state_mib: u32| {
            PagesParameters::of(&Application {
                name: super::super::PAGES.to_owned(),
                parameters: PagesParameters { state_mib }.to_map(),
            })
        };
        assert_eq!(of(STATE_MIB_MAX).unwrap().state_mib, STATE_MIB_MAX);
        for refused in [0, STATE_MIB_MAX + 1] {
            let told = of(refused).unwrap_err().to_string();
            assert!(told.contains("state_mib"), "{told}");
        }
    }
}
