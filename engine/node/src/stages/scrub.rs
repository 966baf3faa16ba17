//! The scrubber on a thread of its own, of the lowest priority that the system has.
//!
//! Owns its pace and its numbers. Never: anything that a vote, a client or a peer waits for; a
//! failure here is an alarm and ends no validator.

use super::dedicated::Halt;
use crate::metrics::Metrics;
use crate::parked::{Receiver, Sender, bounded};
use crate::scrub::{Scrub, Turn};
use crate::store::LoggedBlock;
use crossbeam::channel::RecvTimeoutError;
use parking_lot::Mutex;
use quorate_consensus::input::Input;
use quorate_log::{Fault, ScrubError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Things told to the thread that may wait: the blocks of one request, and hints.
const ASKS_MAX: usize = 64;
/// Places that were said to be unreadable. More are left to what the scrubber says of segments.
const TOLD_MAX: usize = 256;
/// Longest sleep, so that a stop is not waited for.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// After the system has refused.
const RETRY: Duration = Duration::from_secs(10);
/// The lowest priority.
const NICE: i32 = 19;

/// What the thread is told.
#[derive(Debug)]
pub(crate) enum ToScrub {
    /// A record of this segment could not be read.
    LookAt(u32),
    /// A block that was asked for.
    Block(LoggedBlock),
}

/// The way to the thread. Whoever tells never waits: what finds no room is asked for again.
#[derive(Clone, Debug)]
pub(crate) struct ScrubSender {
    asks: Sender<ToScrub>,
    told: Arc<Mutex<BTreeSet<(u32, u32)>>>,
}

/// The other end of it.
#[derive(Debug)]
pub(crate) struct ScrubAsks(Receiver<ToScrub>);

impl ScrubSender {
    pub(crate) fn new() -> (Self, ScrubAsks) {
        let (asks, receiver) = bounded(ASKS_MAX);
        let told = Arc::default();
        (Self { asks, told }, ScrubAsks(receiver))
    }

    /// A peer asked for a record that cannot be read. It may do so as often as it likes, so that
    /// is said once of each place; the scrubber hears of it every time.
    pub(crate) fn note_unreadable(&self, fault: &Fault) {
        if self.is_news(fault) {
            tracing::error!(%fault, "a record of the log cannot be read for a peer");
        }
        self.send(ToScrub::LookAt(fault.segment));
    }

    fn is_news(&self, fault: &Fault) -> bool {
        let mut told = self.told.lock();
        told.len() < TOLD_MAX && told.insert((fault.segment, fault.offset))
    }

    pub(crate) fn send(&self, ask: ToScrub) {
        if self.asks.try_send(ask).is_err() {
            tracing::debug!("the scrubber is busy or off");
        }
    }
}

/// What the thread is made of.
pub(crate) struct ScrubParts {
    pub(crate) scrub: Scrub,
    pub(crate) asks: ScrubAsks,
    pub(crate) metrics: Arc<Metrics>,
    /// Takes what peers are to be asked to the order stage.
    pub(crate) answer: Box<dyn Fn(Vec<Input>) + Send>,
    /// Set when the node ends.
    pub(crate) halt: Halt,
}

/// Starts the thread.
pub(crate) fn start(parts: ScrubParts) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("quorate-scrub".to_owned())
        .spawn(move || run(parts))
}

fn run(mut parts: ScrubParts) {
    // On Linux a priority is a thread's own. Without it the rate alone keeps it out of the way.
    rustix::process::setpriority_process(None, NICE).ok();
    let begun = Instant::now();
    let mut due = begun;
    let mut has_told = false;
    while !parts.halt.is_set() {
        let sleep = due.saturating_duration_since(Instant::now()).min(SLEEP_MAX);
        let asked = match parts.asks.0.recv_timeout(sleep) {
            Ok(asked) => Some(asked),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let now = Instant::now();
        let now_ns = super::clock::nanoseconds(begun.elapsed());
        let mut inputs = Vec::new();
        let turn = match asked {
            Some(ToScrub::Block(block)) => {
                parts.scrub.take(&block);
                // The next turn writes what is whole, or finds that nothing is due.
                due = now;
                continue;
            }
            Some(ToScrub::LookAt(segment)) => parts.scrub.look_at(segment, now_ns, &mut inputs),
            None if now < due => continue,
            None => parts.scrub.turn(now_ns, &mut inputs),
        };
        due = now + note(&parts, turn);
        if !inputs.is_empty() {
            (parts.answer)(inputs);
        }
        if !has_told && let Some(is_direct) = parts.scrub.is_direct() {
            has_told = true;
            tell_direct(is_direct);
        }
    }
}

fn tell_direct(is_direct: bool) {
    if is_direct {
        tracing::debug!("complete log segments are read from the disk at intervals");
    } else {
        tracing::warn!(
            "the file system of the log has no direct reads: scrubbing sees what memory holds, and \
             rot of the disk below it only when that is let go"
        );
    }
}

/// Counts what a turn did; says how long to rest.
fn note(parts: &ScrubParts, turn: Result<Turn, ScrubError>) -> Duration {
    let metrics = &parts.metrics;
    match turn {
        Ok(turn) => {
            metrics.scrub_bytes.add(turn.bytes);
            metrics.scrub_passes.add(u64::from(turn.is_pass));
            metrics.scrub_faults.add(turn.found);
            metrics.scrub_repaired.add(turn.repaired);
            metrics.scrub_faulty.set(parts.scrub.faulty());
            let is_direct = parts.scrub.is_direct() == Some(true);
            metrics.scrub_direct.set(u64::from(is_direct));
            Duration::from_nanos(turn.pause_ns)
        }
        Err(error) => {
            tracing::error!(%error, "the log cannot be scrubbed for now");
            RETRY
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_log::Damage;

    #[test]
    fn a_peer_that_asks_for_what_is_lost_writes_one_line_of_each_place_and_so_many_at_most() {
        let (sender, asks) = ScrubSender::new();
        let fault = |offset| Fault {
            segment: 3,
            offset,
            index: None,
            damage: Damage::RecordBody,
        };
        let places = TOLD_MAX as u32 + 9;
        let said = (0..places).chain(0..places);
        let said: Vec<u32> = said.filter(|&at| sender.is_news(&fault(at))).collect();
        assert_eq!(said, (0..TOLD_MAX as u32).collect::<Vec<_>>());
        // The scrubber hears of each all the same, as far as there is room.
        (0..2).for_each(|_| sender.note_unreadable(&fault(0)));
        for _ in 0..2 {
            let asked = asks.0.recv_timeout(Duration::ZERO);
            assert!(matches!(asked, Ok(ToScrub::LookAt(3))), "{asked:?}");
        }
    }
}
