//! Numbers modulo 2^255 - 19.
//!
//! Owns the operators over the machine-checked arithmetic of `fiat-crypto`: its names, its bounds
//! of limbs and its out-parameters stand here and nowhere else. Never: in constant time where it
//! compares; nothing here is secret.

use core::ops::{Mul, Sub};
use fiat_crypto::curve25519_64::{
    fiat_25519_carry, fiat_25519_carry_mul, fiat_25519_carry_square, fiat_25519_from_bytes,
    fiat_25519_loose_field_element as Loose, fiat_25519_relax, fiat_25519_sub,
    fiat_25519_tight_field_element as Tight, fiat_25519_to_bytes,
};

/// Limbs of an element, 51 bits each.
pub(crate) type Limbs = [u64; 5];

/// One number, with limbs of at most 2^51.
#[derive(Clone, Copy)]
pub(crate) struct Element(Tight);

impl Element {
    pub(crate) const ONE: Self = Self(Tight([1, 0, 0, 0, 0]));
    /// The curve's d, -121665/121666 (RFC 8032, 5.1).
    pub(crate) const D: Self = Self(Tight([
        929_955_233_495_203,
        466_365_720_129_213,
        1_662_059_464_998_953,
        2_033_849_074_728_123,
        1_442_794_654_840_575,
    ]));

    /// From limbs of less than 3 * 2^51.
    pub(crate) const fn from_limbs(limbs: Limbs) -> Self {
        let mut out = Tight([0; 5]);
        fiat_25519_carry(&mut out, &Loose(limbs));
        Self(out)
    }

    pub(crate) const fn limbs(self) -> Limbs {
        self.0.0
    }

    /// The number of the low 255 bits, which may be above the modulus.
    pub(crate) fn of_low_bits(bytes: &[u8; 32]) -> Self {
        let mut low = *bytes;
        low[31] &= 0x7f;
        let mut out = Tight([0; 5]);
        fiat_25519_from_bytes(&mut out, &low);
        Self(out)
    }

    /// None when the bytes are not those of the least residue.
    pub(crate) fn from_canonical(bytes: &[u8; 32]) -> Option<Self> {
        let element = Self::of_low_bits(bytes);
        (element.to_bytes() == *bytes).then_some(element)
    }

    /// The bytes of the least residue.
    pub(crate) fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        fiat_25519_to_bytes(&mut bytes, &self.0);
        bytes
    }

    pub(crate) fn square(self) -> Self {
        let mut out = Tight([0; 5]);
        fiat_25519_carry_square(&mut out, &self.relaxed());
        Self(out)
    }

    const fn relaxed(&self) -> Loose {
        let mut out = Loose([0; 5]);
        fiat_25519_relax(&mut out, &self.0);
        out
    }
}

impl Mul for Element {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let mut out = Tight([0; 5]);
        fiat_25519_carry_mul(&mut out, &self.relaxed(), &other.relaxed());
        Self(out)
    }
}

impl Sub for Element {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let mut difference = Loose([0; 5]);
        fiat_25519_sub(&mut difference, &self.0, &other.0);
        let mut out = Tight([0; 5]);
        fiat_25519_carry(&mut out, &difference);
        Self(out)
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.to_bytes() == other.to_bytes()
    }
}
