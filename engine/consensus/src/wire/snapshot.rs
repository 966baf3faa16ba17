//! Bytes of what is said about snapshots. Never: judges what they say.

use super::reader::Reader;
use super::{DecodeError, attestation, put_count};
use crate::limits::{SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_MANIFEST_BYTES_MAX};
use crate::message::SnapshotPart;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

const TAG_ASK: u8 = 1;
const TAG_OFFER: u8 = 2;
const TAG_GET: u8 = 3;
const TAG_CHUNK: u8 = 4;

pub(super) fn put(part: &SnapshotPart, bytes: &mut Vec<u8>) {
    match part {
        SnapshotPart::Ask => bytes.push(TAG_ASK),
        SnapshotPart::Offer {
            certificate,
            manifest,
        } => {
            bytes.push(TAG_OFFER);
            attestation::encode(certificate, bytes);
            put_bytes(manifest, bytes);
        }
        SnapshotPart::Get {
            height,
            root,
            chunk,
        } => {
            bytes.push(TAG_GET);
            bytes.extend_from_slice(&height.number().to_le_bytes());
            bytes.extend_from_slice(root);
            bytes.extend_from_slice(&chunk.to_le_bytes());
        }
        SnapshotPart::Chunk {
            root,
            chunk,
            bytes: content,
        } => {
            bytes.push(TAG_CHUNK);
            bytes.extend_from_slice(root);
            bytes.extend_from_slice(&chunk.to_le_bytes());
            put_bytes(content, bytes);
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<SnapshotPart, DecodeError> {
    Ok(match reader.byte("snapshot")? {
        TAG_ASK => SnapshotPart::Ask,
        TAG_OFFER => SnapshotPart::Offer {
            certificate: Box::new(attestation::read(reader)?),
            manifest: read_bytes(reader, "manifest", SNAPSHOT_MANIFEST_BYTES_MAX)?,
        },
        TAG_GET => SnapshotPart::Get {
            height: reader.height()?,
            root: reader.array("snapshot root")?,
            chunk: reader.u32("chunk")?,
        },
        TAG_CHUNK => SnapshotPart::Chunk {
            root: reader.array("snapshot root")?,
            chunk: reader.u32("chunk")?,
            bytes: read_bytes(reader, "chunk", SNAPSHOT_CHUNK_BYTES_MAX)?,
        },
        tag => {
            return Err(DecodeError::UnknownTag {
                what: "snapshot",
                tag,
            });
        }
    })
}

fn put_bytes(content: &[u8], bytes: &mut Vec<u8>) {
    put_count(content.len(), bytes);
    bytes.extend_from_slice(content);
}

fn read_bytes(
    reader: &mut Reader<'_>,
    what: &'static str,
    max: usize,
) -> Result<Arc<[u8]>, DecodeError> {
    let length = reader.count(what, max, 1)?;
    reader.take(what, length).map(Arc::from)
}
