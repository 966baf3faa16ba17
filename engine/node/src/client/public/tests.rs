//! What is kept of the public stream while nobody takes it, and what is passed over.

use super::*;
use crate::client_wire::PublicFrame;
use crate::testing::sample_genesis;

const fn at(height: u64, index: u32) -> StreamPosition {
    StreamPosition { height, index }
}

#[test]
fn events_are_kept_up_to_so_many_bytes_and_none_behind_one_that_found_no_room() {
    let event = |index, bytes| PublicEvent {
        position: at(7, index),
        time_ns: 1,
        bytes,
    };
    let mut kept = Kept::default();
    kept.push(&event(0, b"one has room wherever nothing is kept"), 1);
    assert_eq!(kept.pop().unwrap().position, at(7, 0));
    let bytes_max = 2 * (ITEM_BYTES + 4);
    for index in 1..=3 {
        kept.push(&event(index, b"four"), bytes_max);
    }
    assert_eq!((kept.items.len(), kept.left_at), (2, Some(at(7, 3))));
    kept.pop();
    // There is room again, and a hole in between.
    kept.push(&event(4, b""), bytes_max);
    assert_eq!((kept.items.len(), kept.left_at), (1, Some(at(7, 3))));
    assert_eq!(kept.bytes, ITEM_BYTES + 4);
}

#[test]
fn an_answer_that_is_wanted_no_more_is_not_taken_for_the_subscription() {
    let (genesis, _) = sample_genesis(4);
    let key = Arc::new(KeyPair::from_seed(&[5; 32]));
    let options = PublicOptions {
        from: StreamPosition::BEGIN,
        ..PublicOptions::default()
    };
    let mut reader = PublicReader::new(&genesis, key, options).unwrap();
    reader.ask_range(StreamPosition::BEGIN, at(9, 0));
    (reader.reading.subscription_id, reader.reading.range_id) = (2, 3);
    reader.end_range();
    let mut told = Vec::new();
    for id in [3, 2] {
        let mut frame = PublicFrame::default();
        frame.begin(None, id, StreamPosition::BEGIN);
        frame.begin_block(1, 5, 0);
        frame.push(b"event");
        frame.finish(at(2, 0));
        let Ok((_, ServerFrame::Public(public))) = ServerFrame::decode(frame.bytes()) else {
            panic!("a stretch of the public stream");
        };
        let mut taking = Taking {
            reading: &mut reader.reading,
            on_update: &mut |update: PublicUpdate<'_>| told.push((id, format!("{update:?}"))),
        };
        taking.take(public);
    }
    assert!(!reader.reading.leaves, "nothing of it is a fault");
    assert_eq!(reader.position(), at(2, 0));
    let [(2, update)] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(update.starts_with("Event"), "{update}");
}
