//! R10: history, of whom it is asked and how it is served.

use crate::bench::{Bench, Setup};
use crate::fixtures::{Block, chain, final_of, six, v};
use crate::r10_requests::{asked_of, pass};
use quorate_consensus::effect::Effect;
use quorate_consensus::input::Input;
use quorate_consensus::limits;
use quorate_consensus::message::{BlockRef, Get, Message, Status};
use quorate_consensus::types::Height;

/// Who has finalized as much is asked; after two vain attempts anybody who is here.
#[test]
fn r10_history_is_asked_of_others_when_nobody_says_to_have_it() {
    let set = six(2);
    let blocks = chain(&set, 2, 1);
    let top = blocks[1].opening(&set, 1, 5);
    let is_history = |get: &Get| matches!(get, Get::History { .. });
    let mut bench = Setup::new(&set, 5).patient().run();
    bench.input(Input::PeerDown(v(3)));
    bench.certificates(1, vec![final_of(&set, &top, &[0, 1, 2, 3, 4])]);
    pass(&mut bench, 15);
    assert!(asked_of(&bench, is_history).is_empty());
    pass(&mut bench, 3_000);
    let mut asked = asked_of(&bench, is_history);
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked, [v(0), v(1), v(2), v(4)]);
    // One says so: it alone is asked.
    let status = Status {
        finalized: top.point(),
        ..bench.status_of(1)
    };
    bench.status(4, status);
    bench.forget();
    pass(&mut bench, 2_000);
    let mut asked = asked_of(&bench, is_history);
    asked.dedup();
    assert_eq!(asked, [v(4)]);
}

/// A validator whose peers all have so many blocks more, of which it has the newest one's proof.
fn behind(blocks: &[Block]) -> Bench {
    let set = six(256);
    let top = blocks.last().expect("a chain");
    let mut bench = Setup::new(&set, 5).patient().run();
    for peer in 0..5 {
        let status = Status {
            finalized: top.point(),
            ..bench.status_of(0)
        };
        bench.status(peer, status);
    }
    bench.forget();
    bench.certificates(1, vec![final_of(&set, top, &[0, 1, 2, 3, 4])]);
    bench
}

/// The question stands until all that it asks for is here: each header would else be a whole
/// answer, and the next question go to the same peer for as long as the history is.
#[test]
fn r10_whoever_sends_history_header_by_header_does_not_keep_it_to_itself() {
    let is_history = |get: &Get| matches!(get, Get::History { .. });
    let blocks = chain(&six(256), 200, 1);
    let mut bench = behind(&blocks);
    let asked = asked_of(&bench, is_history);
    let [drips] = asked[..] else {
        panic!("{asked:?}")
    };
    let mut rest = blocks.iter().rev().skip(1);
    // A header each 15 ms, where a question waits for 20 ms before it is put to another peer.
    for _ in 0..3 {
        let header = rest.next().expect("200 of them").header;
        bench.message(drips.number(), Message::History(vec![header]));
        bench.lapse(15);
    }
    let asked = asked_of(&bench, is_history);
    assert!(
        asked.len() > 1 && asked[1..].iter().all(|peer| *peer != drips),
        "{asked:?}"
    );
    // What was asked for goes on below what came.
    let tops = bench.asked().into_iter().filter_map(|(_, get)| match get {
        Get::History { top, .. } => Some(top.height.number()),
        _ => None,
    });
    let tops: Vec<u64> = tops.collect();
    assert!(tops[0] == 199 && tops[1] < 199, "{tops:?}");
}

/// Another peer is quicker with the first of the headers: the rest of an answer counts.
#[test]
fn r10_an_answer_counts_although_headers_of_it_have_come_before() {
    let blocks = chain(&six(256), 200, 1);
    let mut bench = behind(&blocks);
    let history: Vec<_> = blocks
        .iter()
        .rev()
        .skip(1)
        .map(|block| block.header)
        .collect();
    bench.message(3, Message::History(history[..2].to_vec()));
    bench.message(2, Message::History(history));
    let bodies = asked_of(&bench, |get| matches!(get, Get::Bodies(_)));
    assert_eq!(bodies.len(), 1, "the history is whole");
}

/// A question is twelve bytes; what it names would be read to genesis in one turn, and sent in one
/// frame.
#[test]
fn r10_history_is_served_as_far_as_one_answer_goes_and_as_often_as_any_other() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let top = BlockRef {
        height: Height::new(1),
        id: Block::first(&set, 1).id,
    };
    let served = |bench: &Bench, peer: u16| -> Vec<u32> {
        let served = bench.seen.iter().filter_map(|effect| match effect {
            Effect::ServeHistory { to, count, .. } if *to == v(peer) => Some(*count),
            _ => None,
        });
        served.collect()
    };
    let longest = u32::try_from(limits::HEADERS_PER_ANSWER_MAX).expect("a small number");
    for count in [3, u32::MAX] {
        bench.message(1, Message::Get(Get::History { top, count }));
    }
    assert_eq!(served(&bench, 1), [3, longest]);
    let most = limits::ANSWERS_PER_PERIOD_MAX as usize;
    for _ in 0..3 * most {
        bench.message(2, Message::Get(Get::History { top, count: 1 }));
    }
    assert_eq!(served(&bench, 2).len(), most);
    bench.message(3, Message::Get(Get::History { top, count: 1 }));
    assert_eq!(served(&bench, 3), [1], "another's");
}
