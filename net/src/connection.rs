//! One socket with its buffers: bytes to Noise messages to frames, and back.
//!
//! Owns: reading, opening, cutting into frames, sealing, writing. Never: who the other side is or
//! what is done with a frame.
//!
//! Inbound bytes are opened where they were read ([`crate::inbound`]), and a frame is handed out as
//! a slice of that. It does not grow by a length that was announced, only by bytes that arrived,
//! and the next message is opened only when no whole frame waits: what is opened stays below one
//! frame and one message, what is not below one message and one read.
//! Outbound frames are sealed together when they are flushed: one turn's small frames to one remote
//! cost one AEAD call and one write. They are gathered where they are sealed.

use std::io::{self, Write as _};
use std::net::Shutdown;

use mio::event::Event;
use mio::net::TcpStream;

use crate::buffer::Buffer;
use crate::counters::Counters;
use crate::error::CloseReason;
use crate::frame;
use crate::inbound::Inbound;
use crate::limits::{
    MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX_UNAUTHENTICATED, MESSAGE_PREFIX_BYTES, PLAIN_BYTES_MAX,
    READ_BYTES_UNAUTHENTICATED, SEAL_AHEAD_BYTES, TAG_BYTES,
};
use crate::queue::Outbound;
use crate::session::Session;

/// What one call of [`Connection::receive`] did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Messages opened.
    pub(crate) messages: usize,
    /// Frames handed out.
    pub(crate) frames: usize,
    /// Bytes read from the socket.
    pub(crate) bytes: usize,
    /// A budget ended it: there may be more without a new event.
    pub(crate) more: bool,
}

impl Received {
    /// What it counts for in a budget: a message without a frame in it costs as much as one with.
    pub(crate) fn items(&self) -> usize {
        self.messages.max(self.frames)
    }
}

/// A socket and everything between it and the frames.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    inbound: Inbound,
    pub(crate) sealed: Buffer,
    session: Option<Session>,
    message_bytes_max: usize,
    frame_bytes_max: usize,
    read_buffer_bytes: usize,
    /// The socket may have bytes. Edge-triggered: stays until a read says otherwise.
    readable: bool,
    /// The socket may take bytes. Edge-triggered: stays until a write says otherwise.
    writable: bool,
    /// The kernel reported the end of the stream or an error: read until it shows.
    hangup: bool,
    /// The end of the stream was read.
    ended: bool,
}

impl Connection {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            inbound: Inbound::new(),
            sealed: Buffer::new(),
            session: None,
            message_bytes_max: MESSAGE_BYTES_MAX_UNAUTHENTICATED,
            frame_bytes_max: 0,
            read_buffer_bytes: READ_BYTES_UNAUTHENTICATED,
            readable: false,
            writable: false,
            hangup: false,
            ended: false,
        }
    }

    pub(crate) const fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Takes over what the event queue reported.
    pub(crate) fn on_event(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        self.hangup |= event.is_read_closed() || event.is_error();
    }

    pub(crate) const fn is_writable(&self) -> bool {
        self.writable
    }

    /// The handshake is done: frames up to `frame_bytes_max` may come, in messages of full length.
    pub(crate) fn authenticate(
        &mut self,
        session: Session,
        frame_bytes_max: usize,
        read_buffer_bytes: usize,
    ) {
        self.session = Some(session);
        self.message_bytes_max = MESSAGE_BYTES_MAX;
        self.frame_bytes_max = frame_bytes_max;
        self.read_buffer_bytes = read_buffer_bytes;
    }

    /// Long frames come and go all the time: their memory is kept.
    pub(crate) const fn keep(&mut self, bytes: usize) {
        self.inbound.keep(bytes);
        self.sealed.keep(bytes);
    }

    /// Memory of all its buffers, bytes.
    #[cfg(test)]
    pub(crate) const fn memory_bytes(&self) -> usize {
        self.inbound.memory_bytes() + self.sealed.memory_bytes()
    }

    /// Length of the whole message at the front of what was read, without its prefix.
    fn message_bytes(&self) -> Result<Option<usize>, CloseReason> {
        let Some(prefix) = self.inbound.raw().first_chunk::<MESSAGE_PREFIX_BYTES>() else {
            return Ok(None);
        };
        let bytes = usize::from(u16::from_le_bytes(*prefix));
        if bytes <= TAG_BYTES || bytes > self.message_bytes_max {
            return Err(CloseReason::MessageLength);
        }
        Ok((self.inbound.raw().len() >= MESSAGE_PREFIX_BYTES + bytes).then_some(bytes))
    }

    /// One read, if the socket may have bytes, of `bytes_max` or what a read buffer has, if that is
    /// more. Returns how many came.
    fn fill(&mut self, bytes_max: usize, counters: &mut Counters) -> Result<usize, CloseReason> {
        while self.readable && !self.ended {
            counters.reads += 1;
            let Self {
                inbound, stream, ..
            } = self;
            match inbound.read_from(stream, self.read_buffer_bytes, bytes_max) {
                Ok((0, _)) => {
                    self.ended = true;
                    self.readable = false;
                }
                Ok((read, offered)) => {
                    // A short read has emptied the socket, and whatever comes next is a new edge;
                    // only an end of stream may have been reported already.
                    self.readable = read == offered || self.hangup;
                    counters.bytes_in += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(_) => return Err(CloseReason::Io),
            }
        }
        Ok(0)
    }

    /// Before authentication: passes the next whole message to `take`, with the outbound buffer for
    /// the answer. `None` when there is none yet.
    ///
    /// # Errors
    /// The reason to close, `take`'s own included.
    pub(crate) fn next_message<T>(
        &mut self,
        counters: &mut Counters,
        take: impl FnOnce(&[u8], &mut Buffer) -> Result<T, CloseReason>,
    ) -> Result<Option<T>, CloseReason> {
        loop {
            if let Some(bytes) = self.message_bytes()? {
                let message = &self.inbound.raw()[MESSAGE_PREFIX_BYTES..][..bytes];
                let taken = take(message, &mut self.sealed)?;
                self.inbound.take_raw(MESSAGE_PREFIX_BYTES + bytes);
                return Ok(Some(taken));
            }
            if self.fill(0, counters)? == 0 {
                return if self.ended {
                    Err(CloseReason::RemoteClosed)
                } else {
                    Ok(None)
                };
            }
        }
    }

    /// After authentication: reads at most about `read_bytes`, opens at most `items_max` messages
    /// and hands at most as many frames to `on_frame`, in order.
    ///
    /// # Errors
    /// The reason to close. What came before it has been handed out.
    pub(crate) fn receive(
        &mut self,
        read_bytes: usize,
        items_max: usize,
        counters: &mut Counters,
        mut on_frame: impl FnMut(&[u8]),
    ) -> Result<Received, CloseReason> {
        let mut received = Received::default();
        loop {
            while let Some(frame) = self.inbound.next_frame(self.frame_bytes_max)? {
                if received.frames == items_max {
                    received.more = true;
                    return Ok(received);
                }
                on_frame(frame);
                let bytes = frame.len();
                self.inbound.take_frame(bytes);
                received.frames += 1;
                counters.frames_in += 1;
            }
            if received.messages == items_max {
                received.more = true;
                return Ok(received);
            }
            if self.open_next()? {
                received.messages += 1;
                counters.messages_in += 1;
                continue;
            }
            if self.ended {
                return Err(CloseReason::RemoteClosed);
            }
            if received.bytes >= read_bytes {
                received.more = self.readable;
                return Ok(received);
            }
            let got = self.fill(read_bytes - received.bytes, counters)?;
            if got == 0 && !self.ended {
                return Ok(received);
            }
            received.bytes += got;
        }
    }

    fn open_next(&mut self) -> Result<bool, CloseReason> {
        let Some(bytes) = self.message_bytes()? else {
            return Ok(false);
        };
        let Some(session) = &mut self.session else {
            return Ok(false);
        };
        self.inbound.open(session, bytes)?;
        Ok(true)
    }

    /// Seals and writes what waits in `queue` until the socket takes no more. Returns the bytes
    /// written.
    ///
    /// # Errors
    /// The reason to close.
    pub(crate) fn flush(
        &mut self,
        queue: &mut Outbound,
        counters: &mut Counters,
    ) -> Result<usize, CloseReason> {
        let mut written = 0;
        loop {
            self.seal_ahead(queue, counters)?;
            written += self.write(counters)?;
            if !self.writable || queue.is_empty() {
                return Ok(written);
            }
        }
    }

    /// Seals whole frames until enough is ahead of the socket. A frame once begun is sealed to its
    /// end, so that the queue behind can drop what it holds.
    fn seal_ahead(
        &mut self,
        queue: &mut Outbound,
        counters: &mut Counters,
    ) -> Result<(), CloseReason> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        // Of the frame in front.
        let mut sealed = 0;
        while !queue.is_empty() && (sealed > 0 || self.sealed.len() < SEAL_AHEAD_BYTES) {
            let bytes_max = (queue.len() - sealed).min(PLAIN_BYTES_MAX);
            let ahead = self.sealed.len();
            session.seal_gathered(bytes_max, &mut self.sealed, |room| {
                let mut filled = 0;
                while filled < room.len() && (sealed > 0 || ahead + filled < SEAL_AHEAD_BYTES) {
                    let (copied, is_whole) = queue.copy_front(sealed, &mut room[filled..]);
                    filled += copied;
                    sealed += copied;
                    if is_whole {
                        queue.pop();
                        counters.frames_out += 1;
                        sealed = 0;
                    }
                }
                filled
            })?;
            counters.messages_out += 1;
        }
        Ok(())
    }

    /// Seals an empty frame, if nothing else is on its way.
    ///
    /// # Errors
    /// The reason to close.
    pub(crate) fn keep_alive(&mut self) -> Result<(), CloseReason> {
        match &mut self.session {
            Some(session) if self.sealed.is_empty() => {
                session.seal(&frame::KEEPALIVE, &mut self.sealed)
            }
            _ => Ok(()),
        }
    }

    /// Writes what is sealed until the socket takes no more. Returns the bytes written.
    ///
    /// # Errors
    /// The reason to close.
    pub(crate) fn write(&mut self, counters: &mut Counters) -> Result<usize, CloseReason> {
        let mut written = 0;
        while self.writable && !self.sealed.is_empty() {
            counters.writes += 1;
            match self.stream.write(self.sealed.bytes()) {
                Ok(0) => return Err(CloseReason::Io),
                Ok(bytes) => {
                    self.sealed.take(bytes);
                    written += bytes;
                    counters.bytes_out += bytes as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(_) => return Err(CloseReason::Io),
            }
        }
        Ok(written)
    }

    /// Tells the other side that nothing more will come, once all of it is written. Returns whether
    /// it is told.
    pub(crate) fn finish_writing(&self) -> bool {
        // A socket that is gone needs no telling; the next read shows it.
        self.sealed.is_empty() && self.stream.shutdown(Shutdown::Write).is_ok()
    }
}

/// Whether a dial has come through, and its socket is ready for small messages. False when the
/// event was a spurious one.
///
/// # Errors
/// [`CloseReason::ConnectFailed`].
pub(crate) fn connected(stream: &TcpStream) -> Result<bool, CloseReason> {
    if !matches!(stream.take_error(), Ok(None)) {
        return Err(CloseReason::ConnectFailed);
    }
    match stream.peer_addr() {
        Ok(_) => match stream.set_nodelay(true) {
            Ok(()) => Ok(true),
            Err(_) => Err(CloseReason::ConnectFailed),
        },
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(_) => Err(CloseReason::ConnectFailed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_keeps_little_gives_back_what_long_frames_took_in_each_buffer() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut connection = Connection::new(TcpStream::from_std(stream));
        connection.keep(1000);
        let Connection {
            inbound, sealed, ..
        } = &mut connection;
        inbound
            .read_from(&mut &[7; 200_000][..], 200_000, 0)
            .expect("bytes");
        inbound.take_raw(200_000);
        sealed.push(&[7; 200_000]);
        sealed.take(200_000);
        assert!(connection.memory_bytes() <= 2000);
    }
}
