//! What a decoder is, and what is judged of one input.
//!
//! Owns the verdict on one input. Never: where inputs come from.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a decoder made of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is none of its values.
    Refused,
    /// It is one, and encodes to the same bytes where the format has one encoding a value.
    Accepted,
    /// It was taken for a value that encodes to other bytes.
    NotCanonical,
}

impl Verdict {
    /// Of a decoder with one encoding a value: `again` is what was decoded, encoded.
    #[must_use]
    pub fn canonical(input: &[u8], again: &[u8]) -> Self {
        if input == again {
            Self::Accepted
        } else {
            Self::NotCanonical
        }
    }
}

/// How much a decoder may hold at once, by the length of its input.
#[derive(Clone, Copy, Debug)]
pub struct Cap {
    /// Bytes whatever the input.
    pub base_bytes: usize,
    /// Bytes for each byte of it.
    pub per_byte: usize,
}

impl Cap {
    /// For an input of this length.
    #[must_use]
    pub const fn of(self, input_bytes: usize) -> usize {
        self.base_bytes
            .saturating_add(self.per_byte.saturating_mul(input_bytes))
    }
}

/// Counts what one thread allocates. Without a counting allocator in the program there is none.
pub trait Meter: Sync {
    /// Begins anew.
    fn start(&self);
    /// The most that was held at once since the start.
    fn peak_bytes(&self) -> usize;
    /// How often memory was asked for since the start, growing included.
    fn allocations(&self) -> u64;
}

/// A program that does not count.
#[derive(Clone, Copy, Debug)]
pub struct NoMeter;

impl Meter for NoMeter {
    fn start(&self) {}

    fn peak_bytes(&self) -> usize {
        0
    }

    fn allocations(&self) -> u64 {
        0
    }
}

/// Decodes, and encodes again what it decoded.
pub(crate) type Decode = Box<dyn Fn(&[u8]) -> Verdict + Send + Sync>;
/// Makes checksums right, so that damage reaches what stands behind them.
pub(crate) type Mend = Box<dyn Fn(&mut [u8]) + Send + Sync>;

/// One decoder with its valid inputs.
pub struct Decoder {
    /// Its name: crate, then format.
    pub name: &'static str,
    /// Its part of all inputs, relative to the others: less for what takes long.
    pub share: u32,
    /// Whether its inputs are text, which is damaged by token besides.
    pub is_text: bool,
    /// Valid inputs, made by the encoders.
    pub corpus: Vec<Vec<u8>>,
    /// How much it may hold.
    pub cap: Cap,
    pub(crate) decode: Decode,
    pub(crate) mend: Option<Mend>,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What came of one input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Refused,
    /// As it should be.
    Accepted,
    /// See [`Verdict::NotCanonical`].
    NotCanonical,
    /// The decoder panicked, with this message.
    Panicked(String),
    /// The decoder held more than its cap.
    OverCap {
        /// So much.
        peak_bytes: usize,
        /// And not more than so much was allowed.
        cap_bytes: usize,
    },
}

impl Decoder {
    /// Runs one input, and says how much was held besides.
    pub fn judge(&self, input: &[u8], meter: &dyn Meter) -> (Outcome, usize) {
        meter.start();
        let verdict = catch_unwind(AssertUnwindSafe(|| (self.decode)(input)));
        let peak_bytes = meter.peak_bytes();
        let cap_bytes = self.cap.of(input.len());
        let outcome = match verdict {
            Err(panic) => Outcome::Panicked(message_of(panic.as_ref())),
            Ok(_) if peak_bytes > cap_bytes => Outcome::OverCap {
                peak_bytes,
                cap_bytes,
            },
            Ok(Verdict::NotCanonical) => Outcome::NotCanonical,
            Ok(Verdict::Accepted) => Outcome::Accepted,
            Ok(Verdict::Refused) => Outcome::Refused,
        };
        (outcome, peak_bytes)
    }

    /// Makes the checksums of `input` right, where the format has some.
    pub fn mend(&self, input: &mut [u8]) {
        if let Some(mend) = &self.mend {
            mend(input);
        }
    }

    /// For a fuzzer, which takes a panic for a finding: the input as it is, and once more with its
    /// checksums made right.
    ///
    /// # Panics
    /// On anything that must not be.
    pub fn must_hold(&self, input: &[u8]) {
        self.must_hold_as_it_is(input);
        let mut mended = input.to_vec();
        self.mend(&mut mended);
        if mended != input {
            self.must_hold_as_it_is(&mended);
        }
    }

    fn must_hold_as_it_is(&self, input: &[u8]) {
        let verdict = (self.decode)(input);
        assert!(
            verdict != Verdict::NotCanonical,
            "{}: accepted, and encodes to other bytes",
            self.name
        );
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder(decode: fn(&[u8]) -> Verdict) -> Decoder {
        Decoder {
            name: "test",
            share: 1,
            is_text: false,
            corpus: Vec::new(),
            cap: Cap {
                base_bytes: 10,
                per_byte: 2,
            },
            decode: Box::new(decode),
            mend: None,
        }
    }

    struct Fixed(usize);

    impl Meter for Fixed {
        fn start(&self) {}

        fn peak_bytes(&self) -> usize {
            self.0
        }

        fn allocations(&self) -> u64 {
            0
        }
    }

    #[test]
    fn each_kind_of_finding_is_found() {
        let panics = decoder(|input| panic!("byte {}", input[3]));
        assert!(matches!(
            panics.judge(&[1], &NoMeter),
            (Outcome::Panicked(why), 0) if why.contains("out of bounds")
        ));
        let accepts = decoder(|input| Verdict::canonical(input, &[1]));
        assert_eq!(accepts.judge(&[1], &Fixed(12)), (Outcome::Accepted, 12));
        assert_eq!(accepts.judge(&[2], &NoMeter), (Outcome::NotCanonical, 0));
        let over = Outcome::OverCap {
            peak_bytes: 13,
            cap_bytes: 12,
        };
        assert_eq!(accepts.judge(&[1], &Fixed(13)), (over, 13));
    }

    #[test]
    #[should_panic(expected = "test: accepted, and encodes to other bytes")]
    fn a_fuzzer_is_told_of_what_stands_behind_a_checksum() {
        let mut behind = decoder(|input| match input {
            [2, 7] => Verdict::NotCanonical,
            _ => Verdict::Refused,
        });
        behind.mend = Some(Box::new(|input| input[1] = 7));
        behind.must_hold(&[1, 1]);
        behind.must_hold(&[2, 1]);
    }
}
