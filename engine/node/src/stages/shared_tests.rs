//! Turns of the loop without its sleep: what comes in is handed over as the sockets would, at times
//! that the test says.

use super::*;
use crate::auth::BatchSeed;
use crate::config::RateConfig;
use crate::drift::Facts;
use crate::genesis::Genesis;
use crate::keys::KeyPair;
use crate::profiles::{PlacementFacts, Profile, Threads};
use crate::stages::inlet::Inlet;
use crate::stages::public::PublicStage;
use crate::stages::verify::VerifyParts;
use crate::stages::wire::ValidatorIdentity;
use crate::state_machine::SessionId;
use crate::streams::PublicRing;
use crate::testing::{Member, TemporaryFolder, signed_auth};
use crate::trace::Trace;
use crossbeam::channel::{bounded, unbounded};
use quorate_consensus::payload::{parse_entries, session_of_key};
use quorate_consensus::signing::ValidatorKey;
use quorate_net::{ChainIds, ClientId, Limits, Net, NetConfig, Ports};

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
    blocks: Receiver<BlockResults>,
    now: Now,
    _control: Sender<Control>,
    _folder: TemporaryFolder,
}

fn net(genesis: &Genesis, own: ValidatorIndex, key: KeyPair) -> Net {
    let config = NetConfig {
        index: own.number(),
        incarnation: 1,
        chain: ChainIds {
            chain_id: *genesis.chain_id(),
            genesis_hash: *genesis.hash(),
        },
        peer_listen: "127.0.0.1:0".to_owned(),
        client_listen: None,
        peers: Vec::new(),
        limits: Limits::default(),
        jitter_seed: 1,
    };
    let identity = ValidatorIdentity::new(Arc::clone(genesis.validator_set()), own, key);
    let ports = Ports::reserve(&config).unwrap();
    Net::over(ports, config, Arc::new(identity)).unwrap()
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
    let (genesis, own, now) = (member.genesis, member.own, member.now);
    let (mut parts, companions) = (member.parts, member.companions);
    let (metrics, clock, folder) = (Arc::default(), Clock::new(), TemporaryFolder::new("shared"));
    parts.order.set_trace(trace.clone());
    let (answer, verify_done) = unbounded();
    let verify = verify(&genesis, own, &key, answer);
    let ((answer, synced), (sync_answers, sync_done)) = (unbounded(), unbounded());
    let answer = move |done| drop(answer.send(done));
    let sync = SyncThread::start(companions.sync, Arc::clone(&metrics), answer).unwrap();
    let auth = Arc::clone(parts.executor.auth());
    let (control, controls) = bounded(1);
    let (sender, blocks) = bounded(64);
    let publisher = Publisher {
        sender,
        is_wanted: Arc::new(AtomicBool::new(true)),
        durable: bounded(1),
    };
    let public = PublicStage::new(PublicRing::new(1 << 20), None);
    let net = net(&genesis, own, key);
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
        shadow: ShadowSender::new().0,
        scrub: ScrubSender::new().0,
        recorder: Recorder::new(facts, Arc::clone(&metrics)),
        metrics,
    });
    let mut fixture = Fixture {
        shared,
        genesis,
        synced,
        sync_answers,
        blocks,
        now,
        _control: control,
        _folder: folder,
    };
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

    /// A client's frame with this submission is taken off its socket.
    fn submit(&mut self, client: &KeyPair, entries: &[u8]) {
        let from = Caller {
            client: ClientId::from_bits(1),
            session: SessionId(session_of_key(&client.public())),
            key: client.public(),
        };
        let commands = parse_entries(entries).unwrap();
        let request = ClientFrame::Submit {
            count: u32::try_from(commands.clone().count()).unwrap(),
            entries,
            commands,
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
    let received_ns = fixture.now.mono_ns;
    let entry = Member::entry(&fixture.genesis, &client, 1);
    fixture.submit(&client, &entry);
    let mut told = Vec::new();
    for _ in 0..5 {
        fixture.wait(2 * MS);
        fixture.act();
        told.extend(fixture.blocks.try_iter());
    }
    let [block] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(block.final_ns >= received_ns + 2 * MS, "checked and final");
    let finality: Vec<u64> = block.commands.iter().map(|one| one.finality_ns).collect();
    assert_eq!(finality, [block.final_ns - received_ns]);
}
