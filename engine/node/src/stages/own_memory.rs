//! Address space for a thread before it needs it.
//!
//! Owns how much. The system's allocator makes the memory of a thread usable page by page as it
//! grows, and each step waits for whoever in the process maps or unmaps at that time; to give back
//! what a snapshot of a long state took is to unmap for ten milliseconds and more. Never: holds
//! memory; what is taken here is given back at once.

use std::hint::black_box;

/// How far the memory of a thread may grow without a step that others can hold up. It is addresses
/// and not memory: what is not written to takes none.
const RESERVED_BYTES: usize = 32 * 1024 * 1024;
/// Small enough to come of the thread's own memory and not of a mapping of its own.
const PIECE_BYTES: usize = 64 * 1024;

/// Has the allocator take what the calling thread may need later. Where it is one that keeps what
/// it has, or asks the system for large pieces anyway, this costs a moment and changes nothing.
pub(crate) fn reserve() {
    drop(take(RESERVED_BYTES));
}

fn take(bytes: usize) -> Vec<Vec<u8>> {
    let pieces = (0..bytes / PIECE_BYTES).map(|_| Vec::with_capacity(PIECE_BYTES));
    black_box(pieces.collect())
}

#[cfg(test)]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;
    use std::fs::read_to_string;
    use std::process::Command;

    /// Whether the process that is asked reserves.
    const RESERVES: &str = "QUORATE_TEST_RESERVES";
    const GREW: &str = "grew by ";
    const GROWTH_BYTES: usize = RESERVED_BYTES / 2;

    /// Bytes of this process that may be written to.
    fn writable_bytes() -> usize {
        let maps = read_to_string("/proc/self/maps").unwrap();
        let lines = maps.lines().map(|line| line.split_whitespace());
        let ranges = lines.filter_map(|mut fields| {
            let (range, rights) = (fields.next()?, fields.next()?);
            let (low, high) = range.split_once('-')?;
            let at = |text| usize::from_str_radix(text, 16).unwrap();
            rights.starts_with("rw").then(|| at(high) - at(low))
        });
        ranges.sum()
    }

    /// By how much the memory of a fresh process grows when this thread takes some: other tests
    /// would take and give back meanwhile.
    fn growth_bytes(reserves: bool) -> usize {
        let test = "stages::own_memory::tests::who_reserved_grows_without_asking_the_system";
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([test, "--exact", "--nocapture", "--test-threads=1"]);
        let output = child.env(RESERVES, reserves.to_string()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, rest) = text.split_once(GREW).expect(&text);
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn who_reserved_grows_without_asking_the_system() {
        if let Ok(reserves) = std::env::var(RESERVES) {
            if reserves == "true" {
                reserve();
            }
            let before = writable_bytes();
            let taken = take(GROWTH_BYTES);
            println!("{GREW}{} bytes", writable_bytes() - before);
            drop(taken);
            return;
        }
        // A little is there without asking.
        assert!(growth_bytes(false) >= GROWTH_BYTES / 2);
        assert_eq!(growth_bytes(true), 0);
    }
}
