//! `node.trace` under libFuzzer.
#![no_main]

quorate_fuzz::target!("node.trace");
