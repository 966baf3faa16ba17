//! From messages and records to bytes, into a buffer that need not grow. Sizes are bytes, of a
//! record its further entries.

use std::hint::black_box;

use gungraun::prelude::*;
use quorate_consensus::message::Message;
use quorate_consensus::record::Record;
use quorate_consensus::wire;

use crate::messages;

type Encoded<T> = (T, Vec<u8>);

fn vote_and_room(bytes: usize) -> Encoded<Message> {
    (messages::vote(bytes), messages::room())
}

fn propose_and_room(bytes: usize) -> Encoded<Message> {
    (messages::propose(bytes), messages::room())
}

fn record_and_room(entries: u32) -> Encoded<Record> {
    (messages::record(entries), messages::room())
}

#[library_benchmark(setup = vote_and_room)]
#[bench::size_66(66)]
fn vote((message, mut bytes): Encoded<Message>) -> Encoded<Message> {
    wire::encode(black_box(&message), &mut bytes);
    (message, bytes)
}

#[library_benchmark(setup = propose_and_room)]
#[bench::size_394(394)]
#[bench::size_4362(4362)]
#[bench::size_60266(60266)]
fn propose((message, mut bytes): Encoded<Message>) -> Encoded<Message> {
    wire::encode(black_box(&message), &mut bytes);
    (message, bytes)
}

#[library_benchmark(setup = record_and_room)]
#[bench::size_0(0)]
#[bench::size_4(4)]
#[bench::size_64(64)]
fn record((record, mut bytes): Encoded<Record>) -> Encoded<Record> {
    wire::encode_record(black_box(&record), &mut bytes);
    (record, bytes)
}

library_benchmark_group!(name = encode, benchmarks = [vote, propose, record]);
