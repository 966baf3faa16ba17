//! What a replica asks of its surroundings: buffers that are filled in a turn and emptied after.
//!
//! Owns plain data and the encoding of outgoing messages, once for all their receivers. Never:
//! sockets, threads, the disk.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use quorate_consensus::attestation::{Divergence, StateCertificate};
use quorate_consensus::effect::{Alarm, Destination};
use quorate_consensus::evidence::Evidence;
use quorate_consensus::message::{Message, SnapshotPart};
use quorate_consensus::types::{Height, Point, ValidatorIndex, Window};
use quorate_consensus::wire;

use super::jobs::Job;
use crate::journal::SyncJob;
use crate::results::{BlockResults, CommandResult};
use crate::store::LoggedBlock;
use quorate_log::Fault;

/// What a frame is to a queue that has no room for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrameClass {
    /// Records and conditions: superseded by the next one.
    Vote,
    /// Certificates, requests, the fence and recovery: small, and wanted.
    Certificate,
    /// Blocks of the leader, and commands on their way to it.
    Proposal,
    /// Repair, which is asked for again, and what nobody needs.
    Bulk,
}

impl FrameClass {
    /// The class of a message.
    #[must_use]
    pub const fn of(message: &Message) -> Self {
        match message {
            Message::Vote(_) | Message::Status(_) | Message::HeaderSignature { .. } => Self::Vote,
            Message::Certificates(_)
            | Message::Get(_)
            | Message::Headers { .. }
            | Message::FenceAsk { .. }
            | Message::FenceAnswer { .. }
            | Message::Recover { .. }
            | Message::RecoverAnswer(_)
            | Message::Attestation { .. }
            | Message::Snapshot(
                SnapshotPart::Ask | SnapshotPart::Get { .. } | SnapshotPart::GetEvents { .. },
            ) => Self::Certificate,
            Message::Propose(_) | Message::Forward(_) => Self::Proposal,
            Message::Block { .. }
            | Message::History(_)
            | Message::Abscissas { .. }
            | Message::Evidence(_)
            | Message::Snapshot(_) => Self::Bulk,
        }
    }
}

/// Memory for frames that is kept from turn to turn, bytes: some of the longest blocks.
const FRAME_BYTES_KEPT: usize = 4 * 1024 * 1024;
/// Frames whose places are kept so.
const FRAMES_KEPT: usize = 4096;

/// A payload of this length is not copied into its frame, bytes.
const SHARED_BYTES_MIN: usize = 4 * 1024;

/// One frame to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// To whom.
    pub to: Destination,
    /// What it is to a queue.
    pub class: FrameClass,
    /// The encoded message up to its payload; all of it where that is short or there is none.
    pub head: &'a [u8],
    /// The payload.
    pub body: Option<&'a Arc<[u8]>>,
    /// What comes behind the payload.
    pub tail: &'a [u8],
}

impl Frame<'_> {
    /// The encoded message.
    #[must_use]
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match self.body {
            None => Cow::Borrowed(self.head),
            Some(body) => Cow::Owned([self.head, body, self.tail].concat()),
        }
    }
}

/// A frame among [`Frames`].
#[derive(Debug)]
struct Entry {
    to: Destination,
    class: FrameClass,
    /// Where it stands in the buffer.
    range: Range<usize>,
    /// What is not in the buffer, and where it belongs there.
    body: Option<(usize, Arc<[u8]>)>,
}

/// Frames in one reused buffer, but for long payloads, in the order in which they are to be sent.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Frames {
    /// Encodes a message behind those that are there; says how many bytes it takes.
    pub fn push(&mut self, to: Destination, message: &Message) -> usize {
        let start = self.bytes.len();
        let body = wire::encode_around(message, SHARED_BYTES_MIN, &mut self.bytes);
        let body = body.map(|(place, body)| (place, Arc::clone(body)));
        let bytes = self.bytes.len() - start + body.as_ref().map_or(0, |(_, body)| body.len());
        self.entries.push(Entry {
            to,
            class: FrameClass::of(message),
            range: start..self.bytes.len(),
            body,
        });
        bytes
    }

    /// The frames, in order.
    pub fn iter(&self) -> impl Iterator<Item = Frame<'_>> {
        self.entries.iter().map(|entry| {
            let Range { start, end } = entry.range;
            let place = entry.body.as_ref().map_or(end, |(place, _)| *place);
            Frame {
                to: entry.to,
                class: entry.class,
                head: &self.bytes[start..place],
                body: entry.body.as_ref().map(|(_, body)| body),
                tail: &self.bytes[place..end],
            }
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all and keeps the memory, but not what one turn with much to say took.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(FRAME_BYTES_KEPT);
        self.entries.clear();
        self.entries.shrink_to(FRAMES_KEPT);
    }
}

/// Something that happened, for whoever watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Another window was entered; its leader proposes now.
    Entered {
        /// The window.
        window: Window,
        /// Its leader.
        leader: ValidatorIndex,
    },
    /// This validator stopped the window.
    Stopped(Window),
    /// Blocks up to this point are provable to others.
    Proven(Point),
    /// Weight 2F+1 has flushed proof and bodies up to this height.
    Durable(Height),
    /// Validators of weight AMP attest the same state (protocol.md 5.6).
    StateProven(Box<StateCertificate>),
    /// A peer asks or answers about snapshots.
    Snapshot {
        /// Which peer.
        from: ValidatorIndex,
        /// What it says.
        part: SnapshotPart,
    },
    /// A record of the log could not be read for a peer.
    Faulty(Fault),
    /// A block that the repair of the log asked for has come; nothing vouches for it.
    Mended(LoggedBlock),
    /// Decisive weight attests another state than this validator has (protocol.md 5.6).
    Diverged(Box<Divergence>),
    /// Misbehaviour that a third party can check; it is in the log as well.
    Evidence(Box<Evidence>),
    /// Something an operator must see.
    Alarm(Alarm),
    /// A peer sent what nobody honest sends: its connection is to be dropped.
    PeerFault(ValidatorIndex),
}

/// Everything that one turn asks for. Reused: [`clear`](Self::clear) keeps the memory.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Frames for peers.
    pub frames: Frames,
    /// Signatures to make and to check, for a worker ([`run_jobs`](super::run_jobs)).
    pub jobs: Vec<Job>,
    /// Blocking calls, for the sync worker.
    pub sync: Vec<SyncJob>,
    /// What came of the blocks that became final, in height order.
    pub results: Vec<BlockResults>,
    /// What had come of commands that were submitted again.
    pub repeats: Vec<CommandResult>,
    /// What else happened.
    pub events: Vec<Event>,
    spare: Vec<BlockResults>,
}

/// Emptied result buffers kept for the next turn.
const SPARE_RESULTS_MAX: usize = 64;

impl Outbox {
    /// Empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all and keeps the memory.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.jobs.clear();
        self.sync.clear();
        self.repeats.clear();
        self.events.clear();
        for mut results in self.results.drain(..) {
            if self.spare.len() < SPARE_RESULTS_MAX {
                results.clear();
                self.spare.push(results);
            }
        }
    }

    /// Buffers for one more block's results.
    pub(crate) fn spare_results(&mut self) -> BlockResults {
        self.spare.pop().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_consensus::message::{BlockRef, Get};
    use quorate_consensus::types::{BlockId, ValidatorIndex};

    /// What lets others go on leaves before blocks, and is dropped last.
    #[test]
    fn certificates_and_requests_are_no_repair_and_repair_is_nothing_else() {
        let (height, window) = (Height::new(1), Window::new(1));
        let bytes: Arc<[u8]> = Arc::from(*b"p");
        let top = BlockRef {
            height,
            id: BlockId::new([1; 32]),
        };
        let (root, chunk, below) = ([2; 32], 0, height);
        let certificates = [
            Message::Certificates(Vec::new()),
            Message::Get(Get::Bodies(vec![top])),
            Message::Get(Get::History { top, count: 1 }),
            Message::Get(Get::Ready { window }),
            Message::Headers {
                window,
                headers: Vec::new(),
            },
            Message::FenceAsk { incarnation: 1 },
            Message::FenceAnswer {
                incarnation: 1,
                held: Vec::new(),
            },
            Message::Recover { nonce: [3; 32] },
            Message::Snapshot(SnapshotPart::Ask),
            Message::Snapshot(SnapshotPart::Get {
                height,
                root,
                chunk,
            }),
            Message::Snapshot(SnapshotPart::GetEvents { below, from: None }),
        ];
        let bulk = [
            Message::History(Vec::new()),
            Message::Abscissas {
                block: top.id,
                told: Arc::clone(&bytes),
            },
            Message::Snapshot(SnapshotPart::Chunk {
                root,
                chunk,
                bytes: Arc::clone(&bytes),
            }),
            Message::Snapshot(SnapshotPart::Events {
                below,
                stretch: None,
            }),
        ];
        let proposals = [Message::Forward(bytes)];
        for (messages, class) in [
            (&certificates[..], FrameClass::Certificate),
            (&proposals, FrameClass::Proposal),
            (&bulk, FrameClass::Bulk),
        ] {
            for message in messages {
                assert_eq!(FrameClass::of(message), class, "{message:?}");
            }
        }
    }

    #[test]
    fn a_frame_is_the_encoded_message_whether_its_payload_is_shared_or_not() {
        let mut frames = Frames::default();
        for length in [0, 1, SHARED_BYTES_MIN - 1, SHARED_BYTES_MIN, 100_000] {
            frames.clear();
            let payload: Arc<[u8]> = vec![7; length].into();
            let message = Message::Forward(Arc::clone(&payload));
            let before = Message::FenceAsk { incarnation: 1 };
            frames.push(Destination::All, &before);
            let bytes = frames.push(Destination::All, &message);
            let frame = frames.iter().nth(1).expect("both");
            let mut expected = Vec::new();
            wire::encode(&message, &mut expected);
            assert_eq!(*frame.bytes(), *expected);
            assert_eq!(bytes, expected.len(), "what it counts for");
            let is_shared = frame.body.is_some_and(|body| Arc::ptr_eq(body, &payload));
            assert_eq!(is_shared, length >= SHARED_BYTES_MIN, "{length}");
        }
    }

    #[test]
    fn a_turn_with_much_to_say_leaves_no_memory_behind_for_good() {
        let mut frames = Frames::default();
        let message = Message::FenceAsk { incarnation: 1 };
        frames.push(Destination::All, &message);
        let memory = frames.bytes.capacity();
        frames.clear();
        assert_eq!(frames.bytes.capacity(), memory, "that of other turns stays");
        while frames.bytes.len() <= FRAME_BYTES_KEPT {
            frames.push(Destination::Peer(ValidatorIndex::new(1)), &message);
        }
        frames.clear();
        assert!(frames.is_empty());
        assert!(frames.bytes.capacity() <= FRAME_BYTES_KEPT);
        assert!(frames.entries.capacity() <= FRAMES_KEPT);
    }
}
