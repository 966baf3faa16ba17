//! A validator whose disk is lost while its peers' logs do not go back to genesis any more: with
//! real processes, under load.

use crate::common::{
    Folder, STOP, init_small, launches, run, run_json, status, text, validator, wait_until,
};
use quorate_bench::cluster::Cluster;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// The one that is lost.
const LOST: usize = 3;

/// One second of load, whatever comes of it.
fn load(dir: &Path) -> Option<i32> {
    let dir = text(dir);
    let arguments = [
        "load",
        "--dir",
        dir,
        "--rate",
        "200",
        "--seconds",
        "1",
        "--size",
        "40000",
    ];
    run(&arguments).status.code()
}

#[test]
fn a_validator_whose_disk_is_lost_joins_peers_whose_logs_are_pruned_under_load() {
    let folder = Folder::new("joining");
    let dir = folder.join("net");
    init_small(&dir, "opaque", &[]);
    let mut cluster = Cluster::new(launches(&dir), Arc::new(|_, _| ()));
    cluster.start_all().unwrap();
    // It has voted, so that its key must not begin anew by itself.
    load(&dir);
    cluster.kill(LOST).unwrap();
    fs::remove_dir_all(validator(&dir, LOST).join("data")).unwrap();
    wait_until("the logs of the others do not begin with genesis", || {
        load(&dir);
        (0..LOST).all(|index| {
            let first = "data/log/segment-0000000000";
            !validator(&dir, index).join(first).exists()
        })
    });

    let config = validator(&dir, LOST).join("quorate.toml");
    let node = ["node", "--config", text(&config)];
    assert_eq!(run_json(&node, 4)["error"]["kind"], "safety_stop");
    run_json(&["recover", "disk", "--config", text(&config)], 0);
    cluster.start(LOST).unwrap();
    wait_until("it joins, and votes", || {
        load(&dir);
        status(&dir, LOST)["voting"] == true
    });
    // One process all along, which began anew by itself.
    assert!(cluster.is_running(LOST));
    // All four come to one height and one root, and their chains are one.
    wait_until("equal roots at all", || load(&dir) == Some(0));
    for ended in cluster.stop_all(STOP).unwrap() {
        assert_eq!(ended.status.code(), Some(0), "validator {}", ended.index);
    }

    // Its log begins with what it fetched, and says so; the others' go on as before.
    let data = validator(&dir, LOST);
    let verified = run_json(&["log", "verify", text(&data)], 0);
    let below = verified["below"].as_u64().unwrap();
    assert!(below >= 64 && below.is_multiple_of(64), "{verified}");
    assert!(verified["blocks"].as_u64().unwrap() > 0, "{verified}");
    assert!(
        verified["faulty"].as_array().unwrap().is_empty(),
        "{verified}"
    );
    let genesis = run_json(&["log", "replay", text(&data)], 3);
    assert_eq!(genesis["error"]["kind"], "configuration");
    let verified = run_json(&["snapshot", "verify", text(&data)], 0);
    let newest = verified["snapshots"].as_array().unwrap().last().unwrap();
    let height = newest["height"].as_u64().unwrap().to_string();
    let replay = ["log", "replay", text(&data), "--from-snapshot", &height];
    assert!(run_json(&replay, 0)["height"].as_u64() >= Some(below));
}
