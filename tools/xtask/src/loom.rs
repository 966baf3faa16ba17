//! `cargo xtask loom`: the models of what threads share, explored by loom.
//!
//! Owns the list of crates that have such models. They are ordinary tests, which also run with all
//! others; this runs them alone. Never: sets a `cfg`, since the models need none.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Crates with a `tests/loom.rs`.
const CRATES: &[&str] = &["quorate-net", "quorate-log"];

/// Runs the models at `root`. False when one of them failed.
///
/// # Errors
/// When cargo cannot be started.
pub(crate) fn run(root: &Path) -> Result<bool> {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command.args(["test", "--locked", "--no-fail-fast", "--test", "loom"]);
    for name in CRATES {
        command.args(["--package", name]);
    }
    let status = command
        .current_dir(root)
        .status()
        .context("running cargo")?;
    Ok(status.success())
}
