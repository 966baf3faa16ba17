//! A disk that is full, or fails, when a fetched snapshot is to become one of the folder.

use quorate_consensus::types::BlockId;
use quorate_log::MemoryBackend;

use super::*;
use crate::refused::Refused;
use crate::snapshot::{MemoryDisk, SectionEntry};
use crate::testing::{final_block, sample_genesis};

const HEIGHT: u64 = 64;
const CERTIFICATE_BYTES: usize = 500;

fn chunk(number: u32) -> Vec<u8> {
    vec![number as u8 + 1; CHUNK_BYTES as usize - number as usize]
}

/// Of two chunks, the second one a byte shorter.
fn manifest() -> Manifest {
    let folder = SnapshotFolder::in_memory(&MemoryDisk::new(&MemoryBackend::new()));
    let mut writer = folder.write(HEIGHT).unwrap();
    (0..2).for_each(|number| writer.push(&chunk(number)).unwrap());
    let set = sample_genesis(4).0.validator_set().clone();
    let manifest = writer.finish(Manifest {
        genesis_hash: *set.genesis_hash(),
        header: final_block(&set, HEIGHT, BlockId::new([3; 32]), &[]).header,
        sections: vec![SectionEntry {
            name: "text".to_owned(),
            root: [5; 32],
            bytes: 2 * u64::from(CHUNK_BYTES) - 1,
        }],
        chunks: Vec::new(),
    });
    manifest.unwrap()
}

#[test]
fn a_fetched_snapshot_that_finds_no_room_for_its_notes_is_not_fetched_again() {
    let disk = MemoryDisk::new(&MemoryBackend::new());
    let folder = SnapshotFolder::in_memory(&disk);
    let names = || {
        let mut names = folder.disk.names(folder.path()).unwrap();
        names.sort_unstable();
        names
    };
    let (manifest, certificate) = (manifest(), vec![8; CERTIFICATE_BYTES]);
    let mut partial = folder.begin(manifest.clone(), &certificate).unwrap();
    (0..2).for_each(|number| assert!(partial.put(number, &chunk(number)).unwrap()));
    let sealed_bytes = manifest.seal().len();
    let stored_bytes = manifest.data_bytes() as usize + CERTIFICATE_BYTES + sealed_bytes;
    let before = names();
    // No room, not for the whole certificate, not for the note, not for the manifest.
    for room in [0, 1, CERTIFICATE_BYTES + 31, CERTIFICATE_BYTES + 32 + 40] {
        disk.set_bytes_max(Some(stored_bytes + room));
        let refused = folder.finish(partial, &certificate);
        assert!(
            matches!(&refused, Err(SnapshotError::Io { source, .. })
                if source.kind() == io::ErrorKind::StorageFull),
            "{room}: {refused:?}"
        );
        assert_eq!(names(), before, "{room}");
        assert!(folder.heights().unwrap().is_empty());
        let (resumed, beside) = folder.resume().unwrap().expect("all that was fetched");
        assert_eq!((resumed.progress(), &beside), ((2, 2), &certificate));
        partial = resumed;
    }
    disk.set_bytes_max(None);
    folder.finish(partial, &certificate).unwrap();
    assert_eq!(folder.verify(HEIGHT).unwrap(), manifest);
    assert_eq!(folder.certificate(HEIGHT).unwrap().unwrap(), certificate);
    assert!(folder.is_fetched(&manifest).unwrap());
    assert_eq!(names().len(), 4);
}

/// What a failed sync did not write stays in memory as if it had been, for who reads it and for the
/// next sync. It is held against the disk alone, by a loss of power.
#[test]
fn data_that_a_disk_has_failed_to_sync_is_not_believed_to_be_on_it() {
    let (manifest, certificate) = (manifest(), vec![8; CERTIFICATE_BYTES]);
    let disk = MemoryDisk::new(&MemoryBackend::new());
    let folder = SnapshotFolder::in_memory(&disk);
    let mut partial = folder.begin(manifest.clone(), &certificate).unwrap();
    (0..2).for_each(|number| assert!(partial.put(number, &chunk(number)).unwrap()));
    disk.fail_next_sync();
    let refused = folder.finish(partial, &certificate);
    assert!(
        matches!(&refused, Err(SnapshotError::Io { source, .. })
            if Refused::of(source) == Refused::Disk),
        "{refused:?}"
    );
    assert!(folder.heights().unwrap().is_empty());
    let (mut partial, beside) = folder.resume().unwrap().expect("its manifest");
    assert_eq!((partial.progress(), &beside), ((0, 2), &certificate));
    (0..2).for_each(|number| assert!(partial.put(number, &chunk(number)).unwrap()));
    folder.finish(partial, &certificate).unwrap();
    let dark = disk.power_cut(&MemoryBackend::new(), |_| false);
    let after = SnapshotFolder::in_memory(&dark);
    assert_eq!(after.verify(HEIGHT).unwrap(), manifest);
}

/// Else each attempt would fail where the one before did, for good.
#[test]
fn what_the_disk_does_not_give_back_of_a_fetched_snapshot_is_fetched_again() {
    for name in [MANIFEST, CERTIFICATE] {
        let disk = MemoryDisk::new(&MemoryBackend::new());
        let folder = SnapshotFolder::in_memory(&disk);
        let mut partial = folder.begin(manifest(), b"certificate").unwrap();
        assert!(partial.put(0, &chunk(0)).unwrap());
        disk.make_unreadable(&folder.path().join(name));
        assert!(folder.resume().unwrap().is_none(), "{name}");
        assert!(folder.names().unwrap().is_empty(), "{name}");
        folder.begin(manifest(), b"certificate").unwrap();
        assert!(folder.resume().unwrap().is_some(), "{name}");
    }
}

/// What is done up to a certain step of making it one of the folder, and then the process dies.
#[test]
fn a_fetched_snapshot_whose_naming_was_cut_short_is_not_fetched_again() {
    let (manifest, certificate) = (manifest(), vec![8; CERTIFICATE_BYTES]);
    let power = MemoryBackend::new();
    let disk = MemoryDisk::new(&power);
    let folder = SnapshotFolder::in_memory(&disk);
    let mut partial = folder.begin(manifest.clone(), &certificate).unwrap();
    (0..2).for_each(|number| assert!(partial.put(number, &chunk(number)).unwrap()));
    partial.file.sync_all().unwrap();
    folder.put_certificate(HEIGHT, &certificate).unwrap();
    folder.put_fetched(&manifest).unwrap();
    let data = folder.data_path(HEIGHT);
    folder.disk.rename(&partial.path, &data).unwrap();
    let killed = disk.process_kill(&MemoryBackend::new());
    folder.sync().unwrap();
    let synced = disk.process_kill(&MemoryBackend::new());
    let dark = disk.power_cut(&MemoryBackend::new(), |_| false);
    for disk in [killed, synced, dark] {
        let folder = SnapshotFolder::in_memory(&disk);
        for _ in 0..2 {
            folder.clean().unwrap();
            assert!(folder.heights().unwrap().is_empty());
            let (resumed, beside) = folder.resume().unwrap().expect("all that was fetched");
            assert_eq!((resumed.progress(), &beside), ((2, 2), &certificate));
        }
        let (whole, _) = folder.resume().unwrap().unwrap();
        folder.finish(whole, &certificate).unwrap();
        folder.clean().unwrap();
        assert_eq!(folder.verify(HEIGHT).unwrap(), manifest);
        assert!(folder.resume().unwrap().is_none());
    }
    // Before the last step: it is named already, and what was fetched is of another one.
    folder.put_manifest(&manifest).unwrap();
    folder.clean().unwrap();
    assert_eq!(folder.verify(HEIGHT).unwrap(), manifest);
}
