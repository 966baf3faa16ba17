//! The queues between dedicated threads, and the one gate that bounds them.
//!
//! Owns what travels between stages. The stages form cycles (order asks the journal, the journal
//! answers order), in which bounded queues could wait for one another for ever. So the queues
//! themselves take everything, and the bound stands at the only source of load: the net thread
//! takes nothing more from sockets while any queue holds [`GATE_ITEMS`], or bytes beyond
//! [`STAGE_BYTES_MAX`] wait for one stage ([`StageBytes`]). What one turn of the net takes in is
//! bounded by its limits, so memory is bounded by the gate and one such turn. Clients' commands
//! have a bound of their own ([`Backlog`]), and are refused beyond it; so have the messages of one
//! peer that can be sent again ([`PeerBacklog`]). Of blocks that wait for a slow application
//! ([`AppBacklog`]) a validator votes for no more long before (protocol.md 2.9).
//! Never: looks at what it carries.

use crate::executor::FinalBlock;
use crate::journal::{JournalOp, Journaled, SyncDone, SyncError};
use crate::lanes::CommandVerdict;
use crate::private::PrivateRange;
use crate::replica::{CheckedForward, Event, FULL_BYTES, Frames};
use crate::results::{BlockResults, CommandResult, Correction};
use crate::stages::answers::{Answer, AnswerRoom};
use crate::stages::door::Room;
use crate::stages::inlet::Control;
use crate::stages::wire::Caller;
use crate::state_machine::SessionId;
use crate::status::NodeStatus;
use crossbeam::channel::Sender;
use quorate_consensus::attestation::Divergence;
use quorate_consensus::input::Input;
use quorate_consensus::message::Message;
use quorate_consensus::payload::{Commands, checked_entries};
use quorate_consensus::trust::Authenticated;
use quorate_consensus::types::ValidatorIndex;
use quorate_net::{ClientId, Waker};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Items in any queue from which on nothing more is taken from sockets.
pub(crate) const GATE_ITEMS: usize = 8192;

/// For the order thread.
#[derive(Debug)]
pub(crate) enum ToOrder {
    /// A peer's connection came up.
    PeerUp(ValidatorIndex),
    /// A peer's connection was lost.
    PeerDown(ValidatorIndex),
    /// A peer's message, decoded.
    Message(Box<WaitingMessage>),
    /// A client's commands, decoded; in a chain of signed commands their signatures are good.
    Submit(Caller, Submitted),
    /// What a peer forwarded, once its signatures are checked.
    Forwarded(CheckedForward),
    /// Blocks are executed up to this height, and how what came of the last one differs from what
    /// the pool took it for: sessions, and places of refused commands.
    Settled(u64, Vec<Correction>, Vec<u32>),
    /// What the journal has done.
    Journaled(Vec<Journaled>),
    /// Answers of the verify worker.
    Inputs(Vec<Input>),
    /// When the application's earliest timer is due.
    TimerNext(Option<u64>),
    /// A status is wanted.
    Status(StatusReply),
    /// Commands of the embedding process wait.
    Poke,
    /// Stop, at latest after so many nanoseconds.
    Shutdown(u64),
}

/// For the net thread. Whoever sends wakes it.
#[derive(Debug)]
pub(crate) enum ToNet {
    /// Frames for peers.
    Frames(Frames),
    /// What happened.
    Events(Vec<Event>),
    /// Verdicts on a submission.
    Verdicts(ClientId, Vec<CommandVerdict>),
    /// A client has sent commands that its key has not signed: their verdicts, then the end.
    Forged(ClientId, Vec<CommandVerdict>),
    /// An encoded frame for a client.
    Reply(ClientId, Vec<u8>),
    /// The same, which may be long.
    Answer(ClientId, Answer),
    /// There was no room for the answer to a question: its client, and its id.
    Busy(ClientId, u64),
    /// What came of a block.
    Block(Box<BlockResults>),
    /// What had come of commands that were submitted again.
    Repeats(Vec<CommandResult>),
    /// Nothing more comes of the other threads, which have ended well: what was told before it is
    /// the last that goes out.
    End,
}

/// For the journal thread.
#[derive(Debug)]
pub(crate) enum ToJournal {
    /// Things to log, in order.
    Append(WaitingOps),
    /// A blocking call has returned.
    Done(Result<SyncDone, SyncError>),
    /// Nothing more comes.
    End,
}

/// For the app thread.
#[derive(Debug)]
pub(crate) enum ToApp {
    /// A block to execute.
    Execute(Box<WaitingBlock>),
    /// Commands that are final already and were submitted again.
    Repeats(Vec<(SessionId, u64)>),
    /// A client's question.
    Query(Caller, u64, Box<[u8]>, AnswerRoom),
    /// A client wants the state root.
    Root(ClientId, u64),
    /// A client wants the number of its session's last applied command.
    Session(Caller, u64),
    /// A client wants a stretch of its session's private stream.
    Private(ClientId, u64, PrivateRange, AnswerRoom),
    /// A status that lacks the state root.
    Status(Box<NodeStatus>, StatusReply),
    /// A question of the embedding process.
    Control(Control),
    /// The state differs: what is to be kept of it is the app thread's.
    Diverged(Box<Divergence>),
    /// Nothing more comes.
    End,
}

/// Who wants a status.
#[derive(Debug)]
pub(crate) enum StatusReply {
    /// The embedding process.
    Embedder(Sender<NodeStatus>),
    /// A client, with its id of the question.
    Client(ClientId, u64),
}

/// The way to the net thread.
#[derive(Clone, Debug)]
pub(crate) struct NetSender {
    sender: Sender<ToNet>,
    waker: Waker,
}

impl NetSender {
    pub(crate) const fn new(sender: Sender<ToNet>, waker: Waker) -> Self {
        Self { sender, waker }
    }

    /// Sends and wakes. Once the net thread is gone there is nobody to tell.
    pub(crate) fn send(&self, item: ToNet) {
        if self.sender.send(item).is_ok() {
            self.waker.wake();
        }
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }
}

/// Whether the queues behind the net thread are short enough to take more in.
pub(crate) struct Gate {
    depths: Vec<Box<dyn Fn() -> usize + Send>>,
}

impl Gate {
    pub(crate) fn new(depths: Vec<Box<dyn Fn() -> usize + Send>>) -> Self {
        Self { depths }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.depths.iter().all(|depth| depth() < GATE_ITEMS)
    }
}

/// Bytes of clients' commands between the net thread and the pool at most; a frame more. Orders
/// leave the last eighth, and prices and administration half of it to cancels.
pub(crate) const BACKLOG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// When to try again after that was full, microseconds.
const BACKLOG_RETRY_US: u32 = 20_000;
/// What the shortest submission counts for, bytes: it takes an item of a queue and a turn of
/// whoever is behind it, however short it is. The backlog so is full long before the gate closes,
/// which keeps votes out too, and not by what one turn of the net thread brings.
const SUBMISSION_BYTES_MIN: usize = 1_040;

const _: () = assert!(BACKLOG_BYTES_MAX / SUBMISSION_BYTES_MIN < GATE_ITEMS / 2);

/// Counts the bytes of clients' commands on their way to the pool: items alone would bound them by
/// the longest frame times their number. A short submission counts for more than its bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backlog(Arc<AtomicUsize>);

impl Backlog {
    /// Takes entries on that came off a socket then, and were checked as they were decoded; they
    /// count until they are dropped.
    pub(crate) fn take(&self, entries: &[u8], received_ns: u64) -> Submitted {
        self.0.fetch_add(weight(entries), Ordering::Relaxed);
        Submitted {
            entries: entries.into(),
            received_ns,
            backlog: self.clone(),
        }
    }

    /// Which commands find no room in it.
    pub(crate) fn room(&self) -> Room {
        let bytes = self.0.load(Ordering::Relaxed);
        let hold_beyond = |max| (bytes >= max).then_some(BACKLOG_RETRY_US);
        Room {
            cancels_hold_us: hold_beyond(BACKLOG_BYTES_MAX),
            urgent_hold_us: hold_beyond(BACKLOG_BYTES_MAX - BACKLOG_BYTES_MAX / 16),
            orders_hold_us: hold_beyond(BACKLOG_BYTES_MAX - BACKLOG_BYTES_MAX / 8),
        }
    }
}

/// A client's commands on their way to the pool.
#[derive(Debug)]
pub(crate) struct Submitted {
    entries: Box<[u8]>,
    /// When their frame came off the socket, by the monotonic clock.
    pub(crate) received_ns: u64,
    backlog: Backlog,
}

impl Submitted {
    /// The commands: nobody checks their entries again.
    pub(crate) fn commands(&self) -> Commands<'_> {
        checked_entries(&self.entries)
    }
}

impl std::ops::Deref for Submitted {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.entries
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        let Backlog(bytes) = &self.backlog;
        bytes.fetch_sub(weight(&self.entries), Ordering::Relaxed);
    }
}

/// Bytes on their way to one stage, from which on nothing more is taken from sockets: by their
/// number alone messages could be as many times the longest one.
const STAGE_BYTES_MAX: usize = FULL_BYTES;
/// What the shortest thing to log, or message, counts for besides its bytes: what holds it.
pub(crate) const ITEM_BYTES: usize = 512;

/// Counts bytes on their way to one stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct StageBytes(Arc<AtomicUsize>);

impl StageBytes {
    /// Takes bytes on; they count until what is given back is dropped.
    pub(crate) fn take(&self, bytes: usize) -> Counted {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Counted {
            bytes,
            of: self.clone(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether nothing is counted, nor will be by anybody else.
    pub(crate) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// How many items of a queue these bytes count for at the gate.
    pub(crate) fn depth(&self) -> usize {
        self.bytes() / (STAGE_BYTES_MAX / GATE_ITEMS)
    }
}

/// Bytes that count until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    bytes: usize,
    of: StageBytes,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes of one peer's messages that wait for the order stage, beyond which what it forwards and
/// blocks that it sends again are dropped: they are sent again, and one peer alone must not close
/// the gate, which keeps votes out. Twice what an honest one has ready to send.
pub(crate) const PEER_BYTES_MAX: usize = 32 * 1024 * 1024;

const _: () = assert!(2 * PEER_BYTES_MAX <= STAGE_BYTES_MAX);

/// Counts peers' messages on their way to the order stage: all of them, and each peer's.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerBacklog {
    all: StageBytes,
    peers: Vec<StageBytes>,
}

impl PeerBacklog {
    pub(crate) fn new(peers: usize) -> Self {
        Self {
            all: StageBytes::default(),
            peers: (0..peers).map(|_| StageBytes::default()).collect(),
        }
    }

    /// Takes a message on, that came as so many bytes; none when this peer has too much waiting
    /// for such a one.
    pub(crate) fn take(
        &self,
        message: Authenticated<Message>,
        frame_bytes: usize,
    ) -> Option<WaitingMessage> {
        let peer = self.peers.get(message.from().place())?;
        let can_go = matches!(
            message.get(),
            Message::Forward(_) | Message::Block { .. } | Message::Abscissas { .. }
        );
        if can_go && peer.bytes() >= PEER_BYTES_MAX {
            return None;
        }
        let bytes = frame_bytes + ITEM_BYTES;
        let _counted = [self.all.take(bytes), peer.take(bytes)];
        Some(WaitingMessage { message, _counted })
    }

    /// How many items of a queue these bytes count for at the gate.
    pub(crate) fn depth(&self) -> usize {
        self.all.depth()
    }
}

/// A peer's message on its way to the order stage.
#[derive(Debug)]
pub(crate) struct WaitingMessage {
    message: Authenticated<Message>,
    _counted: [Counted; 2],
}

impl WaitingMessage {
    /// It has arrived.
    pub(crate) fn into_message(self) -> Authenticated<Message> {
        self.message
    }
}

/// Things to log on their way to the journal.
#[derive(Debug)]
pub(crate) struct WaitingOps {
    ops: Vec<JournalOp>,
    counted: Counted,
}

impl WaitingOps {
    pub(crate) fn new(ops: Vec<JournalOp>, backlog: &StageBytes) -> Self {
        let bytes = ops.iter().map(|op| ITEM_BYTES + op.payload_bytes()).sum();
        Self {
            ops,
            counted: backlog.take(bytes),
        }
    }

    /// The things, and what is to be dropped when they are logged.
    pub(crate) fn into_parts(self) -> (Vec<JournalOp>, Counted) {
        (self.ops, self.counted)
    }
}

/// Counts the payloads of final blocks on their way to the application.
#[derive(Clone, Debug, Default)]
pub(crate) struct AppBacklog(StageBytes);

impl AppBacklog {
    /// Takes a block on; it counts until it is dropped.
    pub(crate) fn take(&self, block: FinalBlock) -> WaitingBlock {
        let _counted = self.0.take(block.payload.len());
        WaitingBlock { block, _counted }
    }

    /// How many items of a queue these bytes count for at the gate.
    pub(crate) fn depth(&self) -> usize {
        self.0.depth()
    }
}

/// Tells the gate whether so much waits for room on a full disk that nothing more is to be taken
/// from sockets: it waits in the journal, whose queue is empty then.
#[derive(Clone, Debug, Default)]
pub(crate) struct DiskBacklog(Arc<AtomicBool>);

impl DiskBacklog {
    pub(crate) fn set_crowded(&self, is_crowded: bool) {
        self.0.store(is_crowded, Ordering::Relaxed);
    }

    /// How many items of a queue it counts for at the gate.
    pub(crate) fn depth(&self) -> usize {
        usize::from(self.0.load(Ordering::Relaxed)) * GATE_ITEMS
    }
}

/// A final block on its way to the application.
#[derive(Debug)]
pub(crate) struct WaitingBlock {
    block: FinalBlock,
    _counted: Counted,
}

impl std::ops::Deref for WaitingBlock {
    type Target = FinalBlock;

    fn deref(&self) -> &FinalBlock {
        &self.block
    }
}

fn weight(entries: &[u8]) -> usize {
    entries.len().max(SUBMISSION_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{final_block, sample_genesis};
    use crossbeam::channel::unbounded;
    use quorate_consensus::types::BlockId;

    #[test]
    fn the_backlog_is_bounded_in_bytes_and_cancels_have_the_last_of_it() {
        let backlog = Backlog::default();
        let frame = vec![0; 128 * 1024];
        let mut taken = Vec::new();
        while backlog.room().orders_hold_us.is_none() {
            taken.push(backlog.take(&frame, 0));
        }
        assert!(backlog.room().urgent_hold_us.is_none());
        while backlog.room().urgent_hold_us.is_none() {
            taken.push(backlog.take(&frame, 0));
        }
        assert!(backlog.room().cancels_hold_us.is_none());
        while backlog.room().cancels_hold_us.is_none() {
            taken.push(backlog.take(&frame, 0));
        }
        let bytes = taken.len() * frame.len();
        assert!(bytes <= BACKLOG_BYTES_MAX + frame.len(), "{bytes}");
        taken.clear();
        assert_eq!(backlog.room(), Room::default());
    }

    #[test]
    fn submissions_however_short_fill_the_backlog_long_before_the_gate_closes() {
        let backlog = Backlog::default();
        let mut taken = Vec::new();
        while backlog.room().cancels_hold_us.is_none() && taken.len() < GATE_ITEMS {
            taken.push(backlog.take(&[0; 96], 0));
        }
        assert!(taken.len() < GATE_ITEMS / 2, "{}", taken.len());
        taken.clear();
        assert_eq!(backlog.room(), Room::default());
    }

    /// An application that stands still leaves no more behind than this, whatever blocks hold.
    #[test]
    fn what_waits_for_the_application_closes_the_gate_by_its_bytes() {
        let backlog = AppBacklog::default();
        let counted = backlog.clone();
        let gate = Gate::new(vec![Box::new(move || counted.depth())]);
        let (genesis, _) = sample_genesis(4);
        let parent = BlockId::new([0; 32]);
        let block = final_block(genesis.validator_set(), 1, parent, &[]);
        let payload: Arc<[u8]> = vec![0; 1 << 20].into();
        let mut waiting = Vec::new();
        while gate.is_open() && waiting.len() < GATE_ITEMS {
            waiting.push(backlog.take(FinalBlock {
                payload: Arc::clone(&payload),
                ..block.clone()
            }));
        }
        assert_eq!(waiting.len() * payload.len(), STAGE_BYTES_MAX);
        waiting.pop();
        assert!(gate.is_open());
    }

    fn gate_of(depth: impl Fn() -> usize + Send + 'static) -> Gate {
        Gate::new(vec![Box::new(depth)])
    }

    /// A peer's message that forwards a megabyte of commands.
    fn forward(of: u16, payload: &Arc<[u8]>) -> Authenticated<Message> {
        let message = Message::Forward(Arc::clone(payload));
        Authenticated::assert_authenticated(ValidatorIndex::new(of), message)
    }

    /// An order stage that stands still: of one peer no more waits than this, which keeps nobody
    /// else out; of all together no more than that, and one turn of the net thread.
    #[test]
    fn what_waits_for_the_order_stage_is_bounded_in_bytes_for_a_peer_and_for_all() {
        let backlog = PeerBacklog::new(100);
        let counted = backlog.clone();
        let gate = gate_of(move || counted.depth());
        let payload: Arc<[u8]> = vec![0; 1 << 20].into();
        let mut waiting = Vec::new();
        for _ in 0..GATE_ITEMS / 2 {
            waiting.extend(backlog.take(forward(7, &payload), payload.len()));
        }
        assert!(gate.is_open(), "one peer closes it for nobody");
        let bytes = waiting.len() * payload.len();
        assert!(bytes <= PEER_BYTES_MAX && bytes > PEER_BYTES_MAX - 2 * payload.len());
        // What is not sent again is never dropped.
        let ask = Message::FenceAsk { incarnation: 1 };
        let ask = Authenticated::assert_authenticated(ValidatorIndex::new(7), ask);
        waiting.extend(backlog.take(ask, 20));
        assert_eq!(waiting.len(), bytes / payload.len() + 1);
        for peer in (0..100).cycle() {
            if !gate.is_open() || waiting.len() >= GATE_ITEMS {
                break;
            }
            waiting.extend(backlog.take(forward(peer, &payload), payload.len()));
        }
        let bytes = waiting.len() * payload.len();
        assert!(bytes <= STAGE_BYTES_MAX + payload.len(), "{bytes}");
        assert!(!gate.is_open());
        waiting.clear();
        assert!(gate.is_open() && backlog.take(forward(7, &payload), 1).is_some());
    }

    /// A journal that stands still, as where the disk hangs.
    #[test]
    fn what_waits_for_the_journal_closes_the_gate_by_its_bytes() {
        let backlog = StageBytes::default();
        let counted = backlog.clone();
        let gate = gate_of(move || counted.depth());
        let (genesis, _) = sample_genesis(4);
        let block = final_block(genesis.validator_set(), 1, BlockId::new([0; 32]), &[]);
        let payload: Arc<[u8]> = vec![0; 1 << 20].into();
        let mut waiting = Vec::new();
        while gate.is_open() && waiting.len() < GATE_ITEMS {
            let op = JournalOp::Block {
                id: block.id,
                header: block.header,
                payload: Arc::clone(&payload),
            };
            waiting.push(WaitingOps::new(vec![op], &backlog));
        }
        let bytes = waiting.len() * payload.len();
        assert!(bytes <= STAGE_BYTES_MAX && bytes > STAGE_BYTES_MAX - 2 * payload.len());
        // They count until they are logged.
        let (ops, counted) = waiting.pop().unwrap().into_parts();
        drop(ops);
        assert!(!gate.is_open());
        drop(counted);
        assert!(gate.is_open());
        // What has no payload counts as well: one item of the queue may hold any number.
        waiting.clear();
        let many = vec![JournalOp::Forget(Default::default()); STAGE_BYTES_MAX / ITEM_BYTES];
        let _many = WaitingOps::new(many, &backlog);
        assert!(!gate.is_open());
    }

    #[test]
    fn the_gate_closes_on_any_full_queue_and_opens_when_it_has_drained() {
        let (short, _keep) = unbounded::<u8>();
        let (long, drain) = unbounded::<u8>();
        let filled = long.clone();
        let gate = Gate::new(vec![
            Box::new(move || short.len()),
            Box::new(move || long.len()),
        ]);
        assert!(gate.is_open());
        (0..GATE_ITEMS).for_each(|_| filled.send(0).unwrap());
        assert!(!gate.is_open());
        drain.recv().unwrap();
        assert!(gate.is_open());
    }
}
