//! The queue against validators that lose, refuse and finalize.

use super::*;
use crate::client_wire::ClientFrame;

struct Fixture {
    pending: Pending,
    now: Instant,
}

impl Fixture {
    fn with(commands: u64) -> Self {
        let now = Instant::now();
        let key = Arc::new(KeyPair::from_seed(&[5; 32]));
        let wall = Wall { at: now, ns: 1 };
        let mut pending = Pending::new(key, Arc::new(CommandMessages::session()), wall);
        for seq in 1..=commands {
            assert_eq!(pending.push(Lane::Order, &seq.to_le_bytes(), now), seq);
        }
        Self { pending, now }
    }

    /// Sends one Submit; the numbers in it.
    fn send(&mut self) -> Vec<u64> {
        let mut frame = Vec::new();
        let count = self.pending.write_submit(self.now, &mut frame);
        if count == 0 {
            return Vec::new();
        }
        self.pending.mark_sent(count);
        let Ok(ClientFrame::Submit { commands, .. }) = ClientFrame::decode(&frame) else {
            panic!("not a Submit");
        };
        commands
            .map(|command| {
                let body = command.body;
                let body = if command.is_open() { &body[32..] } else { body };
                assert_eq!(
                    body,
                    command.seq.to_le_bytes(),
                    "the body belongs to its number"
                );
                command.seq
            })
            .collect()
    }

    fn verdict(&mut self, seq_first: u64, count: u32, verdict: Verdict) -> Change {
        self.pending.on_verdict(
            VerdictRun {
                seq_first,
                count,
                verdict,
            },
            self.now,
        )
    }

    fn applied(&mut self, seq: u64) -> Change {
        self.pending.on_result(seq, Outcome::Applied, self.now)
    }
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
    assert_eq!(fixture.applied(1), Change::Finalized { passed: 0 });
    assert_eq!(fixture.applied(2), Change::Finalized { passed: 0 });
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
    assert_eq!(fixture.applied(4), Change::Finalized { passed: 3 });
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
    assert_eq!(fixture.applied(2), Change::Finalized { passed: 1 });
    assert_eq!(fixture.send(), [3]);
}

#[test]
fn a_gap_sends_everything_again_from_the_first() {
    let mut fixture = Fixture::with(3);
    fixture.send();
    assert_eq!(
        fixture.pending.on_result(3, Outcome::Gap, fixture.now),
        Change::None
    );
    assert_eq!(fixture.send(), [1, 2, 3]);
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
        assert_eq!(
            fixture
                .pending
                .on_result(seq, Outcome::Applied, fixture.now),
            Change::None
        );
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
                    assert!(matches!(
                        fixture.applied(applied),
                        Change::Finalized { passed: 0 }
                    ));
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
