//! The program `quorate`: the command line with the applications of this house.
//!
//! Owns nothing but the start. Never: a command; those are the library's.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use quorate_cli::Applications;

fn main() -> ExitCode {
    quorate_cli::run(&Applications::new())
}
