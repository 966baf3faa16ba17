//! Many inputs to many decoders, and the report on them.
//!
//! Owns how inputs are shared out and what is counted. Never: stops at a finding; all of them are
//! counted, and the first few told with their input.

use crate::decoder::{Decoder, Meter, Outcome};
use crate::mutate::Mutator;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Inputs of one stream, which one thread runs.
const BATCH_INPUTS: u64 = 10_000;
/// Findings of one decoder that are told with their input.
const TOLD_MAX: usize = 5;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct SweepOptions {
    /// Inputs in all; each decoder gets its share, and at least one.
    pub inputs: u64,
    /// Where they come from.
    pub seed: u64,
    /// Threads, at least one.
    pub threads: usize,
}

/// What came of the inputs of one decoder.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// How many there were.
    pub inputs: u64,
    /// How many were taken for a value.
    pub accepted: u64,
    /// How many ended in a panic.
    pub panics: u64,
    /// For how many more was held than allowed.
    pub over_cap: u64,
    /// How many were taken for a value that encodes to other bytes.
    pub not_canonical: u64,
    /// The most that was held at once for one input; 0 in a program that does not count.
    pub peak_bytes_max: usize,
}

/// Something that must not be, with its input.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Which decoder.
    pub decoder: &'static str,
    /// What happened.
    pub what: String,
    /// The input, in hexadecimal.
    pub input: String,
}

/// What came of a sweep.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// 1.
    pub schema: u32,
    /// As asked for.
    pub seed: u64,
    /// Sums over all decoders.
    #[serde(flatten)]
    pub sum: Counts,
    /// By name.
    pub per_decoder: BTreeMap<&'static str, Counts>,
    /// The first of each decoder.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing was found.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.sum.panics == 0 && self.sum.over_cap == 0 && self.sum.not_canonical == 0
    }
}

impl Counts {
    const fn found(&self) -> u64 {
        self.panics + self.over_cap + self.not_canonical
    }

    fn add(&mut self, other: &Self) {
        self.inputs += other.inputs;
        self.accepted += other.accepted;
        self.panics += other.panics;
        self.over_cap += other.over_cap;
        self.not_canonical += other.not_canonical;
        self.peak_bytes_max = self.peak_bytes_max.max(other.peak_bytes_max);
    }

    fn count(&mut self, outcome: &Outcome, peak_bytes: usize) {
        self.inputs += 1;
        self.peak_bytes_max = self.peak_bytes_max.max(peak_bytes);
        match outcome {
            Outcome::Refused => {}
            Outcome::Accepted => self.accepted += 1,
            Outcome::NotCanonical => self.not_canonical += 1,
            Outcome::Panicked(_) => self.panics += 1,
            Outcome::OverCap { .. } => self.over_cap += 1,
        }
    }
}

/// A part of the work: one stream of one decoder.
struct Batch<'a> {
    decoder: &'a Decoder,
    number: u64,
    inputs: u64,
}

/// What came of the batches of one thread.
#[derive(Default)]
struct Part {
    per_decoder: BTreeMap<&'static str, Counts>,
    findings: Vec<Finding>,
}

/// Runs the sweep. The same options give the same counts, but for what was held.
#[must_use]
pub fn sweep(decoders: &[Decoder], options: &SweepOptions, meter: &dyn Meter) -> Report {
    let batches = batches(decoders, options.inputs);
    let next = AtomicUsize::new(0);
    let parts: Mutex<Vec<Part>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                let mut part = Part::default();
                while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run(batch, options.seed, meter, &mut part);
                }
                parts
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(part);
            });
        }
    });
    let parts = parts.into_inner().unwrap_or_else(PoisonError::into_inner);
    report(options.seed, parts)
}

fn batches(decoders: &[Decoder], inputs: u64) -> Vec<Batch<'_>> {
    let shares: u64 = decoders
        .iter()
        .map(|decoder| u64::from(decoder.share))
        .sum();
    let mut batches = Vec::new();
    for decoder in decoders {
        let share = u128::from(inputs) * u128::from(decoder.share) / u128::from(shares.max(1));
        let mut left = u64::try_from(share).unwrap_or(u64::MAX).max(1);
        let mut number = 0;
        while left > 0 {
            let inputs = left.min(BATCH_INPUTS);
            batches.push(Batch {
                decoder,
                number,
                inputs,
            });
            left -= inputs;
            number += 1;
        }
    }
    batches
}

fn run(batch: &Batch<'_>, seed: u64, meter: &dyn Meter, part: &mut Part) {
    let decoder = batch.decoder;
    let mut mutator = Mutator::new(seed, decoder.name, batch.number);
    let counts = part.per_decoder.entry(decoder.name).or_default();
    let mut input = Vec::new();
    for _ in 0..batch.inputs {
        mutator.next(&decoder.corpus, decoder.is_text, &mut input);
        if decoder.mend.is_some() && !mutator.once_in(3) {
            decoder.mend(&mut input);
        }
        let (outcome, peak_bytes) = decoder.judge(&input, meter);
        counts.count(&outcome, peak_bytes);
        if !matches!(outcome, Outcome::Refused | Outcome::Accepted)
            && counts.found() <= TOLD_MAX as u64
        {
            part.findings.push(Finding {
                decoder: decoder.name,
                what: format!("{outcome:?}"),
                input: to_hex(&input),
            });
        }
    }
}

fn report(seed: u64, parts: Vec<Part>) -> Report {
    let mut report = Report {
        schema: 1,
        seed,
        sum: Counts::default(),
        per_decoder: BTreeMap::new(),
        findings: Vec::new(),
    };
    for part in parts {
        for (name, counts) in part.per_decoder {
            report.sum.add(&counts);
            report.per_decoder.entry(name).or_default().add(&counts);
        }
        report.findings.extend(part.findings);
    }
    report.findings.sort_by_key(|finding| finding.decoder);
    report
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string does not fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// Hexadecimal digits as bytes.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |pair: &[u8; 2]| {
        let value = digit(pair[0])? * 16 + digit(pair[1])?;
        u8::try_from(value).ok()
    };
    let bytes = pairs.iter().map(byte).collect::<Option<Vec<u8>>>()?;
    rest.is_empty().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::{Cap, NoMeter, Verdict};

    fn decoder(name: &'static str, share: u32) -> Decoder {
        Decoder {
            name,
            share,
            is_text: false,
            corpus: vec![vec![0; 8]],
            cap: Cap {
                base_bytes: 0,
                per_byte: 0,
            },
            decode: Box::new(|input| {
                assert!(input.first() != Some(&0xff), "the byte that must not be");
                if input.len() > 8 {
                    Verdict::NotCanonical
                } else {
                    Verdict::Accepted
                }
            }),
            mend: None,
        }
    }

    #[test]
    fn findings_are_counted_told_and_can_be_run_again() {
        let decoders = [decoder("a", 1), decoder("b", 3)];
        let options = SweepOptions {
            inputs: 80_000,
            seed: 5,
            threads: 2,
        };
        let report = sweep(&decoders, &options, &NoMeter);
        assert_eq!(report.sum.inputs, 80_000);
        assert_eq!(report.per_decoder["a"].inputs, 20_000);
        assert!(report.sum.panics > 100 && report.sum.not_canonical > 1000);
        assert!(!report.is_clean());
        for finding in &report.findings {
            let input = from_hex(&finding.input).unwrap();
            let (outcome, _) = decoders[0].judge(&input, &NoMeter);
            assert_eq!(format!("{outcome:?}"), finding.what);
        }
        let again = sweep(
            &decoders,
            &SweepOptions {
                threads: 1,
                ..options
            },
            &NoMeter,
        );
        assert_eq!(
            serde_json::to_string(&again.per_decoder).unwrap(),
            serde_json::to_string(&report.per_decoder).unwrap()
        );
    }

    #[test]
    fn hexadecimal_is_read_as_it_was_written() {
        assert_eq!(
            from_hex(&to_hex(&[0, 0x7f, 0xff])),
            Some(vec![0, 0x7f, 0xff])
        );
        for text in ["0", "0g", "+1"] {
            assert_eq!(from_hex(text), None, "{text}");
        }
    }
}
