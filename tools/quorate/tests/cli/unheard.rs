//! A validator whose log lines nobody takes.

use crate::common::{Folder, init, launches, run, status, stop_four, text, validator, wait_until};
use quorate_bench::cluster::{Cluster, Launch};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

/// The one that is not heard.
const UNHEARD: usize = 2;

/// Started by a shell that gives it this as its standard error.
fn unheard(launch: &Launch, stderr: &str) -> Launch {
    let mut arguments = vec![
        "-c".to_owned(),
        format!("exec \"$0\" \"$@\" 2<>{stderr}"),
        text(&launch.program).to_owned(),
    ];
    arguments.extend(launch.arguments.clone());
    Launch {
        program: "/bin/sh".into(),
        arguments,
    }
}

/// Four validators, of which one is not heard.
fn start(dir: &Path, stderr: &str) -> Cluster {
    let mut launches = launches(dir);
    launches[UNHEARD] = unheard(&launches[UNHEARD], stderr);
    let mut cluster = Cluster::new(launches, Arc::new(|_, _| ()));
    cluster.start_all().unwrap();
    cluster
}

#[test]
fn a_validator_whose_log_lines_cannot_be_written_serves_and_stops_cleanly() {
    let folder = Folder::new("unheard");
    let dir = folder.join("net");
    init(&dir, 4, &["--workload", "opaque"]);
    let cluster = start(&dir, "/dev/full");
    wait_until("it takes part", || {
        assert!(cluster.is_running(UNHEARD), "it has ended");
        let status = status(&dir, UNHEARD);
        status["voting"] == true && status["connected"] == 3
    });
    stop_four(cluster);
    let marker = validator(&dir, UNHEARD).join("data/log/clean-stop");
    assert!(marker.is_file(), "it did not stop cleanly");
}

/// A pipe that has no room for a single line, and its end for reading.
fn full_pipe(path: &Path) -> File {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut pipe = options.custom_flags(flags).open(path).unwrap();
    let refused = loop {
        if let Err(error) = pipe.write(&[b'-'; 1]) {
            break error;
        }
    };
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    pipe
}

/// What the window for operators answers to a look at the health.
fn health(dir: &Path) -> String {
    let config = validator(dir, UNHEARD).join("quorate.toml");
    let config = std::fs::read_to_string(config).unwrap();
    let line = config
        .lines()
        .find_map(|line| line.strip_prefix("metrics = "));
    let mut stream = TcpStream::connect(line.unwrap().trim_matches('"')).unwrap();
    write!(stream, "GET /health HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_validator_whose_log_lines_nobody_reads_goes_on_and_stops_cleanly() {
    let folder = Folder::new("unread");
    let (dir, path) = (folder.join("net"), folder.join("pipe"));
    init(&dir, 4, &["--workload", "opaque"]);
    let mut pipe = full_pipe(&path);
    let cluster = start(&dir, text(&path));
    let load = || {
        let load = [
            "load",
            "--dir",
            text(&dir),
            "--rate",
            "200",
            "--seconds",
            "1",
        ];
        run(&load);
        let status = status(&dir, UNHEARD);
        (status["voting"] == true)
            .then(|| status["height"].as_u64())
            .flatten()
    };
    let mut first = None;
    wait_until("its height rises", || {
        assert!(cluster.is_running(UNHEARD), "it has ended");
        let height = load();
        first = first.or(height);
        height > first
    });
    let health = health(&dir);
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");

    // Who reads on after a while has missed nothing that there was room for.
    let mut told = String::new();
    wait_until("what it has said comes out", || {
        let mut bytes = [0; 4096];
        while let Ok(count) = pipe.read(&mut bytes) {
            told.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        ["starting", "recovered", "peer connected"]
            .iter()
            .all(|line| told.contains(line))
    });
    assert!(!told.contains("were dropped"), "{told}");
    stop_four(cluster);
    let marker = validator(&dir, UNHEARD).join("data/log/clean-stop");
    assert!(marker.is_file(), "it did not stop cleanly");
}
