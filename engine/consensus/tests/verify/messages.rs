//! The exact bytes that validators sign, frozen field by field.

use crate::world::{W, World, tip, v};
use quorate_consensus::attestation::StateStatement;
use quorate_consensus::message::OwnAnswer;
use quorate_consensus::record::Record;
use quorate_consensus::signing;
use quorate_consensus::types::{BlockId, Height};
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

/// R13: it is the nonce that makes an answer one to this question, and the window that counts.
#[test]
fn an_answer_s_message_is_preamble_nonce_asker_and_window() {
    let world = World::six();
    let answer = OwnAnswer {
        asker: v(2),
        nonce: [6; 32],
        window: W,
    };
    let mut message = b"kept".to_vec();
    signing::recover_message(&world.set, v(4), &answer, &mut message);
    let mut expected = b"kept".to_vec();
    expected.extend(preamble(&world, b"bft/recover/v1", 4));
    expected.extend_from_slice(&[6; 32]);
    expected.extend_from_slice(&[2, 0]);
    expected.extend_from_slice(&5_u64.to_le_bytes());
    assert_eq!(message, expected);
}

#[test]
fn a_state_s_message_is_preamble_height_block_sections_and_snapshot() {
    let world = World::six();
    let mut statement = StateStatement {
        height: Height::new(64),
        id: BlockId::new([7; 32]),
        sections: vec![[8; 32], [9; 32]],
        snapshot: Some([10; 32]),
    };
    let mut expected = preamble(&world, b"bft/attest/v1", 4);
    expected.extend_from_slice(&64_u64.to_le_bytes());
    expected.extend_from_slice(&[7; 32]);
    expected.extend_from_slice(&2_u32.to_le_bytes());
    expected.extend_from_slice(&[8; 32]);
    expected.extend_from_slice(&[9; 32]);
    let without_snapshot = expected.len();
    expected.push(1);
    expected.extend_from_slice(&[10; 32]);
    let message = |statement: &StateStatement| {
        let mut message = Vec::new();
        signing::state_message(&world.set, v(4), statement, &mut message);
        message
    };
    assert_eq!(message(&statement), expected);
    statement.snapshot = None;
    expected.truncate(without_snapshot);
    expected.push(0);
    assert_eq!(message(&statement), expected);
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
