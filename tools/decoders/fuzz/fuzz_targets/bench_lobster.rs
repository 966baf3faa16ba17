//! `bench.lobster` under libFuzzer.
#![no_main]

quorate_fuzz::target!("bench.lobster");
