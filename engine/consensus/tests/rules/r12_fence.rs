//! R12, the fence: before the first word of a run, peers say what they hold of it.

use crate::bench::{Bench, INCARNATION, Setup};
use crate::fixtures::{
    Block, chain, final_of, five_stakes, i, sign_record, six, skip_of, stop, stop_at, tip, v, w,
};
use quorate_consensus::effect::{Alarm, Destination, Effect};
use quorate_consensus::input::Input;
use quorate_consensus::limits::CHECKS_PER_PEER_MAX;
use quorate_consensus::message::{HeldRecord, Message};
use quorate_consensus::record::Record;
use quorate_consensus::trust::Lease;
use quorate_consensus::types::Window;
use quorate_consensus::validators::ValidatorSet;

#[test]
fn r12_no_record_before_peers_of_stake_q_less_its_own_have_answered() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).start();
    let asks = |(_, message): &(Destination, &Message)| match message {
        Message::FenceAsk { incarnation } => *incarnation == INCARNATION,
        _ => false,
    };
    for peer in 0..5 {
        let to = Destination::Peer(v(peer));
        assert!(
            bench
                .sent()
                .filter(asks)
                .any(|(receiver, _)| receiver == to),
            "{peer}"
        );
    }
    let block = Block::first(&set, 1);
    bench.propose(&block);
    bench.answer_fence(0, None);
    bench.answer_fence(1, None);
    bench.answer_fence(1, None);
    bench.lapse(60);
    assert!(bench.persisted().is_empty(), "2 of 3");
    assert!(bench.statuses_sent().iter().all(|status| status.recovering));
    bench.answer_fence(2, None);
    assert_eq!(bench.own_record(0).tip, Some(block.at()));
}

/// A question or its answer may be lost.
#[test]
fn r12_whoever_has_not_answered_is_asked_again() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).start();
    bench.answer_fence(0, None);
    bench.forget();
    bench.lapse(60);
    let asked = bench
        .sent()
        .filter(|(_, message)| matches!(message, Message::FenceAsk { .. }));
    let mut asked: Vec<String> = asked.map(|(to, _)| format!("{to:?}")).collect();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked, ["Peer(v1)", "Peer(v2)", "Peer(v3)", "Peer(v4)"]);
}

#[test]
fn r12_an_answer_to_an_earlier_start_counts_for_nothing() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).start();
    for from in 0..5 {
        let incarnation = INCARNATION - 1;
        bench.message(
            from,
            Message::FenceAnswer {
                incarnation,
                held: Vec::new(),
            },
        );
    }
    assert!(!bench.consensus.is_voting());
}

fn fence_answer(held: Vec<HeldRecord>) -> Message {
    Message::FenceAnswer {
        incarnation: INCARNATION,
        held,
    }
}

fn held(set: &ValidatorSet, at: u64, record: Record, is_signed: bool) -> HeldRecord {
    let window = Window::new(at);
    let signature = is_signed.then(|| sign_record(set, v(5), window, &record));
    HeldRecord {
        window,
        record,
        signature,
    }
}

/// A validator whose log holds a first vote for block 0 of window 0, behind its fence.
fn fenced() -> (Bench, Vec<Block>) {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let bench = Setup::new(&set, 5)
        .with_log(tip(&blocks[0]), &[&blocks[0]])
        .start();
    (bench, blocks)
}

fn is_silenced(bench: &mut Bench) -> bool {
    for from in 0..5 {
        bench.answer_fence(from, None);
    }
    bench.lapse(60);
    !bench.consensus.is_voting() && bench.persisted().is_empty()
}

/// Own records are ordered: what was said of a lower tip was said before, whether or not the block
/// of the own tip is here to show it.
#[test]
fn r12_an_earlier_word_is_no_news_where_the_log_lacks_the_own_block() {
    let set = six(64);
    let blocks = chain(&set, 3, 1);
    for (at, is_news) in [(0, false), (1, false), (2, true)] {
        let mut bench = Setup::new(&set, 5).with_log(tip(&blocks[1]), &[]).start();
        bench.answer_fence(0, Some(held(&set, 0, tip(&blocks[at]), true)));
        bench.finish_checks();
        assert_eq!(is_silenced(&mut bench), is_news, "{at}");
    }
}

#[test]
fn r12_the_restored_record_is_sent_again_when_the_fence_has_passed() {
    let (mut bench, blocks) = fenced();
    bench.forget();
    for from in 0..3 {
        assert!(bench.votes_sent(0).is_empty());
        bench.answer_fence(from, None);
    }
    let (to, vote) = bench.votes_sent(0)[0];
    assert_eq!((to, &vote.record), (Destination::All, &tip(&blocks[0])));
}

#[test]
fn r12_a_status_from_behind_the_fence_carries_no_record() {
    let (mut bench, blocks) = fenced();
    bench.lapse(60);
    assert!(!bench.statuses_sent().is_empty());
    for status in bench.statuses_sent() {
        assert!(status.recovering && status.record.is_empty());
    }
    for from in 0..3 {
        bench.answer_fence(from, None);
    }
    bench.forget();
    bench.lapse(10);
    let statuses = bench.statuses_sent();
    let last = *statuses.last().unwrap();
    assert_eq!((last.recovering, &last.record), (false, &tip(&blocks[0])));
}

/// A restored record is a vote too, and so is what comes back signed.
#[test]
fn r12_no_vote_leaves_from_behind_the_fence() {
    let (mut bench, blocks) = fenced();
    bench.lapse(60);
    assert!(bench.votes_sent(0).is_empty());
    let signs = |effect: &&Effect| matches!(effect, Effect::SignRecord { .. });
    assert_eq!(bench.seen.iter().filter(signs).count(), 0);
    for from in 0..3 {
        bench.answer_fence(from, None);
    }
    bench.lapse(30);
    let votes = bench.votes_sent(0);
    assert!(votes.iter().all(|(_, vote)| vote.record == tip(&blocks[0])));
    assert!(votes.iter().any(|(_, vote)| vote.signature.is_some()));
}

/// What a peer asks for by its Status is a word of this run like any other.
#[test]
fn r12_no_status_is_answered_with_the_restored_record_before_the_fence_has_passed() {
    let (mut bench, blocks) = fenced();
    for from in [1, 2] {
        let status = bench.status_of(0);
        bench.status(from, status);
    }
    assert!(bench.votes_sent(0).is_empty());
    for from in 0..3 {
        bench.answer_fence(from, None);
    }
    bench.forget();
    let status = bench.status_of(0);
    bench.status(3, status);
    let answered = bench.votes_sent(0);
    let is_answer = |(to, _): &(Destination, _)| *to == Destination::Peer(v(3));
    let answer = answered.into_iter().find(is_answer);
    assert_eq!(answer.map(|(_, vote)| &vote.record), Some(&tip(&blocks[0])));
}

#[test]
fn r12_answers_that_the_log_extends_pass_the_fence() {
    let (mut bench, blocks) = fenced();
    let set = bench.set.clone();
    let known = held(&set, 0, tip(&blocks[0]), true);
    for from in 0..3 {
        bench.answer_fence(from, Some(known.clone()));
    }
    assert!(bench.consensus.is_voting());
    assert!(bench.alarms().is_empty());
}

/// What was said of a window is said of each block of one chain: an earlier word of that chain is
/// none of another.
#[test]
fn r12_an_earlier_vote_of_the_own_chain_is_no_news_and_one_of_another_chain_is() {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let rival = Block::first(&set, 30);
    for (sent, is_old_disk) in [(&blocks[0], false), (&rival, true)] {
        let setup = Setup::new(&set, 5).with_log(tip(&blocks[1]), &[&blocks[0], &blocks[1]]);
        let mut bench = setup.start();
        bench.answer_fence(0, Some(held(&set, 0, tip(sent), true)));
        assert_eq!(is_silenced(&mut bench), is_old_disk);
        assert_eq!(bench.alarms().is_empty(), !is_old_disk);
    }
}

#[test]
fn r12_what_the_log_holds_of_the_last_leased_window_is_no_news() {
    let set = six(64);
    let block = Block::first(&set, 1);
    let mut setup = Setup::new(&set, 5).with_log(tip(&block), &[&block]);
    setup.restored.lease.lease = Some(w(0));
    setup.answers.lease = false;
    let mut bench = setup.start();
    bench.answer_fence(0, Some(held(&set, 0, tip(&block), true)));
    assert!(bench.alarms().is_empty() && !is_silenced(&mut bench));
}

/// The log is cut below the proven window, so that it holds no record of those any more.
#[test]
fn r12_a_record_of_a_window_that_finality_has_passed_is_no_news() {
    let set = six(64);
    let block = Block::first(&set, 1).opening(&set, 3, 2);
    for (window, is_old_disk) in [(1, false), (2, false), (4, true)] {
        let mut setup = Setup::new(&set, 5);
        setup.restored.lease.lease = Some(w(100));
        setup.restored.proven = block.point();
        setup.restored.proof = Some(final_of(&set, &block, &[0, 1, 2, 3, 4]));
        let mut bench = setup.start();
        assert_eq!(bench.consensus.window(), w(3));
        for from in 0..3 {
            bench.answer_fence(from, Some(held(&set, window, stop(), true)));
        }
        assert_eq!(bench.consensus.is_voting(), !is_old_disk, "{window}");
        assert_eq!(bench.alarms().is_empty(), !is_old_disk, "{window}");
    }
}

#[test]
fn r12_a_signed_record_that_the_log_does_not_hold_shows_an_old_disk() {
    let set = six(64);
    let rival = Block::first(&set, 30);
    let further = chain(&set, 2, 1)[1].clone();
    let unheard = [
        (0, tip(&further)),
        (0, tip(&rival)),
        (0, stop()),
        (
            0,
            Record {
                fin: Some(i(0)),
                ..tip(&chain(&set, 1, 1)[0])
            },
        ),
        (7, stop()),
        (101, stop()),
    ];
    for (window, record) in unheard {
        let (mut bench, _) = fenced();
        bench.answer_fence(0, Some(held(&set, window, record.clone(), true)));
        assert!(is_silenced(&mut bench), "{window} {record:?}");
        assert_eq!(bench.alarms(), vec![Alarm::DiskOlderThanSent(w(window))]);
    }
}

/// A validator whose log holds a stop at block 1 of window 0, with these `also`, behind its fence;
/// a rival of block 1 and its child are in the log as well.
fn fenced_at_stop(also: &[usize]) -> (Bench, Record, [Block; 2]) {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let rival = blocks[0].child(&set, 20);
    let branch = [rival.clone(), rival.child(&set, 21)];
    let stopped = stop_at(&blocks[1]);
    let record = Record {
        also: also.iter().map(|&at| branch[at].at()).collect(),
        ..stopped.clone()
    };
    let logged = [&blocks[0], &blocks[1], &branch[0], &branch[1]];
    let bench = Setup::new(&set, 5).with_log(record, &logged).start();
    (bench, stopped, branch)
}

/// Rule X rests on every fallback that was ever said: a lost one could let a Final go above it.
#[test]
fn r12_a_signed_fallback_that_the_log_does_not_hold_shows_an_old_disk() {
    for (logged, sent) in [(&[][..], 0), (&[][..], 1), (&[0][..], 1)] {
        let (mut bench, stopped, branch) = fenced_at_stop(logged);
        let set = bench.set.clone();
        let lost = Record {
            also: vec![branch[sent].at()],
            ..stopped
        };
        bench.answer_fence(0, Some(held(&set, 0, lost, true)));
        assert!(is_silenced(&mut bench), "{logged:?} {sent}");
        assert_eq!(bench.alarms(), vec![Alarm::DiskOlderThanSent(w(0))]);
    }
}

#[test]
fn r12_a_fallback_that_the_logs_has_grown_from_passes_the_fence() {
    for sent in [0, 1] {
        let (mut bench, stopped, branch) = fenced_at_stop(&[1]);
        let set = bench.set.clone();
        let known = Record {
            also: vec![branch[sent].at()],
            ..stopped
        };
        for from in 0..3 {
            bench.answer_fence(from, Some(held(&set, 0, known.clone(), true)));
        }
        assert!(bench.consensus.is_voting());
        assert!(bench.alarms().is_empty());
    }
}

/// A branch of final blocks is supported before their bodies are here, so the log may have none of
/// its headers: that the higher entry grew from the lower one cannot be seen then, but that the
/// lower one did not grow from the higher one can.
#[test]
fn r12_a_fallback_whose_branch_is_unknown_is_no_news_when_the_log_stands_above_it() {
    for (logged, sent, is_old_disk) in [(1, 0, false), (0, 0, false), (0, 1, true)] {
        let set = six(64);
        let blocks = chain(&set, 2, 1);
        let rival = blocks[0].child(&set, 20);
        let branch = [rival.clone(), rival.child(&set, 21)];
        let with_also = |at: usize| Record {
            also: vec![branch[at].at()],
            ..stop_at(&blocks[1])
        };
        let setup = Setup::new(&set, 5).with_log(with_also(logged), &[&blocks[0], &blocks[1]]);
        let mut bench = setup.start();
        bench.answer_fence(0, Some(held(&set, 0, with_also(sent), true)));
        assert_eq!(is_silenced(&mut bench), is_old_disk, "{logged} {sent}");
    }
}

/// Of several such branches the one that stands highest is no other one's growth: which of two
/// records came first is told by what each branch can have grown to.
#[test]
fn r12_branches_of_a_fallback_grow_each_by_itself_whatever_else_stands_higher() {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let high = (2..8).fold(blocks[0].child(&set, 30), |top, salt| top.child(&set, salt));
    let mut low = vec![blocks[0].child(&set, 20)];
    for salt in 21..23 {
        low.extend(low.last().map(|top| top.child(&set, salt)));
    }
    let with_also = |also: &[&Block]| {
        let mut also: Vec<_> = also.iter().map(|block| block.at()).collect();
        also.sort_unstable();
        Record {
            also,
            ..stop_at(&blocks[1])
        }
    };
    let earlier = with_also(&[&low[0], &high]);
    let logged = with_also(&[&low[1], &high]);
    let later = [
        with_also(&[&low[2], &high]),
        with_also(&[&low[1], &high.child(&set, 9)]),
        with_also(&[&low[1], &high, &Block::first(&set, 40)]),
        with_also(&[&low[2], &high, &Block::first(&set, 40)]),
        // Neither earlier nor later: two have spoken with this key.
        with_also(&[&high.child(&set, 9)]),
    ];
    let all = core::iter::once((&earlier, false)).chain(later.iter().map(|one| (one, true)));
    for (sent, is_old_disk) in all {
        let setup = Setup::new(&set, 5).with_log(logged.clone(), &[&blocks[0], &blocks[1]]);
        let mut bench = setup.start();
        bench.answer_fence(0, Some(held(&set, 0, sent.clone(), true)));
        assert_eq!(is_silenced(&mut bench), is_old_disk, "{sent:?}");
    }
}

/// Headers of a supported branch may be missing after a restart: until they come, no Final may go
/// anywhere above where that branch could fork.
#[test]
fn r4_no_final_beside_a_restored_fallback_whose_branch_is_unknown() {
    let set = six(64);
    let blocks = chain(&set, 2, 1);
    let rival = blocks[0].child(&set, 20);
    let record = Record {
        also: vec![rival.at()],
        ..stop_at(&blocks[1])
    };
    let setup = Setup::new(&set, 5).with_log(record, &[&blocks[0], &blocks[1]]);
    let mut bench = setup.patient().run();
    bench.votes(&[0, 1, 2, 3], 0, &tip(&blocks[1]));
    assert_eq!(bench.own_record(0).fin, None);
    bench.headers(1, &[&rival]);
    assert_eq!(bench.own_record(0).fin, Some(i(0)), "up to the fork");
}

#[test]
fn r12_one_liar_cannot_silence_a_validator_and_stake_of_amp_can() {
    let (mut bench, _) = fenced();
    let set = bench.set.clone();
    let lie = held(&set, 0, tip(&Block::first(&set, 30)), false);
    bench.answer_fence(0, Some(lie.clone()));
    assert!(bench.alarms().contains(&Alarm::ForeignRecord(v(0))));
    assert!(!is_silenced(&mut bench));
    let (mut bench, _) = fenced();
    bench.answer_fence(0, Some(lie.clone()));
    bench.answer_fence(1, Some(lie));
    assert!(is_silenced(&mut bench));
}

/// What peers took back is no longer held against the disk: else all that they ever said adds up.
#[test]
fn r12_what_a_peer_no_longer_says_is_not_counted_with_what_another_one_says() {
    let (mut bench, blocks) = fenced();
    let set = bench.set.clone();
    let word = held(&set, 0, tip(&blocks[1]), false);
    bench.answer_fence(0, Some(word.clone()));
    bench.answer_fence(0, None);
    bench.answer_fence(1, Some(word));
    let alarms = [0, 1].map(|from| Alarm::ForeignRecord(v(from)));
    assert_eq!(bench.alarms(), alarms, "each of one alone");
    for from in [2, 3] {
        bench.answer_fence(from, None);
    }
    assert!(bench.consensus.is_voting(), "v0, v2 and v3");
}

/// Of one alone an unsigned answer shows nothing. It may be the one to whom the last word came all
/// the same, so the fence passes by others; who hold none of it where the disk is good.
#[test]
fn r12_the_fence_passes_by_others_than_those_who_hold_what_the_log_does_not() {
    for is_signed in [false, true] {
        let (mut bench, _) = fenced();
        let set = bench.set.clone();
        let mut word = held(&set, 0, stop(), is_signed);
        if let Some(signature) = &mut word.signature {
            signature[3] ^= 1;
        }
        for (from, held) in [(0, Some(word)), (1, None), (2, None)] {
            bench.answer_fence(from, held);
        }
        bench.lapse(60);
        assert!(!bench.consensus.is_voting(), "2 of 3 hold nothing more");
        bench.answer_fence(3, None);
        assert!(bench.consensus.is_voting());
    }
}

/// One answer is judged as a whole: what agrees in it takes nothing back of what does not.
#[test]
fn r12_an_answer_that_agrees_in_one_window_and_not_in_another_is_no_agreement() {
    for is_signed in [false, true] {
        let (mut bench, blocks) = fenced();
        let set = bench.set.clone();
        let known = held(&set, 0, tip(&blocks[0]), true);
        let mut news = held(&set, 1, stop(), is_signed);
        if let Some(signature) = &mut news.signature {
            signature[3] ^= 1;
        }
        bench.answer_fence(0, None);
        bench.answer_fence(1, None);
        for both in [[known.clone(), news.clone()], [news, known]] {
            bench.answer_fence(2, both);
            assert!(!bench.consensus.is_voting(), "2 of 3 agree");
        }
        // What it knew better meanwhile counts.
        bench.answer_fence(2, None);
        assert!(bench.consensus.is_voting());
    }
}

/// What it said below the proven block is settled and no proof against it: so nothing is said there
/// again, not even before the windows are dropped at the end of the turn.
#[test]
fn r12_nothing_is_said_below_the_proven_block_in_the_turn_in_which_it_comes() {
    let (mut bench, blocks) = fenced();
    let set = bench.set.clone();
    let block = Block::first(&set, 1).opening(&set, 3, 2);
    bench.answer_fence(0, None);
    bench.answer_fence(1, None);
    // It would stop at once in a window whose leader has gone.
    bench.input(Input::PeerDown(set.leader(w(0))));
    let proof = vec![final_of(&set, &block, &[0, 1, 2, 3, 4])];
    // The proof is judged, and then the word of a window below it, in one turn.
    let word = held(&set, 1, stop(), true);
    for (from, message) in [
        (2, Message::Certificates(proof)),
        (2, fence_answer(vec![word])),
        (3, fence_answer(Vec::new())),
    ] {
        bench.hear(from, message);
        bench.finish_journal_now();
    }
    bench.settle();
    assert_eq!(bench.consensus.proven(), block.point());
    bench.lapse(60);
    assert!(bench.consensus.is_voting());
    let said = bench.persisted();
    assert!(said.iter().all(|own| own.window >= w(3)), "{said:?}");
    let again = bench
        .votes_sent(0)
        .into_iter()
        .all(|(_, vote)| vote.record == tip(&blocks[0]));
    assert!(again, "what the log has, as it is");
}

/// A peer that has too much to be checked already may be the one that knows: its word counts as one
/// without a signature does.
#[test]
fn r12_a_signed_word_that_finds_no_room_for_its_check_counts_by_the_stake_of_who_holds_it() {
    let set = six(4096);
    let blocks = chain(&set, CHECKS_PER_PEER_MAX + 1, 1);
    let mut setup = Setup::new(&set, 5).with_log(tip(&blocks[0]), &[&blocks[0]]);
    setup.answers.checks = false;
    let mut bench = setup.start();
    let word = held(&set, 0, stop(), true);
    for from in [0, 1] {
        for block in &blocks[1..] {
            bench.vote_signed(from, 0, tip(block));
        }
        bench.forget();
        bench.answer_fence(from, Some(word.clone()));
        let checks = |effect: &&Effect| matches!(effect, Effect::Verify { .. });
        assert_eq!(bench.seen.iter().filter(checks).count(), 0, "no room");
        assert!(bench.alarms().contains(&Alarm::ForeignRecord(v(from))));
        assert_eq!(bench.consensus.is_lost(), from == 1, "stake AMP = 2");
    }
}

/// What is said twice is said once less when the answers come late.
#[test]
fn r12_answers_that_come_after_the_fence_has_passed_are_read() {
    for lates in [&[3][..], &[3, 4]] {
        let (mut bench, _) = fenced();
        let set = bench.set.clone();
        for from in 0..3 {
            bench.answer_fence(from, None);
        }
        assert!(bench.consensus.is_voting());
        for &from in lates {
            bench.answer_fence(from, Some(held(&set, 0, stop(), false)));
        }
        assert_eq!(bench.consensus.is_voting(), lates.len() == 1);
        // What was said since is no news, however late the answer.
        let own = bench.own_record(0);
        bench.answer_fence(4, Some(held(&set, 0, own, false)));
        assert_eq!(bench.consensus.is_voting(), lates.len() == 1);
    }
}

/// An answer costs a liar nothing, and each alarm is a line of the log.
#[test]
fn r12_a_liar_that_changes_its_mind_is_told_of_once() {
    let (mut bench, _) = fenced();
    let set = bench.set.clone();
    let lie = held(&set, 0, tip(&Block::first(&set, 30)), false);
    for from in 1..4 {
        bench.answer_fence(from, None);
    }
    for _ in 0..5 {
        bench.answer_fence(0, Some(lie.clone()));
        bench.answer_fence(0, None);
    }
    assert_eq!(bench.alarms(), [Alarm::ForeignRecord(v(0))]);
    assert!(bench.consensus.is_voting());
}

/// The signature workers may take longer than the other peers.
#[test]
fn r12_proof_of_an_old_disk_silences_also_after_the_fence_has_passed() {
    let (mut bench, _) = fenced();
    let set = bench.set.clone();
    let held = held(&set, 0, stop(), true);
    let answers = [(0, Some(held)), (1, None), (2, None), (3, None)];
    for (from, held) in answers {
        let incarnation = INCARNATION;
        let held = Vec::from_iter(held);
        let answer = Message::FenceAnswer { incarnation, held };
        bench.hear(from, answer);
    }
    assert!(bench.consensus.is_voting(), "three others answered");
    bench.settle();
    assert_eq!(bench.alarms(), vec![Alarm::DiskOlderThanSent(w(0))]);
    bench.lapse(60);
    assert!(!bench.consensus.is_voting());
    assert!(bench.persisted().is_empty());
}

#[test]
fn r12_a_forged_signature_is_no_proof_of_an_old_disk() {
    let (mut bench, _) = fenced();
    let set = bench.set.clone();
    let mut lie = held(&set, 0, tip(&Block::first(&set, 30)), true);
    if let Some(signature) = &mut lie.signature {
        signature[3] ^= 1;
    }
    bench.answer_fence(0, Some(lie));
    assert!(!is_silenced(&mut bench));
}

#[test]
fn r12_records_of_abstention_are_no_news_to_the_fence() {
    let set = six(64);
    let mut setup = Setup::new(&set, 5);
    setup.restored.lease = Lease {
        lease: Some(w(1)),
        abstain_until: Some(w(1)),
        no_proposals_until: Some(w(1)),
        ..Lease::default()
    };
    let mut bench = setup.start();
    for from in 0..3 {
        bench.answer_fence(from, Some(held(&set, 1, stop(), true)));
    }
    assert!(bench.alarms().is_empty());
    let skips = [0, 1].map(|window| skip_of(&set, window, &[0, 1, 2, 3]));
    bench.certificates(2, skips.to_vec());
    assert!(bench.consensus.is_voting());
}

/// Until it has been judged it may be the one answer that keeps this validator from voting twice.
#[test]
fn r12_an_answer_that_shows_an_old_disk_is_none_before_its_signature_is_judged() {
    let (mut bench, _) = fenced();
    let set = bench.set.clone();
    let news = held(&set, 0, stop(), true);
    for (from, held) in [(0, Some(news)), (1, None), (2, None)] {
        let incarnation = INCARNATION;
        let held = Vec::from_iter(held);
        let answer = Message::FenceAnswer { incarnation, held };
        bench.hear(from, answer);
    }
    assert!(!bench.consensus.is_voting(), "2 of 3 have answered");
    bench.settle();
    assert_eq!(bench.alarms(), [Alarm::DiskOlderThanSent(w(0))]);
    assert!(bench.votes_sent(0).is_empty());
}

#[test]
fn r12_unsigned_answers_show_an_old_disk_by_their_stake() {
    for (liars, is_old_disk) in [(&[2][..], false), (&[0], true), (&[2, 3], true)] {
        let set = five_stakes();
        let block = Block::first(&set, 1);
        let lie = held(&set, 0, tip(&Block::first(&set, 30)), false);
        let mut bench = Setup::new(&set, 4).with_log(tip(&block), &[&block]).start();
        for &from in liars {
            bench.answer_fence(from, Some(lie.clone()));
        }
        assert_eq!(is_silenced(&mut bench), is_old_disk, "{liars:?}");
    }
}

#[test]
fn r12_the_fence_of_a_large_stake_asks_for_less_of_the_others() {
    let set = five_stakes();
    let mut bench = Setup::new(&set, 0).start();
    bench.answer_fence(1, None);
    assert!(!bench.consensus.is_voting(), "25 of 67 - 40");
    bench.answer_fence(3, None);
    assert!(bench.consensus.is_voting(), "35");
}
