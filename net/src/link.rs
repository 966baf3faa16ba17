//! A connection and the part it plays. Owns: the states a connection can be in. Never: decisions.

use std::time::Instant;

use crate::connection::Connection;
use crate::error::CloseReason;
use crate::handshake::{Handshake, Port};
use crate::queue::Outbound;

/// The other side has not proved who it is.
pub(crate) struct Pending {
    pub(crate) kind: PendingKind,
    /// When the handshake must be done.
    pub(crate) deadline: Instant,
}

pub(crate) enum PendingKind {
    /// We dial `peer`; the socket is not yet connected.
    Connecting { peer: u16 },
    /// We dial `peer`.
    Dialing {
        peer: u16,
        handshake: Box<Handshake>,
    },
    /// Accepted on `port`.
    Accepted {
        port: Port,
        handshake: Box<Handshake>,
    },
}

/// Where strangers wait for a step of their handshake: a flood on one port keeps nobody else
/// waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    AtPeerPort = 0,
    AtClientPort = 1,
    /// Own dials, of which there is one for each peer at most.
    Dialing = 2,
}

impl Waiting {
    /// In the order in which they are served.
    pub(crate) const ALL: [Self; 3] = [Self::Dialing, Self::AtPeerPort, Self::AtClientPort];

    pub(crate) const fn at(port: Port) -> Self {
        match port {
            Port::Peers => Self::AtPeerPort,
            Port::Clients => Self::AtClientPort,
        }
    }

    pub(crate) const fn of(kind: &PendingKind) -> Self {
        match kind {
            PendingKind::Connecting { .. } | PendingKind::Dialing { .. } => Self::Dialing,
            PendingKind::Accepted { port, .. } => Self::at(*port),
        }
    }
}

/// What a connection is for.
pub(crate) enum Role {
    Pending(Pending),
    Peer {
        index: u16,
        confirmed: bool,
        /// Set when another connection stays: this one is read to its end, at the latest until
        /// then.
        retired: Option<Retired>,
    },
    Client {
        /// With which it has logged in.
        key: [u8; 32],
        outbound: Box<Outbound>,
        /// What waits for it, sealed or not, or its memory, as counted in the sum over all.
        counted_bytes: usize,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Retired {
    pub(crate) deadline: Instant,
    /// The other side has been told that nothing more comes.
    pub(crate) told: bool,
}

/// One entry of the loop's table.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) role: Role,
    /// Last time something was read.
    pub(crate) received: Instant,
    /// Last time something was written.
    pub(crate) sent: Instant,
    /// Stands in one of the ready lists.
    pub(crate) listed: bool,
    /// Nothing is read from this client before then.
    pub(crate) held_until: Option<Instant>,
    /// This client makes no room for others.
    pub(crate) is_kept: bool,
    /// Stands in the list of connections to flush.
    pub(crate) dirty: bool,
    /// To be closed, for this reason. Nothing is read or written any more.
    pub(crate) doomed: Option<CloseReason>,
}

impl Link {
    pub(crate) const fn new(connection: Connection, role: Role, now: Instant) -> Self {
        Self {
            connection,
            role,
            received: now,
            sent: now,
            listed: false,
            held_until: None,
            is_kept: false,
            dirty: false,
            doomed: None,
        }
    }
}
