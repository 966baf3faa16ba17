//! Points of edwards25519 from both their coordinates.
//!
//! An encoded point has its ordinate y and one bit of its abscissa x (RFC 8032, 5.1.2), so whoever
//! decodes it finds a square root in the field: some 250 multiplications, half of what a signature
//! costs in a large batch. Whether a given x is the right one takes six. So one that has found x
//! can spare all others the root, and none of them has to believe it.
//!
//! Owns that check ([`point_at`]), and the way to a point's abscissa ([`abscissa_of`]). Never:
//! decides what is no point. Without an abscissa, or with a wrong one, whoever asks decodes.

#![no_std]
#![deny(unsafe_code)]

mod field;
mod layout;

use curve25519_dalek::edwards::EdwardsPoint;
use field::Element;

/// Bytes of an abscissa: the least non-negative one of its residues, little-endian.
pub const ABSCISSA_BYTES: usize = 32;

/// The point that `encoded` encodes, if `abscissa` is its abscissa: exactly what decoding gives
/// then (as `CompressedEdwardsY::decompress` does, canonical or not: ZIP-215, rule 1). None
/// otherwise, which says nothing about `encoded`.
#[must_use]
pub fn point_at(encoded: &[u8; 32], abscissa: &[u8; ABSCISSA_BYTES]) -> Option<EdwardsPoint> {
    let x = Element::from_canonical(abscissa)?;
    let y = Element::of_low_bits(encoded);
    let (xx, yy) = (x.square(), y.square());
    // -x^2 + y^2 = 1 + d x^2 y^2
    if (yy - xx) - Element::D * (xx * yy) != Element::ONE {
        return None;
    }
    let is_odd = abscissa[0] & 1 == 1;
    let must_be_odd = encoded[31] >> 7 == 1;
    // Zero is its own negative, and decodes with either bit.
    if is_odd != must_be_odd && abscissa != &[0; ABSCISSA_BYTES] {
        return None;
    }
    Some(layout::affine_point(x, y))
}

/// The abscissa of a point that was decoded; none of one that was calculated, whose coordinates
/// are fractions.
#[must_use]
pub fn abscissa_of(point: &EdwardsPoint) -> Option<[u8; ABSCISSA_BYTES]> {
    layout::affine_x(point).map(Element::to_bytes)
}

#[cfg(test)]
mod tests;
