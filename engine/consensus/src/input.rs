//! Everything the consensus can be told. A closed list.

use crate::attestation::StateStatement;
use crate::certificate::SignatureBytes;
use crate::effect::Destination;
use crate::message::{BlockRef, Message, OwnAnswer, SnapshotPart};
use crate::record::OwnRecord;
use crate::record::Record;
use crate::trust::{Authenticated, Durable, Lease};
use crate::types::{BlockId, Height, ValidatorIndex, Window};
use crate::verify::{Claim, Verified};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// One event.
#[derive(Debug)]
pub enum Input {
    /// A peer's message, decoded, from its own channel.
    Message(Authenticated<Message>),
    /// A peer's authenticated connection came up.
    PeerUp(ValidatorIndex),
    /// A peer's connection was lost.
    PeerDown(ValidatorIndex),
    /// When the oldest waiting command came, by the monotonic clock; none waits when absent.
    Waiting {
        /// Monotonic time of its arrival here.
        oldest_ns: Option<u64>,
    },
    /// A final block of this window has commands that their clients have not signed: its leader,
    /// which is to check what it proposes, has not. Whoever executes it knows.
    Forged(Window),
    /// Whether execution is behind: so much is final here and not executed that this validator is
    /// to add nothing to it (2.9). Whoever says so takes it back by itself.
    Behind(bool),
    /// A payload to propose now. Only in answer to `Consensus::proposal_room`.
    Payload(Arc<[u8]>),
    /// The journal holds an own record (R11).
    RecordDurable(Durable<OwnRecord>),
    /// The lease file holds a new lease (R11).
    LeaseDurable(Durable<Lease>),
    /// The journal holds an own answer to a validator that lost its disk (R11).
    AnswerDurable(Durable<OwnAnswer>),
    /// Such an answer has been signed.
    AnswerSigned {
        /// The answer as it was signed.
        answer: OwnAnswer,
        /// The signature.
        signature: SignatureBytes,
    },
    /// An own record has been signed.
    RecordSigned {
        /// Its window.
        window: Window,
        /// The record as it was signed.
        record: Record,
        /// The signature.
        signature: SignatureBytes,
    },
    /// Something about snapshots is to be said, by whoever keeps them.
    Say {
        /// To whom.
        to: Destination,
        /// What.
        part: SnapshotPart,
    },
    /// Whole blocks are wanted of a peer by whoever repairs the log. What comes is for that one
    /// alone. Bound: `BODIES_PER_REQUEST_MAX`; what is beyond is not asked for.
    Ask {
        /// Of whom.
        of: ValidatorIndex,
        /// Which.
        blocks: Vec<BlockRef>,
    },
    /// The own state after a block (5.6); to be signed and told.
    State(StateStatement),
    /// Answer to `Effect::SignState`.
    StateSigned {
        /// What was signed.
        statement: StateStatement,
        /// The signature.
        signature: SignatureBytes,
    },
    /// The last own header has been signed.
    HeaderSigned {
        /// Name of the block.
        id: BlockId,
        /// The signature.
        signature: SignatureBytes,
    },
    /// Every signature of a claim is good.
    Verified {
        /// The peer whose channel brought it.
        from: ValidatorIndex,
        /// The claim.
        claim: Verified<Claim>,
    },
    /// Some signature of a claim from this peer is bad, or the claim does not prove what it says.
    Refused {
        /// Who sent it.
        from: ValidatorIndex,
        /// Whether it was the peer's own record on its own channel.
        own_record: bool,
    },
    /// A finality proof of this height, and every body up to it, is synced to disk.
    Flushed(Height),
    /// The operator wants the validator to stop: the current window is stopped, nothing is
    /// proposed any more.
    Shutdown,
    /// All that was waiting has been handed over, and what the others wait for comes before the
    /// rest: R3 is judged, and R4 for what goes along with a first vote, but no other rule and no
    /// timer; and own records that are durable are said (R11). May be left out:
    /// [`Settle`](Self::Settle) follows in any case, and judges these again.
    Hasten,
    /// End of one turn of the loop: all that was waiting has been handed over. Rules are judged
    /// and timers fire here, and but for those two only here.
    Settle,
}
