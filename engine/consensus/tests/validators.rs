//! Validator sets: what is refused, what is warned about, what everything else derives from.

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use expect_test::expect;
use quorate_consensus::schedule::{Schedule, ScheduleError};
use quorate_consensus::signing::ValidatorKey;
use quorate_consensus::thresholds::ThresholdError;
use quorate_consensus::types::{Epoch, Height, Point, Stake, ValidatorIndex, Window};
use quorate_consensus::validators::{SetError, SetParameters, SetWarning, Validator, ValidatorSet};

fn v(number: u16) -> ValidatorIndex {
    ValidatorIndex::new(number)
}

fn parameters(fault: u64, slack: u64) -> SetParameters {
    SetParameters {
        chain_id: [1; 32],
        genesis_hash: [2; 32],
        epoch: Epoch::new(3),
        fault: Stake::new(fault),
        slack: Stake::new(slack),
        window_slots: 4096,
        turn_windows: 4,
        crash_only: false,
        genesis_time_ns: 5,
    }
}

fn validators(stakes: &[u64]) -> Vec<Validator> {
    (1..=u8::MAX)
        .zip(stakes)
        .map(|(seed, &stake)| {
            let key = ValidatorKey::from_seed(&[seed; 32]).public();
            Validator::new(key, Stake::new(stake))
        })
        .collect()
}

fn set(stakes: &[u64], fault: u64, slack: u64) -> ValidatorSet {
    ValidatorSet::new(parameters(fault, slack), validators(stakes)).expect("admissible")
}

fn refused(parameters: SetParameters, validators: Vec<Validator>) -> SetError {
    ValidatorSet::new(parameters, validators).expect_err("must be refused")
}

#[test]
fn a_record_can_name_every_branch_that_a_slot_of_the_set_can_have() {
    // 64 validators have 64 branches at most, whatever AMP is.
    assert_eq!(set(&[3; 64], 1, 0).len(), 64);
    // 65 of weight 2 with AMP 2 could have 65.
    let many = SetError::BranchesMany { branches: 65 };
    assert_eq!(refused(parameters(1, 0), validators(&[2; 65])), many);
    assert_eq!(set(&[2; 65], 2, 0).len(), 65);
    // As many branches as there is room for.
    assert_eq!(set(&[1; 128], 1, 0).len(), 128);
}

/// Four equal validators of which the second has this key.
fn with_key(key: [u8; 32]) -> Vec<Validator> {
    let mut all = validators(&[1; 4]);
    all[1].key = key;
    all
}

#[test]
fn a_set_has_one_to_240_validators() {
    assert_eq!(
        refused(parameters(1, 0), Vec::new()),
        SetError::Count { count: 0 }
    );
    assert_eq!(
        refused(parameters(50, 0), validators(&[1; 241])),
        SetError::Count { count: 241 }
    );
    assert_eq!(set(&[1; 240], 48, 47).len(), 240);
    let alone = SetParameters {
        crash_only: true,
        ..parameters(0, 0)
    };
    assert!(ValidatorSet::new(alone, validators(&[1])).is_ok());
}

#[test]
fn every_validator_has_stake() {
    let error = SetError::StakeZero { validator: v(2) };
    assert_eq!(
        refused(parameters(1, 0), validators(&[1, 1, 0, 1, 1])),
        error
    );
}

#[test]
fn the_total_stays_below_two_to_the_62() {
    let quarter = 1 << 60;
    let total = 1 << 62;
    let error = SetError::TotalTooLarge { total };
    assert_eq!(refused(parameters(1, 0), validators(&[quarter; 4])), error);
    let total = 64 * u128::from(u64::MAX);
    let error = SetError::TotalTooLarge { total };
    assert_eq!(
        refused(parameters(1, 0), validators(&[u64::MAX; 64])),
        error
    );
    let largest = validators(&[quarter, quarter, quarter, quarter - 1]);
    assert!(ValidatorSet::new(parameters(quarter, 0), largest).is_ok());
}

#[test]
fn keys_are_unique() {
    let mut twins = validators(&[1; 4]);
    twins[3].key = twins[1].key;
    let error = SetError::KeyRepeated {
        first: v(1),
        validator: v(3),
        key: twins[1].key,
    };
    assert_eq!(refused(parameters(1, 0), twins), error);
}

#[test]
fn a_key_is_a_point() {
    let mut key = [0; 32];
    key[0] = 2;
    let error = SetError::KeyInvalid {
        validator: v(1),
        key,
    };
    assert_eq!(refused(parameters(1, 0), with_key(key)), error);
}

#[test]
fn a_key_is_written_in_its_one_way() {
    // y = 1 as p + 1, and y = 1 with the sign of an x that is zero.
    let mut above = [0xff; 32];
    above[0] = 0xee;
    above[31] = 0x7f;
    let mut signed = [0; 32];
    signed[0] = 1;
    signed[31] = 0x80;
    for key in [above, signed] {
        let error = SetError::KeyNotCanonical {
            validator: v(1),
            key,
        };
        assert_eq!(refused(parameters(1, 0), with_key(key)), error);
    }
}

#[test]
fn a_key_has_no_small_order() {
    for point in EIGHT_TORSION {
        let key = point.compress().to_bytes();
        let error = SetError::KeySmallOrder {
            validator: v(1),
            key,
        };
        assert_eq!(refused(parameters(1, 0), with_key(key)), error);
    }
}

#[test]
fn a_key_has_no_torsion_part() {
    for point in &EIGHT_TORSION[1..] {
        let key = (ED25519_BASEPOINT_POINT + point).compress().to_bytes();
        let error = SetError::KeyTorsion {
            validator: v(1),
            key,
        };
        assert_eq!(refused(parameters(1, 0), with_key(key)), error);
    }
    let plain = ED25519_BASEPOINT_POINT.compress().to_bytes();
    assert!(ValidatorSet::new(parameters(1, 0), with_key(plain)).is_ok());
}

#[test]
fn fault_zero_has_to_be_meant() {
    assert_eq!(
        refused(parameters(0, 1), validators(&[1; 3])),
        SetError::FaultZero
    );
    let meant = SetParameters {
        crash_only: true,
        ..parameters(0, 1)
    };
    assert!(ValidatorSet::new(meant, validators(&[1; 3])).is_ok());
}

#[test]
fn fault_and_slack_fit_the_total() {
    let error = refused(parameters(1, 1), validators(&[1; 5]));
    assert!(matches!(
        error,
        SetError::Thresholds(ThresholdError::TotalTooSmall { needed: 6, .. })
    ));
}

#[test]
fn windows_and_turns_have_their_ranges() {
    let with = |window_slots, turn_windows| {
        let parameters = SetParameters {
            window_slots,
            turn_windows,
            ..parameters(1, 0)
        };
        ValidatorSet::new(parameters, validators(&[1; 4])).map(drop)
    };
    assert_eq!(with(0, 4), Err(SetError::WindowSlots { window_slots: 0 }));
    assert_eq!(
        with(65_537, 4),
        Err(SetError::WindowSlots {
            window_slots: 65_537
        })
    );
    assert_eq!(
        with(4096, 0),
        Err(SetError::TurnWindows { turn_windows: 0 })
    );
    assert_eq!(
        with(4096, 17),
        Err(SetError::TurnWindows { turn_windows: 17 })
    );
    assert_eq!(with(1, 1), Ok(()));
    assert_eq!(with(65_536, 16), Ok(()));
}

#[test]
fn leaders_outweigh_fault_and_crash_together() {
    // 7 x 1, F = P = C = 1: leaders need stake 3.
    let seated = |count: usize| {
        let mut all = validators(&[1; 7]);
        all.iter_mut()
            .skip(count)
            .for_each(|validator| validator.leader_weight = 0);
        ValidatorSet::new(parameters(1, 1), all).map(drop)
    };
    let needed = Stake::new(3);
    let nobody = SetError::Schedule(ScheduleError::NoLeader);
    assert!(std::error::Error::source(&nobody).is_some());
    assert_eq!(seated(0), Err(nobody));
    let error = SetError::SeatedTooLittle {
        seated: Stake::new(2),
        needed,
    };
    assert_eq!(seated(2), Err(error));
    assert_eq!(seated(3), Ok(()));
}

#[test]
fn a_weight_too_small_for_a_seat_is_no_seat() {
    // Leader weights 1 and 10^6: the light one gets none of the 1024 seats.
    let mut all = validators(&[2, 1, 1]);
    all[0].leader_weight = 1;
    all[1].leader_weight = 1_000_000;
    all[2].leader_weight = 1_000_000;
    let set = ValidatorSet::new(parameters(1, 0), all.clone()).expect("2 is enough");
    assert!(set.schedule().seats().iter().all(|&seat| seat != v(0)));
    all[2].leader_weight = 0;
    let needed = Stake::new(2);
    let error = SetError::SeatedTooLittle {
        seated: Stake::new(1),
        needed,
    };
    assert_eq!(refused(parameters(1, 0), all), error);
}

#[test]
fn a_leader_keeps_the_windows_of_its_turn() {
    let set = set(&[1; 4], 1, 0);
    let leaders: Vec<u16> = (0..20)
        .map(|window| set.leader(Window::new(window)).number())
        .collect();
    assert_eq!(
        leaders,
        [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 0, 0, 0, 0]
    );
    assert_eq!(set.turn(Window::new(7)), 1);
    assert_eq!(set.turn(Window::new(8)), 2);
    // The end of the range is as good as any.
    assert_eq!(set.leader(Window::new(u64::MAX)), v(3));
}

#[test]
fn strangers_have_no_stake() {
    let set = set(&[1; 4], 1, 0);
    assert!(!set.is_empty());
    assert!(set.contains(v(3)) && !set.contains(v(4)));
    assert_eq!(set.stake(v(4)), Stake::ZERO);
    assert_eq!(set.validator(v(u16::MAX)), None);
    assert_eq!(set.indices().collect::<Vec<_>>(), [v(0), v(1), v(2), v(3)]);
}

#[test]
fn genesis_is_named_by_its_hash_and_has_height_zero() {
    let set = set(&[1; 4], 1, 0);
    let genesis = set.genesis();
    assert!(set.is_genesis(&genesis));
    assert_eq!(
        (genesis.height, genesis.window),
        (Height::ZERO, Window::ZERO)
    );
    let expected = blake3::hash(&[&b"bft/genesis/v1"[..], &[2; 32]].concat());
    assert_eq!(genesis.id.as_bytes(), expected.as_bytes());
}

#[test]
fn a_chain_that_goes_on_from_another_one_begins_at_its_height() {
    let plain = set(&[1; 4], 1, 0);
    let set = plain.clone().with_genesis_height(Height::new(700));
    let genesis = set.genesis();
    assert_eq!(
        (genesis.height, genesis.id),
        (Height::new(700), plain.genesis().id)
    );
    assert_eq!(set.set_hash(), plain.set_hash());
    let above = Point {
        height: Height::new(701),
        ..genesis
    };
    assert!(set.is_genesis(&genesis) && !set.is_genesis(&above));
    assert!(!plain.is_genesis(&genesis), "a height like any other there");
}

#[test]
fn the_set_s_hash_is_frozen_and_covers_everything() {
    let base = set(&[1; 7], 1, 1);
    let text: String = base
        .set_hash()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    expect!["5abe5ac8caa2a2a10c6fff63dc6da447028c25719ff3fae27cddcc8ee9980c82"].assert_eq(&text);

    let parameter_changes: [fn(&mut SetParameters); 9] = [
        |parameters| parameters.chain_id[0] ^= 1,
        |parameters| parameters.genesis_hash[0] ^= 1,
        |parameters| parameters.epoch = Epoch::new(4),
        |parameters| parameters.fault = Stake::new(2),
        |parameters| parameters.slack = Stake::new(0),
        |parameters| parameters.window_slots += 1,
        |parameters| parameters.turn_windows += 1,
        |parameters| parameters.crash_only = true,
        |parameters| parameters.genesis_time_ns += 1,
    ];
    let validator_changes: [fn(&mut Vec<Validator>); 5] = [
        |all| all[3].stake = Stake::new(2),
        |all| all[3].leader_weight = 2,
        |all| all.swap(0, 1),
        |all| all.truncate(6),
        |all| all[6].key = ValidatorKey::from_seed(&[99; 32]).public(),
    ];
    let mut hashes = vec![*base.set_hash()];
    let mut add = |parameters, validators| {
        let set = ValidatorSet::new(parameters, validators).expect("admissible");
        hashes.push(*set.set_hash());
    };
    for change in parameter_changes {
        let mut changed = parameters(1, 1);
        change(&mut changed);
        // F = 2 needs P = 0 with seven: both then differ from the base and from P = 0 alone.
        if changed.fault == Stake::new(2) {
            changed.slack = Stake::ZERO;
        }
        add(changed, validators(&[1; 7]));
    }
    for change in validator_changes {
        let mut changed = validators(&[1; 7]);
        change(&mut changed);
        add(parameters(1, 1), changed);
    }
    let count = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
}

/// Who writes a client of his own has only the document.
#[test]
fn the_example_of_a_set_s_hash_in_the_document_is_right() {
    const DOCUMENT: &str = include_str!("../../../docs/wire.md");
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let row = |name: &str| -> Vec<&str> {
        let start = format!("| {name} | ");
        let mut rows = DOCUMENT
            .lines()
            .filter_map(|line| line.strip_prefix(&start));
        let row = rows.next().expect("it is in the document");
        row.split('|').map(str::trim).collect()
    };
    let numbers = |text: &str| -> Vec<u64> {
        let separators = |other: char| !other.is_ascii_digit();
        let words = text.split(separators).filter(|word| !word.is_empty());
        words.map(|word| word.parse().expect("a number")).collect()
    };
    let mut members = validators(&numbers(row("stakes")[0]));
    let weights = numbers(row("leader weights")[0]);
    assert_eq!(weights.len(), members.len());
    for (member, weight) in members.iter_mut().zip(weights) {
        member.leader_weight = weight;
        let start = &hex(&member.key)[..8];
        assert!(row("keys")[0].contains(&format!("`{start}...`")), "{start}");
    }
    let parameters = SetParameters {
        epoch: Epoch::new(0),
        ..parameters(2, 1)
    };
    let set = ValidatorSet::new(parameters, members).expect("admissible");
    assert_eq!(row("set_hash")[0], format!("`{}`", hex(set.set_hash())));
    for column in [0, 1] {
        let weights = numbers(row("leader weights")[column]);
        let schedule = Schedule::new(&weights).expect("a leader");
        let table: Vec<u64> = schedule
            .seats()
            .iter()
            .map(|seat| seat.number().into())
            .collect();
        let count_of = |place: u64| table.iter().filter(|&&seat| seat == place).count() as u64;
        let seats: Vec<u64> = (0..weights.len() as u64).map(count_of).collect();
        assert_eq!(numbers(row("seats of each")[column]), seats);
        let told = row("table")[column].split("...").next().unwrap_or_default();
        assert!(table.starts_with(&numbers(told)));
        let hash = format!("`{}`", hex(&schedule.hash()));
        assert_eq!(row("schedule hash")[column], hash);
    }
}

#[test]
fn it_is_said_who_stops_what() {
    // The table's weighted set: F = 15, P = 27, Q = 58.
    let set = set(&[40, 25, 15, 10, 10], 15, 27);
    assert_eq!(set.who_stops_fast(), [v(0)]);
    assert_eq!(set.who_stops_all(), []);
    let halting = self::set(&[40, 25, 15, 10, 10], 33, 0);
    assert_eq!(halting.who_stops_fast(), [v(0), v(1), v(2), v(3), v(4)]);
    assert_eq!(halting.who_stops_all(), [v(0)]);
    // A stake of P and no more stops nothing, and neither does one without which Q are left.
    assert_eq!(self::set(&[1; 6], 1, 1).who_stops_fast(), []);
    assert_eq!(self::set(&[1; 4], 1, 0).who_stops_all(), []);
}

#[test]
fn what_is_probably_not_meant_is_warned_about() {
    assert_eq!(set(&[1; 6], 1, 1).warnings(), []);
    let heavy = set(&[40, 25, 15, 10, 10], 15, 27).warnings();
    let (validator, stake) = (v(0), Stake::new(40));
    let expected = [
        SetWarning::StakeAboveFault {
            validator,
            stake,
            fault: Stake::new(15),
        },
        SetWarning::StakeAboveSlack {
            validator,
            stake,
            slack: Stake::new(27),
        },
    ];
    assert_eq!(heavy, expected);
    // Equal stakes: the lowest index is named.
    let no_slack = set(&[1; 4], 1, 0).warnings();
    let (validator, stake) = (v(0), Stake::new(1));
    let slack = Stake::ZERO;
    assert_eq!(
        no_slack,
        [SetWarning::StakeAboveSlack {
            validator,
            stake,
            slack
        }]
    );
    // 10 x 1, F = 1, P = 1: 4 are unused and a larger P would use them; with P = 2 they are C.
    let wasteful = set(&[1; 10], 1, 1).warnings();
    let (unused, slack) = (Stake::new(4), Stake::new(1));
    assert_eq!(wasteful, [SetWarning::SlackUnused { unused, slack }]);
    assert_eq!(set(&[1; 10], 1, 2).warnings(), []);
    let short = SetParameters {
        window_slots: 127,
        ..parameters(1, 1)
    };
    let short = ValidatorSet::new(short, validators(&[1; 6]))
        .expect("legal")
        .warnings();
    assert_eq!(short, [SetWarning::WindowShort { slots: 127 }]);
    let long_enough = SetParameters {
        window_slots: 128,
        ..parameters(1, 1)
    };
    let long_enough = ValidatorSet::new(long_enough, validators(&[1; 6])).expect("legal");
    assert_eq!(long_enough.warnings(), []);
}

#[test]
fn errors_name_the_field_the_validator_and_the_value() {
    let twins = refused(parameters(1, 0), with_key(validators(&[1])[0].key)).to_string();
    assert!(
        twins.contains("v1") && twins.contains("v0") && twins.contains("key"),
        "{twins}"
    );
    let zero = refused(parameters(1, 0), validators(&[1, 0])).to_string();
    assert_eq!(zero, "validator v1: stake is 0");
    let slots = SetParameters {
        window_slots: 0,
        ..parameters(1, 0)
    };
    let slots = refused(slots, validators(&[1; 4])).to_string();
    assert_eq!(slots, "window_slots: 0 is not in 1 to 65536");
}
