//! Plain TCP between the nodes, for systems that bring no network of their own.
//!
//! Owns one connection in each direction of each pair. A message that cannot be sent is lost, as
//! such systems expect. Nothing is encrypted or authenticated: a node says which it is. Never:
//! knows what a message means.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Failure;

/// Longest message.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Wait before a node that was not there is dialed again.
const REDIAL: Duration = Duration::from_millis(50);
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_millis(500);
/// What one read takes at most.
const READ_BYTES: usize = 256 * 1024;

#[derive(Debug)]
struct Way {
    address: SocketAddr,
    stream: Option<TcpStream>,
    dial_at: Instant,
}

/// The ways to all nodes; clones share them.
#[derive(Clone, Debug)]
pub struct Mesh {
    own: usize,
    ways: Arc<Vec<Mutex<Way>>>,
}

impl Mesh {
    /// Listens at the own address; `take` is called with each message and its sender, by a thread
    /// a sender.
    ///
    /// # Errors
    /// The address cannot be listened at, or no thread can be started.
    pub fn start(
        own: usize,
        addresses: &[SocketAddr],
        take: impl Fn(usize, Vec<u8>) + Clone + Send + 'static,
    ) -> Result<Self, Failure> {
        let listener = TcpListener::bind(addresses[own])?;
        std::thread::Builder::new()
            .name("mesh".into())
            .spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let take = take.clone();
                    // A sender that goes is dialed by nobody: it comes back by itself.
                    std::thread::spawn(move || read_all(stream, take));
                }
            })?;
        let way = |address: &SocketAddr| {
            Mutex::new(Way {
                address: *address,
                stream: None,
                dial_at: Instant::now(),
            })
        };
        Ok(Self {
            own,
            ways: Arc::new(addresses.iter().map(way).collect()),
        })
    }

    /// Sends a message to a node; false when it is lost.
    pub fn send(&self, node: usize, message: &[u8]) -> bool {
        let Some(way) = self.ways.get(node) else {
            return false;
        };
        let mut way = way.lock().unwrap_or_else(PoisonError::into_inner);
        if way.stream.is_none() && Instant::now() >= way.dial_at {
            way.stream = dial(way.address, self.own).ok();
            way.dial_at = Instant::now() + REDIAL;
        }
        let Some(stream) = &mut way.stream else {
            return false;
        };
        let mut bytes = Vec::with_capacity(4 + message.len());
        bytes.extend_from_slice(&(message.len() as u32).to_le_bytes());
        bytes.extend_from_slice(message);
        let is_sent = stream.write_all(&bytes).is_ok();
        if !is_sent {
            way.stream = None;
        }
        is_sent
    }
}

fn dial(address: SocketAddr, own: usize) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_MAX)?;
    stream.set_nodelay(true)?;
    stream.write_all(&(own as u16).to_le_bytes())?;
    Ok(stream)
}

fn read_all(stream: TcpStream, take: impl Fn(usize, Vec<u8>)) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(READ_BYTES, stream);
    let mut from = [0; 2];
    reader.read_exact(&mut from)?;
    let from = usize::from(u16::from_le_bytes(from));
    loop {
        let mut length = [0; 4];
        reader.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut message = vec![0; length];
        reader.read_exact(&mut message)?;
        take(from, message);
    }
}
