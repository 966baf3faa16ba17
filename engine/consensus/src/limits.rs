//! Every bound of the consensus, in one place. Never a bound written anywhere else.

/// Validators in a set.
pub const VALIDATORS_MAX: usize = 240;
/// Bytes of one command's body.
pub const COMMAND_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one block's payload.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// Commands in one block.
pub const BLOCK_COMMANDS_MAX: usize = 16_384;
/// Bytes of one frame between validators, after authentication.
pub const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Slots of a window by default.
pub const WINDOW_SLOTS_DEFAULT: u32 = 4096;
/// Slots of a window at most.
pub const WINDOW_SLOTS_MAX: u32 = 65_536;
/// Windows a turn by default.
pub const TURN_WINDOWS_DEFAULT: u32 = 4;
/// Windows a turn at most.
pub const TURN_WINDOWS_MAX: u32 = 16;
/// Blocks in flight ahead of the highest notarized index.
pub const PIPELINE_BLOCKS: u32 = 64;
/// Bytes of payloads in flight above the highest notarized index: what a peer's queue and the wire
/// hold without a queue growing in front of votes.
pub const PIPELINE_BYTES: u64 = 4 * 1024 * 1024;
/// Seats of the leader table at most.
pub const SCHEDULE_SEATS_MAX: usize = 1024;
/// Entries of a record's `also` list: one for each certifiable branch. Each branch has first votes
/// of weight AMP, and each validator votes on one, so there are at most N / AMP, and no more than
/// validators; a set in which both are larger is refused.
pub const ALSO_ENTRIES_MAX: usize = 64;
/// Windows above the current one for which records are taken without proof.
pub const WINDOWS_AHEAD_MAX: u64 = 2;
/// Windows kept at once, from the one of the signed finality upward, beyond which certificates of
/// windows not in range are refused. Windows that are entered are kept whatever their number:
/// weight Q moved there, and to refuse them would be to halt.
pub const WINDOWS_LIVE_MAX: usize = 256;
/// Windows without finality after which a leader opens its own with an empty block when nothing
/// waits: state is dropped below a proven block only, and turns end also when idle.
pub const WINDOWS_IDLE_MAX: u64 = 32;
/// Headers in one answer.
pub const HEADERS_PER_ANSWER_MAX: usize = 1024;
/// Bodies asked for in one request.
pub const BODIES_PER_REQUEST_MAX: usize = 64;
/// Blocks held for one position from its leader's own channel: the second proves equivocation.
pub const BLOCKS_PER_POSITION_MAX: u8 = 2;
/// Claims of one peer whose signatures are being checked at once.
pub const CHECKS_PER_PEER_MAX: u32 = 64;
/// Bad signatures of records of one peer that are looked at in one T_sig before the rest of that
/// time brings no further check, and how many are looked at at once of a peer that had one.
pub const BAD_RECORDS_PER_PERIOD_MAX: u32 = 4;
/// Bytes of these claims, but for the only one: what a few full frames bring.
pub const CHECKS_BYTES_PER_PEER_MAX: usize = 4 * FRAME_BYTES_MAX;
/// Requests for headers and certificates, and questions of the fence, that one peer is answered in
/// one T_retx.
pub const ANSWERS_PER_PERIOD_MAX: u32 = 16;
/// Evidence told against one validator in one run: more would prove nothing more.
pub const EVIDENCE_PER_VALIDATOR_MAX: u32 = 8;
/// Certificates carried by one message.
pub const CERTIFICATES_PER_MESSAGE_MAX: usize = 32;
/// Bytes of all of them beyond which a message carries fewer, and one in any case: what a frame has
/// left beside a full payload.
pub const CERTIFICATES_BYTES_MAX: usize = FRAME_BYTES_MAX - PAYLOAD_BYTES_MAX - 16 * 1024;
/// Certificates that prove ParentReady of one window in an answer of R13: a block and the skip
/// above it.
pub const RECOVER_CERTIFICATES_MAX: usize = 2;
/// Headers one certificate may carry: a chain from its block to each record's tip.
pub const CERTIFICATE_HEADERS_MAX: usize = 8192;
/// Headers of all certificates that are kept of one window.
pub const CERTIFICATES_KEPT_HEADERS_MAX: usize = 4 * CERTIFICATE_HEADERS_MAX;
/// Signed records kept of one voter and window below its newest one, for certificates that could
/// not hold the headers up to that.
pub const SIGNED_EARLIER_MAX: usize = 8;
/// Headers of finalized history held while a gap is closed.
pub const BACKFILL_HEADERS_MAX: usize = 16_384;
/// Final blocks that wait for what is missing below them; more of them are asked for again when
/// these are delivered. A validator that is behind asks twice for what became final while it could
/// hold no more, so they are as many as memory allows.
pub const UNDELIVERED_BLOCKS_MAX: usize = 65_536;
/// Records of the asker in one answer about what is held of it (R12).
pub const HELD_RECORDS_MAX: usize = 16;
/// Entries of the ParentReady summary in a Status.
pub const READY_SUMMARY_MAX: usize = 8;
/// Clients' commands in one forwarded message.
pub const FORWARD_BYTES_MAX: usize = PAYLOAD_BYTES_MAX;
/// Abscissas of one block's commands, 32 bytes each.
pub const ABSCISSAS_BYTES_MAX: usize = 32 * BLOCK_COMMANDS_MAX;
/// A state root is attested after every block whose height is a multiple of this.
pub const STATE_HEIGHTS: u64 = 64;
/// A peer is told the newest own statements again after so long, nanoseconds: one that found no
/// room on its way is lost, and on an idle chain none follows it.
pub const STATE_REPEAT_NS: u64 = 10_000_000_000;
/// Sections of an attested state.
pub const STATE_SECTIONS_MAX: usize = 32;
/// Attested roots kept of each validator.
pub const ATTESTED_ROOTS_MAX: usize = 32;
/// Attested roots of snapshots kept of each validator.
pub const ATTESTED_SNAPSHOTS_MAX: usize = 4;
/// States of its own of which a validator keeps a hash, for snapshots that its second instance
/// takes of them: the last 1,048,576 heights, 1 MiB.
pub const OWN_DIGESTS_MAX: usize = 16_384;
/// And of those at which its snapshots are taken: 4,096 configured intervals, which are 64 of the
/// longest ones that its node takes when nobody attests them. 256 KiB.
pub const OWN_SNAPSHOT_DIGESTS_MAX: usize = 4_096;
/// Bytes of one chunk of a snapshot.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a snapshot's manifest.
pub const SNAPSHOT_MANIFEST_BYTES_MAX: usize = 1024 * 1024 + 8 * 1024;
/// Bytes of the events in one answer about older ones: a frame of the public stream that is full,
/// and its last event.
pub const EVENTS_BYTES_MAX: usize = 1024 * 1024 + 512 * 1024;
/// Hashes that tell of all events before a height: one a bit that is set in it.
pub const EVENTS_TOPS_MAX: usize = 64;
/// How far a header may run ahead of this validator's wall clock before it counts as not arrived.
pub const TIME_AHEAD_MAX_NS: u64 = 500_000_000;

/// Bytes a header takes on the wire.
pub const HEADER_BYTES: usize = 2 + 2 + 32 + 8 + 32 + 8 + 4 + 8 + 8 + 32 + 32 + 4;

// A frame has room for a full payload with its header and an inline justification.
const _: () = assert!(PAYLOAD_BYTES_MAX * 2 <= FRAME_BYTES_MAX);
/// Bytes of a signed record on the wire, at most: who, tip, stop, fin, skipfb, also, signature.
const SIGNED_RECORD_BYTES_MAX: usize = 2 + 37 + 1 + 5 + 5 + (4 + 36 * ALSO_ENTRIES_MAX) + 64;
// A certificate's headers fit a frame with its records, and the message around it.
const _: () = assert!(
    CERTIFICATE_HEADERS_MAX * HEADER_BYTES + VALIDATORS_MAX * SIGNED_RECORD_BYTES_MAX
        <= FRAME_BYTES_MAX - 16 * 1024
);
// A manifest fits a frame with its certificate.
const _: () = assert!(SNAPSHOT_MANIFEST_BYTES_MAX + 64 * 1024 <= FRAME_BYTES_MAX);
// So does an answer of events with what tells of all before.
const _: () = assert!(EVENTS_BYTES_MAX + EVENTS_TOPS_MAX * 32 + 1024 <= FRAME_BYTES_MAX);
// One answer of headers fits a frame.
const _: () = assert!(HEADERS_PER_ANSWER_MAX * HEADER_BYTES <= FRAME_BYTES_MAX / 4);
// An idle system has its next finality long before certificates are refused.
const _: () = assert!(WINDOWS_IDLE_MAX as usize * 4 <= WINDOWS_LIVE_MAX);
// History below what is held never makes that go.
const _: () = assert!(2 * BACKFILL_HEADERS_MAX <= UNDELIVERED_BLOCKS_MAX);
// A full pipeline of one window fits the window arithmetic.
const _: () = assert!(PIPELINE_BLOCKS <= WINDOW_SLOTS_MAX);
const _: () = assert!(TURN_WINDOWS_DEFAULT <= TURN_WINDOWS_MAX);
const _: () = assert!(COMMAND_BYTES_MAX < PAYLOAD_BYTES_MAX);
const _: () = assert!(VALIDATORS_MAX <= u16::MAX as usize);
