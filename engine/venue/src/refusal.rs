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
        /// The session may not administer, nor ask about another one.
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
        /// The venue keeps no accounts, so it has no feeds and no series either.
        NoAccounts = 20,
        /// The session is not one of a validator of the feeds.
        NotValidator = 21,
        /// There is no such feed.
        UnknownFeed = 22,
        /// An observed price is zero, negative or above what the feed allows.
        PriceAbsurd = 23,
        /// A confidence is negative, so that the range is crossed, or above the price.
        ConfidenceAbsurd = 24,
        /// The observation's round or source time is too old to count.
        ObservationStale = 25,
        /// The observation's round or source time has not come yet.
        ObservationAhead = 26,
        /// The validator has observed this round, or a later one.
        ObservationRepeated = 27,
        /// The session has no account.
        UnknownAccount = 28,
        /// An amount is zero, negative or above the greatest there is.
        AmountOutOfBounds = 29,
        /// Price times size, or the sum of all deposits, is above the greatest amount.
        AmountOverflow = 30,
        /// The account's cash does not stand behind this.
        MarginInsufficient = 31,
        /// There is no fresh price that margin or exercise could use.
        PriceNotFresh = 32,
        /// The expiry is not in the future, or it is 2^64 - 1, which never comes.
        ExpiryPast = 33,
        /// A strike, multiplier, price bound or size bound of a series is not allowed.
        TermsOutOfBounds = 34,
        /// A series of these terms exists already.
        SeriesTwice = 35,
        /// The venue has as many instruments as it holds.
        SeriesFull = 36,
        /// The series has expired.
        SeriesExpired = 37,
        /// The instrument is not an option series.
        NotSeries = 38,
        /// Only American options can be exercised before expiry.
        NotAmerican = 39,
        /// The option is worth nothing to exercise now.
        NotInTheMoney = 40,
        /// The account holds fewer lots than that, apart from those it offers.
        PositionTooSmall = 41,
        /// The position, or the number of positions, would be above its bound.
        PositionFull = 42,
        /// The venue has as many accounts as it holds.
        AccountsFull = 43,
        /// A market order has no worst price to reserve for, so no series takes it.
        MarketInSeries = 44,
        /// The feed is not halted.
        FeedNotHalted = 45,
        /// Whether the fill-or-kill order can be filled is not seen within
        /// [`LOOKS_MAX`](crate::config::LOOKS_MAX) price levels and resting orders.
        TooDeep = 46,
        /// The account has exercised in this series in this block.
        ExercisedInBlock = 47,
    }
}
