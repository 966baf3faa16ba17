//! One validator's folder, made by an operator, beside validators that run.

use crate::common::{
    Folder, base_port, init, launches, run, run_json, shorten_turns, start_four, status, stop_four,
    text, wait_until,
};
use quorate_bench::cluster::Cluster;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn validator(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("validator-{index:02}"))
}

/// Runs `init` with these arguments besides the folder.
fn make(dir: &Path, arguments: &[&str], code: i32) -> Value {
    let mut all = vec!["init", "--dir", text(dir)];
    all.extend(arguments);
    run_json(&all, code)
}

fn what(failure: &Value) -> &str {
    failure["error"]["what"].as_str().unwrap()
}

/// Where a validator of the testnet serves its status.
fn metrics(net: &Path, index: usize) -> String {
    let config = fs::read_to_string(validator(net, index).join("quorate.toml")).unwrap();
    let line = config
        .lines()
        .find_map(|line| line.strip_prefix("metrics = "));
    line.unwrap().trim_matches('"').to_owned()
}

fn load(dir: &Path) -> Option<i32> {
    let load = [
        "load",
        "--dir",
        text(dir),
        "--rate",
        "200",
        "--seconds",
        "1",
    ];
    run(&load).status.code()
}

/// The genesis of a testnet with another key at the last seat.
fn seat(net: &Path, next: &Path, public_key: &str) -> PathBuf {
    let bytes = fs::read(net.join("genesis.json")).unwrap();
    let mut file: Value = serde_json::from_slice(&bytes).unwrap();
    file["validators"][3]["key"] = public_key.into();
    let path = next.join("genesis.json");
    fs::write(&path, serde_json::to_vec_pretty(&file).unwrap()).unwrap();
    path
}

#[test]
fn a_folder_is_made_once_for_a_key_with_a_seat_that_nobody_uses() {
    let folder = Folder::new("init");
    let (net, next) = (folder.join("net"), folder.join("next"));
    init(&net, 4, &["--workload", "opaque"]);
    let last = validator(&next, 3);
    // The key comes first, since the genesis needs its public half.
    let key = make(&last, &[], 0);
    assert!(key["index"].is_null() && !last.join("quorate.toml").exists());
    make(&last, &[], 3);
    let genesis = seat(&net, &next, key["public_key"].as_str().unwrap());
    let genesis = text(&genesis);
    let nobody = make(&validator(&next, 0), &["--genesis", genesis], 3);
    assert!(what(&nobody).contains("no key is there"), "{nobody}");
    let stranger = validator(&net, 3).join("key");
    let arguments = ["--genesis", genesis, "--key", text(&stranger)];
    let stranger = make(&validator(&next, 0), &arguments, 3);
    assert!(what(&stranger).contains("not in the genesis"), "{stranger}");
    assert!(!validator(&next, 0).join("quorate.toml").exists());

    let place = metrics(&net, 3);
    let arguments = [
        "--genesis",
        genesis,
        "--metrics",
        &place,
        "--profile",
        "laptop",
        "--ask-seconds",
        "1",
    ];
    let made = make(&last, &arguments, 0);
    assert_eq!((&made["index"], &made["peers"]), (&3.into(), &3.into()));
    assert_eq!(made["answers"], Value::Array(Vec::new()), "nobody is there");
    // Nothing is made twice.
    let again = make(&last, &arguments, 3);
    assert!(what(&again).contains("is there already"), "{again}");
    let config = last.join("quorate.toml");
    let again = run_json(&["init", "--config", text(&config)], 3);
    assert!(what(&again).contains("already"), "{again}");
    // By its configuration alone, as for a new chain.
    fs::remove_dir_all(last.join("data")).unwrap();
    run_json(
        &["init", "--config", text(&config), "--ask-seconds", "0"],
        0,
    );

    let make_one = |index| {
        let (key, place) = (validator(&net, index).join("key"), metrics(&net, index));
        let mut arguments = vec!["--genesis", genesis, "--key", text(&key)];
        arguments.extend([
            "--metrics",
            &place,
            "--profile",
            "laptop",
            "--ask-seconds",
            "1",
        ]);
        make(&validator(&next, index), &arguments, 0);
    };
    // Each asks for a while whether anybody is there.
    std::thread::scope(|scope| (0..3).for_each(|index| drop(scope.spawn(move || make_one(index)))));
    check_in_use(&folder, &net, &next);
}

/// A key that runs, or has signed, gets no folder as one that never did.
fn check_in_use(folder: &Folder, net: &Path, next: &Path) {
    let genesis = next.join("genesis.json");
    let shorten = |index| shorten_turns(&validator(next, index).join("quorate.toml"));
    (0..4).for_each(shorten);
    let mut cluster = Cluster::new(launches(next), Arc::new(|_, _| ()));
    cluster.start_all().unwrap();
    wait_until("all of them agree", || load(next) == Some(0));
    let elsewhere = folder.join("elsewhere");
    let (key, place) = (validator(net, 1).join("key"), metrics(net, 1));
    let arguments = ["--genesis", text(&genesis), "--key", text(&key)];
    let runs = make(&elsewhere, &arguments, 4);
    assert!(what(&runs).contains("has seen a newer run of it"), "{runs}");
    assert!(!elsewhere.join("quorate.toml").exists());
    // The one that runs is not disturbed.
    assert!(cluster.is_running(1));
    wait_until("all of them agree", || load(next) == Some(0));

    // Its disk is lost: its peers remember, and it finds out what it has signed.
    cluster.kill(1).unwrap();
    let signed = make(&elsewhere, &arguments, 4);
    assert!(what(&signed).contains("in use, or was"), "{signed}");
    fs::remove_dir_all(validator(next, 1)).unwrap();
    let mut arguments = arguments.to_vec();
    arguments.extend([
        "--metrics",
        &place,
        "--profile",
        "laptop",
        "--signed-before",
    ]);
    let made = make(&validator(next, 1), &arguments, 0);
    assert_eq!(made["recovers"], true);
    shorten(1);
    cluster.start(1).unwrap();
    wait_until("it votes again", || {
        load(next);
        let status = run(&["status", "--dir", text(next), "--json"]);
        let all: Value = serde_json::from_slice(&status.stdout).unwrap();
        all["validators"][1]["voting"] == true
    });
    stop_four(cluster);
}

#[test]
fn a_genesis_edited_before_the_first_start_is_begun_with_as_documented() {
    let folder = Folder::new("edited");
    let net = folder.join("net");
    init(&net, 4, &["--workload", "opaque"]);
    let path = net.join("genesis.json");
    let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    file["validators"][1]["peer_address"] = format!("127.0.0.1:{}", base_port(1)).into();
    fs::write(&path, serde_json::to_vec_pretty(&file).unwrap()).unwrap();
    let configs: Vec<PathBuf> = (0..4)
        .map(|index| validator(&net, index).join("quorate.toml"))
        .collect();
    let refused = run_json(&["node", "--config", text(&configs[1])], 3);
    assert!(what(&refused).contains("another genesis"), "{refused}");
    assert!(
        refused["error"]["remedy"]
            .as_str()
            .unwrap()
            .contains("quorate init --config"),
        "{refused}"
    );
    for config in &configs {
        let arguments = ["init", "--config", text(config), "--ask-seconds", "0"];
        let made = run_json(&arguments, 0);
        assert_eq!(made["made_anew"], true);
        // It is of this genesis now.
        let again = run_json(&arguments, 3);
        assert!(what(&again).contains("already"), "{again}");
    }
    let cluster = start_four(&net);
    wait_until("they are connected", || {
        (0..4).all(|index| status(&net, index)["connected"] == 3)
    });
    stop_four(cluster);
    // What was used is not made anew for a genesis that is edited later.
    file["validators"][1]["peer_address"] = "127.0.0.1:9".into();
    fs::write(&path, serde_json::to_vec_pretty(&file).unwrap()).unwrap();
    let arguments = ["init", "--config", text(&configs[0]), "--ask-seconds", "0"];
    let used = run_json(&arguments, 3);
    assert!(what(&used).contains("already"), "{used}");
}
