//! What a session of the load sends, and what it makes of the frames of a validator that lies.

use std::net::{Ipv4Addr, TcpListener};
use std::num::NonZeroU64;

use quorate::client_wire::{ClientFrame, VerdictsWriter, encode_session};
use quorate_net::{ClientAuthenticator, Limits};

use super::*;
use crate::load::source::Body;
use crate::orders::Opaque;

/// A session whose next number is 1, with this many commands.
fn session(commands: usize) -> Session {
    let key = KeyPair::from_seed(&[3; 32]);
    let mut ledger = Ledger::new(key.public(), (1, false));
    for _ in 0..commands {
        ledger.push(0, Lane::Order, b"");
    }
    Session {
        id: session_of_key(&key.public()),
        key: Arc::new(key),
        signs: None,
        presigned: None,
        ledger: Some(ledger),
        gateway: 2,
        connection: Connection::Down {
            dial_at: Instant::now(),
        },
        redial: REDIAL_MIN,
        stuck: Vec::new(),
        frame: Vec::new(),
        gateways_lost: 0,
    }
}

/// Believes everybody.
struct Anybody;

impl ClientAuthenticator for Anybody {
    fn key(&self) -> [u8; 32] {
        [1; 32]
    }
    fn sign_login(&self, _: &[u8; 32], _: u16) -> [u8; 64] {
        [0; 64]
    }
    fn verify_hello(&self, _: &[u8; 32], _: u16, _: &[u8; 64]) -> bool {
        true
    }
}

const IDS: ChainIds = ChainIds {
    chain_id: [1; 32],
    genesis_hash: [2; 32],
};

#[test]
fn frames_are_as_long_as_they_may_be_and_have_each_command_once_in_order() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut links = ClientLinks::new(Limits::default()).unwrap();
    let link = links.connect(Instant::now(), &address, IDS, Arc::new(Anybody));
    let link = link.unwrap();
    let flow = Opaque::new(1, NonZeroU64::MIN, 512, 1);
    for signs in [None, Some(IDS)] {
        let mut session = session(0);
        let key = session.key.public();
        session.ledger = Some(Ledger::new(key, (1, true)));
        session.connection = Connection::Up(link);
        session.signs = signs;
        for index in 0..600 {
            let next = SourceNext {
                offset_ns: 0,
                session: 0,
                lane: Lane::Order,
                body: Body::Opaque(flow.noise(), index),
            };
            session.push(&next, false);
        }
        let (mut seen, mut body) = (0, Vec::new());
        while session.write_frame(0) {
            let frame = std::mem::take(&mut session.stuck);
            let Ok(ClientFrame::Submit { commands, .. }) = ClientFrame::decode(&frame) else {
                panic!("not a Submit");
            };
            let mut longest = 0;
            for command in commands {
                body.clear();
                body.extend_from_slice(if seen == 0 { &key } else { &[] });
                flow.noise().append(seen, &mut body);
                seen += 1;
                assert_eq!((command.seq, command.body), (seen, &body[..]));
                assert_eq!(command.session, &session.id);
                assert_eq!(command.signature.is_some(), signs.is_some());
                longest = longest.max(command.entry.len());
            }
            assert!(frame.len() <= CLIENT_FRAME_BYTES_MAX);
            assert!(seen == 600 || frame.len() + longest > CLIENT_FRAME_BYTES_MAX);
        }
        assert_eq!(seen, 600);
        assert!(session.stuck.is_empty());
    }
}

fn told(session: &mut Session, frame: &[u8]) -> Result<Next, LoadError> {
    session.on_frame(frame, 0, &mut Recorded::default())
}

/// One frame that gives the same answer to each of these numbers, run for run.
fn answers(runs: &[(u64, u64)], verdict: Verdict) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut writer = VerdictsWriter::new(None, &mut frame);
    for &(first, count) in runs {
        (first..first + count).for_each(|seq| writer.push(seq, verdict));
    }
    writer.finish();
    frame
}

fn is_out_of_bounds(result: &Result<Next, LoadError>) -> bool {
    matches!(
        result,
        Err(LoadError::Protocol {
            validator: 2,
            source: FrameError::Bound(_),
        })
    )
}

#[test]
fn a_last_number_that_cannot_be_counted_on_from_is_the_fault_of_who_told_it() {
    let frame = |seq_last| {
        let mut frame = Vec::new();
        encode_session(None, 0, (seq_last, false), &mut frame);
        frame
    };
    for seq_last in [SEQ_MAX + 1, u64::MAX - 1, u64::MAX] {
        let result = told(&mut session(0), &frame(seq_last));
        assert!(is_out_of_bounds(&result), "{seq_last}: {result:?}");
    }
    for seq_last in [0, 7, SEQ_MAX] {
        let result = told(&mut session(0), &frame(seq_last));
        assert_eq!(result.unwrap(), Next::Stay, "{seq_last}");
    }
}

#[test]
fn behind_the_highest_last_number_a_session_counts_on() {
    let mut ledger = Ledger::new([1; 32], (SEQ_MAX + 1, false));
    for number in 1..=3 {
        assert_eq!(ledger.push(0, Lane::Order, b"x"), SEQ_MAX + number);
        assert_eq!(ledger.send_next(0).unwrap().seq, SEQ_MAX + number);
    }
    assert_eq!(ledger.on_finalized(SEQ_MAX + 1), Some(0));
    assert_eq!(ledger.next_seq(), Some(SEQ_MAX + 4));
}

#[test]
fn an_answer_to_millions_of_numbers_is_one_to_those_on_their_way() {
    let busy = Verdict::Busy { retry_after_us: 1 };
    for runs in [[(1, 100_000)], [(2, 100_000)], [(4, 100_000)]] {
        let mut session = session(3);
        told(&mut session, &answers(&runs, busy)).unwrap();
        let expected = 4 - runs[0].0;
        assert_eq!(session.counts().busy, expected, "{runs:?}");
    }
    let mut session = session(3);
    for (seq_first, accepted) in [(u64::MAX, 0), (4, 0), (3, 1), (0, 3)] {
        let run = VerdictRun {
            seq_first,
            count: u32::MAX,
            verdict: Verdict::Accepted,
        };
        let mut left = ANSWERS_MAX;
        let next = session.on_run(&run, 0, &mut left, &mut Recorded::default());
        assert_eq!(next.unwrap(), Next::Stay);
        assert_eq!(session.counts().accepted, accepted, "from {seq_first}");
    }
}

#[test]
fn a_frame_answers_each_command_a_few_times_and_not_without_end() {
    let mut session = session(FLIGHTS_MAX);
    let all = (1, FLIGHTS_MAX as u64);
    let whole = told(&mut session, &answers(&[all; 4], Verdict::Accepted));
    assert_eq!(whole.unwrap(), Next::Stay);
    let more = told(&mut session, &answers(&[all; 5], Verdict::Accepted));
    assert!(is_out_of_bounds(&more), "{more:?}");
}

#[test]
fn who_serves_nobody_is_left_whatever_number_it_answers() {
    for reason in [Rejection::Stopping, Rejection::Diverged] {
        let frame = answers(&[(100, 1)], Verdict::Rejected(reason));
        assert_eq!(told(&mut session(1), &frame).unwrap(), Next::Leave);
    }
    let full = answers(&[(100, 1)], Verdict::Rejected(Rejection::TableFull));
    let full = told(&mut session(1), &full);
    assert!(matches!(full, Err(LoadError::SessionsFull)), "{full:?}");
}
