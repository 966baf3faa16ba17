//! What a client may ask of the venue.
//!
//! Owns the commands, their bytes and their lanes. Never: whether a command can be done, which
//! depends on the state and is decided in [`venue`](crate::venue).
//!
//! | kind | command | fields after the kind byte | bytes |
//! |---|---|---|---|
//! | 1 | new | order kind u8, side u8, self-trade u8, instrument u32, client order u64, price i64, size u64 | 32 |
//! | 2 | cancel | client order u64 | 9 |
//! | 3 | replace | order kind u8, self-trade u8, client order u64, new client order u64, price i64, size u64 | 35 |
//! | 4 | reduce | client order u64, by u64 | 17 |
//! | 5 | mass cancel of all instruments | | 1 |
//! | 6 | mass cancel of one instrument | instrument u32 | 5 |
//! | 7 | halt | instrument u32 | 5 |
//! | 8 | resume | instrument u32 | 5 |
//! | 9 to 15 | see [`ClearingCommand`] | | |
//!
//! A market order has price 0, and only a limit or a post-only order may replace another.

mod clearing;

pub use clearing::ClearingCommand;

use crate::instruments::InstrumentId;
use crate::wire::{DecodeError, Reader, Writer, wire_enum};
use quorate::state_machine::Lane;

/// A client's own name of an order: any number, free again once the order has left the book.
///
/// Names belong to a session, so one session cannot name the order of another at all. Exactly-once
/// is the business of the session's sequence numbers, not of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientOrderId(pub u64);

wire_enum! {
    /// Which way an order trades.
    Side {
        /// Takes asks, rests as a bid.
        Buy = 0,
        /// Takes bids, rests as an ask.
        Sell = 1,
    }
}

impl Side {
    /// The side an order of this side trades against.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

wire_enum! {
    /// How long an order lives and what it may do.
    OrderKind {
        /// Takes what its price allows, then rests.
        Limit = 0,
        /// Rests, and is refused if it would take anything.
        PostOnly = 1,
        /// Takes what its price allows at once; the rest is cancelled.
        ImmediateOrCancel = 2,
        /// Takes its whole size at once within its price, or is refused without effect.
        FillOrKill = 3,
        /// Takes at any price at once; the rest is cancelled.
        Market = 4,
    }
}

impl OrderKind {
    /// Whether an order of this kind may come to rest in the book.
    #[must_use]
    pub const fn may_rest(self) -> bool {
        matches!(self, Self::Limit | Self::PostOnly)
    }
}

wire_enum! {
    /// What happens when an incoming order meets a resting order of its own session.
    ///
    /// The incoming order chooses; what the resting order had chosen when it came in does not
    /// matter any more. A session that trades for one client should never choose `Permit`; one
    /// that bundles many clients may.
    SelfTrade {
        /// The incoming order stops there and its remainder is cancelled.
        CancelIncoming = 0,
        /// The resting order is cancelled and the incoming one goes on.
        CancelResting = 1,
        /// They trade like strangers.
        Permit = 2,
    }
}

/// One request of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Enters a new order.
    New {
        /// How long it lives.
        kind: OrderKind,
        /// Which way it trades.
        side: Side,
        /// What happens when it meets its own session.
        self_trade: SelfTrade,
        /// What it trades.
        instrument: InstrumentId,
        /// The client's name of it.
        client_order: ClientOrderId,
        /// The worst price it accepts, in ticks; 0 for a market order.
        price_ticks: i64,
        /// Its size in lots.
        size_lots: u64,
    },
    /// Takes an order out of the book.
    Cancel {
        /// The client's name of it.
        client_order: ClientOrderId,
    },
    /// Cancels an order and enters another of the same side and instrument in one step. The new
    /// order stands behind all others of its price. If it is refused, the old one stays as it is.
    Replace {
        /// [`OrderKind::Limit`] or [`OrderKind::PostOnly`].
        kind: OrderKind,
        /// What happens when the new order meets its own session.
        self_trade: SelfTrade,
        /// The order to replace.
        client_order: ClientOrderId,
        /// The name of the new order; may be the old name.
        new_client_order: ClientOrderId,
        /// The price of the new order in ticks.
        price_ticks: i64,
        /// The size in lots that the client wants done in all, with what the replaced order has
        /// already traded: a fill which crosses this command on the way cannot overfill.
        size_lots: u64,
    },
    /// Makes an order smaller; its place in the queue stays.
    Reduce {
        /// The client's name of it.
        client_order: ClientOrderId,
        /// By how many lots. From the open size on it is a cancel.
        by_lots: u64,
    },
    /// Cancels all orders of the session: the kill switch.
    MassCancel {
        /// In this instrument alone, or in all.
        instrument: Option<InstrumentId>,
    },
    /// Stops trading in an instrument; only for administrators. Resting orders stay, and may be
    /// cancelled and reduced.
    Halt {
        /// Which.
        instrument: InstrumentId,
    },
    /// Starts trading in a halted instrument again; only for administrators.
    Resume {
        /// Which.
        instrument: InstrumentId,
    },
    /// What needs a venue with accounts.
    Clearing(ClearingCommand),
}

const NEW: u8 = 1;
const CANCEL: u8 = 2;
const REPLACE: u8 = 3;
const REDUCE: u8 = 4;
const MASS_CANCEL_ALL: u8 = 5;
const MASS_CANCEL_ONE: u8 = 6;
const HALT: u8 = 7;
const RESUME: u8 = 8;

/// The lane in which the command in these bytes belongs. Looks at the first byte alone; what is
/// not a command belongs among the orders, and is refused there.
///
/// A cancel may also be sent among the orders, so that a session can cancel in the same block
/// what it has just entered; no other command may leave its lane.
#[must_use]
pub fn lane(command: &[u8]) -> Lane {
    match command.first() {
        Some(&(CANCEL | MASS_CANCEL_ALL | MASS_CANCEL_ONE)) => Lane::Cancel,
        Some(&(HALT | RESUME)) => Lane::Admin,
        Some(&kind) => ClearingCommand::lane(kind),
        _ => Lane::Order,
    }
}

/// Whether a command that belongs in `natural` may be applied from `claimed`: otherwise an order
/// could overtake the cancels of others by calling itself one.
#[must_use]
pub(crate) fn lane_allowed(natural: Lane, claimed: Lane) -> bool {
    natural == claimed || (natural == Lane::Cancel && claimed == Lane::Order)
}

impl Command {
    /// The byte that starts this command.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::New { .. } => NEW,
            Self::Cancel { .. } => CANCEL,
            Self::Replace { .. } => REPLACE,
            Self::Reduce { .. } => REDUCE,
            Self::MassCancel { instrument: None } => MASS_CANCEL_ALL,
            Self::MassCancel {
                instrument: Some(_),
            } => MASS_CANCEL_ONE,
            Self::Halt { .. } => HALT,
            Self::Resume { .. } => RESUME,
            Self::Clearing(command) => command.kind(),
        }
    }

    /// The client's name of the order this command is about, for reports; 0 if it is about none.
    /// Of a replacement, the new name.
    #[must_use]
    pub const fn client_order(&self) -> ClientOrderId {
        match *self {
            Self::New { client_order, .. }
            | Self::Cancel { client_order }
            | Self::Replace {
                new_client_order: client_order,
                ..
            }
            | Self::Reduce { client_order, .. } => client_order,
            Self::MassCancel { .. }
            | Self::Halt { .. }
            | Self::Resume { .. }
            | Self::Clearing(_) => ClientOrderId(0),
        }
    }

    /// Appends the bytes of this command.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        if let Self::Clearing(command) = self {
            return command.encode(bytes);
        }
        let mut writer = Writer(bytes);
        writer.u8(self.kind());
        match *self {
            Self::New {
                kind,
                side,
                self_trade,
                instrument,
                client_order,
                price_ticks,
                size_lots,
            } => {
                writer
                    .u8(kind as u8)
                    .u8(side as u8)
                    .u8(self_trade as u8)
                    .u32(instrument.0);
                writer.u64(client_order.0).i64(price_ticks).u64(size_lots);
            }
            Self::Cancel { client_order } => {
                writer.u64(client_order.0);
            }
            Self::Replace {
                kind,
                self_trade,
                client_order,
                new_client_order,
                price_ticks,
                size_lots,
            } => {
                writer
                    .u8(kind as u8)
                    .u8(self_trade as u8)
                    .u64(client_order.0);
                writer
                    .u64(new_client_order.0)
                    .i64(price_ticks)
                    .u64(size_lots);
            }
            Self::Reduce {
                client_order,
                by_lots,
            } => {
                writer.u64(client_order.0).u64(by_lots);
            }
            Self::MassCancel { instrument: None } | Self::Clearing(_) => {}
            Self::MassCancel {
                instrument: Some(instrument),
            }
            | Self::Halt { instrument }
            | Self::Resume { instrument } => {
                writer.u32(instrument.0);
            }
        }
    }

    /// The command in these bytes.
    ///
    /// # Errors
    ///
    /// See [`DecodeError`]; the bytes that [`encode`](Self::encode) writes are the only ones that
    /// decode to a command.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes)?;
        let command = match reader.kind() {
            NEW => Self::decode_new(&mut reader)?,
            CANCEL => Self::Cancel {
                client_order: ClientOrderId(reader.u64()?),
            },
            REPLACE => Self::decode_replace(&mut reader)?,
            REDUCE => Self::Reduce {
                client_order: ClientOrderId(reader.u64()?),
                by_lots: reader.u64()?,
            },
            MASS_CANCEL_ALL => Self::MassCancel { instrument: None },
            MASS_CANCEL_ONE => Self::MassCancel {
                instrument: Some(InstrumentId(reader.u32()?)),
            },
            HALT => Self::Halt {
                instrument: InstrumentId(reader.u32()?),
            },
            RESUME => Self::Resume {
                instrument: InstrumentId(reader.u32()?),
            },
            _ => return ClearingCommand::decode(bytes).map(Self::Clearing),
        };
        reader.finish()?;
        Ok(command)
    }

    fn decode_new(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = reader.choice("order kind", OrderKind::from_u8)?;
        let side = reader.choice("side", Side::from_u8)?;
        let self_trade = reader.choice("self-trade", SelfTrade::from_u8)?;
        let instrument = InstrumentId(reader.u32()?);
        let client_order = ClientOrderId(reader.u64()?);
        let price_ticks = reader.i64()?;
        let size_lots = reader.u64()?;
        if kind == OrderKind::Market && price_ticks != 0 {
            return Err(reader.field_error("price"));
        }
        Ok(Self::New {
            kind,
            side,
            self_trade,
            instrument,
            client_order,
            price_ticks,
            size_lots,
        })
    }

    fn decode_replace(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = reader.choice("order kind", OrderKind::from_u8)?;
        if !kind.may_rest() {
            return Err(reader.field_error("order kind"));
        }
        Ok(Self::Replace {
            kind,
            self_trade: reader.choice("self-trade", SelfTrade::from_u8)?,
            client_order: ClientOrderId(reader.u64()?),
            new_client_order: ClientOrderId(reader.u64()?),
            price_ticks: reader.i64()?,
            size_lots: reader.u64()?,
        })
    }
}

#[cfg(test)]
mod tests;
