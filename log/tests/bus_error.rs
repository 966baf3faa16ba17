//! A mapping that cannot be read ends the process at once, with one line and its own exit code.

mod support;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use quorate_log::{BUS_ERROR_EXIT_CODE, DataFolder, end_on_bus_error, open};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::{GENESIS, TestFolder, append, config};

const CHILD: &str = "QUORATE_TEST_BUS_ERROR";

#[test]
fn a_file_cut_short_under_the_mapping_ends_the_process_with_its_own_code() {
    if let Some(path) = std::env::var_os(CHILD) {
        touch_what_is_gone(path.as_ref());
    }
    let folder = TestFolder::new();
    let name = "a_file_cut_short_under_the_mapping_ends_the_process_with_its_own_code";
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.code(),
        Some(i32::from(BUS_ERROR_EXIT_CODE)),
        "{told}"
    );
    assert_eq!(told.matches("SIGBUS").count(), 1, "{told}");
}

/// A supervisor that hangs reads nothing, and its pipe is full.
#[test]
fn a_bus_error_ends_the_process_also_when_nobody_reads_what_it_says() {
    let folder = TestFolder::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut filling = writer.try_clone().unwrap();
    std::thread::spawn(move || while filling.write_all(&[b'x'; 4096]).is_ok() {});
    let is_full = || {
        let mut room = [PollFd::new(&writer, PollFlags::OUT)];
        poll(&mut room, Some(&Timespec::default())).unwrap() == 0
    };
    while !is_full() {
        std::thread::yield_now();
    }
    let name = "a_file_cut_short_under_the_mapping_ends_the_process_with_its_own_code";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, folder.path())
        .stdout(Stdio::null())
        .stderr(writer.try_clone().unwrap())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() >= end {
            child.kill().unwrap();
        }
        std::thread::yield_now();
    };
    assert_eq!(status.code(), Some(i32::from(BUS_ERROR_EXIT_CODE)));
    drop(reader);
}

/// In a process of its own: reads a record whose page the file does not have any more.
fn touch_what_is_gone(path: &std::path::Path) -> ! {
    end_on_bus_error().expect("a good folder");
    let folder = DataFolder::open(path).expect("a good folder");
    let mut log = open(&folder, &config(), GENESIS).expect("a good folder");
    let place = append(&mut log, b"gone");
    let segment = path.join("segment-0000000000");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(segment)
        .expect("a good folder");
    file.set_len(0).expect("a good folder");
    let read = log.reader.read(place);
    panic!("it could be read: {read:?}");
}
