//! What a session says about itself: that it lives, for how long it may be silent, that it ends.
//!
//! Owns the bytes of these commands. They stand in the body of a command flagged `SESSION`, behind
//! the key where that opens the session. Never: what follows from them; the table knows.

/// Shortest time-out that a session may declare, nanoseconds; a shorter one is taken as this.
pub const TIMEOUT_MIN_NS: u64 = 100_000_000;
/// Longest time-out that a session may declare, nanoseconds: a day; a longer one is taken as this.
pub const TIMEOUT_MAX_NS: u64 = 86_400_000_000_000;

/// A command that is the session's own and not the application's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionCommand {
    /// A sign of life, as every command of the session is.
    Heartbeat,
    /// From here on the application is told when nothing of the session is finalized for this long
    /// in replicated time, nanoseconds; 0 for never.
    Timeout(u64),
    /// The session ends, until its key opens it anew.
    Close,
}

impl SessionCommand {
    /// Appends its bytes: a kind, and the time of a time-out.
    pub fn encode(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Heartbeat => bytes.push(0),
            Self::Timeout(ns) => {
                bytes.push(1);
                bytes.extend_from_slice(&ns.to_le_bytes());
            }
            Self::Close => bytes.push(2),
        }
    }

    /// What these bytes say. What is none of the commands is taken as a sign of life: the command
    /// has been numbered and must do something, and the same on every validator.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        match bytes {
            [1, ns @ ..] => match <[u8; 8]>::try_from(ns).map(u64::from_le_bytes) {
                Ok(0) => Self::Timeout(0),
                Ok(ns) => Self::Timeout(ns.clamp(TIMEOUT_MIN_NS, TIMEOUT_MAX_NS)),
                Err(_) => Self::Heartbeat,
            },
            [2] => Self::Close,
            _ => Self::Heartbeat,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_read_back_and_anything_else_is_a_sign_of_life() {
        for command in [
            SessionCommand::Heartbeat,
            SessionCommand::Timeout(0),
            SessionCommand::Timeout(TIMEOUT_MIN_NS),
            SessionCommand::Timeout(TIMEOUT_MAX_NS),
            SessionCommand::Close,
        ] {
            let mut bytes = Vec::new();
            command.encode(&mut bytes);
            assert_eq!(SessionCommand::decode(&bytes), command);
            bytes.push(0);
            assert_eq!(SessionCommand::decode(&bytes), SessionCommand::Heartbeat);
        }
        for bytes in [&[][..], &[3], &[1, 5], &[1; 8], &[2, 2]] {
            assert_eq!(SessionCommand::decode(bytes), SessionCommand::Heartbeat);
        }
    }

    #[test]
    fn a_time_out_is_kept_within_its_bounds() {
        for (given, taken) in [
            (1, TIMEOUT_MIN_NS),
            (u64::MAX, TIMEOUT_MAX_NS),
            (5_000_000_000, 5_000_000_000),
        ] {
            let mut bytes = Vec::new();
            SessionCommand::Timeout(given).encode(&mut bytes);
            assert_eq!(
                SessionCommand::decode(&bytes),
                SessionCommand::Timeout(taken)
            );
        }
    }
}
