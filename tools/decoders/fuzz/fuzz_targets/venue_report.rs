//! `venue.report` under libFuzzer.
#![no_main]

quorate_fuzz::target!("venue.report");
