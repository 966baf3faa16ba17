//! Where the coefficients of batches come from.
//!
//! Owns the seed, which only the system gives, and the check made of it. Bad signatures can be made
//! so that they pass together under coefficients that are known beforehand (protocol.md 5.4), so
//! nobody gets a check without a seed of this process alone, whatever is checked and however late:
//! the tool that executes an old log judges what its makers may have chosen years before. Never:
//! gives the seed away.

use std::fmt;

use quorate_consensus::verify::{Abscissa, SignatureCheck, SignatureItem, Zip215};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::names::SECRET_BYTES;

/// No thread's.
const NAMES_STREAM: u64 = u64::MAX;

/// Randomness of this process that those who sign cannot foresee.
#[derive(Clone)]
pub struct BatchSeed([u8; 32]);

impl BatchSeed {
    /// From the operating system.
    ///
    /// # Errors
    /// It gives none.
    pub fn from_system() -> std::io::Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Self(bytes))
    }

    /// The caller vouches that nobody who signs can foresee `bytes`: for simulations and tests,
    /// whose signers do not try, and which must be repeatable. `tidy` knows the callers.
    #[must_use]
    pub const fn assert_unpredictable(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret of the names of verdicts.
    pub(super) fn name_secret(&self) -> [u8; SECRET_BYTES] {
        let mut rng = ChaCha20Rng::from_seed(self.0);
        rng.set_stream(NAMES_STREAM);
        let mut secret = [0; SECRET_BYTES];
        rng.fill_bytes(&mut secret);
        secret
    }

    /// A check for one thread; `stream` tells the threads' randomness apart.
    pub(crate) fn check(&self, stream: u64) -> BatchCheck {
        let mut rng = ChaCha20Rng::from_seed(self.0);
        rng.set_stream(stream);
        BatchCheck(Some(Zip215::new(rng)))
    }
}

impl fmt::Debug for BatchSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BatchSeed(..)")
    }
}

/// The check that [`CommandAuth::check`](super::CommandAuth::check) is given by the threads of a
/// node.
#[derive(Clone, Debug)]
pub struct BatchCheck(Option<Zip215<ChaCha20Rng>>);

impl BatchCheck {
    /// Of a chain without signatures, where nobody asks: nothing is good.
    pub(super) const fn refusing() -> Self {
        Self(None)
    }
}

impl SignatureCheck for BatchCheck {
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool> {
        match &mut self.0 {
            Some(check) => check.check(items),
            None => vec![false; items.len()],
        }
    }

    fn check_finding(
        &mut self,
        items: &[SignatureItem<'_>],
        found: &mut dyn FnMut(usize, Abscissa),
    ) -> Vec<bool> {
        match &mut self.0 {
            Some(check) => check.check_finding(items, found),
            None => vec![false; items.len()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_seeds_differ_and_are_not_shown() {
        let [one, other] = [(); 2].map(|()| BatchSeed::from_system().unwrap());
        assert_ne!(one.0, other.0);
        assert_eq!(format!("{one:?}"), "BatchSeed(..)");
    }
}
