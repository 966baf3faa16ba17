//! Private keys on disk: made once, readable by their owner alone, wiped from memory.
//!
//! Owns the key file and the checks before it is trusted. Never: prints, logs or exports a private
//! key, or overwrites a file.
//!
//! A key file is one line of ASCII: `quorate-key-v1 `, the 32-byte Ed25519 seed as 64 lower-case
//! hex digits, and a newline. Validators and clients use the same file; what a key may sign is
//! kept apart by the domains of `quorate_consensus::signing`.

use crate::file_error::FileError;
use crate::hex;
use ed25519_dalek::{Signer as _, SigningKey};
use rustix::fs::{FileType, Mode, OFlags};
use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use zeroize::Zeroizing;

/// First word of a key file: its format and version.
pub(crate) const KEY_FORMAT: &str = "quorate-key-v1";
/// Bytes of a key file: the format, a space, 64 digits, a newline.
const KEY_FILE_BYTES: usize = KEY_FORMAT.len() + 1 + 64 + 1;

/// An Ed25519 key pair. The private half is wiped when it is dropped and never shown.
pub struct KeyPair {
    // `SigningKey` wipes itself on drop (feature `zeroize`).
    signing: SigningKey,
}

impl KeyPair {
    /// A fresh key from the operating system's random source.
    ///
    /// # Errors
    /// The random source is not available.
    pub fn generate() -> std::io::Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice())
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Self::from_seed(&seed))
    }

    /// The key that belongs to a seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self {
            signing: SigningKey::from_bytes(seed),
        }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }

    /// Signs a message. The caller has put the domain in front of it.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }

    /// The seed, for a maker of another signer; wiped when dropped.
    #[must_use]
    pub(crate) fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.signing.to_bytes())
    }

    /// Makes a fresh key and writes it to a new file: mode 0600, in a folder that is made with
    /// mode 0700 when it does not exist. Synced with its folder.
    ///
    /// # Errors
    /// The file exists already, or cannot be written.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let key = Self::generate().map_err(|error| FileError::io(path, "make a key", &error))?;
        if let Some(folder) = folder_of(path) {
            create_private_folder(folder)?;
        }
        let seed = key.seed();
        let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_BYTES));
        text.push_str(KEY_FORMAT);
        text.push(' ');
        hex::push(&mut text, seed.as_slice());
        text.push('\n');
        write_private(path, text.as_bytes())
            .map_err(|error| FileError::io(path, "create the key file", &error))?;
        Ok(key)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// It is a symbolic link or no regular file, belongs to another user, is readable or writable
    /// by group or others, stands in a folder that others may write to, or is no key file.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        let mut file = open_private(path)?;
        let mut text = Zeroizing::new([0; KEY_FILE_BYTES + 1]);
        let mut filled = 0;
        while filled < text.len() {
            match file.read(&mut text[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FileError::io(path, "read the key file", &error)),
            }
        }
        parse(&text[..filled])
            .map(|seed| Self::from_seed(&seed))
            .ok_or_else(|| {
                FileError::new(
                    path,
                    "",
                    "this is no key file (expected `quorate-key-v1 ` and 64 hex digits)",
                )
                .remedy("restore the file, or make a new key with `quorate keygen`")
            })
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", hex::encode(&self.public()))
    }
}

/// The seed in the text of a key file; one spelling alone is taken.
fn parse(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let digits = text
        .strip_prefix(KEY_FORMAT.as_bytes())?
        .strip_prefix(b" ")?
        .strip_suffix(b"\n")?;
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_into(digits, seed.as_mut_slice()).then_some(seed)
}

fn folder_of(path: &Path) -> Option<&Path> {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
}

/// Makes a folder and its missing parents with mode 0700; an existing one is left as it is.
///
/// # Errors
/// It cannot be made.
pub fn create_private_folder(folder: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| FileError::io(folder, "create the folder", &error))
}

/// Makes a folder that only its owner may enter, in one that is there, and says whether it did:
/// where anything of that name was there nothing is touched.
///
/// # Errors
/// It cannot be made.
pub fn create_new_private_folder(folder: &Path) -> Result<bool, FileError> {
    use std::os::unix::fs::DirBuilderExt as _;
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(FileError::io(folder, "create the folder", &error)),
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
    fill(path, file, bytes)?;
    // The name must outlive a crash as well.
    File::open(folder_of(path).unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Writes a new file, or takes it away again: an empty one would keep the next try out.
fn fill(path: &Path, file: File, bytes: &[u8]) -> std::io::Result<()> {
    write_synced(file, bytes).inspect_err(|_| {
        std::fs::remove_file(path).ok();
    })
}

fn write_synced(mut file: File, bytes: &[u8]) -> std::io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

fn open_private(path: &Path) -> Result<File, FileError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::LOOP) => {
            return Err(FileError::new(path, "", "the key file is a symbolic link")
                .remedy("give the path of the file itself"));
        }
        Err(error) => return Err(FileError::io(path, "open the key file", &error.into())),
    };
    let stat = rustix::fs::fstat(&file)
        .map_err(|error| FileError::io(path, "look at the key file", &error.into()))?;
    check_private(path, &stat)?;
    check_folder(path)?;
    Ok(File::from(file))
}

fn check_private(path: &Path, stat: &rustix::fs::Stat) -> Result<(), FileError> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(FileError::new(path, "", "the key file is no regular file")
            .remedy("give the path of a file made by `quorate keygen`"));
    }
    let own = rustix::process::geteuid();
    if stat.st_uid != own.as_raw() {
        return Err(
            FileError::new(path, "owner", "the key file belongs to another user")
                .value(stat.st_uid)
                .remedy(format!(
                    "make user {} its owner, or run as its owner",
                    own.as_raw()
                )),
        );
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o077 != 0 {
        return Err(
            FileError::new(path, "mode", "the key file is open to group or others")
                .value(format_args!("{mode:04o}"))
                .remedy("chmod 600 it; if others could read it, make a new key"),
        );
    }
    Ok(())
}

/// Who may write to the folder may put another file in the key's place.
fn check_folder(path: &Path) -> Result<(), FileError> {
    let folder = folder_of(path).unwrap_or_else(|| Path::new("."));
    let stat = rustix::fs::stat(folder)
        .map_err(|error| FileError::io(folder, "look at the key's folder", &error.into()))?;
    let mode = stat.st_mode & 0o7777;
    if mode & 0o022 != 0 {
        return Err(FileError::new(
            folder,
            "mode",
            "the key's folder may be written to by others",
        )
        .value(format_args!("{mode:04o}"))
        .remedy("chmod 700 it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TemporaryFolder;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_that_was_created_is_loaded_again() {
        let folder = TemporaryFolder::new("keys-load");
        let path = folder.path().join("made/key");
        let key = KeyPair::create(&path).unwrap();
        assert_eq!(KeyPair::load(&path).unwrap().public(), key.public());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }

    #[test]
    fn an_existing_key_is_never_overwritten() {
        let folder = TemporaryFolder::new("keys-twice");
        let path = folder.path().join("key");
        let key = KeyPair::create(&path).unwrap();
        assert!(KeyPair::create(&path).is_err());
        assert_eq!(KeyPair::load(&path).unwrap().public(), key.public());
    }

    /// A key that others have been told must not be gone after a crash.
    #[test]
    fn a_key_file_that_cannot_be_synced_is_not_taken_for_written() {
        // It takes what is written, and no disk holds it.
        let sink = File::options().write(true).open("/dev/null").unwrap();
        write_synced(sink, b"a key").unwrap_err();
    }

    #[test]
    fn a_key_file_that_a_full_disk_refuses_is_no_hindrance_to_the_next_try() {
        let folder = TemporaryFolder::new("keys-full");
        let path = folder.path().join("key");
        File::create(&path).unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let error = fill(&path, full, b"a key").unwrap_err();
        assert_eq!(FileError::io(&path, "create the key file", &error).code, 75);
        KeyPair::create(&path).unwrap();
        // What is wrong with the path is to be corrected.
        assert_eq!(KeyPair::create(&path).unwrap_err().code, 3);
    }

    #[test]
    fn a_key_that_group_or_others_can_read_is_refused() {
        let folder = TemporaryFolder::new("keys-mode");
        let path = folder.path().join("key");
        KeyPair::create(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = KeyPair::load(&path).unwrap_err();
            assert_eq!(error.field, "mode", "{error}");
        }
    }

    #[test]
    fn a_folder_that_group_or_others_can_write_to_is_refused() {
        let folder = TemporaryFolder::new("keys-folder");
        let path = folder.path().join("key");
        KeyPair::create(&path).unwrap();
        let allow = |mode| {
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for mode in [0o777, 0o770, 0o720, 0o707, 0o702] {
            allow(mode);
            let error = KeyPair::load(&path).unwrap_err();
            assert_eq!(error.file, folder.path(), "{mode:o}: {error}");
            assert_eq!(error.field, "mode", "{mode:o}: {error}");
        }
        allow(0o755);
        KeyPair::load(&path).unwrap();
    }

    #[test]
    fn a_symbolic_link_and_a_folder_are_refused() {
        let folder = TemporaryFolder::new("keys-link");
        let path = folder.path().join("key");
        KeyPair::create(&path).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(
            KeyPair::load(&link)
                .unwrap_err()
                .problem
                .contains("symbolic link")
        );
        assert!(KeyPair::load(folder.path()).is_err());
    }

    #[test]
    fn every_change_of_one_byte_gives_an_error_or_another_key() {
        let folder = TemporaryFolder::new("keys-flip");
        let path = folder.path().join("key");
        let key = KeyPair::create(&path).unwrap();
        let text = std::fs::read(&path).unwrap();
        for place in 0..text.len() {
            let mut changed = text.clone();
            changed[place] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            if let Ok(other) = KeyPair::load(&path) {
                assert_ne!(other.public(), key.public(), "byte {place}");
            }
        }
        for cut in 0..text.len() {
            std::fs::write(&path, &text[..cut]).unwrap();
            assert!(KeyPair::load(&path).is_err());
        }
        std::fs::write(&path, [text.as_slice(), b"\n"].concat()).unwrap();
        assert!(KeyPair::load(&path).is_err());
    }

    #[test]
    fn the_private_half_is_not_shown() {
        let key = KeyPair::from_seed(&[7; 32]);
        assert!(!format!("{key:?}").contains("07070707"));
    }
}
