//! Why a command was refused.
//!
//! Owns the reasons and their numbers. Never: the checks. A refused command has changed nothing.

use crate::wire::wire_enum;

wire_enum! {
    /// Why a command was refused. The numbers are part of the format of the reports.
    ///
    /// There is no "not the owner": an order is named by its session and the client's name of
    /// it, so the order of another session is an [`UnknownOrder`](Self::UnknownOrder).
    Refusal {
        /// The bytes are not a command.
        Malformed = 1,
        /// The command does not belong in the lane it was sent in.
        WrongLane = 2,
        /// There is no such instrument.
        UnknownInstrument = 3,
        /// The instrument is halted.
        Halted = 4,
        /// A size or a reduction is zero.
        SizeZero = 5,
        /// The size is above what the instrument allows.
        SizeAboveMax = 6,
        /// The price is outside of what the instrument allows.
        PriceOutOfBounds = 7,
        /// The session has an open order of this name.
        DuplicateClientOrder = 8,
        /// The session has no open order of this name.
        UnknownOrder = 9,
        /// The session may not administer.
        NotAdmin = 10,
        /// The post-only order would take.
        WouldTake = 11,
        /// The fill-or-kill order cannot be filled.
        NotFillable = 12,
        /// The session has as many open orders as it may.
        SessionOrdersFull = 13,
        /// The venue has as many open orders as it holds.
        OrdersFull = 14,
        /// The side of the book has as many price levels as it holds.
        LevelsFull = 15,
        /// A replacement asks for no more in all than has already traded.
        SizeNotAboveExecuted = 16,
        /// The instrument is halted already.
        AlreadyHalted = 17,
        /// The instrument trades already.
        AlreadyTrading = 18,
        /// The numbers of orders or trades are used up.
        NumbersExhausted = 19,
    }
}
