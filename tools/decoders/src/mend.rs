//! Checksums of the log's files made right, so that damage reaches what stands behind them.
//!
//! Owns an account of docs/log-format.md of its own: it knows where checksums stand and what they
//! cover. Never: used to judge; a sound file must not change, which a test holds.

use std::ops::Range;

/// Bytes of a segment's header, with genesis hash and salt, and its two last fields.
const HEADER_BYTES: usize = 512;
const MATERIAL: Range<usize> = 40..104;
const CHECK: Range<usize> = 448..480;
/// Bytes of a record in front of its payload.
const RECORD_HEADER_BYTES: usize = 32;
const HASH_BYTES: usize = 32;
/// In a record's header: how much of its payload stands before a body that is chained by its hash.
const LEAD: Range<usize> = 22..24;

/// The keys of a log, by the material of its identity.
pub(crate) struct Keys {
    chain: [u8; 32],
    header: [u8; 32],
    mark: [u8; 32],
}

impl Keys {
    /// From the header of any segment; `None` if it is too short.
    pub(crate) fn of_segment(segment: &[u8]) -> Option<Self> {
        let material = segment.get(MATERIAL)?;
        let key = |context| blake3::derive_key(context, material);
        Some(Self {
            chain: key("quorate log v1 record chain"),
            header: key("quorate log v1 record header"),
            mark: key("quorate log v1 watermark"),
        })
    }
}

/// The check of the segment's header, and header check and hash of each record that is found where
/// the one before it ends.
pub(crate) fn segment(keys: &Keys, number: u32, bytes: &mut [u8]) {
    let Some((head, tail)) = bytes.get(..HEADER_BYTES).map(|head| {
        let mut hasher = blake3::Hasher::new_derive_key("quorate log segment header");
        hasher
            .update(&head[..CHECK.start])
            .update(&head[CHECK.end..]);
        (*hasher.finalize().as_bytes(), HEADER_BYTES)
    }) else {
        return;
    };
    bytes[CHECK].copy_from_slice(&head);
    let mut at = tail;
    while let Some(end) = record(keys, number, bytes, at) {
        at = end;
    }
}

/// Mends the record at `at`; says where it ends. `None` if there is none that fits.
fn record(keys: &Keys, number: u32, bytes: &mut [u8], at: usize) -> Option<usize> {
    let header = bytes.get(at..at.checked_add(RECORD_HEADER_BYTES)?)?;
    if header[..2] != *b"QR" {
        return None;
    }
    let payload_bytes = u32::from_le_bytes(header[4..8].try_into().ok()?) as usize;
    let lead = usize::from(u16::from_le_bytes(header[LEAD].try_into().ok()?));
    let hash_at = (at + RECORD_HEADER_BYTES)
        .checked_add(payload_bytes)?
        .checked_next_multiple_of(8)?;
    let end = hash_at.checked_add(HASH_BYTES)?;
    if end > bytes.len() {
        return None;
    }
    let mut hasher = blake3::Hasher::new_keyed(&keys.header);
    hasher
        .update(&number.to_le_bytes())
        .update(&u32::try_from(at).ok()?.to_le_bytes())
        .update(&header[..24]);
    let check = hasher.finalize();
    bytes[at + 24..at + 32].copy_from_slice(&check.as_bytes()[..8]);
    let payload = at + RECORD_HEADER_BYTES..at + RECORD_HEADER_BYTES + payload_bytes;
    let mut hasher = blake3::Hasher::new_keyed(&keys.chain);
    // One that leaves no body makes the header none, whatever stands behind it.
    if lead == 0 || lead >= payload_bytes {
        hasher.update(&bytes[at - HASH_BYTES..hash_at]);
    } else {
        hasher
            .update(&bytes[at - HASH_BYTES..payload.start + lead])
            .update(blake3::hash(&bytes[payload.start + lead..payload.end]).as_bytes())
            .update(&bytes[payload.end..hash_at]);
    }
    let hash = hasher.finalize();
    bytes[hash_at..end].copy_from_slice(hash.as_bytes());
    Some(end)
}

/// The checks of both slots of a watermark, of those that are not blank.
pub(crate) fn watermark(keys: &Keys, bytes: &mut [u8]) {
    for slot in [0, 512] {
        if let Some(slot) = bytes.get_mut(slot..slot + 64)
            && slot.iter().any(|byte| *byte != 0)
        {
            let check = blake3::keyed_hash(&keys.mark, &slot[..32]);
            slot[32..].copy_from_slice(check.as_bytes());
        }
    }
}

/// The check of a lease or a clean-stop marker.
pub(crate) fn sealed(bytes: &mut [u8]) {
    if let Some(check_at) = bytes.len().checked_sub(HASH_BYTES) {
        let check = blake3::derive_key("quorate log sealed file", &bytes[..check_at]);
        bytes[check_at..].copy_from_slice(&check);
    }
}
