//! The stage: every validator, what is in flight between them, and one turn of one of them.
//!
//! Owns delivery, time and the trace. Never: what a command means (`director`) or what an effect
//! comes to (`carry`).

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_consensus::effect::Destination;
use quorate_consensus::input::Input;
use quorate_consensus::machine::{
    Config, Consensus, Disposition, Durability, Ignored, TimerConfig,
};
use quorate_consensus::message::Message;
use quorate_consensus::trust::Authenticated;
use quorate_consensus::types::{Now, ValidatorIndex};
use quorate_consensus::validators::ValidatorSet;

use super::line::{self, Line};
use super::member::Member;
use super::names::{Names, v};
use crate::keyring::{Keyring, Scheme};

/// Turns that a `deliver all` may take: messages that call for one another for ever are a bug.
const ROUNDS_MAX: usize = 200;
const MS: u64 = 1_000_000;

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) from: ValidatorIndex,
    pub(crate) to: ValidatorIndex,
    pub(crate) message: Message,
}

/// Everything that a scene is made of.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) set: Arc<ValidatorSet>,
    pub(crate) keyring: Keyring,
    pub(crate) durability: Durability,
    pub(crate) members: Vec<Member>,
    /// In the order in which they were said.
    pub(crate) flights: Vec<Flight>,
    /// Sides between which nothing passes.
    pub(crate) sides: Vec<Vec<ValidatorIndex>>,
    pub(crate) names: Names,
    /// Names for payloads whose block is not known yet.
    pub(crate) payloads: BTreeMap<[u8; 32], String>,
    pub(crate) lines: Vec<Line>,
    /// Answers to what validators asked of the outside, in order.
    pub(crate) answers: Vec<Input>,
}

impl Stage {
    pub(crate) fn new(set: Arc<ValidatorSet>, durability: Durability) -> Self {
        let now = Now {
            mono_ns: 1_000 * MS,
            wall_ns: 1_000_000 * MS,
        };
        let count = u16::try_from(set.len()).unwrap_or(u16::MAX);
        Self {
            keyring: Keyring::new(count, Scheme::StandIn),
            durability,
            members: set.indices().map(|_| Member::new(now)).collect(),
            flights: Vec::new(),
            sides: Vec::new(),
            names: Names::new(set.genesis().id),
            payloads: BTreeMap::new(),
            lines: Vec::new(),
            answers: Vec::new(),
            set,
        }
    }

    pub(crate) fn member(&self, who: ValidatorIndex) -> &Member {
        &self.members[who.place()]
    }

    pub(crate) fn member_mut(&mut self, who: ValidatorIndex) -> &mut Member {
        &mut self.members[who.place()]
    }

    /// The machine of a validator that is up and honest.
    pub(crate) fn machine(&self, who: ValidatorIndex) -> Result<&Consensus, String> {
        let member = self.member(who);
        member.consensus.as_ref().ok_or_else(|| {
            let why = if member.is_byzantine {
                "Byzantine"
            } else {
                "down"
            };
            format!("{} is {why}", v(who))
        })
    }

    pub(crate) fn tell(&mut self, who: ValidatorIndex, mark: &str, text: impl Into<String>) {
        self.lines.push(Line::new(who, mark, text));
    }

    /// What happened since the last call, written down.
    pub(crate) fn write(&mut self, trace: &mut String) {
        line::write(core::mem::take(&mut self.lines), trace);
    }

    /// Starts a validator from its disk.
    pub(crate) fn start(&mut self, who: ValidatorIndex) {
        let durability = self.durability;
        let set = Arc::clone(&self.set);
        let member = self.member_mut(who);
        member.incarnation += 1;
        let restored = member.disk.restored(&set);
        for (_, header) in &restored.blocks {
            member.view.hear_header(header);
        }
        for own in &restored.records {
            member.said.insert(own.window, own.record.clone());
        }
        let config = Config {
            own: who,
            set,
            durability,
            timers: TimerConfig::laptop(),
            incarnation: member.incarnation,
            nonce_seed: [u8::try_from(member.incarnation % 256).unwrap_or(0); 32],
            snapshot_heights: 0,
        };
        let mut effects = Vec::new();
        member.consensus = Some(Consensus::new(config, restored, member.now, &mut effects));
        self.carry(who, effects, "->");
        let peers: Vec<ValidatorIndex> = self.set.indices().filter(|&peer| peer != who).collect();
        for peer in peers {
            if self.member(peer).consensus.is_some() || self.member(peer).is_byzantine {
                self.input(who, Input::PeerUp(peer), "->");
                self.input(peer, Input::PeerUp(who), "->");
            }
        }
        self.settle(who);
    }

    /// The connections of a validator to all others break.
    pub(crate) fn hang_up(&mut self, who: ValidatorIndex) {
        let peers: Vec<ValidatorIndex> = self.set.indices().filter(|&peer| peer != who).collect();
        self.flights.retain(|flight| flight.to != who);
        for peer in peers {
            self.input(peer, Input::PeerDown(who), "->");
            self.settle(peer);
        }
    }

    /// One input, and what it calls for; `mark` stands before what is sent because of it.
    pub(crate) fn input(
        &mut self,
        who: ValidatorIndex,
        input: Input,
        mark: &str,
    ) -> Option<Disposition> {
        let member = self.member_mut(who);
        let consensus = member.consensus.as_mut()?;
        let jumps = consensus.counters().jumps;
        let mut effects = Vec::new();
        let disposition = consensus.handle(member.now, input, &mut effects);
        let has_jumped = consensus.counters().jumps > jumps;
        if has_jumped {
            let name = self.names.name(self.machine(who).ok()?.proven().id);
            self.tell(who, "R9", format!("jumps to the proof of {name}"));
        }
        self.carry(who, effects, mark);
        Some(disposition)
    }

    /// Ends a turn: the rules are judged, again after every answer of the outside.
    pub(crate) fn settle(&mut self, who: ValidatorIndex) {
        loop {
            for input in core::mem::take(&mut self.answers) {
                self.input(who, input, "->");
            }
            self.look(who);
            self.input(who, Input::Settle, "->");
            if self.answers.is_empty() {
                break;
            }
        }
        self.look(who);
        let member = self.member_mut(who);
        let is_voting = member.consensus.as_ref().is_some_and(Consensus::is_voting);
        if member.is_behind_fence && is_voting {
            member.is_behind_fence = false;
            self.tell(who, "R12", "is past its fence and may act again");
        }
    }

    /// Tells the certificates that have formed at a validator.
    fn look(&mut self, who: ValidatorIndex) {
        let set = Arc::clone(&self.set);
        let formed = self.member_mut(who).view.formed(&set);
        for (formed, by) in formed {
            let line = super::tell::formed(who, &self.names, formed, by);
            self.lines.push(line);
        }
    }

    /// Some messages arrive at one validator in one turn.
    pub(crate) fn arrive(&mut self, who: ValidatorIndex, flights: Vec<Flight>) {
        if self.member(who).consensus.is_none() {
            return;
        }
        let first = self.lines.len();
        let mut statuses = Vec::new();
        let mut is_headed = false;
        for flight in flights {
            let is_status = matches!(flight.message, Message::Status(_));
            let from = flight.from;
            is_headed |= self.hear(who, flight) || !is_status;
            if is_status {
                statuses.push(from);
            }
        }
        self.settle(who);
        // A Status is told where it has made a difference.
        if !is_headed && self.lines.len() > first {
            let line = Line::new(who, "<-", "status").with(" from ", statuses);
            self.lines.insert(first, line);
        }
    }

    /// One message is heard. Says whether it called for an answer at once.
    fn hear(&mut self, who: ValidatorIndex, flight: Flight) -> bool {
        let Flight { from, message, .. } = flight;
        let (before, names, mut after) = self.names.message(&message);
        let is_status = matches!(message, Message::Status(_));
        let heard = Heard::of(&message);
        let first = self.lines.len();
        let mark = if is_status { "R10" } else { "->" };
        let input = Input::Message(Authenticated::assert_authenticated(from, message));
        let disposition = self.input(who, input, mark);
        match disposition {
            Some(Disposition::Fault(fault)) => after.push_str(&format!(", refused: {fault:?}")),
            Some(Disposition::Ignored(Ignored::Pending)) => after.push_str(", which waits"),
            _ => {}
        }
        let is_counted = matches!(
            disposition,
            Some(Disposition::Applied | Disposition::Ignored(Ignored::Pending))
        );
        if is_counted {
            heard.note(from, &mut self.member_mut(who).view);
        }
        if is_status && self.lines.len() == first {
            return false;
        }
        let line = Line::about(who, "<-", before, names, &after).with(" from ", Some(from));
        self.lines.insert(first, line);
        true
    }

    /// Puts a message on its way to everyone it is for, where a way there is.
    pub(crate) fn send(&mut self, from: ValidatorIndex, to: Destination, message: &Message) {
        let receivers: Vec<ValidatorIndex> = match to {
            Destination::Peer(peer) => vec![peer],
            Destination::All => self.set.indices().filter(|&peer| peer != from).collect(),
        };
        for to in receivers {
            if self.passes(from, to) && self.member(to).consensus.is_some() {
                self.flights.push(Flight {
                    from,
                    to,
                    message: message.clone(),
                });
            }
        }
    }

    /// Whether no partition stands between two validators.
    pub(crate) fn passes(&self, from: ValidatorIndex, to: ValidatorIndex) -> bool {
        let side = |who| self.sides.iter().position(|side| side.contains(&who));
        self.sides.is_empty() || side(from) == side(to)
    }

    /// Everything in flight arrives, a turn a receiver, until nothing is in flight.
    pub(crate) fn arrive_all(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            if self.flights.is_empty() {
                return Ok(());
            }
            let flights = core::mem::take(&mut self.flights);
            self.arrive_each(flights);
        }
        Err(format!(
            "messages call for one another after {ROUNDS_MAX} rounds"
        ))
    }

    /// Messages arrive, in one turn at each receiver.
    pub(crate) fn arrive_each(&mut self, flights: Vec<Flight>) {
        let mut by_receiver: BTreeMap<ValidatorIndex, Vec<Flight>> = BTreeMap::new();
        for flight in flights {
            by_receiver.entry(flight.to).or_default().push(flight);
        }
        for (who, flights) in by_receiver {
            self.arrive(who, flights);
        }
    }

    /// Time passes at one validator: it is called at each of its deadlines.
    pub(crate) fn lapse(&mut self, who: ValidatorIndex, by_ns: u64) {
        let end = self.member(who).now.mono_ns + by_ns;
        while self.member(who).now.mono_ns < end {
            let now = self.member(who).now.mono_ns;
            let deadline = self.machine(who).map_or(end, Consensus::next_deadline_ns);
            let next = deadline.max(now + 1).min(end);
            self.member_mut(who).sleep(next - now);
            if self.member(who).consensus.is_some() {
                self.settle(who);
            }
        }
    }
}

/// What of a message the count of certificates goes by.
struct Heard {
    headers: Vec<quorate_consensus::header::Header>,
    record: Option<(
        quorate_consensus::types::Window,
        quorate_consensus::record::Record,
    )>,
}

impl Heard {
    fn of(message: &Message) -> Self {
        let (headers, record) = match message {
            Message::Propose(propose) => {
                let window = propose.header.window;
                let record = propose.record.clone().map(|record| (window, record));
                (vec![propose.header], record)
            }
            Message::Vote(vote) => (Vec::new(), Some((vote.window, vote.record.clone()))),
            Message::Status(status) => (Vec::new(), Some((status.window, status.record.clone()))),
            Message::Headers { headers, .. } => (headers.clone(), None),
            Message::Block { header, .. } => (vec![*header], None),
            _ => (Vec::new(), None),
        };
        Self { headers, record }
    }

    fn note(&self, from: ValidatorIndex, view: &mut super::view::View) {
        for header in &self.headers {
            view.hear_header(header);
        }
        if let Some((window, record)) = self.record.as_ref().filter(|(_, said)| !said.is_empty()) {
            view.hear_record(from, *window, record);
        }
    }
}
