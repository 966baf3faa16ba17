//! The two messages that say who is there: Hello (validators) and Login (clients).
//!
//! Owns: their bytes. Never: whether they are true; [`crate::handshake`] asks for that.

use crate::error::CloseReason;
use crate::limits::{MESSAGES_VERSION_MAX, MESSAGES_VERSION_MIN};

/// Bytes of a Hello.
pub(crate) const HELLO_BYTES: usize = 2 + 2 + 2 + 8 + 64;
/// Bytes of a Login.
pub(crate) const LOGIN_BYTES: usize = 32 + 64;

/// First encrypted message of a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The lowest message version that it speaks.
    pub version_min: u16,
    /// The highest.
    pub version_max: u16,
    /// Which validator it is.
    pub index: u16,
    /// Which run of it.
    pub incarnation: u64,
    /// Over the handshake and both names.
    pub signature: [u8; 64],
}

impl Hello {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[0..2].copy_from_slice(&self.version_min.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.version_max.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.index.to_le_bytes());
        bytes[6..14].copy_from_slice(&self.incarnation.to_le_bytes());
        bytes[14..78].copy_from_slice(&self.signature);
        bytes
    }

    /// Reads a Hello.
    ///
    /// # Errors
    /// [`CloseReason::HelloMalformed`] unless `bytes` is exactly one.
    pub fn decode(bytes: &[u8]) -> Result<Self, CloseReason> {
        let bytes: &[u8; HELLO_BYTES] =
            bytes.try_into().map_err(|_| CloseReason::HelloMalformed)?;
        let hello = Self {
            version_min: u16::from_le_bytes(part(bytes, 0)),
            version_max: u16::from_le_bytes(part(bytes, 2)),
            index: u16::from_le_bytes(part(bytes, 4)),
            incarnation: u64::from_le_bytes(part(bytes, 6)),
            signature: part(bytes, 14),
        };
        if hello.version_min > hello.version_max {
            return Err(CloseReason::HelloMalformed);
        }
        Ok(hello)
    }

    /// The highest message version that both sides speak.
    ///
    /// # Errors
    /// [`CloseReason::HelloVersion`] if there is none.
    pub(crate) fn version(&self) -> Result<u16, CloseReason> {
        let version = self.version_max.min(MESSAGES_VERSION_MAX);
        if version < self.version_min || version < MESSAGES_VERSION_MIN {
            return Err(CloseReason::HelloVersion);
        }
        Ok(version)
    }
}

/// A client's answer to a Hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login {
    /// The client's public key.
    pub key: [u8; 32],
    /// Over the handshake and the validator's name.
    pub signature: [u8; 64],
}

impl Login {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; LOGIN_BYTES] {
        let mut bytes = [0; LOGIN_BYTES];
        bytes[..32].copy_from_slice(&self.key);
        bytes[32..].copy_from_slice(&self.signature);
        bytes
    }

    /// Reads a Login.
    ///
    /// # Errors
    /// [`CloseReason::HelloMalformed`] unless `bytes` is exactly one.
    pub fn decode(bytes: &[u8]) -> Result<Self, CloseReason> {
        let bytes: &[u8; LOGIN_BYTES] =
            bytes.try_into().map_err(|_| CloseReason::HelloMalformed)?;
        Ok(Self {
            key: part(bytes, 0),
            signature: part(bytes, 32),
        })
    }
}

/// `N` bytes from `at`, which the callers' offsets keep inside.
fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: Hello = Hello {
        version_min: 0x0102,
        version_max: 0x0304,
        index: 0x0506,
        incarnation: 0x0708_090a_0b0c_0d0e,
        signature: [0xee; 64],
    };

    #[test]
    fn the_bytes_of_a_hello_are_fixed() {
        let bytes = HELLO.encode();
        assert_eq!(
            bytes[..14],
            [2, 1, 4, 3, 6, 5, 0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 9, 8, 7]
        );
        assert_eq!(bytes[14..], [0xee; 64]);
        assert_eq!(Hello::decode(&bytes), Ok(HELLO));
    }

    #[test]
    fn the_bytes_of_a_login_are_fixed() {
        let login = Login {
            key: [1; 32],
            signature: [2; 64],
        };
        let bytes = login.encode();
        assert_eq!((&bytes[..32], &bytes[32..]), (&[1; 32][..], &[2; 64][..]));
        assert_eq!(Login::decode(&bytes), Ok(login));
    }

    #[test]
    fn any_other_length_is_malformed() {
        for length in (0..200).filter(|length| *length != HELLO_BYTES) {
            assert_eq!(
                Hello::decode(&vec![0; length]),
                Err(CloseReason::HelloMalformed)
            );
        }
        for length in (0..200).filter(|length| *length != LOGIN_BYTES) {
            assert_eq!(
                Login::decode(&vec![0; length]),
                Err(CloseReason::HelloMalformed)
            );
        }
    }

    #[test]
    fn versions_must_overlap() {
        let version = |version_min, version_max| {
            Hello {
                version_min,
                version_max,
                ..HELLO
            }
            .version()
        };
        let (lowest, highest) = (MESSAGES_VERSION_MIN, MESSAGES_VERSION_MAX);
        assert_eq!(version(lowest, highest), Ok(highest));
        assert_eq!(version(0, highest + 8), Ok(highest));
        let none = Err(CloseReason::HelloVersion);
        assert_eq!(version(highest + 1, highest + 8), none);
        assert_eq!(version(0, lowest - 1), none);
        let reversed = Hello {
            version_min: 2,
            version_max: 1,
            ..HELLO
        };
        assert_eq!(
            Hello::decode(&reversed.encode()),
            Err(CloseReason::HelloMalformed)
        );
    }
}
