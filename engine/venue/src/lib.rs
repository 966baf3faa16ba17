//! The reference application: a price-time-priority venue as a state machine.
//!
//! Owns limit order books of several instruments and everything a client may ask of them; and, if
//! it is made with accounts, price feeds, cash, option series and their settlement. Never: clocks,
//! files, sockets, consensus types, floating point, or the order of a hash map. All prices are
//! integer ticks and all sizes integer lots; what a tick or a lot is worth is the business of
//! whoever configures the instrument.
//!
//! The modules in the order of the data:
//!
//! 1. [`wire`]: how bytes are read and written, and why a decoded value has one encoding.
//! 2. [`commands`]: what a client may ask, its bytes, and the [`lane`] each command belongs to.
//! 3. [`config`] and [`instruments`]: what exists, within which bounds.
//! 4. `orders` and `book`: resting orders in one arena, threaded through price levels and
//!    sessions.
//! 5. `entry` and `matching`: whether an order may come in, and how it meets the book.
//! 6. [`clearing`]: what a venue with accounts has besides: [`feeds`] and `median`, [`accounts`],
//!    [`series`], `margin`, `settlement`, `liquidation`, and `treasury` for its commands.
//! 7. [`refusal`] and [`reports`]: what comes out.
//! 8. `roots` and `snapshot`: the state as a hash and as bytes.
//! 9. [`query`]: read-only questions; [`audit`]: the sums that must be zero, counted anew.
//! 10. [`venue`]: the [`Venue`] that ties them together.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod audit;
mod book;
pub mod clearing;
pub mod commands;
pub mod config;
mod entry;
pub mod feeds;
pub mod instruments;
mod liquidation;
mod margin;
mod matching;
mod median;
mod orders;
pub mod query;
pub mod refusal;
pub mod reports;
mod roots;
pub mod series;
mod settlement;
mod snapshot;
mod treasury;
pub mod venue;
pub mod wire;

pub use audit::AuditError;
pub use clearing::{ClearingConfig, ClearingRules};
pub use commands::{ClearingCommand, ClientOrderId, Command, OrderKind, SelfTrade, Side, lane};
pub use config::{ConfigError, VenueConfig, VenueLimits};
pub use feeds::{FeedConfig, FeedId, FeedValidator, PriceState};
pub use instruments::{Instrument, InstrumentId, Status};
pub use query::{Answer, Question};
pub use refusal::Refusal;
pub use reports::{
    CancelReason, CashCause, LiquidationStep, OrderNumber, PositionCause, PublicEvent, Role,
    SessionReport,
};
pub use series::{ExerciseStyle, Right, SeriesState, SeriesTerms};
pub use venue::Venue;
pub use wire::DecodeError;
