//! `bench.price_line` under libFuzzer.
#![no_main]

quorate_fuzz::target!("bench.price_line");
