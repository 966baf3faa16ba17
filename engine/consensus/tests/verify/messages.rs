//! The exact bytes that validators sign, frozen field by field.

use crate::world::{W, World, tip, v};
use quorate_consensus::record::Record;
use quorate_consensus::signing;
use quorate_consensus::wire;

fn preamble(world: &World, domain: &[u8], validator: u16) -> Vec<u8> {
    [
        domain,
        &[1; 32],
        &[2; 32],
        &3_u64.to_le_bytes(),
        world.set.set_hash(),
        &validator.to_le_bytes(),
    ]
    .concat()
}

#[test]
fn a_record_s_message_is_preamble_window_and_record() {
    let world = World::six();
    let record = tip(&world.header(None, 0));
    let mut message = b"kept".to_vec();
    signing::record_message(&world.set, v(4), W, &record, &mut message);
    let mut expected = b"kept".to_vec();
    expected.extend(preamble(&world, b"bft/record/v1", 4));
    expected.extend_from_slice(&5_u64.to_le_bytes());
    wire::encode_record(&record, &mut expected);
    assert_eq!(message, expected);
}

#[test]
fn a_header_s_message_is_the_leader_s_preamble_and_the_header() {
    let world = World::six();
    let header = world.header(None, 0);
    let mut message = Vec::new();
    signing::header_message(&world.set, &header, &mut message);
    // Window 5 with turns of 4 windows: the second turn.
    let mut expected = preamble(&world, b"bft/header/v1", 1);
    expected.extend_from_slice(&wire::header::to_array(&header));
    assert_eq!(message, expected);
}

#[test]
fn a_hello_s_message_is_preamble_handshake_and_both_indices() {
    let world = World::six();
    let message = signing::hello_message(&world.set, &[8; 32], 2, u16::MAX);
    let mut expected = preamble(&world, b"bft/hello/v1", 2);
    expected.extend_from_slice(&[8; 32]);
    expected.extend_from_slice(&[2, 0, 0xff, 0xff]);
    assert_eq!(message, expected);
}

#[test]
fn the_empty_record_has_a_message_of_its_own() {
    let world = World::six();
    let message = |record: &Record, window| {
        let mut out = Vec::new();
        signing::record_message(&world.set, v(0), window, record, &mut out);
        out
    };
    let empty = Record::default();
    let stopped = Record {
        stop: true,
        ..Record::default()
    };
    assert_ne!(message(&empty, W), message(&stopped, W));
    assert_ne!(message(&empty, W), message(&empty, W.next()));
}
