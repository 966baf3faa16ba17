//! `node.sessions` under libFuzzer.
#![no_main]

quorate_fuzz::target!("node.sessions");
