//! Which prices become observations.
//!
//! Owns the choice: one observation a feed and round, the first price that comes in it, as the
//! venue takes no second. Never: reads a clock; the caller says what time it is.

use quorate_venue::{ClearingCommand, Command, FeedConfig, FeedId};

use super::line::PriceLine;

/// Why a price cannot be an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeederError {
    /// The chain has no such feed.
    #[error("feed {feed}: the chain has feeds 0 to {last}")]
    UnknownFeed {
        /// Which was named.
        feed: u32,
        /// The last there is.
        last: usize,
    },
}

/// Turns prices into observations.
#[derive(Clone, Debug)]
pub struct Feeder {
    /// Length of a round of each feed, and the round observed last.
    feeds: Vec<(u64, Option<u64>)>,
    /// The first time in the source and the time it stands for, when a recording is replayed.
    origin: Option<(u64, u64)>,
}

impl Feeder {
    /// A feeder for a chain with these feeds.
    #[must_use]
    pub fn new(feeds: &[FeedConfig]) -> Self {
        Self {
            feeds: feeds.iter().map(|feed| (feed.round_ns, None)).collect(),
            origin: None,
        }
    }

    /// When a price of a recording is due, if the first of them was due at `start_ns`.
    pub fn replayed(&mut self, line: PriceLine, start_ns: u64) -> PriceLine {
        let (first_ns, start_ns) = *self.origin.get_or_insert((line.source_time_ns, start_ns));
        let since_ns = line.source_time_ns.saturating_sub(first_ns);
        PriceLine {
            source_time_ns: start_ns.saturating_add(since_ns),
            ..line
        }
    }

    /// The observation that a price makes at `now_ns`; `None` if the feed has one in this round.
    ///
    /// # Errors
    /// The chain has no such feed.
    pub fn observe(
        &mut self,
        line: &PriceLine,
        now_ns: u64,
    ) -> Result<Option<Command>, FeederError> {
        let last = self.feeds.len().saturating_sub(1);
        let FeedId(feed) = line.feed;
        let state = self.feeds.get_mut(feed as usize);
        let (round_ns, observed) = state.ok_or(FeederError::UnknownFeed { feed, last })?;
        let round = now_ns / (*round_ns).max(1);
        if observed.is_some_and(|observed| observed >= round) {
            return Ok(None);
        }
        *observed = Some(round);
        Ok(Some(Command::Clearing(ClearingCommand::Observe {
            feed: line.feed,
            round,
            price: line.price,
            confidence: line.confidence,
            source_time_ns: line.source_time_ns,
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(feed: u32, price: i64, source_time_ns: u64) -> PriceLine {
        PriceLine {
            feed: FeedId(feed),
            price,
            confidence: 1,
            source_time_ns,
        }
    }

    #[test]
    fn a_feed_is_observed_once_a_round() {
        let slow = FeedConfig {
            round_ns: 5_000_000_000,
            ..FeedConfig::with_symbol("B")
        };
        let mut feeder = Feeder::new(&[FeedConfig::with_symbol("A"), slow]);
        let mut rounds = |feed, now_ns| match feeder.observe(&line(feed, 7, now_ns), now_ns) {
            Ok(Some(Command::Clearing(ClearingCommand::Observe { round, .. }))) => Some(round),
            Ok(None) => None,
            other => panic!("{other:?}"),
        };
        let second = 1_000_000_000;
        assert_eq!(rounds(0, 10 * second), Some(10));
        assert_eq!(rounds(0, 11 * second - 1), None);
        assert_eq!(rounds(1, 11 * second - 1), Some(2));
        assert_eq!(rounds(0, 11 * second), Some(11));
        assert_eq!(rounds(1, 14 * second), None);
        assert_eq!(
            rounds(0, 9 * second),
            None,
            "a clock that falls back is waited for"
        );
        let error = feeder.observe(&line(2, 7, 0), 0);
        assert_eq!(error, Err(FeederError::UnknownFeed { feed: 2, last: 1 }));
    }

    #[test]
    fn a_recording_is_replayed_at_its_own_pace() {
        let mut feeder = Feeder::new(&[FeedConfig::with_symbol("A")]);
        let times = [500, 520, 510, u64::MAX].map(|time_ns| {
            let replayed = feeder.replayed(line(0, 1, time_ns), 9_000);
            replayed.source_time_ns
        });
        assert_eq!(times, [9_000, 9_020, 9_010, u64::MAX]);
    }
}
