//! Files that a command leaves behind.
//!
//! Owns the order of writes by which one that is there is replaced whole or not at all. Never:
//! what is in them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Replaces a file, so that neither a full disk nor a loss of power takes the one before. What is
/// no file, such as a pipe, is written to.
///
/// # Errors
/// What the system says; what was there before is there still.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays one.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return fs::write(path, bytes);
    }
    let mut name = path.clone().into_os_string();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = File::create(&new)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written
        .and_then(|()| fs::rename(&new, &path))
        .inspect_err(|_| {
            fs::remove_file(&new).ok();
        })?;
    sync_parent(&path)
}

/// Makes the name of a file durable.
///
/// # Errors
/// What the system says.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
}
