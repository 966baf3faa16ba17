//! `node.snapshot` under libFuzzer.
#![no_main]

quorate_fuzz::target!("node.snapshot");
