//! A voter that votes late: records leave when most others have gone on without it.
//!
//! Owns the delay of own votes. Its proposals and answers leave in time.

use quorate_consensus::message::Message;
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::{Stage, own_record};

const MS: u64 = 1_000_000;

/// The late one.
#[derive(Debug, Default)]
pub(crate) struct Lazy;

impl Actor for Lazy {
    fn deeds(&self) -> &'static [Done] {
        &[(Deed::Delayed, "vote"), (Deed::Delayed, "status")]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        let is_vote = !matches!(message, Message::Propose(_)) && own_record(&mut message).is_some();
        if is_vote {
            let delay_ns = stage.dice.between(1, 120) * MS;
            stage.send_later(to, message, delay_ns);
        } else {
            stage.send(to, message);
        }
    }
}
