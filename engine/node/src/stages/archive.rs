//! The archive of the public stream on a thread of its own: written behind the ring, read for those
//! who are far behind.
//!
//! Owns the way between the ring and the disk. Never: anything that a vote, a result or a live
//! reader waits for. When the disk is so slow that the ring passes what was not handed over, the
//! archive begins anew there: a stream has no holes. When the disk is full, blocks wait for room;
//! should the ring pass them, or the disk fail, the archive ends for this run, and whoever waits
//! for something on it is told that it is gone. It is not begun anew then: no snapshot is taken
//! above its end meanwhile, so the next start executes what is missing again.

use super::older::{PeerParts, Peers};
use crate::archive::{Archive, ArchiveError, Archived, Chunk};
use crate::metrics::Metrics;
use crate::parked::{Receiver, Sender, bounded};
use crate::streams::{Block, PublicRing, StreamPosition, Unavailable};
use crossbeam::channel::{self, RecvTimeoutError};
use quorate_net::ClientId;
use quorate_proof::events::EventHistory;
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
/// How often it is looked for blocks, and whether something is to be made durable.
const LOOK: Duration = Duration::from_millis(20);
/// Time between two tries while the disk is full.
const RETRY: Duration = Duration::from_millis(100);

/// For what something is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A subscription that is behind the ring.
    Subscription,
    /// A question for a range.
    Range,
}

/// What is to be read, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetch {
    pub(crate) client: ClientId,
    pub(crate) id: u64,
    pub(crate) purpose: Purpose,
    pub(crate) from: StreamPosition,
    pub(crate) to: StreamPosition,
    pub(crate) bytes_max: usize,
}

/// What was read.
pub(crate) type Fetched = (Fetch, Result<Chunk, Unavailable>);

#[derive(Debug)]
enum ToArchive {
    Block(u64, Arc<Block>),
    /// The ring has passed what was not handed over: the next block comes after these.
    Begin(EventHistory),
    Fetch(Fetch),
}

/// The ring's end of the way to the thread. The thread ends with it.
#[derive(Debug)]
pub(crate) struct ArchiveLink {
    sender: Option<Sender<ToArchive>>,
    fetched: channel::Receiver<Fetched>,
    state: Arc<Archived>,
    /// The next block to hand over.
    next: u64,
    /// Where the archive begins anew, as long as it may not know it yet.
    begun: u64,
    /// How often it was told to.
    begins: u64,
    /// For whom something is being read, once for each question. Bound: `FETCHES_MAX`.
    fetches: Vec<ClientId>,
    /// How often blocks had waited for room on the disk when all was handed over last.
    waits: u64,
    /// The ring has passed what waited for room: nothing more is handed over in this run.
    is_passed: bool,
    metrics: Arc<Metrics>,
    thread: Option<JoinHandle<()>>,
}

impl ArchiveLink {
    /// Starts the thread, which calls `wake` when something has been read, and exchanges older
    /// events with peers, if there are any.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(crate) fn start(
        archive: Archive,
        metrics: Arc<Metrics>,
        peers: Option<PeerParts>,
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
        let thread = std::thread::Builder::new().name("quorate-public".to_owned());
        let thread = thread.spawn(move || {
            super::give_way();
            let replies = Replies {
                answer,
                wake: Box::new(wake),
            };
            let peers = peers.map(|peers| Peers::new(peers, Arc::clone(&metrics)));
            let work = Work {
                archive,
                peers,
                state: Arc::clone(&told),
                replies: &replies,
                begins: 0,
                waiting: VecDeque::new(),
                // A start has met a full disk already.
                retry_at: is_waiting.then(Instant::now),
            };
            if let Err(error) = work.run(&items) {
                metrics.alarms.add(1);
                tracing::error!(%error, "older public events are not kept any more in this run");
                told.fail();
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

    fn send(&self, item: ToArchive) -> bool {
        let sender = self.sender.as_ref();
        sender.is_some_and(|sender| sender.try_send(item).is_ok())
    }

    /// Sends a block, which has time.
    fn leave(&self, height: u64, block: &Arc<Block>) -> bool {
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
    pub(crate) fn hand_over(&mut self, ring: &PublicRing) {
        if self.is_passed {
            return;
        }
        let first = ring.oldest().height;
        let (waits, is_full) = (self.state.waits(), self.state.is_waiting());
        if self.next < first && (is_full || waits != self.waits) {
            return self.be_passed();
        }
        if self.next < first {
            let before = ring.before().cloned();
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

    /// The ring has passed blocks that wait for room. To begin anew above them would let go of all
    /// that is archived; as it is, the next start executes them again.
    fn be_passed(&mut self) {
        self.is_passed = true;
        self.begun = u64::MAX;
        self.state.fail();
        self.metrics.alarms.add(1);
        tracing::error!(
            "older public events found no room on the disk for too long, and are not kept any more \
             in this run: start again when there is room"
        );
    }

    fn send_blocks(&mut self, ring: &PublicRing) {
        while let Some(block) = ring.block(self.next) {
            if self.state.queued_bytes.load(Ordering::Relaxed) > QUEUE_BYTES_MAX {
                return;
            }
            let bytes = block.bytes_len() as u64;
            if !self.leave(self.next, block) {
                return;
            }
            self.state.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.next += 1;
        }
    }

    /// Asks for older events; false when there is no room for the question, or none left for its
    /// client.
    pub(crate) fn fetch(&mut self, fetch: Fetch) -> bool {
        let of_client = self
            .fetches
            .iter()
            .filter(|&&one| one == fetch.client)
            .count();
        let is_sent = self.fetches.len() < FETCHES_MAX
            && of_client < FETCHES_PER_CLIENT_MAX
            && self.send(ToArchive::Fetch(fetch));
        if is_sent {
            self.fetches.push(fetch.client);
        }
        is_sent
    }

    /// Something that was read.
    pub(crate) fn take(&mut self) -> Option<Fetched> {
        let fetched = self.fetched.try_recv().ok()?;
        let place = self.fetches.iter().position(|&one| one == fetched.0.client);
        if let Some(place) = place {
            self.fetches.swap_remove(place);
        }
        Some(fetched)
    }

    /// Whether something was read.
    pub(crate) fn has_fetched(&self) -> bool {
        !self.fetched.is_empty()
    }
}

impl Drop for ArchiveLink {
    fn drop(&mut self) {
        self.sender = None;
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_)) = ended {
            tracing::error!("the thread that keeps older public events panicked");
        }
    }
}

/// The way back.
struct Replies {
    answer: channel::Sender<Fetched>,
    wake: Box<dyn Fn() + Send>,
}

impl Replies {
    fn send(&self, fetched: Fetched) {
        // There are never more than have room.
        if self.answer.try_send(fetched).is_ok() {
            (self.wake)();
        }
    }

    /// Answers what is on its way, and what is sent before the sender knows, until it ends: nothing
    /// of it is here any more. Blocks are dropped.
    fn refuse_all(&self, items: &Receiver<ToArchive>, state: &Archived) {
        loop {
            // Blocks wake nobody.
            match items.recv_timeout(LOOK) {
                Ok(ToArchive::Fetch(fetch)) => self.send((fetch, Err(Unavailable::Gone))),
                Ok(ToArchive::Block(_, block)) => {
                    let bytes = block.bytes_len() as u64;
                    state.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
                }
                Ok(ToArchive::Begin(_)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

/// The thread's side.
struct Work<'a> {
    archive: Archive,
    peers: Option<Peers>,
    state: Arc<Archived>,
    replies: &'a Replies,
    /// How often it has begun anew.
    begins: u64,
    /// Blocks, and beginnings among them, that wait for room on the disk, in their order. Their
    /// bytes count among those on their way. Bound: `QUEUE_BYTES_MAX`.
    waiting: VecDeque<ToArchive>,
    /// When to try again; none while there is room.
    retry_at: Option<Instant>,
}

impl Work<'_> {
    fn run(mut self, items: &Receiver<ToArchive>) -> Result<(), ArchiveError> {
        loop {
            match items.recv_timeout(LOOK) {
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

    /// Writes what has come, and does what others wait for.
    fn turn(&mut self) -> Result<(), ArchiveError> {
        if self.retry_at.is_none_or(|at| at <= Instant::now()) {
            let done = self.write_all().and_then(|()| self.sync_wanted());
            if self.put_off(done)? && self.state.end_waiting() {
                self.retry_at = None;
                tracing::warn!("there is room on the disk for older public events again");
            }
        }
        if let Some(peers) = &mut self.peers {
            peers.turn(&mut self.archive);
        }
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
            tracing::error!(%error, "the disk is full: older public events wait for room");
        }
        Ok(false)
    }

    fn write_all(&mut self) -> Result<(), ArchiveError> {
        while let Some(item) = self.waiting.pop_front() {
            let written = self.write(&item);
            if written.is_err() {
                self.waiting.push_front(item);
                return written;
            }
        }
        self.archive.flush()
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

    fn take(&mut self, item: ToArchive) -> Result<(), ArchiveError> {
        if let ToArchive::Fetch(fetch) = item {
            self.read(fetch);
            return Ok(());
        }
        if self.retry_at.is_none() {
            let written = self.write(&item);
            if self.put_off(written)? {
                return Ok(());
            }
        }
        self.waiting.push_back(item);
        Ok(())
    }

    fn read(&mut self, fetch: Fetch) {
        let read = self.archive.read((fetch.from, fetch.to), fetch.bytes_max);
        // It is the ring alone that is behind blocks that wait, and it has passed them.
        let is_waiting = !self.waiting.is_empty();
        let read = read.map_err(|why| match why {
            Unavailable::Ahead if is_waiting => Unavailable::Gone,
            why => why,
        });
        self.replies.send((fetch, read));
    }

    fn write(&mut self, item: &ToArchive) -> Result<(), ArchiveError> {
        match item {
            ToArchive::Block(height, block) => {
                self.archive.append(*height, block)?;
                let bytes = block.bytes_len() as u64;
                self.state.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            ToArchive::Begin(before) => {
                self.archive.begin(before.clone())?;
                self.begins += 1;
            }
            ToArchive::Fetch(fetch) => self.read(*fetch),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::ArchiveConfig;
    use crate::results::BlockResults;
    use crate::state_machine::Output;
    use crate::testing::TemporaryFolder;

    const BLOCK_BYTES: u64 = 1024 * 1024;

    /// Blocks with events of a MiB each, all of which it keeps.
    fn ring(blocks: u64) -> PublicRing {
        let mut ring = PublicRing::new(usize::MAX);
        for height in 1..=blocks {
            let mut results = BlockResults::new();
            (results.height, results.time_ns) = (height, height);
            let mut output = Output::new();
            output.to_public(&vec![7; BLOCK_BYTES as usize]);
            results.collect(Some(0), &output);
            ring.push(&results);
        }
        ring
    }

    /// A link whose thread takes nothing: its disk hangs.
    fn link() -> (ArchiveLink, Receiver<ToArchive>, channel::Sender<Fetched>) {
        let (sender, items) = bounded(QUEUE_MAX);
        let (answer, fetched) = channel::bounded(FETCHES_MAX);
        let link = ArchiveLink {
            sender: Some(sender),
            fetched,
            state: Arc::default(),
            next: 1,
            begun: 0,
            begins: 0,
            fetches: Vec::new(),
            waits: 0,
            is_passed: false,
            metrics: Arc::default(),
            thread: None,
        };
        (link, items, answer)
    }

    /// The thread's side of an archive whose second segment finds no room, with the block that
    /// needs it on its way, and the link to it.
    fn full(
        folder: &TemporaryFolder,
        replies: &Replies,
        run: impl FnOnce(Work<'_>, ArchiveLink, Receiver<ToArchive>, &PublicRing),
    ) {
        let config = ArchiveConfig {
            folder: folder.path().join("public"),
            genesis_hash: [7; 32],
            bytes_max: crate::archive::ARCHIVE_BYTES_MIN,
        };
        let mut archive = Archive::open(config).expect("an archive");
        let begun = archive.go_on_from(&EventHistory::default());
        begun.expect("it begins");
        let ring = ring(40);
        // The first one fills its segment.
        std::os::unix::fs::symlink("/dev/full", second(folder)).expect("no room");
        let (mut link, items, _) = link();
        link.state = Arc::clone(archive.state());
        let work = Work {
            state: Arc::clone(archive.state()),
            archive,
            peers: None,
            replies,
            begins: 0,
            waiting: VecDeque::new(),
            retry_at: None,
        };
        run(work, link, items, &ring);
    }

    fn second(folder: &TemporaryFolder) -> std::path::PathBuf {
        let name = format!("{:020}.events", 2);
        folder.path().join("public").join(name)
    }

    fn replies() -> Replies {
        Replies {
            answer: channel::bounded(FETCHES_MAX).0,
            wake: Box::new(|| {}),
        }
    }

    fn take_all(work: &mut Work<'_>, items: &Receiver<ToArchive>) {
        for item in items.try_iter() {
            work.take(item).expect("it is taken");
        }
        work.retry_at = work.retry_at.map(|_| Instant::now());
        work.turn().expect("it goes on");
    }

    #[test]
    fn blocks_wait_for_room_on_the_disk_and_no_snapshot_passes_them() {
        let folder = TemporaryFolder::new("archive-thread-full");
        full(&folder, &replies(), |mut work, mut link, items, ring| {
            let state = Arc::clone(&link.state);
            assert!(!state.reaches(40));
            for _ in 0..3 {
                link.hand_over(ring);
                take_all(&mut work, &items);
            }
            assert_eq!((work.archive.first(), work.archive.end()), (1, 2));
            assert!(state.is_waiting());
            let queued_bytes = state.queued_bytes.load(Ordering::Acquire);
            assert!(queued_bytes > QUEUE_BYTES_MAX, "{queued_bytes}");
            assert!(queued_bytes < QUEUE_BYTES_MAX + 2 * BLOCK_BYTES);
            assert!(!state.reaches(1), "of none it is said that it is durable");

            std::fs::remove_file(second(&folder)).expect("there is room");
            for _ in 0..2 {
                take_all(&mut work, &items);
                link.hand_over(ring);
            }
            take_all(&mut work, &items);
            assert_eq!(work.archive.end(), 41);
            assert!(state.reaches(40));
            assert!(!state.is_waiting());
            assert_eq!(state.queued_bytes.load(Ordering::Acquire), 0);
        });
    }

    #[test]
    fn an_archive_that_waits_for_room_is_not_begun_anew_when_the_ring_passes_it() {
        let folder = TemporaryFolder::new("archive-thread-passed");
        full(&folder, &replies(), |mut work, mut link, items, ring| {
            link.hand_over(ring);
            take_all(&mut work, &items);
            let mut passed = PublicRing::new(1);
            let mut history = EventHistory::default();
            (1..=40).for_each(|_| history.push(&[0; 32]));
            passed.begin(&history);
            // There is room again before the ring is looked at.
            std::fs::remove_file(second(&folder)).expect("there is room");
            take_all(&mut work, &items);
            let end = work.archive.end();
            assert!(end > 2 && end < 40, "{end}");
            link.hand_over(&passed);
            take_all(&mut work, &items);
            assert_eq!((work.begins, work.archive.end()), (0, end));
            assert!(link.state.has_failed());
            assert_eq!(link.metrics.alarms.read(), 1);
            assert_eq!(link.oldest(), u64::MAX, "the ring alone is told from");
            assert!(!link.state.reaches(end - 1));
            take_all(&mut work, &items);
            assert!(link.state.reaches(end - 1), "what is here is made durable");
            assert!(!link.state.reaches(40), "a start executes the rest again");
        });
    }

    #[test]
    fn one_reader_leaves_the_disk_to_others_and_gets_its_share_again() {
        let (mut link, items, answer) = link();
        let fetch = |client| Fetch {
            client: ClientId::from_bits(client),
            id: 1,
            purpose: Purpose::Range,
            from: StreamPosition::LIVE,
            to: StreamPosition::LIVE,
            bytes_max: 1,
        };
        let taken = |link: &mut ArchiveLink, client| {
            (0..FETCHES_MAX)
                .filter(|_| link.fetch(fetch(client)))
                .count()
        };
        assert_eq!(taken(&mut link, 1), FETCHES_PER_CLIENT_MAX);
        assert_eq!(taken(&mut link, 2), FETCHES_PER_CLIENT_MAX);
        assert_eq!(items.try_iter().count(), 2 * FETCHES_PER_CLIENT_MAX);
        let gone = (fetch(1), Err(Unavailable::Gone));
        answer.try_send(gone).expect("room for an answer");
        assert!(
            link.take()
                .is_some_and(|(fetch, _)| fetch.client == ClientId::from_bits(1))
        );
        assert_eq!(taken(&mut link, 1), 1, "what came back is free again");
        assert_eq!(taken(&mut link, 2), 0, "and is the other's of nobody else");
        assert_eq!(taken(&mut link, 3), FETCHES_PER_CLIENT_MAX);
        assert_eq!(taken(&mut link, 4), FETCHES_PER_CLIENT_MAX);
        assert_eq!(taken(&mut link, 5), 0, "all are under way");
    }

    #[test]
    fn blocks_on_their_way_are_bounded_by_their_bytes_and_go_on_when_some_have_come() {
        let (mut link, items, _) = link();
        let state = Arc::clone(&link.state);
        let ring = ring(40);
        link.hand_over(&ring);
        let queued_bytes = state.queued_bytes.load(Ordering::Relaxed);
        assert!(
            queued_bytes > QUEUE_BYTES_MAX - BLOCK_BYTES,
            "{queued_bytes}"
        );
        assert!(
            queued_bytes < QUEUE_BYTES_MAX + 2 * BLOCK_BYTES,
            "{queued_bytes}"
        );
        let heights = |items: &Receiver<ToArchive>| -> Vec<u64> {
            let height = |item| match item {
                ToArchive::Block(height, _) => height,
                other => panic!("{other:?}"),
            };
            items.try_iter().map(height).collect()
        };
        let first = heights(&items);
        assert!(first.len() < 40, "{first:?}");
        state.queued_bytes.store(0, Ordering::Relaxed);
        link.hand_over(&ring);
        let all: Vec<u64> = first.into_iter().chain(heights(&items)).collect();
        assert_eq!(all, (1..=40).collect::<Vec<_>>());
    }
}
