//! `net.handshake_second` under libFuzzer.
#![no_main]

quorate_fuzz::target!("net.handshake_second");
