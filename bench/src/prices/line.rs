//! One price in one line of text.
//!
//! Owns the format: four decimal integers between single spaces, the feed's number, the price and
//! the confidence in the feed's units, and the time the source gave it in nanoseconds since the
//! Unix epoch. An empty line, or one that begins with `#`, says nothing. Never: whether a price is
//! sane; the venue refuses one that is not.

use core::str::FromStr;

use quorate_venue::FeedId;

/// Longest line, without its end.
pub const LINE_BYTES_MAX: usize = 128;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceLine {
    /// Of which feed.
    pub feed: FeedId,
    /// The price in the feed's units.
    pub price: i64,
    /// Half the width of the range in which the price is believed to be.
    pub confidence: i64,
    /// When the source gave it, nanoseconds since the Unix epoch.
    pub source_time_ns: u64,
}

/// Why a line is no price.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The line does not end in time.
    #[error("longer than {LINE_BYTES_MAX} bytes")]
    Long,
    /// A byte that is not printable ASCII.
    #[error("a byte that is not printable ASCII")]
    Bytes,
    /// Too few or too many fields.
    #[error("{0} fields instead of feed, price, confidence and time")]
    Fields(usize),
    /// A field that is not a number of its width.
    #[error("field {field}: {text:?} is not an integer that fits")]
    Number {
        /// Its name.
        field: &'static str,
        /// What stands there.
        text: String,
    },
}

fn number<T: FromStr>(field: &'static str, text: &str) -> Result<T, LineError> {
    text.parse().map_err(|_| LineError::Number {
        field,
        text: text.to_owned(),
    })
}

impl PriceLine {
    /// What a line without its end says; `None` if nothing.
    ///
    /// # Errors
    /// The line is no price.
    pub fn parse(line: &[u8]) -> Result<Option<Self>, LineError> {
        if line.len() > LINE_BYTES_MAX {
            return Err(LineError::Long);
        }
        let printable = |byte: &u8| (b' '..=b'~').contains(byte);
        let text = core::str::from_utf8(line).map_err(|_| LineError::Bytes)?;
        if !line.iter().all(printable) {
            return Err(LineError::Bytes);
        }
        if text.is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        let fields: Vec<&str> = text.split(' ').collect();
        let &[feed, price, confidence, time] = fields.as_slice() else {
            return Err(LineError::Fields(fields.len()));
        };
        Ok(Some(Self {
            feed: FeedId(number("feed", feed)?),
            price: number("price", price)?,
            confidence: number("confidence", confidence)?,
            source_time_ns: number("time", time)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_four_integers_and_nothing_else() {
        let line = PriceLine {
            feed: FeedId(1),
            price: -5,
            confidence: 3,
            source_time_ns: u64::MAX,
        };
        let text = format!("1 -5 3 {}", u64::MAX);
        assert_eq!(PriceLine::parse(text.as_bytes()), Ok(Some(line)));
        for nothing in [&b""[..], b"# feed price confidence time"] {
            assert_eq!(PriceLine::parse(nothing), Ok(None));
        }
        let number = |field, text: &str| LineError::Number {
            field,
            text: text.to_owned(),
        };
        for (bad, error) in [
            (&b"1 2 3"[..], LineError::Fields(3)),
            (b"1 2 3 4 5", LineError::Fields(5)),
            (b"1  2 3", number("price", "")),
            (b"-1 2 3 4", number("feed", "-1")),
            (b"1 2.5 3 4", number("price", "2.5")),
            (
                b"1 9223372036854775808 3 4",
                number("price", "9223372036854775808"),
            ),
            (b"1 2 x 4", number("confidence", "x")),
            (b"1 2 3 -4", number("time", "-4")),
            (b"1 2 3 4\r", LineError::Bytes),
            (b"1 2 3 \xff", LineError::Bytes),
            (&[b'1'; LINE_BYTES_MAX + 1], LineError::Long),
        ] {
            assert_eq!(PriceLine::parse(bad), Err(error), "{bad:?}");
        }
    }
}
