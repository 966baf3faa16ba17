//! Two validators' ends of one connection over loopback, as the net crate has it: its handshake,
//! its encryption, its poller.
//!
//! Owns the bringing up of the connection. Never: what is measured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_net::{
    Authenticator, ChainIds, Class, ClientId, CloseReason, Handler, Limits, Net, NetConfig,
};

/// A connection that is not there after so long will not come.
const UP_MAX: Duration = Duration::from_secs(20);
/// Turns of both after that, in which the second of two connections ends.
const TURNS_AFTER: u32 = 1_000;
/// One turn's sleep at most.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// Believes everybody: who is there is not what is measured.
struct Believe;

impl Authenticator for Believe {
    fn sign_hello(&self, _: &[u8; 32], _: u16) -> [u8; 64] {
        [1; 64]
    }

    fn verify_hello(&self, _: &[u8; 32], _: u16, _: u16, _: &[u8; 64]) -> bool {
        true
    }

    fn verify_login(&self, _: &[u8; 32], _: &[u8; 32], _: &[u8; 64]) -> bool {
        false
    }
}

/// What came.
#[derive(Debug, Default)]
struct Seen {
    frames: u64,
    /// When the last frame was handed over, and how long it was.
    last: Option<(Instant, usize)>,
}

impl Handler for Seen {
    fn peer_up(&mut self, _: u16, _: u64) {}

    fn peer_down(&mut self, _: u16, _: CloseReason) {}

    fn peer_frame(&mut self, _: u16, frame: &[u8]) {
        self.frames += 1;
        self.last = Some((Instant::now(), frame.len()));
    }

    fn client_up(&mut self, _: ClientId, _: [u8; 32]) {}

    fn client_down(&mut self, _: ClientId) {}

    fn client_frame(&mut self, _: ClientId, _: &[u8]) {}
}

/// One end.
#[derive(Debug)]
pub(crate) struct End {
    net: Net,
    seen: Seen,
    peer: u16,
}

impl End {
    fn bind(index: u16) -> Self {
        let config = NetConfig {
            index,
            incarnation: 1,
            chain: ChainIds {
                chain_id: [1; 32],
                genesis_hash: [2; 32],
            },
            peer_listen: "127.0.0.1:0".to_owned(),
            client_listen: None,
            peers: Vec::new(),
            limits: Limits::default(),
            jitter_seed: 7,
        };
        Self {
            net: Net::bind(config, Arc::new(Believe)).expect("a port"),
            seen: Seen::default(),
            peer: 1 - index,
        }
    }

    /// A turn that does not sleep.
    pub(crate) fn turn(&mut self) -> usize {
        let turned = self
            .net
            .turn(Instant::now(), Some(Duration::ZERO), &mut self.seen);
        turned.expect("it goes on")
    }

    /// A frame to the other end: encrypted and written.
    pub(crate) fn send(&mut self, frame: &[u8]) {
        let queued = self.net.send_peer(self.peer, frame, Class::Vote);
        queued.expect("it is connected");
        self.net.flush();
    }

    /// Whether a frame has come since this was asked last.
    pub(crate) fn has_come(&mut self) -> bool {
        std::mem::take(&mut self.seen.frames) > 0
    }

    /// Sleeps in the poller until a frame comes; when it did, and how long the frame is.
    pub(crate) fn wait(&mut self) -> (Instant, usize) {
        loop {
            let turned = self
                .net
                .turn(Instant::now(), Some(SLEEP_MAX), &mut self.seen);
            turned.expect("it goes on");
            if let Some(last) = self.seen.last.take() {
                return last;
            }
        }
    }
}

/// Two ends that are connected.
pub(crate) fn pair() -> [End; 2] {
    let mut ends = [End::bind(0), End::bind(1)];
    let addresses = [0, 1].map(|at: usize| {
        let address = ends[at].net.peer_address().expect("it listens");
        address.to_string()
    });
    for (at, end) in ends.iter_mut().enumerate() {
        let peer = (end.peer, addresses[1 - at].clone());
        end.net.set_peers(&[peer]).expect("a peer");
    }
    let deadline = Instant::now() + UP_MAX;
    let mut left = TURNS_AFTER;
    while left > 0 {
        assert!(Instant::now() < deadline, "no connection");
        for end in &mut ends {
            end.net.flush();
            end.turn();
        }
        if ends.iter().all(|end| end.net.is_up(end.peer)) {
            left -= 1;
        }
    }
    for end in &mut ends {
        end.seen = Seen::default();
    }
    ends
}
