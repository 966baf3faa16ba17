//! The executor of a chain of signed commands: what its session's key has not signed does nothing.

use quorate_consensus::payload::flagged_entry_unsigned;

use super::*;
use crate::auth::BatchSeed;
use crate::keys::KeyPair;
use crate::testing::sample_genesis;

fn executor(sessions_max: u32) -> Executor<Echo> {
    let (genesis, _) = sample_genesis(4);
    let auth = CommandAuth::signed(
        genesis.validator_set(),
        BatchSeed::assert_unpredictable([4; 32]),
    );
    Executor::new(Echo::default(), sessions_max, 0).with_auth(Arc::new(auth))
}

fn pair(client: u8) -> KeyPair {
    KeyPair::from_seed(&[client; 32])
}

fn id(client: u8) -> SessionId {
    SessionId(session_of_key(&pair(client).public()))
}

/// A command of `client`, signed by `signer`; by nobody when there is none.
fn command(
    auth: &CommandAuth,
    client: u8,
    seq: u64,
    body: &[u8],
    signer: Option<&KeyPair>,
) -> Vec<u8> {
    match seq {
        1 => opening(auth, client, seq, body, signer),
        _ => entry(auth, (client, seq, 0), body, signer),
    }
}

/// The command that opens a session with this number.
fn opening(
    auth: &CommandAuth,
    client: u8,
    seq: u64,
    body: &[u8],
    signer: Option<&KeyPair>,
) -> Vec<u8> {
    let key = pair(client).public();
    let body = [&key[..], body].concat();
    entry(auth, (client, seq, FLAG_OPEN), &body, signer)
}

fn entry(
    auth: &CommandAuth,
    (client, seq, flags): (u8, u64, u16),
    body: &[u8],
    signer: Option<&KeyPair>,
) -> Vec<u8> {
    let session = session_of_key(&pair(client).public());
    let unsigned = flagged_entry_unsigned(WireLane::Order, &session, seq, body, flags);
    let signature = signer.map(|signer| signer.sign(&auth.message(&unsigned).expect("signed")));
    let entry = Entry {
        lane: WireLane::Order,
        session: &session,
        seq,
        signature: signature.as_ref(),
        body,
    };
    let mut bytes = Vec::new();
    encode_flagged_entry(&entry, flags, &mut bytes);
    bytes
}

fn run(
    executor: &mut Executor<Echo>,
    height: u64,
    time_ns: u64,
    entries: Vec<Vec<u8>>,
) -> BlockResults {
    let mut results = BlockResults::new();
    let block = block_of(height, time_ns, entries);
    executor.execute(&block, &mut results).expect("next");
    results
}

#[test]
fn a_command_that_its_session_has_not_signed_does_nothing_and_leaves_its_number_free() {
    let mut executor = executor(8);
    let auth = Arc::clone(executor.auth());
    let (own, other) = (pair(1), pair(2));
    let before = state(&mut executor);
    // Neither by another key nor without a signature is a session opened.
    for (height, signer) in [(1, Some(&other)), (2, None)] {
        let forged = command(&auth, 1, 1, b"x", signer);
        let results = run(&mut executor, height, height, vec![forged]);
        assert_eq!(outcomes(&results), [Outcome::BadSignature]);
        assert_eq!(results.corrections[0].last_seq, None);
        assert_eq!(state(&mut executor), before);
    }
    // Behind the opening in one block, where the table knew no key before it.
    let entries = vec![
        command(&auth, 1, 1, b"a", Some(&own)),
        command(&auth, 1, 2, b"x", Some(&other)),
        command(&auth, 1, 3, b"x", Some(&own)),
    ];
    let results = run(&mut executor, 3, 3, entries);
    let expected = [Outcome::Applied, Outcome::BadSignature, Outcome::Gap];
    assert_eq!(outcomes(&results), expected);
    assert_eq!(results.corrections[0].last_seq, Some(1));
    // And when it is open, in any block after that.
    let before = state(&mut executor);
    for (height, signer) in [(4, Some(&other)), (5, None)] {
        let forged = command(&auth, 1, 2, b"x", signer);
        let results = run(&mut executor, height, height, vec![forged]);
        assert_eq!(outcomes(&results), [Outcome::BadSignature]);
        assert_eq!(state(&mut executor), before);
    }
    let good = command(&auth, 1, 2, b"b", Some(&own));
    let results = run(&mut executor, 6, 6, vec![good]);
    assert_eq!(outcomes(&results), [Outcome::Applied]);
    assert_eq!(executor.app().seen, b"ab");
}

#[test]
fn a_forged_opening_ends_no_session_to_make_room() {
    let mut executor = executor(1);
    let auth = Arc::clone(executor.auth());
    let first = command(&auth, 1, 1, b"a", Some(&pair(1)));
    run(&mut executor, 1, 0, vec![first]);
    let late = 2 * crate::sessions::IDLE_MIN_NS;
    let forged = opening(&auth, 2, late, b"x", Some(&pair(1)));
    let results = run(&mut executor, 2, late, vec![forged]);
    assert_eq!(outcomes(&results), [Outcome::BadSignature]);
    assert_eq!(executor.app().calls.len(), 2, "opened and applied once");
    assert!(!executor.sessions().has_ended(&id(1)));
    let next = command(&auth, 1, 2, b"b", Some(&pair(1)));
    let results = run(&mut executor, 3, late, vec![next]);
    assert_eq!(outcomes(&results), [Outcome::Applied]);
}

/// Opening commands of many others, until none of before is remembered as announced.
fn announce_many(auth: &CommandAuth) {
    let mut check = auth.batch_check(9);
    for number in 0..40_000_u64 {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        let command = Entry {
            lane: WireLane::Order,
            session: &session_of_key(&key),
            seq: 1,
            signature: None,
            body: &key,
        };
        let mut entry = Vec::new();
        encode_flagged_entry(&command, FLAG_OPEN, &mut entry);
        auth.note_own(&key, &entry);
        let source = crate::auth::KeySource::Known;
        let checked = auth.check_run(&entry, source, &mut check, |_, _| {});
        checked.expect("an entry");
    }
}

/// The shadow executes what the first instance did long before.
#[test]
fn an_executor_that_lags_behind_ends_no_session_of_the_first_one_and_opens_none() {
    let mut first = executor(1);
    let auth = Arc::clone(first.auth());
    let late = 2 * crate::sessions::IDLE_MIN_NS;
    // Each ends the session before it, and the first client comes again.
    let blocks = [
        (0, command(&auth, 1, 1, b"a", Some(&pair(1)))),
        (late, opening(&auth, 2, late, b"b", Some(&pair(2)))),
        (2 * late, opening(&auth, 1, 2 * late, b"c", Some(&pair(1)))),
    ];
    for (height, (time_ns, entry)) in (1..).zip(blocks.clone()) {
        let results = run(&mut first, height, time_ns, vec![entry]);
        assert_eq!(outcomes(&results), [Outcome::Applied]);
    }
    announce_many(&auth);
    let lagging = Executor::new(Echo::default(), 1, 0);
    let mut lagging = lagging.with_auth(Arc::new(auth.verdicts_alone()));
    for (height, (time_ns, entry)) in (1..).zip(blocks) {
        assert_eq!(auth.key_of(&id(1)), Some(pair(1).public()));
        assert_eq!(auth.key_of(&id(2)), None);
        let results = run(&mut lagging, height, time_ns, vec![entry]);
        assert_eq!(outcomes(&results), [Outcome::Applied]);
    }
    assert_eq!(auth.key_of(&id(1)), Some(pair(1).public()));
    assert_eq!(state(&mut lagging), state(&mut first));
}

#[test]
fn the_keys_of_restored_sessions_are_known_to_whoever_checks_commands() {
    let mut first = executor(8);
    let opening = command(first.auth(), 1, 1, b"a", Some(&pair(1)));
    run(&mut first, 1, 1, vec![opening]);
    let mut bytes = Vec::new();
    first.save_section(0, &mut bytes);
    let mut restored = executor(8);
    assert_eq!(restored.auth().key_of(&id(1)), None);
    restored.restore_section(0, &bytes).expect("own bytes");
    assert_eq!(restored.auth().key_of(&id(1)), Some(pair(1).public()));
}
