//! `quorate prices` against a running testnet: what the venue takes, what it refuses, and how the
//! command ends.

use crate::common::{Folder, init, run_json, start_four, stop_four, text, wait_until_voting};
use std::path::Path;

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

    // A line that is no price ends the command with its number.
    std::fs::write(&lines, "0 10000 5\n").unwrap();
    let wrong = prices(&dir, &dir.join("validator-02/feed.key"), &lines, 2);
    let what = wrong["error"]["what"].as_str().unwrap();
    assert!(what.contains("line 1") || what.contains(":1"), "{what}");
    stop_four(cluster);
}
