//! Who is Byzantine in a run, and what each of them plays.
//!
//! Owns the choice within the budget: stake F together, twins included. Never: what a part does.

use std::fmt;

use quorate_consensus::types::ValidatorIndex;

use super::ActorName;
use crate::dice::Dice;

/// The name under which twins are counted.
pub(crate) const TWINS: &str = "twins";

/// Which Byzantine validators a run is asked to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Byzantine {
    /// What they play: one thing or two.
    pub actors: [Option<ActorName>; 2],
    /// One or two actors are drawn from the seed where none is named.
    pub is_drawn: bool,
    /// Validators whose key runs in two honest processes at once.
    pub has_twins: bool,
    /// Twice the weight that the protocol promises to survive, to see the checkers fire.
    pub is_beyond: bool,
}

impl Byzantine {
    /// Whether any validator is to be Byzantine.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        let [first, second] = &self.actors;
        first.is_some() || second.is_some() || self.is_drawn || self.has_twins
    }
}

impl fmt::Display for Byzantine {
    /// As options of the command line, each with a blank in front.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.actors.iter().flatten().map(|one| one.name()).collect();
        if !names.is_empty() {
            write!(f, " --byzantine {}", names.join(","))?;
        }
        if self.has_twins {
            f.write_str(" --twins")?;
        }
        if self.is_beyond {
            f.write_str(" --beyond")?;
        }
        Ok(())
    }
}

/// Who plays what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cast {
    /// By validator; honest where there is none.
    parts: Vec<Part>,
    /// Validators with a second copy: that of the first of them is at the place behind the last
    /// validator, and so on.
    twins: Vec<usize>,
}

/// One validator's part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Part {
    actors: Vec<ActorName>,
    is_twin: bool,
}

impl Cast {
    /// Draws the cast of a run. `order` is all validators as chance has them; nobody is chosen
    /// whose stake does not fit into what is left of `fault`.
    pub(crate) fn draw(
        request: &Byzantine,
        order: &[usize],
        stakes: &[u64],
        fault: u64,
        seed: u64,
    ) -> Self {
        let mut cast = Self {
            parts: vec![Part::default(); stakes.len()],
            twins: Vec::new(),
        };
        if !request.is_any() {
            return cast;
        }
        let mut dice = Dice::new(seed, "cast");
        let is_one = dice.percent(30);
        let mut chosen = Vec::new();
        let mut left = if request.is_beyond { 2 * fault } else { fault };
        for &place in order {
            if let Some(rest) = left.checked_sub(stakes[place])
                && !(is_one && !request.is_beyond && !chosen.is_empty())
            {
                left = rest;
                chosen.push(place);
            }
        }
        cast.give_parts(request, &chosen, &mut dice);
        cast
    }

    fn give_parts(&mut self, request: &Byzantine, chosen: &[usize], dice: &mut Dice) {
        let mut actors: Vec<ActorName> = request.actors.iter().flatten().copied().collect();
        if actors.is_empty() && request.is_drawn {
            // Forging is for chains of signed commands, see `add_forger`; and where nobody takes
            // snapshots there are none to lie about, nor about a disk where a site is never lost.
            let others = [
                ActorName::Forger,
                ActorName::FalseSource,
                ActorName::Overstater,
            ];
            let is_drawn = |name: &ActorName| !others.contains(name);
            let all: Vec<ActorName> = ActorName::all().filter(is_drawn).collect();
            let count = if dice.percent(30) { 1 } else { 2 };
            actors.extend((0..count).filter_map(|_| dice.one_of(&all)));
        }
        for (number, &place) in chosen.iter().enumerate() {
            let is_twin = request.has_twins && (actors.is_empty() || number.is_multiple_of(2));
            let part = &mut self.parts[place];
            if is_twin {
                part.is_twin = true;
                self.twins.push(place);
            } else if chosen.len() == 1 {
                // One validator plays both of a pair.
                part.actors.clone_from(&actors);
            } else {
                part.actors.extend(actors.get(number % actors.len().max(1)));
            }
        }
    }

    /// The first of those who play something forges commands besides.
    pub(crate) fn add_forger(&mut self) {
        let mut parts = self.parts.iter_mut();
        if let Some(part) = parts.find(|part| !part.actors.is_empty()) {
            part.actors.push(ActorName::Forger);
        }
    }

    /// Validators.
    pub(crate) fn validators(&self) -> usize {
        self.parts.len()
    }

    /// Processes: validators, and second copies behind them.
    pub(crate) fn places(&self) -> usize {
        self.parts.len() + self.twins.len()
    }

    /// Whose key the process at a place has.
    pub(crate) fn validator(&self, place: usize) -> usize {
        let copy = place.checked_sub(self.parts.len());
        copy.and_then(|copy| self.twins.get(copy).copied())
            .unwrap_or(place)
    }

    /// The processes with one validator's key.
    pub(crate) fn places_of(&self, validator: usize) -> impl Iterator<Item = usize> + '_ {
        let copies = self.twins.iter().enumerate();
        let copies = copies.filter(move |&(_, &twin)| twin == validator);
        std::iter::once(validator).chain(copies.map(|(copy, _)| self.parts.len() + copy))
    }

    /// Whether the process at a place, or its key, breaks rules.
    pub(crate) fn is_byzantine(&self, place: usize) -> bool {
        let part = self.parts.get(self.validator(place));
        part.is_some_and(|part| part.is_twin || !part.actors.is_empty())
    }

    /// Whether any is.
    pub(crate) fn is_any(&self) -> bool {
        (0..self.parts.len()).any(|place| self.is_byzantine(place))
    }

    /// All Byzantine validators.
    pub(crate) fn gang(&self) -> Vec<ValidatorIndex> {
        let all = (0..self.parts.len()).filter(|&place| self.is_byzantine(place));
        all.filter_map(|place| u16::try_from(place).ok())
            .map(ValidatorIndex::new)
            .collect()
    }

    /// What a validator plays.
    pub(crate) fn actors(&self, validator: usize) -> &[ActorName] {
        self.parts
            .get(validator)
            .map_or(&[], |part| part.actors.as_slice())
    }

    /// Whether anybody plays this.
    pub(crate) fn has(&self, actor: ActorName) -> bool {
        self.parts.iter().any(|part| part.actors.contains(&actor))
    }

    /// Whether another validator plays this.
    pub(crate) fn has_beside(&self, validator: usize, actor: ActorName) -> bool {
        let mut parts = self.parts.iter().enumerate();
        parts.any(|(place, part)| place != validator && part.actors.contains(&actor))
    }

    /// Whether two processes run with one key anywhere.
    pub(crate) const fn has_twins(&self) -> bool {
        !self.twins.is_empty()
    }

    /// The names under which a validator's deeds are counted.
    pub(crate) fn names(&self, validator: usize) -> Vec<&'static str> {
        let mut names: Vec<_> = self
            .actors(validator)
            .iter()
            .map(|one| one.name())
            .collect();
        if self.twins.contains(&validator) {
            names.push(TWINS);
        }
        names
    }

    /// In a few words.
    pub(crate) fn describe(&self) -> String {
        let one = |place: usize| format!("v{place} {}", self.names(place).join("+"));
        let all = (0..self.parts.len()).filter(|&place| self.is_byzantine(place));
        all.map(one).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast(request: Byzantine, seed: u64) -> Cast {
        Cast::draw(&request, &[3, 1, 0, 2, 4], &[1, 2, 1, 1, 2], 3, seed)
    }

    #[test]
    fn nobody_is_byzantine_unless_asked_for() {
        assert!(!cast(Byzantine::default(), 1).is_any());
    }

    #[test]
    fn an_actor_that_is_named_plays_in_whichever_place_it_is_named() {
        let named = Some(ActorName::Silent);
        for actors in [[named, None], [None, named], [named, named]] {
            let request = Byzantine {
                actors,
                ..Byzantine::default()
            };
            assert!(request.is_any());
            assert!(cast(request, 1).has(ActorName::Silent), "{actors:?}");
        }
    }

    #[test]
    fn those_chosen_weigh_no_more_than_the_budget_and_somebody_is() {
        for seed in 0..100 {
            let request = Byzantine {
                is_drawn: true,
                has_twins: seed % 2 == 0,
                ..Byzantine::default()
            };
            let found = cast(request, seed);
            let stakes = [1, 2, 1, 1, 2];
            let weight: u64 = found.gang().iter().map(|one| stakes[one.place()]).sum();
            assert!((1..=3).contains(&weight), "{}", found.describe());
        }
    }

    #[test]
    fn a_twin_has_two_places_and_one_key() {
        let request = Byzantine {
            has_twins: true,
            ..Byzantine::default()
        };
        let mut found = (0..50).map(|seed| cast(request, seed));
        let found = found.find(|cast| cast.places() > 5).unwrap();
        let twin = found.validator(5);
        assert_eq!(found.places_of(twin).collect::<Vec<_>>(), [twin, 5]);
        assert!(found.is_byzantine(5) && found.is_byzantine(twin));
    }
}
