//! A start that comes to another state than so few attested that nobody can tell who is right.

use crate::support::{Adder, Cluster, PATIENCE, patient, seed, stop_all};
use quorate::client::Client;
use quorate::keys::KeyPair;
use quorate::node::{Node, snapshots_path};
use quorate::profiles::Durability;
use quorate::snapshot::SnapshotFolder;
use quorate::state_machine::Lane;
use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::signing::{self, Signer as _, ValidatorKey};
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::wire;
use std::sync::Arc;

fn start_all(cluster: &Cluster, every_heights: u64) -> Vec<Node> {
    let start = |place| {
        let mut config = cluster.config(place);
        config.snapshots.every_heights = every_heights;
        Node::start_with_snapshots(config, Adder::default(), Adder::default()).unwrap()
    };
    (0..4).map(start).collect()
}

fn attested(folder: &SnapshotFolder) -> Option<StateCertificate> {
    wire::decode_state_certificate(&folder.attested().unwrap()?).ok()
}

/// A certificate of a wrong state at the same height, by two liars.
fn forge(cluster: &Cluster, folder: &SnapshotFolder, right: &StateCertificate) -> Vec<u8> {
    let mut statement = right.statement.clone();
    statement.sections[3] = [9; 32];
    let sign = |signer: u16| {
        let validator = ValidatorIndex::new(signer);
        let mut message = Vec::new();
        let set = cluster.genesis.validator_set();
        signing::state_message(set, validator, &statement, &mut message);
        let key = ValidatorKey::from_seed(&seed(signer));
        (validator, key.sign(&message))
    };
    let signatures = [1, 2].map(sign).to_vec();
    let mut bytes = Vec::new();
    let certificate = StateCertificate {
        statement: statement.clone(),
        signatures,
    };
    wire::encode_state_certificate(&certificate, &mut bytes);
    folder.put_attested(&bytes).unwrap();
    bytes
}

/// All others may have rewritten the state as this start has: what they attest now is not to take
/// the place of what was attested before, however far this validator has come since.
#[test]
fn a_start_in_doubt_serves_and_stays_in_doubt_until_an_operator_takes_its_certificate_away() {
    let cluster = Cluster::new("doubt", 4, Durability::Async);
    let folder = |place| SnapshotFolder::new(snapshots_path(&cluster.data(place)));
    let nodes = start_all(&cluster, 1 << 16);
    let session = Arc::new(KeyPair::from_seed(&[77; 32]));
    let connect = || {
        let session = Arc::clone(&session);
        Client::connect(&cluster.genesis, session, patient(), PATIENCE).unwrap()
    };
    let submit = |client: &mut Client| {
        client
            .submit_and_wait(Lane::Order, &1_u64.to_le_bytes(), PATIENCE)
            .unwrap();
    };
    let mut client = connect();
    while attested(&folder(0)).is_none() {
        submit(&mut client);
    }
    drop(client);
    stop_all(nodes);

    let right = attested(&folder(0)).unwrap();
    let forged = forge(&cluster, &folder(0), &right);
    let height = right.statement.height.number();
    // The first one executes that height again; the second one begins with a snapshot above it.
    for has_snapshot in [false, true] {
        let last = |place| folder(place).heights().unwrap().last().copied();
        assert_eq!(last(0) > Some(height), has_snapshot);
        let nodes = start_all(&cluster, 128);
        assert_eq!(nodes[0].metrics().alarms.read(), 1);
        assert!(nodes[0].diverged().is_none() && nodes[0].query(b"").is_ok());
        let kept = || {
            attested(&folder(0)).is_some_and(|one| one.statement.height > right.statement.height)
        };
        let mut client = connect();
        while last(0) <= Some(height) || !kept() {
            submit(&mut client);
        }
        drop(client);
        let others = &nodes[1..];
        assert!(others.iter().all(|node| node.metrics().alarms.read() == 0));
        stop_all(nodes);
        assert_eq!(folder(0).doubted().unwrap().as_ref(), Some(&forged));
    }

    std::fs::remove_file(folder(0).path().join("doubted.certificate")).unwrap();
    let nodes = start_all(&cluster, 128);
    assert_eq!(nodes[0].metrics().alarms.read(), 0);
    stop_all(nodes);
}
