//! Replies, and what a turn's callbacks take from peers.

use super::*;
use crate::client_wire::ServerFrame;
use crate::streams::PublicRing;

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
struct Strict {
    frames: usize,
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

/// Clients, and so many nanoseconds of each.
type Told = Vec<(u64, u64)>;

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

    /// One turn in which they ask so often each, in that order: whose questions are taken, when
    /// others were told to ask again, and for how long who is held.
    fn turn(&mut self, asks: &[(u64, usize)]) -> (Vec<u64>, Told, Told) {
        let (mut strict, mut replies, mut held) = (Strict::default(), Replies::default(), vec![]);
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
            faulty_clients: &mut Vec::new(),
            peers_up: &mut 0,
            refusals: &mut Refusals::default(),
            questions: &mut self.questions,
        };
        let mut frame = Vec::new();
        client_wire::encode_query(7, b"what", &mut frame);
        for (bits, count) in asks {
            (0..*count).for_each(|_| taking.client_frame(ClientId::from_bits(*bits), &frame));
        }
        let mut told = Vec::new();
        replies.drain(|client, frame| {
            let ServerFrame::Busy { retry_after_us, .. } = ServerFrame::decode(frame).unwrap().1
            else {
                panic!("it is busy");
            };
            told.push((client.to_bits(), u64::from(retry_after_us) * 1_000));
        });
        let asked = strict.asked.into_iter().map(ClientId::to_bits).collect();
        let held = held
            .into_iter()
            .map(|(client, hold_ns)| (client.to_bits(), hold_ns));
        (asked, told, held.collect())
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
