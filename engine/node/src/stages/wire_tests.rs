//! Replies, and what a turn's callbacks take from peers.

use super::*;
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
    fn has_room_for_question(&mut self) -> bool {
        true
    }
    fn request(&mut self, _: Caller, _: ClientFrame<'_>, _: &mut Replies) {}
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
        questions: Questions::default(),
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
        questions: Questions::default(),
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
    client_wire::encode_busy(leader_of(&metrics), 7, QUESTION_RETRY_US, &mut busy);
    metrics.height.set(1000);
    assert_eq!(said_to(&metrics, ask()), Some(busy.clone()));
    assert_eq!(said_to(&metrics, ClientFrame::StatusAsk { id: 7 }), None);
    metrics.peers_heard.set(1);
    assert_eq!(said_to(&metrics, ask()), None);
    metrics.height_peers.set(1000 + ROOT_HEIGHTS);
    assert_eq!(said_to(&metrics, ask()), Some(busy));
}
