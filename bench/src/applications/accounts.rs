//! The parameters of a venue that keeps accounts.
//!
//! Owns their form in a genesis. Never: their bounds, which the venue checks.

use super::{ApplicationError, session_of};
use quorate_venue::{ClearingConfig, ClearingRules, FeedConfig, FeedValidator};
use serde::{Deserialize, Serialize};

/// Accounts, feeds and option series; without them the venue matches orders and no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountParameters {
    /// Who may observe prices; their places are their numbers.
    pub validators: Vec<FeedValidatorParameters>,
    /// The feeds, in the order of their ids.
    pub feeds: Vec<FeedParameters>,
    /// The numbers in the rules of margin and settlement.
    #[serde(default)]
    pub rules: RuleParameters,
}

/// A validator as the feeds know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedValidatorParameters {
    /// The session of its feed key, 32 hex digits.
    pub session: String,
    /// Its weight in the median.
    pub stake: u64,
}

/// One feed; what is left out is as in [`FeedConfig::with_symbol`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedParameters {
    /// What people call it.
    pub symbol: String,
    /// Length of a round in nanoseconds.
    #[serde(default = "defaults::round_ns")]
    pub round_ns: u64,
    /// For how many rounds an observation is fresh.
    #[serde(default = "defaults::fresh_rounds")]
    pub fresh_rounds: u32,
    /// Move limit in hundredths of a percent.
    #[serde(default = "defaults::move_limit_bps")]
    pub move_limit_bps: u32,
    /// Greatest price that may be observed.
    #[serde(default = "defaults::price_max")]
    pub price_max: i64,
}

mod defaults {
    use super::FeedConfig;

    pub(super) fn round_ns() -> u64 {
        FeedConfig::with_symbol("").round_ns
    }

    pub(super) fn fresh_rounds() -> u32 {
        FeedConfig::with_symbol("").fresh_rounds
    }

    pub(super) fn move_limit_bps() -> u32 {
        FeedConfig::with_symbol("").move_limit_bps
    }

    pub(super) fn price_max() -> i64 {
        FeedConfig::with_symbol("").price_max
    }
}

/// The numbers in the rules of margin and settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleParameters {
    /// Accounts at most.
    pub accounts_max: u32,
    /// Series in which one account may have lots or orders.
    pub positions_per_account_max: u32,
    /// Rounds whose samples make a settlement price.
    pub window_rounds: u32,
    /// Samples without which settlement is deferred.
    pub samples_min: u32,
    /// Initial margin, in hundredths of a percent of the price.
    pub initial_bps: u32,
    /// Maintenance margin, likewise.
    pub maintenance_bps: u32,
}

impl Default for RuleParameters {
    fn default() -> Self {
        let rules = ClearingRules::default();
        Self {
            accounts_max: rules.accounts_max,
            positions_per_account_max: rules.positions_per_account_max,
            window_rounds: rules.window_rounds,
            samples_min: rules.samples_min,
            initial_bps: rules.initial_bps,
            maintenance_bps: rules.maintenance_bps,
        }
    }
}

impl AccountParameters {
    pub(super) fn into_config(self) -> Result<ClearingConfig, ApplicationError> {
        let validator = |validator: FeedValidatorParameters| {
            let session = session_of(&validator.session);
            Ok(FeedValidator {
                session: session.ok_or(ApplicationError::FeedSession(validator.session))?,
                stake: validator.stake,
            })
        };
        let feed = |feed: FeedParameters| FeedConfig {
            symbol: feed.symbol,
            round_ns: feed.round_ns,
            fresh_rounds: feed.fresh_rounds,
            move_limit_bps: feed.move_limit_bps,
            price_max: feed.price_max,
        };
        let validators = self.validators.into_iter().map(validator);
        Ok(ClearingConfig {
            validators: validators.collect::<Result<_, ApplicationError>>()?,
            feeds: self.feeds.into_iter().map(feed).collect(),
            rules: ClearingRules {
                accounts_max: self.rules.accounts_max,
                positions_per_account_max: self.rules.positions_per_account_max,
                window_rounds: self.rules.window_rounds,
                samples_min: self.rules.samples_min,
                initial_bps: self.rules.initial_bps,
                maintenance_bps: self.rules.maintenance_bps,
            },
        })
    }
}
