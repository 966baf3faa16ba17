//! Where lines come from: a file, or a program on this machine that serves them over TCP.
//!
//! Owns the reading, line by line, within a bound. Never: reaches beyond this machine: the lines
//! carry no proof of who wrote them.

use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::line::{LINE_BYTES_MAX, LineError, PriceLine};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a read waits before the caller may look at other things.
const READ_TIMEOUT: Duration = Duration::from_millis(100);
/// Bytes read at once.
const READ_BYTES: usize = 4096;

/// Why there are no further lines.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The address is not on this machine.
    #[error("{0}: a price feed must be on this machine, its lines carry no proof of their origin")]
    NotLocal(SocketAddr),
    /// The file or the connection failed.
    #[error("{name}: {source}")]
    Io {
        /// The file or the address.
        name: String,
        /// It is a file: who named it has to look, and no other program.
        is_file: bool,
        /// What happened.
        source: io::Error,
    },
    /// A line is no price.
    #[error("{name}, line {line}: {error}")]
    Line {
        /// The file or the address.
        name: String,
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        error: LineError,
    },
}

/// What a source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A price.
    Price(PriceLine),
    /// Nothing just now.
    Idle,
    /// Nothing any more.
    End,
}

/// Lines from a file or a connection. Holds at most one read and one line.
pub struct PriceSource {
    name: String,
    is_file: bool,
    reader: Box<dyn Read>,
    /// Bytes of which no line has been made yet.
    held: Vec<u8>,
    /// How far `held` was searched for the end of a line.
    searched: usize,
    line: u64,
    ended: bool,
}

impl core::fmt::Debug for PriceSource {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PriceSource({}, line {})", self.name, self.line)
    }
}

impl PriceSource {
    /// Lines of a file, to its end.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn file(path: &Path) -> Result<Self, SourceError> {
        let (name, is_file) = (path.display().to_string(), true);
        match File::open(path) {
            Ok(file) => Ok(Self::new(name, is_file, Box::new(file))),
            Err(source) => Err(SourceError::Io {
                name,
                is_file,
                source,
            }),
        }
    }

    /// Lines that a program on this machine serves, until it closes.
    ///
    /// # Errors
    /// The address is not a loopback address, or nobody answers there.
    pub fn connect(address: SocketAddr) -> Result<Self, SourceError> {
        if !address.ip().is_loopback() {
            return Err(SourceError::NotLocal(address));
        }
        let (name, is_file) = (address.to_string(), false);
        let connected = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)
            .and_then(|stream| stream.set_read_timeout(Some(READ_TIMEOUT)).map(|()| stream));
        match connected {
            Ok(stream) => Ok(Self::new(name, is_file, Box::new(stream))),
            Err(source) => Err(SourceError::Io {
                name,
                is_file,
                source,
            }),
        }
    }

    fn new(name: String, is_file: bool, reader: Box<dyn Read>) -> Self {
        Self {
            name,
            is_file,
            reader,
            held: Vec::new(),
            searched: 0,
            line: 0,
            ended: false,
        }
    }

    /// The next price.
    ///
    /// # Errors
    /// The source failed, or a line is no price; there is nothing after either.
    pub fn next_price(&mut self) -> Result<Next, SourceError> {
        loop {
            while let Some(line) = self.take_line() {
                self.line += 1;
                match PriceLine::parse(&line) {
                    Ok(Some(price)) => return Ok(Next::Price(price)),
                    Ok(None) => {}
                    Err(error) => return Err(self.line_error(error)),
                }
            }
            if self.ended {
                return Ok(Next::End);
            }
            if self.held.len() > LINE_BYTES_MAX {
                self.line += 1;
                return Err(self.line_error(LineError::Long));
            }
            if !self.fill()? {
                return Ok(Next::Idle);
            }
        }
    }

    /// Takes a whole line off what is held; at the end, what is left.
    fn take_line(&mut self) -> Option<Vec<u8>> {
        let rest = self.held.get(self.searched..).unwrap_or_default();
        if let Some(at) = rest.iter().position(|&byte| byte == b'\n') {
            let mut line: Vec<u8> = self.held.drain(..=self.searched + at).collect();
            line.pop();
            self.searched = 0;
            return Some(line);
        }
        self.searched = self.held.len();
        if self.ended && !self.held.is_empty() {
            self.searched = 0;
            return Some(core::mem::take(&mut self.held));
        }
        None
    }

    /// Reads once; says whether that gave anything, the end included.
    fn fill(&mut self) -> Result<bool, SourceError> {
        let mut bytes = [0; READ_BYTES];
        match self.reader.read(&mut bytes) {
            Ok(0) => self.ended = true,
            Ok(count) => self
                .held
                .extend_from_slice(bytes.get(..count).unwrap_or_default()),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Ok(false),
                _ => {
                    return Err(SourceError::Io {
                        name: self.name.clone(),
                        is_file: self.is_file,
                        source: error,
                    });
                }
            },
        }
        Ok(true)
    }

    fn line_error(&mut self, error: LineError) -> SourceError {
        // What follows a bad line is not looked at.
        self.ended = true;
        self.held.clear();
        self.searched = 0;
        SourceError::Line {
            name: self.name.clone(),
            line: self.line,
            error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::net::TcpListener;

    /// Gives its pieces one a read, and then an end; an empty piece is a time out.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            if piece.is_empty() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    fn source(pieces: &[&[u8]]) -> PriceSource {
        let pieces = pieces.iter().map(|piece| piece.to_vec()).collect();
        PriceSource::new("test".to_owned(), true, Box::new(Pieces(pieces)))
    }

    fn price(next: Next) -> Option<i64> {
        match next {
            Next::Price(line) => Some(line.price),
            Next::Idle | Next::End => None,
        }
    }

    #[test]
    fn lines_are_found_however_the_bytes_come() {
        let mut source = source(&[b"# head\n0 1", b"", b"0 1 5\n0 11 1 6\n\n0 1", b"2 1 7"]);
        assert_eq!(source.next_price().unwrap(), Next::Idle);
        assert_eq!(price(source.next_price().unwrap()), Some(10));
        assert_eq!(price(source.next_price().unwrap()), Some(11));
        assert_eq!(price(source.next_price().unwrap()), Some(12));
        assert_eq!(source.next_price().unwrap(), Next::End);
        assert_eq!(source.next_price().unwrap(), Next::End);
    }

    #[test]
    fn a_bad_line_is_named_and_ends_the_source() {
        let mut bad = source(&[b"0 1 1 1\n0 x 1 1\n0 3 1 1\n"]);
        assert_eq!(price(bad.next_price().unwrap()), Some(1));
        let error = bad.next_price().unwrap_err().to_string();
        assert!(error.starts_with("test, line 2: field price"), "{error}");
        assert_eq!(bad.next_price().unwrap(), Next::End);
    }

    #[test]
    fn a_line_without_an_end_is_not_held_without_bound() {
        let piece: &[u8] = &[b'1'; 2 * LINE_BYTES_MAX];
        let mut endless = source(&[piece; 100]);
        let error = endless.next_price().unwrap_err().to_string();
        assert!(error.contains("longer than 128 bytes"), "{error}");
        assert!(endless.held.len() <= 3 * LINE_BYTES_MAX);
    }

    #[test]
    fn only_this_machine_is_listened_to() {
        let far = SocketAddr::from(([192, 0, 2, 1], 9));
        let error = PriceSource::connect(far).unwrap_err();
        assert!(matches!(error, SourceError::NotLocal(address) if address == far));
    }

    #[test]
    fn a_program_on_this_machine_serves_lines_over_tcp() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut source = PriceSource::connect(address).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"0 7 1 9\n0 8 1 9\n").unwrap();
        drop(stream);
        let mut prices = Vec::new();
        loop {
            match source.next_price().unwrap() {
                Next::Price(line) => prices.push(line.price),
                Next::Idle => {}
                Next::End => break,
            }
        }
        assert_eq!(prices, [7, 8]);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = PriceSource::file(Path::new("no/such/prices")).unwrap_err();
        assert!(error.to_string().starts_with("no/such/prices: "), "{error}");
    }
}
