//! What a venue is made from.
//!
//! Owns the configuration, its bounds and its checks. Never: a file format; whoever embeds the
//! venue fills these structs. The configuration becomes state when the venue is made: it is part
//! of the roots and of the snapshots, so validators that differ in it are found out at once.

use crate::clearing::{ClearingConfig, FEED_VALIDATORS_MAX, FEEDS_MAX, STAKE_MAX};
use crate::instruments::Instrument;
use crate::series;
use quorate::state_machine::SessionId;
use thiserror::Error;

/// Instruments at most.
pub const INSTRUMENTS_MAX: usize = 4096;

/// Administrators at most.
pub const ADMINS_MAX: usize = 64;

/// Greatest value of [`VenueLimits::orders_max`].
pub const ORDERS_MAX: u32 = 1 << 24;

/// Price levels that one depth question may ask for.
pub const DEPTH_LEVELS_MAX: u16 = 1024;

/// Price levels and resting orders, together, that are looked at to foresee how one order would
/// end: whether a fill-or-kill order fills, or one that finds no room needs any. To ask costs no
/// fee and leaves no trace, so it must be no more work than a command is; whoever wants to sweep
/// more prices sends more orders. All validators of a chain must have the same.
pub const LOOKS_MAX: u32 = 1024;

// The sum of all open sizes of a level is kept in a u64.
const _: () = assert!((ORDERS_MAX as u128) * (crate::instruments::SIZE_LOTS_MAX as u128) < 1 << 64);

/// Sessions without which no side of a book should be full: see
/// [`VenueLimits::few_may_fill_a_side`].
pub const SESSIONS_PER_SIDE_MIN: u32 = 4;

/// How much the venue holds at most. What would go beyond is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VenueLimits {
    /// Resting orders of all sessions and instruments, 1 to [`ORDERS_MAX`].
    pub orders_max: u32,
    /// Resting orders of one session, from 1. Also bounds what one mass cancel does.
    pub orders_per_session_max: u32,
    /// Price levels on one side of one book, from 1.
    pub levels_per_side_max: u32,
}

impl Default for VenueLimits {
    fn default() -> Self {
        Self {
            orders_max: 1 << 20,
            orders_per_session_max: 1 << 14,
            levels_per_side_max: 1 << 16,
        }
    }
}

/// What a venue is made from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct VenueConfig {
    /// The instruments; their places in this list are their ids.
    pub instruments: Vec<Instrument>,
    /// The sessions that may halt and resume, in any order.
    pub admins: Vec<SessionId>,
    /// How much the venue holds at most.
    pub limits: VenueLimits,
    /// Accounts, feeds and option series; without it the venue matches orders and no more.
    pub clearing: Option<ClearingConfig>,
}

/// Why no venue can be made from a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// Too many instruments, or none.
    #[error("a venue has 1 to {INSTRUMENTS_MAX} instruments, not {0}")]
    InstrumentCount(usize),
    /// An instrument's definition is wrong.
    #[error("instrument {index}: {fault}")]
    Instrument {
        /// Its place in the list.
        index: usize,
        /// What is wrong.
        fault: &'static str,
    },
    /// Two instruments have the same symbol.
    #[error("two instruments are called {0}")]
    SymbolTwice(String),
    /// Too many administrators.
    #[error("a venue has at most {ADMINS_MAX} administrators, not {0}")]
    AdminCount(usize),
    /// An administrator is named twice.
    #[error("administrator {0:?} is named twice")]
    AdminTwice(SessionId),
    /// A limit is zero or above its bound.
    #[error("limit {name} must be 1 to {max}, not {value}")]
    Limit {
        /// The name of the field.
        name: &'static str,
        /// Its value.
        value: u32,
        /// Its bound.
        max: u32,
    },
    /// A symbol that is kept for option series.
    #[error("symbol {0} begins with #, which stands before the id of an option series")]
    SymbolReserved(String),
    /// Too many validators of feeds, or none.
    #[error("feeds have 1 to {FEED_VALIDATORS_MAX} validators, not {0}")]
    ValidatorCount(usize),
    /// A validator's stake is zero or too large.
    #[error("stake of feed validator {0} must be 1 to {STAKE_MAX}")]
    Stake(usize),
    /// A validator is named twice.
    #[error("feed validator {0:?} is named twice")]
    ValidatorTwice(SessionId),
    /// Too many feeds, or none.
    #[error("a venue with accounts has 1 to {FEEDS_MAX} feeds, not {0}")]
    FeedCount(usize),
    /// A feed's definition is wrong.
    #[error("feed {index}: {fault}")]
    Feed {
        /// Its place in the list.
        index: usize,
        /// What is wrong.
        fault: &'static str,
    },
}

impl VenueLimits {
    /// Whether fewer than [`SESSIONS_PER_SIDE_MIN`] sessions may have orders at all the prices that
    /// a side of a book can have, far from where it trades, so that an order of anybody else at
    /// another price is refused with [`Refusal::LevelsFull`](crate::Refusal::LevelsFull), the best
    /// one too. No error, since chains have begun with such limits, which are part of their state:
    /// whoever starts a venue should say so.
    #[must_use]
    pub const fn few_may_fill_a_side(&self) -> bool {
        let few = SESSIONS_PER_SIDE_MIN - 1;
        self.orders_per_session_max as u64 * few as u64 >= self.levels_per_side_max as u64
    }

    /// Checks each limit against its bound.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let limits = [
            ("orders_max", self.orders_max),
            ("orders_per_session_max", self.orders_per_session_max),
            ("levels_per_side_max", self.levels_per_side_max),
        ];
        for (name, value) in limits {
            if !(1..=ORDERS_MAX).contains(&value) {
                return Err(ConfigError::Limit {
                    name,
                    value,
                    max: ORDERS_MAX,
                });
            }
        }
        Ok(())
    }
}

/// Checks the instruments, each by itself and together.
pub(crate) fn check_instruments<'a>(
    instruments: impl ExactSizeIterator<Item = &'a Instrument>,
) -> Result<(), ConfigError> {
    if !(1..=INSTRUMENTS_MAX).contains(&instruments.len()) {
        return Err(ConfigError::InstrumentCount(instruments.len()));
    }
    let mut symbols = Vec::with_capacity(instruments.len());
    for (index, instrument) in instruments.enumerate() {
        if let Some(fault) = instrument.fault() {
            return Err(ConfigError::Instrument { index, fault });
        }
        symbols.push(instrument.symbol.as_str());
    }
    symbols.sort_unstable();
    match symbols.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(ConfigError::SymbolTwice(pair[0].to_owned())),
        None => Ok(()),
    }
}

/// Checks that no instrument is called like an option series.
pub(crate) fn check_reserved(instruments: &[Instrument]) -> Result<(), ConfigError> {
    let reserved = |i: &&Instrument| i.symbol.starts_with(series::SYMBOL_MARK);
    match instruments.iter().find(reserved) {
        Some(instrument) => Err(ConfigError::SymbolReserved(instrument.symbol.clone())),
        None => Ok(()),
    }
}

/// Checks the administrators and sorts them, so that their order in a file does not matter.
pub(crate) fn check_admins(mut admins: Vec<SessionId>) -> Result<Vec<SessionId>, ConfigError> {
    if admins.len() > ADMINS_MAX {
        return Err(ConfigError::AdminCount(admins.len()));
    }
    admins.sort_unstable();
    match admins.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(ConfigError::AdminTwice(pair[0])),
        None => Ok(admins),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruments_are_counted_and_their_symbols_are_unique() {
        let named = |symbols: &[&str]| -> Vec<Instrument> {
            symbols
                .iter()
                .map(|symbol| Instrument::with_symbol(symbol))
                .collect()
        };
        let check = |list: Vec<Instrument>| check_instruments(list.iter());
        assert_eq!(check(named(&["A", "B"])), Ok(()));
        assert_eq!(check(Vec::new()), Err(ConfigError::InstrumentCount(0)));
        let many = |count: usize| {
            let instrument = |number| Instrument::with_symbol(&format!("I{number}"));
            check((0..count).map(instrument).collect())
        };
        assert_eq!(many(4_096), Ok(()));
        assert_eq!(many(4_097), Err(ConfigError::InstrumentCount(4_097)));
        let twice = check(named(&["A", "B", "A"]));
        assert_eq!(twice, Err(ConfigError::SymbolTwice("A".to_owned())));
        let bad = check(named(&["A", ""]));
        assert!(matches!(bad, Err(ConfigError::Instrument { index: 1, .. })));
    }

    #[test]
    fn the_symbols_of_series_are_kept_for_them() {
        let error = check_reserved(&[Instrument::with_symbol("#1")]);
        assert_eq!(error, Err(ConfigError::SymbolReserved("#1".to_owned())));
        assert_eq!(check_reserved(&[Instrument::with_symbol("A#1")]), Ok(()));
    }

    #[test]
    fn admins_are_sorted_and_unique() {
        let (a, b) = (SessionId([1; 16]), SessionId([2; 16]));
        assert_eq!(check_admins(vec![b, a]), Ok(vec![a, b]));
        assert_eq!(check_admins(vec![b, a, b]), Err(ConfigError::AdminTwice(b)));
        assert_eq!(check_admins(vec![a; 65]), Err(ConfigError::AdminCount(65)));
    }

    #[test]
    fn a_side_is_full_by_four_sessions_or_more_by_default_and_not_with_the_limits_of_before() {
        let limits = VenueLimits::default();
        assert!(!limits.few_may_fill_a_side());
        let with = |orders_per_session_max, levels_per_side_max| VenueLimits {
            orders_per_session_max,
            levels_per_side_max,
            ..limits
        };
        assert!(with(1 << 16, 1 << 16).few_may_fill_a_side());
        assert!(with(10, 30).few_may_fill_a_side());
        assert!(!with(10, 31).few_may_fill_a_side());
        assert!(with(ORDERS_MAX, ORDERS_MAX).few_may_fill_a_side());
    }

    #[test]
    fn limits_of_zero_and_above_the_bound_are_refused() {
        assert_eq!(VenueLimits::default().check(), Ok(()));
        let zero = VenueLimits {
            orders_max: 0,
            ..VenueLimits::default()
        };
        assert!(matches!(
            zero.check(),
            Err(ConfigError::Limit {
                name: "orders_max",
                ..
            })
        ));
        let high = VenueLimits {
            levels_per_side_max: ORDERS_MAX + 1,
            ..VenueLimits::default()
        };
        assert!(matches!(
            high.check(),
            Err(ConfigError::Limit {
                max: ORDERS_MAX,
                ..
            })
        ));
    }
}
