//! What of the answers from disk is told, and to whom.

use super::super::archive::Fetched;
use super::super::fetch::Ticket;
use super::*;
use crate::archive::Chunk;
use crate::client_wire::ServerFrame;
use crate::private::PrivateRange;
use crate::state_machine::SessionId;
use crossbeam::channel::{Sender, unbounded};
use quorate_net::ClientId;
use std::collections::BTreeMap;

/// What waits for each client that is there, and what it was sent.
#[derive(Default)]
struct Wires(BTreeMap<u64, (usize, Vec<String>)>);

impl Outlet for Wires {
    fn waiting(&self, client: ClientId) -> Option<usize> {
        self.0.get(&client.to_bits()).map(|(waiting, _)| *waiting)
    }

    fn is_crowded(&self) -> bool {
        false
    }

    fn send(&mut self, client: ClientId, frame: &[u8]) {
        let told = match ServerFrame::decode(frame).unwrap().1 {
            ServerFrame::Private(told) => {
                assert_eq!(told.tip(), at(9));
                format!("{:?} {} {}", told.state(), told.end(), told.oldest())
            }
            ServerFrame::Busy { id, .. } => format!("Busy {id}"),
            other => panic!("{other:?}"),
        };
        let entry = self.0.get_mut(&client.to_bits());
        entry.expect("one that is there").1.push(told);
    }
}

const fn at(height: u64) -> StreamPosition {
    StreamPosition::before(height)
}

pub(in crate::stages) fn read(
    client: u64,
    piece: Result<PrivatePiece, Unavailable>,
) -> Fetched<PrivateOutputs> {
    let fetch = PrivateFetch {
        client: ClientId::from_bits(client),
        id: 7,
        range: PrivateRange::of(SessionId([1; 16]), at(2), at(9)),
        ring: at(6),
        tip: at(9),
    };
    (fetch, piece, Ticket::default())
}

pub(in crate::stages) fn here(end: u64) -> Result<PrivatePiece, Unavailable> {
    let chunk = Chunk {
        blocks: Vec::new(),
        end: at(end),
    };
    Ok(PrivatePiece::Here(chunk, 1))
}

fn stage() -> (PrivateStage, Sender<Fetched<PrivateOutputs>>) {
    let (sender, answers) = unbounded();
    (PrivateStage::new(Some(answers)), sender)
}

#[test]
fn each_answer_says_what_the_archive_has_and_what_is_in_memory() {
    let (stage, sender) = stage();
    let mut out = Wires::default();
    out.0.insert(1, (0, Vec::new()));
    for piece in [
        here(5),
        Ok(PrivatePiece::Gone(4)),
        // Everything was damaged: memory has the rest.
        Ok(PrivatePiece::Gone(8)),
        Ok(PrivatePiece::Busy),
        // Nothing more is kept.
        Err(Unavailable::Gone),
    ] {
        sender.send(read(1, piece)).unwrap();
    }
    assert!(stage.is_unfinished());
    stage.pump(None, &mut out);
    assert!(!stage.is_unfinished());
    let expected = [
        "Done (5, 0) (1, 0)",
        "Gone (2, 0) (4, 0)",
        "Gone (2, 0) (6, 0)",
        "Busy 7",
        "Gone (2, 0) (6, 0)",
    ];
    assert_eq!(out.0[&1].1, expected);
}

/// Blocks below the tip of an answer are told before it, and come by another way.
#[test]
fn what_is_read_while_blocks_are_taken_is_told_in_the_next_turn() {
    let (mut stage, sender) = stage();
    let mut out = Wires::default();
    out.0.insert(1, (0, Vec::new()));
    sender.send(read(1, here(5))).unwrap();
    stage.note_due();
    sender.send(read(1, here(6))).unwrap();
    stage.pump(None, &mut out);
    assert_eq!(out.0[&1].1, ["Done (5, 0) (1, 0)"]);
    assert!(stage.is_unfinished(), "it does not sleep before that");
    stage.note_due();
    stage.pump(None, &mut out);
    assert_eq!(out.0[&1].1[1..], ["Done (6, 0) (1, 0)"]);
}

#[test]
fn one_that_does_not_read_is_told_to_ask_again_and_one_that_is_gone_nothing() {
    let (mut stage, sender) = stage();
    let mut out = Wires::default();
    out.0.insert(1, (2 << 20, Vec::new()));
    out.0.insert(2, (0, Vec::new()));
    for client in [1, 2, 3] {
        sender.send(read(client, here(9))).unwrap();
    }
    stage.pump(None, &mut out);
    assert_eq!(out.0[&1].1, ["Busy 7"]);
    assert_eq!(out.0[&2].1, ["Done (9, 0) (1, 0)"]);
    // Nobody is, of a validator that answers nobody any more.
    sender.send(read(2, here(9))).unwrap();
    stage.clear();
    stage.pump(None, &mut out);
    assert_eq!(out.0[&2].1.len(), 1);
    assert!(!stage.is_unfinished() && sender.send(read(2, here(9))).is_err());
}
