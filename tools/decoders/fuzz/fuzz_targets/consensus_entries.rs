//! `consensus.entries` under libFuzzer.
#![no_main]

quorate_fuzz::target!("consensus.entries");
