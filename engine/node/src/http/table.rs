//! The connections of the operators' window: each one asks, is answered and ends by itself.
//!
//! Owns what each has sent, what is left to tell it and until when, and the bound on how many
//! there are. Never: waits for a socket, or looks into a question.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// Connections at one time. Whoever watches a validator has a handful, and the validator keeps
/// descriptors for no more.
pub(super) const CONNECTIONS_MAX: usize = 32;
/// Longest head of a request, bytes.
const HEAD_BYTES_MAX: usize = 4096;
/// From accepting to the end of the question, and as much again from its answer to hanging up.
pub(super) const EXCHANGE_MAX: Duration = Duration::from_secs(2);

/// How far a connection is.
#[derive(Debug)]
enum State {
    /// It has sent so much of its question.
    Asking(Vec<u8>),
    /// It has been told the first `told` bytes.
    Answering { response: Vec<u8>, told: usize },
}

/// One connection, which never waits.
#[derive(Debug)]
pub(super) struct Exchange<S> {
    stream: S,
    state: State,
    end: Instant,
}

impl<S: Read + Write> Exchange<S> {
    pub(super) fn new(stream: S, now: Instant) -> Self {
        Self {
            stream,
            state: State::Asking(Vec::new()),
            end: now + EXCHANGE_MAX,
        }
    }

    pub(super) const fn stream(&self) -> &S {
        &self.stream
    }

    /// Whether it has to send something next, and not to read.
    pub(super) const fn is_asking(&self) -> bool {
        matches!(self.state, State::Asking(_))
    }

    /// Goes on by one read or write, so that no long answer keeps the others waiting; false when
    /// it has ended.
    fn step(
        &mut self,
        now: impl Fn() -> Instant,
        respond: impl Fn(&[u8]) -> Vec<u8>,
    ) -> std::io::Result<bool> {
        if let State::Asking(head) = &mut self.state {
            let mut piece = [0; 1024];
            let read = match self.stream.read(&mut piece) {
                Err(error) if is_passing(&error) => return Ok(true),
                read => read?,
            };
            head.extend_from_slice(piece.get(..read).unwrap_or_default());
            if !head.windows(4).any(|four| four == b"\r\n\r\n") {
                return Ok(read > 0 && head.len() < HEAD_BYTES_MAX);
            }
            let response = respond(head);
            self.state = State::Answering { response, told: 0 };
            // What took long to find out is told all the same, as that a loop does not answer.
            self.end = now() + EXCHANGE_MAX;
        }
        if let State::Answering { response, told } = &mut self.state {
            let rest = response.get(*told..).unwrap_or_default();
            match self.stream.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => *told += written,
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
            return Ok(*told < response.len());
        }
        Ok(true)
    }
}

/// Whether the same may be tried again.
fn is_passing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// All connections, in the order in which they came.
#[derive(Debug)]
pub(super) struct Table<S>(Vec<Exchange<S>>);

impl<S: Read + Write> Table<S> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn exchanges(&self) -> &[Exchange<S>] {
        &self.0
    }

    /// When the first of them has to end.
    pub(super) fn end(&self) -> Option<Instant> {
        self.0.iter().map(|exchange| exchange.end).min()
    }

    /// One more. In a full table the oldest gives way of those that are more: whoever says nothing
    /// takes no place of those that are being answered, and whoever does not read none of those
    /// that are about to ask.
    pub(super) fn add(&mut self, exchange: Exchange<S>) {
        if self.0.len() >= CONNECTIONS_MAX {
            let asking = self.0.iter().filter(|one| one.is_asking()).count();
            let is_leaving = asking * 2 >= self.0.len();
            let oldest = self.0.iter().position(|one| one.is_asking() == is_leaving);
            self.0.remove(oldest.unwrap_or(0));
        }
        self.0.push(exchange);
    }

    /// Goes on with those that are `ready`, as many as [`exchanges`](Self::exchanges) told, and
    /// ends those whose time was over at `waited`, when that was found. What came for one while
    /// another question took long is so still read.
    pub(super) fn go_on(
        &mut self,
        waited: Instant,
        ready: impl IntoIterator<Item = bool>,
        now: impl Fn() -> Instant,
        respond: impl Fn(&[u8]) -> Vec<u8>,
    ) {
        let mut ready = ready.into_iter();
        self.0.retain_mut(|exchange| {
            if !ready.next().unwrap_or(false) {
                return exchange.end > waited;
            }
            match exchange.step(&now, &respond) {
                Ok(goes_on) => goes_on && exchange.end > waited,
                Err(error) => {
                    tracing::debug!(%error, "http");
                    false
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    /// A socket: what its other end has sent, what it has been told, and how much it takes at once.
    #[derive(Clone, Debug, Default)]
    struct Socket {
        sent: Rc<RefCell<Vec<u8>>>,
        told: Rc<RefCell<Vec<u8>>>,
        takes: Rc<Cell<usize>>,
    }

    impl Read for Socket {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let mut sent = self.sent.borrow_mut();
            let count = sent.len().min(buffer.len());
            if count == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            buffer[..count].copy_from_slice(&sent[..count]);
            sent.drain(..count);
            Ok(count)
        }
    }

    impl Write for Socket {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let count = self.takes.get().min(bytes.len());
            if count == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.told.borrow_mut().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    const QUARTER: Duration = Duration::from_millis(250);

    fn answer(_head: &[u8]) -> Vec<u8> {
        (0..100).collect()
    }

    fn turn(table: &mut Table<Socket>, now: Instant) {
        table.go_on(now, [true; CONNECTIONS_MAX], || now, answer);
    }

    /// One that sends, or takes, a byte each quarter of a second.
    #[test]
    fn one_that_drips_is_hung_up_on_when_its_time_is_over() {
        for (asks_at, ends_at, told) in [(None, 8, 0), (Some(0), 8, 9), (Some(4), 12, 9)] {
            let (mut table, mut now, socket) = (Table::new(), Instant::now(), Socket::default());
            socket.takes.set(1);
            table.add(Exchange::new(socket.clone(), now));
            for quarter in 0..=ends_at {
                assert!(!table.exchanges().is_empty(), "{quarter}");
                let piece: &[u8] = match asks_at == Some(quarter) {
                    true => b"\r\n\r\n",
                    false => b"a",
                };
                socket.sent.borrow_mut().extend_from_slice(piece);
                turn(&mut table, now);
                now += QUARTER;
            }
            assert!(table.exchanges().is_empty());
            assert_eq!(socket.told.borrow().len(), told);
        }
    }

    #[test]
    fn one_that_takes_its_answer_in_pieces_has_it_whole() {
        let (mut table, now, socket) = (Table::new(), Instant::now(), Socket::default());
        table.add(Exchange::new(socket.clone(), now));
        for byte in b"GET / HTTP/1.1\r\n\r\n" {
            socket.sent.borrow_mut().push(*byte);
            turn(&mut table, now);
        }
        for takes in (0..8).cycle() {
            if table.exchanges().is_empty() {
                break;
            }
            socket.takes.set(takes);
            turn(&mut table, now);
        }
        assert_eq!(*socket.told.borrow(), answer(b""));
    }

    /// The clock has gone on past the end of another one's question while the first was answered.
    #[test]
    fn what_came_while_another_question_took_long_is_read() {
        let (mut table, began) = (Table::new(), Instant::now());
        let (slow, next) = (Socket::default(), Socket::default());
        slow.sent.borrow_mut().extend_from_slice(b"\r\n\r\n");
        table.add(Exchange::new(slow, began));
        table.add(Exchange::new(next.clone(), began));
        let after = began + EXCHANGE_MAX * 2;
        table.go_on(began, [true, false], || after, answer);
        next.sent.borrow_mut().extend_from_slice(b"\r\n\r\n");
        next.takes.set(100);
        table.go_on(after, [false, true], || after, answer);
        assert_eq!(next.told.borrow().len(), 100);
    }

    /// Who is still connected, of all that came.
    fn kept(table: &Table<Socket>, came: &[Socket]) -> Vec<usize> {
        let is_kept = |socket: &Socket| {
            let same = |one: &Exchange<Socket>| Rc::ptr_eq(&one.stream.sent, &socket.sent);
            table.exchanges().iter().any(same)
        };
        let kept = came.iter().enumerate().filter(|(_, one)| is_kept(one));
        kept.map(|(place, _)| place).collect()
    }

    #[test]
    fn in_a_full_table_the_oldest_of_those_that_are_more_gives_way() {
        const MAX: usize = CONNECTIONS_MAX;
        for (asked, leaves) in [
            (0, 0),
            (3, 3),
            (MAX / 2, MAX / 2),
            (MAX / 2 + 1, 0),
            (MAX, 0),
        ] {
            let (mut table, now) = (Table::new(), Instant::now());
            let came: Vec<Socket> = (0..=MAX).map(|_| Socket::default()).collect();
            for (place, socket) in came.iter().enumerate() {
                if place < asked {
                    socket.sent.borrow_mut().extend_from_slice(b"\r\n\r\n");
                }
                table.add(Exchange::new(socket.clone(), now));
                turn(&mut table, now);
            }
            let others: Vec<usize> = (0..=MAX).filter(|&place| place != leaves).collect();
            assert_eq!(kept(&table, &came), others, "{asked} have asked");
        }
    }
}
