//! `log.clean_stop` under libFuzzer.
#![no_main]

quorate_fuzz::target!("log.clean_stop");
