//! How the threads end together, and what is told of a command that passes them all.

use super::*;
use crate::genesis::Genesis;
use crate::journal::Journaled;
use crate::keys::KeyPair;
use crate::profiles::{PlacementFacts, Profile, Threads};
use crate::queues::PEER_BYTES_MAX;
use crate::replica::OrderOut;
use crate::state_machine::SessionId;
use crate::testing::{Member, signed_auth};
use quorate_consensus::message::Message;
use quorate_consensus::payload::{parse_entries, session_of_key};
use quorate_consensus::signing::ValidatorKey;
use quorate_consensus::types::Now;
use quorate_net::{ClientLinks, Limits};

const MS: u64 = 1_000_000;

/// What becomes of the other threads when one ends like that.
fn is_halted_by(
    run: impl FnOnce() -> Result<(), NodeFailure> + Send + 'static,
) -> (bool, Result<(), NodeFailure>) {
    let halt = Halt::default();
    let thread = spawn("one", &halt, run).expect("a thread");
    let ended = joined(thread, "one");
    (halt.is_set(), ended)
}

/// Half a validator must not go on: its votes would tell of what no journal has.
#[test]
fn a_thread_that_fails_or_panics_halts_all_others_and_one_that_is_done_does_not() {
    let (is_halted, ended) = is_halted_by(|| Err(NodeFailure::Stopped));
    assert!(is_halted && matches!(ended, Err(NodeFailure::Stopped)));
    let (is_halted, ended) = is_halted_by(|| panic!("as an application may"));
    assert!(is_halted && matches!(ended, Err(NodeFailure::ThreadLost("one"))));
    let (is_halted, ended) = is_halted_by(|| Ok(()));
    assert!(!is_halted && ended.is_ok());
}

/// The results of the last block wait in that queue while the threads behind it end.
#[test]
fn what_was_told_before_a_clean_end_goes_out_and_nothing_after_a_failure() {
    let links = ClientLinks::new(Limits::default()).unwrap();
    let waker = links.waker();
    let (to_net, items) = channel::unbounded();
    let (net, halt) = (NetSender::new(to_net, waker), Halt::default());
    net.send(ToNet::Repeats(Vec::new()));
    end_net(&net, &halt, true);
    assert!(matches!(items.try_recv(), Ok(ToNet::Repeats(_))));
    assert!(matches!(items.try_recv(), Ok(ToNet::End)) && !halt.is_set());
    end_net(&net, &halt, false);
    assert!(items.is_empty() && halt.is_set());
}

/// One validator's stages as its threads have them, moved by the test in their place.
struct Stages {
    order: OrderThread,
    journal: crate::journal::Journal,
    ops: Receiver<ToJournal>,
    sync: SyncWorker,
    checks: CheckSender,
    workers: CheckWorkers,
    genesis: Genesis,
    now: Now,
}

fn stages(member: Member) -> Stages {
    let placement = Placement::decide(PlacementFacts {
        profile: Profile::Laptop,
        threads: Some(Threads::Dedicated),
        idle: None,
        pin: Vec::new(),
        cores: vec![0, 1],
        validators_here: 1,
    });
    let Parts {
        order,
        journal,
        executor,
    } = member.parts;
    let auth = executor.auth();
    let ((to_order, items), (to_journal, ops)) = (unbounded(), unbounded());
    let waker = ClientLinks::new(Limits::default()).unwrap().waker();
    let net = NetSender::new(channel::unbounded().0, waker);
    let (workers, checks) = CheckWorkers::start(auth, &placement, &to_order, &net).unwrap();
    let verify = VerifyParts {
        set: Arc::clone(member.genesis.validator_set()),
        own: member.own,
        key: ValidatorKey::from_seed(&[1; 32]),
        seed: crate::auth::BatchSeed::assert_unpredictable([4; 32]),
        core: None,
        metrics: Arc::default(),
    };
    let order = OrderThread {
        own: member.own,
        stage: order,
        items,
        net,
        journal: to_journal,
        journal_bytes: StageBytes::default(),
        app: unbounded().0,
        verify: VerifyWorker::start(verify, |_| ()).unwrap(),
        checks: checks.clone(),
        inlet: InletReader::new(Arc::new(Inlet::new(&member.genesis, Arc::clone(auth)))),
        clock: Clock::new(),
        placement,
        metrics: Arc::default(),
        halt: Halt::default(),
    };
    Stages {
        order,
        journal,
        ops,
        sync: member.companions.sync,
        checks,
        workers,
        genesis: member.genesis,
        now: member.now,
    }
}

impl Stages {
    fn wait(&mut self, duration_ns: u64) {
        self.now.mono_ns += duration_ns;
        self.now.wall_ns += duration_ns;
    }

    /// The net thread takes a frame with one command off a client's socket.
    fn receive(&self, client: &KeyPair) {
        let entries = Member::entry(&self.genesis, client, 1);
        let request = ClientFrame::Submit {
            count: 1,
            entries: &entries,
            commands: parse_entries(&entries).unwrap(),
        };
        let from = Caller {
            client: ClientId::from_bits(1),
            session: SessionId(session_of_key(&client.public())),
            key: client.public(),
        };
        let mut outward = Outward {
            backlog: &Backlog::default(),
            peers: &PeerBacklog::default(),
            order: &unbounded().0,
            app: &unbounded().0,
            checks: Some(&self.checks),
            metrics: &Metrics::default(),
            trace: &Trace::default(),
            clock: self.order.clock,
            received_ns: Some(self.now.mono_ns),
            answers: &mut Answers::default(),
        };
        outward.request(from, request, &mut Replies::default());
    }

    /// Order settles and the journal does what it asks for: the blocks that are final then.
    fn settle(&mut self) -> Vec<crate::executor::FinalBlock> {
        let (mut out, mut jobs) = (OrderOut::default(), Vec::new());
        let (now, mut done, mut syncs) = (self.now, Vec::new(), Vec::new());
        self.order.settle(now, &mut out, &mut jobs).unwrap();
        while let Ok(ToJournal::Append(ops)) = self.ops.try_recv() {
            let (ops, _counted) = ops.into_parts();
            self.journal
                .append_all(now.mono_ns, ops, &mut done)
                .unwrap();
        }
        self.journal.sync_jobs(now.mono_ns, &mut syncs);
        for job in syncs {
            self.journal
                .complete(self.sync.run(job), &mut done)
                .unwrap();
        }
        let mut blocks = Vec::new();
        for one in done {
            match one {
                Journaled::Executable(block) => blocks.push(block),
                other => self.take(ToOrder::Journaled(vec![other])),
            }
        }
        blocks
    }

    fn take(&mut self, item: ToOrder) {
        self.order.take(self.now, item, &mut None).unwrap();
    }
}

/// The queues on its way and the check of its signature are part of what its client waits for.
#[test]
fn what_is_told_of_finality_counts_from_the_frame_and_not_from_the_order_stage() {
    let mut stages = stages(Member::open(1, 0, signed_auth));
    while !stages.order.stage.consensus().is_voting() {
        stages.settle();
        stages.wait(MS);
    }
    let received_ns = stages.now.mono_ns;
    stages.receive(&KeyPair::from_seed(&[77; 32]));
    // A worker has checked it by then.
    let checked = stages.order.items.recv().unwrap();
    stages.wait(3 * MS);
    stages.take(checked);
    let mut blocks = Vec::new();
    for _ in 0..10 {
        stages.wait(MS);
        blocks.extend(stages.settle());
    }
    let [block] = &blocks[..] else {
        panic!("{blocks:?}");
    };
    assert!(block.final_ns >= received_ns + 3 * MS);
    let told: Vec<u64> = block.admitted.iter().map(|one| one.latency_ns).collect();
    assert_eq!(told, [block.final_ns - received_ns]);
    // The senders go, and with them the workers.
    let Stages {
        order,
        checks,
        workers,
        ..
    } = stages;
    drop((order, checks));
    workers.join();
}

/// Who alarms by the metrics alone has to see both.
#[test]
fn a_full_disk_and_a_validator_that_recovers_stand_in_the_metrics() {
    let mut lost = stages(Member::open_lost(4, 0, signed_auth));
    let mut good = stages(Member::open(4, 0, signed_auth));
    let told = |stages: &Stages| {
        let metrics = Metrics::default();
        copy_order(&metrics, &stages.order.stage);
        (metrics.recovering.read(), metrics.disk_full.read())
    };
    assert_eq!((told(&lost), told(&good)), ((1, 0), (0, 0)));
    for (is_full, expected) in [(true, 1), (false, 0)] {
        for stages in [&mut lost, &mut good] {
            stages.take(ToOrder::Journaled(vec![Journaled::Full(is_full)]));
        }
        assert_eq!((told(&lost), told(&good)), ((1, expected), (0, expected)));
    }
}

/// The order thread stands still, and one peer sends whatever it wants.
#[test]
fn a_peer_that_forwards_without_end_fills_no_queue_and_its_other_messages_pass() {
    let (order, items) = unbounded();
    let (peers, metrics) = (PeerBacklog::new(4), Metrics::default());
    let mut outward = Outward {
        backlog: &Backlog::default(),
        peers: &peers,
        order: &order,
        app: &unbounded().0,
        checks: None,
        metrics: &metrics,
        trace: &Trace::default(),
        clock: Clock::new(),
        received_ns: None,
        answers: &mut Answers::default(),
    };
    let frame_of = |message: &Message| {
        let mut frame = Vec::new();
        wire::encode(message, &mut frame);
        frame
    };
    let payload: Arc<[u8]> = vec![0; 1 << 20].into();
    let forward = frame_of(&Message::Forward(payload));
    let peer = ValidatorIndex::new(2);
    let sent = 2 * PEER_BYTES_MAX / forward.len();
    for _ in 0..sent {
        assert!(outward.peer_frame(peer, &forward), "that is no fault");
    }
    let taken = order.len();
    assert!(
        taken * forward.len() <= PEER_BYTES_MAX + forward.len(),
        "{taken}"
    );
    assert_eq!(metrics.peer_frames_dropped.read(), (sent - taken) as u64);
    let ask = frame_of(&Message::FenceAsk { incarnation: 1 });
    assert!(outward.peer_frame(peer, &ask) && outward.peer_frame(ValidatorIndex::new(1), &forward));
    assert_eq!(order.len(), taken + 2);
    // What the thread takes makes room.
    drop(items.recv());
    assert!(outward.peer_frame(peer, &forward));
    assert_eq!(order.len(), taken + 2);
}
