//! Short names for long bytes, of one process.
//!
//! Owns the secret under which a verdict is named by its key and its entry. Two entries with one
//! name would share a verdict, so nobody may be able to find two. A universal hash (POLYVAL, RFC
//! 8452) under a secret that leaves no process does that: of two different entries of the longest,
//! whatever they are, the names are alike with a chance of some 2^-115, and who cannot see names
//! cannot do better. It costs half of a hash that everybody may know. Never: shows a name, keeps it
//! beyond the process, or compares it with another process's.

use std::fmt;

use polyval::Polyval;
use polyval::universal_hash::{KeyInit as _, UniversalHash as _};

/// What a verdict is found by.
pub(super) type Name = [u8; 16];

/// See the module.
#[derive(Clone)]
pub(super) struct Names(Polyval);

impl Names {
    /// `secret` comes from where nobody can foresee it.
    pub(super) fn new(secret: &[u8; 16]) -> Self {
        Self(Polyval::new(secret.into()))
    }

    /// Of the verdict on `entry`, which has the signature inside, under `key`.
    pub(super) fn of(&self, key: &[u8; 32], entry: &[u8]) -> Name {
        let mut hash = self.0.clone();
        hash.update_padded(key);
        hash.update_padded(entry);
        // What is padded differs in its length.
        hash.update_padded(&(entry.len() as u64).to_le_bytes());
        hash.finalize().into()
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_byte_the_length_the_key_and_the_secret_make_another_name() {
        let names = Names::new(&[9; 16]);
        let (key, entry) = ([1; 32], [0; 100]);
        let mut all = HashSet::from([names.of(&key, &entry)]);
        assert!(!all.insert(names.of(&key, &entry)), "the same again");
        assert!(all.insert(Names::new(&[8; 16]).of(&key, &entry)));
        for place in 0..32 {
            let mut other = key;
            other[place] ^= 1;
            assert!(all.insert(names.of(&other, &entry)), "key {place}");
        }
        for place in 0..entry.len() {
            let mut other = entry;
            other[place] ^= 1;
            assert!(all.insert(names.of(&key, &other)), "entry {place}");
        }
        for length in (0..100).chain(101..=112) {
            assert!(all.insert(names.of(&key, &vec![0; length])), "{length}");
        }
        assert_eq!(format!("{names:?}"), "Names(..)");
    }
}
