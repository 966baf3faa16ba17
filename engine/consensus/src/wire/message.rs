//! Bytes of messages: a tag, then the fields in the order of their declaration.

use super::certificate::CERTIFICATE_BYTES_MIN;
use super::reader::Reader;
use super::record::RECORD_BYTES_MIN;
use super::status::{put_status, read_status};
use super::{
    DecodeError, Unverified, attestation, certificate, evidence, header, put_count, put_option,
    record, snapshot,
};
use crate::certificate::{Certificate, SignatureBytes};
use crate::header::Header;
use crate::limits::{
    ABSCISSAS_BYTES_MAX, BODIES_PER_REQUEST_MAX, CERTIFICATES_PER_MESSAGE_MAX, FORWARD_BYTES_MAX,
    HEADER_BYTES, HEADERS_PER_ANSWER_MAX, HELD_RECORDS_MAX, PAYLOAD_BYTES_MAX,
    RECOVER_CERTIFICATES_MAX,
};
use crate::message::{BlockRef, Get, HeldRecord, Message, Propose, RecoverAnswer, Vote};
use crate::types::Index;
use alloc::sync::Arc;
use alloc::vec::Vec;

const TAG_PROPOSE: u8 = 1;
const TAG_VOTE: u8 = 2;
const TAG_CERTIFICATES: u8 = 3;
const TAG_GET: u8 = 4;
const TAG_HEADERS: u8 = 5;
const TAG_BLOCK: u8 = 6;
const TAG_HISTORY: u8 = 7;
const TAG_STATUS: u8 = 8;
const TAG_HEADER_SIGNATURE: u8 = 9;
const TAG_EVIDENCE: u8 = 10;
const TAG_FENCE_ASK: u8 = 11;
const TAG_FENCE_ANSWER: u8 = 12;
const TAG_FORWARD: u8 = 13;
const TAG_RECOVER: u8 = 14;
const TAG_RECOVER_ANSWER: u8 = 15;
const TAG_ATTESTATION: u8 = 16;
const TAG_SNAPSHOT: u8 = 17;
const TAG_ABSCISSAS: u8 = 18;

const TAG_GET_HEADERS: u8 = 1;
const TAG_GET_BODIES: u8 = 2;
const TAG_GET_HISTORY: u8 = 3;
const TAG_GET_FINALITY: u8 = 4;
const TAG_GET_READY: u8 = 5;

/// Bytes of a block's height and name.
const BLOCK_REF_BYTES: usize = 8 + 32;
/// Bytes of the smallest record that is held of somebody: window, record, no signature.
const HELD_RECORD_BYTES_MIN: usize = 8 + RECORD_BYTES_MIN + 1;

/// Appends the message's canonical bytes.
pub fn encode(message: &Message, bytes: &mut Vec<u8>) {
    put(message, bytes, &mut |bytes, payload| {
        bytes.extend_from_slice(payload);
    });
}

/// Appends the message's canonical bytes but the long part in the middle that proposals, blocks
/// and forwarded commands have, if that has `bytes_min` or more. Says where it belongs: whoever
/// sends it to several need not copy it.
pub fn encode_around<'m>(
    message: &'m Message,
    bytes_min: usize,
    bytes: &mut Vec<u8>,
) -> Option<(usize, &'m Arc<[u8]>)> {
    let mut left_out = None;
    put(message, bytes, &mut |bytes, payload| {
        if payload.len() < bytes_min {
            bytes.extend_from_slice(payload);
        } else {
            left_out = Some((bytes.len(), payload));
        }
    });
    left_out
}

/// Appends the bytes of a payload, or notes where they belong.
type PutBody<'p, 'm> = dyn FnMut(&mut Vec<u8>, &'m Arc<[u8]>) + 'p;

fn put<'m>(message: &'m Message, bytes: &mut Vec<u8>, put_body: &mut PutBody<'_, 'm>) {
    bytes.push(tag(message));
    match message {
        Message::Propose(propose) => put_propose(propose, bytes, put_body),
        Message::Vote(vote) => put_vote(vote, bytes),
        Message::Certificates(certificates) => put_certificates(certificates, bytes),
        Message::Get(get) => put_get(get, bytes),
        Message::Headers { window, headers } => {
            bytes.extend_from_slice(&window.number().to_le_bytes());
            put_headers(headers, bytes);
        }
        Message::Block { header, payload } => {
            header::encode(header, bytes);
            put_payload(payload, bytes, put_body);
        }
        Message::History(headers) => put_headers(headers, bytes),
        Message::Status(status) => put_status(status, bytes),
        Message::HeaderSignature { header, signature } => {
            header::encode(header, bytes);
            bytes.extend_from_slice(signature);
        }
        Message::Evidence(evidence) => evidence::encode(evidence, bytes),
        Message::FenceAsk { incarnation } => {
            bytes.extend_from_slice(&incarnation.to_le_bytes());
        }
        Message::FenceAnswer { incarnation, held } => {
            bytes.extend_from_slice(&incarnation.to_le_bytes());
            put_count(held.len(), bytes);
            held.iter().for_each(|one| put_held(one, bytes));
        }
        Message::Forward(commands) => put_payload(commands, bytes, put_body),
        Message::Recover { nonce } => bytes.extend_from_slice(nonce),
        Message::RecoverAnswer(answer) => put_recover_answer(answer, bytes),
        Message::Attestation {
            statement,
            signature,
        } => {
            attestation::encode_statement(statement, bytes);
            bytes.extend_from_slice(signature);
        }
        Message::Snapshot(part) => snapshot::put(part, bytes),
        Message::Abscissas { block, told } => {
            bytes.extend_from_slice(block.as_bytes());
            put_payload(told, bytes, put_body);
        }
    }
}

const fn tag(message: &Message) -> u8 {
    match message {
        Message::Propose(_) => TAG_PROPOSE,
        Message::Vote(_) => TAG_VOTE,
        Message::Certificates(_) => TAG_CERTIFICATES,
        Message::Get(_) => TAG_GET,
        Message::Headers { .. } => TAG_HEADERS,
        Message::Block { .. } => TAG_BLOCK,
        Message::History(_) => TAG_HISTORY,
        Message::Status(_) => TAG_STATUS,
        Message::HeaderSignature { .. } => TAG_HEADER_SIGNATURE,
        Message::Evidence(_) => TAG_EVIDENCE,
        Message::FenceAsk { .. } => TAG_FENCE_ASK,
        Message::FenceAnswer { .. } => TAG_FENCE_ANSWER,
        Message::Forward(_) => TAG_FORWARD,
        Message::Recover { .. } => TAG_RECOVER,
        Message::RecoverAnswer(_) => TAG_RECOVER_ANSWER,
        Message::Attestation { .. } => TAG_ATTESTATION,
        Message::Snapshot(_) => TAG_SNAPSHOT,
        Message::Abscissas { .. } => TAG_ABSCISSAS,
    }
}

/// Reads a message that takes all the bytes. The bounds are those of `limits`; what the message
/// says has not been judged in any way.
///
/// # Errors
///
/// [`DecodeError`] when the bytes are not the canonical bytes of a message.
pub fn decode(bytes: &[u8]) -> Result<Unverified<Message>, DecodeError> {
    Reader::whole(bytes, read).map(Unverified)
}

fn read(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
    Ok(match reader.byte("message")? {
        TAG_PROPOSE => Message::Propose(read_propose(reader)?),
        TAG_VOTE => Message::Vote(read_vote(reader)?),
        TAG_CERTIFICATES => Message::Certificates(read_certificates(reader)?),
        TAG_GET => Message::Get(read_get(reader)?),
        TAG_HEADERS => Message::Headers {
            window: reader.window()?,
            headers: read_headers(reader)?,
        },
        TAG_BLOCK => Message::Block {
            header: header::read(reader)?,
            payload: read_payload(reader, "payload", PAYLOAD_BYTES_MAX)?,
        },
        TAG_HISTORY => Message::History(read_headers(reader)?),
        TAG_STATUS => Message::Status(read_status(reader)?),
        TAG_HEADER_SIGNATURE => Message::HeaderSignature {
            header: header::read(reader)?,
            signature: read_signature(reader)?,
        },
        TAG_EVIDENCE => Message::Evidence(evidence::read(reader)?),
        TAG_FENCE_ASK => Message::FenceAsk {
            incarnation: reader.u64("incarnation")?,
        },
        TAG_FENCE_ANSWER => Message::FenceAnswer {
            incarnation: reader.u64("incarnation")?,
            held: reader.list(
                "held records",
                HELD_RECORDS_MAX,
                HELD_RECORD_BYTES_MIN,
                read_held,
            )?,
        },
        TAG_FORWARD => Message::Forward(read_payload(reader, "forward", FORWARD_BYTES_MAX)?),
        TAG_RECOVER => Message::Recover {
            nonce: reader.array("nonce")?,
        },
        TAG_RECOVER_ANSWER => Message::RecoverAnswer(read_recover_answer(reader)?),
        TAG_ATTESTATION => Message::Attestation {
            statement: attestation::read_statement(reader)?,
            signature: read_signature(reader)?,
        },
        TAG_SNAPSHOT => Message::Snapshot(snapshot::read(reader)?),
        TAG_ABSCISSAS => Message::Abscissas {
            block: reader.block_id()?,
            told: read_payload(reader, "abscissas", ABSCISSAS_BYTES_MAX)?,
        },
        tag => {
            return Err(DecodeError::UnknownTag {
                what: "message",
                tag,
            });
        }
    })
}

fn put_propose<'m>(propose: &'m Propose, bytes: &mut Vec<u8>, put_body: &mut PutBody<'_, 'm>) {
    let Propose {
        header,
        payload,
        justification,
        record,
    } = propose;
    header::encode(header, bytes);
    put_payload(payload, bytes, put_body);
    put_certificates(justification, bytes);
    put_option(record.as_ref(), bytes, record::encode);
}

fn read_propose(reader: &mut Reader<'_>) -> Result<Propose, DecodeError> {
    Ok(Propose {
        header: header::read(reader)?,
        payload: read_payload(reader, "payload", PAYLOAD_BYTES_MAX)?,
        justification: read_certificates(reader)?,
        record: reader.option("record", record::read)?,
    })
}

fn put_vote(vote: &Vote, bytes: &mut Vec<u8>) {
    let Vote {
        epoch,
        window,
        record,
        signature,
    } = vote;
    bytes.extend_from_slice(&epoch.number().to_le_bytes());
    bytes.extend_from_slice(&window.number().to_le_bytes());
    record::encode(record, bytes);
    put_option(signature.as_ref(), bytes, put_signature);
}

fn read_vote(reader: &mut Reader<'_>) -> Result<Vote, DecodeError> {
    Ok(Vote {
        epoch: reader.epoch()?,
        window: reader.window()?,
        record: record::read(reader)?,
        signature: reader.option("signature", read_signature)?,
    })
}

fn put_certificates(certificates: &[Certificate], bytes: &mut Vec<u8>) {
    put_count(certificates.len(), bytes);
    for certificate in certificates {
        certificate::encode(certificate, bytes);
    }
}

fn read_certificates(reader: &mut Reader<'_>) -> Result<Vec<Certificate>, DecodeError> {
    reader.list(
        "certificates",
        CERTIFICATES_PER_MESSAGE_MAX,
        CERTIFICATE_BYTES_MIN,
        certificate::read,
    )
}

fn put_get(get: &Get, bytes: &mut Vec<u8>) {
    match get {
        Get::Headers {
            window,
            index,
            id,
            above,
        } => {
            bytes.push(TAG_GET_HEADERS);
            bytes.extend_from_slice(&window.number().to_le_bytes());
            bytes.extend_from_slice(&index.number().to_le_bytes());
            bytes.extend_from_slice(id.as_bytes());
            put_option(above.as_ref(), bytes, |index: &Index, bytes| {
                bytes.extend_from_slice(&index.number().to_le_bytes());
            });
        }
        Get::Bodies(blocks) => {
            bytes.push(TAG_GET_BODIES);
            put_count(blocks.len(), bytes);
            for block in blocks {
                put_block_ref(block, bytes);
            }
        }
        Get::History { top, count } => {
            bytes.push(TAG_GET_HISTORY);
            put_block_ref(top, bytes);
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        Get::Finality { at_least } => {
            bytes.push(TAG_GET_FINALITY);
            bytes.extend_from_slice(&at_least.number().to_le_bytes());
        }
        Get::Ready { window } => {
            bytes.push(TAG_GET_READY);
            bytes.extend_from_slice(&window.number().to_le_bytes());
        }
    }
}

fn read_get(reader: &mut Reader<'_>) -> Result<Get, DecodeError> {
    Ok(match reader.byte("request")? {
        TAG_GET_HEADERS => Get::Headers {
            window: reader.window()?,
            index: reader.index()?,
            id: reader.block_id()?,
            above: reader.option("above", Reader::index)?,
        },
        TAG_GET_BODIES => Get::Bodies(reader.list(
            "bodies",
            BODIES_PER_REQUEST_MAX,
            BLOCK_REF_BYTES,
            read_block_ref,
        )?),
        TAG_GET_HISTORY => Get::History {
            top: read_block_ref(reader)?,
            count: reader.u32("history count")?,
        },
        TAG_GET_FINALITY => Get::Finality {
            at_least: reader.height()?,
        },
        TAG_GET_READY => Get::Ready {
            window: reader.window()?,
        },
        tag => {
            return Err(DecodeError::UnknownTag {
                what: "request",
                tag,
            });
        }
    })
}

fn put_block_ref(block: &BlockRef, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&block.height.number().to_le_bytes());
    bytes.extend_from_slice(block.id.as_bytes());
}

fn read_block_ref(reader: &mut Reader<'_>) -> Result<BlockRef, DecodeError> {
    Ok(BlockRef {
        height: reader.height()?,
        id: reader.block_id()?,
    })
}

fn put_headers(headers: &[Header], bytes: &mut Vec<u8>) {
    put_count(headers.len(), bytes);
    for header in headers {
        header::encode(header, bytes);
    }
}

fn read_headers(reader: &mut Reader<'_>) -> Result<Vec<Header>, DecodeError> {
    reader.list(
        "headers",
        HEADERS_PER_ANSWER_MAX,
        HEADER_BYTES,
        header::read,
    )
}

fn put_held(held: &HeldRecord, bytes: &mut Vec<u8>) {
    let HeldRecord {
        window,
        record,
        signature,
    } = held;
    bytes.extend_from_slice(&window.number().to_le_bytes());
    record::encode(record, bytes);
    put_option(signature.as_ref(), bytes, put_signature);
}

fn read_held(reader: &mut Reader<'_>) -> Result<HeldRecord, DecodeError> {
    Ok(HeldRecord {
        window: reader.window()?,
        record: record::read(reader)?,
        signature: reader.option("signature", read_signature)?,
    })
}

fn put_recover_answer(answer: &RecoverAnswer, bytes: &mut Vec<u8>) {
    let RecoverAnswer {
        nonce,
        window,
        certificates,
        signature,
    } = answer;
    bytes.extend_from_slice(nonce);
    bytes.extend_from_slice(&window.number().to_le_bytes());
    put_certificates(certificates, bytes);
    bytes.extend_from_slice(signature);
}

fn read_recover_answer(reader: &mut Reader<'_>) -> Result<RecoverAnswer, DecodeError> {
    Ok(RecoverAnswer {
        nonce: reader.array("nonce")?,
        window: reader.window()?,
        certificates: reader.list(
            "certificates",
            RECOVER_CERTIFICATES_MAX,
            CERTIFICATE_BYTES_MIN,
            certificate::read,
        )?,
        signature: read_signature(reader)?,
    })
}

fn put_signature(signature: &SignatureBytes, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(signature);
}

fn read_signature(reader: &mut Reader<'_>) -> Result<SignatureBytes, DecodeError> {
    reader.array("signature")
}

fn put_payload<'m>(payload: &'m Arc<[u8]>, bytes: &mut Vec<u8>, put_body: &mut PutBody<'_, 'm>) {
    put_count(payload.len(), bytes);
    put_body(bytes, payload);
}

fn read_payload(
    reader: &mut Reader<'_>,
    what: &'static str,
    max: usize,
) -> Result<Arc<[u8]>, DecodeError> {
    let length = reader.count(what, max, 1)?;
    reader.take(what, length).map(Arc::from)
}
