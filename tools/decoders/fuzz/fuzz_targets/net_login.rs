//! `net.login` under libFuzzer.
#![no_main]

quorate_fuzz::target!("net.login");
