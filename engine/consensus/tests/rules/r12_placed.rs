//! R12: blocks of the log that find their places after the start, and are delivered from it.

use crate::bench::Setup;
use crate::fixtures::{Block, chain, final_of, six, tip};
use quorate_consensus::machine::Disposition;
use quorate_consensus::message::{Get, Message};

/// After a loss of power at all validators each would wait for what lies in its own log, and ask
/// others for it that wait as well.
#[test]
fn r12_blocks_of_the_log_that_are_placed_late_are_delivered_without_asking_for_their_bodies() {
    let set = six(64);
    let blocks = chain(&set, 3, 1);
    let logged: [&Block; 2] = [&blocks[1], &blocks[2]];
    let mut setup = Setup::new(&set, 5).with_log(tip(&blocks[2]), &logged);
    setup.restored.finalized = blocks[0].point();
    setup.restored.finalized_time_ns = blocks[0].header.time_ns;
    let mut bench = setup.patient().run();
    let proof = final_of(&set, &blocks[2], &[0, 1, 2, 3, 4]);
    bench.certificates(1, vec![proof]);
    assert!(bench.finalized().is_empty(), "not placed yet");
    bench.headers(1, &[&blocks[0]]);
    let history = Message::History(vec![blocks[1].header]);
    assert_eq!(bench.message(2, history), Disposition::Applied);
    let expected = logged.map(Block::point);
    assert_eq!(bench.finalized(), expected);
    let mut asked = bench.asked().into_iter();
    assert!(!asked.any(|(_, get)| matches!(get, Get::Bodies(_))));
}
