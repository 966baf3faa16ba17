//! The calls of the application: for a command, and for a question.
//!
//! Owns what an application gets of a command. Never: whether the command is to be applied.

use quorate_consensus::payload::CommandView;

use super::{Executor, KEY_BYTES};
use crate::applying::{Call, applying};
use crate::sessions::SessionCommand;
use crate::state_machine::{Context, SessionEvent, SessionId, StateMachine};

impl<S: StateMachine> Executor<S> {
    /// Has the application apply a command, and tells it before of the session that it opens.
    pub(super) fn hand_over(
        &mut self,
        context: &Context,
        view: &CommandView<'_>,
        opening_key: Option<[u8; 32]>,
    ) {
        let mut command = view.body;
        if let Some(key) = opening_key {
            command = command.get(KEY_BYTES..).unwrap_or_default();
            let event = SessionEvent::Opened { key };
            self.app.apply_session(context, event, &mut self.output);
        }
        if view.is_session() {
            if SessionCommand::decode(command) == SessionCommand::Close {
                let event = SessionEvent::Closed;
                self.app.apply_session(context, event, &mut self.output);
            }
        } else if opening_key.is_none() || !command.is_empty() {
            // A client may open its session with nothing to say yet.
            self.app.apply(context, command, &mut self.output);
        }
    }

    /// A call of the application that begins.
    pub(super) const fn call(
        &self,
        doing: &'static str,
        index: Option<u32>,
        session: Option<SessionId>,
    ) -> Call {
        Call {
            doing,
            height: self.height,
            index,
            session,
            section: None,
        }
    }

    /// A call of the application about one of its sections.
    pub(super) fn call_of_section(&self, doing: &'static str, section: usize) -> Call {
        Call {
            section: self.app.sections().get(section).copied(),
            ..self.call(doing, None, None)
        }
    }

    /// Whether the application wants this session to stay, whatever the command wants room for.
    pub(super) fn keeps(&self, index: u32, id: SessionId) -> bool {
        let call = self.call("asking whether a session stays", Some(index), Some(id));
        applying(call, || self.app.keeps(id))
    }

    /// When the application's earliest timer is due.
    pub(super) fn app_timer_ns(&self) -> Option<u64> {
        let call = self.call("asking for the next timer", None, None);
        applying(call, || self.app.timer_next_ns())
    }

    /// Answers a read-only question about the state between two blocks.
    pub fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
        let call = self.call("answering a question", None, None);
        applying(call, || self.app.query(question, answer));
    }

    /// The same for a client that has logged in as this session.
    pub fn query_from(&self, asker: SessionId, question: &[u8], answer: &mut Vec<u8>) {
        let call = self.call("answering a question", None, Some(asker));
        applying(call, || self.app.query_from(asker, question, answer));
    }
}
