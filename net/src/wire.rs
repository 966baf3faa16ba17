//! The bytes of a connection as values, without a socket.
//!
//! For tools that read or make such bytes: captures, other clients, and the program that feeds
//! every decoder with damaged input. Owns no logic: each function is the one that the loop runs.
//! Never: says who is there; that takes an [`crate::Authenticator`].

use crate::buffer::Buffer;
use crate::error::CloseReason;
use crate::frame;
use crate::inbound::Inbound;
use crate::limits::MESSAGE_PREFIX_BYTES;
use crate::noise;
use crate::session::Session;

pub use crate::hello::{Hello, Login};

/// Appends a frame of `bytes`, which may be at most `u32::MAX` long, to a stream of plain text.
///
/// # Panics
/// If there are more.
pub fn put_frame(bytes: &[u8], stream: &mut Vec<u8>) {
    stream.extend_from_slice(&frame::prefix(bytes.len()));
    stream.extend_from_slice(bytes);
}

/// The frames in a stream of plain text that may end anywhere: each is handed to `each`. Returns
/// how many bytes are left of a frame that is not whole.
///
/// # Errors
/// [`CloseReason::FrameLength`] at the first prefix that announces more than `frame_bytes_max`.
pub fn frames(
    stream: &[u8],
    frame_bytes_max: usize,
    mut each: impl FnMut(&[u8]),
) -> Result<usize, CloseReason> {
    let mut inbound = Inbound::new();
    inbound.push_plain(stream);
    while let Some(frame) = inbound.next_frame(frame_bytes_max)? {
        each(frame);
        let bytes = frame.len();
        inbound.take_frame(bytes);
    }
    Ok(inbound.plain().len())
}

/// A handshake that was begun and waits for the answer.
pub struct Dialing(Box<noise::Begun>);

/// An encrypted channel; who is at its other end has not been shown.
pub struct Channel(Session);

impl std::fmt::Debug for Dialing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialing").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

/// Begins a handshake; gives its first message.
///
/// # Errors
/// [`CloseReason::Handshake`] if the cipher suite cannot be set up.
pub fn dial(prologue: &[u8]) -> Result<(Dialing, Vec<u8>), CloseReason> {
    let mut out = Buffer::new();
    let state = noise::dial(prologue, &mut out)?;
    Ok((Dialing(state), without_prefix(&out)))
}

/// Answers the first message of a handshake; gives the second.
///
/// # Errors
/// [`CloseReason::Handshake`] unless `message` is one.
pub fn answer(prologue: &[u8], message: &[u8]) -> Result<(Channel, Vec<u8>), CloseReason> {
    let mut out = Buffer::new();
    let (session, _hash) = noise::answer(prologue, message, &mut out)?;
    Ok((Channel(session), without_prefix(&out)))
}

impl Dialing {
    /// Takes the second message.
    ///
    /// # Errors
    /// [`CloseReason::Handshake`] unless `message` is the answer to the first.
    pub fn complete(self, message: &[u8]) -> Result<Channel, CloseReason> {
        noise::complete(*self.0, message).map(|(session, _hash)| Channel(session))
    }
}

impl Channel {
    /// The message that carries `plain`, of one byte up to what a Noise message takes.
    ///
    /// # Errors
    /// [`CloseReason::Decrypt`] when the messages of the channel are used up.
    ///
    /// # Panics
    /// If `plain` is empty or too long.
    pub fn seal(&mut self, plain: &[u8]) -> Result<Vec<u8>, CloseReason> {
        let mut out = Buffer::new();
        self.0.seal(plain, &mut out)?;
        Ok(without_prefix(&out))
    }

    /// The plain text of the next message. A message that does not open changes nothing.
    ///
    /// # Errors
    /// [`CloseReason::MessageLength`], [`CloseReason::Decrypt`].
    pub fn open(&mut self, message: &[u8]) -> Result<Vec<u8>, CloseReason> {
        let mut inbound = Inbound::new();
        inbound.push_message(&mut self.0, message)?;
        Ok(inbound.plain().to_vec())
    }
}

/// The one message in `out`, where the prefix of its length stands in front.
fn without_prefix(out: &Buffer) -> Vec<u8> {
    out.bytes()
        .get(MESSAGE_PREFIX_BYTES..)
        .unwrap_or_default()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_carries_frames_from_one_side_to_the_other() {
        let (dialing, first) = dial(b"prologue").unwrap();
        let (mut theirs, second) = answer(b"prologue", &first).unwrap();
        let mut ours = dialing.complete(&second).unwrap();
        let mut stream = Vec::new();
        put_frame(b"one", &mut stream);
        put_frame(b"two", &mut stream);
        let plain = theirs.open(&ours.seal(&stream).unwrap()).unwrap();
        let mut got = Vec::new();
        let left = frames(&plain[..plain.len() - 1], 64, |frame| {
            got.push(frame.to_vec())
        });
        assert_eq!((left, got), (Ok(6), vec![b"one".to_vec()]));
        assert_eq!(frames(&plain, 2, |_| ()), Err(CloseReason::FrameLength));
    }

    #[test]
    fn another_prologue_is_another_conversation() {
        let (dialing, first) = dial(b"one").unwrap();
        let (_theirs, second) = answer(b"two", &first).unwrap();
        assert!(dialing.complete(&second).is_err());
    }
}
