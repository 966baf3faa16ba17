//! Checks in pieces: what is found out once, what waits for company, and what does not.

use super::*;
use crate::keys::KeyPair;
use crate::testing::{sample_genesis, signed_entry};
use quorate_consensus::payload::{Lane, PayloadBuilder};

const MS: u64 = 1_000_000;
const OWN: ValidatorIndex = ValidatorIndex::new(0);

fn checks() -> PieceChecks {
    let (genesis, _) = sample_genesis(4);
    let auth = CommandAuth::signed(genesis.validator_set(), [4; 32]);
    PieceChecks::new(Arc::new(auth), OWN)
}

/// A block with commands of one client; that with number `forged` is signed by somebody else.
fn check_of(auth: &CommandAuth, id: u8, seqs: std::ops::RangeInclusive<u64>, forged: u64) -> Check {
    let (key, other) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
    let mut payload = PayloadBuilder::new();
    for seq in seqs {
        let signer = if seq == forged { &other } else { &key };
        let sign = |unsigned: &[u8]| signer.sign(&auth.message(unsigned).unwrap());
        let entry = signed_entry(Lane::Order, &key.public(), seq, &[5; 40], sign);
        payload.push_entry(&entry).unwrap();
    }
    Check::Block {
        id: BlockId::new([id; 32]),
        payload: payload.finish(),
    }
}

#[test]
fn a_block_is_noted_with_its_keys_when_every_command_is_signed_and_else_not() {
    let mut checks = checks();
    let auth = Arc::clone(&checks.auth);
    let key = KeyPair::from_seed(&[1; 32]).public();
    checks.ask(check_of(&auth, 1, 1..=3, 0));
    checks.turn(0);
    let known = |id: u8| auth.block_keys(&BlockId::new([id; 32]));
    assert_eq!(known(1).as_deref(), Some(&[key; 3][..]));
    checks.ask(check_of(&auth, 2, 4..=6, 5));
    checks.turn(MS * 10);
    assert!(checks.next_forwarded().is_none() && checks.is_idle());
    assert!(known(2).is_none());
    // The same when its verdicts are there already.
    checks.ask(check_of(&auth, 3, 4..=6, 5));
    checks.turn(MS * 20);
    assert!(known(3).is_none());
}

#[test]
fn a_block_in_two_pieces_has_all_its_keys() {
    let mut checks = checks();
    let auth = Arc::clone(&checks.auth);
    checks.ask(check_of(&auth, 1, 1..=5, 0));
    for _ in 0..3 {
        assert!(auth.block_keys(&BlockId::new([1; 32])).is_none());
        checks.go_on(2);
    }
    let keys = auth.block_keys(&BlockId::new([1; 32]));
    assert_eq!(keys.map(|keys| keys.len()), Some(5));
}

#[test]
fn few_signatures_wait_for_company_after_a_batch_and_what_is_known_does_not() {
    let mut checks = checks();
    let auth = Arc::clone(&checks.auth);
    checks.ask(check_of(&auth, 1, 1..=3, 0));
    checks.turn(0);
    assert!(checks.next_forwarded().is_none() && checks.is_idle());
    assert_eq!(checks.deadline_ns(), u64::MAX);
    // Known: another block with the same commands. New: one with others.
    checks.ask(check_of(&auth, 2, 1..=3, 0));
    checks.ask(check_of(&auth, 3, 4..=4, 0));
    checks.turn(1);
    assert!(checks.next_forwarded().is_none());
    assert_eq!(checks.waiting.len(), 1);
    let due_ns = checks.deadline_ns();
    assert!(due_ns > 1 && due_ns <= 4 * MS);
    checks.turn(due_ns - 1);
    assert!(auth.block_keys(&BlockId::new([3; 32])).is_none());
    checks.turn(due_ns);
    assert!(auth.block_keys(&BlockId::new([3; 32])).is_some());
}

#[test]
fn what_stood_in_blocks_is_never_left_out_for_what_peers_send() {
    let mut checks = checks();
    let of = |from: u16, byte: u8| Check::Forwarded {
        from: ValidatorIndex::new(from),
        commands: Arc::from(&[byte; 40][..]),
    };
    checks.ask(of(OWN.number(), 1));
    (0..3 * WAITING_MAX).for_each(|_| checks.ask(of(2, 2)));
    assert_eq!(checks.waiting.len(), WAITING_MAX);
    assert_eq!(checks.waiting_bytes, 40 * WAITING_MAX);
    let own =
        |piece: &Piece<Check>| matches!(&piece.of, Check::Forwarded { from, .. } if *from == OWN);
    assert!(checks.waiting.iter().any(own));
}
