//! The folder that `testnet init` writes.

use crate::common::{Folder, init, run_json, text};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

/// Every file below a folder.
fn files(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn the_layout_is_the_documented_one_and_private() {
    let folder = Folder::new("layout");
    let dir = folder.join("net");
    let made = init(&dir, 4, &["--durability", "async"]);
    assert_eq!(made["fault_weight"], 1);
    assert_eq!(made["fast_slack"], 0);
    assert_eq!(made["validators"].as_array().unwrap().len(), 4);
    for index in 0..4 {
        let own = dir.join(format!("validator-{index:02}"));
        assert_eq!(mode(&own), 0o700);
        assert_eq!(mode(&own.join("key")), 0o600);
        let config = fs::read_to_string(own.join("quorate.toml")).unwrap();
        assert!(config.contains("durability = \"async\""), "{config}");
        assert!(config.contains("genesis = \"../genesis.json\""), "{config}");
        assert!(config.contains(&format!("validator = {index}")), "{config}");
        assert!(config.contains("\nsegment_bytes = 4194304\n"), "{config}");
        let segment = own.join("data/log/segment-0000000000");
        assert_eq!(segment.metadata().unwrap().len(), 4_194_304);
    }
    let mut names = Vec::new();
    files(&dir, &mut names);
    assert_eq!(
        names.iter().filter(|name| name.ends_with(".toml")).count(),
        4
    );
    assert!(
        names
            .iter()
            .filter(|name| name.ends_with(".toml"))
            .all(|name| name == "quorate.toml")
    );
}

#[test]
fn validator_i_has_the_ports_from_p_plus_4_i() {
    let folder = Folder::new("ports");
    let dir = folder.join("net");
    let arguments = [
        "testnet",
        "init",
        "--dir",
        text(&dir),
        "--validators",
        "4",
        "--base-port",
        "9000",
    ];
    let made = run_json(&arguments, 0);
    for (index, validator) in made["validators"].as_array().unwrap().iter().enumerate() {
        let port = 9000 + 4 * index;
        assert_eq!(validator["peer_address"], format!("127.0.0.1:{port}"));
        assert_eq!(
            validator["client_addresses"][0],
            format!("127.0.0.1:{}", port + 1)
        );
        let config = dir.join(format!("validator-{index:02}/quorate.toml"));
        let config = fs::read_to_string(config).unwrap();
        assert!(
            config.contains(&format!("metrics = \"127.0.0.1:{}\"", port + 2)),
            "{config}"
        );
    }
}

#[test]
fn weights_f_and_p_stand_in_the_genesis() {
    let folder = Folder::new("weighted");
    let dir = folder.join("net");
    let arguments = [
        "--weights",
        "40,25,15,10,10",
        "--fault-weight",
        "15",
        "--fast-slack",
        "27",
    ];
    let made = init(&dir, 5, &arguments);
    assert_eq!(
        (&made["fault_weight"], &made["fast_slack"]),
        (&15.into(), &27.into())
    );
    let genesis: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.join("genesis.json")).unwrap()).unwrap();
    let stakes: Vec<_> = genesis["validators"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["stake"])
        .collect();
    assert_eq!(stakes, [40, 25, 15, 10, 10]);
    assert_eq!(genesis["application"]["name"], "venue");
    let other = folder.join("other");
    assert_ne!(
        init(&other, 4, &[])["chain_id"],
        made["chain_id"],
        "a chain id is never used twice"
    );
}

#[test]
fn a_folder_that_holds_something_is_left_alone() {
    let folder = Folder::new("full");
    let dir = folder.join("net");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("precious"), b"x").unwrap();
    let error = run_json(&["testnet", "init", "--dir", text(&dir)], 3);
    assert!(
        error["error"]["what"]
            .as_str()
            .unwrap()
            .contains("not empty")
    );
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    let error = run_json(
        &[
            "testnet",
            "init",
            "--dir",
            text(&dir),
            "--base-port",
            "65530",
        ],
        2,
    );
    assert!(error["error"]["what"].as_str().unwrap().contains("65530"));
}
