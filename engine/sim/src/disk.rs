//! Disks: what a crash leaves of them, and how long a sync takes.
//!
//! Owns one validator's simulated folder over all its lives, and the boot id of its machine.
//! Never: what stands in a file.

use quorate::snapshot::{MemoryDisk, SnapshotFolder};
use quorate_consensus::restart;
use quorate_consensus::trust::Lease;
use quorate_log::{DataFolder, LeaseFile, LeaseRead, LogConfig, MemoryBackend, Unsynced};

use crate::dice::Dice;
use crate::rot::Rot;

/// Log segments are short, so that runs cross many of them.
const SEGMENT_BYTES: u32 = 64 * 1024;
/// Their names begin so.
const SEGMENT_PREFIX: &str = "segment-";
/// The file of the lease.
const LEASE_NAME: &str = "lease";
/// The marker of a clean stop.
const CLEAN_STOP_NAME: &str = "clean-stop";

/// How a life of the process ended, for its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The process alone died: the page cache is still there.
    Process,
    /// The machine lost power.
    Power,
}

/// One validator's disk.
#[derive(Debug)]
pub(crate) struct Disk {
    memory: MemoryBackend,
    /// Where the snapshots are, in the same machine.
    snapshots: MemoryDisk,
    boot_id: [u8; 16],
    dice: Dice,
    typical_ns: u64,
    stalled_until_ns: u64,
    stall_ns: u64,
    /// No call took longer for it yet.
    is_stall_unfelt: bool,
    /// One did, and nobody has counted it.
    is_stall_felt: bool,
    /// Power goes when the folder has used so many steps.
    power_off_at: Option<u64>,
    is_full: bool,
    /// Files that were refused before it was full, while none was for it.
    full_unfelt: Option<u64>,
}

impl Disk {
    pub(crate) fn new(place: usize, typical_ns: u64, seed: u64) -> Self {
        let mut dice = Dice::new(seed, &format!("disk {place}"));
        let memory = MemoryBackend::new();
        Self {
            snapshots: MemoryDisk::new(&memory),
            memory,
            boot_id: dice.bytes16(),
            dice,
            typical_ns,
            stalled_until_ns: 0,
            stall_ns: 0,
            is_stall_unfelt: false,
            is_stall_felt: false,
            power_off_at: None,
            is_full: false,
            full_unfelt: None,
        }
    }

    /// How the logs of the world are laid out.
    pub(crate) fn log_config() -> LogConfig {
        LogConfig {
            segment_bytes: SEGMENT_BYTES,
            ..LogConfig::new([9; 32])
        }
    }

    pub(crate) fn folder(&self) -> DataFolder {
        DataFolder::in_memory(&self.memory)
    }

    /// The snapshots on it.
    pub(crate) fn snapshots(&self) -> SnapshotFolder {
        SnapshotFolder::in_memory(&self.snapshots)
    }

    /// A copy of the disk as it is now, in the same machine.
    pub(crate) fn copied(&self) -> Self {
        let memory = self.memory.process_kill();
        Self {
            snapshots: self.snapshots.process_kill(&memory),
            memory,
            boot_id: self.boot_id,
            dice: self.dice.clone(),
            power_off_at: None,
            ..*self
        }
    }

    pub(crate) const fn boot_id(&self) -> [u8; 16] {
        self.boot_id
    }

    /// What one blocking call takes.
    pub(crate) fn call_ns(&mut self, now_ns: u64) -> u64 {
        let stall_ns = if now_ns < self.stalled_until_ns {
            self.is_stall_felt |= std::mem::take(&mut self.is_stall_unfelt);
            self.stall_ns
        } else {
            0
        };
        self.dice.skewed(self.typical_ns) + stall_ns
    }

    /// Another disk takes the place of this one, and holds nothing.
    pub(crate) fn replace(&mut self) {
        self.memory = MemoryBackend::new();
        self.snapshots = MemoryDisk::new(&self.memory);
        self.power_off_at = None;
        self.is_full = false;
        self.full_unfelt = None;
    }

    /// Every call takes so much longer until then.
    pub(crate) const fn stall(&mut self, until_ns: u64, stall_ns: u64) {
        self.stalled_until_ns = until_ns;
        self.stall_ns = stall_ns;
        self.is_stall_unfelt = stall_ns > 0;
    }

    /// Whether a stall made a call longer that was not counted yet.
    pub(crate) const fn take_stall(&mut self) -> bool {
        std::mem::replace(&mut self.is_stall_felt, false)
    }

    /// Power goes in the middle of something, after so many more steps.
    pub(crate) fn power_off_after(&mut self, steps: u64) {
        self.power_off_at = Some(self.memory.steps_used() + steps);
        self.memory.power_off_after(steps);
    }

    /// Power that was to go stays.
    pub(crate) fn keep_power(&mut self) {
        if self.power_off_at.take().is_some() {
            self.memory.power_off_after(u64::MAX);
        }
    }

    /// Whether the power is off: whatever was computed since never happened.
    pub(crate) fn is_off(&self) -> bool {
        self.power_off_at
            .is_some_and(|at| self.memory.steps_used() >= at)
    }

    pub(crate) const fn has_power_off_pending(&self) -> bool {
        self.power_off_at.is_some()
    }

    /// Changes bits of so many bytes of a segment that is complete; none without such a segment.
    /// `place` chooses the segment and the first byte. What they were is told, as memory had it.
    pub(crate) fn rot(&self, place: u64, mask: u8, bytes: usize, in_memory: bool) -> Option<Rot> {
        let names = self.memory.file_names();
        let mut segments: Vec<String> = names
            .into_iter()
            .filter(|name| name.starts_with(SEGMENT_PREFIX))
            .collect();
        // The last one is appended to, or made for it.
        segments.truncate(segments.len().saturating_sub(2));
        let count = segments.len() as u64;
        let number = usize::try_from(place.checked_rem(count)?).ok()?;
        let name = segments.swap_remove(number);
        let file = self.memory.file(&name)?;
        let offset = usize::try_from((place / count).checked_rem(file.len() as u64)?).ok()?;
        let was: Vec<u8> = file[offset..].iter().copied().take(bytes).collect();
        for at in offset..offset + was.len() {
            self.memory.rot(&name, at, mask, in_memory);
        }
        Some(Rot { name, offset, was })
    }

    /// The segments of the log as they are on the disk, in their order: what a loss of power leaves
    /// of them when nothing survives that was not synced.
    pub(crate) fn durable_segments(&self) -> Vec<Vec<u8>> {
        let on_disk = self.memory.power_cut(|_| false);
        let mut names = on_disk.file_names();
        names.retain(|name| name.starts_with(SEGMENT_PREFIX) && !name.contains('.'));
        names.sort_unstable();
        names.iter().filter_map(|name| on_disk.file(name)).collect()
    }

    /// What the lease file says now.
    pub(crate) fn lease(&self) -> Option<Lease> {
        read_lease(&self.folder())
    }

    /// What the lease file says in any case when the power goes now. Nothing is synced by the look.
    pub(crate) fn durable_lease(&self) -> Option<Lease> {
        let on_disk = MemoryBackend::new();
        on_disk.set_file(LEASE_NAME, &self.memory.durable_file(LEASE_NAME)?);
        read_lease(&DataFolder::in_memory(&on_disk))
    }

    /// Whether a start would find the marker of a clean stop now.
    pub(crate) fn has_clean_stop(&self) -> bool {
        self.memory.file(CLEAN_STOP_NAME).is_some()
    }

    /// Whether the disk has the bytes as they were, or their file no more.
    pub(crate) fn is_mended(&self, rot: &Rot) -> bool {
        let on_disk = self.memory.power_cut(|_| false).file(&rot.name);
        on_disk.is_none_or(|bytes| {
            bytes
                .get(rot.offset..)
                .unwrap_or_default()
                .starts_with(&rot.was)
        })
    }

    /// No file can be made from here on, or all can again.
    pub(crate) fn set_full(&mut self, is_full: bool) {
        self.full_unfelt = is_full.then(|| self.memory.refused_files());
        self.is_full = is_full;
        self.memory.set_full(is_full);
    }

    /// Whether the disk is full and a file could not be made for it, which was not counted yet.
    pub(crate) fn take_full(&mut self) -> bool {
        let refused = self.memory.refused_files();
        self.full_unfelt
            .take_if(|before| *before < refused)
            .is_some()
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// The next sync fails.
    pub(crate) fn fail_next_sync(&self) {
        self.memory.fail_sync_after(0);
    }

    /// What is left after this ending. What was not synced when the power went survives in part:
    /// nothing, everything, a prefix of what was met, or each sector by chance.
    pub(crate) fn end_life(&mut self, ending: Ending) {
        let memory = match ending {
            Ending::Process => {
                let memory = self.memory.process_kill();
                self.snapshots = self.snapshots.process_kill(&memory);
                memory
            }
            Ending::Power => {
                self.boot_id = self.dice.bytes16();
                let manner = self.dice.below(4);
                let mut kept = self.dice.below(64);
                let dice = &mut self.dice;
                let mut keep = |_: Unsynced<'_>| match manner {
                    0 => false,
                    1 => true,
                    2 => {
                        let is_kept = kept > 0;
                        kept = kept.saturating_sub(1);
                        is_kept
                    }
                    _ => dice.percent(50),
                };
                let memory = self.memory.power_cut(&mut keep);
                self.snapshots = self.snapshots.power_cut(&memory, &mut keep);
                memory
            }
        };
        self.memory = memory;
        // It has refused nothing yet.
        self.full_unfelt = self.full_unfelt.map(|_| 0);
        self.power_off_at = None;
        self.memory.set_full(self.is_full);
    }
}

fn read_lease(folder: &DataFolder) -> Option<Lease> {
    match LeaseFile::new(folder).read() {
        Ok(LeaseRead::Present(bytes)) => restart::LeaseFile::decode(&bytes).map(|one| one.lease),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_counts_once_and_when_a_call_took_longer_for_it() {
        let mut disk = Disk::new(0, 1, 1);
        disk.stall(1_000, 5_000);
        assert!(!disk.take_stall(), "no call was made");
        assert!(disk.call_ns(10) >= 5_000);
        assert!(disk.call_ns(20) >= 5_000);
        assert!(disk.take_stall());
        assert!(!disk.take_stall(), "it was counted");
        disk.stall(2_000, 5_000);
        assert!(disk.call_ns(2_000) < 5_000);
        assert!(!disk.take_stall(), "it was over");
    }

    /// Sectors of the log's segment that a life left unsynced, by whether they survived its end.
    fn survived(seed: u64, ending: Ending) -> Vec<bool> {
        let mut disk = Disk::new(0, 1, seed);
        let mut log = quorate_log::open(&disk.folder(), &Disk::log_config(), b"g").expect("a log");
        for byte in 1..=40 {
            let payload = [&[byte; 900][..]];
            log.writer
                .append(quorate_log::RecordKind::new(1), &payload)
                .expect("an append");
        }
        drop(log);
        let name = format!("{SEGMENT_PREFIX}0000000000");
        let file = |disk: &Disk| disk.memory.file(&name).expect("a segment");
        let (live, durable) = (file(&disk), disk.memory.power_cut(|_| false));
        let durable = durable.file(&name).expect("a segment");
        disk.end_life(ending);
        let after = file(&disk);
        let sectors = live.chunks(512).zip(durable.chunks(512)).enumerate();
        let unsynced = sectors.filter(|(_, (live, durable))| live != durable);
        let survived = unsynced.map(|(sector, (live, durable))| {
            let found = &after[sector * 512..][..512];
            assert!(found == live || found == durable);
            found == live
        });
        survived.collect()
    }

    #[test]
    fn a_loss_of_power_takes_nothing_all_a_tail_or_any_sector_of_what_was_not_synced() {
        let (mut nothing, mut all, mut a_tail, mut holes) = (0, 0, 0, 0);
        for seed in 0..64 {
            let survived = survived(seed, Ending::Power);
            assert!(survived.len() > 64, "more than a prefix may hold");
            if survived.iter().all(|&it| it) {
                nothing += 1;
            } else if survived.iter().all(|&it| !it) {
                all += 1;
            } else if survived.is_sorted_by(|before, after| before >= after) {
                a_tail += 1;
            } else {
                holes += 1;
            }
        }
        let counts = [nothing, all, a_tail, holes];
        assert!(counts.iter().all(|&count| count >= 4), "{counts:?}");
        // The page cache outlives the process.
        let survived = survived(1, Ending::Process);
        assert!(survived.iter().all(|&it| it));
    }

    #[test]
    fn a_full_disk_counts_once_and_when_a_file_could_not_be_made_for_it() {
        let write = |disk: &Disk| LeaseFile::new(&disk.folder()).replace(b"lease").is_ok();
        let mut disk = Disk::new(0, 1, 1);
        assert!(write(&disk));
        disk.set_full(true);
        assert!(!disk.take_full(), "no file was to be made");
        assert!(!write(&disk));
        assert!(disk.take_full());
        assert!(!write(&disk) && !disk.take_full(), "it was counted");
        disk.set_full(true);
        assert!(!disk.take_full(), "again, and nobody has felt it");
        disk.end_life(Ending::Process);
        assert!(!disk.take_full(), "nobody has");
        assert!(!write(&disk) && disk.take_full());
        disk.set_full(false);
        assert!(write(&disk) && !disk.take_full());
    }
}
