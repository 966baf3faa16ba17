//! What was noted lately, within a bound.
//!
//! Owns two generations of entries: when the younger one is full the older one goes as a whole.
//! Never: walks its entries, or keeps an order among them.

use std::collections::HashMap;
use std::hash::Hash;

/// See the module.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    generation_max: usize,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// The last `generation_max` entries at least are kept, at most twice as many.
    pub(super) fn new(generation_max: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            generation_max,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.generation_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_the_number_of_all_is_bounded() {
        let mut recent = Recent::new(10);
        for number in 0..1000 {
            recent.insert(number, number);
            let oldest_kept = (number + 1_i32).saturating_sub(10).max(0);
            assert!((oldest_kept..=number).all(|kept| recent.get(&kept) == Some(&kept)));
            assert!(recent.young.len() + recent.old.len() <= 20);
        }
        assert!(recent.get(&0).is_none());
    }
}
