//! Answers as long as they may be, and a client that asks for more of them than its socket holds.

use crate::signed::Login;
use crate::support::{Cluster, eventually};
use quorate::client_wire::{ServerFrame, encode_query};
use quorate::keys::KeyPair;
use quorate::node::Node;
use quorate::profiles::{Durability, Threading};
use quorate::state_machine::{ANSWER_BYTES_MAX, Context, Output, StateMachine};
use quorate_net::{ChainIds, ClientLinks, CloseReason, Limits, LinkHandler, LinkId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Questions that are asked before anything is read: their answers are far more than the sockets
/// hold and may wait for one client.
const ASKED: u64 = 64;
/// Questions at a time, as many as are taken of one client at once.
const AT_ONCE: u64 = 16;

/// Answers at length, and counts how often.
struct Verbose(Arc<AtomicU64>);

impl StateMachine for Verbose {
    fn sections(&self) -> &'static [&'static str] {
        &["nothing"]
    }

    fn apply(&mut self, _: &Context, _: &[u8], _: &mut Output) {}

    fn section_root(&mut self, _: usize) -> [u8; 32] {
        [0; 32]
    }

    fn snapshot_section(&self, _: usize, _: &mut Vec<u8>) {}

    fn restore_section(&mut self, _: usize, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn query(&self, _: &[u8], answer: &mut Vec<u8>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        answer.resize(ANSWER_BYTES_MAX, 7);
    }
}

/// What one client is told.
#[derive(Default)]
struct Told {
    is_up: bool,
    end: Option<CloseReason>,
    answered: BTreeSet<u64>,
    busy: Vec<u64>,
}

impl LinkHandler for Told {
    fn link_up(&mut self, _: LinkId, _: u16, _: u64) {
        self.is_up = true;
    }

    fn link_down(&mut self, _: LinkId, reason: CloseReason) {
        self.end = Some(reason);
    }

    fn link_frame(&mut self, _: LinkId, frame: &[u8]) {
        match ServerFrame::decode(frame).unwrap().1 {
            ServerFrame::Answer { id, answer } => {
                assert_eq!(answer.len(), ANSWER_BYTES_MAX);
                assert!(self.answered.insert(id), "once");
            }
            ServerFrame::Busy { id, .. } => self.busy.push(id),
            other => panic!("{other:?}"),
        }
    }
}

fn send(links: &mut ClientLinks, link: LinkId, ids: impl Iterator<Item = u64>) {
    for id in ids {
        let mut frame = Vec::new();
        encode_query(id, b"all of it", &mut frame);
        links.send(link, &frame).unwrap();
    }
    links.flush();
}

fn ask(threading: Threading) {
    let mut cluster = Cluster::new("answers", 1, Durability::Async);
    cluster.threading = threading;
    let made = Arc::<AtomicU64>::default();
    let node = Node::start(cluster.config(0), Verbose(Arc::clone(&made))).unwrap();
    let chain = ChainIds {
        chain_id: *cluster.genesis.chain_id(),
        genesis_hash: *cluster.genesis.hash(),
    };
    let login = Login {
        key: KeyPair::from_seed(&[44; 32]),
        chain,
    };
    let (mut links, mut told) = (
        ClientLinks::new(Limits::default()).unwrap(),
        Told::default(),
    );
    let address = cluster.genesis.file().validators[0].client_addresses[0].clone();
    let now = Instant::now();
    let link = links.connect(now, &address, chain, Arc::new(login));
    let link = link.unwrap();
    let pause = Some(Duration::from_millis(20));
    eventually("it is up", || {
        links.turn(Instant::now(), pause, &mut told).unwrap();
        told.is_up
    });
    for first in (0..ASKED).step_by(usize::try_from(AT_ONCE).unwrap()) {
        send(&mut links, link, first..first + AT_ONCE);
        eventually("each is answered or refused", || {
            let refused = node.metrics().questions_busy.read();
            made.load(Ordering::Relaxed) + refused >= first + AT_ONCE
        });
    }
    let unread = made.load(Ordering::Relaxed);
    assert!(unread < ASKED / 2, "{unread} were made and nobody reads");
    // From here on it reads whatever comes, and asks again for what was refused.
    eventually("it is answered all of them", || {
        links.turn(Instant::now(), pause, &mut told).unwrap();
        assert_eq!(told.end, None, "{threading:?}: it reads");
        let again = std::mem::take(&mut told.busy);
        send(&mut links, link, again.into_iter());
        told.answered.len() as u64 == ASKED
    });
    node.shutdown(Duration::ZERO).unwrap();
}

#[test]
fn a_client_that_reads_is_not_cut_off_for_the_answers_that_it_has_asked_for() {
    for threading in [Threading::Dedicated, Threading::Shared] {
        ask(threading);
    }
}
