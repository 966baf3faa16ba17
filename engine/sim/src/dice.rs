//! Chance from a seed.
//!
//! Owns the one generator and the few ways in which it is asked. Never: anything that is not in
//! the seed, such as a clock, an address or the order of a hash map.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// A stream of chance that depends on its seed and its name alone.
#[derive(Clone, Debug)]
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of this name under a seed. Streams of different names are independent, so that
    /// what one part of the world asks for does not change what another part gets.
    #[must_use]
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(name.as_bytes());
        Self(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()))
    }

    /// A number below `bound`; zero when the bound is. The bias is below `bound / 2^64`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// A place in a list of this length.
    pub(crate) fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// One of these.
    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        choices.get(self.place(choices.len())).copied()
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Sixteen bytes.
    pub(crate) fn bytes16(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A distance with a long tail: mostly near `typical`, now and then many times as much.
    pub(crate) fn skewed(&mut self, typical: u64) -> u64 {
        let base = typical / 2 + self.below(typical.saturating_add(1));
        match self.below(100) {
            0 => base * 20,
            1..=4 => base * 4,
            _ => base,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_its_seed_and_its_name_alone() {
        let draw = |seed, name| {
            let mut dice = Dice::new(seed, name);
            (0..8).map(|_| dice.below(1 << 40)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
    }

    #[test]
    fn bounds_hold_and_an_empty_list_has_no_member() {
        let mut dice = Dice::new(7, "bounds");
        for _ in 0..1_000 {
            assert!(dice.below(3) < 3);
            assert!((5..=9).contains(&dice.between(5, 9)));
        }
        assert_eq!(dice.below(0), 0);
        assert_eq!(dice.one_of::<u8>(&[]), None);
    }
}
