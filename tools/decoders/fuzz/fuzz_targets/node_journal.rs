//! `node.journal` under libFuzzer.
#![no_main]

quorate_fuzz::target!("node.journal");
