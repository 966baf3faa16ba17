//! `consensus.message` under libFuzzer.
#![no_main]

quorate_fuzz::target!("consensus.message");
