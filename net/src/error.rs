//! What can go wrong, in three kinds that are never mixed: the embedder's call (`NetError`,
//! `SendError`) and the end of one connection (`CloseReason`), which is never an error of the loop.

use std::io;

/// The message path could not be set up, or the operating system refused its event queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// A field of [`crate::Limits`] is out of its range.
    #[error("limit {field} is out of its range")]
    Limit {
        /// Name of the field.
        field: &'static str,
    },
    /// The peer list is not usable.
    #[error("peer {index} {problem}")]
    Peer {
        /// Index of the peer.
        index: u16,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A listener could not be opened (port in use, no such address, no permission).
    #[error("cannot listen for {port} on {address}: {source}")]
    Listen {
        /// `peers` or `clients`.
        port: &'static str,
        /// The address as configured.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A client link could not be opened.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address as given.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The event queue failed. The loop cannot go on.
    #[error("event queue: {0}")]
    Poll(#[source] io::Error),
    /// The resolver thread could not be started.
    #[error("cannot start the resolver thread: {0}")]
    Resolver(#[source] io::Error),
    /// The cipher suite could not be set up.
    #[error("noise: {0}")]
    Noise(String),
}

/// A frame was not taken. Nothing of it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no authenticated connection.
    #[error("not connected")]
    NotConnected,
    /// The queue is full, and the policy had nothing to drop for this class.
    #[error("queue full")]
    Full,
    /// The client did not read what waited for it. It is being disconnected.
    #[error("slow reader, disconnected")]
    SlowReader,
    /// The frame is empty or longer than `frame_bytes_max`: an error of the caller.
    #[error("frame of {bytes} bytes, allowed are 1 to {bytes_max}")]
    Length {
        /// Its length.
        bytes: usize,
        /// The longest allowed.
        bytes_max: usize,
    },
}

macro_rules! close_reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a connection ended. Each is counted in [`crate::Counters`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum CloseReason {
            $($(#[$doc])* $name,)*
        }

        impl CloseReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Name for metrics and logs, `snake_case`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

close_reasons! {
    /// The remote side closed.
    RemoteClosed = "remote_closed",
    /// The socket failed (reset, unreachable).
    Io = "io",
    /// The dial did not succeed.
    ConnectFailed = "connect_failed",
    /// The address could not be resolved.
    ResolveFailed = "resolve_failed",
    /// The handshake was not finished within its deadline.
    HandshakeTimeout = "handshake_timeout",
    /// The oldest connection that had not proved who it is made room for a new one.
    Evicted = "evicted",
    /// A Noise message shorter than a tag and a byte, or longer than allowed at this point.
    MessageLength = "message_length",
    /// The Noise handshake failed: other chain, other genesis, other port kind, other version, or
    /// bytes that are no handshake.
    Handshake = "handshake",
    /// A Noise message did not decrypt: altered, replayed or reordered bytes.
    Decrypt = "decrypt",
    /// The Hello or Login is not one.
    HelloMalformed = "hello_malformed",
    /// The two sides share no message version.
    HelloVersion = "hello_version",
    /// The Hello names a validator that is not a peer, is ourselves, or is not the one dialed.
    HelloIndex = "hello_index",
    /// The signature of the Hello or Login does not hold.
    HelloSignature = "hello_signature",
    /// The peer's incarnation is older than one seen before: an old process still runs with its
    /// key.
    StaleIncarnation = "stale_incarnation",
    /// A newer incarnation of the peer, or a newer connection dialed by the same side, took over.
    Replaced = "replaced",
    /// Both sides dialed, and the other connection stays.
    Duplicate = "duplicate",
    /// The peer is refused for a while after a fault, or since newer and newer incarnations of it
    /// come, or since its connections are lost and come back again and again.
    CoolingDown = "cooling_down",
    /// As many clients as allowed are connected, or as many with one key.
    ClientsFull = "clients_full",
    /// As many clients as allowed are connected, and this one, silent for longest, made room.
    MadeRoom = "made_room",
    /// A frame announced more bytes than allowed.
    FrameLength = "frame_length",
    /// Nothing arrived from the peer for `silence_max`.
    Silent = "silent",
    /// The client did not read what waited for it.
    SlowReader = "slow_reader",
    /// The embedder found that the bytes break the protocol.
    ProtocolFault = "protocol_fault",
    /// The embedder closed the connection.
    Requested = "requested",
    /// The validator is no longer in the peer list.
    Removed = "removed",
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an operator sees counted is explained.
    #[test]
    fn every_reason_and_no_other_stands_in_the_document() {
        let text = include_str!("../../docs/wire.md");
        let (_, faults) = text.split_once("\n### Faults\n").expect("it has faults");
        let (table, _) = faults.split_once("\n## ").expect("more follows");
        let rows = table.lines().filter(|line| line.starts_with("| "));
        let name = |row: &'static str| row.strip_suffix("` |")?.rsplit_once("| `");
        let mut named: Vec<&str> = rows.filter_map(name).map(|(_, name)| name).collect();
        let mut known: Vec<&str> = CloseReason::ALL.iter().map(|r| r.name()).collect();
        named.sort_unstable();
        known.sort_unstable();
        assert_eq!(named, known);
    }

    #[test]
    fn every_reason_stands_at_its_own_place_and_has_its_own_name() {
        for (place, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place);
            assert_eq!(
                CloseReason::ALL
                    .iter()
                    .filter(|r| r.name() == reason.name())
                    .count(),
                1
            );
        }
    }
}
