//! The adapter of `raft` (the library of TiKV): three nodes that survive crashes, not lies.
//!
//! Owns the loop around the library's state machine, after its own example `five_mem_node`, with
//! TCP instead of channels. Never: signs or encrypts anything, since the system does not.

#![forbid(unsafe_code)]

mod store;

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use peer_kit::{About, Command, Config, Durability, Failure, Gateway, Mesh, Routing};
use protobuf::Message as _;
use raft::prelude::{Entry, EntryType, Message};
use raft::{RawNode, StateRole};

use store::Store;

const ABOUT: About = About {
    system: "raft 0.7.0 (TiKV)",
    nodes: 3,
    faults: "1 of 3 may crash; none may lie",
    routing: Routing::Leader,
    durabilities: &[Durability::Async, Durability::Sync],
    fsync: "none of its own; async: entries in memory; sync: this adapter appends them to a file of \
            zeros and syncs it before it acknowledges, where the library says that it must",
    signatures: "none; links are neither authenticated nor encrypted",
    batching: "an entry a command; entries that wait go together, appends are pipelined",
    cannot: "tolerates no lie; this adapter has no snapshots, no client sessions, no exactly once",
};

/// The library's tick, and ticks until the others are asked for their votes: the example's.
const TICK: Duration = Duration::from_millis(100);
const ELECTION_TICKS: usize = 10;
const HEARTBEAT_TICKS: usize = 3;
/// Bytes of entries in a message.
const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;
/// Messages of entries that a follower may not have answered.
const INFLIGHT_MAX: usize = 256;
/// Bytes of an entry before the command: its number.
const ID_BYTES: usize = 8;

/// What the loop waits for.
enum Event {
    Commands(Vec<Command>),
    Message(Box<Message>),
}

fn main() -> ExitCode {
    peer_kit::main(&ABOUT, run)
}

struct Node {
    node: RawNode<Store>,
    mesh: Mesh,
    gateway: Gateway,
    /// Commands of the load that this node proposed.
    own: HashSet<u64>,
    leader: u64,
}

fn run(config: Config) -> Result<(), Failure> {
    let (events_in, events) = channel();
    let messages = events_in.clone();
    let mesh = Mesh::start(config.index, &config.peers, move |_, bytes| {
        if let Ok(message) = Message::parse_from_bytes(&bytes) {
            // The loop ends with the process.
            messages.send(Event::Message(Box::new(message))).ok();
        }
    })?;
    mesh.wait_until_whole();
    let ids = (1..=config.peers.len() as u64).collect();
    let store = Store::create(ids, &config)?;
    let settings = raft::Config {
        id: config.index as u64 + 1,
        election_tick: ELECTION_TICKS,
        heartbeat_tick: HEARTBEAT_TICKS,
        max_size_per_msg: MESSAGE_BYTES_MAX,
        max_inflight_msgs: INFLIGHT_MAX,
        // Entries that wait are added to the message that waits for its turn.
        batch_append: true,
        check_quorum: true,
        pre_vote: true,
        ..raft::Config::default()
    };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let gateway = Gateway::default();
    let mut node = Node {
        node: RawNode::new(&settings, store, &logger)?,
        mesh,
        gateway: gateway.clone(),
        own: HashSet::new(),
        leader: 0,
    };
    gateway.listen(config.client, move |commands| {
        // The loop ends with the process.
        events_in.send(Event::Commands(commands)).ok();
    })?;
    node.work(&events)
}

impl Node {
    fn work(&mut self, events: &Receiver<Event>) -> Result<(), Failure> {
        let mut tick_at = Instant::now() + TICK;
        loop {
            let wait = tick_at.saturating_duration_since(Instant::now());
            let first = match events.recv_timeout(wait) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            for event in first.into_iter().chain(events.try_iter()) {
                match event {
                    Event::Commands(commands) => self.propose(commands),
                    // What is late or of a former term is refused, as it should be.
                    Event::Message(message) => drop(self.node.step(*message)),
                }
            }
            if Instant::now() >= tick_at {
                self.node.tick();
                tick_at += TICK;
            }
            while self.node.has_ready() {
                self.take_ready()?;
            }
            self.tell_leader();
        }
    }

    fn propose(&mut self, commands: Vec<Command>) {
        let mut refused = Vec::new();
        for command in commands {
            let mut entry = command.id.to_le_bytes().to_vec();
            entry.extend_from_slice(&command.body);
            // A follower would forward it, and then could not say what became of it.
            let leads = self.node.raft.state == StateRole::Leader;
            if leads && self.node.propose(Vec::new(), entry).is_ok() {
                self.own.insert(command.id);
            } else {
                refused.push(command.id);
            }
        }
        self.gateway.refused(&refused);
    }

    /// The library's own order of things: send, apply, store, send what needed that, go on.
    fn take_ready(&mut self) -> Result<(), Failure> {
        let mut ready = self.node.ready();
        self.send(ready.take_messages())?;
        self.apply(ready.take_committed_entries());
        let state = ready.hs().cloned();
        let must_sync = ready.must_sync();
        self.node
            .store()
            .append(ready.entries(), state, must_sync)?;
        self.send(ready.take_persisted_messages())?;
        let mut light = self.node.advance(ready);
        if let Some(commit) = light.commit_index() {
            self.node.store().commit(commit);
        }
        self.send(light.take_messages())?;
        self.apply(light.take_committed_entries());
        self.node.advance_apply();
        self.node.store().compact(self.node.raft.raft_log.applied)
    }

    fn send(&self, messages: Vec<Message>) -> Result<(), Failure> {
        for message in messages {
            let node = usize::try_from(message.to)?.saturating_sub(1);
            self.mesh.send(node, &message.write_to_bytes()?);
        }
        Ok(())
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        let mut done = Vec::new();
        for entry in entries {
            let is_command = entry.get_entry_type() == EntryType::EntryNormal;
            if let Some(id) = entry.data.first_chunk::<ID_BYTES>().filter(|_| is_command) {
                let id = u64::from_le_bytes(*id);
                if self.own.remove(&id) {
                    done.push(id);
                }
            }
        }
        self.gateway.finalized(&done);
    }

    fn tell_leader(&mut self) {
        let leader = self.node.raft.leader_id;
        if leader != self.leader && leader > 0 {
            self.gateway.leads(leader as u16 - 1);
        }
        self.leader = leader;
    }
}
