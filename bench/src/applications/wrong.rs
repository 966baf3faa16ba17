//! An application that computes wrongly on purpose, to provoke what a validator must do then.
//!
//! Owns the one difference: the first command from a height on is not applied. Never: in use
//! unless a configuration asks for it and the command line says that this is a test.

use quorate::state_machine::{Context, Output, SessionEvent, SessionId, StateMachine};

use super::Hosted;

/// Another application, which misses one command.
#[derive(Debug)]
pub struct Wrong {
    inner: Hosted,
    from_height: u64,
    has_missed: bool,
}

impl Wrong {
    pub(super) const fn new(inner: Hosted, from_height: u64) -> Self {
        Self {
            inner,
            from_height,
            has_missed: false,
        }
    }
}

impl StateMachine for Wrong {
    fn sections(&self) -> &'static [&'static str] {
        self.inner.sections()
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        if context.height >= self.from_height && !self.has_missed {
            self.has_missed = true;
            return;
        }
        self.inner.apply(context, command, output);
    }

    fn timer_next_ns(&self) -> Option<u64> {
        self.inner.timer_next_ns()
    }

    fn apply_timers(&mut self, height: u64, time_ns: u64, output: &mut Output) {
        self.inner.apply_timers(height, time_ns, output);
    }

    fn apply_session(&mut self, context: &Context, event: SessionEvent, output: &mut Output) {
        self.inner.apply_session(context, event, output);
    }

    fn keeps(&self, session: SessionId) -> bool {
        self.inner.keeps(session)
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        self.inner.section_root(section)
    }

    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
        self.inner.snapshot_section(section, bytes);
    }

    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        self.inner.restore_section(section, bytes)
    }

    fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
        self.inner.query(question, answer);
    }

    fn query_from(&self, asker: SessionId, question: &[u8], answer: &mut Vec<u8>) {
        self.inner.query_from(asker, question, answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::applications::Opaque;
    use quorate::state_machine::Lane;

    #[test]
    fn one_command_is_missed_and_no_other() {
        let mut right = Hosted::Opaque(Opaque::default());
        let mut wrong = Hosted::Opaque(Opaque::default()).wrong_from(3);
        let mut output = Output::new();
        for height in 1..=4 {
            for index in 0..2 {
                let context = Context {
                    height,
                    index,
                    time_ns: 1,
                    session: SessionId([7; 16]),
                    seq: 2 * height + u64::from(index),
                    lane: Lane::Order,
                };
                wrong.apply(&context, b"command", &mut output);
                if (height, index) != (3, 0) {
                    right.apply(&context, b"command", &mut output);
                }
                assert_eq!(right.section_root(0), wrong.section_root(0));
            }
        }
    }
}
