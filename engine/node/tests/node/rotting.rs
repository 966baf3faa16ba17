//! A node joins by a snapshot of peers of which one has a disk that rots, and is mended meanwhile.

use crate::joining::{add, add_until_pruned, start_with};
use crate::scrub::{LOST, scrubbing};
use crate::support::{Cluster, PATIENCE, agree, eventually, stop_all};
use quorate::node::{Node, NodeFailure, log_path};
use quorate::profiles::{Durability, Threading};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Instant;

/// A segment of a validator's log that is complete, as the disk has it, and places in the middle
/// of bodies there.
struct Complete {
    path: PathBuf,
    bytes: Vec<u8>,
    bodies: Vec<u64>,
}

impl Complete {
    /// The newest one: it is pruned last.
    fn of(cluster: &Cluster, place: u16) -> Option<Self> {
        let entries = std::fs::read_dir(log_path(&cluster.data(place))).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let is_segment = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("segment-") && !name.ends_with(".new")
        };
        let mut paths: Vec<PathBuf> = paths.filter(is_segment).collect();
        paths.sort_unstable();
        // The last one is ready, and the one before it is appended to.
        let path = paths.into_iter().rev().nth(2)?;
        let bytes = std::fs::read(&path).unwrap();
        let used = bytes.iter().rposition(|&byte| byte != 0)?;
        let mut bodies = Vec::new();
        let mut zeros = 0;
        for (at, &byte) in bytes[..used].iter().enumerate() {
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            if zeros == 8192 {
                bodies.push(at as u64 - 4096);
            }
        }
        (!bodies.is_empty()).then_some(Self {
            path,
            bytes,
            bodies,
        })
    }

    fn lose(&self, number: u64) {
        let file = std::fs::OpenOptions::new().write(true).open(&self.path);
        let place = number as usize % self.bodies.len();
        file.unwrap()
            .write_all_at(&LOST, self.bodies[place])
            .unwrap();
    }

    fn is_whole(&self) -> bool {
        std::fs::read(&self.path).unwrap() == self.bytes
    }
}

fn repaired(node: &Node) -> u64 {
    scrubbing(node).map_or(0, |found| found.repaired)
}

#[test]
fn a_node_joins_from_one_whose_log_rots_and_is_scrubbed_meanwhile() {
    for threading in [Threading::Shared, Threading::Dedicated] {
        let mut cluster = Cluster::with_windows("rotting", 4, Durability::Async, Some(16));
        cluster.threading = threading;
        let start = |place| {
            start_with(&cluster, place, |config| {
                config.log.bytes_max = 4 << 20;
                config.log.scrub_bytes_per_s = 64 << 20;
            })
        };
        let mut nodes: Vec<Node> = (0..3).map(start).collect();
        let mut count = add_until_pruned(&cluster, 77, &nodes);

        // Whenever what it lost has come back it loses more, until the other one has joined.
        let source = Complete::of(&cluster, 1).unwrap();
        let (passes, mut lost) = (scrubbing(&nodes[1]).map_or(0, |found| found.passes), 0);
        let joining = start(3);
        let end = Instant::now() + 2 * PATIENCE;
        while !joining.is_finished() {
            assert!(Instant::now() < end, "it does not join: {lost}");
            if repaired(&nodes[1]) == lost {
                source.lose(lost);
                lost += 1;
            }
            std::thread::yield_now();
        }
        assert_eq!(joining.metrics().joining_lies.read(), 0);
        let Err(NodeFailure::SnapshotFetched { height }) = joining.wait() else {
            panic!("it ended for another reason");
        };
        assert!(lost > 0, "something was lost while it joined");
        eventually("all that was lost is back, and seen to be", || {
            let found = scrubbing(&nodes[1]).unwrap();
            found.repaired == lost && found.passes > passes && source.is_whole()
        });
        assert_eq!(scrubbing(&nodes[1]).unwrap().faulty, 0);

        nodes.push(start(3));
        assert_eq!(nodes[3].metrics().snapshot_height.read(), height);
        agree(&nodes, height);
        eventually("it votes", || nodes[3].status().unwrap().voting);
        // Its own log rots too once it has a segment to lose.
        count += add(&cluster, 78, || Complete::of(&cluster, 3).is_none());
        let own = Complete::of(&cluster, 3).unwrap();
        own.lose(0);
        eventually("what it lost is back", || {
            repaired(&nodes[3]) == 1 && own.is_whole()
        });
        agree(&nodes, height);
        assert_eq!(nodes[3].query(b"").unwrap(), count.to_le_bytes());
        assert!(nodes.iter().all(|node| node.status().unwrap().voting));
        let alarms = nodes.iter().map(|node| node.metrics().alarms.read());
        assert_eq!(alarms.sum::<u64>(), 0);
        stop_all(nodes);
        for place in 0..4 {
            let checked = quorate_log::verify_path(&log_path(&cluster.data(place))).unwrap();
            assert!(
                checked.faults.is_empty() && checked.marked.is_empty(),
                "{place}"
            );
        }
    }
}
