//! The one rule for signatures: ZIP-215, which says the same for one signature and for a batch.
//!
//! Owns the calls into `ed25519-zebra`. Both of its paths multiply by the cofactor, so no torsion
//! in a key or in R can make a batch and a single check, or two validators, differ.

use crate::certificate::SignatureBytes;
use alloc::vec;
use alloc::vec::Vec;
use ed25519_zebra::{Signature, VerificationKey, VerificationKeyBytes, batch as zebra};
use rand_core::CryptoRng;

/// A signature to check, with everything it depends on.
#[derive(Clone, Copy, Debug)]
pub struct SignatureItem<'a> {
    /// Ed25519 public key.
    pub key: &'a [u8; 32],
    /// What was signed.
    pub message: &'a [u8],
    /// The signature.
    pub signature: &'a SignatureBytes,
}

/// Decides which signatures are good. The product uses [`Zip215`]; a simulator may bring one that
/// costs less.
pub trait SignatureCheck {
    /// One answer an item, in order.
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool>;
}

/// The real check: one batch, and a search for the culprits when it fails.
#[derive(Clone, Debug)]
pub struct Zip215<R> {
    rng: R,
}

impl<R: CryptoRng> Zip215<R> {
    /// Uses `rng` for the batch coefficients. It must be unpredictable to the signers.
    #[must_use]
    pub const fn new(rng: R) -> Self {
        Self { rng }
    }
}

impl<R: CryptoRng> SignatureCheck for Zip215<R> {
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool> {
        let mut verdicts = vec![true; items.len()];
        if let Err(culprits) = batch_items(items, &mut self.rng) {
            for place in culprits {
                verdicts[place] = false;
            }
        }
        verdicts
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
        })
        .collect();
    batch_items(&items, rng)
}

fn batch_items<R: CryptoRng + ?Sized>(
    items: &[SignatureItem<'_>],
    rng: &mut R,
) -> Result<(), Vec<usize>> {
    // The hash of each message is computed once, however often a search looks at it.
    let items: Vec<zebra::Item> = items
        .iter()
        .map(|item| {
            let key = VerificationKeyBytes::from(*item.key);
            let signature = Signature::from_bytes(item.signature);
            zebra::Item::from((key, signature, item.message))
        })
        .collect();
    let mut culprits = Vec::new();
    bisect(&items, 0, rng, &mut culprits);
    if culprits.is_empty() {
        Ok(())
    } else {
        Err(culprits)
    }
}

/// Below this many, single checks cost no more than a batch and its halves.
const BISECT_ITEMS_MIN: usize = 4;

/// Collects the bad ones among `items`, of which the first stands at place `first`. Halves that
/// pass as a batch are not looked into; the depth is the logarithm of the number of items.
fn bisect<R: CryptoRng + ?Sized>(
    items: &[zebra::Item],
    first: usize,
    rng: &mut R,
    culprits: &mut Vec<usize>,
) {
    if items.len() < BISECT_ITEMS_MIN {
        let is_bad = |item: &zebra::Item| item.clone().verify_single().is_err();
        culprits.extend(
            (first..)
                .zip(items)
                .filter(|(_, item)| is_bad(item))
                .map(|(n, _)| n),
        );
        return;
    }
    let mut verifier = zebra::Verifier::new();
    for item in items {
        verifier.queue(item.clone());
    }
    if verifier.verify(&mut *rng).is_ok() {
        return;
    }
    let (low, high) = items.split_at(items.len() / 2);
    bisect(low, first, rng, culprits);
    bisect(high, first + low.len(), rng, culprits);
}
