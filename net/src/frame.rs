//! Application frames inside the plaintext stream: a little-endian `u32` length, then the bytes.
//!
//! Owns: finding whole frames in a stream that is cut anywhere, and refusing a length before its
//! bytes are waited for. Never: storage sized by a length that a remote sent.
//!
//! A length of zero is a keep-alive: it is skipped and carries nothing.

use crate::error::CloseReason;
use crate::limits::FRAME_PREFIX_BYTES;

/// An empty frame: proof that the sender lives.
pub(crate) const KEEPALIVE: [u8; FRAME_PREFIX_BYTES] = [0; FRAME_PREFIX_BYTES];

/// The prefix of a frame of `bytes`, which the caller has checked against `frame_bytes_max`.
pub(crate) fn prefix(bytes: usize) -> [u8; FRAME_PREFIX_BYTES] {
    u32::try_from(bytes)
        .expect("frame_bytes_max is checked to fit u32")
        .to_le_bytes()
}

/// Length of the whole frame, prefix excluded, that stands first in `stream`, once its prefix is
/// there.
pub(crate) fn announced(stream: &[u8]) -> Option<usize> {
    let prefix = stream.first_chunk::<FRAME_PREFIX_BYTES>()?;
    // A length that does not fit usize is over any limit.
    Some(usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX))
}

/// Bytes of the keep-alives that stand first in `stream`.
pub(crate) fn keepalives_bytes(stream: &[u8]) -> usize {
    let mut bytes = 0;
    while announced(&stream[bytes..]) == Some(0) {
        bytes += FRAME_PREFIX_BYTES;
    }
    bytes
}

/// Length of the frame that stands first in `stream`, prefix excluded, if all of it is there.
///
/// # Errors
/// [`CloseReason::FrameLength`] as soon as a prefix announces more than `frame_bytes_max`.
pub(crate) fn whole(stream: &[u8], frame_bytes_max: usize) -> Result<Option<usize>, CloseReason> {
    match announced(stream) {
        Some(bytes) if bytes > frame_bytes_max => Err(CloseReason::FrameLength),
        Some(bytes) => Ok((stream.len() - FRAME_PREFIX_BYTES >= bytes).then_some(bytes)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn encode(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut stream = Vec::new();
        for frame in frames {
            stream.extend_from_slice(&prefix(frame.len()));
            stream.extend_from_slice(frame);
        }
        stream
    }

    /// Takes whole frames off the front of `stream`, and what is in front of them.
    fn take_all(stream: &mut Vec<u8>, frames: &mut Vec<Vec<u8>>) -> Result<(), CloseReason> {
        loop {
            stream.drain(..keepalives_bytes(stream));
            let Some(bytes) = whole(stream, 400)? else {
                return Ok(());
            };
            frames.push(stream[FRAME_PREFIX_BYTES..][..bytes].to_vec());
            stream.drain(..FRAME_PREFIX_BYTES + bytes);
        }
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_wherever_the_stream_is_cut(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..20),
            piece in 1_usize..700,
        ) {
            let mut stream = Vec::new();
            let mut got = Vec::new();
            for piece in encode(&frames).chunks(piece) {
                stream.extend_from_slice(piece);
                take_all(&mut stream, &mut got).unwrap();
            }
            let sent: Vec<_> = frames.into_iter().filter(|frame| !frame.is_empty()).collect();
            prop_assert_eq!(got, sent);
            prop_assert!(stream.is_empty());
        }

        #[test]
        fn any_bytes_are_frames_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut stream = bytes;
            let mut got = Vec::new();
            let end = take_all(&mut stream, &mut got);
            prop_assert!(got.iter().all(|frame| !frame.is_empty() && frame.len() <= 400));
            prop_assert!(end.is_ok() || end == Err(CloseReason::FrameLength));
        }
    }

    #[test]
    fn too_long_a_frame_is_refused_at_its_prefix() {
        let prefix = prefix(401);
        assert_eq!(whole(&prefix[..3], 400), Ok(None));
        assert_eq!(whole(&prefix, 400), Err(CloseReason::FrameLength));
        assert_eq!(whole(&prefix, 401), Ok(None));
    }
}
