//! What opening a log is about to forget.
//!
//! Opening makes a watermark where there is none, so only the opening that makes it finds it
//! missing. Owns the question asked before, by a caller that writes down elsewhere that it was.
//! Never: writes, or says whether the log can be opened.

use crate::backend::DataFolder;
use crate::error::OpenError;
use crate::identity::genesis_hash;
use crate::open::read_proof;
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_name, segment_number};
use crate::watermark::WatermarkRead;

/// Whether [`open`](crate::open()) will make a watermark, or a whole log: then nothing tells the
/// end
/// of this log from an older end, and that is known once, here. `false` for a log that opening
/// refuses as damaged or of another genesis.
///
/// # Errors
/// [`OpenError::Io`].
pub fn lacks_watermark(folder: &DataFolder, genesis: &[u8]) -> Result<bool, OpenError> {
    let names = folder.backend.names().map_err(OpenError::io("list", ""))?;
    let mut numbers: Vec<u32> = names
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    numbers.sort_unstable();
    if numbers.is_empty() {
        return Ok(true);
    }
    for number in numbers {
        let name = segment_name(number);
        let bytes = folder
            .backend
            .read_lossy(&name, SEGMENT_HEADER_BYTES)
            .map_err(OpenError::io("read", &name))?;
        let bytes = bytes.map(|(bytes, _)| bytes);
        // As opening does: the first header that can be read says which log it is.
        if let Ok(header) = SegmentHeader::decode(&bytes.unwrap_or_default()) {
            let identity = header.identity();
            if identity.genesis_hash != genesis_hash(genesis) {
                return Ok(false);
            }
            let (proof, _) = read_proof(folder, &identity)?;
            return Ok(proof.watermark == WatermarkRead::Unknown);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryBackend;
    use crate::open::{LogConfig, open};
    use crate::segment::SEGMENT_BYTES_MIN;

    #[test]
    fn a_watermark_that_opening_will_make_is_found_missing_before() {
        let memory = MemoryBackend::new();
        let folder = DataFolder::in_memory(&memory);
        let lacks = |genesis: &[u8]| lacks_watermark(&folder, genesis).expect("memory can be read");
        let config = LogConfig {
            segment_bytes: SEGMENT_BYTES_MIN,
            ..LogConfig::new([3; 32])
        };
        let make = || drop(open(&folder, &config, b"genesis").expect("a sound log"));
        assert!(lacks(b"genesis"), "nothing is there");
        make();
        assert!(!lacks(b"genesis"));
        memory.remove_file("watermark");
        assert!(lacks(b"genesis") && !lacks(b"another"));
        make();
        assert!(!lacks(b"genesis"), "it was said before, or never");
        memory.set_file("watermark", &[1; 1024]);
        assert!(lacks(b"genesis"), "nobody can read it");
    }
}
