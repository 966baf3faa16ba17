//! `node.client_frame` under libFuzzer.
#![no_main]

quorate_fuzz::target!("node.client_frame");
