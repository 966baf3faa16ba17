//! Prices from outside, as a validator's observations.
//!
//! Owns the way from lines of text to commands of the venue: where lines come from (`source`), what
//! one says (`line`), and which of them become observations (`feeder`). Never: keys, or the
//! submission of a command, which is the client library's; nor a judgement of a price, which is
//! the venue's.

mod feeder;
mod line;
mod source;

pub use feeder::{Feeder, FeederError};
pub use line::{LINE_BYTES_MAX, LineError, PriceLine};
pub use source::{Next, PriceSource, SourceError};
