//! Verdicts on commands: the same one by one, in batches, and a second time.

use super::*;
use crate::keys::KeyPair;
use crate::testing::sample_genesis;
use quorate_consensus::payload::{Entry, Lane, encode_entry, entry_unsigned};
use quorate_consensus::verify::{Abscissa, single};

/// y = 1 of the identity, and the same written as p + 1, which is not canonical.
const IDENTITY: [u8; 32] = {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    bytes
};
const IDENTITY_NOT_CANONICAL: [u8; 32] = {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xee;
    bytes[31] = 0x7f;
    bytes
};
/// y = 0: a point of order 4.
const SMALL: [u8; 32] = [0; 32];
/// The order of the base point, as s a second spelling of 0.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn auth() -> CommandAuth {
    let (genesis, _) = sample_genesis(4);
    CommandAuth::signed(
        genesis.validator_set(),
        BatchSeed::assert_unpredictable([4; 32]),
    )
}

fn body(key: &[u8; 32], seq: u64) -> Vec<u8> {
    let opening: &[u8] = if seq == 1 { key } else { &[] };
    [opening, b"text"].concat()
}

fn entry(key: &[u8; 32], seq: u64, signature: Option<&[u8; 64]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let command = Entry {
        lane: Lane::Order,
        session: &session_of_key(key),
        seq,
        signature,
        body: &body(key, seq),
    };
    encode_entry(&command, &mut bytes);
    bytes
}

fn signature(auth: &CommandAuth, signer: &KeyPair, key: &[u8; 32], seq: u64) -> [u8; 64] {
    let unsigned = entry_unsigned(Lane::Order, &session_of_key(key), seq, &body(key, seq));
    signer.sign(&auth.message(&unsigned).unwrap())
}

fn halves(r: [u8; 32], s: [u8; 32]) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(&s);
    signature
}

/// Keys, entries and what ZIP-215 says of them.
fn cases(auth: &CommandAuth) -> Vec<([u8; 32], Vec<u8>, bool)> {
    let signer = KeyPair::from_seed(&[7; 32]);
    let key = signer.public();
    let good = signature(auth, &signer, &key, 1);
    let mut flipped = good;
    flipped[40] ^= 1;
    let case = |key: [u8; 32], signature: [u8; 64], is_good| {
        (key, entry(&key, 1, Some(&signature)), is_good)
    };
    vec![
        case(key, good, true),
        case(key, flipped, false),
        (key, entry(&key, 1, None), false),
        case(SMALL, halves(SMALL, [0; 32]), true),
        case(SMALL, halves(SMALL, ORDER), false),
        case(IDENTITY, halves(IDENTITY, [0; 32]), true),
        case(IDENTITY, halves(IDENTITY_NOT_CANONICAL, [0; 32]), true),
        case(IDENTITY_NOT_CANONICAL, halves(IDENTITY, [0; 32]), true),
        case(key, halves(SMALL, [0; 32]), false),
        case(SMALL, good, false),
    ]
}

fn only(entry: &[u8]) -> CommandView<'_> {
    parse_entries(entry).unwrap().next().unwrap()
}

#[test]
fn a_batch_says_of_each_command_what_a_single_check_says() {
    let auth = auth();
    let cases = cases(&auth);
    for (place, (key, entry, is_good)) in cases.iter().enumerate() {
        let view = only(entry);
        let message = auth.message(&view.entry_unsigned()).unwrap();
        let alone = view
            .signature
            .is_some_and(|signature| single(key, &message, signature));
        assert_eq!(alone, *is_good, "case {place}");
    }
    // Any number of each, in any company, in a memory that knows nothing.
    for repeat in 1..=4 {
        let fresh = self::auth();
        let items: Vec<_> = (0..repeat)
            .flat_map(|_| &cases)
            .map(|(key, entry, _)| (only(entry), *key))
            .collect();
        let expected: Vec<bool> = (0..repeat)
            .flat_map(|_| cases.iter().map(|(_, _, is_good)| *is_good))
            .collect();
        let mut check = fresh.batch_check(repeat);
        assert_eq!(fresh.check(&items, &mut check), expected);
        assert_eq!(fresh.check(&items, &mut check), expected, "from memory");
    }
}

/// Counts the signatures it is asked about.
struct Counting(BatchCheck, usize);

impl SignatureCheck for Counting {
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool> {
        self.1 += items.len();
        self.0.check(items)
    }
}

#[test]
fn what_was_checked_at_admission_is_not_checked_again_in_a_block() {
    let auth = auth();
    let signer = KeyPair::from_seed(&[7; 32]);
    let key = signer.public();
    let entries: Vec<Vec<u8>> = (1..=40)
        .map(|seq| entry(&key, seq, Some(&signature(&auth, &signer, &key, seq))))
        .collect();
    let mut check = Counting(auth.batch_check(0), 0);
    let admission = KeySource::Connection(key);
    let mut seen = Vec::new();
    let on = |_: &CommandView<'_>, checked| seen.push(checked);
    auth.check_run(&entries.concat(), admission, &mut check, on)
        .unwrap();
    assert_eq!(seen, [Checked::Good; 40]);
    assert_eq!(check.1, 40);
    // The session is not open yet: its key is known from its opening command.
    let mut again = Vec::new();
    let on = |_: &CommandView<'_>, checked| again.push(checked);
    auth.check_run(&entries.concat(), KeySource::Known, &mut check, on)
        .unwrap();
    assert_eq!(again, [Checked::Good; 40]);
    // Nor for another executor.
    let other = auth.verdicts_alone();
    other
        .check_run(&entries.concat(), admission, &mut check, |_, _| {})
        .unwrap();
    assert_eq!(check.1, 40, "nothing was checked twice");
}

/// Counts the batches as well.
struct Batches(BatchCheck, Vec<usize>);

impl SignatureCheck for Batches {
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool> {
        self.1.push(items.len());
        self.0.check(items)
    }
}

#[test]
fn what_waits_in_several_blocks_is_one_batch_and_nothing_stands_in_it_twice() {
    let auth = auth();
    let signer = KeyPair::from_seed(&[7; 32]);
    let key = signer.public();
    let mut blocks: Vec<Vec<u8>> = (1..=6_u64)
        .map(|seq| entry(&key, seq, Some(&signature(&auth, &signer, &key, seq))))
        .collect();
    // One of them is forged, and one was forwarded besides.
    blocks[3] = entry(&key, 4, Some(&signature(&auth, &signer, &key, 5)));
    blocks.push(blocks[1].clone());
    let mut check = Batches(auth.batch_check(0), Vec::new());
    let views = |block: usize| parse_entries(&blocks[block]).unwrap();
    let mut ahead = Ahead::new(&auth, 4);
    let walked: Vec<usize> = [0, 1, 6, 2, 3]
        .map(|block| ahead.walk(views(block), KeySource::Known).count)
        .to_vec();
    assert_eq!(walked, [1; 5], "the key comes with the opening command");
    assert!(!ahead.is_full(), "nothing was left out yet");
    assert_eq!(ahead.walk(views(4), KeySource::Known).count, 0);
    assert!(ahead.is_full());
    let again = ahead.walk(views(6), KeySource::Known);
    assert_eq!((again.count, again.is_bad), (1, false), "it is in already");
    let checked = ahead.check(&mut check);
    assert_eq!((checked.count, checked.is_good), (4, false));
    assert_eq!(check.1, [4]);
    let forged = Ahead::new(&auth, 0).walk(views(3), KeySource::Known);
    assert_eq!(
        (forged.count, forged.is_bad),
        (1, true),
        "found without a batch"
    );
    let fresh = Ahead::new(&auth, 0).walk(views(4), KeySource::Known);
    assert_eq!((fresh.count, fresh.is_bad), (0, false));
    let mut seen = Vec::new();
    for block in &blocks {
        let on = |_: &CommandView<'_>, checked| seen.push(checked);
        auth.check_run(block, KeySource::Known, &mut check, on)
            .unwrap();
    }
    let mut expected = [Checked::Good; 7];
    expected[3] = Checked::Bad;
    assert_eq!(seen, expected);
    assert_eq!(check.1, [4, 1, 1], "only what was not in the batch");
}

#[test]
fn a_batch_walks_over_a_bounded_number_of_commands_that_are_known_or_have_no_key() {
    let auth = auth();
    let signer = KeyPair::from_seed(&[7; 32]);
    let key = signer.public();
    // Nobody has seen the opening command: there is no key for any of these.
    let entries: Vec<Vec<u8>> = (2..=100)
        .map(|seq| entry(&key, seq, Some(&[1; 64])))
        .collect();
    let run = entries.concat();
    let mut ahead = Ahead::new(&auth, 2);
    let walked = ahead.walk(parse_entries(&run).unwrap(), KeySource::Known);
    assert!((2..99).contains(&walked.count), "{walked:?}");
    assert!(walked.is_bad && walked.keys.is_empty());
    assert!(ahead.is_full());
    let more = ahead.walk(parse_entries(&run).unwrap(), KeySource::Known);
    assert_eq!(more.count, 0);
}

#[test]
fn a_verdict_is_that_of_one_key_and_one_spelling() {
    let auth = auth();
    let (signer, other) = (KeyPair::from_seed(&[7; 32]), KeyPair::from_seed(&[8; 32]));
    let key = signer.public();
    let entry = entry(&key, 2, Some(&signature(&auth, &signer, &key, 2)));
    let mut check = auth.batch_check(0);
    assert_eq!(auth.check(&[(only(&entry), key)], &mut check), [true]);
    let under_other = [(only(&entry), other.public())];
    assert_eq!(auth.check(&under_other, &mut check), [false]);
    let (genesis, _) = sample_genesis(5);
    let elsewhere = CommandAuth::signed(
        genesis.validator_set(),
        BatchSeed::assert_unpredictable([4; 32]),
    );
    let mut check = elsewhere.batch_check(0);
    let on_another_chain = elsewhere.check(&[(only(&entry), key)], &mut check);
    assert_eq!(on_another_chain, [false]);
}

#[test]
fn commands_of_unknown_or_foreign_sessions_are_left_alone() {
    let auth = auth();
    let signer = KeyPair::from_seed(&[7; 32]);
    let key = signer.public();
    let entry = entry(&key, 2, Some(&signature(&auth, &signer, &key, 2)));
    let mut check = auth.batch_check(0);
    for source in [KeySource::Known, KeySource::Connection([9; 32])] {
        let mut seen = Vec::new();
        let on = |_: &CommandView<'_>, checked| seen.push(checked);
        auth.check_run(&entry, source, &mut check, on).unwrap();
        assert_eq!(seen, [Checked::Unknown]);
    }
}

/// Counts the points R that had to be decoded.
struct Decoding(BatchCheck, usize);

impl SignatureCheck for Decoding {
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool> {
        self.0.check(items)
    }

    fn check_finding(
        &mut self,
        items: &[SignatureItem<'_>],
        found: &mut dyn FnMut(usize, Abscissa),
    ) -> Vec<bool> {
        let decoded = &mut self.1;
        self.0.check_finding(items, &mut |place, abscissa| {
            *decoded += 1;
            found(place, abscissa);
        })
    }
}

/// A run of entries, of which the one at `forged` is signed by somebody else.
fn run_of(auth: &CommandAuth, count: u64, forged: Option<u64>) -> (Vec<u8>, [u8; 32]) {
    let (signer, other) = (KeyPair::from_seed(&[7; 32]), KeyPair::from_seed(&[8; 32]));
    let key = signer.public();
    let run = (1..=count).flat_map(|seq| {
        let signer = if forged == Some(seq) { &other } else { &signer };
        entry(&key, seq, Some(&signature(auth, signer, &key, seq)))
    });
    (run.collect(), key)
}

#[test]
fn what_one_has_decoded_no_other_decodes_and_what_is_told_wrong_changes_no_verdict() {
    let [id, other] = [[1; 32], [2; 32]].map(BlockId::new);
    for forged in [None, Some(3)] {
        let leader = auth();
        let (run, key) = run_of(&leader, 40, forged);
        let payload = [&40_u32.to_le_bytes(), &run[..]].concat();
        assert_eq!(leader.tell_abscissas(&payload), None, "nothing is known");
        let mut check = Decoding(leader.batch_check(0), 0);
        let mut expected = Vec::new();
        let on = |_: &CommandView<'_>, checked| expected.push(checked == Checked::Good);
        leader
            .check_run(&run, KeySource::Connection(key), &mut check, on)
            .unwrap();
        assert_eq!(check.1, 40);
        let told = leader.tell_abscissas(&payload).expect("all is known");

        let note = |follower: &CommandAuth, told: &[u8]| follower.note_told(id, &payload, told);
        let checked = |follower: &CommandAuth, block: &BlockId| {
            let opening = vec![(SessionId(session_of_key(&key)), key)];
            follower.keys.as_ref().unwrap().lock().open.extend(opening);
            let mut check = Decoding(follower.batch_check(0), 0);
            let commands = commands_of_checked(&payload);
            let mut ahead = Ahead::new(follower, 256);
            let walked = ahead.walk_block(block, commands.clone().enumerate());
            assert_eq!(walked.keys, [key; 40]);
            ahead.check(&mut check);
            let names: Vec<Name> = commands
                .map(|view| follower.found.names.of(&key, view.entry))
                .collect();
            let verdicts = follower.verdicts(&names).into_iter();
            (verdicts.map(Option::unwrap).collect::<Vec<_>>(), check.1)
        };
        let told_to = |told: &[u8]| {
            let follower = auth();
            note(&follower, told);
            checked(&follower, &id)
        };
        assert_eq!(told_to(&told), (expected.clone(), 0));
        let (mut wrong, mut holes) = (told.clone(), told.clone());
        wrong[5 * 32] ^= 2;
        wrong[6 * 32..7 * 32].fill(0xff);
        holes[7 * 32..9 * 32].fill(0);
        for told in [&wrong, &holes] {
            assert_eq!(told_to(told), (expected.clone(), 2));
        }
        // What is too short or too long is not looked at, nor what is said of another block.
        let long = [&told[..], &[0; 32]].concat();
        for told in [&told[..39 * 32], &told[1..], &long, &[]] {
            assert_eq!(told_to(told), (expected.clone(), 40));
        }
        let follower = auth();
        note(&follower, &told);
        assert_eq!(checked(&follower, &other), (expected.clone(), 40));
        // What comes first counts; nothing of it is passed on, but for what was found out here.
        let follower = auth();
        note(&follower, &wrong);
        note(&follower, &told);
        assert_eq!(follower.tell_abscissas(&payload), None);
        assert_eq!(checked(&follower, &id), (expected, 2));
        let mut own = vec![0; told.len()];
        own[5 * 32..7 * 32].copy_from_slice(&told[5 * 32..7 * 32]);
        assert_eq!(follower.tell_abscissas(&payload), Some(own));
    }
}

#[test]
fn what_is_told_of_blocks_is_kept_up_to_two_bounds_and_the_newest_of_it() {
    let id = |number: u64| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        BlockId::new(bytes)
    };
    // Long blocks, short ones, and such that nothing could be said of.
    for (count, kept_max) in [(10_000_u32, 11), (1, 256), (0, 0)] {
        let auth = auth();
        let (payload, told) = (count.to_le_bytes(), vec![7; 32 * count as usize]);
        for number in 0..600 {
            auth.note_told(id(number), &payload, &told);
        }
        let is_kept = |number: &u64| auth.found.abscissas.told_of(&id(*number)).is_some();
        let kept: Vec<u64> = (0..600).filter(is_kept).collect();
        let newest: Vec<u64> = (600 - kept_max..600).collect();
        assert_eq!(kept, newest, "{count} commands");
    }
}
