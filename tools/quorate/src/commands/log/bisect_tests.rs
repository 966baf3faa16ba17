//! What the comparison of two executions says, and what it refuses.

use super::*;
use crate::inspect::chain::tests::{attest, genesis};
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

#[test]
fn the_first_difference_that_a_trace_covers_is_not_called_the_first_of_all() {
    let said = |is_traced_whole| {
        text(&Fields {
            validator: 1,
            section: "outputs".to_owned(),
            common: 64,
            height: 128,
            attested_by: vec![0, 2, 3],
            compared: Some([90, 128]),
            is_traced_whole,
            computes: Computes::Proven,
            same_build: true,
            first: Some(Difference {
                height: 91,
                index: None,
                session: None,
                seq: None,
                lane: None,
                outcome: None,
            }),
            roots: Vec::new(),
            first_state: None,
            first_state_command: None,
        })
    };
    assert!(said(true).ends_with("its commands"), "{}", said(true));
    assert!(
        said(false).contains("an earlier command may differ"),
        "{}",
        said(false)
    );
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
