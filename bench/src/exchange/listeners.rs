//! When each validator tells one session the same.
//!
//! Owns a connection of one session to every validator and the times at which results come over
//! them. Never: submits anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quorate::client_wire::ServerFrame;
use quorate::keys::KeyPair;
use quorate_net::{ClientLinks, CloseReason, Limits, LinkHandler, LinkId};

use super::ExchangeError;
use crate::histogram::Latencies;
use crate::load::{Chain, SessionKey};

/// Longest wait for anything.
const LOOK: Duration = Duration::from_millis(50);
/// Wait before a validator that is not there is dialed again.
const REDIAL: Duration = Duration::from_millis(100);
/// Results that some validator has told and others have not yet; the oldest go first.
const OPEN_MAX: usize = 4_096;

/// From the first to the last validator that told one result.
#[derive(Debug, Default)]
pub struct Skew {
    /// Over the results that every validator told.
    pub latencies: Latencies,
    /// Results that some validator did not tell: it was down, or not yet connected.
    pub partial: u64,
}

struct Listening {
    /// By validator.
    links: Vec<Option<LinkId>>,
    dial_at: Vec<Instant>,
    /// When each validator told a result, by its number.
    open: BTreeMap<u64, Vec<Option<Instant>>>,
    skew: Skew,
    now: Instant,
}

impl Listening {
    fn validator(&self, link: LinkId) -> Option<usize> {
        self.links.iter().position(|at| *at == Some(link))
    }

    fn told(&mut self, validator: usize, seq: u64) {
        let validators = self.links.len();
        let times = self
            .open
            .entry(seq)
            .or_insert_with(|| vec![None; validators]);
        times[validator].get_or_insert(self.now);
        if times.iter().all(Option::is_some) {
            let times = self.open.remove(&seq).unwrap_or_default();
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
    fn link_up(&mut self, _: LinkId, _: u16, _: u64) {}

    fn link_down(&mut self, link: LinkId, _: CloseReason) {
        if let Some(validator) = self.validator(link) {
            self.links[validator] = None;
            self.dial_at[validator] = Instant::now() + REDIAL;
        }
    }

    fn link_frame(&mut self, link: LinkId, frame: &[u8]) {
        let Some(validator) = self.validator(link) else {
            return;
        };
        if let Ok((_, ServerFrame::Results(results))) = ServerFrame::decode(frame) {
            self.now = Instant::now();
            for result in results {
                self.told(validator, result.item.seq);
            }
        }
    }
}

/// Listens at every validator to the results of one session, until `stop` is set.
///
/// # Errors
/// This machine has no sockets left.
pub fn listen(chain: &Chain, key: &Arc<KeyPair>, stop: &AtomicBool) -> Result<Skew, ExchangeError> {
    let mut links = ClientLinks::new(Limits::default())?;
    let now = Instant::now();
    let validators = chain.addresses.len();
    let mut listening = Listening {
        links: vec![None; validators],
        dial_at: vec![now; validators],
        open: BTreeMap::new(),
        skew: Skew::default(),
        now,
    };
    while !stop.load(Ordering::Relaxed) {
        dial(chain, key, &mut links, &mut listening);
        links.turn(Instant::now(), Some(LOOK), &mut listening)?;
    }
    let mut skew = listening.skew;
    skew.partial += listening.open.len() as u64;
    Ok(skew)
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
        let mut listening = Listening {
            links: vec![None; 3],
            dial_at: vec![now; 3],
            open: BTreeMap::new(),
            skew: Skew::default(),
            now,
        };
        for (validator, at_us) in [(1, 0), (0, 40), (1, 90), (2, 100)] {
            listening.now = now + Duration::from_micros(at_us);
            listening.told(validator, 7);
            listening.told(0, 8);
        }
        assert_eq!(listening.skew.latencies.count(), 1);
        let max = listening.skew.latencies.percentiles().max.unwrap();
        assert!((99.0..=101.0).contains(&max), "{max}");
        assert_eq!(listening.open.len(), 1);
        for seq in 10..10 + OPEN_MAX as u64 {
            listening.told(0, seq);
        }
        assert_eq!(listening.open.len(), OPEN_MAX);
        assert_eq!(listening.skew.partial, 1, "the oldest is given up");
    }
}
