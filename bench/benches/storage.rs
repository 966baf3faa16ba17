//! The log on this machine's disk, and a hop between two threads.
//!
//! Names are `part::operation/size`, sizes in bytes, of a group in records, of a hop in items.

use std::path::PathBuf;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::channel::unbounded;
use quorate_log::{DataFolder, LogConfig, Opened, RecordKind, open};

const KIND: RecordKind = RecordKind::new(7);

/// A log in a folder that is removed in the end.
struct Log {
    opened: Opened,
    folder: PathBuf,
}

impl Log {
    fn create(name: &str) -> Self {
        let name = format!("quorate-bench-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        quorate::keys::create_private_folder(&folder).expect("a folder");
        let data = DataFolder::open(&folder).expect("a data folder");
        let opened = open(&data, &LogConfig::new([1; 32]), b"bench").expect("a log");
        Self { opened, folder }
    }

    fn append(&mut self, payload: &[u8]) {
        let place = self.opened.writer.append(KIND, &[payload]);
        place.expect("room on the disk");
        // On a thread of its own in a node; here it costs a record in so many thousand.
        self.opened.preparer.prepare_next().expect("a segment");
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, "a folder of a measurement is left behind");
        }
    }
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

criterion_group!(benches, append, group_sync, hop);
criterion_main!(benches);
