//! A remote that speaks the protocol by hand, byte by byte, and so can break it anywhere.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use quorate_net::Authenticator as _;

use super::{CHAIN, DEADLINE, Notary, Validator};

/// A socket whose other end is turned while it waits.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    noise: Option<snow::TransportState>,
    hash: [u8; 32],
}

impl Raw {
    pub(crate) fn connect(address: &str) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            noise: None,
            hash: [0; 32],
        }
    }

    /// Logged in as client `key` at validator `own`.
    pub(crate) fn login(validator: &mut Validator, own: u16, key: u8) -> Self {
        let mut raw = Self::connect(&validator.client_address());
        raw.handshake(validator, 1);
        let hello = raw.read_message(validator);
        assert_eq!(hello.len(), 78 + 16);
        raw.open(&hello);
        let mut signature = [2; 64];
        signature[..32].copy_from_slice(&raw.hash);
        signature[32..34].copy_from_slice(&u16::from(key).to_le_bytes());
        signature[34..36].copy_from_slice(&own.to_le_bytes());
        let login = [&[key; 32][..], &signature].concat();
        let sealed = raw.seal(&login);
        // One that it takes the place of may be gone in the same turn.
        let before: Vec<_> = validator.seen.clients.keys().copied().collect();
        raw.write(validator, &sealed);
        raw.turn_until(validator, |v| {
            v.seen.clients.keys().any(|id| !before.contains(id))
        });
        raw
    }

    /// Logged in as validator `index` at validator `own`, which knows it as a peer.
    pub(crate) fn peer(validator: &mut Validator, own: u16, index: u16) -> Self {
        let mut raw = Self::connect(&validator.peer_address());
        raw.handshake(validator, 0);
        let sealed = raw.hello(own, index);
        raw.write(validator, &sealed);
        let answer = raw.read_message(validator);
        raw.open(&answer);
        raw.turn_until(validator, |v| v.net.is_up(index));
        raw
    }

    /// Takes the connection that validator `own` dials to validator `index`.
    pub(crate) fn accept(
        listener: &TcpListener,
        validator: &mut Validator,
        own: u16,
        index: u16,
    ) -> Self {
        listener.set_nonblocking(true).unwrap();
        let deadline = Instant::now() + DEADLINE;
        let stream = loop {
            assert!(Instant::now() < deadline, "the other side does not dial");
            validator.turn();
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        };
        let mut raw = Self::over(stream);
        let first = raw.read_message(validator);
        let suite = if first[0] == 1 {
            "AESGCM"
        } else {
            "ChaChaPoly"
        };
        let mut noise = noise(suite, 0).build_responder().unwrap();
        noise.read_message(&first[1..], &mut [0; 100]).unwrap();
        let mut second = [0; 100];
        let bytes = noise.write_message(&[], &mut second).unwrap();
        let prefix = u16::try_from(bytes).unwrap().to_le_bytes();
        raw.write(validator, &[&prefix[..], &second[..bytes]].concat());
        raw.hash.copy_from_slice(noise.get_handshake_hash());
        raw.noise = Some(noise.into_transport_mode().unwrap());
        let hello = raw.read_message(validator);
        raw.open(&hello);
        let sealed = raw.hello(own, index);
        raw.write(validator, &sealed);
        // An empty frame says that the other side is through.
        let keepalive = raw.read_message(validator);
        assert_eq!(raw.open(&keepalive), Self::frame(&[]));
        raw
    }

    /// Says to validator `own` that this is validator `index`.
    fn hello(&mut self, own: u16, index: u16) -> Vec<u8> {
        let notary = Notary {
            own: index,
            key: index,
        };
        // Message version 3 alone, who it is and which run of it.
        let mut hello = [3_u16, 3, index].map(u16::to_le_bytes).concat();
        hello.extend_from_slice(&1_u64.to_le_bytes());
        hello.extend_from_slice(&notary.sign_hello(&self.hash, own));
        self.seal(&hello)
    }

    /// The first message of a handshake, with its prefix, and what is to take the answer.
    pub(crate) fn initiate(port_kind: u8) -> (snow::HandshakeState, Vec<u8>) {
        let mut noise = noise("AESGCM", port_kind).build_initiator().unwrap();
        let mut first = [0; 100];
        let bytes = noise.write_message(&[], &mut first).unwrap();
        let first = [&33_u16.to_le_bytes()[..], &[1], &first[..bytes]].concat();
        (noise, first)
    }

    /// The Noise handshake as the dialing side.
    pub(crate) fn handshake(&mut self, validator: &mut Validator, port_kind: u8) {
        let (mut noise, first) = Self::initiate(port_kind);
        self.write(validator, &first);
        let second = self.read_message(validator);
        noise.read_message(&second, &mut [0; 100]).unwrap();
        self.hash.copy_from_slice(noise.get_handshake_hash());
        self.noise = Some(noise.into_transport_mode().unwrap());
    }

    /// A Noise message with its prefix.
    pub(crate) fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut message = vec![0; plain.len() + 16];
        self.noise
            .as_mut()
            .unwrap()
            .write_message(plain, &mut message)
            .unwrap();
        let prefix = u16::try_from(message.len()).unwrap().to_le_bytes();
        [&prefix[..], &message].concat()
    }

    pub(crate) fn open(&mut self, message: &[u8]) -> Vec<u8> {
        let mut plain = vec![0; message.len()];
        let bytes = self
            .noise
            .as_mut()
            .unwrap()
            .read_message(message, &mut plain)
            .unwrap();
        plain.truncate(bytes);
        plain
    }

    /// The frame with its prefix, not sealed.
    pub(crate) fn frame(frame: &[u8]) -> Vec<u8> {
        [
            &u32::try_from(frame.len()).unwrap().to_le_bytes()[..],
            frame,
        ]
        .concat()
    }

    /// Writes all of `bytes`, while `validator` turns. False if the other side closed.
    pub(crate) fn write(&mut self, validator: &mut Validator, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        let deadline = Instant::now() + DEADLINE;
        while !rest.is_empty() {
            assert!(Instant::now() < deadline, "the other side does not read");
            match self.stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
            validator.turn();
        }
        true
    }

    pub(crate) fn read_message(&mut self, validator: &mut Validator) -> Vec<u8> {
        let prefix = self.read_exact(validator, 2);
        let bytes = usize::from(u16::from_le_bytes([prefix[0], prefix[1]]));
        self.read_exact(validator, bytes)
    }

    fn read_exact(&mut self, validator: &mut Validator, bytes: usize) -> Vec<u8> {
        let mut got = vec![0; bytes];
        let mut filled = 0;
        let deadline = Instant::now() + DEADLINE;
        while filled < bytes {
            assert!(Instant::now() < deadline, "the other side does not answer");
            match self.stream.read(&mut got[filled..]) {
                Ok(0) => panic!("closed after {filled} of {bytes} bytes"),
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            validator.turn();
        }
        got
    }

    pub(crate) fn turn_until(
        &self,
        validator: &mut Validator,
        mut done: impl FnMut(&Validator) -> bool,
    ) {
        let deadline = Instant::now() + DEADLINE;
        while !done(validator) {
            assert!(Instant::now() < deadline, "not within {DEADLINE:?}");
            validator.turn();
        }
    }

    /// Turns `validator` until it has closed this connection.
    pub(crate) fn wait_closed(&mut self, validator: &mut Validator) {
        let deadline = Instant::now() + DEADLINE;
        let mut sink = [0; 4096];
        loop {
            assert!(Instant::now() < deadline, "the other side does not close");
            validator.turn();
            match self.stream.read(&mut sink) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

fn noise(suite: &str, port_kind: u8) -> snow::Builder<'static> {
    let mut prologue = b"quorate".to_vec();
    prologue.extend_from_slice(&1_u16.to_le_bytes());
    prologue.extend_from_slice(&CHAIN.chain_id);
    prologue.extend_from_slice(&CHAIN.genesis_hash);
    prologue.push(port_kind);
    let params = format!("Noise_NN_25519_{suite}_SHA256").parse().unwrap();
    let builder = snow::Builder::new(params);
    builder.prologue(Vec::leak(prologue)).unwrap()
}
