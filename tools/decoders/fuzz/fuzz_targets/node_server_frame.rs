//! `node.server_frame` under libFuzzer.
#![no_main]

quorate_fuzz::target!("node.server_frame");
