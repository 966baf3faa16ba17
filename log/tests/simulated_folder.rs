//! The simulated folder that every test of a crash stands on: what a loss of power may take of it,
//! and what it must not. One that loses too little would make each of those tests pass.

mod support;

use quorate_log::{DataFolder, LeaseFile, LogError, MemoryBackend, Unsynced, remove_clean_stop};
use support::{append, open_memory, payload, sync};

const FIRST: &str = "segment-0000000000";
const SECOND: &str = "segment-0000000001";

#[test]
fn a_name_that_no_sync_of_the_folder_covered_may_be_lost_with_the_power_and_no_other() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    // The file is synced and has its name, and the sync of the folder fails.
    memory.fail_sync_after(1);
    let refused = log.preparer.prepare_next().expect_err("a failed sync");
    assert!(matches!(refused, LogError::SyncFailed { .. }), "{refused}");
    assert!(memory.file(SECOND).is_some());
    drop(log);
    let has_second = |keeps: bool| {
        let mut asked = Vec::new();
        let after = memory.power_cut(|thing| {
            if let Unsynced::Name(name) = thing {
                asked.push(name.to_owned());
            }
            keeps
        });
        // Under its first name it was never synced either.
        assert_eq!(asked, [SECOND], "kept: {keeps}");
        assert!(after.file(FIRST).is_some() && after.file("watermark").is_some());
        assert_eq!(after.file_names(), after.process_kill().file_names());
        after.file(SECOND).is_some()
    };
    assert!(has_second(true) && !has_second(false));
    // The death of the process takes no name.
    assert!(memory.process_kill().file(SECOND).is_some());
}

#[test]
fn a_file_that_was_replaced_or_removed_may_be_there_again_after_the_power_was_lost() {
    let memory = MemoryBackend::new();
    let log = open_memory(&memory);
    log.syncer.stop(log.writer).expect("a clean stop");
    let folder = DataFolder::in_memory(&memory);
    let mut lease = LeaseFile::new(&folder);
    lease.replace(b"old").expect("a lease");
    let old = memory.file("lease").expect("a lease");
    // The new file is synced and takes the name, and the sync of the folder fails.
    memory.fail_sync_after(1);
    lease.replace(b"new").expect_err("a failed sync");
    let new = memory.file("lease").expect("a lease");
    assert_ne!(old, new);
    assert_eq!(memory.power_cut(|_| false).file("lease"), Some(old));
    assert_eq!(memory.power_cut(|_| true).file("lease"), Some(new));
    // The next sync of the folder would cover both.
    memory.fail_sync_after(0);
    remove_clean_stop(&folder).expect_err("a failed sync");
    assert!(memory.file("clean-stop").is_none());
    let is_back = |keeps: bool| memory.power_cut(|_| keeps).file("clean-stop").is_some();
    assert!(is_back(false) && !is_back(true));
}

#[test]
fn a_store_that_the_power_is_cut_in_is_there_word_by_word_as_far_as_it_came() {
    let before = MemoryBackend::new();
    let mut log = open_memory(&before);
    append(&mut log, b"before");
    sync(&mut log);
    drop(log);
    let bytes = payload(7, 120);
    let record_bytes = 32 + bytes.len() + 32;
    let run = |words: u64| {
        let memory = before.process_kill();
        let mut log = open_memory(&memory);
        let from = log.writer.end().offset.bytes() as usize;
        memory.power_off_after(words);
        append(&mut log, &bytes);
        drop(log);
        let stored = |memory: &MemoryBackend| {
            let segment = memory.file(FIRST).expect("a segment");
            segment[from..from + record_bytes].to_vec()
        };
        let lost = memory.power_cut(|_| false);
        assert!(stored(&lost).iter().all(|&byte| byte == 0), "{words}");
        (stored(&memory), stored(&memory.power_cut(|_| true)))
    };
    let words = record_bytes as u64 / 8;
    let (whole, _) = run(words);
    assert_eq!(whole[32..32 + bytes.len()], bytes);
    for word in 0..=words {
        let (live, kept) = run(word);
        let came_to = word as usize * 8;
        assert_eq!(live[..came_to], whole[..came_to], "{word} words");
        assert!(
            live[came_to..].iter().all(|&byte| byte == 0),
            "{word} words"
        );
        assert_eq!(kept, live, "what survives is what was stored, {word} words");
    }
}

#[test]
fn each_sector_that_was_not_synced_may_be_lost_by_itself_and_no_synced_one() {
    let memory = MemoryBackend::new();
    let mut log = open_memory(&memory);
    append(&mut log, &payload(1, 1000));
    sync(&mut log);
    let synced = log.writer.end().offset.bytes() as usize;
    append(&mut log, &payload(2, 1500));
    let end = log.writer.end().offset.bytes() as usize;
    drop(log);
    let (live, durable) = (memory.file(FIRST), memory.power_cut(|_| false).file(FIRST));
    let (live, durable) = (live.expect("there"), durable.expect("there"));
    assert_eq!(durable[..synced], live[..synced]);
    assert!(durable[synced..].iter().all(|&byte| byte == 0));
    let sectors: Vec<usize> = (synced / 512 * 512..end).step_by(512).collect();
    assert!(sectors.len() > 2);
    for &lost in &sectors {
        let mut asked = Vec::new();
        let after = memory.power_cut(|thing| match thing {
            Unsynced::Sector { name, offset } if name == FIRST => {
                asked.push(offset);
                offset != lost
            }
            _ => true,
        });
        assert_eq!(asked, sectors);
        let mut expected = live.clone();
        expected[lost..lost + 512].copy_from_slice(&durable[lost..lost + 512]);
        assert_eq!(after.file(FIRST), Some(expected), "sector at {lost}");
    }
}
