//! `venue.snapshot` under libFuzzer.
#![no_main]

quorate_fuzz::target!("venue.snapshot");
