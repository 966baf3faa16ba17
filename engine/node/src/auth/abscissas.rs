//! What is known of the points R of commands' signatures.
//!
//! Owns a bounded memory of their abscissas, by their encodings. An abscissa is a function of the
//! encoding alone, so it does not matter whose signature it was met in. One that a peer has said
//! may be wrong: it is checked whenever it is used (`quorate_curve::point_at`), costs the square
//! root then that it would have spared, and the right one is written over it. What was there before
//! it stays. Never: says anything of a signature, or makes whoever tells and is told wait: that
//! thread has votes to send.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use quorate_consensus::payload::Commands;
use quorate_consensus::verify::{Abscissa, SignatureCheck, SignatureItem};

use super::recent::Recent;

/// Abscissas kept in each of two generations: those of commands between their admission and the
/// last check of their block, so more than a full pool has of long ones. As many as fill a table
/// of 65,536 places, 8.5 MiB in all.
const KNOWN_MAX: usize = 57_344;
/// Bytes of one.
const ABSCISSA_BYTES: usize = size_of::<Abscissa>();
/// Stands for one that is not known. It is right for two points of small order alone.
const UNKNOWN: Abscissa = [0; ABSCISSA_BYTES];

/// See the module.
#[derive(Debug)]
pub(super) struct Abscissas {
    known: Mutex<Recent<[u8; 32], Abscissa>>,
    /// How many were found out here.
    decoded: AtomicU64,
}

impl Default for Abscissas {
    fn default() -> Self {
        Self {
            known: Mutex::new(Recent::new(KNOWN_MAX)),
            decoded: AtomicU64::new(0),
        }
    }
}

impl Abscissas {
    /// Checks `items` with what is known of them, and keeps what is found.
    pub(super) fn check(
        &self,
        items: &[SignatureItem<'_>],
        check: &mut impl SignatureCheck,
    ) -> Vec<bool> {
        let known: Vec<Option<Abscissa>> = {
            let known = self.known.lock();
            let of = |item: &SignatureItem<'_>| known.get(encoded_r(item.signature)).copied();
            items.iter().map(of).collect()
        };
        let with_known: Vec<SignatureItem<'_>> = items
            .iter()
            .zip(&known)
            .map(|(item, abscissa)| SignatureItem {
                abscissa: abscissa.as_ref(),
                ..*item
            })
            .collect();
        let mut found = Vec::new();
        let answers = check.check_finding(&with_known, &mut |place, abscissa| {
            found.push((*encoded_r(items[place].signature), abscissa));
        });
        let count = found.len() as u64;
        self.decoded.fetch_add(count, Ordering::Relaxed);
        let mut known = self.known.lock();
        for (encoded, abscissa) in found {
            known.insert(encoded, abscissa);
        }
        answers
    }

    /// How many had to be found out.
    pub(super) fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Relaxed)
    }

    /// Notes what somebody says of these commands, in their order; nothing while another thread is
    /// at it.
    pub(super) fn note_told(&self, commands: Commands<'_>, told: &[u8]) {
        let Some(mut known) = self.known.try_lock() else {
            return;
        };
        let (told, _) = told.as_chunks::<ABSCISSA_BYTES>();
        for (view, abscissa) in commands.zip(told) {
            if let Some(signature) = view.signature
                && *abscissa != UNKNOWN
                && known.get(encoded_r(signature)).is_none()
            {
                known.insert(*encoded_r(signature), *abscissa);
            }
        }
    }

    /// What is known of these commands, in their order; none when that is nothing, and
    /// while another thread is at it.
    pub(super) fn tell(&self, commands: Commands<'_>) -> Option<Vec<u8>> {
        let known = self.known.try_lock()?;
        let (mut told, mut is_known) = (Vec::new(), false);
        for view in commands {
            let abscissa = view.signature.and_then(|of| known.get(encoded_r(of)));
            is_known |= abscissa.is_some();
            told.extend_from_slice(abscissa.unwrap_or(&UNKNOWN));
        }
        is_known.then_some(told)
    }
}

/// The first half of a signature.
fn encoded_r(signature: &[u8; 64]) -> &[u8; 32] {
    signature.first_chunk().unwrap_or(&[0; 32])
}
