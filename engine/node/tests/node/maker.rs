//! What others cause for a session, as the client that waits is told of it.

use crate::support::{Cluster, PATIENCE, agree, patient, stop_all};
use quorate::client::{
    Client, ClientError, ClientOptions, Finalized, PrivatePiece, ValidatorIndex,
};
use quorate::client_wire::{Outcome, Place};
use quorate::keys::KeyPair;
use quorate::node::Node;
use quorate::profiles::{Durability, Threading};
use quorate::state_machine::{Context, Lane, Output, SessionId, StateMachine};
use quorate::streams::StreamPosition;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
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

fn trade(maker: &mut Client, taker: &mut Client, body: &[u8]) {
    assert_eq!(order(maker, b"sell"), [b"rests"]);
    assert_eq!(order(taker, body), [b"taken"]);
}

/// A client of this key that begins at a validator.
fn client_at(cluster: &Cluster, seed: u8, place: u16) -> Client {
    let options = ClientOptions {
        first: ValidatorIndex::new(place),
        ..patient()
    };
    let key = Arc::new(KeyPair::from_seed(&[seed; 32]));
    Client::connect(&cluster.genesis, key, options, PATIENCE).unwrap()
}

/// Turns until so many fills have been told.
fn hear(maker: &mut Client, fills: &Receiver<Vec<u8>>, count: usize) -> Vec<Vec<u8>> {
    let end = Instant::now() + PATIENCE;
    let mut heard = Vec::new();
    while heard.len() < count {
        assert!(Instant::now() < end, "nothing more is told");
        maker.turn(Duration::from_millis(20), |_, _| ()).unwrap();
        heard.extend(fills.try_iter());
    }
    heard
}

/// All of a session's stream, as one validator has it.
fn all_of(cluster: &Cluster, seed: u8, place: u16) -> PrivatePiece {
    let mut client = client_at(cluster, seed, place);
    let to = StreamPosition::LIVE;
    let piece = client.private(StreamPosition::BEGIN, to, PATIENCE).unwrap();
    assert_eq!(client.connected(), Some(ValidatorIndex::new(place)));
    assert_eq!(piece.next, piece.tip);
    piece
}

/// A fill that came while its maker had no connection is told once it has one, whose validator has
/// never been told of that session; and again to nobody.
#[test]
fn what_came_without_a_connection_is_told_after_it_wherever_that_is_and_everything_once() {
    for threading in [Threading::Shared, Threading::Dedicated] {
        let mut cluster = Cluster::new("missed", 4, Durability::Async);
        cluster.threading = threading;
        let start = |place| Node::start(cluster.config(place), Book::default()).unwrap();
        let mut nodes: Vec<Node> = (0..4).map(start).collect();
        let (mut maker, mut taker) = (client_at(&cluster, 101, 3), client_at(&cluster, 102, 0));
        let (tell, fills) = channel();
        let also = tell.clone();
        maker.on_stream(move |stream| {
            stream.for_each(|(_, bytes)| tell.send(bytes.to_vec()).unwrap());
        });
        trade(&mut maker, &mut taker, b"first");
        assert_eq!(hear(&mut maker, &fills, 1), [b"first"]);
        assert_eq!(order(&mut maker, b"sell"), [b"rests"]);
        // Its validator is gone, and it does not look meanwhile.
        drop(nodes.pop());
        assert_eq!(order(&mut taker, b"missed"), [b"taken"]);
        assert_eq!(hear(&mut maker, &fills, 1), [b"missed"]);
        trade(&mut maker, &mut taker, b"live");
        assert_eq!(hear(&mut maker, &fills, 1), [b"live"]);
        // The same for a process that begins anew where the last one had come to.
        let position = maker.stream_position().unwrap();
        assert_eq!(order(&mut maker, b"sell"), [b"rests"]);
        drop(maker);
        assert_eq!(order(&mut taker, b"away"), [b"taken"]);
        let mut maker = client_at(&cluster, 101, 2);
        maker.on_stream_from(position, move |stream| {
            stream.for_each(|(_, bytes)| also.send(bytes.to_vec()).unwrap());
        });
        assert_eq!(hear(&mut maker, &fills, 1), [b"away"]);
        assert!(maker.take_stream_holes().is_empty());
        // One that has executed its log again has the same bytes as the others.
        nodes.push(start(3));
        agree(&nodes, 1);
        let told = all_of(&cluster, 101, 0).outputs;
        let texts: Vec<_> = told.iter().map(|one| one.bytes.as_slice()).collect();
        let expected: [&[u8]; 8] = [
            b"rests", b"first", b"rests", b"missed", b"rests", b"live", b"rests", b"away",
        ];
        assert_eq!(texts, expected);
        // A result that nobody saw: by the place where the command was applied.
        let place = Place {
            height: told[2].address.height,
            index: told[2].command.unwrap(),
        };
        assert_eq!(maker.outputs_at(place, PATIENCE).unwrap(), [b"rests"]);
        let with_result = told.iter().map(|one| one.is_in_result);
        assert!(with_result.eq([true, false].into_iter().cycle().take(8)));
        for place in 1..4 {
            assert_eq!(all_of(&cluster, 101, place).outputs, told, "{place}");
        }
        assert!(all_of(&cluster, 103, 1).outputs.is_empty(), "nobody else's");
        stop_all(nodes);
    }
}

#[test]
fn of_two_own_commands_in_one_block_each_is_told_what_itself_has_put_out() {
    let cluster = Cluster::new("two", 1, Durability::Async);
    let node = Node::start(cluster.config(0), Book::default()).unwrap();
    let mut maker = client(&cluster, 101);
    let end = Instant::now() + PATIENCE;
    // Until both stand in one block.
    let [first, second] = loop {
        for body in [b"sell", b"mine"] {
            maker.submit(Lane::Order, body).unwrap();
        }
        let mut places: Vec<Place> = Vec::new();
        while places.len() < 2 {
            assert!(Instant::now() < end, "never in one block");
            let pause = Duration::from_millis(20);
            let on_end = |_, ended: Result<Finalized, ClientError>| {
                places.push(ended.unwrap().applied.unwrap());
            };
            maker.turn(pause, on_end).unwrap();
        }
        if places[0].height == places[1].height {
            break [places[0], places[1]];
        }
    };
    assert_eq!(maker.outputs_at(first, PATIENCE).unwrap(), [b"rests"]);
    let told = maker.outputs_at(second, PATIENCE).unwrap();
    assert_eq!(told, [b"mine".as_slice(), b"taken"]);
    node.shutdown(Duration::from_millis(300)).unwrap();
}

#[test]
fn what_one_validator_does_not_keep_is_told_by_another_one_that_has_it() {
    let cluster = Cluster::new("kept", 4, Durability::Async);
    let start = |place| {
        let mut config = cluster.config(place);
        if place == 0 {
            config.limits.private_bytes_max = 0;
        }
        Node::start(config, Book::default()).unwrap()
    };
    let nodes: Vec<Node> = (0..4).map(start).collect();
    let (mut maker, mut taker) = (client_at(&cluster, 101, 1), client_at(&cluster, 102, 1));
    trade(&mut maker, &mut taker, b"filled");
    agree(&nodes, 1);
    let mut again = client_at(&cluster, 101, 0);
    let to = StreamPosition::LIVE;
    let piece = again.private(StreamPosition::BEGIN, to, PATIENCE).unwrap();
    let texts: Vec<_> = piece.outputs.iter().map(|one| &one.bytes[..]).collect();
    assert_eq!(texts, [b"rests".as_slice(), b"filled"]);
    assert_ne!(again.connected(), Some(ValidatorIndex::new(0)));
    stop_all(nodes);
}

#[test]
fn a_question_beyond_what_a_validator_has_goes_on_to_the_next_one_after_a_while() {
    let cluster = Cluster::new("ahead", 4, Durability::Async);
    let start = |place| Node::start(cluster.config(place), Book::default()).unwrap();
    let nodes: Vec<Node> = (0..4).map(start).collect();
    // More than half of the time of one question, in which it goes on once.
    let options = ClientOptions {
        first: ValidatorIndex::new(0),
        patience: Duration::from_millis(600),
        ..ClientOptions::default()
    };
    let key = Arc::new(KeyPair::from_seed(&[101; 32]));
    let mut client = Client::connect(&cluster.genesis, key, options, PATIENCE).unwrap();
    let (from, to) = (StreamPosition::before(1_000_000), StreamPosition::LIVE);
    let mut questions = 0;
    while client.connected() == Some(ValidatorIndex::new(0)) {
        questions += 1;
        assert!(questions <= 10, "it stays where nobody has come so far");
        let told = client.private(from, to, Duration::from_secs(1));
        assert!(matches!(told, Err(ClientError::Timeout)), "{told:?}");
    }
    stop_all(nodes);
}
