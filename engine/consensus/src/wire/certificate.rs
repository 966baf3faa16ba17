//! Bytes of certificates and of the signed records in them.

use super::reader::Reader;
use super::record::RECORD_BYTES_MIN;
use super::{DecodeError, header, put_count, record};
use crate::certificate::{Certificate, SignedRecord, Target};
use crate::limits::{CERTIFICATE_HEADERS_MAX, HEADER_BYTES, VALIDATORS_MAX};
use crate::types::{BlockId, Index};
use alloc::vec::Vec;

/// Bytes of the smallest signed record.
const SIGNED_RECORD_BYTES_MIN: usize = 2 + RECORD_BYTES_MIN + 64;
/// Bytes of the smallest certificate: epoch, window, a Skip target, two counts.
pub(super) const CERTIFICATE_BYTES_MIN: usize = 8 + 8 + 1 + 4 + 4 + 4;

const TAG_CERTIFIED: u8 = 1;
const TAG_SKIP: u8 = 2;
const TAG_FINAL: u8 = 3;

/// Appends the certificate's canonical bytes.
pub fn encode(certificate: &Certificate, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&certificate.epoch.number().to_le_bytes());
    bytes.extend_from_slice(&certificate.window.number().to_le_bytes());
    put_target(&certificate.target, bytes);
    put_count(certificate.records.len(), bytes);
    for signed in &certificate.records {
        put_signed_record(signed, bytes);
    }
    put_count(certificate.headers.len(), bytes);
    for header in &certificate.headers {
        header::encode(header, bytes);
    }
}

/// Reads a certificate that takes all the bytes. What it proves is asked of `verify::judge`.
///
/// # Errors
///
/// [`DecodeError`] when the bytes are not the canonical bytes of a certificate.
pub fn decode(bytes: &[u8]) -> Result<Certificate, DecodeError> {
    Reader::whole(bytes, read)
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Certificate, DecodeError> {
    let certificate = Certificate {
        epoch: reader.epoch()?,
        window: reader.window()?,
        target: read_target(reader)?,
        records: reader.list(
            "certificate records",
            VALIDATORS_MAX,
            SIGNED_RECORD_BYTES_MIN,
            read_signed_record,
        )?,
        headers: read_headers(reader)?,
    };
    if certificate
        .records
        .is_sorted_by(|a, b| a.validator < b.validator)
    {
        Ok(certificate)
    } else {
        Err(DecodeError::NotAscending {
            what: "certificate records",
        })
    }
}

pub(super) fn read_headers(
    reader: &mut Reader<'_>,
) -> Result<Vec<crate::header::Header>, DecodeError> {
    reader.list(
        "certificate headers",
        CERTIFICATE_HEADERS_MAX,
        HEADER_BYTES,
        header::read,
    )
}

fn put_target(target: &Target, bytes: &mut Vec<u8>) {
    let mut put_block = |tag: u8, index: Index, id: BlockId| {
        bytes.push(tag);
        bytes.extend_from_slice(&index.number().to_le_bytes());
        bytes.extend_from_slice(id.as_bytes());
    };
    match *target {
        Target::Certified { index, id } => put_block(TAG_CERTIFIED, index, id),
        Target::Final { index, id } => put_block(TAG_FINAL, index, id),
        Target::Skip { from } => {
            bytes.push(TAG_SKIP);
            bytes.extend_from_slice(&from.number().to_le_bytes());
        }
    }
}

fn read_target(reader: &mut Reader<'_>) -> Result<Target, DecodeError> {
    match reader.byte("certificate target")? {
        TAG_CERTIFIED => reader
            .place()
            .map(|(index, id)| Target::Certified { index, id }),
        TAG_SKIP => reader.index().map(|from| Target::Skip { from }),
        TAG_FINAL => reader
            .place()
            .map(|(index, id)| Target::Final { index, id }),
        tag => Err(DecodeError::UnknownTag {
            what: "certificate target",
            tag,
        }),
    }
}

pub(super) fn put_signed_record(signed: &SignedRecord, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&signed.validator.number().to_le_bytes());
    record::encode(&signed.record, bytes);
    bytes.extend_from_slice(&signed.signature);
}

pub(super) fn read_signed_record(reader: &mut Reader<'_>) -> Result<SignedRecord, DecodeError> {
    Ok(SignedRecord {
        validator: reader.validator()?,
        record: record::read(reader)?,
        signature: reader.array("signature")?,
    })
}
