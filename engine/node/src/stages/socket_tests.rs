//! The stage over real sockets: what the callbacks of a turn have found is done when it is over.

use super::tests::Strict;
use super::*;
use crate::genesis::Genesis;
use crate::keys::KeyPair;
use crate::results::{CommandResult, Outcome, Place};
use crate::streams::PublicRing;
use crate::testing::{Login, chain_of, net_of, sample_genesis};
use quorate_net::{ClientLinks, Limits, LinkHandler, LinkId, NetConfig};

/// Nothing here takes so long; only a test that would hang otherwise meets it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What clients see of their connections.
#[derive(Default)]
struct Links {
    up: Vec<LinkId>,
    down: Vec<LinkId>,
}

impl LinkHandler for Links {
    fn link_up(&mut self, link: LinkId, _: u16, _: u64) {
        self.up.push(link);
    }

    fn link_down(&mut self, link: LinkId, _: CloseReason) {
        self.down.push(link);
    }

    fn link_frame(&mut self, _: LinkId, _: &[u8]) {}
}

/// How often a peer's connection to the validator came up and went down.
#[derive(Default)]
struct Seen {
    ups: usize,
    downs: usize,
}

impl Handler for Seen {
    fn peer_up(&mut self, _: u16, _: u64) {
        self.ups += 1;
    }

    fn peer_down(&mut self, _: u16, _: CloseReason) {
        self.downs += 1;
    }

    fn peer_frame(&mut self, _: u16, _: &[u8]) {}
    fn client_up(&mut self, _: ClientId, _: [u8; 32]) {}
    fn client_down(&mut self, _: ClientId) {}
    fn client_frame(&mut self, _: ClientId, _: &[u8]) {}
}

/// A validator's stage, and who is connected to it.
struct World {
    genesis: Genesis,
    wire: WireStage,
    metrics: Arc<Metrics>,
    strict: Strict,
    links: ClientLinks,
    seen_by_clients: Links,
    peer: Option<Net>,
    seen_by_peer: Seen,
}

impl World {
    fn new(change: impl FnOnce(&mut NetConfig)) -> Self {
        let (genesis, mut keys) = sample_genesis(4);
        let net = net_of(&genesis, ValidatorIndex::new(0), keys.remove(0), |config| {
            config.client_listen = Some("127.0.0.1:0".to_owned());
            change(config);
        });
        let metrics = Arc::default();
        let public = PublicStage::new(PublicRing::new(1 << 20), None);
        let around = (Clock::new(), public);
        let rates = RateConfig::default();
        Self {
            wire: WireStage::new(net, &rates, &metrics, Trace::default(), around),
            genesis,
            metrics,
            strict: Strict::default(),
            links: ClientLinks::new(Limits::default()).unwrap(),
            seen_by_clients: Links::default(),
            peer: None,
            seen_by_peer: Seen::default(),
        }
    }

    /// A client begins to log in.
    fn connect(&mut self, key: KeyPair) -> LinkId {
        let chain = chain_of(&self.genesis);
        let address = self.wire.net.client_address().unwrap().to_string();
        let login = Arc::new(Login { key, chain });
        let now = Instant::now();
        self.links.connect(now, &address, chain, login).unwrap()
    }

    /// A client logs in.
    fn log_in(&mut self, key: KeyPair) -> LinkId {
        let link = self.connect(key);
        self.until("it is logged in", |world| {
            world.wire.clients.clients().count() == 1
        });
        link
    }

    /// The peer whose every frame is a fault connects.
    fn introduce_peer(&mut self) {
        let own = self.wire.net.peer_address().unwrap().to_string();
        let (genesis, mut keys) = sample_genesis(4);
        let peer = net_of(&genesis, ValidatorIndex::new(2), keys.remove(2), |config| {
            config.peers = vec![(0, own)];
        });
        let address = peer.peer_address().unwrap().to_string();
        self.wire.net.set_peers(&[(2, address)]).unwrap();
        self.peer = Some(peer);
    }

    fn is_peer_up(&self) -> bool {
        let is_up = |peer: &Net| peer.is_up(0);
        self.wire.net.is_up(2) && self.peer.as_ref().is_some_and(is_up)
    }

    fn turn(&mut self) {
        let (now, at_once) = (Instant::now(), Duration::ZERO);
        let mut work = self.wire.turn(now, at_once, &mut self.strict).unwrap();
        self.wire.flush();
        self.wire.copy_metrics();
        self.links.flush();
        let (links, seen) = (&mut self.links, &mut self.seen_by_clients);
        work += links.turn(now, Some(at_once), seen).unwrap();
        if let Some(peer) = &mut self.peer {
            peer.flush();
            let turned = peer.turn(now, Some(at_once), &mut self.seen_by_peer);
            work += turned.unwrap();
        }
        if work == 0 {
            std::thread::yield_now();
        }
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            self.turn();
        }
    }
}

/// Whoever breaks the rules on a channel of its own costs a look at it once.
#[test]
fn a_client_whose_frame_is_none_is_cut_off() {
    let mut world = World::new(|_| ());
    let link = world.log_in(KeyPair::from_seed(&[77; 32]));
    world.links.send(link, &[0xff; 40]).unwrap();
    world.until("it is cut off", |world| {
        world.seen_by_clients.down.contains(&link)
    });
    assert_eq!(world.metrics.client_frames_malformed.read(), 1);
    assert_eq!(world.wire.clients.clients().count(), 0);
}

/// It comes again: a fault that it made is none of its next connection.
#[test]
fn a_peer_at_fault_is_cut_off_and_heard_when_it_comes_again() {
    let mut world = World::new(|_| ());
    world.introduce_peer();
    for time in 1..=2 {
        world.until("it is connected", World::is_peer_up);
        let peer = world.peer.as_mut().unwrap();
        peer.send_peer(0, b"what it may not say", Class::Vote)
            .unwrap();
        world.until("it is cut off", |world| world.seen_by_peer.downs == time);
        assert_eq!(world.strict.frames, time, "each of its frames is looked at");
    }
    assert_eq!(world.metrics.peer_faults.read(), 2);
    assert_eq!(world.seen_by_peer.ups, 2);
}

/// A flood waits in its own socket.
#[test]
fn a_client_that_asks_on_when_it_is_told_to_wait_is_not_read_from() {
    let mut world = World::new(|_| ());
    let link = world.log_in(KeyPair::from_seed(&[77; 32]));
    let mut frame = Vec::new();
    client_wire::encode_query(7, b"what", &mut frame);
    for _ in 0..500 {
        world.links.send(link, &frame).unwrap();
    }
    world.until("it is held", |world| world.metrics.clients_held.read() > 0);
    assert!(world.metrics.questions_busy.read() > 0, "it was told");
}

/// Strangers may take all places there are; a session costs something.
#[test]
fn a_client_whose_session_is_open_makes_no_room_for_another() {
    for is_open in [false, true] {
        let mut world = World::new(|config| {
            config.limits.clients_max = 1;
            config.limits.client_idle_min = Duration::ZERO;
        });
        let key = KeyPair::from_seed(&[77; 32]);
        let session = SessionId(session_of_key(&key.public()));
        let first = world.log_in(key);
        if is_open {
            let mut results = BlockResults::new();
            results.height = 7;
            results.commands = vec![CommandResult {
                session,
                seq: 1,
                outcome: Outcome::Applied,
                applied: Some(Place {
                    height: 7,
                    index: 0,
                }),
                mark: None,
                finality_ns: 5,
            }];
            world.wire.send_block(None, &results);
            world.wire.flush();
        }
        let second = world.connect(KeyPair::from_seed(&[78; 32]));
        world.until("there is room for one", |world| {
            !world.seen_by_clients.down.is_empty()
        });
        let gone = if is_open { second } else { first };
        assert_eq!(world.seen_by_clients.down, [gone], "{is_open}");
        assert!(world.seen_by_clients.up.contains(&second), "it has asked");
    }
}
