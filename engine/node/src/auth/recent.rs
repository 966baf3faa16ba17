//! What was noted lately, within a bound.
//!
//! Owns two generations of entries: when the younger one is full the older one goes as a whole.
//! Never: walks its entries, or keeps an order among them.

use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::hash::Hash;

/// See the module.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
    generation_max: usize,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// The last `generation_max` entries at least are kept, at most twice as many.
    pub(super) fn new(generation_max: usize) -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
            generation_max,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.generation_max {
            // Its memory is used again: to grow from nothing is to hash all of it several times.
            std::mem::swap(&mut self.old, &mut self.young);
            self.young.clear();
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
