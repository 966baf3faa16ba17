//! The book that a replayed recording leaves is the recording's, after every message.
//!
//! Holds the venue against a book of its own, made from what the messages mean on the exchange that
//! recorded them. Never: asks what a message becomes.

use super::tests::open;
use super::*;
use crate::orders::venue_check::Checked;
use quorate::state_machine::StateMachine;
use quorate_venue::{Answer, Question};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, VecDeque};

/// Levels of each side that are compared: all there ever are.
const LEVELS: u16 = 64;

/// A resting order of the recording.
struct Resting {
    id: u64,
    size_lots: u64,
}

/// An exchange that records itself.
struct Recorder {
    noise: ChaCha8Rng,
    /// By side and price, the oldest first.
    levels: BTreeMap<(bool, i64), VecDeque<Resting>>,
    next_id: u64,
    messages: String,
    time_ms: u64,
    /// What stands after each message: bids and asks, by price, with the sum of the sizes.
    books: Vec<BTreeMap<(bool, i64), u64>>,
}

const BID: bool = true;

impl Recorder {
    fn new(seed: u64) -> Self {
        Self {
            noise: ChaCha8Rng::seed_from_u64(seed),
            levels: BTreeMap::new(),
            next_id: 1,
            messages: String::new(),
            time_ms: 0,
            books: Vec::new(),
        }
    }

    fn up_to(&mut self, bound: u64) -> u64 {
        self.noise.next_u64() % bound
    }

    fn best(&self, side: bool) -> Option<i64> {
        let mut prices = self.levels.keys().filter(|key| key.0 == side);
        let key = if side == BID {
            prices.next_back()
        } else {
            prices.next()
        };
        key.map(|key| key.1)
    }

    /// A price at which an order of this side meets nobody.
    fn free_price(&mut self, side: bool) -> i64 {
        let far = self.up_to(8) as i64;
        if side == BID {
            self.best(!BID).unwrap_or(1_000).min(1_008) - 1 - far
        } else {
            self.best(BID).unwrap_or(1_000).max(992) + 1 + far
        }
    }

    fn rest(&mut self, side: bool, price: i64) -> Resting {
        let size_lots = 1 + self.up_to(50);
        let id = self.next_id;
        self.next_id += 1;
        let order = Resting { id, size_lots };
        let level = self.levels.entry((side, price)).or_default();
        level.push_back(Resting { ..order });
        order
    }

    /// Takes lots off an order, and the order and its level away where nothing is left.
    fn take(&mut self, key: (bool, i64), at: usize, lots: u64) {
        let level = self.levels.get_mut(&key).unwrap();
        level[at].size_lots -= lots;
        level.retain(|order| order.size_lots > 0);
        if level.is_empty() {
            self.levels.remove(&key);
        }
    }

    fn record(&mut self, kind: u8, (id, lots): (i64, u64), (side, price): (bool, i64)) {
        self.time_ms += 1;
        let (second, ms) = (self.time_ms / 1_000, self.time_ms % 1_000);
        let direction = if side == BID { 1 } else { -1 };
        let line = format!("{second}.{ms:03},{kind},{id},{lots},{price},{direction}\n");
        self.messages.push_str(&line);
        let sum = |level: &VecDeque<Resting>| level.iter().map(|order| order.size_lots).sum();
        let levels = self.levels.iter();
        self.books
            .push(levels.map(|(&key, level)| (key, sum(level))).collect());
    }

    fn enter(&mut self) {
        let side = self.up_to(2) == 0;
        let price = self.free_price(side);
        let order = self.rest(side, price);
        self.record(1, (order.id as i64, order.size_lots), (side, price));
    }

    /// One message of any kind.
    fn step(&mut self) {
        let kind = [1, 1, 1, 2, 3, 3, 4, 4, 5, 6][self.up_to(10) as usize];
        let side = self.up_to(2) == 0;
        let Some(best) = self.best(side) else {
            return self.enter();
        };
        match kind {
            1 => self.enter(),
            2 | 3 => {
                let keys: Vec<_> = self.levels.keys().copied().collect();
                let key = keys[self.up_to(keys.len() as u64) as usize];
                let at = self.up_to(self.levels[&key].len() as u64) as usize;
                let (id, size_lots) = (self.levels[&key][at].id, self.levels[&key][at].size_lots);
                let part = self.up_to(size_lots);
                let lots = if kind == 2 && part > 0 {
                    part
                } else {
                    size_lots
                };
                let kind = if lots == size_lots { 3 } else { 2 };
                self.take(key, at, lots);
                self.record(kind, (id as i64, lots), key);
            }
            4 => {
                let key = (side, best);
                let (id, size_lots) = (self.levels[&key][0].id, self.levels[&key][0].size_lots);
                let lots = 1 + self.up_to(size_lots);
                self.take(key, 0, lots);
                self.record(4, (id as i64, lots), key);
            }
            // Nobody saw the order, and a cross is no order at all.
            5 => self.record(5, (0, 10), (side, best)),
            _ => self.record(6, (-1, 700), (side, best)),
        }
    }

    /// The order book file's first line: what stands after the first message.
    fn book_line(&self) -> String {
        let side = |side: bool| -> Vec<(i64, u64)> {
            let of_side = self.books[0].iter().filter(|(key, _)| key.0 == side);
            of_side.map(|(key, &lots)| (key.1, lots)).collect()
        };
        let (mut bids, asks) = (side(BID), side(!BID));
        bids.reverse();
        let level = |at: usize| {
            let ask = asks.get(at).copied().unwrap_or((9_999_999_999, 0));
            let bid = bids.get(at).copied().unwrap_or((-9_999_999_999, 0));
            format!("{},{},{},{}", ask.0, ask.1, bid.0, bid.1)
        };
        let levels: Vec<String> = (0..bids.len().max(asks.len())).map(level).collect();
        levels.join(",") + "\n"
    }
}

/// What stands at the venue, by side and price.
fn venue_book(checked: &Checked) -> BTreeMap<(bool, i64), u64> {
    let question = Question::Depth {
        instrument: InstrumentId(0),
        levels: LEVELS,
    };
    let (mut asked, mut answer) = (Vec::new(), Vec::new());
    question.encode(&mut asked);
    checked.venue.query(&asked, &mut answer);
    let Ok(Answer::Depth { bids, asks, .. }) = Answer::decode(&answer) else {
        panic!("a depth is answered by a depth");
    };
    let bids = bids
        .iter()
        .map(|level| ((BID, level.price_ticks), level.open_lots));
    let asks = asks
        .iter()
        .map(|level| ((!BID, level.price_ticks), level.open_lots));
    bids.chain(asks).collect()
}

/// Replays a recording once, and holds the venue's book against the recorded one after every
/// message that becomes a command.
fn replay(recorder: &Recorder, book: Option<&str>, clients: u32) {
    let mut flow = open(&recorder.messages, book, clients).unwrap();
    let mut checked = Checked::new(1);
    let mut command = Vec::new();
    let mut seeds_left = flow.prelude.len();
    for (at, line) in recorder.messages.lines().enumerate() {
        let kind = line.split(',').nth(1).unwrap();
        if matches!(kind, "5" | "6") {
            continue;
        }
        for _ in 0..=std::mem::take(&mut seeds_left) {
            let planned = flow.plan_next(&mut command).unwrap();
            checked.apply(&planned, &command);
        }
        assert_eq!(
            venue_book(&checked),
            recorder.books[at],
            "after line {}: {line}",
            at + 1
        );
    }
    assert_eq!(checked.refusals, []);
    assert_eq!(flow.counters().unknown, 0);
    assert_eq!(flow.counters().wraps, 0);
}

#[test]
fn the_book_after_every_message_is_the_recording_s() {
    for seed in 0..4 {
        let mut recorder = Recorder::new(seed);
        recorder.enter();
        (0..2_000).for_each(|_| recorder.step());
        let crosses = recorder.messages.matches(",6,-1,").count();
        assert!(crosses > 50, "{crosses}");
        for clients in [1, 3] {
            replay(&recorder, None, clients);
        }
    }
}

#[test]
fn a_book_that_stood_before_the_recording_is_the_recording_s_to_its_end() {
    for seed in 100..104 {
        let mut recorder = Recorder::new(seed);
        for _ in 0..30 {
            recorder.enter();
        }
        // What stands was entered before the recording begins.
        recorder.messages.clear();
        recorder.books.clear();
        recorder.enter();
        let book = recorder.book_line();
        (0..1_000).for_each(|_| recorder.step());
        for clients in [1, 3] {
            replay(&recorder, Some(&book), clients);
        }
    }
}
