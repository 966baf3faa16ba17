//! Old windows and old records in place of present ones.
//!
//! Owns the memory of own words. Never: makes up anything: all of it was said once.

use std::collections::VecDeque;

use quorate_consensus::message::Message;
use quorate_consensus::types::ValidatorIndex;

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::{Stage, own_record};

/// Own messages kept.
const KEPT_MAX: usize = 64;

/// The one that lives in the past.
#[derive(Debug, Default)]
pub(crate) struct Outdated {
    kept: VecDeque<Message>,
}

impl Actor for Outdated {
    fn deeds(&self) -> &'static [Done] {
        &[(Deed::Changed, "vote"), (Deed::Changed, "status")]
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        if own_record(&mut message).is_none() {
            return stage.send(to, message);
        }
        if self.kept.len() < KEPT_MAX || stage.dice.percent(10) {
            self.kept.push_back(message.clone());
            if self.kept.len() > KEPT_MAX {
                self.kept.pop_front();
            }
        }
        if stage.dice.percent(60) {
            let place = stage.dice.place(self.kept.len());
            if let Some(old) = self.kept.get(place).cloned() {
                message = old;
            }
        }
        stage.send(to, message);
    }
}
