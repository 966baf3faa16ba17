//! A folder that is gone when the command is.

use std::path::{Path, PathBuf};

use quorate::keys::{create_new_private_folder, create_private_folder};

use crate::failure::{Code, Failure};
use crate::output::progress;

/// So many names are tried, one after another.
const ATTEMPTS_MAX: u32 = 100;

/// A private folder that is removed on drop, with the folders that were made to hold it.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    /// The innermost first.
    made: Vec<PathBuf>,
    is_kept: bool,
}

impl Scratch {
    /// Makes a folder in `parent`, or in the system's folder for temporary files.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn create(parent: Option<&Path>) -> Result<Self, Failure> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let made: Vec<PathBuf> = parent
            .ancestors()
            .filter(|folder| !folder.as_os_str().is_empty() && !folder.exists())
            .map(Path::to_path_buf)
            .collect();
        create_private_folder(&parent)?;
        let pid = std::process::id();
        for attempt in 0..ATTEMPTS_MAX {
            let path = parent.join(format!("quorate-demo-{pid}-{attempt}"));
            // Whoever makes the folder has it: one that was there is somebody else's.
            if create_new_private_folder(&path)? {
                return Ok(Self {
                    path,
                    made,
                    is_kept: false,
                });
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

    /// Leaves the folder where it is.
    pub(crate) const fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            progress(&format!(
                "warning: {} is left behind: {error}",
                self.path.display()
            ));
        }
        for folder in &self.made {
            // Somebody may have put something into it since: then it stays.
            std::fs::remove_dir(folder).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_were_made_for_it_are_gone_too_unless_something_stands_in_them() {
        let own = Scratch::create(None).unwrap();
        let outer = own.path().join("outer");
        let scratch = Scratch::create(Some(&outer.join("inner"))).unwrap();
        assert!(scratch.path().starts_with(&outer));
        drop(scratch);
        assert!(!outer.exists() && own.path().exists());
        let scratch = Scratch::create(Some(&outer.join("inner"))).unwrap();
        std::fs::write(outer.join("file"), b"x").unwrap();
        drop(scratch);
        assert!(outer.join("file").exists() && !outer.join("inner").exists());
    }

    #[test]
    fn threads_that_ask_at_the_same_time_have_each_a_folder_of_its_own() {
        let own = Scratch::create(None).unwrap();
        for _ in 0..50 {
            let ready = std::sync::Barrier::new(8);
            let make = || {
                ready.wait();
                Scratch::create(Some(own.path())).unwrap()
            };
            let made: Vec<Scratch> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
                threads.into_iter().map(|it| it.join().unwrap()).collect()
            });
            let paths: std::collections::BTreeSet<_> = made.iter().map(Scratch::path).collect();
            assert_eq!(paths.len(), 8);
        }
    }

    #[test]
    fn the_folder_is_private_and_gone_afterwards() {
        use std::os::unix::fs::PermissionsExt as _;
        // Beside others a name that is free again is soon taken.
        let own = Scratch::create(None).unwrap();
        let scratch = Scratch::create(Some(own.path())).unwrap();
        let path = scratch.path().to_path_buf();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(path.join("file"), b"x").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
