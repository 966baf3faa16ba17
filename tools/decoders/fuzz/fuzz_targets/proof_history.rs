//! `proof.history` under libFuzzer.
#![no_main]

quorate_fuzz::target!("proof.history");
