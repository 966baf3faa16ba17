//! `cargo xtask bless`: writes the traces of the golden scenario scripts anew.
//!
//! Owns what is written and removed in engine/sim/scripts; the traces themselves are made by the
//! test `scripts` of quorate-sim, which CI runs to compare. Never: judges a change; its reviewer
//! does, by the diff.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Where scripts and traces stand.
pub(crate) const FOLDER: &str = "engine/sim/scripts";

/// Writes every trace and says which ones changed. False when a script fails.
///
/// # Errors
/// When a file cannot be read or removed, or `cargo` cannot be started.
pub(crate) fn run(root: &Path) -> Result<bool> {
    let folder = root.join(FOLDER);
    let before = traces(&folder)?;
    for name in before.keys() {
        let script = folder.join(format!("{name}.script"));
        if !script.exists() {
            let orphan = folder.join(format!("{name}.trace"));
            fs::remove_file(&orphan).with_context(|| format!("removing {name}.trace"))?;
        }
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["test", "--locked", "--quiet", "--package", "quorate-sim"])
        .args(["--test", "scripts", "every_script"])
        .env("QUORATE_BLESS", "1")
        .current_dir(root)
        .status()
        .context("starting cargo test")?;
    let changes = changes(&before, &traces(&folder)?);
    for change in &changes {
        println!("bless: {change}");
    }
    match changes.len() {
        0 => println!("bless: {} traces, none changed", before.len()),
        count => println!("bless: {count} changed: review them with git diff {FOLDER}"),
    }
    Ok(status.success())
}

/// The traces of a folder by name.
fn traces(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut traces = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {FOLDER}"))? {
        let path = entry.with_context(|| format!("reading {FOLDER}"))?.path();
        if path.extension().is_some_and(|ending| ending == "trace")
            && let Some(name) = path.file_stem()
        {
            let text =
                fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            traces.insert(name.to_string_lossy().into_owned(), text);
        }
    }
    Ok(traces)
}

/// What has become of each trace that is not as it was.
fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let gone = gone.map(|name| format!("{name}.trace is gone: it had no script"));
    let changed = after
        .iter()
        .filter_map(|(name, text)| match before.get(name) {
            None => Some(format!("{name}.trace is new")),
            Some(old) if old != text => Some(format!("{name}.trace changed")),
            Some(_) => None,
        });
    gone.chain(changed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_changed_and_gone_traces_are_told() {
        let map = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
            owned.collect::<BTreeMap<String, String>>()
        };
        let before = map(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let after = map(&[("a", "1"), ("b", "2"), ("d", "1")]);
        assert_eq!(
            changes(&before, &after),
            [
                "c.trace is gone: it had no script",
                "b.trace changed",
                "d.trace is new"
            ]
        );
        assert!(changes(&before, &before).is_empty());
    }
}
