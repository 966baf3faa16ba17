//! What a node refuses: starts that are not safe, and bytes that are not the protocol's.

use crate::support::{Adder, Cluster, PATIENCE, eventually, http, patient, stop_all};
use quorate::client::Client;
use quorate::config::NodeConfig;
use quorate::executor::SectionsError;
use quorate::keys::KeyPair;
use quorate::node::{Node, StartError, initialize, is_unused};
use quorate::profiles::Durability;
use quorate::state_machine::{Context, Lane, Output, StateMachine};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_folder_that_was_never_made_ready_is_not_started_from() {
    let cluster = Cluster::new("unready", 4, Durability::Sync);
    let config = cluster.config_in(0, &cluster.folder.join("elsewhere"));
    let error = Node::start(config, Adder::default()).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("elsewhere"), "{error}");
}

/// An application with these sections.
#[derive(Debug)]
struct Sectioned(Adder, &'static [&'static str]);

impl StateMachine for Sectioned {
    fn sections(&self) -> &'static [&'static str] {
        self.1
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        self.0.apply(context, command, output);
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        self.0.section_root(section)
    }

    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
        self.0.snapshot_section(section, bytes);
    }

    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        self.0.restore_section(section, bytes)
    }

    fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
        self.0.query(question, answer);
    }
}

#[test]
fn an_application_whose_state_could_not_be_attested_is_not_started() {
    let cluster = Cluster::new("sections", 4, Durability::Sync);
    let app = Sectioned(Adder::default(), &["sum", "events"]);
    let error = Node::start(cluster.config(0), app).unwrap_err();
    let taken = SectionsError::Taken { name: "events" };
    assert!(
        matches!(error, StartError::Sections(found) if found == taken),
        "{error}"
    );
    assert!(error.to_string().contains("\"events\""), "{error}");
    assert_eq!(error.exit_code(), 3);
}

type Set = fn(&mut NodeConfig);

/// Each would be refused in a file: what would be attested at such heights is a fault to peers, and
/// a queue without room gives no block to anybody.
#[test]
fn a_configuration_that_a_program_has_set_wrong_is_not_started_with() {
    let cluster = Cluster::new("set-wrong", 4, Durability::Sync);
    let wrong: [(&str, Set); 6] = [
        ("snapshots.every_heights", |config| {
            config.snapshots.every_heights = 100;
        }),
        ("limits.finalized_queue_max", |config| {
            config.limits.finalized_queue_max = 0;
        }),
        ("rates.open_burst", |config| config.rates.open_burst = 0),
        ("limits.public_archive_bytes_max", |config| {
            config.limits.public_archive_bytes_max = 1;
        }),
        ("limits.private_archive_bytes_max", |config| {
            config.limits.private_archive_bytes_max = 1;
        }),
        ("limits.private_bytes_max", |config| {
            config.limits.private_bytes_max = 1;
            config.limits.private_archive_bytes_max = 1 << 30;
        }),
    ];
    for (field, set) in wrong {
        let mut config = cluster.config(0);
        set(&mut config);
        let error = Node::start(config, Adder::default()).unwrap_err();
        assert!(matches!(error, StartError::File(_)), "{error}");
        assert!(error.to_string().contains(field), "{error}");
        assert_eq!(error.exit_code(), 3);
    }
}

#[test]
fn a_folder_is_made_ready_once() {
    let cluster = Cluster::new("twice", 4, Durability::Sync);
    let error = initialize(&cluster.config(0)).unwrap_err();
    assert!(error.to_string().contains("initialized already"), "{error}");
}

#[test]
fn a_folder_made_for_another_genesis_is_made_anew_until_a_node_has_used_it() {
    let (edited, before) = (
        Cluster::new("anew-a", 4, Durability::Sync),
        Cluster::new("anew-b", 4, Durability::Sync),
    );
    let config = || edited.config_in(0, &before.data(0));
    // The same genesis is no other one, and another key's folder none of this one.
    assert!(!is_unused(&before.config(0)).unwrap());
    assert!(!is_unused(&edited.config_in(1, &before.data(0))).unwrap());
    let error = initialize(&edited.config_in(1, &before.data(0))).unwrap_err();
    assert!(error.to_string().contains("initialized already"), "{error}");

    assert!(is_unused(&config()).unwrap());
    initialize(&config()).unwrap();
    assert!(!before.data(0).join("log-unused").exists());
    let node = Node::start(config(), Adder::default()).unwrap();
    node.shutdown(Duration::ZERO).unwrap();

    // It has a lease of a start now, though its log may hold nothing more.
    assert!(!is_unused(&before.config(0)).unwrap());
    let error = initialize(&before.config(0)).unwrap_err();
    assert!(error.to_string().contains("initialized already"), "{error}");
    let node = Node::start(config(), Adder::default()).unwrap();
    node.shutdown(Duration::ZERO).unwrap();
}

#[test]
fn the_folder_of_another_chain_is_refused_before_a_port_is_opened() {
    let (one, other) = (
        Cluster::new("chain-a", 4, Durability::Sync),
        Cluster::new("chain-b", 4, Durability::Sync),
    );
    let config = one.config_in(0, &other.data(0));
    let error = Node::start(config, Adder::default()).unwrap_err();
    assert!(error.to_string().contains("another genesis"), "{error}");
    assert!(error.to_string().contains("plain BLAKE3"), "{error}");
    assert_eq!(error.exit_code(), 3);
}

#[test]
fn a_folder_in_use_is_refused_and_named() {
    let cluster = Cluster::new("in-use", 4, Durability::Sync);
    let node = cluster.start(0);
    let error = cluster.try_start(0).unwrap_err();
    assert!(matches!(error, StartError::Folder(_)), "{error}");
    assert!(error.to_string().contains("validator-0"), "{error}");
    assert_eq!(error.exit_code(), 75);
    node.shutdown(Duration::ZERO).unwrap();
    cluster.start(0).shutdown(Duration::ZERO).unwrap();
}

#[test]
fn a_port_in_use_is_refused_and_named() {
    let cluster = Cluster::new("port", 4, Durability::Sync);
    let node = cluster.start(0);
    for field in ["peers", "clients", "metrics"] {
        let mut config = cluster.config(1);
        let taken = node.client_address().unwrap().to_string();
        match field {
            "peers" => config.listen_peers.clone_from(&taken),
            "clients" => config.listen_clients = Some(taken.clone()),
            _ => config.listen_metrics = Some(taken.clone()),
        }
        let error = Node::start(config, Adder::default()).unwrap_err();
        assert!(error.to_string().contains(&taken), "{error}");
        assert_eq!(error.exit_code(), 75);
    }
    let mut config = cluster.config(1);
    // Kept for documentation: no machine has it. Another address may be up later than this.
    config.listen_clients = Some("192.0.2.1:0".to_owned());
    let error = Node::start(config, Adder::default()).unwrap_err();
    assert_eq!(error.exit_code(), 75, "{error}");
    // Nothing was left running or locked by the failed starts.
    cluster.start(1).shutdown(Duration::ZERO).unwrap();
    node.shutdown(Duration::ZERO).unwrap();
}

#[test]
fn one_address_for_two_purposes_is_refused_before_anything_is_taken() {
    let cluster = Cluster::new("address-twice", 4, Durability::Sync);
    for (fields, set) in [("listen.peers", 0), ("listen.clients", 1)] {
        let mut config = cluster.config(0);
        config.listen_clients = Some("127.0.0.1:7001".to_owned());
        config.listen_metrics = Some(match set {
            0 => config.listen_peers.clone(),
            _ => "127.0.0.1:7001".to_owned(),
        });
        let error = Node::start(config, Adder::default()).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{error}");
        for field in [fields, "listen.metrics"] {
            assert!(error.to_string().contains(field), "{error}");
        }
    }
    // Port 0 is another one each time.
    let mut config = cluster.config(0);
    config.listen_clients = Some("127.0.0.1:0".to_owned());
    config.listen_metrics = Some("127.0.0.1:0".to_owned());
    let node = Node::start(config, Adder::default()).unwrap();
    node.shutdown(Duration::ZERO).unwrap();
}

/// Reading a long log takes minutes, after which nobody looks any more.
#[test]
fn a_port_in_use_is_told_before_the_log_is_read() {
    let cluster = Cluster::new("port-first", 4, Durability::Sync);
    let node = cluster.start(0);
    let taken = node.client_address().unwrap().to_string();
    let segment = cluster.data(1).join("log/segment-0000000000");
    std::fs::OpenOptions::new()
        .write(true)
        .open(&segment)
        .unwrap()
        .set_len(100)
        .unwrap();
    for field in ["peers", "clients", "metrics"] {
        let mut config = cluster.config(1);
        match field {
            "peers" => config.listen_peers.clone_from(&taken),
            "clients" => config.listen_clients = Some(taken.clone()),
            _ => config.listen_metrics = Some(taken.clone()),
        }
        let error = Node::start(config, Adder::default()).unwrap_err();
        assert_eq!(error.exit_code(), 75, "{field}: {error}");
    }
    let error = cluster.try_start(1).unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
    node.shutdown(Duration::ZERO).unwrap();
}

#[test]
fn bytes_that_are_no_protocol_end_their_own_connection_alone() {
    let cluster = Cluster::new("garbage", 4, Durability::Async);
    let nodes = cluster.start_all();
    let key = Arc::new(KeyPair::from_seed(&[99; 32]));
    let options = patient();
    let mut client = Client::connect(&cluster.genesis, key, options, PATIENCE).unwrap();
    client
        .submit_and_wait(Lane::Order, b"12345678", PATIENCE)
        .unwrap();
    for address in [
        nodes[0].client_address().unwrap(),
        nodes[0].peer_address().unwrap(),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&[0xff; 4096]).unwrap();
        let mut rest = Vec::new();
        // Closed, one way or the other.
        drop(stream.read_to_end(&mut rest));
        assert!(rest.is_empty());
    }
    client
        .submit_and_wait(Lane::Order, b"12345678", PATIENCE)
        .unwrap();
    eventually("the closing is counted", || {
        let faults = nodes[0].status().unwrap().faults;
        faults
            .get("closed_message_length")
            .copied()
            .unwrap_or_default()
            >= 2
    });
    assert!(client.connected().is_some());
    stop_all(nodes);
}

#[test]
fn operators_see_numbers_health_readiness_and_status() {
    let cluster = Cluster::new("http", 4, Durability::Async);
    let mut nodes: Vec<Node> = (1..4).map(|place| cluster.start(place)).collect();
    let mut config = cluster.config(0);
    // Port 0: whichever is free.
    config.listen_metrics = Some("127.0.0.1:0".to_owned());
    nodes.push(Node::start(config, Adder::default()).unwrap());
    let address = nodes[3].metrics_address().unwrap();
    let key = Arc::new(KeyPair::from_seed(&[98; 32]));
    let options = patient();
    let mut client = Client::connect(&cluster.genesis, key, options, PATIENCE).unwrap();
    client
        .submit_and_wait(Lane::Order, b"12345678", PATIENCE)
        .unwrap();
    eventually("ready", || {
        http(address, "/ready").starts_with("HTTP/1.1 200")
    });
    assert!(http(address, "/health").ends_with("ok\n"));
    let text = http(address, "/metrics");
    assert!(
        text.contains("quorate_commands_accepted_total 2\n"),
        "{text}"
    );
    assert!(http(address, "/status").contains("\"index\":0"));
    stop_all(nodes);
}

/// Whoever sends clients to validators sends none to it.
#[test]
fn a_validator_that_may_not_vote_yet_works_and_is_not_ready() {
    let cluster = Cluster::new("unready-alone", 4, Durability::Async);
    let mut config = cluster.config(0);
    config.listen_metrics = Some("127.0.0.1:0".to_owned());
    // No peer tells it what it may have said before it was started.
    let mut nodes = vec![Node::start(config, Adder::default()).unwrap()];
    let address = nodes[0].metrics_address().unwrap();
    assert!(http(address, "/health").starts_with("HTTP/1.1 200"));
    let answer = http(address, "/ready");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("may not vote"), "{answer}");
    nodes.extend((1..4).map(|place| cluster.start(place)));
    eventually("ready", || {
        http(address, "/ready").starts_with("HTTP/1.1 200")
    });
    stop_all(nodes);
}
