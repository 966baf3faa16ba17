//! `venue.question` under libFuzzer.
#![no_main]

quorate_fuzz::target!("venue.question");
