//! Parts that see every byte: decoding, hashing, sealing, signatures.
//!
//! Names are `part::operation/size`, sizes in bytes, of signatures in items.

#[expect(dead_code, reason = "each bench uses a part of it")]
mod support;

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quorate::keys::KeyPair;
use quorate_consensus::header::{HEADER_VERSION, Header};
use quorate_consensus::message::{Message, Propose, Vote};
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Epoch, Height, Index, Window};
use quorate_consensus::{verify, wire};
use quorate_net::wire::{answer, dial};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

/// A header that nobody checks.
fn header(payload: &[u8]) -> Header {
    Header {
        version: HEADER_VERSION,
        flags: 0,
        chain_id: [7; 32],
        epoch: Epoch::ZERO,
        set_hash: [1; 32],
        window: Window::ZERO,
        index: Index::new(1),
        height: Height::new(2),
        time_ns: 1,
        parent_id: BlockId::new([1; 32]),
        payload_hash: *blake3::hash(payload).as_bytes(),
        payload_bytes: u32::try_from(payload.len()).expect("a small payload"),
    }
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode(message, &mut bytes);
    bytes
}

fn record() -> Record {
    Record {
        tip: Some((Index::new(1), BlockId::new([1; 32]))),
        fin: Some(Index::ZERO),
        ..Record::default()
    }
}

fn decode(criterion: &mut Criterion) {
    let vote = encoded(&Message::Vote(Vote {
        epoch: Epoch::ZERO,
        window: Window::ZERO,
        record: record(),
        signature: None,
    }));
    let mut group = criterion.benchmark_group("decode::vote");
    let id = BenchmarkId::from_parameter(vote.len());
    group.bench_with_input(id, &vote, |bench, bytes| {
        bench.iter(|| wire::decode(black_box(bytes)).is_ok());
    });
    group.finish();
    let mut group = criterion.benchmark_group("decode::propose");
    for size in [128, 4096, 60_000] {
        let payload = support::payload(1, size);
        let bytes = encoded(&Message::Propose(Propose {
            header: header(&payload),
            payload,
            justification: Vec::new(),
            record: Some(record()),
        }));
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
    let header = header(&[0; 128]);
    criterion.bench_function("hash::header/1", |bench| {
        bench.iter(|| black_box(&header).id());
    });
}

fn seal(criterion: &mut Criterion) {
    let (dialing, first) = dial(b"bench").expect("a handshake");
    let (mut other, second) = answer(b"bench", &first).expect("an answer");
    let mut own = dialing.complete(&second).expect("a channel");
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
    let key = KeyPair::from_seed(&[3; 32]);
    let (public, message) = (key.public(), [0x5a; 128]);
    let signature = key.sign(&message);
    let mut group = criterion.benchmark_group("verify::batch");
    group.sample_size(20);
    for size in [4, 16, 64, 256] {
        let items: Vec<(&[u8; 32], &[u8], &[u8; 64])> =
            vec![(&public, &message[..], &signature); size];
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

criterion_group!(benches, decode, hash, seal, verify_batch);
criterion_main!(benches);
