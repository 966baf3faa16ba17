//! A chain of signed commands on real sockets: clients sign by themselves, and who does not is
//! cut off.

use crate::support::{Cluster, PATIENCE, agree, eventually, patient, stop_all};
use quorate::client::Client;
use quorate::client_wire::{ClientFrameWriter, Outcome, Rejection, ServerFrame, Verdict};
use quorate::keys::KeyPair;
use quorate::node::Admission;
use quorate::profiles::{Durability, Threading};
use quorate::state_machine::Lane;
use quorate_consensus::payload::{Entry, Lane as WireLane, encode_entry, session_of_key};
use quorate_consensus::signing::login_message;
use quorate_net::{
    ChainIds, ClientAuthenticator, ClientLinks, CloseReason, Limits, LinkHandler, LinkId,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A client that logs in properly, sends one frame, and writes down what comes.
struct Forger {
    key: KeyPair,
    genesis: quorate::genesis::Genesis,
    frame: Vec<u8>,
    is_up: bool,
    verdicts: Vec<(u64, Verdict)>,
    end: Option<CloseReason>,
}

/// Logs in, whatever validator it meets.
pub(crate) struct Login {
    pub(crate) key: KeyPair,
    pub(crate) chain: ChainIds,
}

impl ClientAuthenticator for Login {
    fn key(&self) -> [u8; 32] {
        self.key.public()
    }

    fn sign_login(&self, handshake_hash: &[u8; 32], validator: u16) -> [u8; 64] {
        let chain = &self.chain;
        let (chain_id, genesis_hash) = (&chain.chain_id, &chain.genesis_hash);
        let message = login_message(chain_id, genesis_hash, handshake_hash, validator);
        self.key.sign(&message)
    }

    fn verify_hello(&self, _: &[u8; 32], _: u16, _: &[u8; 64]) -> bool {
        true
    }
}

impl LinkHandler for Forger {
    fn link_up(&mut self, _: LinkId, _: u16, _: u64) {
        self.is_up = true;
    }

    fn link_down(&mut self, _: LinkId, reason: CloseReason) {
        self.end = Some(reason);
    }

    fn link_frame(&mut self, _: LinkId, frame: &[u8]) {
        if let Ok((_, ServerFrame::Verdicts(runs))) = ServerFrame::decode(frame) {
            self.verdicts
                .extend(runs.map(|run| (run.seq_first, run.verdict)));
        }
    }
}

impl Forger {
    /// Its command has the signature of nobody.
    fn new(cluster: &Cluster) -> Self {
        let key = KeyPair::from_seed(&[44; 32]);
        let session = session_of_key(&key.public());
        let mut entry = Vec::new();
        let command = Entry {
            lane: WireLane::Order,
            session: &session,
            seq: 1,
            signature: Some(&[3; 64]),
            body: &key.public(),
        };
        encode_entry(&command, &mut entry);
        let mut frame = Vec::new();
        let mut writer = ClientFrameWriter::submit(&mut frame);
        assert!(writer.push(&entry));
        writer.finish();
        Self {
            key,
            genesis: cluster.genesis.clone(),
            frame,
            is_up: false,
            verdicts: Vec::new(),
            end: None,
        }
    }

    /// Runs until the validator ends the connection.
    fn run(&mut self) {
        let chain = ChainIds {
            chain_id: *self.genesis.chain_id(),
            genesis_hash: *self.genesis.hash(),
        };
        let login = Login {
            key: KeyPair::from_seed(&[44; 32]),
            chain,
        };
        assert_eq!(login.key.public(), self.key.public());
        let mut links = ClientLinks::new(Limits::default()).unwrap();
        let address = self.genesis.file().validators[0].client_addresses[0].clone();
        let link = links
            .connect(Instant::now(), &address, chain, Arc::new(login))
            .unwrap();
        let mut is_sent = false;
        eventually("the forger is cut off", || {
            let pause = Some(Duration::from_millis(20));
            links.turn(Instant::now(), pause, self).unwrap();
            if self.is_up && !is_sent {
                is_sent = true;
                links.send(link, &self.frame).unwrap();
                links.flush();
            }
            self.end.is_some()
        });
    }
}

fn serve(threading: Threading) {
    let mut cluster = Cluster::signed("signed", 4, Durability::Async);
    cluster.threading = threading;
    let nodes = cluster.start_all();
    let key = Arc::new(KeyPair::from_seed(&[101; 32]));
    let options = patient();
    let mut client = Client::connect(&cluster.genesis, key, options, PATIENCE).unwrap();
    for number in 1..=20_u64 {
        let done = client
            .submit_and_wait(Lane::Order, &number.to_le_bytes(), PATIENCE)
            .unwrap();
        assert_eq!(done.outcome, Outcome::Applied);
    }
    let mut forger = Forger::new(&cluster);
    forger.run();
    let expected = (1, Verdict::Rejected(Rejection::BadSignature));
    assert_eq!(forger.verdicts, [expected], "{threading:?}");
    assert_eq!(nodes[0].metrics().client_signatures_bad.read(), 1);
    // The embedding process signs as well, or is refused.
    let embedded = Arc::new(KeyPair::from_seed(&[102; 32]));
    let mut bare = nodes[1].session(embedded.public()).unwrap();
    let refused = Admission::Rejected(Rejection::BadSignature);
    assert_eq!(bare.submit(Lane::Order, b"x"), refused);
    let mut signing = nodes[1].signing_session(embedded).unwrap();
    eventually("the embedding process has its session opened", || {
        let admission = signing.submit(Lane::Order, &7_u64.to_le_bytes());
        matches!(admission, Admission::Accepted { .. })
    });
    let sum = [b"?".as_slice(), &217_u64.to_le_bytes()].concat();
    eventually("the sum everywhere", || {
        let answer = |node: &quorate::node::Node| node.query(b"?").unwrap();
        nodes.iter().all(|node| answer(node) == sum)
    });
    agree(&nodes, 1);
    for node in &nodes {
        assert_eq!(node.metrics().block_signatures_bad.read(), 0);
    }
    stop_all(nodes);
}

#[test]
fn signed_commands_are_served_and_a_forger_is_cut_off_with_a_reason() {
    for threading in [Threading::Shared, Threading::Dedicated] {
        serve(threading);
    }
}
