//! `venue.command` under libFuzzer.
#![no_main]

quorate_fuzz::target!("venue.command");
