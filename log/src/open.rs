//! Opening a log: creating a new one, or walking, judging and if need be cutting an existing one.
//!
//! Owns the order of steps, so that a crash at any of them leaves a folder that opens again. What
//! the state of a log means is decided in `recovery.rs`.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::backend::{DataFolder, TEMPORARY_SUFFIX};
use crate::base::{self, BASE_NAME, Base, GENESIS_NAME, genesis_start};
use crate::bytes::nonzero_len;
use crate::claim::Claim;
use crate::clean_stop::{self, CLEAN_STOP_NAME, CleanStopRead};
use crate::config::LogConfig;
use crate::create::{create, create_error, genesis_record, refuse_lost_log};
use crate::error::OpenError;
use crate::fault::{Damage, Fault};
use crate::gaps::{Gaps, MarkedFaulty};
use crate::identity::{Identity, genesis_hash};
use crate::map::RegionWriter;
use crate::position::{LogEnd, RecordIndex, RecordRef};
use crate::prepare::{PrepareSlot, Preparer, create_segment};
use crate::prune::Pruner;
use crate::readable::make_readable;
use crate::reader::Reader;
use crate::recovery::{Action, Proof, Row, Verdict, judge};
use crate::scrub::Scrubber;
use crate::segment::{
    FORMAT_VERSION, Gap, HeaderDamage, SegmentHeader, check_segment_bytes, has_leads, segment_name,
    segment_number,
};
use crate::shared::Shared;
use crate::sync::Syncer;
use crate::walk::{Walk, Walker};
use crate::watermark::{self, WATERMARK_BYTES, WATERMARK_NAME, Watermark, WatermarkRead};
use crate::writer::Writer;

/// The parts of an open log. Each may live on a thread of its own.
#[derive(Debug)]
pub struct Opened {
    /// Appends.
    pub writer: Writer,
    /// Makes durable what was appended.
    pub syncer: Syncer,
    /// Makes the next segment ready.
    pub preparer: Preparer,
    /// Reads; can be cloned.
    pub reader: Reader,
    /// Removes the oldest segments.
    pub pruner: Pruner,
    /// Looks at what the disk has of the segments that are complete.
    pub scrubber: Scrubber,
    /// What opening found and did.
    pub recovery: Recovery,
}

/// What opening a log found and did.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// Whether the log is new.
    pub is_new: bool,
    /// The row of the decision table: one that goes on, since the log is open.
    pub row: Row,
    /// Where the first record stands: above segment 0 when the log was pruned.
    pub start: RecordRef,
    /// The end of the log, all of it synced.
    pub end: LogEnd,
    /// What was cut off, if anything.
    pub cut: Option<Cut>,
    /// Stretches that are marked faulty, found by this start or an earlier one.
    pub marked: Vec<MarkedFaulty>,
    /// Nothing was appended since the last of them was marked: the caller does not know what it
    /// had appended last, and treats the start as suspect.
    pub is_unvouched: bool,
    /// Records below this index had been proved synced before this start.
    pub synced_before: RecordIndex,
    /// Whether the watermark file was there and of this log. Without it the end of the log cannot
    /// be told from an older end, nor this log from another one of the same genesis: the caller
    /// treats the start as suspect.
    pub has_watermark: bool,
    /// How the last run stopped.
    pub clean_stop: CleanStopRead,
}

/// A torn tail that was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The first fault.
    pub fault: Fault,
    /// Bytes that were replaced by zeros or removed, from the end of the log to the last byte
    /// that was not zero.
    pub cut_bytes: u64,
}

/// Opens the log of a folder, creating it if the folder has none.
///
/// An existing log is read whole and every byte is checked. A torn tail is cut; damage to what had
/// been synced is marked, left as it is, and the log goes on behind it; what is not a log of this
/// folder any more is reported and nothing is changed. When this returns `Ok`, everything in the
/// log is synced.
///
/// # Errors
/// See [`OpenError`]; none of them leaves the folder worse than it was.
pub fn open(folder: &DataFolder, config: &LogConfig, genesis: &[u8]) -> Result<Opened, OpenError> {
    open_noting(folder, config, genesis, &mut || Ok(()))
}

/// The same; `note` is called before anything makes a watermark, or a whole log. From then on
/// nothing tells that there was none, so only this opening knows that the end of this log cannot be
/// told from an older end: the caller writes that down elsewhere. It is not called where opening
/// refuses what is there.
///
/// # Errors
/// As [`open`], and those of `note`: the watermark is not made then.
pub fn open_noting<E: From<OpenError>>(
    folder: &DataFolder,
    config: &LogConfig,
    genesis: &[u8],
    note: &mut dyn FnMut() -> Result<(), E>,
) -> Result<Opened, E> {
    check_segment_bytes(config.segment_bytes)?;
    let claim = Claim::take(&folder.log_taken).ok_or(OpenError::AlreadyOpen)?;
    let names = folder.backend.names().map_err(OpenError::io("list", ""))?;
    for name in names.iter().filter(|name| is_left_over(name)) {
        folder
            .backend
            .remove(name)
            .map_err(OpenError::io("remove", name))?;
    }
    // A run that died between naming a file and syncing the folder left a name that a power cut
    // would take back, also from under what this run adds to the file.
    folder.backend.sync_folder().map_err(OpenError::sync(""))?;
    let is_new = !names.iter().any(|name| segment_number(name).is_some());
    if is_new {
        refuse_lost_log(folder)?;
        note()?;
        create(folder, config, genesis)?;
    }
    if config.distrusts_cache {
        drop_cache(folder)?;
    }
    Loading::map_all(folder, claim)?.open(config, genesis, is_new, note)
}

/// After a failed sync the system may show pages as clean that the disk never got.
fn drop_cache(folder: &DataFolder) -> Result<(), OpenError> {
    for name in folder.backend.names().map_err(OpenError::io("list", ""))? {
        if segment_number(&name).is_some() || name == WATERMARK_NAME {
            folder
                .backend
                .drop_cache(&name)
                .map_err(OpenError::sync(&name))?;
        }
    }
    Ok(())
}

/// Our own unfinished files; a stranger's `.new` is left alone.
fn is_left_over(name: &str) -> bool {
    name.strip_suffix(TEMPORARY_SUFFIX).is_some_and(|name| {
        segment_number(name).is_some()
            || [
                "lease",
                BASE_NAME,
                GENESIS_NAME,
                CLEAN_STOP_NAME,
                WATERMARK_NAME,
            ]
            .contains(&name)
    })
}

/// The segments of a log, mapped and not yet trusted.
struct Loading {
    folder: DataFolder,
    claim: Arc<Claim>,
    /// By rising number; numbers may be missing.
    segments: Vec<(u32, RegionWriter)>,
    /// Where the log begins when its first segments were pruned.
    base: Option<Base>,
    /// Segments before it, which a removal that was cut short has left.
    left_over: Vec<u32>,
}

impl Loading {
    fn map_all(folder: &DataFolder, claim: Arc<Claim>) -> Result<Self, OpenError> {
        let mut segments = Vec::new();
        for name in folder.backend.names().map_err(OpenError::io("list", ""))? {
            if let Some(number) = segment_number(&name) {
                make_readable(folder.backend.as_ref(), &name)?;
                let mut region = folder
                    .backend
                    .map(&name, &claim)
                    .map_err(OpenError::io("map", &name))?;
                // A mapping stays without its descriptor, and there are logs of more segments than
                // a process may have descriptors.
                region.let_file_go();
                segments.push((number, region));
            }
        }
        segments.sort_by_key(|(number, _)| *number);
        Ok(Self {
            folder: folder.clone(),
            claim,
            segments,
            base: None,
            left_over: Vec::new(),
        })
    }

    fn open<E: From<OpenError>>(
        mut self,
        config: &LogConfig,
        genesis: &[u8],
        is_new: bool,
        note: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<Opened, E> {
        let views = self
            .segments
            .iter()
            .map(|(number, region)| (*number, region.bytes()));
        let identity = identify(views)?;
        let expected = genesis_hash(genesis);
        if identity.genesis_hash != expected {
            let found = identity.genesis_hash;
            return Err(OpenError::Genesis { expected, found }.into());
        }
        self.find_base(&identity)?;
        self.repair_start(&identity, genesis)?;
        let mut walk = self.walk(&identity);
        let (proof, marker) = read_proof(&self.folder, &identity)?;
        let verdict = judge(&walk, proof);
        let mut cut = None;
        match verdict.row.action() {
            Action::Refuse => return Err(refusal(verdict).into()),
            Action::Continue => self.drop_segments_after(&walk.end, config.segment_bytes)?,
            Action::Cut => cut = Some(self.cut(&walk, &verdict)?),
            Action::Resume => {
                self.resume(&identity, config, &walk, &verdict)?;
                walk = self.walk(&identity);
                if judge(&walk, proof).row != Row::CleanEnd {
                    return Err(refusal(verdict).into());
                }
            }
        }
        self.finish_pruning(genesis)?;
        // What is appended to: the segment of the end, and the one that was made ready.
        for place in (0..self.segments.len()).rev().take(2) {
            self.writable(place)?;
        }
        self.sync_all(&walk)?;
        if proof.watermark == WatermarkRead::Unknown {
            note()?;
        }
        let watermark = self.open_watermark(&identity, proof.watermark, &walk.end)?;
        let clean_stop = clean_stop::compare(marker, &walk.end);
        let gaps = self.gaps(&identity);
        let last = gaps.all().last();
        let is_unvouched = last.is_some_and(|gap| gap.resumed_at == walk.end.index);
        let recovery = Recovery {
            is_new,
            row: verdict.row,
            start: self.start(),
            end: walk.end,
            cut,
            marked: gaps.all().to_vec(),
            is_unvouched,
            synced_before: verdict.synced_index,
            has_watermark: proof.watermark != WatermarkRead::Unknown,
            clean_stop,
        };
        Ok(self.assemble(identity, config, &walk, watermark, recovery, gaps))
    }

    fn gaps(&self, identity: &Identity) -> Gaps {
        let views = self
            .segments
            .iter()
            .map(|(number, region)| (*number, region.bytes()));
        Gaps::collect(identity, self.start().offset.segment(), views)
    }

    /// What a removal of segments that was cut short has left to do.
    fn finish_pruning(&mut self, genesis: &[u8]) -> Result<(), OpenError> {
        for number in std::mem::take(&mut self.left_over) {
            self.remove_segment(number)?;
        }
        if self.base.is_some() {
            base::keep_genesis(&self.folder, genesis)
                .map_err(OpenError::io("write", GENESIS_NAME))?;
        }
        Ok(())
    }

    /// A segment with a descriptor to write by, which fails where a store would be a signal.
    fn writable(&mut self, place: usize) -> Result<&mut RegionWriter, OpenError> {
        let (number, region) = &mut self.segments[place];
        if region.lacks_file() {
            // Nobody else has the old one yet, so there is one writer still.
            let name = segment_name(*number);
            let mapped = self.folder.backend.map(&name, &self.claim);
            *region = mapped.map_err(OpenError::io("map", &name))?;
        }
        Ok(region)
    }

    /// Where the first record stands.
    fn start(&self) -> RecordRef {
        self.base.as_ref().map_or_else(genesis_start, Base::start)
    }

    /// Reads where the log begins, and leaves out what stands before.
    fn find_base(&mut self, identity: &Identity) -> Result<(), OpenError> {
        let base = base::read(&self.folder, identity);
        self.base = base.map_err(OpenError::io("read", BASE_NAME))?;
        let first = self.start().offset.segment();
        let kept = self.segments.partition_point(|(number, _)| *number < first);
        let left_over = self.segments.drain(..kept);
        self.left_over = left_over.map(|(number, _)| number).collect();
        Ok(())
    }

    /// The header of segment 0 and record 0 follow from the identity of the log and the genesis,
    /// and the base holds the header of a later first segment: rot in them is undone where it
    /// stands. They were synced before the segment had its name, or the base was written, so no
    /// crash explains it.
    fn repair_start(&mut self, identity: &Identity, genesis: &[u8]) -> Result<(), OpenError> {
        let first = self.start().offset.segment();
        let Some((number, region)) = self.segments.first() else {
            return Ok(());
        };
        if *number != first {
            return Ok(());
        }
        let header = match (SegmentHeader::decode(region.bytes()), &self.base) {
            // Whatever else it is, it was written like that.
            (Err(HeaderDamage::Version(_)), _) => return Ok(()),
            (Ok(header), _) if header.identity() != *identity || header.number != first => {
                return Ok(());
            }
            (Ok(header), _) => header,
            // It has another one's name; what has this name is refused, and not damaged.
            (Err(HeaderDamage::Checksum), _) if self.is_elsewhere(identity, first) => {
                return Ok(());
            }
            (Err(HeaderDamage::Checksum), Some(base)) => *base.header(),
            // Of this version, which has all that an older one has.
            (Err(HeaderDamage::Checksum), None) => {
                SegmentHeader::first(identity, region.bytes().len() as u32)
            }
        };
        let mut start = header.encode().to_vec();
        if first == 0 {
            start.extend(genesis_record(identity, genesis));
        }
        let found = region.bytes().get(..start.len());
        if found.is_none_or(|found| found == start) {
            return Ok(());
        }
        tracing::warn!("the first bytes of the log were damaged and are written again");
        let region = self.writable(0)?;
        let name = segment_name(first);
        region
            .write(0, &[&start])
            .map_err(OpenError::io("write", &name))?;
        region
            .region()
            .flush(0, start.len())
            .map_err(OpenError::sync(&name))
    }

    /// Whether the first segment stands under another number: files were mixed up by hand.
    fn is_elsewhere(&self, identity: &Identity, first: u32) -> bool {
        self.segments.iter().skip(1).any(|(_, region)| {
            SegmentHeader::decode(region.bytes())
                .is_ok_and(|header| header.number == first && header.identity() == *identity)
        })
    }

    /// Goes on in a new segment, whose header marks what stands before it as faulty from the end
    /// of the whole part on. Nothing else is changed; until the segment has its name, durably, the
    /// next start finds the same row at the same place.
    fn resume(
        &mut self,
        identity: &Identity,
        config: &LogConfig,
        walk: &Walk,
        verdict: &Verdict,
    ) -> Result<(), OpenError> {
        let last = self.segments.last().map(|(number, _)| *number);
        let Some(number) = last.and_then(|last| last.checked_add(1)) else {
            return Err(refusal(verdict.clone()));
        };
        let first_index = walk.end.index.max(walk.index_end).max(verdict.synced_index);
        let gap = Gap {
            from: walk.end.offset,
            index: walk.end.index,
        };
        let header = SegmentHeader {
            version: FORMAT_VERSION,
            number,
            segment_bytes: config.segment_bytes,
            first_index,
            synced_index: verdict.synced_index,
            genesis_hash: identity.genesis_hash,
            salt: identity.salt,
            chain_start: walk.end.hash,
            gap: Some(gap),
        };
        let name = segment_name(number);
        let backend = self.folder.backend.as_ref();
        create_segment(
            backend,
            &name,
            &header.encode(),
            config.segment_bytes,
            config.fill(),
        )
        .map_err(|error| create_error(&name, error))?;
        let region = backend
            .map(&name, &self.claim)
            .map_err(OpenError::io("map", &name))?;
        self.segments.push((number, region));
        for fault in &verdict.faults {
            tracing::error!(%fault, row = ?verdict.row, "faulty, marked and kept");
        }
        Ok(())
    }

    fn walk(&self, identity: &Identity) -> Walk {
        let gaps = self.gaps(identity);
        let mut walker = Walker::new(identity, &gaps, self.base.as_ref());
        let first = self.segments.first().map(|(number, _)| *number);
        let mut number_next = walker.begins_with(first);
        for (number, region) in &self.segments {
            if *number != number_next {
                walker.missing(number_next);
            }
            number_next = number.saturating_add(1);
            walker.segment(*number, region.bytes());
        }
        walker.finish()
    }

    /// Removes the torn tail: later segments from the last one down, each durably, and then the
    /// rest of the segment of the end. So a crash in between leaves a torn tail at the same place.
    fn cut(&mut self, walk: &Walk, verdict: &Verdict) -> Result<Cut, OpenError> {
        let end = walk.end.offset;
        let mut cut_bytes = 0;
        while let Some((number, region)) =
            self.segments.pop_if(|(number, _)| *number > end.segment())
        {
            cut_bytes += nonzero_len(region.bytes()) as u64;
            drop(region);
            self.remove_segment(number)?;
        }
        if let Some(last) = self.segments.len().checked_sub(1) {
            let name = segment_name(self.segments[last].0);
            let region = self.writable(last)?;
            let from = end.bytes() as usize;
            let tail_bytes = nonzero_len(&region.bytes()[from..]);
            cut_bytes += tail_bytes as u64;
            zero(region, from, tail_bytes).map_err(OpenError::io("write", &name))?;
            region
                .region()
                .flush(from, tail_bytes)
                .map_err(OpenError::sync(&name))?;
        }
        let fault = *verdict
            .faults
            .first()
            .expect("only a log with a fault is cut");
        tracing::warn!(%fault, cut_bytes, row = ?verdict.row, "torn tail of the log cut");
        Ok(Cut { fault, cut_bytes })
    }

    /// After a clean end there may be one segment that was made ready; anything else that is
    /// there is empty as well, and of no use.
    fn drop_segments_after(&mut self, end: &LogEnd, segment_bytes: u32) -> Result<(), OpenError> {
        let next = end.offset.segment().saturating_add(1);
        while let Some((number, region)) = self.segments.pop_if(|(number, region)| {
            let is_useful = *number == next && region.bytes().len() == segment_bytes as usize;
            *number > end.offset.segment() && !is_useful
        }) {
            drop(region);
            self.remove_segment(number)?;
        }
        Ok(())
    }

    fn remove_segment(&self, number: u32) -> Result<(), OpenError> {
        let name = segment_name(number);
        self.folder
            .backend
            .remove(&name)
            .map_err(OpenError::io("remove", &name))?;
        self.folder
            .backend
            .sync_folder()
            .map_err(OpenError::sync(""))
    }

    /// What survived in the page cache alone is made durable before anybody relies on it.
    fn sync_all(&self, walk: &Walk) -> Result<(), OpenError> {
        for ((number, region), end) in self.segments.iter().zip(&walk.segment_ends) {
            let name = segment_name(*number);
            region
                .region()
                .flush(0, *end as usize)
                .map_err(OpenError::sync(&name))?;
        }
        Ok(())
    }

    fn open_watermark(
        &self,
        identity: &Identity,
        read: WatermarkRead,
        end: &LogEnd,
    ) -> Result<Watermark, OpenError> {
        if read == WatermarkRead::Unknown {
            tracing::warn!("the watermark file is missing or damaged; a new one is made");
            watermark::create(&self.folder).map_err(|error| create_error(WATERMARK_NAME, error))?;
        }
        let mut watermark = Watermark::open(&self.folder, &self.claim, read)
            .map_err(OpenError::io("map", WATERMARK_NAME))?;
        watermark
            .store(identity, end)
            .map_err(OpenError::io("write", WATERMARK_NAME))?;
        watermark.flush().map_err(OpenError::sync(WATERMARK_NAME))?;
        Ok(watermark)
    }

    fn assemble(
        self,
        identity: Identity,
        config: &LogConfig,
        walk: &Walk,
        watermark: Watermark,
        recovery: Recovery,
        gaps: Gaps,
    ) -> Opened {
        let end = walk.end;
        let start = self.start();
        let mut segments = self.segments;
        let ready = segments
            .pop_if(|(number, _)| *number > end.offset.segment())
            .map(|(_, region)| region);
        let mut regions = VecDeque::new();
        for ((_, region), end) in segments.iter_mut().zip(&walk.segment_ends) {
            region.publish(*end as usize);
            regions.push_back(Arc::clone(region.region()));
        }
        let (_, region) = segments.pop().expect("the walk's end lies in a segment");
        let shared = Arc::new(Shared::new(
            identity,
            self.folder,
            self.claim,
            config,
            gaps,
            (start, regions),
            &end,
        ));
        let slot = Arc::new(PrepareSlot::new(end.offset.segment().checked_add(1), ready));
        Opened {
            writer: Writer {
                shared: Arc::clone(&shared),
                slot: Arc::clone(&slot),
                has_leads: has_leads(region.bytes()),
                region,
                end,
                committed: end,
                staged: Vec::new(),
                is_full: false,
                taken: None,
            },
            syncer: Syncer {
                shared: Arc::clone(&shared),
                watermark,
                synced: end,
            },
            preparer: Preparer {
                shared: Arc::clone(&shared),
                slot,
            },
            pruner: Pruner::new(&shared),
            scrubber: Scrubber::new(&shared),
            reader: Reader { shared },
            recovery,
        }
    }
}

/// Writes zeros in pieces, so that cutting a long tail needs no long buffer.
fn zero(region: &mut RegionWriter, from: usize, bytes_len: usize) -> io::Result<()> {
    let zeros = [0; 4096];
    let mut offset = from;
    while offset < from + bytes_len {
        let piece = (from + bytes_len - offset).min(zeros.len());
        region.write(offset, &[&zeros[..piece]])?;
        offset += piece;
    }
    Ok(())
}

/// Which log it is, from the first segment whose header can be read.
pub(crate) fn identify<'a>(
    segments: impl Iterator<Item = (u32, &'a [u8])>,
) -> Result<Identity, OpenError> {
    let mut faults = Vec::new();
    for (segment, bytes) in segments {
        match SegmentHeader::decode(bytes) {
            Ok(header) => return Ok(header.identity()),
            Err(HeaderDamage::Version(version)) => {
                return Err(OpenError::Version { segment, version });
            }
            Err(HeaderDamage::Checksum) => {
                let damage = Damage::SegmentHeader;
                faults.push(Fault {
                    segment,
                    offset: 0,
                    index: None,
                    damage,
                });
            }
        }
    }
    Err(if faults.is_empty() {
        OpenError::NoLog
    } else {
        OpenError::Damaged { faults }
    })
}

/// What is known about what had been synced, and the clean-stop marker as read.
pub(crate) fn read_proof(
    folder: &DataFolder,
    identity: &Identity,
) -> Result<(Proof, Option<Option<LogEnd>>), OpenError> {
    let read = folder
        .backend
        .read_lossy(WATERMARK_NAME, WATERMARK_BYTES)
        .map_err(OpenError::io("read", WATERMARK_NAME))?;
    let watermark = match read {
        // Zeros in place of what cannot be read would say that nothing was ever synced.
        Some((bytes, unreadable)) if unreadable.is_empty() => watermark::decode(identity, &bytes),
        _ => WatermarkRead::Unknown,
    };
    let marker = clean_stop::read(folder).map_err(OpenError::io("read", CLEAN_STOP_NAME))?;
    let clean_stop = marker.flatten().map(|end| end.index);
    Ok((
        Proof {
            watermark,
            clean_stop,
        },
        marker,
    ))
}

fn refusal(verdict: Verdict) -> OpenError {
    let version = verdict.faults.iter().find_map(|fault| match fault.damage {
        Damage::SegmentVersion { version } => Some(OpenError::Version {
            segment: fault.segment,
            version,
        }),
        _ => None,
    });
    version.unwrap_or(OpenError::Damaged {
        faults: verdict.faults,
    })
}
