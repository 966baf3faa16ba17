//! Tests of the bytes of commands: round trips and refusals.

use super::*;
use crate::feeds::FeedId;
use crate::series::{ExerciseStyle, Right};
use quorate::state_machine::SessionId;

fn one_of_each() -> Vec<Command> {
    vec![
        Command::New {
            kind: OrderKind::FillOrKill,
            side: Side::Sell,
            self_trade: SelfTrade::CancelResting,
            instrument: InstrumentId(3),
            client_order: ClientOrderId(u64::MAX),
            price_ticks: -5,
            size_lots: 9,
        },
        Command::Cancel {
            client_order: ClientOrderId(7),
        },
        Command::Replace {
            kind: OrderKind::PostOnly,
            self_trade: SelfTrade::Permit,
            client_order: ClientOrderId(1),
            new_client_order: ClientOrderId(2),
            price_ticks: 100,
            size_lots: 4,
        },
        Command::Reduce {
            client_order: ClientOrderId(1),
            by_lots: 2,
        },
        Command::MassCancel { instrument: None },
        Command::MassCancel {
            instrument: Some(InstrumentId(1)),
        },
        Command::Halt {
            instrument: InstrumentId(0),
        },
        Command::Resume {
            instrument: InstrumentId(0),
        },
    ]
    .into_iter()
    .chain(one_of_each_clearing().map(|(command, _)| Command::Clearing(command)))
    .collect()
}

/// Each command of a venue with accounts, with its bytes in hexadecimal.
fn one_of_each_clearing() -> [(ClearingCommand, &'static str); 7] {
    [
        (
            ClearingCommand::Observe {
                feed: FeedId(1),
                round: 2,
                price: 0x0304,
                confidence: -1,
                source_time_ns: 5,
            },
            "09 01000000 0200000000000000 0403000000000000 ffffffffffffffff 0500000000000000",
        ),
        (
            ClearingCommand::ListSeries {
                feed: FeedId(1),
                strike: 2,
                expiry_ns: 3,
                right: Right::Put,
                style: ExerciseStyle::American,
                multiplier: 4,
                price_ticks_max: 5,
                size_lots_max: 6,
            },
            "0a 01000000 0200000000000000 0300000000000000 01 01 04000000 0500000000000000 \
             0600000000000000",
        ),
        (
            ClearingCommand::Deposit {
                account: SessionId([0xab; 16]),
                amount: 7,
            },
            "0b abababababababababababababababab 0700000000000000",
        ),
        (
            ClearingCommand::EndowFund { amount: 8 },
            "0c 0800000000000000",
        ),
        (
            ClearingCommand::Withdraw { amount: 9 },
            "0d 0900000000000000",
        ),
        (
            ClearingCommand::Exercise {
                instrument: InstrumentId(10),
                lots: 11,
            },
            "0e 0a000000 0b00000000000000",
        ),
        (
            ClearingCommand::ResumeFeed { feed: FeedId(12) },
            "0f 0c000000",
        ),
    ]
}

#[test]
fn the_bytes_of_the_commands_of_accounts_are_fixed() {
    for (command, expected) in one_of_each_clearing() {
        let mut bytes = Vec::new();
        Command::Clearing(command).encode(&mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected.replace(' ', ""), "{command:?}");
    }
}

#[test]
fn every_command_round_trips_and_no_other_length_decodes() {
    for command in one_of_each() {
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        assert_eq!(Command::decode(&bytes), Ok(command));
        for length in 0..bytes.len() {
            assert!(
                Command::decode(&bytes[..length]).is_err(),
                "{command:?} cut to {length}"
            );
        }
        bytes.push(0);
        assert!(
            Command::decode(&bytes).is_err(),
            "{command:?} with a byte behind"
        );
    }
}

#[test]
fn what_decodes_encodes_to_the_same_bytes() {
    for command in one_of_each() {
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let Ok(decoded) = Command::decode(&changed) else {
                    continue;
                };
                assert_ne!(decoded, command);
                let mut again = Vec::new();
                decoded.encode(&mut again);
                assert_eq!(again, changed);
            }
        }
    }
}

#[test]
fn the_bytes_of_a_new_order_are_fixed() {
    let mut bytes = Vec::new();
    one_of_each()[0].encode(&mut bytes);
    let mut expected = vec![1, 3, 1, 1, 3, 0, 0, 0];
    expected.extend([0xff; 8]);
    expected.extend([0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    expected.extend([9, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes, expected);
}

#[test]
fn a_market_order_with_a_price_and_a_replacement_that_cannot_rest_are_refused() {
    let mut bytes = Vec::new();
    one_of_each()[0].encode(&mut bytes);
    bytes[1] = OrderKind::Market as u8;
    assert_eq!(
        Command::decode(&bytes),
        Err(DecodeError::Field {
            kind: 1,
            field: "price"
        })
    );
    bytes.clear();
    one_of_each()[2].encode(&mut bytes);
    bytes[1] = OrderKind::ImmediateOrCancel as u8;
    let error = DecodeError::Field {
        kind: 3,
        field: "order kind",
    };
    assert_eq!(Command::decode(&bytes), Err(error));
}

#[test]
fn lanes_follow_the_kind() {
    for command in one_of_each() {
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        let expected = match command {
            Command::Cancel { .. } | Command::MassCancel { .. } => Lane::Cancel,
            Command::Halt { .. }
            | Command::Resume { .. }
            | Command::Clearing(
                ClearingCommand::ListSeries { .. }
                | ClearingCommand::Deposit { .. }
                | ClearingCommand::EndowFund { .. }
                | ClearingCommand::ResumeFeed { .. },
            ) => Lane::Admin,
            Command::Clearing(ClearingCommand::Observe { .. }) => Lane::Price,
            _ => Lane::Order,
        };
        assert_eq!(lane(&bytes), expected);
    }
    assert_eq!(lane(&[]), Lane::Order);
    assert_eq!(lane(&[200]), Lane::Order);
}

#[test]
fn no_command_may_leave_its_lane_but_a_cancel_that_stands_among_the_orders() {
    let all = [Lane::Cancel, Lane::Order, Lane::Price, Lane::Admin];
    for natural in all {
        for claimed in all {
            let expected = natural == claimed || (natural, claimed) == (Lane::Cancel, Lane::Order);
            let allowed = lane_allowed(natural, claimed);
            assert_eq!(allowed, expected, "{natural:?} in {claimed:?}");
        }
    }
}
