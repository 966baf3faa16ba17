//! As much as the bounds allow, of everything: votes for blocks of its own making, requests, and
//! statements that cost whoever checks them.
//!
//! Owns the making of floods. Never: a message that is malformed: each could be honest.

use quorate_consensus::header::Header;
use quorate_consensus::message::{BlockRef, Get, Message};
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Height, Index, ValidatorIndex, Window};

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

/// The one that never stops talking.
#[derive(Debug, Default)]
pub(crate) struct Flooder {
    window: Window,
    header: Option<Header>,
}

impl Flooder {
    fn one(&self, stage: &mut Stage<'_>, to: ValidatorIndex) {
        let mut id = [0; 32];
        id[..16].copy_from_slice(&stage.dice.bytes16());
        let id = BlockId::new(id);
        let slots = u64::from(stage.set.slots());
        let index = Index::new(u32::try_from(stage.dice.below(slots)).unwrap_or(0));
        let window = self.window.plus(stage.dice.below(3));
        let message = match stage.dice.below(9) {
            0 | 1 => {
                let record = Record {
                    tip: Some((index, id)),
                    stop: stage.dice.percent(50),
                    ..Record::default()
                };
                return stage.vote(to, window, record, true);
            }
            2 => Get::Headers {
                window,
                index,
                id,
                above: None,
            },
            3 => Get::Ready { window },
            4 => Get::Finality {
                at_least: Height::new(stage.dice.below(40)),
            },
            5 => {
                let known = self.header.map_or(id, |header| header.id());
                let height = self.header.map_or(Height::new(1), |header| header.height);
                Get::Bodies(vec![BlockRef { height, id: known }; 64])
            }
            6 => {
                let known = self.header.map_or(id, |header| header.id());
                let height = self.header.map_or(Height::new(1), |header| header.height);
                let top = BlockRef { height, id: known };
                Get::History {
                    top,
                    count: u32::MAX,
                }
            }
            7 => {
                let incarnation = stage.dice.below(9);
                return stage.send(to, Message::FenceAsk { incarnation });
            }
            _ => {
                if let Some(header) = self.header {
                    let mut header = header;
                    header.window = window;
                    header.payload_hash[..16].copy_from_slice(&stage.dice.bytes16());
                    let signature = stage.sign_header(&header);
                    stage.send(to, Message::HeaderSignature { header, signature });
                }
                return;
            }
        };
        stage.send(to, Message::Get(message));
    }
}

impl Actor for Flooder {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Made, "get"),
            (Deed::Made, "vote"),
            (Deed::Made, "fence"),
            (Deed::Made, "signature"),
        ]
    }

    fn hear(&mut self, _: &mut Stage<'_>, _: ValidatorIndex, message: Message) -> Option<Message> {
        match &message {
            Message::Propose(propose) => self.header = Some(propose.header),
            Message::Status(status) => self.window = self.window.max(status.window),
            _ => {}
        }
        Some(message)
    }

    fn act(&mut self, stage: &mut Stage<'_>) {
        for peer in stage.peers() {
            for _ in 0..stage.dice.below(12) {
                self.one(stage, peer);
            }
        }
    }
}
