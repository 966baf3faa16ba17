//! Clients: who submits what, to whom, and what they have been told.
//!
//! Owns the sessions, their commands until these are acknowledged, and the choice of another
//! validator when one does not answer. Never: more than a client of the real protocol could know
//! or do.

use std::collections::{BTreeMap, HashSet};

use quorate::auth::CommandMessages;
use quorate::lanes::Rejection;
use quorate::results::{CommandResult, Outcome};
use quorate::sessions::SessionCommand;
use quorate::state_machine::{self, SessionId};
use quorate_consensus::payload::{
    Entry, FLAG_OPEN, FLAG_SESSION, Lane, encode_flagged_entry, flagged_entry_unsigned,
    session_of_key,
};
use quorate_consensus::signing::{Signer as _, ValidatorKey};
use quorate_consensus::validators::ValidatorSet;

use crate::app::CommandSource;
use crate::dice::Dice;
use crate::plan::Pace;
use crate::visits::{Deed, Refusal, Visit};

const MS: u64 = 1_000_000;
/// A client that has waited so long for any answer tries another validator.
const PATIENCE_NS: u64 = 120 * MS;
/// Commands of a client in a chain before this one, at most.
const PAST_COMMANDS_MAX: u64 = 4;

/// One client.
#[derive(Debug)]
struct Client {
    key: [u8; 32],
    /// What it signs with, where commands are signed.
    signer: Option<ValidatorKey>,
    session: SessionId,
    /// Commands not acknowledged, by number.
    open: BTreeMap<u64, Vec<u8>>,
    last_seq: u64,
    gateway: usize,
    heard_ns: u64,
    interval_ns: u64,
    /// Commands that may still be made; none when there is no end yet.
    left: Option<u64>,
    visit: Visit,
}

/// All clients.
pub(crate) struct Clients {
    clients: Vec<Client>,
    places: BTreeMap<SessionId, usize>,
    commands: CommandSource,
    dice: Dice,
    in_flight_max: usize,
    pub(crate) resubmissions: u64,
    /// What is signed of a command, where commands are.
    messages: CommandMessages,
    /// Hashes of all signed entries made, to be looked up.
    made: HashSet<[u8; 32]>,
    /// Whether sessions are closed and opened anew.
    has_visits: bool,
    /// Who waits for longer tries another validator.
    patience_ns: u64,
}

/// What a client wants done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Submission {
    pub(crate) gateway: usize,
    pub(crate) session: SessionId,
    pub(crate) entries: Vec<u8>,
    /// Number of the command that was made for it, if one was, and what that does.
    pub(crate) made: Option<(u64, Deed)>,
}

/// What an answer tells a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing that it was waiting for.
    Nothing,
    /// The command was applied, now or before.
    Done,
    /// Its session has ended as it wished, so these commands of it were applied.
    Ended(Vec<u64>),
}

impl Clients {
    /// With `is_signed` each has a key to sign with, once it is told of which chain it is; with
    /// `has_visits` they close their sessions now and then and open them anew.
    pub(crate) fn new(
        sessions: usize,
        pace: Pace,
        (is_signed, has_visits): (bool, bool),
        commands: CommandSource,
        seed: u64,
    ) -> Self {
        let (units_min, units_max) = pace.interval_units;
        let mut dice = Dice::new(seed, "clients");
        let clients: Vec<Client> = (0..sessions as u64)
            .map(|number| {
                let secret = *blake3::hash(&number.to_le_bytes()).as_bytes();
                let signer = is_signed.then(|| ValidatorKey::from_seed(&secret));
                let key = signer.as_ref().map_or(secret, ValidatorKey::public);
                Client {
                    key,
                    signer,
                    session: SessionId(session_of_key(&key)),
                    open: BTreeMap::new(),
                    last_seq: 0,
                    gateway: usize::MAX,
                    heard_ns: 0,
                    interval_ns: dice.between(units_min, units_max) * pace.unit_ns,
                    left: None,
                    visit: Visit::default(),
                }
            })
            .collect();
        let places = clients.iter().enumerate();
        let places = places
            .map(|(place, client)| (client.session, place))
            .collect();
        Self {
            clients,
            places,
            commands,
            dice,
            in_flight_max: pace.in_flight_max,
            resubmissions: 0,
            messages: CommandMessages::session(),
            made: HashSet::new(),
            has_visits,
            patience_ns: PATIENCE_NS,
        }
    }

    /// From here on nobody leaves a validator that is up.
    pub(crate) const fn be_patient(&mut self) {
        self.patience_ns = u64::MAX;
    }

    /// What half of the clients had done in a chain that this one goes on from, if it does: entries
    /// in their order. They know that all of it was applied, and go on with the next numbers.
    pub(crate) fn live_before(&mut self, has_past: bool) -> Vec<Vec<u8>> {
        let mut entries = Vec::new();
        let count = if has_past { self.clients.len() / 2 } else { 0 };
        for client in self.clients.iter_mut().take(count) {
            for _ in 0..self.dice.between(1, PAST_COMMANDS_MAX) {
                client.last_seq += 1;
                let deed = match client.last_seq {
                    1 => Deed::Opens,
                    _ => Deed::Commands,
                };
                let entry = client.entry(
                    (client.last_seq, deed),
                    &self.commands,
                    &self.messages,
                    &mut self.dice,
                );
                entries.push(entry);
            }
            // Made for another chain, and nothing to send again here.
            client.visit = Visit::default();
        }
        entries
    }

    /// From here on those who have keys sign for the chain with this set.
    pub(crate) fn sign_for(&mut self, set: &ValidatorSet) {
        if self.clients.iter().any(|client| client.signer.is_some()) {
            self.messages = CommandMessages::signed(set);
        }
    }

    /// Whether some client has made this entry, where commands are signed.
    pub(crate) fn has_made(&self, entry: &[u8]) -> bool {
        self.made.contains(blake3::hash(entry).as_bytes())
    }

    /// The last number of every session that has one.
    pub(crate) fn last_seqs(&self) -> BTreeMap<SessionId, u64> {
        let begun = self.clients.iter().filter(|client| client.last_seq > 0);
        begun
            .map(|client| (client.session, client.last_seq))
            .collect()
    }

    pub(crate) const fn len(&self) -> usize {
        self.clients.len()
    }

    /// When the client acts next.
    pub(crate) fn next_tick_ns(&mut self, client: usize, now_ns: u64) -> u64 {
        let interval_ns = self.clients[client].interval_ns;
        now_ns + self.dice.between(interval_ns / 2, interval_ns * 2)
    }

    /// The client acts: `up` are the validators that take connections now.
    pub(crate) fn tick(&mut self, client: usize, now_ns: u64, up: &[usize]) -> Option<Submission> {
        let dice = &mut self.dice;
        let client = &mut self.clients[client];
        let is_silent = now_ns.saturating_sub(client.heard_ns) > self.patience_ns;
        let is_lost = !up.contains(&client.gateway);
        if is_lost || (is_silent && !client.open.is_empty()) {
            client.gateway = dice.one_of(up)?;
            client.heard_ns = now_ns;
            let entries: Vec<u8> = client.open.values().flatten().copied().collect();
            if !entries.is_empty() {
                self.resubmissions += 1;
                return Some(client.submission(entries, None));
            }
        }
        if client.open.len() >= self.in_flight_max || client.left == Some(0) {
            return None;
        }
        if let Some(entries) = client.visit.replay(dice) {
            let gateway = dice.one_of(up)?;
            return Some(Submission {
                gateway,
                ..client.submission(entries, None)
            });
        }
        let (seq, deed) = client.next(self.has_visits, now_ns, dice)?;
        let entry = client.entry((seq, deed), &self.commands, &self.messages, dice);
        if self.messages.is_signed() {
            self.made.insert(*blake3::hash(&entry).as_bytes());
        }
        if client.open.is_empty() {
            client.heard_ns = now_ns;
        }
        client.open.insert(seq, entry.clone());
        Some(client.submission(entry, Some((seq, deed))))
    }

    /// A validator answers.
    pub(crate) fn hear(&mut self, from: usize, now_ns: u64, result: &CommandResult) -> Heard {
        let Some(&place) = self.places.get(&result.session) else {
            return Heard::Nothing;
        };
        let client = &mut self.clients[place];
        if client.gateway != from || !client.open.contains_key(&result.seq) {
            return Heard::Nothing;
        }
        match result.outcome {
            Outcome::Applied | Outcome::Duplicate => {
                client.heard_ns = now_ns;
                client.open.remove(&result.seq);
                if client.visit.closes_at(result.seq) {
                    // Whatever came before it in its session was applied before.
                    return Heard::Ended(client.end());
                }
                Heard::Done
            }
            Outcome::SessionEnded if client.visit.closes_at(result.seq) => {
                client.heard_ns = now_ns;
                Heard::Ended(client.end())
            }
            Outcome::OpeningTooFarAhead => {
                if client.visit.give_up_far(result.seq) {
                    client.open.remove(&result.seq);
                }
                Heard::Nothing
            }
            _ => Heard::Nothing,
        }
    }

    /// A validator refuses a command before it is taken. What the client concludes from it, and
    /// whether there was a reason.
    pub(crate) fn hear_refusal(
        &mut self,
        session: SessionId,
        seq: u64,
        (rejection, is_clock_good): (Rejection, bool),
    ) -> (Heard, bool) {
        let Some(&place) = self.places.get(&session) else {
            return (Heard::Nothing, false);
        };
        let client = &mut self.clients[place];
        let refusal = client.visit.judge(seq, rejection, is_clock_good);
        if rejection == Rejection::OpeningTooFarAhead && client.visit.give_up_far(seq) {
            client.open.remove(&seq);
        }
        match refusal {
            Refusal::Ended => (Heard::Ended(client.end()), true),
            other => (Heard::Nothing, other == Refusal::Expected),
        }
    }

    /// Each client makes so many more commands and then no more.
    pub(crate) fn end_after(&mut self, commands: u64) {
        for client in &mut self.clients {
            client.left = Some(commands);
        }
    }

    /// Whether every command was made and acknowledged.
    pub(crate) fn are_done(&self) -> bool {
        let is_done = |client: &Client| client.left == Some(0) && client.open.is_empty();
        self.clients.iter().all(is_done)
    }

    /// What is waited for, for whoever looks into a stuck run.
    pub(crate) fn describe(&self) -> String {
        let one = |client: &Client| {
            let open: Vec<u64> = client.open.keys().copied().collect();
            format!(
                "{:?} at v{} waits for {open:?}",
                client.session, client.gateway
            )
        };
        let all: Vec<String> = self.clients.iter().map(one).collect();
        all.join("; ")
    }
}

/// The lane as a block has it.
const fn lane_of(lane: state_machine::Lane) -> Lane {
    match lane {
        state_machine::Lane::Cancel => Lane::Cancel,
        state_machine::Lane::Order => Lane::Order,
        state_machine::Lane::Price => Lane::Price,
        state_machine::Lane::Admin => Lane::Admin,
    }
}

impl Client {
    /// The next command, if it makes one now.
    fn next(&mut self, has_visits: bool, now_ns: u64, dice: &mut Dice) -> Option<(u64, Deed)> {
        let (seq, deed) = match self.last_seq {
            0 => (1, Deed::Opens),
            last_seq if has_visits => {
                let is_opened = !self.open.contains_key(&self.visit.opening().max(1));
                // What closes a session leaves one to open it with.
                let may_close = self.left != Some(1);
                let known = (is_opened, may_close);
                self.visit.next((last_seq, now_ns), known, dice)?
            }
            last_seq => (last_seq + 1, Deed::Commands),
        };
        // Nobody applies one of a time to come, so that no number follows it.
        if deed != Deed::OpensTooFar {
            self.left = self.left.map(|left| left - 1);
            self.last_seq = seq;
        }
        Some((seq, deed))
    }

    fn entry(
        &mut self,
        (seq, deed): (u64, Deed),
        commands: &CommandSource,
        messages: &CommandMessages,
        dice: &mut Dice,
    ) -> Vec<u8> {
        let mut body = Vec::new();
        let mut flags = 0;
        let mut lane = None;
        if deed.opens() {
            flags = FLAG_OPEN;
            body.extend_from_slice(&self.key);
        }
        if deed == Deed::Closes {
            flags = FLAG_SESSION;
            SessionCommand::Close.encode(&mut body);
        } else {
            lane = commands(dice, seq, &mut body).map(lane_of);
        }
        let lane = lane.or_else(|| dice.one_of(&Lane::ALL));
        let lane = lane.unwrap_or(Lane::Order);
        let unsigned = flagged_entry_unsigned(lane, &self.session.0, seq, &body, flags);
        let signer = self.signer.as_ref();
        let signature = signer.and_then(|key| Some(key.sign(&messages.message(&unsigned)?)));
        let entry = Entry {
            lane,
            session: &self.session.0,
            seq,
            signature: signature.as_ref(),
            body: &body,
        };
        let mut bytes = Vec::new();
        encode_flagged_entry(&entry, flags, &mut bytes);
        if deed != Deed::OpensTooFar {
            self.visit.keep(&bytes);
        }
        bytes
    }

    /// Its session has ended; gives the numbers that it was waiting for.
    fn end(&mut self) -> Vec<u64> {
        self.visit.end();
        std::mem::take(&mut self.open).into_keys().collect()
    }

    const fn submission(&self, entries: Vec<u8>, made: Option<(u64, Deed)>) -> Submission {
        Submission {
            gateway: self.gateway,
            session: self.session,
            entries,
            made,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;
    use crate::tape::Tape;

    const PACE: Pace = Pace {
        interval_units: (1, 1),
        unit_ns: MS,
        in_flight_max: 8,
    };

    fn result(session: SessionId, seq: u64, outcome: Outcome) -> CommandResult {
        CommandResult {
            session,
            seq,
            outcome,
            applied: None,
            mark: None,
            finality_ns: 0,
        }
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_to_another_validator() {
        let mut clients = Clients::new(
            1,
            PACE,
            (false, false),
            App::<Tape>::default().commands(),
            5,
        );
        let first = clients.tick(0, 0, &[2]).unwrap();
        assert_eq!(first.gateway, 2);
        let again = clients.tick(0, 1, &[3]).unwrap();
        assert_eq!((again.gateway, &again.entries), (3, &first.entries));
        let mut hear = |from, outcome| clients.hear(from, 2, &result(first.session, 1, outcome));
        assert_eq!(hear(2, Outcome::Applied), Heard::Nothing);
        assert_eq!(hear(3, Outcome::Gap), Heard::Nothing);
        assert_eq!(hear(3, Outcome::Duplicate), Heard::Done);
        clients.end_after(0);
        assert!(clients.are_done());
    }

    #[test]
    fn a_silent_validator_is_left_after_a_while() {
        let mut clients = Clients::new(
            1,
            PACE,
            (false, false),
            App::<Tape>::default().commands(),
            5,
        );
        clients.tick(0, 0, &[0, 1, 2, 3]).unwrap();
        clients.end_after(0);
        assert_eq!(clients.tick(0, PATIENCE_NS, &[0, 1, 2, 3]), None);
        assert!(clients.tick(0, PATIENCE_NS + 1, &[0, 1, 2, 3]).is_some());
        assert_eq!(clients.resubmissions, 1);
    }

    #[test]
    fn who_is_patient_leaves_a_validator_that_is_down_alone() {
        let habits = (false, false);
        let mut clients = Clients::new(1, PACE, habits, App::<Tape>::default().commands(), 5);
        clients.be_patient();
        let first = clients.tick(0, 0, &[2, 3]).unwrap();
        clients.end_after(0);
        assert_eq!(clients.tick(0, 1_000 * PATIENCE_NS, &[2, 3]), None);
        let other = 5 - first.gateway;
        assert!(clients.tick(0, 1_000 * PATIENCE_NS, &[other]).is_some());
    }
}
