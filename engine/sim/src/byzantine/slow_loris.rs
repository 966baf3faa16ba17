//! Everything, much too late: each frame drips over its channel for most of a second.
//!
//! Owns the delay of all that leaves, its connections included in what is never quite dead.

use quorate_consensus::message::Message;
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

const MS: u64 = 1_000_000;

/// The one that drips.
#[derive(Debug, Default)]
pub(crate) struct SlowLoris;

impl Actor for SlowLoris {
    fn deeds(&self) -> &'static [Done] {
        &[(Deed::Delayed, "vote"), (Deed::Delayed, "status")]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, message: Message) {
        let delay_ns = stage.dice.between(50, 800) * MS;
        stage.send_later(to, message, delay_ns);
    }
}
