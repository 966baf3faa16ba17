//! Command lines and files that are refused: the exit code, and what the message names.

use crate::common::{Folder, base_port, init, json_of, quorate, run, run_json, text};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

#[test]
fn a_wrong_command_line_ends_with_2() {
    for arguments in [
        &[][..],
        &["nonsense"],
        &["demo", "--validators", "x"],
        &["demo", "--durability", "never"],
        &["demo", "--rate", "0"],
        &["demo", "--book", "b.csv"],
        &["demo", "--validators", "3", "--weights", "1,1"],
        &["demo", "--workload", "opaque", "--size", "0"],
        &["demo", "--size", "64"],
        &["demo", "--workload", "exchange", "--size", "64"],
        &["demo", "--workload", "opaque", "--orders", "a.csv"],
        &["load"],
        &["prices", "--dir", "x", "--key", "k"],
        &[
            "prices",
            "--dir",
            "x",
            "--key",
            "k",
            "--file",
            "f",
            "--connect",
            "127.0.0.1:1",
        ],
        &["prices", "--dir", "x", "--key", "k", "--connect", "nowhere"],
        &["log", "show", "x", "--from", "9", "--to", "3"],
        &["log", "replay", "x", "--from-snapshot", "490", "--to", "5"],
        &[
            "init",
            "--dir",
            "x",
            "--ask-seconds",
            "18446744073709551615",
        ],
        &["init", "--dir", "x", "--signed-before"],
        &["log", "evidence"],
        &["log", "evidence", "x", "--genesis", "y"],
        &["log", "evidence", "--file", "x"],
        &["log", "evidence", "x", "--file", "y", "--genesis", "z"],
        &["testnet", "init"],
        &["sim", "--threads", "0"],
        &["sim", "--threads", "1000000"],
        &["sim", "--images", "0"],
        &["bench", "floor", "--silent", "9"],
        &["testnet", "init", "--dir", "y", "--base-port", "0"],
        &["testnet", "init", "--dir", "y", "--validators", "3"],
        &["status", "--log", "=x=", "--dir", "y"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

/// What an option would do must not be taken for done: each of these was asked for and not used.
#[test]
fn an_option_of_the_simulator_that_would_not_be_used_is_refused() {
    let (seeded, dishonest) = (
        "--seeds 0..1|--scenario calm|--threads 1",
        "--byzantine equivocator|--twins|--beyond|--require-all",
    );
    let table = [
        (
            "--exhaustive --slots 1",
            format!("{seeded}|{dishonest}|--script x"),
        ),
        (
            "--images 1",
            format!("--validators 4|--scenario calm|{dishonest}"),
        ),
        (
            "--sum x",
            format!(
                "{seeded}|{dishonest}|--validators 4|--tell|--nightly|--images 1|--latency hall|\
                 --check-against x"
            ),
        ),
        (
            "--script x",
            format!("{seeded}|{dishonest}|--validators 4|--tell"),
        ),
        ("--latency hall", format!("{seeded}|{dishonest}|--tell")),
        (
            "--check-against x",
            format!("{seeded}|{dishonest}|--validators 4|--images 1"),
        ),
        (
            "--nightly --percent 0.001",
            format!("{dishonest}|--validators 4|--scenario calm"),
        ),
        (
            "--seeds 0..1",
            "--costs x|--commands 5|--beyond|--down 1|--synced".to_owned(),
        ),
    ];
    for (alone, others) in table {
        for other in others.split('|') {
            let words = alone.split(' ').chain(other.split(' '));
            let arguments: Vec<&str> = ["sim"].into_iter().chain(words).collect();
            let error = run_json(&arguments, 2);
            let what = error["error"]["what"].as_str().unwrap();
            let option = other.split(' ').next().unwrap();
            // Where something has to stand beside an option, that is what is named.
            let names = what.contains(option) && what.contains("cannot be used");
            assert!(names || alone == "--seeds 0..1", "{arguments:?}: {what}");
        }
    }
}

/// Plain orders are not what was asked for.
#[test]
fn a_load_of_the_exchange_is_refused_since_only_the_demo_drives_it() {
    let folder = Folder::new("load-exchange");
    let dir = folder.join("net");
    init(&dir, 4, &["--workload", "exchange"]);
    let load = ["load", "--dir", text(&dir), "--workload", "exchange"];
    let error = run_json(&load, 2);
    let what = error["error"]["what"].as_str().unwrap();
    assert!(what.contains("--workload exchange") && what.contains("quorate demo"));
}

#[test]
fn the_exit_codes_stand_in_the_help() {
    let output = run(&["--help"]);
    let help = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for code in [
        "0 done", "1 it ran", "2 usage", "3 config", "4 safety", "5 data", "70 disk", "75",
    ] {
        assert!(help.contains(code), "{help}");
    }
}

#[test]
fn an_error_in_json_is_one_object_with_kind_and_remedy() {
    let folder = Folder::new("error");
    let error = run_json(&["status", "--dir", text(&folder.join("none"))], 3);
    assert_eq!(error["error"]["kind"], "configuration");
    assert!(
        error["error"]["what"]
            .as_str()
            .unwrap()
            .contains("genesis.json")
    );
    assert!(!error["error"]["remedy"].as_str().unwrap().is_empty());
}

#[test]
fn an_error_of_the_arguments_in_json_is_one_object_too() {
    for (arguments, named) in [
        (&["demo", "--validators", "x"][..], "--validators"),
        (&["nonsense"], "nonsense"),
        (&["log", "verify"], "<DIR>"),
        (&["load"], "--dir"),
        (&[], "quorate"),
    ] {
        let error = run_json(arguments, 2);
        assert_eq!(error["error"]["kind"], "usage", "{error}");
        let what = error["error"]["what"].as_str().unwrap();
        assert!(what.contains(named), "{error}");
        assert!(!error["error"]["remedy"].as_str().unwrap().is_empty());
    }
    let help = run(&["demo", "--help", "--json"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(!help.stdout.is_empty());
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_anything_is_measured() {
    let folder = Folder::new("unwritable");
    let dir = folder.join("net");
    init(&dir, 4, &["--workload", "opaque"]);
    let nowhere = folder.join("none/x.hgrm");
    // No validator runs: what is tried later cannot come first.
    let load = ["load", "--dir", text(&dir), "--hgrm", text(&nowhere)];
    let error = run_json(&load, 3);
    assert!(
        error["error"]["what"].as_str().unwrap().contains("x.hgrm"),
        "{error}"
    );
    let file = folder.join("file");
    fs::write(&file, "x").unwrap();
    let histograms = ["bench", "latency", "--histograms", text(&file)];
    let error = run_json(&histograms, 3);
    assert!(
        error["error"]["remedy"]
            .as_str()
            .unwrap()
            .contains("--histograms"),
        "{error}"
    );
    let demo = run_json(&["demo", "--hgrm", text(&nowhere)], 3);
    assert!(demo["error"]["what"].as_str().unwrap().contains("x.hgrm"));
    // And where it can be written, what stands there stays as long as nothing was measured.
    let load = ["load", "--dir", text(&dir), "--hgrm", text(&file)];
    let error = run_json(&load, 75);
    let what = error["error"]["what"].as_str().unwrap();
    assert!(
        what.contains("no validator of") && what.contains("validator 3 at 127.0.0.1:"),
        "{what}"
    );
    assert_eq!(fs::read(&file).unwrap(), b"x");
}

#[test]
fn a_recording_that_cannot_be_replayed_is_refused_before_anything_is_started() {
    let folder = Folder::new("recording");
    let (none, broken) = (folder.join("none.csv"), folder.join("broken.csv"));
    fs::write(&broken, "this is no message\n").unwrap();
    // What would be tried later is refused as well, with another code.
    let nowhere = folder.join("nowhere/x.hgrm");
    for file in [&none, &broken] {
        let demo = ["demo", "--orders", text(file), "--hgrm", text(&nowhere)];
        let error = run_json(&demo, 2);
        let what = error["error"]["what"].as_str().unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(what.contains(name), "{what}");
        assert!(!error["error"]["remedy"].as_str().unwrap().is_empty());
    }
}

#[test]
fn weights_that_the_thresholds_do_not_allow_are_refused_with_the_field() {
    let folder = Folder::new("weights");
    let dir = folder.join("net");
    for (arguments, field) in [
        (
            &["--weights", "1,1,1,1", "--fault-weight", "2"][..],
            "fault_weight",
        ),
        (
            &["--weights", "1,1,1,1", "--fast-slack", "9"],
            "fault_weight",
        ),
    ] {
        let mut all = vec!["testnet", "init", "--dir", text(&dir)];
        all.extend(arguments);
        let error = run_json(&all, 2);
        let what = error["error"]["what"].as_str().unwrap();
        assert!(
            what.contains("genesis.json") && what.contains(field),
            "{what}"
        );
        assert!(
            !error["error"]["remedy"].as_str().unwrap().is_empty(),
            "{what}"
        );
        assert!(!dir.exists(), "a refused testnet is left behind");
    }
}

#[test]
fn keygen_writes_a_private_file_and_never_over_another() {
    let folder = Folder::new("keygen");
    let path = folder.join("key");
    let made = run_json(&["keygen", "--out", text(&path)], 0);
    assert_eq!(made["public_key"].as_str().unwrap().len(), 64);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&path).unwrap();
    assert!(!String::from_utf8_lossy(&before).contains(made["public_key"].as_str().unwrap()));
    run_json(&["keygen", "--out", text(&path)], 3);
    assert_eq!(fs::read(&path).unwrap(), before);
    // A folder that is mistyped is not made for it.
    let nowhere = folder.join("no/key");
    run_json(&["keygen", "--out", text(&nowhere)], 3);
    assert!(!folder.join("no").exists());
}

/// What is done is told as done, whatever the path is called.
#[test]
fn a_path_that_is_no_text_is_as_good_as_any() {
    let folder = Folder::new("bytes");
    let named = |name: &[u8]| folder.join("").join(OsStr::from_bytes(name));
    let run = |words: &[&str], path: &Path, more: &[&str]| {
        let mut command = quorate();
        let output = command.args(words).arg(path).args(more).arg("--json");
        json_of(&output.output().unwrap(), 0)
    };
    let made = run(&["keygen", "--out"], &named(b"key-\xff"), &[]);
    let shown = made["file"].as_str().unwrap();
    assert!(shown.ends_with("key-\u{fffd}"), "{shown}");
    let dir = named(b"net-\xff");
    let port = base_port(4);
    run(&["testnet", "init", "--dir"], &dir, &["--base-port", &port]);
    let config = dir.join("validator-00/quorate.toml");
    run(&["init", "--dir"], &named(b"validator-\xff"), &[]);
    let state = named(b"state-\xff");
    let mut export = quorate();
    let export = export
        .args(["vote-state", "export", "--config"])
        .arg(&config);
    let export = export.arg("--out").arg(&state).arg("--json").output();
    json_of(&export.unwrap(), 0);
    run(&["recover", "disk", "--config"], &config, &[]);
    run(&["log", "verify"], &dir.join("validator-00"), &[]);
    run(&["snapshot", "list"], &dir.join("validator-00"), &[]);
}

#[test]
fn a_node_refuses_bad_files_and_names_file_field_and_remedy() {
    let folder = Folder::new("bad");
    let dir = folder.join("net");
    init(&dir, 4, &[]);
    let config = dir.join("validator-02/quorate.toml");
    let (genesis, key) = (dir.join("genesis.json"), dir.join("validator-02/key"));
    let good = |path: &Path| fs::read_to_string(path).unwrap();
    let (good_config, good_genesis) = (good(&config), good(&genesis));
    let refused = |parts: &[&str]| {
        let error = run_json(&["node", "--config", text(&config)], 3);
        let what = error["error"]["what"].as_str().unwrap().to_owned();
        for part in parts {
            assert!(what.contains(part), "{what} lacks {part}");
        }
        assert!(
            !error["error"]["remedy"].as_str().unwrap().is_empty(),
            "{what}"
        );
    };

    fs::write(&config, format!("speed = 9\n{good_config}")).unwrap();
    refused(&["quorate.toml", "speed"]);
    fs::write(
        &config,
        good_config.replace("durability = \"sync\"", "durability = \"x\""),
    )
    .unwrap();
    refused(&["quorate.toml", "durability", "x"]);
    fs::write(
        &config,
        good_config.replace("validator = 2", "validator = 1"),
    )
    .unwrap();
    refused(&["quorate.toml", "validator", "1"]);
    fs::write(&config, &good_config).unwrap();

    fs::write(
        &genesis,
        good_genesis.replace("\"fault_weight\": 1", "\"fault_weight\": 7"),
    )
    .unwrap();
    refused(&["genesis.json", "fault_weight", "7"]);
    fs::write(&genesis, &good_genesis[..good_genesis.len() / 2]).unwrap();
    refused(&["genesis.json"]);
    fs::write(
        &genesis,
        good_genesis.replace("\"name\": \"venue\"", "\"name\": \"chess\""),
    )
    .unwrap();
    refused(&["genesis.json", "application.name", "chess"]);
    fs::write(&genesis, &good_genesis).unwrap();

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused(&["key"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::copy(dir.join("validator-03/key"), &key).unwrap();
    refused(&["quorate.toml", "validator"]);
    fs::remove_file(&key).unwrap();
    refused(&["key"]);
}
