//! Where the coordinates of a point lie in its memory.
//!
//! `curve25519-dalek` makes points of encodings and gives no other way, so one with known
//! coordinates is made of its words. Owns the only two conversions, and the proof that they are
//! right, which the compiler goes through at each build: the words of the base point, whose
//! coordinates are known, are exactly four field elements of five limbs, and which of them is which
//! is found there. With another layout or another arithmetic beneath, this does not compile.
//! Never: does arithmetic.

#![expect(unsafe_code, reason = "the words of a point, see the module")]

use core::mem::transmute;
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::EdwardsPoint;

use super::field::{Element, Limbs};

/// A point is (X/Z, Y/Z) with T = XY/Z.
type Words = [Limbs; 4];

/// Which of the four is which.
struct Places {
    x: usize,
    y: usize,
    z: usize,
    t: usize,
}

const PLACES: Places = Places {
    x: place_of([
        1_738_742_601_995_546,
        1_146_398_526_822_698,
        2_070_867_633_025_821,
        562_264_141_797_630,
        587_772_402_128_613,
    ]),
    y: place_of([
        1_801_439_850_948_184,
        1_351_079_888_211_148,
        450_359_962_737_049,
        900_719_925_474_099,
        1_801_439_850_948_198,
    ]),
    z: place_of([1, 0, 0, 0, 0]),
    t: place_of([
        1_841_354_044_333_475,
        16_398_895_984_059,
        755_974_180_946_558,
        900_171_276_175_154,
        1_821_297_809_914_039,
    ]),
};

/// Where the base point has this coordinate.
const fn place_of(coordinate: Limbs) -> usize {
    let words = words_of(ED25519_BASEPOINT_POINT);
    let mut place = 0;
    while place < words.len() {
        let mut limb = 0;
        while limb < coordinate.len() && words[place][limb] == coordinate[limb] {
            limb += 1;
        }
        if limb == coordinate.len() {
            return place;
        }
        place += 1;
    }
    panic!("a point of this curve25519-dalek is not four elements of five limbs")
}

const fn words_of(point: EdwardsPoint) -> Words {
    // SAFETY: both are of one size, or this does not compile, and the words of `PLACES` fill it,
    // so there is no padding: every byte is one of a number, and any number is a `u64`.
    unsafe { transmute::<EdwardsPoint, Words>(point) }
}

/// The point (x, y), which is on the curve.
pub(crate) fn affine_point(x: Element, y: Element) -> EdwardsPoint {
    let mut words = [[0; 5]; 4];
    words[PLACES.x] = x.limbs();
    words[PLACES.y] = y.limbs();
    words[PLACES.z] = Element::ONE.limbs();
    words[PLACES.t] = (x * y).limbs();
    // SAFETY: as above: the point is four times five `u64`, which may be any; and these are the
    // coordinates of a point, with limbs within 2^51, as those that are decoded have them.
    unsafe { transmute::<Words, EdwardsPoint>(words) }
}

/// The abscissa of a point with Z = 1.
pub(crate) fn affine_x(point: &EdwardsPoint) -> Option<Element> {
    let words = words_of(*point);
    (words[PLACES.z] == Element::ONE.limbs()).then(|| Element::from_limbs(words[PLACES.x]))
}
