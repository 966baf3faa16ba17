//! Option series: what they promise, and their lives.
//!
//! Owns the terms, the value of an exercise, and which series exist. Never: who holds them, nor
//! when they are settled.
//!
//! A series trades on a book of its own: listing it adds an instrument whose symbol is `#` and its
//! id. Its price ticks are the units of its feed, and a lot pays `multiplier` units of cash for
//! each unit of price. Series stay listed once settled: ids are never given twice.

use crate::accounts::AMOUNT_MAX;
use crate::feeds::FeedId;
use crate::instruments::{InstrumentId, SIZE_LOTS_MAX};
use crate::wire::{DecodeError, Reader, Writer, wire_enum};
use std::collections::{BTreeMap, BTreeSet};

/// Stands for times beyond it, which do not come: nothing is due then.
pub(crate) const NEVER_NS: u64 = u64::MAX;

/// What stands before the id in the symbol of a series.
pub(crate) const SYMBOL_MARK: char = '#';

/// The symbol of a series.
pub(crate) fn symbol(id: InstrumentId) -> String {
    format!("{SYMBOL_MARK}{}", id.0)
}

wire_enum! {
    /// What an option gives a right to.
    Right {
        /// To the price above the strike.
        Call = 0,
        /// To the strike above the price.
        Put = 1,
    }
}

wire_enum! {
    /// When an option may be exercised.
    ExerciseStyle {
        /// At expiry, by the venue.
        European = 0,
        /// By its holder at any time before, and at expiry by the venue.
        American = 1,
    }
}

wire_enum! {
    /// Where a series stands in its life.
    SeriesState {
        /// It trades.
        Trading = 0,
        /// It has expired, and waits for enough fresh samples.
        Deferred = 1,
        /// It is paid.
        Settled = 2,
    }
}

/// What an option series promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesTerms {
    /// The feed of its underlying.
    pub feed: FeedId,
    /// The strike, 1 to the greatest price of the feed.
    pub strike: i64,
    /// When it expires, replicated time.
    pub expiry_ns: u64,
    /// Call or put.
    pub right: Right,
    /// European or American.
    pub style: ExerciseStyle,
    /// Cash of one lot for one unit of price, from 1.
    pub multiplier: u32,
}

impl SeriesTerms {
    /// What an exercise of one lot pays when the underlying stands at `price`, in units of price:
    /// exact, and never negative.
    #[must_use]
    pub const fn intrinsic(&self, price: i64) -> i64 {
        let above = match self.right {
            Right::Call => price - self.strike,
            Right::Put => self.strike - price,
        };
        if above > 0 { above } else { 0 }
    }

    /// The cash of `lots` at `price`, exact.
    pub(crate) const fn cash(&self, price: i64, lots: u64) -> i128 {
        price as i128 * lots as i128 * self.multiplier as i128
    }

    /// Lots that one account may be long or short at most, so that what they pay fits an amount.
    pub(crate) fn lots_max(&self, price_max: i64) -> u64 {
        let each = self.cash(price_max, 1).max(1);
        let lots = i128::from(AMOUNT_MAX) / each;
        u64::try_from(lots).map_or(SIZE_LOTS_MAX, |lots| lots.min(SIZE_LOTS_MAX))
    }
}

/// A series and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    pub(crate) terms: SeriesTerms,
    pub(crate) state: SeriesState,
    /// When it is settled, or tried again; 0 once it is settled.
    pub(crate) due_ns: u64,
    /// The settlement price; 0 before.
    pub(crate) fixing: i64,
    /// See [`SeriesTerms::lots_max`].
    pub(crate) lots_max: u64,
}

/// All series that were ever listed.
#[derive(Debug, Default)]
pub(crate) struct SeriesList {
    all: BTreeMap<InstrumentId, Series>,
    /// Those not settled, by when they are due.
    due: BTreeSet<(u64, InstrumentId)>,
}

impl SeriesList {
    pub(crate) fn get(&self, id: InstrumentId) -> Option<&Series> {
        self.all.get(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (InstrumentId, &Series)> {
        self.all.iter().map(|(&id, series)| (id, series))
    }

    /// Sets a series, new or not.
    pub(crate) fn set(&mut self, id: InstrumentId, series: Series) {
        if let Some(old) = self.all.insert(id, series) {
            self.due.remove(&(old.due_ns, id));
        }
        if series.state != SeriesState::Settled {
            self.due.insert((series.due_ns, id));
        }
    }

    /// When the series that is due first is due.
    pub(crate) fn due_first_ns(&self) -> Option<u64> {
        self.due.first().map(|&(due_ns, _)| due_ns)
    }

    /// The series that are due at this time.
    pub(crate) fn due_at(&self, at_ns: u64) -> Vec<InstrumentId> {
        let all = (at_ns, InstrumentId(0))..=(at_ns, InstrumentId(u32::MAX));
        self.due.range(all).map(|&(_, id)| id).collect()
    }

    /// Whether a series of these terms exists that is not settled.
    pub(crate) fn has(&self, terms: &SeriesTerms) -> bool {
        let alike = |(_, id): &&(u64, InstrumentId)| {
            self.get(*id).is_some_and(|series| series.terms == *terms)
        };
        self.due.iter().any(|due| alike(&due))
    }
}

impl Series {
    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        let SeriesTerms {
            feed,
            strike,
            expiry_ns,
            right,
            style,
            multiplier,
        } = self.terms;
        w.u32(feed.0).i64(strike).u64(expiry_ns);
        w.u8(right as u8).u8(style as u8).u32(multiplier);
        w.u8(self.state as u8).u64(self.due_ns).i64(self.fixing);
    }

    /// Reads what [`write`](Self::write) wrote; `lots_max` is for the caller to fill.
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let terms = SeriesTerms {
            feed: FeedId(r.u32()?),
            strike: r.i64()?,
            expiry_ns: r.u64()?,
            right: r.choice("right", Right::from_u8)?,
            style: r.choice("style", ExerciseStyle::from_u8)?,
            multiplier: r.u32()?,
        };
        Ok(Self {
            terms,
            state: r.choice("state", SeriesState::from_u8)?,
            due_ns: r.u64()?,
            fixing: r.i64()?,
            lots_max: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(right: Right) -> SeriesTerms {
        SeriesTerms {
            feed: FeedId(0),
            strike: 100,
            expiry_ns: 1,
            right,
            style: ExerciseStyle::European,
            multiplier: 10,
        }
    }

    #[test]
    fn a_call_pays_above_its_strike_and_a_put_below() {
        let (call, put) = (terms(Right::Call), terms(Right::Put));
        for (price, of_call, of_put) in [(1, 0, 99), (99, 0, 1), (100, 0, 0), (101, 1, 0)] {
            assert_eq!(call.intrinsic(price), of_call);
            assert_eq!(put.intrinsic(price), of_put);
        }
        assert_eq!(call.cash(3, 7), 210);
    }

    #[test]
    fn a_position_is_bounded_so_that_what_it_pays_is_an_amount() {
        let call = terms(Right::Call);
        for price_max in [1, 1000, crate::feeds::FEED_PRICE_MAX] {
            let lots = call.lots_max(price_max);
            assert!(call.cash(price_max, lots) <= i128::from(AMOUNT_MAX));
        }
        assert_eq!(call.lots_max(1), SIZE_LOTS_MAX);
        let wide = SeriesTerms {
            multiplier: u32::MAX,
            ..call
        };
        assert_eq!(wide.lots_max(crate::feeds::FEED_PRICE_MAX), 0);
    }
}
