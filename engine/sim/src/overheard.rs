//! What the engine hands to an application because of commands, overheard.
//!
//! Owns the calls of each instance until they are judged, as bytes by block. Never: a judgement
//! (`checks::handed`), or an influence on the application, which gets every call as it came.

use std::sync::{Arc, Mutex, PoisonError};

use quorate::state_machine::{Context, Output, SessionEvent, SessionId, StateMachine};

use crate::checks::handed::{Calls, write_apply, write_event};

/// What was heard since it was last taken.
#[derive(Debug, Default)]
struct Heard {
    /// All calls, one after the other.
    bytes: Vec<u8>,
    /// Each block of which there is one, and where its calls end.
    ends: Vec<(u64, usize)>,
}

/// Where the calls of one instance come to; the other end is in [`Overheard`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Ear(Option<Arc<Mutex<Heard>>>);

impl Ear {
    /// One that listens. That of [`Ear::default`] is deaf.
    pub(crate) fn open() -> Self {
        Self(Some(Arc::default()))
    }

    /// What was handed over since this was last asked, block by block. The engine executes blocks
    /// whole and one after the other, so that those are whole, and nothing was handed over of one
    /// between two others of which nothing was heard.
    pub(crate) fn take(&self) -> Vec<(u64, Calls)> {
        let Some(heard) = &self.0 else {
            return Vec::new();
        };
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut blocks: Vec<(u64, Calls)> = Vec::new();
        let mut from = 0;
        for &(height, end) in &heard.ends {
            let next = blocks.last().map_or(height, |(last, _)| last + 1);
            blocks.extend((next..height).map(|silent| (silent, Calls::default())));
            let bytes = &heard.bytes[std::mem::replace(&mut from, end)..end];
            blocks.push((height, Calls::of(bytes)));
        }
        heard.bytes.clear();
        heard.ends.clear();
        blocks
    }

    /// A call is made at this height.
    pub(crate) fn hear(&self, height: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(heard) = &self.0 else { return };
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = &mut *heard;
        write(&mut heard.bytes);
        match heard.ends.last_mut() {
            Some((last, end)) if *last == height => *end = heard.bytes.len(),
            _ => heard.ends.push((height, heard.bytes.len())),
        }
    }
}

/// An application whose calls are overheard.
#[derive(Debug)]
pub(crate) struct Overheard<S> {
    app: S,
    ear: Ear,
}

impl<S> Overheard<S> {
    pub(crate) const fn new(app: S, ear: Ear) -> Self {
        Self { app, ear }
    }

    /// Where its calls come to.
    pub(crate) fn ear(&self) -> Ear {
        self.ear.clone()
    }
}

impl<S: StateMachine> StateMachine for Overheard<S> {
    fn sections(&self) -> &'static [&'static str] {
        self.app.sections()
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        let write = |bytes: &mut Vec<u8>| write_apply(context, command, bytes);
        self.ear.hear(context.height, write);
        self.app.apply(context, command, output);
    }

    fn timer_next_ns(&self) -> Option<u64> {
        self.app.timer_next_ns()
    }

    fn apply_timers(&mut self, height: u64, time_ns: u64, output: &mut Output) {
        self.app.apply_timers(height, time_ns, output);
    }

    fn apply_session(&mut self, context: &Context, event: SessionEvent, output: &mut Output) {
        let write = |bytes: &mut Vec<u8>| write_event(context, event, bytes);
        self.ear.hear(context.height, write);
        self.app.apply_session(context, event, output);
    }

    fn keeps(&self, session: SessionId) -> bool {
        self.app.keeps(session)
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        self.app.section_root(section)
    }

    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
        self.app.snapshot_section(section, bytes);
    }

    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        self.app.restore_section(section, bytes)
    }

    fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
        self.app.query(question, answer);
    }

    fn query_from(&self, asker: SessionId, question: &[u8], answer: &mut Vec<u8>) {
        self.app.query_from(asker, question, answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::Tape;
    use quorate::state_machine::Lane;

    fn context(height: u64, index: u32) -> Context {
        Context {
            height,
            index,
            time_ns: 7,
            session: SessionId([1; 16]),
            seq: 3,
            lane: Lane::Order,
        }
    }

    fn calls(write: impl FnOnce(&mut Vec<u8>)) -> Calls {
        let mut bytes = Vec::new();
        write(&mut bytes);
        Calls::of(&bytes)
    }

    #[test]
    fn each_call_of_a_block_is_taken_once_and_made() {
        let mut app = Overheard::new(Tape::default(), Ear::open());
        let mut output = Output::new();
        let ear = app.ear();
        let before = app.section_root(0);
        let (first, second, third) = (context(4, 0), context(4, 1), context(6, 0));
        app.apply_session(&first, SessionEvent::Opened { key: [2; 32] }, &mut output);
        app.apply(&first, b"one", &mut output);
        app.apply(&second, b"two", &mut output);
        app.apply_timers(5, 8, &mut output);
        app.apply(&third, b"one", &mut output);
        let of_four = calls(|bytes| {
            write_event(&first, SessionEvent::Opened { key: [2; 32] }, bytes);
            write_apply(&first, b"one", bytes);
            write_apply(&second, b"two", bytes);
        });
        let of_six = calls(|bytes| write_apply(&third, b"one", bytes));
        let of_none = Calls::default();
        assert_eq!(ear.take(), [(4, of_four), (5, of_none), (6, of_six)]);
        assert_eq!(ear.take(), [], "it was taken");
        let mut alone = Tape::default();
        alone.apply(&first, b"one", &mut output);
        alone.apply(&second, b"two", &mut output);
        alone.apply_timers(5, 8, &mut output);
        alone.apply(&third, b"one", &mut output);
        assert_eq!(app.section_root(0), alone.section_root(0));
        assert_ne!(app.section_root(0), before);
    }

    #[test]
    fn a_deaf_ear_hears_nothing() {
        let mut app = Overheard::new(Tape::default(), Ear::default());
        app.apply(&context(1, 0), b"one", &mut Output::new());
        assert_eq!(app.ear().take(), []);
    }
}
