//! A leader that holds clients' commands back and takes them up in another order.
//!
//! Owns the commands held back. Each session's numbers still rise, or its block would be invalid.

use quorate_consensus::message::Message;
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::{Stage, Wish};

const MS: u64 = 1_000_000;

/// The leader with favourites.
#[derive(Debug, Default)]
pub(crate) struct Reorderer {
    held: Vec<(u64, ValidatorIndex, Message)>,
}

impl Actor for Reorderer {
    fn deeds(&self) -> &'static [Done] {
        &[(Deed::Unheard, "forward"), (Deed::Fed, "forward")]
    }

    fn hear(
        &mut self,
        stage: &mut Stage<'_>,
        from: ValidatorIndex,
        message: Message,
    ) -> Option<Message> {
        if !matches!(message, Message::Forward(_)) || stage.dice.percent(30) {
            return Some(message);
        }
        let due_ns = stage.now_ns + stage.dice.between(1, 100) * MS;
        self.held.push((due_ns, from, message));
        None
    }

    fn act(&mut self, stage: &mut Stage<'_>) {
        let now_ns = stage.now_ns;
        // The last that came is the first that goes.
        for place in (0..self.held.len()).rev() {
            if self.held[place].0 <= now_ns {
                let (_, from, message) = self.held.remove(place);
                stage.wishes.push(Wish::Feed(from, Box::new(message)));
            }
        }
    }
}
