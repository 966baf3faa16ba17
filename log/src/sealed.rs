//! Small files that are written whole: a magic, a version, a payload, a checksum.
//!
//! Owns their bytes and the way in which one replaces another so that a crash leaves the old or
//! the new one, never a mixture. The lease and the clean-stop marker are such files.

use std::io;

use crate::backend::{Backend, CreateError, TEMPORARY_SUFFIX};
use crate::bytes::{array_at, u32_at};

/// The only version so far.
const VERSION: u32 = 1;
const CONTEXT: &str = "quorate log sealed file";

const VERSION_AT: usize = 8;
const PAYLOAD_BYTES_AT: usize = VERSION_AT + 4;
const PAYLOAD_AT: usize = PAYLOAD_BYTES_AT + 4;
const CHECK_BYTES: usize = 32;

/// The longest payload of a sealed file.
pub(crate) const SEALED_PAYLOAD_BYTES_MAX: usize = 512;
const FILE_BYTES_MAX: usize = PAYLOAD_AT + SEALED_PAYLOAD_BYTES_MAX + CHECK_BYTES;

/// Why a file is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealDamage {
    /// Too short, too long, or not as long as it says.
    #[error("its length is wrong")]
    Length,
    /// A byte is not what was written.
    #[error("its checksum is wrong")]
    Checksum,
    /// Whole, and of a version that this program does not know.
    #[error("its format version {0} is unknown")]
    Version(u32),
}

fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    blake3::derive_key(CONTEXT, bytes)
}

/// The bytes of the file. The caller keeps the payload within the limit.
pub(crate) fn seal(magic: [u8; 8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PAYLOAD_AT + payload.len() + CHECK_BYTES);
    bytes.extend(magic);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(payload);
    bytes.extend(check(&bytes));
    bytes
}

/// The payload of the file.
pub(crate) fn unseal(magic: [u8; 8], bytes: &[u8]) -> Result<Vec<u8>, SealDamage> {
    if bytes.len() < PAYLOAD_AT + CHECK_BYTES || bytes.len() > FILE_BYTES_MAX {
        return Err(SealDamage::Length);
    }
    let check_at = bytes.len() - CHECK_BYTES;
    if bytes[..8] != magic || check(&bytes[..check_at]) != array_at(bytes, check_at) {
        return Err(SealDamage::Checksum);
    }
    let version = u32_at(bytes, VERSION_AT);
    if version != VERSION {
        return Err(SealDamage::Version(version));
    }
    if u32_at(bytes, PAYLOAD_BYTES_AT) as usize != check_at - PAYLOAD_AT {
        return Err(SealDamage::Length);
    }
    Ok(bytes[PAYLOAD_AT..check_at].to_vec())
}

/// Reads the file: `None` if it is missing.
pub(crate) fn read(
    backend: &dyn Backend,
    name: &str,
    magic: [u8; 8],
) -> io::Result<Option<Result<Vec<u8>, SealDamage>>> {
    let read = backend.read_lossy(name, FILE_BYTES_MAX)?;
    Ok(read.map(|(bytes, unreadable)| {
        // Lost to the disk is damaged, whatever stands in its place.
        if unreadable.is_empty() {
            unseal(magic, &bytes)
        } else {
            Err(SealDamage::Checksum)
        }
    }))
}

/// Replaces the file durably: when this returns `Ok`, a crash leaves the new one.
pub(crate) fn replace(backend: &dyn Backend, name: &str, bytes: &[u8]) -> io::Result<()> {
    // Always a fresh file: one whose sync failed before is emptied, not synced again.
    let temporary = format!("{name}{TEMPORARY_SUFFIX}");
    backend
        .create(&temporary, bytes, bytes.len())
        .map_err(|error| match error {
            CreateError::Write(error) | CreateError::Sync(error) => error,
        })?;
    backend.rename(&temporary, name)?;
    backend.sync_folder()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: [u8; 8] = *b"QRTTEST0";

    #[test]
    fn a_payload_comes_back_and_every_flip_and_length_is_seen() {
        for payload in [&[][..], &[7; 32], &[9; SEALED_PAYLOAD_BYTES_MAX]] {
            let mut bytes = seal(MAGIC, payload);
            assert_eq!(unseal(MAGIC, &bytes).as_deref(), Ok(payload));
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(
                    unseal(MAGIC, &bytes),
                    Err(SealDamage::Checksum),
                    "bit {bit}"
                );
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            for len in 0..bytes.len() {
                assert!(unseal(MAGIC, &bytes[..len]).is_err(), "length {len}");
            }
            bytes.push(0);
            assert!(unseal(MAGIC, &bytes).is_err());
        }
    }

    #[test]
    fn one_kind_of_file_is_not_taken_for_another() {
        assert_eq!(
            unseal(*b"QRTTEST1", &seal(MAGIC, b"x")),
            Err(SealDamage::Checksum)
        );
    }

    #[test]
    fn an_unknown_version_is_told_from_damage() {
        let mut bytes = seal(MAGIC, b"payload");
        bytes[VERSION_AT] = 2;
        let check_at = bytes.len() - CHECK_BYTES;
        let check = check(&bytes[..check_at]);
        bytes[check_at..].copy_from_slice(&check);
        assert_eq!(unseal(MAGIC, &bytes), Err(SealDamage::Version(2)));
    }
}
