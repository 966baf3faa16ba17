//! How this crate's bytes are read and written.
//!
//! Owns the bounds-checked reader, the error of a failed decoding, and the rules all formats of
//! the crate share. Never: the meaning of a field (that stands beside each format, in
//! [`commands`](crate::commands), [`reports`](crate::reports) and [`query`](crate::query)).
//!
//! The rules: integers are little-endian and fixed-width; a message starts with one byte that
//! says its kind; fields follow without padding, in the order of the struct that documents them;
//! there are no optional fields and no varints. A kind fixes the length, and a longer or shorter
//! message is refused. An enumeration refuses numbers it does not name, and a field that a kind
//! does not use must hold zero. So a value has exactly one encoding, and two byte strings that
//! decode alike are alike.

use quorate::state_machine::SessionId;
use thiserror::Error;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// There are no bytes at all.
    #[error("empty message")]
    Empty,
    /// No message starts with this byte.
    #[error("unknown kind {0}")]
    UnknownKind(u8),
    /// The message is shorter or longer than its kind says.
    #[error("kind {kind} must not be {actual_bytes} bytes long")]
    Length {
        /// The first byte of the message.
        kind: u8,
        /// How long the message is.
        actual_bytes: usize,
    },
    /// A field holds a value that its type does not have.
    #[error("kind {kind}: field {field} holds a value it must not")]
    Field {
        /// The first byte of the message.
        kind: u8,
        /// The name of the field.
        field: &'static str,
    },
}

/// A cursor over the fields of one message.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    kind: u8,
    rest: &'a [u8],
    bytes_all: usize,
}

impl<'a> Reader<'a> {
    /// Takes the kind off the front.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (&kind, rest) = bytes.split_first().ok_or(DecodeError::Empty)?;
        Ok(Self {
            kind,
            rest,
            bytes_all: bytes.len(),
        })
    }

    /// A cursor over bytes that carry no kind, as the sections of a snapshot.
    pub(crate) const fn bare(bytes: &'a [u8]) -> Self {
        Self {
            kind: 0,
            rest: bytes,
            bytes_all: bytes.len(),
        }
    }

    pub(crate) const fn kind(&self) -> u8 {
        self.kind
    }

    /// How many bytes are still to be read.
    pub(crate) const fn rest_bytes(&self) -> usize {
        self.rest.len()
    }

    const fn length_error(&self) -> DecodeError {
        DecodeError::Length {
            kind: self.kind,
            actual_bytes: self.bytes_all,
        }
    }

    /// The error of a field whose value is not one of its type's.
    pub(crate) const fn field_error(&self, field: &'static str) -> DecodeError {
        DecodeError::Field {
            kind: self.kind,
            field,
        }
    }

    /// Takes the next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| self.length_error())?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(crate) fn session(&mut self) -> Result<SessionId, DecodeError> {
        Ok(SessionId(self.array()?))
    }

    /// Takes one byte that is 0 or 1.
    pub(crate) fn flag(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        self.choice(field, |number| match number {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        })
    }

    /// Takes one byte that numbers a value of an enumeration.
    pub(crate) fn choice<T>(
        &mut self,
        field: &'static str,
        from_u8: impl FnOnce(u8) -> Option<T>,
    ) -> Result<T, DecodeError> {
        let number = self.u8()?;
        from_u8(number).ok_or_else(|| self.field_error(field))
    }

    /// Ends the reading: nothing may be left.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.length_error())
        }
    }
}

/// Appends fields to a message; the counterpart of [`Reader`].
#[derive(Debug)]
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }
}

/// A type that stands in messages as a field of fixed width.
pub(crate) trait Field: Sized {
    /// Appends the bytes of the value.
    fn put(self, writer: &mut Writer<'_>);
    /// Takes a value; `name` is for the error.
    fn take(reader: &mut Reader<'_>, name: &'static str) -> Result<Self, DecodeError>;
}

macro_rules! integer_fields {
    ($($integer:ident),+) => {
        $(impl Field for $integer {
            fn put(self, writer: &mut Writer<'_>) {
                writer.$integer(self);
            }

            fn take(reader: &mut Reader<'_>, _: &'static str) -> Result<Self, DecodeError> {
                reader.$integer()
            }
        })+
    };
}
integer_fields!(u8, u32, u64, i64);

macro_rules! id_fields {
    ($($id:path),+) => {
        $(impl Field for $id {
            fn put(self, writer: &mut Writer<'_>) {
                self.0.put(writer);
            }

            fn take(reader: &mut Reader<'_>, name: &'static str) -> Result<Self, DecodeError> {
                Ok(Self(Field::take(reader, name)?))
            }
        })+
    };
}
id_fields!(
    crate::commands::ClientOrderId,
    crate::feeds::FeedId,
    crate::instruments::InstrumentId,
    crate::reports::OrderNumber
);

impl Field for bool {
    fn put(self, writer: &mut Writer<'_>) {
        writer.u8(u8::from(self));
    }

    fn take(reader: &mut Reader<'_>, name: &'static str) -> Result<Self, DecodeError> {
        reader.flag(name)
    }
}

impl Field for SessionId {
    fn put(self, writer: &mut Writer<'_>) {
        writer.bytes(&self.0);
    }

    fn take(reader: &mut Reader<'_>, _: &'static str) -> Result<Self, DecodeError> {
        reader.session()
    }
}

/// Declares an enumeration of one byte whose numbers are part of a format.
macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $number:literal,)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$variant_meta])* $variant = $number,)+
        }

        impl $name {
            /// Every value, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value with this number, if there is one.
            #[must_use]
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl $crate::wire::Field for $name {
            fn put(self, writer: &mut $crate::wire::Writer<'_>) {
                writer.u8(self as u8);
            }

            fn take(
                reader: &mut $crate::wire::Reader<'_>,
                name: &'static str,
            ) -> Result<Self, $crate::wire::DecodeError> {
                reader.choice(name, Self::from_u8)
            }
        }
    };
}
pub(crate) use wire_enum;

/// Declares an enumeration of messages whose bytes are their kind and then their fields, in the
/// order in which they stand here: one list for both directions.
macro_rules! wire_messages {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $kind:literal {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)+
        },)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_meta])* $variant { $($(#[$field_meta])* $field: $type,)+ },)+
        }

        impl $name {
            /// The byte that starts this message.
            #[must_use]
            pub const fn kind(&self) -> u8 {
                match self {
                    $(Self::$variant { .. } => $kind,)+
                }
            }

            /// Appends the bytes of this message.
            pub fn encode(&self, bytes: &mut Vec<u8>) {
                let mut writer = $crate::wire::Writer(bytes);
                match *self {
                    $(Self::$variant { $($field),+ } => {
                        writer.u8($kind);
                        $($crate::wire::Field::put($field, &mut writer);)+
                    })+
                }
            }

            /// The message in these bytes.
            ///
            /// # Errors
            ///
            /// See [`DecodeError`](crate::wire::DecodeError).
            pub fn decode(bytes: &[u8]) -> Result<Self, $crate::wire::DecodeError> {
                let mut reader = $crate::wire::Reader::new(bytes)?;
                let message = match reader.kind() {
                    $($kind => Self::$variant {
                        $($field: $crate::wire::Field::take(&mut reader, stringify!($field))?,)+
                    },)+
                    kind => return Err($crate::wire::DecodeError::UnknownKind(kind)),
                };
                reader.finish()?;
                Ok(message)
            }
        }
    };
}
pub(crate) use wire_messages;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_refuses_what_is_too_short_and_what_is_left_over() {
        let mut reader = Reader::new(&[7, 1, 0, 0]).unwrap();
        assert_eq!(
            reader.u32(),
            Err(DecodeError::Length {
                kind: 7,
                actual_bytes: 4
            })
        );
        let mut reader = Reader::new(&[7, 1, 0]).unwrap();
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(
            reader.finish(),
            Err(DecodeError::Length {
                kind: 7,
                actual_bytes: 3
            })
        );
        assert_eq!(Reader::new(&[]).unwrap_err(), DecodeError::Empty);
    }

    #[test]
    fn integers_are_little_endian() {
        let mut bytes = Vec::new();
        Writer(&mut bytes).u8(9).u16(0x0102).u32(3).u64(4).i64(-1);
        assert_eq!(bytes[..3], [9, 2, 1]);
        let mut reader = Reader::new(&bytes).unwrap();
        assert_eq!(reader.u16(), Ok(0x0102));
        assert_eq!(reader.u32(), Ok(3));
        assert_eq!(reader.u64(), Ok(4));
        assert_eq!(reader.i64(), Ok(-1));
        assert_eq!(reader.finish(), Ok(()));
    }
}
