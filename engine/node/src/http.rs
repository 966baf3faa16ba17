//! A window for operators: GET /metrics, /health, /ready, /status and /trace over HTTP/1.1.
//!
//! Owns one thread, one listener and a bounded table of connections, none of which waits for what
//! another one sends or reads. It answers from numbers and from what the node tells when asked, for
//! which all of them wait once while the node's loop hangs (`node::shared_ask`); it changes
//! nothing, reads at most 4 KiB of a request and hangs up on whoever is slow. Never: on the path of
//! a command, and meant for a local or guarded address.

mod table;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_net::Reserved;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use table::{Exchange, Table};

/// After the system has refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections taken in a turn: few enough that none of those in the table gives way to them before
/// it was looked at again.
const ACCEPTS_PER_TURN: usize = table::CONNECTIONS_MAX / 4;

/// What an operator may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// OpenMetrics text.
    Metrics,
    /// Whether the process works at all.
    Health,
    /// Whether it may be given clients.
    Ready,
    /// Its status as JSON.
    Status,
    /// The stamps of blocks since it was asked last.
    Trace,
}

/// An answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// HTTP status: 200, 404 or 503.
    pub(crate) code: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

/// The thread. Stops when dropped.
#[derive(Debug)]
pub(crate) struct HttpServer {
    address: SocketAddr,
    /// Its end ends the thread's waiting.
    running: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens and answers by `answer`, which runs on the thread of the server.
    ///
    /// # Errors
    /// The address cannot be listened on, or no thread can be started.
    pub(crate) fn start(
        address: Reserved,
        answer: impl Fn(Question) -> Reply + Send + 'static,
    ) -> std::io::Result<Self> {
        let listener = address.listen()?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (running, stop) = UnixStream::pair()?;
        let thread = std::thread::Builder::new()
            .name("quorate-http".to_owned())
            .spawn(move || serve(&listener, &stop, |head| respond(head, &answer)))?;
        Ok(Self {
            address,
            running: Some(running),
            thread: Some(thread),
        })
    }

    /// The address it listens on.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the http thread panicked");
        }
    }
}

/// Serves until the other end of `stop` is closed.
fn serve(listener: &TcpListener, stop: &UnixStream, respond: impl Fn(&[u8]) -> Vec<u8>) {
    let mut table = Table::new();
    // While it is set, nobody is let in before then.
    let mut accept_at: Option<Instant> = None;
    loop {
        let end = table.end().into_iter().chain(accept_at).min();
        let (ready, waited) = match wait(listener, stop, &table, accept_at.is_none(), end) {
            Ok(ready) => (ready, Instant::now()),
            Err(Errno::INTR) => continue,
            Err(error) => {
                tracing::debug!(%error, "http");
                std::thread::park_timeout(ACCEPT_PAUSE);
                continue;
            }
        };
        if ready.is_stopping {
            return;
        }
        table.go_on(waited, ready.exchanges, Instant::now, &respond);
        accept_at = accept_at.filter(|&at| at > waited);
        if ready.is_accepting && !accept(listener, &mut table) {
            // Out of descriptors or memory: trying again at once would only spin.
            accept_at = Some(Instant::now() + ACCEPT_PAUSE);
        }
    }
}

/// What there is to do.
struct Ready {
    is_stopping: bool,
    is_accepting: bool,
    exchanges: Vec<bool>,
}

/// Waits until there is something to do, or until `end`.
fn wait(
    listener: &TcpListener,
    stop: &UnixStream,
    table: &Table<TcpStream>,
    accepts: bool,
    end: Option<Instant>,
) -> Result<Ready, Errno> {
    let look = match accepts {
        true => PollFlags::IN,
        false => PollFlags::empty(),
    };
    let mut sockets = vec![
        PollFd::new(stop, PollFlags::IN),
        PollFd::new(listener, look),
    ];
    sockets.extend(table.exchanges().iter().map(|exchange| {
        let look = match exchange.is_asking() {
            true => PollFlags::IN,
            false => PollFlags::OUT,
        };
        PollFd::new(exchange.stream(), look)
    }));
    let left = end.map(|end| end.saturating_duration_since(Instant::now()));
    let timeout = left.and_then(|left| Timespec::try_from(left).ok());
    poll(&mut sockets, timeout.as_ref())?;
    let mut ready = sockets.iter().map(|socket| !socket.revents().is_empty());
    let (is_stopping, is_accepting) = (ready.next(), ready.next());
    Ok(Ready {
        is_stopping: is_stopping.unwrap_or(false),
        is_accepting: accepts && is_accepting.unwrap_or(false),
        exchanges: ready.collect(),
    })
}

/// Lets some of those in who wait; false when the system refuses.
fn accept(listener: &TcpListener, table: &mut Table<TcpStream>) -> bool {
    for _ in 0..ACCEPTS_PER_TURN {
        let accepted = listener.accept().and_then(|(stream, _)| {
            stream.set_nonblocking(true)?;
            Ok(stream)
        });
        match accepted {
            Ok(stream) => table.add(Exchange::new(stream, Instant::now())),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
            Err(error) => {
                tracing::debug!(%error, "http");
                return false;
            }
        }
    }
    true
}

/// The bytes of the response to a request's head.
fn respond(head: &[u8], answer: &impl Fn(Question) -> Reply) -> Vec<u8> {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let path = target
        .split(|&byte| byte == b'?')
        .next()
        .unwrap_or_default();
    let plain = |code, body: &str| Reply {
        code,
        content_type: "text/plain",
        body: body.to_owned(),
    };
    let reply = match (method, path) {
        (b"GET", b"/metrics") => answer(Question::Metrics),
        (b"GET", b"/health") => answer(Question::Health),
        (b"GET", b"/ready") => answer(Question::Ready),
        (b"GET", b"/status") => answer(Question::Status),
        (b"GET", b"/trace") => answer(Question::Trace),
        (b"GET", _) => plain(
            404,
            "ask for /metrics, /health, /ready, /status or /trace\n",
        ),
        _ => plain(405, "only GET\n"),
    };
    let phrase = match reply.code {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Service Unavailable",
    };
    format!(
        "HTTP/1.1 {} {phrase}\r\nContent-Type: {}; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{}",
        reply.code,
        reply.content_type,
        reply.body.len(),
        reply.body
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::table::EXCHANGE_MAX;
    use super::*;
    use std::io::{Read as _, Write as _};

    /// Long enough for a slow machine.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn answer(question: Question) -> Reply {
        let code = if question == Question::Ready {
            503
        } else {
            200
        };
        Reply {
            code,
            content_type: "text/plain",
            body: format!("{question:?}"),
        }
    }

    fn here() -> Reserved {
        Reserved::at("127.0.0.1:0").unwrap()
    }

    fn exchange(server: &HttpServer, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn each_path_is_answered_and_others_are_not_found() {
        let server = HttpServer::start(here(), answer).unwrap();
        for (request, start, end) in [
            (
                "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
                "HTTP/1.1 200 OK",
                "\r\n\r\nMetrics",
            ),
            (
                "GET /health?x=1 HTTP/1.1\r\n\r\n",
                "HTTP/1.1 200 OK",
                "\r\n\r\nHealth",
            ),
            (
                "GET /ready HTTP/1.0\r\n\r\n",
                "HTTP/1.1 503",
                "\r\n\r\nReady",
            ),
            (
                "GET /status HTTP/1.1\r\n\r\n",
                "HTTP/1.1 200 OK",
                "\r\n\r\nStatus",
            ),
            (
                "GET /trace HTTP/1.1\r\n\r\n",
                "HTTP/1.1 200 OK",
                "\r\n\r\nTrace",
            ),
            (
                "GET /etc HTTP/1.1\r\n\r\n",
                "HTTP/1.1 404",
                "/status or /trace\n",
            ),
            (
                "POST /metrics HTTP/1.1\r\n\r\n",
                "HTTP/1.1 405",
                "only GET\n",
            ),
            ("\r\n\r\n", "HTTP/1.1 405", "only GET\n"),
        ] {
            let text = exchange(&server, request.as_bytes());
            assert!(
                text.starts_with(start) && text.ends_with(end),
                "{request}: {text}"
            );
        }
    }

    #[test]
    fn an_endless_head_is_hung_up_on_and_the_next_one_is_served() {
        let server = HttpServer::start(here(), answer).unwrap();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        // The server hangs up in between; what it did not read is lost.
        drop(stream.write_all(&[b'a'; 64 * 1024]));
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
        assert!(rest.is_empty());
        let text = exchange(&server, b"GET /health HTTP/1.1\r\n\r\n");
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }

    /// It may be that the loop does not answer, and that has to be told.
    #[test]
    fn an_answer_that_took_longer_than_an_exchange_is_told() {
        let server = HttpServer::start(here(), |_| {
            // As one waits for a loop that hangs.
            let (_hangs, loop_answers) = std::sync::mpsc::channel::<()>();
            let waited = loop_answers.recv_timeout(EXCHANGE_MAX + Duration::from_millis(50));
            assert!(waited.is_err());
            answer(Question::Ready)
        });
        let text = exchange(&server.unwrap(), b"GET /ready HTTP/1.1\r\n\r\n");
        assert!(text.starts_with("HTTP/1.1 503"), "{text}");
    }

    fn silent(server: &HttpServer, count: usize) -> Vec<TcpStream> {
        let connect = |_| {
            let stream = TcpStream::connect(server.address()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        };
        (0..count).map(connect).collect()
    }

    /// Else whoever connects and says nothing has a validator that is well restarted: its probe
    /// gets no answer.
    #[test]
    fn more_silent_connections_than_there_is_room_for_keep_nobody_waiting() {
        let server = HttpServer::start(here(), answer).unwrap();
        let mut others = silent(&server, 2 * table::CONNECTIONS_MAX);
        let began = Instant::now();
        for _ in 0..10 {
            let text = exchange(&server, b"GET /health HTTP/1.1\r\n\r\n");
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        }
        let took = began.elapsed();
        assert!(took < EXCHANGE_MAX / 2, "{took:?} for ten answers");
        // Those that came last are still there, and are answered as well.
        let last = others.last_mut().unwrap();
        last.write_all(b"GET /ready HTTP/1.1\r\n\r\n").unwrap();
        let mut text = String::new();
        last.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 503"), "{text}");
    }

    #[test]
    fn whoever_never_reads_a_long_answer_keeps_nobody_waiting() {
        let server = HttpServer::start(here(), |question| Reply {
            // More than the system takes for the other end.
            body: "x".repeat(if question == Question::Trace {
                16 << 20
            } else {
                1
            }),
            ..answer(question)
        });
        let server = server.unwrap();
        let mut others = silent(&server, 3);
        for other in &mut others {
            other.write_all(b"GET /trace HTTP/1.1\r\n\r\n").unwrap();
            // It is being told.
            other.read_exact(&mut [0; 1]).unwrap();
        }
        let began = Instant::now();
        let text = exchange(&server, b"GET /health HTTP/1.1\r\n\r\n");
        let took = began.elapsed();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(took < EXCHANGE_MAX / 2, "{took:?}");
    }

    #[test]
    fn whoever_says_nothing_is_hung_up_on() {
        let server = HttpServer::start(here(), answer).unwrap();
        for mut other in silent(&server, 3) {
            assert_eq!(other.read(&mut [0; 1]).unwrap(), 0);
        }
    }

    #[test]
    fn a_stop_waits_for_no_connection() {
        let server = HttpServer::start(here(), answer).unwrap();
        let others = silent(&server, 2 * table::CONNECTIONS_MAX);
        // They were let in: this one came behind them.
        let text = exchange(&server, b"GET /health HTTP/1.1\r\n\r\n");
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        let (address, began) = (server.address(), Instant::now());
        drop(server);
        let took = began.elapsed();
        assert!(took < EXCHANGE_MAX / 2, "{took:?}");
        assert!(
            Reserved::at(&address.to_string()).is_ok(),
            "the port is free"
        );
        drop(others);
    }

    #[test]
    fn a_port_in_use_is_an_error() {
        let server = HttpServer::start(here(), answer).unwrap();
        assert!(Reserved::at(&server.address().to_string()).is_err());
    }
}
