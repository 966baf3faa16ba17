//! `log.base` under libFuzzer.
#![no_main]

quorate_fuzz::target!("log.base");
