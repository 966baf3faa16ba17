//! Addresses that are taken before anybody may connect to them.
//!
//! A program that has long to do before it can answer takes its addresses first, and so learns at
//! once that one is in use. Owns the two halves of listening. Never: accepts; until
//! [`Reserved::listen`] the system refuses whoever dials.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::error::NetError;
use crate::handshake::Port;
use crate::poller::NetConfig;
use crate::resolver::resolve_now;

/// Connections that may wait to be accepted: as many as the system lets.
const BACKLOG: i32 = i32::MAX;

/// One address, taken by this process.
#[derive(Debug)]
pub struct Reserved {
    socket: OwnedFd,
}

impl Reserved {
    /// Takes the first address of `host:port` that can be had; port 0 picks one.
    ///
    /// # Errors
    /// What the system says of the last one.
    pub fn at(address: &str) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no such address");
        for candidate in resolve_now(address)? {
            let family = match candidate.is_ipv4() {
                true => AddressFamily::INET,
                false => AddressFamily::INET6,
            };
            let taken = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .and_then(|socket| {
                    // Connections of the last run, which the system remembers, are in nobody's way.
                    sockopt::set_socket_reuseaddr(&socket, true)?;
                    bind(&socket, &candidate)?;
                    Ok(socket)
                });
            match taken {
                Ok(socket) => return Ok(Self { socket }),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Lets others connect.
    ///
    /// # Errors
    /// What the system says; the address may be in use after all, by a process that took it as this
    /// one did and was faster here.
    pub fn listen(self) -> io::Result<TcpListener> {
        listen(&self.socket, BACKLOG)?;
        Ok(self.socket.into())
    }
}

/// The addresses of a [`Net`](crate::Net) to come.
#[derive(Debug)]
pub struct Ports {
    pub(crate) peers: Reserved,
    pub(crate) clients: Option<Reserved>,
}

impl Ports {
    /// Takes them.
    ///
    /// # Errors
    /// [`NetError::Listen`] naming the address.
    pub fn reserve(config: &NetConfig) -> Result<Self, NetError> {
        let take = |port, address| Reserved::at(address).map_err(failed(port, address));
        let clients = config.client_listen.as_deref();
        Ok(Self {
            peers: take(Port::Peers, &config.peer_listen)?,
            clients: clients
                .map(|address| take(Port::Clients, address))
                .transpose()?,
        })
    }
}

/// The error of an address that cannot be had.
pub(crate) fn failed(port: Port, address: &str) -> impl Fn(io::Error) -> NetError {
    let port = match port {
        Port::Peers => "peers",
        Port::Clients => "clients",
    };
    move |source| NetError::Listen {
        port,
        address: address.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn an_address_that_is_reserved_lets_nobody_in_before_it_listens() {
        let reserved = Reserved::at("127.0.0.1:0").unwrap();
        let address = rustix::net::getsockname(&reserved.socket).unwrap();
        let address = std::net::SocketAddr::try_from(address).unwrap();
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let listener = reserved.listen().unwrap();
        assert_eq!(listener.local_addr().unwrap(), address);
        TcpStream::connect(address).unwrap();
        listener.accept().unwrap();
        let taken = Reserved::at(&address.to_string()).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn of_two_who_reserved_an_address_one_listens() {
        let first = Reserved::at("127.0.0.1:0").unwrap();
        let address = rustix::net::getsockname(&first.socket).unwrap();
        let address = std::net::SocketAddr::try_from(address).unwrap();
        let second = Reserved::at(&address.to_string()).unwrap();
        let _listener = second.listen().unwrap();
        let late = first.listen().unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::AddrInUse);
    }
}
