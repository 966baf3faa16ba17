//! Files that a command leaves behind.
//!
//! Owns the order of writes by which one that is there is replaced whole or not at all, and which
//! one may be. Never: what is in them.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::failure::{Code, Failure};

/// Names that are tried for a file in the making.
const ATTEMPTS: u32 = 100;

/// Replaces a file, so that neither a full disk nor a loss of power takes the one before. Who may
/// read and write it stays as it was. What is no file, such as a pipe, is written to.
///
/// # Errors
/// What the system says; what was there before is there still.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = behind_links(path);
    if is_no_file(&path) {
        return fs::write(path, bytes);
    }
    let (new, mut file) = create_beside(&path)?;
    // Before the bytes: nobody is to see them meanwhile who may not afterwards.
    let kept = match path.metadata() {
        Ok(found) => file.set_permissions(found.permissions()),
        Err(_) => Ok(()),
    };
    let written = kept.and_then(|()| file.write_all(bytes));
    written
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&new, &path))
        .inspect_err(|_| {
            fs::remove_file(&new).ok();
        })?;
    sync_parent(&path)
}

/// Where a file is to stand: a link to it stays one.
fn behind_links(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// Whether something is there that is written to and not replaced.
fn is_no_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file())
}

/// A new file beside another one, under a name that nobody else has.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut attempt = 0;
    loop {
        let mut name = path.to_path_buf().into_os_string();
        name.push(format!(".new-{}-{attempt}", std::process::id()));
        let new = PathBuf::from(name);
        match File::create_new(&new) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => {
                attempt += 1;
            }
            made => return made.map(|file| (new, file)),
        }
    }
}

/// Refuses to replace what another program, or another command, has written: a name that is
/// completed wrongly must not cost a key. What is no file, such as a pipe, has nothing to lose.
///
/// # Errors
/// A file is there that is neither empty nor begins with `magic`, or none can be made there.
pub(crate) fn require_own(path: &Path, magic: &[u8], what: &str) -> Result<(), Failure> {
    require_place(path)?;
    if !path.is_file() {
        return Ok(());
    }
    let mut begin = Vec::new();
    let read = File::open(path).and_then(|file| {
        let mut part = file.take(magic.len() as u64);
        part.read_to_end(&mut begin)
    });
    read.map_err(|error| Failure::of_system(path, &error, Code::Configuration))?;
    if begin.is_empty() || begin == magic {
        return Ok(());
    }
    let what = format!("{}: a file that is not {what}", path.display());
    Err(Failure::new(Code::Configuration, what).remedy("nothing is overwritten: name another file"))
}

/// Refuses a name under which no file can be put, before anything is done for it: of a folder, in
/// none, or where the system lets none be made.
///
/// # Errors
/// What the system says; nothing is left there.
pub(crate) fn require_place(path: &Path) -> Result<(), Failure> {
    try_place(path).map_err(|error| Failure::of_system(path, &error, Code::Configuration))
}

/// Does what [`replace`] does first, which alone tells rights, length of the name and file system.
fn try_place(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let path = behind_links(path);
    if is_no_file(&path) {
        return Ok(());
    }
    let (new, _) = create_beside(&path)?;
    fs::remove_file(new)
}

fn parent_of(path: &Path) -> &Path {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or_else(|| Path::new("."))
}

/// Makes the name of a file durable.
///
/// # Errors
/// What the system says.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent_of(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_is_replaced_whole_and_none_beside_it_is_touched() {
        let scratch = Scratch::create(None).unwrap();
        let (path, other) = (scratch.path().join("x"), scratch.path().join("x.new"));
        fs::write(&other, b"somebody's").unwrap();
        // What a process with this number has left behind.
        let left = format!("x.new-{}-0", std::process::id());
        fs::write(scratch.path().join(&left), b"left").unwrap();
        for bytes in [&b"one"[..], b"another"] {
            replace(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        assert_eq!(fs::read(&other).unwrap(), b"somebody's");
        assert_eq!(fs::read(scratch.path().join(left)).unwrap(), b"left");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_file_that_is_replaced_keeps_its_permissions() {
        let scratch = Scratch::create(None).unwrap();
        let path = scratch.path().join("x");
        replace(&path, b"one").unwrap();
        // Neither is what a new file gets, whatever the umask leaves of it.
        for mode in [0o600, 0o622] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            replace(&path, b"another").unwrap();
            let now = path.metadata().unwrap().permissions().mode();
            assert_eq!(now & 0o7777, mode, "{now:o}");
        }
    }

    #[test]
    fn what_no_command_of_this_kind_has_written_is_not_replaced() {
        let scratch = Scratch::create(None).unwrap();
        let path = scratch.path().join("x");
        let judge = |path: &Path| require_own(path, b"MAGIC", "one of ours").map_err(|f| f.code);
        assert_eq!(judge(&path), Ok(()), "there is none");
        for (bytes, expected) in [
            (&b""[..], Ok(())),
            (b"MAGIC", Ok(())),
            (b"MAGIC and more", Ok(())),
            (b"MAG", Err(Code::Configuration)),
            (b"0123456789abcdef", Err(Code::Configuration)),
        ] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(judge(&path), expected, "{bytes:?}");
        }
        assert_eq!(judge(Path::new("/dev/null")), Ok(()));
        assert_eq!(judge(Path::new("x-that-is-not-there")), Ok(()));
        // Of the last two the folder is there, and none can be made in it under the name.
        let within = |name: &str| scratch.path().join(name);
        for wrong in [
            scratch.path().to_path_buf(),
            within("none/x"),
            within("none/"),
            within(&"e".repeat(250)),
        ] {
            assert_eq!(judge(&wrong), Err(Code::Configuration), "{wrong:?}");
        }
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }
}
