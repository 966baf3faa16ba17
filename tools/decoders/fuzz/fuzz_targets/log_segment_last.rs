//! `log.segment_last` under libFuzzer.
#![no_main]

quorate_fuzz::target!("log.segment_last");
