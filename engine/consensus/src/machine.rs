//! The one call: `Consensus::handle(now, input, effects)`.
//!
//! Owns the state of one validator and the order in which rules are judged at the end of a turn.
//! Each rule stands in its own file; here an input finds its way to it. Never: time, bytes, I/O.

use crate::attest::Attestations;
use crate::certificate::Certificate;
use crate::delivery::Delivery;
use crate::effect::{Alarm, Destination, Effect, Effects};
use crate::fetch::Fetches;
use crate::header::Header;
use crate::input::Input;
use crate::last_words::LastWords;
use crate::limits;
use crate::message::{Get, Message};
use crate::payload::ParseBuffer;
use crate::propose::Proposals;
use crate::record::OwnRecord;
use crate::recover::Recovery;
use crate::repair::Peer;
use crate::restart::Fence;
use crate::timers::Pace;
pub use crate::timers::TimerConfig;
use crate::trust::Lease;
use crate::types::{BlockId, Height, Now, Point, Stake, ValidatorIndex, Window};
use crate::validators::ValidatorSet;
use crate::window::WindowState;
use crate::windows::{Handing, Linked};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

pub use crate::propose::ProposalRoom;

/// When a record may leave (R11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After the log was synced.
    Sync,
    /// After it was written into the log's mapping; the sync follows.
    Async,
}

/// What a validator is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which validator this is.
    pub own: ValidatorIndex,
    /// The set it belongs to.
    pub set: Arc<ValidatorSet>,
    /// When its records may leave.
    pub durability: Durability,
    /// Its timers; they touch liveness only.
    pub timers: TimerConfig,
    /// Start number of this process, above every earlier one of this key.
    pub incarnation: u64,
    /// Random bytes that no other run of any validator has: nonces of R13 are made of them.
    pub nonce_seed: [u8; 32],
    /// It takes snapshots at multiples of this, 0 when at none: what its state was at those
    /// heights it knows for longer.
    pub snapshot_heights: u64,
}

/// What the log and the lease file say at start, after `restart::plan` (R12).
#[derive(Clone, Debug)]
pub struct Restored {
    /// The lease file's content, durable.
    pub lease: Lease,
    /// Highest block delivered from this log in height order.
    pub finalized: Point,
    /// Its header time.
    pub finalized_time_ns: u64,
    /// Highest block with a signature-verified proof in the log, at or below `finalized`.
    pub proven: Point,
    /// That proof; none for genesis.
    pub proof: Option<Certificate>,
    /// Newest own record of each window at or above `proven`'s.
    pub records: Vec<OwnRecord>,
    /// Logged blocks of windows at or above `proven`'s, in log order.
    pub blocks: Vec<(BlockId, Header)>,
    /// The states that the start executed again, by height, each as
    /// `attestation::sections_digest` has it: what the snapshots of this run are compared with.
    /// Of more than `OWN_DIGESTS_MAX` the highest stay, and those at which snapshots are taken.
    pub states: Vec<(Height, [u8; 32])>,
}

impl Restored {
    /// The state of a validator that has never run.
    #[must_use]
    pub fn fresh(set: &ValidatorSet) -> Self {
        Self {
            lease: Lease::default(),
            finalized: set.genesis(),
            finalized_time_ns: set.genesis_time_ns(),
            proven: set.genesis(),
            proof: None,
            records: Vec::new(),
            blocks: Vec::new(),
            states: Vec::new(),
        }
    }
}

/// What became of an input. A peer's input is never an error of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It was used.
    Applied,
    /// It was expected and is not needed.
    Ignored(Ignored),
    /// Its sender broke a rule.
    Fault(PeerFault),
}

/// Why an input was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It says nothing new.
    Stale,
    /// Its window is below the proven one, or too far above the current one.
    OutOfRange,
    /// It waits for headers.
    Pending,
    /// It belongs to another epoch.
    OtherEpoch,
    /// Nobody asked for it.
    Unasked,
    /// There is no room for it now.
    Full,
    /// This validator may not act there (R11, R12).
    NotAllowed,
}

/// How a peer broke a rule. One variant a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerFault {
    /// A record contradicts an earlier one of the same validator.
    Conflict,
    /// A record contradicts itself.
    Inconsistent,
    /// A block that does not fit its header or the chain's parameters.
    InvalidBlock,
    /// A proposal from a validator that does not lead its window.
    NotLeader,
    /// A second block for one position.
    SecondBlock,
    /// A header that does not fit its parent.
    InvalidHeader,
    /// A certificate that does not prove what it says.
    InvalidCertificate,
    /// A bad signature.
    BadSignature,
    /// A statement about a state that nobody attests.
    InvalidAttestation,
    /// A sender outside the set.
    Unknown,
}

/// What happened, for metrics and the simulator's "sometimes" checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each name is its meaning: how often that happened"
)]
pub struct Counters {
    pub finalized_fast: u64,
    pub finalized_slow: u64,
    pub finalized_proof: u64,
    pub windows_entered: u64,
    pub stops_timer: u64,
    pub stops_predicate: u64,
    pub stops_policy: u64,
    pub stops_slow: u64,
    pub also: u64,
    pub skip_fallbacks: u64,
    pub finals: u64,
    pub proposals: u64,
    pub jumps: u64,
    pub certificates_sent: u64,
    pub certificates_taken: u64,
    pub fetches: u64,
    pub conflicts: u64,
    pub faults: u64,
    pub suspensions: u64,
    pub turns_marked: u64,
    pub recoveries: u64,
    pub behind: u64,
}

/// One validator's consensus.
#[derive(Debug)]
pub struct Consensus {
    pub(crate) config: Config,
    /// Live windows, from the proven one upward. Bound: those entered and `WINDOWS_AHEAD_MAX`
    /// more; `WINDOWS_LIVE_MAX` for those that only a certificate speaks of.
    pub(crate) windows: BTreeMap<Window, WindowState>,
    /// Highest window entered.
    pub(crate) entered: Option<Window>,
    /// Highest finalized block, by own count or proof.
    pub(crate) finalized: Point,
    pub(crate) finalized_time_ns: u64,
    /// Highest block with a verified proof. Invariant: `proven.height <= finalized.height`.
    pub(crate) proven: Point,
    pub(crate) proof: Option<Certificate>,
    /// A proof that is to be logged when its bodies have come, while those of `proof` are behind.
    pub(crate) proof_waiting: Option<(Point, Certificate)>,
    pub(crate) proof_persisted_ns: u64,
    pub(crate) proof_persisted: Height,
    pub(crate) flushed: Height,
    pub(crate) durable: Height,
    pub(crate) delivery: Delivery,
    pub(crate) lease: Lease,
    pub(crate) lease_asked: Option<Window>,
    pub(crate) fence: Fence,
    pub(crate) last_words: LastWords,
    /// Present while R13 has not come to its end.
    pub(crate) recovery: Option<Recovery>,
    /// How often R13 has begun in this run.
    pub(crate) recoveries: u64,
    pub(crate) peers: Vec<Peer>,
    /// See [`Self::peers_height`].
    pub(crate) peers_height: Height,
    /// See [`Self::has_heard_peers`].
    pub(crate) peers_heard: bool,
    pub(crate) pace: Pace,
    pub(crate) proposals: Proposals,
    pub(crate) fetches: Fetches,
    pub(crate) shutdown: bool,
    /// See [`Input::Behind`].
    pub(crate) is_behind: bool,
    /// Honest weight voted for a block that is invalid here: this build differs from theirs, and
    /// makes no statement any more but stops.
    pub(crate) only_stops: bool,
    pub(crate) counters: Counters,
    pub(crate) attestations: Attestations,
    /// Memory of [`Self::select`], empty between calls.
    selected: Vec<Window>,
    /// Memory of the chain that `finalize` walks, empty between calls.
    pub(crate) chain: Vec<Linked>,
    /// Memory of what a window hands to the next one, empty between calls.
    pub(crate) handing: Handing,
    /// The proven and the finalized block for which windows last handed on what they know.
    pub(crate) handed_for: Option<(BlockId, BlockId)>,
    /// What was known when the current window's parents last lacked nothing.
    pub(crate) parents_complete: Option<(Window, u64, BlockId)>,
    /// Memory of checks of payloads.
    pub(crate) parsing: ParseBuffer,
}

impl Consensus {
    /// A validator with what its log and lease say. The effects are the first things to do.
    #[must_use]
    pub fn new(config: Config, mut restored: Restored, now: Now, effects: &mut Effects) -> Self {
        let validators = config.set.len();
        let mut peers = Vec::new();
        peers.resize_with(validators, Peer::default);
        let mut consensus = Self {
            windows: BTreeMap::new(),
            entered: None,
            finalized: restored.finalized,
            finalized_time_ns: restored.finalized_time_ns,
            proven: restored.proven,
            proof: restored.proof.clone(),
            proof_waiting: None,
            proof_persisted_ns: now.mono_ns,
            proof_persisted: restored.proven.height,
            flushed: restored.proven.height,
            durable: Height::ZERO,
            delivery: Delivery::new(restored.finalized),
            lease: restored.lease,
            lease_asked: restored.lease.lease,
            fence: Fence::new(validators),
            last_words: LastWords::new(validators),
            recovery: None,
            recoveries: 0,
            peers,
            peers_height: Height::ZERO,
            peers_heard: false,
            pace: Pace::new(now),
            proposals: Proposals::default(),
            fetches: Fetches::default(),
            shutdown: false,
            is_behind: false,
            only_stops: false,
            counters: Counters::default(),
            attestations: Attestations::restored(
                core::mem::take(&mut restored.states),
                config.snapshot_heights,
            ),
            selected: Vec::new(),
            chain: Vec::new(),
            handing: Handing::default(),
            handed_for: None,
            parents_complete: None,
            parsing: ParseBuffer::default(),
            config,
        };
        consensus.restore(now, restored, effects);
        consensus
    }

    /// Takes one input. Everything to be done about it is appended to `effects`; the rules are
    /// judged when the input is [`Input::Settle`], first votes also when it is [`Input::Hasten`].
    pub fn handle(&mut self, now: Now, input: Input, effects: &mut Effects) -> Disposition {
        match input {
            Input::Message(message) => {
                let (from, message) = message.into_parts();
                let disposition = self.handle_message(now, from, message, effects);
                if let Disposition::Fault(_) = disposition {
                    self.counters.faults = self.counters.faults.saturating_add(1);
                }
                disposition
            }
            Input::PeerUp(peer) => self.handle_peer_up(now, peer, effects),
            Input::PeerDown(peer) => self.handle_peer_down(peer),
            Input::Waiting { oldest_ns } => self.handle_waiting(oldest_ns),
            Input::Forged(window) => self.mark_turn_of(window),
            Input::Behind(is_behind) => self.handle_behind(is_behind),
            Input::Payload(payload) => self.r2_propose(now, payload, effects),
            Input::RecordDurable(record) => self.handle_durable(now, record.into_inner(), effects),
            Input::LeaseDurable(lease) => self.handle_lease(lease.lease(), effects),
            Input::AnswerDurable(answer) => {
                self.handle_answer_durable(answer.into_answer(), effects)
            }
            Input::AnswerSigned { answer, signature } => {
                self.handle_answer_signed(&answer, signature, effects)
            }
            Input::RecordSigned {
                window,
                record,
                signature,
            } => self.handle_signed(now, window, record, signature, effects),
            Input::HeaderSigned { id, signature } => {
                self.handle_header_signed(id, signature, effects)
            }
            Input::Say { to, part } => {
                let message = Message::Snapshot(part);
                effects.push(Effect::Send { to, message });
                Disposition::Applied
            }
            Input::Ask { of, mut blocks } => {
                blocks.truncate(limits::BODIES_PER_REQUEST_MAX);
                let message = Message::Get(Get::Bodies(blocks));
                let to = Destination::Peer(of);
                effects.push(Effect::Send { to, message });
                Disposition::Applied
            }
            Input::State(statement) => self.handle_state(statement, effects),
            Input::StateSigned {
                statement,
                signature,
            } => self.handle_state_signed(statement, signature, effects),
            Input::Verified { from, claim } => {
                let claim = claim.into_inner();
                self.note_checked(from, Some(&claim));
                self.handle_verified(now, from, claim, effects)
            }
            Input::Refused { from, own_record } => {
                self.note_checked(from, None);
                self.handle_refused(now, from, own_record, effects)
            }
            Input::Flushed(height) => self.handle_flushed(height, effects),
            Input::Shutdown => {
                self.shutdown = true;
                Disposition::Applied
            }
            Input::Hasten => self.hasten(now, effects),
            Input::Settle => {
                self.settle(now, effects);
                Disposition::Applied
            }
        }
    }

    fn handle_message(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        message: Message,
        effects: &mut Effects,
    ) -> Disposition {
        if !self.config.set.contains(from) || from == self.config.own {
            return Disposition::Fault(PeerFault::Unknown);
        }
        self.note_heard(now, from);
        match message {
            Message::Propose(propose) => self.handle_propose(from, propose, effects),
            Message::Vote(vote) => self.handle_vote(now, from, vote, effects),
            Message::Certificates(certificates) => {
                self.handle_certificates(from, certificates, effects)
            }
            Message::Get(get) => self.handle_get(now, from, get, effects),
            Message::Headers { window, headers } => {
                self.handle_headers(from, window, &headers, effects)
            }
            Message::Block { header, payload } => self.handle_block(from, header, payload, effects),
            Message::History(headers) => self.handle_history(&headers),
            Message::Status(status) => self.handle_status(now, from, status, effects),
            Message::HeaderSignature { header, signature } => {
                self.handle_header_signature(from, header, signature, effects)
            }
            Message::Evidence(evidence) => self.handle_evidence(from, evidence, effects),
            Message::FenceAsk { incarnation } => {
                self.handle_fence_ask(now, from, incarnation, effects)
            }
            Message::FenceAnswer { incarnation, held } => {
                self.handle_fence_answer(from, incarnation, held, effects)
            }
            Message::Recover { nonce } => self.handle_recover(now, from, nonce, effects),
            Message::RecoverAnswer(answer) => self.handle_recover_answer(from, answer, effects),
            Message::Forward(commands) => {
                effects.push(Effect::Forwarded { from, commands });
                Disposition::Applied
            }
            Message::Abscissas { block, told } => {
                effects.push(Effect::Abscissas { from, block, told });
                Disposition::Applied
            }
            Message::Attestation {
                statement,
                signature,
            } => self.handle_attestation(from, statement, signature, effects),
            Message::Snapshot(part) => {
                effects.push(Effect::Snapshot { from, part });
                Disposition::Applied
            }
        }
    }

    /// Judges every rule until nothing changes, then says what has to be said.
    fn settle(&mut self, now: Now, effects: &mut Effects) {
        self.notice_suspension(now);
        self.hold_timers(now);
        self.place_logged();
        loop {
            let mut changed = self.count_pending(effects);
            self.notice_refused_support(effects);
            if self.r8_finalize(effects) {
                let finalized = self.finalized.height;
                let timers = &self.config.timers;
                self.pace.settling.finalized(finalized, now.mono_ns, timers);
                changed = true;
            }
            changed |= self.prove(now, effects);
            changed |= self.extend_ready();
            changed |= self.r1_enter(now, effects);
            changed |= self.vote(now, effects);
            self.note_tail(now);
            changed |= self.r2_open_idle(now, effects);
            if !changed {
                break;
            }
        }
        self.persist_records(effects);
        self.deliver(effects);
        self.send_records(now, effects);
        self.ask_signatures(now, effects);
        self.extend_lease(effects);
        self.repair(now, effects);
        self.drop_windows();
    }

    /// State of a window in range, made if it is new; above the range only what is here already:
    /// own records from the log, and what a certificate spoke of.
    pub(crate) fn window_mut(&mut self, window: Window) -> Option<&mut WindowState> {
        let validators = self.config.set.len();
        if !self.is_in_range(window) {
            let is_live = window >= self.proven.window;
            return self.windows.get_mut(&window).filter(|_| is_live);
        }
        Some(
            self.windows
                .entry(window)
                .or_insert_with(|| WindowState::new(window, validators)),
        )
    }

    /// The live windows that are wanted, lowest first, in memory that is to be given back: what is
    /// done with them changes the map.
    pub(crate) fn select(
        &mut self,
        is_wanted: impl Fn(&Self, Window, &WindowState) -> bool,
    ) -> Vec<Window> {
        let mut selected = core::mem::take(&mut self.selected);
        let windows = self.windows.iter();
        let wanted = windows.filter(|(window, state)| is_wanted(self, **window, state));
        selected.extend(wanted.map(|(window, _)| *window));
        selected
    }

    /// Takes back what [`select`](Self::select) gave.
    pub(crate) fn give_back(&mut self, mut selected: Vec<Window>) {
        selected.clear();
        self.selected = selected;
    }

    /// Records are taken for windows from the proven one to a little above the current one (2.9).
    pub(crate) fn is_in_range(&self, window: Window) -> bool {
        let current = self.entered.unwrap_or(self.proven.window);
        window >= self.proven.window && window <= current.plus(limits::WINDOWS_AHEAD_MAX)
    }

    pub(crate) fn alarm(&self, alarm: Alarm, effects: &mut Effects) {
        effects.push(Effect::Alarm(alarm));
    }

    /// Highest window entered; the first one before any.
    #[must_use]
    pub fn window(&self) -> Window {
        self.entered.unwrap_or(self.proven.window)
    }

    /// Who proposes in the current window.
    #[must_use]
    pub fn leader(&self) -> ValidatorIndex {
        self.config.set.leader(self.window())
    }

    /// Highest finalized block.
    #[must_use]
    pub const fn finalized(&self) -> Point {
        self.finalized
    }

    /// Highest block with a signature-verified proof.
    #[must_use]
    pub const fn proven(&self) -> Point {
        self.proven
    }

    /// The proof of [`proven`](Self::proven); none for genesis.
    #[must_use]
    pub const fn proof(&self) -> Option<&Certificate> {
        self.proof.as_ref()
    }

    /// Highest height handed out by `Effect::Finalized`.
    #[must_use]
    pub const fn delivered(&self) -> Height {
        self.delivery.delivered()
    }

    /// Whether this validator counts on having this block: it waits to be delivered, or stands in a
    /// window that is held. Any other one is asked for again before it is delivered or built on.
    #[must_use]
    pub fn counts_on(&self, header: &Header, id: BlockId) -> bool {
        header.height <= self.delivered()
            || header.window >= self.proven.window
            || self.windows.contains_key(&header.window)
            || self.delivery.holds(header.height, id)
    }

    /// Highest height that weight 2F+1 has flushed with its proof.
    #[must_use]
    pub const fn durable(&self) -> Height {
        self.durable
    }

    /// Whether this validator may make records now: past its fence, in a window that its lease
    /// and its abstention allow.
    #[must_use]
    pub fn is_voting(&self) -> bool {
        self.may_act(self.window())
    }

    /// Whether first votes and proposals are held because execution is behind (2.9).
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// The greatest height that peers of weight AMP say is final: an honest one is among them.
    #[must_use]
    pub const fn peers_height(&self) -> Height {
        self.peers_height
    }

    /// Whether peers of weight AMP have said in this run how far finality is; also where there are
    /// none of that weight.
    #[must_use]
    pub fn has_heard_peers(&self) -> bool {
        let set = &self.config.set;
        let others = || set.indices().filter(|&peer| peer != self.config.own);
        let weight = || others().map(|peer| set.stake(peer)).sum::<Stake>();
        self.peers_heard || weight() < set.thresholds().amplify
    }

    /// What has happened so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The set this validator belongs to.
    #[must_use]
    pub fn set(&self) -> &ValidatorSet {
        &self.config.set
    }

    /// The newest durable own record of a window, for tests and the simulator's recorder.
    #[must_use]
    pub fn own_record(&self, window: Window) -> Option<&crate::record::Record> {
        self.windows.get(&window).map(|state| &state.durable)
    }
}
