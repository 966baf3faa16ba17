//! What a log that was opened again writes by. Needs a real folder: simulated files have no
//! descriptors.

use crate::backend::DataFolder;
use crate::config::LogConfig;
use crate::open::open;
use crate::record::RecordKind;

/// A store where the disk has no room would be a signal, and the end of the process.
#[test]
fn both_segments_that_are_written_after_a_start_are_written_by_calls() {
    let name = format!("quorate-log-open-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let folder = DataFolder::open(&path).unwrap();
    let mut config = LogConfig::new([7; 32]);
    config.segment_bytes = 4096;
    let mut log = open(&folder, &config, b"genesis").unwrap();
    for _ in 0..12 {
        log.writer.append(RecordKind::new(1), &[&[1; 900]]).unwrap();
    }
    log.syncer.sync(log.writer.unsynced()).unwrap();
    let mut lacking = Vec::new();
    for is_ready in [false, true] {
        if is_ready {
            log.preparer.prepare_next().unwrap();
        }
        drop(log);
        log = open(&folder, &config, b"genesis").unwrap();
        lacking.push(log.writer.region.lacks_file());
    }
    let (_, ready) = log.writer.slot.take(&log.writer.shared).unwrap();
    lacking.push(ready.lacks_file());
    drop((log, folder));
    std::fs::remove_dir_all(path).unwrap();
    // That of the end, without and with one that is ready behind it, and that one.
    assert_eq!(lacking, [false; 3]);
}
