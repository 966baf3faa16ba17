//! Bytes of statements about the state, and of certificates over them.

use super::reader::Reader;
use super::{DecodeError, put_count, put_option};
use crate::attestation::{StateCertificate, StateStatement};
use crate::limits::{STATE_SECTIONS_MAX, VALIDATORS_MAX};
use alloc::vec::Vec;

const ROOT_BYTES: usize = 32;
const SIGNED_BYTES: usize = 2 + 64;

/// Appends the canonical bytes of a statement.
pub fn encode_statement(statement: &StateStatement, bytes: &mut Vec<u8>) {
    let StateStatement {
        height,
        id,
        sections,
        snapshot,
    } = statement;
    bytes.extend_from_slice(&height.number().to_le_bytes());
    bytes.extend_from_slice(id.as_bytes());
    put_count(sections.len(), bytes);
    for root in sections {
        bytes.extend_from_slice(root);
    }
    put_option(snapshot.as_ref(), bytes, |root: &[u8; 32], bytes| {
        bytes.extend_from_slice(root);
    });
}

pub(super) fn read_statement(reader: &mut Reader<'_>) -> Result<StateStatement, DecodeError> {
    Ok(StateStatement {
        height: reader.height()?,
        id: reader.block_id()?,
        sections: reader.list("state sections", STATE_SECTIONS_MAX, ROOT_BYTES, |reader| {
            reader.array("section root")
        })?,
        snapshot: reader.option("snapshot root", |reader| reader.array("snapshot root"))?,
    })
}

/// Appends the canonical bytes of a certificate.
pub fn encode(certificate: &StateCertificate, bytes: &mut Vec<u8>) {
    encode_statement(&certificate.statement, bytes);
    put_count(certificate.signatures.len(), bytes);
    for (validator, signature) in &certificate.signatures {
        bytes.extend_from_slice(&validator.number().to_le_bytes());
        bytes.extend_from_slice(signature);
    }
}

/// Reads a certificate; it must take all the bytes.
///
/// # Errors
/// [`DecodeError`] when the bytes are not the canonical bytes of a certificate.
pub fn decode(bytes: &[u8]) -> Result<StateCertificate, DecodeError> {
    Reader::whole(bytes, read)
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<StateCertificate, DecodeError> {
    let certificate = StateCertificate {
        statement: read_statement(reader)?,
        signatures: reader.list("state signatures", VALIDATORS_MAX, SIGNED_BYTES, |reader| {
            Ok((reader.validator()?, reader.array("signature")?))
        })?,
    };
    if certificate.signatures.is_sorted_by(|a, b| a.0 < b.0) {
        Ok(certificate)
    } else {
        Err(DecodeError::NotAscending {
            what: "state signatures",
        })
    }
}
