//! The payload's bytes and every structural rule.

use crate::{entry, opening, parse, parse_under, payload};
use proptest::prelude::*;
use quorate_consensus::limits::{
    BLOCK_COMMANDS_MAX, COMMAND_BYTES_MAX, FORWARD_BYTES_MAX, PAYLOAD_BYTES_MAX,
};
use quorate_consensus::payload::{
    Auth, BlockRules, ENTRY_BYTES_FIXED, Entry, FLAG_OPEN, LANE_SHARES_FROM_BYTES, Lane,
    PayloadError, PayloadView, checked_entries, count_entries, encode_entry, encode_session_entry,
    entry_unsigned, parse_entries, session_entry_unsigned, session_of_key, walk_checked,
};
use quorate_consensus::signing::{self, Signer, ValidatorKey};
use quorate_consensus::verify::single;

#[test]
fn no_command_is_a_payload_and_no_bytes_are_not() {
    assert_eq!(parse(&[]), Ok(0));
    let empty = payload(&[]);
    assert!(PayloadView::parse(&empty).expect("legal").is_empty());
    for length in 0..4 {
        let error = PayloadError::Truncated { command: 0 };
        assert_eq!(PayloadView::parse(&empty[..length]).err(), Some(error));
    }
}

/// What a walk over a payload that is said to be checked hands over, and how it ends.
fn walked(payload: &[u8]) -> (Vec<Vec<u8>>, Result<(), PayloadError>) {
    let mut seen = Vec::new();
    let end = walk_checked(payload, |place, view| {
        assert_eq!(place as usize, seen.len());
        seen.push(view.entry.to_vec());
    });
    (seen, end)
}

#[test]
fn a_walk_without_a_check_hands_over_the_same_and_tells_another_count_as_the_check_does() {
    let entries: Vec<_> = (2..6)
        .map(|seq| entry(Lane::Order, 1, seq, b"body"))
        .collect();
    let good = payload(&entries);
    assert_eq!(walked(&good), (entries.clone(), Ok(())));
    assert_eq!(walked(&payload(&[])), (Vec::new(), Ok(())));
    let mut broken = Vec::new();
    for count in [0, 3, 5, u32::MAX] {
        let mut other = good.clone();
        other[..4].copy_from_slice(&count.to_le_bytes());
        broken.push(other);
    }
    broken.extend((0..good.len()).map(|length| good[..length].to_vec()));
    broken.push([&good[..], b"x"].concat());
    let mut lane = good.clone();
    lane[4] = 9;
    broken.push(lane);
    for payload in broken {
        let (seen, end) = walked(&payload);
        assert!(end.is_err(), "{} bytes", payload.len());
        assert!(PayloadView::parse(&payload).is_err());
        assert!(entries.starts_with(&seen), "only what stands there");
    }
    for (payload, error) in [
        (&good[..3], PayloadError::Truncated { command: 0 }),
        (
            &[&good[..], b"xy"].concat(),
            PayloadError::Trailing { bytes: 2 },
        ),
    ] {
        assert_eq!(walked(payload).1, Err(error));
        assert_eq!(PayloadView::parse(payload).err(), Some(error));
    }
}

#[test]
fn entries_are_counted_as_they_are_checked() {
    let entries = [
        entry(Lane::Order, 1, 2, b"one"),
        entry(Lane::Cancel, 2, 9, b""),
    ]
    .concat();
    assert_eq!(count_entries(&entries), Ok(2));
    assert_eq!(checked_entries(&entries).count(), 2);
    assert_eq!(count_entries(&[]), Ok(0));
    let cut = &entries[..entries.len() - 1];
    assert_eq!(count_entries(cut).err(), parse_entries(cut).err());
    assert_eq!(checked_entries(cut).count(), 1, "no more than is there");
}

#[test]
fn commands_come_back_as_they_went() {
    let signature = [8; 64];
    let session = [7; 16];
    let mut signed = Vec::new();
    let command = Entry {
        lane: Lane::Order,
        session: &session,
        seq: 9,
        signature: Some(&signature),
        body: b"buy",
    };
    encode_entry(&command, &mut signed);
    let plain = entry(Lane::Admin, 1, 2, b"");
    let bytes = payload(&[signed.clone(), plain.clone()]);
    let commands: Vec<_> = PayloadView::parse(&bytes).expect("legal").iter().collect();
    assert_eq!(commands.len(), 2);
    assert!(!PayloadView::parse(&bytes).expect("legal").is_empty());
    assert_eq!(commands[0].lane, Lane::Order);
    assert_eq!(commands[0].auth, Auth::Ed25519);
    assert_eq!(commands[0].flags, 0);
    assert_eq!(commands[0].session, &session);
    assert_eq!(commands[0].seq, 9);
    assert_eq!(commands[0].signature, Some(&signature));
    assert_eq!(commands[0].body, b"buy");
    assert_eq!(commands[0].entry, signed);
    assert_eq!(commands[1].signature, None);
    assert_eq!(commands[1].auth, Auth::None);
    assert_eq!(commands[1].entry, plain);
    assert_eq!(plain.len(), ENTRY_BYTES_FIXED);
}

#[test]
fn the_bytes_of_an_entry_are_those_of_the_table() {
    let mut bytes = Vec::new();
    let session: [u8; 16] = std::array::from_fn(|n| n as u8);
    let entry = Entry {
        lane: Lane::Price,
        session: &session,
        seq: 0x0102_0304_0506_0708,
        signature: Some(&[0xaa; 64]),
        body: b"xy",
    };
    encode_entry(&entry, &mut bytes);
    let expected = [
        &[2, 1, 0, 0, 2, 0, 0, 0][..],
        &session,
        &[8, 7, 6, 5, 4, 3, 2, 1],
        &[0xaa; 64],
        b"xy",
    ]
    .concat();
    assert_eq!(bytes, expected);
}

#[test]
fn cut_at_every_byte_it_is_refused() {
    let bytes = payload(&[entry(Lane::Cancel, 1, 5, b"abc"), opening([3; 32], b"z")]);
    assert!(PayloadView::parse(&bytes).is_ok());
    for length in 0..bytes.len() {
        let result = PayloadView::parse(&bytes[..length]);
        assert!(
            matches!(result, Err(PayloadError::Truncated { .. })),
            "{length}: {result:?}"
        );
    }
}

#[test]
fn bytes_after_the_last_command_are_refused() {
    let mut bytes = payload(&[entry(Lane::Cancel, 1, 5, b"abc")]);
    bytes.push(0);
    let error = PayloadError::Trailing { bytes: 1 };
    assert_eq!(PayloadView::parse(&bytes).err(), Some(error));
}

#[test]
fn lanes_may_stay_and_rise_and_never_fall() {
    let at = |lanes: &[Lane]| {
        let entries: Vec<_> = lanes
            .iter()
            .zip(1..)
            .map(|(&lane, n)| entry(lane, n, 2, b""))
            .collect();
        parse(&entries)
    };
    use Lane::{Admin, Cancel, Order, Price};
    assert_eq!(at(&[Cancel, Cancel, Order, Price, Price, Admin]), Ok(6));
    assert_eq!(
        at(&[Order, Cancel]),
        Err(PayloadError::LaneOrder { command: 1 })
    );
    assert_eq!(
        at(&[Cancel, Admin, Price]),
        Err(PayloadError::LaneOrder { command: 2 })
    );
}

#[test]
fn unknown_lanes_auths_and_flags_are_refused() {
    let good = payload(&[entry(Lane::Order, 1, 5, b"abc")]);
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        PayloadView::parse(&bytes).err()
    };
    let command = 0;
    assert_eq!(
        changed(4, 4),
        Some(PayloadError::UnknownLane { command, lane: 4 })
    );
    assert_eq!(
        changed(5, 2),
        Some(PayloadError::UnknownAuth { command, auth: 2 })
    );
    assert_eq!(
        changed(6, 4),
        Some(PayloadError::UnknownFlags { command, flags: 4 })
    );
    assert_eq!(
        changed(7, 1),
        Some(PayloadError::UnknownFlags {
            command,
            flags: 256
        })
    );
    // An opening of any number, but this body is not the session's key.
    assert_eq!(changed(6, 1), Some(PayloadError::OpenKey { command }));
}

#[test]
fn a_session_s_numbers_rise_by_one_in_block_order() {
    let order = |session, seq| entry(Lane::Order, session, seq, b"");
    assert_eq!(
        parse(&[order(1, 5), order(2, 9), order(1, 6), order(2, 10)]),
        Ok(4)
    );
    let sequence = |command, before, seq| {
        Err(PayloadError::Sequence {
            command,
            before,
            seq,
        })
    };
    assert_eq!(parse(&[order(1, 5), order(1, 5)]), sequence(1, 5, 5));
    assert_eq!(
        parse(&[order(1, 5), order(2, 1000), order(1, 7)]),
        sequence(2, 5, 7)
    );
    assert_eq!(parse(&[order(1, 5), order(1, 4)]), sequence(1, 5, 4));
    assert_eq!(
        parse(&[order(1, 7), order(1, 8), order(1, 8)]),
        sequence(2, 8, 8)
    );
    // Across lanes too: the block's order counts.
    let across = [entry(Lane::Cancel, 1, 6, b""), order(1, 5)];
    assert_eq!(parse(&across), sequence(1, 6, 5));
}

#[test]
fn numbers_start_at_one_and_end_without_overflow() {
    let order = |seq| entry(Lane::Order, 1, seq, b"");
    assert_eq!(
        parse(&[order(0)]),
        Err(PayloadError::SeqZero { command: 0 })
    );
    assert_eq!(parse(&[order(u64::MAX)]), Ok(1));
    let error = PayloadError::Sequence {
        command: 1,
        before: u64::MAX,
        seq: 2,
    };
    assert_eq!(parse(&[order(u64::MAX), order(2)]), Err(error));
}

#[test]
fn an_opening_brings_the_key_that_names_its_session() {
    let key = [9; 32];
    let bytes = payload(&[opening(key, b"hello")]);
    let view = PayloadView::parse(&bytes).expect("legal");
    let command = view.iter().next().expect("a command");
    assert_eq!(command.flags, FLAG_OPEN);
    assert_eq!(command.opening_key(), Some(&key));
    // Another session's key, a short body, and number 1 without the flag.
    let open_key = Err(PayloadError::OpenKey { command: 0 });
    assert_eq!(parse(&[entry(Lane::Order, 1, 1, &key)]), open_key);
    assert_eq!(parse(&[entry(Lane::Order, 1, 1, &key[..31])]), open_key);
    let mut unflagged = opening(key, b"");
    unflagged[2] = 0;
    let misplaced = PayloadError::OpenMisplaced { command: 0, seq: 1 };
    assert_eq!(parse(&[unflagged]), Err(misplaced));
    // Any other number may open a session, and its next one is an ordinary one.
    let mut later = opening(key, b"");
    later[24..32].copy_from_slice(&1_000_u64.to_le_bytes());
    let session = session_of_key(&key);
    let next = |seq| {
        let mut bytes = entry(Lane::Order, 0, seq, b"");
        bytes[8..24].copy_from_slice(&session);
        bytes
    };
    assert_eq!(parse(&[later.clone(), next(1_001)]), Ok(2));
    // It is a number of its session in the block as any other one.
    let error = PayloadError::Sequence {
        command: 1,
        before: 998,
        seq: 1_000,
    };
    assert_eq!(parse(&[next(998), later]), Err(error));
}

#[test]
fn a_body_and_a_payload_have_their_bounds() {
    let largest = vec![0; COMMAND_BYTES_MAX];
    assert_eq!(parse(&[entry(Lane::Order, 1, 2, &largest)]), Ok(1));
    let (command, bytes) = (0, COMMAND_BYTES_MAX + 1);
    let larger = entry(Lane::Order, 1, 2, &vec![0; bytes]);
    assert_eq!(
        parse(&[larger]),
        Err(PayloadError::BodyTooLarge {
            command,
            bytes,
            max: COMMAND_BYTES_MAX
        })
    );
    let (bytes, max) = (PAYLOAD_BYTES_MAX + 1, PAYLOAD_BYTES_MAX);
    let too_large = PayloadError::TooLarge { bytes, max };
    assert_eq!(PayloadView::parse(&vec![0; bytes]).err(), Some(too_large));
}

#[test]
fn a_block_has_at_most_its_number_of_commands() {
    let full: Vec<_> = (0..BLOCK_COMMANDS_MAX as u64)
        .map(|n| entry(Lane::Order, 1, n + 2, b""))
        .collect();
    assert_eq!(parse(&full), Ok(BLOCK_COMMANDS_MAX));
    let count = BLOCK_COMMANDS_MAX + 1;
    let mut more = full;
    more.push(entry(Lane::Order, 2, 2, b""));
    let max = BLOCK_COMMANDS_MAX;
    assert_eq!(
        parse(&more),
        Err(PayloadError::TooManyCommands { count, max })
    );
    // A count that the bytes cannot hold is refused before anything is set aside for it.
    let claimed = (BLOCK_COMMANDS_MAX as u32).to_le_bytes();
    let command = BLOCK_COMMANDS_MAX;
    let truncated = PayloadError::Truncated { command };
    assert_eq!(PayloadView::parse(&claimed).err(), Some(truncated));
    assert!(matches!(
        PayloadView::parse(&u32::MAX.to_le_bytes()),
        Err(PayloadError::TooManyCommands { .. })
    ));
}

/// Entries of one lane that fill about `bytes` bytes, each its own session.
fn fill(lane: Lane, bytes: usize, first: u8) -> Vec<Vec<u8>> {
    let each = 8 * 1024;
    (0..bytes / each)
        .map(|n| entry(lane, first + n as u8, 2, &vec![0; each - ENTRY_BYTES_FIXED]))
        .collect()
}

#[test]
fn a_large_payload_keeps_prices_and_admin_within_their_shares() {
    let k: usize = 1024;
    let shares = |order, price, admin| {
        let entries = [
            fill(Lane::Order, order * k, 0),
            fill(Lane::Price, price * k, 80),
            fill(Lane::Admin, admin * k, 160),
        ]
        .concat();
        parse(&entries).map_err(|error| match error {
            PayloadError::LaneShare { lane, .. } => lane,
            other => panic!("{other}"),
        })
    };
    assert!(shares(128, 128, 0).is_ok());
    assert_eq!(shares(120, 128, 0), Err(Lane::Price));
    assert!(shares(96, 64, 48).is_ok());
    assert_eq!(shares(96, 0, 40), Err(Lane::Admin));
    assert!(shares(512, 0, 0).is_ok());
    // Small payloads are free of shares.
    assert!(shares(0, 56, 0).is_ok());
    assert!(shares(0, 0, 56).is_ok());
    assert_eq!(shares(0, 72, 0), Err(Lane::Price));
}

#[test]
fn a_lane_may_have_its_share_to_the_byte() {
    let order = entry(Lane::Order, 1, 2, &vec![0; 40 * 1024]);
    // The count's four bytes belong to the payload and to no lane.
    let prices = |more: usize| entry(Lane::Price, 2, 2, &vec![0; 40 * 1024 + 4 + more]);
    assert_eq!(parse(&[order.clone(), prices(0)]), Ok(2));
    let over = parse(&[order, prices(1)]);
    assert!(
        matches!(
            over,
            Err(PayloadError::LaneShare {
                lane: Lane::Price,
                ..
            })
        ),
        "{over:?}"
    );
}

#[test]
fn shares_are_judged_above_their_bound_and_not_at_it() {
    let prices = |bytes: usize| {
        let first = entry(Lane::Price, 1, 2, &vec![0; 32 * 1024]);
        let rest = bytes - 4 - first.len() - ENTRY_BYTES_FIXED;
        let entries = [first, entry(Lane::Price, 1, 3, &vec![0; rest])];
        assert_eq!(payload(&entries).len(), bytes);
        parse(&entries)
    };
    assert_eq!(prices(LANE_SHARES_FROM_BYTES), Ok(2));
    let payload_bytes = LANE_SHARES_FROM_BYTES + 1;
    let (lane, bytes) = (Lane::Price, payload_bytes - 4);
    let error = PayloadError::LaneShare {
        lane,
        bytes,
        payload_bytes,
        percent: 50,
    };
    assert_eq!(prices(payload_bytes), Err(error));
}

#[test]
fn the_chain_says_how_much_each_lane_may_take_and_how_much_a_block_carries() {
    let large = [
        fill(Lane::Order, 40 * 1024, 0),
        fill(Lane::Price, 40 * 1024, 80),
    ]
    .concat();
    assert!(parse(&large).is_ok());
    let narrow = BlockRules {
        lane_percent: [100, 100, 40, 25],
        ..BlockRules::default()
    };
    let refused = parse_under(&narrow, &large);
    assert!(
        matches!(
            refused,
            Err(PayloadError::LaneShare {
                lane: Lane::Price,
                percent: 40,
                ..
            })
        ),
        "{refused:?}"
    );
    let orders_held = BlockRules {
        lane_percent: [100, 60, 100, 100],
        ..BlockRules::default()
    };
    let orders = fill(Lane::Order, 80 * 1024, 0);
    assert!(parse(&orders).is_ok());
    assert!(parse_under(&orders_held, &orders).is_err());
    let small = [
        entry(Lane::Order, 1, 5, &[0; 40]),
        entry(Lane::Order, 1, 6, b""),
    ];
    assert!(parse(&small).is_ok());
    let rules = BlockRules::default();
    let bounds = [
        BlockRules {
            payload_bytes_max: payload(&small).len() - 1,
            ..rules
        },
        BlockRules {
            commands_max: 1,
            ..rules
        },
        BlockRules {
            command_bytes_max: 39,
            ..rules
        },
    ];
    let errors = bounds.map(|rules| parse_under(&rules, &small).unwrap_err());
    assert!(
        matches!(
            errors,
            [
                PayloadError::TooLarge { .. },
                PayloadError::TooManyCommands { count: 2, max: 1 },
                PayloadError::BodyTooLarge {
                    command: 0,
                    bytes: 40,
                    max: 39
                },
            ]
        ),
        "{errors:?}"
    );
}

#[test]
fn a_run_of_entries_is_checked_entry_by_entry_in_any_order() {
    let run = [
        entry(Lane::Admin, 1, 9, b"a"),
        entry(Lane::Cancel, 1, 2, b"b"),
    ]
    .concat();
    let bodies: Vec<_> = parse_entries(&run)
        .expect("legal")
        .map(|command| command.body)
        .collect();
    assert_eq!(bodies, [b"a", b"b"]);
    assert_eq!(parse_entries(&[]).expect("legal").count(), 0);
    let command = 1;
    let cut = parse_entries(&run[..run.len() - 1]).err();
    assert_eq!(cut, Some(PayloadError::Truncated { command }));
    let zero = [run.clone(), entry(Lane::Order, 1, 0, b"")].concat();
    assert_eq!(
        parse_entries(&zero).err(),
        Some(PayloadError::SeqZero { command: 2 })
    );
    let (bytes, max) = (FORWARD_BYTES_MAX + 1, FORWARD_BYTES_MAX);
    let too_large = PayloadError::TooLarge { bytes, max };
    assert_eq!(parse_entries(&vec![0; bytes]).err(), Some(too_large));
    // A run may have its bound to the byte.
    let mut longest = entry(Lane::Order, 1, 2, &[0; COMMAND_BYTES_MAX]).repeat(15);
    let rest = FORWARD_BYTES_MAX - longest.len() - ENTRY_BYTES_FIXED;
    longest.extend(entry(Lane::Order, 1, 2, &vec![0; rest]));
    assert_eq!(longest.len(), FORWARD_BYTES_MAX);
    assert_eq!(parse_entries(&longest).expect("legal").count(), 16);
    let many = entry(Lane::Order, 1, 2, b"").repeat(BLOCK_COMMANDS_MAX + 1);
    let count = BLOCK_COMMANDS_MAX + 1;
    let max = BLOCK_COMMANDS_MAX;
    assert_eq!(
        parse_entries(&many).err(),
        Some(PayloadError::TooManyCommands { count, max })
    );
}

#[test]
fn a_client_signs_the_entry_that_it_sends() {
    let key = ValidatorKey::from_seed(&[5; 32]);
    let body = [&key.public()[..], b"deposit"].concat();
    let session = session_of_key(&key.public());
    let unsigned = entry_unsigned(Lane::Order, &session, 1, &body);
    let message = signing::command_message(&[1; 32], &[2; 32], &unsigned);
    let signature = key.sign(&message);
    let mut entry = Vec::new();
    let (lane, session, signature) = (Lane::Order, &session, Some(&signature));
    encode_entry(
        &Entry {
            lane,
            session,
            seq: 1,
            signature,
            body: &body,
        },
        &mut entry,
    );

    let command = parse_entries(&entry)
        .expect("legal")
        .next()
        .expect("a command");
    let key = command.opening_key().expect("opens");
    let signature = command.signature.expect("signed");
    let message = signing::command_message(&[1; 32], &[2; 32], &command.entry_unsigned());
    assert!(single(key, &message, signature));
    let elsewhere = signing::command_message(&[1; 32], &[3; 32], &command.entry_unsigned());
    assert!(!single(key, &elsewhere, signature));
    // Nothing of the entry can be changed: every byte in front of the body is signed.
    for place in 0..ENTRY_BYTES_FIXED {
        let mut changed = command.entry_unsigned();
        changed[place] ^= 1;
        let message = signing::command_message(&[1; 32], &[2; 32], &changed);
        assert!(!single(key, &message, signature));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_come_back_as_they_were(
        mut bytes in
            proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 4..300),
        count in 0..5_u32,
    ) {
        bytes[..4].copy_from_slice(&count.to_le_bytes());
        if let Ok(view) = PayloadView::parse(&bytes) {
            let entries: Vec<_> = view.iter().map(|command| command.entry.to_vec()).collect();
            prop_assert_eq!(payload(&entries), bytes);
        }
    }

    #[test]
    fn a_changed_byte_is_refused_or_comes_back_as_it_is(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = payload(&[
            entry(Lane::Cancel, 1, 5, b"abc"),
            opening([3; 32], b"z"),
            entry(Lane::Admin, 1, 6, b""),
        ]);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(view) = PayloadView::parse(&bytes) {
            let entries: Vec<_> = view.iter().map(|command| command.entry.to_vec()).collect();
            prop_assert_eq!(payload(&entries), bytes);
        }
    }
}

#[test]
fn an_entry_about_its_session_says_so_and_is_signed_as_such() {
    let mut bytes = Vec::new();
    let command = Entry {
        lane: Lane::Admin,
        session: &[7; 16],
        seq: 9,
        signature: Some(&[8; 64]),
        body: b"end",
    };
    encode_session_entry(&command, &mut bytes);
    let views: Vec<_> = parse_entries(&bytes).expect("legal").collect();
    assert!(views[0].is_session() && !views[0].is_open());
    assert_eq!(views[0].body, b"end");
    // The signed bytes are those of the entry without its signature.
    let unsigned = session_entry_unsigned(Lane::Admin, &[7; 16], 9, b"end");
    let mut without = bytes.clone();
    without.drain(ENTRY_BYTES_FIXED..ENTRY_BYTES_FIXED + 64);
    assert_eq!(unsigned, without);
    let plain = entry(Lane::Admin, 1, 9, b"end");
    let views: Vec<_> = parse_entries(&plain).expect("legal").collect();
    assert!(!views[0].is_session());
}
