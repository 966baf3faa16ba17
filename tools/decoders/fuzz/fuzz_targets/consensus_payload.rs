//! `consensus.payload` under libFuzzer.
#![no_main]

quorate_fuzz::target!("consensus.payload");
