//! `consensus.lease` under libFuzzer.
#![no_main]

quorate_fuzz::target!("consensus.lease");
