//! Votes for blocks that nobody else has: a private one for each half, in windows of others.
//!
//! Owns the made-up blocks. Their headers are given to whoever asks, late or never; bodies never.

use std::collections::BTreeMap;

use quorate_consensus::header::Header;
use quorate_consensus::message::{Get, Message};
use quorate_consensus::types::{BlockId, ValidatorIndex, Window};

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::{Stage, change_record, own_record};

const MS: u64 = 1_000_000;

/// The voter for private blocks.
#[derive(Debug, Default)]
pub(crate) struct PrivateVoter {
    /// Two made-up blocks at the first place of each window.
    blocks: BTreeMap<Window, [Header; 2]>,
}

impl PrivateVoter {
    fn find(&self, window: Window, id: BlockId) -> Option<Header> {
        let pair = self.blocks.get(&window)?;
        pair.iter().find(|header| header.id() == id).copied()
    }
}

impl Actor for PrivateVoter {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Changed, "vote"),
            (Deed::Changed, "status"),
            (Deed::Unheard, "get"),
            (Deed::Made, "headers"),
        ]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        let place = own_record(&mut message).map(|(window, _)| window);
        let pair = place.and_then(|window| self.blocks.get(&window).copied());
        if let (Some(window), Some(pair)) = (place, pair) {
            // In every third window one block is enough, so that the own records are ordered.
            let is_other = !window.number().is_multiple_of(3) && stage.is_other_side(window, to);
            let header = pair[usize::from(is_other)];
            change_record(stage, &mut message, |_, record| {
                record.tip = Some((header.index, header.id()));
                record.fin = None;
                record.also.clear();
            });
        }
        stage.send(to, message);
    }

    fn hear(
        &mut self,
        stage: &mut Stage<'_>,
        from: ValidatorIndex,
        message: Message,
    ) -> Option<Message> {
        match &message {
            Message::Propose(propose) if propose.header.index.number() == 0 => {
                let mut pair = [propose.header; 2];
                pair[0].payload_hash = [3; 32];
                pair[1].payload_hash = [4; 32];
                self.blocks.entry(propose.header.window).or_insert(pair);
            }
            Message::Get(Get::Headers { window, id, .. }) => {
                if let Some(header) = self.find(*window, *id) {
                    let (window, headers) = (*window, vec![header]);
                    if stage.dice.percent(70) {
                        let delay_ns = stage.dice.below(50) * MS;
                        let answer = Message::Headers { window, headers };
                        stage.send_later(from, answer, delay_ns);
                    }
                    return None;
                }
            }
            _ => {}
        }
        Some(message)
    }
}
