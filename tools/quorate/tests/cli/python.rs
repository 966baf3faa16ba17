//! The client in Python against real validators. Where there is no Python 3 with the packages
//! `cryptography` and `blake3` the test says that it was skipped; `QUORATE_PYTHON` names another
//! interpreter than `python3`.

use crate::common::{Folder, all_say, init, run, start_four, status, stop_four, text, wait_until};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../python/quorate.py");

fn python() -> Command {
    Command::new(std::env::var_os("QUORATE_PYTHON").unwrap_or_else(|| "python3".into()))
}

fn has_python() -> bool {
    let probe = python()
        .args(["-c", "import blake3, cryptography"])
        .output();
    probe.is_ok_and(|output| output.status.success())
}

/// Submits through a validator; one JSON object a line.
fn submit(dir: &Path, key: &Path, validator: &str, texts: &[&str]) -> Vec<Value> {
    let genesis = dir.join("genesis.json");
    let output = python()
        .args([CLIENT, text(&genesis), text(key), validator])
        .args(texts)
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "stdout: {out}\nstderr: {err}");
    let lines = out.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn serve(auth: &str, weights: &str) {
    let folder = Folder::new("python");
    let dir = folder.join("net");
    init(&dir, 4, &["--auth", auth, "--weights", weights]);
    let cluster = start_four(&dir);
    wait_until("all validators answer", || {
        let status = run(&["status", "--dir", text(&dir)]);
        status.status.success()
    });
    let key = folder.join("client.key");
    std::fs::write(&key, format!("quorate-key-v1 {}\n", "5a".repeat(32))).unwrap();
    let lines = submit(&dir, &key, "1", &["no order", "none either"]);
    assert_eq!(lines.len(), 3);
    // Behind the one that opens the session, with the time as its number.
    let base = lines[0]["seq"].as_u64().unwrap();
    for (line, seq) in lines.iter().zip(base..) {
        if line["outcome"].is_null() {
            break;
        }
        assert_eq!(line["seq"], seq, "{line}");
        assert_eq!(line["outcome"], "applied", "{line}");
        // The venue refuses it, which is an output.
        assert_eq!(line["outputs"].as_array().unwrap().len(), 1, "{line}");
    }
    // A heartbeat was the third; another validator knows where the session stands.
    assert_eq!(
        (&lines[2]["index"], &lines[2]["seq"]),
        (&1.into(), &(base + 2).into())
    );
    wait_until("all stand at one height", || {
        let height = status(&dir, 1)["state_height"].as_u64();
        height.is_some() && all_say(&dir, |one| one["state_height"].as_u64() == height)
    });
    let lines = submit(&dir, &key, "2", &["again"]);
    assert_eq!(
        (&lines[0]["seq"], &lines[0]["outcome"]),
        (&(base + 3).into(), &"applied".into())
    );
    stop_four(cluster);
}

#[test]
fn the_python_client_is_served_with_signed_commands_and_without() {
    if !has_python() {
        eprintln!("skipped: no python3 with the packages cryptography and blake3");
        return;
    }
    serve("signed", "1,1,1,1");
    serve("session", "40,25,20,15");
}
