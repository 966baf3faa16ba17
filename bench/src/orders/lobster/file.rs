//! The files of a LOBSTER recording.
//!
//! Owns the reading of message files and of the first line of order book files, and the errors
//! that name the file, the line, the column and what was expected. Never: what a message means
//! for the venue.

use super::{LobsterError, MESSAGES_MAX, read_error};
use quorate_venue::Side;
use quorate_venue::instruments::{PRICE_TICKS_ABS_MAX, SIZE_LOTS_MAX};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Bytes of one line at most; a book of 50 levels has about 3,000.
const LINE_BYTES_MAX: u64 = 1 << 16;

/// Price of a level on which nothing stands.
const UNOCCUPIED_ASK: &str = "9999999999";
const UNOCCUPIED_BID: &str = "-9999999999";

/// What a message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageKind {
    /// 1: a new limit order.
    Limit,
    /// 2: a resting order was made smaller by the size.
    Reduce,
    /// 3: a resting order was deleted.
    Delete,
    /// 4: a visible resting order traded.
    Execution,
    /// 5: a hidden order traded, or 6: an auction did.
    Unseen,
    /// 7 with price -1.
    Halt,
    /// 7 with price 0 (quotes) or 1 (trades).
    Resume,
}

/// One line of a message file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// After midnight.
    pub(super) time_ns: u64,
    pub(super) order: u64,
    pub(super) size_lots: u64,
    pub(super) price_ticks: i64,
    pub(super) kind: MessageKind,
    /// Of the resting order.
    pub(super) side: Side,
}

/// One occupied level of a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BookLevel {
    pub(super) side: Side,
    pub(super) price_ticks: i64,
    pub(super) size_lots: u64,
}

/// The fields of one line, taken from the left.
struct Line<'a> {
    path: &'a Path,
    line: usize,
    column: usize,
    fields: std::str::Split<'a, char>,
}

impl<'a> Line<'a> {
    fn new(path: &'a Path, line: usize, text: &'a str) -> Self {
        Self {
            path,
            line,
            column: 0,
            fields: text.split(','),
        }
    }

    /// The error that the field taken last should have been something else.
    fn error(&self, expected: &'static str, found: &str) -> LobsterError {
        LobsterError::Field {
            path: self.path.to_owned(),
            line: self.line,
            column: self.column,
            expected,
            found: found.chars().take(40).collect(),
        }
    }

    /// Takes a field and makes something of it.
    fn take<T>(
        &mut self,
        expected: &'static str,
        parse: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, LobsterError> {
        self.column += 1;
        let text = self
            .fields
            .next()
            .ok_or_else(|| self.error(expected, "the end of the line"))?;
        parse(text).ok_or_else(|| self.error(expected, text))
    }

    fn finish(mut self) -> Result<(), LobsterError> {
        self.column += 1;
        match self.fields.next() {
            None => Ok(()),
            Some(text) => Err(self.error("the end of the line", text)),
        }
    }
}

/// Opens the file at `path` for reading by lines.
pub(super) fn opened(path: &Path) -> Result<BufReader<File>, LobsterError> {
    // A recording is read twice, to be judged before anything starts: a pipe gives it once.
    let file = std::fs::metadata(path).and_then(|found| {
        if found.is_file() {
            File::open(path)
        } else {
            Err(std::io::Error::other("it is no regular file"))
        }
    });
    file.map(BufReader::new)
        .map_err(|source| read_error(path, source))
}

/// Calls `each` with the number and the text of every line until it says to stop.
fn each_line(
    mut reader: impl BufRead,
    path: &Path,
    mut each: impl FnMut(usize, &str) -> Result<bool, LobsterError>,
) -> Result<(), LobsterError> {
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let mut limited = reader.by_ref().take(LINE_BYTES_MAX);
        let length = limited
            .read_until(b'\n', &mut bytes)
            .map_err(|source| read_error(path, source))?;
        if length == 0 {
            return Ok(());
        }
        let whole = bytes.last() == Some(&b'\n');
        let fault = |expected, found: &str| Line::new(path, line, "").error(expected, found);
        if !whole && length as u64 == LINE_BYTES_MAX {
            return Err(fault("a line of less than 65536 bytes", "a longer one"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| fault("text", "other bytes"))?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        if !each(line, text.strip_suffix('\r').unwrap_or(text))? {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads a message file whole; `path` stands in errors.
pub(super) fn read_messages(file: impl BufRead, path: &Path) -> Result<Vec<Message>, LobsterError> {
    let mut messages: Vec<Message> = Vec::new();
    each_line(file, path, |line, text| {
        if messages.len() == MESSAGES_MAX {
            return Err(LobsterError::TooLong {
                path: path.to_owned(),
            });
        }
        let earliest_ns = messages.last().map_or(0, |message| message.time_ns);
        messages.push(parse_message(Line::new(path, line, text), earliest_ns)?);
        Ok(true)
    })?;
    Ok(messages)
}

fn parse_message(mut line: Line<'_>, earliest_ns: u64) -> Result<Message, LobsterError> {
    let time_ns = line.take(
        "a time in seconds, not before that of the line above",
        |text| parse_time_ns(text).filter(|&time_ns| time_ns >= earliest_ns),
    )?;
    let number = line.take("a type, 1 to 7", |text| {
        text.parse::<u8>()
            .ok()
            .filter(|number| (1..=7).contains(number))
    })?;
    // Only what becomes an order has an id, a size and a price that must make sense: a cross tells
    // which one it is by an id below zero.
    let visible = number <= 4;
    let order = line.take("an order id", |text| {
        let order = text.parse::<u64>();
        if visible {
            return order.ok();
        }
        order.ok().or_else(|| text.parse::<i64>().ok().map(|_| 0))
    })?;
    let order = if visible { order } else { 0 };
    let size_lots = line.take("a size, a whole number above 0", |text| {
        let size = text.parse::<u64>().ok()?;
        (!visible || (1..=SIZE_LOTS_MAX).contains(&size)).then_some(size)
    })?;
    let price_expected = match number {
        7 => "-1 for a halt, 0 or 1 for a resumption",
        _ => "a price times 10000, a whole number above 0",
    };
    let price_ticks = line.take(price_expected, |text| {
        let price = text.parse::<i64>().ok()?;
        let allowed = match number {
            7 => (-1..=1).contains(&price),
            _ => !visible || (1..=PRICE_TICKS_ABS_MAX).contains(&price),
        };
        allowed.then_some(price)
    })?;
    let side = line.take("a direction, 1 for buy or -1 for sell", |text| match text {
        "1" => Some(Side::Buy),
        "-1" => Some(Side::Sell),
        _ => None,
    })?;
    line.finish()?;
    let kind = match number {
        1 => MessageKind::Limit,
        2 => MessageKind::Reduce,
        3 => MessageKind::Delete,
        4 => MessageKind::Execution,
        5 | 6 => MessageKind::Unseen,
        _ if price_ticks == -1 => MessageKind::Halt,
        _ => MessageKind::Resume,
    };
    Ok(Message {
        time_ns,
        order,
        size_lots,
        price_ticks,
        kind,
        side,
    })
}

/// Seconds with a fraction, as nanoseconds. What is finer is cut off.
fn parse_time_ns(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) {
        return None;
    }
    let mut fraction_ns = 0;
    for place in 0..9 {
        let digit = fraction.as_bytes().get(place).map_or(0, |byte| byte - b'0');
        fraction_ns = fraction_ns * 10 + u64::from(digit);
    }
    seconds
        .parse::<u64>()
        .ok()?
        .checked_mul(1_000_000_000)?
        .checked_add(fraction_ns)
}

/// Reads the first line of an order book file: ask price, ask size, bid price, bid size of level
/// 1, then of level 2, and so on. Gives the occupied levels in the order of the line.
///
/// `path` stands in errors.
pub(super) fn read_book(file: impl BufRead, path: &Path) -> Result<Vec<BookLevel>, LobsterError> {
    let mut levels = None;
    each_line(file, path, |number, text| {
        let count = text.split(',').count().div_ceil(2);
        let mut line = Line::new(path, number, text);
        let mut occupied = Vec::new();
        // A line that ends after an ask lacks a bid, and the error says so.
        for side in [Side::Sell, Side::Buy]
            .into_iter()
            .cycle()
            .take(count.next_multiple_of(2))
        {
            occupied.extend(parse_level(&mut line, side)?);
        }
        levels = Some(occupied);
        Ok(false)
    })?;
    levels.ok_or_else(|| Line::new(path, 1, "").error("the levels of a book", "an empty file"))
}

fn parse_level(line: &mut Line<'_>, side: Side) -> Result<Option<BookLevel>, LobsterError> {
    let (unoccupied, expected) = match side {
        Side::Sell => (UNOCCUPIED_ASK, "an ask price times 10000, or 9999999999"),
        Side::Buy => (UNOCCUPIED_BID, "a bid price times 10000, or -9999999999"),
    };
    let price_ticks = line.take(expected, |text| {
        if text == unoccupied {
            return Some(None);
        }
        let price = text.parse::<i64>().ok()?;
        (1..=PRICE_TICKS_ABS_MAX)
            .contains(&price)
            .then_some(Some(price))
    })?;
    match price_ticks {
        None => {
            line.take("size 0 of an unoccupied level", |text| {
                (text == "0").then_some(())
            })?;
            Ok(None)
        }
        Some(price_ticks) => {
            let size_lots = line.take("a size, a whole number above 0", |text| {
                text.parse::<u64>()
                    .ok()
                    .filter(|size| (1..=SIZE_LOTS_MAX).contains(size))
            })?;
            Ok(Some(BookLevel {
                side,
                price_ticks,
                size_lots,
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Message, LobsterError> {
        parse_message(Line::new(Path::new("some.csv"), 3, text), 1_000_000_000)
    }

    #[test]
    fn what_gives_its_bytes_once_is_no_recording() {
        let error = opened(Path::new("/dev/null")).expect_err("a device");
        let told = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(told.as_deref(), Some("it is no regular file"), "{error}");
    }

    #[test]
    fn each_type_is_read() {
        let message = parse("34200.004241176,1,16113575,18,5853300,1").unwrap();
        let expected = Message {
            time_ns: 34_200_004_241_176,
            order: 16_113_575,
            size_lots: 18,
            price_ticks: 5_853_300,
            kind: MessageKind::Limit,
            side: Side::Buy,
        };
        assert_eq!(message, expected);
        for (text, kind) in [
            ("2,2,7,1,10,-1", MessageKind::Reduce),
            ("2,3,7,1,10,-1", MessageKind::Delete),
            ("2,4,7,1,10,-1", MessageKind::Execution),
            ("2,5,0,1,10,-1", MessageKind::Unseen),
            ("2,6,0,1,10,-1", MessageKind::Unseen),
            ("2,7,0,0,-1,-1", MessageKind::Halt),
            ("2,7,0,0,0,-1", MessageKind::Resume),
            ("2,7,0,0,1,-1", MessageKind::Resume),
        ] {
            assert_eq!(parse(text).unwrap().kind, kind, "{text}");
        }
    }

    #[test]
    fn times_are_whole_nanoseconds() {
        assert_eq!(parse_time_ns("34200.1"), Some(34_200_100_000_000));
        assert_eq!(parse_time_ns("34200"), Some(34_200_000_000_000));
        assert_eq!(parse_time_ns("0.0000000019"), Some(1));
        for bad in [
            "",
            ".",
            "1.",
            ".5",
            "-1.0",
            "1e3",
            "1.2.3",
            "99999999999999999999",
        ] {
            assert_eq!(parse_time_ns(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_bad_field_is_named_by_file_line_and_column() {
        for (text, at, word) in [
            ("x,1,7,1,10,1", 1, "time"),
            ("0.5,1,7,1,10,1", 1, "not before"),
            ("2,8,7,1,10,1", 2, "type"),
            ("2,1,-7,1,10,1", 3, "order id"),
            ("2,1,7,0,10,1", 4, "size"),
            ("2,1,7,1,0,1", 5, "price"),
            ("2,7,0,0,2,1", 5, "halt"),
            ("2,1,7,1,10,0", 6, "direction"),
            ("2,1,7,1,10", 6, "direction"),
            ("2,1,7,1,10,1,", 7, "end of the line"),
            ("", 1, "time"),
        ] {
            let error = parse(text).unwrap_err();
            let LobsterError::Field {
                line,
                column,
                expected,
                ..
            } = &error
            else {
                panic!("{error}")
            };
            assert_eq!((*line, *column), (3, at), "{text}: {error}");
            assert!(expected.contains(word), "{text}: {error}");
            assert!(
                error.to_string().starts_with("some.csv, line 3, column"),
                "{error}"
            );
        }
    }
}
