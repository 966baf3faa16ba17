//! Parts that see every byte and ask for no meaning: framing, hashing, sealing, signatures.
//!
//! Sizes are bytes; of signatures, items.

use std::hint::black_box;

use gungraun::prelude::*;
use quorate_consensus::header::Header;
use quorate_consensus::types::BlockId;
use quorate_consensus::verify::{SignatureCheck as _, Zip215};
use quorate_net::wire::{self, Channel};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::messages::room;
use crate::support::frames::{self, Signed};

/// More than any frame here.
const FRAME_BYTES_MAX: usize = 1 << 17;
/// What any byte is.
const BYTE: u8 = 0x5a;

fn plain(bytes: usize) -> Vec<u8> {
    vec![BYTE; bytes]
}

fn plain_and_room(bytes: usize) -> (Vec<u8>, Vec<u8>) {
    (plain(bytes), room())
}

fn framed(bytes: usize) -> Vec<u8> {
    let (plain, mut stream) = plain_and_room(bytes);
    wire::put_frame(&plain, &mut stream);
    stream
}

#[library_benchmark(setup = plain_and_room)]
#[bench::size_128(128)]
#[bench::size_4096(4096)]
fn put((bytes, mut stream): (Vec<u8>, Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
    wire::put_frame(black_box(&bytes), &mut stream);
    (bytes, stream)
}

#[library_benchmark(setup = framed)]
#[bench::size_128(128)]
#[bench::size_4096(4096)]
fn take(stream: Vec<u8>) -> (Vec<u8>, usize) {
    let mut bytes = 0;
    let left = wire::frames(black_box(&stream), FRAME_BYTES_MAX, |frame| {
        bytes += black_box(frame).len();
    });
    assert_eq!(left, Ok(0), "one whole frame");
    (stream, bytes)
}

library_benchmark_group!(name = frame, benchmarks = [put, take]);

/// Hashed once, so that finding out what the processor can do is not counted.
fn plain_and_hashed(bytes: usize) -> Vec<u8> {
    let plain = plain(bytes);
    black_box(blake3::hash(&plain));
    plain
}

#[library_benchmark(setup = plain_and_hashed)]
#[bench::size_128(128)]
#[bench::size_4096(4096)]
#[bench::size_1048576(1 << 20)]
fn payload(bytes: Vec<u8>) -> (Vec<u8>, blake3::Hash) {
    let hash = blake3::hash(black_box(&bytes));
    (bytes, hash)
}

fn one_header(_: usize) -> Header {
    frames::header(&[0; 128])
}

#[library_benchmark(setup = one_header)]
#[bench::size_1(1)]
fn header(header: Header) -> (Header, BlockId) {
    let id = black_box(&header).id();
    (header, id)
}

library_benchmark_group!(name = hash, benchmarks = [payload, header]);

/// Two ends that have spoken before, and what one is to say.
struct Sealing {
    own: Channel,
    other: Channel,
    plain: Vec<u8>,
}

fn sealing(bytes: usize) -> Sealing {
    let (own, other) = frames::channel();
    let plain = plain(bytes);
    let mut sealing = Sealing { own, other, plain };
    sealing.go();
    sealing
}

impl Sealing {
    fn go(&mut self) -> Vec<u8> {
        let sealed = self.own.seal(black_box(&self.plain)).expect("it fits");
        self.other.open(&sealed).expect("it is whole")
    }
}

#[library_benchmark(setup = sealing)]
#[bench::size_64(64)]
#[bench::size_512(512)]
#[bench::size_16384(16_384)]
fn both_ways(mut sealing: Sealing) -> Sealing {
    drop(black_box(sealing.go()));
    sealing
}

library_benchmark_group!(name = seal, benchmarks = both_ways);

/// Checked once, for the same reason.
fn signed(signers: usize, items: usize) -> (Signed, usize, ChaCha20Rng) {
    let (signed, mut rng) = (Signed::by(signers), ChaCha20Rng::from_seed([1; 32]));
    let is_good = quorate_consensus::verify::batch(&signed.items(items), &mut rng).is_ok();
    assert!(is_good, "the signatures are right");
    (signed, items, ChaCha20Rng::from_seed([1; 32]))
}

// With the list of items, which takes a few instructions each.
#[library_benchmark(setup = signed)]
#[bench::size_4(1, 4)]
#[bench::size_16(1, 16)]
fn batch((signed, items, mut rng): (Signed, usize, ChaCha20Rng)) -> (Signed, bool) {
    let items = signed.items(items);
    let is_good = quorate_consensus::verify::batch(black_box(&items), &mut rng).is_ok();
    assert!(is_good, "the signatures are right");
    drop(items);
    (signed, is_good)
}

fn known(signers: usize) -> (Signed, Zip215<ChaCha20Rng>) {
    let signed = Signed::by(signers);
    let check = frames::knowing(&signed);
    (signed, check)
}

#[library_benchmark(setup = known)]
#[bench::size_4(4)]
#[bench::size_16(16)]
fn known_keys((signed, mut check): (Signed, Zip215<ChaCha20Rng>)) -> (Signed, Zip215<ChaCha20Rng>) {
    let verdicts = check.check(black_box(&signed.each()));
    assert!(!verdicts.contains(&false), "the signatures are right");
    (signed, check)
}

// As many keys, met for the first time.
#[library_benchmark(setup = signed)]
#[bench::size_4(4, 4)]
#[bench::size_16(16, 16)]
fn new_keys((signed, items, mut rng): (Signed, usize, ChaCha20Rng)) -> (Signed, bool) {
    let items = signed.items(items);
    let is_good = quorate_consensus::verify::batch(black_box(&items), &mut rng).is_ok();
    assert!(is_good, "the signatures are right");
    drop(items);
    (signed, is_good)
}

library_benchmark_group!(name = verify, benchmarks = [batch, known_keys, new_keys]);
