//! When joining begins, how fast peers are served, and what a mailbox takes.

use quorate_consensus::types::Height;

use super::*;
use crate::testing::{TemporaryFolder, sample_genesis};

struct Scene {
    exchange: Exchange,
    mailbox: Arc<Mailbox>,
    metrics: Arc<Metrics>,
    _temporary: TemporaryFolder,
}

fn scene() -> Scene {
    let temporary = TemporaryFolder::new("exchange");
    let (mailbox, metrics) = (Arc::<Mailbox>::default(), Arc::<Metrics>::default());
    let exchange = Exchange::new(ExchangeParts {
        set: Arc::clone(sample_genesis(4).0.validator_set()),
        own: ValidatorIndex::new(3),
        folder: SnapshotFolder::new(temporary.path().join("snapshots")),
        mailbox: Arc::clone(&mailbox),
        metrics: Arc::clone(&metrics),
    });
    Scene {
        exchange,
        mailbox,
        metrics,
        _temporary: temporary,
    }
}

impl Scene {
    /// What is said in one turn.
    fn turn(&mut self, now_ns: u64) -> Vec<(Destination, SnapshotPart)> {
        let mut inputs = Vec::new();
        assert_eq!(self.exchange.turn(now_ns, &mut inputs), None);
        let said = inputs.into_iter().map(|input| match input {
            Input::Say { to, part } => (to, part),
            other => panic!("{other:?}"),
        });
        said.collect()
    }

    fn asks(&mut self, now_ns: u64) -> bool {
        self.turn(now_ns) == [(Destination::All, SnapshotPart::Ask)]
    }
}

fn get(chunk: u32) -> SnapshotPart {
    SnapshotPart::Get {
        height: Height::new(64),
        root: [1; 32],
        chunk,
    }
}

fn chunk(chunk: u32) -> SnapshotPart {
    SnapshotPart::Chunk {
        root: [1; 32],
        chunk,
        bytes: Arc::default(),
    }
}

#[test]
fn joining_begins_when_peers_are_far_ahead_and_nothing_comes() {
    let mut scene = scene();
    scene.metrics.height.set(100);
    assert!(!scene.asks(0));
    // A validator that is not behind by a snapshot waits for its log.
    scene.metrics.height_peers.set(100 + ROOT_HEIGHTS - 1);
    assert!(!scene.asks(STALL_NS));
    // One that is, but goes on, does too.
    scene.metrics.height_peers.set(1000);
    scene.metrics.height.set(101);
    assert!(!scene.asks(STALL_NS + 1));
    assert!(!scene.asks(2 * STALL_NS));
    assert!(scene.asks(2 * STALL_NS + 1));
    // Once it has begun, a little of the log does not end it; having caught up does.
    scene.metrics.height.set(102);
    scene.turn(2 * STALL_NS + 2);
    assert!(scene.exchange.joiner.is_some());
    // And then nothing is left of what was fetched.
    let folder = scene.exchange.parts.folder.path().to_path_buf();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("joining.data"), b"chunks").unwrap();
    scene.metrics.height.set(1000);
    scene.turn(2 * STALL_NS + 3);
    assert!(scene.exchange.joiner.is_none());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn joining_begins_late_when_peers_are_a_little_ahead_and_ends_when_the_log_goes_on() {
    let mut scene = scene();
    scene.metrics.height.set(100);
    scene.metrics.height_peers.set(101);
    assert!(!scene.asks(1));
    assert!(!scene.asks(STUCK_NS));
    assert!(scene.asks(STUCK_NS + 1));
    scene.turn(STUCK_NS + 2);
    assert!(scene.exchange.joiner.is_some());
    // Blocks come after all, and it may stay a little behind for as long as it likes.
    for step in 1..=20 {
        scene.metrics.height.set(100 + step);
        scene.metrics.height_peers.set(101 + step);
        assert!(!scene.asks(STUCK_NS + 2 + step * (STUCK_NS - 1)));
        assert!(scene.exchange.joiner.is_none());
    }
    // Level with the others it waits for nothing.
    scene.metrics.height.set(121);
    scene.turn(30 * STUCK_NS);
    assert!(!scene.asks(40 * STUCK_NS));
}

#[test]
fn a_restart_keeps_what_was_fetched_until_the_own_log_goes_on() {
    let mut scene = scene();
    let folder = scene.exchange.parts.folder.path().to_path_buf();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("joining.data"), b"chunks").unwrap();
    let is_kept = || folder.join("joining.data").exists();
    scene.metrics.height.set(10);
    scene.turn(0);
    // Of the first two that speak one lies, and then an honest one more speaks.
    scene.metrics.height_peers.set(1);
    scene.turn(1);
    assert!(is_kept(), "thrown away on the word of a liar");
    scene.metrics.height_peers.set(2000);
    scene.turn(2);
    assert!(is_kept());
    // Level with the others for as long as nothing comes, too.
    scene.metrics.height_peers.set(10);
    scene.turn(3);
    assert!(is_kept());
    scene.metrics.height.set(11);
    scene.metrics.height_peers.set(11);
    scene.turn(4);
    assert!(!is_kept(), "the log goes on");
}

#[test]
fn a_mailbox_holds_one_question_and_one_answer_a_peer_and_answers_only_if_wanted() {
    let mut scene = scene();
    let (one, other) = (ValidatorIndex::new(0), ValidatorIndex::new(1));
    assert!(scene.mailbox.put(one, get(1)));
    assert!(!scene.mailbox.put(one, chunk(1)), "nobody has asked");
    scene.metrics.height_peers.set(1000);
    scene.turn(0);
    scene.turn(STALL_NS);
    assert!(scene.exchange.joiner.is_some());
    for number in 0..100 {
        // The thread is woken once for all that waits until it looks.
        assert_eq!(scene.mailbox.put(one, get(number)), number == 0);
        assert!(!scene.mailbox.put(other, chunk(number)));
    }
    let held = scene.mailbox.take();
    assert_eq!(held.len(), 2);
    assert_eq!(held.get(&(false, one)), Some(&get(99)));
    assert_eq!(held.get(&(true, other)), Some(&chunk(99)));
    assert!(scene.mailbox.put(other, chunk(100)));
}

#[test]
fn peers_are_served_in_turn_and_one_at_a_time() {
    let mut scene = scene();
    let peers = [0, 1, 2].map(ValidatorIndex::new);
    let mut told = Vec::new();
    for step in 0..6 {
        for peer in peers {
            scene.mailbox.put(peer, get(step));
        }
        let now_ns = u64::from(step) * SERVE_PAUSE_NS;
        let said = scene.turn(now_ns);
        // Not here: that is said, and costs the asker no wait.
        let [(Destination::Peer(to), SnapshotPart::Chunk { bytes, .. })] = &said[..] else {
            panic!("{said:?}");
        };
        assert!(bytes.is_empty());
        told.push(to.number());
        assert_eq!(scene.turn(now_ns + SERVE_PAUSE_NS - 1), []);
    }
    assert_eq!(told, [1, 2, 0, 1, 2, 0]);
}
