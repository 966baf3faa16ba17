//! An application that forgets, in snapshots, what its outputs tell: no two validators differ, and
//! a start of all of them tells something else than was told.

use crate::support::{Cluster, PATIENCE, eventually, eventually_or_show, patient, stop_all};
use quorate::client::Client;
use quorate::keys::KeyPair;
use quorate::node::{Node, NodeFailure, snapshots_path};
use quorate::profiles::{Durability, Threading};
use quorate::snapshot::SnapshotFolder;
use quorate::state_machine::{Context, Lane, Output, StateMachine};
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::wire;
use std::sync::Arc;

const EVERY: u64 = 128;

/// Counts commands, and has the count in no root and no snapshot; restoring may leave it in its
/// place.
#[derive(Debug, Default)]
struct Forgetful<const LEAVES: bool>(u64);

impl<const LEAVES: bool> StateMachine for Forgetful<LEAVES> {
    fn sections(&self) -> &'static [&'static str] {
        &["nothing"]
    }

    fn apply(&mut self, context: &Context, _: &[u8], output: &mut Output) {
        self.0 += 1;
        output.to_session(context.session, &self.0.to_le_bytes());
    }

    fn section_root(&mut self, _: usize) -> [u8; 32] {
        [0; 32]
    }

    fn snapshot_section(&self, _: usize, _: &mut Vec<u8>) {}

    fn restore_section(&mut self, _: usize, _: &[u8]) -> Result<(), String> {
        if !LEAVES {
            self.0 = 0;
        }
        Ok(())
    }

    fn query(&self, _: &[u8], answer: &mut Vec<u8>) {
        answer.extend_from_slice(&self.0.to_le_bytes());
    }
}

fn start_all(cluster: &Cluster) -> Vec<Node> {
    let start = |place| {
        let mut config = cluster.config(place);
        config.snapshots.every_heights = EVERY;
        let app = Forgetful::<false>::default;
        Node::start_with_snapshots(config, app(), app()).unwrap()
    };
    (0..4).map(start).collect()
}

/// What a validator has said and kept, for a test that waits for it in vain.
fn kept_at(cluster: &Cluster, place: u16, node: &Node) -> String {
    let folder = SnapshotFolder::new(snapshots_path(&cluster.data(place)));
    let of = |bytes: Vec<u8>| {
        let one = wire::decode_state_certificate(&bytes).unwrap();
        let signers = one.signatures.iter().map(|(signer, _)| signer.number());
        (one.statement.height.number(), signers.collect::<Vec<_>>())
    };
    let heights = folder.heights().unwrap();
    let vouched = heights.iter().map(|&height| folder.certificate(height));
    let vouched: Vec<_> = vouched.map(|bytes| bytes.unwrap().map(of)).collect();
    let metrics = node.metrics();
    format!(
        "validator {place}, which is {}: attested {:?}, snapshots {heights:?} vouched for by \
         {vouched:?}; has ended: {}, with {}; height {} of {}, window {}, attested height {}, \
         joining {}, alarms {}, frames dropped {}, claims refused {}\n",
        node.index().number(),
        folder.attested().unwrap().map(of),
        node.is_finished(),
        metrics.ending_code.read(),
        metrics.height.read(),
        metrics.height_peers.read(),
        metrics.window.read(),
        metrics.height_attested.read(),
        metrics.joining_height.read(),
        metrics.alarms.read(),
        metrics.frames_dropped.read(),
        metrics.claims_refused.read(),
    )
}

#[test]
fn a_start_of_all_validators_that_rewrites_what_they_attested_is_told_and_not_served() {
    for threading in [Threading::Shared, Threading::Dedicated] {
        let mut cluster = Cluster::new("forgetting", 4, Durability::Sync);
        cluster.threading = threading;
        let folder = |place| SnapshotFolder::new(snapshots_path(&cluster.data(place)));
        let attested = |place| {
            let bytes = folder(place).attested().unwrap()?;
            wire::decode_state_certificate(&bytes).ok()
        };
        let nodes = start_all(&cluster);
        let key = Arc::new(KeyPair::from_seed(&[77; 32]));
        let mut client = Client::connect(&cluster.genesis, key, patient(), PATIENCE).unwrap();
        // Up to a block between two that are attested, and to none above it: one command a block,
        // and its result says which. The gauges of a node are copied twenty times a second, in
        // which a quick machine makes more blocks than there are up to the next one attested.
        let mut submit = || client.submit_and_wait(Lane::Order, b"x", PATIENCE).unwrap();
        while submit().applied.unwrap().height < EVERY + 70 {}
        let is_kept = || {
            nodes.iter().zip(0..4).all(|(node, place)| {
                // However late the own word was: what this validator has said is kept with it.
                let own = |&(signer, _): &(ValidatorIndex, _)| signer == node.index();
                let is_above = |height: u64| height == EVERY + 64;
                attested(place).is_some_and(|one| {
                    is_above(one.statement.height.number()) && one.signatures.iter().any(own)
                }) && folder(place).certificate(EVERY).unwrap().is_some()
            })
        };
        let found = || -> String {
            let places = nodes.iter().zip(0..4);
            let kept = places.map(|(node, place)| kept_at(&cluster, place, node));
            kept.collect()
        };
        let what = "a certificate above the snapshot, everywhere";
        eventually_or_show(what, is_kept, found);
        assert!(nodes.iter().all(|node| node.metrics().alarms.read() == 0));
        drop(client);
        stop_all(nodes);

        // What they attest now, all alike, is no evidence against what they attested before, not
        // even when the bundle has been moved away and they are started once more.
        for _ in 0..2 {
            let nodes = start_all(&cluster);
            for (place, node) in nodes.iter().enumerate() {
                assert!(node.metrics().alarms.read() > 0, "validator {place}");
                let found = node.diverged().expect("the own word was another");
                assert_eq!(found.height, EVERY + 64, "validator {place}");
                let answered = node.query(b"");
                let is_refused = matches!(answered, Err(NodeFailure::Diverged { .. }));
                assert!(is_refused, "validator {place}");
            }
            stop_all(nodes);
            for place in 0..4 {
                std::fs::remove_dir_all(cluster.data(place).join("diverged")).unwrap();
            }
        }
    }
}

/// A shadow that is restored in place has the count still. One that goes on in another instance
/// has not, and comes to other outputs than the first instance while all validators run.
#[test]
fn what_restoring_leaves_in_its_place_is_an_alarm_where_another_instance_is_restored() {
    let cluster = Cluster::new("leaving", 4, Durability::Sync);
    let start = |place| {
        let mut config = cluster.config(place);
        config.snapshots.every_heights = EVERY;
        let app = Forgetful::<true>::default;
        Node::start_with_snapshots_of(config, app(), move || Ok(app())).unwrap()
    };
    let nodes: Vec<Node> = (0..4).map(start).collect();
    let key = Arc::new(KeyPair::from_seed(&[77; 32]));
    let mut client = Client::connect(&cluster.genesis, key, patient(), PATIENCE).unwrap();
    let height = || nodes.iter().map(|node| node.metrics().height.read()).max();
    while height() < Some(2 * EVERY + 8) {
        client.submit_and_wait(Lane::Order, b"x", PATIENCE).unwrap();
    }
    eventually(
        "every validator finds that its two instances differ",
        || nodes.iter().all(|node| node.metrics().alarms.read() > 0),
    );
    stop_all(nodes);
}
