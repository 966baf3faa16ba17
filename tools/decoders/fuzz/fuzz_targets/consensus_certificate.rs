//! `consensus.certificate` under libFuzzer.
#![no_main]

quorate_fuzz::target!("consensus.certificate");
