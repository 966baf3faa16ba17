//! Making a new log: its genesis is durable before its first segment has a name.
//!
//! Never touches a folder that shows signs of an older log.

use crate::backend::{CreateError, DataFolder};
use crate::base::BASE_NAME;
use crate::bytes::is_zero;
use crate::clean_stop::CLEAN_STOP_NAME;
use crate::config::LogConfig;
use crate::error::OpenError;
use crate::identity::{Identity, genesis_hash};
use crate::position::RecordIndex;
use crate::prepare::create_segment;
use crate::record::{
    ALIGN_BYTES, HASH_BYTES, RecordHeader, RecordKind, encode_header, record_bytes, record_hash,
};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};
use crate::watermark::{self, WATERMARK_BYTES, WATERMARK_NAME};

/// Lost state is not empty state: a new log would forget every promise of the old one.
pub(crate) fn refuse_lost_log(folder: &DataFolder) -> Result<(), OpenError> {
    let read = |name| {
        folder
            .backend
            .read_lossy(name, WATERMARK_BYTES)
            .map_err(OpenError::io("read", name))
    };
    for trace in [CLEAN_STOP_NAME, BASE_NAME] {
        if read(trace)?.is_some() {
            return Err(OpenError::LogLost { trace });
        }
    }
    // Made, empty, before the first segment; written only after it. What cannot be read may have
    // been.
    let watermark = read(WATERMARK_NAME)?;
    if watermark.is_some_and(|(bytes, lost)| !is_zero(&bytes) || !lost.is_empty()) {
        return Err(OpenError::LogLost {
            trace: WATERMARK_NAME,
        });
    }
    Ok(())
}

/// Creates a log whose only record is the genesis.
pub(crate) fn create(
    folder: &DataFolder,
    config: &LogConfig,
    genesis: &[u8],
) -> Result<(), OpenError> {
    let genesis_bytes = genesis.len() as u64;
    let too_large = || OpenError::GenesisTooLarge { genesis_bytes };
    let record_bytes = record_bytes(genesis.len()).ok_or_else(too_large)?;
    if record_bytes > config.segment_bytes - SEGMENT_HEADER_BYTES as u32 {
        return Err(too_large());
    }
    let identity = Identity::new(genesis_hash(genesis), config.salt);
    let segment = SegmentHeader::first(&identity, config.segment_bytes);
    let mut head = segment.encode().to_vec();
    head.extend(genesis_record(&identity, genesis));
    // The watermark first: a log without one is then never the work of a crash. The segment gets
    // its name when the genesis in it is durable, so a log has a genesis or does not exist.
    watermark::create(folder).map_err(|error| create_error(WATERMARK_NAME, error))?;
    let name = segment_name(0);
    create_segment(
        folder.backend.as_ref(),
        &name,
        &head,
        config.segment_bytes,
        config.fill(),
    )
    .map_err(|error| create_error(&name, error))
}

/// The error of opening for an error of making a file.
pub(crate) fn create_error(name: &str, error: CreateError) -> OpenError {
    match error {
        CreateError::Write(source) => OpenError::io("create", name)(source),
        CreateError::Sync(source) => OpenError::sync(name)(source),
    }
}

/// Every byte of record 0, which follows from the identity of the log and the genesis alone.
pub(crate) fn genesis_record(identity: &Identity, genesis: &[u8]) -> Vec<u8> {
    let record = RecordHeader {
        kind: RecordKind::GENESIS,
        payload_bytes: genesis.len() as u32,
        index: RecordIndex::GENESIS,
        synced_index: RecordIndex::GENESIS,
        lead: 0,
    };
    let mut covered = identity.chain_start.to_vec();
    let offset = SEGMENT_HEADER_BYTES as u32;
    covered.extend(encode_header(identity, 0, offset, &record));
    covered.extend(genesis);
    covered.resize(covered.len().next_multiple_of(ALIGN_BYTES), 0);
    let hash = record_hash(identity, &record, &covered);
    covered.extend(hash);
    covered.split_off(HASH_BYTES)
}
