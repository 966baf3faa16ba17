//! Prices: what validators observe, and what the venue makes of it.
//!
//! Owns the feeds, the last observation of each validator, the states of a price and the samples
//! for fixings. Never: who may send an observation (that is settled before anything here is
//! called), nor what a price is used for.
//!
//! A feed counts time in rounds: round `r` lasts from `r * round_ns` of replicated time and is
//! closed by a timer at `(r + 1) * round_ns`. At its close the price of the round is the
//! stake-weighted lower median of the last observations of those validators whose observation is
//! at most `fresh_rounds` old. A missing observation is simply not counted, and an absurd one was
//! refused when it came, so that no observation can fail a block.
//!
//! A feed sleeps when no observation is fresh any more, and sets no timer: so however far
//! replicated time jumps, one jump closes at most `fresh_rounds + 2` rounds of a feed.

use crate::median::weighted_lower_median;
use crate::refusal::Refusal;
use crate::wire::{DecodeError, Reader, Writer, wire_enum};
use quorate::state_machine::SessionId;
use std::collections::VecDeque;

/// Names a feed: its place in the venue's configuration, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedId(pub u32);

/// Greatest price that a feed may allow, in the feed's own units.
pub const FEED_PRICE_MAX: i64 = 1 << 40;
/// Bounds of a round's length: 1 ms and 1 h.
pub const ROUND_NS_BOUNDS: (u64, u64) = (1_000_000, 3_600_000_000_000);
/// Rounds that an observation may stay fresh, at most.
pub const FRESH_ROUNDS_MAX: u32 = 1024;
/// Greatest move limit of a round, in hundredths of a percent: a hundredfold.
pub const MOVE_LIMIT_BPS_MAX: u32 = 1_000_000;

/// The definition of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedConfig {
    /// What people call it: 1 to 16 printable ASCII characters, unique among feeds.
    pub symbol: String,
    /// Length of a round in nanoseconds, within [`ROUND_NS_BOUNDS`].
    pub round_ns: u64,
    /// For how many rounds, its own included, an observation is fresh; 1 to
    /// [`FRESH_ROUNDS_MAX`].
    pub fresh_rounds: u32,
    /// By how much, in hundredths of a percent of the price taken before, a fresh price may move
    /// without halting the product; 1 to [`MOVE_LIMIT_BPS_MAX`].
    pub move_limit_bps: u32,
    /// Greatest price that may be observed, 1 to [`FEED_PRICE_MAX`].
    pub price_max: i64,
}

impl FeedConfig {
    /// A feed of one-second rounds with this symbol and the widest price bound.
    #[must_use]
    pub fn with_symbol(symbol: &str) -> Self {
        Self {
            symbol: symbol.to_owned(),
            round_ns: 1_000_000_000,
            fresh_rounds: 3,
            move_limit_bps: 1_000,
            price_max: FEED_PRICE_MAX,
        }
    }

    /// What is wrong with this definition by itself, if anything.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let printable = self.symbol.bytes().all(|byte| byte.is_ascii_graphic());
        let length = 1..=crate::instruments::SYMBOL_BYTES_MAX;
        if !printable || !length.contains(&self.symbol.len()) {
            Some("symbol must be 1 to 16 printable ASCII characters")
        } else if !(ROUND_NS_BOUNDS.0..=ROUND_NS_BOUNDS.1).contains(&self.round_ns) {
            Some("round_ns must be 1 ms to 1 h")
        } else if !(1..=FRESH_ROUNDS_MAX).contains(&self.fresh_rounds) {
            Some("fresh_rounds must be 1 to 1024")
        } else if !(1..=MOVE_LIMIT_BPS_MAX).contains(&self.move_limit_bps) {
            Some("move_limit_bps must be 1 to 1000000")
        } else if !(1..=FEED_PRICE_MAX).contains(&self.price_max) {
            Some("price_max must be 1 to 2^40")
        } else {
            None
        }
    }
}

/// A validator as the feeds know it: the session that its observations come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedValidator {
    /// The session of its feed key.
    pub session: SessionId,
    /// Its weight in the median, 1 to 2^53.
    pub stake: u64,
}

wire_enum! {
    /// How far the price of a round can be relied on.
    PriceState {
        /// At most a third of the stake has a fresh observation: there is no price.
        Stale = 0,
        /// More than a third: the price is shown and used for nothing.
        Degraded = 1,
        /// More than two thirds: less than a third of the stake cannot move the price outside
        /// the range of the others' observations.
        Fresh = 2,
    }
}

impl PriceState {
    /// The state when `fresh` of `all` stake has a fresh observation.
    pub(crate) const fn of_stake(fresh: u64, all: u64) -> Self {
        let (fresh, all) = (3 * fresh as u128, all as u128);
        if fresh > 2 * all {
            Self::Fresh
        } else if fresh > all {
            Self::Degraded
        } else {
            Self::Stale
        }
    }
}

/// What one validator saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The round it is for.
    pub round: u64,
    /// The price in the feed's units.
    pub price: i64,
    /// Half the width of the range in which the validator believes the price to be.
    pub confidence: i64,
    /// When the source gave it, nanoseconds since the Unix epoch.
    pub source_time_ns: u64,
}

/// A feed and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Feed {
    pub(crate) config: FeedConfig,
    /// The last observation of each validator.
    pub(crate) observations: Vec<Option<Observation>>,
    /// The round that is open; `None` while the feed sleeps.
    pub(crate) open: Option<u64>,
    /// As of the last close.
    pub(crate) state: PriceState,
    /// The median at the last close; 0 if there was none.
    pub(crate) shown: i64,
    /// The last price that was taken: fresh, within the move limit, not halted; 0 before the
    /// first.
    pub(crate) mark: i64,
    /// What the move limit measures from; 0 if the next fresh price is taken as it is.
    pub(crate) reference: i64,
    pub(crate) halted: bool,
    /// Round and price of the last prices that were taken, oldest first.
    pub(crate) samples: VecDeque<(u64, i64)>,
}

/// What the close of a round gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) round: u64,
    pub(crate) state: PriceState,
    /// The median; 0 while stale.
    pub(crate) price: i64,
    /// The stake-weighted median of the distances from the price; 0 while stale.
    pub(crate) dispersion: i64,
    pub(crate) fresh_stake: u64,
    /// Validator and price of each fresh observation.
    pub(crate) fresh: Vec<(u32, i64)>,
    /// The price was taken for margin and as a sample.
    pub(crate) taken: bool,
    /// The move limit halted the product now; the price it was measured from.
    pub(crate) halted_from: Option<i64>,
}

impl Feed {
    pub(crate) fn new(config: FeedConfig, validators: usize) -> Self {
        Self {
            config,
            observations: vec![None; validators],
            open: None,
            state: PriceState::Stale,
            shown: 0,
            mark: 0,
            reference: 0,
            halted: false,
            samples: VecDeque::new(),
        }
    }

    /// The price that margin and exercise may use now.
    pub(crate) fn usable(&self) -> Option<i64> {
        let usable = self.state == PriceState::Fresh && !self.halted && self.reference > 0;
        usable.then_some(self.mark)
    }

    /// When the open round closes.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        let round = self.open?;
        Some(round.saturating_add(1).saturating_mul(self.config.round_ns))
    }

    /// Takes an observation in, at this replicated time.
    pub(crate) fn observe(
        &mut self,
        time_ns: u64,
        validator: usize,
        observation: Observation,
    ) -> Result<(), Refusal> {
        let FeedConfig {
            round_ns,
            price_max,
            fresh_rounds,
            ..
        } = self.config;
        let fresh_rounds = u64::from(fresh_rounds);
        let Observation {
            round,
            price,
            confidence,
            source_time_ns,
        } = observation;
        let current = time_ns / round_ns;
        if !(1..=price_max).contains(&price) {
            return Err(Refusal::PriceAbsurd);
        }
        if !(0..=price).contains(&confidence) {
            return Err(Refusal::ConfidenceAbsurd);
        }
        if round > current + 1 || source_time_ns > time_ns.saturating_add(round_ns) {
            return Err(Refusal::ObservationAhead);
        }
        let age_max_ns = (fresh_rounds + 1) * round_ns;
        if round + fresh_rounds <= current || source_time_ns < time_ns.saturating_sub(age_max_ns) {
            return Err(Refusal::ObservationStale);
        }
        let slot = self
            .observations
            .get_mut(validator)
            .ok_or(Refusal::NotValidator)?;
        if slot.is_some_and(|last| last.round >= round) {
            return Err(Refusal::ObservationRepeated);
        }
        *slot = Some(observation);
        if self.open.is_none() {
            self.open = Some(current);
        }
        Ok(())
    }

    /// Closes the open round. `samples_max` bounds the samples that are kept.
    pub(crate) fn close(&mut self, validators: &[FeedValidator], samples_max: u32) -> Closed {
        let round = self.open.unwrap_or_default();
        let fresh_rounds = u64::from(self.config.fresh_rounds);
        let mut fresh = Vec::with_capacity(validators.len());
        let mut weighted = Vec::with_capacity(validators.len());
        for ((index, validator), seen) in (0..).zip(validators).zip(&self.observations) {
            if let Some(seen) = seen.filter(|seen| seen.round + fresh_rounds > round) {
                fresh.push((index, seen.price));
                weighted.push((seen.price, validator.stake));
            }
        }
        let fresh_stake = weighted.iter().map(|&(_, stake)| stake).sum();
        let all_stake = validators.iter().map(|validator| validator.stake).sum();
        self.state = PriceState::of_stake(fresh_stake, all_stake);
        self.open = (!fresh.is_empty()).then_some(round + 1);
        let median = weighted_lower_median(&mut weighted);
        let price = median.filter(|_| self.state != PriceState::Stale);
        let price = price.unwrap_or_default();
        self.shown = price;
        for (seen, _) in &mut weighted {
            *seen = (*seen - price).abs();
        }
        let dispersion = weighted_lower_median(&mut weighted).filter(|_| price > 0);
        let (taken, halted_from) = self.take(round, samples_max);
        Closed {
            round,
            state: self.state,
            price,
            dispersion: dispersion.unwrap_or_default(),
            fresh_stake,
            fresh,
            taken,
            halted_from,
        }
    }

    /// Takes the price that is shown for margin and as a sample, or halts the product.
    fn take(&mut self, round: u64, samples_max: u32) -> (bool, Option<i64>) {
        if self.state != PriceState::Fresh || self.halted {
            return (false, None);
        }
        let (price, before) = (self.shown, self.reference);
        let moved = i128::from((price - before).abs()) * 10_000;
        if before > 0 && moved > i128::from(before) * i128::from(self.config.move_limit_bps) {
            self.halted = true;
            return (false, Some(before));
        }
        self.mark = price;
        self.reference = price;
        self.samples.push_back((round, price));
        while self.samples.len() > samples_max as usize {
            self.samples.pop_front();
        }
        (true, None)
    }

    /// Ends a halt: the next fresh price is taken wherever it stands.
    pub(crate) fn resume(&mut self) -> Result<(), Refusal> {
        if !self.halted {
            return Err(Refusal::FeedNotHalted);
        }
        self.halted = false;
        self.reference = 0;
        Ok(())
    }

    /// The mean of the samples of these rounds, rounded down, and how many there are.
    pub(crate) fn mean(&self, first_round: u64, last_round: u64) -> (i64, u32) {
        let inside = |&&(round, _): &&(u64, i64)| (first_round..=last_round).contains(&round);
        let (mut sum, mut count) = (0_i64, 0_u32);
        for &(_, price) in self.samples.iter().filter(inside) {
            // At most 2^10 samples of at most 2^40 each.
            sum += price;
            count += 1;
        }
        (sum.checked_div(i64::from(count)).unwrap_or_default(), count)
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        let FeedConfig {
            ref symbol,
            round_ns,
            fresh_rounds,
            move_limit_bps,
            price_max,
        } = self.config;
        w.u8(symbol.len() as u8).bytes(symbol.as_bytes());
        w.u64(round_ns).u32(fresh_rounds).u32(move_limit_bps);
        w.i64(price_max);
        w.u8(u8::from(self.open.is_some()))
            .u64(self.open.unwrap_or_default());
        w.u8(self.state as u8).i64(self.shown).i64(self.mark);
        w.i64(self.reference).u8(u8::from(self.halted));
        for seen in &self.observations {
            w.u8(u8::from(seen.is_some()));
            if let Some(seen) = seen {
                w.u64(seen.round).i64(seen.price).i64(seen.confidence);
                w.u64(seen.source_time_ns);
            }
        }
        w.u32(self.samples.len() as u32);
        for &(round, price) in &self.samples {
            w.u64(round).i64(price);
        }
    }

    /// Reads what [`write`](Self::write) wrote; the caller checks the definition.
    pub(crate) fn read(r: &mut Reader<'_>, validators: usize) -> Result<Self, DecodeError> {
        let length = r.u8()?;
        let symbol: Vec<u8> = (0..length).map(|_| r.u8()).collect::<Result<_, _>>()?;
        let symbol = String::from_utf8(symbol).map_err(|_| r.field_error("symbol"))?;
        let config = FeedConfig {
            symbol,
            round_ns: r.u64()?,
            fresh_rounds: r.u32()?,
            move_limit_bps: r.u32()?,
            price_max: r.i64()?,
        };
        let mut feed = Self::new(config, validators);
        let awake = r.flag("open")?;
        let round = r.u64()?;
        feed.open = awake.then_some(round);
        if !awake && round != 0 {
            return Err(r.field_error("open"));
        }
        feed.state = r.choice("state", PriceState::from_u8)?;
        (feed.shown, feed.mark, feed.reference) = (r.i64()?, r.i64()?, r.i64()?);
        feed.halted = r.flag("halted")?;
        for slot in &mut feed.observations {
            if r.flag("observation")? {
                *slot = Some(Observation {
                    round: r.u64()?,
                    price: r.i64()?,
                    confidence: r.i64()?,
                    source_time_ns: r.u64()?,
                });
            }
        }
        let count = r.u32()?;
        for _ in 0..count {
            feed.samples.push_back((r.u64()?, r.i64()?));
        }
        Ok(feed)
    }

    /// What keeps this from being a state that a feed can come to, if anything.
    pub(crate) fn state_fault(&self, samples_max: u32) -> Option<&'static str> {
        let price_max = self.config.price_max;
        let priced = |price: i64| (0..=price_max).contains(&price);
        let rounds_max = u64::MAX / self.config.round_ns;
        let seen_fault = |seen: &Observation| {
            seen.price < 1
                || !priced(seen.price)
                || !(0..=seen.price).contains(&seen.confidence)
                || seen.round > rounds_max.saturating_add(1)
        };
        let rise = |pair: (&(u64, i64), &(u64, i64))| pair.0.0 < pair.1.0;
        let samples = &self.samples;
        if !priced(self.shown) || !priced(self.mark) || !priced(self.reference) {
            Some("a price is out of bounds")
        } else if self.open.is_some_and(|round| round > rounds_max) {
            Some("its open round lies beyond all time")
        } else if self.observations.iter().flatten().any(seen_fault) {
            Some("an observation is out of bounds")
        } else if samples.len() > samples_max as usize
            || !samples.iter().zip(samples.iter().skip(1)).all(rise)
            || samples.iter().any(|s| s.1 < 1 || !priced(s.1))
        {
            Some("its samples are too many, not in order or out of bounds")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests;
