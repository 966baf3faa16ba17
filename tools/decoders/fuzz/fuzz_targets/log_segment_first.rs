//! `log.segment_first` under libFuzzer.
#![no_main]

quorate_fuzz::target!("log.segment_first");
