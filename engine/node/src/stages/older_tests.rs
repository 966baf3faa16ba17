//! The mailbox and the pace of giving older events to peers.

use super::*;
use crate::archive::ArchiveConfig;
use crate::results::BlockResults;
use crate::state_machine::Output;
use crate::streams::Block;
use crate::testing::TemporaryFolder;
use quorate_proof::events::EventHistory;

const ANN: ValidatorIndex = ValidatorIndex::new(1);
const BEN: ValidatorIndex = ValidatorIndex::new(2);

/// Ten blocks with an event each.
fn archive(folder: &TemporaryFolder) -> Archive {
    let config = ArchiveConfig {
        folder: folder.path().join("public"),
        genesis_hash: [7; 32],
        bytes_max: 1 << 20,
    };
    let mut archive = Archive::open(config).unwrap();
    archive.go_on_from(&EventHistory::default()).unwrap();
    for height in 1..=10 {
        let mut results = BlockResults::new();
        (results.height, results.time_ns) = (height, height);
        let mut output = Output::new();
        output.to_public(b"event");
        results.collect(Some(0), &output);
        archive.append(height, &Block::of(&results)).unwrap();
    }
    archive
}

fn ask(below: u64, from: Option<(u64, u32)>) -> SnapshotPart {
    SnapshotPart::GetEvents {
        below: Height::new(below),
        from: from.map(|(height, index)| (Height::new(height), index)),
    }
}

const fn nothing(below: u64) -> SnapshotPart {
    let (below, stretch) = (Height::new(below), None);
    SnapshotPart::Events { below, stretch }
}

#[test]
fn one_question_in_a_pause_is_answered_of_each_peer_in_turn_and_the_newest_of_each() {
    let folder = TemporaryFolder::new("older-served");
    let mut archive = archive(&folder);
    let mail = Arc::<EventMail>::default();
    let parts = PeerParts {
        own: ValidatorIndex::new(0),
        peers: vec![ANN, BEN],
        mail: Arc::clone(&mail),
    };
    let mut peers = Peers::new(parts, Arc::default());
    for (peer, question) in [
        (ANN, ask(5, None)),
        (BEN, ask(99, None)),
        (ANN, ask(6, None)),
    ] {
        assert_eq!(mail.put(peer, question), None);
    }
    let (to, part) = peers.serve(0, &mut archive).expect("an answer");
    let SnapshotPart::Events { below, stretch } = part else {
        panic!("{part:?}");
    };
    let stretch = stretch.expect("it is here");
    assert_eq!(
        (to, below, stretch.first),
        (ANN, Height::new(6), Height::new(1))
    );
    assert!(stretch.tops.is_empty());
    assert_eq!(peers.serve(SERVE_PAUSE_NS - 1, &mut archive), None);
    let second = peers.serve(SERVE_PAUSE_NS, &mut archive);
    assert_eq!(second, Some((BEN, nothing(99))), "it is not here");
    assert_eq!(peers.serve(2 * SERVE_PAUSE_NS, &mut archive), None);
    // Positions that are none of what was asked for.
    for (place, from) in (3..).zip([(0, 0), (6, 0), (7, 1), (3, 9)]) {
        mail.put(ANN, ask(6, Some(from)));
        let answer = peers.serve(place * SERVE_PAUSE_NS, &mut archive);
        assert_eq!(answer, Some((ANN, nothing(6))), "{from:?}");
    }
}

#[test]
fn an_answer_that_nobody_waits_for_takes_no_room() {
    let mail = EventMail::default();
    assert_eq!(mail.put(ANN, nothing(5)), None);
    assert!(mail.letters.lock().answer.is_none());
    mail.letters.lock().expects = Some(BEN);
    mail.put(ANN, nothing(5));
    assert!(mail.letters.lock().answer.is_none());
    mail.put(BEN, nothing(6));
    mail.put(BEN, nothing(7));
    let answer = mail.letters.lock().answer.take();
    assert_eq!(answer, Some((BEN, Height::new(6), None)), "one a question");
    assert_eq!(mail.put(ANN, SnapshotPart::Ask), Some(SnapshotPart::Ask));
}

#[test]
fn a_validator_whose_state_has_diverged_gives_no_older_events() {
    let folder = TemporaryFolder::new("older-diverged");
    let mut archive = archive(&folder);
    let (mail, metrics) = (Arc::<EventMail>::default(), Arc::<Metrics>::default());
    let parts = PeerParts {
        own: ValidatorIndex::new(0),
        peers: vec![ANN, BEN],
        mail: Arc::clone(&mail),
    };
    let mut peers = Peers::new(parts, Arc::clone(&metrics));
    let said = Arc::<Mutex<Vec<Input>>>::default();
    let heard = Arc::clone(&said);
    mail.connect(move |inputs| heard.lock().extend(inputs));
    mail.put(ANN, ask(5, None));
    peers.turn(&mut archive);
    assert_eq!(said.lock().len(), 1);
    metrics.diverged_height.set(8);
    mail.put(BEN, ask(5, None));
    // Not for the pause between two answers.
    peers.serve_ns = 0;
    peers.turn(&mut archive);
    assert_eq!(said.lock().len(), 1, "events of another state were given");
}
