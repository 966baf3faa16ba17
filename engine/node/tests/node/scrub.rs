//! A whole node whose disk loses bytes of its log while it runs: they come back from its peers.

use crate::support::{Adder, Cluster, PATIENCE, agree, eventually, patient, stop_all};
use quorate::client::Client;
use quorate::keys::KeyPair;
use quorate::node::{Node, log_path};
use quorate::profiles::{Durability, Threading};
use quorate::state_machine::Lane;
use quorate::status::Scrubbing;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes that are lost at a stretch: more than the chain itself could bring back.
pub(crate) const LOST: [u8; 96] = [0xa5; 96];

fn start(cluster: &Cluster, place: u16) -> Node {
    let mut config = cluster.config(place);
    config.log.segment_bytes = 1_310_720;
    config.log.scrub_bytes_per_s = 64 << 20;
    Node::start(config, Adder::default()).unwrap()
}

/// In the middle of a command's body, which is all zeros there.
fn inside_a_body(bytes: &[u8]) -> usize {
    let run = bytes
        .windows(8192)
        .position(|at| at.iter().all(|&byte| byte == 0));
    run.unwrap() + 4096
}

pub(crate) fn scrubbing(node: &Node) -> Option<Scrubbing> {
    node.status().unwrap().log_scrub
}

#[test]
fn bytes_that_the_disk_of_a_running_validator_lost_come_back_from_its_peers() {
    for threading in [Threading::Shared, Threading::Dedicated] {
        let mut cluster = Cluster::new("scrub", 4, Durability::Async);
        cluster.threading = threading;
        let nodes: Vec<Node> = (0..4).map(|place| start(&cluster, place)).collect();
        let key = Arc::new(KeyPair::from_seed(&[9; 32]));
        let options = patient();
        let mut client = Client::connect(&cluster.genesis, key, options, PATIENCE).unwrap();
        let mut command = 1_u64.to_le_bytes().to_vec();
        command.resize(8, 0);
        let log = log_path(&cluster.data(1));
        // The second segment is complete when the fourth is there, and one more is always ready.
        while !log.join("segment-0000000003").exists() {
            let mut wide = command.clone();
            wide.resize(60_000, 0);
            client
                .submit_and_wait(Lane::Order, &wide, PATIENCE)
                .unwrap();
        }
        let path = log.join("segment-0000000001");
        let before = std::fs::read(&path).unwrap();
        let offset = inside_a_body(&before) as u64;
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&LOST, offset).unwrap();
        drop(file);

        let passes = scrubbing(&nodes[1]).map_or(0, |found| found.passes);
        eventually("the bytes are back, and seen to be", || {
            scrubbing(&nodes[1]).is_some_and(|found| found.repaired > 0 && found.passes > passes)
        });
        assert_eq!(std::fs::read(&path).unwrap(), before);
        let found = scrubbing(&nodes[1]).unwrap();
        assert_eq!((found.found, found.repaired, found.faulty), (1, 1, 0));
        // It has voted all along, and the log is one to start from as it is.
        assert!(nodes[1].status().unwrap().voting);
        let height = nodes[1].status().unwrap().height;
        client
            .submit_and_wait(Lane::Order, &command, PATIENCE)
            .unwrap();
        agree(&nodes, height + 1);
        assert_eq!(scrubbing(&nodes[2]).map_or(0, |found| found.found), 0);
        stop_all(nodes);
        let checked = quorate_log::verify_path(&log).unwrap();
        assert!(checked.faults.is_empty() && checked.marked.is_empty());
        assert!(checked.torn.is_empty());
    }
}
