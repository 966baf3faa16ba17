//! What is listed, and how the price of its underlying walks.
//!
//! Owns the parameters of the venue with accounts, the series, and a seeded walk of the price with
//! what each validator sees of it. Never: sends anything.

use quorate_venue::{ClearingCommand, ExerciseStyle, FeedId, Right};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::applications::{
    AccountParameters, FeedParameters, FeedValidatorParameters, RuleParameters,
};

/// The underlying.
pub(super) const FEED: FeedId = FeedId(0);
/// Length of a round, nanoseconds.
pub(super) const ROUND_NS: u64 = 200_000_000;
/// Rounds behind a settlement price, and the least that will do.
const WINDOW_ROUNDS: u32 = 5;
const SAMPLES_MIN: u32 = 3;

/// Where the price starts, how far a round moves it, and its bounds.
const PRICE_START: i64 = 10_000;
const STEP_MAX: u64 = 20;
const PRICE_MIN: i64 = 9_000;
const PRICE_MAX: i64 = 11_000;
/// How far a validator's view of the price is off at most.
const VIEW_MAX: u64 = 3;

/// Cash of one lot for one unit of price.
const MULTIPLIER: u32 = 10;
/// Greatest order, lots.
pub(super) const LOTS_MAX: u64 = 5;

/// One series, before its expiry is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listing {
    pub(super) strike: i64,
    pub(super) right: Right,
    pub(super) style: ExerciseStyle,
    /// When it expires, in percent of the run.
    pub(super) expiry_percent: u64,
}

/// Some end in the money wherever the price walks, others as it comes.
pub(super) const LISTINGS: [Listing; 4] = [
    Listing {
        strike: 8_500,
        right: Right::Call,
        style: ExerciseStyle::European,
        expiry_percent: 45,
    },
    Listing {
        strike: 10_000,
        right: Right::Put,
        style: ExerciseStyle::European,
        expiry_percent: 45,
    },
    Listing {
        strike: 10_000,
        right: Right::Call,
        style: ExerciseStyle::European,
        expiry_percent: 80,
    },
    Listing {
        strike: 8_500,
        right: Right::Call,
        style: ExerciseStyle::American,
        expiry_percent: 80,
    },
];

impl Listing {
    /// When it expires, nanoseconds since the Unix epoch, if the run began then and lasts so long.
    pub(super) const fn expiry_ns(&self, start_ns: u64, run_ns: u64) -> u64 {
        start_ns.saturating_add(run_ns / 100 * self.expiry_percent)
    }

    /// The command that lists it.
    pub(super) const fn command(&self, expiry_ns: u64) -> ClearingCommand {
        ClearingCommand::ListSeries {
            feed: FEED,
            strike: self.strike,
            expiry_ns,
            right: self.right,
            style: self.style,
            multiplier: MULTIPLIER,
            price_ticks_max: PRICE_MAX,
            size_lots_max: LOTS_MAX,
        }
    }

    /// What it is worth if exercised at this price of the underlying.
    pub(super) const fn intrinsic(&self, price: i64) -> i64 {
        let worth = match self.right {
            Right::Call => price - self.strike,
            Right::Put => self.strike - price,
        };
        if worth > 0 { worth } else { 0 }
    }
}

/// The accounts of the venue: one feed, observed by these validators.
#[must_use]
pub fn accounts(validators: Vec<FeedValidatorParameters>) -> AccountParameters {
    AccountParameters {
        validators,
        feeds: vec![FeedParameters {
            symbol: "IDX".to_owned(),
            round_ns: ROUND_NS,
            fresh_rounds: 3,
            move_limit_bps: 1_000,
            price_max: 1_000_000,
        }],
        rules: RuleParameters {
            window_rounds: WINDOW_ROUNDS,
            samples_min: SAMPLES_MIN,
            ..RuleParameters::default()
        },
    }
}

/// The price of the underlying.
#[derive(Debug)]
pub(super) struct Walk {
    noise: ChaCha8Rng,
    round: u64,
    price: i64,
}

impl Walk {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            noise: ChaCha8Rng::seed_from_u64(seed),
            round: 0,
            price: PRICE_START,
        }
    }

    /// The price now, which moves once a round.
    pub(super) fn price(&mut self, round: u64) -> i64 {
        if round > self.round {
            self.round = round;
            self.price = (self.price + self.off(STEP_MAX)).clamp(PRICE_MIN, PRICE_MAX);
        }
        self.price
    }

    /// What one validator sees of it in this round, and within which range it believes it.
    pub(super) fn view(&mut self, round: u64) -> (i64, i64) {
        let price = self.price(round);
        (price + self.off(VIEW_MAX), VIEW_MAX.cast_signed())
    }

    /// A number from `-most` to `most`.
    fn off(&mut self, most: u64) -> i64 {
        let drawn = self.noise.next_u64() % (2 * most + 1);
        drawn.cast_signed() - most.cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_depends_on_its_seed_alone_and_stays_within_its_bounds() {
        let (mut one, mut same, mut other) = (Walk::new(1), Walk::new(1), Walk::new(2));
        let mut differs = false;
        for round in 1..5_000 {
            let before = one.price;
            let price = one.price(round);
            assert_eq!(price, one.price(round), "it moves once a round");
            assert!((PRICE_MIN..=PRICE_MAX).contains(&price));
            assert!(price.abs_diff(before) <= STEP_MAX);
            assert_eq!(price, same.price(round));
            differs |= price != other.price(round);
            let (view, confidence) = one.view(round);
            assert_eq!(same.view(round), (view, confidence));
            assert!(price.abs_diff(view) <= confidence.unsigned_abs());
        }
        assert!(differs);
    }

    #[test]
    fn the_first_and_the_last_series_are_in_the_money_wherever_the_price_walks() {
        for price in [PRICE_MIN, PRICE_START, PRICE_MAX] {
            assert!(LISTINGS[0].intrinsic(price) > 0 && LISTINGS[3].intrinsic(price) > 0);
        }
        assert_eq!(LISTINGS[1].intrinsic(9_990), 10);
        assert_eq!(LISTINGS[1].intrinsic(10_010), 0);
        assert_eq!(LISTINGS[0].expiry_ns(1_000, 10_000), 5_500);
    }
}
