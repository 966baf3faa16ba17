//! `net.sealed` under libFuzzer.
#![no_main]

quorate_fuzz::target!("net.sealed");
