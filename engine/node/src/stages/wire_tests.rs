//! Replies, and what a turn's callbacks take from peers.

use super::*;
use crate::client_wire::{ClientFrameWriter, ServerFrame};
use crate::streams::{PublicRing, StreamPosition};
use quorate_consensus::payload::{Entry, Lane, encode_entry};

#[test]
fn replies_go_out_once_each_to_its_own_client() {
    let mut replies = Replies::default();
    replies.push(ClientId::from_bits(1), |bytes| {
        bytes.extend_from_slice(b"one")
    });
    replies.push(ClientId::from_bits(2), |bytes| {
        bytes.extend_from_slice(b"two")
    });
    let mut sent = Vec::new();
    replies.drain(|client, frame| sent.push((client.to_bits(), frame.to_vec())));
    assert_eq!(sent, [(1, b"one".to_vec()), (2, b"two".to_vec())]);
    replies.drain(|_, _| panic!("once only"));
}

/// Takes no message for one, and counts what comes.
#[derive(Default)]
pub(super) struct Strict {
    pub(super) frames: usize,
    /// Whose requests came.
    asked: Vec<ClientId>,
}

impl Inward for Strict {
    fn peer_up(&mut self, _: ValidatorIndex) {}
    fn peer_down(&mut self, _: ValidatorIndex) {}
    fn peer_frame(&mut self, peer: ValidatorIndex, _: &[u8]) -> bool {
        self.frames += 1;
        peer != ValidatorIndex::new(2)
    }
    fn room(&mut self) -> Room {
        Room::default()
    }
    fn has_room_for_question(&mut self, _: ClientId) -> bool {
        true
    }
    fn request(&mut self, from: Caller, _: ClientFrame<'_>, _: &mut Replies) {
        self.asked.push(from.client);
    }
}

#[test]
fn what_a_peer_sent_behind_its_fault_is_not_looked_at() {
    let metrics = Metrics::default();
    let (mut strict, mut door) = (Strict::default(), Door::new(&RateConfig::default()));
    let mut public = PublicStage::new(PublicRing::new(1 << 20), None);
    let mut faulty_peers = Vec::new();
    let mut taking = Taking {
        inward: &mut strict,
        clients: &mut ClientTable::default(),
        door: &mut door,
        began: Instant::now(),
        now_ns: None,
        verdicts: Vec::new(),
        held: &mut Vec::new(),
        replies: &mut Replies::default(),
        public: &mut public,
        metrics: &metrics,
        faulty_peers: &mut faulty_peers,
        faulty_clients: &mut Vec::new(),
        peers_up: &mut 0,
        refusals: &mut Refusals::default(),
        questions: &mut Questions::default(),
    };
    for _ in 0..1_000 {
        taking.peer_frame(2, b"x");
        taking.peer_frame(3, b"x");
    }
    assert_eq!(strict.frames, 1_001, "another's all");
    assert_eq!(metrics.peer_faults.read(), 1);
    assert_eq!(faulty_peers, [2], "it is dropped once");
}

/// What a validator says to one question; `None` when the question is passed on.
fn said_to(metrics: &Metrics, question: ClientFrame<'_>) -> Option<Vec<u8>> {
    let (mut strict, mut door) = (Strict::default(), Door::new(&RateConfig::default()));
    let mut public = PublicStage::new(PublicRing::new(1 << 20), None);
    let mut replies = Replies::default();
    let mut taking = Taking {
        inward: &mut strict,
        clients: &mut ClientTable::default(),
        door: &mut door,
        began: Instant::now(),
        now_ns: None,
        verdicts: Vec::new(),
        held: &mut Vec::new(),
        replies: &mut replies,
        public: &mut public,
        metrics,
        faulty_peers: &mut Vec::new(),
        faulty_clients: &mut Vec::new(),
        peers_up: &mut 0,
        refusals: &mut Refusals::default(),
        questions: &mut Questions::default(),
    };
    let is_let_through = taking.admit_question(ClientId::from_bits(1), 7, &question);
    let mut sent = None;
    replies.drain(|_, frame| sent = Some(frame.to_vec()));
    assert_eq!(sent.is_none(), is_let_through);
    sent
}

#[test]
fn nothing_is_told_of_a_session_before_it_is_known_how_far_the_others_are() {
    let metrics = Metrics::default();
    let ask = || ClientFrame::SessionAsk { id: 7 };
    let mut busy = Vec::new();
    client_wire::encode_busy(leader_of(&metrics), 7, 1_000, &mut busy);
    metrics.height.set(1000);
    assert_eq!(said_to(&metrics, ask()), Some(busy.clone()));
    assert_eq!(said_to(&metrics, ClientFrame::StatusAsk { id: 7 }), None);
    metrics.peers_heard.set(1);
    assert_eq!(said_to(&metrics, ask()), None);
    metrics.height_peers.set(1000 + ROOT_HEIGHTS);
    assert_eq!(said_to(&metrics, ask()), Some(busy));
}

#[test]
fn of_a_submission_that_goes_on_in_part_the_entries_and_the_commands_are_the_same_ones() {
    let rates = RateConfig {
        order: 2_000,
        burst_ms: 1,
        ..RateConfig::default()
    };
    let entries: Vec<u8> = (2..7).flat_map(order_of).collect();
    let metrics = Metrics::default();
    let (mut strict, mut door) = (Strict::default(), Door::new(&rates));
    let mut public = PublicStage::new(PublicRing::new(1 << 20), None);
    let mut taking = Taking {
        inward: &mut strict,
        clients: &mut ClientTable::default(),
        door: &mut door,
        began: Instant::now(),
        now_ns: Some(1),
        verdicts: Vec::new(),
        held: &mut Vec::new(),
        replies: &mut Replies::default(),
        public: &mut public,
        metrics: &metrics,
        faulty_peers: &mut Vec::new(),
        faulty_clients: &mut Vec::new(),
        peers_up: &mut 0,
        refusals: &mut Refusals::default(),
        questions: &mut Questions::default(),
    };
    let from = Caller {
        client: ClientId::from_bits(1),
        session: SessionId([1; 16]),
        key: [1; 32],
    };
    let request = ClientFrame::Submit {
        count: 5,
        entries: &entries,
        commands: checked_entries(&entries),
    };
    let Some(ClientFrame::Submit {
        count,
        entries,
        commands,
    }) = taking.pass(&from, request)
    else {
        panic!("some of it goes on");
    };
    assert!((1..5).contains(&count), "{count}");
    let of_commands: Vec<u8> = commands
        .clone()
        .flat_map(|view| view.entry.to_vec())
        .collect();
    assert_eq!(of_commands, entries);
    assert_eq!(commands.count(), count as usize);
}

fn order_of(seq: u64) -> Vec<u8> {
    let entry = Entry {
        lane: Lane::Order,
        session: &[1; 16],
        seq,
        signature: None,
        body: b"order",
    };
    let mut bytes = Vec::new();
    encode_entry(&entry, &mut bytes);
    bytes
}

/// Clients, and so many nanoseconds of each.
type Told = Vec<(u64, u64)>;

/// What came of frames of clients.
struct Came {
    /// Whose requests went on.
    asked: Vec<u64>,
    told: Vec<(u64, Vec<u8>)>,
    /// Who is not read from, for how many nanoseconds.
    held: Told,
    faulty: Vec<u64>,
}

/// Clients that ask, and what becomes of that, without sockets.
struct Asking {
    clients: ClientTable,
    door: Door,
    public: PublicStage,
    questions: Questions,
    metrics: Metrics,
    now_ns: u64,
}

impl Asking {
    fn new(clients: u64) -> Self {
        let mut table = ClientTable::default();
        for bits in 1..=clients {
            let key = [u8::try_from(bits).unwrap(); 32];
            table.add(
                ClientId::from_bits(bits),
                SessionId(session_of_key(&key)),
                key,
            );
        }
        Self {
            clients: table,
            door: Door::new(&RateConfig::default()),
            public: PublicStage::new(PublicRing::new(1 << 20), None),
            questions: Questions::default(),
            metrics: Metrics::default(),
            now_ns: 0,
        }
    }

    /// One turn in which this comes.
    fn take(&mut self, act: impl FnOnce(&mut Taking<'_, Strict>)) -> Came {
        let (mut strict, mut replies, mut held) = (Strict::default(), Replies::default(), vec![]);
        let mut faulty = Vec::new();
        let mut taking = Taking {
            inward: &mut strict,
            clients: &mut self.clients,
            door: &mut self.door,
            began: Instant::now(),
            now_ns: Some(self.now_ns),
            verdicts: Vec::new(),
            held: &mut held,
            replies: &mut replies,
            public: &mut self.public,
            metrics: &self.metrics,
            faulty_peers: &mut Vec::new(),
            faulty_clients: &mut faulty,
            peers_up: &mut 0,
            refusals: &mut Refusals::default(),
            questions: &mut self.questions,
        };
        act(&mut taking);
        let mut told = Vec::new();
        replies.drain(|client, frame| told.push((client.to_bits(), frame.to_vec())));
        let held = held
            .into_iter()
            .map(|(client, hold_ns)| (client.to_bits(), hold_ns));
        Came {
            asked: strict.asked.into_iter().map(ClientId::to_bits).collect(),
            told,
            held: held.collect(),
            faulty: faulty.into_iter().map(ClientId::to_bits).collect(),
        }
    }

    /// One turn in which they ask so often each, in that order: whose questions are taken, when
    /// others were told to ask again, and for how long who is held.
    fn turn(&mut self, asks: &[(u64, usize)]) -> (Vec<u64>, Told, Told) {
        let mut frame = Vec::new();
        client_wire::encode_query(7, b"what", &mut frame);
        let came = self.take(|taking| {
            for (bits, count) in asks {
                (0..*count).for_each(|_| taking.client_frame(ClientId::from_bits(*bits), &frame));
            }
        });
        let busy = |(client, frame): (u64, Vec<u8>)| {
            let ServerFrame::Busy { retry_after_us, .. } = ServerFrame::decode(&frame).unwrap().1
            else {
                panic!("it is busy");
            };
            (client, u64::from(retry_after_us) * 1_000)
        };
        let told = came.told.into_iter().map(busy).collect();
        (came.asked, told, came.held)
    }

    /// Of how many clients there is a login, a subscription, and what they were told to wait for.
    fn kept(&mut self) -> [usize; 3] {
        self.public.pump(None, &mut Reading);
        let logins = self.clients.clients().count();
        let subscriptions = self.public.subscriptions_len();
        [logins, subscriptions, self.questions.told_len()]
    }
}

/// Clients that read whatever they are sent.
struct Reading;

impl Outlet for Reading {
    fn waiting(&self, _: ClientId) -> Option<usize> {
        Some(0)
    }
    fn is_crowded(&self) -> bool {
        false
    }
    fn send(&mut self, _: ClientId, _: &[u8]) {}
}

/// Anybody may come and go as often as it likes.
#[test]
fn nothing_is_kept_of_a_client_that_is_gone() {
    let mut asking = Asking::new(2);
    asking.turn(&[(1, 200), (2, 200)]);
    let mut frame = Vec::new();
    client_wire::encode_public_subscribe(7, StreamPosition::LIVE, &mut frame);
    asking.take(|taking| {
        (1..=2).for_each(|bits| taking.client_frame(ClientId::from_bits(bits), &frame));
    });
    assert_eq!(asking.kept(), [2, 2, 2]);
    let gone = ClientId::from_bits(1);
    asking.take(|taking| taking.client_down(gone));
    assert_eq!(asking.kept(), [1, 1, 1]);
    assert!(asking.clients.login(gone).is_none());
}

#[test]
fn a_frame_that_is_none_is_the_fault_of_its_client() {
    let mut asking = Asking::new(2);
    let came = asking.take(|taking| taking.client_frame(ClientId::from_bits(1), &[0xff; 40]));
    assert_eq!(
        (came.faulty, came.asked, came.told),
        (vec![1], vec![], vec![])
    );
    assert_eq!(asking.metrics.client_frames_malformed.read(), 1);
}

/// What an operator wants to know then is what it says of itself.
#[test]
fn a_validator_whose_state_differs_answers_nothing_that_is_made_of_it() {
    let mut asking = Asking::new(1);
    asking.metrics.peers_heard.set(1);
    asking.metrics.diverged_height.set(64);
    let (zero, live) = (StreamPosition::BEGIN, StreamPosition::LIVE);
    let mut frames = vec![Vec::new(); 6];
    client_wire::encode_query(0, b"what", &mut frames[0]);
    client_wire::encode_session_ask(1, &mut frames[1]);
    client_wire::encode_private_ask(2, zero, zero, &mut frames[2]);
    client_wire::encode_public_subscribe(3, live, &mut frames[3]);
    client_wire::encode_public_ask(4, zero, zero, &mut frames[4]);
    let mut entry = Vec::new();
    let command = Entry {
        lane: Lane::Order,
        session: &session_of_key(&[1; 32]),
        seq: 9,
        signature: None,
        body: b"text",
    };
    encode_entry(&command, &mut entry);
    let mut writer = ClientFrameWriter::submit(&mut frames[5]);
    assert!(writer.push(&entry));
    writer.finish();
    let client = ClientId::from_bits(1);
    let came = asking.take(|taking| {
        frames
            .iter()
            .for_each(|frame| taking.client_frame(client, frame));
    });
    assert_eq!((came.asked, came.faulty), (vec![], vec![]));
    let refused: Vec<_> = came.told.iter().map(|(_, frame)| what_of(frame)).collect();
    let ids = (0..5).map(|id| format!("{id} is refused"));
    let expected: Vec<_> = ids.chain(["command 9 is refused".to_owned()]).collect();
    assert_eq!(refused, expected);
    assert_eq!(asking.kept()[1], 0, "nor is anything told later");

    let mut frames = [Vec::new(), Vec::new()];
    client_wire::encode_status_ask(6, &mut frames[0]);
    client_wire::encode_root_ask(7, &mut frames[1]);
    let came = asking.take(|taking| {
        frames
            .iter()
            .for_each(|frame| taking.client_frame(client, frame));
    });
    assert_eq!((came.asked, came.told), (vec![1, 1], vec![]));
}

/// What a refusal says.
fn what_of(frame: &[u8]) -> String {
    match ServerFrame::decode(frame).unwrap().1 {
        ServerFrame::Refused {
            id,
            reason: Refusal::Diverged,
        } => format!("{id} is refused"),
        ServerFrame::Verdicts(mut runs) => {
            let run = runs.next().unwrap();
            assert_eq!(run.verdict, Verdict::Rejected(Rejection::Diverged));
            format!("command {} is refused", run.seq_first)
        }
        other => panic!("{other:?}"),
    }
}

/// Any key may ask without end, over as many connections as there are: whoever waits when it is
/// told to is answered all the same.
#[test]
fn one_who_waits_is_answered_beside_those_who_ask_without_end() {
    const STEP_NS: u64 = 100_000;
    let mut asking = Asking::new(5);
    // What the sockets do: whoever is held is not read, and each has more than a turn reads.
    let (mut held_until_ns, mut holds) = ([0; 5], 0);
    let (mut due_ns, mut asked_ns, mut answers, mut others) = (0, 0, 0, 0);
    for _ in 0..2_000 {
        let now_ns = asking.now_ns;
        let flood = (1..=4).filter(|bits| held_until_ns[*bits as usize] <= now_ns);
        let mut asks: Vec<_> = flood.map(|bits| (bits, 200)).collect();
        let is_due = now_ns >= due_ns;
        asks.extend(is_due.then_some((5, 1)));
        let (asked, told, held) = asking.turn(&asks);
        for (bits, hold_ns) in held {
            assert_ne!(bits, 5, "it has waited");
            holds += 1;
            held_until_ns[bits as usize] = held_until_ns[bits as usize].max(now_ns + hold_ns);
        }
        others += asked.iter().filter(|bits| **bits != 5).count();
        if asked.contains(&5) {
            assert!(now_ns - asked_ns <= 20 * STEP_NS, "{asked_ns}: {now_ns}");
            answers += 1;
            (due_ns, asked_ns) = (now_ns + STEP_NS, now_ns + STEP_NS);
        } else if let Some((_, retry_ns)) = told.iter().find(|(bits, _)| *bits == 5) {
            due_ns = now_ns + retry_ns;
        }
        asking.now_ns += STEP_NS;
    }
    assert!(answers > 100, "{answers}");
    assert!(
        holds >= 4 * 5,
        "they are not read from, for longer each time"
    );
    assert!(others <= 2_000, "{others} of those who do not wait");
}
