//! How many questions of clients are taken, and whose.
//!
//! Owns the counts of a short time, the turns of those that found no room in it, and for how long
//! one is not read from that does not wait when it is told to. A question is answered from the
//! state by the thread that also votes or executes, and any key may ask, without a session: what
//! one client asks must not be what the others wait for, however many it has ready. What is beyond
//! the bounds is told to ask again. It owns the bound of an answer, too. Never: what an answer
//! says.

use crate::executor::Executor;
use crate::state_machine::{ANSWER_BYTES_MAX, SessionId, StateMachine};
use quorate_net::ClientId;
use std::collections::BTreeMap;

/// The time for which questions are counted: as long as the shortest wait that is told. A count for
/// each turn of the loop would be none, since a turn is as short as what is asked in it.
const PERIOD_NS: u64 = 1_000_000;
/// Questions that are taken in that time.
const QUESTIONS: usize = 64;
/// Questions that are taken in it from one client.
const QUESTIONS_PER_CLIENT: usize = 16;
/// Of these such as walk over what is kept for others too, or tell of everything: each may take as
/// long as some tens of the rest.
const WALKS: usize = 8;
/// Bytes of answers that may wait when one more is made; twice as many for whoever waits longest.
const ANSWER_BYTES: usize = 1024 * 1024;
/// When to ask again at first, and at most, for who did not wait again and again.
const RETRY_NS_MIN: u64 = 1_000_000;
const RETRY_NS_MAX: u64 = 200_000_000;
/// For how long after the time that it was told one that was refused keeps its turn: the way to it
/// and back.
const TURN_KEPT_NS: u64 = 100_000_000;

/// What one is told whose question is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// When to ask again.
    pub(super) retry_us: u32,
    /// For so long it is not to be read from: it did not wait when it was told to.
    pub(super) hold_ns: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Questions {
    /// When the time is over for which is counted.
    ends_ns: u64,
    all: Seats,
    walks: Seats,
    /// Who was refused, until it is gone. Bound: the clients that are connected.
    told: BTreeMap<ClientId, Told>,
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            ends_ns: 0,
            all: Seats::new(QUESTIONS, QUESTIONS_PER_CLIENT),
            walks: Seats::new(WALKS, WALKS),
            told: BTreeMap::new(),
        }
    }
}

impl Questions {
    /// Whether one more of this client is taken, one that walks or another, while so many bytes of
    /// answers wait.
    pub(super) fn admit(
        &mut self,
        now_ns: u64,
        client: ClientId,
        is_walk: bool,
        waiting_bytes: usize,
    ) -> bool {
        if now_ns >= self.ends_ns {
            self.ends_ns = now_ns.saturating_add(PERIOD_NS);
            self.all.begin(now_ns);
            self.walks.begin(now_ns);
        }
        // Whoever waits longest finds room for its answer, whatever those have taken that came
        // before it in this turn.
        let most_bytes = match self.all.is_first(client) {
            true => 2 * ANSWER_BYTES,
            false => ANSWER_BYTES,
        };
        let is_room = waiting_bytes < most_bytes && self.all.has_room(client);
        let is_walk_room = !is_walk || self.walks.has_room(client);
        let until_ns = self.kept_until(now_ns, client);
        if !is_room {
            self.all.wait(until_ns, client);
        }
        if !is_walk_room {
            self.walks.wait(until_ns, client);
        }
        if is_room && is_walk_room {
            self.all.take(client);
            if is_walk {
                self.walks.take(client);
            }
        }
        is_room && is_walk_room
    }

    /// Until when one that is refused now keeps its turn: it is not told to come after that.
    fn kept_until(&self, now_ns: u64, client: ClientId) -> u64 {
        let told_ns = self.told.get(&client).map_or(0, |told| {
            let left_ns = told.until_ns.saturating_sub(now_ns);
            left_ns.max(told.wait_ns.saturating_mul(2).min(RETRY_NS_MAX))
        });
        now_ns.saturating_add(told_ns.max(RETRY_NS_MIN) + TURN_KEPT_NS)
    }

    /// What one is told whose question is not taken, for whatever reason.
    pub(super) fn refuse(&mut self, now_ns: u64, client: ClientId) -> Wait {
        let told = self.told.entry(client).or_default();
        told.refused = told.refused.saturating_add(1);
        if now_ns >= told.until_ns {
            let is_long_ago = now_ns >= told.until_ns.saturating_add(RETRY_NS_MAX);
            told.wait_ns = match told.has_ignored && !is_long_ago {
                true => told.wait_ns.saturating_mul(2).min(RETRY_NS_MAX),
                false => RETRY_NS_MIN,
            };
            told.refused = 1;
            told.until_ns = now_ns.saturating_add(told.wait_ns);
            told.has_ignored = false;
        }
        let left_ns = told.until_ns - now_ns;
        // What one may have out at once may have been on its way before the first answer came.
        let ignores = told.refused > QUESTIONS_PER_CLIENT;
        told.has_ignored |= ignores;
        Wait {
            retry_us: u32::try_from(left_ns.div_ceil(1_000)).unwrap_or(u32::MAX),
            hold_ns: ignores.then_some(left_ns),
        }
    }

    /// Forgets a client that is gone.
    pub(super) fn remove(&mut self, client: ClientId) {
        self.all.forget(client);
        self.walks.forget(client);
        self.told.remove(&client);
    }

    /// Of how many clients something is remembered that they were told.
    #[cfg(test)]
    pub(super) fn told_len(&self) -> usize {
        self.told.len()
    }
}

/// What one client was told.
#[derive(Debug, Default)]
struct Told {
    until_ns: u64,
    wait_ns: u64,
    /// How often it has asked before that time.
    refused: usize,
    /// More often than it may have questions out.
    has_ignored: bool,
}

/// Room for so many questions in the time for which is counted. Half of it is for those that were
/// refused and had none, in the order in which they were: however many ask at once, each has its
/// turn.
#[derive(Debug)]
struct Seats {
    most: usize,
    each_most: usize,
    taken: Vec<ClientId>,
    /// For whom it is kept now: those that had waited longest when this time began.
    invited: Vec<ClientId>,
    /// Who was refused, and until when it keeps its turn; by number, the longest wait first.
    waiting: BTreeMap<u64, (ClientId, u64)>,
    numbers: BTreeMap<ClientId, u64>,
    next: u64,
}

impl Seats {
    const fn new(most: usize, each_most: usize) -> Self {
        Self {
            most,
            each_most,
            taken: Vec::new(),
            invited: Vec::new(),
            waiting: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next: 0,
        }
    }

    /// Another time begins.
    fn begin(&mut self, now_ns: u64) {
        self.taken.clear();
        let first = self.waiting.values().take(self.most / 2);
        let is_over = |(_, until_ns): &&(ClientId, u64)| *until_ns <= now_ns;
        let gone: Vec<ClientId> = first.filter(is_over).map(|(client, _)| *client).collect();
        gone.into_iter().for_each(|client| self.forget(client));
        let first = self.waiting.values().take(self.most / 2);
        self.invited = first.map(|(client, _)| *client).collect();
    }

    fn taken_by(&self, client: ClientId) -> usize {
        self.taken.iter().filter(|one| **one == client).count()
    }

    fn is_first(&self, client: ClientId) -> bool {
        let first = self.waiting.values().next();
        first.is_some_and(|(one, _)| *one == client)
    }

    fn has_room(&self, client: ClientId) -> bool {
        let kept = match self.invited.contains(&client) {
            true => 0,
            false => self.invited.len(),
        };
        self.taken.len() + kept < self.most && self.taken_by(client) < self.each_most
    }

    fn take(&mut self, client: ClientId) {
        self.taken.push(client);
        self.forget(client);
    }

    /// One that has had none waits for its turn, or goes on waiting.
    fn wait(&mut self, until_ns: u64, client: ClientId) {
        if self.taken_by(client) > 0 {
            return;
        }
        let number = *self.numbers.entry(client).or_insert(self.next);
        self.next = self.next.max(number + 1);
        self.waiting.insert(number, (client, until_ns));
    }

    fn forget(&mut self, client: ClientId) {
        if let Some(number) = self.numbers.remove(&client) {
            self.waiting.remove(&number);
            self.invited.retain(|one| *one != client);
        }
    }
}

/// What a client's question is answered. One that is too long is left out: a part of it could be
/// taken for the whole.
pub(super) fn answer_of<S: StateMachine>(
    executor: &Executor<S>,
    asker: SessionId,
    question: &[u8],
) -> Vec<u8> {
    let mut answer = Vec::new();
    executor.query_from(asker, question, &mut answer);
    if answer.len() > ANSWER_BYTES_MAX {
        tracing::debug!(bytes = answer.len(), "an answer is too long and left out");
        answer = Vec::new();
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_machine::{Context, Output};

    const ASKER: SessionId = SessionId([1; 16]);

    /// Answers with as many bytes as it is asked for, to one session.
    struct Long;

    impl StateMachine for Long {
        fn sections(&self) -> &'static [&'static str] {
            &[]
        }

        fn apply(&mut self, _: &Context, _: &[u8], _: &mut Output) {}

        fn section_root(&mut self, _: usize) -> [u8; 32] {
            [0; 32]
        }

        fn snapshot_section(&self, _: usize, _: &mut Vec<u8>) {}

        fn restore_section(&mut self, _: usize, _: &[u8]) -> Result<(), String> {
            Ok(())
        }

        fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
            let bytes = question.first_chunk().copied().map(u32::from_le_bytes);
            answer.resize(bytes.unwrap_or(0) as usize, 7);
        }

        fn query_from(&self, asker: SessionId, question: &[u8], answer: &mut Vec<u8>) {
            if asker == ASKER {
                self.query(question, answer);
            }
        }
    }

    #[test]
    fn an_answer_is_given_whole_or_not_at_all() {
        let executor = Executor::new(Long, 8, 0);
        let bytes_max = u32::try_from(ANSWER_BYTES_MAX).unwrap();
        let bytes_of = |bytes: u32| answer_of(&executor, ASKER, &bytes.to_le_bytes()).len();
        assert_eq!(bytes_of(3), 3);
        assert_eq!(bytes_of(bytes_max), ANSWER_BYTES_MAX);
        assert_eq!(bytes_of(bytes_max + 1), 0);
    }

    #[test]
    fn the_application_is_told_who_asks() {
        let executor = Executor::new(Long, 8, 0);
        let other = SessionId([2; 16]);
        assert!(answer_of(&executor, other, &3_u32.to_le_bytes()).is_empty());
    }

    const MS: u64 = 1_000_000;

    fn client(bits: u64) -> ClientId {
        ClientId::from_bits(bits)
    }

    #[test]
    fn few_questions_that_walk_are_taken_at_once() {
        let mut questions = Questions::default();
        let mut admit = |bits| questions.admit(0, client(bits), true, 0);
        let admitted = (0..3 * WALKS as u64).filter(|bits| admit(*bits));
        assert_eq!(admitted.count(), WALKS);
        assert!(questions.admit(0, client(99), false, 0), "others are");
    }

    #[test]
    fn one_client_and_all_together_have_their_bounds_and_so_have_answers() {
        let mut questions = Questions::default();
        for _ in 0..QUESTIONS_PER_CLIENT {
            assert!(questions.admit(0, client(1), false, 0));
        }
        assert!(!questions.admit(0, client(1), false, 0));
        assert!(questions.admit(0, client(2), false, ANSWER_BYTES - 1));
        assert!(!questions.admit(0, client(2), false, ANSWER_BYTES));
        let more = (3..100).filter(|bits| questions.admit(0, client(*bits), false, 0));
        assert_eq!(more.count(), QUESTIONS - QUESTIONS_PER_CLIENT - 1);
    }

    #[test]
    fn it_is_time_that_makes_room_and_not_a_turn() {
        let mut questions = Questions::default();
        for bits in 0..QUESTIONS as u64 {
            assert!(questions.admit(0, client(bits), false, 0));
        }
        assert!(!questions.admit(PERIOD_NS - 1, client(1), false, 0));
        assert!(questions.admit(PERIOD_NS, client(1), false, 0));
    }

    /// Each asks for more than it may have all the time, before another one that waits when it is
    /// told to; in which of these times that is answered.
    fn answered_among(crowd: u64, is_walk: bool, bytes: usize) -> Option<u64> {
        let mut questions = Questions::default();
        (0..200).find(|time| {
            let (now_ns, mut waiting_bytes) = (time * PERIOD_NS, 0);
            for bits in 0..crowd.max(400) {
                let one = client(1 + bits % crowd);
                if questions.admit(now_ns, one, is_walk, waiting_bytes) {
                    waiting_bytes += bytes;
                }
            }
            questions.admit(now_ns, client(1_000_000), is_walk, waiting_bytes)
        })
    }

    #[test]
    fn whoever_was_refused_comes_before_those_that_have_had_theirs() {
        for is_walk in [false, true] {
            assert_eq!(answered_among(4, is_walk, 0), Some(1), "{is_walk}");
        }
        // More than find room at once: each has its turn.
        let soon = answered_among(1_000, false, 0);
        assert!(soon.is_some_and(|time| time <= 1_000 / 32 + 1), "{soon:?}");
        // Of answers that are as long as all may be.
        assert_eq!(answered_among(4, false, ANSWER_BYTES), Some(3));
    }

    #[test]
    fn a_turn_that_is_not_taken_is_over_soon_and_at_once_when_its_client_is_gone() {
        let mut questions = Questions::default();
        let mut now_ns = 0;
        let fill = |questions: &mut Questions, now_ns, first: u64| {
            let more = |bits: &u64| questions.admit(now_ns, client(first + bits), false, 0);
            (0..200).filter(more).count()
        };
        assert_eq!(fill(&mut questions, now_ns, 1_000), QUESTIONS);
        now_ns += PERIOD_NS;
        assert_eq!(fill(&mut questions, now_ns, 2_000), QUESTIONS / 2);
        now_ns += RETRY_NS_MIN + TURN_KEPT_NS;
        for _ in 0..200 * 2 / (QUESTIONS / 2) + 1 {
            now_ns += PERIOD_NS;
            questions.admit(now_ns, client(1), false, 0);
        }
        assert!(questions.all.waiting.is_empty() && questions.all.numbers.is_empty());
        now_ns += PERIOD_NS;
        fill(&mut questions, now_ns, 3_000);
        (3_000..3_200).for_each(|bits| questions.remove(client(bits)));
        assert!(questions.all.waiting.is_empty() && questions.all.numbers.is_empty());
    }

    #[test]
    fn one_who_does_not_wait_is_not_read_from_for_longer_each_time() {
        let mut questions = Questions::default();
        let mut now_ns = 7;
        let mut refused = |now_ns| questions.refuse(now_ns, client(1));
        let told = |retry_us, hold_ns| Wait { retry_us, hold_ns };
        let mut held_ns = Vec::new();
        for _ in 0..10 {
            // As many as it may have out are on their way, over some turns of the loop.
            for _ in 0..QUESTIONS_PER_CLIENT {
                assert_eq!(refused(now_ns).hold_ns, None, "it has waited");
            }
            let hold_ns = refused(now_ns + 1).hold_ns.expect("it does not wait");
            held_ns.push((hold_ns + 1) / MS);
            now_ns += 1 + hold_ns;
        }
        assert_eq!(held_ns, [1, 2, 4, 8, 16, 32, 64, 128, 200, 200]);
        // It has waited since, or was away for long.
        now_ns += RETRY_NS_MAX;
        assert_eq!(refused(now_ns), told(1_000, None));
        assert_eq!(refused(now_ns + MS), told(1_000, None));
    }
}
