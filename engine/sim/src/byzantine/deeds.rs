//! What an actor did that its replica would not have done, by kind and by what it was done to.
//!
//! Owns the names of deeds and their measure: what an actor was given, held against what it gave.
//! Never: asks the actor, so that one which does nothing cannot say that it did something.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use quorate_consensus::message::{Message, SnapshotPart};
use quorate_consensus::types::ValidatorIndex;
use serde::{Deserialize, Serialize};

use super::stage::{Outgoing, Plot, Wish, Words, bytes_of};
use crate::checks::records;
use crate::scenes::kind_of;

/// A way of not being honest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// What the own replica said did not leave.
    Withheld,
    /// It left as something else.
    Changed,
    /// It left as it was, and later.
    Delayed,
    /// What left was not said by the own replica.
    Made,
    /// What came did not reach the own replica.
    Unheard,
    /// It reached it as something else.
    Misheard,
    /// The own replica received what was held back before.
    Fed,
    /// Something was done to the own machine.
    Rigged,
    /// What left stands for what the own replica did not stand for.
    Named,
}

impl Deed {
    const fn name(self) -> &'static str {
        match self {
            Self::Withheld => "withheld",
            Self::Changed => "changed",
            Self::Delayed => "delayed",
            Self::Made => "made",
            Self::Unheard => "unheard",
            Self::Misheard => "misheard",
            Self::Fed => "fed",
            Self::Rigged => "rigged",
            Self::Named => "named",
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What not every run gives an actor the occasion for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// A fellow shows two branches (`equivocator`).
    Fork,
    /// Somebody honest loses its disk, and has to ask what it said (R13).
    Loss,
}

impl Occasion {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Fork, Self::Loss].into_iter()
    }

    /// After so many of them all that it is for must have been done. Whoever has lost its disk
    /// needs the answers of some alone: the liar gave one in one run of six.
    pub(super) const fn runs_for_deeds(self) -> u64 {
        match self {
            Self::Fork => 40,
            Self::Loss => 240,
        }
    }
}

/// One deed, and what it was done to: a kind of message, or a part of the own machine.
pub(crate) type Done = (Deed, &'static str);

/// Bytes in which nobody need see a message.
pub(crate) const BYTES: &str = "bytes";
/// The own wall clock.
pub(crate) const CLOCK: &str = "clock";
/// The own disk.
pub(crate) const DISK: &str = "disk";
/// The connections of the two copies of a key.
pub(crate) const SIDES: &str = "sides";
/// The second branch of a window that a fellow leads.
pub(crate) const RIVAL: &str = "rival";

/// How often each was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Deeds(BTreeMap<Deed, BTreeMap<Cow<'static, str>, u64>>);

impl Deeds {
    pub(crate) fn note(&mut self, (deed, what): Done) {
        let things = self.0.entry(deed).or_default();
        *things.entry(Cow::Borrowed(what)).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (deed, things) in &other.0 {
            let own = self.0.entry(*deed).or_default();
            for (what, count) in things {
                *own.entry(what.clone()).or_default() += count;
            }
        }
    }

    /// How often this was done to that.
    #[must_use]
    pub fn of(&self, deed: Deed, what: &str) -> u64 {
        let things = self.0.get(&deed);
        things.and_then(|all| all.get(what)).map_or(0, |one| *one)
    }

    /// All of them.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.values().flat_map(BTreeMap::values).sum()
    }
}

/// What became of a message of the own replica to an honest peer; `out` is what honest ones get.
pub(crate) fn said(to: ValidatorIndex, given: &Message, out: &[&Outgoing], done: &mut Vec<Done>) {
    let what = kind(given);
    let is_meant = |one: &&Outgoing| one.to == to && is_same(&one.words, given);
    let is_other = |one: &&Outgoing| one.to == to && word(&one.words, what) == what;
    let (rest, deed) = if let Some(at) = out.iter().position(is_meant) {
        (Some(at), (out[at].delay_ns > 0).then_some(Deed::Delayed))
    } else if let Some(at) = out.iter().position(is_other) {
        (Some(at), Some(Deed::Changed))
    } else {
        (None, Some(Deed::Withheld))
    };
    done.extend(deed.map(|deed| (deed, what)));
    let others = out.iter().enumerate().filter(|(at, _)| Some(*at) != rest);
    done.extend(others.map(|(_, one)| (Deed::Made, word(&one.words, BYTES))));
}

/// What became of a message that came.
pub(crate) fn heard(given: &Message, left: Option<&Message>, done: &mut Vec<Done>) {
    match left {
        None => done.push((Deed::Unheard, kind(given))),
        Some(left) if left != given => done.push((Deed::Misheard, kind(given))),
        Some(_) => {}
    }
}

/// What left though the own replica said nothing.
pub(crate) fn made(out: &[&Outgoing], done: &mut Vec<Done>) {
    done.extend(out.iter().map(|one| (Deed::Made, word(&one.words, BYTES))));
}

/// What was done to the own machine.
pub(crate) fn wished(wishes: &[Wish], done: &mut Vec<Done>) {
    done.extend(wishes.iter().filter_map(|wish| match wish {
        // Nobody sees a copy before it is put back, or a clock that is right.
        Wish::CopyDisk | Wish::Clock(0) => None,
        Wish::Clock(_) => Some((Deed::Rigged, CLOCK)),
        Wish::RestoreDisk => Some((Deed::Rigged, DISK)),
        Wish::Feed(_, message) => Some((Deed::Fed, kind(message))),
    }));
}

/// What of that left for the honest stands for the second branch of a fork, where the own replica,
/// if it said anything, did not.
pub(crate) fn named(plot: &Plot, given: Option<&Message>, out: &[&Outgoing], done: &mut Vec<Done>) {
    let is_for_rival = |message: &Message| {
        records::own(message).is_some_and(|(window, record)| {
            let rival = plot.top(window, true);
            rival.is_some_and(|rival| record.tip == Some(rival) || record.also.contains(&rival))
        })
    };
    if given.is_some_and(is_for_rival) {
        return;
    }
    let is_named = |one: &&&Outgoing| match &one.words {
        Words::Message(message) => is_for_rival(message),
        Words::Bytes(_) => false,
    };
    let count = out.iter().filter(is_named).count();
    done.extend(std::iter::repeat_n((Deed::Named, RIVAL), count));
}

fn is_same(words: &Words, message: &Message) -> bool {
    match words {
        Words::Message(said) => **said == *message,
        Words::Bytes(bytes) => **bytes == *bytes_of(message),
    }
}

/// The kind of a message; of bytes it is what they stand for.
fn word(words: &Words, bytes: &'static str) -> &'static str {
    match words {
        Words::Message(message) => kind(message),
        Words::Bytes(_) => bytes,
    }
}

/// Votes are of one kind, with a signature and without: to leave it out is to change the vote.
fn kind(message: &Message) -> &'static str {
    match message {
        Message::Vote(_) => "vote",
        Message::Snapshot(SnapshotPart::Offer { .. }) => "offer",
        Message::Snapshot(SnapshotPart::Chunk { .. }) => "chunk",
        other => kind_of(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_consensus::message::Vote;
    use quorate_consensus::record::Record;
    use quorate_consensus::types::{BlockId, Epoch, Index, Window};

    const PEER: ValidatorIndex = ValidatorIndex::new(1);
    const OTHER: ValidatorIndex = ValidatorIndex::new(2);

    fn ask(incarnation: u64) -> Message {
        Message::FenceAsk { incarnation }
    }

    fn send(to: ValidatorIndex, message: Message, delay_ns: u64) -> Outgoing {
        Outgoing {
            to,
            words: Words::Message(Box::new(message)),
            delay_ns,
        }
    }

    fn bytes(bytes: Vec<u8>) -> Outgoing {
        Outgoing {
            to: PEER,
            words: Words::Bytes(bytes.into()),
            delay_ns: 0,
        }
    }

    /// What is seen when the replica says the message 1 to a peer, and this leaves.
    fn seen(out: &[Outgoing]) -> Vec<Done> {
        let mut done = Vec::new();
        said(PEER, &ask(1), &out.iter().collect::<Vec<_>>(), &mut done);
        done
    }

    #[test]
    fn a_message_that_leaves_as_it_was_is_no_deed() {
        assert_eq!(seen(&[send(PEER, ask(1), 0)]), []);
        assert_eq!(seen(&[bytes(bytes_of(&ask(1)))]), []);
    }

    #[test]
    fn a_message_can_be_withheld_changed_delayed_or_said_beside_others() {
        assert_eq!(seen(&[]), [(Deed::Withheld, "fence")]);
        assert_eq!(seen(&[send(PEER, ask(2), 0)]), [(Deed::Changed, "fence")]);
        assert_eq!(seen(&[bytes(vec![9])]), [(Deed::Changed, "fence")]);
        assert_eq!(seen(&[send(PEER, ask(1), 5)]), [(Deed::Delayed, "fence")]);
        let forward = Message::Forward(b"x".as_slice().into());
        let beside = [send(PEER, forward.clone(), 0), send(PEER, ask(1), 0)];
        assert_eq!(seen(&beside), [(Deed::Made, "forward")]);
        let instead = [send(PEER, forward, 0), send(OTHER, ask(1), 0)];
        let expected = [
            (Deed::Withheld, "fence"),
            (Deed::Made, "forward"),
            (Deed::Made, "fence"),
        ];
        assert_eq!(seen(&instead), expected);
    }

    #[test]
    fn a_record_for_the_second_branch_is_seen_unless_the_replica_said_it() {
        let window = Window::new(3);
        let [one, rival] = [1, 2].map(|mark| (Index::ZERO, BlockId::new([mark; 32])));
        let mut plot = Plot::new(vec![OTHER]);
        let vote = |tip, also: &[(Index, BlockId)]| {
            Message::Vote(Vote {
                epoch: Epoch::ZERO,
                window,
                record: Record {
                    tip: Some(tip),
                    also: also.to_vec(),
                    ..Record::default()
                },
                signature: None,
            })
        };
        let see = |plot: &Plot, given: Option<&Message>, out: Message| {
            let mut done = Vec::new();
            named(plot, given, &[&send(PEER, out, 0)], &mut done);
            done
        };
        let for_rival = vote(rival, &[]);
        assert_eq!(see(&plot, None, for_rival.clone()), [], "nobody forks");
        plot.note_fork(window, [one, rival]);
        let deed = [(Deed::Named, RIVAL)];
        assert_eq!(see(&plot, None, for_rival.clone()), deed);
        assert_eq!(see(&plot, Some(&vote(one, &[])), for_rival.clone()), deed);
        assert_eq!(see(&plot, None, vote(one, &[rival])), deed);
        assert_eq!(see(&plot, None, vote(one, &[])), []);
        assert_eq!(see(&plot, Some(&for_rival), for_rival.clone()), []);
    }

    #[test]
    fn what_comes_can_be_lost_or_made_into_something_else() {
        let mut done = Vec::new();
        heard(&ask(1), Some(&ask(1)), &mut done);
        assert_eq!(done, []);
        heard(&ask(1), None, &mut done);
        heard(&ask(1), Some(&ask(2)), &mut done);
        assert_eq!(done, [(Deed::Unheard, "fence"), (Deed::Misheard, "fence")]);
    }

    #[test]
    fn a_right_clock_and_a_copy_of_a_disk_are_no_deeds() {
        let mut done = Vec::new();
        wished(&[Wish::Clock(0), Wish::CopyDisk], &mut done);
        assert_eq!(done, []);
        let fed = Wish::Feed(PEER, Box::new(ask(1)));
        wished(&[Wish::Clock(-1), Wish::RestoreDisk, fed], &mut done);
        let expected = [
            (Deed::Rigged, CLOCK),
            (Deed::Rigged, DISK),
            (Deed::Fed, "fence"),
        ];
        assert_eq!(done, expected);
    }

    #[test]
    fn deeds_add_up_by_kind_and_thing() {
        let mut one = Deeds::default();
        one.note((Deed::Made, "vote"));
        let mut all = one.clone();
        all.note((Deed::Made, "block"));
        all.add(&one);
        assert_eq!(all.of(Deed::Made, "vote"), 2);
        assert_eq!(all.of(Deed::Withheld, "vote"), 0);
        assert_eq!(all.count(), 3);
    }
}
