//! An embedder's own program: the operator's commands with an application that `quorate` does not
//! know, from a chain under way to the genesis that goes on after a loss.
//!
//! This program is both: the test, and, as the test starts it, the embedder's program with the
//! `main` of the example. So it has a small harness of its own, which leaves arguments to that one.

#![expect(clippy::unwrap_used, reason = "a test may unwrap, also in its helpers")]

#[expect(dead_code, reason = "most of it is for the other tests")]
#[path = "cli/common.rs"]
mod common;
#[path = "own_program/harness.rs"]
mod harness;
#[path = "../examples/own_program.rs"]
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::{Folder, init, json_of, run_json, text, validator};
use quorate::client::{Client, ClientOptions};
use quorate::genesis::{Application, Genesis};
use quorate::keys::KeyPair;
use quorate::state_machine::{Lane, StateMachine as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Set in the environment of what is to be the embedder's program.
const AS_PROGRAM: &str = "QUORATE_TEST_AS_OWN_PROGRAM";
/// Longest that one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Transfers from account to account; the last one is refused.
const TRANSFERS: [[u8; 3]; 4] = [[1, 2, 60], [2, 3, 110], [3, 1, 5], [1, 2, 46]];

/// What the usual harness ends with when a test has failed.
const FAILED: u8 = 101;

const TESTS: &[harness::Test] = &[
    (
        "the_operator_s_commands_execute_an_application_that_was_added",
        the_operator_s_commands_execute_an_application_that_was_added,
    ),
    (
        "a_test_that_fails_is_named_and_those_that_are_not_asked_for_do_not_run",
        harness::a_test_that_fails_is_named_and_those_that_are_not_asked_for_do_not_run,
    ),
];

fn main() -> ExitCode {
    if std::env::var_os(AS_PROGRAM).is_some() {
        return program::main();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match harness::run(TESTS, &arguments, &mut std::io::stdout()).unwrap() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(FAILED),
    }
}

/// The embedder's program, ready for arguments.
fn own() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .stdin(Stdio::null())
        .env_remove("QUORATE_LOG")
        .env(AS_PROGRAM, "1");
    command
}

fn own_json(arguments: &[&str]) -> Value {
    let output = own().args(arguments).arg("--json").output().unwrap();
    json_of(&output, 0)
}

fn the_operator_s_commands_execute_an_application_that_was_added() {
    let folder = Folder::new("own-program");
    let dir = folder.join("net");
    make(&dir);
    run_chain(&dir);

    let out = folder.join("next");
    let chosen = own_json(&recover(&dir, &out).each_ref().map(String::as_str));
    let height = chosen["height"].as_u64().unwrap();
    let genesis = Genesis::load(&out.join("genesis.json")).unwrap();
    assert_eq!(genesis.file().application.name, "ledger");
    let to = height.to_string();
    for index in 0..2 {
        let of = validator(&dir, index);
        let made = own_json(&["snapshot", "create", text(&of), "--height", &to]);
        let snapshot = &made["snapshots"][0];
        assert_eq!(snapshot["root"], chosen["next"]["snapshot_root"], "{made}");
        let verified = own_json(&["snapshot", "verify", text(&of)]);
        assert_eq!(verified["snapshots"][0]["fault"], Value::Null);
        let replayed = own_json(&["log", "replay", text(&of)]);
        assert_eq!(replayed["compared"], json!([height]));
        assert_eq!(replayed["differences"], json!([]));
        assert_eq!(replayed["sections"]["accounts"], expected_root());
        let again = own_json(&["log", "replay", text(&of), "--from-snapshot", &to]);
        assert_eq!(again["state_root"], replayed["state_root"]);
    }
    check_refused(&folder, &dir);
}

/// What `quorate` alone says of the same folders: what to do.
fn check_refused(folder: &Folder, dir: &Path) {
    let of = validator(dir, 0);
    let (log, config) = (text(&of), of.join("quorate.toml"));
    let recover = recover(dir, &folder.join("refused"));
    for arguments in [
        &["log", "replay", log][..],
        &["snapshot", "create", log],
        &["snapshot", "verify", log],
        &["node", "--config", text(&config)],
        &recover.each_ref().map(String::as_str),
    ] {
        let told = &run_json(arguments, 3)["error"];
        let what = told["what"].as_str().unwrap();
        assert!(what.contains("application.name = \"ledger\""), "{told}");
        let remedy = told["remedy"].as_str().unwrap();
        assert!(remedy.contains("docs/embedding.md"), "{told}");
    }
}

/// Writes a testnet whose genesis names the application.
fn make(dir: &Path) {
    init(dir, 4, &["--durability", "async", "--workload", "opaque"]);
    let path = dir.join("genesis.json");
    let mut genesis: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    genesis["application"] = json!({"name": "ledger", "parameters": {"balance": 100}});
    fs::write(&path, serde_json::to_vec(&genesis).unwrap()).unwrap();
    for index in 0..4 {
        let config = validator(dir, index).join("quorate.toml");
        own_json(&["init", "--config", text(&config), "--ask-seconds", "0"]);
    }
}

/// A testnet that ends with the test, also with one that fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The validators end when who started them has.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs the chain in processes of the embedder's program until all transfers are durable.
fn run_chain(dir: &Path) {
    let up = ["testnet", "up", "--dir", text(dir)];
    let mut up = Running(own().args(up).stderr(Stdio::null()).spawn().unwrap());
    let genesis = Genesis::load(&dir.join("genesis.json")).unwrap();
    let key = Arc::new(KeyPair::from_seed(&[78; 32]));
    let mut client = Client::connect(&genesis, key, ClientOptions::default(), PATIENCE).unwrap();
    let mut last = None;
    for transfer in TRANSFERS {
        last = Some(
            client
                .submit_and_wait(Lane::Order, &transfer, PATIENCE)
                .unwrap(),
        );
    }
    let last = last.and_then(|last| last.applied).unwrap().height;
    common::wait_until("the transfers are durable", || {
        let status: Value = serde_json::from_str(&client.status(PATIENCE).unwrap()).unwrap();
        status["durable"].as_u64() >= Some(last)
    });
    drop(client);
    let pid = Pid::from_raw(i32::try_from(up.0.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(up.0.wait().unwrap().success());
}

/// The root of the accounts after all transfers.
fn expected_root() -> String {
    let mut ledger = program::open(&Application {
        name: "ledger".to_owned(),
        parameters: serde_json::from_value(json!({"balance": 100})).unwrap(),
    })
    .unwrap();
    let done = TRANSFERS.map(|[from, to, amount]| ledger.transfer(from, to, amount.into()));
    assert_eq!(done, [true, true, true, false]);
    let root = ledger.section_root(0);
    root.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The arguments that choose a block, and write what goes on from it.
fn recover(dir: &Path, out: &Path) -> [String; 10] {
    let dirs: Vec<PathBuf> = (0..4).map(|index| validator(dir, index)).collect();
    let genesis = dir.join("genesis.json");
    let [a, b, c, d] = [0, 1, 2, 3].map(|index| text(&dirs[index]));
    let (genesis, out) = (text(&genesis), text(out));
    [
        "recover",
        "site",
        "--genesis",
        genesis,
        "--out",
        out,
        a,
        b,
        c,
        d,
    ]
    .map(str::to_owned)
}
