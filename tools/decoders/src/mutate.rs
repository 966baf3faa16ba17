//! Damage: from valid inputs to inputs that nobody made.
//!
//! Owns the ways in which an input is damaged and the one generator behind them, so that a seed
//! says everything. Never: looks at what a decoder makes of it.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// The longest input that is made from shorter ones.
const INPUT_BYTES_MAX: usize = 256 * 1024;
/// Damages of one input at most.
const STEPS_MAX: usize = 6;
/// Numbers at the edges of widths and of the bounds of the formats.
const EDGES: [u64; 28] = [
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    31,
    63,
    64,
    65,
    127,
    128,
    255,
    256,
    512,
    1024,
    4096,
    8192,
    16_384,
    65_535,
    65_536,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
    1 << 63,
    u64::MAX,
];
/// Pieces of JSON, TOML and tables of numbers.
const TOKENS: [&str; 30] = [
    "{",
    "}",
    "[",
    "]",
    "[[",
    "]]",
    "\"",
    "'''",
    "\"\"\"",
    ",",
    ":",
    "=",
    "\n",
    "\r\n",
    "\t",
    "#",
    "null",
    "true",
    "-",
    "-0",
    "1e400",
    "0x",
    "nan",
    "inf",
    "1979-05-27",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "\0",
    ".",
];
/// Numbers as text.
const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "-1",
    "64",
    "65",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "9007199254740993",
    "0.0000000000000000000000001",
    "99999999999999999999999999999999999999999999",
];

/// A stream of damaged inputs that depends on its seed and name alone.
#[derive(Clone, Debug)]
pub struct Mutator {
    random: ChaCha8Rng,
}

impl Mutator {
    /// The stream of this name and number under a seed.
    #[must_use]
    pub fn new(seed: u64, name: &str, number: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(&seed.to_le_bytes())
            .update(&number.to_le_bytes())
            .update(name.as_bytes());
        Self {
            random: ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()),
        }
    }

    /// A number below `bound`; 0 when that is 0.
    fn below(&mut self, bound: usize) -> usize {
        let number = self.random.next_u64();
        usize::try_from(number.checked_rem(bound as u64).unwrap_or(0)).unwrap_or(0)
    }

    /// True once in `count` times.
    pub fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// Puts a damaged input into `out`, made from those of `corpus`.
    pub fn next(&mut self, corpus: &[Vec<u8>], is_text: bool, out: &mut Vec<u8>) {
        out.clear();
        let Some(start) = corpus.get(self.below(corpus.len())) else {
            return;
        };
        out.extend_from_slice(start);
        let mut steps = 1;
        while steps < STEPS_MAX && self.once_in(2) {
            steps += 1;
        }
        for _ in 0..steps {
            if is_text && !self.once_in(3) {
                self.damage_text(out);
            } else {
                self.damage(corpus, out);
            }
        }
        out.truncate(INPUT_BYTES_MAX);
    }

    fn damage(&mut self, corpus: &[Vec<u8>], out: &mut Vec<u8>) {
        match self.below(16) {
            0..=2 => {
                let (place, bit) = (self.below(out.len()), self.below(8));
                if let Some(byte) = out.get_mut(place) {
                    *byte ^= 1 << bit;
                }
            }
            3..=4 => {
                let (place, value) = (self.below(out.len()), self.byte());
                if let Some(byte) = out.get_mut(place) {
                    *byte = value;
                }
            }
            5..=9 => self.set_integer(out),
            10 => out.truncate(self.below(out.len())),
            11 => self.extend(out),
            12..=13 => self.splice(corpus, out),
            14 => self.duplicate(out),
            _ => {
                let part = self.part(out.len());
                out.drain(part);
            }
        }
    }

    /// A byte at an edge, or any.
    fn byte(&mut self) -> u8 {
        let edges = [0, 1, 2, 0x7f, 0x80, 0xff];
        match edges.get(self.below(2 * edges.len())) {
            Some(edge) => *edge,
            None => (self.random.next_u64() & 0xff) as u8,
        }
    }

    /// Writes a number over a field of a common width: one at an edge, or one near what stands
    /// there, or the length of the input or near it.
    fn set_integer(&mut self, out: &mut [u8]) {
        let width = [1, 2, 4, 4, 8][self.below(5)];
        if out.len() < width {
            return;
        }
        let at = self.below(out.len() - width + 1);
        let near = self.below(5) as u64;
        let mut stands = [0; 8];
        stands[..width].copy_from_slice(&out[at..at + width]);
        let value = match self.below(4) {
            0 => u64::from_le_bytes(stands)
                .wrapping_add(near)
                .wrapping_sub(2),
            1 => (out.len() as u64).wrapping_add(near).wrapping_sub(2),
            _ => EDGES[self.below(EDGES.len())],
        };
        out[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }

    /// More at the end: one byte again and again, or any bytes.
    fn extend(&mut self, out: &mut Vec<u8>) {
        let most = if self.once_in(64) { 8192 } else { 64 };
        let count = 1 + self.below(most);
        let byte = self.byte();
        let start = out.len();
        out.resize(start + count, byte);
        if self.once_in(2) {
            self.random.fill_bytes(&mut out[start..]);
        }
    }

    /// The head of this one and the tail of another.
    fn splice(&mut self, corpus: &[Vec<u8>], out: &mut Vec<u8>) {
        let Some(other) = corpus.get(self.below(corpus.len())) else {
            return;
        };
        let head = self.below(out.len() + 1);
        // As often as not at the same place, so that fields keep their meaning.
        let tail = if self.once_in(2) {
            head.min(other.len())
        } else {
            self.below(other.len() + 1)
        };
        out.truncate(head);
        out.extend_from_slice(&other[tail..]);
    }

    /// A part of it once more, behind itself or anywhere.
    fn duplicate(&mut self, out: &mut Vec<u8>) {
        let part = self.part(out.len());
        let copy = out[part.clone()].to_vec();
        let at = if self.once_in(2) {
            part.end
        } else {
            self.below(out.len() + 1)
        };
        out.splice(at..at, copy);
    }

    fn part(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        let most = if self.once_in(4) { len } else { 64 };
        start..(start + self.below(most + 1)).min(len)
    }

    fn damage_text(&mut self, out: &mut Vec<u8>) {
        match self.below(8) {
            0..=2 => self.replace_number(out),
            3..=4 => {
                let at = self.below(out.len() + 1);
                let token = TOKENS[self.below(TOKENS.len())];
                let count = if self.once_in(16) {
                    self.below(2000)
                } else {
                    1
                };
                out.splice(at..at, token.repeat(count).into_bytes());
            }
            5 => {
                let line = self.line(out);
                let copy = out[line.clone()].to_vec();
                let at = if self.once_in(2) {
                    line.end
                } else {
                    self.line(out).start
                };
                out.splice(at..at, copy);
            }
            6 => {
                let line = self.line(out);
                out.drain(line);
            }
            _ => {
                // One word for another.
                let (from, to) = (self.word(out), self.word(out));
                let word = out[to].to_vec();
                out.splice(from, word);
            }
        }
    }

    fn replace_number(&mut self, out: &mut Vec<u8>) {
        let start = self.below(out.len());
        let is_digit = |byte: &u8| byte.is_ascii_digit();
        let Some(first) = out[start..].iter().position(is_digit) else {
            return;
        };
        let first = start + first;
        let length = out[first..]
            .iter()
            .take_while(|byte| is_digit(byte))
            .count();
        let number = NUMBERS[self.below(NUMBERS.len())];
        out.splice(first..first + length, number.bytes());
    }

    /// Some whole line, its end included.
    fn line(&mut self, out: &[u8]) -> std::ops::Range<usize> {
        let place = self.below(out.len());
        let start = out[..place]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let end = out[place..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(out.len(), |at| place + at + 1);
        start..end
    }

    /// Some word, or nothing.
    fn word(&mut self, out: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(out.len());
        let length = out[start..]
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
            .count();
        start..start + length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_corpus_can_be_damaged_and_stays_within_its_bound(
            corpus in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..4),
            seed in any::<u64>(),
            is_text in any::<bool>(),
        ) {
            let mut mutator = Mutator::new(seed, "any", 0);
            let mut out = Vec::new();
            for _ in 0..50 {
                mutator.next(&corpus, is_text, &mut out);
                prop_assert!(out.len() <= INPUT_BYTES_MAX);
            }
        }
    }

    #[test]
    fn a_seed_says_everything_and_another_says_something_else() {
        let corpus = [vec![7; 100], b"some 12 text\nand 34 more\n".to_vec()];
        let stream = |seed, name, number| {
            let mut mutator = Mutator::new(seed, name, number);
            let mut inputs = Vec::new();
            for place in 0..200 {
                let mut out = Vec::new();
                mutator.next(&corpus, place % 2 == 0, &mut out);
                inputs.push(out);
            }
            inputs
        };
        assert_eq!(stream(1, "a", 0), stream(1, "a", 0));
        assert_ne!(stream(1, "a", 0), stream(2, "a", 0));
        assert_ne!(stream(1, "a", 0), stream(1, "b", 0));
        assert_ne!(stream(1, "a", 0), stream(1, "a", 1));
    }
}
