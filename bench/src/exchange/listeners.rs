//! When each validator tells one session, and everybody, the same.
//!
//! Owns a connection of one session to every validator and the times at which its results, and the
//! events of the public stream, come over them. Never: submits anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quorate::client_wire::{ServerFrame, encode_public_subscribe};
use quorate::keys::KeyPair;
use quorate::streams::StreamPosition;
use quorate_net::{ClientLinks, CloseReason, Limits, LinkHandler, LinkId};

use super::ExchangeError;
use crate::histogram::Latencies;
use crate::load::{Chain, SessionKey};

/// Longest wait for anything.
const LOOK: Duration = Duration::from_millis(50);
/// Wait before a validator that is not there is dialed again.
const REDIAL: Duration = Duration::from_millis(100);
/// What some validator has told and others have not yet; the oldest go first.
const OPEN_MAX: usize = 4_096;

/// From the first to the last validator that told one and the same.
#[derive(Debug, Default)]
pub struct Skew {
    /// Over what every validator told.
    pub latencies: Latencies,
    /// What some validator did not tell: it was down, or not yet connected.
    pub partial: u64,
}

/// Times by what was told, until all have told it.
struct Tally<T> {
    validators: usize,
    open: BTreeMap<T, Vec<Option<Instant>>>,
    /// Validators that have gone and do not tell what is new again.
    away: Vec<bool>,
    /// The newest that was told.
    newest: Option<T>,
    skew: Skew,
}

struct Listening {
    /// By validator.
    links: Vec<Option<LinkId>>,
    dial_at: Vec<Instant>,
    /// Links that came up and have not asked for the public stream yet.
    fresh: Vec<LinkId>,
    /// By number.
    results: Tally<u64>,
    events: Tally<StreamPosition>,
}

impl Listening {
    fn validator(&self, link: LinkId) -> Option<usize> {
        self.links.iter().position(|at| *at == Some(link))
    }
}

impl<T: Copy + Ord> Tally<T> {
    fn new(validators: usize) -> Self {
        Self {
            validators,
            open: BTreeMap::new(),
            away: vec![false; validators],
            newest: None,
            skew: Skew::default(),
        }
    }

    /// A validator is gone. What it tells when it comes back it tells late, until it is level with
    /// the others again: that says for how long it was down, and nothing of who is told first.
    fn left(&mut self, validator: usize) {
        self.away[validator] = true;
        self.skew.partial += self.open.len() as u64;
        self.open.clear();
    }

    /// The skew; what is open will not be told by all any more.
    fn finish(mut self) -> Skew {
        self.skew.partial += self.open.len() as u64;
        self.skew
    }

    fn told(&mut self, validator: usize, what: T, now: Instant) {
        let validators = self.validators;
        let is_newest = self.newest.is_none_or(|newest| what >= newest);
        self.newest = self.newest.max(Some(what));
        if self.away[validator] {
            self.away[validator] = !is_newest;
            return;
        }
        let times = self
            .open
            .entry(what)
            .or_insert_with(|| vec![None; validators]);
        times[validator].get_or_insert(now);
        if times.iter().all(Option::is_some) {
            let times = self.open.remove(&what).unwrap_or_default();
            let known = || times.iter().flatten();
            if let (Some(first), Some(last)) = (known().min(), known().max()) {
                let nanos = last.duration_since(*first).as_nanos();
                self.skew
                    .latencies
                    .record_ns(u64::try_from(nanos).unwrap_or(u64::MAX));
            }
        }
        while self.open.len() > OPEN_MAX {
            self.open.pop_first();
            self.skew.partial += 1;
        }
    }
}

impl LinkHandler for Listening {
    fn link_up(&mut self, link: LinkId, _: u16, _: u64) {
        self.fresh.push(link);
    }

    fn link_down(&mut self, link: LinkId, _: CloseReason) {
        if let Some(validator) = self.validator(link) {
            self.links[validator] = None;
            self.dial_at[validator] = Instant::now() + REDIAL;
            self.results.left(validator);
            self.events.left(validator);
        }
    }

    fn link_frame(&mut self, link: LinkId, frame: &[u8]) {
        let Some(validator) = self.validator(link) else {
            return;
        };
        let now = Instant::now();
        match ServerFrame::decode(frame) {
            Ok((_, ServerFrame::Results(results))) => {
                for result in results {
                    self.results.told(validator, result.item.seq, now);
                }
            }
            Ok((_, ServerFrame::Public(public))) => {
                for event in public {
                    self.events.told(validator, event.position, now);
                }
            }
            _ => {}
        }
    }
}

/// Listens at every validator to the results of one session and to the public stream, until `stop`
/// is set: the skew of the one and of the other.
///
/// # Errors
/// This machine has no sockets left.
pub fn listen(
    chain: &Chain,
    key: &Arc<KeyPair>,
    stop: &AtomicBool,
) -> Result<(Skew, Skew), ExchangeError> {
    let mut links = ClientLinks::new(Limits::default())?;
    let now = Instant::now();
    let validators = chain.addresses.len();
    let mut listening = Listening {
        links: vec![None; validators],
        dial_at: vec![now; validators],
        fresh: Vec::new(),
        results: Tally::new(validators),
        events: Tally::new(validators),
    };
    let mut frame = Vec::new();
    encode_public_subscribe(1, StreamPosition::LIVE, &mut frame);
    while !stop.load(Ordering::Relaxed) {
        dial(chain, key, &mut links, &mut listening);
        for link in listening.fresh.drain(..) {
            // One that is gone already is told of in this turn.
            links.send(link, &frame).ok();
        }
        links.flush();
        links.turn(Instant::now(), Some(LOOK), &mut listening)?;
    }
    Ok((listening.results.finish(), listening.events.finish()))
}

fn dial(chain: &Chain, key: &Arc<KeyPair>, links: &mut ClientLinks, listening: &mut Listening) {
    let now = Instant::now();
    for (validator, addresses) in chain.addresses.iter().enumerate() {
        let is_due = listening.links[validator].is_none() && now >= listening.dial_at[validator];
        let Some(address) = addresses.first().filter(|_| is_due) else {
            continue;
        };
        let authenticator = Arc::new(SessionKey::new(key, chain, validator));
        match links.connect(now, address, chain.ids, authenticator) {
            Ok(link) => listening.links[validator] = Some(link),
            Err(_) => listening.dial_at[validator] = now + REDIAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_counts_from_the_first_to_the_last_validator_and_only_when_all_told_it() {
        let now = Instant::now();
        let mut tally = Tally::new(3);
        for (validator, at_us) in [(1, 0), (0, 40), (1, 90), (2, 100)] {
            let now = now + Duration::from_micros(at_us);
            tally.told(validator, 7, now);
            tally.told(0, 8, now);
        }
        assert_eq!(tally.skew.latencies.count(), 1);
        let max = tally.skew.latencies.percentiles().max.unwrap();
        assert!((99.0..=101.0).contains(&max), "{max}");
        assert_eq!(tally.open.len(), 1);
        for seq in 10..10 + OPEN_MAX as u64 {
            tally.told(0, seq, now);
        }
        assert_eq!(tally.open.len(), OPEN_MAX);
        assert_eq!(tally.skew.partial, 1, "the oldest is given up");
    }

    #[test]
    fn what_a_validator_tells_late_because_it_was_down_is_not_counted() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut tally = Tally::new(3);
        let all = |tally: &mut Tally<u64>, what, ms| {
            (0..3).for_each(|validator| tally.told(validator, what, at(ms + validator as u64)));
        };
        all(&mut tally, 1, 0);
        // Told by two when the third goes, and while it is away.
        (0..2).for_each(|validator| tally.told(validator, 2, at(10)));
        tally.left(2);
        (0..2).for_each(|validator| tally.told(validator, 3, at(20)));
        // It is back, and behind, and level with 3.
        tally.told(2, 2, at(2_000));
        tally.told(2, 3, at(2_000));
        (0..2).for_each(|validator| tally.told(validator, 4, at(2_001)));
        tally.told(2, 4, at(2_002));
        all(&mut tally, 5, 2_010);
        assert_eq!(tally.skew.latencies.count(), 3);
        let max = tally.skew.latencies.percentiles().max.unwrap();
        assert!((1_990.0..=2_010.0).contains(&max), "{max} us");
        assert_eq!(tally.finish().partial, 2);
    }
}
