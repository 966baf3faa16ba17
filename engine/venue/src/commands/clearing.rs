//! The commands of a venue with accounts, and their bytes.
//!
//! Owns kinds 9 to 15. Never: whether one can be done.
//!
//! | kind | command | fields after the kind byte | bytes | lane |
//! |---|---|---|---|---|
//! | 9 | observe | feed u32, round u64, price i64, confidence i64, source time u64 | 37 | price |
//! | 10 | list series | feed u32, strike i64, expiry u64, right u8, style u8, multiplier u32, highest price i64, greatest size u64 | 43 | admin |
//! | 11 | deposit | account 16 bytes, amount i64 | 25 | admin |
//! | 12 | endow the fund | amount i64 | 9 | admin |
//! | 13 | withdraw | amount i64 | 9 | order |
//! | 14 | exercise | instrument u32, lots u64 | 13 | order |
//! | 15 | resume feed | feed u32 | 5 | admin |

use crate::feeds::FeedId;
use crate::instruments::InstrumentId;
use crate::series::{ExerciseStyle, Right};
use crate::wire::wire_messages;
use quorate::state_machine::{Lane, SessionId};

wire_messages! {
    /// One request to a venue with accounts. Amounts are in units of cash.
    ClearingCommand {
        /// Says what a price is; only for validators of the feeds.
        Observe = 9 {
            /// Of what.
            feed: FeedId,
            /// For which round: replicated time divided by the round's length.
            round: u64,
            /// The price in the feed's units, from 1.
            price: i64,
            /// Half the width of the range in which the price is believed to be; 0 to the price.
            confidence: i64,
            /// When the source gave it, nanoseconds since the Unix epoch.
            source_time_ns: u64,
        },
        /// Lists an option series on a new book; only for administrators.
        ListSeries = 10 {
            /// The feed of its underlying.
            feed: FeedId,
            /// The strike in the feed's units, 1 to the feed's greatest price.
            strike: i64,
            /// When it expires, replicated time.
            expiry_ns: u64,
            /// Call or put.
            right: Right,
            /// European or American.
            style: ExerciseStyle,
            /// Cash of one lot for one unit of price, from 1.
            multiplier: u32,
            /// Highest premium an order may name, 1 to the feed's greatest price.
            price_ticks_max: i64,
            /// Greatest size of one order, in lots.
            size_lots_max: u64,
        },
        /// Brings cash into an account, which it opens if need be; only for administrators.
        Deposit = 11 {
            /// Whose account.
            account: SessionId,
            /// How much, from 1.
            amount: i64,
        },
        /// Brings cash into the shared fund; only for administrators.
        EndowFund = 12 {
            /// How much, from 1.
            amount: i64,
        },
        /// Takes cash out of the session's own account.
        Withdraw = 13 {
            /// How much, from 1.
            amount: i64,
        },
        /// Exercises lots of an American series at the price of the last round.
        Exercise = 14 {
            /// Which series.
            instrument: InstrumentId,
            /// How many lots, from 1.
            lots: u64,
        },
        /// Ends the halt of a feed; the next fresh price is taken wherever it stands. Only for
        /// administrators.
        ResumeFeed = 15 {
            /// Which.
            feed: FeedId,
        },
    }
}

impl ClearingCommand {
    /// The kind of an exercise, for its report.
    pub(crate) const EXERCISE: u8 = 14;

    /// The lane of a command of this kind; that of orders for what is none of these.
    pub(crate) const fn lane(kind: u8) -> Lane {
        match kind {
            9 => Lane::Price,
            10 | 11 | 12 | 15 => Lane::Admin,
            _ => Lane::Order,
        }
    }
}
