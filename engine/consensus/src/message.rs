//! What validators say to one another, as plain data. Bytes stand in `wire`, judgement in
//! `machine`.

use crate::attestation::{StateCertificate, StateStatement};
use crate::certificate::{Certificate, SignatureBytes};
use crate::evidence::Evidence;
use crate::header::Header;
use crate::record::Record;
use crate::types::{BlockId, Epoch, Height, Index, Point, ValidatorIndex, Window};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A block on its way from its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propose {
    /// The header.
    pub header: Header,
    /// The payload that the header names.
    pub payload: Arc<[u8]>,
    /// Why the parent may be one, when the receiver may lack it.
    pub justification: Vec<Certificate>,
    /// The leader's own record with this block as its tip, where it was logged first
    /// (`async` durability); in `sync` the record follows the leader's log write as a Vote.
    pub record: Option<Record>,
}

/// A validator's newest record of one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Validator set.
    pub epoch: Epoch,
    /// Window.
    pub window: Window,
    /// The record.
    pub record: Record,
    /// Present when the record was signed.
    pub signature: Option<SignatureBytes>,
}

/// One block to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockRef {
    /// Its height, by which finalized history is found.
    pub height: Height,
    /// Its name.
    pub id: BlockId,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Get {
    /// Headers of the chain of a block in a live window, lowest first, above an index.
    Headers {
        /// Window.
        window: Window,
        /// Place of the block whose chain is wanted.
        index: Index,
        /// Name of that block.
        id: BlockId,
        /// Only headers with a greater index, when given.
        above: Option<Index>,
    },
    /// Whole blocks. Bound: `BODIES_PER_REQUEST_MAX`.
    Bodies(Vec<BlockRef>),
    /// Headers of finalized history, ending at this block, highest first.
    History {
        /// The block at the top.
        top: BlockRef,
        /// How many at most.
        count: u32,
    },
    /// The lowest stored finality proof at or above a height.
    Finality {
        /// The height.
        at_least: Height,
    },
    /// The certificates behind ParentReady of a window.
    Ready {
        /// The window.
        window: Window,
    },
}

/// A validator's condition, sent at intervals; carries its newest record, so it is also the
/// retransmission of votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Validator set.
    pub epoch: Epoch,
    /// Highest finalized block, by own count or proof.
    pub finalized: Point,
    /// Highest block with a signature-verified finality proof.
    pub proven: Point,
    /// Highest window entered.
    pub window: Window,
    /// Newest record of that window; empty while abstaining or recovering.
    pub record: Record,
    /// Lowest window at or above `proven`'s, below `window`, whose successor's ParentReady has no
    /// signed evidence here.
    pub gap: Option<Window>,
    /// Parents of `window` with signed evidence here. Bound: `READY_SUMMARY_MAX`.
    pub ready: Vec<BlockId>,
    /// Highest height whose proof and bodies are flushed to this validator's disk.
    pub flushed: Height,
    /// No record may be made in `window` (after a restart).
    pub abstains: bool,
    /// Not past the fence of R12 yet.
    pub recovering: bool,
    /// No proposal may be made in `window` (after a restart).
    pub no_proposals: bool,
}

/// One record that a peer holds of the asker, for the fence of R12.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRecord {
    /// Its window.
    pub window: Window,
    /// The record.
    pub record: Record,
    /// Its signature, when the holder has one.
    pub signature: Option<SignatureBytes>,
}

/// Random bytes that tie an answer to its question.
pub type Nonce = [u8; 32];

/// Answer to [`Message::Recover`]: nothing that its author has ever said stands above `window`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverAnswer {
    /// The nonce asked with.
    pub nonce: Nonce,
    /// A window that covers all the author's own records and its abstention.
    pub window: Window,
    /// Proof of ParentReady of that window; none for the first one. Bound:
    /// `RECOVER_CERTIFICATES_MAX`.
    pub certificates: Vec<Certificate>,
    /// The author's signature over nonce, asker and window. The certificates prove themselves.
    pub signature: SignatureBytes,
}

/// An own answer to a validator that lost its disk, on its way to the log and to the signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAnswer {
    /// Who asked.
    pub asker: ValidatorIndex,
    /// The nonce asked with.
    pub nonce: Nonce,
    /// The window answered with.
    pub window: Window,
}

/// What validators say of snapshots, and of what lies before them; consensus hands it through
/// unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotPart {
    /// Asks for the newest snapshot that enough validators vouch for.
    Ask,
    /// Answer to it: there is one.
    Offer {
        /// Who vouches for its root.
        certificate: Box<StateCertificate>,
        /// Its manifest. Bound: `SNAPSHOT_MANIFEST_BYTES_MAX`.
        manifest: Arc<[u8]>,
    },
    /// Asks for a chunk of one.
    Get {
        /// Height of the snapshot.
        height: Height,
        /// Its root.
        root: [u8; 32],
        /// Which chunk.
        chunk: u32,
    },
    /// Answer to it.
    Chunk {
        /// Root of the snapshot.
        root: [u8; 32],
        /// Which chunk.
        chunk: u32,
        /// Its bytes; none when the sender has not got it. Bound: `SNAPSHOT_CHUNK_BYTES_MAX`.
        bytes: Arc<[u8]>,
    },
    /// Asks for public events of blocks before a height.
    GetEvents {
        /// They end with the block before this one.
        below: Height,
        /// From this block and event on; from where a stretch begins that the answer chooses, when
        /// absent.
        from: Option<(Height, u32)>,
    },
    /// Answer to it.
    Events {
        /// As asked.
        below: Height,
        /// The first of them; none when the sender has not got them.
        stretch: Option<Box<EventStretch>>,
    },
}

/// Public events of blocks, and what tells of all before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventStretch {
    /// Height of the first block of the stretch.
    pub first: Height,
    /// The tree over the events of all blocks before that. Bound: `EVENTS_TOPS_MAX`.
    pub tops: Vec<[u8; 32]>,
    /// The events, as a frame of the public stream. Bound: `EVENTS_BYTES_MAX`.
    pub frame: Arc<[u8]>,
}

/// Everything one validator says to another. Bound: one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A block from its leader.
    Propose(Propose),
    /// A vote record.
    Vote(Vote),
    /// Certificates. Bound: `CERTIFICATES_PER_MESSAGE_MAX`.
    Certificates(Vec<Certificate>),
    /// A request.
    Get(Get),
    /// Answer to [`Get::Headers`]: lowest first.
    Headers {
        /// Window of all of them.
        window: Window,
        /// The headers. Bound: `HEADERS_PER_ANSWER_MAX`.
        headers: Vec<Header>,
    },
    /// Answer to [`Get::Bodies`], one block each.
    Block {
        /// The header.
        header: Header,
        /// The payload.
        payload: Arc<[u8]>,
    },
    /// Answer to [`Get::History`]: highest first.
    History(Vec<Header>),
    /// The sender's condition.
    Status(Status),
    /// The leader's signature of one header; its hash chain covers those below.
    HeaderSignature {
        /// The header.
        header: Header,
        /// Signature of its canonical bytes.
        signature: SignatureBytes,
    },
    /// Proof of misbehaviour.
    Evidence(Evidence),
    /// Asks for the records of the sender that the receiver holds (R12).
    FenceAsk {
        /// Start number of the asking process; comes back in the answer.
        incarnation: u64,
    },
    /// Answer to [`Message::FenceAsk`]; empty when none is held.
    FenceAnswer {
        /// The number asked with.
        incarnation: u64,
        /// What shows best how far the asker has spoken. Bound: `HELD_RECORDS_MAX`.
        held: Vec<HeldRecord>,
    },
    /// Asks how far the receiver has ever spoken: the sender has lost its disk, or holds an old
    /// one (R13).
    Recover {
        /// Comes back in the answer.
        nonce: Nonce,
    },
    /// Answer to [`Message::Recover`].
    RecoverAnswer(RecoverAnswer),
    /// Clients' commands on their way to the leader, as whole entries of a payload; consensus
    /// hands them through unread.
    Forward(Arc<[u8]>),
    /// What makes the checks of a block's commands cheaper for those who have the block; consensus
    /// hands it through unread.
    Abscissas {
        /// The block.
        block: BlockId,
        /// Of each command, in order, the abscissa of its signature's R; zeros where it is not
        /// known. Nobody believes them.
        told: Arc<[u8]>,
    },
    /// The sender's state after a block, signed (5.6).
    Attestation {
        /// The state.
        statement: StateStatement,
        /// The sender's signature of it.
        signature: SignatureBytes,
    },
    /// About snapshots, for a validator that cannot have the log.
    Snapshot(SnapshotPart),
}
