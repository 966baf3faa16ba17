//! `node.config` under libFuzzer.
#![no_main]

quorate_fuzz::target!("node.config");
