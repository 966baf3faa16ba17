//! `net.handshake_first` under libFuzzer.
#![no_main]

quorate_fuzz::target!("net.handshake_first");
