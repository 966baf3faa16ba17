//! Claims to have what others lack, and then serves less, something else, or without end.
//!
//! Owns the claims in its Status and the answers to whoever believes them.

use quorate_consensus::message::{Get, Message};
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

/// The one that nobody should learn from.
#[derive(Debug, Default)]
pub(crate) struct LyingSyncer {
    /// Answers of before, to be given to other questions.
    answers: Vec<Message>,
}

/// Answers kept.
const KEPT_MAX: usize = 16;

impl Actor for LyingSyncer {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Changed, "status"),
            (Deed::Changed, "headers"),
            (Deed::Changed, "certificates"),
            (Deed::Changed, "block"),
            (Deed::Withheld, "certificates"),
            (Deed::Made, "certificates"),
        ]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        match &mut message {
            Message::Status(status) => {
                let more = stage.dice.below(1_000);
                status.finalized.height = status.finalized.height.plus(more);
                status.proven.height = status.proven.height.plus(more);
                status.flushed = status.flushed.plus(more);
                status.finalized.id = status.proven.id;
                return stage.send(to, message);
            }
            Message::Headers { headers, .. } | Message::History(headers) => {
                match stage.dice.below(4) {
                    0 => headers.truncate(headers.len() / 2),
                    1 => headers.reverse(),
                    2 => headers
                        .iter_mut()
                        .for_each(|header| header.payload_hash[0] ^= 1),
                    _ => {}
                }
            }
            Message::Block { payload, .. } if stage.dice.percent(50) => {
                let mut bytes = payload.to_vec();
                bytes.push(0);
                *payload = bytes.into();
            }
            Message::Certificates(certificates) if stage.dice.percent(50) => {
                certificates.reverse();
                certificates.pop();
            }
            Message::Block { .. } | Message::Certificates(_) => {}
            _ => return stage.send(to, message),
        }
        if self.answers.len() >= KEPT_MAX {
            let place = stage.dice.place(self.answers.len());
            self.answers.swap_remove(place);
        }
        self.answers.push(message.clone());
        match stage.dice.below(4) {
            // Less than was asked for: nothing.
            0 => {}
            // More, without end.
            1 => self
                .answers
                .iter()
                .for_each(|old| stage.send(to, old.clone())),
            _ => stage.send(to, message),
        }
    }

    fn hear(
        &mut self,
        stage: &mut Stage<'_>,
        from: ValidatorIndex,
        message: Message,
    ) -> Option<Message> {
        if matches!(message, Message::Get(Get::History { .. } | Get::Bodies(_)))
            && stage.dice.percent(30)
        {
            // Something, but not that.
            let place = stage.dice.place(self.answers.len());
            if let Some(other) = self.answers.get(place).cloned() {
                stage.send(from, other);
            }
            return None;
        }
        Some(message)
    }
}
