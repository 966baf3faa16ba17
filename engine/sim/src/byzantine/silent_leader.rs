//! A leader that makes no blocks and otherwise does all that it should.
//!
//! Owns the hiding of own blocks and of own votes for them. Its Status says that it stands where
//! everybody stands.

use quorate_consensus::message::Message;
use quorate_consensus::record::Record;
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::{Stage, own_record};

/// The idle leader.
#[derive(Debug, Default)]
pub(crate) struct SilentLeader;

impl Actor for SilentLeader {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Withheld, "propose"),
            (Deed::Withheld, "block"),
            (Deed::Withheld, "signature"),
            (Deed::Changed, "status"),
        ]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        match &message {
            Message::Propose(_) | Message::HeaderSignature { .. } => return,
            Message::Vote(vote) if stage.leads(vote.window) && vote.record.tip.is_some() => return,
            Message::Block { header, .. } if stage.leads(header.window) => return,
            _ => {}
        }
        if let Some((window, record)) = own_record(&mut message)
            && stage.leads(window)
        {
            *record = Record::default();
        }
        stage.send(to, message);
    }
}
