//! The way between a ring and its archive, on a disk that is full, and readers beside one another.

use super::super::fetch::{Fetch, PrivateFetch, Purpose};
use super::*;
use crate::archive::{Archive, ArchiveConfig, PublicEvents};
use crate::private::archived::{Height, PrivateOutputs};
use crate::private::{PrivateRange, PrivateRing};
use crate::results::BlockResults;
use crate::state_machine::{Output, SessionId};
use crate::streams::{PublicRing, StreamPosition};
use crate::testing::TemporaryFolder;
use quorate_net::ClientId;
use quorate_proof::events::EventHistory;

type Link = ArchiveLink<PublicEvents>;
type Item = ToArchive<PublicEvents>;

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
fn link() -> (Link, Receiver<Item>, channel::Sender<Fetched<PublicEvents>>) {
    link_of()
}

/// A link, what the thread is sent, and its way back.
type Ends<K> = (
    ArchiveLink<K>,
    Receiver<ToArchive<K>>,
    channel::Sender<Fetched<K>>,
);

fn link_of<K: Asked>() -> Ends<K> {
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
    replies: &Replies<PublicEvents>,
    run: impl FnOnce(Work<'_, PublicEvents>, Link, Receiver<Item>, &PublicRing),
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
        besides: Box::new(|_| {}),
        replies,
        begins: 0,
        waiting: VecDeque::new(),
        retry_at: None,
        asked: VecDeque::new(),
        reads: None,
    };
    run(work, link, items, &ring);
}

fn second(folder: &TemporaryFolder) -> std::path::PathBuf {
    let name = format!("{:020}.events", 2);
    folder.path().join("public").join(name)
}

fn replies() -> Replies<PublicEvents> {
    Replies {
        answer: channel::bounded(FETCHES_MAX).0,
        wake: Box::new(|| {}),
    }
}

fn take_all(work: &mut Work<'_, PublicEvents>, items: &Receiver<Item>) {
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

/// A disk that was too slow for a while: what is on it is lost nowhere else.
#[test]
fn an_archive_that_nobody_can_fill_again_is_not_begun_anew_when_the_ring_passes_it() {
    let results = |height| {
        let mut results = BlockResults::new();
        results.height = height;
        results
    };
    let (mut link, items, _) = link_of::<PrivateOutputs>();
    let mut ring = PrivateRing::new(1);
    ring.push(&results(1));
    link.hand_over(&ring);
    // The thread had no room for the second one.
    (2..=3).for_each(|height| ring.push(&results(height)));
    link.hand_over(&ring);
    ring.push(&results(4));
    link.hand_over(&ring);
    let sent: Vec<_> = items.try_iter().collect();
    assert!(
        matches!(sent[..], [ToArchive::Block(1, _)]),
        "what is there is kept, and nothing comes behind the hole: {sent:?}"
    );
    assert!(link.state.has_failed());
    assert_eq!(link.metrics.alarms.read(), 1, "it is told once");
    assert_eq!(link.oldest(), u64::MAX, "memory alone is told from");
    assert!(!link.state.reaches(2), "a start executes the rest again");

    // What peers can give again goes on at once.
    let (mut link, items, _) = self::link();
    let mut passed = PublicRing::new(1);
    let mut history = EventHistory::default();
    (1..=40).for_each(|_| history.push(&[0; 32]));
    passed.begin(&history);
    link.hand_over(&passed);
    assert!(matches!(items.try_recv(), Ok(ToArchive::Begin(_))));
    assert_eq!((link.oldest(), link.metrics.alarms.read()), (41, 0));
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
    let taken = |link: &mut Link, client| {
        (0..FETCHES_MAX)
            .filter(|_| link.fetch(fetch(client)))
            .count()
    };
    assert_eq!(taken(&mut link, 1), FETCHES_PER_CLIENT_MAX);
    assert_eq!(taken(&mut link, 2), FETCHES_PER_CLIENT_MAX);
    let mut asked: Vec<Item> = items.try_iter().collect();
    assert_eq!(asked.len(), 2 * FETCHES_PER_CLIENT_MAX);
    let ToArchive::Fetch(first, ticket) = asked.remove(0) else {
        panic!("a question");
    };
    let gone = (first, Err(Unavailable::Gone), ticket);
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
    let heights = |items: &Receiver<Item>| -> Vec<u64> {
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

/// An archive of ten blocks with outputs of a MiB each, all of one session.
fn outputs_of_one(folder: &TemporaryFolder) -> Store<PrivateOutputs> {
    let config = ArchiveConfig {
        folder: folder.path().join("private"),
        genesis_hash: [7; 32],
        bytes_max: 1 << 30,
    };
    let mut archive = Store::open(config).expect("an archive");
    archive.go_on_from(&Height(0)).expect("it begins");
    let mut ring = PrivateRing::new(usize::MAX);
    for height in 1..=10 {
        let mut results = BlockResults::new();
        results.height = height;
        let mut output = Output::new();
        output.to_session(SessionId([1; 16]), &vec![7; BLOCK_BYTES as usize]);
        results.collect(Some(0), &output);
        ring.push(&results);
        let block = ring.block(height).expect("it is kept");
        archive
            .append(height, Arc::as_ref(block))
            .expect("it is appended");
    }
    archive.flush().expect("it is written");
    archive
}

fn question(client: u64, session: u8) -> ToArchive<PrivateOutputs> {
    let session = SessionId([session; 16]);
    let fetch = PrivateFetch {
        client: ClientId::from_bits(client),
        id: 1,
        range: PrivateRange::of(session, StreamPosition::BEGIN, StreamPosition::before(11)),
        ring: StreamPosition::before(11),
        tip: StreamPosition::before(11),
    };
    ToArchive::Fetch(fetch, Ticket::default())
}

#[test]
fn questions_wait_until_what_was_read_before_them_is_paid_for_and_none_is_lost() {
    let folder = TemporaryFolder::new("archive-thread-paced");
    let archive = outputs_of_one(&folder);
    let (answer, answers) = channel::bounded(FETCHES_MAX);
    let replies = Replies {
        answer,
        wake: Box::new(|| {}),
    };
    let mut work = Work {
        state: Arc::clone(archive.state()),
        archive,
        besides: Box::new(|_| {}),
        replies: &replies,
        begins: 0,
        waiting: VecDeque::new(),
        retry_at: None,
        asked: VecDeque::new(),
        // An hour for a MiB.
        reads: Some(Reads::new(BLOCK_BYTES / 3_600, Instant::now())),
    };
    assert_eq!(work.patience(), LOOK);
    for (client, session) in [(1, 1), (1, 2), (2, 3)] {
        work.take(question(client, session)).expect("it is taken");
    }
    let whose = |answers: &channel::Receiver<Fetched<PrivateOutputs>>| -> Vec<SessionId> {
        let of = |(fetch, read, _): Fetched<PrivateOutputs>| {
            assert!(read.is_ok(), "{read:?}");
            fetch.range.session
        };
        answers.try_iter().map(of).collect()
    };
    assert_eq!(whose(&answers), [SessionId([1; 16])]);
    assert!(work.archive.read_bytes() >= BLOCK_BYTES);
    work.turn().expect("it goes on");
    assert!(whose(&answers).is_empty(), "what was read is not paid for");
    assert_eq!(work.asked.len(), 2);
    assert_eq!(work.patience(), LOOK, "blocks are looked for all the same");

    // What is passed over for a session is read for it, and paid for: nothing was given.
    let free = Reads::new(u64::MAX, Instant::now());
    work.reads = Some(free);
    assert_eq!(work.patience(), Duration::ZERO);
    let before = work.archive.read_bytes();
    work.turn().expect("it goes on");
    assert_eq!(whose(&answers), [2, 3].map(|one| SessionId([one; 16])));
    assert!(work.archive.read_bytes() > before);

    // The disk fails: whoever waits hears that nothing is here any more.
    work.reads = Some(Reads::new(1, Instant::now()));
    for session in [1, 2] {
        work.take(question(3, session)).expect("it is taken");
    }
    assert_eq!(whose(&answers), [SessionId([1; 16])]);
    work.refuse_asked();
    let (fetch, read, _) = answers.try_recv().expect("an answer");
    assert_eq!(fetch.range.session, SessionId([2; 16]));
    assert!(matches!(read, Err(Unavailable::Gone)), "{read:?}");
}

#[test]
fn a_session_has_no_more_questions_on_their_way_for_having_more_connections() {
    let (mut link, items, _) = link_of::<PrivateOutputs>();
    let taken = |link: &mut ArchiveLink<PrivateOutputs>, session| {
        let of = |client| match question(client, session) {
            ToArchive::Fetch(fetch, _) => link.fetch(fetch),
            other => panic!("{other:?}"),
        };
        (0..8).map(of).filter(|is_taken| *is_taken).count()
    };
    assert_eq!(taken(&mut link, 1), FETCHES_PER_CLIENT_MAX);
    assert_eq!(taken(&mut link, 2), FETCHES_PER_CLIENT_MAX);
    assert_eq!(items.try_iter().count(), 2 * FETCHES_PER_CLIENT_MAX);
}
