//! Questions that end the validator that is asked.

use crate::support::{Adder, Cluster, PATIENCE, eventually, http, patient, stop_all};
use quorate::client::{Client, ClientError};
use quorate::keys::KeyPair;
use quorate::node::Node;
use quorate::profiles::{Durability, Threading};
use quorate::state_machine::{Context, Lane, Output, StateMachine};
use std::sync::Arc;

/// Adds, and cannot take one question.
#[derive(Default)]
struct Brittle(Adder);

impl StateMachine for Brittle {
    fn sections(&self) -> &'static [&'static str] {
        self.0.sections()
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
        assert_ne!(question, b"panic", "as planted");
        self.0.query(question, answer);
    }
}

#[test]
fn a_question_that_ends_validators_is_not_carried_on_to_all_of_them() {
    for threading in [Threading::Shared, Threading::Dedicated] {
        let mut cluster = Cluster::new("brittle", 4, Durability::Async);
        cluster.threading = threading;
        let mut nodes = Vec::new();
        for place in 0..4 {
            let mut config = cluster.config(place);
            config.listen_metrics = Some("127.0.0.1:0".to_owned());
            nodes.push(Node::start(config, Brittle::default()).unwrap());
        }
        let key = Arc::new(KeyPair::from_seed(&[97; 32]));
        let mut client = Client::connect(&cluster.genesis, key, patient(), PATIENCE).unwrap();
        let done = client.submit_and_wait(Lane::Order, b"12345678", PATIENCE);
        done.unwrap();
        // Each block's execution is counted, on whichever thread it was.
        let text = http(nodes[0].metrics_address().unwrap(), "/metrics");
        let counted = |line: &&str| line.starts_with("quorate_execution_seconds_count ");
        let counted = text.lines().find(counted).unwrap();
        assert!(!counted.ends_with(" 0"), "{counted}");
        assert!(client.query(b"good", PATIENCE).is_ok());
        let lost = client.query(b"panic", PATIENCE);
        let is_given_up = matches!(lost, Err(ClientError::QuestionLost { losses: 2 }));
        assert!(is_given_up, "{lost:?}");
        let ended = |nodes: &[Node]| nodes.iter().filter(|node| node.is_finished()).count();
        eventually("two have ended", || ended(&nodes) == 2);
        assert!(client.query(b"good", PATIENCE).is_ok(), "the others answer");
        assert_eq!(ended(&nodes), 2);
        nodes.retain(|node| !node.is_finished());
        stop_all(nodes);
    }
}
