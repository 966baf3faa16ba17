//! Power cuts of a real file system: a log on a loop device whose backing file is copied in the
//! middle of everything. What the copy holds is what the device had got by then. Needs root and a
//! free loop device, and says so where they are missing.

mod support;

use quorate_log::{DataFolder, LogConfig, Opened, open};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{GENESIS, Random, TestFolder, append, payload, payloads, sync};

const IMAGE_BYTES: u64 = 24 << 20;
const COPIES: usize = 12;

/// A mounted image; it is unmounted at the end, whatever the verdict.
struct Mounted {
    at: PathBuf,
}

impl Mounted {
    fn new(image: &Path, at: PathBuf) -> Result<Self, String> {
        std::fs::create_dir_all(&at).map_err(|error| error.to_string())?;
        let (image, place) = (image.display().to_string(), at.display().to_string());
        call("mount", &["-o", "loop", &image, &place])?;
        Ok(Self { at })
    }

    fn folder(&self) -> DataFolder {
        DataFolder::open(&self.at.join("log")).expect("a folder")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let place = self.at.display().to_string();
        if let Err(error) = call("umount", &[&place]) {
            eprintln!("{place} stays mounted: {error}");
        }
    }
}

fn call(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let told = || format!("{program}: {}", said.trim());
    output.status.success().then_some(()).ok_or_else(told)
}

fn image(folder: &TestFolder) -> Result<PathBuf, String> {
    let path = folder.path().join("image");
    let file = std::fs::File::create(&path).map_err(|error| error.to_string())?;
    file.set_len(IMAGE_BYTES)
        .map_err(|error| error.to_string())?;
    call("mkfs.ext4", &["-q", "-F", &path.display().to_string()])?;
    Ok(path)
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 64 << 10,
        ..LogConfig::new([3; 32])
    }
}

fn opened(mounted: &Mounted) -> Opened {
    open(&mounted.folder(), &config(), GENESIS).expect("a log that opens")
}

#[test]
fn a_copy_of_the_device_at_any_moment_has_all_that_was_synced_and_nothing_else() {
    let folder = TestFolder::new();
    let prepared = image(&folder).and_then(|image| {
        let mounted = Mounted::new(&image, folder.path().join("live"))?;
        Ok((image, mounted))
    });
    let (image, live) = match prepared {
        Ok(prepared) => prepared,
        Err(reason) => {
            eprintln!("skipped: no loop device here ({reason})");
            return;
        }
    };
    let mut log = opened(&live);
    let mut random = Random(41);
    let (mut appended, mut synced) = (Vec::new(), 0);
    for copy in 0..COPIES {
        for _ in 0..=random.below(40) {
            let bytes = payload(appended.len() as u64, random.below(9000) as usize);
            append(&mut log, &bytes);
            appended.push(bytes);
            if random.below(4) == 0 {
                sync(&mut log);
                synced = appended.len();
            }
        }
        let cut = folder.path().join(format!("cut-{copy}"));
        std::fs::copy(&image, &cut).expect("room for a copy");
        let after = Mounted::new(&cut, folder.path().join("after")).expect("it mounts");
        let found = opened(&after);
        let left = payloads(&found.reader);
        assert!(
            left.len() >= synced,
            "copy {copy}: {} of {synced}",
            left.len()
        );
        assert!(appended.starts_with(&left), "copy {copy}: another record");
        assert!(found.recovery.marked.is_empty(), "copy {copy}");
        drop(found);
        drop(after);
        std::fs::remove_file(&cut).expect("it goes");
    }
    drop(log);
}
