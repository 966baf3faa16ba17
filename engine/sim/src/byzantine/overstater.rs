//! Says that its disk has all that is final: its Status announces as flushed what it has not
//! synced.
//!
//! Owns that lie. Votes, blocks and the rest of its Status leave as they should, so that nobody has
//! a reason to doubt it.

use quorate_consensus::message::Message;
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

/// The one whose disk is never behind.
#[derive(Debug, Default)]
pub(crate) struct Overstater;

impl Actor for Overstater {
    fn deeds(&self) -> &'static [Done] {
        &[(Deed::Changed, "status")]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        if let Message::Status(status) = &mut message {
            status.flushed = status.flushed.max(status.finalized.height);
        }
        stage.send(to, message);
    }
}
