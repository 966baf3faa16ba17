//! A window for operators: GET /metrics, /health, /ready, /status and /trace over HTTP/1.1.
//!
//! Owns one thread, one listener and one connection at a time. It answers from numbers and from
//! what the node tells when asked; it changes nothing, reads at most 4 KiB of a request and hangs
//! up on whoever is slow. Never: on the path of a command, and meant for a local or guarded
//! address.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_net::Reserved;

/// Longest head of a request, bytes.
const HEAD_BYTES_MAX: usize = 4096;
/// From accepting to the end of the question, and as much again from its answer to hanging up.
const EXCHANGE_MAX: Duration = Duration::from_secs(2);
/// After the system has refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    stop: Arc<AtomicBool>,
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
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("quorate-http".to_owned())
            .spawn(move || {
                for stream in listener.incoming() {
                    if stopping.load(Ordering::Acquire) {
                        break;
                    }
                    match stream.map(|stream| serve(stream, &answer)) {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::debug!(%error, "http"),
                        Err(error) => {
                            tracing::debug!(%error, "http");
                            // Out of descriptors or memory: trying again at once would only spin.
                            std::thread::park_timeout(ACCEPT_PAUSE);
                        }
                    }
                }
            })?;
        Ok(Self {
            address,
            stop,
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
        self.stop.store(true, Ordering::Release);
        // A connection of our own ends the wait for one.
        let knocked = TcpStream::connect_timeout(&self.address, EXCHANGE_MAX);
        if let (Ok(_), Some(thread)) = (knocked, self.thread.take())
            && thread.join().is_err()
        {
            tracing::error!("the http thread panicked");
        }
    }
}

fn serve(mut stream: TcpStream, answer: &impl Fn(Question) -> Reply) -> std::io::Result<()> {
    let end = Instant::now() + EXCHANGE_MAX;
    let mut head = Vec::with_capacity(512);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() >= HEAD_BYTES_MAX {
            return Ok(());
        }
        stream.set_read_timeout(Some(left))?;
        let mut piece = [0; 512];
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        head.extend_from_slice(&piece[..read]);
    }
    let response = respond(&head, answer);
    // What took long to find out is told all the same, as that a loop does not answer.
    let end = Instant::now() + EXCHANGE_MAX;
    let left = || end.saturating_duration_since(Instant::now());
    write_within(&response, left, |bytes, left| {
        stream.set_write_timeout(Some(left))?;
        stream.write(bytes)
    })
}

/// Writes it all while time is `left`. A timeout of the system begins anew with each write, and
/// whoever takes a few bytes at a time would hold the window for as long as it likes.
fn write_within(
    mut bytes: &[u8],
    left: impl Fn() -> Duration,
    mut write: impl FnMut(&[u8], Duration) -> std::io::Result<usize>,
) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let left = left();
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        match write(bytes, left) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
    use super::*;

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

    /// A reader that takes a byte each quarter of a second.
    #[test]
    fn a_slow_reader_is_hung_up_on_when_the_time_of_the_exchange_is_over() {
        let quarter = Duration::from_millis(250);
        let taken = std::cell::Cell::new(0);
        let left = || EXCHANGE_MAX.saturating_sub(quarter * taken.get());
        let ended = write_within(&[7; 100], left, |bytes, timeout| {
            assert_eq!(bytes.len(), 100 - taken.get() as usize);
            assert_eq!(
                timeout,
                left(),
                "no write may take longer than what is left"
            );
            taken.set(taken.get() + 1);
            Ok(1)
        });
        assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(taken.get(), 8);
        // One that takes it in time has it whole.
        let got = std::cell::RefCell::new(Vec::new());
        let whole: Vec<u8> = (0..100).collect();
        let ended = write_within(
            &whole,
            || quarter,
            |bytes, _| {
                let mut got = got.borrow_mut();
                if got.len() == 14 {
                    got.extend_from_slice(&bytes[..1]);
                    return Ok(1);
                }
                let piece = bytes.len().min(7);
                got.extend_from_slice(&bytes[..piece]);
                Ok(piece)
            },
        );
        assert!(ended.is_ok());
        assert_eq!(*got.borrow(), whole);
    }

    #[test]
    fn whoever_connects_and_says_nothing_is_hung_up_on_and_the_next_one_is_served() {
        // Long enough for a slow machine.
        const PATIENCE: Duration = Duration::from_secs(30);
        let server = HttpServer::start(here(), answer).unwrap();
        let silent = TcpStream::connect(server.address()).unwrap();
        let mut next = TcpStream::connect(server.address()).unwrap();
        next.set_read_timeout(Some(PATIENCE)).unwrap();
        next.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
        let mut text = String::new();
        let read = next.read_to_string(&mut text);
        // With it the server would wait for ever, and so would its end.
        drop(silent);
        read.unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }

    #[test]
    fn a_port_in_use_is_an_error() {
        let server = HttpServer::start(here(), answer).unwrap();
        assert!(Reserved::at(&server.address().to_string()).is_err());
    }
}
