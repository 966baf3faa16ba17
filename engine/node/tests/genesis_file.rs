//! The genesis file: what is refused, with which field and remedy, and what its hash covers.

#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

use quorate::file_error::FileError;
use quorate::genesis::{
    Application, Auth, Begins, ChainLimits, Genesis, GenesisFile, GenesisPlan, GenesisValidator,
    Hex32, SESSIONS_MAX, Successors, hash_of,
};
use quorate::keys::KeyPair;
use quorate_proof::genesis::validator_set;
use std::path::Path;

fn validator(place: u8) -> GenesisValidator {
    GenesisValidator {
        key: Hex32(KeyPair::from_seed(&[place + 1; 32]).public()),
        stake: 1,
        leader_weight: None,
        peer_address: format!("127.0.0.1:{}", 7000 + 4 * u16::from(place)),
        client_addresses: vec![format!("127.0.0.1:{}", 7001 + 4 * u16::from(place))],
    }
}

fn plan(validators: u8) -> GenesisPlan {
    GenesisPlan {
        chain_id: [9; 32],
        genesis_time_ns: 1_700_000_000_000_000_000,
        fault_weight: None,
        fast_slack: None,
        crash_only: false,
        window_slots: None,
        turn_windows: None,
        auth: Auth::Session,
        application: Application {
            name: "opaque".to_owned(),
            parameters: serde_json::Map::new(),
        },
        limits: ChainLimits::default(),
        validators: (0..validators).map(validator).collect(),
    }
}

fn parse(bytes: &[u8]) -> Result<Genesis, FileError> {
    Genesis::parse(bytes, Path::new("dir/genesis.json"))
}

/// The file of four validators after a change of its fields.
fn changed(change: impl FnOnce(&mut GenesisFile)) -> Result<Genesis, FileError> {
    let mut file = Genesis::build(plan(4)).unwrap().file().clone();
    change(&mut file);
    parse(&serde_json::to_vec_pretty(&file).unwrap())
}

/// The file of four validators after a replacement in its text.
fn replaced(from: &str, to: &str) -> Result<Genesis, FileError> {
    let genesis = Genesis::build(plan(4)).unwrap();
    let text = String::from_utf8(genesis.bytes().to_vec()).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    parse(text.replacen(from, to, 1).as_bytes())
}

#[test]
fn what_is_built_is_parsed_to_the_same_and_writes_its_defaults_out() {
    let genesis = Genesis::build(plan(4)).unwrap();
    let again = parse(genesis.bytes()).unwrap();
    assert_eq!(again.file(), genesis.file());
    assert_eq!(again.hash(), genesis.hash());
    let text = String::from_utf8(genesis.bytes().to_vec()).unwrap();
    for field in [
        "\"fault_weight\": 1",
        "\"fast_slack\": 0",
        "\"window_slots\": 4096",
        "\"turn_windows\": 4",
    ] {
        assert!(text.contains(field), "{field} in {text}");
    }
}

#[test]
fn the_defaults_follow_the_stakes() {
    for (validators, fault, slack) in [(4, 1, 0), (5, 1, 0), (6, 1, 1), (7, 1, 1), (10, 1, 3)] {
        let genesis = Genesis::build(plan(validators)).unwrap();
        assert_eq!(
            (genesis.file().fault_weight, genesis.file().fast_slack),
            (fault, slack)
        );
    }
}

#[test]
fn the_hash_covers_every_byte_of_the_file() {
    let genesis = Genesis::build(plan(4)).unwrap();
    let mut bytes = genesis.bytes().to_vec();
    bytes.push(b' ');
    let spaced = parse(&bytes).unwrap();
    assert_eq!(spaced.file(), genesis.file());
    assert_ne!(spaced.hash(), genesis.hash());
    assert_ne!(
        spaced.validator_set().genesis().id,
        genesis.validator_set().genesis().id,
        "the first block hangs on the exact bytes"
    );
    assert_eq!(*spaced.hash(), hash_of(&bytes));
    let golden = hash_of(b"{}");
    assert_eq!(golden, *blake3::hash(b"quorate/genesis/v1{}").as_bytes());
}

/// Whoever checks proofs by the file alone must come to the set that signs them.
#[test]
fn the_light_reader_makes_the_same_validator_set() {
    type Change = fn(&mut GenesisFile);
    let changes: [Change; 9] = [
        |_| (),
        |g| g.chain_id = Hex32([8; 32]),
        |g| g.genesis_time_ns += 1,
        |g| (g.fault_weight, g.crash_only) = (0, true),
        |g| g.window_slots = 16,
        |g| g.turn_windows = 2,
        |g| g.validators[3].leader_weight = Some(0),
        |g| g.validators.iter_mut().for_each(|v| v.stake = 7),
        |g| {
            g.begins = Some(Begins {
                generation: 1,
                of: Hex32([1; 32]),
                height: 77,
                block: Hex32([2; 32]),
                snapshot: Hex32([3; 32]),
            });
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let genesis = changed(change).unwrap();
        let (whole, light) = (
            genesis.validator_set(),
            validator_set(genesis.bytes()).unwrap(),
        );
        assert_eq!(light.set_hash(), whole.set_hash(), "change {number}");
        assert_eq!(light.genesis(), whole.genesis(), "change {number}");
    }
}

/// The slack is 0 up to five validators: the sets above have none.
#[test]
fn the_light_reader_makes_the_same_validator_set_where_there_is_slack() {
    for validators in [6, 10] {
        let genesis = Genesis::build(plan(validators)).unwrap();
        assert!(genesis.file().fast_slack > 0, "{validators}");
        let light = validator_set(genesis.bytes()).unwrap();
        let whole = genesis.validator_set();
        assert_eq!(light.set_hash(), whole.set_hash(), "{validators}");
        assert_eq!(light.thresholds(), whole.thresholds(), "{validators}");
    }
}

#[test]
fn the_light_reader_refuses_what_makes_no_set() {
    let genesis = Genesis::build(plan(4)).unwrap();
    let text = String::from_utf8(genesis.bytes().to_vec()).unwrap();
    let key = format!("\"{}", "09".repeat(32));
    for (from, to, expected) in [
        ("{", "", "not a genesis file"),
        ("\"format\": 1", "\"format\": 2", "format 2"),
        ("\"format\": 1", "\"former\": 1", "missing field `format`"),
        ("\"epoch\": 0", "\"epoch\": 1", "epoch 0, not 1"),
        ("\"fault_weight\": 1", "\"fault_weight\": 2", "make no set"),
        (&key, "\"", "is not 64 lower-case"),
        ("0909", "09090", "is not 64 lower-case"),
        ("0909", "090G", "is not 64 lower-case"),
        ("0909", "09AA", "is not 64 lower-case"),
    ] {
        assert!(text.contains(from), "{from} is not in {text}");
        let error = validator_set(text.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(error.to_string().contains(expected), "{to}: {error}");
    }
}

#[test]
fn what_is_no_genesis_file_at_all_is_called_so() {
    for text in ["a proof", "{}", ""] {
        let error = parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("no genesis file"), "{error}");
    }
}

#[test]
fn a_validator_is_found_by_its_key() {
    let genesis = Genesis::build(plan(4)).unwrap();
    for place in 0..4 {
        let key = KeyPair::from_seed(&[place + 1; 32]).public();
        assert_eq!(genesis.index_of(&key).unwrap().number(), u16::from(place));
    }
    assert_eq!(
        genesis.index_of(&KeyPair::from_seed(&[99; 32]).public()),
        None
    );
}

/// A field, what its refusal shows of the value, and the change that makes it bad.
type Case = (&'static str, &'static str, fn(&mut GenesisFile));

const BAD_CHAIN: &[Case] = &[
    ("format", "2", |g| g.format = 2),
    ("epoch", "1", |g| g.epoch = 1),
    ("fault_weight", "0", |g| g.fault_weight = 0),
    ("fault_weight", "2", |g| g.fault_weight = 2),
    ("fault_weight", "18446744073709551615", |g| {
        g.fault_weight = u64::MAX
    }),
    ("fault_weight", "1", |g| g.fast_slack = 1),
    ("window_slots", "0", |g| g.window_slots = 0),
    ("turn_windows", "17", |g| g.turn_windows = 17),
    ("application.name", "A b", |g| {
        g.application.name = "A b".to_owned()
    }),
    ("limits.command_bytes_max", "65537", |g| {
        g.limits.command_bytes_max = 65_537
    }),
    ("limits.lane_percent.cancel", "99", |g| {
        g.limits.lane_percent.cancel = 99
    }),
    ("limits.lane_percent.order", "0", |g| {
        g.limits.lane_percent.order = 0
    }),
    ("limits.lane_percent.admin", "101", |g| {
        g.limits.lane_percent.admin = 101
    }),
    ("limits.payload_bytes_max", "5", |g| {
        g.limits.payload_bytes_max = 5
    }),
    ("limits.block_commands_max", "0", |g| {
        g.limits.block_commands_max = 0
    }),
    ("limits.sessions_max", "0", |g| g.limits.sessions_max = 0),
    ("limits.sessions_max", "1048577", |g| {
        g.limits.sessions_max = SESSIONS_MAX + 1;
    }),
    ("limits.command_bytes_max", "65536", |g| {
        g.limits.payload_bytes_max = 65_536
    }),
];

const BAD_VALIDATORS: &[Case] = &[
    ("validators", "", |g| g.validators.clear()),
    ("validators[2].stake", "0", |g| g.validators[2].stake = 0),
    ("validators", "", |g| g.validators[2].stake = 1 << 62),
    ("validators[3].key", "", |g| {
        g.validators[3].key = g.validators[1].key
    }),
    ("validators[1].key", "0000", |g| {
        g.validators[1].key = Hex32([0; 32])
    }),
    ("validators[1].peer_address", "nowhere", |g| {
        g.validators[1].peer_address = "nowhere".to_owned();
    }),
    ("validators[1].client_addresses[0]", "a:0", |g| {
        g.validators[1].client_addresses[0] = "a:0".to_owned();
    }),
    ("validators[2].peer_address", "127.0.0.1:7004", |g| {
        g.validators[2].peer_address = "127.0.0.1:7004".to_owned();
    }),
    ("validators[3].client_addresses[0]", "127.0.0.1:7000", |g| {
        g.validators[3].client_addresses[0] = "127.0.0.1:7000".to_owned();
    }),
    ("validators[0].client_addresses", "9", |g| {
        g.validators[0].client_addresses = vec!["a:1".to_owned(); 9];
    }),
];

#[test]
fn a_set_with_more_branches_than_a_vote_can_name_is_refused_by_field_value_and_remedy() {
    let of = |validators| {
        let mut file = Genesis::build(plan(validators)).unwrap().file().clone();
        (file.fault_weight, file.fast_slack, file.crash_only) = (0, 0, true);
        parse(&serde_json::to_vec_pretty(&file).unwrap())
    };
    assert!(of(64).is_ok());
    let error = of(65).expect_err("65 branches");
    assert_eq!((&error.field[..], &error.value[..]), ("fault_weight", "0"));
    assert!(error.remedy.contains("64 validators"), "{error}");
}

#[test]
fn each_bad_field_is_refused_by_name_value_and_remedy() {
    for (field, value, change) in BAD_CHAIN.iter().chain(BAD_VALIDATORS) {
        let error = changed(change).expect_err(field);
        assert_eq!(error.field, *field, "{error}");
        assert!(error.value.contains(value), "{error}");
        assert!(
            !error.problem.is_empty() && !error.remedy.is_empty(),
            "{error}"
        );
        assert!(error.to_string().contains("dir/genesis.json"), "{error}");
    }
}

#[test]
fn text_that_is_no_genesis_is_refused_by_field() {
    for (from, to, field, problem) in [
        (
            "\"epoch\"",
            "\"epochs\"",
            "epochs",
            "unknown field `epochs`",
        ),
        (
            "\"stake\": 1,",
            "\"stake\": 1, \"weight\": 1,",
            "validators[0].weight",
            "unknown field",
        ),
        (
            "\"stake\": 1,",
            "\"stake\": 1, \"stake\": 1,",
            "validators[0].stake",
            "duplicate field",
        ),
        (
            "\"stake\": 1,",
            "\"stake\": -1,",
            "validators[0].stake",
            "invalid value",
        ),
        (
            "\"stake\": 1,",
            "\"stake\": 1.5,",
            "validators[0].stake",
            "invalid type",
        ),
        (
            "\"stake\": 1,",
            "",
            "validators[0]",
            "missing field `stake`",
        ),
        (
            "\"chain_id\": \"09",
            "\"chain_id\": \"0G",
            "chain_id",
            "64 lower-case hex digits",
        ),
        (
            "\"auth\": \"session\"",
            "\"auth\": \"none\"",
            "auth",
            "unknown variant",
        ),
    ] {
        let error = replaced(from, to).unwrap_err();
        assert_eq!(error.field, field, "{error}");
        assert!(error.problem.contains(problem), "{error}");
    }
}

#[test]
fn cut_or_altered_bytes_are_an_error_and_never_a_panic() {
    let genesis = Genesis::build(plan(4)).unwrap();
    let bytes = genesis.bytes();
    for cut in 0..bytes.len() - 1 {
        let result = parse(&bytes[..cut]);
        assert!(result.is_err(), "cut at {cut}");
    }
    for place in 0..bytes.len() {
        let mut altered = bytes.to_vec();
        altered[place] ^= 0x10;
        if let Ok(other) = parse(&altered) {
            assert_ne!(other.hash(), genesis.hash());
        }
    }
    assert!(
        parse(&vec![b' '; 1 << 20])
            .unwrap_err()
            .problem
            .contains("too long")
    );
}

#[test]
fn a_crash_only_chain_of_one_validator_is_possible_when_it_is_said() {
    assert_eq!(Genesis::build(plan(1)).unwrap_err().field, "fault_weight");
    let genesis = Genesis::build(GenesisPlan {
        crash_only: true,
        ..plan(1)
    })
    .unwrap();
    assert_eq!(genesis.file().auth, Auth::Session);
    assert_eq!(genesis.file().fault_weight, 0);
}

#[test]
fn the_summary_says_who_stops_what() {
    let lines = Genesis::build(plan(4)).unwrap().summary().join("\n");
    assert!(lines.contains("N=4 F=1 P=0"), "{lines}");
    assert!(lines.contains("fast path: 0, 1, 2, 3"), "{lines}");
    assert!(lines.contains("all progress: none"), "{lines}");
}

#[test]
fn the_bounds_on_blocks_and_the_shares_of_lanes_are_rules_of_the_set() {
    let genesis = changed(|g| {
        g.limits.payload_bytes_max = 300_000;
        g.limits.block_commands_max = 77;
        g.limits.command_bytes_max = 1_000;
        g.limits.lane_percent.order = 80;
        g.limits.lane_percent.price = 30;
        g.limits.lane_percent.admin = 5;
    })
    .unwrap();
    let rules = genesis.validator_set().block_rules();
    assert_eq!(rules.lane_percent, [100, 80, 30, 5]);
    assert_eq!(
        (
            rules.payload_bytes_max,
            rules.commands_max,
            rules.command_bytes_max
        ),
        (300_000, 77, 1_000)
    );
    // A genesis that says nothing of shares has the built-in ones.
    let file = Genesis::build(plan(4)).unwrap().file().clone();
    let mut value = serde_json::to_value(&file).unwrap();
    let limits = value["limits"].as_object_mut().unwrap();
    limits.remove("lane_percent").unwrap();
    let silent = parse(&serde_json::to_vec(&value).unwrap()).unwrap();
    assert_eq!(
        silent.validator_set().block_rules().lane_percent,
        [100, 100, 50, 25]
    );
}

/// A block that another chain goes on from.
fn begins() -> Begins {
    Begins {
        generation: 1,
        of: Hex32(*Genesis::build(plan(4)).unwrap().hash()),
        height: 640,
        block: Hex32([3; 32]),
        snapshot: Hex32([4; 32]),
    }
}

#[test]
fn a_genesis_that_goes_on_from_another_chain_is_another_chain_of_the_same_name() {
    let old = Genesis::build(plan(4)).unwrap();
    let next = old
        .succeed(begins(), 1_800_000_000_000_000_000, None)
        .unwrap();
    assert_eq!(next.chain_id(), old.chain_id());
    assert_ne!(next.hash(), old.hash());
    assert_ne!(
        next.validator_set().set_hash(),
        old.validator_set().set_hash()
    );
    assert_eq!(next.validator_set().genesis().height.number(), 640);
    assert_ne!(
        next.validator_set().genesis().id,
        old.validator_set().genesis().id
    );
    assert_eq!(
        next.validator_set().genesis_time_ns(),
        1_800_000_000_000_000_000
    );
    // The same bytes wherever it is made, and the old ones where nothing is gone on from.
    let again = old
        .succeed(begins(), 1_800_000_000_000_000_000, None)
        .unwrap();
    assert_eq!(again.bytes(), next.bytes());
    let text = String::from_utf8(old.bytes().to_vec()).unwrap();
    assert!(!text.contains("begins"));
    // One that goes on from the same block once more is a third chain.
    let third = Begins {
        generation: 2,
        ..begins()
    };
    let third = next
        .succeed(third, 1_800_000_000_000_000_000, None)
        .unwrap();
    assert_ne!(third.hash(), next.hash());
    assert!(
        next.summary()
            .iter()
            .any(|line| line.contains("after height 640"))
    );
}

#[test]
fn what_a_chain_goes_on_from_is_checked_and_who_goes_on_may_be_others() {
    let old = Genesis::build(plan(4)).unwrap();
    let refused = |change: fn(&mut Begins)| {
        let mut begins = begins();
        change(&mut begins);
        old.succeed(begins, 1, None).unwrap_err().field
    };
    assert_eq!(refused(|begins| begins.generation = 0), "begins.generation");
    assert_eq!(refused(|begins| begins.height = 0), "begins.height");
    assert_eq!(refused(|begins| begins.height = u64::MAX), "begins.height");
    let seven: Vec<GenesisValidator> = (0..7).map(validator).collect();
    let text = serde_json::json!({ "validators": seven }).to_string();
    let path = Path::new("next.json");
    let successors = Successors::parse(text.as_bytes(), path).unwrap();
    let next = old.succeed(begins(), 1, Some(successors)).unwrap();
    let alike = Genesis::build(plan(7)).unwrap();
    assert_eq!(next.validator_set().len(), 7);
    assert_eq!(next.file().fault_weight, alike.file().fault_weight);
    assert_eq!(next.file().fast_slack, alike.file().fast_slack);
    let unknown = Successors::parse(b"{\"validators\": [], \"more\": 1}", path).unwrap_err();
    assert_eq!(unknown.file, path);
    let nobody = Successors::parse(b"{\"validators\": []}", path).unwrap();
    assert!(old.succeed(begins(), 1, Some(nobody)).is_err());
}

#[test]
fn whether_only_crashes_are_survived_is_for_those_to_say_who_go_on() {
    let of = |validators: u8, crash_only| {
        let made = GenesisPlan {
            crash_only,
            ..plan(validators)
        };
        Genesis::build(made).unwrap()
    };
    for (old, alike) in [(of(4, false), of(2, true)), (of(2, true), of(4, false))] {
        let successors = Successors {
            validators: alike.file().validators.clone(),
            fault_weight: None,
            fast_slack: None,
            crash_only: alike.file().crash_only,
        };
        let next = old.succeed(begins(), 1, Some(successors)).unwrap();
        let rules = |genesis: &Genesis| {
            let file = genesis.file();
            (file.crash_only, file.fault_weight, file.fast_slack)
        };
        assert_eq!(rules(&next), rules(&alike));
        // Without a word of others it stays as it was.
        let same = old.succeed(begins(), 1, None).unwrap();
        assert_eq!(rules(&same), rules(&old));
    }
}
