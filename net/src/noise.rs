//! The Noise handshake: `Noise_NN_25519_{AESGCM,ChaChaPoly}_SHA256`, two messages with empty
//! payloads.
//!
//! Owns: the suites, the two messages, and which keys are refused. Never: identities;
//! [`crate::handshake`] proves them over the hash that comes out of here.

use crate::buffer::Buffer;
use crate::cipher::{Algorithm, KEY_BYTES};
use crate::error::{CloseReason, NetError};
use crate::limits::{MESSAGE_PREFIX_BYTES, TAG_BYTES};
use crate::session::Session;

/// The cipher suite, chosen by the dialing side and sent in front of its key. Noise hashes the
/// suite's name, so that a changed byte fails the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suite {
    AesGcm = 1,
    ChaChaPoly = 2,
}

impl Suite {
    /// The faster one on this processor.
    fn preferred() -> Self {
        if processor_has_aes() {
            Self::AesGcm
        } else {
            Self::ChaChaPoly
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::AesGcm),
            2 => Some(Self::ChaChaPoly),
            _ => None,
        }
    }

    const fn algorithm(self) -> Algorithm {
        match self {
            Self::AesGcm => Algorithm::AesGcm,
            Self::ChaChaPoly => Algorithm::ChaChaPoly,
        }
    }

    fn builder<'a>(self, prologue: &'a [u8]) -> Result<snow::Builder<'a>, snow::Error> {
        let name = match self {
            Self::AesGcm => "Noise_NN_25519_AESGCM_SHA256",
            Self::ChaChaPoly => "Noise_NN_25519_ChaChaPoly_SHA256",
        };
        snow::Builder::new(name.parse()?).prologue(prologue)
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn processor_has_aes() -> bool {
    std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn processor_has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn processor_has_aes() -> bool {
    false
}

/// A handshake of which the first message is made.
pub(crate) struct Begun {
    noise: snow::HandshakeState,
    suite: Suite,
}

/// Suite and ephemeral key.
pub(crate) const FIRST_BYTES: usize = 1 + KEY_BYTES;
/// Ephemeral key and the tag over an empty payload.
const SECOND_BYTES: usize = KEY_BYTES + TAG_BYTES;

/// Proves at startup that both suites can be set up, so that no handshake finds out later.
///
/// # Errors
/// [`NetError::Noise`].
pub(crate) fn check_suites() -> Result<(), NetError> {
    for suite in [Suite::AesGcm, Suite::ChaChaPoly] {
        let built = suite.builder(&[]).and_then(snow::Builder::build_initiator);
        built.map_err(|error| NetError::Noise(error.to_string()))?;
    }
    Ok(())
}

fn push_message(message: &[u8], out: &mut Buffer) -> Result<(), CloseReason> {
    let prefix = u16::try_from(message.len()).map_err(|_| CloseReason::MessageLength)?;
    let prefix: [u8; MESSAGE_PREFIX_BYTES] = prefix.to_le_bytes();
    out.push(&prefix);
    out.push(message);
    Ok(())
}

fn failed(_: snow::Error) -> CloseReason {
    CloseReason::Handshake
}

/// Begins a handshake and appends its first message to `out`.
///
/// # Errors
/// [`CloseReason::Handshake`].
pub(crate) fn dial(prologue: &[u8], out: &mut Buffer) -> Result<Box<Begun>, CloseReason> {
    let suite = Suite::preferred();
    let mut noise = suite
        .builder(prologue)
        .and_then(snow::Builder::build_initiator)
        .map_err(failed)?;
    // Snow asks for room for a tag even where there is none.
    let mut message = [0; FIRST_BYTES + TAG_BYTES];
    message[0] = suite as u8;
    let bytes = noise
        .write_message(&[], &mut message[1..])
        .map_err(failed)?;
    push_message(&message[..1 + bytes], out)?;
    Ok(Box::new(Begun { noise, suite }))
}

/// Takes the first message, appends the second to `out`, and gives the channel and its hash.
///
/// # Errors
/// [`CloseReason::Handshake`].
pub(crate) fn answer(
    prologue: &[u8],
    message: &[u8],
    out: &mut Buffer,
) -> Result<(Session, [u8; 32]), CloseReason> {
    let message: &[u8; FIRST_BYTES] = message.try_into().map_err(|_| CloseReason::Handshake)?;
    let [suite, key @ ..] = message;
    let suite = Suite::from_byte(*suite).ok_or(CloseReason::Handshake)?;
    refuse_low_order(key)?;
    let mut noise = suite
        .builder(prologue)
        .and_then(snow::Builder::build_responder)
        .map_err(failed)?;
    noise.read_message(key, &mut []).map_err(failed)?;
    let mut reply = [0; SECOND_BYTES];
    noise.write_message(&[], &mut reply).map_err(failed)?;
    push_message(&reply, out)?;
    open(noise, suite)
}

/// Takes the second message and gives the channel and its hash.
///
/// # Errors
/// [`CloseReason::Handshake`].
pub(crate) fn complete(begun: Begun, message: &[u8]) -> Result<(Session, [u8; 32]), CloseReason> {
    let Begun { mut noise, suite } = begun;
    let message: &[u8; SECOND_BYTES] = message.try_into().map_err(|_| CloseReason::Handshake)?;
    refuse_low_order(&message[..KEY_BYTES])?;
    // Room for the tag too: with less, the cipher would allocate a buffer.
    let mut none = [0; TAG_BYTES];
    noise.read_message(message, &mut none).map_err(failed)?;
    open(noise, suite)
}

fn open(noise: snow::HandshakeState, suite: Suite) -> Result<(Session, [u8; 32]), CloseReason> {
    let hash = noise
        .get_handshake_hash()
        .try_into()
        .map_err(|_| CloseReason::Handshake)?;
    Ok((Session::new(noise, suite.algorithm())?, hash))
}

/// Curve points for which the shared secret is zero whatever our key. The signature over the
/// transcript already stops a third side from using them; refusing them keeps the channel secret
/// even from a reader of the wire when the remote side is faulty.
fn refuse_low_order(key: &[u8]) -> Result<(), CloseReason> {
    const ORDER_8_A: [u8; 32] = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ];
    const ORDER_8_B: [u8; 32] = [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ];
    let mut key: [u8; KEY_BYTES] = key.try_into().map_err(|_| CloseReason::Handshake)?;
    // The top bit is ignored by X25519.
    key[31] &= 0x7f;
    let [first, middle @ .., last] = &key;
    // 0 and 1; p - 1, p and p + 1 (p = 2^255 - 19); the two points of order 8.
    let small = *first <= 1 && *last == 0 && middle.iter().all(|byte| *byte == 0);
    let near_p =
        (0xec..=0xee).contains(first) && *last == 0x7f && middle.iter().all(|b| *b == 0xff);
    if small || near_p || key == ORDER_8_A || key == ORDER_8_B {
        return Err(CloseReason::Handshake);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use snow::params::{CipherChoice, DHChoice, HashChoice};
    use snow::resolvers::{CryptoResolver, DefaultResolver};
    use snow::types::{Cipher, Dh, Hash, Random};

    #[test]
    fn low_order_keys_are_refused_and_are_what_they_are_said_to_be() {
        let mut rng = DefaultResolver.resolve_rng().unwrap();
        let mut dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519).unwrap();
        dh.generate(&mut *rng).unwrap();
        assert_eq!(refuse_low_order(dh.pubkey()), Ok(()));
        let hex = |text: &str| -> [u8; 32] {
            std::array::from_fn(|place| u8::from_str_radix(&text[place * 2..][..2], 16).unwrap())
        };
        let mut near_p = [[0xff; 32]; 3];
        for (number, key) in near_p.iter_mut().enumerate() {
            key[0] = 0xec + u8::try_from(number).unwrap();
            key[31] = 0x7f;
        }
        let mut one = [0; 32];
        one[0] = 1;
        let order_8 = [
            hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
            hex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        ];
        for key in [[0; 32], one].into_iter().chain(near_p).chain(order_8) {
            for top in [0, 0x80] {
                let mut key = key;
                key[31] |= top;
                assert_eq!(
                    refuse_low_order(&key),
                    Err(CloseReason::Handshake),
                    "{key:x?}"
                );
                let mut secret = [1; 32];
                dh.dh(&key, &mut secret).unwrap();
                assert_eq!(secret, [0; 32], "{key:x?} is not of low order");
            }
        }
    }

    #[test]
    fn both_suites_carry_a_handshake() {
        check_suites().unwrap();
        for suite in [Suite::AesGcm, Suite::ChaChaPoly] {
            let prologue: &[u8] = b"a prologue";
            let mut noise = suite.builder(prologue).unwrap().build_initiator().unwrap();
            let mut first = [suite as u8; FIRST_BYTES + TAG_BYTES];
            noise.write_message(&[], &mut first[1..]).unwrap();
            let mut out = Buffer::new();
            let (mut theirs, hash) = answer(prologue, &first[..FIRST_BYTES], &mut out).unwrap();
            let begun = Begun { noise, suite };
            let (mut ours, other) = complete(begun, &out.bytes()[MESSAGE_PREFIX_BYTES..]).unwrap();
            assert_eq!(hash, other);
            for _ in 0..2 {
                let (mut wire, mut plain) = (Buffer::new(), Buffer::new());
                ours.seal(b"a message", &mut wire).unwrap();
                let message = &wire.bytes()[MESSAGE_PREFIX_BYTES..];
                theirs.open(message, &mut plain).unwrap();
                assert_eq!(plain.bytes(), b"a message");
                std::mem::swap(&mut ours, &mut theirs);
            }
        }
    }

    /// A faulty remote whose ephemeral key is a point of low order, and which therefore knows every
    /// shared secret, as who reads the wire does: it is zero.
    struct LowOrder;

    impl CryptoResolver for LowOrder {
        fn resolve_rng(&self) -> Option<Box<dyn Random>> {
            DefaultResolver.resolve_rng()
        }
        fn resolve_dh(&self, _: &DHChoice) -> Option<Box<dyn Dh>> {
            Some(Box::new(Self))
        }
        fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
            DefaultResolver.resolve_hash(choice)
        }
        fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
            DefaultResolver.resolve_cipher(choice)
        }
    }

    impl Dh for LowOrder {
        fn name(&self) -> &'static str {
            "25519"
        }
        fn pub_len(&self) -> usize {
            KEY_BYTES
        }
        fn priv_len(&self) -> usize {
            KEY_BYTES
        }
        fn set(&mut self, _: &[u8]) {}
        fn generate(&mut self, _: &mut dyn Random) -> Result<(), snow::Error> {
            Ok(())
        }
        fn pubkey(&self) -> &[u8] {
            &[0; KEY_BYTES]
        }
        fn privkey(&self) -> &[u8] {
            &[0; KEY_BYTES]
        }
        fn dh(&self, _: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
            out.fill(0);
            Ok(())
        }
    }

    fn low_order_builder() -> snow::Builder<'static> {
        let params = "Noise_NN_25519_AESGCM_SHA256".parse().unwrap();
        let builder = snow::Builder::with_resolver(params, Box::new(LowOrder));
        builder.prologue(b"a prologue").unwrap()
    }

    #[test]
    fn a_dialer_whose_key_is_of_low_order_is_not_answered() {
        let mut noise = low_order_builder().build_initiator().unwrap();
        let mut first = [Suite::AesGcm as u8; FIRST_BYTES + TAG_BYTES];
        noise.write_message(&[], &mut first[1..]).unwrap();
        let mut out = Buffer::new();
        let end = answer(b"a prologue", &first[..FIRST_BYTES], &mut out);
        assert_eq!(end.map(drop), Err(CloseReason::Handshake));
        assert!(out.is_empty(), "nothing was answered");
    }

    #[test]
    fn an_answer_whose_key_is_of_low_order_opens_no_channel() {
        let suite = Suite::AesGcm.builder(b"a prologue").unwrap();
        let mut dialer = suite.build_initiator().unwrap();
        let mut first = [0; KEY_BYTES + TAG_BYTES];
        dialer.write_message(&[], &mut first).unwrap();
        let mut acceptor = low_order_builder().build_responder().unwrap();
        acceptor.read_message(&first[..KEY_BYTES], &mut []).unwrap();
        let mut second = [0; SECOND_BYTES];
        acceptor.write_message(&[], &mut second).unwrap();
        // All that is wrong with it is its key: the tag is the right one.
        let begun = Begun {
            noise: dialer,
            suite: Suite::AesGcm,
        };
        let end = complete(begun, &second);
        assert_eq!(end.map(drop), Err(CloseReason::Handshake));
    }
}
