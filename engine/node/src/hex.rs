//! Lower-case hex, the only spelling of bytes in this engine's text files. Never: upper case, a
//! prefix, or spaces.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends `bytes` as hex digits.
pub(crate) fn push(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// `bytes` as hex digits.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push(&mut text, bytes);
    text
}

/// Fills `bytes` from exactly twice as many digits; false, with `bytes` in any state, otherwise.
#[must_use]
pub(crate) fn decode_into(digits: &[u8], bytes: &mut [u8]) -> bool {
    if digits.len() != bytes.len() * 2 {
        return false;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return false;
        };
        *byte = high << 4 | low;
    }
    true
}

/// The bytes of an even number of digits; none otherwise.
#[must_use]
pub fn decode(digits: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; digits.len() / 2];
    decode_into(digits.as_bytes(), &mut bytes).then_some(bytes)
}

/// 32 bytes from 64 digits.
#[must_use]
pub fn decode_32(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    decode_into(digits.as_bytes(), &mut bytes).then_some(bytes)
}

const fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_bytes_are_one_to_one() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut back = vec![0; 256];
        assert!(decode_into(encode(&bytes).as_bytes(), &mut back));
        assert_eq!(back, bytes);
    }

    #[test]
    fn another_spelling_is_refused() {
        for text in [
            "",
            "0",
            &"A".repeat(64),
            &"g".repeat(64),
            &"0".repeat(63),
            &"0".repeat(66),
        ] {
            assert_eq!(decode_32(text), None, "{text}");
        }
        assert_eq!(decode_32(&"0f".repeat(32)), Some([15; 32]));
    }
}
