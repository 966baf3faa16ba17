//! Blocks that are not valid: for all, or for some only.
//!
//! Owns what is wrong with them: other bytes under a good header, a malformed payload under a
//! header that names it, a height or a time that does not follow, a parent that is none.

use std::sync::Arc;

use quorate_consensus::message::{Message, Propose};
use quorate_consensus::types::{BlockId, ValidatorIndex};

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::Stage;

/// The leader of bad blocks.
#[derive(Debug, Default)]
pub(crate) struct InvalidProposer;

/// A payload that no decoder takes: a count and not as many entries.
const MALFORMED: [u8; 5] = [3, 0, 0, 0, 1];

fn spoil(propose: &mut Propose, manner: u64) {
    match manner {
        0 => {
            let mut bytes = propose.payload.to_vec();
            bytes.push(1);
            propose.payload = bytes.into();
        }
        1 => {
            propose.payload = Arc::from(&MALFORMED[..]);
            propose.header.payload_hash = *blake3::hash(&MALFORMED).as_bytes();
            propose.header.payload_bytes = MALFORMED.len() as u32;
        }
        2 => propose.header.height = propose.header.height.next(),
        3 => propose.header.time_ns = 1,
        4 => propose.header.parent_id = BlockId::new([5; 32]),
        5 => propose.header.flags = 1,
        _ => propose.header.version += 1,
    }
    // A block that it votes for itself, as far as its record goes.
    if manner > 0
        && let Some(record) = &mut propose.record
    {
        record.tip = Some((propose.header.index, propose.header.id()));
    }
}

impl Actor for InvalidProposer {
    fn deeds(&self) -> &'static [Done] {
        &[(Deed::Changed, "propose"), (Deed::Made, "signature")]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        if let Message::Propose(propose) = &mut message {
            let window = propose.header.window;
            let turn = window.number() / u64::from(stage.set.turn_windows().max(1));
            let is_for_all = turn.is_multiple_of(3);
            // Good blocks come first in some windows.
            let is_due = u64::from(propose.header.index.number()) >= window.number() % 3;
            if is_due && (is_for_all || stage.is_other_side(window, to)) {
                let manner = (turn + window.number()) % 7;
                spoil(propose, manner);
                if stage.dice.percent(30) {
                    let header = propose.header;
                    let signature = stage.sign_header(&header);
                    stage.send(to, Message::HeaderSignature { header, signature });
                }
            }
        }
        stage.send(to, message);
    }
}
