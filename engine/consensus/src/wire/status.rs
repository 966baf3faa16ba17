//! Bytes of a Status.

use super::reader::Reader;
use super::{DecodeError, put_count, put_option, record};
use crate::limits::READY_SUMMARY_MAX;
use crate::message::Status;
use crate::types::{Point, Window};
use alloc::vec::Vec;

const FLAG_ABSTAINS: u8 = 1;
const FLAG_RECOVERING: u8 = 2;
const FLAG_NO_PROPOSALS: u8 = 4;
const FLAGS_ALL: u8 = FLAG_ABSTAINS | FLAG_RECOVERING | FLAG_NO_PROPOSALS;

/// Bytes of a block's name.
const BLOCK_ID_BYTES: usize = 32;

pub(super) fn put_status(status: &Status, bytes: &mut Vec<u8>) {
    let Status {
        epoch,
        finalized,
        proven,
        window,
        record,
        gap,
        ready,
        flushed,
        ..
    } = status;
    bytes.extend_from_slice(&epoch.number().to_le_bytes());
    put_point(finalized, bytes);
    put_point(proven, bytes);
    bytes.extend_from_slice(&window.number().to_le_bytes());
    record::encode(record, bytes);
    put_option(gap.as_ref(), bytes, |window: &Window, bytes| {
        bytes.extend_from_slice(&window.number().to_le_bytes());
    });
    put_count(ready.len(), bytes);
    for id in ready {
        bytes.extend_from_slice(id.as_bytes());
    }
    bytes.extend_from_slice(&flushed.number().to_le_bytes());
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    bytes.push(
        flag(status.abstains, FLAG_ABSTAINS)
            | flag(status.recovering, FLAG_RECOVERING)
            | flag(status.no_proposals, FLAG_NO_PROPOSALS),
    );
}

pub(super) fn read_status(reader: &mut Reader<'_>) -> Result<Status, DecodeError> {
    let mut status = Status {
        epoch: reader.epoch()?,
        finalized: read_point(reader)?,
        proven: read_point(reader)?,
        window: reader.window()?,
        record: record::read(reader)?,
        gap: reader.option("gap", Reader::window)?,
        ready: reader.list("ready", READY_SUMMARY_MAX, BLOCK_ID_BYTES, Reader::block_id)?,
        flushed: reader.height()?,
        abstains: false,
        recovering: false,
        no_proposals: false,
    };
    let flags = reader.byte("status flags")?;
    if flags & !FLAGS_ALL != 0 {
        return Err(DecodeError::NotCanonical {
            what: "status flags",
            byte: flags,
        });
    }
    status.abstains = flags & FLAG_ABSTAINS != 0;
    status.recovering = flags & FLAG_RECOVERING != 0;
    status.no_proposals = flags & FLAG_NO_PROPOSALS != 0;
    Ok(status)
}

fn put_point(point: &Point, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&point.window.number().to_le_bytes());
    bytes.extend_from_slice(&point.index.number().to_le_bytes());
    bytes.extend_from_slice(&point.height.number().to_le_bytes());
    bytes.extend_from_slice(point.id.as_bytes());
}

fn read_point(reader: &mut Reader<'_>) -> Result<Point, DecodeError> {
    Ok(Point {
        window: reader.window()?,
        index: reader.index()?,
        height: reader.height()?,
        id: reader.block_id()?,
    })
}
