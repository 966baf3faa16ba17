//! One session of the load at its gateway: what it sends, what it makes of the answers, and where
//! it goes when the gateway is lost.
//!
//! Owns the session's frames and the choice of its gateway. Never: reads a clock, or waits.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quorate::client_wire::{
    CLIENT_FRAME_BYTES_MAX, ClientFrameWriter, FrameError, Outcome, Rejection, ResultItem,
    ServerFrame, Verdict, VerdictRun, encode_session_ask,
};
use quorate::keys::KeyPair;
use quorate::sessions::OPENING_LIFE_NS;
use quorate_consensus::payload::{
    ENTRY_BYTES_FIXED, Entry, FLAG_OPEN, Lane, encode_flagged_entry, flagged_entry_unsigned,
    session_of_key,
};
use quorate_consensus::signing::command_message;
use quorate_consensus::types::ValidatorIndex;
use quorate_net::{ChainIds, ClientLinks, LinkId, NetError, SendError};

use super::key::{Chain, SessionKey};
use super::ledger::{Counts, FLIGHTS_MAX, Ledger};
use super::presigned::{Presigned, SigningPlan};
use super::source::Next as SourceNext;
use super::{Acknowledged, LoadError, Recorded, Trip, Wait};

/// First wait before a lost gateway's successor is dialed.
const REDIAL_MIN: Duration = Duration::from_millis(5);
/// Longest such wait.
const REDIAL_MAX: Duration = Duration::from_millis(500);
/// How long a number that is too far ahead is held back.
const AHEAD_RETRY_NS: u64 = 1_000_000;
/// Highest number of a session that a validator may tell: no pool keeps a higher one, and all that
/// may be on its way behind it can be counted.
const SEQ_MAX: u64 = i64::MAX as u64;
/// Answers of one frame to commands that are on their way: each of them several times over.
const ANSWERS_MAX: usize = 4 * FLIGHTS_MAX;

/// Where the session's connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    /// Dial at this time.
    Down { dial_at: Instant },
    /// Dialed.
    Dialing(LinkId),
    /// Asked for the session's last number, which must be known before anything is sent.
    Asking(LinkId),
    /// Ready for commands.
    Up(LinkId),
}

/// A session and its gateway.
#[derive(Debug)]
pub(super) struct Session {
    key: Arc<KeyPair>,
    id: [u8; 16],
    /// The chain whose commands are signed.
    signs: Option<ChainIds>,
    presigned: Option<Presigned>,
    /// `None` until the last number of an old session is known.
    ledger: Option<Ledger>,
    gateway: usize,
    connection: Connection,
    redial: Duration,
    /// A frame that the link did not take.
    stuck: Vec<u8>,
    frame: Vec<u8>,
    /// Gateways lost after the session was up.
    pub(super) gateways_lost: u64,
}

impl Session {
    /// A session that begins at validator `gateway`. Whether it is new on the chain is asked.
    pub(super) fn new(key: KeyPair, chain: &Chain, gateway: usize, now: Instant) -> Self {
        let id = session_of_key(&key.public());
        Self {
            key: Arc::new(key),
            id,
            signs: chain.is_signed.then_some(chain.ids),
            presigned: None,
            ledger: None,
            gateway,
            connection: Connection::Down { dial_at: now },
            redial: REDIAL_MIN,
            stuck: Vec::new(),
            frame: Vec::new(),
            gateways_lost: 0,
        }
    }

    /// Signs commands ahead, once the session's last number is known; from here on it takes these
    /// bodies instead of those it is given, as long as its numbers have no gap.
    pub(super) fn sign_ahead(&mut self, plan: &SigningPlan) {
        let first_seq = self.ledger.as_ref().and_then(Ledger::next_seq);
        if let (Some(ids), Some(first_seq)) = (&self.signs, first_seq) {
            let opens = self.ledger.as_ref();
            let opens = opens.is_some_and(|ledger| ledger.is_opening(first_seq));
            self.presigned = Some(Presigned::new(plan, &self.key, ids, (first_seq, opens)));
        }
    }

    /// Whether commands can be taken: the session is known to the chain's last number.
    pub(super) const fn is_ready(&self) -> bool {
        self.ledger.is_some()
    }

    /// The validator that the session talks to.
    pub(super) const fn gateway(&self) -> usize {
        self.gateway
    }

    pub(super) fn counts(&self) -> Counts {
        self.ledger
            .as_ref()
            .map_or_else(Counts::default, |ledger| *ledger.counts())
    }

    /// Whether each command has a result or was refused.
    pub(super) fn is_answered(&self) -> bool {
        self.ledger.as_ref().is_none_or(Ledger::is_answered)
    }

    /// Of the open ones those that wait here and that no validator took.
    pub(super) fn held(&self) -> usize {
        self.ledger.as_ref().map_or(0, Ledger::held)
    }

    /// Commands without a result and without a refusal.
    pub(super) fn open(&self) -> usize {
        self.ledger.as_ref().map_or(0, Ledger::open)
    }

    pub(super) fn has_room(&self, body_bytes: usize) -> bool {
        self.ledger
            .as_ref()
            .is_some_and(|ledger| ledger.has_room(body_bytes))
    }

    /// Takes a command that was intended for `intended_ns`.
    ///
    /// Inside a block lanes stand in order and so do a session's numbers, so a cancel in its own
    /// lane behind an open order of its session would have to wait for the next block. It goes
    /// among the orders then, as any client that knows the rule would send it.
    pub(super) fn push(&mut self, next: &SourceNext<'_>, to_leader: bool) {
        let (intended_ns, natural) = (next.offset_ns, next.lane);
        let Some(ledger) = &mut self.ledger else {
            return;
        };
        let must_follow = natural == Lane::Cancel && ledger.last_lane() == Some(Lane::Order);
        let lane = if must_follow { Lane::Order } else { natural };
        let signed = self.presigned.as_mut().zip(ledger.next_seq());
        let seq = match signed.and_then(|(signed, seq)| signed.next_body(seq, lane)) {
            Some(body) => ledger.push(intended_ns, lane, body),
            None => {
                // What follows has another body than was signed.
                self.presigned = None;
                ledger.push(intended_ns, lane, next.body)
            }
        };
        if to_leader {
            ledger.aim(seq);
        }
    }

    /// When this session wants to be looked at again without anything having come, if at all.
    pub(super) fn due(&mut self, now: Instant, now_ns: u64) -> Option<Instant> {
        match self.connection {
            Connection::Down { dial_at } => Some(dial_at),
            Connection::Up(_) => {
                let ledger = self.ledger.as_mut()?;
                let wait_ns = ledger.hold_until_ns().saturating_sub(now_ns);
                (ledger.has_waiting() && wait_ns > 0).then(|| now + Duration::from_nanos(wait_ns))
            }
            Connection::Dialing(_) | Connection::Asking(_) => None,
        }
    }

    /// Dials when it is time to. Gives the link to listen for.
    ///
    /// # Errors
    /// [`NetError`]: no such address, or no resources.
    pub(super) fn dial(
        &mut self,
        now: Instant,
        links: &mut ClientLinks,
        chain: &Chain,
    ) -> Result<Option<LinkId>, NetError> {
        let Connection::Down { dial_at } = self.connection else {
            return Ok(None);
        };
        if now < dial_at {
            return Ok(None);
        }
        let key = SessionKey::new(&self.key, chain, self.gateway);
        let address = chain
            .addresses
            .get(self.gateway)
            .and_then(|list| list.first());
        let address = address.map_or("", String::as_str);
        match links.connect(now, address, chain.ids, Arc::new(key)) {
            Ok(link) => {
                self.connection = Connection::Dialing(link);
                Ok(Some(link))
            }
            Err(error) => {
                self.go_on(now, chain);
                Err(error)
            }
        }
    }

    /// The link stands: asks for the session's number, or sends everything again.
    pub(super) fn on_up(&mut self, link: LinkId) {
        self.redial = REDIAL_MIN;
        self.stuck.clear();
        if self.ledger.is_some() {
            self.connection = Connection::Up(link);
        } else {
            encode_session_ask(0, &mut self.stuck);
            self.connection = Connection::Asking(link);
        }
    }

    /// The link is gone: the next validator becomes the gateway.
    pub(super) fn on_down(&mut self, now: Instant, chain: &Chain) {
        if matches!(self.connection, Connection::Up(_)) {
            self.gateways_lost += 1;
        }
        self.go_on(now, chain);
    }

    fn go_on(&mut self, now: Instant, chain: &Chain) {
        if let Some(ledger) = &mut self.ledger {
            ledger.on_gateway_lost();
        }
        self.stuck.clear();
        self.gateway = (self.gateway + 1) % chain.addresses.len().max(1);
        self.connection = Connection::Down {
            dial_at: now + self.redial,
        };
        self.redial = (self.redial * 2).min(REDIAL_MAX);
    }

    /// Hands over everything that waits, as far as the link takes it.
    pub(super) fn send(&mut self, now_ns: u64, links: &mut ClientLinks) {
        let (Connection::Up(link) | Connection::Asking(link)) = self.connection else {
            return;
        };
        loop {
            if self.stuck.is_empty() && !self.write_frame(now_ns) {
                return;
            }
            match links.send(link, &self.stuck) {
                Ok(()) => self.stuck.clear(),
                Err(SendError::Full) => return,
                // The link's end is on its way.
                Err(_) => return links.close(link),
            }
        }
    }

    /// Fills `stuck` with one frame of commands; false when none is to be sent.
    fn write_frame(&mut self, now_ns: u64) -> bool {
        let (Some(ledger), Connection::Up(_)) = (&mut self.ledger, self.connection) else {
            return false;
        };
        self.frame.clear();
        let mut writer = ClientFrameWriter::submit(&mut self.frame);
        let mut bytes = 0;
        let mut is_full = false;
        while !is_full {
            let Some(next) = ledger.send_next(now_ns) else {
                break;
            };
            let flags = if next.is_opening { FLAG_OPEN } else { 0 };
            let signature = self.signs.map(|ids| {
                let ahead = self.presigned.as_ref();
                if let Some(signature) = ahead.and_then(|ahead| ahead.signature(next.seq)) {
                    return signature;
                }
                let unsigned =
                    flagged_entry_unsigned(next.lane, &self.id, next.seq, next.body, flags);
                let message = command_message(&ids.chain_id, &ids.genesis_hash, &unsigned);
                self.key.sign(&message)
            });
            let entry = Entry {
                lane: next.lane,
                session: &self.id,
                seq: next.seq,
                signature: signature.as_ref(),
                body: next.body,
            };
            let signature_bytes = signature.map_or(0, |signature| signature.len());
            bytes += ENTRY_BYTES_FIXED + signature_bytes + next.body.len();
            let (seq, encode) = (next.seq, |frame: &mut Vec<u8>| {
                encode_flagged_entry(&entry, flags, frame);
            });
            if !writer.push_with(encode) {
                ledger.unsend(seq);
                break;
            }
            is_full = bytes + ENTRY_BYTES_FIXED > CLIENT_FRAME_BYTES_MAX;
        }
        let count = writer.finish();
        if count > 0 {
            std::mem::swap(&mut self.stuck, &mut self.frame);
        }
        count > 0
    }

    /// Takes a frame of the gateway in.
    ///
    /// # Errors
    /// The frame is none, or the chain takes no more sessions.
    pub(super) fn on_frame(
        &mut self,
        frame: &[u8],
        now_ns: u64,
        recorded: &mut Recorded,
    ) -> Result<Next, LoadError> {
        let decoded = ServerFrame::decode(frame).map_err(|source| LoadError::Protocol {
            validator: self.gateway,
            source,
        });
        let (leader, frame) = decoded?;
        recorded.leader = leader.map(ValidatorIndex::number).or(recorded.leader);
        match frame {
            ServerFrame::Session {
                seq_last,
                has_ended,
                ..
            } => {
                if seq_last > SEQ_MAX {
                    return Err(self.not_spoken("the session's last number"));
                }
                if let Connection::Asking(link) = self.connection {
                    let opens = seq_last == 0 || has_ended;
                    let first = match opens {
                        true => opening_number().max(seq_last.saturating_add(1)),
                        false => seq_last.saturating_add(1),
                    };
                    self.ledger = Some(Ledger::new(self.key.public(), (first, opens)));
                    self.connection = Connection::Up(link);
                }
            }
            ServerFrame::Verdicts(runs) => {
                let mut answers_left = ANSWERS_MAX;
                for run in runs {
                    if self.on_run(&run, now_ns, &mut answers_left, recorded)? == Next::Leave {
                        return Ok(Next::Leave);
                    }
                }
            }
            ServerFrame::Results(results) => {
                let height = results.height();
                recorded.height = recorded.height.max(height);
                for result in results {
                    let item = result.item;
                    self.on_result(&item, (height, now_ns), recorded)?;
                    let is_told = matches!(item.outcome, Outcome::Applied | Outcome::Duplicate);
                    if let Some(acknowledged) = recorded.acknowledged.as_mut().filter(|_| is_told) {
                        // A command that was sent again is answered without the height of its
                        // block.
                        let is_first = item.outcome == Outcome::Applied;
                        acknowledged.push(Acknowledged {
                            session: self.id,
                            seq: item.seq,
                            height: is_first.then_some(height),
                        });
                    }
                }
            }
            // Asked for again with the next connection: this one does not know.
            ServerFrame::Busy { .. } | ServerFrame::Refused { .. } => return Ok(Next::Leave),
            // Nothing that this session asked for.
            _ => {}
        }
        Ok(Next::Stay)
    }

    /// Takes the same answer to several commands in. What is not on its way is skipped: a
    /// validator may answer for numbers that are final by now, or that never were.
    fn on_run(
        &mut self,
        run: &VerdictRun,
        now_ns: u64,
        answers_left: &mut usize,
        recorded: &mut Recorded,
    ) -> Result<Next, LoadError> {
        let Some(ledger) = &mut self.ledger else {
            return Ok(Next::Stay);
        };
        match run.verdict {
            Verdict::Rejected(Rejection::Stopping | Rejection::Diverged) => return Ok(Next::Leave),
            Verdict::Rejected(Rejection::TableFull) => return Err(LoadError::SessionsFull),
            Verdict::Rejected(Rejection::TooFarAhead)
            | Verdict::Accepted
            | Verdict::Busy { .. } => {}
            Verdict::Rejected(reason) => {
                recorded.reasons.insert(reason);
            }
        }
        let answered = ledger.in_flight(run.seq_first, run.count);
        for seq in answered {
            if *answers_left == 0 {
                return Err(self.not_spoken("the answers of a frame"));
            }
            *answers_left -= 1;
            match run.verdict {
                Verdict::Accepted => ledger.on_accepted(seq),
                Verdict::Busy { retry_after_us } => {
                    ledger.on_busy(seq, now_ns, u64::from(retry_after_us) * 1_000);
                }
                Verdict::Rejected(Rejection::TooFarAhead) => {
                    ledger.on_ahead(seq, now_ns, AHEAD_RETRY_NS);
                }
                Verdict::Rejected(_) => ledger.on_rejected(seq),
            }
        }
        Ok(Next::Stay)
    }

    const fn not_spoken(&self, what: &'static str) -> LoadError {
        LoadError::Protocol {
            validator: self.gateway,
            source: FrameError::Bound(what),
        }
    }

    fn on_result(
        &mut self,
        item: &ResultItem,
        (height, now_ns): (u64, u64),
        recorded: &mut Recorded,
    ) -> Result<(), LoadError> {
        let (seq, finality_ns) = (item.seq, item.finality_ns);
        let Some(ledger) = &mut self.ledger else {
            return Ok(());
        };
        match item.outcome {
            Outcome::Applied | Outcome::Duplicate => {
                let to_leader = ledger.is_aimed(seq);
                if let Some(intended_ns) = ledger.on_finalized(seq) {
                    recorded
                        .client
                        .record_ns(now_ns.saturating_sub(intended_ns));
                    recorded.last_result_ns = now_ns;
                    if finality_ns > 0 {
                        recorded.finality.record_ns(finality_ns);
                    }
                    if let Some(waits) = &mut recorded.waits {
                        waits.push(Wait {
                            intended_ns,
                            result_ns: now_ns,
                        });
                    }
                    // One that was told twice, or by another gateway, has no trip of its own.
                    let is_whole = finality_ns > 0 && item.outcome == Outcome::Applied;
                    recorded.untold += u64::from(!is_whole);
                    if let Some(trips) = recorded.trips.as_mut().filter(|_| is_whole) {
                        trips.push(Trip {
                            gateway: u16::try_from(self.gateway).unwrap_or(u16::MAX),
                            height,
                            intended_ns,
                            result_ns: now_ns,
                            finality_ns,
                            to_leader,
                        });
                    }
                }
            }
            Outcome::Gap | Outcome::BadSignature => ledger.on_gap(seq),
            Outcome::OpeningTooOld | Outcome::OpeningTooFarAhead => ledger.on_rejected(seq),
            Outcome::TableFull | Outcome::SessionEnded => return Err(LoadError::SessionsFull),
        }
        Ok(())
    }

    /// Whether this is the session's present link.
    pub(super) fn has_link(&self, link: LinkId) -> bool {
        match self.connection {
            Connection::Dialing(own) | Connection::Asking(own) | Connection::Up(own) => own == link,
            Connection::Down { .. } => false,
        }
    }
}

/// The number to open a session with whose first command may come a few minutes later.
fn opening_number() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ns = now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
    now_ns.saturating_add(OPENING_LIFE_NS / 2)
}

/// What a session does after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It stays at its gateway.
    Stay,
    /// It leaves for the next one.
    Leave,
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
