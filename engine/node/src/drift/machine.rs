//! What this program and this machine are, as far as a different result may come from them.
//!
//! Owns the reading of both. Never: anything that leaves the bundle, or fails a start: what cannot
//! be told is left empty.

use std::fs::File;
use std::io::Read as _;

use super::bundle::{Build, Processor};
use crate::hex;

/// Where Linux tells of the processor.
const CPU_INFO: &str = "/proc/cpuinfo";
/// The program of this process, also when its file was replaced meanwhile.
const PROGRAM: &str = "/proc/self/exe";
/// Of the first processor nothing stands further in; of many there are many such parts.
const CPU_INFO_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of the program read at a time.
const STRETCH: usize = 256 * 1024;

/// This build: its version, what it was made for, and the hash of the program's bytes.
pub(super) fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        debug_assertions: cfg!(debug_assertions),
        program_blake3: program_hash().unwrap_or_default(),
    }
}

fn program_hash() -> std::io::Result<String> {
    let mut file = File::open(PROGRAM)?;
    let mut hasher = blake3::Hasher::new();
    let mut bytes = vec![0; STRETCH];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(hex::encode(hasher.finalize().as_bytes())),
            count => hasher.update(bytes.get(..count).unwrap_or_default()),
        };
    }
}

/// The first processor.
pub(super) fn processor() -> Processor {
    let mut text = Vec::new();
    let read = File::open(CPU_INFO).and_then(|file| {
        let mut bounded = file.take(CPU_INFO_BYTES_MAX);
        bounded.read_to_end(&mut text)
    });
    match read {
        Ok(_) => processor_of(&String::from_utf8_lossy(&text)),
        Err(_) => Processor::default(),
    }
}

/// Model and flags; the second names are those of other architectures.
fn processor_of(text: &str) -> Processor {
    let value = |names: [&str; 2]| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(name, _)| names.contains(&name.trim()));
        found.map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    Processor {
        model: value(["model name", "CPU part"]),
        flags: value(["flags", "Features"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_and_flags_are_those_of_the_first_processor() {
        let text = "processor\t: 0\nmodel name\t: A 1: fast\nflags\t\t: fpu sse2\n\n\
                    processor\t: 1\nmodel name\t: B\nflags\t\t: none\n";
        let found = processor_of(text);
        assert_eq!(
            (found.model.as_str(), found.flags.as_str()),
            ("A 1: fast", "fpu sse2")
        );
        let arm = processor_of("processor\t: 0\nFeatures\t: fp asimd\nCPU part\t: 0xd0c\n");
        assert_eq!(
            (arm.model.as_str(), arm.flags.as_str()),
            ("0xd0c", "fp asimd")
        );
        assert_eq!(processor_of(""), Processor::default());
    }

    #[test]
    fn the_program_is_named_by_its_bytes() {
        let build = build();
        assert_eq!(build.program_blake3.len(), 64);
        assert!(!build.version.is_empty());
    }
}
