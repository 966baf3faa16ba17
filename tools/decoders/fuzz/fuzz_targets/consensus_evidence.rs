//! `consensus.evidence` under libFuzzer.
#![no_main]

quorate_fuzz::target!("consensus.evidence");
