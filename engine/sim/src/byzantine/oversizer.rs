//! Lengths and counts at their bounds and far above them.
//!
//! Owns frames whose counts are 2^32-1, lists as long as a decoder takes them, and bytes beyond
//! the largest frame.

use quorate_consensus::limits;
use quorate_consensus::message::{BlockRef, Get, Message};
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Height, Index, ValidatorIndex, Window};

use super::Actor;
use super::deeds::{BYTES, Deed, Done};
use super::stage::{Stage, bytes_of};

/// The one that is too much.
#[derive(Debug, Default)]
pub(crate) struct Oversizer {
    window: Window,
}

fn block_id(number: u8) -> BlockId {
    BlockId::new([number; 32])
}

impl Oversizer {
    /// A record with as many fallback branches as one may have.
    fn wide(stage: &Stage<'_>) -> Record {
        let last = stage.set.slots().saturating_sub(1);
        let count = u8::try_from(limits::ALSO_ENTRIES_MAX).unwrap_or(u8::MAX);
        Record {
            stop: true,
            skip_fallback: Some(Index::new(last)),
            also: (0..count)
                .map(|number| (Index::new(last), block_id(number)))
                .collect(),
            ..Record::default()
        }
    }

    fn message(&self, stage: &mut Stage<'_>) -> Message {
        let top = BlockRef {
            height: Height::new(u64::MAX),
            id: block_id(1),
        };
        match stage.dice.below(4) {
            0 => Message::Get(Get::Bodies(vec![top; limits::BODIES_PER_REQUEST_MAX])),
            1 => Message::Get(Get::History {
                top,
                count: u32::MAX,
            }),
            2 => Message::Get(Get::Headers {
                window: self.window,
                index: Index::new(u32::MAX),
                id: top.id,
                above: Some(Index::new(u32::MAX)),
            }),
            _ => Message::Get(Get::Ready {
                window: Window::new(u64::MAX),
            }),
        }
    }
}

impl Actor for Oversizer {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Made, BYTES),
            (Deed::Made, "vote"),
            (Deed::Made, "get"),
        ]
    }

    fn hear(&mut self, _: &mut Stage<'_>, _: ValidatorIndex, message: Message) -> Option<Message> {
        if let Message::Status(status) = &message {
            self.window = self.window.max(status.window);
        }
        Some(message)
    }

    fn act(&mut self, stage: &mut Stage<'_>) {
        if !stage.dice.percent(20) {
            return;
        }
        let to = stage.any_peer();
        match stage.dice.below(8) {
            0 | 1 => {
                let record = Self::wide(stage);
                let window = self.window;
                stage.vote(to, window, record, true);
            }
            2 | 3 => {
                let message = self.message(stage);
                stage.send(to, message);
            }
            4 | 5 => {
                // Some four bytes of a real message become the largest count.
                let message = self.message(stage);
                let mut bytes = bytes_of(&message);
                let place = 1 + stage.dice.place(bytes.len().saturating_sub(5).max(1));
                let end = (place + 4).min(bytes.len());
                bytes[place..end].fill(0xff);
                stage.send_bytes(to, bytes);
            }
            6 => {
                let mut bytes = vec![0xff; 64];
                bytes[0] = u8::try_from(stage.dice.between(1, 13)).unwrap_or(1);
                stage.send_bytes(to, bytes);
            }
            _ if stage.dice.percent(5) => {
                stage.send_bytes(to, vec![7; limits::FRAME_BYTES_MAX + 1]);
            }
            _ => {}
        }
    }
}
