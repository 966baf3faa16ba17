//! Lies about its own condition: every field of its Status says something that is not so.
//!
//! Owns the lies. Votes and blocks leave as they should.

use quorate_consensus::message::Message;
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Height, ValidatorIndex, Window};

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

/// The liar.
#[derive(Debug, Default)]
pub(crate) struct Liar;

impl Actor for Liar {
    fn deeds(&self) -> &'static [Done] {
        &[(Deed::Changed, "status")]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        if let Message::Status(status) = &mut message {
            for _ in 0..=stage.dice.below(4) {
                match stage.dice.below(10) {
                    0 => status.record = Record::default(),
                    1 => {
                        status.gap = Some(Window::new(stage.dice.below(status.window.number() + 2)))
                    }
                    2 => status.gap = None,
                    3 => status.ready = vec![status.finalized.id, BlockId::new([9; 32])],
                    4 => status.abstains = !status.abstains,
                    5 => status.recovering = !status.recovering,
                    6 => status.no_proposals = !status.no_proposals,
                    7 => status.flushed = status.flushed.plus(stage.dice.below(100)),
                    8 => {
                        status.proven.height = Height::ZERO;
                        status.proven.window = Window::ZERO;
                    }
                    _ => status.window = status.window.plus(stage.dice.below(4)),
                }
            }
        }
        stage.send(to, message);
    }
}
