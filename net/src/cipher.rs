//! One direction of a finished handshake: its key, its message counter, its rekeying.
//!
//! Owns: what Noise calls a cipher state, on [`ring`], in place: a block is long, and each copy of
//! it on its way costs as much as its cipher does. Never: the handshake, which is snow's, or
//! lengths.
//!
//! The bytes are those of the Noise specification, sections 5.1 (the cipher state), 4.2 (`REKEY`)
//! and 12 (the two ciphers and their nonces); the tests hold them against snow's.

use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::error::CloseReason;
use crate::limits::TAG_BYTES;

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;
/// The counter with which no message is sent: it makes the next key.
const NONCE_OF_REKEY: u64 = u64::MAX;

/// The two ciphers that a handshake may end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    AesGcm,
    ChaChaPoly,
}

impl Algorithm {
    fn key(self, bytes: &[u8; KEY_BYTES]) -> Result<LessSafeKey, CloseReason> {
        let algorithm = match self {
            Self::AesGcm => &AES_256_GCM,
            Self::ChaChaPoly => &CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, bytes).map_err(|_| CloseReason::Handshake)?;
        Ok(LessSafeKey::new(key))
    }

    #[expect(
        clippy::big_endian_bytes,
        reason = "Noise, section 12.4: AES-GCM has it so"
    )]
    fn nonce(self, counter: u64) -> Nonce {
        let mut bytes = [0; NONCE_LEN];
        let counter = match self {
            Self::AesGcm => counter.to_be_bytes(),
            Self::ChaChaPoly => counter.to_le_bytes(),
        };
        bytes[NONCE_LEN - counter.len()..].copy_from_slice(&counter);
        Nonce::assume_unique_for_key(bytes)
    }
}

/// See the module.
pub(crate) struct Cipher {
    algorithm: Algorithm,
    key: LessSafeKey,
    /// Of the next message.
    counter: u64,
    /// Messages under one key. The same on both sides.
    rekey_messages: u64,
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cipher")
            .field("algorithm", &self.algorithm)
            .field("counter", &self.counter)
            .finish_non_exhaustive()
    }
}

impl Cipher {
    /// # Errors
    /// [`CloseReason::Handshake`] if the key is none of this algorithm.
    pub(crate) fn new(
        algorithm: Algorithm,
        key: &[u8; KEY_BYTES],
        rekey_messages: u64,
    ) -> Result<Self, CloseReason> {
        Ok(Self {
            algorithm,
            key: algorithm.key(key)?,
            counter: 0,
            rekey_messages,
        })
    }

    /// Another counter than a new one has.
    #[cfg(test)]
    pub(crate) const fn set_counter(&mut self, counter: u64) {
        self.counter = counter;
    }

    /// Another rekeying than a new one has.
    #[cfg(test)]
    pub(crate) const fn set_rekey_messages(&mut self, rekey_messages: u64) {
        self.rekey_messages = rekey_messages;
    }

    /// Seals the plain text that all of `message` but its last [`TAG_BYTES`] is.
    ///
    /// # Errors
    /// [`CloseReason::Decrypt`] when the messages of the channel are used up.
    pub(crate) fn seal(&mut self, message: &mut [u8]) -> Result<(), CloseReason> {
        let nonce = self.next_nonce()?;
        let (plain, room) = message.split_at_mut(message.len() - TAG_BYTES);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::empty(), plain)
            .map_err(|_| CloseReason::Decrypt)?;
        room.copy_from_slice(tag.as_ref());
        self.count()
    }

    /// Opens the message that begins at `start` of `bytes` and is all of the rest, to the front of
    /// `bytes`, and says how long its plain text is. What does not open leaves nothing of use.
    ///
    /// # Errors
    /// [`CloseReason::Decrypt`].
    pub(crate) fn open(&mut self, bytes: &mut [u8], start: usize) -> Result<usize, CloseReason> {
        let nonce = self.next_nonce()?;
        let plain = self
            .key
            .open_within(nonce, Aad::empty(), bytes, start..)
            .map_err(|_| CloseReason::Decrypt)?
            .len();
        self.count()?;
        Ok(plain)
    }

    fn next_nonce(&self) -> Result<Nonce, CloseReason> {
        if self.counter == NONCE_OF_REKEY {
            return Err(CloseReason::Decrypt);
        }
        Ok(self.algorithm.nonce(self.counter))
    }

    fn count(&mut self) -> Result<(), CloseReason> {
        self.counter += 1;
        if self.counter.is_multiple_of(self.rekey_messages) {
            self.rekey()?;
        }
        Ok(())
    }

    fn rekey(&mut self) -> Result<(), CloseReason> {
        let mut key = [0; KEY_BYTES];
        let nonce = self.algorithm.nonce(NONCE_OF_REKEY);
        let _tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::empty(), &mut key)
            .map_err(|_| CloseReason::Decrypt)?;
        self.key = self.algorithm.key(&key)?;
        Ok(())
    }
}
