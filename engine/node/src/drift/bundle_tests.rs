//! The bundle: what stands in it, its files, and what a start makes of it.

use super::*;
use crate::drift::Recorder;
use crate::genesis::Begins;
use crate::results::BlockResults;
use crate::roots::StateRoot;
use crate::testing::{TemporaryFolder, sample_genesis};
use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::types::{BlockId, Height};

fn statement(height: u64, book: u8) -> StateStatement {
    StateStatement {
        height: Height::new(height),
        id: BlockId::new([3; 32]),
        sections: vec![[1; 32], [book; 32]],
        snapshot: None,
    }
}

fn divergence() -> Divergence {
    Divergence {
        common: Some(statement(64, 5)),
        own: statement(128, 6),
        proven: StateCertificate {
            statement: statement(128, 7),
            signatures: vec![
                (ValidatorIndex::new(1), [1; 64]),
                (ValidatorIndex::new(2), [2; 64]),
            ],
        },
    }
}

fn bundle(data: &Path) -> Bundle {
    let (genesis, _) = sample_genesis(4);
    let facts = Facts::new(data, ValidatorIndex::new(0), &genesis);
    facts.bundle(&divergence(), &["sessions", "book"], &Trace::default())
}

#[test]
fn a_bundle_names_the_section_the_blocks_and_those_who_attest() {
    let bundle = bundle(Path::new("data"));
    assert_eq!(
        (bundle.section.as_str(), bundle.blocks),
        ("book", [65, 128])
    );
    assert_eq!(bundle.common_height(), 64);
    assert_eq!(bundle.proven.sections[1].name, "book");
    assert_eq!(bundle.own.sections[1].root, Hex32([6; 32]));
    let mut bytes = vec![0; bundle.certificate.len() / 2];
    assert!(hex::decode_into(bundle.certificate.as_bytes(), &mut bytes));
    let certificate = wire::decode_state_certificate(&bytes).expect("a certificate");
    assert_eq!(certificate, divergence().proven);
}

/// So `log replay --bisect` begins above it, and no snapshot of the chain before is in question.
#[test]
fn without_a_common_state_the_blocks_in_question_begin_with_the_first_one_of_the_chain() {
    let (genesis, _) = sample_genesis(4);
    let begins = Begins {
        generation: 1,
        of: Hex32(*genesis.hash()),
        height: 77,
        block: Hex32([2; 32]),
        snapshot: Hex32([3; 32]),
    };
    let time_ns = genesis.file().genesis_time_ns;
    let next = genesis.succeed(begins, time_ns, None).expect("good");
    for (genesis, height) in [(genesis, 0), (next, 77)] {
        let facts = Facts::new(Path::new("data"), ValidatorIndex::new(0), &genesis);
        let of = |divergence| facts.bundle(&divergence, &["sessions", "book"], &Trace::default());
        let alone = of(Divergence {
            common: None,
            ..divergence()
        });
        assert_eq!(alone.blocks, [height + 1, 128]);
        assert_eq!(alone.common_height(), height);
        assert_eq!(
            of(divergence()).common_height(),
            64,
            "what is common goes first"
        );
    }
}

#[test]
fn the_session_table_is_named_only_when_no_other_section_differs() {
    let mut divergence = divergence();
    let names = ["sessions", "book"];
    divergence.own.sections[0] = [9; 32];
    assert_eq!(section_of(&divergence, &names), "book");
    divergence.own.sections[1] = divergence.proven.statement.sections[1];
    assert_eq!(section_of(&divergence, &names), "sessions");
    divergence.own.sections[0] = divergence.proven.statement.sections[0];
    assert_eq!(section_of(&divergence, &names), BLOCK_ITSELF);
    divergence.own.sections.push([1; 32]);
    assert_eq!(section_of(&divergence, &names), NO_NAME);
}

#[test]
fn the_outputs_are_named_only_when_no_section_of_the_application_differs() {
    let mut divergence = divergence();
    let names = ["sessions", "outputs", "book"];
    divergence.own.sections = vec![[7; 32], [8; 32], [9; 32]];
    divergence.proven.statement.sections = vec![[1; 32], [2; 32], [3; 32]];
    assert_eq!(section_of(&divergence, &names), "book");
    divergence.own.sections[2] = [3; 32];
    assert_eq!(section_of(&divergence, &names), "outputs");
    divergence.own.sections[1] = [2; 32];
    assert_eq!(section_of(&divergence, &names), "sessions");
}

#[test]
fn what_was_written_is_read_and_what_is_none_says_where() {
    let folder = TemporaryFolder::new("bundle");
    let path = diverged_folder(folder.path());
    let mut written = bundle(folder.path());
    write(&path, written.clone(), &Trace::default()).expect("written");
    let read = read_bundle(&path).expect("read");
    assert_eq!(read.build.program_blake3.len(), 64);
    (written.build, written.processor) = (read.build.clone(), read.processor.clone());
    assert_eq!(read, written);
    assert_eq!(read_trace(&path).expect("read"), Trace::default());
    let json = fs::read_to_string(path.join(BUNDLE_FILE)).expect("there");
    for (bad, part) in [
        (json.replace("\"schema\": 1", "\"schema\": 2"), "schema"),
        (json.replace("\"own\"", "\"mine\""), "not a bundle"),
        (json[..json.len() / 2].to_owned(), "not a bundle"),
    ] {
        fs::write(path.join(BUNDLE_FILE), bad).expect("written");
        let error = read_bundle(&path).expect_err("bad").to_string();
        assert!(
            error.contains(part) && error.contains(BUNDLE_FILE),
            "{error}"
        );
    }
    fs::write(path.join(TRACE_FILE), b"none").expect("written");
    assert!(matches!(read_trace(&path), Err(BundleError::Trace { .. })));
}

#[test]
fn where_a_bundle_is_its_trace_is_too() {
    let folder = TemporaryFolder::new("bundle-trace");
    let path = diverged_folder(folder.path());
    // No file can take this name.
    fs::create_dir_all(path.join(TRACE_FILE).join("taken")).expect("made");
    let refused = write(&path, bundle(folder.path()), &Trace::default());
    assert!(matches!(refused, Err(BundleError::Io { .. })));
    assert!(!path.join(BUNDLE_FILE).exists());
}

#[test]
fn a_stop_waits_for_the_bundle_without_which_the_next_start_would_serve() {
    let folder = TemporaryFolder::new("bundle-stop");
    let (genesis, _) = sample_genesis(4);
    let facts = Facts::new(folder.path(), ValidatorIndex::new(0), &genesis);
    let mut recorder = Recorder::new(facts.into(), Default::default());
    recorder.report(&divergence(), &["sessions", "book"]);
    drop(recorder);
    let read = read_bundle(&diverged_folder(folder.path())).expect("it is there");
    assert_eq!(read.section, "book");
}

/// Later ones may follow from the first.
#[test]
fn the_bundle_of_the_first_difference_stays_whatever_is_found_later() {
    let folder = TemporaryFolder::new("bundle-twice");
    let (genesis, _) = sample_genesis(4);
    let facts = Facts::new(folder.path(), ValidatorIndex::new(0), &genesis);
    let mut recorder = Recorder::new(facts.into(), Default::default());
    let mut results = BlockResults::new();
    results.height = 128;
    recorder.note(&results);
    recorder.report(&divergence(), &["sessions", "book"]);
    let writer = recorder.writer.take().expect("it writes");
    writer.join().expect("written");
    let path = diverged_folder(folder.path());
    let first = (read_bundle(&path).unwrap(), read_trace(&path).unwrap());
    assert_eq!(first.1.range(), Some([128, 128]));
    let mut later = divergence();
    later.own.height = Height::new(192);
    later.proven.statement.height = Height::new(192);
    recorder.report(&later, &["sessions", "book"]);
    drop(recorder);
    let left = (read_bundle(&path).unwrap(), read_trace(&path).unwrap());
    assert_eq!(left, first);
}

#[test]
fn a_second_execution_shows_whether_the_first_was_deterministic() {
    let bundle = bundle(Path::new("data"));
    let after = |book: u8| {
        let mut roots = RootRing::default();
        let sections = vec![("sessions", [1; 32]), ("book", [book; 32])];
        roots.push(StateRoot::combine(128, sections));
        again(&bundle, &roots)
    };
    assert_eq!(after(6), Again::Same);
    assert_eq!(after(7), Again::Agrees);
    assert_eq!(after(8), Again::Other);
    assert_eq!(again(&bundle, &RootRing::default()), Again::NotExecuted);
}

#[test]
fn only_snapshots_above_the_common_height_that_nobody_attests_are_set_aside() {
    let folder = TemporaryFolder::new("aside");
    let path = folder.path().join("snapshots");
    fs::create_dir_all(&path).expect("made");
    let file = |height: u64, ending: &str| format!("snapshot-{height:020}.{ending}");
    for (height, is_attested) in [(64, false), (128, true), (192, false)] {
        for ending in ["manifest", "data"] {
            fs::write(path.join(file(height, ending)), b"bytes").expect("written");
        }
        if is_attested {
            fs::write(path.join(file(height, "certificate")), b"bytes").expect("written");
        }
    }
    let snapshots = SnapshotFolder::new(path.clone());
    let to = diverged_folder(folder.path());
    // Twice: a crash may have come in between.
    for _ in 0..2 {
        set_aside(&snapshots, 64, &to).expect("moved");
        assert_eq!(snapshots.heights().expect("listed"), [64, 128]);
    }
    for ending in ["manifest", "data"] {
        assert!(to.join(file(192, ending)).is_file());
        assert!(!path.join(file(192, ending)).exists());
    }
}

/// What is written to a device that cannot be synced is not known to be on a disk.
#[test]
fn a_file_that_cannot_be_synced_is_not_written() {
    for name in [TRACE_FILE, BUNDLE_FILE] {
        let data = TemporaryFolder::new("unsynced-bundle");
        let folder = data.path().join("diverged");
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.join(format!("{name}.new"))).unwrap();
        let outcome = write(&folder, bundle(data.path()), &Trace::default());
        assert!(matches!(outcome, Err(BundleError::Io { .. })), "{name}");
        assert!(!folder.join(BUNDLE_FILE).exists(), "{name}");
    }
}
