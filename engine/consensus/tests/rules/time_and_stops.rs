//! What time alone calls for, what a signature frees, and what goes along with a stop.

use crate::bench::{Bench, Setup};
use crate::fixtures::{
    Block, MS, certificate, certified, chain, i, payload_numbered, set_of, sign_header, six, stop,
    stop_at, tip, v, w,
};
use quorate_consensus::certificate::Target;
use quorate_consensus::effect::{Alarm, Destination};
use quorate_consensus::input::Input;
use quorate_consensus::message::Message;
use quorate_consensus::record::Record;
use std::sync::Arc;

#[test]
fn r4_a_lone_final_waits_for_the_fast_path_and_leaves_after_the_holdoff() {
    let set = six(64);
    let mut setup = Setup::new(&set, 5).patient();
    setup.timers.final_holdoff_ns = MS;
    let mut bench = setup.run();
    let blocks = chain(&set, 1, 1);
    bench.propose(&blocks[0]);
    bench.votes(&[0, 1, 2], 0, &tip(&blocks[0]));
    assert_eq!(
        bench.own_record(0).fin,
        None,
        "a frame of its own would be wasted"
    );
    let due = bench.now.mono_ns + MS;
    assert_eq!(bench.consensus.next_deadline_ns(), due, "not later either");
    bench.lapse(2);
    assert_eq!(bench.own_record(0).fin, Some(i(0)));
}

#[test]
fn r4_a_final_of_what_is_fast_final_goes_with_the_next_vote_or_eight_holdoffs_later() {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let fast = || {
        let mut setup = Setup::new(&set, 5).patient();
        setup.timers.final_holdoff_ns = MS;
        let mut bench = setup.run();
        bench.propose(&blocks[0]);
        bench.votes(&[0, 1, 2, 3], 0, &tip(&blocks[0]));
        assert_eq!(bench.finalized().len(), 1);
        bench.lapse(7);
        assert_eq!(bench.own_record(0).fin, None, "nobody needs it");
        bench
    };
    let mut alone = fast();
    alone.lapse(1);
    assert_eq!(alone.own_record(0).fin, Some(i(0)));
    let mut followed = fast();
    followed.propose(&blocks[1]);
    let together = Record {
        fin: Some(i(0)),
        ..tip(&blocks[1])
    };
    assert_eq!(followed.own_record(0), together);
}

#[test]
fn r4_a_lone_final_waits_for_nothing_when_the_fast_path_is_out_of_reach() {
    let set = six(64);
    let blocks = chain(&set, 1, 1);
    let voted = |stopped: &[u16], away: &[u16]| {
        let mut setup = Setup::new(&set, 5).patient();
        setup.timers.final_holdoff_ns = MS;
        let mut bench = setup.run();
        for peer in away {
            bench.input(Input::PeerDown(v(*peer)));
        }
        bench.propose(&blocks[0]);
        bench.votes(stopped, 0, &stop());
        bench.votes(&[0, 1, 2], 0, &tip(&blocks[0]));
        bench.own_record(0).fin
    };
    // Five of six are needed, and four have voted.
    assert_eq!(voted(&[3], &[]), None, "the fifth may still come");
    assert_eq!(voted(&[], &[4]), None);
    assert_eq!(voted(&[3, 4], &[]), Some(i(0)));
    assert_eq!(voted(&[3], &[4]), Some(i(0)));
    assert_eq!(voted(&[], &[3, 4]), Some(i(0)));
}

/// Who has stopped above the block has voted for it all the same.
#[test]
fn r4_a_lone_final_waits_for_the_fast_path_when_those_who_stopped_have_voted() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let mut setup = Setup::new(&set, 5).patient();
    setup.timers.final_holdoff_ns = MS;
    let mut bench = setup.run();
    bench.propose(&block);
    bench.votes(&[0, 1], 0, &stop_at(&block));
    bench.vote(2, 0, tip(&block));
    assert_eq!(bench.own_record(0), tip(&block), "the fifth may still come");
}

/// It needs no frame of its own.
#[test]
fn r4_a_final_that_comes_with_a_first_vote_waits_for_nothing() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let mut setup = Setup::new(&set, 5).patient();
    setup.timers.final_holdoff_ns = MS;
    let mut bench = setup.run();
    bench.votes(&[1, 2, 3, 4], 0, &tip(&block));
    bench.propose(&block);
    let expected = Record {
        fin: Some(i(0)),
        ..tip(&block)
    };
    assert_eq!(bench.own_record(0), expected);
}

#[test]
fn r5_a_vote_that_notarizes_nothing_gives_the_leader_no_time() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.lapse(30);
    bench.vote(1, 0, tip(&block));
    bench.lapse(19);
    assert!(!bench.own_record(0).stop);
    bench.lapse(2);
    assert!(bench.own_record(0).stop);
}

#[test]
fn r5_back_off_grows_once_in_a_turn() {
    let set = set_of(&[1; 6], 1, 1, 64, 2);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes_signed(&[0, 1, 2, 3], 0, &tip(&block));
    bench.lapse(51);
    bench.votes_signed(&[0, 1, 2, 3], 0, &stop_at(&block));
    // The second window of the turn, and the first one of the next.
    for window in [1, 2] {
        assert_eq!(bench.consensus.window(), w(window));
        bench.lapse(99);
        assert!(!bench.own_record(window).stop);
        bench.lapse(2);
        assert!(bench.own_record(window).stop);
        bench.votes_signed(&[0, 1, 2, 3], window, &stop());
    }
    assert_eq!(bench.consensus.counters().stops_timer, 3);
}

/// Its block was certified by fallbacks, and nobody notarized it: the leader is not dead.
#[test]
fn r5_the_next_window_of_a_turn_goes_on_after_one_that_handed_a_block_on() {
    let set = set_of(&[1; 6], 1, 1, 64, 4);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    let target = Target::Skip { from: i(1) };
    let stopped = stop_at(&block);
    let skip = certificate(&set, 0, target, (&[0, 1, 2, 3], &stopped), Vec::new());
    bench.certificates(1, vec![certified(&set, &block, &[0, 1, 2, 3]), skip]);
    assert_eq!(bench.consensus.window(), w(1));
    assert_eq!(bench.own_record(1), Record::default());
}

#[test]
fn r3_the_leaders_signature_of_a_header_that_is_here_already_frees_the_vote() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.vote(1, 0, tip(&block));
    bench.branch(1, &[&block]);
    assert!(bench.own_record(0).is_empty());
    let signature = sign_header(&set, &block.header);
    let header = block.header;
    bench.message(2, Message::HeaderSignature { header, signature });
    bench.body(1, &block);
    assert_eq!(bench.own_record(0), tip(&block));
}

#[test]
fn r3_the_leaders_signature_covers_the_blocks_below() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 3, 1);
    bench.vote(1, 0, tip(&blocks[2]));
    bench.headers(1, &[&blocks[0], &blocks[1], &blocks[2]]);
    let header = blocks[2].header;
    let signature = sign_header(&set, &header);
    bench.message(2, Message::HeaderSignature { header, signature });
    for block in &blocks {
        bench.body(1, block);
    }
    assert_eq!(bench.own_record(0), tip(&blocks[2]));
}

#[test]
fn r1_after_a_failed_window_its_certificates_go_to_the_next_leader() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.votes_signed(&[0, 2, 3, 4], 0, &stop());
    assert_eq!(bench.consensus.window(), w(1));
    bench.lapse(20);
    assert_eq!(bench.certificates_sent(1).len(), 1);
}

#[test]
fn r6_a_fallback_is_signed_at_once_although_an_older_record_stands_unsigned() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 2, 1);
    bench.propose(&blocks[0]);
    bench.propose(&blocks[1]);
    bench.votes(&[1, 2, 3], 0, &stop_at(&blocks[0]));
    let own = bench.own_record(0);
    assert!(own.stop && own.skip_fallback.is_some());
    let votes = bench.votes_sent(0);
    assert!(
        votes
            .iter()
            .any(|(_, vote)| vote.signature.is_some() && vote.record == own)
    );
}

/// The older record has waited for T_sig when the stop comes, so that both are due in one turn.
#[test]
fn r5_a_stop_is_signed_at_once_although_an_older_record_is_due_in_the_same_turn() {
    let set = six(64);
    let mut setup = Setup::new(&set, 5);
    setup.timers.sign_ns = setup.timers.progress_ns;
    let mut bench = setup.run();
    let blocks = chain(&set, 2, 1);
    bench.propose(&blocks[0]);
    bench.propose(&blocks[1]);
    bench.lapse(51);
    let own = bench.own_record(0);
    assert!(own.stop && own.skip_fallback.is_none(), "{own:?}");
    let votes = bench.votes_sent(0);
    let signed = votes.iter().filter(|(_, vote)| vote.signature.is_some());
    let signed: Vec<_> = signed.map(|(_, vote)| vote.record.clone()).collect();
    assert_eq!(signed, [tip(&blocks[1]), own]);
}

#[test]
fn r3_a_header_from_the_future_is_looked_at_again_by_the_clock_alone() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let early = bench.now.wall_ns + 600 * MS;
    let block = Block::first(&set, 1).with(|header| header.time_ns = early);
    bench.propose(&block);
    assert!(bench.own_record(0).is_empty(), "not yet arrived");
    bench.sleep_ns(101 * MS);
    bench.settle();
    assert_eq!(bench.own_record(0), tip(&block));
}

#[test]
fn r3_a_header_from_the_future_is_on_the_list_of_deadlines() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let early = bench.now.wall_ns + 600 * MS;
    let block = Block::first(&set, 1).with(|header| header.time_ns = early);
    bench.propose(&block);
    bench.lapse(102);
    assert_eq!(bench.own_record(0), tip(&block));
}

/// Who waits for the list alone looks at nothing before: with T_prog this long, the next turn else
/// comes after ten seconds.
#[test]
fn the_next_status_and_signature_are_on_the_list_of_deadlines() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let (sign_ns, retransmit_ns) = (7 * MS, 5 * MS);
    let voted = |sign_ns: u64| {
        let mut setup = Setup::new(&set, 5).patient();
        setup.timers.sign_ns = sign_ns;
        setup.timers.retransmit_ns = retransmit_ns;
        let mut bench = setup.run();
        let since = bench.now.mono_ns;
        bench.propose(&block);
        bench.consensus.next_deadline_ns() - since
    };
    assert_eq!(voted(sign_ns), retransmit_ns, "a Status, as nothing moves");
    assert_eq!(voted(MS), MS, "T_sig");
}

/// Its record is signed as soon as somebody asks for it; the header still has T_sig.
#[test]
fn r2_the_signature_of_the_last_header_is_on_the_list_of_deadlines() {
    let set = six(64);
    let mut setup = Setup::new(&set, 0).patient();
    setup.timers.retransmit_ns = 1_000 * MS;
    setup.timers.retransmit_max_ns = 1_000 * MS;
    setup.timers.sign_ns = 7 * MS;
    let mut bench = setup.run();
    let since = bench.now.mono_ns;
    bench.input(Input::Payload(payload_numbered(1)));
    let status = bench.status_of(0);
    bench.status(4, status);
    assert_eq!(bench.consensus.next_deadline_ns(), since + 7 * MS);
    bench.lapse(7);
    let is_signed =
        |(_, message): (_, &Message)| matches!(message, Message::HeaderSignature { .. });
    assert!(bench.sent().any(is_signed));
}

#[test]
fn r5_a_stop_brings_the_headers_that_a_peer_has_not_acknowledged() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 2, 1);
    bench.propose(&blocks[0]);
    bench.propose(&blocks[1]);
    bench.vote(2, 0, tip(&blocks[0]));
    bench.stop_by_timer();
    let brought = |to: u16| {
        bench.sent().find_map(|sent| match sent {
            (Destination::Peer(peer), Message::Headers { headers, .. }) if peer == v(to) => {
                Some(headers.clone())
            }
            _ => None,
        })
    };
    assert_eq!(brought(2), Some(vec![blocks[1].header]));
    // Of one that has said nothing nothing is known, also while nothing is final yet.
    assert_eq!(brought(3), Some(vec![blocks[0].header, blocks[1].header]));
}

/// Whoever lacks them still asks; a stopped record grows a few times more.
#[test]
fn r5_what_a_stop_brings_is_not_brought_by_the_fallbacks_after_it() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.stop_by_timer();
    bench.votes(&[0, 1, 2, 3], 0, &stop());
    assert_eq!(bench.own_record(0).skip_fallback, Some(i(0)));
    let headers = bench
        .sent()
        .filter(|(_, message)| matches!(message, Message::Headers { .. }));
    let mut receivers: Vec<_> = headers.map(|(to, _)| to).collect();
    receivers.sort_unstable_by_key(|to| format!("{to:?}"));
    let once_each: Vec<_> = (0..5).map(|peer| Destination::Peer(v(peer))).collect();
    assert_eq!(receivers, once_each);
}

#[test]
fn r5_a_stop_brings_the_certificates_behind_its_window() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.votes_signed(&[0, 2, 3, 4], 0, &stop());
    assert_eq!(bench.consensus.window(), w(1));
    bench.forget();
    bench.lapse(105);
    assert!(bench.own_record(1).stop);
    let skips = |(_, message): &(Destination, &Message)| {
        matches!(message, Message::Certificates(list)
            if list.iter().any(|one| matches!(one.target, Target::Skip { .. })))
    };
    assert!(bench.sent().any(|sent| skips(&sent)));
}

#[test]
fn r3_an_invalid_block_with_stake_of_amp_behind_it_is_a_fatal_alarm_whenever_the_votes_come() {
    let set = six(64);
    let invalid = Block::first(&set, 1).undecodable();
    for votes_first in [true, false] {
        let mut bench = Bench::new(&set, 5);
        if votes_first {
            bench.votes(&[1, 2], 0, &tip(&invalid));
        }
        bench.propose(&invalid);
        if !votes_first {
            bench.votes(&[1, 2], 0, &tip(&invalid));
            bench.headers(1, &[&invalid]);
        }
        let alarm = Alarm::InvalidBlockSupported(invalid.id);
        assert!(
            bench.alarms().contains(&alarm),
            "votes first: {votes_first}"
        );
    }
}

/// Two are remembered, so that a leader fills no memory; that a third is refused is found when it
/// comes from the leader after the votes, or from a voter, as what is voted for is asked of voters.
#[test]
fn r3_junk_of_the_leader_hides_no_invalid_block_with_stake_of_amp_behind_it() {
    let set = six(64);
    let first = Block::first(&set, 1);
    let undecodable = first.child(&set, 2).undecodable();
    let misfit = first.child(&set, 2).with(|header| header.time_ns = 0);
    type Bring = fn(&mut Bench, &Block);
    let foreign = first.child(&set, 2).with(|header| header.version = 99);
    let ways: [(&Block, Bring); 4] = [
        (&undecodable, |bench, block| {
            bench.propose(block);
        }),
        (&undecodable, |bench, block| {
            bench.headers(1, &[block]);
            bench.body(1, block);
        }),
        (&misfit, |bench, block| {
            bench.headers(1, &[block]);
        }),
        (&foreign, |bench, block| {
            bench.headers(1, &[block]);
        }),
    ];
    for (way, (invalid, bring)) in ways.into_iter().enumerate() {
        let mut bench = Bench::new(&set, 5);
        bench.propose(&first);
        for junk in [[0xfe; 8], [0xfd; 8]] {
            bench.propose(&first.child(&set, 2).naming(&junk));
        }
        bench.propose(invalid);
        let alarm = Alarm::InvalidBlockSupported(invalid.id);
        bring(&mut bench, invalid);
        assert!(!bench.alarms().contains(&alarm), "way {way}, without votes");
        bench.votes(&[1, 2], 0, &tip(invalid));
        bring(&mut bench, invalid);
        assert!(bench.alarms().contains(&alarm), "way {way}");
    }
}

#[test]
fn r3_after_the_fatal_alarm_nothing_but_stops_is_said() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let invalid = Block::first(&set, 1).undecodable();
    bench.votes(&[1, 2], 0, &tip(&invalid));
    bench.propose(&invalid);
    assert!(
        bench
            .alarms()
            .contains(&Alarm::InvalidBlockSupported(invalid.id))
    );
    bench.votes(&[0, 3, 4], 0, &stop());
    assert_eq!(bench.consensus.window(), w(1));
    let next = Block::first(&set, 7).with(|header| header.window = w(1));
    bench.propose(&next);
    assert_eq!(bench.own_record(1).tip, None);
    for window in 1..5 {
        bench.votes_signed(&[0, 1, 3, 4], window, &stop());
    }
    bench.lapse(20);
    assert_eq!(bench.consensus.leader(), v(5));
    assert_eq!(bench.consensus.proposal_room(), None, "no block either");
}

/// A leader that sends a good header with wrong bytes to some and the block to others silences
/// nobody: the window is stopped, and the next one is voted in.
#[test]
fn r3_wrong_bytes_under_a_good_header_are_the_leaders_fault_and_not_the_blocks() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    let other = Block::first(&set, 2).payload;
    let mangled = [
        Block {
            payload: other,
            ..block.clone()
        },
        Block {
            payload: Arc::from([].as_slice()),
            ..block.clone()
        },
    ];
    for bad in &mangled {
        bench.propose(bad);
    }
    assert!(bench.own_record(0).stop, "the leader is at fault");
    bench.votes(&[0, 1, 2, 3], 0, &stop_at(&block));
    bench.headers(1, &[&block]);
    assert!(bench.alarms().is_empty(), "{:?}", bench.alarms());
    assert_eq!(bench.consensus.window(), w(1));
    bench.body(1, &block);
    let next = block.opening(&set, 1, 7);
    bench.propose(&next);
    assert_eq!(bench.own_record(1), tip(&next));
}

/// Whoever decodes otherwise than the others knows nothing of what they have voted for.
#[test]
fn r3_after_the_fatal_alarm_no_final_and_no_skip_is_said() {
    for is_alarmed in [true, false] {
        let set = six(64);
        let mut bench = Bench::new(&set, 5);
        let block = Block::first(&set, 1);
        let invalid = block.child(&set, 2).undecodable();
        bench.propose(&block);
        if is_alarmed {
            bench.propose(&invalid);
        } else {
            bench.stop_by_timer();
        }
        bench.votes(&[1, 2], 0, &tip(&invalid));
        bench.headers(1, &[&invalid]);
        bench.vote(0, 0, tip(&block));
        bench.votes(&[3, 4], 0, &stop_at(&block));
        let own = bench.own_record(0);
        assert!(own.stop);
        let said = (own.fin, own.skip_fallback);
        let expected = match is_alarmed {
            true => (None, None),
            false => (Some(i(0)), Some(i(1))),
        };
        assert_eq!(said, expected);
    }
}

#[test]
fn r3_after_the_fatal_alarm_no_other_block_is_supported() {
    for is_alarmed in [true, false] {
        let set = six(64);
        let mut bench = Bench::new(&set, 5);
        let invalid = Block::first(&set, 1).undecodable();
        let other = Block::first(&set, 2);
        if is_alarmed {
            bench.propose(&invalid);
        } else {
            bench.stop_by_timer();
        }
        bench.votes(&[1, 2], 0, &tip(&invalid));
        bench.votes(&[3, 4], 0, &tip(&other));
        bench.branch(3, &[&other]);
        let own = bench.own_record(0);
        assert!(own.stop);
        assert_eq!(own.also.is_empty(), is_alarmed);
    }
}

#[test]
fn r3_stake_of_amp_behind_a_block_with_an_invalid_header_is_a_fatal_alarm_too() {
    let set = six(64);
    let first = Block::first(&set, 1);
    let invalid = first.child(&set, 2).with(|header| header.time_ns = 0);
    let mut bench = Bench::new(&set, 5);
    bench.propose(&first);
    bench.propose(&invalid);
    bench.votes(&[1, 2], 0, &tip(&invalid));
    let alarm = Alarm::InvalidBlockSupported(invalid.id);
    assert!(bench.alarms().contains(&alarm));
}
