//! Checks in pieces: what is found out once, what waits for company, and what does not.

use super::*;
use crate::auth::BatchSeed;
use crate::keys::KeyPair;
use crate::replica::forwards::ForwardIntake;
use crate::testing::{sample_genesis, signed_entry};
use quorate_consensus::payload::{Lane, PayloadBuilder, parse_entries, session_of_key};
use quorate_consensus::types::ValidatorIndex;

const MS: u64 = 1_000_000;
const MEBIBYTE: usize = 1024 * 1024;
const OWN: ValidatorIndex = ValidatorIndex::new(0);

fn checks() -> PieceChecks {
    let (genesis, _) = sample_genesis(4);
    let auth = CommandAuth::signed(
        genesis.validator_set(),
        BatchSeed::assert_unpredictable([4; 32]),
    );
    PieceChecks::new(Arc::new(auth))
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
fn what_was_told_of_a_block_goes_on_where_its_check_goes_on() {
    let mut checks = checks();
    let (auth, leader) = (Arc::clone(&checks.auth), tests::checks().auth);
    let Check::Block { id, payload } = check_of(&leader, 1, 1..=5, 0) else {
        unreachable!("it is a block");
    };
    let entries = &payload[4..];
    let source = KeySource::Known;
    let mut check = leader.batch_check(0);
    leader
        .check_run(entries, source, &mut check, |_, _| {})
        .unwrap();
    auth.note_told(id, &payload, &leader.tell_abscissas(&payload).unwrap());
    checks.ask(Check::Block { id, payload });
    for _ in 0..3 {
        checks.go_on(2);
    }
    assert!(auth.block_keys(&id).is_some());
    assert_eq!((leader.decoded(), auth.decoded()), (5, 0));
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
    let mut intake = ForwardIntake::new(4, MEBIBYTE);
    let auth = Arc::clone(&checks.auth);
    let Check::Forwarded(own) = forwarded(&check_of(&auth, 1, 1..=3, 0)) else {
        panic!("forwarded");
    };
    let of = |checks: &mut PieceChecks, run| checks.ask(Check::Forwarded(run));
    let other: Arc<[u8]> = vec![0; 40].into();
    for run in (0..4096).map_while(|_| intake.take(0, ValidatorIndex::new(2), Arc::clone(&other))) {
        of(&mut checks, run);
    }
    for number in 0..2 * WAITING_MAX {
        let id = BlockId::new([number as u8; 32]);
        let payload = Arc::clone(&other);
        checks.ask(Check::Block { id, payload });
    }
    assert_eq!(checks.waiting.len(), WAITING_MAX);
    assert_eq!(checks.waiting_bytes, 40 * WAITING_MAX);
    of(&mut checks, ForwardedRun::of_blocks(OWN, own.entries));
    let mut turns = 0;
    while !checks.is_idle() {
        turns += 1;
        checks.turn(turns * 10 * MS);
    }
    let all: Vec<CheckedForward> = std::iter::from_fn(|| checks.next_forwarded()).collect();
    assert!(all.iter().any(|forward| forward.run.from == OWN));
}

/// A leader makes blocks as long as they may be, faster than signatures are checked.
#[test]
fn long_blocks_that_wait_to_be_checked_are_bounded_in_bytes() {
    let mut checks = checks();
    let payload: Arc<[u8]> = vec![0; MEBIBYTE].into();
    for number in 0..64 {
        let id = BlockId::new([number; 32]);
        let payload = Arc::clone(&payload);
        checks.ask(Check::Block { id, payload });
    }
    assert_eq!(checks.waiting_bytes, WAITING_BYTES_MAX);
    let newest = checks.waiting.back().map(|piece| piece.block);
    assert_eq!(newest, Some(BlockId::new([63; 32])));
}

/// One peer sends as much as the wire brings, all of it signed.
#[test]
fn one_peer_s_commands_are_bounded_and_another_s_are_in_the_next_batch() {
    let mut checks = checks();
    let mut intake = ForwardIntake::new(4, MEBIBYTE);
    let auth = Arc::clone(&checks.auth);
    let (many, few) = (ValidatorIndex::new(2), ValidatorIndex::new(3));
    let key = KeyPair::from_seed(&[1; 32]).public();
    auth.note_open(crate::state_machine::SessionId(session_of_key(&key)), key);
    // Half a mebibyte, of which nobody knows the verdicts.
    let run = entries_of(&check_of(&auth, 1, 1..=4_500, 0));
    assert!(run.len() > MEBIBYTE / 2);
    for _ in 0..1024 {
        let run = intake.take(0, many, Arc::clone(&run));
        checks.ask_all(run);
    }
    assert!(checks.bytes() <= MEBIBYTE + MEBIBYTE / 2);
    assert_eq!(intake.left_out(), 1024 - 2);
    let late = entries_of(&check_of(&auth, 2, 5_000..=5_050, 0));
    let late = intake.take(0, few, late);
    checks.ask_all(late);
    checks.turn(20 * MS);
    let answered: Vec<CheckedForward> = std::iter::from_fn(|| checks.next_forwarded()).collect();
    let from: Vec<ValidatorIndex> = answered.iter().map(|forward| forward.run.from).collect();
    assert_eq!(from, [few]);
    assert_eq!(
        (answered[0].refused, answered[0].commands.len()),
        (0, answered[0].run.entries.len())
    );
}

/// Of a peer that forwards what nobody has signed one batch is looked at, and nothing more of what
/// it had sent by then.
#[test]
fn a_peer_that_forwards_what_nobody_has_signed_costs_one_batch() {
    let mut checks = checks();
    let mut intake = ForwardIntake::new(4, MEBIBYTE);
    let auth = Arc::clone(&checks.auth);
    let peer = ValidatorIndex::new(2);
    let key = KeyPair::from_seed(&[1; 32]).public();
    auth.note_open(crate::state_machine::SessionId(session_of_key(&key)), key);
    let forged = entries_of(&check_of(&auth, 1, 1..=600, 7));
    for _ in 0..5 {
        let run = intake.take(0, peer, Arc::clone(&forged));
        checks.ask_all(run);
    }
    checks.turn(0);
    let found = checks.next_forwarded().unwrap();
    assert_eq!(found.refused, 1);
    let kept = parse_entries(&found.commands).unwrap().count();
    assert_eq!(kept, CHECKS_PER_TURN - 1);
    drop(found);
    assert!(checks.next_forwarded().is_none() && checks.is_idle());
    assert_eq!(checks.bytes(), 0);
}

impl PieceChecks {
    fn ask_all(&mut self, run: Option<ForwardedRun>) {
        run.into_iter()
            .for_each(|run| self.ask(Check::Forwarded(run)));
    }
}

/// The commands of a block, as a run of entries.
fn entries_of(block: &Check) -> Arc<[u8]> {
    let Check::Block { payload, .. } = block else {
        panic!("{block:?}");
    };
    let commands = commands_of_block(payload).unwrap();
    let entries: Vec<u8> = commands.flat_map(|view| view.entry.to_vec()).collect();
    entries.into()
}

/// The commands of a block, as a peer would forward them.
fn forwarded(block: &Check) -> Check {
    let mut intake = ForwardIntake::new(4, MEBIBYTE);
    let run = intake.take(0, ValidatorIndex::new(2), entries_of(block));
    Check::Forwarded(run.unwrap())
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
    assert_eq!(
        (&good.commands[..], good.refused),
        (&good.run.entries[..], 0)
    );
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
