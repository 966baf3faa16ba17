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
//! Private reports (kinds 1 to 8) and public events (kinds 65 to 69) never share a kind.
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
//! | 65 | added | instrument u32, order u64, side u8, price i64, open u64 | 30 |
//! | 66 | traded | instrument u32, trade u64, resting order u64, incoming order u64, incoming side u8, price i64, size u64, resting open u64 | 54 |
//! | 67 | reduced | instrument u32, order u64, open u64 | 21 |
//! | 68 | removed | instrument u32, order u64 | 13 |
//! | 69 | status | instrument u32, status u8 | 6 |

use crate::commands::{ClientOrderId, OrderKind, Side};
use crate::instruments::{InstrumentId, Status};
use crate::refusal::Refusal;
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
mod tests {
    use super::*;
    use crate::wire::DecodeError;

    /// Kinds and lengths as the table above documents them. A field of 1s is a value of any type.
    const REPORTS: [(u8, usize); 8] = [
        (1, 39),
        (2, 50),
        (3, 26),
        (4, 25),
        (5, 42),
        (6, 13),
        (7, 19),
        (8, 14),
    ];
    const EVENTS: [(u8, usize); 5] = [(65, 30), (66, 54), (67, 21), (68, 13), (69, 6)];

    fn round_trip<T>(
        (kind, length): (u8, usize),
        decode: fn(&[u8]) -> Result<T, DecodeError>,
        encode: fn(&T, &mut Vec<u8>),
    ) {
        for actual in 1..length + 3 {
            let mut bytes = vec![1; actual];
            bytes[0] = kind;
            match decode(&bytes) {
                Ok(message) if actual == length => {
                    let mut again = Vec::new();
                    encode(&message, &mut again);
                    assert_eq!(again, bytes);
                }
                Err(DecodeError::Length { .. }) if actual != length => {}
                _ => panic!("kind {kind} at {actual} bytes"),
            }
        }
    }

    #[test]
    fn every_report_round_trips_at_its_documented_length_only() {
        for shape in REPORTS {
            round_trip(shape, SessionReport::decode, SessionReport::encode);
            assert_eq!(
                PublicEvent::decode(&[shape.0]),
                Err(DecodeError::UnknownKind(shape.0))
            );
        }
    }

    #[test]
    fn every_public_event_round_trips_at_its_documented_length_only() {
        for shape in EVENTS {
            round_trip(shape, PublicEvent::decode, PublicEvent::encode);
            assert_eq!(
                SessionReport::decode(&[shape.0]),
                Err(DecodeError::UnknownKind(shape.0))
            );
        }
    }

    #[test]
    fn the_bytes_of_an_execution_are_fixed() {
        let report = SessionReport::Executed {
            client_order: ClientOrderId(1),
            order: OrderNumber(2),
            trade: 3,
            role: Role::Incoming,
            price_ticks: -1,
            size_lots: 0x0102,
            open_lots: 5,
        };
        let mut bytes = Vec::new();
        report.encode(&mut bytes);
        let mut expected = vec![2];
        for word in [1_u64, 2, 3] {
            expected.extend(word.to_le_bytes());
        }
        expected.push(1);
        expected.extend([0xff; 8]);
        expected.extend([2, 1, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes, expected);
        assert_eq!(SessionReport::decode(&bytes), Ok(report));
    }

    #[test]
    fn a_number_that_an_enumeration_does_not_name_is_refused() {
        let mut bytes = vec![1; 6];
        bytes[0] = 69;
        bytes[5] = 2;
        let error = DecodeError::Field {
            kind: 69,
            field: "status",
        };
        assert_eq!(PublicEvent::decode(&bytes), Err(error));
    }
}
