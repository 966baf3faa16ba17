//! What the socket tests share: nets on loopback, turned by hand until something holds.
//!
//! No test sleeps to let something happen: a condition is waited for, turn by turn, with a deadline
//! that fails the test.

#![expect(dead_code, reason = "each test file uses its own part")]
#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

pub(crate) mod raw;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_net::{
    Authenticator, CLIENT_ADDRESSEE, ChainIds, ClientAuthenticator, ClientId, ClientLinks,
    CloseReason, Handler, Limits, LinkHandler, LinkId, Net, NetConfig, PeerAlarm,
};

pub(crate) const CHAIN: ChainIds = ChainIds {
    chain_id: [1; 32],
    genesis_hash: [2; 32],
};
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A signature scheme for tests: the key is part of what is "signed", so a wrong key shows.
#[derive(Clone, Copy)]
pub(crate) struct Notary {
    pub(crate) own: u16,
    /// What this validator signs with; its right key is its index.
    pub(crate) key: u16,
}

fn note(hash: &[u8; 32], key: u16, addressee: u16, domain: u8) -> [u8; 64] {
    let mut signature = [domain; 64];
    signature[..32].copy_from_slice(hash);
    signature[32..34].copy_from_slice(&key.to_le_bytes());
    signature[34..36].copy_from_slice(&addressee.to_le_bytes());
    signature
}

impl Authenticator for Notary {
    fn sign_hello(&self, hash: &[u8; 32], peer: u16) -> [u8; 64] {
        note(hash, self.key, peer, 1)
    }
    fn verify_hello(&self, hash: &[u8; 32], signer: u16, addressee: u16, s: &[u8; 64]) -> bool {
        *s == note(hash, signer, addressee, 1)
    }
    fn verify_login(&self, hash: &[u8; 32], key: &[u8; 32], signature: &[u8; 64]) -> bool {
        *signature == note(hash, u16::from(key[0]), self.own, 2)
    }
}

#[derive(Clone, Copy)]
pub(crate) struct ClientNotary {
    pub(crate) key: u8,
    /// What this client signs with; its right key is `key`.
    pub(crate) signs_with: u8,
}

impl ClientAuthenticator for ClientNotary {
    fn key(&self) -> [u8; 32] {
        [self.key; 32]
    }
    fn sign_login(&self, hash: &[u8; 32], validator: u16) -> [u8; 64] {
        note(hash, u16::from(self.signs_with), validator, 2)
    }
    fn verify_hello(&self, hash: &[u8; 32], signer: u16, signature: &[u8; 64]) -> bool {
        *signature == note(hash, signer, CLIENT_ADDRESSEE, 1)
    }
}

pub(crate) fn client(key: u8) -> Arc<ClientNotary> {
    Arc::new(ClientNotary {
        key,
        signs_with: key,
    })
}

/// Everything a net told, in order by kind.
#[derive(Default, Debug)]
pub(crate) struct Seen {
    pub(crate) ups: Vec<(u16, u64)>,
    pub(crate) downs: Vec<(u16, CloseReason)>,
    pub(crate) frames: Vec<(u16, Vec<u8>)>,
    pub(crate) alarms: Vec<(u16, PeerAlarm)>,
    pub(crate) refused: Vec<u16>,
    pub(crate) clients: BTreeMap<ClientId, [u8; 32]>,
    pub(crate) client_downs: Vec<ClientId>,
    pub(crate) client_frames: Vec<(ClientId, Vec<u8>)>,
    /// Peers whose frames are of use together alone.
    pub(crate) awaited: BTreeSet<u16>,
    /// How often the net has slept on for them in vain.
    pub(crate) vain: usize,
}

impl Handler for Seen {
    fn is_reason(&mut self, peer: u16) -> bool {
        self.awaited.remove(&peer);
        self.awaited.is_empty()
    }
    fn waited_in_vain(&mut self) {
        self.vain += 1;
    }
    fn peer_up(&mut self, peer: u16, incarnation: u64) {
        self.ups.push((peer, incarnation));
    }
    fn peer_down(&mut self, peer: u16, reason: CloseReason) {
        self.downs.push((peer, reason));
    }
    fn peer_frame(&mut self, peer: u16, frame: &[u8]) {
        self.frames.push((peer, frame.to_vec()));
    }
    fn client_up(&mut self, client: ClientId, key: [u8; 32]) {
        assert!(
            self.clients.insert(client, key).is_none(),
            "a client id is used once"
        );
    }
    fn client_down(&mut self, client: ClientId) {
        assert!(
            self.clients.remove(&client).is_some(),
            "a client goes down once, after it came up"
        );
        self.client_downs.push(client);
    }
    fn client_frame(&mut self, client: ClientId, frame: &[u8]) {
        assert!(
            self.clients.contains_key(&client),
            "frames come between up and down"
        );
        self.client_frames.push((client, frame.to_vec()));
    }
    fn peer_refused(&mut self, peer: u16, _: CloseReason) {
        self.refused.push(peer);
    }
    fn peer_alarm(&mut self, peer: u16, alarm: PeerAlarm) {
        self.alarms.push((peer, alarm));
    }
}

/// A net and what it told.
pub(crate) struct Validator {
    pub(crate) net: Net,
    pub(crate) seen: Seen,
}

impl Validator {
    pub(crate) fn turn(&mut self) -> usize {
        self.net
            .turn(Instant::now(), Some(Duration::ZERO), &mut self.seen)
            .unwrap()
    }

    pub(crate) fn peer_address(&self) -> String {
        self.net.peer_address().unwrap().to_string()
    }

    pub(crate) fn client_address(&self) -> String {
        self.net.client_address().unwrap().to_string()
    }

    pub(crate) fn closed(&self, reason: CloseReason) -> u64 {
        self.net.counters().closed_by(reason)
    }
}

pub(crate) fn config(index: u16) -> NetConfig {
    NetConfig {
        index,
        incarnation: 1,
        chain: CHAIN,
        peer_listen: "127.0.0.1:0".to_owned(),
        client_listen: Some("127.0.0.1:0".to_owned()),
        peers: Vec::new(),
        limits: Limits::default(),
        jitter_seed: 7,
    }
}

pub(crate) fn bind(config: NetConfig) -> Validator {
    let notary = Notary {
        own: config.index,
        key: config.index,
    };
    bind_as(config, notary)
}

pub(crate) fn bind_as(config: NetConfig, notary: Notary) -> Validator {
    Validator {
        net: Net::bind(config, Arc::new(notary)).unwrap(),
        seen: Seen::default(),
    }
}

/// Tells every net of all others, so that all dial all.
pub(crate) fn introduce(validators: &mut [Validator], indices: &[u16]) {
    let addresses: Vec<_> = indices
        .iter()
        .zip(validators.iter())
        .map(|(i, v)| (*i, v.peer_address()))
        .collect();
    for (own, validator) in indices.iter().zip(validators) {
        let peers: Vec<_> = addresses
            .iter()
            .filter(|(index, _)| index != own)
            .cloned()
            .collect();
        validator.net.set_peers(&peers).unwrap();
    }
}

/// Nets with the given indices that dial one another.
pub(crate) fn mesh(indices: &[u16]) -> Vec<Validator> {
    let mut validators: Vec<_> = indices.iter().map(|index| bind(config(*index))).collect();
    introduce(&mut validators, indices);
    validators
}

/// Turns everything until `done` holds.
pub(crate) fn turn_until(
    what: &str,
    validators: &mut [Validator],
    mut done: impl FnMut(&mut [Validator]) -> bool,
) {
    let deadline = Instant::now() + DEADLINE;
    while !done(validators) {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        let mut work = 0;
        for validator in validators.iter_mut() {
            validator.net.flush();
            work += validator.turn();
        }
        if work == 0 {
            std::thread::yield_now();
        }
    }
}

pub(crate) fn all_up(validators: &[Validator]) -> bool {
    let count = validators.len();
    validators
        .iter()
        .all(|v| (0..64).filter(|peer| v.net.is_up(*peer)).count() == count - 1)
}

/// Connections to peers that are open now.
pub(crate) fn connections(validator: &Validator) -> u64 {
    validator.net.counters().peer_connections_now
}

/// Client links and what they told.
pub(crate) struct Clients {
    pub(crate) links: ClientLinks,
    pub(crate) told: Told,
}

#[derive(Default, Debug)]
pub(crate) struct Told {
    pub(crate) ups: Vec<(LinkId, u16)>,
    pub(crate) downs: Vec<(LinkId, CloseReason)>,
    pub(crate) frames: Vec<(LinkId, Vec<u8>)>,
}

impl LinkHandler for Told {
    fn link_up(&mut self, link: LinkId, validator: u16, _incarnation: u64) {
        self.ups.push((link, validator));
    }
    fn link_down(&mut self, link: LinkId, reason: CloseReason) {
        self.downs.push((link, reason));
    }
    fn link_frame(&mut self, link: LinkId, frame: &[u8]) {
        self.frames.push((link, frame.to_vec()));
    }
}

impl Clients {
    pub(crate) fn new() -> Self {
        Self {
            links: ClientLinks::new(Limits::default()).unwrap(),
            told: Told::default(),
        }
    }

    pub(crate) fn connect(&mut self, address: &str, authenticator: Arc<ClientNotary>) -> LinkId {
        self.links
            .connect(Instant::now(), address, CHAIN, authenticator)
            .unwrap()
    }

    pub(crate) fn turn(&mut self) -> usize {
        self.links.flush();
        self.links
            .turn(Instant::now(), Some(Duration::ZERO), &mut self.told)
            .unwrap()
    }
}
