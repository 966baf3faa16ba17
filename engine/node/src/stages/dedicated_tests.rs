//! How the threads end together, and what is told of a command that passes them all.

use super::*;
use crate::config::RateConfig;
use crate::executor::FinalBlock;
use crate::genesis::Genesis;
use crate::journal::Journaled;
use crate::keys::KeyPair;
use crate::profiles::{PlacementFacts, Profile, Threads};
use crate::queues::{GATE_ITEMS, PEER_BYTES_MAX};
use crate::replica::{Check, CheckedForward, Event, ForwardedRun, OrderOut};
use crate::results::BlockResults;
use crate::stages::order::ITEMS_PER_TURN;
use crate::stages::private::PrivateStage;
use crate::stages::private::tests::{here, read};
use crate::stages::public::PublicStage;
use crate::state_machine::SessionId;
use crate::streams::PublicRing;
use crate::testing::{Member, final_block, net_of, sample_genesis, signed_auth};
use quorate_consensus::message::Message;
use quorate_consensus::payload::{parse_entries, session_of_key};
use quorate_consensus::signing::ValidatorKey;
use quorate_consensus::types::{BlockId, Now};
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
    /// What the order stage tells the net thread.
    told: channel::Receiver<ToNet>,
    /// What the others tell the order stage.
    to_order: Sender<ToOrder>,
    sync: SyncWorker,
    checks: CheckSender,
    workers: CheckWorkers,
    genesis: Genesis,
    now: Now,
}

fn placement() -> Placement {
    Placement::decide(PlacementFacts {
        profile: Profile::Laptop,
        threads: Some(Threads::Dedicated),
        idle: None,
        pin: Vec::new(),
        cores: vec![0, 1],
        validators_here: 1,
    })
}

fn stages(member: Member) -> Stages {
    let placement = placement();
    let Parts {
        order,
        journal,
        executor,
    } = member.parts;
    let auth = executor.auth();
    let ((to_order, items), (to_journal, ops)) = (unbounded(), unbounded());
    let waker = ClientLinks::new(Limits::default()).unwrap().waker();
    let (to_net, told) = channel::unbounded();
    let net = NetSender::new(to_net, waker);
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
        told,
        to_order,
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
    fn settle(&mut self) -> Vec<FinalBlock> {
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

    /// Whom the net thread is told to cut off.
    fn faulty_peers(&self) -> Vec<u16> {
        let mut faulty = Vec::new();
        for told in self.told.try_iter() {
            let ToNet::Events(events) = told else {
                continue;
            };
            for event in events {
                if let Event::PeerFault(peer) = event {
                    faulty.push(peer.number());
                }
            }
        }
        faulty
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
    assert_eq!(metrics.peer_frames_malformed.read(), 0);
    assert!(!outward.peer_frame(peer, b"junk"), "that is a fault");
    assert_eq!(metrics.peer_frames_malformed.read(), 1);
}

/// Whether the gate is closed until what fills a queue is taken out of it; it is open then.
fn is_closed_until(gate: &Gate, drain: impl FnOnce()) -> bool {
    let is_closed = !gate.is_open();
    drain();
    assert!(gate.is_open(), "nothing waits any more");
    is_closed
}

/// The one bound there is: what a stage does not take in time waits in no other place.
#[test]
fn the_gate_is_closed_while_too_much_waits_for_any_one_stage() {
    let ((order, orders), (journal, ops), (app, asks)) = (unbounded(), unbounded(), unbounded());
    let (checks, worker) = CheckSender::to_nobody();
    let backlogs = Backlogs::new(4);
    let gate = Gate::new(depths((&order, &journal, &app), &backlogs, &checks));
    let (long, most) = (Arc::<[u8]>::from(vec![0; 1 << 20]), 1 << 30);
    let mut told = Vec::new();
    let mut note = |name, is_closed| told.push((name, is_closed));

    (0..GATE_ITEMS).for_each(|_| order.send(ToOrder::Poke).unwrap());
    note(
        "order",
        is_closed_until(&gate, || while orders.try_recv().is_ok() {}),
    );
    (0..GATE_ITEMS).for_each(|_| journal.send(ToJournal::End).unwrap());
    note(
        "journal",
        is_closed_until(&gate, || while ops.try_recv().is_ok() {}),
    );
    (0..GATE_ITEMS).for_each(|_| app.send(ToApp::End).unwrap());
    note(
        "app",
        is_closed_until(&gate, || while asks.try_recv().is_ok() {}),
    );

    let ask = Message::FenceAsk { incarnation: 1 };
    let message = Authenticated::assert_authenticated(ValidatorIndex::new(1), ask);
    let waits = backlogs.peers.take(message, most);
    note("peers", is_closed_until(&gate, || drop(waits)));
    let waits = backlogs.ops.take(most);
    note("ops", is_closed_until(&gate, || drop(waits)));
    let (genesis, _keys) = sample_genesis(4);
    let block = final_block(genesis.validator_set(), 1, BlockId::new([0; 32]), &[]);
    let waits: Vec<_> = (0..300)
        .map(|_| FinalBlock {
            payload: Arc::clone(&long),
            ..block.clone()
        })
        .map(|block| backlogs.blocks.take(block))
        .collect();
    note("blocks", is_closed_until(&gate, || drop(waits)));
    backlogs.disk.set_crowded(true);
    note(
        "disk",
        is_closed_until(&gate, || backlogs.disk.set_crowded(false)),
    );
    for number in 0..300_u16 {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_le_bytes());
        let (id, payload) = (BlockId::new(id), Arc::clone(&long));
        checks.ask(Check::Block { id, payload });
    }
    note("checks", is_closed_until(&gate, || drop(worker)));

    let deaf: Vec<&str> = told
        .into_iter()
        .filter_map(|(name, is_closed)| (!is_closed).then_some(name))
        .collect();
    assert_eq!(deaf, [""; 0]);
}

/// A net thread that the test moves, and the way to it.
fn net_thread(gate: Gate) -> (NetThread, channel::Sender<ToNet>) {
    let (genesis, mut keys) = sample_genesis(4);
    let own = ValidatorIndex::new(0);
    let net = net_of(&genesis, own, keys.remove(0), |_| ());
    let (metrics, trace) = (Arc::default(), Trace::default());
    let public = PublicStage::new(PublicRing::new(1 << 20), None);
    let around = (Clock::new(), public);
    let rates = RateConfig::default();
    let wire = WireStage::new(net, &rates, &metrics, trace.clone(), around);
    let (to_net, items) = channel::unbounded();
    let thread = NetThread {
        wire,
        items,
        order: unbounded().0,
        app: unbounded().0,
        checks: None,
        gate,
        backlog: Backlog::default(),
        peers: PeerBacklog::new(4),
        inlet: Arc::new(Inlet::new(&genesis, Arc::new(signed_auth(&genesis)))),
        control: channel::unbounded().1,
        placement: placement(),
        metrics,
        finalized: Publisher::new(64).0,
        shadow: ShadowSender::new(own).0,
        scrub: ScrubSender::new().0,
        halt: Halt::default(),
        trace,
        answers: Answers::default(),
        is_last: false,
    };
    (thread, to_net)
}

/// What is not read is held back by the buffers of the sockets; what is told goes out.
#[test]
fn while_the_gate_is_closed_the_sockets_are_left_unread() {
    let closed = Gate::new(vec![Box::new(|| GATE_ITEMS)]);
    let (mut thread, to_net) = net_thread(closed);
    to_net.send(ToNet::Repeats(Vec::new())).unwrap();
    assert_eq!(thread.take_in().unwrap(), 1);
    assert!(thread.items.is_empty());
}

/// A block below its tip may have come behind those that were taken.
#[test]
fn an_answer_from_disk_that_comes_while_blocks_are_taken_waits_for_the_next_turn() {
    let (mut thread, to_net) = net_thread(Gate::new(Vec::new()));
    let (sender, answers) = channel::unbounded();
    let private = PrivateStage::new(Some(answers.clone()));
    thread.wire = thread.wire.with_private(private);
    to_net.send(ToNet::Repeats(Vec::new())).unwrap();
    assert_eq!(thread.take_items(), 1);
    sender.send(read(1, here(5))).unwrap();
    thread.wire.flush();
    assert_eq!(answers.len(), 1);
    assert_eq!(thread.take_items(), 0);
    thread.wire.flush();
    assert!(answers.is_empty());
}

/// What is on its way when it is found out is of the state, too.
#[test]
fn a_validator_whose_state_differs_tells_of_no_block_any_more() {
    let (mut thread, _to_net) = net_thread(Gate::new(Vec::new()));
    let mut oldest_after = |height, diverged_at| {
        thread.metrics.diverged_height.set(diverged_at);
        let mut results = BlockResults::new();
        results.height = height;
        thread.take(ToNet::Block(Box::new(results)));
        thread.wire.copy_metrics();
        thread.metrics.public_oldest.read()
    };
    assert_eq!(oldest_after(100, 0), 100);
    assert_eq!(oldest_after(200, 128), 100);
}

/// Its connection is the net thread's; what it said is found out here.
#[test]
fn a_peer_that_the_order_stage_finds_at_fault_is_cut_off() {
    let mut stages = stages(Member::open(4, 0, signed_auth));
    // No validator of the chain.
    let stranger = ValidatorIndex::new(7);
    let ask = Message::FenceAsk { incarnation: 1 };
    let message = Authenticated::assert_authenticated(stranger, ask);
    let message = PeerBacklog::new(8).take(message, 16).unwrap();
    stages.take(ToOrder::Message(Box::new(message)));
    assert_eq!(stages.faulty_peers(), [7]);
    // No run of entries.
    let (from, commands) = (ValidatorIndex::new(1), vec![1, 2, 3]);
    stages.take(ToOrder::Forwarded(CheckedForward {
        run: ForwardedRun::of_blocks(from, commands.clone().into()),
        commands,
        refused: 0,
    }));
    assert_eq!(stages.faulty_peers(), [1]);
}

/// Items may come as fast as they are taken, and no rule is judged meanwhile.
#[test]
fn a_turn_of_the_order_stage_ends_however_much_waits() {
    let mut stages = stages(Member::open(4, 0, signed_auth));
    let waiting = ITEMS_PER_TURN + 10;
    (0..waiting).for_each(|_| stages.to_order.send(ToOrder::Poke).unwrap());
    let taken = stages.order.take_items(&mut None).unwrap();
    assert_eq!(taken, ITEMS_PER_TURN);
    assert_eq!(stages.order.items.try_iter().count(), 10);
}

/// Each answer may take long, and votes wait behind questions in the same queue.
#[test]
fn no_question_is_let_through_to_a_thread_that_has_many_to_answer() {
    let ((order, orders), (app, asks)) = (unbounded(), unbounded());
    let metrics = Metrics::default();
    let mut outward = Outward {
        backlog: &Backlog::default(),
        peers: &PeerBacklog::new(4),
        order: &order,
        app: &app,
        checks: None,
        metrics: &metrics,
        trace: &Trace::default(),
        clock: Clock::new(),
        received_ns: None,
        answers: &mut Answers::default(),
    };
    let client = ClientId::from_bits(1);
    (0..QUESTIONS_QUEUED_MAX).for_each(|_| app.send(ToApp::End).unwrap());
    assert!(!outward.has_room_for_question(client));
    drop(asks.recv());
    assert!(outward.has_room_for_question(client));
    (0..QUESTIONS_QUEUED_MAX).for_each(|_| order.send(ToOrder::Poke).unwrap());
    assert!(!outward.has_room_for_question(client));
    drop(orders.recv());
    assert!(outward.has_room_for_question(client));
}
