//! The one rule for signatures: ZIP-215, which says the same for one signature and for a batch.
//!
//! Owns the order of checks: all as one batch, and a search for the culprits when that fails. A
//! single check is that of `ed25519-zebra`, a batch the own `equation`; both multiply by the
//! cofactor, so no torsion in a key or in R can make a batch and a single check, or two validators,
//! differ.

use super::equation::{Term, all_hold};
use super::known_keys::KnownKeys;
use crate::certificate::SignatureBytes;
use alloc::vec;
use alloc::vec::Vec;
use ed25519_zebra::{Signature, VerificationKey};
use quorate_curve::ABSCISSA_BYTES;
use rand_core::CryptoRng;

/// The abscissa of a point, as `quorate-curve` has it.
pub type Abscissa = [u8; ABSCISSA_BYTES];

/// A signature to check, with everything it depends on.
#[derive(Clone, Copy, Debug)]
pub struct SignatureItem<'a> {
    /// Ed25519 public key.
    pub key: &'a [u8; 32],
    /// What was signed.
    pub message: &'a [u8],
    /// The signature.
    pub signature: &'a SignatureBytes,
    /// The abscissa of its R, if somebody has said it: whoever said so need not be believed, and if
    /// it is the right one, R costs no square root.
    pub abscissa: Option<&'a Abscissa>,
}

/// Decides which signatures are good. The product uses [`Zip215`]; a simulator may bring one that
/// costs less.
pub trait SignatureCheck {
    /// One answer an item, in order.
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool>;

    /// The same; `found` is told the place of each item whose R had to be decoded, and its
    /// abscissa, for others who have to check that signature. One that decodes nothing tells
    /// nothing.
    fn check_finding(
        &mut self,
        items: &[SignatureItem<'_>],
        _found: &mut dyn FnMut(usize, Abscissa),
    ) -> Vec<bool> {
        self.check(items)
    }
}

/// The real check: one batch, and a search for the culprits when it fails. It remembers the keys
/// that it has met: whoever checks often keeps one.
#[derive(Clone, Debug)]
pub struct Zip215<R> {
    rng: R,
    keys: KnownKeys,
}

impl<R: CryptoRng> Zip215<R> {
    /// Uses `rng` for the batch coefficients. It must be unpredictable to the signers.
    #[must_use]
    pub fn new(rng: R) -> Self {
        Self {
            rng,
            keys: KnownKeys::default(),
        }
    }
}

impl<R: CryptoRng> SignatureCheck for Zip215<R> {
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool> {
        let terms = terms(items, &mut self.keys);
        verdicts(&terms, &mut self.rng)
    }

    fn check_finding(
        &mut self,
        items: &[SignatureItem<'_>],
        found: &mut dyn FnMut(usize, Abscissa),
    ) -> Vec<bool> {
        let terms = terms(items, &mut self.keys);
        for (place, term) in terms.iter().enumerate() {
            if let Some(abscissa) = term.as_ref().and_then(Term::found_abscissa) {
                found(place, abscissa);
            }
        }
        verdicts(&terms, &mut self.rng)
    }
}

/// Checks one signature.
#[must_use]
pub fn single(key: &[u8; 32], message: &[u8], signature: &SignatureBytes) -> bool {
    let signature = Signature::from_bytes(signature);
    VerificationKey::try_from(*key).is_ok_and(|key| key.verify(&signature, message).is_ok())
}

/// Checks many signatures, given as key, message and signature, at less cost than one by one.
///
/// # Errors
///
/// The places of the bad ones, ascending: exactly those that [`single`] refuses.
pub fn batch<R: CryptoRng + ?Sized>(
    items: &[(&[u8; 32], &[u8], &SignatureBytes)],
    rng: &mut R,
) -> Result<(), Vec<usize>> {
    let items: Vec<SignatureItem<'_>> = items
        .iter()
        .map(|&(key, message, signature)| SignatureItem {
            key,
            message,
            signature,
            abscissa: None,
        })
        .collect();
    let terms = terms(&items, &mut KnownKeys::default());
    match culprits(&terms, rng) {
        culprits if culprits.is_empty() => Ok(()),
        culprits => Err(culprits),
    }
}

fn terms(items: &[SignatureItem<'_>], keys: &mut KnownKeys) -> Vec<Option<Term>> {
    items.iter().map(|item| Term::of(item, keys)).collect()
}

fn verdicts<R: CryptoRng + ?Sized>(terms: &[Option<Term>], rng: &mut R) -> Vec<bool> {
    let mut verdicts = vec![true; terms.len()];
    for place in culprits(terms, rng) {
        verdicts[place] = false;
    }
    verdicts
}

/// The places of the bad ones, ascending.
fn culprits<R: CryptoRng + ?Sized>(terms: &[Option<Term>], rng: &mut R) -> Vec<usize> {
    let mut culprits = Vec::new();
    let mut places = Vec::with_capacity(terms.len());
    for (place, term) in terms.iter().enumerate() {
        match term {
            Some(term) => places.push((place, term)),
            None => culprits.push(place),
        }
    }
    if places.len() < BATCH_ITEMS_MIN || !passes(&places, rng) {
        search(&places, rng, &mut culprits);
    }
    culprits.sort_unstable();
    culprits
}

/// Below this many, single checks cost no more than a batch.
const BATCH_ITEMS_MIN: usize = 4;

/// Collects the places of the bad ones among `terms`, which do not pass as a batch or are too few
/// for one.
///
/// A half that passes is not looked into, and the other one is then known not to: few bad ones are
/// found in halves of halves. When neither half passes there may be any number, and to halve on
/// would be a batch of all for each level: each is checked alone. So bad ones cost, however many
/// they are and wherever they stand, batches of twice their number in all besides the first one,
/// and no more than one single check for each.
fn search<R: CryptoRng + ?Sized>(
    mut terms: &[(usize, &Term)],
    rng: &mut R,
    culprits: &mut Vec<usize>,
) {
    while terms.len() >= 2 * BATCH_ITEMS_MIN {
        let (low, high) = terms.split_at(terms.len() / 2);
        terms = if passes(low, rng) {
            high
        } else if passes(high, rng) {
            low
        } else {
            break;
        };
    }
    let bad = terms.iter().filter(|(_, term)| !term.holds());
    culprits.extend(bad.map(|(place, _)| place));
}

/// Whether all of them hold, as one batch.
fn passes<R: CryptoRng + ?Sized>(terms: &[(usize, &Term)], rng: &mut R) -> bool {
    let all: Vec<&Term> = terms.iter().map(|&(_, term)| term).collect();
    all_hold(&all, rng)
}
