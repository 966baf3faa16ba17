//! `log.lease` under libFuzzer.
#![no_main]

quorate_fuzz::target!("log.lease");
