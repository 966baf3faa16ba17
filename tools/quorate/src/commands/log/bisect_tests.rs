//! What the comparison of two executions says, and what it refuses.

use super::*;
use crate::inspect::chain::tests::{attest, genesis, header};
use quorate::drift::{BUNDLE_SCHEMA, Build, NamedRoot, Processor};
use quorate::genesis::Hex32;
use quorate_consensus::attestation::StateStatement;
use quorate_consensus::types::{BlockId, Height};

#[test]
fn a_bundle_that_the_system_does_not_give_is_told_by_its_own_code() {
    crate::failure::tests::assert_promised(Code::Configuration, |source| {
        let path = "diverged".into();
        failure_of_bundle(BundleError::Io { path, source })
    });
}

/// What is told of a validator that differs from height 128 on; nothing was found yet.
fn fields(section: &str) -> Fields {
    Fields {
        validator: 1,
        section: section.to_owned(),
        common: 64,
        height: 128,
        attested_by: vec![0, 2, 3],
        executed_from: 0,
        compared: Some([90, 128]),
        is_traced_whole: true,
        computes: Computes::Proven,
        same_build: true,
        first: None,
        roots: Vec::new(),
        roots_each_to: None,
        roots_end: None,
        states_compared: None,
        same_state: None,
        first_state: None,
        first_state_command: None,
    }
}

#[test]
fn the_first_difference_that_a_trace_covers_is_not_called_the_first_of_all() {
    let said = |is_traced_whole| {
        let first = Some(Difference {
            height: 91,
            index: None,
            session: None,
            seq: None,
            lane: None,
            outcome: None,
        });
        let fields = Fields {
            is_traced_whole,
            first,
            ..fields("outputs")
        };
        text(&fields, false)
    };
    assert!(said(true).ends_with("its commands"), "{}", said(true));
    assert!(
        said(false).contains("an earlier command may differ"),
        "{}",
        said(false)
    );
}

#[test]
fn roots_are_told_from_where_they_are_asked_for_on_each_and_then_every_64th() {
    for from in [1, 65, 5_000, 1 << 40] {
        let window = Window { from };
        assert!(!window.has(from - 1) && window.has(from) && window.has_commands(from));
        let each_to = window.each_to();
        assert_eq!(each_to, from + 4_095);
        assert!(window.has(each_to) && window.has_commands(each_to));
        let told = (from..from + 300_000).filter(|&height| window.has(height));
        let told: Vec<_> = told.collect();
        assert_eq!(
            told.len(),
            2 * 4_096,
            "as many as another build's output holds"
        );
        let sparse = &told[4_096..];
        assert!(sparse[0] - each_to <= 64, "{from}");
        assert!(sparse.windows(2).all(|pair| pair[1] - pair[0] == 64));
        assert!(sparse.iter().all(|&height| height.is_multiple_of(64)));
        assert!(!sparse.iter().any(|&height| window.has_commands(height)));
    }
}

#[test]
fn the_roots_begin_above_the_common_state_or_where_they_are_asked_for() {
    let mut bundle = bundle(&genesis(), &[]);
    let trace = Trace::default();
    for (common, lowest, from) in [(None, 0, 1), (Some(64), 0, 65), (Some(64), 9_000, 9_000)] {
        bundle.common = common.map(|height| StateFields {
            height,
            ..bundle.own.clone()
        });
        let comparison = Comparison::new(&bundle, &trace, None, lowest);
        assert_eq!(comparison.window.from, from);
    }
}

#[test]
fn of_a_section_that_stands_still_within_a_block_nothing_is_told_there() {
    let mut bundle = bundle(&genesis(), &[]);
    let trace = Trace::default();
    for (section, expected) in [("outputs", false), ("events", false), ("book", true)] {
        section.clone_into(&mut bundle.section);
        let comparison = Comparison::new(&bundle, &trace, None, 5);
        assert_eq!(comparison.tells_within(5), expected, "{section}");
        assert!(!comparison.tells_within(4));
    }
}

/// What the comparison makes of these roots of the two builds, by height; nothing is told within.
fn states_of(lowest: u64, here: &[(u64, u8)], there: &[(u64, u8)]) -> (States, bool) {
    let genesis = genesis();
    let mut bundle = bundle(&genesis, &[]);
    bundle.own.height = 10_000;
    let told = |&(height, root): &(u64, u8)| SectionRoot {
        height,
        root: hex::encode(&[root; 32]),
        // After the timers one, and after the only command another one, if the block began right.
        within: Some(format!("{:016x}{root:016x}", 1)),
    };
    let against = Against {
        validator: 0,
        section: "book".to_owned(),
        height: 10_000,
        roots: there.iter().map(told).collect(),
    };
    let trace = Trace::default();
    let mut comparison = Comparison::new(&bundle, &trace, Some(&against), lowest);
    let parent = genesis.validator_set().genesis().id;
    for one in here {
        let block = FinalBlock {
            id: parent,
            header: header(&genesis, one.0, parent),
            payload: Vec::new().into(),
            path: None,
            final_ns: 0,
            admitted: Vec::new(),
        };
        let mut results = BlockResults::new();
        results.height = one.0;
        comparison.compare_states(&told(one), &block, &results);
    }
    let command = comparison.first_state_command;
    (comparison.states, command.is_some())
}

#[test]
fn a_state_that_differs_is_named_by_its_block_where_the_one_before_was_compared() {
    let same = [(1, 5), (2, 5), (3, 6), (4, 7)];
    let other = [(1, 5), (2, 5), (3, 8), (4, 9)];
    let states = |compared, same, first| States {
        compared: Some(compared),
        same,
        first,
    };
    assert_eq!(
        states_of(0, &same, &same),
        (states([1, 4], Some(4), None), false)
    );
    assert_eq!(
        states_of(0, &same, &other),
        (states([1, 4], Some(2), Some(3)), true)
    );
    // The first block begins with the common state.
    assert_eq!(
        states_of(0, &same[..1], &[(1, 9)]),
        (states([1, 1], None, Some(1)), true)
    );
    // The ones before were not compared: each of them may be the first.
    assert_eq!(
        states_of(3, &same[2..], &other),
        (states([3, 4], None, Some(3)), false)
    );
    let sparse = ([(4_096, 5), (4_160, 6)], [(4_096, 5), (4_160, 9)]);
    assert_eq!(
        states_of(0, &sparse.0, &sparse.1),
        (states([4_096, 4_160], Some(4_096), Some(4_160)), false)
    );
    let apart = states_of(0, &same[..2], &other[2..]);
    assert_eq!(apart, (States::default(), false));
}

#[test]
fn how_far_the_roots_go_is_said_where_that_is_not_all_the_way() {
    let root = |height| SectionRoot {
        height,
        root: String::new(),
        within: None,
    };
    let said = |fields: Fields| text(&fields, true);
    let none = said(fields("book"));
    assert!(none.contains("tells the root of none of these"), "{none}");
    let whole = said(Fields {
        roots: vec![root(128)],
        roots_each_to: Some(128),
        states_compared: Some([65, 128]),
        ..fields("book")
    });
    assert!(!whole.contains("the roots"), "{whole}");
    assert!(
        whole.contains("the same roots from height 65 to 128"),
        "{whole}"
    );
    let ended = |computes| {
        said(Fields {
            height: 1 << 20,
            computes,
            roots: vec![root(4_160), root(266_240)],
            roots_each_to: Some(4_160),
            roots_end: Some(266_240),
            ..fields("book")
        })
    };
    // There is nothing above the end of the log to begin with.
    let short = ended(Computes::NotReached);
    assert!(short.contains("the roots end at height 266240"), "{short}");
    assert!(!short.contains("--commands-from 266241"), "{short}");
    let part = ended(Computes::Proven);
    for expected in [
        "every block up to height 4160 and of every 64th",
        "the roots end at height 266240",
        "--commands-from 266241",
    ] {
        assert!(part.contains(expected), "{part}");
    }
}

#[test]
fn what_is_said_of_the_first_state_that_differs_is_where_to_look_further() {
    let said = |fields: Fields| text(&fields, true);
    let found = |section, same_state, first| {
        said(Fields {
            states_compared: Some([65, 128]),
            same_state,
            first_state: Some(first),
            ..fields(section)
        })
    };
    let between = found("book", Some(66), 128);
    assert!(
        between.contains("one of the blocks of heights 67 to 128"),
        "{between}"
    );
    assert!(between.contains("--commands-from 67"), "{between}");
    let older = found("book", None, 70);
    assert!(
        older.contains("one of the blocks of heights 65 to 70"),
        "{older}"
    );
    assert!(!older.contains("snapshot"), "{older}");
    // What is below the snapshot is not executed, wherever the roots are asked to begin.
    let above = said(Fields {
        executed_from: 70,
        states_compared: Some([70, 128]),
        first_state: Some(70),
        ..fields("book")
    });
    assert!(
        above.contains("--commands-from 65 and from no snapshot above height 64"),
        "{above}"
    );
    let exact = found("book", None, 65);
    assert!(exact.contains("after the block of height 65"), "{exact}");
    assert!(exact.contains("--commands-from 65"), "{exact}");
    // To ask again would tell no more of these.
    for section in ["outputs", "events"] {
        let exact = found(section, Some(69), 70);
        assert!(exact.contains("changes with the whole block"), "{exact}");
        assert!(!exact.contains("--commands-from"), "{exact}");
    }
}

/// What a validator of a chain left behind, with this certificate of the others' state.
fn bundle(genesis: &Genesis, certificate: &[u8]) -> Bundle {
    let state = |root| StateFields {
        height: 128,
        block: Hex32([6; 32]),
        sections: vec![NamedRoot {
            name: "outputs".to_owned(),
            root: Hex32([root; 32]),
        }],
    };
    Bundle {
        schema: BUNDLE_SCHEMA,
        validator: 0,
        chain_id: Hex32(*genesis.chain_id()),
        genesis_hash: Hex32(*genesis.hash()),
        application: "opaque".to_owned(),
        parameters_blake3: Hex32([0; 32]),
        common: None,
        own: state(8),
        proven: state(7),
        certificate: hex::encode(certificate),
        section: "outputs".to_owned(),
        blocks: [1, 128],
        trace: None,
        build: Build::default(),
        processor: Processor::default(),
    }
}

#[test]
fn commands_above_the_last_height_are_asked_for_in_vain_and_refused() {
    let bundle = bundle(&genesis(), &[]);
    for height in [None, Some(1), Some(128)] {
        check_range(&bundle, height).unwrap();
    }
    let refused = check_range(&bundle, Some(129)).unwrap_err();
    assert_eq!(refused.code, Code::Usage);
    assert!(refused.to_string().contains("from 1 to 128"), "{refused}");
}

#[test]
fn a_bundle_whose_evidence_does_not_hold_is_not_believed() {
    let genesis = genesis();
    let certificate = |root, seed| {
        let statement = StateStatement {
            height: Height::new(128),
            id: BlockId::new([6; 32]),
            sections: vec![[root; 32]],
            snapshot: None,
        };
        attest(&genesis, statement, seed)
    };
    let good = bundle(&genesis, &certificate(7, 1));
    assert_eq!(check_evidence(&good, &genesis).unwrap(), [0]);
    let refused = |bundle: &Bundle| {
        let refused = check_evidence(bundle, &genesis).unwrap_err();
        assert_eq!(refused.code, Code::No, "{refused}");
        refused.to_string()
    };
    let forged = refused(&bundle(&genesis, &certificate(7, 2)));
    assert!(forged.contains("does not hold"), "{forged}");
    let other = refused(&bundle(&genesis, &certificate(9, 1)));
    assert!(other.contains("of another state"), "{other}");
    let mut foreign = good;
    foreign.genesis_hash = Hex32([1; 32]);
    let foreign = refused(&foreign);
    assert!(foreign.contains("of another chain"), "{foreign}");
}
