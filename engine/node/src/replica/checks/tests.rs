//! Checks in pieces: what is found out once, what waits for company, and what does not.

use super::*;
use crate::auth::BatchSeed;
use crate::keys::KeyPair;
use crate::testing::{sample_genesis, signed_entry};
use quorate_consensus::payload::{Lane, PayloadBuilder, session_of_key};

const MS: u64 = 1_000_000;
const OWN: ValidatorIndex = ValidatorIndex::new(0);

fn checks() -> PieceChecks {
    let (genesis, _) = sample_genesis(4);
    let seed = BatchSeed::assert_unpredictable([4; 32]);
    let auth = CommandAuth::signed(genesis.validator_set(), seed);
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
    assert!(due_ns > 1 && due_ns <= 8 * MS);
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

/// The commands of a block, as a peer would forward them.
fn forwarded(block: &Check) -> Check {
    let Check::Block { payload, .. } = block else {
        panic!("{block:?}");
    };
    let commands = commands_of_block(payload).unwrap();
    let entries: Vec<u8> = commands.flat_map(|view| view.entry.to_vec()).collect();
    Check::Forwarded {
        from: ValidatorIndex::new(2),
        commands: entries.into(),
    }
}

#[test]
fn forwarded_commands_go_on_whole_when_all_are_signed_and_without_the_forged_ones_else() {
    let mut checks = checks();
    let auth = Arc::clone(&checks.auth);
    // The session's key is known from its opening command.
    let key = KeyPair::from_seed(&[1; 32]).public();
    auth.note_open(crate::state_machine::SessionId(session_of_key(&key)), key);
    checks.ask(forwarded(&check_of(&auth, 1, 1..=3, 0)));
    checks.turn(0);
    let good = checks.next_forwarded().unwrap();
    assert_eq!((&good.commands[..], good.refused), (&good.asked[..], 0));
    checks.ask(forwarded(&check_of(&auth, 2, 4..=6, 5)));
    checks.turn(MS * 10);
    let mixed = checks.next_forwarded().unwrap();
    assert_eq!(mixed.refused, 1);
    let kept: Vec<u64> = parse_entries(&mixed.commands)
        .unwrap()
        .map(|view| view.seq)
        .collect();
    assert_eq!(kept, [4, 6]);
    assert!(checks.next_forwarded().is_none() && checks.is_idle());
}

#[test]
fn what_waits_for_its_batch_is_not_walked_over_again_until_that_is_due() {
    let mut checks = checks();
    let auth = Arc::clone(&checks.auth);
    checks.ask(check_of(&auth, 1, 1..=3, 0));
    checks.turn(0);
    assert!(checks.next_forwarded().is_none());
    // A block whose commands become known by another way while it waits.
    let later = check_of(&auth, 2, 4..=4, 0);
    checks.ask(later.clone());
    checks.turn(1);
    let mut check = auth.batch_check(9);
    let Check::Block { payload, .. } = &later else {
        panic!("{later:?}");
    };
    let commands = commands_of_block(payload).unwrap();
    auth.check_part(commands, KeySource::Known, &mut check, |_, _| {});
    checks.turn(2);
    assert!(auth.block_keys(&BlockId::new([2; 32])).is_none());
    let due_ns = checks.deadline_ns();
    assert!(due_ns > 2 && due_ns < u64::MAX);
    checks.turn(due_ns);
    assert!(auth.block_keys(&BlockId::new([2; 32])).is_some());
}
