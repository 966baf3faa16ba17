//! A state into a snapshot and out of it; damage, strangers, and applications that forget.

use std::sync::Arc;

use quorate_consensus::types::{BlockId, Height};
use quorate_log::MemoryBackend;

use super::*;
use crate::results::BlockResults;
use crate::roots::EVENTS_SECTION;
use crate::snapshot::{CHUNK_BYTES, MemoryDisk};
use crate::state_machine::{Context, Output};
use crate::testing::{TemporaryFolder, final_block, sample_genesis};

/// Two sections: all text so far, and a timer.
#[derive(Debug, Default)]
struct Pair {
    text: Vec<u8>,
    due_ns: Option<u64>,
    /// What `restore_section` is to do wrong.
    is_lossy: bool,
    /// What it calls its sections, where that is something else.
    renamed: Option<&'static [&'static str]>,
}

impl StateMachine for Pair {
    fn sections(&self) -> &'static [&'static str] {
        self.renamed.unwrap_or(&["text", "timers"])
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        self.text.extend_from_slice(command);
        self.due_ns = Some(context.time_ns + 1000);
        output.to_session(context.session, command);
    }

    fn timer_next_ns(&self) -> Option<u64> {
        self.due_ns
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        let mut bytes = Vec::new();
        self.snapshot_section(section, &mut bytes);
        *blake3::hash(&bytes).as_bytes()
    }

    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
        match section {
            0 => bytes.extend_from_slice(&self.text),
            _ => bytes.extend_from_slice(&self.due_ns.unwrap_or_default().to_le_bytes()),
        }
    }

    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        if section == 0 {
            self.text = bytes.to_vec();
            return Ok(());
        }
        let due = bytes.try_into().map_err(|_| "no time".to_owned())?;
        self.due_ns = Some(u64::from_le_bytes(due)).filter(|&due| due != 0 && !self.is_lossy);
        Ok(())
    }

    fn query(&self, _question: &[u8], answer: &mut Vec<u8>) {
        answer.extend_from_slice(&self.text);
    }
}

struct Scene {
    set: Arc<ValidatorSet>,
    executor: Executor<Pair>,
    header: Header,
    folder: SnapshotFolder,
    _temporary: TemporaryFolder,
}

fn fresh(set: &ValidatorSet) -> Executor<Pair> {
    Executor::new(Pair::default(), 8, set.genesis_time_ns())
}

/// A snapshot that nobody has tried to restore.
fn write(
    executor: &mut Executor<Pair>,
    header: &Header,
    origin: &Origin,
    folder: &SnapshotFolder,
) -> Result<Manifest, SnapshotError> {
    let (writer, manifest) = save(executor, header, origin, folder)?;
    writer.finish(manifest)
}

/// Two blocks, whose text fills more than two chunks.
fn scene() -> Scene {
    let set = Arc::clone(sample_genesis(4).0.validator_set());
    let mut executor = fresh(&set);
    let text = vec![7; CHUNK_BYTES as usize / 20];
    let mut results = BlockResults::new();
    let mut parent = set.genesis().id;
    for height in 1..=3 {
        let commands: Vec<_> = (1..=15)
            .map(|seq| (3_u8, (height - 1) * 15 + seq, &text[..]))
            .collect();
        let block = final_block(&set, height, parent, &commands);
        executor.execute(&block, &mut results).unwrap();
        parent = block.id;
    }
    let header = final_block(&set, 3, BlockId::new([0; 32]), &[]).header;
    let temporary = TemporaryFolder::new("snapshot");
    Scene {
        set,
        executor,
        header,
        folder: SnapshotFolder::new(temporary.path().join("snapshots")),
        _temporary: temporary,
    }
}

#[test]
fn a_restored_state_has_the_root_and_goes_on_as_the_one_it_was_taken_from() {
    let mut scene = scene();
    let origin = Origin::of(&scene.set);
    let manifest = write(&mut scene.executor, &scene.header, &origin, &scene.folder).unwrap();
    assert_eq!(manifest.chunks.len(), 3);
    assert_eq!(scene.folder.heights().unwrap(), [3]);
    assert_eq!(scene.folder.verify(3).unwrap(), manifest);

    let mut other = fresh(&scene.set);
    let restored = restore(&mut other, 3, &origin, &scene.folder).unwrap();
    assert_eq!(restored.root(), manifest.root());
    assert_eq!(other.root(), scene.executor.root());
    assert_eq!(other.timer_next_ns(), scene.executor.timer_next_ns());
    // A repeated command is a duplicate with its old place, the next one applies.
    let (mut one, mut two) = (BlockResults::new(), BlockResults::new());
    let block = final_block(
        &scene.set,
        4,
        scene.header.id(),
        &[(3, 45, b"x"), (3, 46, b"y")],
    );
    scene.executor.execute(&block, &mut one).unwrap();
    other.execute(&block, &mut two).unwrap();
    // Which command that was, a validator that did not execute it does not know.
    assert_eq!(two.commands[0].mark, None);
    one.commands[0].mark = None;
    assert_eq!(one.commands, two.commands);
    assert!(one.outputs().eq(two.outputs()));
    assert_eq!(other.root(), scene.executor.root());
}

#[test]
fn the_same_state_makes_the_same_snapshot_anywhere() {
    let mut scene = scene();
    let origin = Origin::of(&scene.set);
    let first = write(&mut scene.executor, &scene.header, &origin, &scene.folder).unwrap();
    let elsewhere = SnapshotFolder::new(scene.folder.path().join("elsewhere"));
    let mut copy = fresh(&scene.set);
    restore(&mut copy, 3, &origin, &scene.folder).unwrap();
    let second = write(&mut copy, &scene.header, &origin, &elsewhere).unwrap();
    assert_eq!(first, second);
}

#[test]
fn a_state_whose_outputs_end_at_another_height_is_refused() {
    let mut scene = scene();
    let origin = Origin::of(&scene.set);
    let other = final_block(&scene.set, 4, BlockId::new([0; 32]), &[]).header;
    write(&mut scene.executor, &other, &origin, &scene.folder).unwrap();
    let refused = restore(&mut fresh(&scene.set), 4, &origin, &scene.folder);
    let Err(SnapshotError::Restore { section, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(section, "outputs");
}

/// Each root is right: it is that of the bytes.
#[test]
fn a_state_whose_public_events_end_at_another_height_is_refused() {
    let mut scene = scene();
    let origin = Origin::of(&scene.set);
    let next = final_block(&scene.set, 4, scene.header.id(), &[]);
    let events = scene
        .executor
        .section_names()
        .iter()
        .position(|name| *name == EVENTS_SECTION)
        .unwrap();
    let mut before = Vec::new();
    scene.executor.save_section(events, &mut before);
    scene
        .executor
        .execute(&next, &mut BlockResults::new())
        .unwrap();
    scene.executor.restore_section(events, &before).unwrap();
    write(&mut scene.executor, &next.header, &origin, &scene.folder).unwrap();
    let refused = restore(&mut fresh(&scene.set), 4, &origin, &scene.folder);
    let Err(SnapshotError::Restore { what, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(what.contains("after height 3, not 4"), "{what}");
}

#[test]
fn a_damaged_chunk_is_named_before_the_state_is_touched() {
    let mut scene = scene();
    let origin = Origin::of(&scene.set);
    write(&mut scene.executor, &scene.header, &origin, &scene.folder).unwrap();
    let data = scene
        .folder
        .path()
        .join("snapshot-00000000000000000003.data");
    let whole = std::fs::read(&data).unwrap();
    let mut bytes = whole.clone();
    bytes[CHUNK_BYTES as usize + 5] ^= 1;
    std::fs::write(&data, &bytes).unwrap();
    let mut other = fresh(&scene.set);
    let before = other.root();
    let refused = restore(&mut other, 3, &origin, &scene.folder);
    assert!(
        matches!(refused, Err(SnapshotError::Chunk { chunk: 1, .. })),
        "{refused:?}"
    );
    assert_eq!((other.height(), other.root()), (0, before));

    std::fs::write(&data, &whole[1..]).unwrap();
    let refused = scene.folder.verify(3);
    assert!(
        matches!(refused, Err(SnapshotError::Length { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_snapshot_of_another_chain_genesis_or_set_is_refused() {
    let mut scene = scene();
    let origin = Origin::of(&scene.set);
    write(&mut scene.executor, &scene.header, &origin, &scene.folder).unwrap();
    let others = [
        Origin {
            chain_id: [0; 32],
            ..origin
        },
        Origin {
            genesis_hash: [0; 32],
            ..origin
        },
        Origin {
            set_hash: [0; 32],
            ..origin
        },
    ];
    for other in others {
        let refused = restore(&mut fresh(&scene.set), 3, &other, &scene.folder);
        assert!(
            matches!(refused, Err(SnapshotError::Foreign { height: 3, .. })),
            "{refused:?}"
        );
    }
}

/// Bytes that one section takes may be another's: the root would be right, and the state not.
#[test]
fn a_snapshot_of_other_sections_is_refused_before_the_state_is_touched() {
    let mut scene = scene();
    let origin = Origin::of(&scene.set);
    write(&mut scene.executor, &scene.header, &origin, &scene.folder).unwrap();
    let others: [(&'static [&'static str], &str); 5] = [
        (
            &["text", "clock"],
            r#"section "timers" of the snapshot stands where the application has "clock""#,
        ),
        (
            &["words", "timers"],
            r#"section "text" of the snapshot stands where the application has "words""#,
        ),
        (
            &["timers", "text"],
            r#"section "text" of the snapshot stands where the application has "timers""#,
        ),
        (
            &["text"],
            r#"section "timers" of the snapshot is none of the application's"#,
        ),
        (
            &["text", "timers", "more"],
            r#"section "more" of the application is not in the snapshot"#,
        ),
    ];
    for (names, told) in others {
        let renamed = Pair {
            renamed: Some(names),
            ..Pair::default()
        };
        let mut other = Executor::new(renamed, 8, scene.set.genesis_time_ns());
        let before = other.root();
        let refused = restore(&mut other, 3, &origin, &scene.folder).unwrap_err();
        assert!(
            matches!(refused, SnapshotError::Sections { .. }),
            "{refused:?}"
        );
        assert_eq!(refused.to_string(), told);
        assert_eq!((other.height(), other.root()), (0, before), "{names:?}");
    }
}

#[test]
fn an_application_that_forgets_a_part_of_its_state_is_found_out() {
    let mut scene = scene();
    let origin = Origin::of(&scene.set);
    write(&mut scene.executor, &scene.header, &origin, &scene.folder).unwrap();
    let lossy = Pair {
        is_lossy: true,
        ..Pair::default()
    };
    let mut other = Executor::new(lossy, 8, 0);
    let refused = restore(&mut other, 3, &origin, &scene.folder);
    assert!(
        matches!(&refused, Err(SnapshotError::Root { section }) if section == "timers"),
        "{refused:?}"
    );
    // What to do about that has nothing to do with the disk.
    let told = crate::recovery::RecoveryError::from(refused.unwrap_err()).to_string();
    assert!(
        told.contains("run the build that wrote the snapshot"),
        "{told}"
    );
}

/// There is no moment at which a crash leaves one that no start gets past.
#[test]
fn what_an_application_does_not_restore_is_never_a_snapshot() {
    let set = Arc::clone(sample_genesis(4).0.validator_set());
    let block = final_block(&set, 1, set.genesis().id, &[(3, 1, b"text")]);
    let temporary = TemporaryFolder::new("untried");
    for is_lossy in [false, true] {
        let app = Pair {
            is_lossy,
            ..Pair::default()
        };
        let mut executor = Executor::new(app, 8, set.genesis_time_ns());
        executor.execute(&block, &mut BlockResults::new()).unwrap();
        let before = executor.root();
        let folder = SnapshotFolder::new(temporary.path().join(is_lossy.to_string()));
        let taken = take(&mut executor, &block.header, &Origin::of(&set), &folder);
        if is_lossy {
            assert!(
                matches!(&taken, Err(SnapshotError::Root { section }) if section == "timers"),
                "{taken:?}"
            );
            assert!(folder.names().unwrap().is_empty());
        } else {
            assert_eq!(folder.verify(1).unwrap(), taken.unwrap());
            assert_eq!(executor.root(), before);
        }
    }
}

/// The state is the same, and so are the bytes that its manifest names.
#[test]
fn a_damaged_snapshot_is_not_made_whole_by_what_its_application_does_not_restore() {
    let set = Arc::clone(sample_genesis(4).0.validator_set());
    let block = final_block(&set, 1, set.genesis().id, &[(3, 1, b"text")]);
    let temporary = TemporaryFolder::new("damaged");
    let folder = SnapshotFolder::new(temporary.path().join("snapshots"));
    let take_by = |is_lossy: bool| {
        let app = Pair {
            is_lossy,
            ..Pair::default()
        };
        let mut executor = Executor::new(app, 8, set.genesis_time_ns());
        executor.execute(&block, &mut BlockResults::new()).unwrap();
        take(&mut executor, &block.header, &Origin::of(&set), &folder)
    };
    take_by(false).unwrap();
    let data = folder.data_path(1);
    let mut bytes = std::fs::read(&data).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&data, &bytes).unwrap();
    take_by(true).unwrap_err();
    let error = folder.verify(1).unwrap_err();
    assert!(matches!(error, SnapshotError::Chunk { .. }), "{error}");
    assert_eq!(std::fs::read(&data).unwrap(), bytes, "nothing is new");
    take_by(false).unwrap();
    folder.verify(1).unwrap();
}

/// The state of none, and of none whole, is no state to execute history on.
#[test]
fn a_start_does_not_begin_at_genesis_with_a_part_of_a_snapshot() {
    let mut scene = scene();
    let disk = MemoryDisk::new(&MemoryBackend::new());
    let folder = SnapshotFolder::in_memory(&disk);
    let origin = Origin::of(&scene.set);
    let manifest = write(&mut scene.executor, &scene.header, &origin, &folder).unwrap();
    let chunks = u32::try_from(manifest.chunks.len()).unwrap();
    let restore = |reads| {
        disk.set_reads_left(reads);
        let mut executor = fresh(&scene.set);
        crate::recovery::restore_newest(&folder, &scene.set, &mut executor, None)
    };
    for reads in [chunks - 1, chunks] {
        assert!(restore(Some(reads)).unwrap().is_none(), "untouched");
    }
    assert!(restore(Some(chunks + 1)).is_err());
    assert!(restore(None).unwrap().is_some());
}

#[test]
fn a_snapshot_is_there_when_its_manifest_is_and_old_ones_go_first() {
    let mut scene = scene();
    let origin = Origin::of(&scene.set);
    for height in [1, 2, 3] {
        scene.header.height = Height::new(height);
        write(&mut scene.executor, &scene.header, &origin, &scene.folder).unwrap();
    }
    // Written and never finished: a crash in between.
    let half = "snapshot-00000000000000000009.data.new";
    std::fs::write(scene.folder.path().join(half), b"half").unwrap();
    assert_eq!(scene.folder.heights().unwrap(), [1, 2, 3]);
    scene.folder.keep_newest(2, &[]).unwrap();
    assert_eq!(scene.folder.heights().unwrap(), [2, 3]);
    let orphan = "snapshot-00000000000000000008.data";
    std::fs::write(scene.folder.path().join(orphan), b"no manifest").unwrap();
    std::fs::write(scene.folder.path().join("another"), b"not ours").unwrap();
    // An operator's own, and a folder where a file should be.
    let others = [
        "snapshot-00000000000000000008.data.copy",
        "snapshot-of-monday.data",
        "snapshot-8.manifest.new",
    ];
    for name in others {
        std::fs::write(scene.folder.path().join(name), b"not ours").unwrap();
    }
    let odd = "snapshot-00000000000000000007.data";
    std::fs::create_dir(scene.folder.path().join(odd)).unwrap();
    scene.folder.clean().unwrap();
    let left = std::fs::read_dir(scene.folder.path()).unwrap();
    assert_eq!(left.count(), 5 + others.len() + 1);
    assert!(!scene.folder.path().join(orphan).exists());
    assert!(scene.folder.verify(2).is_ok() && scene.folder.verify(3).is_ok());
    assert!(scene.folder.verify(1).is_err());
}

#[test]
fn a_disk_that_is_full_keeps_whole_snapshots_alone() {
    let mut scene = scene();
    let origin = Origin::of(&scene.set);
    let disk = MemoryDisk::new(&MemoryBackend::new());
    let folder = SnapshotFolder::in_memory(&disk);
    let mut take_at = |height: u64| {
        scene.header.height = Height::new(height);
        write(&mut scene.executor, &scene.header, &origin, &folder)
    };
    let names = || {
        let mut names = folder.disk.names(folder.path()).unwrap();
        names.sort_unstable();
        names
    };
    let manifest = take_at(1).unwrap();
    let (data_bytes, manifest_bytes) = (manifest.data_bytes() as usize, manifest.seal().len());
    let whole = names();
    // Room for nothing, a part of the first chunk, a part of the last one, and for all of the data
    // without its manifest, or with a part of it.
    let chunk = CHUNK_BYTES as usize;
    let data_all = data_bytes + manifest_bytes;
    for room in [0, 7, chunk + 9, data_bytes - 1, data_bytes, data_all - 1] {
        disk.set_bytes_max(Some(data_all + room));
        for height in [2, 3] {
            let refused = take_at(height);
            assert!(
                matches!(&refused, Err(SnapshotError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::StorageFull),
                "{room}: {refused:?}"
            );
            assert_eq!(names(), whole, "{room}");
        }
    }
    // One that is there stays, whatever becomes of a second attempt at its height.
    disk.set_bytes_max(Some(data_all + 7));
    take_at(1).unwrap_err();
    assert_eq!(names(), whole);
    folder.verify(1).unwrap();
    disk.set_bytes_max(Some(2 * data_all));
    take_at(2).unwrap();
    assert_eq!(folder.heights().unwrap(), [1, 2]);
    folder.verify(2).unwrap();
}

/// A log that was not pruned would be executed from genesis, and one that was be taken for damaged.
#[test]
fn a_start_passes_over_what_is_damaged_and_not_over_what_it_may_not_read() {
    let mut scene = scene();
    let origin = Origin::of(&scene.set);
    write(&mut scene.executor, &scene.header, &origin, &scene.folder).unwrap();
    scene.folder.put_certificate(3, b"none that holds").unwrap();
    let restore = |reach| {
        crate::recovery::restore_newest(&scene.folder, &scene.set, &mut fresh(&scene.set), reach)
    };
    let path = |ending: &str| {
        let names = std::fs::read_dir(scene.folder.path()).unwrap();
        let mut paths = names.map(|name| name.unwrap().path());
        let found = paths.find(|path| path.extension().unwrap() == ending);
        found.expect("it is there")
    };
    assert!(restore(None).unwrap().is_some());
    assert!(restore(Some(2)).unwrap().is_none(), "nobody vouches for it");
    for ending in ["data", "manifest", "certificate"] {
        let path = path(ending);
        let aside = path.with_extension("aside");
        std::fs::rename(&path, &aside).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
        for reach in [None, Some(2)] {
            // Whether somebody vouches for it matters above damage, and nothing else then.
            if [("data", Some(2)), ("certificate", None)].contains(&(ending, reach)) {
                continue;
            }
            let refused = restore(reach).expect_err(ending).to_string();
            assert!(refused.contains(ending), "{refused}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
    }
    assert!(restore(None).unwrap().is_some());
    let data = path("data");
    let whole = std::fs::read(&data).unwrap();
    std::fs::write(&data, &whole[..whole.len() - 1]).unwrap();
    assert!(restore(None).unwrap().is_none());
    std::fs::remove_file(&data).unwrap();
    assert!(restore(None).unwrap().is_none());
}

/// Somebody may have copied files by hand; the state would be put in as that of another height.
#[test]
fn a_snapshot_under_the_name_of_another_height_is_passed_over() {
    let mut scene = scene();
    let origin = Origin::of(&scene.set);
    write(&mut scene.executor, &scene.header, &origin, &scene.folder).unwrap();
    let next = final_block(&scene.set, 4, scene.header.id(), &[]);
    let results = &mut BlockResults::new();
    scene.executor.execute(&next, results).unwrap();
    write(&mut scene.executor, &next.header, &origin, &scene.folder).unwrap();
    scene.folder.put_certificate(4, b"of height 4").unwrap();
    for ending in ["data", "manifest", "certificate"] {
        let path = |height: u64| {
            let name = format!("snapshot-{height:020}.{ending}");
            scene.folder.path().join(name)
        };
        std::fs::rename(path(4), path(5)).unwrap();
    }
    let found = scene.folder.manifest(5);
    assert!(
        matches!(found, Err(SnapshotError::Misnamed { height: 4, .. })),
        "{found:?}"
    );
    let mut other = fresh(&scene.set);
    let restored = crate::recovery::restore_newest(&scene.folder, &scene.set, &mut other, None);
    let restored = restored.unwrap().expect("an older one");
    assert_eq!((restored.header, other.height()), (scene.header, 3));
}

#[test]
fn only_what_is_gone_for_good_is_damage() {
    use rustix::io::Errno;
    let of = |source: std::io::Error| SnapshotError::Io {
        path: std::path::PathBuf::new(),
        action: "read the data",
        source,
    };
    for errno in [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::ACCESS,
        Errno::PERM,
        Errno::LOOP,
    ] {
        assert!(!of(errno.into()).is_damage(), "{errno}");
    }
    // What a file system says of metadata that is damaged, too.
    for errno in [
        Errno::IO,
        Errno::NOENT,
        Errno::BADMSG,
        Errno::UCLEAN,
        Errno::ISDIR,
    ] {
        assert!(of(errno.into()).is_damage(), "{errno}");
    }
    for kind in [
        std::io::ErrorKind::InvalidData,
        std::io::ErrorKind::UnexpectedEof,
    ] {
        assert!(of(kind.into()).is_damage(), "{kind}");
    }
}
