//! `consensus.header` under libFuzzer.
#![no_main]

quorate_fuzz::target!("consensus.header");
