//! Plain TCP between the nodes, for systems that bring no network of their own.
//!
//! Owns one connection in each direction of each pair. A message that cannot be sent is lost, as
//! such systems expect. Nothing is encrypted or authenticated: a node says which it is. Never:
//! knows what a message means.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
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

/// Who has dialed this node, and that another one has.
type Heard = Arc<(Mutex<BTreeSet<usize>>, Condvar)>;

/// The ways to all nodes; clones share them.
#[derive(Clone, Debug)]
pub struct Mesh {
    own: usize,
    ways: Arc<Vec<Mutex<Way>>>,
    heard: Heard,
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
        let heard = Heard::default();
        let theirs = Arc::clone(&heard);
        std::thread::Builder::new()
            .name("mesh".into())
            .spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let (take, heard) = (take.clone(), Arc::clone(&theirs));
                    // A sender that goes is dialed by nobody: it comes back by itself.
                    std::thread::spawn(move || read_all(stream, &heard, take));
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
            heard,
        })
    }

    /// Waits until this node has reached all others and they have reached it: what a system says
    /// before is lost, and is made up for by timers that nothing of it is to be measured by.
    pub fn wait_until_whole(&self) {
        let (heard, changed) = &*self.heard;
        let others = || (0..self.ways.len()).filter(|node| *node != self.own);
        loop {
            let mut is_whole = true;
            for node in others() {
                let mut way = self.ways[node]
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if way.stream.is_none() {
                    way.stream = dial(way.address, self.own).ok();
                }
                is_whole &= way.stream.is_some();
            }
            let came = heard.lock().unwrap_or_else(PoisonError::into_inner);
            if is_whole && others().all(|node| came.contains(&node)) {
                return;
            }
            // At the end of that time it dials again.
            drop(changed.wait_timeout(came, REDIAL));
        }
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

fn read_all(
    stream: TcpStream,
    (heard, changed): &(Mutex<BTreeSet<usize>>, Condvar),
    take: impl Fn(usize, Vec<u8>),
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(READ_BYTES, stream);
    let mut from = [0; 2];
    reader.read_exact(&mut from)?;
    let from = usize::from(u16::from_le_bytes(from));
    heard
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(from);
    changed.notify_all();
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::channel;

    /// Addresses of this machine that nobody listens at.
    fn free<const N: usize>() -> [SocketAddr; N] {
        let listeners = [0; N].map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        listeners.map(|listener| listener.local_addr().unwrap())
    }

    #[test]
    fn a_mesh_is_whole_only_when_every_other_node_has_dialed_this_one() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let [own] = free();
        let addresses = [own, other.local_addr().unwrap()];
        let mesh = Mesh::start(0, &addresses, |_, _| ()).unwrap();
        let has_dialed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                mesh.wait_until_whole();
                has_dialed.load(Ordering::SeqCst)
            });
            let (mut reached, _) = other.accept().unwrap();
            let mut hello = [9; 2];
            reached.read_exact(&mut hello).unwrap();
            assert_eq!(hello, [0, 0]);
            // A node that is none of them, and this one, count for nobody.
            for hello in [0_u16, 7] {
                let mut stream = TcpStream::connect(own).unwrap();
                stream.write_all(&hello.to_le_bytes()).unwrap();
            }
            has_dialed.store(true, Ordering::SeqCst);
            let mut stream = TcpStream::connect(own).unwrap();
            stream.write_all(&1_u16.to_le_bytes()).unwrap();
            assert!(waits.join().unwrap(), "it was whole before");
        });
    }

    #[test]
    fn what_is_sent_in_a_whole_mesh_arrives_though_a_node_came_late() {
        let addresses: [SocketAddr; 3] = free();
        let (told, came) = channel();
        let start = |own| {
            let told = told.clone();
            let take = move |from, message| told.send((own, from, message)).unwrap();
            Mesh::start(own, &addresses, take).unwrap()
        };
        std::thread::scope(|scope| {
            let speak = |own: usize| {
                let mesh = start(own);
                scope.spawn(move || {
                    mesh.wait_until_whole();
                    (0..3).filter(|node| *node != own).for_each(|node| {
                        assert!(mesh.send(node, &[7]), "{own} to {node}");
                    });
                    mesh
                })
            };
            let all = [0, 1, 2].map(speak);
            // None ends before all have arrived.
            let _meshes = all.map(|speaks| speaks.join().unwrap());
            let mut messages: Vec<_> = came.iter().take(6).collect();
            messages.sort();
            let pairs = messages.iter().map(|(at, from, _)| (*at, *from));
            assert!(pairs.eq([(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]));
        });
    }
}
