//! What was read of one remote: messages as they came, and behind the last of them nothing; before
//! the first of them the plain text of those that were opened, until its frames are taken.
//!
//! Owns: the bytes from the socket to the frames, and their growth. Never: grows because of a
//! number that a remote sent; it grows by what is read, and whoever reads checks the bound first.
//!
//! A message is opened where it stands, to the end of the plain text before it: so a block is
//! copied nowhere on its way from the socket to who decodes it.

use std::io;
use std::ops::Range;

use crate::buffer::{KEPT_BYTES, grow};
use crate::error::CloseReason;
use crate::frame;
use crate::limits::{FRAME_PREFIX_BYTES, MESSAGE_PREFIX_BYTES};
use crate::session::Session;

/// See the module.
///
/// All of the storage is initialised, so that a socket can read straight into it. Invariant:
/// `plain.start <= plain.end <= raw.start <= raw.end <= data.len()`.
#[derive(Debug)]
pub(crate) struct Inbound {
    data: Vec<u8>,
    plain: Range<usize>,
    raw: Range<usize>,
    kept_bytes: usize,
}

impl Inbound {
    pub(crate) const fn new() -> Self {
        Self {
            data: Vec::new(),
            plain: 0..0,
            raw: 0..0,
            kept_bytes: KEPT_BYTES,
        }
    }

    /// Keeps `bytes` of memory when it runs empty.
    pub(crate) const fn keep(&mut self, bytes: usize) {
        self.kept_bytes = bytes;
    }

    /// What was read and not opened.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.data[self.raw.clone()]
    }

    /// Forgets the first `bytes` of what was read.
    pub(crate) fn take_raw(&mut self, bytes: usize) {
        assert!(bytes <= self.raw.len(), "more was taken than was read");
        self.raw.start += bytes;
        self.settle();
    }

    /// Opens the message of `bytes` that stands first, behind its prefix.
    ///
    /// # Errors
    /// What [`Session::open_within`] says.
    pub(crate) fn open(&mut self, session: &mut Session, bytes: usize) -> Result<(), CloseReason> {
        let end = self.raw.start + MESSAGE_PREFIX_BYTES + bytes;
        let start = self.raw.start + MESSAGE_PREFIX_BYTES - self.plain.end;
        let opened = session.open_within(&mut self.data[self.plain.end..end], start)?;
        self.plain.end += opened;
        self.raw.start = end;
        Ok(())
    }

    /// Skips keep-alives and gives the next frame, if all of it is there; follow with
    /// [`Inbound::take_frame`].
    ///
    /// # Errors
    /// [`CloseReason::FrameLength`] as soon as a prefix announces more than `frame_bytes_max`.
    pub(crate) fn next_frame(
        &mut self,
        frame_bytes_max: usize,
    ) -> Result<Option<&[u8]>, CloseReason> {
        let plain = &self.data[self.plain.clone()];
        let skipped = frame::keepalives_bytes(plain);
        let bytes = frame::whole(&plain[skipped..], frame_bytes_max)?;
        if skipped > 0 {
            self.plain.start += skipped;
            self.settle();
        }
        let Some(bytes) = bytes else {
            return Ok(None);
        };
        Ok(Some(
            &self.data[self.plain.start + FRAME_PREFIX_BYTES..][..bytes],
        ))
    }

    /// Forgets the frame of `bytes` that stands first.
    pub(crate) fn take_frame(&mut self, bytes: usize) {
        let bytes = FRAME_PREFIX_BYTES + bytes;
        assert!(bytes <= self.plain.len(), "more was taken than was opened");
        self.plain.start += bytes;
        self.settle();
    }

    /// One read from `source`, into at least `bytes_min` of room and no more than `bytes_max`,
    /// unless that is less: it may have as much room as the longest frame took. Returns (read, room
    /// offered).
    ///
    /// # Errors
    /// What the source reports, `WouldBlock` included.
    pub(crate) fn read_from(
        &mut self,
        source: &mut impl io::Read,
        bytes_min: usize,
        bytes_max: usize,
    ) -> io::Result<(usize, usize)> {
        self.make_room(bytes_min);
        let room = &mut self.data[self.raw.end..];
        let offered = room.len().min(bytes_max.max(bytes_min));
        let read = source.read(&mut room[..offered])?;
        self.raw.end += read;
        Ok((read, offered))
    }

    /// Adds a message (without its length prefix) as if it had been read, and opens it. One that
    /// does not open changes nothing.
    ///
    /// # Errors
    /// What [`Session::open_within`] says.
    pub(crate) fn push_message(
        &mut self,
        session: &mut Session,
        message: &[u8],
    ) -> Result<(), CloseReason> {
        let bytes = MESSAGE_PREFIX_BYTES + message.len();
        self.make_room(bytes);
        self.raw.end += bytes;
        self.data[self.raw.clone()][MESSAGE_PREFIX_BYTES..].copy_from_slice(message);
        self.open(session, message.len()).inspect_err(|_| {
            self.take_raw(bytes);
        })
    }

    /// Adds plain text as if it had been opened. Nothing that was not opened may wait.
    pub(crate) fn push_plain(&mut self, plain: &[u8]) {
        assert!(self.raw.is_empty(), "what came before it is opened");
        self.make_room(plain.len());
        let end = self.raw.end + plain.len();
        self.data[self.raw.end..end].copy_from_slice(plain);
        self.plain = self.raw.start - self.plain.len()..end;
        self.raw = end..end;
    }

    /// What was opened and not taken.
    pub(crate) fn plain(&self) -> &[u8] {
        &self.data[self.plain.clone()]
    }

    /// Memory that it holds, bytes.
    #[cfg(test)]
    pub(crate) const fn memory_bytes(&self) -> usize {
        self.data.capacity()
    }

    /// What waits, opened or not, bytes.
    fn len(&self) -> usize {
        self.plain.len() + self.raw.len()
    }

    /// Begins at the front again once nothing waits, and gives back what it had grown beyond what
    /// it keeps once little does.
    fn settle(&mut self) {
        if self.plain.is_empty() {
            self.plain = self.raw.start..self.raw.start;
            if self.raw.is_empty() {
                (self.plain, self.raw) = (0..0, 0..0);
            }
        }
        if self.data.len() > self.kept_bytes && self.len() <= self.data.len() / 2 {
            self.shrink();
        }
    }

    /// Gives back a third of its memory or more, and moves what waits, half of it at most: so it
    /// holds no more than twice what waits, and the cost stays linear.
    #[cold]
    fn shrink(&mut self) {
        self.close_gaps();
        let waits = self.raw.end;
        self.data.truncate(self.kept_bytes.max(waits + waits / 4));
        self.data.shrink_to_fit();
    }

    /// Moves what waits to the front.
    fn close_gaps(&mut self) {
        let (plain, raw) = (self.plain.clone(), self.raw.clone());
        self.plain = 0..plain.len();
        self.raw = plain.len()..plain.len() + raw.len();
        if plain.start > 0 {
            self.data.copy_within(plain, 0);
        }
        if raw.start > self.raw.start {
            self.data.copy_within(raw, self.raw.start);
        }
    }

    /// Makes room for `bytes_min` behind what was read: moves what waits to the front, and grows
    /// by half at least where that is not enough, so that the cost of a long frame stays linear.
    fn make_room(&mut self, bytes_min: usize) {
        if self.data.len() - self.raw.end >= bytes_min {
            return;
        }
        self.close_gaps();
        let needed = self.raw.end + bytes_min;
        if self.data.len() < needed {
            grow(&mut self.data, needed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::buffer::Buffer;
    use crate::limits::TAG_BYTES;
    use crate::session::tests::pair;

    use proptest::prelude::*;

    /// Reads all of `bytes`.
    fn read(inbound: &mut Inbound, mut bytes: &[u8], room_min: usize) {
        while !bytes.is_empty() {
            inbound.read_from(&mut bytes, room_min, usize::MAX).unwrap();
        }
    }

    /// Length of the whole message that stands first.
    fn message_bytes(inbound: &Inbound) -> Option<usize> {
        let prefix = inbound.raw().first_chunk::<MESSAGE_PREFIX_BYTES>()?;
        let bytes = usize::from(u16::from_le_bytes(*prefix));
        (inbound.raw().len() >= MESSAGE_PREFIX_BYTES + bytes).then_some(bytes)
    }

    /// Takes what can be taken, as a connection does.
    fn take_all(inbound: &mut Inbound, session: &mut Session, frames: &mut Vec<Vec<u8>>) {
        loop {
            while let Some(frame) = inbound.next_frame(5000).unwrap() {
                frames.push(frame.to_vec());
                let bytes = frame.len();
                inbound.take_frame(bytes);
            }
            let Some(bytes) = message_bytes(inbound) else {
                return;
            };
            inbound.open(session, bytes).unwrap();
        }
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_wherever_messages_and_reads_are_cut(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..12),
            message in 1_usize..3000,
            piece in 1_usize..4000,
            kept_bytes in 0_usize..3000,
        ) {
            let (mut ours, mut theirs) = pair(1000);
            let mut stream = Vec::new();
            for frame in &frames {
                stream.extend_from_slice(&frame::prefix(frame.len()));
                stream.extend_from_slice(frame);
            }
            let mut wire = Buffer::new();
            for plain in stream.chunks(message) {
                ours.seal(plain, &mut wire).unwrap();
            }
            let (mut inbound, mut got) = (Inbound::new(), Vec::new());
            inbound.keep(kept_bytes);
            for piece in wire.bytes().chunks(piece) {
                read(&mut inbound, piece, 100);
                take_all(&mut inbound, &mut theirs, &mut got);
            }
            let sent: Vec<_> = frames.into_iter().filter(|frame| !frame.is_empty()).collect();
            prop_assert_eq!(got, sent);
            prop_assert_eq!(inbound.len(), 0);
            prop_assert!(inbound.memory_bytes() <= kept_bytes.max(100));
        }
    }

    #[test]
    fn a_read_is_no_longer_than_it_may_be_whatever_a_long_frame_has_grown() {
        let mut inbound = Inbound::new();
        inbound.keep(1_000_000);
        read(&mut inbound, &[7; 500_000], 500_000);
        inbound.take_raw(500_000);
        let source = [8; 400_000];
        for (bytes_min, bytes_max, expected) in [
            (1000, 3000, 3000),
            (1000, 0, 1000),
            (1000, 300_000, 300_000),
        ] {
            let taken = inbound.read_from(&mut &source[..], bytes_min, bytes_max);
            assert_eq!(taken.unwrap(), (expected, expected));
            inbound.take_raw(expected);
        }
    }

    #[test]
    fn what_does_not_open_and_a_frame_that_is_too_long_end_it() {
        let (mut ours, mut theirs) = pair(1000);
        let mut wire = Buffer::new();
        ours.seal(&frame::prefix(5001), &mut wire).unwrap();
        let mut altered = wire.bytes().to_vec();
        altered[MESSAGE_PREFIX_BYTES] ^= 1;
        let bytes = altered.len() - MESSAGE_PREFIX_BYTES;
        let mut inbound = Inbound::new();
        read(&mut inbound, &altered, 100);
        let end = inbound.open(&mut theirs, bytes);
        assert_eq!(end, Err(CloseReason::Decrypt));
        let mut inbound = Inbound::new();
        read(&mut inbound, wire.bytes(), 100);
        inbound.open(&mut theirs, bytes).unwrap();
        assert_eq!(
            inbound.next_frame(5000).map(drop),
            Err(CloseReason::FrameLength)
        );
    }

    /// A long frame in many messages is moved no more than a few times, however it comes.
    #[test]
    fn the_memory_of_a_long_frame_is_at_most_twice_what_waits_and_given_back() {
        let (mut ours, mut theirs) = pair(1_000_000);
        let mut inbound = Inbound::new();
        inbound.keep(10_000);
        let frame = vec![7; 3_000_000];
        let mut stream = frame::prefix(frame.len()).to_vec();
        stream.extend_from_slice(&frame);
        let mut wire = Buffer::new();
        for plain in stream.chunks(1000) {
            ours.seal(plain, &mut wire).unwrap();
        }
        let (mut len, mut grown) = (0, 0);
        for piece in wire.bytes().chunks(1000 + MESSAGE_PREFIX_BYTES + TAG_BYTES) {
            read(&mut inbound, piece, 4096);
            assert!(inbound.next_frame(4_000_000).unwrap().is_none());
            let bytes = message_bytes(&inbound).unwrap();
            inbound.open(&mut theirs, bytes).unwrap();
            grown += usize::from(inbound.data.len() != len);
            len = inbound.data.len();
            assert!(len <= 2 * inbound.len() + 20_000, "{len}");
        }
        assert!(grown < 30, "{grown} times");
        assert_eq!(inbound.next_frame(4_000_000).unwrap(), Some(&frame[..]));
        inbound.take_frame(frame.len());
        assert!(inbound.memory_bytes() <= 10_000);
    }
}
