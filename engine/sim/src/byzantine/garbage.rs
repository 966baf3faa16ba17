//! Bytes of chance, and real frames cut short or run on.
//!
//! Owns the garbage, beside what the own replica says.

use quorate_consensus::message::Message;
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::{Stage, bytes_of};

/// The one that makes no sense.
#[derive(Debug, Default)]
pub(crate) struct Garbage;

impl Actor for Garbage {
    fn deeds(&self) -> &'static [Done] {
        &[(Deed::Changed, "vote"), (Deed::Changed, "status")]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, message: Message) {
        if !stage.dice.percent(10) {
            return stage.send(to, message);
        }
        let mut bytes = bytes_of(&message);
        match stage.dice.below(3) {
            0 => bytes.truncate(stage.dice.place(bytes.len())),
            1 => bytes.extend_from_slice(&stage.dice.bytes16()),
            _ => {
                bytes.clear();
                for _ in 0..=stage.dice.below(40) {
                    bytes.extend_from_slice(&stage.dice.bytes16());
                }
            }
        }
        stage.send_bytes(to, bytes);
    }
}
