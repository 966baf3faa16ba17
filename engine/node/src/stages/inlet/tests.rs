//! Whom the loop takes commands from, when some of them find no room.

use super::*;
use crate::lanes::{Lanes, LanesConfig};
use crate::node::Asker;
use crate::testing::sample_genesis;
use crossbeam::channel::bounded;

const NS: u64 = 1_000_000;

struct Fixture {
    inlet: Arc<Inlet>,
    reader: InletReader,
    asker: Asker,
    metrics: Metrics,
}

impl Fixture {
    fn new() -> Self {
        let (genesis, _) = sample_genesis(4);
        let inlet = Arc::new(Inlet::new(&genesis, Arc::new(CommandAuth::session())));
        let links = quorate_net::ClientLinks::new(quorate_net::Limits::default()).unwrap();
        let (control, _) = bounded(4);
        Self {
            reader: InletReader::new(Arc::clone(&inlet)),
            asker: Asker::new(control, links.waker()),
            inlet,
            metrics: Metrics::default(),
        }
    }

    /// A session that is open and has applied number 1.
    fn session(&self, key: u8) -> EmbeddedSession {
        let at = SessionAt::Open { seq_last: 1 };
        EmbeddedSession::new(Arc::clone(&self.inlet), self.asker.clone(), [key; 32], at)
    }

    /// One turn of the loop: what it offers to `judge`, which answers.
    fn take(&mut self, mut judge: impl FnMut(SessionId, u64) -> Verdict) -> Vec<(SessionId, u64)> {
        let (mut verdicts, mut offered) = (Vec::new(), Vec::new());
        let submit = |entry: &[u8], verdicts: &mut Vec<CommandVerdict>| {
            for view in payload::parse_entries(entry)? {
                let (session, seq) = (SessionId(*view.session), view.seq);
                offered.push((session, seq));
                let verdict = judge(session, seq);
                verdicts.push(CommandVerdict {
                    session,
                    seq,
                    verdict,
                });
            }
            Ok(())
        };
        self.reader.take(&self.metrics, &mut verdicts, submit);
        offered
    }
}

fn order(session: &mut EmbeddedSession) {
    let admission = session.submit(Lane::Order, b"order");
    assert!(matches!(admission, Admission::Accepted { .. }));
}

fn cancel(session: &mut EmbeddedSession) {
    let admission = session.submit(Lane::Cancel, b"cancel");
    assert!(matches!(admission, Admission::Accepted { .. }));
}

const NO_ROOM: Verdict = Verdict::Busy {
    retry_after_us: 200,
};

/// In a pool with room for eight, of which orders may take seven.
#[test]
fn a_cancel_passes_another_session_s_order_that_finds_no_room_in_the_pool() {
    let mut fixture = Fixture::new();
    let config = LanesConfig {
        commands_max: 8,
        ..LanesConfig::new(16, NS)
    };
    let mut lanes = Lanes::new(config);
    let mut sessions = [1, 2].map(|key| fixture.session(key));
    sessions
        .iter()
        .for_each(|one| lanes.restore_session(one.id(), 1));
    let turn = |fixture: &mut Fixture, lanes: &mut Lanes| {
        let mut verdicts = Vec::new();
        let submit = |entry: &[u8], verdicts: &mut Vec<CommandVerdict>| {
            lanes.submit((NS, NS), None, entry, verdicts, &mut Vec::new())
        };
        fixture.reader.take(&fixture.metrics, &mut verdicts, submit)
    };
    (0..8).for_each(|_| order(&mut sessions[0]));
    assert_eq!(turn(&mut fixture, &mut lanes), 7, "one is held");
    assert!(!fixture.reader.is_empty());
    cancel(&mut sessions[1]);
    assert_eq!(turn(&mut fixture, &mut lanes), 1);
    assert_eq!(lanes.len(), 8, "it is in the pool");
}

#[test]
fn a_cancel_stands_before_all_orders_of_others_and_behind_those_of_its_own_session() {
    let mut fixture = Fixture::new();
    let [mut flood, mut other] = [1, 2].map(|key| fixture.session(key));
    for _ in 0..2 * COMMANDS_PER_TURN {
        order(&mut flood);
    }
    cancel(&mut flood);
    order(&mut other);
    cancel(&mut other);
    let accept = |_, _| Verdict::Accepted;
    let offered = fixture.take(accept);
    assert_eq!(offered.len(), COMMANDS_PER_TURN);
    assert!(fixture.reader.has_more());
    // One order of each, and then the cancel that was behind one of them.
    let [flood, other] = [flood.id(), other.id()];
    assert_eq!(offered[..3], [(flood, 2), (other, 2), (other, 3)]);
    let numbers = |all: &[(SessionId, u64)]| {
        let own = all.iter().filter(|(session, _)| *session == flood);
        own.map(|(_, seq)| *seq).collect::<Vec<_>>()
    };
    let mut all = numbers(&offered);
    while !fixture.reader.is_empty() {
        all.extend(numbers(&fixture.take(accept)));
    }
    let end = 2 + 2 * COMMANDS_PER_TURN as u64;
    assert_eq!(all, (2..=end).collect::<Vec<_>>(), "in its own order");
    fixture.take(accept);
    assert!(!fixture.reader.has_more());
}

/// As behind a number that is missing, while what waits for one has no room.
#[test]
fn a_session_whose_commands_find_no_room_holds_up_and_fills_up_nothing_of_another() {
    let mut fixture = Fixture::new();
    let [mut held, mut other] = [1, 2].map(|key| fixture.session(key));
    let held_id = held.id();
    let judge = |session, _| match session == held_id {
        true => NO_ROOM,
        false => Verdict::Accepted,
    };
    let mut accepted = 0;
    while matches!(
        held.submit(Lane::Order, b"order"),
        Admission::Accepted { .. }
    ) {
        accepted += 1;
        if accepted % 1_000 == 0 {
            assert_eq!(fixture.take(judge), [(held_id, 2)]);
        }
    }
    for lane in [Lane::Order, Lane::Price, Lane::Cancel] {
        let admission = other.submit(lane, b"");
        assert!(matches!(admission, Admission::Accepted { .. }));
    }
    let own = |(session, _): &&(SessionId, u64)| *session != held_id;
    assert_eq!(fixture.take(judge).iter().filter(own).count(), 3);
    assert_eq!(fixture.take(judge), [(held_id, 2)], "once a turn");
    // What has gone makes room.
    fixture.take(|_, _| Verdict::Accepted);
    order(&mut held);
}

#[test]
fn many_sessions_that_find_no_room_are_tried_in_turn_some_of_them_in_each() {
    let mut fixture = Fixture::new();
    let count = BUSY_PER_TURN as u8 + 10;
    let mut sessions: Vec<_> = (0..count).map(|key| fixture.session(key)).collect();
    sessions.iter_mut().for_each(order);
    let mut offered = fixture.take(|_, _| NO_ROOM);
    assert_eq!(offered.len(), BUSY_PER_TURN);
    assert!(!fixture.reader.has_more(), "nothing that goes on by itself");
    offered.extend(fixture.take(|_, _| NO_ROOM));
    offered.truncate(sessions.len());
    offered.sort_unstable();
    offered.dedup();
    assert_eq!(offered.len(), sessions.len(), "each had its turn");
}

/// On a full disk heartbeats find no room either, and they are cancels to the pool.
#[test]
fn a_turn_of_cancels_that_find_no_room_calls_for_no_other_one() {
    let mut fixture = Fixture::new();
    let count = u16::try_from(COMMANDS_PER_TURN).unwrap() + 10;
    let named = |number: u16| {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_le_bytes());
        let at = SessionAt::Open { seq_last: 1 };
        EmbeddedSession::new(Arc::clone(&fixture.inlet), fixture.asker.clone(), key, at)
    };
    let mut sessions: Vec<_> = (0..count).map(named).collect();
    for session in &mut sessions {
        let admission = session.submit(Lane::Cancel, b"");
        assert!(matches!(admission, Admission::Accepted { .. }));
    }
    assert_eq!(fixture.take(|_, _| NO_ROOM).len(), COMMANDS_PER_TURN);
    assert!(!fixture.reader.has_more(), "nothing that goes on by itself");
    fixture.take(|_, _| Verdict::Accepted);
    assert!(fixture.reader.has_more());
}
