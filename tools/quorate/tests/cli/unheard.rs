//! A validator whose log lines nobody takes.

use crate::common::{Folder, init, launches, status, stop_four, text, validator, wait_until};
use quorate_bench::cluster::{Cluster, Launch};
use std::sync::Arc;

/// The one that is not heard.
const UNHEARD: usize = 2;

/// Started by a shell that gives it a standard error which takes nothing.
fn unheard(launch: &Launch) -> Launch {
    let mut arguments = vec![
        "-c".to_owned(),
        "exec \"$0\" \"$@\" 2>/dev/full".to_owned(),
        text(&launch.program).to_owned(),
    ];
    arguments.extend(launch.arguments.clone());
    Launch {
        program: "/bin/sh".into(),
        arguments,
    }
}

#[test]
fn a_validator_whose_log_lines_cannot_be_written_serves_and_stops_cleanly() {
    let folder = Folder::new("unheard");
    let dir = folder.join("net");
    init(&dir, 4, &["--workload", "opaque"]);
    let mut launches = launches(&dir);
    launches[UNHEARD] = unheard(&launches[UNHEARD]);
    let mut cluster = Cluster::new(launches, Arc::new(|_, _| ()));
    cluster.start_all().unwrap();
    wait_until("it takes part", || {
        assert!(cluster.is_running(UNHEARD), "it has ended");
        let status = status(&dir, UNHEARD);
        status["voting"] == true && status["connected"] == 3
    });
    stop_four(cluster);
    let marker = validator(&dir, UNHEARD).join("data/log/clean-stop");
    assert!(marker.is_file(), "it did not stop cleanly");
}
