//! Skip and Final for the same positions: a timeout vote and a commit vote in one window.
//!
//! Owns records that break rule X openly, in one record, and behind two faces.

use quorate_consensus::message::Message;
use quorate_consensus::types::{Index, ValidatorIndex};

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::{Stage, change_record, own_record};

/// The voter that says both.
#[derive(Debug, Default)]
pub(crate) struct Nuller;

impl Actor for Nuller {
    fn deeds(&self) -> &'static [Done] {
        &[
            (Deed::Changed, "vote"),
            (Deed::Changed, "status"),
            (Deed::Made, "vote"),
        ]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        let Some((window, record)) = own_record(&mut message) else {
            return stage.send(to, message);
        };
        let Some((tip, _)) = record.tip else {
            return stage.send(to, message);
        };
        let is_other = stage.is_other_side(window, to);
        let is_open = stage.dice.percent(5);
        change_record(stage, &mut message, |_, record| {
            if is_open || !is_other {
                record.fin = Some(tip);
            }
            if is_open || is_other {
                record.stop = true;
                record.skip_fallback = Some(Index::ZERO);
                record.also.clear();
            }
            if is_other && !is_open {
                record.fin = None;
            }
        });
        if is_open && let Some((window, record)) = own_record(&mut message) {
            // Signed, so that it can be proven.
            let record = record.clone();
            stage.vote(to, window, record, true);
            return;
        }
        stage.send(to, message);
    }
}
