//! Bytes of a header, and the name of the block that they hash to.

use super::DecodeError;
use super::reader::Reader;
use crate::header::Header;
use crate::limits::HEADER_BYTES;
use crate::types::BlockId;
use alloc::vec::Vec;

/// The domain of a block's name.
const HEADER_DOMAIN: &[u8] = b"bft/header/v1";

impl Header {
    /// The name of the block: BLAKE3 of the header's canonical bytes under the header domain.
    #[must_use]
    pub fn id(&self) -> BlockId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(HEADER_DOMAIN);
        hasher.update(&to_array(self));
        BlockId::new(*hasher.finalize().as_bytes())
    }
}

/// The canonical bytes, without an allocation.
#[must_use]
pub fn to_array(header: &Header) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let mut rest = bytes.as_mut_slice();
    let mut put = |field: &[u8]| {
        // The fields sum to HEADER_BYTES, which the round trip of the tests holds on to.
        let (head, tail) = core::mem::take(&mut rest).split_at_mut(field.len());
        head.copy_from_slice(field);
        rest = tail;
    };
    put(&header.version.to_le_bytes());
    put(&header.flags.to_le_bytes());
    put(&header.chain_id);
    put(&header.epoch.number().to_le_bytes());
    put(&header.set_hash);
    put(&header.window.number().to_le_bytes());
    put(&header.index.number().to_le_bytes());
    put(&header.height.number().to_le_bytes());
    put(&header.time_ns.to_le_bytes());
    put(header.parent_id.as_bytes());
    put(&header.payload_hash);
    put(&header.payload_bytes.to_le_bytes());
    bytes
}

/// Appends the header's `HEADER_BYTES` bytes.
pub fn encode(header: &Header, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&to_array(header));
}

/// Reads a header that takes all the bytes. Whether it fits a chain is another question.
///
/// # Errors
///
/// [`DecodeError`] unless there are exactly `HEADER_BYTES` bytes.
pub fn decode(bytes: &[u8]) -> Result<Header, DecodeError> {
    Reader::whole(bytes, read)
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Header, DecodeError> {
    Ok(Header {
        version: reader.u16("header version")?,
        flags: reader.u16("header flags")?,
        chain_id: reader.array("chain id")?,
        epoch: reader.epoch()?,
        set_hash: reader.array("set hash")?,
        window: reader.window()?,
        index: reader.index()?,
        height: reader.height()?,
        time_ns: reader.u64("time")?,
        parent_id: reader.block_id()?,
        payload_hash: reader.array("payload hash")?,
        payload_bytes: reader.u32("payload bytes")?,
    })
}
