//! The archive of a stream on a thread of its own: written behind the ring, read for those who are
//! far behind.
//!
//! Owns the way between the ring and the disk. Never: anything that a vote, a result or a live
//! reader waits for. When the disk is so slow that the ring passes what was not handed over, the
//! archive begins anew there if peers can give again what it lets go of: a stream has no holes.
//! Where they cannot, the archive ends for this run, and whoever waits for something on it is told
//! that it is gone. So it does when the disk fails, or is full, where blocks wait for room, until
//! the ring passes them. It is not begun anew then: no snapshot is taken above its end meanwhile,
//! so the next start executes what is missing again.

use super::fetch::{Asked, Ticket};
use super::reads::Reads;
use crate::archive::{ArchiveError, Archived, Kept, Ring, Store};
use crate::metrics::Metrics;
use crate::parked::{Receiver, Sender, bounded};
use crate::private::archived::PrivateOutputs;
use crate::streams::Unavailable;
use crossbeam::channel::{self, RecvTimeoutError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Blocks and questions on their way to the thread.
const QUEUE_MAX: usize = 4_096;
/// Bytes of blocks on their way: the ring may have forgotten them already.
const QUEUE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Questions on their way to the disk and back.
const FETCHES_MAX: usize = 16;
/// Those of one client: no reader of the stream may keep the disk from all others.
const FETCHES_PER_CLIENT_MAX: usize = 4;
/// Items taken before what came of them is written.
const ITEMS_PER_STRETCH: usize = 1_024;
/// Blocks that wait before the thread is woken for them; fewer wait until it looks by itself. It
/// would take a core from the votes of the next block to write each one at once.
const WAKE_BLOCKS: usize = 64;
/// How often it is looked for blocks, and whether something is to be made durable. Both have time,
/// and each look takes a core from somebody who votes.
const LOOK: Duration = Duration::from_millis(100);
/// Time between two tries while the disk is full.
const RETRY: Duration = Duration::from_millis(100);

/// What was read, for which question. Its ticket counts until it is taken.
pub(crate) type Fetched<K> = (<K as Asked>::Fetch, ReadPiece<K>, Ticket);

/// What was read, for which question, when it has been taken.
pub(crate) type TakenFetch<K> = (<K as Asked>::Fetch, ReadPiece<K>);
type ReadPiece<K> = Result<<K as Asked>::Piece, Unavailable>;

/// What the thread does besides, at the end of a turn.
pub(crate) type Besides<K> = Box<dyn FnMut(&mut Store<K>)>;

#[derive(Debug)]
enum ToArchive<K: Asked> {
    Block(u64, Arc<K::Block>),
    /// The ring has passed what was not handed over: the next block comes after these.
    Begin(K::Before),
    Fetch(K::Fetch, Ticket),
}

/// The ring's end of the way to the thread. The thread ends with it.
#[derive(Debug)]
pub(crate) struct ArchiveLink<K: Asked> {
    sender: Option<Sender<ToArchive<K>>>,
    fetched: channel::Receiver<Fetched<K>>,
    state: Arc<Archived>,
    /// The next block to hand over.
    next: u64,
    /// Where the archive begins anew, as long as it may not know it yet.
    begun: u64,
    /// How often it was told to.
    begins: u64,
    /// For whom something is being read, once for each question. Bound: `FETCHES_MAX`.
    fetches: Vec<(K::Asker, Ticket)>,
    /// How often blocks had waited for room on the disk when all was handed over last.
    waits: u64,
    /// The ring has passed what waited for the disk: nothing more is handed over in this run.
    is_passed: bool,
    metrics: Arc<Metrics>,
    thread: Option<JoinHandle<()>>,
}

impl<K: Asked> ArchiveLink<K> {
    /// Starts the thread, which calls `wake` when something has been read, and does what there is
    /// to do besides.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(crate) fn start(
        archive: Store<K>,
        metrics: Arc<Metrics>,
        besides: impl FnOnce() -> Besides<K> + Send + 'static,
        wake: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, items) = bounded(QUEUE_MAX);
        let (answer, fetched) = channel::bounded(FETCHES_MAX);
        let state = Arc::clone(archive.state());
        state.first.store(archive.first(), Ordering::Release);
        let next = archive.end();
        let told = Arc::clone(&state);
        let own_metrics = Arc::clone(&metrics);
        let is_waiting = state.is_waiting();
        let thread = std::thread::Builder::new().name(K::THREAD.to_owned());
        let thread = thread.spawn(move || {
            super::give_way();
            let replies = Replies {
                answer,
                wake: Box::new(wake),
            };
            let mut work = Work {
                archive,
                besides: besides(),
                state: Arc::clone(&told),
                replies: &replies,
                begins: 0,
                waiting: VecDeque::new(),
                // A start has met a full disk already.
                retry_at: is_waiting.then(Instant::now),
                asked: VecDeque::with_capacity(FETCHES_MAX),
                reads: reads::<K>(),
            };
            let ended = work.run(&items);
            if let Err(error) = &ended {
                metrics.alarms.add(1);
                let what = K::WHAT;
                tracing::error!(%error, "older {what} are not kept any more in this run");
                told.fail();
            }
            work.refuse_asked();
            if ended.is_err() {
                replies.refuse_all(&items, &told);
            }
        })?;
        Ok(Self {
            sender: Some(sender),
            fetched,
            state,
            next,
            begun: 0,
            begins: 0,
            fetches: Vec::with_capacity(FETCHES_MAX),
            waits: 0,
            is_passed: false,
            metrics: own_metrics,
            thread: Some(thread),
        })
    }

    /// The thread is handed nothing more and ends when it has done what it was handed; dropping
    /// this waits for that.
    pub(crate) fn end(&mut self) {
        self.sender = None;
    }

    /// Height of the oldest block from which on there is no hole, here or in the ring.
    pub(crate) fn oldest(&self) -> u64 {
        // What it says of its first block is of after the last beginning then, and older ones may
        // have come since.
        let is_known =
            self.begun != u64::MAX && self.state.begins.load(Ordering::Acquire) >= self.begins;
        let first = self.state.first.load(Ordering::Acquire);
        if is_known {
            first
        } else {
            first.max(self.begun)
        }
    }

    fn send(&self, item: ToArchive<K>) -> bool {
        let sender = self.sender.as_ref();
        sender.is_some_and(|sender| sender.try_send(item).is_ok())
    }

    /// Sends a block, which has time.
    fn leave(&self, height: u64, block: &Arc<K::Block>) -> bool {
        let Some(sender) = self.sender.as_ref() else {
            return false;
        };
        let item = ToArchive::Block(height, Arc::clone(block));
        let sent = if (sender.len() + 1).is_multiple_of(WAKE_BLOCKS) {
            sender.try_send(item)
        } else {
            sender.leave(item)
        };
        sent.is_ok()
    }

    /// Hands over what the ring has and the archive lacks, as far as there is room.
    pub(crate) fn hand_over(&mut self, ring: &impl Ring<Kind = K>) {
        if self.is_passed {
            return;
        }
        let first = ring.first();
        let (waits, is_full) = (self.state.waits(), self.state.is_waiting());
        let is_lost = !K::IS_REFETCHED || is_full || waits != self.waits;
        if self.next < first && is_lost {
            return self.be_passed();
        }
        if self.next < first {
            let before = ring.before();
            if !before.is_some_and(|before| self.send(ToArchive::Begin(before))) {
                // Nothing there is continuous with the ring until it gets through.
                self.begun = u64::MAX;
                return;
            }
            (self.next, self.begun) = (first, first);
            self.begins += 1;
        }
        self.send_blocks(ring);
        if !is_full && ring.block(self.next).is_none() {
            self.waits = waits;
        }
    }

    /// The ring has passed blocks that wait for the disk. To begin anew above them would let go of
    /// all that is archived; as it is, the next start executes them again.
    fn be_passed(&mut self) {
        self.is_passed = true;
        self.begun = u64::MAX;
        self.state.fail();
        self.metrics.alarms.add(1);
        tracing::error!(
            "older {} waited for too long for a disk that is full or too slow, and are not kept \
             any more in this run: start again when it is not",
            K::WHAT
        );
    }

    fn send_blocks(&mut self, ring: &impl Ring<Kind = K>) {
        while let Some(block) = ring.block(self.next) {
            if self.state.queued_bytes.load(Ordering::Relaxed) > QUEUE_BYTES_MAX {
                return;
            }
            let bytes = block.memory_bytes() as u64;
            if !self.leave(self.next, block) {
                return;
            }
            self.state.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.next += 1;
        }
    }

    /// Asks for what is older; false when there is no room for the question, or none left for its
    /// client.
    pub(crate) fn fetch(&mut self, fetch: K::Fetch) -> bool {
        let asker = K::asker(&fetch);
        self.fetches.retain(|(_, ticket)| ticket.is_held());
        let of_asker = self.fetches.iter().filter(|(one, _)| *one == asker);
        let has_room =
            self.fetches.len() < FETCHES_MAX && of_asker.count() < FETCHES_PER_CLIENT_MAX;
        let ticket = Ticket::default();
        let is_sent = has_room && self.send(ToArchive::Fetch(fetch, ticket.clone()));
        if is_sent {
            self.fetches.push((asker, ticket));
        }
        is_sent
    }

    /// What is read comes out here too, for another thread to take.
    pub(crate) fn answers(&self) -> channel::Receiver<Fetched<K>> {
        self.fetched.clone()
    }

    /// Something that was read.
    pub(crate) fn take(&mut self) -> Option<TakenFetch<K>> {
        let (fetch, read, _) = self.fetched.try_recv().ok()?;
        Some((fetch, read))
    }

    /// Whether something was read.
    pub(crate) fn has_fetched(&self) -> bool {
        !self.fetched.is_empty()
    }
}

impl ArchiveLink<PrivateOutputs> {
    /// Tells the operator the height of the oldest private outputs that are to be had here, on disk
    /// or in memory from `first` on.
    pub(crate) fn tell_oldest(&self, first: u64) {
        self.metrics.private_oldest.set(self.oldest().min(first));
    }
}

impl<K: Asked> Drop for ArchiveLink<K> {
    fn drop(&mut self) {
        self.sender = None;
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_)) = ended {
            tracing::error!("the thread that keeps older {} panicked", K::WHAT);
        }
    }
}

/// The way back.
struct Replies<K: Asked> {
    answer: channel::Sender<Fetched<K>>,
    wake: Box<dyn Fn() + Send>,
}

impl<K: Asked> Replies<K> {
    fn send(&self, fetched: Fetched<K>) {
        // There are never more than have room.
        if self.answer.try_send(fetched).is_ok() {
            (self.wake)();
        }
    }

    /// Answers what is on its way, and what is sent before the sender knows, until it ends: nothing
    /// of it is here any more. Blocks are dropped.
    fn refuse_all(&self, items: &Receiver<ToArchive<K>>, state: &Archived) {
        loop {
            // Blocks wake nobody.
            match items.recv_timeout(LOOK) {
                Ok(ToArchive::Fetch(fetch, ticket)) => {
                    self.send((fetch, Err(Unavailable::Gone), ticket));
                }
                Ok(ToArchive::Block(_, block)) => {
                    let bytes = block.memory_bytes() as u64;
                    state.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
                }
                Ok(ToArchive::Begin(_)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

fn reads<K: Asked>() -> Option<Reads> {
    K::READ_BYTES_PER_S_MAX.map(|bytes_per_s| Reads::new(bytes_per_s, Instant::now()))
}

/// The thread's side.
struct Work<'a, K: Asked> {
    archive: Store<K>,
    besides: Besides<K>,
    state: Arc<Archived>,
    replies: &'a Replies<K>,
    /// How often it has begun anew.
    begins: u64,
    /// Blocks, and beginnings among them, that wait for room on the disk, in their order. Their
    /// bytes count among those on their way. Bound: `QUEUE_BYTES_MAX`.
    waiting: VecDeque<ToArchive<K>>,
    /// When to try again; none while there is room.
    retry_at: Option<Instant>,
    /// Questions that wait until what was read before them is paid for. Bound: `FETCHES_MAX`, as
    /// their tickets are held.
    asked: VecDeque<(K::Fetch, Ticket)>,
    /// How fast they are read, where that is bounded.
    reads: Option<Reads>,
}

impl<K: Asked> Work<'_, K> {
    fn run(&mut self, items: &Receiver<ToArchive<K>>) -> Result<(), ArchiveError> {
        loop {
            match items.recv_timeout(self.patience()) {
                Ok(item) => {
                    self.take(item)?;
                    for item in items.try_iter().take(ITEMS_PER_STRETCH) {
                        self.take(item)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let done = self.write_all().and_then(|()| self.archive.sync());
                    // What found no room is executed again by the next start.
                    return self.put_off(done).map(|_| ());
                }
            }
            self.turn()?;
        }
    }

    /// How long to sleep at most.
    fn patience(&self) -> Duration {
        match &self.reads {
            Some(reads) if !self.asked.is_empty() => LOOK.min(reads.wait(Instant::now())),
            _ => LOOK,
        }
    }

    /// Writes what has come, and does what others wait for.
    fn turn(&mut self) -> Result<(), ArchiveError> {
        self.read_asked();
        if self.retry_at.is_none_or(|at| at <= Instant::now()) {
            let done = self.write_all().and_then(|()| self.sync_wanted());
            if self.put_off(done)? && self.state.end_waiting() {
                self.retry_at = None;
                tracing::warn!("there is room on the disk for older {} again", K::WHAT);
            }
        }
        (self.besides)(&mut self.archive);
        let first = self.archive.first();
        self.state.first.store(first, Ordering::Release);
        self.state.begins.store(self.begins, Ordering::Release);
        Ok(())
    }

    /// What was refused for want of room is tried again after a while; whether it was not.
    fn put_off(&mut self, done: Result<(), ArchiveError>) -> Result<bool, ArchiveError> {
        let Err(error) = done else {
            return Ok(true);
        };
        if !error.is_for_want_of_room() {
            return Err(error);
        }
        self.retry_at = Some(Instant::now() + RETRY);
        if self.state.begin_waiting() {
            let what = K::WHAT;
            tracing::error!(%error, "the disk is full: older {what} wait for room");
        }
        Ok(false)
    }

    /// Little stays in memory until more has come, or somebody reads it or waits for it: a start
    /// executes again what no snapshot covers.
    fn write_all(&mut self) -> Result<(), ArchiveError> {
        while let Some(item) = self.waiting.pop_front() {
            let written = self.write(&item);
            if written.is_err() {
                self.waiting.push_front(item);
                return written;
            }
        }
        Ok(())
    }

    fn sync_wanted(&mut self) -> Result<(), ArchiveError> {
        let end = self.archive.end();
        let wanted = self.state.wanted.load(Ordering::Acquire);
        if self.state.synced.load(Ordering::Acquire) < wanted && wanted <= end {
            self.archive.sync()?;
            self.state.synced.store(end, Ordering::Release);
        }
        Ok(())
    }

    fn take(&mut self, item: ToArchive<K>) -> Result<(), ArchiveError> {
        let item = match item {
            ToArchive::Fetch(fetch, ticket) => {
                self.asked.push_back((fetch, ticket));
                self.read_asked();
                return Ok(());
            }
            item => item,
        };
        if self.retry_at.is_none() {
            let written = self.write(&item);
            if self.put_off(written)? {
                return Ok(());
            }
        }
        self.waiting.push_back(item);
        Ok(())
    }

    /// Reads for those who asked, in their order, as fast as may be.
    fn read_asked(&mut self) {
        let may_read = |reads: Option<Reads>| reads.is_none_or(|one| one.is_free(Instant::now()));
        while may_read(self.reads)
            && let Some((fetch, ticket)) = self.asked.pop_front()
        {
            let before = self.archive.read_bytes();
            self.read(fetch, ticket);
            let bytes = self.archive.read_bytes().saturating_sub(before);
            if let Some(reads) = &mut self.reads {
                reads.spend(bytes, Instant::now());
            }
        }
    }

    /// Nothing is here any more for those who wait.
    fn refuse_asked(&mut self) {
        for (fetch, ticket) in self.asked.drain(..) {
            self.replies.send((fetch, Err(Unavailable::Gone), ticket));
        }
    }

    fn read(&mut self, fetch: K::Fetch, ticket: Ticket) {
        let read = K::read(&mut self.archive, &fetch);
        // It is the ring alone that is behind blocks that wait, and it has passed them.
        let is_waiting = !self.waiting.is_empty();
        let read = read.map_err(|why| match why {
            Unavailable::Ahead if is_waiting => Unavailable::Gone,
            why => why,
        });
        self.replies.send((fetch, read, ticket));
    }

    fn write(&mut self, item: &ToArchive<K>) -> Result<(), ArchiveError> {
        match item {
            ToArchive::Block(height, block) => {
                self.archive.append(*height, block)?;
                let bytes = block.memory_bytes() as u64;
                self.state.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            ToArchive::Begin(before) => {
                self.archive.begin(before.clone())?;
                self.begins += 1;
            }
            // These are answered when they come.
            ToArchive::Fetch(..) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
