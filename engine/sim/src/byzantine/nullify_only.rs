//! Nothing but stops: every window is given up before anything was voted for in it.
//!
//! Owns the bare stop in place of every own record. Never: proposes.

use quorate_consensus::message::Message;
use quorate_consensus::record::Record;
use quorate_consensus::types::{Index, ValidatorIndex};

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::{Stage, change_record};

/// The voter that only gives up.
#[derive(Debug, Default)]
pub(crate) struct NullifyOnly;

impl Actor for NullifyOnly {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Changed, "vote"),
            (Deed::Changed, "status"),
            (Deed::Withheld, "propose"),
        ]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        if matches!(
            message,
            Message::Propose(_) | Message::HeaderSignature { .. }
        ) {
            return;
        }
        change_record(stage, &mut message, |window, record| {
            *record = Record {
                stop: true,
                // In every other window the fallback too, unasked.
                skip_fallback: window.number().is_multiple_of(2).then_some(Index::ZERO),
                ..Record::default()
            };
        });
        stage.send(to, message);
    }
}
