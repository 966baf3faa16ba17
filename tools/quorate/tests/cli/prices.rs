//! `quorate prices` against a running testnet: what the venue takes, what it refuses, and how the
//! command ends.

use crate::common::{
    Folder, init, quorate, run, run_json, start_four, status, stop_four, text, validator,
    wait_until, wait_until_voting,
};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Prices of one feed, a round and a little more apart.
const LINES: u64 = 20;
const LINE_NS: u64 = 250_000_000;

fn prices(dir: &Path, key: &Path, lines: &Path, code: i32) -> serde_json::Value {
    let options = [
        "--dir",
        text(dir),
        "--key",
        text(key),
        "--file",
        text(lines),
    ];
    run_json(&[&["prices"][..], &options].concat(), code)
}

#[test]
fn observations_reach_a_running_testnet() {
    let folder = Folder::new("prices");
    let dir = folder.join("net");
    init(&dir, 4, &["--workload", "exchange"]);
    let cluster = start_four(&dir);
    wait_until_voting(&dir);

    let lines = folder.join("lines");
    // One that waited too long, as for the session to be opened, is too old to be taken.
    let times = (0..LINES).map(|line| line * LINE_NS);
    let several: String = times
        .map(|time_ns| format!("0 10000 5 {time_ns}\n"))
        .collect();
    std::fs::write(&lines, format!("# feed price confidence time\n{several}")).unwrap();
    let own = prices(&dir, &dir.join("validator-01/feed.key"), &lines, 0);
    assert_eq!(own["prices"], LINES, "{own}");
    assert!(own["observed"].as_u64() >= Some(1), "{own}");

    // A session that is no validator's feed is refused by the venue, and the command says no.
    let key = folder.join("other.key");
    run_json(&["keygen", "--out", text(&key)], 0);
    std::fs::write(&lines, "0 10000 5 0\n").unwrap();
    let other = prices(&dir, &key, &lines, 1);
    assert_eq!(
        (&other["prices"], &other["observed"]),
        (&1.into(), &0.into())
    );
    let refused = other["refused"].as_object().unwrap();
    assert_eq!(refused.values().collect::<Vec<_>>(), [&1], "{other}");

    // A file that is not there is the command line's.
    let key = dir.join("validator-02/feed.key");
    let missing = prices(&dir, &key, &folder.join("missing"), 2);
    let what = missing["error"]["what"].as_str().unwrap();
    assert!(what.contains("missing"), "{what}");

    // A line that is no price ends the command with its number.
    std::fs::write(&lines, "0 10000 5\n").unwrap();
    let wrong = prices(&dir, &key, &lines, 2);
    let what = wrong["error"]["what"].as_str().unwrap();
    assert!(what.contains("line 1") || what.contains(":1"), "{what}");
    stop_four(cluster);
}

/// Gives a testnet so many feeds like its first one.
fn with_feeds(dir: &Path, count: usize) {
    let path = dir.join("genesis.json");
    let written = std::fs::read_to_string(&path).unwrap();
    let mut genesis: serde_json::Value = serde_json::from_str(&written).unwrap();
    let feeds = &mut genesis["application"]["parameters"]["accounts"]["feeds"];
    let first = feeds[0].clone();
    let feed = |number| {
        let mut feed = first.clone();
        feed["symbol"] = format!("F{number}").into();
        feed
    };
    *feeds = (0..count).map(feed).collect();
    std::fs::write(&path, serde_json::to_string_pretty(&genesis).unwrap()).unwrap();
    for index in 0..4 {
        let folder = validator(dir, index);
        std::fs::remove_dir_all(folder.join("data")).unwrap();
        run_json(&["init", "--config", text(&folder.join("quorate.toml"))], 0);
    }
}

/// While half of the stake stands still nothing becomes final, and no price waits for another one.
#[test]
fn prices_of_several_feeds_do_not_wait_for_each_others_finality() {
    let folder = Folder::new("prices-together");
    let dir = folder.join("net");
    init(&dir, 4, &["--workload", "exchange"]);
    with_feeds(&dir, 8);
    let mut cluster = start_four(&dir);
    wait_until("all validators answer", || {
        run(&["status", "--dir", text(&dir)]).status.success()
    });
    let (lines, key) = (folder.join("lines"), dir.join("validator-01/feed.key"));
    // What comes behind the opening of the session waits for that.
    std::fs::write(&lines, "0 10000 5 0\n").unwrap();
    prices(&dir, &key, &lines, 0);

    for index in [2, 3] {
        cluster.pause(index).unwrap();
    }
    let all = (0..8).map(|feed| format!("{feed} 10000 5 0\n"));
    std::fs::write(&lines, all.collect::<String>()).unwrap();
    let mut command = quorate();
    command.args(["prices", "--json", "--dir", text(&dir)]);
    command.args(["--key", text(&key), "--file", text(&lines)]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let feeding = command.spawn().unwrap();
    // One after the other each would wait for as long as an answer may take, ten seconds.
    let end = Instant::now() + Duration::from_secs(60);
    wait_until("all of them wait at once", || {
        assert!(Instant::now() < end, "one waits for another");
        status(&dir, 0)["pool_commands"].as_u64() == Some(8)
    });
    for index in [2, 3] {
        cluster.resume(index).unwrap();
    }
    let told = feeding.wait_with_output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    // Those that became old meanwhile are refused; of what another validator had applied, when the
    // client had turned to it for want of finality, nothing more is told.
    let refused = told["refused"].as_object().unwrap().values();
    let refused: u64 = refused.map(|count| count.as_u64().unwrap()).sum();
    let count = |key: &str| told[key].as_u64().unwrap();
    let ends = count("observed") + refused + count("unanswered");
    assert_eq!((count("prices"), ends), (8, 8), "{told}");
    stop_four(cluster);
}
