//! The public stream of real processes: readers of every validator, while one is killed and comes
//! back and another one loses its disk and begins with a snapshot of its peers.

use crate::common;
use crate::common::{
    Folder, STOP, init_small, launches, run, run_json, status, text, validator, wait_until,
};
use quorate::client::{Client, ClientOptions, PublicClient, PublicItem, PublicOptions};
use quorate::genesis::Genesis;
use quorate::keys::KeyPair;
use quorate::state_machine::Lane;
use quorate::streams::StreamPosition;
use quorate_bench::cluster::Cluster;
use quorate_consensus::types::ValidatorIndex;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The one that is killed, and the one whose disk is lost.
const KILLED: usize = 2;
const LOST: usize = 3;
/// Longest that one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// One second of orders; whether all came to one root.
fn load(dir: &Path) -> bool {
    let load = ["load", "--dir", text(dir), "--rate", "500"];
    let load = [&load[..], &["--seconds", "1"]].concat();
    run(&load).status.code() == Some(0)
}

/// A reader of one validator alone.
fn reader(genesis: &Genesis, index: usize, from: StreamPosition) -> PublicClient {
    let options = PublicOptions {
        first: ValidatorIndex::new(u16::try_from(index).unwrap()),
        only_first: true,
        from,
        ..PublicOptions::default()
    };
    let key = Arc::new(KeyPair::from_seed(&[90 + index as u8; 32]));
    PublicClient::new(genesis, key, options).unwrap()
}

/// The whole stream between two positions, from one validator.
fn told(
    genesis: &Genesis,
    index: usize,
    from: StreamPosition,
    to: StreamPosition,
) -> Vec<PublicItem> {
    let mut reader = reader(genesis, index, StreamPosition::LIVE);
    let (items, end) = reader.range((from, to), usize::MAX, PATIENCE).unwrap();
    assert_eq!(end, to, "validator {index}");
    items
}

fn take(reader: &mut PublicClient, count: usize) -> Vec<PublicItem> {
    (0..count).map(|_| reader.next(PATIENCE).unwrap()).collect()
}

/// The stream up to here has all of what is final at every validator.
fn end(dir: &Path, validators: std::ops::Range<usize>) -> StreamPosition {
    let heights = validators.map(|index| status(dir, index)["height"].as_u64().unwrap());
    StreamPosition::before(heights.min().unwrap())
}

/// Long commands that the venue refuses, until the log of nobody here begins with genesis.
fn fill_logs(dir: &Path, genesis: &Genesis) {
    let key = Arc::new(KeyPair::from_seed(&[77; 32]));
    let options = ClientOptions {
        // A validator that is slow is not left: another one would tell less of the command.
        patience: PATIENCE,
        ..ClientOptions::default()
    };
    let mut client = Client::connect(genesis, key, options, PATIENCE).unwrap();
    let body = vec![0xee; 60_000];
    wait_until("the logs of the others do not begin with genesis", || {
        for _ in 0..50 {
            client
                .submit_and_wait(Lane::Order, &body, PATIENCE)
                .unwrap();
        }
        (0..LOST).all(|index| {
            let first = "data/log/segment-0000000000";
            !validator(dir, index).join(first).exists()
        })
    });
}

fn lose_disk(dir: &Path, cluster: &mut Cluster) {
    cluster.kill(LOST).unwrap();
    fs::remove_dir_all(validator(dir, LOST).join("data")).unwrap();
    fill_logs(dir, &Genesis::load(&dir.join("genesis.json")).unwrap());
    let config = validator(dir, LOST).join("quorate.toml");
    run_json(&["recover", "disk", "--config", text(&config)], 0);
    cluster.start(LOST).unwrap();
    wait_until("it joins, and votes", || {
        load(dir);
        status(dir, LOST)["voting"] == true
    });
}

/// Killed under load, with snapshots to start from, and back.
fn kill_under_load(dir: &Path, cluster: &mut Cluster) {
    let snapshots = validator(dir, KILLED).join("data/snapshots");
    wait_until("it has snapshots", || {
        load(dir) && fs::read_dir(&snapshots).is_ok_and(|found| found.count() > 4)
    });
    let load_long = [
        "load",
        "--dir",
        text(dir),
        "--rate",
        "500",
        "--seconds",
        "3",
    ];
    let mut under = common::quorate().args(load_long).spawn().unwrap();
    let height = || status(dir, 0)["height"].as_u64();
    let before = height();
    wait_until("it is under load", || height() > before);
    cluster.kill(KILLED).unwrap();
    under.wait().unwrap();
    cluster.start(KILLED).unwrap();
    wait_until("it is back", || load(dir));
}

#[test]
fn readers_of_all_validators_are_told_the_same_bytes_over_a_kill_and_a_start_from_a_snapshot() {
    let folder = Folder::new("public");
    let dir = folder.join("net");
    // Little of the stream is in memory.
    let ring = ("# public_bytes_max = 67108864", "public_bytes_max = 65536");
    init_small(&dir, "venue", &[ring]);
    let mut cluster = Cluster::new(launches(&dir), Arc::new(|_, _| ()));
    cluster.start_all().unwrap();
    let genesis = Genesis::load(&dir.join("genesis.json")).unwrap();
    wait_until("the load is on", || load(&dir));
    let begin = StreamPosition::BEGIN;
    let mut readers: Vec<_> = (0..4).map(|index| reader(&genesis, index, begin)).collect();
    let mut first: Vec<_> = readers.iter_mut().map(|one| take(one, 50)).collect();
    assert!(first.iter().all(|told| *told == first[0]));

    kill_under_load(&dir, &mut cluster);
    // One that has nothing, while its peers have no blocks that reach back far enough.
    lose_disk(&dir, &mut cluster);
    wait_until("equal roots at all", || load(&dir));

    // All of it, from the beginning, at those that were there; the same bytes in the same places.
    let to = end(&dir, 0..4);
    let whole = told(&genesis, 0, begin, to);
    assert!(whole.len() > 500, "{}", whole.len());
    assert!(whole.is_sorted_by(|one, next| one.position < next.position));
    for index in 1..LOST {
        assert!(
            told(&genesis, index, begin, to) == whole,
            "validator {index}"
        );
    }
    // Their readers go on where they were, the one of the killed validator too.
    for index in 0..LOST {
        first[index].extend(take(&mut readers[index], whole.len() - 50));
        assert!(first[index] == whole, "the reader of validator {index}");
    }
    // Where the disk was lost, what lies before the snapshot was fetched from the others.
    let oldest = || {
        let of = |index| status(&dir, index)["public_oldest"].as_u64();
        of(LOST).is_some() && of(LOST) == of(0)
    };
    wait_until("it has the stream from where the others have it", oldest);
    assert!(told(&genesis, LOST, begin, to) == whole, "fetched");
    let position = readers[LOST].position();
    first[LOST].extend(take(
        &mut reader(&genesis, LOST, position),
        whole.len() - 50,
    ));
    assert!(first[LOST] == whole, "a reader goes on where it was");

    // Killed too, it begins where it did, and tells the same.
    cluster.kill(LOST).unwrap();
    cluster.start(LOST).unwrap();
    wait_until("it is back", || load(&dir));
    wait_until("it has the stream from there still", oldest);
    assert!(told(&genesis, LOST, begin, to) == whole, "after a kill");
    for ended in cluster.stop_all(STOP).unwrap() {
        assert_eq!(ended.status.code(), Some(0), "validator {}", ended.index);
    }
}
