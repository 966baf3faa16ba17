//! Short names for long bytes, of one process.
//!
//! Owns the secret under which a verdict is named by its key and its entry. Two entries with one
//! name would share a verdict, so nobody may be able to find two. A universal hash under a secret
//! that leaves no process does that, and costs a fraction of a hash that everybody may know: pieces
//! of the entry are summed up by NH, twice under words that are shifted by a pair (Black, Halevi,
//! Krawczyk, Krovetz, Rogaway: UMAC, 1999; its Toeplitz extension), and the sums, the key and the
//! length by POLYVAL (RFC 8452). Two entries of one length that differ have the same sums of a
//! piece with a chance of 2^-128 at most, and blocks that differ the same POLYVAL with one of their
//! number in 2^128: of two entries of the longest, whatever they are, the names are alike with a
//! chance of some 2^-120, and who cannot see names cannot do better. Never: shows a name, keeps it
//! beyond the process, or compares it with another process's.

use std::fmt;

use polyval::Polyval;
use polyval::universal_hash::{KeyInit as _, UniversalHash as _};

/// What a verdict is found by.
pub(super) type Name = [u8; 16];

/// What is summed up at once. Longer pieces want a longer secret, and hardly save time.
const PIECE_BYTES: usize = 1_024;
/// Two words that are multiplied with each other.
const PAIR_BYTES: usize = 16;
const POLYVAL_BYTES: usize = 16;
/// Of the words of a piece, and one pair more for the second sum.
const WORDS: usize = (PIECE_BYTES + PAIR_BYTES) / 8;
/// What the names of a process hang upon.
pub(super) const SECRET_BYTES: usize = POLYVAL_BYTES + WORDS * 8;

/// See the module.
pub(super) struct Names {
    polyval: Polyval,
    words: Box<[u64; WORDS]>,
}

impl Names {
    /// `secret` comes from where nobody can foresee it.
    pub(super) fn new(secret: &[u8; SECRET_BYTES]) -> Self {
        let (polyval, words) = secret.split_at(POLYVAL_BYTES);
        let mut from = words.chunks_exact(8);
        let words = std::array::from_fn(|_| from.next().map_or(0, word));
        Self {
            polyval: Polyval::new(polyval.into()),
            words: Box::new(words),
        }
    }

    /// Of the verdict on `entry`, which has the signature inside, under `key`.
    pub(super) fn of(&self, key: &[u8; 32], entry: &[u8]) -> Name {
        let mut hash = self.polyval.clone();
        hash.update_padded(key);
        for piece in entry.chunks(PIECE_BYTES) {
            let sums = self.sums(piece);
            hash.update(&sums.map(|sum| sum.to_le_bytes().into()));
        }
        // What is padded differs in its length.
        hash.update_padded(&(entry.len() as u64).to_le_bytes());
        hash.finalize().into()
    }

    /// NH of a piece, filled up with zeros to whole pairs, under the words and under those that
    /// are one pair further on.
    fn sums(&self, piece: &[u8]) -> [u128; 2] {
        let mut sums = [0; 2];
        let mut add = |pair: &[u8], words: &[u64]| {
            let (left, right) = pair.split_at(8);
            let (left, right) = (word(left), word(right));
            for (sum, words) in sums.iter_mut().zip(words.chunks_exact(2)) {
                *sum = product(left, right, words).wrapping_add(*sum);
            }
        };
        let mut pairs = piece.chunks_exact(PAIR_BYTES);
        let mut words = self.words.windows(4).step_by(2);
        for (pair, words) in pairs.by_ref().zip(words.by_ref()) {
            add(pair, words);
        }
        let rest = pairs.remainder();
        if let Some(words) = words.next().filter(|_| !rest.is_empty()) {
            let mut pair = [0; PAIR_BYTES];
            pair[..rest.len()].copy_from_slice(rest);
            add(&pair, words);
        }
        sums
    }
}

/// Each of two words plus one of the secret, multiplied to twice their length.
fn product(left: u64, right: u64, words: &[u64]) -> u128 {
    let left = left.wrapping_add(words[0]);
    u128::from(left) * u128::from(right.wrapping_add(words[1]))
}

/// Of eight bytes.
fn word(bytes: &[u8]) -> u64 {
    let (bytes, _) = bytes.as_chunks::<8>();
    bytes.first().map_or(0, |bytes| u64::from_le_bytes(*bytes))
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

    fn secret() -> [u8; SECRET_BYTES] {
        let mut secret = [0; SECRET_BYTES];
        blake3::Hasher::new().finalize_xof().fill(&mut secret);
        secret
    }

    /// The sums by their definition, a word at a time.
    fn by_definition(piece: &[u8], words: &[u64]) -> u128 {
        let at = |place: usize| piece.get(place).copied().map_or(0, u64::from);
        let of =
            |index: usize| (0..8).fold(0, |word, byte| word | at(8 * index + byte) << (8 * byte));
        let term = |index: usize| u128::from(of(index).wrapping_add(words[index]));
        let pairs = (0..piece.len().div_ceil(PAIR_BYTES)).map(|pair| 2 * pair);
        pairs.fold(0, |sum: u128, at| sum.wrapping_add(term(at) * term(at + 1)))
    }

    #[test]
    fn pieces_are_summed_up_by_two_shifts_of_the_words() {
        let (names, bytes) = (Names::new(&secret()), secret());
        for length in [1, 7, 8, 9, 15, 16, 17, 600, PIECE_BYTES - 1, PIECE_BYTES] {
            let piece = &bytes[..length];
            let both = [0, 2].map(|shift| by_definition(piece, &names.words[shift..]));
            assert_eq!(names.sums(piece), both, "{length}");
        }
    }

    #[test]
    fn each_byte_the_length_the_key_and_the_secret_make_another_name() {
        let names = Names::new(&secret());
        let (key, entry) = ([1; 32], [0; 2 * PIECE_BYTES + 100]);
        let mut all = HashSet::from([names.of(&key, &entry)]);
        assert!(!all.insert(names.of(&key, &entry)), "the same again");
        for place in 0..SECRET_BYTES {
            let mut other = secret();
            other[place] ^= 1;
            let is_other = all.insert(Names::new(&other).of(&key, &entry));
            assert!(is_other, "secret {place}");
        }
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
        for length in (0..entry.len()).chain(entry.len() + 1..=entry.len() + 12) {
            assert!(all.insert(names.of(&key, &vec![0; length])), "{length}");
        }
        assert_eq!(format!("{names:?}"), "Names(..)");
    }
}
