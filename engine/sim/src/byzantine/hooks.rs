//! Where the world and its Byzantine validators meet.
//!
//! Owns the troupe of a run and the few things that the world does for it: frames on their way
//! out and in, the passing of time, copies of disks, and the script of twins. Never: a frame that
//! no real validator with this key could have sent over its own connections.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate::replica::Event;
use quorate::state_machine::StateMachine;
use quorate_consensus::effect::Destination;
use quorate_consensus::evidence::Evidence;
use quorate_consensus::message::Message;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::wire;

use super::ActorName;
use super::cast::{Cast, TWINS};
use super::counts::{ActorCounts, ByzantineCounts};
use super::deeds::{Deed, Done, Occasion, SIDES};
use super::puppet::{Lent, Moment, Puppet, bytes};
use super::stage::{Plot, Wish, bytes_of};
use super::twins::TwinScript;
use crate::checks::conduct;
use crate::counts::FaultCounts;
use crate::disk::Ending;
use crate::plan::Plan;
use crate::queue::Due;
use crate::reached::Reached;
use crate::world::{MS, US, World, index};

/// Directions, each from one process to another.
type Links = Vec<(usize, usize)>;

/// The Byzantine validators of a run.
pub(crate) struct Troupe {
    pub(crate) cast: Cast,
    puppets: BTreeMap<usize, Puppet>,
    plot: Plot,
    twins: Option<TwinScript>,
    pub(crate) counts: ByzantineCounts,
}

impl Troupe {
    pub(crate) fn new(plan: &Plan, seed: u64) -> Self {
        let cast = plan.cast.clone();
        let mut counts = ByzantineCounts {
            runs: u64::from(cast.is_any()),
            ..ByzantineCounts::default()
        };
        let mut puppets = BTreeMap::new();
        for place in 0..cast.validators() {
            for name in cast.names(place) {
                let one = counts.actors.entry(name.into()).or_default();
                one.played += 1;
                if cast.has_beside(place, ActorName::Equivocator) {
                    *one.occasions.entry(Occasion::Fork).or_default() += 1;
                }
                if plan.loser.is_some() {
                    *one.occasions.entry(Occasion::Loss).or_default() += 1;
                }
            }
            if !cast.actors(place).is_empty() {
                puppets.insert(place, Puppet::new(index(place), cast.actors(place), seed));
            }
        }
        let plot = Plot::new(cast.gang());
        let twins = cast.has_twins().then(|| TwinScript::draw(&cast, seed));
        Self {
            cast,
            puppets,
            plot,
            twins,
            counts,
        }
    }

    fn is_puppet(&self, place: usize) -> bool {
        self.puppets.contains_key(&place)
    }

    /// Whether a connection between two processes can be made now.
    pub(crate) fn may_connect(&self, one: usize, other: usize) -> bool {
        let twins = self.twins.as_ref();
        twins.is_none_or(|script| script.joins(&self.cast, one, other))
    }

    fn note_deed(&mut self, name: &'static str, done: Done) {
        let counts = self.counts.actors.entry(name.into()).or_default();
        counts.deeds.note(done);
    }

    fn count(&mut self, place: usize, count: impl Fn(&mut ActorCounts)) {
        for name in self.cast.names(self.cast.validator(place)) {
            count(self.counts.actors.entry(name.into()).or_default());
        }
    }
}

impl<S: StateMachine> World<S> {
    /// Where what a validator does is noted: what a Byzantine one does has not been tried.
    pub(crate) fn reached_of(&mut self, at: usize) -> &mut Reached {
        if self.is_byzantine(at) {
            &mut self.troupe.counts.reached
        } else {
            &mut self.reached
        }
    }

    /// Where what is done to a validator is counted.
    pub(crate) fn faults_of(&mut self, at: usize) -> &mut FaultCounts {
        let is_honest = !self.is_byzantine(at);
        self.faults_among(is_honest)
    }

    /// Where what is done to validators is counted that are all honest, or not.
    pub(crate) const fn faults_among(&mut self, is_honest: bool) -> &mut FaultCounts {
        if is_honest {
            &mut self.faults
        } else {
            &mut self.troupe.counts.faults
        }
    }

    /// Links between two honest ones, and the others.
    pub(crate) fn by_honesty(&self, links: &[(usize, usize)]) -> [(Links, bool); 2] {
        let is_honest = |link: &(usize, usize)| {
            let (one, other) = *link;
            !self.is_byzantine(one) && !self.is_byzantine(other)
        };
        let (honest, others) = links.iter().copied().partition(is_honest);
        [(honest, true), (others, false)]
    }

    /// The replica of a validator has noticed that its disk is older than what it said.
    pub(crate) fn note_old_disk(&mut self, at: usize) {
        self.troupe.count(at, |counts| counts.old_disks += 1);
    }

    /// Whose key the process at a place has.
    pub(crate) fn validator(&self, place: usize) -> ValidatorIndex {
        index(self.troupe.cast.validator(place))
    }

    /// Whether the process at a place, or its key, breaks rules.
    pub(crate) fn is_byzantine(&self, place: usize) -> bool {
        self.troupe.cast.is_byzantine(place)
    }

    /// Whether an accusation falls on a Byzantine validator.
    pub(crate) fn may_be_accused(&self, validator: ValidatorIndex) -> bool {
        self.is_byzantine(validator.place())
    }

    /// The first of the acts of all Byzantine validators.
    pub(crate) fn begin_byzantine(&mut self) {
        for at in 0..self.members.len() {
            if self.troupe.is_puppet(at) {
                self.schedule(MS, Due::Act { at });
            }
        }
        if self.troupe.cast.has_twins() {
            let at = self.troupe.cast.validators();
            self.schedule(MS, Due::Act { at });
        }
    }

    /// The process to which words for a validator go: that copy of it which is connected.
    pub(crate) fn place_of(&self, from: usize, to: ValidatorIndex) -> usize {
        let copies = self.troupe.cast.places_of(to.place());
        copies
            .filter(|&place| self.network.connection(from, place).is_some())
            .last()
            .unwrap_or_else(|| to.place())
    }

    /// Whether the words of this process go through actors, who see them first. If so they have.
    pub(crate) fn play_out(&mut self, at: usize, to: Destination, frame: &Arc<[u8]>) -> bool {
        if !self.troupe.is_puppet(at) {
            return false;
        }
        let peers: Vec<ValidatorIndex> = match to {
            Destination::Peer(peer) => vec![peer],
            Destination::All => self.set.indices().collect(),
        };
        let Ok(message) = wire::decode(frame).map(wire::Unverified::into_message) else {
            return true;
        };
        if let Message::Status(status) = &message {
            self.note_flushed(at, status.flushed.number());
        }
        for peer in peers.into_iter().filter(|&peer| peer != index(at)) {
            let moment =
                self.with_puppet(at, |puppet, lent| puppet.say(lent, peer, message.clone()));
            let sent = moment.out.first();
            let is_same = moment.out.len() == 1
                && sent.is_some_and(|sent| sent.delay_ns == 0 && bytes(&sent.words) == *frame);
            self.troupe
                .count(at, |counts| counts.changed += u64::from(!is_same));
            self.carry(at, moment);
        }
        true
    }

    /// What the replica of a Byzantine validator receives of a frame; none for nothing of it.
    pub(crate) fn play_in(&mut self, from: usize, to: usize, frame: &[u8]) -> Option<Vec<u8>> {
        if !self.troupe.is_puppet(to) {
            return Some(frame.to_vec());
        }
        let message = wire::decode(frame).ok()?.into_message();
        let peer = self.validator(from);
        let mut heard = None;
        let moment = self.with_puppet(to, |puppet, lent| {
            let (left, moment) = puppet.hear(lent, peer, message);
            heard = left;
            moment
        });
        self.carry(to, moment);
        heard.map(|message| bytes_of(&message))
    }

    /// Time passes for a Byzantine validator, or for the script of twins.
    pub(crate) fn act(&mut self, at: usize) {
        if at >= self.troupe.cast.validators() {
            self.advance_twins();
        } else if self.members[at].life.is_some() {
            let moment = self.with_puppet(at, Puppet::act);
            self.carry(at, moment);
        }
        let delay_ns = match self.troupe.puppets.get_mut(&at) {
            Some(puppet) => puppet.dice().between(500 * US, 4 * MS),
            None => MS,
        };
        self.schedule(delay_ns, Due::Act { at });
    }

    fn with_puppet(
        &mut self,
        at: usize,
        play: impl FnOnce(&mut Puppet, &mut Lent<'_>) -> Moment,
    ) -> Moment {
        let Some(puppet) = self.troupe.puppets.get_mut(&at) else {
            return Moment::default();
        };
        let mut lent = Lent {
            set: &self.set,
            key: &self.keyring.keys()[at],
            plot: &mut self.troupe.plot,
            now_ns: self.now_ns,
        };
        play(puppet, &mut lent)
    }

    /// Sends what an actor has put on the stage, and does what it wishes to its own machine.
    fn carry(&mut self, at: usize, moment: Moment) {
        for (name, done) in moment.done {
            self.troupe.note_deed(name.name(), done);
        }
        for outgoing in moment.out {
            let bytes = bytes(&outgoing.words);
            self.note_byzantine_frame(at, &bytes);
            self.troupe.count(at, |counts| counts.frames += 1);
            let to = self.place_of(at, outgoing.to);
            self.send_later(at, to, &bytes, outgoing.delay_ns);
        }
        for wish in moment.wishes {
            self.grant(at, wish);
        }
    }

    fn grant(&mut self, at: usize, wish: Wish) {
        match wish {
            Wish::Clock(offset_ns) => {
                self.clocks.jump(at, offset_ns);
                self.poke(at);
            }
            Wish::CopyDisk => {
                let copy = self.members[at].disk.copied();
                if let Some(puppet) = self.troupe.puppets.get_mut(&at) {
                    puppet.copy = Some(copy);
                }
            }
            Wish::RestoreDisk => {
                let copy = self
                    .troupe
                    .puppets
                    .get(&at)
                    .and_then(|one| one.copy.as_ref());
                if let Some(copy) = copy.map(crate::disk::Disk::copied) {
                    self.end_life(at, Ending::Process);
                    self.members[at].disk = copy;
                    self.schedule(5 * MS, Due::Start { at });
                }
            }
            Wish::Feed(from, message) => {
                let bytes = bytes_of(&message);
                self.with_life(at, |life, now| life.replica.peer_frame(now, from, &bytes));
            }
        }
    }

    /// Headers that a Byzantine validator shows are what honest ones may build on.
    pub(crate) fn note_byzantine_frame(&mut self, at: usize, frame: &[u8]) {
        self.trace.note(self.now_ns, b'z', at, 0, frame);
        let Ok(message) = wire::decode(frame) else {
            return;
        };
        if self.trace.is_told() {
            let line = format_args!("v{at} (byzantine): {:?}", message.as_ref());
            self.trace.tell(self.now_ns, line);
        }
        match message.as_ref() {
            Message::Propose(propose) => {
                let id = self.checks.see_header(&propose.header);
                self.see_payload(id, &propose.header, &propose.payload);
            }
            Message::Block { header, payload } => {
                let id = self.checks.see_header(header);
                self.see_payload(id, header, payload);
            }
            Message::Headers { headers, .. } | Message::History(headers) => {
                for header in headers {
                    self.checks.see_header(header);
                }
            }
            Message::HeaderSignature { header, .. } => {
                self.checks.see_header(header);
            }
            Message::Certificates(certificates) => {
                let headers = certificates.iter().flat_map(|proof| &proof.headers);
                headers.for_each(|header| {
                    self.checks.see_header(header);
                });
            }
            _ => {}
        }
    }

    /// An honest validator drops a Byzantine one for what it sent. `true` when nobody honest is
    /// accused by it.
    pub(crate) fn is_deserved(&mut self, from: usize, to: usize) -> bool {
        let is_named = self.is_byzantine(from);
        if is_named && !self.is_byzantine(to) {
            self.troupe.count(from, |counts| counts.accusations += 1);
        }
        is_named || self.is_byzantine(to)
    }

    /// Counts what an honest validator says of a Byzantine one.
    pub(crate) fn note_accusation(&mut self, own: ValidatorIndex, event: &Event) {
        let Some(accused) = conduct::accused(&self.set, own, event) else {
            return;
        };
        let place = accused.place();
        if !self.is_byzantine(place) {
            return;
        }
        self.troupe.count(place, |counts| {
            counts.accusations += 1;
            if let Event::Evidence(evidence) = event {
                match evidence.as_ref() {
                    Evidence::TwoHeaders(_) => counts.two_headers += 1,
                    Evidence::TwoRecords { .. } => counts.two_records += 1,
                    Evidence::OneRecord { .. } => counts.one_record += 1,
                }
            }
        });
    }

    fn advance_twins(&mut self) {
        let lives = self.members.iter().filter_map(|one| one.life.as_ref());
        let window = lives.map(|life| life.replica.consensus().window().number());
        let window = window.max().unwrap_or(0);
        let Some(script) = self.troupe.twins.as_mut() else {
            return;
        };
        if script.advance(self.now_ns, window) {
            self.troupe.counts.twin_phases += 1;
            self.troupe.note_deed(TWINS, (Deed::Rigged, SIDES));
            self.trace
                .note(self.now_ns, b't', 0, 0, &window.to_le_bytes());
            self.reconnect_twins();
        }
    }

    /// Connections are as the script has them from now on.
    fn reconnect_twins(&mut self) {
        let len = self.members.len();
        for one in 0..len {
            for other in 0..len {
                if self.troupe.may_connect(one, other) {
                    let delay_ns = self.dice.between(50 * US, 2 * MS);
                    self.dial(one, other, delay_ns);
                } else if let Some(connection) = self.network.connection(one, other) {
                    self.lose(one, other, connection);
                }
            }
        }
    }

    /// Trouble is over: of two copies of a key, each peer keeps the one that it is to have.
    pub(crate) fn end_twins(&mut self) {
        if let Some(script) = self.troupe.twins.as_mut() {
            script.end();
            self.reconnect_twins();
        }
    }

    /// Before a connection to a copy of a key the one to the other copy is given up.
    pub(crate) fn leave_sibling(&mut self, own: usize, peer: usize) {
        let validator = self.troupe.cast.validator(peer);
        let copies: Vec<usize> = self.troupe.cast.places_of(validator).collect();
        for copy in copies.into_iter().filter(|&copy| copy != peer) {
            if let Some(connection) = self.network.connection(own, copy) {
                self.lose(own, copy, connection);
            }
        }
    }
}
