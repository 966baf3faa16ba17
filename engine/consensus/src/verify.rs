//! From signed to verified: the only place where a signature becomes trust.
//!
//! Owns the one rule for signatures (ZIP-215, single and batched alike), the judgement of
//! certificates and evidence, and [`Verified`], which nothing else can make. Never: votes counted
//! on a channel, or a rule that branches on a signature for anything but "may this be shown to
//! others".

mod claims;
mod equation;
mod evidence;
mod judge;
mod known_keys;
mod zip215;

pub use claims::{Claim, Refusal, check_claims};
pub use evidence::{EvidenceError, check_evidence};
pub(crate) use judge::header_fits;
pub use judge::{CertificateError, Fact, HeaderFault, judge, proves_ready};
pub use zip215::{Abscissa, SignatureCheck, SignatureItem, Zip215, batch, single};

/// Something whose every signature was checked and found good, and that proves what it says.
/// Made by [`check_claims`] alone.
#[derive(Clone, Debug)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// The checked value.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> AsRef<T> for Verified<T> {
    fn as_ref(&self) -> &T {
        &self.0
    }
}
