//! Fetching the stamps that validators keep ([`quorate::trace`]), and what they count.
//!
//! Owns the requests. Never: says what the stamps mean.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use quorate::trace::{Dump, DumpError, STAMPS_MAX};

/// Longest line of a stamp, bytes: six numbers and a word.
const LINE_BYTES_MAX: u64 = 128;
/// Longest wait for a read or a write.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there are no stamps.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The validator cannot be asked.
    #[error("asking {address} for its trace: {source}")]
    Io {
        /// Whom.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// It keeps none, or is no validator.
    #[error("{address} gives no trace: {answer}")]
    Refused {
        /// Who.
        address: String,
        /// What it said instead.
        answer: String,
    },
    /// What it gives is none that is known here.
    #[error("{address}: {source}")]
    Text {
        /// Who.
        address: String,
        /// What is wrong.
        source: DumpError,
    },
}

/// Takes all stamps that a validator has kept since the last time.
///
/// # Errors
/// [`TraceError`].
pub fn fetch(address: &str) -> Result<Dump, TraceError> {
    body(address, "/trace")?
        .parse()
        .map_err(|source| TraceError::Text {
            address: address.to_owned(),
            source,
        })
}

/// What a validator's counter stands at, by its name on the metrics page; none when it has no such
/// counter.
///
/// # Errors
/// [`TraceError`].
pub fn counter(address: &str, name: &str) -> Result<Option<u64>, TraceError> {
    let text = body(address, "/metrics")?;
    let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    let found = lines.find(|(found, _)| *found == name);
    Ok(found.and_then(|(_, value)| value.parse().ok()))
}

fn body(address: &str, path: &str) -> Result<String, TraceError> {
    let response = get(address, path).map_err(|source| TraceError::Io {
        address: address.to_owned(),
        source,
    })?;
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or_default();
    let refused = |answer: String| TraceError::Refused {
        address: address.to_owned(),
        answer,
    };
    if !head.starts_with("HTTP/1.1 200 ") {
        let answer = head.lines().next().unwrap_or("nothing");
        return Err(refused(answer.to_owned()));
    }
    // The end of the connection says nothing: one that is cut ends as well, between two lines too.
    let (got, whole) = (body.len(), content_length(head));
    if whole != Some(got) {
        let whole = whole.map_or_else(|| "an unknown number".to_owned(), |bytes| bytes.to_string());
        return Err(refused(format!("{got} bytes of {whole}")));
    }
    Ok(body.to_owned())
}

/// How many bytes the head announces.
fn content_length(head: &str) -> Option<usize> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    value.trim().parse().ok()
}

fn get(address: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes())?;
    let mut response = String::new();
    let bytes_max = (STAMPS_MAX as u64 + 2) * LINE_BYTES_MAX;
    stream.take(bytes_max).read_to_string(&mut response)?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// The answer to one request whose response is `bytes`.
    fn answered(bytes: impl Into<Vec<u8>>) -> Result<Dump, TraceError> {
        asked(bytes.into(), "GET /trace HTTP/1.1\r\n\r\n".len(), fetch)
    }

    /// A good response with this body.
    fn page(body: &str) -> String {
        let bytes = body.len();
        format!("HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: {bytes}\r\n\r\n{body}")
    }

    fn asked<T>(
        bytes: Vec<u8>,
        request_bytes: usize,
        ask: impl FnOnce(&str) -> Result<T, TraceError>,
    ) -> Result<T, TraceError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; request_bytes];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(&bytes).unwrap();
        });
        let answer = ask(&address);
        server.join().unwrap();
        answer
    }

    #[test]
    fn a_counter_is_found_by_its_whole_name() {
        let ask = |name: &'static str| {
            let page = page("# TYPE x counter\nx_total 7\nx_total_all 9\n");
            let request = "GET /metrics HTTP/1.1\r\n\r\n".len();
            asked(page.into(), request, |address| counter(address, name)).unwrap()
        };
        assert_eq!(ask("x_total"), Some(7));
        assert_eq!(ask("x"), None);
    }

    #[test]
    fn a_trace_is_taken_and_anything_else_is_said_to_be_none() {
        let dump = answered(page("trace 1 5\nflushed 0 0 0 0 0 9\n"));
        assert_eq!(dump.unwrap().stamps[0].at_ns, 9);
        let refused = answered("HTTP/1.1 404 Not Found\r\n\r\n").unwrap_err();
        assert!(refused.to_string().contains("404"), "{refused}");
        let empty = answered("").unwrap_err();
        assert!(empty.to_string().contains("nothing"), "{empty}");
        let text = answered(page("hello")).unwrap_err();
        assert!(matches!(text, TraceError::Text { .. }), "{text}");
    }

    #[test]
    fn an_answer_that_is_cut_anywhere_is_not_taken_for_a_shorter_one() {
        let whole = page("trace 1 5\nflushed 0 0 0 0 0 9\nflushed 0 0 0 0 0 9\n");
        assert_eq!(answered(whole.as_str()).unwrap().stamps.len(), 2);
        for bytes in 0..whole.len() {
            let cut = answered(&whole.as_bytes()[..bytes]).unwrap_err();
            assert!(matches!(cut, TraceError::Refused { .. }), "{bytes}: {cut}");
        }
        let unsaid = whole.replace("Content-Length", "Content-Longth");
        let unsaid = answered(unsaid.as_str()).unwrap_err();
        assert!(unsaid.to_string().contains("an unknown number"), "{unsaid}");
        let longer = answered(format!("{whole}more")).unwrap_err();
        assert!(matches!(longer, TraceError::Refused { .. }), "{longer}");
    }

    #[test]
    fn a_validator_that_is_not_there_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = fetch(&address).unwrap_err();
        assert!(error.to_string().contains(&address), "{error}");
    }
}
