//! `consensus.record` under libFuzzer.
#![no_main]

quorate_fuzz::target!("consensus.record");
