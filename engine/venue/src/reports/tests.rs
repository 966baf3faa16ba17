//! Tests of the bytes of reports and events: lengths, round trips, fixed bytes.

use super::*;
use crate::wire::DecodeError;

/// Kinds and lengths as the table above documents them. A field of 1s is a value of any type.
const REPORTS: [(u8, usize); 12] = [
    (1, 39),
    (2, 50),
    (3, 26),
    (4, 25),
    (5, 42),
    (6, 13),
    (7, 19),
    (8, 14),
    (9, 10),
    (10, 13),
    (11, 18),
    (12, 38),
];
const EVENTS: [(u8, usize); 13] = [
    (65, 30),
    (66, 54),
    (67, 21),
    (68, 13),
    (69, 6),
    (70, 39),
    (71, 33),
    (72, 22),
    (73, 47),
    (74, 21),
    (75, 57),
    (76, 37),
    (77, 38),
];

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

fn hex(encode: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_of_a_position_and_of_a_settlement_are_fixed() {
    let report = SessionReport::PositionChanged {
        instrument: InstrumentId(1),
        cause: PositionCause::Settlement,
        lots: -2,
        amount: 3,
        position_lots: 0,
        cash: 0x0405,
    };
    let expected = "0c 01000000 04 feffffffffffffff 0300000000000000 0000000000000000 \
                    0504000000000000";
    assert_eq!(hex(|bytes| report.encode(bytes)), expected.replace(' ', ""));
    let event = PublicEvent::Settled {
        instrument: InstrumentId(1),
        price: 2,
        samples: 3,
        first_round: 4,
        last_round: 5,
        lots: 6,
        paid: 7,
        fund_paid: 8,
    };
    let expected = "4b 01000000 0200000000000000 03000000 0400000000000000 0500000000000000 \
                    0600000000000000 0700000000000000 0800000000000000";
    assert_eq!(hex(|bytes| event.encode(bytes)), expected.replace(' ', ""));
}

#[test]
fn the_bytes_of_a_closed_round_and_of_a_liquidation_are_fixed() {
    let event = PublicEvent::PriceClosed {
        feed: FeedId(1),
        round: 2,
        state: PriceState::Fresh,
        price: 3,
        dispersion: 4,
        fresh_stake: 5,
        taken: true,
    };
    let expected = "46 01000000 0200000000000000 02 0300000000000000 0400000000000000 \
                    0500000000000000 01";
    assert_eq!(hex(|bytes| event.encode(bytes)), expected.replace(' ', ""));
    let event = PublicEvent::Liquidated {
        instrument: InstrumentId(1),
        step: LiquidationStep::Deleveraged,
        lots: 2,
        price: 3,
        paid: 4,
        fund_paid: 5,
    };
    let expected = "4d 01000000 03 0200000000000000 0300000000000000 0400000000000000 \
                    0500000000000000";
    assert_eq!(hex(|bytes| event.encode(bytes)), expected.replace(' ', ""));
}
