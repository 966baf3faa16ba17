//! A Final above an own fallback: rule X by slot instead of by prefix.
//!
//! Owns records that close a window, fall back low in it and finalize high, each half of that to
//! half of the validators. Where the own replica fell back by the rules its record is taken as it
//! is and given a Final on top.

use quorate_consensus::message::Message;
use quorate_consensus::types::{Index, ValidatorIndex};

use super::Actor;
use super::deeds::{Deed, Done, Occasion, RIVAL};
use super::stage::{Stage, change_record, own_record};

/// The double voter across a fallback.
#[derive(Debug, Default)]
pub(crate) struct RuleXBreaker;

impl Actor for RuleXBreaker {
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
        let Some((window, record)) = own_record(&mut message) else {
            return stage.send(to, message);
        };
        let Some((tip, _)) = record.tip else {
            return stage.send(to, message);
        };
        let has_fallen = record.skip_fallback.is_some() || !record.also.is_empty();
        let closes = stage.dice.percent(15);
        let rival = stage.plot.top(window, true);
        let is_other = stage.is_other_side(window, to);
        if !has_fallen && !closes {
            return stage.send(to, message);
        }
        change_record(stage, &mut message, |_, record| {
            if is_other {
                record.fin = None;
                record.stop = true;
                match rival {
                    Some(rival) if record.tip != Some(rival) && record.also.is_empty() => {
                        record.also = vec![rival];
                    }
                    _ => record.skip_fallback = Some(record.skip_fallback.unwrap_or(Index::ZERO)),
                }
            } else {
                record.fin = Some(tip);
                if !has_fallen {
                    record.stop = true;
                }
            }
        });
        if stage.dice.percent(20)
            && let Some((_, record)) = own_record(&mut message)
        {
            let record = record.clone();
            stage.vote(to, window, record, true);
            return;
        }
        stage.send(to, message);
    }
}
