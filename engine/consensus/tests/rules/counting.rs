//! Counting records (protocol.md 2.2): what counts, what contradicts, and against which sums.

use crate::bench::{Bench, Setup};
use crate::fixtures::{Block, MS, chain, final_of, i, six, stop, stop_at, tip, v, w};
use quorate_consensus::effect::Alarm;
use quorate_consensus::input::Input;
use quorate_consensus::machine::{Disposition, Ignored, PeerFault};
use quorate_consensus::record::Record;
use quorate_consensus::types::Stake;

#[test]
fn thresholds_of_six_equal_validators_are_those_of_the_table() {
    let set = six(64);
    let at = set.thresholds();
    let amounts = [at.quorum, at.fast, at.fallback, at.amplify].map(Stake::amount);
    assert_eq!(amounts, [4, 5, 3, 2]);
}

#[test]
fn thresholds_of_a_set_without_room_for_f_and_p_are_refused() {
    use quorate_consensus::types::Epoch;
    use quorate_consensus::validators::{SetParameters, Validator, ValidatorSet};
    let set_with = |slack: u64| {
        let key =
            |seed: u8| quorate_consensus::signing::ValidatorKey::from_seed(&[seed; 32]).public();
        let validators = (1..7)
            .map(|seed| Validator::new(key(seed), Stake::new(1)))
            .collect();
        let parameters = SetParameters {
            chain_id: [7; 32],
            genesis_hash: [9; 32],
            epoch: Epoch::ZERO,
            fault: Stake::new(1),
            slack: Stake::new(slack),
            window_slots: 64,
            turn_windows: 1,
            crash_only: false,
            genesis_time_ns: 1_000,
        };
        ValidatorSet::new(parameters, validators)
    };
    assert!(set_with(1).is_ok(), "N = 3F + 2P + 1");
    assert!(set_with(2).is_err());
    let five = Stake::new(5);
    let refused =
        quorate_consensus::thresholds::Thresholds::new(five, Stake::new(1), Stake::new(1));
    assert!(refused.is_err(), "N = 3F + 2P");
}

#[test]
fn counting_refuses_a_record_that_contradicts_itself() {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let wrong = [
        Record {
            fin: Some(i(1)),
            ..tip(&blocks[0])
        },
        Record {
            fin: Some(i(0)),
            ..stop()
        },
        Record {
            fin: Some(i(1)),
            skip_fallback: Some(i(1)),
            ..stop_at(&blocks[1])
        },
        Record {
            fin: Some(i(1)),
            skip_fallback: Some(i(0)),
            ..stop_at(&blocks[1])
        },
        Record {
            skip_fallback: Some(i(5)),
            ..tip(&blocks[1])
        },
        Record {
            also: vec![blocks[0].at()],
            ..tip(&blocks[1])
        },
        Record {
            tip: Some((i(64), blocks[0].id)),
            ..Record::default()
        },
        Record {
            also: vec![blocks[0].at(), blocks[0].at()],
            ..stop()
        },
        Record {
            skip_fallback: Some(i(64)),
            ..stop_at(&blocks[1])
        },
        Record {
            also: vec![(i(64), blocks[0].id)],
            ..stop()
        },
    ];
    for record in wrong {
        let mut bench = Bench::new(&set, 5);
        let disposition = bench.vote(1, 0, record.clone());
        assert_eq!(
            disposition,
            Disposition::Fault(PeerFault::Inconsistent),
            "{record:?}"
        );
        assert_eq!(bench.alarms(), vec![Alarm::Equivocation(v(1))]);
    }
}

/// The part of rule X that needs headers: a Final above the fork of an `also`.
#[test]
fn counting_refuses_a_final_above_the_fork_of_an_also() {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let rival = blocks[0].child(&set, 20);
    let mut bench = Bench::new(&set, 5);
    bench.branch(1, &[&blocks[0], &blocks[1], &rival]);
    let record = Record {
        also: vec![rival.at()],
        ..stop_at(&blocks[1])
    };
    let wrong = Record {
        fin: Some(i(1)),
        ..record.clone()
    };
    assert_eq!(
        bench.vote(1, 0, wrong),
        Disposition::Fault(PeerFault::Inconsistent)
    );
    let right = Record {
        fin: Some(i(0)),
        ..record
    };
    assert_eq!(bench.vote(2, 0, right), Disposition::Applied);
    let grown = Record {
        fin: Some(i(1)),
        also: vec![rival.at()],
        ..stop_at(&blocks[1])
    };
    let inconsistent = Disposition::Fault(PeerFault::Inconsistent);
    assert_eq!(bench.vote(2, 0, grown), inconsistent, "also later");
}

/// A late record counts, and the newest one goes on waiting for its headers.
#[test]
fn counting_a_late_record_keeps_the_one_that_waits() {
    let set = six(64);
    let blocks = chain(&set, 4, 1);
    let mut bench = Bench::new(&set, 5);
    bench.propose(&blocks[0]);
    bench.propose(&blocks[1]);
    bench.vote(1, 0, tip(&blocks[0]));
    let waits = Disposition::Ignored(Ignored::Pending);
    assert_eq!(bench.vote(1, 0, stop_at(&blocks[3])), waits);
    assert_eq!(bench.vote(1, 0, tip(&blocks[1])), Disposition::Applied);
    bench.votes(&[0, 3, 4], 0, &stop_at(&blocks[3]));
    bench.headers(3, &[&blocks[2], &blocks[3]]);
    assert_eq!(bench.consensus.window(), w(1), "stops of stake Q");
}

/// Pairs of records of which the second does not extend the first, over these blocks of one chain
/// and two that fork from it: at index 0, and at index 1.
fn conflicts(blocks: &[Block], rivals: &[Block; 2]) -> Vec<(Record, Record)> {
    let stopped = stop_at(&blocks[1]);
    let full = Record {
        fin: Some(i(0)),
        skip_fallback: Some(i(2)),
        ..stopped.clone()
    };
    let with_fin = |fin: u32, record: &Record| Record {
        fin: Some(i(fin)),
        ..record.clone()
    };
    let also = Record {
        also: vec![rivals[1].at()],
        ..stopped.clone()
    };
    let skip_rises = Record {
        skip_fallback: Some(i(3)),
        ..with_fin(1, &full)
    };
    let skip_goes = Record {
        skip_fallback: None,
        ..with_fin(1, &full)
    };
    let also_goes = Record {
        also: Vec::new(),
        skip_fallback: Some(i(5)),
        ..also.clone()
    };
    vec![
        (tip(&blocks[0]), tip(&rivals[0])),
        (tip(&blocks[1]), tip(&rivals[1])),
        (tip(&rivals[0]), tip(&blocks[1])),
        (tip(&rivals[1]), tip(&blocks[2])),
        (tip(&blocks[0]), stop()),
        (stopped.clone(), tip(&blocks[2])),
        (stopped.clone(), stop_at(&blocks[2])),
        (stop(), tip(&blocks[0])),
        (stopped, with_fin(0, &tip(&blocks[1]))),
        (with_fin(0, &tip(&blocks[0])), tip(&blocks[1])),
        (full.clone(), skip_rises),
        (full, skip_goes),
        (also, also_goes),
    ]
}

#[test]
fn counting_takes_records_only_as_they_grow() {
    let set = six(64);
    let blocks = chain(&set, 3, 1);
    let rivals = [Block::first(&set, 30), blocks[0].child(&set, 31)];
    for (before, after) in conflicts(&blocks, &rivals) {
        let mut bench = Bench::new(&set, 5);
        let all = blocks.iter().chain(&rivals).collect::<Vec<_>>();
        bench.branch(1, &all);
        let disposition = bench.vote(2, 0, before.clone());
        assert_eq!(disposition, Disposition::Applied, "{before:?}");
        let disposition = bench.vote(2, 0, after.clone());
        let conflict = Disposition::Fault(PeerFault::Conflict);
        assert_eq!(disposition, conflict, "{before:?} {after:?}");
    }
}

#[test]
fn counting_a_record_that_comes_late_is_no_misbehaviour_and_takes_nothing_back() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let block = Block::first(&set, 1);
    bench.answers.journal = false;
    bench.propose(&block);
    bench.votes(&[0, 1, 2], 0, &stop_at(&block));
    let late = Disposition::Ignored(Ignored::Stale);
    assert_eq!(bench.vote(2, 0, tip(&block)), late);
    assert_eq!(bench.vote(2, 0, Record::default()), late);
    assert!(bench.alarms().is_empty());
    bench.vote(3, 0, stop_at(&block));
    assert_eq!(
        bench.consensus.window(),
        w(1),
        "four still skip above the block"
    );
}

#[test]
fn counting_a_conflicting_record_changes_nothing() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let mine = Block::first(&set, 1);
    let rival = Block::first(&set, 2);
    bench.propose(&mine);
    bench.votes(&[0, 1, 2], 0, &tip(&mine));
    bench.headers(2, &[&rival]);
    bench.vote(2, 0, tip(&rival));
    bench.vote(3, 0, tip(&mine));
    assert_eq!(
        bench.finalized(),
        vec![mine.point()],
        "the vote counted first still counts"
    );
}

#[test]
fn counting_a_first_record_with_an_unknown_tip_counts_at_its_tip_and_above_its_stop() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let unknown = chain(&set, 4, 40);
    bench.votes(&[1, 2, 3], 0, &stop_at(&unknown[3]));
    bench.stop_by_timer();
    assert_eq!(
        bench.own_record(0).skip_fallback,
        Some(i(4)),
        "and nothing is known below"
    );
}

/// 5.1 e: what it says without a signature is signed soon after, for nineteen periods of T_sig.
#[test]
fn signatures_in_time_keep_a_peer_counted_by_its_channel() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let blocks = chain(&set, 20, 1);
    for block in &blocks {
        bench.propose(block);
    }
    for block in &blocks[..19] {
        bench.vote(3, 0, tip(block));
        bench.lapse(20);
        bench.vote_signed(3, 0, tip(block));
    }
    let unsigned = bench.vote(3, 0, tip(&blocks[19]));
    assert_eq!(unsigned, Disposition::Applied);
}

/// 5.1 e: ten periods of T_sig are 200 ms, also of a T_sig that others may have while the own one
/// is shorter. Turns come when they come, and hardly one of them just then.
#[test]
fn a_peer_whose_signatures_are_late_is_demoted_by_whichever_turn_comes_next() {
    const LIMIT_NS: u64 = 200 * MS;
    let set = six(64);
    let blocks = chain(&set, 3, 1);
    for (sign_ns, late_ns) in [
        (20 * MS, 1),
        (MS, 1),
        (20 * MS, 7 * MS),
        (20 * MS, 3 * LIMIT_NS),
    ] {
        let mut setup = Setup::new(&set, 5).patient();
        setup.timers.sign_ns = sign_ns;
        let mut bench = setup.run();
        for block in &blocks {
            bench.propose(block);
        }
        bench.vote(3, 0, tip(&blocks[0]));
        bench.sleep_ns(LIMIT_NS - 1);
        bench.settle();
        let in_time = bench.vote(3, 0, tip(&blocks[1]));
        assert_eq!(in_time, Disposition::Applied, "{late_ns}");
        bench.sleep_ns(1 + late_ns);
        bench.settle();
        let late = bench.vote(3, 0, tip(&blocks[2]));
        assert_eq!(late, Disposition::Ignored(Ignored::Pending), "{late_ns}");
    }
}

/// 5.1 e: it owes none, whatever has become of its window meanwhile.
#[test]
fn a_signature_that_was_checked_until_its_window_was_settled_was_in_time() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let next = block.opening(&set, 1, 2);
    for is_signed in [true, false] {
        let mut bench = Setup::new(&set, 5).patient().run();
        bench.propose(&block);
        bench.vote(3, 0, tip(&block));
        bench.answers.checks = false;
        if is_signed {
            bench.vote_signed(3, 0, tip(&block));
        }
        bench.headers(1, &[&next]);
        bench.certificates(1, vec![final_of(&set, &next, &[0, 1, 2, 3, 4])]);
        bench.finish_newest_check();
        bench.settle();
        assert_eq!(
            bench.consensus.proven(),
            next.point(),
            "window 0 is settled"
        );
        bench.finish_checks();
        bench.settle();
        bench.lapse(300);
        let counted = bench.vote(3, 1, tip(&next)) == Disposition::Applied;
        assert_eq!(counted, is_signed);
    }
}

/// 5.1 e: good signatures of a second, and not of less, make up for a bad one.
#[test]
fn signatures_that_are_good_for_a_second_end_a_demotion() {
    let set = six(64);
    let blocks = chain(&set, 14, 1);
    let pending = Disposition::Ignored(Ignored::Pending);
    for (signed, expected) in [(10, pending), (11, Disposition::Applied)] {
        let mut bench = Setup::new(&set, 5).patient().run();
        for block in &blocks {
            bench.propose(block);
        }
        bench.vote_with(3, 0, tip(&blocks[0]), Some([0x5a; 64]));
        for block in &blocks[1..=signed] {
            bench.vote_signed(3, 0, tip(block));
            bench.lapse(100);
        }
        let unsigned = bench.vote(3, 0, tip(&blocks[13]));
        assert_eq!(unsigned, expected, "{signed}");
    }
}

/// Whoever equivocates could have each second record wait for its headers.
#[test]
fn counting_a_record_that_waited_for_its_headers_raises_the_alarm_when_it_contradicts() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let mine = Block::first(&set, 1);
    let theirs = chain(&set, 2, 10);
    bench.propose(&mine);
    bench.vote(2, 0, tip(&mine));
    let waits = Disposition::Ignored(Ignored::Pending);
    assert_eq!(bench.vote(2, 0, tip(&theirs[1])), waits);
    assert!(bench.alarms().is_empty());
    bench.headers(1, &[&theirs[0], &theirs[1]]);
    assert_eq!(bench.alarms(), [Alarm::Equivocation(v(2))]);
}

/// A signature that was checked for long brings an earlier record behind the newest one.
#[test]
fn counting_an_earlier_record_that_would_wait_too_leaves_the_later_one_waiting() {
    let set = six(64);
    let blocks = chain(&set, 4, 1);
    let mut bench = Setup::new(&set, 5).patient().run();
    bench.propose(&blocks[0]);
    bench.vote(1, 0, tip(&blocks[0]));
    let waits = Disposition::Ignored(Ignored::Pending);
    assert_eq!(bench.vote(1, 0, stop_at(&blocks[3])), waits);
    assert_eq!(bench.vote(1, 0, tip(&blocks[2])), waits);
    bench.votes(&[0, 3, 4], 0, &stop_at(&blocks[3]));
    assert_eq!(bench.consensus.window(), w(0));
    bench.headers(3, &[&blocks[1], &blocks[2], &blocks[3]]);
    assert_eq!(bench.consensus.window(), w(1), "stops of stake Q");
}

#[test]
fn signatures_that_fail_to_come_begin_the_second_of_good_ones_again() {
    let set = six(4096);
    let mut bench = Setup::new(&set, 5).patient().run();
    let blocks = chain(&set, 210, 1);
    bench.propose(&blocks[0]);
    bench.vote_with(3, 0, tip(&blocks[0]), Some([0x5a; 64]));
    let say = |bench: &mut Bench, range: core::ops::Range<usize>, is_signed: bool| {
        for block in &blocks[range] {
            bench.propose(block);
            if is_signed {
                bench.vote_signed(3, 0, tip(block));
            } else {
                bench.vote(3, 0, tip(block));
            }
            bench.lapse(10);
        }
    };
    let is_counted = |bench: &mut Bench, at: usize| {
        bench.propose(&blocks[at]);
        bench.vote(3, 0, tip(&blocks[at])) == Disposition::Applied
    };
    say(&mut bench, 1..60, true);
    say(&mut bench, 60..90, false);
    say(&mut bench, 90..150, true);
    assert!(!is_counted(&mut bench, 150), "600 ms since the gap");
    say(&mut bench, 151..200, true);
    assert!(is_counted(&mut bench, 200));
}

/// A follower of blocks and v3, whose first vote is unsigned; what is to come.
fn owing(setup: Setup) -> (Bench, Vec<Block>) {
    let blocks = chain(&setup.set, 3, 1);
    let mut bench = setup.run();
    for block in &blocks {
        bench.propose(block);
    }
    bench.vote(3, 0, tip(&blocks[0]));
    (bench, blocks)
}

/// 5.1 e: whose signatures this validator is slow to check is not late.
#[test]
fn a_peer_whose_signature_is_still_being_checked_is_not_demoted() {
    let mut setup = Setup::new(&six(64), 5).patient();
    setup.answers.checks = false;
    let (mut bench, blocks) = owing(setup);
    bench.lapse(10);
    bench.vote_signed(3, 0, tip(&blocks[0]));
    bench.lapse(300);
    let unsigned = bench.vote(3, 0, tip(&blocks[1]));
    assert_eq!(unsigned, Disposition::Applied);
}

#[test]
fn a_peer_that_was_away_owes_no_signature_for_that_time() {
    let (mut bench, blocks) = owing(Setup::new(&six(64), 5).patient());
    bench.input(Input::PeerDown(v(3)));
    bench.lapse(300);
    bench.input(Input::PeerUp(v(3)));
    let unsigned = bench.vote(3, 0, tip(&blocks[1]));
    assert_eq!(unsigned, Disposition::Applied);
}

#[test]
fn time_in_which_this_validator_did_not_run_makes_no_signature_late() {
    let (mut bench, blocks) = owing(Setup::new(&six(64), 5));
    bench.sleep_ns(300 * MS);
    bench.settle();
    let unsigned = bench.vote(3, 0, tip(&blocks[1]));
    assert_eq!(unsigned, Disposition::Applied);
}
