//! A validator that may have few files and sockets open, and strangers who take what they can get.

use crate::common::{
    Folder, init_small, launches, run, status, stop_four, text, validator, wait_until,
};
use quorate_bench::cluster::{Cluster, Launch};
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

/// The one with few.
const POOR: usize = 3;
/// More than its limit, at each port.
const STRANGERS: usize = 300;

/// Started by a shell that lowers both limits first.
fn with_few(launch: &Launch, descriptors: usize) -> Launch {
    let mut arguments = vec![
        "-c".to_owned(),
        format!("ulimit -n {descriptors}; exec \"$0\" \"$@\""),
        launch.program.to_str().unwrap().to_owned(),
    ];
    arguments.extend(launch.arguments.clone());
    Launch {
        program: "/bin/sh".into(),
        arguments,
    }
}

/// Where the poor one listens: for validators, for clients, for operators.
fn ports(dir: &Path) -> [String; 3] {
    let genesis = fs::read(dir.join("genesis.json")).unwrap();
    let genesis: serde_json::Value = serde_json::from_slice(&genesis).unwrap();
    let member = &genesis["validators"][POOR];
    let address = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let (peers, clients) = (
        address(&member["peer_address"]),
        address(&member["client_addresses"][0]),
    );
    let (host, port) = clients.rsplit_once(':').unwrap();
    let operators = format!("{host}:{}", port.parse::<u16>().unwrap() + 1);
    [peers, clients, operators]
}

fn load(dir: &Path) {
    let dir = text(dir);
    run(&[
        "load",
        "--dir",
        dir,
        "--rate",
        "200",
        "--seconds",
        "1",
        "--size",
        "40000",
    ]);
}

/// Number of the newest segment of its log.
fn newest_segment(dir: &Path) -> u64 {
    let log = validator(dir, POOR).join("data/log");
    let names = fs::read_dir(log).unwrap().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let number = |name: String| name.strip_prefix("segment-")?.parse::<u64>().ok();
    names.filter_map(number).max().unwrap_or_default()
}

#[test]
fn strangers_who_take_all_connections_they_get_end_no_validator() {
    let folder = Folder::new("descriptors");
    let dir = folder.join("net");
    init_small(&dir, "opaque", &[]);
    let mut launches = launches(&dir);
    launches[POOR] = with_few(&launches[POOR], 200);
    let mut cluster = Cluster::new(launches, Arc::new(|_, _| ()));
    cluster.start_all().unwrap();
    load(&dir);
    let (height, segment) = (
        status(&dir, POOR)["height"].as_u64().unwrap(),
        newest_segment(&dir),
    );
    // What is evicted, or waits in vain, is let go and comes again.
    let (mut strangers, mut most) = (Vec::<TcpStream>::new(), 0);
    wait_until("segments and leases are written all the same", || {
        assert!(cluster.is_running(POOR), "it has ended");
        strangers.clear();
        for port in ports(&dir) {
            let address = port.parse().unwrap();
            let knock =
                |_| TcpStream::connect_timeout(&address, std::time::Duration::from_millis(100));
            strangers.extend(
                (0..STRANGERS)
                    .map(knock)
                    .take_while(Result::is_ok)
                    .flatten(),
            );
        }
        most = most.max(strangers.len());
        load(&dir);
        newest_segment(&dir) >= segment + 4
    });
    assert!(most > 200, "{most}");
    drop(strangers);
    wait_until("it votes on", || {
        let status = status(&dir, POOR);
        status["voting"] == true && status["height"].as_u64() > Some(height)
    });
    stop_four(cluster);
}

#[test]
fn a_validator_that_may_have_next_to_none_is_refused_with_what_to_do() {
    let folder = Folder::new("descriptors-none");
    let dir = folder.join("net");
    init_small(&dir, "opaque", &[]);
    let launch = with_few(&launches(&dir)[POOR], 100);
    let mut command = std::process::Command::new(&launch.program);
    let output = command.args(&launch.arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("LimitNOFILE"), "{said}");
}
