//! The message path's stage: sockets, peers' frames inward, clients' requests, frames outward.
//!
//! Owns the net loop, the table of clients and the replies in the making. What comes in is handed
//! to an [`Inward`], which is the replica itself on a shared thread and a queue on a dedicated
//! one. Never: decodes a peer's message, counts a vote, or waits for anything but the sockets.

use super::clients::ClientTable;
use super::clock::{Clock, wall_ns};
use super::dedicated::leader_of;
use super::door::{Door, Room};
use super::forgeries::{Forged, Forgeries};
use super::private::PrivateStage;
use super::public::{Outlet, PublicStage};
use super::questions::{Questions, Wait};
use super::refusals::Refusals;
use super::stamping::Stamping;
use crate::client_wire::{self, ClientFrame, Refusal, VerdictsWriter};
use crate::config::RateConfig;
use crate::executor::PrivateAnswer;
use crate::lanes::{CommandVerdict, Rejection, Verdict};
use crate::metrics::Metrics;
use crate::replica::{FrameClass, Frames};
use crate::results::BlockResults;
use crate::roots::ROOT_HEIGHTS;
use crate::state_machine::SessionId;
use crate::trace::Trace;
use quorate_consensus::effect::Destination;
use quorate_consensus::payload::{checked_entries, session_of_key};
use quorate_consensus::types::ValidatorIndex;
use quorate_net::{
    Class, ClientId, CloseReason, Handler, Net, NetError, Parts, PeerAlarm, SendError,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When to ask for the public stream again that found no room, microseconds.
const PUBLIC_RETRY_US: u32 = 10_000;
/// The same of a question whose answer would not have been read.
pub(crate) const QUESTION_RETRY_US: u32 = 1_000;
/// Memory for replies that is kept from turn to turn, bytes.
const REPLY_BYTES_KEPT: usize = 1024 * 1024;

/// To whom what comes in is handed. Called during a turn, on its thread.
pub(crate) trait Inward {
    /// A peer's connection came up.
    fn peer_up(&mut self, peer: ValidatorIndex);
    /// A peer's connection was lost.
    fn peer_down(&mut self, peer: ValidatorIndex);
    /// A peer's frame. False when it is at fault: its connection is dropped.
    fn peer_frame(&mut self, peer: ValidatorIndex, frame: &[u8]) -> bool;
    /// Whether what has come from a peer is a reason to end the sleep ([`Handler::is_reason`]).
    fn is_reason(&mut self, _peer: ValidatorIndex) -> bool {
        true
    }
    /// See [`Handler::waited_in_vain`].
    fn waited_in_vain(&mut self) {}
    /// Whether there is room for more commands of clients.
    fn room(&mut self) -> Room;
    /// Whether a question of this client would be answered soon.
    fn has_room_for_question(&mut self, client: ClientId) -> bool;
    /// A client's request, decoded. Answers go into `replies`, now or later.
    fn request(&mut self, from: Caller, request: ClientFrame<'_>, replies: &mut Replies);
}

/// A logged-in client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) client: ClientId,
    pub(crate) session: SessionId,
    /// The key with which it has logged in.
    pub(crate) key: [u8; 32],
}

/// Frames for clients, in one reused buffer.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    bytes: Vec<u8>,
    entries: Vec<(ClientId, usize)>,
}

impl Replies {
    /// Adds what `write` appends.
    pub(crate) fn push(&mut self, client: ClientId, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.entries.push((client, self.bytes.len()));
    }

    /// Bytes that have not gone out.
    const fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds the verdicts on one submission.
    pub(crate) fn push_verdicts(
        &mut self,
        client: ClientId,
        leader: Option<ValidatorIndex>,
        verdicts: &[CommandVerdict],
    ) {
        self.push(client, |bytes| {
            let mut writer = VerdictsWriter::new(leader, bytes);
            for verdict in verdicts {
                writer.push(verdict.seq, verdict.verdict);
            }
            writer.finish();
        });
    }

    /// Adds the answer about a private stream, unless it comes from disk.
    pub(crate) fn push_private(
        &mut self,
        client: ClientId,
        leader: Option<ValidatorIndex>,
        id: u64,
        answer: PrivateAnswer,
    ) {
        match answer {
            PrivateAnswer::Frame(frame) => {
                self.push(client, |bytes| bytes.extend_from_slice(&frame));
            }
            PrivateAnswer::Busy => self.push(client, |bytes| {
                client_wire::encode_busy(leader, id, QUESTION_RETRY_US, bytes);
            }),
            PrivateAnswer::Later => {}
        }
    }

    fn drain(&mut self, mut send: impl FnMut(ClientId, &[u8])) {
        let mut start = 0;
        for (client, end) in self.entries.drain(..) {
            send(client, self.bytes.get(start..end).unwrap_or_default());
            start = end;
        }
        self.bytes.clear();
        // What one turn with long answers took is not kept for good.
        self.bytes.shrink_to(REPLY_BYTES_KEPT);
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct WireStage {
    net: Net,
    clients: ClientTable,
    door: Door,
    /// When the door's time began.
    began: Instant,
    replies: Replies,
    public: PublicStage,
    private: PrivateStage,
    stamping: Stamping,
    leader: Option<ValidatorIndex>,
    clock: Clock,
    metrics: Arc<Metrics>,
    held: Vec<(ClientId, u64)>,
    faulty_peers: Vec<u16>,
    faulty_clients: Vec<ClientId>,
    peers_up: u64,
    refusals: Refusals,
    questions: Questions,
    forgeries: Forgeries,
    trace: Trace,
}

impl WireStage {
    pub(crate) fn new(
        net: Net,
        rates: &RateConfig,
        metrics: &Arc<Metrics>,
        trace: Trace,
        (clock, public): (Clock, PublicStage),
    ) -> Self {
        Self {
            net,
            clients: ClientTable::default(),
            door: Door::new(rates),
            began: Instant::now(),
            held: Vec::new(),
            replies: Replies::default(),
            public,
            private: PrivateStage::default(),
            stamping: Stamping::default(),
            leader: None,
            clock,
            metrics: Arc::clone(metrics),
            faulty_peers: Vec::new(),
            faulty_clients: Vec::new(),
            peers_up: 0,
            refusals: Refusals::default(),
            questions: Questions::default(),
            forgeries: Forgeries::default(),
            trace,
        }
    }

    /// Tells what of private streams comes from disk.
    pub(crate) fn with_private(mut self, private: PrivateStage) -> Self {
        self.private = private;
        self
    }

    /// Blocks are taken from here on: see [`PrivateStage::note_due`].
    pub(crate) fn note_due(&mut self) {
        self.private.note_due();
    }

    /// How long a turn looks for what comes soon before it sleeps.
    pub(crate) const fn set_linger(&mut self, linger: Duration) {
        self.net.set_linger(linger);
    }

    pub(crate) const fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Waits at most `timeout` for the sockets and hands inward what they have.
    ///
    /// # Errors
    /// The event queue failed.
    pub(crate) fn turn(
        &mut self,
        now: Instant,
        timeout: Duration,
        inward: &mut impl Inward,
    ) -> Result<usize, NetError> {
        let mut taking = Taking {
            inward,
            clients: &mut self.clients,
            door: &mut self.door,
            began: self.began,
            now_ns: None,
            verdicts: Vec::new(),
            held: &mut self.held,
            replies: &mut self.replies,
            public: &mut self.public,
            metrics: &self.metrics,
            faulty_peers: &mut self.faulty_peers,
            faulty_clients: &mut self.faulty_clients,
            peers_up: &mut self.peers_up,
            refusals: &mut self.refusals,
            questions: &mut self.questions,
        };
        let timeout = if taking.public.is_unfinished() || self.private.is_unfinished() {
            Duration::ZERO
        } else {
            timeout
        };
        let work = self.net.turn(now, Some(timeout), &mut taking)?;
        self.metrics.peers_connected.set(self.peers_up);
        while let Some(peer) = self.faulty_peers.pop() {
            self.net.drop_peer(peer, CloseReason::ProtocolFault);
        }
        for (client, hold_ns) in self.held.drain(..) {
            let until = Instant::now() + Duration::from_nanos(hold_ns);
            self.net.hold_client(client, until);
        }
        while let Some(client) = self.faulty_clients.pop() {
            self.net.close_client(client, CloseReason::ProtocolFault);
        }
        Ok(work)
    }

    /// Queues frames for peers.
    pub(crate) fn send_frames(&mut self, frames: &Frames) {
        for frame in frames.iter() {
            let class = class_of(frame.class);
            let parts = Parts {
                head: frame.head,
                body: frame.body,
                tail: frame.tail,
            };
            let sent = match frame.to {
                Destination::All => self.net.broadcast_parts(parts, class).map(|_| ()),
                Destination::Peer(peer) => self.net.send_peer_parts(peer.number(), parts, class),
            };
            match sent {
                // The protocol tells it again; what was dropped is counted by the queue.
                Ok(()) | Err(SendError::NotConnected | SendError::Full) => {}
                Err(error) => tracing::error!(%error, "a frame for a peer cannot be sent"),
            }
        }
    }

    /// Frames for clients, to be filled in between turns.
    pub(crate) const fn replies(&mut self) -> &mut Replies {
        &mut self.replies
    }

    /// Tells everybody here what came of a block.
    pub(crate) fn send_block(&mut self, leader: Option<ValidatorIndex>, results: &BlockResults) {
        let net = &mut self.net;
        self.clients
            .send_block(leader, results, &mut |client, frame: &[u8]| {
                send_client(net, client, frame)
            });
        self.public.publish(results);
        self.stamping.note(results);
        self.leader = leader;
    }

    /// Hands the table of clients out, with a way to send.
    pub(crate) fn with_clients(
        &mut self,
        act: impl FnOnce(&mut ClientTable, &mut dyn FnMut(ClientId, &[u8])),
    ) {
        let net = &mut self.net;
        act(&mut self.clients, &mut |client, frame| {
            send_client(net, client, frame)
        });
    }

    /// A client has sent what its key has not signed: it is told so, and cut off.
    pub(crate) fn cut_off(
        &mut self,
        client: ClientId,
        leader: Option<ValidatorIndex>,
        verdicts: &[CommandVerdict],
    ) {
        if let Some(forged) = self.forgeries.note(Instant::now(), verdicts.len()) {
            let Forged {
                submissions,
                commands,
            } = forged;
            tracing::warn!(
                submissions,
                commands,
                "commands of clients are not signed by them"
            );
        }
        self.metrics
            .client_signatures_bad
            .add(verdicts.len() as u64);
        count_verdicts(&self.metrics, verdicts);
        self.replies.push_verdicts(client, leader, verdicts);
        self.flush();
        self.net.close_client(client, CloseReason::ProtocolFault);
    }

    /// Tells every client that this validator answers nobody any more.
    pub(crate) fn stop_serving(&mut self) {
        self.public.clear();
        self.private.clear();
        for client in self.clients.clients() {
            refuse(client, 0, &mut self.replies);
        }
    }

    /// A peer was found at fault later.
    pub(crate) fn drop_peer(&mut self, peer: ValidatorIndex) {
        self.metrics.peer_faults.add(1);
        self.net
            .drop_peer(peer.number(), CloseReason::ProtocolFault);
    }

    /// Writes everything that is queued, as far as the sockets take it: once a turn. Peers come
    /// first: a vote waits for nothing that is made for clients.
    pub(crate) fn flush(&mut self) {
        self.trace.flushed();
        self.net.flush_peers();
        let net = &mut self.net;
        for client in self.clients.take_opened() {
            net.keep_client(client);
        }
        self.replies
            .drain(|client, frame| send_client(net, client, frame));
        self.public.pump(self.leader, &mut Sockets(net));
        self.private.pump(self.leader, &mut Sockets(net));
        self.net.flush();
        let now = || (self.clock.mono_ns(), wall_ns());
        self.stamping.stamp(&self.metrics, now);
    }

    /// Sends what one peer is to have before the others; false when it is not there.
    pub(crate) fn flush_first(&mut self, peer: ValidatorIndex) -> bool {
        self.trace.flushed();
        self.net.flush_peer(peer.number())
    }

    /// Bytes that wait for a client; none when it is gone.
    pub(crate) fn waiting(&self, client: ClientId) -> Option<usize> {
        self.net.client_waiting(client)
    }

    pub(crate) fn copy_metrics(&self) {
        self.metrics.copy_net(self.net.counters());
        let (metrics, public) = (&self.metrics, &self.public);
        metrics
            .public_subscriptions
            .set(public.subscriptions_len() as u64);
        metrics.public_cuts.set(public.cuts());
        metrics.public_oldest.set(public.oldest().height);
    }
}

/// The sockets as the public stream sees them.
struct Sockets<'n>(&'n mut Net);

impl Outlet for Sockets<'_> {
    fn waiting(&self, client: ClientId) -> Option<usize> {
        self.0.client_waiting(client)
    }

    fn is_crowded(&self) -> bool {
        self.0.clients_are_crowded()
    }

    fn send(&mut self, client: ClientId, frame: &[u8]) {
        send_client(self.0, client, frame);
    }
}

fn send_client(net: &mut Net, client: ClientId, frame: &[u8]) {
    match net.send_client(client, frame) {
        // It is gone, or it is being cut off for not reading; both are counted.
        Ok(()) | Err(SendError::NotConnected | SendError::SlowReader | SendError::Full) => {}
        Err(error) => tracing::error!(%error, "a frame for a client cannot be sent"),
    }
}

const fn class_of(class: FrameClass) -> Class {
    match class {
        FrameClass::Vote => Class::Vote,
        FrameClass::Certificate => Class::Certificate,
        FrameClass::Proposal => Class::Proposal,
        FrameClass::Bulk => Class::Bulk,
    }
}

/// Whether the answer is made from the state, or a promise to change it. What a validator says of
/// itself, its status and its root, is what an operator needs then.
const fn is_of_state(request: &ClientFrame<'_>) -> bool {
    match request {
        ClientFrame::Submit { .. }
        | ClientFrame::Query { .. }
        | ClientFrame::SessionAsk { .. }
        | ClientFrame::PrivateAsk { .. }
        | ClientFrame::Public { .. } => true,
        ClientFrame::StatusAsk { .. } | ClientFrame::RootAsk { .. } => false,
    }
}

/// Answers that nothing is answered here.
fn refuse_request(client: ClientId, request: &ClientFrame<'_>, replies: &mut Replies) {
    match request {
        ClientFrame::Submit { commands, .. } => replies.push(client, |bytes| {
            let mut writer = VerdictsWriter::new(None, bytes);
            for command in commands.clone() {
                writer.push(command.seq, Verdict::Rejected(Rejection::Diverged));
            }
            writer.finish();
        }),
        ClientFrame::Query { id, .. }
        | ClientFrame::SessionAsk { id }
        | ClientFrame::PrivateAsk { id, .. }
        | ClientFrame::Public { id, .. }
        | ClientFrame::StatusAsk { id }
        | ClientFrame::RootAsk { id } => refuse(client, *id, replies),
    }
}

fn refuse(client: ClientId, id: u64, replies: &mut Replies) {
    replies.push(client, |bytes| {
        client_wire::encode_refused(None, id, Refusal::Diverged, bytes);
    });
}

/// Counts verdicts.
pub(crate) fn count_verdicts(metrics: &Metrics, verdicts: &[CommandVerdict]) {
    let (mut accepted, mut busy) = (0, 0);
    for verdict in verdicts {
        match verdict.verdict {
            Verdict::Accepted => accepted += 1,
            Verdict::Busy { .. } => busy += 1,
            Verdict::Rejected(rejection) => metrics.count_rejection(rejection),
        }
    }
    // A number has one writer. With dedicated threads that is the order stage; what the net thread
    // cuts a client off for is rejections alone, of a reason that the order stage does not find.
    if accepted > 0 {
        metrics.commands_accepted.add(accepted);
    }
    if busy > 0 {
        metrics.commands_busy.add(busy);
    }
}

/// The callbacks of one turn.
struct Taking<'t, I> {
    inward: &'t mut I,
    clients: &'t mut ClientTable,
    door: &'t mut Door,
    began: Instant,
    /// Read when the first request comes in: the turn may have slept before.
    now_ns: Option<u64>,
    verdicts: Vec<CommandVerdict>,
    held: &'t mut Vec<(ClientId, u64)>,
    replies: &'t mut Replies,
    public: &'t mut PublicStage,
    metrics: &'t Metrics,
    faulty_peers: &'t mut Vec<u16>,
    faulty_clients: &'t mut Vec<ClientId>,
    peers_up: &'t mut u64,
    refusals: &'t mut Refusals,
    questions: &'t mut Questions,
}

impl<I: Inward> Taking<'_, I> {
    /// Whether a question is let through; if not, it has been answered.
    fn admit_question(&mut self, client: ClientId, id: u64, request: &ClientFrame<'_>) -> bool {
        let is_session_ask = matches!(request, ClientFrame::SessionAsk { .. });
        let is_walk = matches!(
            request,
            ClientFrame::PrivateAsk { .. } | ClientFrame::StatusAsk { .. }
        );
        // What is told of a session by a validator that is far behind would let its client number
        // new commands like old ones.
        let heights = (self.metrics.height.read(), self.metrics.height_peers.read());
        let is_far = heights.1 >= heights.0.saturating_add(ROOT_HEIGHTS);
        // After a start nobody knows how far that is before peers have spoken.
        let is_behind = is_session_ask && (is_far || self.metrics.peers_heard.read() == 0);
        // For whom there is no room where it goes has its turn later, as any other.
        let waiting_bytes = match self.inward.has_room_for_question(client) {
            true => self.replies.bytes_len(),
            false => usize::MAX,
        };
        let now_ns = self.now_ns();
        let is_admitted =
            !is_behind && self.questions.admit(now_ns, client, is_walk, waiting_bytes);
        if !is_admitted {
            let Wait { retry_us, hold_ns } = self.questions.refuse(now_ns, client);
            self.held.extend(hold_ns.map(|hold_ns| (client, hold_ns)));
            self.metrics.questions_busy.add(1);
            self.replies.push(client, |bytes| {
                let leader = leader_of(self.metrics);
                client_wire::encode_busy(leader, id, retry_us, bytes);
            });
        }
        is_admitted
    }

    /// Since the door's time began.
    fn now_ns(&mut self) -> u64 {
        let began = self.began;
        let since = || u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        *self.now_ns.get_or_insert_with(since)
    }

    /// What of a client's request goes on; the rest of a submission is answered here.
    fn pass<'f>(&mut self, from: &Caller, request: ClientFrame<'f>) -> Option<ClientFrame<'f>> {
        let (count, entries, commands) = match request {
            ClientFrame::Submit {
                count,
                entries,
                commands,
            } => (count, entries, commands),
            ClientFrame::Query { id, .. }
            | ClientFrame::StatusAsk { id }
            | ClientFrame::RootAsk { id }
            | ClientFrame::PrivateAsk { id, .. }
            | ClientFrame::SessionAsk { id } => {
                let is_admitted = self.admit_question(from.client, id, &request);
                return is_admitted.then_some(request);
            }
            // Answered before it comes here.
            ClientFrame::Public { .. } => return Some(request),
        };
        let now_ns = self.now_ns();
        self.verdicts.clear();
        let (room, verdicts) = (self.inward.room(), &mut self.verdicts);
        let passage = self
            .door
            .judge(now_ns, from.session, commands, &room, verdicts);
        if !verdicts.is_empty() {
            self.metrics.commands_over_rate.add(passage.over_rate);
            self.metrics.commands_turned_away.add(passage.no_room);
            let leader = leader_of(self.metrics);
            self.replies.push_verdicts(from.client, leader, verdicts);
        }
        if let Some(hold_ns) = passage.hold_ns {
            self.held.push((from.client, hold_ns));
        }
        let refused = u32::try_from(verdicts.len()).unwrap_or(u32::MAX);
        let passed = count.saturating_sub(refused);
        let entries = entries.get(..passage.bytes).unwrap_or_default();
        (passed > 0).then(|| ClientFrame::Submit {
            count: passed,
            entries,
            commands: checked_entries(entries),
        })
    }
}

impl<I: Inward> Handler for Taking<'_, I> {
    fn peer_up(&mut self, peer: u16, incarnation: u64) {
        tracing::info!(peer, incarnation, "peer connected");
        *self.peers_up += 1;
        self.inward.peer_up(ValidatorIndex::new(peer));
    }

    fn peer_down(&mut self, peer: u16, reason: CloseReason) {
        tracing::info!(peer, reason = reason.name(), "peer lost");
        *self.peers_up = self.peers_up.saturating_sub(1);
        self.inward.peer_down(ValidatorIndex::new(peer));
    }

    fn peer_frame(&mut self, peer: u16, frame: &[u8]) {
        // What it sent behind its fault was sent by nobody honest; it is dropped after this turn.
        if self.faulty_peers.contains(&peer) {
            return;
        }
        self.refusals.heard(peer);
        if !self.inward.peer_frame(ValidatorIndex::new(peer), frame) {
            self.metrics.peer_faults.add(1);
            self.faulty_peers.push(peer);
        }
    }

    fn is_reason(&mut self, peer: u16) -> bool {
        self.inward.is_reason(ValidatorIndex::new(peer))
    }

    fn waited_in_vain(&mut self) {
        self.inward.waited_in_vain();
    }

    fn client_up(&mut self, client: ClientId, key: [u8; 32]) {
        self.clients
            .add(client, SessionId(session_of_key(&key)), key);
        if !self.metrics.is_serving() {
            refuse(client, 0, self.replies);
        }
    }

    fn client_down(&mut self, client: ClientId) {
        self.clients.remove(client);
        self.public.remove(client);
        self.questions.remove(client);
    }

    fn client_frame(&mut self, client: ClientId, frame: &[u8]) {
        let Some((session, key)) = self.clients.login(client) else {
            return;
        };
        match ClientFrame::decode(frame) {
            Ok(request) if !self.metrics.is_serving() && is_of_state(&request) => {
                refuse_request(client, &request, self.replies);
            }
            Ok(ClientFrame::Public { id, ask }) => {
                if !self.public.take(client, id, ask) {
                    self.replies.push(client, |bytes| {
                        client_wire::encode_busy(None, id, PUBLIC_RETRY_US, bytes);
                    });
                }
            }
            Ok(request) => {
                let caller = Caller {
                    client,
                    session,
                    key,
                };
                if let Some(request) = self.pass(&caller, request) {
                    self.inward.request(caller, request, self.replies);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a client's frame is malformed");
                self.metrics.client_frames_malformed.add(1);
                self.faulty_clients.push(client);
            }
        }
    }

    fn peer_refused(&mut self, peer: u16, _: CloseReason) {
        self.metrics.refused_by_peers.add(1);
        if let Some(lasts) = self.refusals.note(Instant::now(), peer) {
            tracing::error!(
                peer,
                seconds = lasts.as_secs(),
                "a validator refuses this one: it has seen a newer run of this key. Either a second \
                 process runs with it, or this clock was behind at the start: set it, start again"
            );
        }
    }

    fn peer_alarm(&mut self, peer: u16, alarm: PeerAlarm) {
        tracing::error!(peer, ?alarm, "two processes with the key of this peer");
        self.metrics.alarms.add(1);
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod socket_tests;
#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
