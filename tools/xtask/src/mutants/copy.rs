//! A copy of the sources, kept beside what is built of it.
//!
//! Owns which files belong to it, and that it never holds more than the sources do. Never: changes
//! the sources.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Folders and files that are not copied: what is built, and the history.
const LEFT_OUT: &[&str] = &["target", ".git"];

/// Makes `to` the same as `from`. A file that is the same already is left alone, so that cargo
/// builds again only what differs; one that is gone goes, since cargo finds tests by their place.
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn make_same(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for name in names_in(to)? {
        let (source, copy) = (from.join(&name), to.join(&name));
        if is_left_out(&name) || source.is_dir() != copy.is_dir() || !source.exists() {
            let removed = if copy.is_dir() {
                fs::remove_dir_all(&copy)
            } else {
                fs::remove_file(&copy)
            };
            removed.with_context(|| format!("removing {}", copy.display()))?;
        }
    }
    for name in names_in(from)? {
        let (source, copy) = (from.join(&name), to.join(&name));
        if is_left_out(&name) {
            continue;
        }
        if source.is_dir() {
            make_same(&source, &copy)?;
            continue;
        }
        let bytes = fs::read(&source).with_context(|| format!("reading {}", source.display()))?;
        if fs::read(&copy).ok().as_deref() != Some(bytes.as_slice()) {
            fs::write(&copy, bytes).with_context(|| format!("writing {}", copy.display()))?;
        }
    }
    Ok(())
}

fn is_left_out(name: &OsStr) -> bool {
    LEFT_OUT.iter().any(|left_out| name == *left_out)
}

fn names_in(folder: &Path) -> Result<Vec<std::ffi::OsString>> {
    let reading = || format!("reading {}", folder.display());
    fs::read_dir(folder)
        .with_context(reading)?
        .map(|entry| Ok(entry.with_context(reading)?.file_name()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_holds_what_the_sources_hold_and_nothing_else() {
        let place = std::env::temp_dir().join(format!("quorate-copy-{}", std::process::id()));
        let (from, to) = (place.join("from"), place.join("to"));
        let write = |path: &Path, text: &str| {
            fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
            fs::write(path, text).expect("it can be written");
        };
        write(&from.join("a/b.rs"), "b");
        write(&from.join("target/x"), "built");
        write(&from.join("c"), "now a file");
        write(&to.join("a/b.rs"), "other");
        write(&to.join("a/gone.rs"), "gone");
        write(&to.join("c/d"), "once a folder");
        make_same(&from, &to).expect("a copy");
        let read = |path: &str| fs::read_to_string(to.join(path)).ok();
        assert_eq!(read("a/b.rs").as_deref(), Some("b"));
        assert_eq!(read("c").as_deref(), Some("now a file"));
        assert!(read("a/gone.rs").is_none() && read("target/x").is_none());
        fs::remove_dir_all(&place).expect("it can be removed");
    }
}
