//! The message path of Quorate: sockets to frames of authenticated peers and clients, and back.
//!
//! It knows peer indices, client ids and bytes. It knows no consensus types and holds no keys:
//! signing and checking of handshakes is the embedder's [`Authenticator`].
//!
//! In the order of the data:
//!
//! ```text
//! reserve, accept, handshake, noise,
//! hello                                who is there
//! buffer, inbound, cipher, session,
//! connection, frame                    bytes -> Noise messages -> frames
//! peers, peer_links, dial, resolver,
//! clients, keepalive                   whose frames; which connection counts; back-pressure
//! queue, class_queue                   what waits for a remote, and what is dropped
//! poller, timers, park, waker          one thread, one turn at a time
//! client_link, lookups                 the dialing side of the client port
//! wire                                 the same bytes without a socket, for tools
//! ```
//!
//! Invariant: nothing that a remote sends panics, allocates without a bound from [`Limits`], or
//! disturbs another connection. It ends its own, with a counted [`CloseReason`].

#![forbid(unsafe_code)]

mod accept;
mod atomics;
mod backoff;
mod buffer;
mod cipher;
mod class_queue;
mod client_link;
mod clients;
mod connection;
mod counters;
mod dial;
mod error;
mod frame;
mod handler;
mod handshake;
mod hello;
mod inbound;
mod keepalive;
mod limits;
mod linger;
mod link;
mod lookups;
mod noise;
mod park;
#[cfg(test)]
mod park_tests;
mod peer_links;
mod peers;
mod poller;
mod queue;
mod reserve;
mod resolver;
mod session;
mod slots;
mod timers;
mod waker;
pub mod wire;

pub use class_queue::Parts;
pub use client_link::{ClientLinks, LinkHandler, LinkId};
pub use counters::Counters;
pub use error::{CloseReason, NetError, SendError};
pub use handler::{ClientId, Handler, PATIENCE, PeerAlarm};
pub use handshake::{Authenticator, ChainIds, ClientAuthenticator};
pub use limits::{
    CLIENT_ADDRESSEE, Limits, MESSAGES_VERSION_MAX, MESSAGES_VERSION_MIN, WIRE_VERSION,
};
pub use linger::LINGER;
pub use poller::{Net, NetConfig};
pub use queue::Class;
pub use reserve::{Ports, Reserved};
pub use waker::Waker;
