//! R10, history in batches: what is on its way over a thin link is not asked for twice, and who
//! serves slowly keeps nothing to itself.

use crate::bench::{Bench, Setup};
use crate::fixtures::{Block, chain, final_of, six};
use quorate_consensus::effect::Destination;
use quorate_consensus::limits;
use quorate_consensus::message::{BlockRef, Get, Status};
use quorate_consensus::types::ValidatorIndex;

const BATCH: usize = limits::BODIES_PER_REQUEST_MAX;
const US: u64 = 1_000;

/// A validator that lacks the bodies of three batches of history and has asked for the first.
fn behind() -> (Bench, Vec<Block>) {
    let set = six(256);
    let blocks = chain(&set, 3 * u32::try_from(BATCH).expect("few"), 1);
    let top = blocks.last().expect("a chain");
    let mut bench = Setup::new(&set, 5).patient().run();
    for peer in 0..5 {
        let finalized = top.point();
        let status = bench.status_of(0);
        bench.status(
            peer,
            Status {
                finalized,
                ..status
            },
        );
    }
    bench.headers(0, &blocks.iter().collect::<Vec<_>>());
    bench.forget();
    bench.certificates(1, vec![final_of(&set, top, &[0, 1, 2, 3, 4])]);
    assert_eq!(asked(&bench).len(), 1);
    (bench, blocks)
}

/// Who was asked for bodies, and for which.
fn asked(bench: &Bench) -> Vec<(ValidatorIndex, Vec<BlockRef>)> {
    let of_bodies = |(to, get): (Destination, &Get)| match (to, get) {
        (Destination::Peer(to), Get::Bodies(bodies)) => Some((to, bodies.clone())),
        _ => None,
    };
    bench.asked().into_iter().filter_map(of_bodies).collect()
}

fn wait(bench: &mut Bench, us: u64) {
    bench.sleep_ns(us * US);
    bench.settle();
}

/// How long nothing may come of an answer before it is asked for again, microseconds.
fn patience_us() -> u64 {
    let (mut bench, _) = behind();
    let mut us = 0;
    while asked(&bench).len() == 1 {
        wait(&mut bench, 100);
        us += 100;
    }
    us
}

#[test]
fn r10_a_batch_of_which_bodies_come_one_by_one_is_not_asked_for_again() {
    let patience_us = patience_us();
    // As fast as it may be for the same peer to be asked for the next batch, and slower.
    for (pause_us, keeps) in [(patience_us / 10, true), (patience_us - 200, false)] {
        let (mut bench, blocks) = behind();
        let (server, _) = asked(&bench)[0].clone();
        for block in &blocks[..BATCH] {
            assert_eq!(asked(&bench).len(), 1, "{pause_us}");
            wait(&mut bench, pause_us);
            bench.body(server.number(), block);
        }
        let next = &asked(&bench)[1..];
        let [(of_next, bodies)] = next else {
            panic!("one batch is next: {next:?}")
        };
        assert_eq!(bodies[0].id, blocks[BATCH].id);
        assert_eq!(*of_next == server, keeps, "{pause_us}");
    }
}

/// What a batch still lacks is another one's to send, and the next one goes on above that.
#[test]
fn r10_what_a_batch_lacks_is_asked_of_another_and_the_next_one_names_nothing_of_it() {
    let patience_us = patience_us();
    let (mut bench, blocks) = behind();
    let (silent, _) = asked(&bench)[0].clone();
    for block in &blocks[..BATCH / 2] {
        bench.body(silent.number(), block);
    }
    wait(&mut bench, 100);
    wait(&mut bench, patience_us);
    let (server, again) = asked(&bench)[1].clone();
    assert_ne!(server, silent);
    assert_eq!(again[0].id, blocks[BATCH / 2].id, "and no more");
    assert_eq!(again.len(), BATCH);
    for block in &blocks[BATCH / 2..BATCH / 2 + BATCH] {
        assert_eq!(asked(&bench).len(), 2);
        bench.body(server.number(), block);
        wait(&mut bench, 100);
    }
    let (of_next, bodies) = &asked(&bench)[2];
    assert_eq!(
        (*of_next, bodies[0].id),
        (server, blocks[BATCH / 2 + BATCH].id)
    );
}
