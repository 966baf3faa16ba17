//! TCP keep-alive on both ends of a client's connection, where silence is legitimate.
//!
//! Owns: the socket options. Never: peers; they prove with empty frames that they live.

use std::time::Duration;

use mio::net::TcpStream;
use rustix::net::sockopt;

/// Silence before the kernel asks, and between its questions.
const ASK_AFTER: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_secs(5);
const ASK_TIMES: u32 = 3;

/// Lets the kernel find out when the other machine is gone: at a validator, so that its client's
/// place becomes free; at a client that only listens, so that it turns to another validator. It
/// finds no process that hangs, whose kernel answers: whoever listens has to ask.
pub(crate) fn keep_alive_client(stream: &TcpStream) {
    let set = sockopt::set_socket_keepalive(stream, true)
        .and_then(|()| sockopt::set_tcp_keepidle(stream, ASK_AFTER))
        .and_then(|()| sockopt::set_tcp_keepintvl(stream, ASK_EVERY))
        .and_then(|()| sockopt::set_tcp_keepcnt(stream, ASK_TIMES));
    if let Err(error) = set {
        // A comfort, not a promise: the queue's bound still cuts a client that does not read.
        tracing::debug!(%error, "no TCP keep-alive");
    }
}
