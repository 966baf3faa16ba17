//! The file beside a complete segment that says for whom there may be something in it, so that it
//! need not be read for all others.
//!
//! Owns its layout (docs/log-format.md), and what ties it to its segment: the place and the check
//! of the last record, which covers all before it. Derived: without it, or where it is not of this
//! segment, the segment is read and the file written anew. Never: an error, or a word about what is
//! in a segment that is still written.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::{CHECK_AT, CHECK_BYTES, Check, Mark, Records, Segment, short};
use crate::archive::kind::{Index, Kind};

/// Begins the file; the last byte is the version.
const MAGIC: &[u8; 8] = b"QRTINDX\x01";
/// Magic, genesis hash, first height, end, bytes of the segment.
const HEAD_BYTES: usize = 64;
/// Place and check of the last record.
const LAST_BYTES: usize = 8 + CHECK_BYTES;
/// No file is longer.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

fn check_of(bytes: &[u8]) -> Check {
    let mut hasher = blake3::Hasher::new();
    hasher.update(bytes);
    short(&hasher)
}

impl<K: Kind> Segment<K> {
    fn index_path(&self) -> Option<PathBuf> {
        K::Index::SUFFIX.map(|suffix| self.path.with_extension(suffix))
    }

    fn index_head(&self, genesis_hash: &[u8; 32], end: u64) -> Vec<u8> {
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(genesis_hash);
        for number in [self.first, end, self.bytes] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        head
    }

    /// Whether there is nothing for this one, as far as that is known.
    pub(super) fn is_without(&self, wanted: K::Wanted) -> bool {
        let index = self.index.as_ref();
        index.is_some_and(|index| !index.may_have(wanted))
    }

    /// Whether it need not be read for this one, `end` being what comes behind it.
    pub(in crate::archive) fn is_passed(
        &mut self,
        genesis_hash: &[u8; 32],
        end: u64,
        wanted: K::Wanted,
    ) -> bool {
        if self.index.is_none() {
            self.index = self.load_index(genesis_hash, end);
        }
        self.is_without(wanted)
    }

    fn load_index(&self, genesis_hash: &[u8; 32], end: u64) -> Option<K::Index> {
        let file = File::open(self.index_path()?).ok()?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
        let index = body.strip_prefix(&*self.index_head(genesis_hash, end))?;
        let (last, index) = index.split_first_chunk::<LAST_BYTES>()?;
        let (place, last_check) = last.split_first_chunk::<8>()?;
        // Of this very segment.
        let mut found = Check::default();
        let place = u64::from_le_bytes(*place).checked_add(CHECK_AT as u64)?;
        let segment = File::open(&self.path).ok()?;
        segment.read_exact_at(&mut found, place).ok()?;
        let is_sound = check_of(body) == *check && found == last_check;
        is_sound.then(|| K::Index::from_bytes(index)).flatten()
    }

    /// Writes the file; only of one that is complete. Without it the segment is read again one day.
    pub(in crate::archive) fn keep_index(&self, genesis_hash: &[u8; 32], end: u64) {
        let kept = self.try_keep_index(genesis_hash, end);
        if let Err(error) = kept {
            let path = self.path.display();
            tracing::debug!(%error, %path, "what is known of a segment is not kept");
        }
    }

    fn try_keep_index(&self, genesis_hash: &[u8; 32], end: u64) -> std::io::Result<()> {
        let (Some(path), Some(index)) = (self.index_path(), &self.index) else {
            return Ok(());
        };
        let Some((place, check)) = self.last_record()? else {
            return Ok(());
        };
        let mut bytes = self.index_head(genesis_hash, end);
        debug_assert_eq!(bytes.len(), HEAD_BYTES);
        bytes.extend_from_slice(&place.to_le_bytes());
        bytes.extend_from_slice(&check);
        bytes.extend_from_slice(index.bytes());
        bytes.extend_from_slice(&check_of(&bytes));
        // A torn one has another check.
        std::fs::write(path, bytes)
    }

    /// Where the last record begins, and its check; none where there is no record.
    fn last_record(&self) -> std::io::Result<Option<(u64, Check)>> {
        let marks = self.marks.as_deref().unwrap_or_default();
        let before_end = |mark: &&Mark| mark.offset < self.bytes;
        let Some(&start) = marks.iter().rev().find(before_end) else {
            return Ok(None);
        };
        let file = File::open(&self.path)?;
        let mut records = Records::new(&file, start, self.bytes)?;
        let mut last = None;
        loop {
            let place = records.at.offset;
            match records.next::<K::Block>()? {
                Some(_) => last = Some((place, records.at.check)),
                None => return Ok(last),
            }
        }
    }

    /// Removes it, and what is known of it first.
    pub(in crate::archive) fn remove(&self) -> std::io::Result<()> {
        self.remove_index()?;
        or_missing(std::fs::remove_file(&self.path))
    }

    /// Of one that is written again nothing is known before it is complete.
    pub(in crate::archive) fn remove_index(&self) -> std::io::Result<()> {
        or_missing(self.index_path().map_or(Ok(()), std::fs::remove_file))
    }
}

/// One that is not there need not be removed.
fn or_missing(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
