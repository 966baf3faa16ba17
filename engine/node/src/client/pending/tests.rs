//! The queue against validators that lose, refuse and finalize.

use super::*;
use quorate_consensus::payload::{FLAG_OPEN, FLAG_SESSION, parse_entries};
use std::sync::atomic::{AtomicU64, Ordering};

/// A time of day, and the number of an opening made then.
pub(super) const BASE: u64 = 1_700_000_000_000_000_000;

/// All that can come of an entry which was not applied.
pub(super) const NOT_APPLIED: [Outcome; 6] = [
    Outcome::Gap,
    Outcome::TableFull,
    Outcome::BadSignature,
    Outcome::SessionEnded,
    Outcome::OpeningTooOld,
    Outcome::OpeningTooFarAhead,
];

pub(super) struct Fixture {
    pub(super) pending: Pending,
    pub(super) now: Instant,
    wall_ns: Arc<AtomicU64>,
}

impl Fixture {
    pub(super) fn with(commands: u64) -> Self {
        let now = Instant::now();
        let key = Arc::new(KeyPair::from_seed(&[5; 32]));
        let wall_ns = Arc::new(AtomicU64::new(BASE));
        let read = Arc::clone(&wall_ns);
        let wall = Wall::read_by(move || read.load(Ordering::Relaxed));
        let messages = Arc::new(CommandMessages::session());
        let mut pending = Pending::new(key, messages, wall, (false, now));
        // Numbers from 1 on, whatever the time is.
        pending.start_behind(0);
        for seq in 1..=commands {
            assert_eq!(pending.push(Lane::Order, &seq.to_le_bytes(), now), seq);
        }
        Self {
            pending,
            now,
            wall_ns,
        }
    }

    /// A session that is to be opened, for which this many commands wait.
    pub(super) fn unopened(commands: u64) -> Self {
        let mut fixture = Self::with(0);
        assert!(fixture.pending.open_behind(0));
        for seq in 1..=commands {
            assert_eq!(fixture.push(BASE + seq), BASE + seq);
        }
        fixture
    }

    /// Adds a command whose body is `body`.
    pub(super) fn push(&mut self, body: u64) -> u64 {
        let now = self.now;
        self.pending.push(Lane::Order, &body.to_le_bytes(), now)
    }

    pub(super) fn set_wall(&self, ns: u64) {
        self.wall_ns.store(ns, Ordering::Relaxed);
    }

    pub(super) fn told(&mut self, seq: u64, outcome: Outcome, whose: Whose) -> Change {
        self.pending.on_result(seq, (outcome, whose), self.now)
    }

    /// Sends one Submit; the numbers in it.
    pub(super) fn send(&mut self) -> Vec<u64> {
        let mut frame = Vec::new();
        let count = self.pending.write_submit(self.now, &mut frame);
        if count == 0 {
            return Vec::new();
        }
        self.pending.mark_sent(count);
        seqs_of(&frame)
    }

    /// The same when so much time has passed.
    fn send_after(&mut self, pause: Duration) -> Vec<u64> {
        self.now += pause;
        self.pending.run_again(self.now);
        self.send()
    }

    pub(super) fn verdict(&mut self, seq_first: u64, count: u32, verdict: Verdict) -> Change {
        self.pending.on_verdict(
            VerdictRun {
                seq_first,
                count,
                verdict,
            },
            self.now,
        )
    }

    pub(super) fn applied(&mut self, seq: u64) -> Change {
        self.told(seq, Outcome::Applied, Whose::Own)
    }
}

/// The numbers in a Submit. It is read by hand, since no validator takes number 1 where it does not
/// open its session.
fn seqs_of(frame: &[u8]) -> Vec<u64> {
    let (mut at, mut seqs) = (8, Vec::new());
    while at < frame.len() {
        let field = |from: usize, bytes: usize| {
            let mut number = [0; 8];
            number[..bytes].copy_from_slice(&frame[at + from..][..bytes]);
            u64::from_le_bytes(number)
        };
        let (flags, bytes, seq) = (field(2, 2), field(4, 4) as usize, field(24, 8));
        let body = &frame[at + 32..][..bytes];
        // Number 1 is flagged as an opening by whoever encodes it.
        if seq == 1 || flags & u64::from(FLAG_OPEN) == 0 {
            assert_eq!(body, seq.to_le_bytes(), "the body belongs to its number");
        } else {
            let heartbeat = u64::from(FLAG_OPEN | FLAG_SESSION);
            assert_eq!((flags, bytes), (heartbeat, 33), "nothing to be done twice");
        }
        seqs.push(seq);
        at += 32 + bytes;
    }
    seqs
}

/// What the own command of a session that was not opened here comes to.
const fn finalized(passed: u64) -> Change {
    Change::Finalized {
        passed,
        are_own: false,
        whose: Whose::Own,
    }
}

#[test]
fn what_a_session_says_of_itself_waits_behind_no_orders() {
    let mut fixture = Fixture::unopened(0);
    let (mut told, now) = (Vec::new(), fixture.now);
    for command in [
        SessionCommand::Timeout(1_000_000_000),
        SessionCommand::Heartbeat,
        SessionCommand::Close,
    ] {
        fixture.pending.push_session(command, now);
    }
    for _ in 0..2 {
        let mut frame = Vec::new();
        let count = fixture.pending.write_submit(now, &mut frame);
        fixture.pending.mark_sent(count);
        let commands = parse_entries(&frame[8..]).expect("entries");
        told.extend(commands.map(|view| (view.lane, view.is_open(), view.is_session())));
        fixture.applied(BASE);
    }
    // Sessions cost nothing to open, so that openings find no room that orders do not.
    let opening = (wire_lane(Lane::Order), true, true);
    let own = (wire_lane(Lane::Cancel), false, true);
    assert_eq!(told, [opening, own, own, own]);
}

#[test]
fn all_that_waits_is_sent_once_in_one_frame() {
    let mut fixture = Fixture::with(5);
    assert_eq!(fixture.send(), [1, 2, 3, 4, 5]);
    assert!(fixture.send().is_empty());
    fixture
        .pending
        .push(Lane::Cancel, &6_u64.to_le_bytes(), fixture.now);
    assert_eq!(fixture.send(), [6]);
}

#[test]
fn another_connection_gets_everything_that_is_not_final_with_the_same_numbers() {
    let mut fixture = Fixture::with(5);
    fixture.send();
    assert_eq!(fixture.verdict(1, 5, Verdict::Accepted), Change::None);
    assert_eq!(fixture.applied(1), finalized(0));
    assert_eq!(fixture.applied(2), finalized(0));
    fixture.pending.rewind();
    assert_eq!(fixture.send(), [3, 4, 5]);
}

#[test]
fn busy_holds_back_what_was_refused_and_all_that_follows() {
    let mut fixture = Fixture::with(5);
    fixture.send();
    fixture.verdict(1, 2, Verdict::Accepted);
    fixture.verdict(
        3,
        1,
        Verdict::Busy {
            retry_after_us: 500,
        },
    );
    assert!(fixture.send().is_empty(), "not before the time");
    fixture.now += Duration::from_micros(500);
    assert_eq!(fixture.send(), [3, 4, 5]);
}

#[test]
fn a_result_seen_late_tells_of_those_before_it() {
    let mut fixture = Fixture::with(5);
    fixture.send();
    assert_eq!(fixture.applied(4), finalized(3));
    assert_eq!(
        fixture.applied(4),
        Change::None,
        "a second time nothing happens"
    );
    assert_eq!(fixture.pending.len(), 1);
}

#[test]
fn what_is_finalized_before_it_was_sent_here_is_not_sent() {
    let mut fixture = Fixture::with(3);
    fixture.send();
    fixture.pending.rewind();
    assert_eq!(fixture.applied(2), finalized(1));
    assert_eq!(fixture.send(), [3]);
}

#[test]
fn a_gap_sends_everything_again_from_the_first() {
    let mut fixture = Fixture::with(3);
    fixture.send();
    assert_eq!(fixture.told(3, Outcome::Gap, Whose::Own), Change::None);
    assert_eq!(fixture.send_after(GAP_RETRY_MIN), [1, 2, 3]);
}

/// A leader makes it of any command that it was sent, in each block.
#[test]
fn however_often_a_command_comes_to_a_gap_all_are_sent_again_seldom_and_new_ones_at_once() {
    let gap = |fixture: &mut Fixture, seq| {
        assert_eq!(fixture.told(seq, Outcome::Gap, Whose::Own), Change::None);
    };
    let mut fixture = Fixture::with(3);
    fixture.send();
    let mut pause = GAP_RETRY_MIN;
    for seq in 4..12 {
        gap(&mut fixture, 2);
        assert_eq!(fixture.pending.again_at(), Some(fixture.now + pause));
        gap(&mut fixture, 3);
        fixture.push(seq);
        assert_eq!(fixture.send(), [seq], "it does not wait for that");
        assert!(fixture.send_after(pause - RETRY_MIN).is_empty());
        gap(&mut fixture, 3);
        let all: Vec<u64> = (1..=seq).collect();
        assert_eq!(fixture.send_after(RETRY_MIN), all);
        pause = (pause * 2).min(RETRY_MAX);
    }
    assert_eq!(pause, RETRY_MAX);
    // Those that become final are there, and so are those behind them.
    gap(&mut fixture, 3);
    fixture.applied(1);
    assert_eq!(fixture.pending.again_at(), None);
    assert!(fixture.send_after(RETRY_MAX).is_empty());
    gap(&mut fixture, 3);
    assert_eq!(fixture.send_after(GAP_RETRY_MIN).first(), Some(&2));
    // Another connection gets all at once, and once.
    gap(&mut fixture, 3);
    fixture.pending.rewind();
    assert_eq!(fixture.send().first(), Some(&2));
    assert!(fixture.send_after(RETRY_MAX).is_empty());
}

/// Each such entry costs its maker some hundred bytes.
#[test]
fn what_another_s_entry_came_to_sends_nothing_again() {
    for outcome in NOT_APPLIED {
        let mut fixture = Fixture::with(3);
        fixture.send();
        for seq in 1..=3 {
            let change = fixture.told(seq, outcome, Whose::Another);
            assert_eq!(change, Change::None, "{outcome:?}");
        }
        assert!(fixture.send_after(RETRY_MAX).is_empty(), "{outcome:?}");
        assert_eq!(fixture.pending.waiting(), 1..4);
        // One that did nothing for want of those before it is sent again with them.
        fixture.told(2, Outcome::Gap, Whose::Own);
        assert_eq!(fixture.send_after(GAP_RETRY_MIN), [1, 2, 3]);
    }
}

#[test]
fn a_rejection_frees_its_number_and_those_behind_it() {
    let mut fixture = Fixture::with(5);
    fixture.send();
    let change = fixture.verdict(4, 1, Verdict::Rejected(Rejection::TooLarge));
    let rejection = Rejection::TooLarge;
    assert_eq!(
        change,
        Change::Dropped {
            seq_first: 4,
            unsure: 1,
            count: 2,
            rejection
        }
    );
    let seq = fixture
        .pending
        .push(Lane::Order, &4_u64.to_le_bytes(), fixture.now);
    assert_eq!(seq, 4);
    assert_eq!(fixture.send(), [4]);
}

/// What stands behind the other process's command may be ready to follow it.
#[test]
fn a_conflict_is_offered_again_and_nothing_behind_it_is_forgotten() {
    let mut fixture = Fixture::with(3);
    fixture.send();
    let change = fixture.verdict(2, 1, Verdict::Rejected(Rejection::Conflict));
    assert_eq!((change, fixture.pending.len()), (Change::None, 3));
    fixture.now += Duration::from_millis(19);
    assert!(fixture.send().is_empty(), "not at once");
    fixture.now += Duration::from_millis(1);
    assert_eq!(fixture.send(), [2, 3]);
    assert_eq!(
        fixture.told(2, Outcome::Applied, Whose::Another),
        Change::Finalized {
            passed: 1,
            are_own: false,
            whose: Whose::Another,
        }
    );
    assert_eq!(fixture.pending.len(), 1);
}

#[test]
fn numbers_too_far_ahead_start_over_and_a_stopping_validator_is_left() {
    let mut fixture = Fixture::with(3);
    fixture.send();
    fixture.verdict(2, 2, Verdict::Rejected(Rejection::TooFarAhead));
    fixture.now += RETRY_MIN;
    assert_eq!(fixture.send(), [1, 2, 3]);
    let change = fixture.verdict(1, 3, Verdict::Rejected(Rejection::Stopping));
    assert_eq!(change, Change::Leave);
    assert_eq!(fixture.pending.len(), 3, "nothing is lost");
}

#[test]
fn verdicts_on_numbers_that_were_never_sent_move_nothing() {
    let mut fixture = Fixture::with(3);
    fixture.send();
    for seq in [0, 4, u64::MAX] {
        let change = fixture.verdict(seq, u32::MAX, Verdict::Busy { retry_after_us: 9 });
        assert_eq!(change, Change::None);
        assert_eq!(fixture.applied(seq), Change::None);
    }
}

#[test]
fn a_session_goes_on_behind_its_last_applied_command() {
    let mut fixture = Fixture::with(0);
    assert!(fixture.pending.start_behind(41));
    assert_eq!(
        fixture
            .pending
            .push(Lane::Order, &42_u64.to_le_bytes(), fixture.now),
        42
    );
    assert!(
        !fixture.pending.start_behind(7),
        "not while something waits"
    );
    assert_eq!(fixture.send(), [42]);
}

/// A validator that loses, refuses and finalizes at random: every command is finalized once.
#[test]
fn nothing_is_lost_or_made_twice_whatever_is_refused() {
    let mut fixture = Fixture::with(0);
    let mut random = 1_u64;
    let mut held: std::collections::BTreeSet<u64> = std::collections::BTreeSet::new();
    let mut applied = 0;
    let mut made = 0;
    for _ in 0..20_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        match (random >> 33) % 7 {
            0 | 1 if made < 2_000 => {
                made += 1;
                let now = fixture.now;
                assert_eq!(
                    fixture
                        .pending
                        .push(Lane::Order, &u64::to_le_bytes(made), now),
                    made
                );
            }
            2 => {
                for seq in fixture.send() {
                    if random & 8 == 0 {
                        held.insert(seq);
                    } else {
                        fixture.verdict(seq, 1, Verdict::Busy { retry_after_us: 1 });
                        break;
                    }
                }
            }
            3 => fixture.now += RETRY_MIN,
            4 if random & 16 == 0 => {
                held.clear();
                fixture.pending.rewind();
            }
            _ => {
                if held.remove(&(applied + 1)) {
                    applied += 1;
                    assert_eq!(fixture.applied(applied), finalized(0));
                }
            }
        }
        assert_eq!(fixture.pending.len() as u64, made - applied);
    }
    assert!(applied > 500, "only {applied} of {made}");
}

#[test]
fn after_a_refusal_less_is_sent_at_one_time_and_more_again_as_commands_become_final() {
    let mut fixture = Fixture::with(2_000);
    let first = fixture.send();
    assert_eq!(first.len(), 2_000, "nobody was ever refused");
    let busy = Verdict::Busy { retry_after_us: 0 };
    fixture.verdict(1, 1_000, Verdict::Accepted);
    fixture.verdict(1_001, 600, busy);
    // Another answer to the same sending cuts nothing more.
    fixture.verdict(1_601, 400, busy);
    fixture.now += RETRY_MIN;
    // 1,000 were taken, so 750 are to be on their way: nothing is to be looked at before a result.
    assert!(fixture.send().is_empty());
    assert!(fixture.pending.unsent() > 0 && !fixture.pending.has_sendable());
    fixture.applied(250);
    assert!(fixture.pending.has_sendable());
    let more = fixture.send();
    assert_eq!(more.first(), Some(&1_001));
    assert!((1..=60).contains(&more.len()), "{}", more.len());
    fixture.applied(more[more.len() - 1]);
    let last = fixture.send();
    assert!((750..1_000).contains(&last.len()), "{}", last.len());
}

/// It is looked up for each result that somebody tells, so it is not worked out from bytes then.
#[test]
fn a_command_keeps_its_mark_while_those_before_it_become_final_and_its_bytes_are_moved() {
    let mut fixture = Fixture::with(100);
    let mut frame = Vec::new();
    assert_eq!(fixture.pending.write_submit(fixture.now, &mut frame), 100);
    fixture.pending.mark_sent(100);
    // Behind the frame's header each is 32 bytes and its body.
    let entries: Vec<&[u8]> = frame[8..].chunks(40).collect();
    for (seq, entry) in (1..).zip(&entries) {
        for (later, entry) in (seq..).zip(&entries[entries.len() - fixture.pending.len()..]) {
            assert_eq!(fixture.pending.mark(later), Mark::of(entry));
        }
        assert_eq!(fixture.pending.mark(seq), Mark::of(entry));
        fixture.applied(seq);
    }
    assert_eq!(
        fixture
            .pending
            .push(Lane::Order, b"another one", fixture.now),
        101
    );
    assert_eq!(fixture.pending.mark(101), Mark::of(&fixture.pending.bytes));
}

#[test]
fn a_number_given_anew_is_no_more_in_doubt_than_any_that_was_never_sent() {
    let mut fixture = Fixture::with(5);
    fixture.send();
    fixture.pending.rewind();
    fixture.send();
    fixture.verdict(2, 1, Verdict::Rejected(Rejection::TooLarge));
    assert_eq!([fixture.push(2), fixture.push(3)], [2, 3]);
    let ended = Change::Ended {
        seq_first: 1,
        unsure: 1,
        not_applied: 2,
    };
    assert_eq!(fixture.told(1, Outcome::SessionEnded, Whose::Own), ended);
}

#[test]
fn a_validator_s_time_to_get_on_begins_with_the_first_command_that_waits() {
    let mut fixture = Fixture::with(0);
    fixture.now += Duration::from_secs(10);
    let began_at = fixture.now;
    fixture.push(1);
    assert_eq!(fixture.pending.progressed_at(), began_at, "not while idle");
    fixture.now += Duration::from_secs(1);
    fixture.push(2);
    assert_eq!(fixture.pending.progressed_at(), began_at, "one waits");
}
