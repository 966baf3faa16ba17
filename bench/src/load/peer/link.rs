//! One connection to a node of another system.
//!
//! Owns its bytes in both directions. Never: knows what they mean.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::LoadError;

/// Wait before a node that does not listen yet is tried again.
const RETRY: Duration = Duration::from_millis(20);
/// Longest wait for one answer of the system about a connection.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// What one read takes at most.
const READ_BYTES: usize = 128 * 1024;

pub(super) struct Link {
    stream: TcpStream,
    /// To be sent.
    pub(super) out: Vec<u8>,
    /// Came, and is no whole frame yet.
    pub(super) pending: Vec<u8>,
    buffer: Vec<u8>,
}

/// Connects to a node as soon as it listens.
pub(super) fn connect(
    node: usize,
    address: SocketAddr,
    deadline: Instant,
) -> Result<Link, LoadError> {
    let wrong = |source| LoadError::Peer { node, source };
    let stream = loop {
        match TcpStream::connect_timeout(&address, CONNECT_MAX) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() >= deadline => return Err(wrong(error)),
            Err(_) => rest(),
        }
    };
    stream.set_nodelay(true).map_err(wrong)?;
    stream.set_nonblocking(true).map_err(wrong)?;
    Ok(Link {
        stream,
        out: Vec::new(),
        pending: Vec::new(),
        buffer: vec![0; READ_BYTES],
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "nothing tells that another process listens now"
)]
fn rest() {
    std::thread::sleep(RETRY);
}

/// Waits until one can be read, or written where something is left to be sent; gives those that
/// can be read.
pub(super) fn poll_all(links: &[Link], wait: Duration) -> Result<Vec<usize>, LoadError> {
    let wrong = |source| LoadError::Peer { node: 0, source };
    let timeout = Timespec::try_from(wait).map_err(|error| wrong(io::Error::other(error)))?;
    let flags = |link: &Link| {
        if link.out.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::IN | PollFlags::OUT
        }
    };
    let fds = links.iter();
    let mut fds: Vec<PollFd<'_>> = fds
        .map(|link| PollFd::new(&link.stream, flags(link)))
        .collect();
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(wrong(error.into())),
    }
    let readable = |fd: &PollFd<'_>| !(fd.revents() - PollFlags::OUT).is_empty();
    let ready = fds.iter().enumerate().filter(|(_, fd)| readable(fd));
    Ok(ready.map(|(node, _)| node).collect())
}

impl Link {
    /// Sends as much as the socket takes.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let mut at = 0;
        while at < self.out.len() {
            match self.stream.write(&self.out[at..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => at += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.drain(..at);
        Ok(())
    }

    /// Reads once.
    pub(super) fn read(&mut self) -> io::Result<()> {
        match self.stream.read(&mut self.buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => {
                self.pending.extend_from_slice(&self.buffer[..bytes]);
                Ok(())
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Puts back what came without the `used` first bytes.
    pub(super) fn keep(&mut self, mut bytes: Vec<u8>, used: usize) {
        bytes.drain(..used);
        self.pending = bytes;
    }
}
