//! What is taken and held of a peer (protocol.md 2.9), and what is handed through.

use crate::bench::{Bench, Setup};
use crate::fixtures::{
    Block, certificate, certified, chain, final_of, i, payload_numbered, sign_header, sign_record,
    signed, six, stop, stop_at, tip, v, verdict, w,
};
use quorate_consensus::certificate::{Certificate, Target};
use quorate_consensus::effect::{Alarm, Effect};
use quorate_consensus::input::Input;
use quorate_consensus::limits;
use quorate_consensus::machine::{Disposition, Ignored, PeerFault, TimerConfig};
use quorate_consensus::message::{Get, Message, RecoverAnswer, Vote};
use quorate_consensus::record::Record;
use quorate_consensus::trust::Authenticated;
use quorate_consensus::types::{BlockId, Index};
use quorate_consensus::verify::Claim;

#[test]
fn bounds_records_far_ahead_are_refused() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    assert_eq!(bench.vote(1, 2, stop()), Disposition::Applied);
    let refused = Disposition::Ignored(Ignored::OutOfRange);
    assert_eq!(bench.vote(1, 3, stop()), refused);
    assert_eq!(bench.vote(1, u64::MAX, stop()), refused);
    let block = Block::first(&set, 1).with(|header| header.window = w(3));
    assert_eq!(bench.propose(&block), refused);
}

#[test]
fn bounds_one_pending_record_a_voter_and_the_later_one_replaces_it() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 3, 1);
    bench.propose(&blocks[0]);
    bench.vote(1, 0, tip(&blocks[0]));
    let strange = blocks[0].child(&set, 50);
    let pending = Disposition::Ignored(Ignored::Pending);
    assert_eq!(bench.vote(1, 0, tip(&strange)), pending);
    assert_eq!(bench.vote(1, 0, tip(&blocks[2])), pending);
    bench.headers(2, &[&strange]);
    bench.propose(&blocks[1]);
    bench.propose(&blocks[2]);
    assert!(
        bench.alarms().is_empty(),
        "the replaced one was never counted"
    );
    bench.votes(&[0, 2, 3], 0, &tip(&blocks[2]));
    assert_eq!(bench.finalized().len(), 3, "v1's later record was");
}

#[test]
fn bounds_two_blocks_a_position_are_held_of_a_leader() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    for salt in 1..5 {
        bench.propose(&Block::first(&set, salt));
    }
    let logged = |effect: &&Effect| matches!(effect, Effect::PersistBlock { .. });
    assert_eq!(bench.seen.iter().filter(logged).count(), 2);
    let third = Block::first(&set, 9);
    assert_eq!(bench.propose(&third), Disposition::Ignored(Ignored::Full));
}

#[test]
fn bounds_a_voter_brings_one_branch_of_headers() {
    let set = six(2);
    let mut bench = Bench::new(&set, 5);
    let budget = 2 + 64;
    for salt in 0..budget / 2 {
        let block = Block::first(&set, salt);
        let branch = [&block, &block.child(&set, 1)];
        let disposition = bench.headers(1, &branch);
        assert_eq!(disposition, Disposition::Applied, "{salt}");
    }
    let further = Block::first(&set, budget);
    assert_eq!(
        bench.headers(1, &[&further]),
        Disposition::Ignored(Ignored::Full)
    );
    assert_eq!(
        bench.headers(2, &[&further]),
        Disposition::Applied,
        "another voter's"
    );
}

#[test]
fn bounds_blocks_that_came_early_are_k_at_most() {
    let set = six(4096);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 70, 1);
    for block in &blocks[1..65] {
        assert_eq!(bench.propose(block), Disposition::Ignored(Ignored::Pending));
    }
    assert_eq!(
        bench.propose(&blocks[65]),
        Disposition::Ignored(Ignored::Full)
    );
}

#[test]
fn certificates_are_checked_one_message_a_peer_at_a_time() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).run();
    let block = Block::first(&set, 1);
    let one = Message::Certificates(vec![certified(&set, &block, &[0, 1, 2, 3])]);
    let feed = |bench: &mut Bench, from: u16| {
        bench.feed(Input::Message(Authenticated::assert_authenticated(
            v(from),
            one.clone(),
        )))
    };
    assert_eq!(feed(&mut bench, 1), Disposition::Applied);
    assert_eq!(feed(&mut bench, 1), Disposition::Ignored(Ignored::Full));
    assert_eq!(feed(&mut bench, 2), Disposition::Applied);
}

/// What else the peer has sent is checked meanwhile: a verdict on that makes no room.
#[test]
fn another_verdict_brings_no_second_message_of_certificates_to_the_check() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).run();
    let block = Block::first(&set, 1);
    let certificates = vec![certified(&set, &block, &[0, 1, 2, 3])];
    let vote = signed(&set, 1, 0, stop());
    let of_vote = Message::Vote(Vote {
        epoch: set.epoch(),
        window: w(0),
        record: vote.record.clone(),
        signature: Some(vote.signature),
    });
    let feed = |bench: &mut Bench, message: Message| {
        bench.feed(Input::Message(Authenticated::assert_authenticated(
            v(1),
            message,
        )))
    };
    let answer = |bench: &mut Bench, claim: Claim| {
        let verdict = verdict(&set, v(5), v(1), claim).expect("an answer");
        bench.feed(verdict);
    };
    let of_certificates = Message::Certificates(certificates.clone());
    let full = Disposition::Ignored(Ignored::Full);
    assert_eq!(
        feed(&mut bench, of_certificates.clone()),
        Disposition::Applied
    );
    feed(&mut bench, of_vote);
    assert_eq!(checks_asked(&bench, 1), 2);
    let (window, signed) = (w(0), vote);
    answer(&mut bench, Claim::Record { window, signed });
    assert_eq!(feed(&mut bench, of_certificates), full);
    answer(&mut bench, Claim::Certificates { certificates });
    let next = vec![certified(&set, &block.child(&set, 2), &[0, 1, 2, 3])];
    let next = feed(&mut bench, Message::Certificates(next));
    assert_eq!(next, Disposition::Applied);
}

#[test]
fn a_new_connection_brings_no_second_message_of_certificates_to_the_check() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).run();
    let block = Block::first(&set, 1);
    let one = Message::Certificates(vec![certified(&set, &block, &[0, 1, 2, 3])]);
    let feed = |bench: &mut Bench| {
        bench.feed(Input::Message(Authenticated::assert_authenticated(
            v(1),
            one.clone(),
        )))
    };
    assert_eq!(feed(&mut bench), Disposition::Applied);
    for _ in 0..3 {
        bench.feed(Input::PeerDown(v(1)));
        bench.feed(Input::PeerUp(v(1)));
        assert_eq!(feed(&mut bench), Disposition::Ignored(Ignored::Full));
    }
    // Whatever came of the first one, the next may come.
    let refused = Input::Refused {
        from: v(1),
        own_record: false,
    };
    assert_eq!(
        bench.feed(refused),
        Disposition::Fault(PeerFault::InvalidCertificate)
    );
    assert_eq!(feed(&mut bench), Disposition::Applied);
}

#[test]
fn messages_from_outside_the_set_or_from_itself_are_faults() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    for from in [5, 6, 999] {
        assert_eq!(
            bench.vote(from, 0, stop()),
            Disposition::Fault(PeerFault::Unknown)
        );
    }
}

#[test]
fn messages_of_clients_are_handed_through_unread() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let commands = payload_numbered(3);
    bench.message(2, Message::Forward(commands.clone()));
    let through = |effect: &Effect| match effect {
        Effect::Forwarded {
            from,
            commands: bytes,
        } => *from == v(2) && *bytes == commands,
        _ => false,
    };
    assert!(bench.seen.iter().any(through));
}

#[test]
fn what_is_told_of_signatures_is_handed_through_unread() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let (id, said) = (BlockId::new([9; 32]), payload_numbered(3));
    let message = Message::Abscissas {
        block: id,
        told: said.clone(),
    };
    bench.message(2, message);
    let through = |effect: &Effect| match effect {
        Effect::Abscissas { from, block, told } => (*from, *block) == (v(2), id) && *told == said,
        _ => false,
    };
    assert!(bench.seen.iter().any(through));
}

fn checks_asked(bench: &Bench, of: u16) -> usize {
    let asks = |effect: &&Effect| matches!(effect, Effect::Verify { from, .. } if *from == v(of));
    bench.seen.iter().filter(asks).count()
}

/// Signatures of one peer wait for the workers; those of another are checked meanwhile.
#[test]
fn bounds_a_flood_of_signed_votes_keeps_only_its_own_checks_waiting() {
    let set = six(4096);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 100, 1);
    let max = limits::CHECKS_PER_PEER_MAX as usize;
    let flood = |bench: &mut Bench, from: u16, count: usize| {
        for block in &blocks[..count] {
            let record = tip(block);
            let signature = Some(sign_record(&set, v(from), w(0), &record));
            let vote = Vote {
                epoch: set.epoch(),
                window: w(0),
                record,
                signature,
            };
            let message = Authenticated::assert_authenticated(v(from), Message::Vote(vote));
            bench.feed(Input::Message(message));
        }
    };
    flood(&mut bench, 1, 100);
    flood(&mut bench, 3, 10);
    assert_eq!(
        (checks_asked(&bench, 1), checks_asked(&bench, 3)),
        (max, 10)
    );
    bench.settle();
    bench.forget();
    flood(&mut bench, 1, 5);
    assert_eq!(checks_asked(&bench, 1), 5, "verdicts make room");
}

/// Few claims may be as long as a frame each, and good or bad they wait in memory.
#[test]
fn bounds_claims_of_one_peer_that_wait_are_few_bytes_also_where_each_is_long() {
    let set = six(64);
    let mut setup = Setup::new(&set, 5);
    setup.restored.lease.is_lost = true;
    let mut bench = setup.start();
    let asked = bench.sent().find_map(|(_, message)| match message {
        Message::Recover { nonce } => Some(*nonce),
        _ => None,
    });
    let nonce = asked.expect("all are asked");
    let block = Block::first(&set, 1);
    let long = Certificate {
        headers: vec![block.header; limits::CERTIFICATE_HEADERS_MAX],
        ..final_of(&set, &block, &[0, 1, 2, 3])
    };
    let answer = RecoverAnswer {
        nonce,
        window: w(0),
        certificates: vec![long],
        signature: [1; 64],
    };
    let claim = Claim::RecoverAnswer {
        answerer: v(1),
        answer: answer.clone(),
    };
    let most = limits::CHECKS_BYTES_PER_PEER_MAX / claim.bytes_len();
    assert!(most < 16, "they are long");
    let feed = |bench: &mut Bench, from: u16| {
        let message = Message::RecoverAnswer(answer.clone());
        let message = Authenticated::assert_authenticated(v(from), message);
        bench.feed(Input::Message(message));
    };
    for _ in 0..16 {
        feed(&mut bench, 1);
    }
    feed(&mut bench, 2);
    assert_eq!(
        (checks_asked(&bench, 1), checks_asked(&bench, 2)),
        (most, 1),
        "and nobody else's"
    );
    bench.settle();
    bench.forget();
    feed(&mut bench, 1);
    feed(&mut bench, 1);
    assert_eq!(checks_asked(&bench, 1), 2, "verdicts make room");
}

/// Certified blocks that lie below the end of a window keep out none that its successor stands on.
#[test]
fn bounds_certificates_of_low_blocks_make_room_for_higher_ones() {
    let set = six(4096);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 80, 1);
    let voters = [0, 1, 2, 3];
    for block in &blocks[..79] {
        bench.certificates(1, vec![certified(&set, block, &voters)]);
    }
    let target = Target::Skip { from: i(80) };
    let stopped = stop_at(&blocks[79]);
    let skip = certificate(&set, 0, target, (&voters, &stopped), Vec::new());
    let last = certified(&set, &blocks[79], &voters);
    bench.certificates(2, vec![last, skip]);
    assert_eq!(bench.consensus.window(), w(1));
    bench.message(3, Message::Get(Get::Ready { window: w(1) }));
    let sent = bench.certificates_sent(3);
    assert_eq!(sent[0].len(), 2, "and they can be shown to others");
}

#[test]
fn bounds_a_flood_of_requests_is_answered_a_few_times_a_period() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.votes_signed(&[0, 2, 3, 4], 0, &stop());
    assert_eq!(bench.consensus.window(), w(1));
    bench.lapse(20);
    bench.forget();
    let most = limits::ANSWERS_PER_PERIOD_MAX as usize;
    for _ in 0..3 * most {
        bench.message(3, Message::Get(Get::Ready { window: w(1) }));
    }
    assert_eq!(bench.certificates_sent(3).len(), most);
    bench.message(4, Message::Get(Get::Ready { window: w(1) }));
    assert_eq!(bench.certificates_sent(4).len(), 1, "another's");
    bench.sleep_ns(TimerConfig::laptop().retransmit_ns);
    bench.message(3, Message::Get(Get::Ready { window: w(1) }));
    assert_eq!(bench.certificates_sent(3).len(), most + 1);
}

/// An answer may hold a whole record, of which a question has none.
#[test]
fn bounds_a_flood_of_questions_of_the_fence_is_answered_a_few_times_a_period() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.vote_signed(3, 0, tip(&Block::first(&set, 0)));
    bench.lapse(20);
    bench.forget();
    let answers = |bench: &Bench| {
        let answers = |(_, message): &(_, &Message)| matches!(message, Message::FenceAnswer { .. });
        bench.sent().filter(answers).count()
    };
    let most = limits::ANSWERS_PER_PERIOD_MAX as usize;
    for _ in 0..100 {
        bench.message(3, Message::FenceAsk { incarnation: 7 });
    }
    assert_eq!(answers(&bench), most);
    bench.message(4, Message::FenceAsk { incarnation: 7 });
    assert_eq!(answers(&bench), most + 1, "another's");
    bench.sleep_ns(TimerConfig::laptop().retransmit_ns);
    bench.message(3, Message::FenceAsk { incarnation: 7 });
    assert_eq!(answers(&bench), most + 2, "in the next period again");
}

/// Whoever contradicts itself for ever does not fill the logs of others with the proofs.
#[test]
fn bounds_evidence_against_one_validator_is_told_a_few_times() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.vote_signed(1, 0, tip(&Block::first(&set, 0)));
    for salt in 1..30 {
        bench.vote_signed(1, 0, tip(&Block::first(&set, salt)));
    }
    let told = bench.evidence().len();
    assert_eq!(told, limits::EVIDENCE_PER_VALIDATOR_MAX as usize);
    let again = Message::Evidence(bench.evidence()[0].clone());
    bench.forget();
    assert_eq!(
        bench.message(2, again),
        Disposition::Ignored(Ignored::Stale)
    );
    bench.vote_signed(3, 0, tip(&Block::first(&set, 0)));
    bench.vote_signed(3, 0, tip(&Block::first(&set, 1)));
    assert_eq!(bench.evidence().len(), 1, "another's first");
}

/// The headers of one piece take longer to check than thousands of votes of everybody else.
#[test]
fn bounds_one_piece_of_evidence_of_a_peer_is_checked_at_a_time() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    for salt in 0..2 {
        bench.vote_signed(1, 0, tip(&Block::first(&set, salt)));
    }
    let piece = Message::Evidence(bench.evidence()[0].clone());
    bench.answers.checks = false;
    assert_eq!(bench.message(2, piece.clone()), Disposition::Applied);
    let full = Disposition::Ignored(Ignored::Full);
    assert_eq!(bench.message(2, piece.clone()), full);
    assert_eq!(bench.message(3, piece.clone()), Disposition::Applied);
    bench.finish_checks();
    bench.settle();
    assert_eq!(bench.message(2, piece), Disposition::Applied);
}

#[test]
fn bounds_two_signed_headers_a_position_are_held_of_a_leader() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let mut served = 0;
    for salt in 0..12 {
        // Others between, so that none of the first position is remembered for its rival.
        let first = Block::first(&set, 100 * salt);
        for block in chain(&set, 6, 100 * salt) {
            let header = block.header;
            let signature = sign_header(&set, &header);
            bench.message(3, Message::HeaderSignature { header, signature });
        }
        bench.forget();
        let (index, id) = first.at();
        let get = Get::Headers {
            window: w(0),
            index,
            id,
            above: None,
        };
        bench.message(3, Message::Get(get));
        let answers = |(_, message): &(_, &Message)| matches!(message, Message::Headers { .. });
        served += bench.sent().filter(answers).count();
    }
    assert_eq!(served, usize::from(limits::BLOCKS_PER_POSITION_MAX));
}

#[test]
fn bounds_blocks_that_came_early_are_held_up_to_the_bytes_of_a_pipeline() {
    let set = six(4096);
    let mut bench = Bench::new(&set, 5);
    let body = vec![0; limits::COMMAND_BYTES_MAX];
    let mut blocks = chain(&set, 1, 1);
    for salt in 0..64 {
        blocks.push(blocks[blocks.len() - 1].child(&set, salt).carrying(&body));
    }
    let held = blocks[1..]
        .iter()
        .filter(|block| bench.propose(block) == Disposition::Ignored(Ignored::Pending))
        .count();
    let bytes = |count: usize| count as u64 * u64::from(blocks[1].header.payload_bytes);
    assert!(bytes(held) <= limits::PIPELINE_BYTES && bytes(held + 1) > limits::PIPELINE_BYTES);
}

/// What the leader sends before its parent waits for headers from anybody, not for the leader;
/// and not for all headers of a list.
#[test]
fn r3_a_block_that_came_early_finds_its_place_when_headers_bring_its_parent() {
    let set = six(64);
    let (blocks, elsewhere) = (chain(&set, 2, 1), chain(&set, 3, 9));
    for is_whole in [true, false] {
        let mut bench = Bench::new(&set, 5);
        bench.propose(&blocks[1]);
        bench.vote(1, 0, stop_at(&blocks[0]));
        let headers = [&blocks[0], &elsewhere[2]];
        let taken = bench.headers(1, if is_whole { &headers[..1] } else { &headers });
        assert_eq!(taken == Disposition::Applied, is_whole, "{taken:?}");
        bench.body(1, &blocks[0]);
        assert_eq!(bench.own_record(0).tip, Some(blocks[1].at()), "{is_whole}");
    }
}

/// A signed record that comes again and again, although a later one is held, accuses nobody.
#[test]
fn e2_an_earlier_signed_record_that_comes_late_is_no_evidence() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 3, 1);
    let rival = blocks[0].child(&set, 20);
    bench.branch(3, &[&blocks[0], &blocks[1], &blocks[2], &rival]);
    let newest = Record {
        fin: Some(i(0)),
        also: vec![rival.at()],
        ..stop_at(&blocks[2])
    };
    for record in [newest, tip(&blocks[0]), stop_at(&blocks[2])] {
        bench.vote_signed(1, 0, record);
    }
    assert!(bench.evidence().is_empty() && bench.alarms().is_empty());
    bench.vote_signed(1, 0, tip(&rival));
    assert_eq!(bench.evidence().len(), 1, "the other branch");
}

/// What the newest record names is not known, so that it may stand on both branches; the record
/// before it cannot.
#[test]
fn e2_a_record_that_contradicts_the_one_before_the_newest_is_evidence() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 4, 1);
    let rival = blocks[0].child(&set, 20);
    for (voter, branch) in [(2, [&blocks[0], &blocks[1]]), (3, [&blocks[0], &rival])] {
        bench.vote(voter, 0, tip(branch[1]));
        bench.branch(voter, &branch);
    }
    bench.vote_signed(1, 0, tip(&blocks[1]));
    bench.vote_signed(1, 0, tip(&blocks[3]));
    assert!(bench.evidence().is_empty(), "one may stand on the other");
    bench.vote_signed(1, 0, tip(&rival));
    assert_eq!(bench.evidence().len(), 1);
}

/// Signed fallbacks of one validator for `old` and then for `new`, with these headers known;
/// whether they accuse it.
fn fallbacks_accuse(headers: &[&[&Block]], old: (Index, BlockId), new: (Index, BlockId)) -> bool {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    // Headers are taken of who has voted for them.
    for (voter, branch) in (2..).zip(headers) {
        bench.vote(voter, 0, branch.last().map(|top| tip(top)).expect("blocks"));
        bench.branch(voter, branch);
    }
    for also in [old, new] {
        let also = vec![also];
        bench.vote_signed(1, 0, Record { also, ..stop() });
    }
    !bench.evidence().is_empty()
}

#[test]
fn e2_a_fallback_that_grows_along_its_chain_is_no_evidence_and_another_one_is() {
    let set = six(64);
    let mine = chain(&set, 4, 1);
    let other = mine[0].child(&set, 20);
    let higher = other.child(&set, 21);
    let known: &[&[&Block]] = &[
        &[&mine[0], &mine[1], &mine[2]],
        &[&mine[0], &other, &higher],
    ];
    assert!(!fallbacks_accuse(known, mine[1].at(), mine[2].at()));
    assert!(!fallbacks_accuse(known, mine[0].at(), higher.at()));
    assert!(fallbacks_accuse(known, mine[1].at(), higher.at()));
    assert!(fallbacks_accuse(known, mine[1].at(), other.at()));
    // Without headers another block of the same height is shown by its name alone, and a higher
    // one may stand on the old one.
    assert!(fallbacks_accuse(&[], mine[1].at(), other.at()));
    assert!(!fallbacks_accuse(&[], mine[1].at(), higher.at()));
}

fn bodies_logged(bench: &Bench) -> usize {
    let logged = |effect: &&Effect| matches!(effect, Effect::PersistBlock { .. });
    bench.seen.iter().filter(logged).count()
}

/// Headers are taken of whoever names them, W + K of each peer and window: were their bodies taken
/// too, one validator could fill the logs of all.
#[test]
fn bounds_a_body_that_nobody_stands_behind_is_not_logged() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let forged = chain(&set, 3, 30);
    bench.headers(1, &[&forged[0], &forged[1], &forged[2]]);
    for block in &forged {
        let taken = bench.body(1, block);
        assert_eq!(taken, Disposition::Ignored(Ignored::Unasked));
    }
    bench.vote(1, 0, tip(&forged[2]));
    bench.body(1, &forged[0]);
    assert_eq!(bodies_logged(&bench), 0, "its own vote is not enough");
    bench.vote(2, 0, tip(&forged[1]));
    for (block, wanted) in forged.iter().zip([true, true, false]) {
        let taken = bench.body(1, block) == Disposition::Applied;
        assert_eq!(taken, wanted);
    }
    assert_eq!(bodies_logged(&bench), 2);
}

/// Two blocks a position are stored of a leader, whichever way it sends them.
#[test]
fn bounds_a_leader_has_two_bodies_a_position_stored_of_blocks_that_it_sends_as_asked_for() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let blocks: Vec<Block> = (0..5).map(|salt| Block::first(&set, salt)).collect();
    for block in &blocks {
        bench.headers(0, &[block]);
        bench.body(0, block);
    }
    assert_eq!(bodies_logged(&bench), 2);
    assert_eq!(bench.alarms(), [Alarm::TwoBlocks(v(0))]);
}

#[test]
fn bounds_a_flood_of_requests_for_headers_is_answered_a_few_times_a_period() {
    let set = six(64);
    let mut bench = Setup::new(&set, 5).patient().run();
    let block = Block::first(&set, 1);
    bench.propose(&block);
    let (index, id) = block.at();
    let get = Get::Headers {
        window: w(0),
        index,
        id,
        above: None,
    };
    let served = |bench: &Bench| {
        let answers = |(_, message): &(_, &Message)| matches!(message, Message::Headers { .. });
        bench.sent().filter(answers).count()
    };
    let most = limits::ANSWERS_PER_PERIOD_MAX as usize;
    for _ in 0..3 * most {
        bench.message(3, Message::Get(get.clone()));
    }
    assert_eq!(served(&bench), most);
    bench.message(4, Message::Get(get));
    assert_eq!(served(&bench), most + 1, "another's");
}

/// Whoever sends one of them again and again leaves room for the others.
#[test]
fn bounds_a_block_that_came_early_is_held_once() {
    let set = six(4096);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 65, 1);
    let pending = Disposition::Ignored(Ignored::Pending);
    for _ in 0..2 * limits::PIPELINE_BLOCKS {
        assert_eq!(bench.propose(&blocks[1]), pending);
    }
    for block in &blocks[2..] {
        assert_eq!(bench.propose(block), pending);
    }
    bench.propose(&blocks[0]);
    assert_eq!(bench.own_record(0), tip(&blocks[64]));
}

/// Each costs a check of certificates: a leader could have any number of them made.
#[test]
fn bounds_what_a_leader_sends_along_with_first_blocks_is_checked_twice_a_window() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    bench.forget();
    for salt in 1..6 {
        let parent = Block::first(&set, salt);
        // Of too little stake: what is checked once leaves the next one unknown.
        let justification = vec![certified(&set, &parent, &[0])];
        bench.propose_from(1, &parent.opening(&set, 1, 7), justification);
    }
    let most = usize::from(limits::BLOCKS_PER_POSITION_MAX);
    assert_eq!(checks_asked(&bench, 1), most);
}

#[test]
fn bounds_four_signed_headers_are_held_of_a_leader() {
    let set = six(64);
    let mut bench = Bench::new(&set, 5);
    let blocks = chain(&set, 6, 1);
    let bring = |bench: &mut Bench, block: &Block| {
        let header = block.header;
        let signature = sign_header(&set, &header);
        bench.message(3, Message::HeaderSignature { header, signature })
    };
    for block in &blocks {
        assert_eq!(bring(&mut bench, block), Disposition::Applied);
    }
    for block in &blocks[2..] {
        let held = Disposition::Ignored(Ignored::Stale);
        assert_eq!(bring(&mut bench, block), held, "the newest");
    }
    assert_eq!(bring(&mut bench, &blocks[1]), Disposition::Applied);
}
