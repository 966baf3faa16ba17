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

fn start_all(cluster: &Cluster) -> Vec<Node> {
    let start = |place| {
        let mut config = cluster.config(place);
        config.snapshots.every_heights = 1 << 16;
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
/// the place of what was attested before.
#[test]
fn a_start_in_doubt_serves_and_keeps_the_certificate_that_it_doubts() {
    let cluster = Cluster::new("doubt", 4, Durability::Async);
    let folder = |place| SnapshotFolder::new(snapshots_path(&cluster.data(place)));
    let nodes = start_all(&cluster);
    let session = Arc::new(KeyPair::from_seed(&[77; 32]));
    let mut client =
        Client::connect(&cluster.genesis, Arc::clone(&session), patient(), PATIENCE).unwrap();
    let submit = |client: &mut Client| {
        client
            .submit_and_wait(Lane::Order, &1_u64.to_le_bytes(), PATIENCE)
            .unwrap();
    };
    while attested(&folder(0)).is_none() {
        submit(&mut client);
    }
    drop(client);
    stop_all(nodes);

    let right = attested(&folder(0)).unwrap();
    let forged = forge(&cluster, &folder(0), &right);
    let nodes = start_all(&cluster);
    assert_eq!(nodes[0].metrics().alarms.read(), 1);
    assert!(nodes[0].diverged().is_none() && nodes[0].query(b"").is_ok());
    let mut client = Client::connect(&cluster.genesis, session, patient(), PATIENCE).unwrap();
    // Another validator replaces its own one again and again, a second apart.
    let kept = |place| attested(&folder(place)).unwrap().statement.height;
    let mut heights = vec![kept(1)];
    while heights.len() < 4 {
        submit(&mut client);
        if heights.last() != Some(&kept(1)) {
            heights.push(kept(1));
        }
    }
    assert_eq!(folder(0).attested().unwrap(), Some(forged));
    drop(client);
    let others = &nodes[1..];
    assert!(others.iter().all(|node| node.metrics().alarms.read() == 0));
    stop_all(nodes);
}
