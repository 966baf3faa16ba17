//! `consensus.state_certificate` under libFuzzer.
#![no_main]

quorate_fuzz::target!("consensus.state_certificate");
