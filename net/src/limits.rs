//! Every bound of the message path, in one place.
//!
//! Owns: the numbers, their units and what they must satisfy. Never: behaviour.

use std::time::Duration;

use crate::error::NetError;

/// Version of the transport format. It is part of the Noise prologue, so that two versions never
/// get past the handshake.
pub const WIRE_VERSION: u16 = 1;
/// Lowest version of the messages inside frames that this build can speak.
pub const MESSAGES_VERSION_MIN: u16 = 3;
/// Highest version of the messages inside frames that this build can speak.
pub const MESSAGES_VERSION_MAX: u16 = 3;
/// The addressee index in a Hello that is meant for a client.
pub const CLIENT_ADDRESSEE: u16 = u16::MAX;

/// Length prefix of a Noise message on the TCP stream, bytes.
pub(crate) const MESSAGE_PREFIX_BYTES: usize = 2;
/// The AEAD tag behind the ciphertext, bytes.
pub(crate) const TAG_BYTES: usize = 16;
/// Longest Noise message, bytes, tag included (a limit of Noise).
pub(crate) const MESSAGE_BYTES_MAX: usize = 65_535;
/// Longest plaintext of one Noise message, bytes.
pub(crate) const PLAIN_BYTES_MAX: usize = MESSAGE_BYTES_MAX - TAG_BYTES;
/// Longest Noise message before the remote side has proved who it is, bytes.
pub(crate) const MESSAGE_BYTES_MAX_UNAUTHENTICATED: usize = 512;
/// Length prefix of an application frame inside the plaintext stream, bytes.
pub(crate) const FRAME_PREFIX_BYTES: usize = 4;
/// Messages under one AEAD key and direction before both sides rekey. Far below the 2^23 messages
/// of this length at which AES-GCM's confidentiality margin starts to matter.
pub(crate) const REKEY_MESSAGES: u64 = 1 << 20;
/// Sealed bytes ahead of the socket: beyond it frames stay in their queues, where they can still
/// be overtaken or dropped.
pub(crate) const SEAL_AHEAD_BYTES: usize = 256 * 1024;
/// Memory that an empty buffer of a peer keeps, bytes: blocks come all the time.
pub(crate) const PEER_KEPT_BYTES: usize = 4 * 1024 * 1024;
/// Memory that an empty buffer of a client keeps, bytes: there are many of them, and most of their
/// frames are far shorter.
pub(crate) const CLIENT_KEPT_BYTES: usize = 32 * 1024;
/// Read buffer of a connection that has not proved who it is, bytes.
pub(crate) const READ_BYTES_UNAUTHENTICATED: usize = 1024;

const _: () = assert!(PLAIN_BYTES_MAX == 65_519);
const _: () =
    assert!(MESSAGE_BYTES_MAX_UNAUTHENTICATED + MESSAGE_PREFIX_BYTES <= READ_BYTES_UNAUTHENTICATED);

/// Bounds of a [`crate::Net`]. `Default` gives the shipped values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest frame to and from a peer, bytes. 1 to 64 MiB.
    pub frame_bytes_max: usize,
    /// Longest frame from a client, bytes. 1 to `frame_bytes_max`. Frames to a client may be as
    /// long as `frame_bytes_max`.
    pub client_frame_bytes_max: usize,
    /// Bytes that may wait for one peer, sealed or not. At least two of the longest frames.
    pub peer_queue_bytes_max: usize,
    /// Bytes that may wait for one client; one more frame and it is disconnected. At least one of
    /// the longest frames.
    pub client_queue_bytes_max: usize,
    /// Bytes that may wait for all clients together; beyond that the one that most waits for is
    /// disconnected. At least as many as for one.
    pub clients_queue_bytes_max: usize,
    /// Authenticated clients at one time.
    pub clients_max: usize,
    /// A client that has sent nothing for this long may have to make room for another one.
    pub client_idle_min: Duration,
    /// Of these, with one key.
    pub clients_per_key_max: usize,
    /// Accepted connections on one port that have not proved who they are. One more evicts the
    /// oldest.
    pub unauthenticated_max: usize,
    /// From accept or dial to the end of the handshake, absolute.
    pub handshake_timeout: Duration,
    /// Connections accepted in one turn on one port, and handshake steps done in one turn at one
    /// port, and of own dials: a step costs some hundred microseconds at most, and peers must not
    /// wait behind a flood.
    pub handshakes_per_turn: usize,
    /// Bytes read from one peer in one turn.
    pub peer_read_bytes_per_turn: usize,
    /// Frames of one peer that one turn hands over, and messages of it that it opens.
    pub peer_frames_per_turn: usize,
    /// Bytes read from one client in one turn.
    pub client_read_bytes_per_turn: usize,
    /// Bytes read from all clients together in one turn; one read more.
    pub clients_read_bytes_per_turn: usize,
    /// Frames of all clients together that one turn hands over, and messages that it opens, until
    /// [`crate::Net::set_client_budget`] says otherwise.
    pub client_frames_per_turn: usize,
    /// Size of a peer's read buffer, bytes: how much one read call can take.
    pub peer_read_buffer_bytes: usize,
    /// Size of a client's read buffer, bytes.
    pub client_read_buffer_bytes: usize,
    /// An empty frame is sent to a peer that was sent nothing for this long.
    pub keepalive_interval: Duration,
    /// A peer that sent nothing for this long is disconnected and dialed again.
    pub silence_max: Duration,
    /// First delay before a failed dial is repeated.
    pub redial_min: Duration,
    /// Longest delay before a failed dial is repeated.
    pub redial_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 2 * 1024 * 1024,
            client_frame_bytes_max: 128 * 1024,
            peer_queue_bytes_max: 16 * 1024 * 1024,
            client_queue_bytes_max: 4 * 1024 * 1024,
            clients_queue_bytes_max: 256 * 1024 * 1024,
            clients_max: 1024,
            client_idle_min: Duration::from_secs(30),
            clients_per_key_max: 64,
            unauthenticated_max: 512,
            handshake_timeout: Duration::from_secs(5),
            handshakes_per_turn: 2,
            peer_read_bytes_per_turn: 1024 * 1024,
            peer_frames_per_turn: 1024,
            client_read_bytes_per_turn: 64 * 1024,
            clients_read_bytes_per_turn: 1024 * 1024,
            client_frames_per_turn: 1024,
            peer_read_buffer_bytes: 128 * 1024,
            client_read_buffer_bytes: 8 * 1024,
            keepalive_interval: Duration::from_secs(1),
            silence_max: Duration::from_secs(5),
            redial_min: Duration::from_millis(20),
            redial_max: Duration::from_secs(2),
        }
    }
}

/// No frame may be longer than this, whatever is configured, bytes.
const FRAME_BYTES_MAX_EVER: usize = 64 * 1024 * 1024;

impl Limits {
    /// Checks the bounds against one another.
    ///
    /// # Errors
    /// [`NetError::Limit`] naming the first field that is out of its range.
    pub fn check(&self) -> Result<(), NetError> {
        let checks = [
            (
                "frame_bytes_max",
                (1..=FRAME_BYTES_MAX_EVER).contains(&self.frame_bytes_max),
            ),
            (
                "client_frame_bytes_max",
                (1..=self.frame_bytes_max).contains(&self.client_frame_bytes_max),
            ),
            (
                "peer_queue_bytes_max",
                self.peer_queue_bytes_max >= 2 * (self.frame_bytes_max + FRAME_PREFIX_BYTES),
            ),
            (
                "client_queue_bytes_max",
                self.client_queue_bytes_max >= self.frame_bytes_max + FRAME_PREFIX_BYTES,
            ),
            (
                "clients_queue_bytes_max",
                self.clients_queue_bytes_max >= self.client_queue_bytes_max,
            ),
            ("clients_max", self.clients_max <= 1 << 20),
            ("clients_per_key_max", self.clients_per_key_max > 0),
            (
                "unauthenticated_max",
                (1..=1 << 16).contains(&self.unauthenticated_max),
            ),
            ("handshake_timeout", !self.handshake_timeout.is_zero()),
            ("handshakes_per_turn", self.handshakes_per_turn > 0),
            (
                "peer_read_bytes_per_turn",
                self.peer_read_bytes_per_turn > 0,
            ),
            ("peer_frames_per_turn", self.peer_frames_per_turn > 0),
            (
                "client_read_bytes_per_turn",
                self.client_read_bytes_per_turn > 0,
            ),
            (
                "clients_read_bytes_per_turn",
                self.clients_read_bytes_per_turn > 0,
            ),
            ("client_frames_per_turn", self.client_frames_per_turn > 0),
            (
                "peer_read_buffer_bytes",
                self.peer_read_buffer_bytes >= READ_BYTES_UNAUTHENTICATED,
            ),
            (
                "client_read_buffer_bytes",
                self.client_read_buffer_bytes >= READ_BYTES_UNAUTHENTICATED,
            ),
            ("keepalive_interval", !self.keepalive_interval.is_zero()),
            (
                "silence_max",
                self.silence_max >= 2 * self.keepalive_interval,
            ),
            ("redial_min", !self.redial_min.is_zero()),
            ("redial_max", self.redial_max >= self.redial_min),
        ];
        match checks.into_iter().find(|(_, holds)| !holds) {
            Some((field, _)) => Err(NetError::Limit { field }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_limits_agree_with_one_another() {
        Limits::default().check().unwrap();
    }

    #[test]
    fn a_limit_out_of_range_is_named() {
        let limits = Limits {
            peer_queue_bytes_max: 1,
            ..Limits::default()
        };
        assert_eq!(
            limits.check().unwrap_err().to_string(),
            "limit peer_queue_bytes_max is out of its range"
        );
        let limits = Limits {
            silence_max: Duration::ZERO,
            ..Limits::default()
        };
        assert!(limits.check().is_err());
    }
}
