//! What the venue tells: private reports to the session concerned, public events to all.
//!
//! Owns the two formats and the order numbers they speak of. Never: when a report is due.
//!
//! Everything a command did is told in the order in which it happened. A command that was done
//! starts with the private report that says so, and one that was not gives one
//! [`SessionReport::Refused`] and nothing else. From the public events alone a listener can keep
//! the full book: orders appear by `Added`, shrink by `Traded` and `Reduced`, and are gone at
//! `Removed` or when their open size reaches zero.
//!
//! Private reports (kinds 1 to 12) and public events (kinds 65 to 77) never share a kind.
//!
//! | kind | report | fields after the kind byte | bytes |
//! |---|---|---|---|
//! | 1 | accepted | client order u64, order u64, instrument u32, side u8, order kind u8, price i64, size u64 | 39 |
//! | 2 | executed | client order u64, order u64, trade u64, role u8, price i64, size u64, open u64 | 50 |
//! | 3 | cancelled | client order u64, order u64, size u64, reason u8 | 26 |
//! | 4 | reduced | client order u64, order u64, open u64 | 25 |
//! | 5 | replaced | old client order u64, client order u64, order u64, order kind u8, price i64, open u64 | 42 |
//! | 6 | mass cancelled | seq u64, count u32 | 13 |
//! | 7 | refused | seq u64, command kind u8, client order u64, refusal u8 | 19 |
//! | 8 | administered | seq u64, instrument u32, status u8 | 14 |
//! | 9 | applied | seq u64, command kind u8 | 10 |
//! | 10 | listed | seq u64, instrument u32 | 13 |
//! | 11 | cash changed | cause u8, amount i64, cash i64 | 18 |
//! | 12 | position changed | instrument u32, cause u8, lots i64, amount i64, position i64, cash i64 | 38 |
//! | 65 | added | instrument u32, order u64, side u8, price i64, open u64 | 30 |
//! | 66 | traded | instrument u32, trade u64, resting order u64, incoming order u64, incoming side u8, price i64, size u64, resting open u64 | 54 |
//! | 67 | reduced | instrument u32, order u64, open u64 | 21 |
//! | 68 | removed | instrument u32, order u64 | 13 |
//! | 69 | status | instrument u32, status u8 | 6 |
//! | 70 | price closed | feed u32, round u64, state u8, price i64, dispersion i64, fresh stake u64, taken u8 | 39 |
//! | 71 | price observed | feed u32, round u64, validator u32, price i64, deviation i64 | 33 |
//! | 72 | feed | feed u32, halted u8, before i64, price i64 | 22 |
//! | 73 | series listed | instrument u32, feed u32, strike i64, expiry u64, right u8, style u8, multiplier u32, highest price i64, greatest size u64 | 47 |
//! | 74 | settlement deferred | instrument u32, samples u32, samples needed u32, next u64 | 21 |
//! | 75 | settled | instrument u32, price i64, samples u32, first round u64, last round u64, lots u64, paid i64, by the fund i64 | 57 |
//! | 76 | exercised | instrument u32, lots u64, price i64, paid i64, by the fund i64 | 37 |
//! | 77 | liquidated | instrument u32, step u8, lots u64, price i64, paid i64, by the fund i64 | 38 |

use crate::commands::{ClientOrderId, OrderKind, Side};
use crate::feeds::{FeedId, PriceState};
use crate::instruments::{InstrumentId, Status};
use crate::refusal::Refusal;
use crate::series::{ExerciseStyle, Right};
use crate::wire::{wire_enum, wire_messages};
use quorate::state_machine::{Output, SessionId};

/// The venue's own number of an order, from 1 in the order of arrival, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderNumber(pub u64);

wire_enum! {
    /// Which part an order had in a trade.
    Role {
        /// It rested in the book and gave the price.
        Resting = 0,
        /// It came in and took.
        Incoming = 1,
    }
}

wire_enum! {
    /// Why an order left the book, or never came to rest, with some of its size open.
    CancelReason {
        /// The client cancelled it, or reduced it by all it had open.
        Asked = 1,
        /// The client cancelled all its orders.
        MassCancel = 2,
        /// It must not rest, and there was nothing more to take at its price.
        Unfilled = 3,
        /// It met an order of its own session.
        SelfTrade = 4,
        /// Its series has expired.
        Expired = 5,
        /// Its account has too little cash.
        Margin = 6,
        /// The session that owns it is silent, or has ended.
        Absent = 7,
    }
}

wire_enum! {
    /// Why an account's cash has changed, apart from its positions.
    CashCause {
        /// An administrator brought it in.
        Deposit = 1,
        /// The session took it out.
        Withdrawal = 2,
    }
}

wire_enum! {
    /// Why an account's position has changed.
    PositionCause {
        /// A trade: the amount is the premium.
        Trade = 1,
        /// The session exercised.
        Exercise = 2,
        /// Someone exercised against it.
        Assignment = 3,
        /// The series was settled at expiry.
        Settlement = 4,
        /// The account had too little, and the fund took the position.
        TakenOver = 5,
        /// An account had too little, and the position was closed against the other side's.
        Deleveraging = 6,
    }
}

wire_enum! {
    /// A step in the liquidation of an account.
    LiquidationStep {
        /// A short position was bought back from the book.
        BoughtBack = 1,
        /// The fund took it.
        TakenOver = 2,
        /// It was closed against the long accounts, in proportion.
        Deleveraged = 3,
    }
}

wire_messages! {
    /// What one session is told.
    SessionReport {
        /// A new order was taken in.
        Accepted = 1 {
            /// The client's name of it.
            client_order: ClientOrderId,
            /// The venue's number of it.
            order: OrderNumber,
            /// What it trades.
            instrument: InstrumentId,
            /// Which way.
            side: Side,
            /// How long it lives.
            kind: OrderKind,
            /// Its price in ticks; 0 for a market order.
            price_ticks: i64,
            /// Its size in lots, before any trade.
            size_lots: u64,
        },
        /// An order has traded.
        Executed = 2 {
            /// The client's name of it.
            client_order: ClientOrderId,
            /// The venue's number of it.
            order: OrderNumber,
            /// Number of the trade, from 1; both sides and the public see the same.
            trade: u64,
            /// Its part in the trade.
            role: Role,
            /// The price in ticks.
            price_ticks: i64,
            /// How many lots were traded.
            size_lots: u64,
            /// How many lots are still open.
            open_lots: u64,
        },
        /// What was open of an order is cancelled.
        Cancelled = 3 {
            /// The client's name of it.
            client_order: ClientOrderId,
            /// The venue's number of it.
            order: OrderNumber,
            /// How many lots went.
            size_lots: u64,
            /// Why.
            reason: CancelReason,
        },
        /// An order was made smaller.
        Reduced = 4 {
            /// The client's name of it.
            client_order: ClientOrderId,
            /// The venue's number of it.
            order: OrderNumber,
            /// How many lots are still open.
            open_lots: u64,
        },
        /// An order was replaced.
        Replaced = 5 {
            /// The client's name of the order that is gone.
            replaced: ClientOrderId,
            /// The client's name of the new order.
            client_order: ClientOrderId,
            /// The venue's number of the new order.
            order: OrderNumber,
            /// The kind of the new order.
            kind: OrderKind,
            /// The price of the new order in ticks.
            price_ticks: i64,
            /// How many lots are open, before any trade of the new order.
            open_lots: u64,
        },
        /// A mass cancel is done. One `Cancelled` for each order went before.
        MassCancelled = 6 {
            /// The session's own number of the command.
            seq: u64,
            /// How many orders were cancelled.
            count: u32,
        },
        /// A command was refused and has changed nothing.
        Refused = 7 {
            /// The session's own number of the command.
            seq: u64,
            /// The first byte of the command; 0 if it was empty.
            command_kind: u8,
            /// The client's name of the order; 0 if the command names none or is malformed.
            client_order: ClientOrderId,
            /// Why.
            refusal: Refusal,
        },
        /// A halt or resume is done.
        Administered = 8 {
            /// The session's own number of the command.
            seq: u64,
            /// Which instrument.
            instrument: InstrumentId,
            /// Its status from now on.
            status: Status,
        },
        /// A command of a venue with accounts is done.
        Applied = 9 {
            /// The session's own number of the command.
            seq: u64,
            /// The first byte of the command.
            command_kind: u8,
        },
        /// A series is listed.
        Listed = 10 {
            /// The session's own number of the command.
            seq: u64,
            /// The instrument that it trades as.
            instrument: InstrumentId,
        },
        /// Cash came in or went out.
        CashChanged = 11 {
            /// Why.
            cause: CashCause,
            /// What came in; below zero what went out.
            amount: i64,
            /// The account's cash from now on.
            cash: i64,
        },
        /// A position changed, and cash with it.
        PositionChanged = 12 {
            /// Of which series.
            instrument: InstrumentId,
            /// Why.
            cause: PositionCause,
            /// Lots that came in; below zero lots that went out.
            lots: i64,
            /// Cash that came in; below zero cash that went out. Of series that are settled
            /// together what goes out is set off against what comes in.
            amount: i64,
            /// The position from now on, below zero if short.
            position_lots: i64,
            /// The account's cash from now on; of series that are settled together, after all.
            cash: i64,
        },
    }
}

wire_messages! {
    /// What everyone is told.
    PublicEvent {
        /// An order came to rest behind all others of its price.
        Added = 65 {
            /// Its instrument.
            instrument: InstrumentId,
            /// The venue's number of it.
            order: OrderNumber,
            /// Its side.
            side: Side,
            /// Its price in ticks.
            price_ticks: i64,
            /// Its open size in lots.
            open_lots: u64,
        },
        /// A trade.
        Traded = 66 {
            /// What was traded.
            instrument: InstrumentId,
            /// Number of the trade, from 1, over all instruments.
            trade: u64,
            /// The order that rested.
            resting: OrderNumber,
            /// The order that came in.
            incoming: OrderNumber,
            /// The side of the order that came in.
            incoming_side: Side,
            /// The price in ticks: that of the resting order.
            price_ticks: i64,
            /// How many lots were traded.
            size_lots: u64,
            /// How many lots of the resting order are still open; at 0 it is gone.
            resting_open_lots: u64,
        },
        /// A resting order was made smaller and keeps its place.
        Reduced = 67 {
            /// Its instrument.
            instrument: InstrumentId,
            /// The venue's number of it.
            order: OrderNumber,
            /// Its open size in lots from now on.
            open_lots: u64,
        },
        /// A resting order is gone without a trade.
        Removed = 68 {
            /// Its instrument.
            instrument: InstrumentId,
            /// The venue's number of it.
            order: OrderNumber,
        },
        /// An instrument was halted or resumed.
        StatusChanged = 69 {
            /// Which.
            instrument: InstrumentId,
            /// Its status from now on.
            status: Status,
        },
        /// A round of a feed is closed.
        PriceClosed = 70 {
            /// Which feed.
            feed: FeedId,
            /// Which round.
            round: u64,
            /// How far the price can be relied on.
            state: PriceState,
            /// The stake-weighted lower median; 0 while stale.
            price: i64,
            /// The stake-weighted lower median of the distances from it; 0 while stale.
            dispersion: i64,
            /// Stake with a fresh observation.
            fresh_stake: u64,
            /// The price counts for margin and is a sample for fixings.
            taken: bool,
        },
        /// What one validator's fresh observation was at the close of a round.
        PriceObserved = 71 {
            /// Which feed.
            feed: FeedId,
            /// Which round was closed.
            round: u64,
            /// The validator's number.
            validator: u32,
            /// What it observed.
            price: i64,
            /// Its distance from the price, with sign; 0 while there is no price.
            deviation: i64,
        },
        /// A feed's product was halted by the move limit, or resumed.
        FeedChanged = 72 {
            /// Which feed.
            feed: FeedId,
            /// Halted or resumed.
            halted: bool,
            /// The last price that was taken; 0 at a resumption.
            before: i64,
            /// The price that moved too far; 0 at a resumption.
            price: i64,
        },
        /// A series is listed.
        SeriesListed = 73 {
            /// The instrument that it trades as.
            instrument: InstrumentId,
            /// The feed of its underlying.
            feed: FeedId,
            /// The strike.
            strike: i64,
            /// When it expires.
            expiry_ns: u64,
            /// Call or put.
            right: Right,
            /// European or American.
            style: ExerciseStyle,
            /// Cash of one lot for one unit of price.
            multiplier: u32,
            /// Highest premium an order may name.
            price_ticks_max: i64,
            /// Greatest size of one order.
            size_lots_max: u64,
        },
        /// A settlement was due and had too few samples.
        SettlementDeferred = 74 {
            /// Which series.
            instrument: InstrumentId,
            /// Samples in its window.
            samples: u32,
            /// Samples it needs.
            samples_min: u32,
            /// When it is tried again.
            next_ns: u64,
        },
        /// A series is settled. The price is the mean of the prices that the `PriceClosed` of these
        /// rounds said were taken, rounded down.
        Settled = 75 {
            /// Which series.
            instrument: InstrumentId,
            /// The settlement price.
            price: i64,
            /// Samples that made it.
            samples: u32,
            /// First round of the window.
            first_round: u64,
            /// Last round of the window.
            last_round: u64,
            /// Lots that were long, and so short.
            lots: u64,
            /// What the long accounts got for it. Where series are settled together, what an
            /// account owes in others is set off against it, and still told.
            paid: i64,
            /// What of it did not come from the short accounts but from the fund; below zero where
            /// they paid more. Over series that are settled together it sums to what the fund gave.
            fund_paid: i64,
        },
        /// Lots of an American series were exercised.
        Exercised = 76 {
            /// Which series.
            instrument: InstrumentId,
            /// How many.
            lots: u64,
            /// The price of the underlying.
            price: i64,
            /// Cash that the holder got.
            paid: i64,
            /// Cash of it that came from the fund, without what rounding left there.
            fund_paid: i64,
        },
        /// A step in the liquidation of an account.
        Liquidated = 77 {
            /// Which series.
            instrument: InstrumentId,
            /// Which step.
            step: LiquidationStep,
            /// Lots it was about.
            lots: u64,
            /// The price of the underlying.
            price: i64,
            /// Cash that the other side got.
            paid: i64,
            /// Cash of it that came from the fund, without what rounding left there.
            fund_paid: i64,
        },
    }
}

/// Writes reports and events to the engine's buffer, without allocating in the steady state.
#[derive(Debug)]
pub(crate) struct Desk<'a> {
    pub(crate) output: &'a mut Output,
    pub(crate) scratch: &'a mut Vec<u8>,
}

impl Desk<'_> {
    /// Tells one session.
    pub(crate) fn tell(&mut self, session: SessionId, report: &SessionReport) {
        self.scratch.clear();
        report.encode(self.scratch);
        self.output.to_session(session, self.scratch);
    }

    /// Tells everyone.
    pub(crate) fn publish(&mut self, event: &PublicEvent) {
        self.scratch.clear();
        event.encode(self.scratch);
        self.output.to_public(self.scratch);
    }
}

#[cfg(test)]
mod tests;
