//! `consensus.machine` under libFuzzer.
#![no_main]

quorate_fuzz::target!("consensus.machine");
