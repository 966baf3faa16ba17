//! Which snapshots are made, which are called good, and which stay as they are.

use super::*;
use crate::inspect::chain::tests::{
    certify, fill_blocks, finalize, header, prune, write_snapshot, written, written_pruned,
};
use quorate_log::Writer;
use std::collections::BTreeMap;

#[test]
fn no_snapshot_is_made_of_a_log_that_may_not_be_on_the_disk() {
    let (data, _) = written("snapshot-suspect", |writer, genesis| {
        let block = header(genesis, 1, genesis.validator_set().genesis().id);
        finalize(writer, &block, None);
    });
    let create = |suspect| {
        let log = DataFolder::open(&data.join("log")).unwrap();
        let lease = restart::LeaseFile {
            suspect,
            ..restart::LeaseFile::default()
        };
        LeaseFile::new(&log).replace(&lease.encode()).unwrap();
        drop(log);
        create(
            &Applications::new(),
            &CreateOptions {
                dir: data.clone(),
                height: None,
            },
        )
    };
    let refused = create(true).err().unwrap();
    assert_eq!(refused.code as u8, 3, "{refused}");
    assert!(refused.to_string().contains("failed sync"), "{refused}");
    let snapshots = snapshots_beside(&data.join("log"));
    assert!(snapshots.heights().unwrap().is_empty());
    // Without suspicion the same log is taken, or not, for what it holds.
    let other = create(false);
    assert!(other.is_ok() || !other.err().unwrap().to_string().contains("failed sync"));
    fs::remove_dir_all(data).unwrap();
}

#[test]
fn of_a_pruned_log_a_snapshot_is_made_from_the_newest_one_below() {
    let fill = |writer: &mut Writer, genesis: &Genesis| fill_blocks(writer, genesis, 400);
    let (data, chain) = written("snapshot-pruned", fill);
    let snapshots = snapshots_beside(&data.join("log"));
    let create = |height| {
        let applications = Applications::new();
        let options = CreateOptions {
            dir: data.clone(),
            height,
        };
        create(&applications, &options).map(|report| report.json["snapshots"][0].clone())
    };
    let whole = create(None).unwrap();
    snapshots.remove(400).unwrap();
    for height in [100, 300, 350] {
        create(Some(height)).unwrap();
    }
    let below = prune(&data, &chain.genesis, 2).below;
    assert!(100 < below && below < 300, "{below}");
    assert_eq!(create(None).unwrap(), whole);
    // One that is damaged is passed over.
    let newest = snapshots.path().join(format!("snapshot-{:020}.data", 350));
    fs::write(&newest, b"").unwrap();
    assert_eq!(create(None).unwrap(), whole);
    let refused = create(Some(300)).unwrap_err();
    assert_eq!(refused.code, Code::Configuration);
    let told = refused.to_string();
    assert!(
        told.contains("--height") && !told.contains("--from-snapshot"),
        "{told}"
    );
    fs::remove_dir_all(data).unwrap();
}

#[test]
fn what_is_wrong_with_a_snapshot_ends_with_the_code_of_what_it_is_a_case_of() {
    let (data, chain) = written("snapshot-codes", |_, _| ());
    let (genesis, snapshots) = (&chain.genesis, snapshots_beside(&data.join("log")));
    let parent = genesis.validator_set().genesis().id;
    // Its sections are none of the application's, which nobody has damaged.
    write_snapshot(genesis, &snapshots, header(genesis, 1, parent));
    let code = |verifies: bool| {
        let options = Options {
            dir: data.clone(),
            height: None,
        };
        let applications = Applications::new();
        let found = look(&options, verifies.then_some(&applications)).unwrap();
        assert_eq!(found.code != Code::Done, found.text.contains("FAULTY"));
        found.code
    };
    assert_eq!([code(false), code(true)], [Code::Done, Code::Configuration]);
    let file = |ending: &str| {
        let name = format!("snapshot-{:020}.{ending}", 1);
        snapshots.path().join(name)
    };
    // Too many links are nothing that the disk has lost either; see docs/operations.md.
    fs::rename(file("data"), file("kept")).unwrap();
    assert_eq!(code(true), Code::Damaged, "its data is missing");
    fs::rename(file("kept"), file("data")).unwrap();
    fs::write(file("certificate"), b"damaged").unwrap();
    assert_eq!(code(false), Code::Damaged);
    fs::remove_file(file("certificate")).unwrap();
    write_snapshot(genesis, &snapshots, header(genesis, 2, parent));
    fs::write(file("data"), b"tex!").unwrap();
    assert_eq!(code(true), Code::Damaged, "the worst of both");
    for (errno, expected) in [(13, 3), (24, 75), (5, 70), (2, 5)] {
        let error = SnapshotError::Io {
            path: file("data"),
            action: "read",
            source: io::Error::from_raw_os_error(errno),
        };
        assert_eq!(code_of(&error) as u8, expected, "{errno}");
    }
    // Of several without damage a disk that fails is the worst, whichever comes last.
    for others in [Code::Configuration, Code::TryAgain, Code::No] {
        let (disk, damaged) = (Code::DiskFailed, Code::Damaged);
        assert_eq!(worst([disk, others]), Some(disk));
        assert_eq!(worst([others, disk]), Some(disk));
        assert_eq!(worst([damaged, disk, others]), Some(damaged));
    }
    fs::remove_dir_all(data).unwrap();
}

#[test]
fn a_pruned_log_without_a_snapshot_is_not_called_good() {
    let (data, chain) = written_pruned("snapshot-unnamed");
    let log = data.join("log");
    let looked = |height, closely| {
        let options = Options {
            dir: data.clone(),
            height,
        };
        look(&options, closely)
    };
    let applications = Applications::new();
    let verified = || looked(None, Some(&applications)).unwrap();
    // Where nobody has looked there is no "no".
    let is_silent = |report: &Report| {
        let keys = ["lacks_base", "without_manifest"];
        keys.map(|key| report.json.get(key)) == [Some(&serde_json::Value::Null); 2]
    };
    let name = |ending: &str| {
        let name = format!("snapshot-{:020}.{ending}", 400);
        snapshots_beside(&log).path().join(name)
    };
    let whole = verified();
    assert_eq!(whole.json["lacks_base"], false, "{}", whole.text);
    assert_eq!(whole.json["without_manifest"], serde_json::json!([]));
    assert!(is_silent(&looked(Some(400), Some(&applications)).unwrap()));
    fs::remove_file(name("manifest")).unwrap();
    assert!(is_silent(&looked(None, None).unwrap()));
    let lost = verified();
    assert_eq!(lost.code, Code::Damaged);
    assert_eq!(lost.json["lacks_base"], true);
    assert_eq!(lost.json["without_manifest"], serde_json::json!([400]));
    assert!(
        lost.text
            .contains("no manifest beside the data of height 400"),
        "{}",
        lost.text
    );
    // Its validator runs: it may be taking one.
    let running = DataFolder::open(&log).unwrap();
    let beside = verified();
    assert_eq!((beside.code, is_silent(&beside)), (Code::Done, true));
    drop(running);
    // Whether it runs cannot be told: nothing is called good for that.
    let lock = log.join("lock");
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink("lock", &lock).unwrap();
    assert!(looked(None, Some(&applications)).is_err());
    fs::remove_file(&lock).unwrap();
    // Another one is there to go on from: what a crash leaves is no damage.
    let genesis = &chain.genesis;
    let other = header(genesis, 399, genesis.validator_set().genesis().id);
    write_snapshot(genesis, &snapshots_beside(&log), other);
    assert_eq!(verified().json["lacks_base"], false);
    fs::remove_dir_all(data).unwrap();
}

/// What stands in a folder, by name.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap();
    let entries = entries.map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn a_snapshot_that_others_vouch_for_is_never_replaced_by_another_state() {
    let fill = |writer: &mut Writer, genesis: &Genesis| fill_blocks(writer, genesis, 100);
    let (data, chain) = written("snapshot-create-vouched", fill);
    let (genesis, snapshots) = (&chain.genesis, snapshots_beside(&data.join("log")));
    let create = || {
        let options = CreateOptions {
            dir: data.clone(),
            height: Some(64),
        };
        create(&Applications::new(), &options)
    };
    create().unwrap();
    let own = snapshots.manifest(64).unwrap();
    certify(genesis, &snapshots, &own, 1);
    let before = files(snapshots.path());
    let again = create().unwrap();
    assert_eq!(again.code, Code::Done);
    assert!(again.text.contains("nothing was written"), "{}", again.text);
    assert_eq!(files(snapshots.path()), before);
    // One whose data is damaged is made whole.
    let damaged = snapshots.path().join(format!("snapshot-{:020}.data", 64));
    fs::write(&damaged, b"").unwrap();
    let mended = create().unwrap();
    assert!(!mended.text.contains("nothing"), "{}", mended.text);
    assert_eq!(files(snapshots.path()), before);
    let bytes = fs::read(&damaged).unwrap();
    // Of another state than this build comes to: it stays, and that is told.
    let others = write_snapshot(genesis, &snapshots, own.header);
    certify(genesis, &snapshots, &others, 1);
    let before = files(snapshots.path());
    let refused = create().unwrap_err();
    assert_eq!(refused.code, Code::No);
    let told = refused.to_string();
    assert!(told.contains("section text is another"), "{told}");
    assert_eq!(files(snapshots.path()), before);
    // And of another block, which comes to the same roots.
    let mut block = own.header;
    block.time_ns += 1;
    let mut writer = snapshots.write(64).unwrap();
    writer.push(&bytes).unwrap();
    let others = writer.finish(Manifest {
        header: block,
        chunks: Vec::new(),
        ..own
    });
    certify(genesis, &snapshots, &others.unwrap(), 1);
    let told = create().unwrap_err().to_string();
    assert!(told.contains("the block is another"), "{told}");
    // Where only the certificate of another state is left, what was taken is called faulty.
    for ending in ["data", "manifest"] {
        let name = format!("snapshot-{:020}.{ending}", 64);
        fs::remove_file(snapshots.path().join(name)).unwrap();
    }
    let faulty = create().unwrap();
    assert_eq!(faulty.code, Code::No);
    assert!(faulty.text.contains("FAULTY: height 64"), "{}", faulty.text);
    fs::remove_dir_all(data).unwrap();
}

/// The application has another encoding now: the roots are equal, and the files whole.
#[test]
fn a_snapshot_that_this_build_does_not_take_is_made_anew_and_that_is_told() {
    let fill = |writer: &mut Writer, genesis: &Genesis| fill_blocks(writer, genesis, 100);
    let (data, chain) = written("snapshot-encoding", fill);
    let (genesis, snapshots) = (&chain.genesis, snapshots_beside(&data.join("log")));
    let create = || {
        let options = CreateOptions {
            dir: data.clone(),
            height: Some(64),
        };
        create(&Applications::new(), &options).unwrap()
    };
    create();
    let own = snapshots.manifest(64).unwrap();
    let file = snapshots.path().join(format!("snapshot-{:020}.data", 64));
    let bytes = fs::read(&file).unwrap();
    let old: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    let mut writer = snapshots.write(64).unwrap();
    writer.push(&old).unwrap();
    let others = writer.finish(Manifest {
        chunks: Vec::new(),
        ..own
    });
    certify(genesis, &snapshots, &others.unwrap(), 1);
    snapshots.verify(64).unwrap();
    let made = create();
    assert_eq!(fs::read(&file).unwrap(), bytes, "{}", made.text);
    assert_eq!(made.code, Code::No);
    assert!(
        made.text.contains("certificate is of another state"),
        "{}",
        made.text
    );
    fs::remove_dir_all(data).unwrap();
}

#[test]
fn a_snapshot_of_which_the_system_does_not_say_who_vouches_is_not_replaced() {
    let fill = |writer: &mut Writer, genesis: &Genesis| fill_blocks(writer, genesis, 100);
    let (data, chain) = written("snapshot-refused", fill);
    let (genesis, snapshots) = (&chain.genesis, snapshots_beside(&data.join("log")));
    let options = CreateOptions {
        dir: data.clone(),
        height: Some(64),
    };
    let create = || create(&Applications::new(), &options);
    create().unwrap();
    let own = snapshots.manifest(64).unwrap();
    let file = |ending: &str| {
        let name = format!("snapshot-{:020}.{ending}", 64);
        snapshots.path().join(name)
    };
    // Whoever may read everything is refused too many links all the same.
    let refuse = |ending: &str| {
        fs::rename(file(ending), data.join("kept")).unwrap();
        std::os::unix::fs::symlink(file(ending), file(ending)).unwrap();
    };
    let allow = |ending: &str| fs::rename(data.join("kept"), file(ending)).unwrap();
    certify(genesis, &snapshots, &own, 1);
    refuse("data");
    assert_eq!(create().unwrap_err().code, Code::Configuration);
    allow("data");
    // What this build would write in its place is of another state.
    let others = write_snapshot(genesis, &snapshots, own.header);
    certify(genesis, &snapshots, &others, 1);
    let before = files(snapshots.path());
    for ending in ["certificate", "manifest"] {
        refuse(ending);
        let refused = create().unwrap_err();
        assert_eq!(refused.code, Code::Configuration, "{refused}");
        allow(ending);
        assert_eq!(files(snapshots.path()), before, "{ending}");
    }
    fs::remove_dir_all(data).unwrap();
}

#[test]
fn who_begins_at_a_height_without_a_snapshot_is_told_where_to_see_which_there_are() {
    let (data, chain) = written("snapshot-none", |_, _| ());
    let (genesis, log) = (chain.genesis, data.join("log"));
    let snapshots = snapshots_beside(&log);
    let parent = genesis.validator_set().genesis().id;
    for is_another_there in [false, true] {
        if is_another_there {
            write_snapshot(&genesis, &snapshots, header(&genesis, 1, parent));
        }
        let (from, end) = (Some((99, &snapshots)), u64::MAX);
        let applications = Applications::new();
        let mut on_block = |_: &mut _, _: &_, _: &_| {};
        let begun = Replay::begin(&applications, &genesis, &log, from, end, &mut on_block);
        let refused = begun.err().unwrap();
        assert_eq!(refused.code, Code::Configuration);
        let told = refused.to_string();
        assert!(told.contains("no snapshot of height 99"), "{told}");
        assert!(told.contains("quorate snapshot list"), "{told}");
    }
    fs::remove_dir_all(data).unwrap();
}

#[test]
fn a_snapshot_that_is_removed_while_they_are_looked_at_is_no_faulty_one() {
    let (data, chain) = written("snapshot-gone", |_, _| ());
    let (genesis, snapshots) = (chain.genesis, snapshots_beside(&data.join("log")));
    let parent = genesis.validator_set().genesis().id;
    for height in 1..=3 {
        write_snapshot(&genesis, &snapshots, header(&genesis, height, parent));
    }
    let heights = snapshots.heights().unwrap();
    snapshots.remove(1).unwrap();
    let name = format!("snapshot-{:020}.manifest", 2);
    fs::write(snapshots.path().join(name), b"damaged").unwrap();
    let described = describe_all(&genesis, &snapshots, &heights, None).unwrap();
    let told: Vec<_> = described
        .iter()
        .map(|one| (one.height, one.fault.is_some()))
        .collect();
    assert_eq!(told, [(2, true), (3, false)]);
    fs::remove_dir_all(data).unwrap();
}

#[test]
fn nobody_vouches_by_a_signature_that_does_not_hold() {
    let (data, chain) = written("snapshot-vouched", |_, _| ());
    let (genesis, snapshots) = (chain.genesis, snapshots_beside(&data.join("log")));
    let parent = genesis.validator_set().genesis().id;
    let manifest = write_snapshot(&genesis, &snapshots, header(&genesis, 1, parent));
    let described = |seed| {
        certify(&genesis, &snapshots, &manifest, seed);
        describe(&genesis, &snapshots, 1, None).unwrap()
    };
    let good = described(1);
    assert_eq!((good.vouched_by, good.fault), (vec![0], None));
    let forged = described(2);
    assert!(forged.vouched_by.is_empty());
    assert_eq!(
        forged.fault.as_deref(),
        Some("its certificate does not hold")
    );
    // One that holds says nothing of another state of the same block.
    let mut other = manifest.clone();
    other.sections[0].root = [6; 32];
    certify(&genesis, &snapshots, &other, 1);
    let of_another = describe(&genesis, &snapshots, 1, None).unwrap();
    assert!(of_another.vouched_by.is_empty());
    assert_eq!(
        of_another.fault.as_deref(),
        Some("its certificate is of another state")
    );
    fs::remove_dir_all(data).unwrap();
}
