//! Two different vote records of one window, one for each half.
//!
//! Owns what the other half is told: the other branch where a fellow leads two of them, a bare
//! stop elsewhere. Signed or not as chance has it; now and then both to one validator, which can
//! prove it then.

use std::collections::BTreeMap;

use quorate_consensus::message::Message;
use quorate_consensus::record::Record;
use quorate_consensus::types::{Index, ValidatorIndex, Window};

use super::Actor;
use super::deeds::{Deed, Done, Occasion, RIVAL};
use super::stage::{Stage, own_record};

/// The voter of two faces.
#[derive(Debug, Default)]
pub(crate) struct Conflicter {
    /// What the other side was told last.
    told: BTreeMap<Window, Record>,
}

impl Conflicter {
    fn other_record(&mut self, stage: &mut Stage<'_>, window: Window) -> Record {
        let record = match (stage.plot.top(window, true), self.told.get(&window)) {
            (Some(top), None) => finalizing(top),
            // The branch grows; a stop said before stays said.
            (Some(top), Some(before)) if !before.stop => finalizing(top),
            (_, Some(before)) => before.clone(),
            (None, None) => Record {
                stop: true,
                skip_fallback: stage.dice.percent(50).then_some(Index::ZERO),
                ..Record::default()
            },
        };
        self.told.insert(window, record.clone());
        record
    }
}

/// First vote and Final at once, without waiting for anybody.
fn finalizing(top: (Index, quorate_consensus::types::BlockId)) -> Record {
    Record {
        tip: Some(top),
        fin: Some(top.0),
        ..Record::default()
    }
}

impl Actor for Conflicter {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Changed, "vote"),
            (Deed::Changed, "status"),
            (Deed::Made, "vote"),
        ]
    }

    fn deeds_at(&self, occasion: Occasion) -> &'static [Done] {
        match occasion {
            Occasion::Fork => &[(Deed::Named, RIVAL)],
            Occasion::Loss => &[],
        }
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        let Some((window, own)) = own_record(&mut message) else {
            return stage.send(to, message);
        };
        let fork = stage.plot.top(window, false);
        if !stage.is_other_side(window, to) {
            if let Some(top) = fork {
                *own = finalizing(top);
                if let Message::Vote(vote) = &mut message {
                    vote.signature = None;
                }
            }
            let both = stage.dice.percent(4);
            stage.send(to, message);
            if both {
                let own = self.told.get(&window).cloned();
                let other = own.unwrap_or_else(|| self.other_record(stage, window));
                stage.vote(to, window, other, true);
            }
            return;
        }
        let other = self.other_record(stage, window);
        match message {
            Message::Vote(_) => {
                let is_signed = stage.dice.percent(50);
                stage.vote(to, window, other, is_signed);
            }
            mut message => {
                if let Some((_, record)) = own_record(&mut message) {
                    *record = other;
                }
                stage.send(to, message);
            }
        }
    }

    fn hear(
        &mut self,
        stage: &mut Stage<'_>,
        _: ValidatorIndex,
        message: Message,
    ) -> Option<Message> {
        // Both halves hear of a fork's new blocks at once, without waiting for the own replica.
        if let Message::Propose(propose) = &message {
            let window = propose.header.window;
            if stage.plot.top(window, true).is_some() {
                for peer in stage.peers() {
                    let is_other = stage.is_other_side(window, peer);
                    if let Some(top) = stage.plot.top(window, is_other) {
                        stage.vote(peer, window, finalizing(top), false);
                    }
                }
            }
        }
        Some(message)
    }
}
