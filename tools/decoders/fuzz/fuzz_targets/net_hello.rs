//! `net.hello` under libFuzzer.
#![no_main]

quorate_fuzz::target!("net.hello");
