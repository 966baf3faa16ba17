//! Peers that refuse this validator: how often that is told.
//!
//! Owns since when each peer refuses, and when that was told last. Never: why it does, which only
//! the peer knows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Refusals for a fault, and of who comes too often, are over by then; those of an old incarnation
/// never are.
const TOLD_AFTER: Duration = Duration::from_secs(5);
/// How often one peer's refusals are told.
const TOLD_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
struct Refusing {
    since: Instant,
    told: Option<Instant>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    by_peer: BTreeMap<u16, Refusing>,
}

impl Refusals {
    /// A peer has refused this validator; for how long it has done so when that is to be told now.
    pub(super) fn note(&mut self, now: Instant, peer: u16) -> Option<Duration> {
        let refusing = self.by_peer.entry(peer).or_insert(Refusing {
            since: now,
            told: None,
        });
        let lasts = now.saturating_duration_since(refusing.since);
        let is_due = |told: Instant| now.saturating_duration_since(told) >= TOLD_EVERY;
        let is_told = lasts >= TOLD_AFTER && refusing.told.is_none_or(is_due);
        is_told.then(|| {
            refusing.told = Some(now);
            lasts
        })
    }

    /// A peer has sent something: it refuses no more. A connection alone shows nothing, since a
    /// peer that dials finds out only behind its own Hello whom it does not want.
    pub(super) fn heard(&mut self, peer: u16) {
        if !self.by_peer.is_empty() {
            self.by_peer.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refuses_for_long_is_told_once_a_minute_and_who_speaks_again_is_not() {
        let mut refusals = Refusals::default();
        let began = Instant::now();
        let mut told = Vec::new();
        for half_s in 0..300_u32 {
            let now = began + Duration::from_millis(500) * half_s;
            // A second peer refuses for a moment now and then.
            if half_s % 20 < 4 {
                assert_eq!(refusals.note(now, 2), None);
            } else {
                refusals.heard(2);
            }
            told.extend(refusals.note(now, 1).map(|lasts| lasts.as_secs()));
        }
        assert_eq!(told, [5, 65, 125]);
        refusals.heard(1);
        let later = began + Duration::from_secs(1_000);
        assert_eq!(refusals.note(later, 1), None);
        assert_eq!(refusals.note(later + TOLD_AFTER, 1), Some(TOLD_AFTER));
    }
}
