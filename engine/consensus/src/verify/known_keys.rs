//! Public keys with the points that they encode.
//!
//! Owns a bounded memory of both. To find the point of a key costs a square root in the field, a
//! fifth of a check of its signature, and the same keys sign again and again: validators, and
//! clients whose sessions are open. Never: says anything of a signature; a key that was forgotten
//! is decoded again, with the same outcome.

use alloc::collections::BTreeMap;
use core::mem;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};

/// Keys of one generation. Two are kept, of some 200 bytes a key: 1.6 MiB at most.
const GENERATION_MAX: usize = 4_096;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownKeys {
    young: BTreeMap<[u8; 32], Option<EdwardsPoint>>,
    old: BTreeMap<[u8; 32], Option<EdwardsPoint>>,
}

impl KnownKeys {
    /// The point that a key encodes, canonically or not (ZIP-215); none when it encodes no point.
    pub(super) fn point(&mut self, key: &[u8; 32]) -> Option<EdwardsPoint> {
        if let Some(point) = self.young.get(key) {
            return *point;
        }
        let known = self.old.get(key).copied();
        let point = known.unwrap_or_else(|| CompressedEdwardsY(*key).decompress());
        // What is asked for stays young; what nobody has asked for goes with its generation.
        if self.young.len() >= GENERATION_MAX {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(*key, point);
        point
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
    use curve25519_dalek::scalar::Scalar;

    #[test]
    fn a_key_has_the_same_point_whether_it_is_known_or_not_and_the_memory_is_bounded() {
        let mut keys = KnownKeys::default();
        let often = ED25519_BASEPOINT_POINT.compress().to_bytes();
        let mut no_point = [0; 32];
        no_point[0] = 2;
        let mut point = ED25519_BASEPOINT_POINT;
        for _ in 0..3 * GENERATION_MAX {
            point += ED25519_BASEPOINT_POINT;
            assert_eq!(keys.point(&point.compress().to_bytes()), Some(point));
            assert_eq!(keys.point(&often), Some(ED25519_BASEPOINT_POINT));
            assert_eq!(keys.point(&no_point), None);
            assert!(keys.young.len() <= GENERATION_MAX && keys.old.len() <= GENERATION_MAX);
        }
        let first = Scalar::from(2_u8) * ED25519_BASEPOINT_POINT;
        let bytes = first.compress().to_bytes();
        assert!(!keys.young.contains_key(&bytes) && !keys.old.contains_key(&bytes));
        assert_eq!(keys.point(&bytes), Some(first));
    }
}
