//! Twins: two honest processes with one key, and the script of who can talk to which of them.
//!
//! Owns the phases. In each the processes stand on sides; those on different sides cannot talk,
//! and whoever stands with both copies of a key talks to one of them. So a peer sees one validator
//! that changes its mind, as it would see any equivocation, without a line of code that
//! equivocates. Never: more than a network and a second machine could do.

use super::cast::Cast;
use crate::dice::Dice;

const MS: u64 = 1_000_000;
/// Phases of a script; then it begins again.
const PHASES: u64 = 5;
/// Sides at most: three make a side without any quorum likely.
const SIDES_MAX: u64 = 3;

/// Who can talk to whom for some windows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Phase {
    /// Side of each process.
    sides: Vec<u64>,
    /// Which copy a process prefers where it can choose.
    prefers_second: Vec<bool>,
    /// How many windows it lasts.
    windows: u64,
    /// How long it lasts at most: on a side without a quorum no window ends.
    length_ns: u64,
}

/// The script of a run.
#[derive(Clone, Debug)]
pub(crate) struct TwinScript {
    phases: Vec<Phase>,
    /// After healing: everybody on one side.
    last: Phase,
    at: usize,
    is_over: bool,
    began_ns: u64,
    began_window: u64,
}

impl TwinScript {
    pub(crate) fn draw(cast: &Cast, seed: u64) -> Self {
        let mut dice = Dice::new(seed, "twins");
        let len = cast.places();
        let phases = (0..2 + dice.below(PHASES))
            .map(|_| draw_phase(cast, &mut dice))
            .collect();
        let shares_peers = dice.percent(50);
        let last = Phase {
            sides: vec![0; len],
            prefers_second: (0..len).map(|_| shares_peers && dice.percent(50)).collect(),
            windows: u64::MAX,
            length_ns: u64::MAX,
        };
        Self {
            phases,
            last,
            at: 0,
            is_over: false,
            began_ns: 0,
            began_window: 0,
        }
    }

    fn phase(&self) -> &Phase {
        if self.is_over {
            return &self.last;
        }
        self.phases.get(self.at).unwrap_or(&self.last)
    }

    /// Whether two processes may talk now.
    pub(crate) fn joins(&self, cast: &Cast, one: usize, other: usize) -> bool {
        let phase = self.phase();
        cast.validator(one) != cast.validator(other)
            && phase.choice(cast, one, cast.validator(other)) == Some(other)
            && phase.choice(cast, other, cast.validator(one)) == Some(one)
    }

    /// Goes on to the next phase when the present one is over: by windows, or by time.
    pub(crate) fn advance(&mut self, now_ns: u64, window: u64) -> bool {
        let phase = self.phase();
        let is_over = window >= self.began_window.saturating_add(phase.windows)
            || now_ns >= self.began_ns.saturating_add(phase.length_ns);
        if is_over && !self.is_over {
            self.at = (self.at + 1) % self.phases.len().max(1);
            self.began_ns = now_ns;
            self.began_window = window;
        }
        is_over && !self.is_over
    }

    /// Trouble is over.
    pub(crate) const fn end(&mut self) {
        self.is_over = true;
    }
}

impl Phase {
    /// Which copy of a validator a process talks to, if any is on its side.
    fn choice(&self, cast: &Cast, place: usize, validator: usize) -> Option<usize> {
        let mut near = cast
            .places_of(validator)
            .filter(|&copy| self.sides[copy] == self.sides[place]);
        let first = near.next();
        match near.next() {
            Some(second) if self.prefers_second[place] => Some(second),
            _ => first,
        }
    }
}

fn draw_phase(cast: &Cast, dice: &mut Dice) -> Phase {
    let len = cast.places();
    let count = dice.between(1, SIDES_MAX);
    let mut sides: Vec<u64> = (0..len).map(|_| dice.below(count)).collect();
    if count > 1 && dice.percent(70) {
        // The two copies of a key are the point: apart, more often than chance would have it.
        for validator in 0..cast.validators() {
            let copies: Vec<usize> = cast.places_of(validator).collect();
            if let [one, other] = copies[..] {
                sides[other] = (sides[one] + 1) % count;
            }
        }
    }
    Phase {
        sides,
        prefers_second: (0..len).map(|_| dice.percent(50)).collect(),
        windows: dice.between(1, 3),
        length_ns: dice.between(10, 120) * MS,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Byzantine;
    use super::*;

    fn script(seed: u64) -> (Cast, TwinScript) {
        let request = Byzantine {
            has_twins: true,
            ..Byzantine::default()
        };
        let cast = Cast::draw(&request, &[1, 3, 0, 2, 4, 5, 6], &[1; 7], 2, seed);
        let script = TwinScript::draw(&cast, seed);
        (cast, script)
    }

    #[test]
    fn nobody_talks_to_both_copies_of_a_key_at_once() {
        for seed in 0..200 {
            let (cast, mut script) = script(seed);
            for step in 0..6 {
                for place in 0..cast.places() {
                    for validator in 0..cast.validators() {
                        let copies = cast.places_of(validator);
                        let near = copies.filter(|&copy| script.joins(&cast, place, copy));
                        assert!(near.count() <= 1);
                    }
                }
                script.advance(u64::MAX - 6 + step, 0);
            }
        }
    }

    #[test]
    fn the_honest_all_talk_after_healing() {
        let (cast, mut script) = script(3);
        script.end();
        let honest = (0..7).filter(|&place| !cast.is_byzantine(place));
        let honest: Vec<usize> = honest.collect();
        for &one in &honest {
            for &other in &honest {
                assert!(one == other || script.joins(&cast, one, other));
            }
        }
    }

    #[test]
    fn a_phase_ends_by_windows_or_by_time() {
        let (_, mut script) = script(1);
        assert!(!script.advance(0, 0));
        assert!(script.advance(0, 3));
        assert!(!script.advance(0, 3));
        assert!(script.advance(1_000 * MS, 3));
    }
}
