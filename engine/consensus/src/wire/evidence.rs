//! Bytes of evidence.

use super::certificate::{put_signed_record, read_headers, read_signed_record};
use super::reader::Reader;
use super::{DecodeError, header, put_count};
use crate::evidence::{Evidence, SignedHeader};
use alloc::boxed::Box;
use alloc::vec::Vec;

const TAG_TWO_HEADERS: u8 = 1;
const TAG_TWO_RECORDS: u8 = 2;
const TAG_ONE_RECORD: u8 = 3;

/// Appends the evidence's canonical bytes.
pub fn encode(evidence: &Evidence, bytes: &mut Vec<u8>) {
    match evidence {
        Evidence::TwoHeaders(signed) => {
            bytes.push(TAG_TWO_HEADERS);
            for SignedHeader { header, signature } in signed.as_ref() {
                header::encode(header, bytes);
                bytes.extend_from_slice(signature);
            }
        }
        Evidence::TwoRecords {
            epoch,
            window,
            validator,
            records,
            headers,
        } => {
            bytes.push(TAG_TWO_RECORDS);
            bytes.extend_from_slice(&epoch.number().to_le_bytes());
            bytes.extend_from_slice(&window.number().to_le_bytes());
            bytes.extend_from_slice(&validator.number().to_le_bytes());
            for signed in records.as_ref() {
                put_signed_record(signed, bytes);
            }
            put_count(headers.len(), bytes);
            for header in headers {
                header::encode(header, bytes);
            }
        }
        Evidence::OneRecord {
            epoch,
            window,
            record,
        } => {
            bytes.push(TAG_ONE_RECORD);
            bytes.extend_from_slice(&epoch.number().to_le_bytes());
            bytes.extend_from_slice(&window.number().to_le_bytes());
            put_signed_record(record, bytes);
        }
    }
}

/// Reads evidence that takes all the bytes. What it proves is asked of `verify::check_evidence`.
///
/// # Errors
///
/// [`DecodeError`] when the bytes are not the canonical bytes of evidence.
pub fn decode(bytes: &[u8]) -> Result<Evidence, DecodeError> {
    Reader::whole(bytes, read)
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Evidence, DecodeError> {
    match reader.byte("evidence")? {
        TAG_TWO_HEADERS => Ok(Evidence::TwoHeaders(Box::new([
            read_signed_header(reader)?,
            read_signed_header(reader)?,
        ]))),
        TAG_TWO_RECORDS => Ok(Evidence::TwoRecords {
            epoch: reader.epoch()?,
            window: reader.window()?,
            validator: reader.validator()?,
            records: Box::new([read_signed_record(reader)?, read_signed_record(reader)?]),
            headers: read_headers(reader)?,
        }),
        TAG_ONE_RECORD => Ok(Evidence::OneRecord {
            epoch: reader.epoch()?,
            window: reader.window()?,
            record: Box::new(read_signed_record(reader)?),
        }),
        tag => Err(DecodeError::UnknownTag {
            what: "evidence",
            tag,
        }),
    }
}

fn read_signed_header(reader: &mut Reader<'_>) -> Result<SignedHeader, DecodeError> {
    Ok(SignedHeader {
        header: header::read(reader)?,
        signature: reader.array("signature")?,
    })
}
