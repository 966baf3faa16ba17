//! The bytes of a proof, one encoding a value. docs/proof-format.md has the table.
//!
//! Owns bounds and layout. Never: whether what was decoded is true. A decoder holds every count
//! against its bound and against the bytes that are there before it allocates.

use quorate_consensus::header::Header;
use quorate_consensus::limits::{
    BLOCK_COMMANDS_MAX, FRAME_BYTES_MAX, HEADER_BYTES, PAYLOAD_BYTES_MAX,
};
use quorate_consensus::types::BlockId;
use quorate_consensus::wire::{self, DecodeError};

use crate::outputs::{HASHES_PER_CHUNK, ListPath, NO_COMMAND, put_head};
use crate::{BlockProof, CommandProof, OutputItem, OutputProof, Proof};

/// Version of the format.
pub const PROOF_VERSION: u16 = 1;
/// Headers between the certified block and the one in question. A validator logs a proof of
/// finality every few milliseconds, so that they are few.
pub const PROOF_HEADERS_MAX: usize = 65_536;
/// Longest proof, bytes.
pub const PROOF_BYTES_MAX: usize =
    64 + FRAME_BYTES_MAX + PROOF_HEADERS_MAX * HEADER_BYTES + PAYLOAD_BYTES_MAX;

/// Longest output that is proven, bytes.
pub const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// Siblings from a block to the root of all outputs: heights have 64 bits.
const HISTORY_MAX: usize = 64;
/// Siblings from 32 hashes of a block to the hash of its list: numbers have 32 bits.
const LIST_MAX: usize = 32;

/// The first bytes of every proof.
pub const PROOF_MAGIC: &[u8; 6] = b"QPROOF";
const KIND_BLOCK: u8 = 1;
const KIND_STATE: u8 = 2;
const KIND_OUTPUT: u8 = 3;

const ITEM_OUTPUT: u8 = 1;
const ITEM_OUTCOMES: u8 = 2;

/// Why bytes are no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not a proof at all.
    #[error("not a proof: other first bytes")]
    Magic,
    /// Another version.
    #[error("version {0} of the format, this build reads {PROOF_VERSION}")]
    Version(u16),
    /// A kind that this version does not have.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// An item that this version does not have.
    #[error("unknown item {0}")]
    Item(u8),
    /// It ends before its content does.
    #[error("the proof ends too early")]
    Truncated,
    /// Something stands after its content.
    #[error("{0} bytes stand after the proof")]
    Trailing(usize),
    /// More than is allowed.
    #[error("{0} is above its bound")]
    Bound(&'static str),
    /// A byte that says whether something follows is neither 0 nor 1.
    #[error("a presence byte is {0}")]
    Presence(u8),
    /// A part is not what it should be.
    #[error("{part}: {source}")]
    Part {
        /// Which one.
        part: &'static str,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
}

/// The bytes of a proof.
#[must_use]
pub fn encode(proof: &Proof) -> Vec<u8> {
    let mut bytes = PROOF_MAGIC.to_vec();
    bytes.extend_from_slice(&PROOF_VERSION.to_le_bytes());
    match proof {
        Proof::Block(proof) => {
            bytes.push(KIND_BLOCK);
            encode_block(proof, &mut bytes);
        }
        Proof::State(certificate) => {
            bytes.push(KIND_STATE);
            wire::encode_state_certificate(certificate, &mut bytes);
        }
        Proof::Output(proof) => {
            bytes.push(KIND_OUTPUT);
            encode_output(proof, &mut bytes);
        }
    }
    bytes
}

fn encode_output(proof: &OutputProof, bytes: &mut Vec<u8>) {
    let mut certificate = Vec::new();
    wire::encode_state_certificate(&proof.certificate, &mut certificate);
    put_count(certificate.len(), bytes);
    bytes.extend_from_slice(&certificate);
    bytes.extend_from_slice(&proof.height.to_le_bytes());
    bytes.extend_from_slice(proof.id.as_bytes());
    bytes.extend_from_slice(&proof.root);
    put_hashes(&proof.history, bytes);
    bytes.extend_from_slice(&proof.list.count.to_le_bytes());
    put_hashes(&proof.list.neighbours, bytes);
    put_hashes(&proof.list.path, bytes);
    match &proof.item {
        OutputItem::Output {
            number,
            command,
            session,
            bytes: output,
        } => {
            bytes.push(ITEM_OUTPUT);
            put_head(*number, *command, session.as_ref(), bytes);
            bytes.extend_from_slice(output);
        }
        OutputItem::Outcomes(outcomes) => {
            bytes.push(ITEM_OUTCOMES);
            bytes.extend_from_slice(outcomes);
        }
    }
}

/// No bound reaches 256; a longer list would be refused by every reader.
fn put_hashes(hashes: &[[u8; 32]], bytes: &mut Vec<u8>) {
    bytes.push(u8::try_from(hashes.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(hashes.as_flattened());
}

fn encode_block(proof: &BlockProof, bytes: &mut Vec<u8>) {
    let mut certificate = Vec::new();
    wire::encode_certificate(&proof.certificate, &mut certificate);
    put_count(certificate.len(), bytes);
    bytes.extend_from_slice(&certificate);
    put_count(proof.headers.len(), bytes);
    for header in &proof.headers {
        wire::encode_header(header, bytes);
    }
    bytes.push(u8::from(proof.command.is_some()));
    if let Some(command) = &proof.command {
        bytes.extend_from_slice(&command.index.to_le_bytes());
        bytes.extend_from_slice(&command.payload);
    }
}

/// No bound reaches 2^32; a longer list would be refused by every reader.
fn put_count(count: usize, bytes: &mut Vec<u8>) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&count.to_le_bytes());
}

/// Reads a proof that takes all the bytes.
///
/// # Errors
/// [`FormatError`]: they are none.
pub fn decode(bytes: &[u8]) -> Result<Proof, FormatError> {
    if bytes.len() > PROOF_BYTES_MAX {
        return Err(FormatError::Bound("the proof"));
    }
    let mut rest = bytes.strip_prefix(PROOF_MAGIC).ok_or(FormatError::Magic)?;
    let version = u16::from_le_bytes(array(&mut rest)?);
    if version != PROOF_VERSION {
        return Err(FormatError::Version(version));
    }
    let [kind] = array(&mut rest)?;
    match kind {
        KIND_BLOCK => decode_block(rest).map(Proof::Block),
        KIND_STATE => wire::decode_state_certificate(rest)
            .map(Proof::State)
            .map_err(part("the state certificate")),
        KIND_OUTPUT => decode_output(rest).map(Proof::Output),
        other => Err(FormatError::Kind(other)),
    }
}

fn decode_block(mut rest: &[u8]) -> Result<BlockProof, FormatError> {
    let count = count(&mut rest)?;
    if count > FRAME_BYTES_MAX {
        return Err(FormatError::Bound("the certificate"));
    }
    let certificate =
        wire::decode_certificate(run(&mut rest, count)?).map_err(part("the certificate"))?;
    let headers = decode_headers(&mut rest)?;
    let [presence] = array(&mut rest)?;
    let command = match presence {
        0 if rest.is_empty() => None,
        0 => return Err(FormatError::Trailing(rest.len())),
        1 => Some(decode_command(rest)?),
        other => return Err(FormatError::Presence(other)),
    };
    Ok(BlockProof {
        certificate,
        headers,
        command,
    })
}

fn decode_output(mut rest: &[u8]) -> Result<OutputProof, FormatError> {
    let count = count(&mut rest)?;
    if count > FRAME_BYTES_MAX {
        return Err(FormatError::Bound("the state certificate"));
    }
    let certificate = wire::decode_state_certificate(run(&mut rest, count)?)
        .map_err(part("the state certificate"))?;
    let height = u64::from_le_bytes(array(&mut rest)?);
    let id = BlockId::new(array(&mut rest)?);
    let root = array(&mut rest)?;
    let history = hashes(&mut rest, HISTORY_MAX, "the way from the block")?;
    let list = ListPath {
        count: u32::from_le_bytes(array(&mut rest)?),
        neighbours: hashes(&mut rest, HASHES_PER_CHUNK - 1, "the number of neighbours")?,
        path: hashes(&mut rest, LIST_MAX, "the way to the block")?,
    };
    Ok(OutputProof {
        certificate,
        height,
        id,
        root,
        history,
        list,
        item: decode_item(rest)?,
    })
}

fn decode_item(mut rest: &[u8]) -> Result<OutputItem, FormatError> {
    match array(&mut rest)? {
        [ITEM_OUTPUT] => {
            let number = u32::from_le_bytes(array(&mut rest)?);
            let command = u32::from_le_bytes(array(&mut rest)?);
            let session = match array(&mut rest)? {
                [0] => None,
                [1] => Some(array(&mut rest)?),
                [other] => return Err(FormatError::Presence(other)),
            };
            if rest.len() > OUTPUT_BYTES_MAX {
                return Err(FormatError::Bound("the output"));
            }
            Ok(OutputItem::Output {
                number,
                command: (command != NO_COMMAND).then_some(command),
                session,
                bytes: rest.to_vec(),
            })
        }
        [ITEM_OUTCOMES] if rest.len() > BLOCK_COMMANDS_MAX => {
            Err(FormatError::Bound("the number of outcomes"))
        }
        [ITEM_OUTCOMES] => Ok(OutputItem::Outcomes(rest.to_vec())),
        [other] => Err(FormatError::Item(other)),
    }
}

fn hashes(rest: &mut &[u8], max: usize, what: &'static str) -> Result<Vec<[u8; 32]>, FormatError> {
    let [count] = array(rest)?;
    if usize::from(count) > max {
        return Err(FormatError::Bound(what));
    }
    let (hashes, _) = run(rest, usize::from(count) * 32)?.as_chunks();
    Ok(hashes.to_vec())
}

fn decode_headers(rest: &mut &[u8]) -> Result<Vec<Header>, FormatError> {
    let count = count(rest)?;
    if count > PROOF_HEADERS_MAX {
        return Err(FormatError::Bound("the number of headers"));
    }
    let headers = run(rest, count * HEADER_BYTES)?;
    let headers = headers.chunks_exact(HEADER_BYTES).map(wire::decode_header);
    headers.collect::<Result<_, _>>().map_err(part("a header"))
}

fn decode_command(mut rest: &[u8]) -> Result<CommandProof, FormatError> {
    let index = u32::from_le_bytes(array(&mut rest)?);
    if rest.len() > PAYLOAD_BYTES_MAX {
        return Err(FormatError::Bound("the payload"));
    }
    let payload = rest.to_vec();
    Ok(CommandProof { index, payload })
}

fn part(part: &'static str) -> impl FnOnce(DecodeError) -> FormatError {
    move |source| FormatError::Part { part, source }
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], FormatError> {
    let (head, tail) = rest.split_first_chunk().ok_or(FormatError::Truncated)?;
    *rest = tail;
    Ok(*head)
}

fn count(rest: &mut &[u8]) -> Result<usize, FormatError> {
    Ok(u32::from_le_bytes(array(rest)?) as usize)
}

fn run<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], FormatError> {
    let (head, tail) = rest.split_at_checked(count).ok_or(FormatError::Truncated)?;
    *rest = tail;
    Ok(head)
}
