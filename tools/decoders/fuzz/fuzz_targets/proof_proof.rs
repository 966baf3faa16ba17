//! `proof.proof` under libFuzzer.
#![no_main]

quorate_fuzz::target!("proof.proof");
