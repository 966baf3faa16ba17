//! The reference application: a price-time-priority venue as a state machine.
//!
//! Owns limit order books of several instruments and everything a client may ask of them. Never:
//! clocks, files, sockets, consensus types, floating point, or the order of a hash map. All
//! prices are integer ticks and all sizes integer lots; what a tick or a lot is worth is the
//! business of whoever configures the instrument.
//!
//! The modules in the order of the data:
//!
//! 1. [`wire`]: how bytes are read and written, and why a decoded value has one encoding.
//! 2. [`commands`]: what a client may ask, its bytes, and the [`lane`] each command belongs to.
//! 3. [`config`] and [`instruments`]: what exists, within which bounds.
//! 4. `orders` and `book`: resting orders in one arena, threaded through price levels and
//!    sessions.
//! 5. `entry` and `matching`: whether an order may come in, and how it meets the book.
//! 6. [`refusal`] and [`reports`]: what comes out.
//! 7. `roots` and `snapshot`: the state as a hash and as bytes.
//! 8. [`query`]: read-only questions.
//! 9. [`venue`]: the [`Venue`] that ties them together.

#![forbid(unsafe_code)]

mod book;
pub mod commands;
pub mod config;
mod entry;
pub mod instruments;
mod matching;
mod orders;
pub mod query;
pub mod refusal;
pub mod reports;
mod roots;
mod snapshot;
pub mod venue;
pub mod wire;

pub use commands::{ClientOrderId, Command, OrderKind, SelfTrade, Side, lane};
pub use config::{ConfigError, VenueConfig, VenueLimits};
pub use instruments::{Instrument, InstrumentId, Status};
pub use query::{Answer, Question};
pub use refusal::Refusal;
pub use reports::{CancelReason, OrderNumber, PublicEvent, Role, SessionReport};
pub use venue::Venue;
pub use wire::DecodeError;
