//! Parts that see every byte: decoding, hashing, sealing, signatures.
//!
//! Names are `part::operation/size`, sizes in bytes, of signatures in items.

#[expect(dead_code, reason = "each bench uses a part of it")]
mod support;

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quorate_consensus::verify::{self, SignatureCheck as _};
use quorate_consensus::wire;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use support::frames;

fn decode(criterion: &mut Criterion) {
    let vote = frames::encoded(&frames::vote());
    let mut group = criterion.benchmark_group("decode::vote");
    let id = BenchmarkId::from_parameter(vote.len());
    group.bench_with_input(id, &vote, |bench, bytes| {
        bench.iter(|| wire::decode(black_box(bytes)).is_ok());
    });
    group.finish();
    let mut group = criterion.benchmark_group("decode::propose");
    for size in [128, 4096, 60_000] {
        let bytes = frames::encoded(&frames::propose(size));
        let id = BenchmarkId::from_parameter(bytes.len());
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_with_input(id, &bytes, |bench, bytes| {
            bench.iter(|| wire::decode(black_box(bytes)).is_ok());
        });
    }
    group.finish();
}

fn hash(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash::payload");
    for size in [128, 4096, 1 << 20] {
        let bytes = vec![0x5a; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &bytes, |bench, bytes| {
            bench.iter(|| blake3::hash(black_box(bytes)));
        });
    }
    group.finish();
    let header = frames::header(&[0; 128]);
    criterion.bench_function("hash::header/1", |bench| {
        bench.iter(|| black_box(&header).id());
    });
}

fn seal(criterion: &mut Criterion) {
    let (mut own, mut other) = frames::channel();
    let mut group = criterion.benchmark_group("seal::both_ways");
    for size in [64, 512, 16_384] {
        let plain = vec![0x5a; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &plain, |bench, plain| {
            bench.iter(|| {
                let sealed = own.seal(black_box(plain)).expect("it fits");
                other.open(&sealed).expect("it is whole")
            });
        });
    }
    group.finish();
}

fn verify_batch(criterion: &mut Criterion) {
    let signed = frames::Signed::by(1);
    let mut group = criterion.benchmark_group("verify::batch");
    group.sample_size(20);
    for size in [4, 16, 64, 256] {
        let items = signed.items(size);
        group.throughput(Throughput::Elements(size as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &items, |bench, items| {
            bench.iter_batched_ref(
                || ChaCha20Rng::from_seed([1; 32]),
                |rng| verify::batch(black_box(items), rng).is_ok(),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// Each signature by a key of its own, as those of validators and of clients are.
fn verify_known_keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verify::known_keys");
    group.sample_size(20);
    for size in [4, 16, 64, 256] {
        let signed = frames::Signed::by(size);
        let items = signed.each();
        let mut check = frames::knowing(&signed);
        group.throughput(Throughput::Elements(size as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &items, |bench, items| {
            bench.iter(|| check.check(black_box(items)));
        });
    }
    group.finish();
}

criterion_group!(benches, decode, hash, seal, verify_batch, verify_known_keys);
criterion_main!(benches);
