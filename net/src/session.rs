//! The cipher of one finished handshake.
//!
//! Owns: sealing and opening Noise messages, and their bounds. Never: sockets, or frames.
//!
//! The nonce is the message counter of its direction, so a message that is altered, replayed, left
//! out or reordered does not open, and the connection ends.

use crate::buffer::Buffer;
use crate::cipher::{Algorithm, Cipher};
use crate::error::CloseReason;
use crate::limits::{MESSAGE_PREFIX_BYTES, PLAIN_BYTES_MAX, REKEY_MESSAGES, TAG_BYTES};

/// Both directions of an established channel.
#[derive(Debug)]
pub(crate) struct Session {
    outward: Box<Cipher>,
    inward: Box<Cipher>,
}

impl Session {
    /// The channel of a handshake that is done and ends with `algorithm`.
    ///
    /// # Errors
    /// [`CloseReason::Handshake`] when it is not done.
    pub(crate) fn new(
        mut noise: snow::HandshakeState,
        algorithm: Algorithm,
    ) -> Result<Self, CloseReason> {
        if !noise.is_handshake_finished() {
            return Err(CloseReason::Handshake);
        }
        let (of_dialer, of_answerer) = noise.dangerously_get_raw_split();
        let (outward, inward) = match noise.is_initiator() {
            true => (&of_dialer, &of_answerer),
            false => (&of_answerer, &of_dialer),
        };
        let cipher = |key| Cipher::new(algorithm, key, REKEY_MESSAGES).map(Box::new);
        Ok(Self {
            outward: cipher(outward)?,
            inward: cipher(inward)?,
        })
    }

    /// Appends the message for `plain`, with its length prefix, to `out`.
    ///
    /// # Errors
    /// [`CloseReason::Decrypt`] when the message counter is used up.
    pub(crate) fn seal(&mut self, plain: &[u8], out: &mut Buffer) -> Result<(), CloseReason> {
        self.seal_gathered(plain.len(), out, |room| {
            room.copy_from_slice(plain);
            plain.len()
        })
    }

    /// Appends the message for what `gather` writes, with its length prefix, to `out`: it has
    /// `bytes_max` of room, and says how much of that it filled. What is long is copied once so,
    /// to where it is sealed.
    ///
    /// # Errors
    /// [`CloseReason::Decrypt`] when the message counter is used up.
    pub(crate) fn seal_gathered(
        &mut self,
        bytes_max: usize,
        out: &mut Buffer,
        gather: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), CloseReason> {
        let room = out.room(MESSAGE_PREFIX_BYTES + bytes_max + TAG_BYTES);
        let plain = gather(&mut room[MESSAGE_PREFIX_BYTES..][..bytes_max]);
        assert!(
            (1..=PLAIN_BYTES_MAX).contains(&plain),
            "a Noise message has its bounds"
        );
        let bytes = plain + TAG_BYTES;
        let prefix = u16::try_from(bytes).map_err(|_| CloseReason::MessageLength)?;
        room[..MESSAGE_PREFIX_BYTES].copy_from_slice(&prefix.to_le_bytes());
        self.outward
            .seal(&mut room[MESSAGE_PREFIX_BYTES..][..bytes])?;
        out.filled(MESSAGE_PREFIX_BYTES + bytes);
        Ok(())
    }

    /// Opens `message` (without its length prefix) and appends its plaintext to `out`. Returns the
    /// length of the plaintext. A message that does not open changes nothing.
    ///
    /// # Errors
    /// [`CloseReason::MessageLength`], [`CloseReason::Decrypt`].
    pub(crate) fn open(&mut self, message: &[u8], out: &mut Buffer) -> Result<usize, CloseReason> {
        let room = &mut out.room(message.len())[..message.len()];
        room.copy_from_slice(message);
        let bytes = self.open_within(room, 0)?;
        out.filled(bytes);
        Ok(bytes)
    }

    /// Opens the message (without its length prefix) that begins at `start` of `bytes` and is all
    /// of the rest, to the front of `bytes`. Returns the length of the plaintext.
    ///
    /// # Errors
    /// [`CloseReason::MessageLength`], [`CloseReason::Decrypt`]: what stands there then is of no
    /// use.
    pub(crate) fn open_within(
        &mut self,
        bytes: &mut [u8],
        start: usize,
    ) -> Result<usize, CloseReason> {
        if bytes.len() <= start + TAG_BYTES {
            return Err(CloseReason::MessageLength);
        }
        self.inward.open(bytes, start)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Both sides of a handshake that is done.
    fn states() -> (snow::HandshakeState, snow::HandshakeState) {
        states_of("Noise_NN_25519_AESGCM_SHA256")
    }

    fn states_of(name: &str) -> (snow::HandshakeState, snow::HandshakeState) {
        let params: snow::params::NoiseParams = name.parse().unwrap();
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

    pub(crate) fn pair(rekey_messages: u64) -> (Session, Session) {
        let (a, b) = states();
        [a, b]
            .map(|state| {
                let mut session = Session::new(state, Algorithm::AesGcm).unwrap();
                session.outward.set_rekey_messages(rekey_messages);
                session.inward.set_rekey_messages(rekey_messages);
                session
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
        b.inward.set_rekey_messages(u64::MAX);
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
        let mut session = Session::new(b, Algorithm::AesGcm).unwrap();
        let last = (1 << 20) - 1;
        session.inward.set_counter(last);
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

    /// Snow's own channel at the other end, with both ciphers, and both ways: what stands on the
    /// wire is what Noise says, and not only what two of ours agree on.
    #[test]
    fn the_bytes_are_those_of_noise_with_either_cipher() {
        for (name, algorithm) in [
            ("Noise_NN_25519_AESGCM_SHA256", Algorithm::AesGcm),
            ("Noise_NN_25519_ChaChaPoly_SHA256", Algorithm::ChaChaPoly),
        ] {
            for ours_dials in [true, false] {
                let (a, b) = states_of(name);
                let (ours, theirs) = if ours_dials { (a, b) } else { (b, a) };
                let mut ours = Session::new(ours, algorithm).unwrap();
                ours.outward.set_rekey_messages(3);
                ours.inward.set_rekey_messages(3);
                let mut theirs = theirs.into_transport_mode().unwrap();
                for number in 1..=8_u8 {
                    let plain = vec![number; 1 + 700 * usize::from(number)];
                    let (mut wire, mut room) = (Buffer::new(), vec![0; 8192]);
                    ours.seal(&plain, &mut wire).unwrap();
                    let message = &wire.bytes()[MESSAGE_PREFIX_BYTES..];
                    let bytes = theirs.read_message(message, &mut room).unwrap();
                    assert_eq!(room[..bytes], plain);
                    let bytes = theirs.write_message(&plain, &mut room).unwrap();
                    // Opened where it stands, from every distance to what came before it.
                    let mut moved = vec![0; usize::from(number) * 9];
                    let start = moved.len();
                    moved.extend_from_slice(&room[..bytes]);
                    let opened = ours.open_within(&mut moved, start).unwrap();
                    assert_eq!(moved[..opened], plain);
                    if number % 3 == 0 {
                        theirs.rekey_incoming();
                        theirs.rekey_outgoing();
                    }
                }
            }
        }
    }

    #[test]
    fn a_handshake_that_is_not_done_is_no_channel() {
        let params = "Noise_NN_25519_AESGCM_SHA256".parse().unwrap();
        let begun = snow::Builder::new(params).build_initiator().unwrap();
        let session = Session::new(begun, Algorithm::AesGcm);
        assert_eq!(session.err(), Some(CloseReason::Handshake));
    }

    #[test]
    fn a_counter_that_is_used_up_seals_and_opens_nothing() {
        let (mut a, mut b) = pair(1000);
        a.outward.set_counter(u64::MAX);
        let mut wire = Buffer::new();
        assert_eq!(a.seal(&[1], &mut wire), Err(CloseReason::Decrypt));
        b.inward.set_counter(u64::MAX);
        let end = b.open(&[0; 40], &mut Buffer::new());
        assert_eq!(end, Err(CloseReason::Decrypt));
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
