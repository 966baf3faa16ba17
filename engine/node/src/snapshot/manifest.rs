//! The manifest: what a snapshot is of, and the hash of every chunk of it.
//!
//! Owns its bytes, its bounds and the root. Never: files, or who vouches for a root.

use quorate_consensus::header::Header;
use quorate_consensus::limits::HEADER_BYTES;
use quorate_consensus::wire;

/// Bytes of a chunk; only the last one may be shorter. Two fit one frame between validators.
pub const CHUNK_BYTES: u32 = 1 << 20;
/// Chunks of a snapshot at most: 32 GiB of state.
pub const CHUNKS_MAX: u32 = 1 << 15;
/// Sections at most, the session table's among them.
pub const SECTIONS_MAX: usize = 32;
/// Bytes of a section's name at most.
pub const SECTION_NAME_BYTES_MAX: usize = 64;

const MAGIC: [u8; 8] = *b"QRTSNAPM";
/// The only version so far.
const VERSION: u16 = 1;
const CONTEXT: &str = "quorate snapshot manifest v1";

const FIXED_BYTES: usize = 8 + 2 + 32 + HEADER_BYTES + 4 + 2 + 4;
const SECTION_BYTES_MAX: usize = 1 + SECTION_NAME_BYTES_MAX + 32 + 8;
/// Longest manifest, bytes. Fits one frame between validators.
pub const MANIFEST_BYTES_MAX: usize =
    FIXED_BYTES + SECTIONS_MAX * SECTION_BYTES_MAX + 32 * CHUNKS_MAX as usize;

const _: () = assert!(MANIFEST_BYTES_MAX + 1024 < quorate_consensus::limits::FRAME_BYTES_MAX);
const _: () = assert!(CHUNK_BYTES as usize + 1024 < quorate_consensus::limits::FRAME_BYTES_MAX);

/// One section of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionEntry {
    /// Its name: 1 to 64 bytes of ASCII without spaces.
    pub name: String,
    /// Its root, as it goes into the state root.
    pub root: [u8; 32],
    /// Length of its canonical bytes.
    pub bytes: u64,
}

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Hash of the chain's genesis file.
    pub genesis_hash: [u8; 32],
    /// The block after which the state was taken: chain, epoch, set, position, height, time.
    pub header: Header,
    /// The sections in root order, the session table's first.
    pub sections: Vec<SectionEntry>,
    /// BLAKE3 of each chunk of the sections' bytes, one behind the other.
    pub chunks: Vec<[u8; 32]>,
}

/// Why bytes are no manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not the magic of a manifest.
    #[error("not a manifest of a snapshot")]
    Magic,
    /// Written by another version.
    #[error("manifest version {version} is not known")]
    Version {
        /// The version.
        version: u16,
    },
    /// Too short, or longer than its parts.
    #[error("the manifest ends in the middle, or has more behind its end")]
    Length,
    /// The header is none.
    #[error("the manifest's header: {0}")]
    Header(#[from] wire::DecodeError),
    /// Another size of chunks.
    #[error("chunks of {bytes} bytes where {CHUNK_BYTES} are usual")]
    ChunkBytes {
        /// The size.
        bytes: u32,
    },
    /// No section, or too many.
    #[error("{count} sections, from 1 to {SECTIONS_MAX} are possible")]
    SectionCount {
        /// How many.
        count: u16,
    },
    /// A name that is none.
    #[error("the name of section {place} is none")]
    SectionName {
        /// Its place.
        place: usize,
    },
    /// The count of chunks is not what the sections' bytes make.
    #[error("{found} chunks do not hold the sections")]
    ChunkCount {
        /// How many there are.
        found: u32,
    },
    /// The hash behind it is not its own.
    #[error("the manifest is damaged")]
    Checksum,
}

impl Manifest {
    /// Bytes of all sections.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.sections
            .iter()
            .fold(0, |sum: u64, section| sum.saturating_add(section.bytes))
    }

    /// Height of the block.
    #[must_use]
    pub const fn height(&self) -> u64 {
        self.header.height.number()
    }

    /// Length of a chunk; 0 behind the last one.
    #[must_use]
    pub fn chunk_bytes(&self, chunk: u32) -> usize {
        let start = u64::from(chunk).saturating_mul(u64::from(CHUNK_BYTES));
        let left = self.data_bytes().saturating_sub(start);
        left.min(u64::from(CHUNK_BYTES)) as usize
    }

    /// Whether these are the bytes of a chunk.
    #[must_use]
    pub fn is_chunk(&self, chunk: u32, bytes: &[u8]) -> bool {
        let hash = self.chunks.get(chunk as usize);
        bytes.len() == self.chunk_bytes(chunk) && hash == Some(blake3::hash(bytes).as_bytes())
    }

    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED_BYTES + 32 * self.chunks.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.genesis_hash);
        wire::encode_header(&self.header, &mut bytes);
        bytes.extend_from_slice(&CHUNK_BYTES.to_le_bytes());
        bytes.extend_from_slice(&(self.sections.len() as u16).to_le_bytes());
        for section in &self.sections {
            bytes.push(section.name.len() as u8);
            bytes.extend_from_slice(section.name.as_bytes());
            bytes.extend_from_slice(&section.root);
            bytes.extend_from_slice(&section.bytes.to_le_bytes());
        }
        bytes.extend_from_slice(&(self.chunks.len() as u32).to_le_bytes());
        for chunk in &self.chunks {
            bytes.extend_from_slice(chunk);
        }
        bytes
    }

    /// The snapshot's root: the hash over the canonical bytes.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        blake3::derive_key(CONTEXT, &self.encode())
    }

    /// Reads a manifest; it must take all the bytes.
    ///
    /// # Errors
    /// [`ManifestError`] when the bytes are not the canonical bytes of a manifest.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut rest = bytes;
        if take::<8>(&mut rest)? != MAGIC {
            return Err(ManifestError::Magic);
        }
        let version = u16::from_le_bytes(take(&mut rest)?);
        if version != VERSION {
            return Err(ManifestError::Version { version });
        }
        let genesis_hash = take(&mut rest)?;
        let header = wire::decode_header(&take::<HEADER_BYTES>(&mut rest)?)?;
        let chunk_bytes = u32::from_le_bytes(take(&mut rest)?);
        if chunk_bytes != CHUNK_BYTES {
            return Err(ManifestError::ChunkBytes { bytes: chunk_bytes });
        }
        let sections = decode_sections(&mut rest)?;
        let count = u32::from_le_bytes(take(&mut rest)?);
        let mut manifest = Self {
            genesis_hash,
            header,
            sections,
            chunks: Vec::new(),
        };
        let data_bytes = manifest.data_bytes();
        let is_right = u64::from(count) == data_bytes.div_ceil(u64::from(CHUNK_BYTES));
        if !is_right || count > CHUNKS_MAX {
            return Err(ManifestError::ChunkCount { found: count });
        }
        // Counted against the bytes that are there before anything is allocated for them.
        if rest.len() != 32 * count as usize {
            return Err(ManifestError::Length);
        }
        let (chunks, _) = rest.as_chunks::<32>();
        manifest.chunks = chunks.to_vec();
        Ok(manifest)
    }

    /// The manifest as a file: its bytes and its root, by which damage is seen.
    #[must_use]
    pub fn seal(&self) -> Vec<u8> {
        let mut bytes = self.encode();
        let root = blake3::derive_key(CONTEXT, &bytes);
        bytes.extend_from_slice(&root);
        bytes
    }

    /// Reads what [`seal`](Self::seal) wrote.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), or the root behind it is not its own.
    pub fn unseal(bytes: &[u8]) -> Result<Self, ManifestError> {
        let (bytes, root) = bytes
            .split_last_chunk::<32>()
            .ok_or(ManifestError::Length)?;
        if blake3::derive_key(CONTEXT, bytes) != *root {
            return Err(ManifestError::Checksum);
        }
        Self::decode(bytes)
    }
}

fn decode_sections(rest: &mut &[u8]) -> Result<Vec<SectionEntry>, ManifestError> {
    let count = u16::from_le_bytes(take(rest)?);
    if count == 0 || usize::from(count) > SECTIONS_MAX {
        return Err(ManifestError::SectionCount { count });
    }
    let mut sections = Vec::with_capacity(usize::from(count));
    for place in 0..usize::from(count) {
        let length = usize::from(take::<1>(rest)?[0]);
        let (name, after) = rest.split_at_checked(length).ok_or(ManifestError::Length)?;
        *rest = after;
        let name = core::str::from_utf8(name)
            .ok()
            .filter(|name| is_section_name(name));
        let name = name.ok_or(ManifestError::SectionName { place })?.to_owned();
        sections.push(SectionEntry {
            name,
            root: take(rest)?,
            bytes: u64::from_le_bytes(take(rest)?),
        });
    }
    Ok(sections)
}

/// Whether a section may be called so.
pub(crate) fn is_section_name(name: &str) -> bool {
    (1..=SECTION_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ManifestError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(ManifestError::Length)?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
