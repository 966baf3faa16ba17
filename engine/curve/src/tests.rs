//! Against decoding, which is the reference: with the right abscissa the same point, with any
//! other none.

use super::*;
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::scalar::Scalar;
use proptest::prelude::*;

/// The modulus.
const P: [u8; 32] = {
    let mut bytes = [0xff; 32];
    (bytes[0], bytes[31]) = (0xed, 0x7f);
    bytes
};

fn add(bytes: &[u8; 32], small: u8) -> [u8; 32] {
    let mut sum = *bytes;
    let mut carry = small;
    for byte in &mut sum {
        let overflowed;
        (*byte, overflowed) = byte.overflowing_add(carry);
        carry = u8::from(overflowed);
    }
    sum
}

/// p - x.
fn negative(abscissa: &[u8; 32]) -> [u8; 32] {
    let mut difference = [0; 32];
    let mut borrow = 0;
    for place in 0..32 {
        let taken = i16::from(P[place]) - i16::from(abscissa[place]) - borrow;
        borrow = i16::from(taken < 0);
        difference[place] = u8::try_from(taken.rem_euclid(256)).unwrap();
    }
    difference
}

/// Asserts that decoding and the abscissa give the same point, in all its coordinates.
fn assert_alike(encoded: &[u8; 32]) {
    let Some(decoded) = CompressedEdwardsY(*encoded).decompress() else {
        return;
    };
    let abscissa = abscissa_of(&decoded).expect("a decoded one has it");
    let made = point_at(encoded, &abscissa).expect("it is the right one");
    assert_eq!(made.compress(), decoded.compress());
    assert_eq!(abscissa_of(&made), Some(abscissa));
    // X, Y, Z and T all take part.
    let (factor, other) = (Scalar::from(7_u8), ED25519_BASEPOINT_POINT);
    assert_eq!(made * factor + other, decoded * factor + other);
    assert_eq!(made + made - decoded, decoded);
    let opposite = negative(&abscissa);
    if abscissa != [0; 32] {
        assert_eq!(point_at(encoded, &opposite), None, "the other root");
    }
    assert_eq!(point_at(encoded, &add(&abscissa, 1)), None);
    let mut with_bit = abscissa;
    with_bit[31] |= 0x80;
    assert_eq!(point_at(encoded, &with_bit), None, "bit 255");
}

/// Encodings with y from 0 to 40 below, at and above each multiple of p that 255 bits hold.
fn strange() -> impl Iterator<Item = [u8; 32]> {
    let mut below = P;
    below[0] -= 40;
    let low = (0..=40).map(|small| add(&[0; 32], small));
    // p + 18 is the last one.
    let high = (0..=58).map(move |small| add(&below, small));
    low.chain(high).flat_map(|encoded| {
        let mut with_bit = encoded;
        with_bit[31] |= 0x80;
        [encoded, with_bit]
    })
}

#[test]
fn canonical_or_not_with_either_bit_and_of_small_order() {
    let mut points = 0;
    for encoded in strange().chain(EIGHT_TORSION.iter().map(|point| point.compress().0)) {
        assert_alike(&encoded);
        points += u32::from(CompressedEdwardsY(encoded).decompress().is_some());
    }
    assert!(points > 80, "{points} of them are points");
}

#[test]
fn zero_has_either_sign_as_when_it_is_decoded() {
    for point in [[1, 0], [0xec, 0x7f]] {
        let mut encoded = if point[0] == 1 { [0; 32] } else { [0xff; 32] };
        (encoded[0], encoded[31]) = (point[0], point[1]);
        for bit in [0, 0x80] {
            encoded[31] = encoded[31] & 0x7f | bit;
            assert!(point_at(&encoded, &[0; 32]).is_some());
            assert_alike(&encoded);
        }
    }
}

#[test]
fn an_abscissa_above_the_modulus_is_none() {
    let mut encoded = [0; 32];
    encoded[0] = 1;
    assert!(point_at(&encoded, &[0; 32]).is_some());
    assert_eq!(point_at(&encoded, &P), None, "p is 0, and not so written");
}

#[test]
fn what_was_calculated_has_no_abscissa_here() {
    let doubled = ED25519_BASEPOINT_POINT + ED25519_BASEPOINT_POINT;
    assert_eq!(abscissa_of(&doubled), None);
    assert!(abscissa_of(&ED25519_BASEPOINT_POINT).is_some());
}

proptest! {
    #[test]
    fn any_encoding_that_is_a_point_is_the_same_with_its_abscissa(encoded: [u8; 32]) {
        assert_alike(&encoded);
    }

    #[test]
    fn any_multiple_of_the_base_point_is_the_same_with_its_abscissa(number: u64) {
        let point = Scalar::from(number) * ED25519_BASEPOINT_POINT;
        assert_alike(&point.compress().0);
    }

    /// By chance none is ever right.
    #[test]
    fn any_other_abscissa_gives_no_point(encoded: [u8; 32], abscissa: [u8; 32]) {
        let right = CompressedEdwardsY(encoded).decompress();
        let right = right.and_then(|point| abscissa_of(&point));
        if right != Some(abscissa) {
            assert_eq!(point_at(&encoded, &abscissa), None);
        }
    }
}
