//! Byzantine validators: who they are, what each does, and what the world does for them.
//!
//! Owns the names of the actors and what an actor is: a validator that runs the shipped replica
//! and whose words are dropped, changed, forged with its own key, shown to some and not to others,
//! or made up. Never: a rule of the product, another's key, or a judgement; the checkers know
//! who is Byzantine and hold nobody else to less.
//!
//! One file an actor. `cast` says who plays what, `puppet` lets a validator's actors speak,
//! `stage` is what they can do, `twins` the script of two copies of one key, `hooks` the few
//! places where the world asks.

mod amnesiac;
mod cast;
mod censor;
mod conflicter;
mod counts;
mod deeds;
mod disrupter;
mod equivocator;
mod false_source;
mod fence_liar;
mod flooder;
mod forger;
mod garbage;
mod header_only;
mod hooks;
mod impersonator;
mod invalid_proposer;
mod invalid_sig;
mod lazy;
mod liar;
mod lying_syncer;
mod nuller;
mod nullify_only;
mod outdated;
mod oversizer;
mod overstater;
mod private_voter;
mod puppet;
mod reconfigurer;
mod reorderer;
mod replayer;
mod rule_x_breaker;
mod selective;
mod silent;
mod silent_leader;
mod slow_loris;
mod slow_reader;
mod stage;
mod stale_certifier;
mod time_liar;
mod twins;
mod withholder;
mod wrong_chain;

use std::fmt;
use std::str::FromStr;

use quorate_consensus::message::Message;
use quorate_consensus::types::ValidatorIndex;

use crate::script::Scenario;
pub use cast::Byzantine;
pub(crate) use cast::Cast;
pub use counts::{ActorCounts, Beside, ByzantineCounts};
use deeds::Done;
pub use deeds::{Deed, Deeds, Occasion};
use disrupter::Scope;
pub(crate) use hooks::Troupe;
use stage::Stage;

/// A way of being Byzantine, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each name stands with its meaning in its file")]
pub enum ActorName {
    Amnesiac,
    Censor,
    Conflicter,
    DisrupterAny,
    DisrupterFuture,
    DisrupterSmall,
    Equivocator,
    FalseSource,
    FenceLiar,
    Flooder,
    Forger,
    Garbage,
    HeaderOnly,
    Impersonator,
    InvalidProposer,
    InvalidSig,
    Lazy,
    Liar,
    LyingSyncer,
    Nuller,
    NullifyOnly,
    Outdated,
    Oversizer,
    Overstater,
    PrivateVoter,
    Reconfigurer,
    Reorderer,
    Replayer,
    RuleXBreaker,
    Selective,
    Silent,
    SilentLeader,
    SlowLoris,
    SlowReader,
    StaleCertifier,
    TimeLiar,
    Withholder,
    WrongChain,
}

use ActorName as Name;

/// All actors with their names on the command line, in their order.
const NAMES: [(Name, &str); 38] = [
    (Name::Amnesiac, "amnesiac"),
    (Name::Censor, "censor"),
    (Name::Conflicter, "conflicter"),
    (Name::DisrupterAny, "disrupter-any"),
    (Name::DisrupterFuture, "disrupter-future"),
    (Name::DisrupterSmall, "disrupter-small"),
    (Name::Equivocator, "equivocator"),
    (Name::FalseSource, "false-source"),
    (Name::FenceLiar, "fence-liar"),
    (Name::Flooder, "flooder"),
    (Name::Forger, "forger"),
    (Name::Garbage, "garbage"),
    (Name::HeaderOnly, "header-only"),
    (Name::Impersonator, "impersonator"),
    (Name::InvalidProposer, "invalid-proposer"),
    (Name::InvalidSig, "invalid-sig"),
    (Name::Lazy, "lazy"),
    (Name::Liar, "liar"),
    (Name::LyingSyncer, "lying-syncer"),
    (Name::Nuller, "nuller"),
    (Name::NullifyOnly, "nullify-only"),
    (Name::Outdated, "outdated"),
    (Name::Oversizer, "oversizer"),
    (Name::Overstater, "overstater"),
    (Name::PrivateVoter, "private-voter"),
    (Name::Reconfigurer, "reconfigurer"),
    (Name::Reorderer, "reorderer"),
    (Name::Replayer, "replayer"),
    (Name::RuleXBreaker, "rule-x-breaker"),
    (Name::Selective, "selective"),
    (Name::Silent, "silent"),
    (Name::SilentLeader, "silent-leader"),
    (Name::SlowLoris, "slow-loris"),
    (Name::SlowReader, "slow-reader"),
    (Name::StaleCertifier, "stale-certifier"),
    (Name::TimeLiar, "time-liar"),
    (Name::Withholder, "withholder"),
    (Name::WrongChain, "wrong-chain"),
];

/// Played so often, an actor has done once what it does in two runs of five: the chance that it has
/// not is (3/5)^40, about 10^-9.
const RUNS_FOR_DEEDS: u64 = 40;

impl ActorName {
    /// Every actor.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|&(actor, _)| actor)
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(actor, _)| *actor == self);
        found.map_or("", |(_, name)| name)
    }

    /// Whether what it does can be proven to a third party (E1, E2 or E3), so that over many runs
    /// some honest validator must have proven it.
    #[must_use]
    pub const fn is_provable(self) -> bool {
        matches!(
            self,
            Self::Equivocator | Self::Conflicter | Self::Nuller | Self::RuleXBreaker
        )
    }

    /// Whether honest validators must have named it over many runs, for messages that they refused
    /// or a connection that they dropped.
    #[must_use]
    pub const fn is_refused(self) -> bool {
        matches!(
            self,
            Self::DisrupterAny
                | Self::DisrupterFuture
                | Self::DisrupterSmall
                | Self::Garbage
                | Self::Impersonator
                | Self::InvalidSig
                | Self::Oversizer
                | Self::Reconfigurer
                | Self::StaleCertifier
                | Self::WrongChain
        )
    }

    /// The worlds in which it has something to do: only where somebody joins there are snapshots
    /// to lie about, and what nobody has on its disk is missed only when all power goes.
    #[must_use]
    pub const fn world(self) -> Scenario {
        match self {
            Self::FalseSource => Scenario::Join,
            Self::Overstater => Scenario::BlackoutAsync,
            _ => Scenario::Mixed,
        }
    }

    /// Played so often it must have done all that it is for. Few joiners ask the source that lies
    /// for chunks: it keeps one back in one run of ten.
    #[must_use]
    pub const fn runs_for_deeds(self) -> u64 {
        match self {
            Self::FalseSource => 1_000,
            _ => RUNS_FOR_DEEDS,
        }
    }

    /// What it must have done.
    fn deeds(self) -> &'static [Done] {
        self.actor(0).deeds()
    }

    /// What it must have done where there was an occasion for it.
    fn deeds_at(self, occasion: Occasion) -> &'static [Done] {
        self.actor(0).deeds_at(occasion)
    }

    fn actor(self, seed: u64) -> Box<dyn Actor> {
        match self {
            Self::Amnesiac => Box::new(amnesiac::Amnesiac::new(seed)),
            Self::Censor => Box::new(censor::Censor),
            Self::Conflicter => Box::new(conflicter::Conflicter::default()),
            Self::DisrupterAny => Box::new(disrupter::Disrupter::new(Scope::Any)),
            Self::DisrupterFuture => Box::new(disrupter::Disrupter::new(Scope::Future)),
            Self::DisrupterSmall => Box::new(disrupter::Disrupter::new(Scope::Small)),
            Self::Equivocator => Box::new(equivocator::Equivocator::default()),
            Self::FalseSource => Box::new(false_source::FalseSource::default()),
            Self::FenceLiar => Box::new(fence_liar::FenceLiar::default()),
            Self::Flooder => Box::new(flooder::Flooder::default()),
            Self::Forger => Box::new(forger::Forger::default()),
            Self::Garbage => Box::new(garbage::Garbage),
            Self::HeaderOnly => Box::new(header_only::HeaderOnly::default()),
            Self::Impersonator => Box::new(impersonator::Impersonator::default()),
            Self::InvalidProposer => Box::new(invalid_proposer::InvalidProposer),
            Self::InvalidSig => Box::new(invalid_sig::InvalidSig),
            Self::Lazy => Box::new(lazy::Lazy),
            Self::Liar => Box::new(liar::Liar),
            Self::LyingSyncer => Box::new(lying_syncer::LyingSyncer::default()),
            Self::Nuller => Box::new(nuller::Nuller),
            Self::NullifyOnly => Box::new(nullify_only::NullifyOnly),
            Self::Outdated => Box::new(outdated::Outdated::default()),
            Self::Overstater => Box::new(overstater::Overstater),
            Self::Oversizer => Box::new(oversizer::Oversizer::default()),
            Self::PrivateVoter => Box::new(private_voter::PrivateVoter::default()),
            Self::Reconfigurer => Box::new(reconfigurer::Reconfigurer),
            Self::Reorderer => Box::new(reorderer::Reorderer::default()),
            Self::Replayer => Box::new(replayer::Replayer::default()),
            Self::RuleXBreaker => Box::new(rule_x_breaker::RuleXBreaker),
            Self::Selective => Box::new(selective::Selective),
            Self::Silent => Box::new(silent::Silent),
            Self::SilentLeader => Box::new(silent_leader::SilentLeader),
            Self::SlowLoris => Box::new(slow_loris::SlowLoris),
            Self::SlowReader => Box::new(slow_reader::SlowReader::default()),
            Self::StaleCertifier => Box::new(stale_certifier::StaleCertifier::default()),
            Self::TimeLiar => Box::new(time_liar::TimeLiar::default()),
            Self::Withholder => Box::new(withholder::Withholder),
            Self::WrongChain => Box::new(wrong_chain::WrongChain),
        }
    }
}

impl fmt::Display for ActorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ActorName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, name)| *name == text);
        found.map(|&(actor, _)| actor).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|&(_, name)| name).collect();
            format!("there is no actor {text}; there are {}", names.join(", "))
        })
    }
}

/// What a Byzantine validator does with its own words and with those of others.
trait Actor {
    /// What it must have done, each at least once, when it was played often enough: that which
    /// comes about in nearly every run with an own window, so that none of it is missed by chance.
    fn deeds(&self) -> &'static [Done];

    /// The same of what needs an occasion that not every run gives.
    fn deeds_at(&self, occasion: Occasion) -> &'static [Done] {
        let _ = occasion;
        &[]
    }

    /// A message of the own replica on its way to one peer. What the actor puts on the stage goes
    /// in its place.
    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, message: Message) {
        stage.send(to, message);
    }

    /// A message that came. What is returned the own replica receives.
    fn hear(
        &mut self,
        stage: &mut Stage<'_>,
        from: ValidatorIndex,
        message: Message,
    ) -> Option<Message> {
        let _ = (stage, from);
        Some(message)
    }

    /// Now and then, whatever comes.
    fn act(&mut self, stage: &mut Stage<'_>) {
        let _ = stage;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_to_its_actor() {
        for actor in ActorName::all() {
            assert_eq!(actor.name().parse(), Ok(actor));
        }
        assert!("nobody".parse::<ActorName>().is_err());
    }
}
