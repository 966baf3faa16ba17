//! `net.frames` under libFuzzer.
#![no_main]

quorate_fuzz::target!("net.frames");
