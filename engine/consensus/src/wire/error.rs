//! Why bytes are not a message. Owns the words only.

use core::fmt;

/// Why a decoder refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end inside a value.
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes it takes.
        needed: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// Bytes are left after the value.
    Trailing {
        /// How many.
        left: usize,
    },
    /// No such kind.
    UnknownTag {
        /// Kind of what.
        what: &'static str,
        /// The tag.
        tag: u8,
    },
    /// A byte that says yes or no says something else, or an undefined bit is set.
    NotCanonical {
        /// Which.
        what: &'static str,
        /// The byte.
        byte: u8,
    },
    /// More elements, or bytes, than its bound.
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many it says.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// Elements that must ascend without repeats do not.
    NotAscending {
        /// Which.
        what: &'static str,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { what, needed, left } => {
                write!(f, "{what}: {needed} bytes needed, {left} left")
            }
            Self::Trailing { left } => write!(f, "{left} bytes after the end"),
            Self::UnknownTag { what, tag } => write!(f, "{what}: unknown tag {tag}"),
            Self::NotCanonical { what, byte } => {
                write!(f, "{what}: byte {byte:#04x} is not canonical")
            }
            Self::TooMany { what, count, max } => {
                write!(f, "{what}: {count}, at most {max} are possible")
            }
            Self::NotAscending { what } => write!(f, "{what}: not ascending"),
        }
    }
}

impl core::error::Error for DecodeError {}
