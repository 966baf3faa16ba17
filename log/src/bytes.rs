//! Little-endian fields at fixed places of a byte slice whose length the caller has checked.

/// The `u16` at `at`. The caller has checked that it lies inside.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

/// The `u32` at `at`. The caller has checked that it lies inside.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

/// The `u64` at `at`. The caller has checked that it lies inside.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// The `N` bytes at `at`. The caller has checked that they lie inside.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

/// Whether every byte is zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Words first: a fresh segment is 64 MiB of zeros and is checked at every start.
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_le_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// How far the last non-zero byte reaches: 0 if every byte is zero.
pub(crate) fn nonzero_len(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_set_bit_anywhere_is_not_zero() {
        let mut bytes = [0_u8; 67];
        assert!(is_zero(&bytes));
        assert_eq!(nonzero_len(&bytes), 0);
        for at in 0..bytes.len() {
            bytes[at] = 0x80;
            assert!(!is_zero(&bytes), "byte {at}");
            assert_eq!(nonzero_len(&bytes), at + 1);
            bytes[at] = 0;
        }
    }

    #[test]
    fn fields_are_little_endian() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(u16_at(&bytes, 1), 0x0302);
        assert_eq!(u32_at(&bytes, 0), 0x0403_0201);
        assert_eq!(u64_at(&bytes, 0), 0x0807_0605_0403_0201);
    }
}
