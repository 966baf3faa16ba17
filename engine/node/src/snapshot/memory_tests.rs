//! What a crash leaves of a simulated disk, and of snapshots on it.

use quorate_consensus::types::BlockId;

use super::*;
use crate::snapshot::{Manifest, SectionEntry, SnapshotError, SnapshotFolder};
use crate::testing::{final_block, sample_genesis};

const HEIGHT: u64 = 64;
const DATA: &[u8] = &[7; 3 * PAGE_BYTES];

struct Machine {
    power: MemoryBackend,
    disk: MemoryDisk,
}

impl Machine {
    fn new() -> Self {
        let power = MemoryBackend::new();
        let disk = MemoryDisk::new(&power);
        disk.make_folder(Path::new("snapshots")).unwrap();
        disk.sync_folder(Path::new("")).unwrap();
        Self { power, disk }
    }

    fn folder(&self) -> SnapshotFolder {
        SnapshotFolder::in_memory(&self.disk)
    }

    /// What a power cut leaves that takes everything that was not synced, or nothing of it.
    fn after_power_cut(&self, is_kept: bool) -> SnapshotFolder {
        let power = MemoryBackend::new();
        SnapshotFolder::in_memory(&self.disk.power_cut(&power, |_| is_kept))
    }
}

fn path(name: &str) -> PathBuf {
    Path::new("snapshots").join(name)
}

#[test]
fn what_was_synced_survives_and_what_was_not_may() {
    let machine = Machine::new();
    machine.folder().put_certificate(7, b"synced").unwrap();
    machine.folder().put_attested(b"not synced").unwrap();
    let lost = machine.after_power_cut(false);
    assert_eq!(lost.certificate(7).unwrap().unwrap(), b"synced");
    assert_eq!(lost.attested().unwrap(), None);
    let kept = machine.after_power_cut(true);
    assert_eq!(kept.attested().unwrap().unwrap(), b"not synced");
}

#[test]
fn a_folder_that_was_not_synced_may_go_with_all_that_was_synced_in_it() {
    let (power, folder) = (MemoryBackend::new(), Path::new("made"));
    let disk = MemoryDisk::new(&power);
    disk.make_folder(folder).unwrap();
    let file = disk.open_to_write(&folder.join("file"), true).unwrap();
    file.write_all_at(b"synced", 0).unwrap();
    file.sync_all().unwrap();
    disk.sync_folder(folder).unwrap();
    let names = |is_kept| disk.power_cut(&power, |_| is_kept).names(folder);
    assert_eq!(names(true).unwrap(), ["file"]);
    assert_eq!(names(false).unwrap_err().kind(), io::ErrorKind::NotFound);
    disk.sync_folder(Path::new("")).unwrap();
    assert_eq!(names(false).unwrap(), ["file"]);
}

#[test]
fn the_first_snapshot_of_a_disk_survives_with_the_folder_that_is_made_for_it() {
    let power = MemoryBackend::new();
    let disk = MemoryDisk::new(&power);
    write(&SnapshotFolder::in_memory(&disk)).unwrap();
    let after = SnapshotFolder::in_memory(&disk.power_cut(&power, |_| false));
    assert_eq!(after.heights().unwrap(), [HEIGHT]);
    after.verify(HEIGHT).unwrap();
}

/// A certificate comes once a second, and a sync of the folder of the log is in the log's way.
#[test]
fn the_folder_above_is_synced_by_each_run_once_and_when_the_folder_is_made_again() {
    let power = MemoryBackend::new();
    let disk = MemoryDisk::new(&power);
    // Of a run that was killed before it had synced the name.
    disk.make_folder(Path::new("snapshots")).unwrap();
    let folder = SnapshotFolder::in_memory(&disk);
    let steps_of = |folder: &SnapshotFolder| {
        let before = power.steps_used();
        folder.clone().put_attested(b"bytes").unwrap();
        power.steps_used() - before
    };
    let first = steps_of(&folder);
    folder.put_certificate(7, b"synced").unwrap();
    let dark = disk.power_cut(&MemoryBackend::new(), |_| false);
    let after = SnapshotFolder::in_memory(&dark);
    assert_eq!(after.certificate(7).unwrap().unwrap(), b"synced");
    assert_eq!([0, 1].map(|_| steps_of(&folder)), [first - 1; 2]);
    disk.names.lock().folders.live.clear();
    assert_eq!(steps_of(&folder), first);
}

#[test]
fn a_name_that_was_removed_and_not_synced_may_come_back() {
    let machine = Machine::new();
    machine.folder().put_certificate(7, b"synced").unwrap();
    let name = format!("snapshot-{:020}.certificate", 7);
    machine.disk.remove(&path(&name)).unwrap();
    assert_eq!(machine.folder().certificate(7).unwrap(), None);
    let back = machine.after_power_cut(false);
    assert_eq!(back.certificate(7).unwrap().unwrap(), b"synced");
    machine.disk.sync_folder(Path::new("snapshots")).unwrap();
    let gone = machine.after_power_cut(false);
    assert_eq!(gone.certificate(7).unwrap(), None);
}

/// A note that came back would let a log that lost its end pass for one that was replaced.
#[test]
fn the_note_of_a_fetched_snapshot_does_not_come_back_after_it_is_settled() {
    let machine = Machine::new();
    let manifest = write(&machine.folder()).unwrap();
    machine.folder().put_fetched(&manifest).unwrap();
    let before = machine.after_power_cut(false);
    assert!(before.is_fetched(&manifest).unwrap());
    machine.folder().settle_fetched(HEIGHT).unwrap();
    for is_kept in [false, true] {
        let after = machine.after_power_cut(is_kept);
        assert!(!after.is_fetched(&manifest).unwrap(), "{is_kept}");
    }
}

#[test]
fn each_page_that_was_not_synced_survives_by_itself() {
    let machine = Machine::new();
    let file = machine.disk.open_to_write(&path("data"), true).unwrap();
    file.write_all_at(&[1; 3 * PAGE_BYTES], 0).unwrap();
    file.sync_all().unwrap();
    machine.disk.sync_folder(Path::new("snapshots")).unwrap();
    file.write_all_at(&[2; 3 * PAGE_BYTES + 5], 0).unwrap();
    let power = MemoryBackend::new();
    let second = PAGE_BYTES;
    let after = machine.disk.power_cut(
        &power,
        |unsynced| matches!(unsynced, Unsynced::Sector { offset, .. } if offset == second),
    );
    let bytes = after.read(&path("data"), u64::MAX).unwrap();
    let expected = [[1; PAGE_BYTES], [2; PAGE_BYTES], [1; PAGE_BYTES]].concat();
    assert!(bytes == expected, "{} bytes", bytes.len());
}

#[test]
fn what_a_failed_sync_did_not_write_is_lost_with_the_power_unless_it_is_written_again() {
    let machine = Machine::new();
    let file = machine.disk.open_to_write(&path("data"), true).unwrap();
    machine.disk.sync_folder(Path::new("snapshots")).unwrap();
    file.write_all_at(&[1; 3 * PAGE_BYTES], 0).unwrap();
    machine.disk.fail_next_sync();
    file.sync_all().unwrap_err();
    file.write_all_at(&[2; PAGE_BYTES], PAGE_BYTES as u64)
        .unwrap();
    file.sync_all().unwrap();
    let seen = [[1; PAGE_BYTES], [2; PAGE_BYTES], [1; PAGE_BYTES]].concat();
    let read = |disk: &MemoryDisk| disk.read(&path("data"), u64::MAX).unwrap();
    assert!(read(&machine.disk) == seen);
    let power = MemoryBackend::new();
    assert!(read(&machine.disk.process_kill(&power)) == seen);
    let left = [[0; PAGE_BYTES], [2; PAGE_BYTES], [0; PAGE_BYTES]].concat();
    for is_kept in [false, true] {
        let after = machine.disk.power_cut(&power, |_| is_kept);
        assert!(read(&after) == left, "{is_kept}");
    }
}

#[test]
fn the_death_of_the_process_leaves_all_and_makes_nothing_durable() {
    let machine = Machine::new();
    machine.folder().put_attested(b"not synced").unwrap();
    let power = MemoryBackend::new();
    let disk = machine.disk.process_kill(&power);
    let folder = SnapshotFolder::in_memory(&disk);
    assert_eq!(folder.attested().unwrap().unwrap(), b"not synced");
    let after = disk.power_cut(&power, |_| false);
    let folder = SnapshotFolder::in_memory(&after);
    assert_eq!(folder.attested().unwrap(), None);
}

#[test]
fn without_power_and_without_space_nothing_is_written() {
    let machine = Machine::new();
    machine.power.set_full(true);
    assert!(machine.folder().put_certificate(7, b"full").is_err());
    machine.power.set_full(false);
    machine.power.power_off_after(0);
    assert!(machine.folder().put_certificate(7, b"off").is_err());
    assert_eq!(machine.folder().certificate(7).unwrap(), None);
}

#[test]
fn what_finds_no_room_fails_and_leaves_what_fitted() {
    let machine = Machine::new();
    let file = machine.disk.open_to_write(&path("data"), true).unwrap();
    file.write_all_at(&[1; 10], 0).unwrap();
    machine.disk.set_bytes_max(Some(12));
    let full = |written: io::Result<()>| {
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    };
    full(file.write_all_at(&[2; 5], 9));
    assert_eq!(file.bytes_len(), 12);
    full(file.write_all_at(&[3; 1], 40));
    full(file.set_len(13));
    assert_eq!(file.bytes_len(), 12);
    file.write_all_at(&[4; 12], 0).unwrap();
    machine.disk.set_bytes_max(None);
    file.write_all_at(&[5; 100], 0).unwrap();
}

/// Writes a snapshot of one chunk.
fn write(folder: &SnapshotFolder) -> Result<Manifest, SnapshotError> {
    let set = sample_genesis(4).0.validator_set().clone();
    let mut writer = folder.write(HEIGHT)?;
    writer.push(DATA)?;
    writer.finish(Manifest {
        genesis_hash: *set.genesis_hash(),
        header: final_block(&set, HEIGHT, BlockId::new([3; 32]), &[]).header,
        sections: vec![SectionEntry {
            name: "text".to_owned(),
            root: [5; 32],
            bytes: DATA.len() as u64,
        }],
        chunks: Vec::new(),
    })
}

type Keep<'a> = &'a dyn Fn(Unsynced<'_>) -> bool;

/// Shows what a power cut leaves of what was not synced: nothing, all, what is of manifests, or
/// all else.
fn after_each_cut(machine: &Machine, look: impl Fn(&SnapshotFolder)) {
    let of_manifest = |unsynced: Unsynced<'_>| {
        let (Unsynced::Name(name) | Unsynced::Sector { name, .. }) = unsynced;
        name.ends_with(".manifest")
    };
    let keeps: [Keep<'_>; 4] = [&|_| false, &|_| true, &of_manifest, &|one| {
        !of_manifest(one)
    }];
    for keep in keeps {
        let disk = machine.disk.power_cut(&MemoryBackend::new(), keep);
        look(&SnapshotFolder::in_memory(&disk));
    }
}

/// Does something again and again on machines that lose their power one step later each time, until
/// it is done. Whatever a cut leaves of what was not synced, a snapshot that is there is whole, and
/// has beside it what `has_all` looks for.
fn cut_everywhere(
    act: impl Fn(&SnapshotFolder) -> Result<(), SnapshotError>,
    has_all: impl Fn(&SnapshotFolder, &Manifest) -> bool,
) {
    for steps in 0..100 {
        let machine = Machine::new();
        machine.power.power_off_after(steps);
        let is_done = act(&machine.folder()).is_ok();
        after_each_cut(&machine, |folder| {
            for height in folder.heights().unwrap() {
                let verified = folder.verify(height);
                let is_all = verified.as_ref().is_ok_and(|one| has_all(folder, one));
                assert!(is_all, "after {steps} steps: {verified:?}");
            }
            let is_there = folder.heights().unwrap() == [HEIGHT];
            assert!(is_there || !is_done, "it was said to be durable");
        });
        if is_done {
            return;
        }
    }
    panic!("it is never done");
}

#[test]
fn a_snapshot_whose_writing_a_power_cut_ends_anywhere_is_whole_or_absent() {
    cut_everywhere(|folder| write(folder).map(drop), |_, _| true);
}

#[test]
fn a_fetched_snapshot_is_whole_or_absent_wherever_a_power_cut_ends_its_coming() {
    let elsewhere = Machine::new();
    let manifest = write(&elsewhere.folder()).unwrap();
    let fetch = |folder: &SnapshotFolder| {
        let mut partial = folder.begin(manifest.clone(), b"certificate")?;
        assert!(partial.put(0, DATA)?);
        folder.finish(partial, b"certificate")
    };
    // Without either it would be refused as one that the log should reach.
    cut_everywhere(fetch, |folder, manifest| {
        let certificate = folder.certificate(HEIGHT).unwrap();
        folder.is_fetched(manifest).unwrap() && certificate.as_deref() == Some(b"certificate")
    });
}

#[test]
fn a_snapshot_whose_removal_a_power_cut_ends_anywhere_is_whole_or_absent() {
    for steps in 0..100 {
        let machine = Machine::new();
        write(&machine.folder()).unwrap();
        machine.power.power_off_after(steps);
        let is_done = machine.folder().remove(HEIGHT).is_ok();
        after_each_cut(&machine, |folder| {
            let heights = folder.heights().unwrap();
            assert!(heights.is_empty() || !is_done, "it came back");
            for height in heights {
                let verified = folder.verify(height);
                assert!(verified.is_ok(), "after {steps} steps: {verified:?}");
            }
        });
        if is_done {
            return;
        }
    }
    panic!("it is never done");
}

/// A disk that is told to write a whole state at once has no time for the log meanwhile.
#[test]
fn the_data_of_a_snapshot_is_synced_a_few_chunks_at_a_time() {
    const CHUNK: usize = crate::snapshot::CHUNK_BYTES as usize;
    let machine = Machine::new();
    let mut writer = machine.folder().write(HEIGHT).unwrap();
    for chunks in 1..=20 {
        writer.push(&vec![7; CHUNK]).unwrap();
        let names = machine.disk.names.lock();
        let file = names.live.values().next().unwrap().lock();
        assert_eq!(file.live.len(), chunks * CHUNK);
        assert_eq!(file.durable.len(), chunks / 8 * 8 * CHUNK);
    }
}
