//! What an operator does after a loss, and to move a validator, with real folders.

use crate::common::{Folder, init, run, run_json, run_under_load, shorten_turns, status, text};
use std::fs;
use std::path::{Path, PathBuf};

fn config(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("validator-{index:02}/quorate.toml"))
}

fn data(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("validator-{index:02}/data"))
}

/// Asks which block to go on from, by the logs of these validators.
fn site(dir: &Path, places: &[usize], code: i32) -> serde_json::Value {
    let genesis = dir.join("genesis.json");
    let dirs: Vec<PathBuf> = places.iter().map(|&place| data(dir, place)).collect();
    let mut arguments = vec!["recover", "site", "--genesis", text(&genesis)];
    arguments.extend(dirs.iter().map(|dir| text(dir)));
    run_json(&arguments, code)
}

#[test]
fn a_lost_data_folder_is_refused_until_an_operator_has_said_that_it_is_lost() {
    let folder = Folder::new("lost");
    let dir = folder.join("net");
    init(&dir, 4, &[]);
    fs::remove_dir_all(data(&dir, 2)).unwrap();
    let path = config(&dir, 2);
    let refused = run_json(&["node", "--config", text(&path)], 4);
    let what = refused["error"]["what"].as_str().unwrap();
    assert!(what.contains("disk is lost"), "{what}");
    let said = run_json(&["recover", "disk", "--config", text(&path)], 0);
    assert_eq!(said["index"], 2);
    assert!(data(&dir, 2).join("log/lease").is_file());
    run_json(&["recover", "disk", "--config", text(&path)], 0);
}

#[test]
fn a_log_without_its_lease_or_its_watermark_is_not_called_whole() {
    let folder = Folder::new("beside-the-log");
    let dir = folder.join("net");
    init(&dir, 4, &[]);
    let verify = |place, code| run_json(&["log", "verify", text(&data(&dir, place))], code);
    let whole = verify(0, 0);
    assert_eq!(
        (&whole["lease"], &whole["next"]),
        (&"whole".into(), &"nothing".into())
    );
    assert_eq!(whole["has_watermark"], true);
    let next = |report: &serde_json::Value| report["next"].as_str().unwrap().to_owned();

    let lease = data(&dir, 0).join("log/lease");
    let mut bytes = fs::read(&lease).unwrap();
    bytes[20] ^= 1;
    fs::write(&lease, &bytes).unwrap();
    assert_eq!(verify(0, 5)["lease"], "damaged");
    fs::remove_file(&lease).unwrap();
    let without = verify(0, 5);
    assert_eq!(without["lease"], "missing");
    assert_eq!(without["faulty"].as_array().unwrap().len(), 0);
    assert!(next(&without).contains("asks its peers"), "{without}");

    fs::remove_file(data(&dir, 1).join("log/watermark")).unwrap();
    let without = verify(1, 5);
    assert_eq!(
        (&without["lease"], &without["has_watermark"]),
        (&"whole".into(), &false.into())
    );
    assert!(next(&without).contains("recover disk"), "{without}");
    let output = run(&["log", "verify", text(&data(&dir, 1))]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("NO WATERMARK"));
}

#[test]
fn a_folder_with_the_lease_of_another_validator_is_foreign_as_a_start_says() {
    let folder = Folder::new("foreign-lease");
    let dir = folder.join("net");
    init(&dir, 4, &[]);
    let lease = |place| data(&dir, place).join("log/lease");
    let own = fs::read(lease(0)).unwrap();
    fs::copy(lease(1), lease(0)).unwrap();
    run_json(&["node", "--config", text(&config(&dir, 0))], 3);
    for named in [
        dir.join("validator-00"),
        data(&dir, 0),
        data(&dir, 0).join("log"),
    ] {
        let found = run_json(&["log", "verify", text(&named)], 3);
        assert_eq!(found["faulty"][0]["kind"], "foreign", "{found}");
        let what = found["faulty"][0]["what"].as_str().unwrap();
        assert!(
            what.contains(found["lease_owner"].as_str().unwrap()),
            "{what}"
        );
    }
    // A copy without its configuration: the key is one of the chain, and no more is known.
    let copy = folder.join("copy");
    fs::rename(data(&dir, 0), &copy).unwrap();
    let other = run_json(&["log", "verify", text(&copy)], 0);
    fs::write(copy.join("log/lease"), own).unwrap();
    let own = run_json(&["log", "verify", text(&copy)], 0);
    assert_ne!(own["lease_owner"], other["lease_owner"]);
    // One of another chain is foreign in any case.
    let stranger = folder.join("stranger");
    init(&stranger, 4, &[]);
    fs::copy(data(&stranger, 0).join("log/lease"), copy.join("log/lease")).unwrap();
    run_json(&["log", "verify", text(&copy)], 3);
}

#[test]
fn a_chain_in_which_nothing_was_proven_has_nothing_to_go_on_from() {
    let folder = Folder::new("nothing");
    let dir = folder.join("net");
    init(&dir, 4, &[]);
    let told = site(&dir, &[0, 1, 2, 3], 1);
    let what = told["error"]["what"].as_str().unwrap();
    assert!(what.contains("nothing to go on from"), "{what}");
}

#[test]
fn what_a_validator_said_moves_with_it_and_to_nobody_else() {
    let folder = Folder::new("move");
    let dir = folder.join("net");
    init(&dir, 4, &[]);
    let (first, other) = (config(&dir, 0), config(&dir, 1));
    let file = folder.join("votes.json");
    let export = |code| {
        let arguments = [
            "vote-state",
            "export",
            "--config",
            text(&first),
            "--out",
            text(&file),
        ];
        run_json(&arguments, code)
    };
    let import = |path: &Path, code| {
        let arguments = [
            "vote-state",
            "import",
            "--config",
            text(path),
            "--from",
            text(&file),
        ];
        run_json(&arguments, code)
    };
    assert_eq!(export(0)["index"], 0);
    export(3);
    // The folder that must not be started says so.
    let verified = run_json(&["log", "verify", text(&data(&dir, 0))], 0);
    assert_eq!(verified["is_lost"], true, "{verified}");
    let next = verified["next"].as_str().unwrap();
    assert!(next.contains("leave this one down"), "{next}");
    let foreign = import(&other, 3);
    let what = foreign["error"]["what"].as_str().unwrap();
    assert!(what.contains("validator ="), "{what}");
    fs::remove_dir_all(data(&dir, 0)).unwrap();
    assert_eq!(import(&first, 0)["records"], 0);
    assert!(data(&dir, 0).join("log/lease").is_file());
    fs::write(&file, "{\"format\": 1}").unwrap();
    import(&first, 3);
}

#[test]
fn the_block_to_go_on_from_is_the_highest_proven_one_of_enough_logs() {
    let folder = Folder::new("site");
    let dir = folder.join("net");
    init(&dir, 4, &["--workload", "opaque"]);
    run_under_load(&dir, "blocks are final", || true);
    let genesis = dir.join("genesis.json");
    let site = |places: &[usize], code| site(&dir, places, code);
    let few = site(&[0, 1], 1);
    let what = few["error"]["what"].as_str().unwrap();
    assert!(what.contains("N - F = 3"), "{what}");
    site(&[0, 1, 1], 3);
    let chosen = site(&[0, 2, 3], 0);
    let heights = chosen["reports"].as_array().unwrap().iter();
    let highest = heights.map(|one| one["height"].as_u64().unwrap()).max();
    assert_eq!(chosen["height"].as_u64(), highest);
    assert!(highest > Some(0) && chosen["id"].is_string());
    assert!(!chosen["dirs"].as_array().unwrap().is_empty());
    // A disk that is lost holds no longer every proof that was flushed there.
    let declared = run_json(&["recover", "disk", "--config", text(&config(&dir, 1))], 0);
    assert_eq!(declared["fault_weight"], 1, "{declared}");
    let lost = site(&[0, 1, 2], 1);
    let what = lost["error"]["what"].as_str().unwrap();
    assert!(what.contains("does not count: its disk is lost"), "{what}");
    let beside = site(&[0, 1, 2, 3], 0);
    assert_eq!(beside["stake"], 3, "of the three others");
    // What it still has proves as much as ever.
    assert!(beside["height"].as_u64() >= highest);
    assert!(beside["reports"][1]["not_counted"].is_string());
    assert!(beside["reports"][0]["not_counted"].is_null());
    // Text for people names the same.
    let output = run(&[
        "recover",
        "site",
        "--genesis",
        text(&genesis),
        text(&data(&dir, 0)),
        text(&data(&dir, 1)),
        text(&data(&dir, 2)),
        text(&data(&dir, 3)),
    ]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("goes on from height"));
}

/// The proofs that it had flushed stay in the folder before.
#[test]
fn a_folder_that_a_validator_moved_to_counts_once_it_has_proven_something_newer() {
    let folder = Folder::new("site-moved");
    let dir = folder.join("net");
    init(&dir, 4, &["--workload", "opaque"]);
    for place in 0..4 {
        shorten_turns(&config(&dir, place));
    }
    run_under_load(&dir, "blocks are final", || true);
    let site = |code| site(&dir, &[0, 1, 2], code);
    let before = site(0);
    let (path, file) = (config(&dir, 0), folder.join("votes.json"));
    let moves = |verb: &str, flag: &str| {
        let (path, file) = (text(&path), text(&file));
        run_json(&["vote-state", verb, "--config", path, flag, file], 0);
    };
    moves("export", "--out");
    fs::remove_dir_all(data(&dir, 0)).unwrap();
    moves("import", "--from");
    let moved = site(1);
    let what = moved["error"]["what"].as_str().unwrap();
    assert!(what.contains("its validator moved here"), "{what}");
    let window = before["window"].as_u64().unwrap();
    run_under_load(&dir, "windows pass", || {
        status(&dir, 0)["window"].as_u64() > Some(window + 4)
    });
    let caught_up = site(0);
    assert_eq!(caught_up["stake"], 3);
    assert!(caught_up["height"].as_u64() > before["height"].as_u64());
}

/// Of a damaged log only what stands before the damage is read: a higher proof may be behind it.
#[test]
fn a_damaged_log_does_not_count_for_the_block_to_go_on_from() {
    let folder = Folder::new("site-damaged");
    let dir = folder.join("net");
    init(&dir, 4, &["--workload", "opaque"]);
    run_under_load(&dir, "blocks are final", || true);
    let site = |places: &[usize], code| site(&dir, places, code);
    let whole = site(&[0, 1, 2], 0);
    let log = data(&dir, 0).join("log");
    let segment = log.join("segment-0000000000");
    let mut bytes = fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[end / 2] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let damaged = site(&[0, 1, 2], 1);
    let what = damaged["error"]["what"].as_str().unwrap();
    assert!(what.contains("its log is damaged"), "{what}");
    fs::remove_file(data(&dir, 1).join("log/watermark")).unwrap();
    let beside = site(&[0, 1, 2, 3], 1);
    let what = beside["error"]["what"].as_str().unwrap();
    assert!(what.contains("has no watermark"), "{what}");
    assert!(whole["height"].as_u64() > Some(0));
}
