//! Frames of before, byte for byte: own ones and those of others, over restarts too.
//!
//! Owns the tape of what left and what came. Never: changes a byte.

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_consensus::message::Message;
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{BYTES, Deed, Done};
use super::stage::{Stage, bytes_of};

/// Frames kept.
const KEPT_MAX: usize = 256;

/// The one that says everything again.
#[derive(Debug, Default)]
pub(crate) struct Replayer {
    own: VecDeque<Arc<[u8]>>,
    others: VecDeque<Arc<[u8]>>,
}

fn keep(stage: &mut Stage<'_>, kept: &mut VecDeque<Arc<[u8]>>, message: &Message) {
    // Some stay for ever, so that old ones are among them.
    if kept.len() >= KEPT_MAX {
        let place = stage.dice.place(kept.len());
        kept.swap_remove_back(place);
    }
    kept.push_back(bytes_of(message).into());
}

impl Actor for Replayer {
    fn deeds(&self) -> &'static [Done] {
        &[(Deed::Made, BYTES)]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, message: Message) {
        keep(stage, &mut self.own, &message);
        stage.send(to, message);
    }

    fn hear(
        &mut self,
        stage: &mut Stage<'_>,
        _: ValidatorIndex,
        message: Message,
    ) -> Option<Message> {
        if stage.dice.percent(20) {
            keep(stage, &mut self.others, &message);
        }
        Some(message)
    }

    fn act(&mut self, stage: &mut Stage<'_>) {
        for _ in 0..stage.dice.below(6) {
            let kept = if stage.dice.percent(80) {
                &self.own
            } else {
                &self.others
            };
            let place = stage.dice.place(kept.len());
            if let Some(bytes) = kept.get(place).cloned() {
                let to = stage.any_peer();
                stage.send_bytes(to, bytes);
            }
        }
    }
}
