//! One Byzantine validator with all that it plays.
//!
//! Owns the chain of its actors: what the first one says, the second may still change; and the
//! look from outside at what each of them did. Never: sends; the world does, over the same links
//! as everybody's.

use std::sync::Arc;

use quorate_consensus::message::Message;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;

use super::deeds::{self, Done};
use super::stage::{Outgoing, Plot, Stage, Wish, Words};
use super::{Actor, ActorName};
use crate::dice::Dice;
use crate::disk::Disk;
use crate::keyring::WorldKey;

/// The one that plays.
pub(crate) struct Puppet {
    own: ValidatorIndex,
    actors: Vec<(ActorName, Box<dyn Actor>)>,
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
pub(crate) struct Moment {
    pub(crate) out: Vec<Outgoing>,
    pub(crate) wishes: Vec<Wish>,
    /// What its replica would not have done, and who did it.
    pub(crate) done: Vec<(ActorName, Done)>,
}

impl Moment {
    /// Notes what an actor did: `look` sees what it put on the stage since `from` for the honest,
    /// and what it wished since then.
    fn note(
        &mut self,
        lent: &Lent<'_>,
        name: ActorName,
        from: (usize, usize),
        look: impl FnOnce(&[&Outgoing], &mut Vec<Done>),
    ) {
        let out = self.out[from.0..].iter();
        let out: Vec<&Outgoing> = out.filter(|one| !lent.plot.is_fellow(one.to)).collect();
        let mut done = Vec::new();
        look(&out, &mut done);
        deeds::wished(&self.wishes[from.1..], &mut done);
        self.done.extend(done.into_iter().map(|done| (name, done)));
    }

    const fn mark(&self) -> (usize, usize) {
        (self.out.len(), self.wishes.len())
    }
}

impl Puppet {
    pub(crate) fn new(own: ValidatorIndex, actors: &[ActorName], seed: u64) -> Self {
        Self {
            own,
            actors: actors
                .iter()
                .map(|&name| (name, name.actor(seed)))
                .collect(),
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
    ) -> Moment {
        let first = Outgoing {
            to,
            words: Words::Message(Box::new(message)),
            delay_ns: 0,
        };
        let mut moment = Moment {
            out: vec![first],
            ..Moment::default()
        };
        self.pass_on(lent, 0, &mut moment);
        moment
    }

    /// A peer says something; what the own replica receives of it stands in front.
    pub(crate) fn hear(
        &mut self,
        lent: &mut Lent<'_>,
        from: ValidatorIndex,
        message: Message,
    ) -> (Option<Message>, Moment) {
        let mut moment = Moment::default();
        let mut heard = Some(message);
        for number in 0..self.actors.len() {
            let Some(message) = heard.take() else { break };
            let (mark, given) = (moment.mark(), message.clone());
            heard = self.on_stage(lent, number, &mut moment, |actor, stage| {
                actor.hear(stage, from, message)
            });
            moment.note(lent, self.actors[number].0, mark, |out, done| {
                deeds::heard(&given, heard.as_ref(), done);
                deeds::made(out, done);
                deeds::named(lent.plot, None, out, done);
            });
        }
        (heard, moment)
    }

    /// Time passes.
    pub(crate) fn act(&mut self, lent: &mut Lent<'_>) -> Moment {
        let mut moment = Moment::default();
        for number in 0..self.actors.len() {
            let mark = moment.mark();
            self.on_stage(lent, number, &mut moment, |actor, stage| actor.act(stage));
            moment.note(lent, self.actors[number].0, mark, |out, done| {
                deeds::made(out, done);
                deeds::named(lent.plot, None, out, done);
            });
        }
        moment
    }

    /// Lets the actors from `first` on change what stands in `moment`, one after the other.
    fn pass_on(&mut self, lent: &mut Lent<'_>, first: usize, moment: &mut Moment) {
        for number in first..self.actors.len() {
            let before = std::mem::take(&mut moment.out);
            for outgoing in before {
                let Words::Message(message) = outgoing.words else {
                    moment.out.push(outgoing);
                    continue;
                };
                let (mark, given) = (moment.mark(), message.clone());
                self.on_stage(lent, number, moment, |actor, stage| {
                    actor.say(stage, outgoing.to, *message);
                });
                if !lent.plot.is_fellow(outgoing.to) {
                    moment.note(lent, self.actors[number].0, mark, |out, done| {
                        deeds::said(outgoing.to, &given, out, done);
                        deeds::named(lent.plot, Some(&given), out, done);
                    });
                }
                for later in &mut moment.out[mark.0..] {
                    later.delay_ns += outgoing.delay_ns;
                }
            }
        }
    }

    fn on_stage<T>(
        &mut self,
        lent: &mut Lent<'_>,
        number: usize,
        moment: &mut Moment,
        play: impl FnOnce(&mut dyn Actor, &mut Stage<'_>) -> T,
    ) -> T {
        let mut stage = Stage {
            own: self.own,
            set: lent.set,
            key: lent.key,
            now_ns: lent.now_ns,
            dice: &mut self.dice,
            plot: lent.plot,
            out: std::mem::take(&mut moment.out),
            wishes: std::mem::take(&mut moment.wishes),
        };
        let answer = play(self.actors[number].1.as_mut(), &mut stage);
        moment.out = stage.out;
        moment.wishes = stage.wishes;
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

#[cfg(test)]
mod tests {
    use super::super::deeds::Deed;
    use super::*;
    use crate::keyring::Keyring;
    use crate::plan::{Plan, RunOptions};

    const OWN: ValidatorIndex = ValidatorIndex::new(0);
    const PEER: ValidatorIndex = ValidatorIndex::new(1);
    const FELLOW: ValidatorIndex = ValidatorIndex::new(2);

    /// An actor whose condition never holds.
    struct Inert;

    impl Actor for Inert {
        fn deeds(&self) -> &'static [Done] {
            &[(Deed::Withheld, "fence")]
        }
    }

    /// All that is seen of it when its replica speaks to an honest peer and to a fellow, hears
    /// something, and time passes.
    fn seen(actor: Box<dyn Actor>) -> Vec<(ActorName, Done)> {
        let plan = Plan {
            stakes: vec![1; 7],
            fault: 2,
            slack: 0,
            ..Plan::draw(&RunOptions::default())
        };
        let ring = Keyring::new(7, plan.scheme);
        let set = plan.set(ring.keys()).unwrap();
        let mut lent = Lent {
            set: &set,
            key: &ring.keys()[0],
            plot: &mut Plot::new(vec![OWN, FELLOW]),
            now_ns: 1,
        };
        let mut puppet = Puppet::new(OWN, &[], 1);
        puppet.actors.push((ActorName::Silent, actor));
        let message = || Message::FenceAsk { incarnation: 1 };
        let mut done = puppet.say(&mut lent, PEER, message()).done;
        done.extend(puppet.say(&mut lent, FELLOW, message()).done);
        done.extend(puppet.hear(&mut lent, PEER, message()).1.done);
        done.extend(puppet.act(&mut lent).done);
        done
    }

    #[test]
    fn an_inert_actor_has_no_deeds() {
        assert_eq!(seen(Box::new(Inert)), []);
    }

    #[test]
    fn what_an_actor_does_to_the_honest_is_seen_and_not_what_it_does_to_fellows() {
        let silence = (ActorName::Silent, (Deed::Withheld, "fence"));
        assert_eq!(seen(ActorName::Silent.actor(0)), [silence]);
    }
}
