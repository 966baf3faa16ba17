//! Standard error: where every thread of this process says what it has to say.
//!
//! Owns a bounded buffer and the thread that writes it. Whoever reads may have stalled, as a
//! supervisor that hangs or a terminal that is held, and a validator waits for nobody who reads its
//! log: what finds no room is dropped, and counted. Never: what a line says.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that wait, some thousands of lines: a start under `debug`, or a reader that is away for
/// some seconds. As many again are with the writing thread.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one write, whole lines: a pipe that others write to as well takes so many in one piece.
const WRITE_BYTES_MAX: usize = 4096;
/// How long a process that ends waits for what it said to be read: nobody may be reading.
const FLUSH_MAX: Duration = Duration::from_secs(2);

static LINES: OnceLock<Arc<Lines>> = OnceLock::new();

thread_local! {
    /// What the writing thread says of itself has room always.
    static IS_WRITER: Cell<bool> = const { Cell::new(false) };
}

/// From now on nobody waits for standard error, and a panic is told there as everything else is.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn start() -> io::Result<()> {
    if LINES.get().is_some() {
        return Ok(());
    }
    // Before anybody says anything to it: where there is no thread, that is still told.
    let lines = Arc::<Lines>::default();
    let own = Arc::clone(&lines);
    let thread = std::thread::Builder::new().name("quorate-log".to_owned());
    thread.spawn(move || {
        IS_WRITER.set(true);
        loop {
            own.write_next(&mut io::stderr(), |lines| {
                tracing::error!(lines, "log lines were dropped: who reads them is too slow");
            });
        }
    })?;
    LINES.get_or_init(|| lines);
    std::panic::set_hook(Box::new(tell_panic));
    Ok(())
}

/// Says something, whole lines. It is dropped where too much waits.
pub(crate) fn say(bytes: &[u8]) {
    match LINES.get() {
        Some(lines) => lines.push(bytes, IS_WRITER.get()),
        None => write(bytes),
    }
}

/// Says the last that this process has to say: once, whatever waits.
pub(crate) fn say_last(bytes: &[u8]) {
    match LINES.get() {
        Some(lines) => lines.push(bytes, true),
        None => write(bytes),
    }
}

/// Waits until all that was said is written, for a bounded time.
pub(crate) fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(FLUSH_MAX);
    }
}

/// Where the log's lines go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said;

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        say(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(bytes: &[u8]) {
    // Standard error may be closed; a command does its work all the same.
    io::stderr().write_all(bytes).ok();
}

/// The hook of the standard library would wait for whoever reads, and a thread that hangs there
/// keeps a process that is to end.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name");
    let mut told = format!("thread '{name}' {panic}\n");
    let trace = Backtrace::capture();
    match trace.status() {
        BacktraceStatus::Captured => told.push_str(&trace.to_string()),
        _ => {
            told.push_str("with RUST_BACKTRACE=1 in the environment it is told how it came there\n")
        }
    }
    say_last(told.as_bytes());
    flush();
}

/// Lines on their way.
#[derive(Debug, Default)]
struct Lines {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines that found no room, and were not told yet.
    dropped: u64,
    /// Something is being written.
    is_writing: bool,
}

impl Lines {
    /// Adds lines, where there is room or they have it always.
    fn push(&self, bytes: &[u8], has_room: bool) {
        let mut state = self.lock();
        if has_room || state.waiting.len().saturating_add(bytes.len()) <= WAITING_BYTES_MAX {
            state.waiting.extend_from_slice(bytes);
        } else {
            state.dropped = state.dropped.saturating_add(1);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for lines and writes them; `tell` says how many were dropped behind them.
    fn write_next(&self, out: &mut impl Write, tell: impl Fn(u64)) {
        let mut state = self.lock();
        while state.waiting.is_empty() && state.dropped == 0 {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let bytes = std::mem::take(&mut state.waiting);
        let dropped = std::mem::take(&mut state.dropped);
        state.is_writing = true;
        drop(state);
        // Whoever read them may have gone, or that disk may be full.
        let dropped = dropped.saturating_add(write_lines(out, &bytes));
        if dropped > 0 {
            tell(dropped);
        }
        self.lock().is_writing = false;
        self.changed.notify_all();
    }

    /// Waits until nothing is on its way, or the time is over.
    fn flush(&self, timeout: Duration) {
        let end = Instant::now() + timeout;
        let mut state = self.lock();
        while state.is_writing || !state.waiting.is_empty() || state.dropped > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A holder that panicked leaves consistent data: every critical section makes one change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes whole lines, some at a time; how many came out not at all, or not whole.
fn write_lines(out: &mut impl Write, bytes: &[u8]) -> u64 {
    let mut rest = bytes;
    while !rest.is_empty() {
        let piece = &rest[..rest.len().min(WRITE_BYTES_MAX)];
        let end = match piece.iter().rposition(|byte| *byte == b'\n') {
            Some(last) if piece.len() < rest.len() => last + 1,
            _ => piece.len(),
        };
        if out.write_all(&rest[..end]).is_err() {
            return rest.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        rest = &rest[end..];
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const FAR: Duration = Duration::from_secs(60);

    /// A reader that takes a write only when it is let, and hands on what it got.
    struct Gate {
        opened: Receiver<()>,
        taken: Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.opened.recv().ok();
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.taken.send(text).ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Lines, with the thread that writes them to a reader: how to let it take one write, and what
    /// it took.
    fn written() -> (Arc<Lines>, Sender<()>, Receiver<String>) {
        let ((open, opened), (taken, took)) = (channel(), channel());
        let lines = Arc::<Lines>::default();
        let own = Arc::clone(&lines);
        std::thread::spawn(move || {
            let mut gate = Gate { opened, taken };
            loop {
                own.write_next(&mut gate, |count| {
                    own.push(format!("{count} dropped\n").as_bytes(), true);
                });
            }
        });
        (lines, open, took)
    }

    #[test]
    fn nobody_waits_for_a_reader_that_stalls_and_it_is_told_what_it_missed() {
        let (lines, open, took) = written();
        lines.push(b"first\n", false);
        // With the writing thread, so that all room is there.
        while !lines.lock().is_writing {
            std::thread::yield_now();
        }
        let long = [b'x'; WAITING_BYTES_MAX / 4];
        (0..7).for_each(|_| lines.push(&long, false));
        lines.push(b"last words\n", true);
        assert!(lines.lock().waiting.len() < WAITING_BYTES_MAX + 64);
        (0..3).for_each(|_| open.send(()).unwrap());
        assert_eq!(took.recv_timeout(FAR).unwrap(), "first\n");
        // There is room again, when all that waited is written.
        let pieces = 4 * long.len() / WRITE_BYTES_MAX + 1;
        (0..pieces).for_each(|_| open.send(()).unwrap());
        let waited: Vec<String> = (0..pieces)
            .map(|_| took.recv_timeout(FAR).unwrap())
            .collect();
        assert_eq!(
            waited.concat().len(),
            4 * long.len() + b"last words\n".len()
        );
        assert_eq!(took.recv_timeout(FAR).unwrap(), "3 dropped\n");
        lines.push(b"behind\n", false);
        open.send(()).unwrap();
        assert_eq!(took.recv_timeout(FAR).unwrap(), "behind\n");
    }

    /// Takes so many writes and no more.
    struct Ending(Vec<Vec<u8>>, usize);

    impl Write for Ending {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.len() == self.1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_whole_and_those_that_are_not_taken_are_counted() {
        let line = [[b'y'; 999].as_slice(), b"\n"].concat();
        let all = line.repeat(10);
        let mut out = Ending(Vec::new(), 2);
        assert_eq!(write_lines(&mut out, &all), 2);
        assert_eq!(out.0, [line.repeat(4), line.repeat(4)]);
    }

    #[test]
    fn a_flush_waits_for_what_was_said_and_not_for_a_reader_that_stalls() {
        let (lines, open, took) = written();
        lines.flush(FAR);
        lines.push(b"said\n", false);
        let began = Instant::now();
        lines.flush(Duration::from_millis(50));
        assert!(
            began.elapsed() >= Duration::from_millis(50),
            "it is not written"
        );
        open.send(()).unwrap();
        lines.flush(FAR);
        assert!(began.elapsed() < FAR);
        assert_eq!(took.try_recv().unwrap(), "said\n", "it was written before");
    }
}
