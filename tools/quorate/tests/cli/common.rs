//! What the tests of the command line share: running it, folders that go, JSON from standard
//! output.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use quorate_bench::cluster::{Cluster, Launch};
use serde_json::Value;

/// How long validators may take to stop.
pub(crate) const STOP: Duration = Duration::from_secs(120);
/// How long what a test waits for may take; nothing waits for it when all is well.
const WAIT_MAX: Duration = Duration::from_secs(300);

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// A folder that is removed on drop.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("quorate-test-{}-{number}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// The command line, ready for arguments.
pub(crate) fn quorate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.stdin(Stdio::null()).env_remove("QUORATE_LOG");
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    quorate().args(arguments).output().unwrap()
}

/// Runs it to its end, wants this exit code, and gives the JSON object on standard output.
pub(crate) fn run_json(arguments: &[&str], code: i32) -> Value {
    let output = quorate().args(arguments).arg("--json").output().unwrap();
    json_of(&output, code)
}

/// The JSON object of a run that ended with this exit code.
pub(crate) fn json_of(output: &Output, code: i32) -> Value {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(
        output.status.code(),
        Some(code),
        "stdout: {out}\nstderr: {err}"
    );
    assert_eq!(out.trim().lines().count(), 1, "not one line: {out}");
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["schema"], 1);
    value
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A free run of ports for `validators`.
pub(crate) fn base_port(validators: usize) -> String {
    quorate_bench::testnet::free_base_port(validators)
        .unwrap()
        .to_string()
}

/// Logs are made, read and compared in full many times: of the usual length of a segment most is
/// nothing yet.
pub(crate) const SHORT_SEGMENTS: [&str; 2] = ["--segment-bytes", "4194304"];

/// Writes a testnet with these further arguments.
pub(crate) fn init(dir: &Path, validators: usize, arguments: &[&str]) -> Value {
    let (count, port) = (validators.to_string(), base_port(validators));
    let mut all = vec!["testnet", "init", "--dir", text(dir), "--base-port", &port];
    if !arguments.contains(&"--weights") {
        all.extend(["--validators", &count]);
    }
    if !arguments.contains(&SHORT_SEGMENTS[0]) {
        all.extend(SHORT_SEGMENTS);
    }
    all.extend(arguments);
    run_json(&all, 0)
}

/// Processes whose command line names something below `dir`.
pub(crate) fn running_below(dir: &Path) -> Vec<String> {
    let dir = text(dir).trim_end_matches('/');
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .filter(|line| line.contains(dir))
        .collect()
}

/// The folder of a validator of a testnet.
pub(crate) fn validator(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("validator-{index:02}"))
}

/// Writes a testnet of four whose validators take a snapshot every 64 heights and keep 16 MiB of
/// log, with these further arguments and other lines of their configurations.
pub(crate) fn init_small(dir: &Path, workload: &str, others: &[(&str, &str)]) {
    init(dir, 4, &["--durability", "async", "--workload", workload]);
    let all = [
        ("# every_heights = 65536", "every_heights = 64"),
        ("# bytes_max = 0", "bytes_max = 16777216"),
    ];
    for index in 0..4 {
        let config = validator(dir, index).join("quorate.toml");
        let mut written = std::fs::read_to_string(&config).unwrap();
        for (line, other) in all.iter().chain(others) {
            assert!(written.contains(line), "{line}");
            written = written.replace(line, other);
        }
        std::fs::write(&config, written).unwrap();
        shorten_turns(&config);
    }
}

/// Windows of a turn end soon by this configuration, so that what stands below them may go and who
/// says nothing in one need not wait.
pub(crate) fn shorten_turns(config: &Path) {
    let written = std::fs::read_to_string(config).unwrap();
    let (line, other) = ("# turn_us = 30000000", "turn_us = 500000");
    assert!(written.contains(line));
    std::fs::write(config, written.replace(line, other)).unwrap();
}

/// What a validator of a testnet says of itself.
pub(crate) fn status(dir: &Path, index: usize) -> Value {
    statuses(dir)["validators"][index].clone()
}

/// What the validators of a testnet say of themselves. Who is there has time to say it.
fn statuses(dir: &Path) -> Value {
    let ask = ["status", "--dir", text(dir), "--timeout-ms", "60000"];
    let output = run(&[&ask[..], &["--json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether all validators of a testnet answer and say that of themselves.
pub(crate) fn all_say(dir: &Path, holds: impl Fn(&Value) -> bool) -> bool {
    statuses(dir)["validators"]
        .as_array()
        .unwrap()
        .iter()
        .all(holds)
}

/// Waits until all validators of a testnet may vote.
pub(crate) fn wait_until_voting(dir: &Path) {
    wait_until("all validators may vote", || {
        all_say(dir, |one| one["voting"] == true)
    });
}

/// Looks until `holds`, for at most five minutes.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// How to start the four validators of a testnet.
pub(crate) fn launches(dir: &Path) -> Vec<Launch> {
    let launch = |index| {
        let config = dir.join(format!("validator-{index:02}/quorate.toml"));
        Launch {
            program: env!("CARGO_BIN_EXE_quorate").into(),
            arguments: ["node", "--leash", "--config", text(&config)]
                .map(str::to_owned)
                .to_vec(),
        }
    };
    (0..4).map(launch).collect()
}

/// Starts the four validators of a testnet.
pub(crate) fn start_four(dir: &Path) -> Cluster {
    let mut cluster = Cluster::new(launches(dir), Arc::new(|_, _| ()));
    cluster.start_all().unwrap();
    cluster
}

/// Stops them, each with success.
pub(crate) fn stop_four(mut cluster: Cluster) {
    for ended in cluster.stop_all(STOP).unwrap() {
        assert_eq!(ended.status.code(), Some(0), "validator {}", ended.index);
    }
}

/// Runs the four validators of a testnet under load, of which something became final, until
/// something holds, and stops them.
pub(crate) fn run_under_load(dir: &Path, what: &str, mut holds: impl FnMut() -> bool) {
    let cluster = start_four(dir);
    wait_until(what, || {
        let load = ["load", "--dir", text(dir), "--rate", "300"];
        let output = run(&[&load[..], &["--seconds", "1", "--json"]].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        report["finalized"].as_u64() > Some(0) && holds()
    });
    stop_four(cluster);
}
