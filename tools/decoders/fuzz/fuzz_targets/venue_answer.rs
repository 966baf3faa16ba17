//! `venue.answer` under libFuzzer.
#![no_main]

quorate_fuzz::target!("venue.answer");
