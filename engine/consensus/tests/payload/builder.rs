//! What the builder takes is valid for everyone.

use crate::{entry, payload};
use proptest::prelude::*;
use quorate_consensus::limits::{BLOCK_COMMANDS_MAX, COMMAND_BYTES_MAX, PAYLOAD_BYTES_MAX};
use quorate_consensus::payload::{
    BlockRules, ENTRY_BYTES_FIXED, Lane, PayloadBuilder, PayloadError, PayloadView, PushError,
};
use std::error::Error;

#[test]
fn the_builder_gives_what_parses_and_starts_over() {
    let mut builder = PayloadBuilder::new();
    let entries = [
        entry(Lane::Cancel, 1, 5, b"x"),
        entry(Lane::Order, 1, 6, b"y"),
    ];
    entries
        .iter()
        .for_each(|entry| builder.push_entry(entry).expect("fits"));
    assert_eq!(builder.len(), 2);
    assert!(!builder.is_empty());
    let expected = payload(&entries);
    assert_eq!(builder.payload_bytes(), expected.len());
    assert_eq!(*builder.finish(), *expected);
    assert!(builder.is_empty());
    // The lane and the sessions start over too.
    builder
        .push_entry(&entry(Lane::Cancel, 1, 40, b""))
        .expect("fits");
    builder.clear();
    assert_eq!(*builder.finish(), *payload(&[]));
}

#[test]
fn the_builder_refuses_what_cannot_stand_there_and_stays_as_it_was() {
    let mut builder = PayloadBuilder::new();
    builder
        .push_entry(&entry(Lane::Order, 1, 5, b""))
        .expect("fits");
    let before = builder.payload_bytes();
    let command = 1;
    let refused = [
        (
            entry(Lane::Cancel, 2, 5, b""),
            PayloadError::LaneOrder { command },
        ),
        (
            entry(Lane::Order, 1, 7, b""),
            PayloadError::Sequence {
                command,
                before: 5,
                seq: 7,
            },
        ),
        (
            entry(Lane::Order, 1, 0, b""),
            PayloadError::SeqZero { command },
        ),
        (
            entry(Lane::Order, 3, 1, b""),
            PayloadError::OpenKey { command },
        ),
        (
            [entry(Lane::Order, 2, 5, b""), vec![0; 2]].concat(),
            PayloadError::Trailing { bytes: 2 },
        ),
        (Vec::new(), PayloadError::Truncated { command }),
    ];
    for (entry, error) in refused {
        let refused = PushError::Invalid(error);
        assert!(refused.source().is_some(), "the error below is passed on");
        assert_eq!(builder.push_entry(&entry), Err(refused));
        assert_eq!((builder.len(), builder.payload_bytes()), (1, before));
    }
    builder
        .push_entry(&entry(Lane::Order, 1, 6, b""))
        .expect("fits");
}

#[test]
fn the_builder_is_full_by_bytes_and_by_commands() {
    let mut builder = PayloadBuilder::new();
    let large = vec![0; COMMAND_BYTES_MAX];
    let taken = (2_u64..)
        .take_while(|&seq| {
            builder
                .push_entry(&entry(Lane::Order, 1, seq, &large))
                .is_ok()
        })
        .count();
    assert_eq!(taken, 15);
    assert_eq!(
        builder.push_entry(&entry(Lane::Order, 1, 17, &large)),
        Err(PushError::Full)
    );
    // Exactly what is left fits, and not a byte more.
    let left = PAYLOAD_BYTES_MAX - builder.payload_bytes() - ENTRY_BYTES_FIXED;
    let over = entry(Lane::Order, 1, 17, &vec![0; left + 1]);
    assert_eq!(builder.push_entry(&over), Err(PushError::Full));
    builder
        .push_entry(&entry(Lane::Order, 1, 17, &vec![0; left]))
        .expect("fits");
    let payload = builder.finish();
    assert_eq!(payload.len(), PAYLOAD_BYTES_MAX);
    assert_eq!(PayloadView::parse(&payload).expect("legal").len(), 16);

    for seq in 0..BLOCK_COMMANDS_MAX as u64 {
        builder
            .push_entry(&entry(Lane::Order, 1, seq + 2, b""))
            .expect("fits");
    }
    assert_eq!(
        builder.push_entry(&entry(Lane::Order, 2, 2, b"")),
        Err(PushError::Full)
    );
    assert!(PayloadView::parse(&builder.finish()).is_ok());
}

#[test]
fn the_builder_holds_back_a_lane_at_its_share_and_takes_the_others() {
    let mut builder = PayloadBuilder::new();
    let body = vec![0; 16 * 1024];
    builder
        .push_entry(&entry(Lane::Order, 1, 2, &body))
        .expect("fits");
    for seq in 2..4 {
        builder
            .push_entry(&entry(Lane::Price, 2, seq, &body))
            .expect("small payloads are free");
    }
    let price = entry(Lane::Price, 2, 4, &body);
    assert_eq!(
        builder.push_entry(&price),
        Err(PushError::LaneFull(Lane::Price))
    );
    // Admin would make the payload large and then take more than a quarter of it.
    let admin = entry(Lane::Admin, 3, 2, &vec![0; 20 * 1024]);
    assert_eq!(
        builder.push_entry(&admin),
        Err(PushError::LaneFull(Lane::Admin))
    );
    builder
        .push_entry(&entry(Lane::Admin, 3, 2, b"small"))
        .expect("fits");
    assert!(PayloadView::parse(&builder.finish()).is_ok());
}

proptest! {
    #[test]
    fn whatever_the_builder_takes_parses(
        pushes in proptest::collection::vec((0..4_u8, 0..3_u8, 2..6_u64, 0..20_000_usize), 0..80),
    ) {
        let rules = BlockRules {
            payload_bytes_max: 300_000,
            commands_max: 40,
            command_bytes_max: 18_000,
            lane_percent: [100, 80, 30, 10],
        };
        let mut builder = PayloadBuilder::with_rules(rules);
        let mut taken = Vec::new();
        for (lane, session, seq, body) in pushes {
            let lane = Lane::ALL[usize::from(lane)];
            let entry = entry(lane, session, seq, &vec![1; body]);
            if builder.push_entry(&entry).is_ok() {
                taken.push(entry);
            }
        }
        let bytes = builder.finish();
        let view = PayloadView::parse(&bytes).expect("what was taken is legal");
        prop_assert_eq!(view.check_rules(&rules), Ok(()));
        let found: Vec<_> = view.iter().map(|command| command.entry.to_vec()).collect();
        prop_assert_eq!(found, taken);
    }
}
