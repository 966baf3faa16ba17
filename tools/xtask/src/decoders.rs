//! `cargo xtask decoders`: damaged inputs to every decoder.
//!
//! Owns how the program is built: optimised, with every check on, and with panics that can be
//! caught, which the release profile's cannot. The program is `tools/decoders`, since this crate
//! depends on none of the engine's. Never: judges what it prints.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Runs the program at `root` with these options. False when it found something.
///
/// # Errors
/// When cargo cannot be started.
pub(crate) fn run(root: &Path, options: &[&str]) -> Result<bool> {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command
        .args(["run", "--locked", "--quiet", "--profile", "decoders"])
        .args(["--package", "quorate-decoders", "--"])
        .args(options);
    let status = command
        .current_dir(root)
        .status()
        .context("running cargo")?;
    Ok(status.success())
}
