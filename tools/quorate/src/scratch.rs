//! A folder that is gone when the command is.

use std::path::{Path, PathBuf};

use quorate::keys::create_private_folder;

use crate::failure::{Code, Failure};
use crate::output::progress;

/// A private folder that is removed on drop.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a folder in `parent`, or in the system's folder for temporary files.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn create(parent: Option<&Path>) -> Result<Self, Failure> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let pid = std::process::id();
        for attempt in 0..100 {
            let path = parent.join(format!("quorate-demo-{pid}-{attempt}"));
            if !path.exists() {
                create_private_folder(&path)?;
                return Ok(Self { path });
            }
        }
        Err(Failure::new(
            Code::TryAgain,
            format!("{}: no free name", parent.display()),
        )
        .remedy("remove old quorate-demo folders there"))
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            progress(&format!(
                "warning: {} is left behind: {error}",
                self.path.display()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_private_and_gone_afterwards() {
        use std::os::unix::fs::PermissionsExt as _;
        let scratch = Scratch::create(None).unwrap();
        let path = scratch.path().to_path_buf();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(path.join("file"), b"x").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
