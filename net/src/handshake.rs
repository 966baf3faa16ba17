//! From two sockets to two sides that know one another.
//!
//! Owns: the Noise handshake and the proof of identity over its hash, as a machine of bytes in and
//! bytes out. Never: sockets, clocks, or keys: signing and checking is the embedder's
//! [`Authenticator`].
//!
//! ```text
//! dialing validator                 accepting validator
//!   suite, e                   ->
//!                              <-     e, ee
//!   Hello                      ->     verify, admit
//!   verify                     <-     Hello
//!   empty frame                ->     confirmed: both sides are through
//!
//! dialing client                    validator's client port
//!   suite, e                   ->
//!                              <-     e, ee, Hello
//!   verify, Login              ->     verify, admit
//! ```
//! A validator that accepts signs only after it has verified, so it signs nothing for strangers on
//! the peer port. Signatures cover the handshake hash, which covers both ephemeral keys, the chain
//! and the port kind: they are worth nothing on any other connection.

use std::sync::Arc;

use crate::buffer::Buffer;
use crate::error::CloseReason;
use crate::frame;
use crate::hello::{Hello, Login};
use crate::limits::{CLIENT_ADDRESSEE, MESSAGES_VERSION_MAX, MESSAGES_VERSION_MIN, WIRE_VERSION};
use crate::noise;
use crate::session::Session;

/// Signs and checks for a validator. Called on the loop's thread.
pub trait Authenticator: Send + Sync {
    /// Signs a Hello to validator `peer`, or to a client ([`CLIENT_ADDRESSEE`]).
    fn sign_hello(&self, handshake_hash: &[u8; 32], peer: u16) -> [u8; 64];
    /// Whether `signature` is the one that `signer` makes in a Hello to `addressee`. False for a
    /// signer that is no validator.
    fn verify_hello(
        &self,
        handshake_hash: &[u8; 32],
        signer: u16,
        addressee: u16,
        signature: &[u8; 64],
    ) -> bool;
    /// Whether `signature` is the one that the client's `key` makes in a Login to this validator.
    fn verify_login(&self, handshake_hash: &[u8; 32], key: &[u8; 32], signature: &[u8; 64])
    -> bool;
}

/// Signs and checks for a client. Called on the thread that turns the links.
pub trait ClientAuthenticator: Send + Sync {
    /// The client's public key.
    fn key(&self) -> [u8; 32];
    /// Signs a Login to `validator`.
    fn sign_login(&self, handshake_hash: &[u8; 32], validator: u16) -> [u8; 64];
    /// Whether `signature` is the one that `signer` makes in a Hello to a client. False for a
    /// signer that is no validator, or not the one wanted.
    fn verify_hello(&self, handshake_hash: &[u8; 32], signer: u16, signature: &[u8; 64]) -> bool;
}

/// What both sides of a connection must agree on before they say anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainIds {
    /// Name of the chain, hashed or padded to 32 bytes by the embedder.
    pub chain_id: [u8; 32],
    /// Hash of the genesis configuration.
    pub genesis_hash: [u8; 32],
}

/// Which listener a connection belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Peers = 0,
    Clients = 1,
}

impl ChainIds {
    fn prologue(&self, port: Port) -> Vec<u8> {
        let mut prologue = b"quorate".to_vec();
        prologue.extend_from_slice(&WIRE_VERSION.to_le_bytes());
        prologue.extend_from_slice(&self.chain_id);
        prologue.extend_from_slice(&self.genesis_hash);
        prologue.push(port as u8);
        prologue
    }
}

/// Who we are, for every handshake of one [`crate::Net`].
pub(crate) struct Local {
    pub(crate) index: u16,
    pub(crate) incarnation: u64,
    pub(crate) chain: ChainIds,
    pub(crate) authenticator: Arc<dyn Authenticator>,
}

impl Local {
    fn hello(&self, handshake_hash: &[u8; 32], addressee: u16) -> [u8; crate::hello::HELLO_BYTES] {
        Hello {
            version_min: MESSAGES_VERSION_MIN,
            version_max: MESSAGES_VERSION_MAX,
            index: self.index,
            incarnation: self.incarnation,
            signature: self.authenticator.sign_hello(handshake_hash, addressee),
        }
        .encode()
    }
}

/// Who the other side has proved to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    Validator { index: u16, incarnation: u64 },
    Client { key: [u8; 32] },
}

/// Which part we play.
enum Part {
    DialPeer {
        local: Arc<Local>,
        peer: u16,
    },
    AcceptPeer {
        local: Arc<Local>,
    },
    AcceptClient {
        local: Arc<Local>,
    },
    DialClient {
        authenticator: Arc<dyn ClientAuthenticator>,
    },
}

enum Stage {
    /// Accepting, before the first message.
    Waiting { prologue: Vec<u8> },
    /// Dialing, between the two messages of Noise.
    Dialed(Box<noise::Begun>),
    /// Channel open, identity not shown.
    Open { session: Session, hash: [u8; 32] },
    /// Identity shown; only [`Handshake::finish`] is left.
    Identified {
        session: Session,
        hash: [u8; 32],
        remote: Remote,
    },
    /// A step failed.
    Failed,
}

/// One handshake in progress.
pub(crate) struct Handshake {
    part: Part,
    stage: Stage,
}

impl Handshake {
    pub(crate) fn accept(local: &Arc<Local>, port: Port) -> Self {
        let prologue = local.chain.prologue(port);
        let local = Arc::clone(local);
        let part = match port {
            Port::Peers => Part::AcceptPeer { local },
            Port::Clients => Part::AcceptClient { local },
        };
        Self {
            part,
            stage: Stage::Waiting { prologue },
        }
    }

    /// Begins a handshake with validator `peer` and appends its first message to `out`.
    ///
    /// # Errors
    /// [`CloseReason::Handshake`] if the cipher suite could not be set up.
    pub(crate) fn dial_peer(
        local: &Arc<Local>,
        peer: u16,
        out: &mut Buffer,
    ) -> Result<Self, CloseReason> {
        let stage = Stage::Dialed(noise::dial(&local.chain.prologue(Port::Peers), out)?);
        Ok(Self {
            part: Part::DialPeer {
                local: Arc::clone(local),
                peer,
            },
            stage,
        })
    }

    /// Begins a handshake with a validator's client port; else as [`Handshake::dial_peer`].
    pub(crate) fn dial_client(
        chain: &ChainIds,
        authenticator: Arc<dyn ClientAuthenticator>,
        out: &mut Buffer,
    ) -> Result<Self, CloseReason> {
        let stage = Stage::Dialed(noise::dial(&chain.prologue(Port::Clients), out)?);
        Ok(Self {
            part: Part::DialClient { authenticator },
            stage,
        })
    }

    /// Whether the remote side may already count on this connection.
    pub(crate) const fn hello_sent(&self) -> bool {
        matches!(
            (&self.part, &self.stage),
            (
                Part::DialPeer { .. },
                Stage::Open { .. } | Stage::Identified { .. }
            )
        )
    }

    /// Takes one message from the wire and appends what is to be answered to `out`. Says who the
    /// other side is once that is proved; then decide, and [`Handshake::finish`] or drop.
    ///
    /// # Errors
    /// The reason to close. The handshake is then of no more use.
    pub(crate) fn message(
        &mut self,
        message: &[u8],
        out: &mut Buffer,
    ) -> Result<Option<Remote>, CloseReason> {
        match std::mem::replace(&mut self.stage, Stage::Failed) {
            Stage::Waiting { prologue } => {
                let (mut session, hash) = noise::answer(&prologue, message, out)?;
                if let Part::AcceptClient { local } = &self.part {
                    session.seal(&local.hello(&hash, CLIENT_ADDRESSEE), out)?;
                }
                self.stage = Stage::Open { session, hash };
                Ok(None)
            }
            Stage::Dialed(state) => {
                let (mut session, hash) = noise::complete(*state, message)?;
                if let Part::DialPeer { local, peer } = &self.part {
                    session.seal(&local.hello(&hash, *peer), out)?;
                }
                self.stage = Stage::Open { session, hash };
                Ok(None)
            }
            Stage::Open { mut session, hash } => {
                let mut plain = Buffer::new();
                session.open(message, &mut plain)?;
                let remote = self.identify(plain.bytes(), &hash)?;
                self.stage = Stage::Identified {
                    session,
                    hash,
                    remote,
                };
                Ok(Some(remote))
            }
            Stage::Identified { .. } | Stage::Failed => Err(CloseReason::Handshake),
        }
    }

    fn identify(&self, plain: &[u8], hash: &[u8; 32]) -> Result<Remote, CloseReason> {
        let (hello, holds) = match &self.part {
            Part::DialPeer { local, peer } => {
                let hello = Hello::decode(plain)?;
                if hello.index != *peer {
                    return Err(CloseReason::HelloIndex);
                }
                (hello, verify_peer(local, hash, &hello))
            }
            Part::AcceptPeer { local } => {
                let hello = Hello::decode(plain)?;
                if hello.index == local.index {
                    return Err(CloseReason::HelloIndex);
                }
                (hello, verify_peer(local, hash, &hello))
            }
            Part::AcceptClient { local } => {
                let Login { key, signature } = Login::decode(plain)?;
                return if local.authenticator.verify_login(hash, &key, &signature) {
                    Ok(Remote::Client { key })
                } else {
                    Err(CloseReason::HelloSignature)
                };
            }
            Part::DialClient { authenticator } => {
                let hello = Hello::decode(plain)?;
                (
                    hello,
                    authenticator.verify_hello(hash, hello.index, &hello.signature),
                )
            }
        };
        if !holds {
            return Err(CloseReason::HelloSignature);
        }
        // The range is of the messages between validators, and nothing to a client, since each of
        // its own frames tells its version.
        if !matches!(self.part, Part::DialClient { .. }) {
            hello.version()?;
        }
        Ok(Remote::Validator {
            index: hello.index,
            incarnation: hello.incarnation,
        })
    }

    /// The other side is welcome: appends our last message, if it is our turn, and opens the
    /// session.
    ///
    /// # Errors
    /// [`CloseReason::Handshake`] if the other side has not been identified.
    pub(crate) fn finish(self, out: &mut Buffer) -> Result<Session, CloseReason> {
        let Stage::Identified {
            mut session,
            hash,
            remote,
        } = self.stage
        else {
            return Err(CloseReason::Handshake);
        };
        match (&self.part, remote) {
            (Part::AcceptPeer { local }, Remote::Validator { index, .. }) => {
                session.seal(&local.hello(&hash, index), out)?;
            }
            (Part::DialPeer { .. }, _) => session.seal(&frame::KEEPALIVE, out)?,
            (Part::DialClient { authenticator }, Remote::Validator { index, .. }) => {
                let signature = authenticator.sign_login(&hash, index);
                let login = Login {
                    key: authenticator.key(),
                    signature,
                };
                session.seal(&login.encode(), out)?;
            }
            (Part::AcceptPeer { .. } | Part::AcceptClient { .. } | Part::DialClient { .. }, _) => {}
        }
        Ok(session)
    }
}

fn verify_peer(local: &Local, hash: &[u8; 32], hello: &Hello) -> bool {
    local
        .authenticator
        .verify_hello(hash, hello.index, local.index, &hello.signature)
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
