//! Another system as the target of the open loop, over the protocol of `bench/peers/README.md`.
//!
//! Owns one connection to each node, which is read and written in one poll, and the commands that
//! are not final. A command's time ends when the first node that it was handed to tells that it is
//! final, as Quorate's ends with the result of its gateway. Never: starts a node.

mod frame;
mod link;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::link::{Link, connect, poll_all};
use super::driver::Outcome;
use super::ledger::Counts;
use super::open_loop::{self, LOOK, Target};
use super::source::{LoadPlan, Next, Source};
use super::{LoadError, Recorded};
use crate::slack::Precise;

pub use frame::FrameError;
use frame::Told;

/// Commands that may be without a result at one time, and bytes of these: as many as the one of
/// Quorate's sessions that is at the leader, which takes all of them where commands follow it. With
/// other bounds one system's percentiles would have longer waits in them than another's.
const FLIGHTS_MAX: usize = super::ledger::FLIGHTS_MAX;
const FLIGHT_BYTES_MAX: usize = super::ledger::FLIGHT_BYTES_MAX;
/// Where in a command's number stands which of its cluster's loads it is of.
const LOAD_SHIFT: u32 = 40;
/// How long nodes may take until they listen.
const CONNECT: Duration = Duration::from_secs(30);

/// Which nodes are handed a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routing {
    /// The one that leads, as far as nodes have told.
    Leader,
    /// All; the first that tells that a command is final counts.
    Everyone,
}

/// Where another system is reached.
#[derive(Clone, Debug)]
pub struct Nodes {
    /// The nodes' ports for the load.
    pub addresses: Vec<SocketAddr>,
    /// Which of them are handed a command.
    pub routing: Routing,
    /// Loads that they have had.
    loads: u64,
}

impl Nodes {
    /// The nodes of a new cluster.
    #[must_use]
    pub const fn new(addresses: Vec<SocketAddr>, routing: Routing) -> Self {
        Self {
            addresses,
            routing,
            loads: 0,
        }
    }

    /// The first number of the next load's commands: above all numbers of those before.
    const fn begin_load(&mut self) -> u64 {
        let first = self.loads << LOAD_SHIFT;
        self.loads += 1;
        first
    }
}

struct Flight {
    intended_ns: u64,
    body_bytes: usize,
    /// Kept only where a node may refuse it.
    body: Vec<u8>,
}

struct Peer<'a> {
    routing: Routing,
    links: Vec<Link>,
    leader: Option<usize>,
    flights: BTreeMap<u64, Flight>,
    /// Bytes of the commands that are not final.
    body_bytes: usize,
    /// The bytes of the last command.
    bytes: Vec<u8>,
    next_id: u64,
    /// Refused commands, for the leader.
    again: Vec<u64>,
    counts: Counts,
    recorded: Recorded,
    start: Instant,
    stop: &'a AtomicBool,
}

/// Drives the load to its end, or until `stop` is set. Of the outcome, what only Quorate tells is
/// empty: finality at the gateway, heights, trips.
///
/// # Errors
/// [`LoadError`]: no node listens, or one ends the connection.
pub fn run(plan: &LoadPlan, nodes: &mut Nodes, stop: &AtomicBool) -> Result<Outcome, LoadError> {
    let _precise = Precise::begin();
    let next_id = nodes.begin_load();
    let source = Source::open(plan)?;
    let deadline = Instant::now() + CONNECT;
    let links = nodes.addresses.iter().enumerate();
    let links = links
        .map(|(node, address)| connect(node, *address, deadline))
        .collect::<Result<Vec<_>, _>>()?;
    let mut peer = Peer::new(nodes.routing, links, next_id, stop);
    peer.find_leader(deadline)?;
    let offered = open_loop::run(plan, source, &mut peer, stop, &mut |_| ())?;
    Ok(peer.outcome(offered))
}

/// Whether another command may go out beside `flights`, with `body_bytes` then.
const fn has_room(flights: usize, body_bytes: usize) -> bool {
    flights < FLIGHTS_MAX && body_bytes <= FLIGHT_BYTES_MAX
}

impl<'a> Peer<'a> {
    fn new(routing: Routing, links: Vec<Link>, next_id: u64, stop: &'a AtomicBool) -> Self {
        Self {
            routing,
            links,
            leader: None,
            flights: BTreeMap::new(),
            body_bytes: 0,
            bytes: Vec::new(),
            next_id,
            again: Vec::new(),
            counts: Counts::default(),
            recorded: Recorded::default(),
            start: Instant::now(),
            stop,
        }
    }

    /// Waits until some node has told who leads, where that matters.
    fn find_leader(&mut self, deadline: Instant) -> Result<(), LoadError> {
        while self.routing == Routing::Leader && self.leader.is_none() {
            let now = Instant::now();
            if now >= deadline || self.stop.load(Ordering::Relaxed) {
                return Err(LoadError::NoGateway {
                    waiting: self.links.len(),
                    sessions: self.links.len(),
                    seconds: CONNECT.as_secs(),
                });
            }
            self.turn(now, Some(now + LOOK))?;
        }
        Ok(())
    }

    /// Queues a command for whoever is to have it.
    fn submit(&mut self, id: u64, body: &[u8]) {
        let nodes = self.links.len().max(1);
        match self.routing {
            Routing::Leader => {
                let node = self.leader.unwrap_or(0) % nodes;
                frame::encode_submit(id, body, &mut self.links[node].out);
            }
            Routing::Everyone => {
                // All of them tell: a client that waits for one takes that one's delay for the
                // system's, and its silence for a loss.
                for link in &mut self.links {
                    frame::encode_submit(id, body, &mut link.out);
                }
            }
        }
    }

    fn submit_again(&mut self) {
        for id in std::mem::take(&mut self.again) {
            if let Some(flight) = self.flights.get(&id) {
                let body = flight.body.clone();
                self.counts.resent += 1;
                self.submit(id, &body);
            }
        }
    }

    fn on_told(&mut self, told: Told<'_>, now_ns: u64) {
        match told {
            Told::Final(ids) => {
                for flight in ids.filter_map(|id| self.flights.remove(&id)) {
                    self.body_bytes -= flight.body_bytes;
                    let took_ns = now_ns.saturating_sub(flight.intended_ns);
                    self.recorded.client.record_ns(took_ns);
                    self.recorded.last_result_ns = now_ns;
                    self.counts.finalized += 1;
                }
            }
            Told::Leader(index) => self.leader = Some(usize::from(index)),
            Told::Refused(ids) => {
                let before = self.again.len();
                self.again.extend(ids);
                self.counts.busy += (self.again.len() - before) as u64;
            }
        }
    }

    /// Reads once what a node told. It came when it was read, and not when the first node of a turn
    /// was: Quorate's results count so.
    fn take_in(&mut self, node: usize) -> Result<(), LoadError> {
        let read = self.links[node].read();
        read.map_err(|source| LoadError::Peer { node, source })?;
        let since = self.start.elapsed();
        let now_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let bytes = std::mem::take(&mut self.links[node].pending);
        let mut at = 0;
        let wrong = |source| LoadError::PeerProtocol { node, source };
        while let Some((told, length)) = frame::decode(&bytes[at..]).map_err(wrong)? {
            self.on_told(told, now_ns);
            at += length;
        }
        self.links[node].keep(bytes, at);
        Ok(())
    }

    fn outcome(self, offered: u64) -> Outcome {
        Outcome {
            offered,
            counts: self.counts,
            elapsed_ns: self.recorded.last_result_ns,
            finality: self.recorded.finality,
            client: self.recorded.client,
            height: 0,
            gateways_lost: 0,
            missing: self.flights.len() as u64,
            held: 0,
            reasons: Vec::new(),
            acknowledged: Vec::new(),
            trips: Vec::new(),
            untold: 0,
            waits: Vec::new(),
            start_ns: 0,
            is_interrupted: self.stop.load(Ordering::Relaxed),
        }
    }
}

impl Target for Peer<'_> {
    fn begin(&mut self, start: Instant) {
        self.start = start;
    }

    fn take(&mut self, next: &Next<'_>) -> bool {
        let body_bytes = next.body.len();
        if !has_room(self.flights.len(), self.body_bytes + body_bytes) {
            return false;
        }
        let id = self.next_id;
        self.next_id += 1;
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        next.body.append_to(&mut bytes);
        self.submit(id, &bytes);
        let body = match self.routing {
            Routing::Leader => bytes.clone(),
            Routing::Everyone => Vec::new(),
        };
        self.bytes = bytes;
        let intended_ns = next.offset_ns;
        self.body_bytes += body_bytes;
        let flight = Flight {
            intended_ns,
            body_bytes,
            body,
        };
        self.flights.insert(id, flight);
        self.counts.generated += 1;
        self.counts.accepted += 1;
        true
    }

    fn turn(&mut self, now: Instant, wake: Option<Instant>) -> Result<(), LoadError> {
        self.submit_again();
        for (node, link) in self.links.iter_mut().enumerate() {
            let sent = link.write();
            sent.map_err(|source| LoadError::Peer { node, source })?;
        }
        let wake = wake.map_or(now + LOOK, |wake| wake.min(now + LOOK));
        let ready = poll_all(&self.links, wake.saturating_duration_since(Instant::now()))?;
        for node in ready {
            self.take_in(node)?;
        }
        Ok(())
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn is_answered(&self) -> bool {
        self.flights.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::ledger::Ledger;
    use crate::load::source::Flow;
    use quorate_consensus::payload::Lane;
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener};
    use std::num::NonZeroU64;

    /// A node that tells at once that each command is final, and the numbers that it was given.
    fn node(listener: &TcpListener) -> Vec<u64> {
        let (mut stream, _) = listener.accept().unwrap();
        let mut numbers = Vec::new();
        let mut length = [0; 4];
        while stream.read_exact(&mut length).is_ok() {
            let mut frame = vec![0; u32::from_le_bytes(length) as usize];
            stream.read_exact(&mut frame).unwrap();
            let number = frame[1..9].try_into().unwrap();
            numbers.push(u64::from_le_bytes(number));
            let told = [&9_u32.to_le_bytes()[..], &[3], &number].concat();
            if stream.write_all(&told).is_err() {
                // Another node told the last one, and the load is gone.
                break;
            }
        }
        numbers
    }

    const fn plan(seed: u64) -> LoadPlan {
        LoadPlan {
            flow: Flow::Opaque { size: 16 },
            rate: NonZeroU64::new(20).unwrap(),
            seconds: 1,
            clients: 1,
            seed,
            keeps_acknowledged: false,
            routing: crate::load::Routing::Flow,
            keeps_trips: false,
        }
    }

    #[test]
    fn a_node_that_never_answers_takes_no_command_from_those_that_do() {
        let [speaks, is_mute] =
            [0; 2].map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let addresses = [&speaks, &is_mute].map(|one| one.local_addr().unwrap());
        let mut nodes = Nodes::new(addresses.to_vec(), Routing::Everyone);
        std::thread::scope(|scope| {
            scope.spawn(|| node(&speaks));
            // Nobody accepts: the system has the connection, and takes what is sent.
            let outcome = run(&plan(0), &mut nodes, &AtomicBool::new(false)).unwrap();
            assert_eq!((outcome.counts.finalized, outcome.missing), (20, 0));
        });
    }

    #[test]
    fn of_several_nodes_that_tell_the_first_counts() {
        let listeners = [0; 2].map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let addresses = listeners.each_ref().map(|one| one.local_addr().unwrap());
        let mut nodes = Nodes::new(addresses.to_vec(), Routing::Everyone);
        std::thread::scope(|scope| {
            for listener in &listeners {
                scope.spawn(|| node(listener));
            }
            let outcome = run(&plan(0), &mut nodes, &AtomicBool::new(false)).unwrap();
            assert_eq!((outcome.counts.finalized, outcome.missing), (20, 0));
            assert_eq!(outcome.client.count(), 20);
        });
    }

    #[test]
    fn the_commands_of_a_later_load_have_higher_numbers_whatever_its_seed() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut nodes = Nodes::new(vec![listener.local_addr().unwrap()], Routing::Everyone);
        let mut numbers = Vec::new();
        // As a cluster is warmed up, again, and measured.
        for seed in [0, u64::MAX - 1, 1] {
            let plan = plan(seed);
            let stop = AtomicBool::new(false);
            let told = std::thread::scope(|scope| {
                let node = scope.spawn(|| node(&listener));
                let outcome = run(&plan, &mut nodes, &stop).unwrap();
                assert_eq!((outcome.counts.finalized, outcome.missing), (20, 0));
                node.join().unwrap()
            });
            assert_eq!(told.len(), 20);
            numbers.extend(told);
        }
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    }

    #[test]
    fn what_nodes_tell_in_one_turn_came_when_each_was_read() {
        let listeners = [0; 2].map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let links = listeners.iter().map(|listener| {
            connect(0, listener.local_addr().unwrap(), Instant::now() + CONNECT).unwrap()
        });
        let links = links.collect();
        let stop = AtomicBool::new(false);
        let mut peer = Peer::new(Routing::Everyone, links, 0, &stop);
        let next = Next {
            offset_ns: 0,
            session: 0,
            lane: Lane::Order,
            body: b"x".into(),
        };
        assert!(peer.take(&next) && peer.take(&next));
        let _streams: Vec<_> = (0_u64..)
            .zip(&listeners)
            .map(|(id, listener)| {
                let (mut stream, _) = listener.accept().unwrap();
                let told = [&9_u32.to_le_bytes()[..], &[3], &id.to_le_bytes()].concat();
                stream.write_all(&told).unwrap();
                stream
            })
            .collect();
        while poll_all(&peer.links, LOOK).unwrap().len() < 2 {}
        peer.take_in(0).unwrap();
        let first_ns = peer.recorded.last_result_ns;
        let told = Instant::now();
        while told.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        peer.take_in(1).unwrap();
        assert_eq!(peer.counts.finalized, 2);
        assert!(peer.recorded.last_result_ns >= first_ns + 1_000_000);
    }

    #[test]
    fn a_system_has_as_much_room_as_a_session_of_quorate() {
        for bytes in [1, 512, 4_096] {
            let mut ledger = Ledger::new([0; 32], (1, false));
            let body = vec![0; bytes];
            let mut flights = 0;
            while ledger.has_room(bytes) {
                assert!(
                    has_room(flights, (flights + 1) * bytes),
                    "{flights} of {bytes}"
                );
                ledger.push(0, Lane::Order, &body);
                flights += 1;
            }
            assert!(
                !has_room(flights, (flights + 1) * bytes),
                "{flights} of {bytes}"
            );
        }
    }
}
