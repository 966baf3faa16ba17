//! A log has more segments than a process may have descriptors. In a process of its own, since the
//! limit is one of the process.

mod support;

use quorate_log::{DataFolder, open};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{GENESIS, TestFolder, append, config, payload, payloads, sync};

const DESCRIPTORS_MAX: u64 = 128;
const SEGMENTS: usize = 200;

#[test]
fn a_log_of_more_segments_than_descriptors_opens_and_goes_on() {
    let folder = TestFolder::new();
    let data = DataFolder::open(folder.path()).expect("a good folder");
    let mut log = open(&data, &config(), GENESIS).expect("a new log");
    while (log.writer.end().offset.segment() as usize) < SEGMENTS {
        append(&mut log, &payload(7, 3000));
    }
    sync(&mut log);
    let records = payloads(&log.reader).len();
    drop(log);
    let limit = Rlimit {
        current: Some(DESCRIPTORS_MAX),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).expect("a lower limit");
    let mut log = open(&data, &config(), GENESIS).expect("a log of many segments");
    assert_eq!(payloads(&log.reader).len(), records);
    append(&mut log, &payload(8, 3000));
    append(&mut log, &payload(9, 3000));
    sync(&mut log);
    assert_eq!(payloads(&log.reader).len(), records + 2);
    let open_now = std::fs::read_dir("/proc/self/fd").expect("Linux").count() as u64;
    assert!(open_now < DESCRIPTORS_MAX / 2, "{open_now} are open");
}
