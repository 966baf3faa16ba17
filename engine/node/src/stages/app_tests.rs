//! What the app thread tells the others, in its place on a test's thread.

use super::*;
use crate::client_wire::ServerFrame;
use crate::drift::Facts;
use crate::parked::unbounded;
use crate::profiles::{PlacementFacts, Profile, Threads};
use crate::queues::AppBacklog;
use crate::roots::StateRoot;
use crate::state_machine::{Context, Output, SessionId};
use crate::status::StatusFacts;
use crate::testing::{Member, final_block, sample_genesis, signed_auth};
use crossbeam::channel;
use quorate_consensus::payload::session_of_key;
use quorate_consensus::types::BlockId;
use quorate_net::{ClientLinks, Limits};
use std::path::Path;

/// When the timer is due that the first command sets.
const DUE_NS: u64 = 1 << 60;

#[derive(Debug, Default)]
struct Alarm {
    due_ns: Option<u64>,
    /// Whether the others are halted when this goes, and where it tells that.
    seen: Option<(Halt, channel::Sender<bool>)>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some((halt, told)) = &self.seen {
            told.send(halt.is_set()).unwrap();
        }
    }
}

impl StateMachine for Alarm {
    fn sections(&self) -> &'static [&'static str] {
        &["alarm"]
    }

    fn apply(&mut self, _: &Context, _: &[u8], _: &mut Output) {
        self.due_ns = Some(DUE_NS);
    }

    fn timer_next_ns(&self) -> Option<u64> {
        self.due_ns
    }

    fn section_root(&mut self, _: usize) -> [u8; 32] {
        [7; 32]
    }

    fn snapshot_section(&self, _: usize, _: &mut Vec<u8>) {}

    fn restore_section(&mut self, _: usize, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn query(&self, _: &[u8], _: &mut Vec<u8>) {}
}

fn placement() -> Placement {
    Placement::decide(PlacementFacts {
        profile: Profile::Laptop,
        threads: Some(Threads::Dedicated),
        idle: None,
        pin: Vec::new(),
        cores: vec![0, 1],
        validators_here: 1,
    })
}

/// A thread that has these to take, and what it tells.
type Ends = (
    AppThread<Alarm>,
    Receiver<ToOrder>,
    channel::Receiver<ToNet>,
);

fn thread_of(items: impl IntoIterator<Item = ToApp>, alarm: Alarm) -> Ends {
    let (genesis, _) = sample_genesis(4);
    let own = ValidatorIndex::new(0);
    let ((to_app, of_app), (order, of_order)) = (unbounded(), unbounded());
    let (to_net, of_net) = channel::unbounded();
    for item in items.into_iter().chain([ToApp::End]) {
        to_app.send(item).unwrap();
    }
    let metrics = Arc::<Metrics>::default();
    let facts = Arc::new(Facts::new(Path::new("nowhere"), own, &genesis));
    let thread = AppThread {
        executor: Executor::new(alarm, 8, 0),
        items: of_app,
        order,
        net: NetSender::new(to_net, ClientLinks::new(Limits::default()).unwrap().waker()),
        checking: InFlight::default(),
        placement: placement(),
        recorder: Recorder::new(facts, Arc::clone(&metrics)),
        metrics,
        trace: Trace::default(),
        halt: Halt::default(),
    };
    (thread, of_order, of_net)
}

/// What the thread has told when it has taken these and is at its end.
fn told_of(items: impl IntoIterator<Item = ToApp>) -> (Vec<ToOrder>, Vec<ToNet>) {
    let (thread, of_order, of_net) = thread_of(items, Alarm::default());
    thread.run().unwrap();
    let of_order = std::iter::from_fn(|| of_order.try_recv().ok());
    (of_order.collect(), of_net.try_iter().collect())
}

/// A block with one command of client 1, which has this number.
fn block(height: u64, seq: u64) -> ToApp {
    let (genesis, _) = sample_genesis(4);
    let parent_id = BlockId::new([0; 32]);
    let commands = [(1, seq, b"command".as_slice())];
    let block = final_block(genesis.validator_set(), height, parent_id, &commands);
    ToApp::Execute(Box::new(AppBacklog::default().take(block)))
}

/// In a chain without commands nobody else would make a block for it.
#[test]
fn when_the_next_timer_is_due_is_told_to_who_makes_blocks_whenever_that_changes() {
    let (told, _) = told_of([block(1, 1), block(2, 2)]);
    let timers = told.iter().filter_map(|told| match told {
        ToOrder::TimerNext(timer_next_ns) => Some(*timer_next_ns),
        _ => None,
    });
    assert_eq!(timers.collect::<Vec<_>>(), [Some(DUE_NS)]);
}

/// What goes with the thread may wait for a disk that hangs.
#[test]
fn a_block_that_cannot_be_executed_halts_the_others_before_anything_is_waited_for() {
    let (halt, (sender, seen)) = (Halt::default(), channel::unbounded());
    let alarm = Alarm {
        seen: Some((halt.clone(), sender)),
        ..Alarm::default()
    };
    let (mut thread, ..) = thread_of([block(2, 1)], alarm);
    thread.halt = halt;
    thread.run().unwrap_err();
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [true]);
}

#[test]
fn what_had_come_of_a_command_is_told_when_it_was_submitted_again() {
    let session = SessionId(session_of_key(&[1; 32]));
    // Of the other number nothing is known.
    let repeats = [vec![(session, 9)], vec![(session, 1), (session, 9)]];
    let items = [block(1, 1)].into_iter();
    let (_, told) = told_of(items.chain(repeats.map(ToApp::Repeats)));
    let repeats = told.iter().filter_map(|told| match told {
        ToNet::Repeats(known) => Some(known.iter().map(|one| one.seq).collect()),
        _ => None,
    });
    assert_eq!(repeats.collect::<Vec<Vec<u64>>>(), [[1]]);
}

/// The only thing that is told, to this client.
fn reply(told: &[ToNet], client: ClientId) -> &[u8] {
    match told {
        [ToNet::Reply(of, bytes)] if *of == client => bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_that_asks_for_the_state_root_is_answered() {
    let client = ClientId::from_bits(3);
    let (_, told) = told_of([ToApp::Root(client, 5)]);
    let (_, frame) = ServerFrame::decode(reply(&told, client)).unwrap();
    assert!(matches!(
        frame,
        ServerFrame::Root {
            id: 5,
            height: 0,
            ..
        }
    ));
}

#[test]
fn a_client_that_asks_for_the_status_is_answered() {
    let member = Member::open(1, 0, signed_auth);
    let facts = StatusFacts {
        own: member.own,
        order: &member.parts.order,
        root: &StateRoot::combine(0, Vec::new()),
        threading: placement().threading,
        idle: placement().idle,
    };
    let status = Box::new(NodeStatus::new(&facts, &Metrics::default()));
    let client = ClientId::from_bits(3);
    let asked = ToApp::Status(status, StatusReply::Client(client, 6));
    let (_, told) = told_of([asked]);
    let (_, frame) = ServerFrame::decode(reply(&told, client)).unwrap();
    let ServerFrame::Status { id: 6, json } = frame else {
        panic!("{frame:?}");
    };
    assert!(json.contains("state_root"), "{json}");
}
