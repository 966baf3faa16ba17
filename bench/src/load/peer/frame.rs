//! The frames between the load and a node of another system, at the side of the load.
//!
//! Owns their bytes, as `bench/peers/README.md` has them: a length of four bytes, a kind of one, a
//! body; all numbers little-endian, the length counts kind and body. Never: touches a socket.

/// Longest frame, without its length.
const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a length.
const LENGTH_BYTES: usize = 4;
/// Bytes of a command's number.
const ID_BYTES: usize = 8;

const SUBMIT: u8 = 1;
const FINAL: u8 = 3;
const LEADER: u8 = 4;
const REFUSED: u8 = 5;

/// Why bytes are no frame of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than allowed, or of no length that its kind has.
    #[error("a frame of {bytes} bytes, which none of its kind has")]
    Length {
        /// What its length says.
        bytes: usize,
    },
    /// Of a kind that nodes do not send.
    #[error("a frame of the unknown kind {kind}")]
    Kind {
        /// Which.
        kind: u8,
    },
}

/// Numbers of commands in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ids<'a>(&'a [[u8; ID_BYTES]]);

impl Iterator for Ids<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*first))
    }
}

/// What a node tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told<'a> {
    /// These commands are final there.
    Final(Ids<'a>),
    /// That node leads.
    Leader(u16),
    /// These commands were not taken: they go to the leader.
    Refused(Ids<'a>),
}

/// The first frame in `bytes` and how many of them it takes; none when more must come.
///
/// # Errors
/// [`FrameError`]: no frame of a node begins there.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Told<'_>, usize)>, FrameError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    let wrong = FrameError::Length { bytes: length };
    if length == 0 || length > FRAME_BYTES_MAX {
        return Err(wrong);
    }
    let Some((kind, body)) = rest.get(..length).and_then(<[u8]>::split_first) else {
        return Ok(None);
    };
    let ids = || match body.as_chunks::<ID_BYTES>() {
        (ids, []) => Ok(Ids(ids)),
        _ => Err(wrong),
    };
    let told = match *kind {
        FINAL => Told::Final(ids()?),
        REFUSED => Told::Refused(ids()?),
        LEADER => match body.try_into() {
            Ok(index) => Told::Leader(u16::from_le_bytes(index)),
            Err(_) => return Err(wrong),
        },
        kind => return Err(FrameError::Kind { kind }),
    };
    Ok(Some((told, LENGTH_BYTES + length)))
}

/// A command for a node, which tells when it is final.
pub(super) fn encode_submit(id: u64, body: &[u8], out: &mut Vec<u8>) {
    let length = 1 + ID_BYTES + body.len();
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.push(SUBMIT);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = (body.len() as u32 + 1).to_le_bytes().to_vec();
        bytes.push(kind);
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn what_nodes_tell_is_decoded_when_it_is_whole() {
        let mut bytes = frame(FINAL, &[7, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]);
        let first = bytes.len();
        for cut in 0..first {
            assert_eq!(decode(&bytes[..cut]), Ok(None));
        }
        bytes.extend(frame(LEADER, &[2, 0]));
        let (told, length) = decode(&bytes).unwrap().unwrap();
        let Told::Final(ids) = told else {
            panic!("{told:?}")
        };
        assert_eq!((ids.collect(), length), (vec![7, 257], first));
        let (told, _) = decode(&bytes[first..]).unwrap().unwrap();
        assert_eq!(told, Told::Leader(2));
        let refused = frame(REFUSED, &[9, 0, 0, 0, 0, 0, 0, 0]);
        let Ok(Some((Told::Refused(mut ids), _))) = decode(&refused) else {
            panic!("not refused")
        };
        assert_eq!((ids.next(), ids.next()), (Some(9), None));
    }

    #[test]
    fn what_is_no_frame_of_a_node_is_refused() {
        let length = |bytes| Err(FrameError::Length { bytes });
        assert_eq!(decode(&frame(FINAL, &[0; 9])), length(10));
        assert_eq!(decode(&frame(LEADER, &[0; 3])), length(4));
        assert_eq!(decode(&[0; 4]), length(0));
        assert_eq!(decode(&u32::MAX.to_le_bytes()), length(u32::MAX as usize));
        let kind = Err(FrameError::Kind { kind: SUBMIT });
        assert_eq!(decode(&frame(SUBMIT, &[0; 8])), kind);
    }

    #[test]
    fn a_command_has_the_documented_bytes() {
        let mut bytes = Vec::new();
        encode_submit(3, &[8], &mut bytes);
        encode_submit(4, &[], &mut bytes);
        let first = [10, 0, 0, 0, SUBMIT, 3, 0, 0, 0, 0, 0, 0, 0, 8];
        let second = [9, 0, 0, 0, SUBMIT, 4, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(bytes, [&first[..], &second[..]].concat());
    }
}
