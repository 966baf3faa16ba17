//! `quorate log replay --fixings`: every settlement price of a venue, counted anew.
//!
//! Owns the mean over the prices that the log's own blocks say were taken. Never: asks the venue
//! what it has kept of them; only what it told everybody is believed, and held against itself.

use std::collections::BTreeMap;
use std::path::Path;

use quorate::results::BlockResults;
use quorate::state_machine::Audience;
use quorate_bench::applications::Hosted;
use quorate_venue::clearing::WINDOW_ROUNDS_MAX;
use quorate_venue::{FeedId, InstrumentId, PriceState, PublicEvent};
use serde::Serialize;

use super::replay::{lost_end, shortfall, sound};
use crate::applications::Applications;
use crate::failure::{Code, Failure};
use crate::inspect::replay::{
    Replay, failure_of, first_state, genesis_of, snapshots_beside, wants_block,
};
use crate::output::{Report, table};

/// A closed round in the window of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Sample {
    round: u64,
    price: i64,
    state: &'static str,
    /// It counts.
    taken: bool,
}

/// A series that was settled.
#[derive(Debug, Serialize)]
struct Settlement {
    height: u64,
    instrument: u32,
    /// None where the series was listed below what was executed.
    feed: Option<u32>,
    /// The settlement price that was told, and of how many samples.
    price: i64,
    samples: u32,
    first_round: u64,
    last_round: u64,
    /// What was told of the rounds of the window.
    rounds: Vec<Sample>,
    /// The mean of those that were taken, rounded down; none without any.
    counted: Option<i64>,
    /// Whether mean and number are those that were told; none where a part of the window lies below
    /// what was executed.
    equal: Option<bool>,
    lots: u64,
    paid: i64,
    fund_paid: i64,
}

/// A settlement that was put off.
#[derive(Debug, Serialize)]
struct Deferral {
    height: u64,
    instrument: u32,
    samples: u32,
    samples_min: u32,
    next_ns: u64,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Fixings {
    /// Last height executed.
    height: u64,
    /// The height that was asked for, if one was.
    #[serde(skip)]
    to: Option<u64>,
    /// Where the log ends, whatever of it was executed.
    #[serde(skip)]
    end: u64,
    /// The snapshot that was begun with, where it is of a block above that: the log has lost it.
    above_end: Vec<u64>,
    settlements: Vec<Settlement>,
    deferrals: Vec<Deferral>,
    /// Something may have been told below what was executed.
    #[serde(skip)]
    is_part: bool,
    #[serde(skip)]
    feed_of: BTreeMap<InstrumentId, FeedId>,
    /// The last rounds of each feed, as many as a window can have.
    #[serde(skip)]
    closed: BTreeMap<FeedId, BTreeMap<u64, Sample>>,
}

const fn name_of(state: PriceState) -> &'static str {
    match state {
        PriceState::Fresh => "fresh",
        PriceState::Degraded => "degraded",
        PriceState::Stale => "stale",
    }
}

impl Fixings {
    fn take(&mut self, results: &BlockResults) {
        for output in results.outputs() {
            if output.audience == Audience::Public
                && let Ok(event) = PublicEvent::decode(output.bytes)
            {
                self.hear(results.height, &event);
            }
        }
    }

    fn hear(&mut self, height: u64, event: &PublicEvent) {
        match *event {
            PublicEvent::SeriesListed {
                instrument, feed, ..
            } => {
                self.feed_of.insert(instrument, feed);
            }
            PublicEvent::PriceClosed {
                feed,
                round,
                state,
                price,
                taken,
                ..
            } => {
                let closed = self.closed.entry(feed).or_default();
                let state = name_of(state);
                let sample = Sample {
                    round,
                    price,
                    state,
                    taken,
                };
                closed.insert(round, sample);
                if closed.len() > WINDOW_ROUNDS_MAX as usize {
                    closed.pop_first();
                }
            }
            PublicEvent::Settled { .. } => self.settled(height, event),
            PublicEvent::SettlementDeferred {
                instrument,
                samples,
                samples_min,
                next_ns,
            } => self.deferrals.push(Deferral {
                height,
                instrument: instrument.0,
                samples,
                samples_min,
                next_ns,
            }),
            _ => {}
        }
    }

    fn settled(&mut self, height: u64, event: &PublicEvent) {
        let PublicEvent::Settled {
            instrument,
            price,
            samples,
            first_round,
            last_round,
            lots,
            paid,
            fund_paid,
        } = *event
        else {
            return;
        };
        let feed = self.feed_of.get(&instrument).copied();
        let closed = feed.and_then(|feed| self.closed.get(&feed));
        let window = closed
            .into_iter()
            .filter(|_| first_round <= last_round)
            .flat_map(|closed| closed.range(first_round..=last_round));
        let rounds: Vec<Sample> = window.map(|(_, &sample)| sample).collect();
        let taken = || rounds.iter().filter(|sample| sample.taken);
        let (count, sum) = (
            taken().count(),
            taken().map(|s| i128::from(s.price)).sum::<i128>(),
        );
        let mean = sum.checked_div_euclid(count as i128);
        let counted = mean.and_then(|mean| i64::try_from(mean).ok());
        // A window whose samples were all seen can be judged wherever the execution began.
        let is_seen = !self.is_part || (feed.is_some() && count >= samples as usize);
        let equal = counted == Some(price) && count == samples as usize;
        self.settlements.push(Settlement {
            height,
            instrument: instrument.0,
            feed: feed.map(|feed| feed.0),
            price,
            samples,
            first_round,
            last_round,
            rounds,
            counted,
            equal: is_seen.then_some(equal),
            lots,
            paid,
            fund_paid,
        });
    }

    /// What is not judged, or judged equal, is no "no"; a log that ends too early is one.
    fn code(&self) -> Code {
        let differs = |one: &Settlement| one.equal == Some(false);
        let is_short = shortfall(self.height, self.to).is_some() || !self.above_end.is_empty();
        match is_short || self.settlements.iter().any(differs) {
            true => Code::No,
            false => Code::Done,
        }
    }

    fn text(&self) -> String {
        let mut settled = table(&[
            "series", "height", "price", "rounds", "taken", "counted", "equal", "samples",
        ]);
        for one in &self.settlements {
            let sample = |sample: &Sample| match sample.taken {
                true => sample.price.to_string(),
                false => format!("({} {})", sample.state, sample.price),
            };
            let samples: Vec<_> = one.rounds.iter().map(sample).collect();
            let equal = match one.equal {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "not seen",
            };
            settled.add_row(vec![
                format!("#{}", one.instrument),
                one.height.to_string(),
                one.price.to_string(),
                format!("{}-{}", one.first_round, one.last_round),
                one.samples.to_string(),
                one.counted
                    .map_or_else(|| "-".to_owned(), |c| c.to_string()),
                equal.to_owned(),
                samples.join(" "),
            ]);
        }
        let mut deferred = table(&["deferred", "height", "samples", "needed", "next (ns)"]);
        for one in &self.deferrals {
            deferred.add_row(vec![
                format!("#{}", one.instrument),
                one.height.to_string(),
                one.samples.to_string(),
                one.samples_min.to_string(),
                one.next_ns.to_string(),
            ]);
        }
        let (settlements, deferrals) = (self.settlements.len(), self.deferrals.len());
        let mut text = format!(
            "{settlements} settlements and {deferrals} deferrals up to height {}",
            self.height
        );
        for (rows, table) in [(settlements, settled), (deferrals, deferred)] {
            if rows > 0 {
                text.push_str(&format!("\n{table}"));
            }
        }
        text.extend(shortfall(self.height, self.to));
        text.extend(lost_end(self.end, self.above_end.last()));
        text
    }
}

/// Executes a log again and counts the settlement prices of its venue.
///
/// # Errors
/// The log cannot be executed, or its application is no venue.
pub(super) fn run(
    applications: &Applications,
    folder: &Path,
    from: Option<u64>,
    to: Option<u64>,
) -> Result<Report, Failure> {
    let verification = sound(folder)?;
    let genesis = genesis_of(folder)?;
    let snapshots = snapshots_beside(folder);
    let mut fixings = Fixings {
        is_part: from.is_some() || first_state(&genesis, folder).is_some(),
        to,
        ..Fixings::default()
    };
    let mut on_block = |_: &mut _, _: &_, results: &_| fixings.take(results);
    let from = from.map(|height| (height, &snapshots));
    let to = to.unwrap_or(u64::MAX);
    let mut replay = Replay::begin(applications, &genesis, folder, from, to, &mut on_block)?;
    if !matches!(replay.executor().app(), Hosted::Venue(_)) {
        let what = "the application of this chain is no venue: it has no settlements";
        return Err(Failure::new(Code::Configuration, what));
    }
    replay.run(folder, &verification)?;
    let end = replay.end;
    let (executor, _) = replay.finish();
    (fixings.height, fixings.end) = (executor.height(), end);
    if let Some((height, _)) = from.filter(|&(height, _)| height > end)
        && wants_block(&snapshots, height).map_err(|error| failure_of(&error))?
    {
        fixings.above_end.push(height);
    }
    Ok(Report::new(&fixings, fixings.text())?.with_code(fixings.code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIES: InstrumentId = InstrumentId(3);

    fn listed() -> PublicEvent {
        PublicEvent::SeriesListed {
            instrument: SERIES,
            feed: FeedId(1),
            strike: 100,
            expiry_ns: 9,
            right: quorate_venue::Right::Call,
            style: quorate_venue::ExerciseStyle::European,
            multiplier: 1,
            price_ticks_max: 9,
            size_lots_max: 9,
        }
    }

    fn closed(feed: u32, round: u64, price: i64, taken: bool) -> PublicEvent {
        PublicEvent::PriceClosed {
            feed: FeedId(feed),
            round,
            state: PriceState::Fresh,
            price,
            dispersion: 0,
            fresh_stake: 1,
            taken,
        }
    }

    fn settled(price: i64, samples: u32) -> PublicEvent {
        PublicEvent::Settled {
            instrument: SERIES,
            price,
            samples,
            first_round: 5,
            last_round: 8,
            lots: 1,
            paid: 1,
            fund_paid: 0,
        }
    }

    fn heard(is_part: bool, events: &[PublicEvent]) -> Fixings {
        let mut fixings = Fixings {
            is_part,
            ..Fixings::default()
        };
        events.iter().for_each(|event| fixings.hear(7, event));
        fixings
    }

    /// The prices of rounds 4 to 9, of which 4 and 9 are outside and 7 was not taken.
    fn window() -> Vec<PublicEvent> {
        let prices = [(4, 900), (5, 110), (6, 111), (7, 999), (8, 112), (9, 900)];
        let mut events = vec![listed()];
        for (round, price) in prices {
            events.push(closed(0, round, 1, true));
            events.push(closed(1, round, price, round != 7));
        }
        events
    }

    #[test]
    fn a_settlement_price_is_counted_from_what_was_taken_of_its_feed_in_its_window() {
        for (price, samples, equal) in [(111, 3, true), (112, 3, false), (111, 4, false)] {
            let fixings = heard(false, &[window(), vec![settled(price, samples)]].concat());
            let [one] = &fixings.settlements[..] else {
                panic!("{fixings:?}");
            };
            assert_eq!((one.counted, one.equal), (Some(111), Some(equal)));
            assert_eq!(fixings.code() == Code::Done, equal);
            let rounds: Vec<_> = one.rounds.iter().map(|s| (s.round, s.taken)).collect();
            assert_eq!(rounds, [(5, true), (6, true), (7, false), (8, true)]);
            let told = if equal { "yes" } else { "NO" };
            let text = fixings.text();
            assert!(text.contains(&format!("| {told} ")), "{text}");
            assert!(text.contains("110 111 (fresh 999) 112"), "{text}");
        }
    }

    #[test]
    fn what_was_told_below_the_begin_is_not_judged() {
        let unlisted = heard(
            true,
            &[window()[1..].to_vec(), vec![settled(111, 3)]].concat(),
        );
        assert_eq!(unlisted.settlements[0].equal, None);
        assert_eq!(unlisted.code(), Code::Done);
        let late = heard(true, &[listed(), closed(1, 8, 112, true), settled(111, 3)]);
        assert_eq!(late.settlements[0].equal, None);
        // Nothing lies below a whole log: then it is a difference.
        let whole = heard(false, &[listed(), closed(1, 8, 112, true), settled(111, 3)]);
        assert_eq!(whole.settlements[0].equal, Some(false));
        assert_eq!(whole.code(), Code::No);
        let seen = heard(true, &[window(), vec![settled(112, 3)]].concat());
        assert_eq!(seen.settlements[0].equal, Some(false));
    }

    /// As `log replay --to` without it.
    #[test]
    fn a_log_that_ends_below_the_height_asked_for_is_a_no_and_says_so() {
        for (to, expected) in [
            (None, Code::Done),
            (Some(9), Code::Done),
            (Some(10), Code::No),
        ] {
            let mut fixings = heard(false, &[window(), vec![settled(111, 3)]].concat());
            (fixings.height, fixings.to) = (9, to);
            assert_eq!(fixings.code(), expected, "{to:?}");
            let text = fixings.text();
            let says = text.ends_with("the log ends at height 9, below --to 10");
            assert_eq!(says, expected == Code::No, "{text}");
        }
    }

    #[test]
    fn a_log_that_ends_below_the_snapshot_that_was_begun_with_is_a_no_and_says_so() {
        let mut fixings = heard(true, &[]);
        fixings.height = 12;
        assert_eq!(fixings.code(), Code::Done);
        let told = |fixings: &Fixings| serde_json::to_value(fixings).unwrap()["above_end"].clone();
        assert_eq!(told(&fixings), serde_json::json!([]));
        (fixings.end, fixings.above_end) = (9, vec![12]);
        assert_eq!(fixings.code(), Code::No);
        assert_eq!(told(&fixings), serde_json::json!([12]));
        assert!(
            fixings.text().contains("THE LOG ENDS at height 9"),
            "{}",
            fixings.text()
        );
    }

    #[test]
    fn a_deferral_is_listed() {
        let fixings = heard(
            false,
            &[PublicEvent::SettlementDeferred {
                instrument: SERIES,
                samples: 2,
                samples_min: 3,
                next_ns: 11,
            }],
        );
        let [one] = &fixings.deferrals[..] else {
            panic!("{fixings:?}");
        };
        assert_eq!((one.instrument, one.samples, one.next_ns), (3, 2, 11));
        assert!(fixings.text().contains("1 deferrals"), "{}", fixings.text());
    }
}
