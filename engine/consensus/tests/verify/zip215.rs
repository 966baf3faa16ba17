//! One rule for signatures: what a single check says, every batch says, whatever the signer
//! builds. Cases after ed25519-speccheck, constructed here from their definitions.

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use quorate_consensus::signing::{Signer, ValidatorKey};
use quorate_consensus::verify::{Abscissa, SignatureCheck, SignatureItem, Zip215, batch, single};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Infallible, SeedableRng, TryCryptoRng, TryRng};
use sha2::{Digest, Sha512};

/// A signature with its key and message, and whether ZIP-215 takes it.
struct Case {
    name: &'static str,
    key: [u8; 32],
    message: Vec<u8>,
    signature: [u8; 64],
    is_good: bool,
}

fn wide_scalar(parts: &[&[u8]]) -> Scalar {
    let mut hasher = Sha512::new();
    for part in parts {
        hasher.update(part);
    }
    Scalar::from_bytes_mod_order_wide(&hasher.finalize().into())
}

fn join(r: [u8; 32], s: [u8; 32]) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(&s);
    signature
}

/// A signer that knows its scalar and adds small-order parts to its key and to R.
struct Forger {
    secret: Scalar,
    key: EdwardsPoint,
}

impl Forger {
    fn new(seed: u8, key_torsion: usize) -> Self {
        let secret = wide_scalar(&[b"secret", &[seed]]);
        let key = secret * ED25519_BASEPOINT_POINT + EIGHT_TORSION[key_torsion];
        Self { secret, key }
    }

    fn sign(&self, message: &[u8], r_torsion: usize) -> [u8; 64] {
        let nonce = wide_scalar(&[b"nonce", message]);
        let r = (nonce * ED25519_BASEPOINT_POINT + EIGHT_TORSION[r_torsion])
            .compress()
            .to_bytes();
        let k = wide_scalar(&[&r, &self.key.compress().to_bytes(), message]);
        join(r, (nonce + k * self.secret).to_bytes())
    }
}

/// s + l: the same scalar, written in a way that is not canonical.
fn plus_order(s: [u8; 32]) -> [u8; 32] {
    // l = 2^252 + 27742317777372353535851937790883648493
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut sum = [0; 32];
    let mut carry = 0_u16;
    for place in 0..32 {
        let digit = u16::from(s[place]) + u16::from(ORDER[place]) + carry;
        sum[place] = digit as u8;
        carry = digit >> 8;
    }
    assert_eq!(carry, 0);
    sum
}

/// y = 1 of the identity, written as p + 1.
const IDENTITY_NOT_CANONICAL: [u8; 32] = {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xee;
    bytes[31] = 0x7f;
    bytes
};

fn cases() -> Vec<Case> {
    let identity = EdwardsPoint::default().compress().to_bytes();
    let small = EIGHT_TORSION[1].compress().to_bytes();
    let honest = Forger::new(1, 0);
    let mixed = Forger::new(2, 1);
    let key = honest.key.compress().to_bytes();
    let message = b"one message".to_vec();
    let good = honest.sign(&message, 0);
    let (r, s): ([u8; 32], [u8; 32]) = (
        good[..32].try_into().expect("half"),
        good[32..].try_into().expect("half"),
    );
    let mut no_point = [0; 32];
    no_point[0] = 2;
    let mut flipped = good;
    flipped[3] ^= 1;
    let case = |name, key: [u8; 32], signature, is_good| Case {
        name,
        key,
        message: message.clone(),
        signature,
        is_good,
    };
    vec![
        case("an honest signature", key, good, true),
        case("a changed R", key, flipped, false),
        case("s not canonical", key, join(r, plus_order(s)), false),
        case(
            "small-order A and R, s = 0",
            small,
            join(small, [0; 32]),
            true,
        ),
        case(
            "identity as A and R, s = 0",
            identity,
            join(identity, [0; 32]),
            true,
        ),
        case(
            "R not canonical",
            identity,
            join(IDENTITY_NOT_CANONICAL, [0; 32]),
            true,
        ),
        case(
            "A not canonical",
            IDENTITY_NOT_CANONICAL,
            join(identity, [0; 32]),
            true,
        ),
        case("torsion in R", key, honest.sign(&message, 1), true),
        case(
            "mixed-order A",
            mixed.key.compress().to_bytes(),
            mixed.sign(&message, 0),
            true,
        ),
        case(
            "mixed-order A and R",
            mixed.key.compress().to_bytes(),
            mixed.sign(&message, 5),
            true,
        ),
        case("small-order A with s of another", small, good, false),
        case("A is no point", no_point, good, false),
        case("R is no point", key, join(no_point, s), false),
    ]
}

/// Taken for the identity, the key would sign anything with R the identity and s = 0.
#[test]
fn a_key_that_is_no_point_signs_nothing() {
    let identity = EdwardsPoint::default().compress().to_bytes();
    let mut no_point = [0; 32];
    no_point[0] = 2;
    let signature = join(identity, [0; 32]);
    assert!(single(&identity, b"m", &signature));
    assert!(!single(&no_point, b"m", &signature));
    let item: (&[u8; 32], &[u8], &[u8; 64]) = (&no_point, b"m", &signature);
    assert_eq!(batch(&[item; 5], &mut rng()), Err(vec![0, 1, 2, 3, 4]));
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([7; 32])
}

#[test]
fn single_verdicts_are_those_of_zip_215() {
    for case in cases() {
        assert_eq!(
            single(&case.key, &case.message, &case.signature),
            case.is_good,
            "{}",
            case.name
        );
    }
}

#[test]
fn a_batch_says_of_each_case_what_a_single_check_says() {
    let cases = cases();
    let honest: Vec<Case> = (0..8_u8)
        .map(|n| {
            let key = ValidatorKey::from_seed(&[n; 32]);
            let message = vec![n; 40];
            let signature = key.sign(&message);
            Case {
                name: "honest",
                key: key.public(),
                message,
                signature,
                is_good: true,
            }
        })
        .collect();
    for case in &cases {
        for company in 0..=honest.len() {
            // The case first, last, and in the middle of good ones.
            for place in [0, company / 2, company] {
                let mut all: Vec<&Case> = honest[..company].iter().collect();
                all.insert(place, case);
                let items: Vec<_> = all
                    .iter()
                    .map(|one| (&one.key, one.message.as_slice(), &one.signature))
                    .collect();
                let expected = if case.is_good {
                    Ok(())
                } else {
                    Err(vec![place])
                };
                assert_eq!(
                    batch(&items, &mut rng()),
                    expected,
                    "{} of {company}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn every_bad_one_in_a_batch_is_named_and_nobody_else() {
    let cases = cases();
    let items: Vec<_> = (0..5)
        .flat_map(|_| cases.iter())
        .map(|one| SignatureItem {
            key: &one.key,
            message: &one.message,
            signature: &one.signature,
            abscissa: None,
        })
        .collect();
    let expected: Vec<bool> = items
        .iter()
        .map(|item| single(item.key, item.message, item.signature))
        .collect();
    assert!(expected.contains(&true) && expected.contains(&false));
    assert_eq!(Zip215::new(rng()).check(&items), expected);
}

/// What a check finds out about the points R of `items`.
fn found(items: &[SignatureItem<'_>]) -> (Vec<bool>, Vec<Option<Abscissa>>) {
    let mut found = vec![None; items.len()];
    let mut note = |place: usize, abscissa| found[place] = Some(abscissa);
    let verdicts = Zip215::new(rng()).check_finding(items, &mut note);
    (verdicts, found)
}

#[test]
fn an_abscissa_changes_no_verdict_whether_it_is_right_or_wrong_and_the_right_one_is_found() {
    let (cases, torsion) = (cases(), Forger::new(3, 0));
    let key = torsion.key.compress().to_bytes();
    let small = small_order_encodings();
    let small = small
        .iter()
        .map(|r| (key, b"m".to_vec(), join(*r, [0; 32])));
    let forged = (0..8).map(|torsion_of| (key, b"m".to_vec(), torsion.sign(b"m", torsion_of)));
    let of_cases = cases
        .iter()
        .map(|one| (one.key, one.message.clone(), one.signature));
    let all: Vec<_> = of_cases.chain(small).chain(forged).collect();
    let with = |abscissas: &[Option<Abscissa>]| {
        let items = all.iter().zip(abscissas);
        let items: Vec<_> = items
            .map(|((key, message, signature), abscissa)| SignatureItem {
                key,
                message,
                signature,
                abscissa: abscissa.as_ref(),
            })
            .collect();
        found(&items)
    };
    let (expected, decoded) = with(&vec![None; all.len()]);
    let singles: Vec<bool> = all
        .iter()
        .map(|(key, message, signature)| single(key, message, signature))
        .collect();
    assert_eq!(expected, singles);
    assert!(decoded.iter().flatten().count() > 20);
    let (verdicts, again) = with(&decoded);
    assert_eq!(verdicts, expected, "told");
    assert!(again.iter().all(Option::is_none), "nothing was decoded");
    let wrong = |by: u8| {
        let wrong = decoded.iter().flatten().next().map(|first| {
            let mut wrong = *first;
            wrong[0] ^= by;
            wrong
        });
        vec![wrong; all.len()]
    };
    for told in [vec![Some([0; 32]); all.len()], wrong(1), wrong(2)] {
        let (verdicts, found) = with(&told);
        assert_eq!(verdicts, expected, "told wrong");
        for ((found, right), told) in found.iter().zip(&decoded).zip(&told) {
            assert!(found == right || (found.is_none() && right == told));
        }
    }
}

#[test]
fn torsion_never_makes_the_verdict_depend_on_the_batch() {
    // A cofactorless batch takes about one in eight of these.
    let honest = Forger::new(3, 0);
    let key = honest.key.compress().to_bytes();
    let mut rng = rng();
    for n in 0..64_u8 {
        let message = [n; 16];
        let forged = honest.sign(&message, 1 + usize::from(n % 7));
        assert!(single(&key, &message, &forged));
        let other = honest.sign(b"another", 0);
        let items: [(&[u8; 32], &[u8], &[u8; 64]); 4] = [
            (&key, &message, &forged),
            (&key, b"another", &other),
            (&key, b"another", &other),
            (&key, &message, &forged),
        ];
        assert_eq!(batch(&items, &mut rng), Ok(()));
    }
}

#[test]
fn two_wrongs_that_cancel_out_are_still_found() {
    // Swapped s values: without random coefficients the errors of the two would sum to zero.
    let honest = Forger::new(4, 0);
    let key = honest.key.compress().to_bytes();
    let shift = Scalar::from(5_u8);
    let shifted = |message: &[u8], by: Scalar| {
        let good = honest.sign(message, 0);
        let s: [u8; 32] = good[32..].try_into().expect("half");
        let r: [u8; 32] = good[..32].try_into().expect("half");
        let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s)).expect("canonical");
        join(r, (s + by).to_bytes())
    };
    let (up, down) = (shifted(b"up", shift), shifted(b"down", -shift));
    let good = honest.sign(b"good", 0);
    let items: [(&[u8; 32], &[u8], &[u8; 64]); 4] = [
        (&key, b"up", &up),
        (&key, b"good", &good),
        (&key, b"down", &down),
        (&key, b"good", &good),
    ];
    assert_eq!(batch(&items, &mut rng()), Err(vec![0, 2]));
}

#[test]
fn an_empty_batch_is_good() {
    assert_eq!(batch(&[], &mut rng()), Ok(()));
    assert!(Zip215::new(rng()).check(&[]).is_empty());
}

/// Every encoding of a point of small order, those included that are not canonical: y or the sign
/// of x written in another way.
fn small_order_encodings() -> Vec<[u8; 32]> {
    let mut all: Vec<[u8; 32]> = Vec::new();
    for point in EIGHT_TORSION {
        let canonical = point.compress().to_bytes();
        // y + p still fits into 255 bits when y is below 19.
        let mut not_reduced = [0xff; 32];
        not_reduced[0] = canonical[0].wrapping_add(0xed);
        not_reduced[31] = 0x7f;
        let is_small = canonical[1..31].iter().all(|&byte| byte == 0) && canonical[0] < 19;
        for y in [Some(canonical), is_small.then_some(not_reduced)] {
            for sign in [0, 0x80] {
                let mut bytes = y.unwrap_or(canonical);
                bytes[31] = (bytes[31] & 0x7f) | sign;
                if !all.contains(&bytes) {
                    all.push(bytes);
                }
            }
        }
    }
    all
}

/// What the reference says of a batch. It stands for the accept set that all validators share.
fn reference(items: &[(&[u8; 32], &[u8], &[u8; 64])]) -> bool {
    let mut verifier = ed25519_zebra::batch::Verifier::new();
    for &(key, message, signature) in items {
        let key = ed25519_zebra::VerificationKeyBytes::from(*key);
        let signature = ed25519_zebra::Signature::from_bytes(signature);
        verifier.queue((key, signature, message));
    }
    verifier.verify(rng()).is_ok()
}

/// Each pair of a key and an R of small order, with s = 0, is good (ZIP-215), however it is
/// written, alone and with others; with s = 1 none is.
#[test]
fn points_of_small_order_are_taken_in_every_encoding_as_the_reference_does() {
    let encodings = small_order_encodings();
    assert!(encodings.len() >= 14, "{}", encodings.len());
    let mut one = [0; 32];
    one[0] = 1;
    let honest = Forger::new(5, 0);
    let key = honest.key.compress().to_bytes();
    let good = honest.sign(b"good", 0);
    let mut check = Zip215::new(rng());
    for a in &encodings {
        for r in &encodings {
            for (s, is_good) in [([0; 32], true), (one, false)] {
                let signature = join(*r, s);
                assert_eq!(single(a, b"m", &signature), is_good);
                let items: [(&[u8; 32], &[u8], &[u8; 64]); 5] = [
                    (&key, b"good", &good),
                    (a, b"m", &signature),
                    (&key, b"good", &good),
                    (a, b"m", &signature),
                    (&key, b"good", &good),
                ];
                assert_eq!(reference(&items), is_good);
                let expected = if is_good { Ok(()) } else { Err(vec![1, 3]) };
                assert_eq!(batch(&items, &mut rng()), expected, "{a:?} {r:?}");
                let items = items.map(|(key, message, signature)| SignatureItem {
                    key,
                    message,
                    signature,
                    abscissa: None,
                });
                // Keys that are known from before make no difference, alone or with others.
                for count in [1, 2, 5] {
                    let verdicts = check.check(&items[..count]);
                    let expected = [true, is_good, true, is_good, true];
                    assert_eq!(verdicts, expected[..count], "{a:?} {r:?}");
                }
            }
        }
    }
}

/// Counts the coefficients that are drawn.
struct Counting(ChaCha20Rng, usize);

impl TryRng for Counting {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.0.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0.try_next_u64()
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        self.1 += 1;
        self.0.try_fill_bytes(dst)
    }
}

impl TryCryptoRng for Counting {}

/// Signatures by that many keys; most keys and most R have a small-order part, and one of each is
/// not canonical. Those at `bad` are of another message.
fn company(count: usize, bad: &[usize]) -> Vec<Case> {
    let of = |place: usize| {
        let seed = wide_scalar(&[&place.to_le_bytes()]);
        let forger = Forger {
            secret: seed,
            key: seed * ED25519_BASEPOINT_POINT + EIGHT_TORSION[place % 5],
        };
        let message = place.to_le_bytes().to_vec();
        let other = [&message[..], b"other"].concat();
        let is_good = !bad.contains(&place);
        let signature = forger.sign(if is_good { &message } else { &other }, place % 8);
        Case {
            name: "one of many",
            key: forger.key.compress().to_bytes(),
            message,
            signature,
            is_good,
        }
    };
    let mut all: Vec<Case> = (0..count).map(of).collect();
    // A key and an R that are not canonical, where nothing bad is wanted.
    let odd = count / 2;
    if !bad.contains(&odd) {
        all[odd].key = IDENTITY_NOT_CANONICAL;
        all[odd].signature = join(IDENTITY_NOT_CANONICAL, [0; 32]);
    }
    all
}

fn items(cases: &[Case]) -> Vec<SignatureItem<'_>> {
    cases
        .iter()
        .map(|case| SignatureItem {
            key: &case.key,
            message: &case.message,
            signature: &case.signature,
            abscissa: None,
        })
        .collect()
}

#[test]
fn bad_ones_cost_two_batches_and_a_single_check_each_at_most_wherever_they_stand() {
    const COUNT: usize = 256;
    let all: Vec<usize> = (0..COUNT).collect();
    let half: Vec<usize> = (0..COUNT / 2).collect();
    let every_third: Vec<usize> = (0..COUNT).step_by(3).collect();
    // How many of them, and how many times their number is drawn.
    let bad_and_most: [(&[usize], usize); 9] = [
        (&[], 1),
        (&all, 2),
        (&every_third, 2),
        (&[0, 255], 2),
        (&[0], 3),
        (&[255], 2),
        (&half, 3),
        (&[77], 3),
        (&[128, 129, 200], 3),
    ];
    for (bad, most) in bad_and_most {
        let cases = company(COUNT, bad);
        let expected: Vec<bool> = cases.iter().map(|case| case.is_good).collect();
        let mut rng = Counting(rng(), 0);
        let verdicts = Zip215::new(&mut rng).check(&items(&cases));
        assert_eq!(verdicts, expected);
        assert!(rng.1 <= most * COUNT, "{} for {} bad", rng.1, bad.len());
    }
}

/// The multiplication of many points is another one from 190 on: two for each key and signature.
#[test]
fn batches_by_many_keys_say_what_single_checks_and_the_reference_say() {
    for count in [100, 260, 420] {
        let several = [0, 1, count / 3, count - 40, count - 1];
        for bad in [&[][..], &several[2..3], &several] {
            let cases = company(count, bad);
            let items = items(&cases);
            let alone: Vec<bool> = items
                .iter()
                .map(|item| single(item.key, item.message, item.signature))
                .collect();
            let expected: Vec<bool> = cases.iter().map(|case| case.is_good).collect();
            assert_eq!(alone, expected);
            assert_eq!(Zip215::new(rng()).check(&items), alone);
            let parts: Vec<(&[u8; 32], &[u8], &[u8; 64])> = items
                .iter()
                .map(|item| (item.key, item.message, item.signature))
                .collect();
            assert_eq!(reference(&parts), bad.is_empty());
            let places = if bad.is_empty() {
                Ok(())
            } else {
                Err(bad.to_vec())
            };
            assert_eq!(batch(&parts, &mut rng()), places);
        }
    }
}

/// One of `cases`, with some bytes of it changed.
fn damaged(cases: &[Case], numbers: &[u8; 6]) -> Case {
    let case = &cases[usize::from(numbers[0]) % cases.len()];
    let mut damaged = Case {
        name: case.name,
        key: case.key,
        message: case.message.clone(),
        signature: case.signature,
        is_good: case.is_good,
    };
    let mask = numbers[2];
    match numbers[1] % 8 {
        0 => damaged.key[usize::from(numbers[3]) % 32] ^= mask,
        1 => damaged.signature[usize::from(numbers[3]) % 32] ^= mask,
        2 => damaged.signature[32 + usize::from(numbers[3]) % 32] ^= mask,
        3 => damaged.message.push(mask),
        4 => damaged.key = EIGHT_TORSION[usize::from(mask) % 8].compress().to_bytes(),
        _ => {}
    }
    damaged
}

proptest::proptest! {
    /// Whatever a signer builds: a check that remembers keys, a batch, single checks and the
    /// reference say the same.
    #[test]
    fn all_ways_to_check_agree(
        numbers in proptest::collection::vec(
            proptest::array::uniform6(proptest::num::u8::ANY),
            0..12,
        ),
    ) {
        let cases = cases();
        let all: Vec<Case> = numbers.iter().map(|numbers| damaged(&cases, numbers)).collect();
        let expected: Vec<bool> =
            all.iter().map(|case| single(&case.key, &case.message, &case.signature)).collect();
        let items: Vec<(&[u8; 32], &[u8], &[u8; 64])> =
            all.iter().map(|case| (&case.key, &case.message[..], &case.signature)).collect();
        proptest::prop_assert_eq!(reference(&items), expected.iter().all(|&is_good| is_good));
        let bad: Vec<usize> = (0..all.len()).filter(|&place| !expected[place]).collect();
        let verdict = if bad.is_empty() { Ok(()) } else { Err(bad) };
        proptest::prop_assert_eq!(batch(&items, &mut rng()), verdict);
        let items: Vec<SignatureItem<'_>> = items
            .iter()
            .map(|&(key, message, signature)| SignatureItem {
                key,
                message,
                signature,
                abscissa: None,
            })
            .collect();
        let mut check = Zip215::new(rng());
        for _ in 0..2 {
            proptest::prop_assert_eq!(&check.check(&items), &expected);
        }
    }
}
