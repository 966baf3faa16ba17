//! Bytes of what is said about snapshots and older events. Never: judges what they say.

use super::reader::Reader;
use super::{DecodeError, attestation, put_count, put_option};
use crate::limits::{
    EVENTS_BYTES_MAX, EVENTS_TOPS_MAX, SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_MANIFEST_BYTES_MAX,
};
use crate::message::{EventStretch, SnapshotPart};
use crate::types::Height;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

const TAG_ASK: u8 = 1;
const TAG_OFFER: u8 = 2;
const TAG_GET: u8 = 3;
const TAG_CHUNK: u8 = 4;
const TAG_GET_EVENTS: u8 = 5;
const TAG_EVENTS: u8 = 6;

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
        SnapshotPart::GetEvents { below, from } => {
            bytes.push(TAG_GET_EVENTS);
            put_height(*below, bytes);
            put_option(from.as_ref(), bytes, |(height, index), bytes| {
                put_height(*height, bytes);
                bytes.extend_from_slice(&index.to_le_bytes());
            });
        }
        SnapshotPart::Events { below, stretch } => {
            bytes.push(TAG_EVENTS);
            put_height(*below, bytes);
            put_option(stretch.as_deref(), bytes, put_stretch);
        }
    }
}

fn put_height(height: Height, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&height.number().to_le_bytes());
}

fn put_stretch(stretch: &EventStretch, bytes: &mut Vec<u8>) {
    let EventStretch { first, tops, frame } = stretch;
    put_height(*first, bytes);
    put_count(tops.len(), bytes);
    bytes.extend_from_slice(tops.as_flattened());
    put_bytes(frame, bytes);
}

fn read_stretch(reader: &mut Reader<'_>) -> Result<Box<EventStretch>, DecodeError> {
    Ok(Box::new(EventStretch {
        first: reader.height()?,
        tops: reader.list("tops of events", EVENTS_TOPS_MAX, 32, |reader| {
            reader.array("top of events")
        })?,
        frame: read_bytes(reader, "events", EVENTS_BYTES_MAX)?,
    }))
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
        TAG_GET_EVENTS => SnapshotPart::GetEvents {
            below: reader.height()?,
            from: reader.option("position", |reader| {
                Ok((reader.height()?, reader.u32("event")?))
            })?,
        },
        TAG_EVENTS => SnapshotPart::Events {
            below: reader.height()?,
            stretch: reader.option("stretch", read_stretch)?,
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
