//! Numbers at the ends of their ranges, in what peers send: a validator ends at none of them, and
//! goes on.

use crate::bench::Bench;
use crate::fixtures::{Block, i, six, stop, tip, w};
use quorate_consensus::machine::{Disposition, Ignored};
use quorate_consensus::message::{BlockRef, Get, Message, Status};
use quorate_consensus::types::{Height, Index, Window};

const LAST: Window = w(u64::MAX);
const TOP: Height = Height::new(u64::MAX);
const END: Index = i(u32::MAX);

/// It votes as if nothing had come.
fn goes_on(bench: &mut Bench) {
    let block = Block::first(&bench.set, 1);
    bench.propose(&block);
    assert_eq!(bench.own_record(0), tip(&block));
}

/// One peer could end every validator of the chain by it, and again after each start.
#[test]
fn bounds_a_status_of_the_last_window_that_there_can_be_ends_nobody() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let plain = bench.status_of(0);
    let mut far = plain.clone();
    for point in [&mut far.finalized, &mut far.proven] {
        (point.height, point.window, point.index) = (TOP, LAST, END);
    }
    for (window, gap) in [(LAST, None), (w(0), Some(LAST)), (LAST, Some(LAST))] {
        for status in [&plain, &far] {
            let (flushed, status) = (status.finalized.height, status.clone());
            let status = Status {
                window,
                gap,
                flushed,
                ..status
            };
            bench.lapse(6);
            assert_eq!(bench.status(1, status), Disposition::Applied, "answered");
        }
    }
    goes_on(&mut bench);
}

#[test]
fn bounds_a_block_of_the_last_place_that_there_can_be_ends_nobody() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let first = Block::first(&set, 1);
    let last = first.with(|header| header.window = LAST);
    let refused = Disposition::Ignored(Ignored::OutOfRange);
    assert_eq!(bench.propose(&last), refused);
    let end = first.child(&set, 2).with(|header| header.index = END);
    let highest = first.child(&set, 3).with(|header| header.height = TOP);
    for block in [end, highest.child(&set, 4), highest] {
        bench.propose(&block);
        bench.vote(1, 0, tip(&block));
        bench.headers(1, &[&block]);
    }
    bench.propose(&first);
    assert!(bench.own_record(0).stop, "such a leader is given up");
    bench.votes(&[0, 2, 3, 4], 0, &stop());
    assert_eq!(bench.consensus.window(), w(1));
}

#[test]
fn bounds_a_question_for_the_last_of_anything_ends_nobody() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let id = set.genesis().id;
    let top = BlockRef { height: TOP, id };
    let above = Some(END);
    for get in [
        Get::Ready { window: LAST },
        Get::Finality { at_least: TOP },
        Get::Bodies(vec![top]),
        Get::History {
            top,
            count: u32::MAX,
        },
        Get::Headers {
            window: LAST,
            index: END,
            id,
            above,
        },
        Get::Headers {
            window: w(0),
            index: END,
            id,
            above,
        },
    ] {
        bench.message(1, Message::Get(get));
    }
    goes_on(&mut bench);
}
