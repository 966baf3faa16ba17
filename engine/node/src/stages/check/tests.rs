//! Submissions through workers and in pieces; blocks that somebody waits for.

use super::*;
use crate::auth::BatchSeed;
use crate::keys::KeyPair;
use crate::queues::Backlog;
use crate::testing::{sample_genesis, signed_entry};
use crossbeam::channel::unbounded;
use quorate_consensus::payload::{PayloadBuilder, session_of_key};
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::verify::{SignatureCheck, SignatureItem};
use quorate_net::ClientId;

fn signed_auth() -> Arc<CommandAuth> {
    let (genesis, _) = sample_genesis(4);
    Arc::new(CommandAuth::signed(
        genesis.validator_set(),
        BatchSeed::assert_unpredictable([4; 32]),
    ))
}

fn caller(client: u64, key: &KeyPair) -> Caller {
    Caller {
        client: ClientId::from_bits(client),
        session: SessionId(session_of_key(&key.public())),
        key: key.public(),
    }
}

/// Commands `1..=count`; that with number `bad` is signed by somebody else.
fn entries(auth: &CommandAuth, key: &KeyPair, count: u64, bad: u64) -> Vec<Vec<u8>> {
    let other = KeyPair::from_seed(&[99; 32]);
    let one = |seq| {
        let signer = if seq == bad { &other } else { key };
        let sign = |unsigned: &[u8]| signer.sign(&auth.message(unsigned).unwrap());
        signed_entry(Lane::Order, &key.public(), seq, b"text", sign)
    };
    (1..=count).map(one).collect()
}

#[test]
fn a_shared_thread_checks_no_more_than_its_budget_in_a_turn() {
    let auth = signed_auth();
    let (good, bad) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
    let mut submissions = Submissions::new(Arc::clone(&auth));
    let all = entries(&auth, &good, 100, 0).concat();
    submissions.push(0, caller(1, &good), &all).unwrap();
    let forged = entries(&auth, &bad, 10, 7).concat();
    submissions.push(0, caller(2, &bad), &forged).unwrap();
    for turn in 1..=3 {
        submissions.go_on(30);
        assert_eq!(submissions.waiting[0].at, turn * 30);
        assert!(submissions.next().is_none());
    }
    // The rest of the first one and the second one are one batch.
    submissions.go_on(30);
    let Some(Submission::Good(from, entries, _)) = submissions.next() else {
        panic!("the first one is good");
    };
    assert_eq!((from.client.to_bits(), &entries[..]), (1, &all[..]));
    let Some(Submission::Forged(from, verdicts)) = submissions.next() else {
        panic!("the second one is not");
    };
    assert_eq!(from.client.to_bits(), 2);
    let seqs: Vec<u64> = verdicts.iter().map(|verdict| verdict.seq).collect();
    assert_eq!(seqs, [7]);
    assert!(submissions.is_empty() && submissions.bytes == 0);
}

#[test]
fn submissions_without_room_are_told_to_come_again() {
    let auth = signed_auth();
    let key = KeyPair::from_seed(&[1; 32]);
    let mut submissions = Submissions::new(Arc::clone(&auth));
    let all = entries(&auth, &key, 50, 0).concat();
    let fitting = WAITING_BYTES_MAX / all.len();
    for _ in 0..fitting {
        submissions.push(0, caller(1, &key), &all).unwrap();
    }
    let busy = submissions.push(0, caller(1, &key), &all).unwrap_err();
    assert_eq!(busy.len(), 50);
    let is_busy = |verdict: &CommandVerdict| matches!(verdict.verdict, Verdict::Busy { .. });
    assert!(busy.iter().all(is_busy));
}

#[test]
fn cancels_pass_what_waits_to_be_checked_and_have_room_when_orders_have_none() {
    let auth = signed_auth();
    let key = KeyPair::from_seed(&[1; 32]);
    let mut submissions = Submissions::new(Arc::clone(&auth));
    let orders = entries(&auth, &key, 40, 0).concat();
    while submissions.orders_hold_us().is_none() {
        submissions.push(0, caller(1, &key), &orders).unwrap();
    }
    submissions.go_on(10);
    assert!(submissions.next().is_none(), "one is begun");
    let sign = |unsigned: &[u8]| key.sign(&auth.message(unsigned).unwrap());
    let cancel = signed_entry(Lane::Cancel, &key.public(), 2, b"cancel", sign);
    submissions.push(0, caller(2, &key), &cancel).unwrap();
    let mut order = Vec::new();
    submissions.go_on(100);
    while let Some(done) = submissions.next() {
        let Submission::Good(from, ..) = done else {
            panic!("{done:?}");
        };
        order.push(from.client.to_bits());
    }
    assert_eq!(order[..2], [2, 1]);
}

/// Some client always cancels something: whoever else waits would wait for as long, and find no
/// room besides.
#[test]
fn however_many_cancels_come_a_shared_thread_has_room_and_batches_for_the_rest() {
    let auth = signed_auth();
    let key = KeyPair::from_seed(&[1; 32]);
    let mut submissions = Submissions::new(Arc::clone(&auth));
    let sign = |unsigned: &[u8]| key.sign(&auth.message(unsigned).unwrap());
    let cancel = |seq| signed_entry(Lane::Cancel, &key.public(), seq, b"cancel", sign);
    let cancels: Vec<_> = (1..=200).map(cancel).collect();
    let cancels = cancels.concat();
    while submissions.push(0, caller(1, &key), &cancels).is_ok() {}
    assert!(submissions.orders_hold_us().is_none(), "orders find room");
    let orders = entries(&auth, &key, 20, 0).concat();
    submissions.push(0, caller(2, &key), &orders).unwrap();
    for _ in 0..3 {
        submissions.go_on(10);
        assert!(submissions.next().is_none());
    }
    // The batch in between was theirs.
    assert_eq!(
        (submissions.urgent[0].at, submissions.waiting[0].at),
        (20, 10)
    );
    submissions.go_on(10);
    let Some(Submission::Good(from, ..)) = submissions.next() else {
        panic!("the orders are done before the cancels");
    };
    assert_eq!(from.client.to_bits(), 2);
    assert_eq!(submissions.urgent_bytes, submissions.bytes);
}

#[test]
fn whoever_waits_for_a_block_goes_on_when_every_part_of_it_has_ended_however() {
    let in_flight = InFlight::default();
    let id = BlockId::new([1; 32]);
    in_flight.wait(&id);
    in_flight.begin(id, 2);
    let part = |part| BlockPart {
        id,
        payload: Arc::new([0; 4]),
        part,
        parts: 2,
        in_flight: in_flight.clone(),
        _counted: Arc::new(StageBytes::default().take(4)),
    };
    let (sender, receiver) = unbounded();
    sender.send(Job::Block(part(0))).unwrap();
    let waiting = std::thread::spawn({
        let in_flight = in_flight.clone();
        move || in_flight.wait(&id)
    });
    drop(part(1));
    // A worker that is gone takes what waited for it along.
    drop(receiver);
    drop(sender);
    waiting.join().unwrap();
}

#[test]
fn workers_hand_good_submissions_on_and_tell_of_forged_ones_and_end_blocks() {
    let auth = signed_auth();
    let (good, bad) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
    let (to_order, order) = crate::parked::unbounded();
    let (to_net, net) = unbounded();
    let waker = quorate_net::ClientLinks::new(quorate_net::Limits::default())
        .unwrap()
        .waker();
    let net_sender = NetSender::new(to_net, waker);
    let mut placement = Placement::decide(crate::profiles::PlacementFacts {
        profile: crate::profiles::Profile::Laptop,
        threads: None,
        idle: None,
        pin: Vec::new(),
        cores: vec![0],
        validators_here: 1,
    });
    // Numbers of cores beyond the stages; whether there are such cores does not matter here.
    placement.cores = vec![0; crate::profiles::STAGES + 3];
    let (workers, checks) = CheckWorkers::start(&auth, &placement, &to_order, &net_sender).unwrap();
    assert_eq!(checks.workers.len(), 3);
    let backlog = Backlog::default();
    let of = |key, forged| backlog.take(&entries(&auth, key, 20, forged).concat(), 0);
    checks.submit(caller(1, &good), of(&good, 0));
    checks.submit(caller(2, &bad), of(&bad, 20));
    let mut builder = PayloadBuilder::new();
    for entry in entries(&auth, &good, 300, 0) {
        builder.push_entry(&entry).unwrap();
    }
    let payload = builder.finish();
    let id = BlockId::new([1; 32]);
    checks.ask(Check::Block { id, payload });
    checks.in_flight().wait(&id);
    drop(checks);
    workers.join();
    let submitted: Vec<ToOrder> = order.try_iter().collect();
    assert!(matches!(&submitted[..], [ToOrder::Submit(from, _)] if from.client.to_bits() == 1));
    let told: Vec<ToNet> = net.try_iter().collect();
    let [ToNet::Forged(client, verdicts)] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(
        (client.to_bits(), verdicts.len(), verdicts[0].seq),
        (2, 1, 20)
    );
}

/// A worker without a thread, and the ways to it and from it.
fn worker(auth: &Arc<CommandAuth>) -> (Worker, JobSender, crate::parked::Receiver<ToOrder>) {
    let ((to_order, order), (to_net, _)) = (crate::parked::unbounded(), unbounded());
    let waker = quorate_net::ClientLinks::new(quorate_net::Limits::default())
        .unwrap()
        .waker();
    let (sender, queues) = job_queues();
    let (auth, check) = (Arc::clone(auth), auth.batch_check(2));
    let worker = Worker::new(auth, check, queues, to_order, NetSender::new(to_net, waker));
    (worker, sender, order)
}

/// Commands of one client whose session is known, 4,096 of them, of which none is checked.
fn long_run(auth: &CommandAuth) -> Arc<[u8]> {
    let key = KeyPair::from_seed(&[1; 32]);
    let session = SessionId(session_of_key(&key.public()));
    auth.note_open(session, key.public());
    entries(auth, &key, 4_096, 0).concat().into()
}

#[test]
fn a_block_waits_for_one_batch_at_most_of_what_peers_have_forwarded() {
    let auth = signed_auth();
    let (mut worker, sender, order) = worker(&auth);
    let checks = CheckSender {
        workers: vec![sender],
        in_flight: InFlight::default(),
        bytes: StageBytes::default(),
    };
    let run = long_run(&auth);
    for _ in 0..64 {
        let run = ForwardedRun::of_blocks(ValidatorIndex::new(2), Arc::clone(&run));
        checks.ask(Check::Forwarded(run));
    }
    assert!(worker.turn());
    assert_eq!(worker.forwards.commands(), 64 * 4_096 - BATCH_COMMANDS);
    let id = BlockId::new([1; 32]);
    let key = KeyPair::from_seed(&[2; 32]);
    let mut builder = PayloadBuilder::new();
    for entry in entries(&auth, &key, 20, 0) {
        builder.push_entry(&entry).unwrap();
    }
    let payload = builder.finish();
    checks.ask(Check::Block { id, payload });
    assert!(worker.turn());
    // At once: nobody has to wait for it any more, and no command besides is checked.
    assert!(checks.in_flight().0.0.lock().is_empty());
    assert_eq!(worker.forwards.commands(), 64 * 4_096 - BATCH_COMMANDS);
    // A client's turn comes between theirs.
    let backlog = Backlog::default();
    let submitted = backlog.take(&entries(&auth, &key, 20, 0).concat(), 0);
    checks.submit(caller(1, &key), submitted);
    assert!(worker.turn());
    assert!(matches!(order.try_recv(), Ok(ToOrder::Submit(..))));
    while worker.turn() {}
    assert_eq!(order.try_iter().count(), 64);
}

#[test]
fn what_a_peer_forwards_leaves_the_gate_open() {
    let auth = signed_auth();
    let (_worker, sender, _order) = worker(&auth);
    let checks = CheckSender {
        workers: vec![sender],
        in_flight: InFlight::default(),
        bytes: StageBytes::default(),
    };
    let gate = {
        let checks = checks.clone();
        crate::queues::Gate::new(vec![Box::new(move || checks.depth())])
    };
    for _ in 0..crate::queues::GATE_ITEMS {
        let run = ForwardedRun::of_blocks(ValidatorIndex::new(2), Arc::from(&[1; 40][..]));
        checks.ask(Check::Forwarded(run));
    }
    assert!(gate.is_open());
    // Clients' submissions close it.
    let key = KeyPair::from_seed(&[2; 32]);
    let backlog = Backlog::default();
    for _ in 0..crate::queues::GATE_ITEMS {
        checks.submit(caller(1, &key), backlog.take(&[], 0));
    }
    assert!(!gate.is_open());
}

#[test]
fn a_block_stands_before_every_cancel_that_waits() {
    let auth = signed_auth();
    let (mut worker, sender, order) = worker(&auth);
    let checks = CheckSender {
        workers: vec![sender],
        in_flight: InFlight::default(),
        bytes: StageBytes::default(),
    };
    let key = KeyPair::from_seed(&[1; 32]);
    let sign = |unsigned: &[u8]| key.sign(&auth.message(unsigned).unwrap());
    let cancel = |seq| signed_entry(Lane::Cancel, &key.public(), seq, b"cancel", sign);
    let backlog = Backlog::default();
    // Each submission is a batch of its own.
    let count = BATCH_COMMANDS as u64;
    for run in 0..4 {
        let all: Vec<_> = (1..=count).map(|seq| cancel(run * count + seq)).collect();
        checks.submit(caller(1, &key), backlog.take(&all.concat(), 0));
    }
    let id = BlockId::new([1; 32]);
    let mut builder = PayloadBuilder::new();
    builder
        .push_entry(&entries(&auth, &key, 1, 0).concat())
        .unwrap();
    let payload = builder.finish();
    checks.ask(Check::Block { id, payload });
    assert!(worker.turn());
    assert!(checks.in_flight().0.0.lock().is_empty(), "it is checked");
    assert_eq!(order.try_iter().count(), 0, "before any cancel");
    while worker.turn() {}
    assert_eq!(order.try_iter().count(), 4);
}

/// Checks nothing, and counts what it is asked.
struct Counting(usize);

impl SignatureCheck for Counting {
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool> {
        self.0 += items.len();
        vec![false; items.len()]
    }
}

/// Two workers share a block that is three batches for each, and go on in it: what the leader has
/// told of each signature goes with it.
#[test]
fn what_a_leader_has_told_of_a_block_spares_each_worker_its_part() {
    let (auth, leader) = (signed_auth(), signed_auth());
    let mut workers = [(); 2].map(|()| worker(&auth));
    let checks = CheckSender {
        workers: workers
            .iter()
            .map(|(_, sender, _)| sender.clone())
            .collect(),
        in_flight: InFlight::default(),
        bytes: StageBytes::default(),
    };
    let key = KeyPair::from_seed(&[1; 32]);
    auth.note_open(SessionId(session_of_key(&key.public())), key.public());
    let count = 6 * BATCH_COMMANDS as u64;
    let entries = entries(&leader, &key, count, 0).concat();
    let source = KeySource::Connection(key.public());
    leader
        .check_run(&entries, source, &mut leader.batch_check(2), |_, _| {})
        .unwrap();
    let mut builder = PayloadBuilder::new();
    for view in parse_entries(&entries).unwrap() {
        builder.push_entry(view.entry).unwrap();
    }
    let (id, payload) = (BlockId::new([1; 32]), builder.finish());
    let told = leader.tell_abscissas(&payload).unwrap();
    auth.note_told(id, &payload, &told);
    checks.ask(Check::Block { id, payload });
    for (worker, _, _) in &mut workers {
        while worker.turn() {}
    }
    assert!(checks.in_flight().0.0.lock().is_empty(), "it is checked");
    assert_eq!((leader.decoded(), auth.decoded()), (count, 0));
    let mut check = Counting(0);
    let on = |_: &CommandView<'_>, checked| assert_eq!(checked, Checked::Good);
    auth.check_run(&entries, source, &mut check, on).unwrap();
    assert_eq!(check.0, 0, "nothing of it is left to be checked");
}

/// Some client always cancels something: whoever else waits would wait for as long.
#[test]
fn however_many_cancels_come_what_peers_forward_and_orders_have_batches_between_them() {
    let auth = signed_auth();
    let (mut worker, sender, order) = worker(&auth);
    let checks = CheckSender {
        workers: vec![sender],
        in_flight: InFlight::default(),
        bytes: StageBytes::default(),
    };
    let (key, peer) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
    let sign = |unsigned: &[u8]| key.sign(&auth.message(unsigned).unwrap());
    let cancel = |seq| signed_entry(Lane::Cancel, &key.public(), seq, b"cancel", sign);
    let backlog = Backlog::default();
    let mut seqs = 2..;
    // Each submission is a batch of its own.
    let mut refill = |count| {
        for _ in 0..count {
            let seqs = seqs.by_ref().take(BATCH_COMMANDS);
            let cancels = seqs.map(cancel).collect::<Vec<_>>().concat();
            checks.submit(caller(1, &key), backlog.take(&cancels, 0));
        }
    };
    refill(10);
    let orders = backlog.take(&entries(&auth, &key, 20, 0).concat(), 0);
    checks.submit(caller(2, &key), orders);
    let run = entries(&auth, &peer, 20, 0).concat();
    let run = ForwardedRun::of_blocks(ValidatorIndex::new(2), run.into());
    checks.ask(Check::Forwarded(run));
    let mut turn = || {
        assert!(worker.turn());
        refill(1);
        let came: Vec<char> = order.try_iter().map(kind_of).collect();
        came.into_iter().collect::<String>()
    };
    // One batch of cancels at a time: they are first, and not alone.
    let turns = [turn(), turn(), turn()];
    assert!(
        turns == ["cf", "co", "c"] || turns == ["co", "cf", "c"],
        "{turns:?}"
    );
}

/// A cancel, another client's order, or what a peer has forwarded.
fn kind_of(came: ToOrder) -> char {
    match came {
        ToOrder::Submit(from, _) if from.client.to_bits() == 1 => 'c',
        ToOrder::Submit(..) => 'o',
        ToOrder::Forwarded(_) => 'f',
        _ => '?',
    }
}

/// Blocks of a Byzantine leader come faster than their signatures are checked.
#[test]
fn blocks_that_wait_for_their_signatures_close_the_gate_by_their_bytes() {
    let auth = signed_auth();
    let ((mut first, sender, _), (mut second, other, _)) = (worker(&auth), worker(&auth));
    let checks = CheckSender {
        workers: vec![sender, other],
        in_flight: InFlight::default(),
        bytes: StageBytes::default(),
    };
    let payload: Arc<[u8]> = vec![0; 1 << 20].into();
    let mut asked = 0;
    while checks.depth() < crate::queues::GATE_ITEMS {
        asked += 1;
        assert!(asked <= 256, "the gate is open");
        let id = BlockId::new([1; 32]);
        let payload = Arc::clone(&payload);
        checks.ask(Check::Block { id, payload });
    }
    assert!(
        asked > 250,
        "the same bytes count once however many look at them"
    );
    while first.turn() {}
    assert!(
        checks.depth() >= crate::queues::GATE_ITEMS,
        "half of each is left"
    );
    while second.turn() {}
    assert_eq!(checks.depth(), 0);
}
