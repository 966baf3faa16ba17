//! Everything the consensus can ask for. A closed list, in the order in which it is to be done.

use crate::attestation::{Divergence, StateCertificate, StateStatement};
use crate::certificate::Certificate;
use crate::evidence::Evidence;
use crate::header::Header;
use crate::message::{BlockRef, Message, OwnAnswer, SnapshotPart};
use crate::record::{OwnRecord, Record};
use crate::trust::Lease;
use crate::types::{BlockId, Height, Point, ValidatorIndex, Window};
use crate::verify::Claim;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// To whom a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// One peer.
    Peer(ValidatorIndex),
    /// Every other validator.
    All,
}

/// How a block came to be final here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalPath {
    /// First votes of weight FAST for it or a descendant.
    Fast,
    /// Finals of weight Q for it or a descendant.
    Slow,
    /// A verified proof for it or a descendant.
    Proof,
}

/// One thing to do.
#[derive(Debug)]
pub enum Effect {
    /// Append the block to the log. Comes before any record that names it.
    PersistBlock {
        /// Name of the block.
        id: BlockId,
        /// Its header.
        header: Header,
        /// Its payload, checked against the header.
        payload: Arc<[u8]>,
    },
    /// Append the record to the log; answer with `RecordDurable` when it is as durable as
    /// configured.
    PersistRecord(OwnRecord),
    /// Append the finality proof to the log; answer with `Flushed` after a sync.
    PersistProof {
        /// The block proven.
        point: Point,
        /// The proof.
        proof: Certificate,
    },
    /// Replace the lease file; answer with `LeaseDurable`.
    PersistLease(Lease),
    /// Append the answer to the log; answer with `AnswerDurable` when it is as durable as
    /// configured.
    PersistAnswer(OwnAnswer),
    /// Sign an own answer to a validator that lost its disk; answer with `AnswerSigned`.
    SignAnswer(OwnAnswer),
    /// Send a message.
    Send {
        /// To whom.
        to: Destination,
        /// What.
        message: Message,
    },
    /// Sign an own record; answer with `RecordSigned`.
    SignRecord {
        /// Its window.
        window: Window,
        /// The record: durable already.
        record: Record,
    },
    /// Sign an own header; answer with `HeaderSigned`.
    SignHeader {
        /// Name of the block.
        id: BlockId,
        /// The header.
        header: Header,
    },
    /// Sign the own state after a block; answer with `StateSigned`.
    SignState(StateStatement),
    /// Validators of weight AMP have attested the same state: it is true. Once a state, and once
    /// more with the own word when that comes after theirs.
    StateProven(StateCertificate),
    /// Decisive weight attests another state than this validator has (protocol.md 5.6): what it
    /// computes must not be served any more. Votes go on: they do not depend on the state.
    Diverged(Box<Divergence>),
    /// Check the signatures of a claim; answer with `Verified` or `Refused`.
    Verify {
        /// The peer whose channel brought it.
        from: ValidatorIndex,
        /// What to check.
        claim: Claim,
    },
    /// The block is final: deliver it. In height order, each once, its body persisted before.
    Finalized {
        /// Name of the block.
        id: BlockId,
        /// Its header.
        header: Header,
        /// By what.
        path: FinalPath,
    },
    /// Weight 2F+1 has flushed proof and bodies up to this height.
    Durable(Height),
    /// Blocks up to this point are provable to others.
    Proven(Point),
    /// Send the blocks to the peer, those that the log has.
    ServeBodies {
        /// Who asks.
        to: ValidatorIndex,
        /// What.
        blocks: Vec<BlockRef>,
    },
    /// Send headers of finalized history downward from a block, if the log has it.
    ServeHistory {
        /// Who asks.
        to: ValidatorIndex,
        /// The block at the top.
        top: BlockRef,
        /// How many at most.
        count: u32,
    },
    /// Send the lowest stored finality proof at or above a height.
    ServeFinality {
        /// Who asks.
        to: ValidatorIndex,
        /// The height.
        at_least: Height,
    },
    /// A peer says what makes the checks of a block's commands cheaper.
    Abscissas {
        /// Who.
        from: ValidatorIndex,
        /// Of which block.
        block: BlockId,
        /// See [`Message::Abscissas`].
        told: Arc<[u8]>,
    },
    /// Clients' commands from a peer, for the pool; unread.
    Forwarded {
        /// Who forwarded them.
        from: ValidatorIndex,
        /// Entries of a payload.
        commands: Arc<[u8]>,
    },
    /// A peer asks or answers about snapshots; unread, for whoever keeps them.
    Snapshot {
        /// Which peer.
        from: ValidatorIndex,
        /// What it says.
        part: SnapshotPart,
    },
    /// Another window was entered; commands wait for its leader now.
    Entered {
        /// The window.
        window: Window,
        /// Who proposes in it.
        leader: ValidatorIndex,
    },
    /// The current window was stopped by this validator.
    Stopped(Window),
    /// Misbehaviour that a third party can check.
    Evidence(Evidence),
    /// Something an operator must see.
    Alarm(Alarm),
}

/// What an operator must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A peer's own record arrived with a good channel and a bad signature.
    BadSignature(ValidatorIndex),
    /// A peer contradicted itself on its own channel.
    Equivocation(ValidatorIndex),
    /// A leader sent two blocks for one position.
    TwoBlocks(ValidatorIndex),
    /// Weight that includes an honest validator voted for a block that is invalid here: this
    /// build or configuration differs from theirs.
    InvalidBlockSupported(BlockId),
    /// Peers hold records of this validator that its own log does not: the disk is older than
    /// what was sent. No record is made before R13 has found where it may be.
    DiskOlderThanSent(Window),
    /// R13 has found that nothing may be said up to this window; from the next one on this
    /// validator votes again.
    Recovered(Window),
    /// A peer announced a record of this validator that contradicts its log.
    ForeignRecord(ValidatorIndex),
    /// Weight that includes an honest validator attests another state than this validator has, or
    /// its own two instances of the application differ: it is not deterministic, or not theirs.
    StateDiffers {
        /// Height of the block after which it differs.
        height: Height,
        /// The first section that differs, in root order; none when only the snapshot does, or
        /// where nobody knows any more.
        section: Option<u16>,
    },
    /// A snapshot of this height was taken so late that nobody knows any more what the first
    /// instance of the application was there: it is not attested.
    StateUncompared(Height),
}

/// The buffer of effects; reused by the caller.
pub type Effects = Vec<Effect>;
