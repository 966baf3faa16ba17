//! Turns of the loop without its sleep: what comes in is handed over as the sockets would, at times
//! that the test says.

use super::*;
use crate::auth::BatchSeed;
use crate::config::RateConfig;
use crate::drift::Facts;
use crate::genesis::Genesis;
use crate::keys::KeyPair;
use crate::profiles::{PlacementFacts, Profile, Threads};
use crate::results::BlockResults;
use crate::stages::clock::machine_ns;
use crate::stages::inlet::Inlet;
use crate::stages::public::PublicStage;
use crate::stages::verify::VerifyParts;
use crate::state_machine::SessionId;
use crate::streams::PublicRing;
use crate::testing::{Member, Stateless, TemporaryFolder, logged, net_of, signed_auth};
use crate::trace::{Dump, Moment, Stamp, Trace};
use crossbeam::channel::{Sender, bounded, unbounded};
use quorate_consensus::attestation::{StateCertificate, StateStatement};
use quorate_consensus::payload::{parse_entries, session_of_key};
use quorate_consensus::signing::ValidatorKey;
use std::cell::RefCell;
use std::sync::atomic::Ordering;

const MS: u64 = 1_000_000;
/// Nothing here takes so long; only a test that would hang otherwise meets it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A loop of one validator, and what it is told and tells.
struct Fixture<S> {
    shared: SharedLoop<S>,
    genesis: Genesis,
    /// Answers of the sync thread, which come when the test takes them.
    synced: Receiver<Result<SyncDone, SyncError>>,
    sync_answers: Sender<Result<SyncDone, SyncError>>,
    /// Answers of the thread that checks validators' signatures.
    verified: Sender<Vec<Input>>,
    blocks: Receiver<BlockResults>,
    now: Now,
    _control: Sender<Control>,
    _folder: TemporaryFolder,
}

fn placement() -> Placement {
    Placement::decide(PlacementFacts {
        profile: Profile::Laptop,
        threads: Some(Threads::Shared),
        idle: None,
        pin: Vec::new(),
        cores: vec![0, 1],
        validators_here: 1,
    })
}

fn verify(
    genesis: &Genesis,
    own: ValidatorIndex,
    key: &KeyPair,
    answer: Sender<Vec<Input>>,
) -> VerifyWorker {
    let parts = VerifyParts {
        set: Arc::clone(genesis.validator_set()),
        own,
        key: ValidatorKey::from_seed(&key.seed()),
        seed: BatchSeed::assert_unpredictable([4; 32]),
        core: None,
        metrics: Arc::default(),
    };
    VerifyWorker::start(parts, move |inputs| drop(answer.send(inputs))).unwrap()
}

fn fixture(member: Member, key: KeyPair, trace: Trace) -> Fixture<impl StateMachine> {
    let answers = member.fence_answers();
    let (genesis, own, now) = (member.genesis, member.own, member.now);
    let (mut parts, companions) = (member.parts, member.companions);
    let (clock, folder) = (Clock::new(), TemporaryFolder::new("shared"));
    let metrics = Arc::new(Metrics {
        sections: parts.executor.section_names(),
        ..Metrics::default()
    });
    parts.order.set_trace(trace.clone());
    let (answer, verify_done) = unbounded();
    let verified = answer.clone();
    let verify = verify(&genesis, own, &key, answer);
    let ((answer, synced), (sync_answers, sync_done)) = (unbounded(), unbounded());
    let answer = move |done| drop(answer.send(done));
    let sync = SyncThread::start(companions.sync, Arc::clone(&metrics), answer).unwrap();
    let auth = Arc::clone(parts.executor.auth());
    let (control, controls) = bounded(1);
    let (publisher, blocks) = Publisher::new(64);
    publisher.ends().0.store(true, Ordering::Release);
    let public = PublicStage::new(PublicRing::new(1 << 20), None);
    let net = net_of(&genesis, own, key, |_| ());
    let facts = Arc::new(Facts::new(folder.path(), own, &genesis));
    let shared = SharedLoop::new(SharedParts {
        own,
        replica: Replica::new(parts),
        wire: WireStage::new(
            net,
            &RateConfig::default(),
            &metrics,
            trace,
            (clock, public),
        ),
        sync,
        verify,
        clock,
        placement: placement(),
        inlet: InletReader::new(Arc::new(Inlet::new(&genesis, auth))),
        sync_done,
        verify_done,
        control: controls,
        finalized: publisher,
        shadow: ShadowSender::new(ValidatorIndex::new(0)).0,
        scrub: ScrubSender::new().0,
        recorder: Recorder::new(facts, Arc::clone(&metrics)),
        metrics,
    });
    let mut fixture = Fixture {
        shared,
        genesis,
        synced,
        sync_answers,
        verified,
        blocks,
        now,
        _control: control,
        _folder: folder,
    };
    for (peer, answer) in answers {
        fixture.hear(peer, &answer);
    }
    fixture.act();
    while !fixture.shared.parts.replica.consensus().is_voting() {
        // Its lease.
        let done = fixture.synced.recv_timeout(PATIENCE).unwrap();
        fixture.sync_answers.send(done).unwrap();
        fixture.act();
    }
    fixture
}

impl<S: StateMachine> Fixture<S> {
    /// Time goes by.
    fn wait(&mut self, duration_ns: u64) {
        self.now.mono_ns += duration_ns;
        self.now.wall_ns += duration_ns;
    }

    /// The rest of a turn in which nothing more comes; says when the next one is due.
    fn act(&mut self) -> u64 {
        self.shared.act(Instant::now(), self.now, 1).unwrap()
    }

    /// A frame of a peer that is connected is taken off its socket.
    fn hear(&mut self, peer: ValidatorIndex, frame: &[u8]) {
        let now = self.now;
        let (_, mut inward) = self.shared.inward();
        inward.now = Some(now);
        inward.peer_up(peer);
        assert!(inward.peer_frame(peer, frame));
    }

    /// A client's frame with this submission is taken off its socket.
    fn submit(&mut self, client: &KeyPair, entries: &[u8]) {
        let commands = parse_entries(entries).unwrap();
        let request = ClientFrame::Submit {
            count: u32::try_from(commands.clone().count()).unwrap(),
            entries,
            commands,
        };
        self.ask(client, request);
    }

    /// A client's frame is taken off its socket.
    fn ask(&mut self, client: &KeyPair, request: ClientFrame<'_>) {
        let from = Caller {
            client: ClientId::from_bits(1),
            session: SessionId(session_of_key(&client.public())),
            key: client.public(),
        };
        let now = self.now;
        let (wire, mut inward) = self.shared.inward();
        inward.now = Some(now);
        inward.request(from, request, wire.replies());
    }
}

/// Signatures wait for company, and are checked when it suits the loop: the client waits as well.
#[test]
fn what_is_told_of_finality_counts_from_the_frame_and_not_from_the_check() {
    let member = Member::open(1, 0, signed_auth);
    let mut fixture = fixture(member, KeyPair::from_seed(&[1; 32]), Trace::default());
    let client = KeyPair::from_seed(&[77; 32]);
    let entry = Member::entry(&fixture.genesis, &client, 1);
    fixture.submit(&client, &entry);
    fixture.wait(2 * MS);
    // What is checked is proposed in the next turn, and what is executed told in the one behind it:
    // each is due at once.
    let mut told = Vec::new();
    while told.is_empty() {
        let due_ns = fixture.act();
        told.extend(fixture.blocks.try_iter());
        assert!(due_ns == 0 || !told.is_empty(), "without a sleep");
    }
    let finality = told.iter().flat_map(|block| &block.commands);
    let finality: Vec<u64> = finality.map(|command| command.finality_ns).collect();
    assert_eq!(finality, [2 * MS]);
}

thread_local! {
    /// When batches of signatures began and ended on this thread, by the machine's clock.
    static CHECKS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

fn noted_ns() -> u64 {
    let at_ns = machine_ns();
    CHECKS.with_borrow_mut(|checks| checks.push(at_ns));
    at_ns
}

/// The first block of this leader, with a command of this client, and all else that it says.
fn frames_of_leader(leader: u16, client: &KeyPair) -> Vec<Vec<u8>> {
    let member = Member::open(4, leader, signed_auth);
    let answers = member.fence_answers();
    let (now, mut outbox, mut frames) = (member.now, Outbox::new(), Vec::new());
    let (mut replica, mut sync) = (Replica::new(member.parts), member.companions.sync);
    for (peer, answer) in answers {
        replica.peer_up(now, peer);
        assert!(!replica.peer_frame(now, peer, &answer).is_fault());
    }
    let mut turn = |replica: &mut Replica<_>| {
        replica.turn(now, &mut outbox).unwrap();
        frames.extend(outbox.frames.iter().map(|frame| frame.bytes().into_owned()));
        for job in std::mem::take(&mut outbox.sync) {
            replica.complete_sync(now, sync.run(job)).unwrap();
        }
        outbox.clear();
    };
    while !replica.consensus().is_voting() {
        turn(&mut replica);
    }
    let entry = Member::entry(&member.genesis, client, 1);
    let mut verdicts = Vec::new();
    replica.submit(now, None, &entry, &mut verdicts).unwrap();
    turn(&mut replica);
    frames
}

/// A vote needs no client's signature, so it waits for none that came with what it is for.
#[test]
fn a_vote_has_left_before_what_came_with_the_proposal_is_checked() {
    let member = Member::open(4, 1, |genesis| signed_auth(genesis).timed_by(noted_ns));
    let trace = Trace::new(Clock::new(), 1024);
    let mut fixture = fixture(member, KeyPair::from_seed(&[2; 32]), trace.clone());
    let leader = fixture.shared.parts.replica.consensus().leader();
    assert_ne!(leader, fixture.shared.parts.own, "it follows");
    for frame in frames_of_leader(leader.number(), &KeyPair::from_seed(&[78; 32])) {
        fixture.hear(leader, &frame);
    }
    let client = KeyPair::from_seed(&[77; 32]);
    for seq in 1..=256 {
        let entry = Member::entry(&fixture.genesis, &client, seq);
        fixture.submit(&client, &entry);
    }
    CHECKS.take();
    assert_eq!(fixture.act(), 0, "what is checked is proposed at once");
    let commands = fixture.shared.parts.replica.order().lanes().len();
    assert_eq!(commands, 256, "all are checked in this turn");
    let dump: Dump = trace.take_text().unwrap().parse().unwrap();
    let queued = |stamp: &&Stamp| stamp.moment == Moment::VoteQueued;
    let queued = dump.stamps.iter().find(queued).expect("it votes");
    let flushed = |stamp: &&Stamp| stamp.moment == Moment::Flushed && stamp.at_ns >= queued.at_ns;
    let flushed = dump.stamps.iter().find(flushed).expect("the vote leaves");
    let began_ns = CHECKS.take()[0];
    assert!(dump.base_ns + flushed.at_ns <= began_ns, "and then");
}

/// What a root takes is the application's to say, and any key may ask for it.
#[test]
fn who_asks_for_status_and_root_again_and_again_has_one_root_taken_a_block() {
    let member = Member::open(1, 0, signed_auth);
    let mut fixture = fixture(member, KeyPair::from_seed(&[1; 32]), Trace::default());
    let before = Stateless::roots_taken();
    let client = KeyPair::from_seed(&[77; 32]);
    for id in 0..10 {
        fixture.ask(&client, ClientFrame::StatusAsk { id });
        fixture.ask(&client, ClientFrame::RootAsk { id });
    }
    assert_eq!(Stateless::roots_taken() - before, 1);
}

#[test]
fn an_alarm_of_another_state_names_the_section() {
    let member = Member::open(1, 0, signed_auth);
    let mut fixture = fixture(member, KeyPair::from_seed(&[1; 32]), Trace::default());
    let mut said_of = |section| {
        let alarm = Alarm::StateDiffers {
            height: quorate_consensus::types::Height::new(128),
            section,
        };
        fixture.shared.outbox.events.clear();
        fixture.shared.outbox.events.push(Event::Alarm(alarm));
        let lines = logged(|| _ = fixture.shared.dispatch());
        let is_it = |line: &String| line.contains("StateDiffers");
        let line = lines.into_iter().find(is_it).unwrap();
        assert!(line.contains("height=128;"), "{line}");
        line
    };
    let outputs = quorate_proof::outputs::OUTPUTS_PLACE;
    let line = said_of(u16::try_from(outputs).ok());
    assert!(line.contains("section=\"outputs\""), "{line}");
    let line = said_of(None);
    assert!(line.contains("the snapshot alone"), "{line}");
    assert_eq!(fixture.shared.parts.metrics.alarms.read(), 2);
}

/// A certificate of a snapshot, or one that is told again with the own word, comes after higher
/// ones; what an operator watches does not fall for it.
#[test]
fn the_attested_height_does_not_fall() {
    let member = Member::open(1, 0, signed_auth);
    let mut fixture = fixture(member, KeyPair::from_seed(&[1; 32]), Trace::default());
    let mut after = |height| {
        let statement = StateStatement {
            height: quorate_consensus::types::Height::new(height),
            id: quorate_consensus::types::BlockId::new([3; 32]),
            sections: vec![[1; 32]],
            snapshot: None,
        };
        let proven = StateCertificate {
            statement,
            signatures: Vec::new(),
        };
        fixture.shared.outbox.events.clear();
        let event = Event::StateProven(Box::new(proven));
        fixture.shared.outbox.events.push(event);
        fixture.shared.dispatch();
        fixture.shared.parts.metrics.height_attested.read()
    };
    assert_eq!([128, 64, 192].map(&mut after), [128, 128, 192]);
}

/// What is not read is held back by the buffers of the sockets.
#[test]
fn while_too_much_waits_to_be_executed_the_sockets_are_left_unread() {
    let member = Member::open(1, 0, signed_auth);
    let mut fixture = fixture(member, KeyPair::from_seed(&[1; 32]), Trace::default());
    fixture.verified.send(Vec::new()).unwrap();
    fixture.shared.take_in(0).unwrap();
    let waiting = |fixture: &Fixture<_>| fixture.shared.parts.verify_done.len();
    assert_eq!(waiting(&fixture), 1, "it is taken when sockets are read");
    fixture.shared.parts.replica.fill();
    assert!(fixture.shared.parts.replica.is_full());
    assert_eq!(fixture.shared.take_in(0).unwrap(), 1);
    assert_eq!(waiting(&fixture), 0, "instead of them");
}

#[test]
fn a_peer_that_the_replica_finds_at_fault_is_cut_off() {
    let member = Member::open(4, 0, signed_auth);
    let mut fixture = fixture(member, KeyPair::from_seed(&[1; 32]), Trace::default());
    let shared = &mut fixture.shared;
    let fault = Event::PeerFault(ValidatorIndex::new(2));
    shared.outbox.events.push(fault);
    shared.dispatch();
    assert_eq!(shared.parts.metrics.peer_faults.read(), 1);
}

/// What is on its way when it is found out is of the state, too.
#[test]
fn a_validator_whose_state_differs_tells_of_no_block_any_more() {
    let member = Member::open(1, 0, signed_auth);
    let mut fixture = fixture(member, KeyPair::from_seed(&[1; 32]), Trace::default());
    let mut oldest_after = |height, diverged_at| {
        let shared = &mut fixture.shared;
        shared.parts.metrics.diverged_height.set(diverged_at);
        let mut results = BlockResults::new();
        results.height = height;
        shared.outbox.results.push(results);
        shared.dispatch();
        shared.parts.wire.copy_metrics();
        shared.parts.metrics.public_oldest.read()
    };
    assert_eq!(oldest_after(100, 0), 100);
    assert_eq!(oldest_after(200, 128), 100);
}
