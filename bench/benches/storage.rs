//! The log and the archive of the public stream on this machine's disk, and a hop between two
//! threads.
//!
//! Names are `part::operation/size`, sizes in bytes, of a group in records, of a block of the
//! archive in events of 64 bytes, of a hop in items.

#[expect(dead_code, reason = "each bench uses a part of it")]
mod support;

use std::path::PathBuf;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::channel::unbounded;
use quorate::archive::{Archive, ArchiveConfig};
use quorate::streams::Block;

use support::storage::{Log, folder_of, remove};

/// Bytes of one public event.
const EVENT_BYTES: usize = 64;

/// An archive of 64 MiB, in a folder that is removed in the end.
struct Archived {
    archive: Archive,
    folder: PathBuf,
    height: u64,
}

impl Archived {
    fn create() -> Self {
        let folder = folder_of("archive");
        let config = ArchiveConfig {
            folder: folder.clone(),
            genesis_hash: [1; 32],
            bytes_max: 64 << 20,
        };
        let mut archive = Archive::open(config).expect("an archive");
        archive.go_on_from(&Default::default()).expect("a segment");
        Self {
            archive,
            folder,
            height: 0,
        }
    }

    /// As its thread does it: what waits is written in pieces of 256 KiB, a segment synced when it
    /// is full, and the oldest one removed beyond the budget.
    fn append(&mut self, block: &Block) {
        self.height += 1;
        let appended = self.archive.append(self.height, block);
        appended.expect("room on the disk");
    }
}

impl Drop for Archived {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

fn block_of(events: usize) -> Block {
    let bytes = vec![0x5a; events * EVENT_BYTES];
    let ends = (1..=events).map(|count| count * EVENT_BYTES).collect();
    Block::from_parts(1, bytes, ends).expect("events that end there")
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log::append");
    // A log fills a gigabyte in seconds.
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(100));
    group.measurement_time(Duration::from_millis(500));
    for size in [64, 512, 4096] {
        let (mut log, payload) = (Log::create("append"), vec![0x5a; size]);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bench| {
            bench.iter(|| log.append(&payload));
        });
    }
    group.finish();
}

fn archive_append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("archive::append");
    // Gigabytes in seconds here too, of which the budget stays.
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(100));
    group.measurement_time(Duration::from_millis(500));
    // A block that tells nobody anything, a few trades, and a block of matching.
    for events in [0, 1, 16, 1024] {
        let (mut archived, block) = (Archived::create(), block_of(events));
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(events), |bench| {
            bench.iter(|| archived.append(&block));
        });
    }
    group.finish();
}

fn group_sync(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log::group_sync");
    group.sample_size(20);
    for records in [1_u64, 16, 256] {
        let (mut log, payload) = (Log::create("sync"), vec![0x5a; 256]);
        group.throughput(Throughput::Elements(records));
        group.bench_function(BenchmarkId::from_parameter(records), |bench| {
            bench.iter(|| {
                (0..records).for_each(|_| log.append(&payload));
                let range = log.opened.writer.unsynced();
                log.opened.syncer.sync(range).expect("a sync")
            });
        });
    }
    group.finish();
}

/// There and back through two queues of the kind that connects stages: two hops.
fn hop(criterion: &mut Criterion) {
    let (there, inward) = unbounded::<u64>();
    let (outward, back) = unbounded::<u64>();
    let other = std::thread::spawn(move || {
        while let Ok(item) = inward.recv() {
            if outward.send(item).is_err() {
                return;
            }
        }
    });
    criterion.bench_function("queue::hop_and_back/1", |bench| {
        bench.iter(|| {
            there.send(1).expect("the other thread runs");
            back.recv().expect("it answers")
        });
    });
    drop(there);
    other.join().expect("it ends well");
}

criterion_group!(benches, append, archive_append, group_sync, hop);
criterion_main!(benches);
