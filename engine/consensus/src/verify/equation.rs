//! The equation of ZIP-215, for one signature and for many at once.
//!
//! Owns the arithmetic over `curve25519-dalek`. For signatures (R, s) of messages with the hash
//! k = H(R, A, message), by keys A:
//!
//! - one: 8 (s B - k A - R) = 0;
//! - many, each with a random 128-bit z: 8 (sum(z k A) + sum(z R) - sum(z s) B) = 0.
//!
//! The second holds when the first does for each; when it does not for some, then with a chance
//! of 2^-128, since they cannot know z. Both multiply by the cofactor 8, so that small-order parts
//! in a key or in R never make them differ. What can be said of one signature alone is said before:
//! A and R are encodings of points, canonical or not, and s is a canonical scalar (ZIP-215, rules 1
//! to 3). Never: decides what follows from a verdict.
//!
//! `ed25519-zebra` is the reference: `tests/verify` holds both against each other. This knows the
//! keys' points from before, and decodes an R once however often a search looks at it.

use super::known_keys::KnownKeys;
use super::zip215::{Abscissa, SignatureItem};
use alloc::vec::Vec;
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity as _, VartimeMultiscalarMul as _};
use quorate_curve::{abscissa_of, point_at};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha512};

/// A signature with everything that its equation needs.
#[derive(Clone, Debug)]
pub(super) struct Term {
    /// Terms with the same bytes share a multiplication.
    key: [u8; 32],
    key_point: EdwardsPoint,
    r: EdwardsPoint,
    s: Scalar,
    k: Scalar,
    /// R was decoded: nobody had said its abscissa, or not this one.
    is_decoded: bool,
}

impl Term {
    /// None when no equation can hold: the key or R encodes no point, or s is not canonical.
    pub(super) fn of(item: &SignatureItem<'_>, keys: &mut KnownKeys) -> Option<Self> {
        let (r_bytes, s_bytes) = item.signature.split_first_chunk::<32>()?;
        let s_bytes: [u8; 32] = s_bytes.try_into().ok()?;
        let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s_bytes))?;
        let key_point = keys.point(item.key)?;
        let told = item.abscissa.and_then(|x| point_at(r_bytes, x));
        let is_decoded = told.is_none();
        let r = told.or_else(|| CompressedEdwardsY(*r_bytes).decompress())?;
        let mut hasher = Sha512::new();
        hasher.update(r_bytes);
        hasher.update(item.key);
        hasher.update(item.message);
        let k = Scalar::from_bytes_mod_order_wide(&hasher.finalize().into());
        Some(Self {
            key: *item.key,
            key_point,
            r,
            s,
            k,
            is_decoded,
        })
    }

    /// The abscissa of R, if it was found out here.
    pub(super) fn found_abscissa(&self) -> Option<Abscissa> {
        let r = self.is_decoded.then_some(&self.r)?;
        abscissa_of(r)
    }

    /// Whether the equation of this one holds.
    pub(super) fn holds(&self) -> bool {
        let minus_key = -self.key_point;
        let r = EdwardsPoint::vartime_double_scalar_mul_basepoint(&self.k, &minus_key, &self.s);
        (r - self.r).mul_by_cofactor().is_identity()
    }
}

/// Whether the equation of all of them holds. `rng` must be unpredictable to the signers.
pub(super) fn all_hold<R: CryptoRng + ?Sized>(terms: &[&Term], rng: &mut R) -> bool {
    let mut terms = terms.to_vec();
    terms.sort_unstable_by_key(|term| term.key);
    let mut scalars = Vec::with_capacity(2 * terms.len() + 1);
    let mut points = Vec::with_capacity(2 * terms.len() + 1);
    let mut base = Scalar::ZERO;
    for alike in terms.chunk_by(|one, other| one.key == other.key) {
        let mut for_key = Scalar::ZERO;
        for term in alike {
            let z = Scalar::from(random_u128(rng));
            base -= z * term.s;
            for_key += z * term.k;
            scalars.push(z);
            points.push(term.r);
        }
        if let Some(term) = alike.first() {
            scalars.push(for_key);
            points.push(term.key_point);
        }
    }
    scalars.push(base);
    points.push(ED25519_BASEPOINT_POINT);
    let sum = EdwardsPoint::vartime_multiscalar_mul(&scalars, &points);
    sum.mul_by_cofactor().is_identity()
}

fn random_u128<R: CryptoRng + ?Sized>(rng: &mut R) -> u128 {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    u128::from_le_bytes(bytes)
}
