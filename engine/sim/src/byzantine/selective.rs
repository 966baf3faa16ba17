//! Answers some and not others: half of the validators never get what they ask it for.
//!
//! Owns the choice, which changes with time. What it says unasked leaves as it should.

use quorate_consensus::message::Message;
use quorate_consensus::types::{ValidatorIndex, Window};

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

const MS: u64 = 1_000_000;
/// How long one choice lasts.
const CHOICE_NS: u64 = 150 * MS;

/// The one with favourites.
#[derive(Debug, Default)]
pub(crate) struct Selective;

impl Actor for Selective {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Withheld, "certificates"),
            (Deed::Withheld, "headers"),
            (Deed::Withheld, "block"),
            (Deed::Withheld, "forward"),
        ]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, message: Message) {
        let is_answer = matches!(
            message,
            Message::Headers { .. }
                | Message::Block { .. }
                | Message::History(_)
                | Message::Certificates(_)
                | Message::FenceAnswer { .. }
                | Message::Forward(_)
        );
        let choice = Window::new(stage.now_ns / CHOICE_NS * 4);
        if !is_answer || stage.is_other_side(choice, to) {
            stage.send(to, message);
        }
    }
}
