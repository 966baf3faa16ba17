//! What a venue with accounts has besides its books.
//!
//! Owns the configuration of feeds, validators and rules, the state that hangs together by them,
//! and the hooks by which the books keep positions and reservations. Never: the rules themselves,
//! which are in `feeds`, `margin`, `settlement` and `liquidation`. A venue without accounts has
//! none of this, and refuses every command that would need it.

use crate::accounts::{AccountIndex, Accounts};
use crate::config::ConfigError;
use crate::feeds::{Feed, FeedConfig, FeedId, FeedValidator};
use crate::instruments::InstrumentId;
use crate::orders::Order;
use crate::refusal::Refusal;
use crate::reports::{Desk, PositionCause, SessionReport};
use crate::series::{Series, SeriesList, SeriesState};
use crate::settlement::Exercised;
use quorate::state_machine::SessionId;

/// Validators of the feeds at most.
pub const FEED_VALIDATORS_MAX: usize = 64;
/// Feeds at most.
pub const FEEDS_MAX: usize = 64;
/// Greatest stake of one validator, so that sums of stakes fit.
pub const STAKE_MAX: u64 = 1 << 53;
/// Greatest value of [`ClearingRules::accounts_max`].
pub const ACCOUNTS_MAX: u32 = 1 << 20;
/// Greatest value of [`ClearingRules::positions_per_account_max`].
pub const POSITIONS_MAX: u32 = 4096;
/// Greatest value of [`ClearingRules::window_rounds`].
pub const WINDOW_ROUNDS_MAX: u32 = 1024;
/// Hundredths of a percent in a whole.
pub const BPS: u32 = 10_000;

/// The numbers in the rules of margin and settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClearingRules {
    /// Accounts at most, 1 to [`ACCOUNTS_MAX`]. Every taken price is one pass over them.
    pub accounts_max: u32,
    /// Series in which one account may have lots or orders, 1 to [`POSITIONS_MAX`].
    pub positions_per_account_max: u32,
    /// Rounds of the window whose samples make a settlement price, 1 to [`WINDOW_ROUNDS_MAX`].
    pub window_rounds: u32,
    /// Samples in that window without which settlement is deferred, 1 to `window_rounds`.
    pub samples_min: u32,
    /// Margin of a new short position above its intrinsic value, in hundredths of a percent of
    /// the price of the underlying, 1 to [`BPS`].
    pub initial_bps: u32,
    /// Margin below which an account is liquidated, likewise; at most `initial_bps`.
    pub maintenance_bps: u32,
}

impl Default for ClearingRules {
    fn default() -> Self {
        Self {
            accounts_max: 1 << 14,
            positions_per_account_max: 64,
            window_rounds: 30,
            samples_min: 20,
            initial_bps: 2_000,
            maintenance_bps: 1_000,
        }
    }
}

/// What a venue needs to keep accounts.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ClearingConfig {
    /// Who may observe prices, with what weight; their places are their numbers.
    pub validators: Vec<FeedValidator>,
    /// The feeds; their places are their ids.
    pub feeds: Vec<FeedConfig>,
    /// The numbers in the rules.
    pub rules: ClearingRules,
}

impl ClearingRules {
    /// Checks each number against its bounds.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let numbers = [
            ("accounts_max", self.accounts_max, ACCOUNTS_MAX),
            (
                "positions_per_account_max",
                self.positions_per_account_max,
                POSITIONS_MAX,
            ),
            ("window_rounds", self.window_rounds, WINDOW_ROUNDS_MAX),
            ("samples_min", self.samples_min, self.window_rounds),
            ("initial_bps", self.initial_bps, BPS),
            ("maintenance_bps", self.maintenance_bps, self.initial_bps),
        ];
        for (name, value, max) in numbers {
            if !(1..=max).contains(&value) {
                return Err(ConfigError::Limit { name, value, max });
            }
        }
        Ok(())
    }
}

/// Checks the validators, each by itself and together.
pub(crate) fn check_validators(validators: &[FeedValidator]) -> Result<(), ConfigError> {
    if !(1..=FEED_VALIDATORS_MAX).contains(&validators.len()) {
        return Err(ConfigError::ValidatorCount(validators.len()));
    }
    for (index, validator) in validators.iter().enumerate() {
        if !(1..=STAKE_MAX).contains(&validator.stake) {
            return Err(ConfigError::Stake(index));
        }
        let earlier = &validators[..index];
        if earlier.iter().any(|v| v.session == validator.session) {
            return Err(ConfigError::ValidatorTwice(validator.session));
        }
    }
    Ok(())
}

/// Checks the feeds, each by itself and together.
pub(crate) fn check_feeds<'a>(
    feeds: impl ExactSizeIterator<Item = &'a FeedConfig>,
) -> Result<(), ConfigError> {
    if !(1..=FEEDS_MAX).contains(&feeds.len()) {
        return Err(ConfigError::FeedCount(feeds.len()));
    }
    let mut symbols: Vec<&str> = Vec::with_capacity(feeds.len());
    for (index, feed) in feeds.enumerate() {
        if let Some(fault) = feed.fault() {
            return Err(ConfigError::Feed { index, fault });
        }
        if symbols.contains(&feed.symbol.as_str()) {
            return Err(ConfigError::SymbolTwice(feed.symbol.clone()));
        }
        symbols.push(&feed.symbol);
    }
    Ok(())
}

/// Feeds, series and accounts, and the rules between them.
#[derive(Debug)]
pub(crate) struct Clearing {
    pub(crate) rules: ClearingRules,
    pub(crate) validators: Vec<FeedValidator>,
    pub(crate) feeds: Vec<Feed>,
    pub(crate) series: SeriesList,
    pub(crate) accounts: Accounts,
    pub(crate) exercised: Exercised,
}

/// A trade in a series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClearedTrade {
    pub(crate) instrument: InstrumentId,
    pub(crate) buyer: SessionId,
    pub(crate) seller: SessionId,
    pub(crate) price_ticks: i64,
    pub(crate) size_lots: u64,
}

impl Clearing {
    pub(crate) fn new(config: ClearingConfig) -> Result<Self, ConfigError> {
        config.rules.check()?;
        check_validators(&config.validators)?;
        check_feeds(config.feeds.iter())?;
        let count = config.validators.len();
        let feeds = config.feeds.into_iter();
        Ok(Self {
            rules: config.rules,
            feeds: feeds.map(|feed| Feed::new(feed, count)).collect(),
            validators: config.validators,
            series: SeriesList::default(),
            accounts: Accounts::default(),
            exercised: Exercised::default(),
        })
    }

    /// The feed of this id.
    pub(crate) fn feed(&self, id: FeedId) -> Result<&Feed, Refusal> {
        self.feeds.get(id.0 as usize).ok_or(Refusal::UnknownFeed)
    }

    pub(crate) fn feed_mut(&mut self, id: FeedId) -> Result<&mut Feed, Refusal> {
        self.feeds
            .get_mut(id.0 as usize)
            .ok_or(Refusal::UnknownFeed)
    }

    /// The feed of a series that is listed.
    pub(crate) fn feed_of(&self, series: &Series) -> &Feed {
        &self.feeds[series.terms.feed.0 as usize]
    }

    /// Why no order may come into this instrument, if it is a series that does not trade.
    pub(crate) fn closed(&self, id: InstrumentId) -> Option<Refusal> {
        let series = self.series.get(id)?;
        if series.state != SeriesState::Trading {
            Some(Refusal::SeriesExpired)
        } else {
            self.feed_of(series).halted.then_some(Refusal::Halted)
        }
    }

    /// An order came to rest.
    pub(crate) fn rested(&mut self, order: &Order) {
        if let Some(series) = self.series.get(order.instrument) {
            self.accounts.reserve(order, series, order.open_lots);
        }
    }

    /// Lots of a resting order are gone from the book.
    pub(crate) fn left(&mut self, order: &Order, lots: u64) {
        if let Some(series) = self.series.get(order.instrument) {
            self.accounts.release(order, series, lots);
        }
    }

    /// Moves premium and position of a trade, in the command that made it.
    pub(crate) fn traded(&mut self, trade: &ClearedTrade, desk: &mut Desk<'_>) {
        let ClearedTrade {
            instrument,
            buyer,
            seller,
            price_ticks,
            size_lots,
        } = *trade;
        let Some(series) = self.series.get(instrument) else {
            return;
        };
        let ends = (self.accounts.find(buyer), self.accounts.find(seller));
        let (Some(buyer), Some(seller)) = ends else {
            unreachable!("only accounts trade in a series, and none is ever closed")
        };
        let premium = series.terms.cash(price_ticks, size_lots);
        let Ok(premium) = i64::try_from(premium) else {
            unreachable!("an order whose cost is no amount is refused")
        };
        self.accounts.pay(buyer, seller, premium);
        self.accounts.transfer(seller, buyer, instrument, size_lots);
        let lots = size_lots.cast_signed();
        let cause = PositionCause::Trade;
        let change = |lots, amount| Change {
            instrument,
            cause,
            lots,
            amount,
        };
        self.tell(buyer, change(lots, -premium), desk);
        self.tell(seller, change(-lots, premium), desk);
    }

    /// Tells the owner of an account what befell a position, if the account has an owner.
    pub(crate) fn tell(&self, index: AccountIndex, change: Change, desk: &mut Desk<'_>) {
        if index < crate::accounts::FIRST {
            return;
        }
        let account = self.accounts.get(index);
        let report = SessionReport::PositionChanged {
            instrument: change.instrument,
            cause: change.cause,
            lots: change.lots,
            amount: change.amount,
            position_lots: account.holding(change.instrument).lots,
            cash: account.cash,
        };
        desk.tell(account.session, &report);
    }
}

/// What befell a position, from its account's side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) instrument: InstrumentId,
    pub(crate) cause: PositionCause,
    pub(crate) lots: i64,
    pub(crate) amount: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validator(number: u8, stake: u64) -> FeedValidator {
        FeedValidator {
            session: SessionId([number; 16]),
            stake,
        }
    }

    #[test]
    fn validators_are_counted_weighed_and_unique() {
        let check = |list: &[FeedValidator]| check_validators(list);
        let (a, b) = (validator(1, 1), validator(2, STAKE_MAX));
        assert_eq!(check(&[a, b]), Ok(()));
        assert_eq!(check(&[]), Err(ConfigError::ValidatorCount(0)));
        assert_eq!(
            check(&[a, b, a]),
            Err(ConfigError::ValidatorTwice(a.session))
        );
        for stake in [0, STAKE_MAX + 1] {
            let error = check(&[a, validator(3, stake)]);
            assert_eq!(error, Err(ConfigError::Stake(1)));
        }
        let many: Vec<_> = (0..65).map(|number| validator(number, 1)).collect();
        assert_eq!(check(&many), Err(ConfigError::ValidatorCount(65)));
    }

    #[test]
    fn feeds_are_counted_checked_and_unique() {
        let named = |symbols: &[&str]| -> Vec<FeedConfig> {
            symbols.iter().map(|s| FeedConfig::with_symbol(s)).collect()
        };
        let check = |list: Vec<FeedConfig>| check_feeds(list.iter());
        assert_eq!(check(named(&["A", "B"])), Ok(()));
        assert_eq!(check(vec![]), Err(ConfigError::FeedCount(0)));
        let many = |count: usize| {
            let feed = |number| FeedConfig::with_symbol(&format!("F{number}"));
            check((0..count).map(feed).collect())
        };
        assert_eq!(many(64), Ok(()));
        assert_eq!(many(65), Err(ConfigError::FeedCount(65)));
        let twice = check(named(&["A", "A"]));
        assert_eq!(twice, Err(ConfigError::SymbolTwice("A".to_owned())));
        let bad = check(named(&["A", ""]));
        assert!(matches!(bad, Err(ConfigError::Feed { index: 1, .. })));
    }

    #[test]
    fn each_rule_out_of_bounds_is_named() {
        assert_eq!(ClearingRules::default().check(), Ok(()));
        type Spoil = fn(&mut ClearingRules);
        let bad: [(&str, Spoil); 6] = [
            ("accounts_max", |r| r.accounts_max = ACCOUNTS_MAX + 1),
            ("positions_per_account_max", |r| {
                r.positions_per_account_max = 0;
            }),
            ("window_rounds", |r| r.window_rounds = WINDOW_ROUNDS_MAX + 1),
            ("samples_min", |r| r.samples_min = r.window_rounds + 1),
            ("initial_bps", |r| r.initial_bps = BPS + 1),
            ("maintenance_bps", |r| r.maintenance_bps = r.initial_bps + 1),
        ];
        for (field, spoil) in bad {
            let mut rules = ClearingRules::default();
            spoil(&mut rules);
            match rules.check() {
                Err(ConfigError::Limit { name, .. }) => assert_eq!(name, field),
                other => panic!("{field}: {other:?}"),
            }
        }
    }
}
