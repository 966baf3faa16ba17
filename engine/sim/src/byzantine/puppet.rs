//! One Byzantine validator with all that it plays.
//!
//! Owns the chain of its actors: what the first one says, the second may still change. Never:
//! sends; the world does, over the same links as everybody's.

use std::sync::Arc;

use quorate_consensus::message::Message;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;

use super::stage::{Outgoing, Plot, Stage, Wish, Words};
use super::{Actor, ActorName};
use crate::dice::Dice;
use crate::disk::Disk;
use crate::keyring::WorldKey;

/// The one that plays.
pub(crate) struct Puppet {
    own: ValidatorIndex,
    actors: Vec<Box<dyn Actor>>,
    dice: Dice,
    /// A copy of its disk from before.
    pub(crate) copy: Option<Disk>,
}

/// What the world lends to an actor.
pub(crate) struct Lent<'a> {
    pub(crate) set: &'a ValidatorSet,
    pub(crate) key: &'a WorldKey,
    pub(crate) plot: &'a mut Plot,
    pub(crate) now_ns: u64,
}

/// What came of a moment.
#[derive(Default)]
pub(crate) struct Deeds {
    pub(crate) out: Vec<Outgoing>,
    pub(crate) wishes: Vec<Wish>,
}

impl Puppet {
    pub(crate) fn new(own: ValidatorIndex, actors: &[ActorName], seed: u64) -> Self {
        Self {
            own,
            actors: actors.iter().map(|name| name.actor()).collect(),
            dice: Dice::new(seed, &format!("puppet {}", own.number())),
            copy: None,
        }
    }

    pub(crate) const fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }

    /// The own replica says something to a peer.
    pub(crate) fn say(
        &mut self,
        lent: &mut Lent<'_>,
        to: ValidatorIndex,
        message: Message,
    ) -> Deeds {
        let first = Outgoing {
            to,
            words: Words::Message(Box::new(message)),
            delay_ns: 0,
        };
        let mut deeds = Deeds {
            out: vec![first],
            ..Deeds::default()
        };
        self.pass_on(lent, 0, &mut deeds);
        deeds
    }

    /// A peer says something; what the own replica receives of it stands in front.
    pub(crate) fn hear(
        &mut self,
        lent: &mut Lent<'_>,
        from: ValidatorIndex,
        message: Message,
    ) -> (Option<Message>, Deeds) {
        let mut deeds = Deeds::default();
        let mut heard = Some(message);
        for number in 0..self.actors.len() {
            let Some(message) = heard.take() else { break };
            heard = self.on_stage(lent, number, &mut deeds, |actor, stage| {
                actor.hear(stage, from, message)
            });
        }
        (heard, deeds)
    }

    /// Time passes.
    pub(crate) fn act(&mut self, lent: &mut Lent<'_>) -> Deeds {
        let mut deeds = Deeds::default();
        for number in 0..self.actors.len() {
            self.on_stage(lent, number, &mut deeds, |actor, stage| actor.act(stage));
        }
        deeds
    }

    /// Lets the actors from `first` on change what stands in `deeds`, one after the other.
    fn pass_on(&mut self, lent: &mut Lent<'_>, first: usize, deeds: &mut Deeds) {
        for number in first..self.actors.len() {
            let before = std::mem::take(&mut deeds.out);
            for outgoing in before {
                let Words::Message(message) = outgoing.words else {
                    deeds.out.push(outgoing);
                    continue;
                };
                let from = deeds.out.len();
                self.on_stage(lent, number, deeds, |actor, stage| {
                    actor.say(stage, outgoing.to, *message);
                });
                for later in &mut deeds.out[from..] {
                    later.delay_ns += outgoing.delay_ns;
                }
            }
        }
    }

    fn on_stage<T>(
        &mut self,
        lent: &mut Lent<'_>,
        number: usize,
        deeds: &mut Deeds,
        play: impl FnOnce(&mut dyn Actor, &mut Stage<'_>) -> T,
    ) -> T {
        let mut stage = Stage {
            own: self.own,
            set: lent.set,
            key: lent.key,
            now_ns: lent.now_ns,
            dice: &mut self.dice,
            plot: lent.plot,
            out: std::mem::take(&mut deeds.out),
            wishes: std::mem::take(&mut deeds.wishes),
        };
        let answer = play(self.actors[number].as_mut(), &mut stage);
        deeds.out = stage.out;
        deeds.wishes = stage.wishes;
        answer
    }
}

/// The bytes of what goes out.
pub(crate) fn bytes(words: &Words) -> Arc<[u8]> {
    match words {
        Words::Message(message) => super::stage::bytes_of(message).into(),
        Words::Bytes(bytes) => Arc::clone(bytes),
    }
}
