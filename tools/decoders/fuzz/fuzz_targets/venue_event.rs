//! `venue.event` under libFuzzer.
#![no_main]

quorate_fuzz::target!("venue.event");
