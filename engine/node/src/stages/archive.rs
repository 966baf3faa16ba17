//! The archive of the public stream on a thread of its own: written behind the ring, read for those
//! who are far behind.
//!
//! Owns the way between the ring and the disk. Never: anything that a vote, a result or a live
//! reader waits for. When the disk is so slow that the ring passes what was not handed over, the
//! archive begins anew there: a stream has no holes. When the disk fails, whoever waits for
//! something on it is told that it is gone.

use super::older::{PeerParts, Peers};
use crate::archive::{Archive, ArchiveError, Archived, Chunk};
use crate::metrics::Metrics;
use crate::parked::{Receiver, Sender, bounded};
use crate::streams::{Block, PublicRing, StreamPosition, Unavailable};
use crossbeam::channel::{self, RecvTimeoutError};
use quorate_net::ClientId;
use quorate_proof::events::EventHistory;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

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
        let first = ring.oldest().height;
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
                    self.archive.flush()?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.archive.sync(),
            }
            if let Some(peers) = &mut self.peers {
                peers.turn(&mut self.archive);
            }
            let first = self.archive.first();
            self.state.first.store(first, Ordering::Release);
            self.state.begins.store(self.begins, Ordering::Release);
            let end = self.archive.end();
            let wanted = self.state.wanted.load(Ordering::Acquire);
            if self.state.synced.load(Ordering::Acquire) < wanted && wanted <= end {
                self.archive.sync()?;
                self.state.synced.store(end, Ordering::Release);
            }
        }
    }

    fn take(&mut self, item: ToArchive) -> Result<(), ArchiveError> {
        match item {
            ToArchive::Block(height, block) => {
                let bytes = block.bytes_len() as u64;
                self.state.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
                self.archive.append(height, &block)
            }
            ToArchive::Begin(before) => {
                self.begins += 1;
                self.archive.begin(before)
            }
            ToArchive::Fetch(fetch) => {
                let read = self.archive.read((fetch.from, fetch.to), fetch.bytes_max);
                self.replies.send((fetch, read));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::BlockResults;
    use crate::state_machine::Output;

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
            thread: None,
        };
        (link, items, answer)
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
