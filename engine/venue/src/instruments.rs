//! What is traded.
//!
//! Owns the definition of an instrument and its status. Never: its orders.

use crate::wire::wire_enum;

/// Names an instrument: its place in the venue's configuration, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstrumentId(pub u32);

/// Bytes of an instrument's symbol at most.
pub const SYMBOL_BYTES_MAX: usize = 16;

/// Greatest price in ticks, up or down, that an instrument may allow.
pub const PRICE_TICKS_ABS_MAX: i64 = 1 << 53;

/// Greatest size in lots of one order that an instrument may allow. With
/// [`ORDERS_MAX`](crate::config::ORDERS_MAX) orders at this size, the sum over a level still fits
/// a `u64`.
pub const SIZE_LOTS_MAX: u64 = 1 << 39;

/// The definition of an instrument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instrument {
    /// What people call it: 1 to [`SYMBOL_BYTES_MAX`] printable ASCII characters, unique.
    pub symbol: String,
    /// Lowest price in ticks an order may have; may be negative.
    pub price_ticks_min: i64,
    /// Highest price in ticks an order may have.
    pub price_ticks_max: i64,
    /// Greatest size in lots an order may have.
    pub size_lots_max: u64,
}

wire_enum! {
    /// Whether an instrument trades.
    Status {
        /// Orders are taken.
        Trading = 0,
        /// Orders are refused; cancels and reductions are not.
        Halted = 1,
    }
}

/// An instrument as the venue holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) instrument: Instrument,
    pub(crate) status: Status,
}

impl Instrument {
    /// An instrument with the widest bounds there are and this symbol.
    #[must_use]
    pub fn with_symbol(symbol: &str) -> Self {
        Self {
            symbol: symbol.to_owned(),
            price_ticks_min: 0,
            price_ticks_max: PRICE_TICKS_ABS_MAX,
            size_lots_max: SIZE_LOTS_MAX,
        }
    }

    /// What is wrong with this definition by itself, if anything.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let printable = self.symbol.bytes().all(|byte| byte.is_ascii_graphic());
        let length = 1..=SYMBOL_BYTES_MAX;
        let prices = -PRICE_TICKS_ABS_MAX..=PRICE_TICKS_ABS_MAX;
        if !printable || !length.contains(&self.symbol.len()) {
            Some("symbol must be 1 to 16 printable ASCII characters")
        } else if !prices.contains(&self.price_ticks_min) || !prices.contains(&self.price_ticks_max)
        {
            Some("price bounds must be within 2^53 ticks of zero")
        } else if self.price_ticks_min > self.price_ticks_max {
            Some("price_ticks_min must not be above price_ticks_max")
        } else if !(1..=SIZE_LOTS_MAX).contains(&self.size_lots_max) {
            Some("size_lots_max must be 1 to 2^39")
        } else {
            None
        }
    }

    /// Whether an order may have this price.
    pub(crate) const fn allows_price(&self, price_ticks: i64) -> bool {
        self.price_ticks_min <= price_ticks && price_ticks <= self.price_ticks_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_field_is_found() {
        let good = Instrument::with_symbol("ABC");
        assert_eq!(good.fault(), None);
        let bad: [fn(&mut Instrument); 8] = [
            |i| i.symbol.clear(),
            |i| i.symbol = "A".repeat(17),
            |i| i.symbol = "A B".to_owned(),
            |i| i.price_ticks_max = PRICE_TICKS_ABS_MAX + 1,
            |i| i.price_ticks_min = -PRICE_TICKS_ABS_MAX - 1,
            |i| i.price_ticks_max = -1,
            |i| i.size_lots_max = 0,
            |i| i.size_lots_max = SIZE_LOTS_MAX + 1,
        ];
        for spoil in bad {
            let mut instrument = good.clone();
            spoil(&mut instrument);
            assert!(instrument.fault().is_some(), "{instrument:?}");
        }
    }
}
