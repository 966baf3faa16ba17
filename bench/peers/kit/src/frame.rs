//! The frames between the load and a node.
//!
//! Owns their bytes: a length of four bytes, a kind of one, a body; all numbers little-endian, the
//! length counts kind and body. Never: touches a socket.

/// Longest frame, without its length.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a length.
pub const LENGTH_BYTES: usize = 4;
/// Bytes of a command's number.
const ID_BYTES: usize = 8;

const SUBMIT: u8 = 1;
const FINAL: u8 = 3;
const LEADER: u8 = 4;
const REFUSED: u8 = 5;

/// What the load tells a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submit<'a> {
    /// The command's number, unique in a run of the load, and growing.
    pub id: u64,
    /// The command.
    pub body: &'a [u8],
}

/// Why bytes are no frame of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Longer than [`FRAME_BYTES_MAX`], or too short for its kind.
    Length(usize),
    /// Of a kind that the load does not send.
    Kind(u8),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length(bytes) => write!(f, "a frame of {bytes} bytes"),
            Self::Kind(kind) => write!(f, "a frame of kind {kind}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// The first frame in `bytes` and how many of them it takes; none when more must come.
///
/// # Errors
/// [`FrameError`]: no frame of the load begins there.
pub fn decode(bytes: &[u8]) -> Result<Option<(Submit<'_>, usize)>, FrameError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if !(1 + ID_BYTES..=FRAME_BYTES_MAX).contains(&length) {
        return Err(FrameError::Length(length));
    }
    let Some(frame) = rest.get(..length) else {
        return Ok(None);
    };
    let (kind, body) = (frame[0], &frame[1..]);
    if kind != SUBMIT {
        return Err(FrameError::Kind(kind));
    }
    let Some((id, body)) = body.split_first_chunk::<ID_BYTES>() else {
        return Err(FrameError::Length(length));
    };
    let id = u64::from_le_bytes(*id);
    Ok(Some((Submit { id, body }, LENGTH_BYTES + length)))
}

fn encode(kind: u8, body: impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    out.push(kind);
    out.extend(body);
    let length = u32::try_from(out.len() - start - LENGTH_BYTES).unwrap_or(u32::MAX);
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
}

fn encode_ids(kind: u8, ids: &[u64], out: &mut Vec<u8>) {
    let most = (FRAME_BYTES_MAX - 1) / ID_BYTES;
    for part in ids.chunks(most) {
        encode(kind, part.iter().flat_map(|id| id.to_le_bytes()), out);
    }
}

/// These commands are final at this node.
pub fn encode_final(ids: &[u64], out: &mut Vec<u8>) {
    encode_ids(FINAL, ids, out);
}

/// This node does not take these commands: they go to the leader.
pub fn encode_refused(ids: &[u64], out: &mut Vec<u8>) {
    encode_ids(REFUSED, ids, out);
}

/// That node leads.
pub fn encode_leader(index: u16, out: &mut Vec<u8>) {
    encode(LEADER, index.to_le_bytes().into_iter(), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(kind, body.iter().copied(), &mut out);
        out
    }

    #[test]
    fn a_command_is_decoded_when_it_is_whole() {
        let frame = bytes(SUBMIT, &[7, 0, 0, 0, 0, 0, 0, 0, 9, 9]);
        for cut in 0..frame.len() {
            assert_eq!(decode(&frame[..cut]), Ok(None));
        }
        let submit = Submit {
            id: 7,
            body: &[9, 9],
        };
        assert_eq!(decode(&frame), Ok(Some((submit, frame.len()))));
        let empty = bytes(SUBMIT, &[1; 8]);
        let (submit, _) = decode(&empty).expect("a frame").expect("a whole one");
        assert!(submit.body.is_empty());
    }

    #[test]
    fn what_is_no_frame_of_the_load_is_refused() {
        for kind in [0, 2, FINAL] {
            assert_eq!(decode(&bytes(kind, &[0; 8])), Err(FrameError::Kind(kind)));
        }
        assert_eq!(decode(&bytes(SUBMIT, &[0; 7])), Err(FrameError::Length(8)));
        let long = u32::MAX.to_le_bytes();
        assert_eq!(decode(&long), Err(FrameError::Length(u32::MAX as usize)));
    }

    #[test]
    fn answers_have_the_documented_bytes() {
        let mut out = Vec::new();
        encode_final(&[1, 2], &mut out);
        encode_leader(3, &mut out);
        encode_refused(&[4], &mut out);
        let mut wanted = vec![17, 0, 0, 0, FINAL];
        wanted.extend(1_u64.to_le_bytes());
        wanted.extend(2_u64.to_le_bytes());
        wanted.extend([3, 0, 0, 0, LEADER, 3, 0, 9, 0, 0, 0, REFUSED]);
        wanted.extend(4_u64.to_le_bytes());
        assert_eq!(out, wanted);
    }
}
