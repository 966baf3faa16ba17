//! A peer that reads nothing: whatever is sent to it comes to nothing, most of the time.
//!
//! Owns the times at which it is deaf. What it says itself leaves as it should.

use quorate_consensus::message::Message;
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

const MS: u64 = 1_000_000;

/// The deaf one.
#[derive(Debug, Default)]
pub(crate) struct SlowReader {
    until_ns: u64,
    is_reading: bool,
}

impl Actor for SlowReader {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Unheard, "propose"),
            (Deed::Unheard, "vote"),
            (Deed::Unheard, "status"),
        ]
    }

    fn hear(
        &mut self,
        stage: &mut Stage<'_>,
        _: ValidatorIndex,
        message: Message,
    ) -> Option<Message> {
        if stage.now_ns >= self.until_ns {
            self.is_reading = stage.dice.percent(25);
            self.until_ns = stage.now_ns + stage.dice.between(5, 200) * MS;
        }
        self.is_reading.then_some(message)
    }
}
