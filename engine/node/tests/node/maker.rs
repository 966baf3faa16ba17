//! What others cause for a session, as the client that waits is told of it.

use crate::support::{Cluster, PATIENCE, patient};
use quorate::client::Client;
use quorate::client_wire::Outcome;
use quorate::keys::KeyPair;
use quorate::node::Node;
use quorate::profiles::Durability;
use quorate::state_machine::{Context, Lane, Output, SessionId, StateMachine};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// A book with room for one order: it rests until another session takes it.
#[derive(Debug, Default)]
struct Book {
    maker: Option<SessionId>,
}

impl StateMachine for Book {
    fn sections(&self) -> &'static [&'static str] {
        &["maker"]
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        match self.maker.take() {
            None => {
                self.maker = Some(context.session);
                output.to_session(context.session, b"rests");
            }
            Some(maker) => {
                output.to_session(maker, command);
                output.to_session(context.session, b"taken");
            }
        }
    }

    fn section_root(&mut self, _section: usize) -> [u8; 32] {
        let mut bytes = Vec::new();
        self.snapshot_section(0, &mut bytes);
        bytes.resize(32, 0);
        bytes.try_into().unwrap()
    }

    fn snapshot_section(&self, _section: usize, bytes: &mut Vec<u8>) {
        bytes.extend(self.maker.iter().flat_map(|maker| maker.0));
    }

    fn restore_section(&mut self, _section: usize, bytes: &[u8]) -> Result<(), String> {
        self.maker = bytes.try_into().ok().map(SessionId);
        Ok(())
    }

    fn query(&self, _question: &[u8], _answer: &mut Vec<u8>) {}
}

fn client(cluster: &Cluster, seed: u8) -> Client {
    let key = Arc::new(KeyPair::from_seed(&[seed; 32]));
    Client::connect(&cluster.genesis, key, patient(), PATIENCE).unwrap()
}

fn order(client: &mut Client, body: &[u8]) -> Vec<Vec<u8>> {
    let done = client.submit_and_wait(Lane::Order, body, PATIENCE).unwrap();
    assert_eq!(done.outcome, Outcome::Applied);
    done.outputs
}

#[test]
fn a_maker_with_the_client_that_waits_sees_its_resting_order_filled() {
    let cluster = Cluster::new("maker", 1, Durability::Async);
    let node = Node::start(cluster.config(0), Book::default()).unwrap();
    let (mut maker, mut taker) = (client(&cluster, 101), client(&cluster, 102));
    let (tell, fills) = channel();
    maker.on_stream(move |stream| {
        let height = stream.height();
        stream.for_each(|(_, bytes)| tell.send((height, bytes.to_vec())).unwrap());
    });
    let listen = |maker: &mut Client| {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Ok((_, bytes)) = fills.try_recv() {
                return bytes;
            }
            assert!(Instant::now() < end, "nothing is told");
            maker.turn(Duration::from_millis(50), |_, _| ()).unwrap();
        }
    };
    assert_eq!(order(&mut maker, b"sell"), [b"rests"]);
    assert_eq!(order(&mut taker, b"filled"), [b"taken"]);
    // While it listens, and while it waits for the answer to something else.
    assert_eq!(listen(&mut maker), b"filled");
    assert_eq!(order(&mut maker, b"sell"), [b"rests"]);
    assert_eq!(order(&mut taker, b"again"), [b"taken"]);
    assert_eq!(order(&mut maker, b"sell"), [b"rests"]);
    let (_, bytes) = fills.try_recv().unwrap();
    assert_eq!(bytes, b"again");
    node.shutdown(Duration::from_millis(300)).unwrap();
}
