//! The cipher of one finished handshake.
//!
//! Owns: sealing and opening Noise messages, and rekeying. Never: sockets, or frames.
//!
//! The nonce is the message counter of its direction, so a message that is altered, replayed, left
//! out or reordered does not open, and the connection ends.

use crate::buffer::Buffer;
use crate::error::CloseReason;
use crate::limits::{MESSAGE_PREFIX_BYTES, PLAIN_BYTES_MAX, REKEY_MESSAGES, TAG_BYTES};

/// Both directions of an established channel.
#[derive(Debug)]
pub(crate) struct Session {
    transport: Box<snow::TransportState>,
    /// Messages under one key. The same on both sides.
    rekey_messages: u64,
}

impl Session {
    pub(crate) fn new(transport: snow::TransportState) -> Self {
        Self {
            transport: Box::new(transport),
            rekey_messages: REKEY_MESSAGES,
        }
    }

    /// Appends the message for `plain`, with its length prefix, to `out`.
    ///
    /// # Errors
    /// [`CloseReason::Decrypt`] when the message counter is used up.
    pub(crate) fn seal(&mut self, plain: &[u8], out: &mut Buffer) -> Result<(), CloseReason> {
        assert!(
            (1..=PLAIN_BYTES_MAX).contains(&plain.len()),
            "a Noise message has its bounds"
        );
        let bytes = plain.len() + TAG_BYTES;
        let room = out.room(MESSAGE_PREFIX_BYTES + bytes);
        let prefix = u16::try_from(bytes).map_err(|_| CloseReason::MessageLength)?;
        room[..MESSAGE_PREFIX_BYTES].copy_from_slice(&prefix.to_le_bytes());
        let room = &mut room[MESSAGE_PREFIX_BYTES..][..bytes];
        self.transport
            .write_message(plain, room)
            .map_err(|_| CloseReason::Decrypt)?;
        out.filled(MESSAGE_PREFIX_BYTES + bytes);
        if self
            .transport
            .sending_nonce()
            .is_multiple_of(self.rekey_messages)
        {
            self.transport.rekey_outgoing();
        }
        Ok(())
    }

    /// Opens `message` (without its length prefix) and appends its plaintext to `out`. Returns the
    /// length of the plaintext.
    ///
    /// # Errors
    /// [`CloseReason::MessageLength`], [`CloseReason::Decrypt`].
    pub(crate) fn open(&mut self, message: &[u8], out: &mut Buffer) -> Result<usize, CloseReason> {
        if message.len() <= TAG_BYTES {
            return Err(CloseReason::MessageLength);
        }
        // Room for the tag too: with less, the cipher would allocate a buffer for every message.
        let room = out.room(message.len());
        let bytes = self
            .transport
            .read_message(message, room)
            .map_err(|_| CloseReason::Decrypt)?;
        out.filled(bytes);
        if self
            .transport
            .receiving_nonce()
            .is_multiple_of(self.rekey_messages)
        {
            self.transport.rekey_incoming();
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both sides of a handshake that is done.
    fn states() -> (snow::HandshakeState, snow::HandshakeState) {
        let params: snow::params::NoiseParams = "Noise_NN_25519_AESGCM_SHA256".parse().unwrap();
        let mut a = snow::Builder::new(params.clone())
            .build_initiator()
            .unwrap();
        let mut b = snow::Builder::new(params).build_responder().unwrap();
        let (mut wire, mut none) = ([0; 100], [0; 100]);
        let bytes = a.write_message(&[], &mut wire).unwrap();
        b.read_message(&wire[..bytes], &mut none).unwrap();
        let bytes = b.write_message(&[], &mut wire).unwrap();
        a.read_message(&wire[..bytes], &mut none).unwrap();
        (a, b)
    }

    fn pair(rekey_messages: u64) -> (Session, Session) {
        let (a, b) = states();
        [a, b]
            .map(|state| Session {
                rekey_messages,
                ..Session::new(state.into_transport_mode().unwrap())
            })
            .into()
    }

    fn send(from: &mut Session, to: &mut Session, plain: &[u8]) -> Result<Vec<u8>, CloseReason> {
        let (mut wire, mut out) = (Buffer::new(), Buffer::new());
        from.seal(plain, &mut wire).unwrap();
        to.open(&wire.bytes()[MESSAGE_PREFIX_BYTES..], &mut out)?;
        Ok(out.bytes().to_vec())
    }

    #[test]
    fn messages_pass_both_ways_across_many_rekeys() {
        let (mut a, mut b) = pair(3);
        for number in 0..20_u8 {
            assert_eq!(send(&mut a, &mut b, &[number; 40]), Ok(vec![number; 40]));
            assert_eq!(send(&mut b, &mut a, &[number]), Ok(vec![number]));
        }
    }

    #[test]
    fn a_side_that_does_not_rekey_is_not_understood() {
        let (mut a, mut b) = pair(3);
        b.rekey_messages = u64::MAX;
        for _ in 0..3 {
            send(&mut a, &mut b, &[1]).unwrap();
        }
        assert_eq!(send(&mut a, &mut b, &[1]), Err(CloseReason::Decrypt));
    }

    /// Against a remote that counts by itself, since two of ours would never notice.
    #[test]
    fn the_key_changes_after_as_many_messages_as_docs_wire_says() {
        let (a, b) = states();
        let mut remote = a.into_stateless_transport_mode().unwrap();
        let mut session = Session::new(b.into_transport_mode().unwrap());
        let last = (1 << 20) - 1;
        session.transport.set_receiving_nonce(last);
        let mut message = [0; 1 + TAG_BYTES];
        let mut out = Buffer::new();
        remote.write_message(last, &[1], &mut message).unwrap();
        session.open(&message, &mut out).unwrap();
        // The same key once more is not understood, and the next one is.
        remote.write_message(last + 1, &[2], &mut message).unwrap();
        let end = session.open(&message, &mut out);
        assert_eq!(end, Err(CloseReason::Decrypt));
        remote.rekey_outgoing();
        remote.write_message(last + 1, &[3], &mut message).unwrap();
        session.open(&message, &mut out).unwrap();
        assert_eq!(out.bytes(), [1, 3]);
    }

    #[test]
    fn a_replayed_a_missing_and_an_altered_message_do_not_open() {
        let (mut a, mut b) = pair(1000);
        let mut wire = [Buffer::new(), Buffer::new(), Buffer::new()];
        for (number, wire) in wire.iter_mut().enumerate() {
            a.seal(&[u8::try_from(number).unwrap(); 5], wire).unwrap();
        }
        let messages = wire
            .each_ref()
            .map(|wire| &wire.bytes()[MESSAGE_PREFIX_BYTES..]);
        let mut out = Buffer::new();
        b.open(messages[0], &mut out).unwrap();
        assert_eq!(b.open(messages[0], &mut out), Err(CloseReason::Decrypt));
        assert_eq!(b.open(messages[2], &mut out), Err(CloseReason::Decrypt));
        for bit in 0..messages[1].len() * 8 {
            let mut altered = messages[1].to_vec();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                b.open(&altered, &mut out),
                Err(CloseReason::Decrypt),
                "bit {bit}"
            );
        }
        for length in 0..messages[1].len() {
            assert!(
                b.open(&messages[1][..length], &mut out).is_err(),
                "length {length}"
            );
        }
        assert_eq!(
            out.bytes(),
            [0; 5],
            "what does not open leaves no bytes behind"
        );
        b.open(messages[1], &mut out).unwrap();
    }

    #[test]
    fn the_longest_message_passes() {
        let (mut a, mut b) = pair(1000);
        let plain = vec![9; PLAIN_BYTES_MAX];
        assert_eq!(send(&mut a, &mut b, &plain), Ok(plain));
    }
}
