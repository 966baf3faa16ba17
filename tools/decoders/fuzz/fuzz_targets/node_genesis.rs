//! `node.genesis` under libFuzzer.
#![no_main]

quorate_fuzz::target!("node.genesis");
