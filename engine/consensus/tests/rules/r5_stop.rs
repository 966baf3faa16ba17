//! R5: when a window is given up, and when not.

use crate::bench::{Bench, Setup};
use crate::fixtures::{
    Block, MS, chain, five_stakes, i, payload_numbered, set_of, six, skip_of, stop, stop_at, tip,
    v, w,
};
use quorate_consensus::effect::Alarm;
use quorate_consensus::input::Input;
use quorate_consensus::machine::{Disposition, PeerFault};
use quorate_consensus::message::{Message, Status};
use quorate_consensus::record::Record;
use quorate_consensus::trust::Authenticated;

#[test]
fn r5_a_silent_window_is_stopped_after_t_prog() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.lapse(49);
    assert!(bench.own_record(0).is_empty());
    bench.lapse(2);
    assert_eq!(bench.own_record(0), stop());
    assert_eq!(bench.consensus.counters().stops_timer, 1);
}

#[test]
fn r5_own_progress_and_a_new_notarized_index_restart_the_timer() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 1, 1);
    bench.lapse(40);
    bench.propose(&blocks[0]);
    bench.lapse(40);
    assert!(
        !bench.own_record(0).stop,
        "40 ms after the own tip advanced"
    );
    bench.votes(&[0, 1, 2], 0, &tip(&blocks[0]));
    bench.lapse(40);
    assert!(
        !bench.own_record(0).stop,
        "40 ms after an index was notarized"
    );
    bench.lapse(12);
    assert!(bench.own_record(0).stop);
}

#[test]
fn r5_the_leaders_status_restarts_the_timer_unless_a_command_waits() {
    let set = six(64);
    for waits in [false, true] {
        let mut bench = Bench::new(&set, 5);
        let since = bench.now.mono_ns;
        bench.input(Input::Waiting {
            oldest_ns: waits.then_some(since),
        });
        for _ in 0..10 {
            bench.lapse(10);
            let status = bench.status_of(0);
            bench.status(0, status);
        }
        assert_eq!(bench.own_record(0).stop, waits);
    }
}

#[test]
fn r5_a_status_from_anyone_else_does_not_restart_the_timer() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    for _ in 0..6 {
        bench.lapse(10);
        let status = bench.status_of(0);
        bench.status(1, status);
    }
    assert!(bench.own_record(0).stop);
}

#[test]
fn r5_one_s_own_suspension_is_no_evidence_against_the_leader() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.sleep_ns(200 * MS);
    bench.settle();
    assert!(!bench.own_record(0).stop);
    bench.lapse(49);
    assert!(!bench.own_record(0).stop);
    bench.lapse(2);
    assert!(bench.own_record(0).stop);
}

/// Timers end with a signed finality above the window, not with a final block inside it: a leader
/// that dies after its first final block is replaced.
#[test]
fn r5_a_leader_that_dies_after_its_first_final_block_is_replaced() {
    let set = six(64);
    for is_signed in [false, true] {
        let mut bench = Bench::new(&set, 5);
        let block = Block::first(&set, 1);
        bench.propose(&block);
        for from in [0, 1, 2, 3] {
            if is_signed {
                bench.vote_signed(from, 0, tip(&block));
            } else {
                bench.vote(from, 0, tip(&block));
            }
        }
        bench.lapse(25);
        assert_eq!(bench.consensus.finalized(), block.point());
        assert_eq!(bench.consensus.proven() == block.point(), is_signed);
        // Its last word: it starts the timer anew, it does not end it.
        let status = Status {
            record: tip(&block),
            ..bench.status_of(0)
        };
        bench.status(0, status);
        bench.lapse(49);
        assert!(!bench.own_record(0).stop);
        bench.lapse(2);
        assert!(bench.own_record(0).stop);
    }
}

#[test]
fn r5_back_off_doubles_the_timer_after_a_stop_by_it() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.stop_by_timer();
    bench.votes(&[0, 1, 2], 0, &stop());
    assert_eq!(bench.consensus.window(), w(1));
    bench.lapse(98);
    assert!(!bench.own_record(1).stop);
    bench.lapse(3);
    assert!(bench.own_record(1).stop);
}

#[test]
fn r5_safe_to_skip_at_the_own_tip_or_just_above_it_stops() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.votes(&[0, 1], 0, &stop());
    assert!(!bench.own_record(0).stop, "A = 2, below FB = 3");
    bench.vote(2, 0, stop());
    assert!(bench.own_record(0).stop);
    assert_eq!(bench.consensus.counters().stops_predicate, 1);
}

#[test]
fn r5_safe_to_skip_further_above_the_own_tip_is_no_reason() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 2, 1);
    bench.votes(&[1, 2, 3], 0, &stop_at(&blocks[0]));
    bench.vote(4, 0, tip(&blocks[1]));
    bench.headers(4, &[&blocks[0], &blocks[1]]);
    // At index 1 three skip and one does not: nothing there can be final. Index 0 is the next.
    assert_eq!(
        bench.own_record(0),
        Record::default(),
        "late, and no more than that"
    );
    bench.propose(&blocks[0]);
    assert!(
        bench.own_record(0).stop,
        "now index 1 is just above the tip"
    );
}

#[test]
fn r5_a_rival_that_is_safe_to_notarize_at_or_below_the_own_tip_stops() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let mine = chain(&set, 1, 1);
    let theirs = chain(&set, 1, 10);
    bench.propose(&mine[0]);
    bench.votes(&[1, 2], 0, &tip(&theirs[0]));
    assert!(
        !bench.own_record(0).stop,
        "A(own) = 2: it may still be final"
    );
    bench.vote(3, 0, tip(&theirs[0]));
    assert!(bench.own_record(0).stop);
}

/// Too many stand elsewhere for the own block to be final, and on too many others for one of them.
#[test]
fn r5_votes_that_are_split_at_the_own_tip_stop() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let mine = Block::first(&set, 1);
    bench.propose(&mine);
    bench.vote(0, 0, tip(&mine));
    for from in 1..4 {
        assert!(!bench.own_record(0).stop, "v{from}");
        let theirs = Block::first(&set, 10 * u32::from(from));
        bench.vote(from, 0, tip(&theirs));
        bench.headers(from, &[&theirs]);
    }
    assert!(bench.own_record(0).stop, "3 stand elsewhere, and FB = 3");
    assert_eq!(bench.consensus.counters().stops_predicate, 1);
}

#[test]
fn r5_a_rival_of_a_block_below_the_own_tip_stops_as_well() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let theirs = Block::first(&set, 10);
    for block in &chain(&set, 3, 1) {
        bench.propose(block);
    }
    bench.headers(1, &[&theirs]);
    bench.votes(&[1, 2], 0, &tip(&theirs));
    assert!(!bench.own_record(0).stop, "the own one may still be final");
    bench.vote(3, 0, tip(&theirs));
    assert!(bench.own_record(0).stop);
    assert_eq!(bench.consensus.counters().stops_predicate, 1);
}

#[test]
fn r5_nobody_acts_in_a_window_that_it_has_not_entered() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.votes(&[0, 1, 2], 1, &stop());
    bench.lapse(40);
    assert_eq!(bench.own_record(1), Record::default());
}

/// Recovery after a lost disk rests on it: whoever acts in a window holds a parent of it.
#[test]
fn r5_no_policy_stops_a_window_that_was_not_entered() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let base = Block::first(&set, 1);
    for salt in [2, 3] {
        bench.propose(&base.opening(&set, 1, salt));
    }
    assert!(bench.alarms().contains(&Alarm::TwoBlocks(v(1))));
    bench.input(Input::Shutdown);
    bench.lapse(120);
    assert!(bench.own_record(0).stop);
    assert_eq!(bench.own_record(1), Record::default());
    bench.votes(&[0, 1, 2, 3], 0, &stop());
    assert_eq!(bench.consensus.window(), w(1));
    assert!(bench.own_record(1).stop, "when it is entered");
}

#[test]
fn r5_a_lost_connection_to_the_leader_stops() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.input(Input::PeerDown(v(1)));
    assert!(!bench.own_record(0).stop);
    bench.input(Input::PeerDown(v(0)));
    assert!(bench.own_record(0).stop);
}

#[test]
fn r5_an_invalid_block_of_the_leader_stops() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1).with(|header| header.payload_hash = [0; 32]);
    let disposition = bench.propose(&block);
    assert_eq!(disposition, Disposition::Fault(PeerFault::InvalidBlock));
    assert!(bench.own_record(0).stop);
}

#[test]
fn r5_two_blocks_for_one_position_stop() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.propose(&Block::first(&set, 1));
    assert!(!bench.own_record(0).stop);
    bench.propose(&Block::first(&set, 2));
    assert!(bench.own_record(0).stop);
    assert!(bench.alarms().contains(&Alarm::TwoBlocks(v(0))));
}

#[test]
fn r5_a_shutdown_stops_the_current_window() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.input(Input::Shutdown);
    assert!(bench.own_record(0).stop);
}

#[test]
fn r5_a_leader_that_says_it_may_not_propose_gets_no_time() {
    let set = six(64);
    for flags in [(true, false), (false, true)] {
        let mut bench = Bench::new(&set, 5);
        let status = Status {
            no_proposals: flags.0,
            abstains: flags.1,
            ..bench.status_of(0)
        };
        bench.status(0, status);
        bench.votes(&[1], 1, &stop());
        assert!(bench.own_record(0).stop, "{flags:?}");
        assert_eq!(bench.consensus.counters().stops_timer, 0);
    }
}

#[test]
fn r5_what_a_leader_said_of_an_earlier_turn_is_no_reason_in_its_next_one() {
    let set = set_of(&[1; 6], 1, 1, 64, 1);
    let leader = set.leader(w(1));
    let (mut stale, mut fresh) = (Bench::new(&set, 5), Bench::new(&set, 5));
    for (bench, window) in [(&mut stale, 0), (&mut fresh, 1)] {
        let status = Status {
            no_proposals: true,
            ..bench.status_of(window)
        };
        bench.status(leader.number(), status);
        bench.votes(&[0, 1, 2, 3], 0, &stop());
        assert_eq!(bench.consensus.window(), w(1));
    }
    assert_eq!(stale.own_record(1), Record::default());
    assert_eq!(fresh.own_record(1), stop());
}

#[test]
fn r5_the_rest_of_a_dead_leaders_turn_is_given_up_at_once() {
    let set = set_of(&[1; 6], 1, 1, 64, 4);
    let mut bench = Bench::new(&set, 5);
    bench.votes(&[0, 1, 2, 3], 0, &stop());
    assert_eq!(bench.consensus.window(), w(1));
    assert_eq!(
        bench.own_record(1),
        stop(),
        "no block of window 0 was notarized"
    );
}

#[test]
fn r5_the_next_window_of_a_turn_goes_on_after_one_that_had_a_block() {
    let set = set_of(&[1; 6], 1, 1, 64, 4);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.votes(&[0, 1, 2, 3], 0, &stop_at(&block));
    assert_eq!(bench.consensus.window(), w(1));
    assert_eq!(bench.own_record(1), Record::default());
}

#[test]
fn r5_a_marked_turn_is_stopped_now_and_in_each_window_when_it_is_entered() {
    let set = set_of(&[1; 6], 1, 1, 64, 4);
    let mut setup = Setup::new(&set, 5).patient();
    setup.timers.censor_ns = 2_000 * MS;
    setup.timers.turn_censored_ns = 2_000 * MS;
    let mut bench = setup.run();
    let block = Block::first(&set, 1);
    bench.propose(&block);
    let since = bench.now.mono_ns;
    bench.input(Input::Waiting {
        oldest_ns: Some(since),
    });
    bench.sleep_ns(1_900 * MS);
    bench.settle();
    assert!(
        !bench.own_record(0).stop,
        "the command has not waited for T_censor"
    );
    bench.sleep_ns(200 * MS);
    bench.settle();
    assert!(bench.own_record(0).stop);
    assert!(!bench.own_record(1).stop, "not before it is entered");
    bench.input(Input::Waiting { oldest_ns: None });
    bench.votes(&[0, 1, 2, 3], 0, &stop_at(&block));
    assert_eq!(bench.consensus.window(), w(1));
    assert!(bench.own_record(1).stop, "the mark outlasts its reason");
}

#[test]
fn r5_a_turn_that_lasts_too_long_is_marked() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    bench.sleep_ns(29_900 * MS);
    bench.settle();
    assert!(!bench.own_record(0).stop);
    bench.sleep_ns(200 * MS);
    bench.settle();
    assert!(bench.own_record(0).stop);
    assert_eq!(bench.consensus.counters().turns_marked, 1);
}

#[test]
fn r5_the_turn_of_a_leader_that_proposes_forged_commands_is_marked() {
    let set = set_of(&[1; 6], 1, 1, 64, 4);
    let mut bench = Setup::new(&set, 5).patient().run();
    let block = Block::first(&set, 1);
    bench.propose(&block);
    // The first window of the next turn: what was executed long after says nothing of this one.
    bench.input(Input::Forged(w(4)));
    assert!(!bench.own_record(0).stop);
    bench.input(Input::Forged(w(0)));
    assert!(bench.own_record(0).stop);
    assert!(!bench.own_record(1).stop, "not before it is entered");
    bench.votes(&[0, 1, 2, 3], 0, &stop_at(&block));
    assert_eq!(bench.consensus.window(), w(1));
    assert!(bench.own_record(1).stop, "its turn has not ended");
    assert_eq!(bench.consensus.counters().turns_marked, 1);
}

#[test]
fn r5_a_stop_is_signed_and_sent_to_all() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.stop_by_timer();
    let votes = bench.votes_sent(0);
    assert!(
        votes
            .iter()
            .any(|(_, vote)| vote.record == stop() && vote.signature.is_some())
    );
    assert_eq!(bench.own_record(0).skip_from(), Some(i(0)));
}

#[test]
fn r5_back_off_falls_again_after_a_turn_without_a_stop_by_the_timer() {
    let set = six(1);
    let mut bench = Bench::new(&set, 5);
    bench.stop_by_timer();
    bench.votes(&[0, 1, 2], 0, &stop());
    let block = Block::first(&set, 1).with(|header| header.window = w(1));
    bench.propose(&block);
    bench.votes(&[0, 1, 2], 1, &tip(&block));
    assert_eq!(bench.consensus.window(), w(2));
    bench.lapse(49);
    assert!(!bench.own_record(2).stop);
    bench.lapse(2);
    assert!(bench.own_record(2).stop);
}

/// Beside one that always stops, whoever waits longest is stopped by the votes of those whose
/// timers fired first. They take turns at that, and the timers of all have to become longer.
#[test]
fn r5_back_off_grows_as_well_when_others_were_the_first_to_stop() {
    let set = six(1);
    let mut bench = Bench::new(&set, 5);
    for window in 0..4 {
        if window % 2 == 0 {
            // One turn a window: k is its number.
            bench.lapse(49 << window);
            assert!(!bench.own_record(window).stop, "w{window}");
            bench.lapse(2 << window);
            assert!(bench.own_record(window).stop, "w{window}");
        }
        // A = 3 is FB; with the own stop that follows Q skip.
        bench.votes_signed(&[1, 2, 3], window, &stop());
        assert!(bench.own_record(window).stop, "w{window}");
        assert_eq!(bench.consensus.window(), w(window + 1));
    }
    let counters = bench.consensus.counters();
    assert_eq!((counters.stops_timer, counters.stops_predicate), (2, 2));
}

/// T_prog is 0 for a leader out of reach: its turn burns and says nothing about how long to wait.
#[test]
fn r5_no_back_off_when_others_stop_a_window_whose_leader_is_out_of_reach() {
    let set = six(1);
    let mut bench = Bench::new(&set, 5);
    // The leader of w1 is gone before the window is entered, and the others have stopped it.
    bench.input(Input::PeerDown(v(1)));
    bench.propose(&Block::first(&set, 1));
    bench.votes(&[0, 2, 3], 1, &stop());
    bench.votes(&[0, 2, 3], 0, &tip(&Block::first(&set, 1)));
    assert!(bench.own_record(1).stop);
    assert_eq!(bench.consensus.counters().stops_predicate, 1);
    assert_eq!(bench.consensus.window(), w(2));
    bench.lapse(49);
    assert!(!bench.own_record(2).stop);
    bench.lapse(2);
    assert!(bench.own_record(2).stop);
}

#[test]
fn r5_a_leaders_status_that_is_behind_does_not_restart_the_timer() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.propose(&Block::first(&set, 1));
    for _ in 0..6 {
        bench.lapse(10);
        let status = bench.status_of(0);
        bench.status(0, status);
    }
    assert!(bench.own_record(0).stop);
}

#[test]
fn r5_a_leader_silent_while_stake_q_is_active_gets_no_time() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    // Nothing comes from v2 from the start on; the timers of two windows run out.
    bench.stop_by_timer();
    bench.votes(&[0, 1, 3], 0, &stop());
    bench.lapse(101);
    assert!(bench.own_record(1).stop);
    bench.votes(&[0, 1, 3], 1, &stop());
    assert_eq!(
        (bench.consensus.window(), bench.consensus.leader()),
        (w(2), v(2))
    );
    assert!(
        bench.own_record(2).stop,
        "150 ms, above ten heartbeats of 12.5 ms"
    );
    assert_eq!(bench.consensus.counters().stops_policy, 1);
}

/// No doubling falls out of the number at its upper end, however many turns fail.
#[test]
fn r5_back_off_stays_at_its_cap_however_many_turns_fail() {
    let set = six(1);
    let mut bench = Bench::new(&set, 5);
    for window in 0..66 {
        bench.votes(&[0, 1, 2, 3, 4], window, &stop());
    }
    assert_eq!(bench.consensus.window(), w(66));
    bench.lapse(1_950);
    assert!(!bench.own_record(66).stop);
    bench.lapse(100);
    assert!(bench.own_record(66).stop, "T_prog is two seconds at most");
}

/// Nine doublings are the most, so that nine good turns are enough, however many failed.
#[test]
fn r5_back_off_comes_down_from_its_cap_within_nine_good_turns() {
    let set = set_of(&[1; 12], 1, 1, 1, 1);
    let (mut bench, others) = (Bench::new(&set, 11), Vec::from_iter(0..11));
    for window in 0..24 {
        bench.votes(&others, window, &stop());
    }
    let mut block = Block::first(&set, 7).with(|header| header.window = w(24));
    for window in 24..33 {
        bench.propose(&block);
        bench.votes(&others, window, &tip(&block));
        assert_eq!(bench.consensus.window(), w(window + 1));
        block = block.opening(&set, window + 1, 7);
    }
    assert_eq!(bench.finalized().len(), 9);
    bench.lapse(49);
    assert!(!bench.own_record(33).stop);
    bench.lapse(2);
    assert!(bench.own_record(33).stop);
}

#[test]
fn r5_a_leader_that_proposes_after_all_gets_its_time() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let status = Status {
        no_proposals: true,
        ..bench.status_of(1)
    };
    bench.status(1, status);
    let block = Block::first(&set, 7).with(|header| header.window = w(1));
    bench.propose(&block);
    bench.votes(&[0, 2, 3, 4], 0, &stop());
    assert_eq!(bench.own_record(1), tip(&block));
}

#[test]
fn r5_a_leader_that_takes_back_that_it_may_not_propose_gets_its_time() {
    let set = six(64);
    for flags in [(true, false), (false, true)] {
        let mut bench = Bench::new(&set, 5);
        let status = Status {
            no_proposals: flags.0,
            abstains: flags.1,
            ..bench.status_of(1)
        };
        bench.status(1, status);
        let status = bench.status_of(1);
        bench.status(1, status);
        bench.votes(&[0, 2, 3, 4], 0, &stop());
        assert_eq!(bench.consensus.window(), w(1));
        assert!(!bench.own_record(1).stop, "{flags:?}");
    }
}

/// Stake is what is active: a few large ones are, and many small ones need not be.
#[test]
fn r5_a_leader_is_silent_beside_active_stake_q() {
    let set = five_stakes();
    assert_eq!(set.leader(w(0)), v(0));
    let window = (1..).find(|&window| set.leader(w(window)) == v(1));
    let window = window.expect("it has stake");
    for (active, is_silent) in [(&[0, 2, 3][..], true), (&[0, 3], false)] {
        let mut bench = Bench::new(&set, 4);
        // Eleven heartbeats and more in which nothing comes from v1.
        for _ in 0..14 {
            for &from in active {
                let status = bench.status_of(0);
                bench.status(from, status);
            }
            bench.lapse(10);
        }
        assert!(!bench.own_record(0).stop, "its leader is heard");
        let skips = (0..window).map(|at| skip_of(&set, at, &[0, 1, 2]));
        bench.certificates(0, skips.collect());
        assert_eq!(bench.consensus.window(), w(window));
        assert_eq!(bench.own_record(window).stop, is_silent, "{active:?}");
    }
}

/// It was heard a moment before this validator slept, and is not silent because others were heard
/// first after it.
#[test]
fn r5_after_one_s_own_suspension_no_leader_is_silent() {
    let set = six(64);
    for sleep_ms in [60, 5_000] {
        let mut bench = Bench::new(&set, 5);
        let status = bench.status_of(0);
        bench.status(0, status.clone());
        bench.lapse(45);
        bench.sleep_ns(sleep_ms * MS);
        for from in 1..5 {
            bench.feed(Input::Message(Authenticated::assert_authenticated(
                v(from),
                Message::Status(status.clone()),
            )));
        }
        bench.settle();
        assert!(!bench.own_record(0).stop, "{sleep_ms}");
    }
}

/// The certificate alone says that nothing of the window before was notarized: no vote for its skip
/// has come here.
#[test]
fn r5_the_rest_of_a_dead_leaders_turn_ends_at_once_where_a_certificate_shows_its_failure() {
    let set = set_of(&[1; 6], 1, 1, 64, 4);
    let mut bench = Bench::new(&set, 5);
    bench.certificates(1, vec![skip_of(&set, 0, &[0, 1, 2, 3])]);
    assert_eq!(bench.consensus.window(), w(1));
    assert_eq!(bench.own_record(1), stop());
}

/// With a command that waits its own Status gives it none.
#[test]
fn r5_an_own_block_gives_the_leader_that_made_it_its_time() {
    let set = six(64);
    let mut bench = Bench::new(&set, 0);
    bench.input(Input::Waiting { oldest_ns: Some(0) });
    bench.lapse(40);
    let made = bench.input(Input::Payload(payload_numbered(1)));
    assert_eq!(made, Disposition::Applied);
    bench.lapse(49);
    assert!(!bench.own_record(0).stop, "49 ms after its block");
    bench.lapse(2);
    assert!(bench.own_record(0).stop);
}

/// No longer timer helps a leader behind a slow link if silence is judged within a few heartbeats.
#[test]
fn r5_a_leader_is_silent_after_ten_heartbeats_and_not_before() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    // After so many that failed T_prog is two seconds, and v0 leads again.
    for window in 0..6 {
        bench.votes(&[0, 1, 2, 3, 4], window, &stop());
    }
    assert_eq!(bench.consensus.window(), w(6));
    let mut wait = |ms: u64| {
        for _ in 0..ms / 5 {
            for from in 1..5 {
                let status = bench.status_of(6);
                bench.status(from, status);
            }
            bench.lapse(5);
        }
        bench.own_record(6).stop
    };
    assert!(!wait(120));
    assert!(wait(10), "above ten times 12.5 ms");
    assert_eq!(bench.consensus.counters().stops_policy, 1);
}
