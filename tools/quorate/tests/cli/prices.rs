//! `quorate prices` against a running testnet: what the venue takes, what it refuses, and how the
//! command ends.

use crate::common::{Folder, init, run, run_json, start_four, stop_four, text, wait_until};
use std::path::Path;

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
    wait_until("all validators answer", || {
        run(&["status", "--dir", text(&dir)]).status.success()
    });

    let lines = folder.join("lines");
    std::fs::write(&lines, "# feed price confidence time\n0 10000 5 0\n").unwrap();
    let own = prices(&dir, &dir.join("validator-01/feed.key"), &lines, 0);
    assert_eq!((&own["prices"], &own["observed"]), (&1.into(), &1.into()));
    assert!(own["refused"].as_object().unwrap().is_empty(), "{own}");

    // A session that is no validator's feed is refused by the venue, and the command says no.
    let key = folder.join("other.key");
    run_json(&["keygen", "--out", text(&key)], 0);
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
