//! `log.watermark` under libFuzzer.
#![no_main]

quorate_fuzz::target!("log.watermark");
