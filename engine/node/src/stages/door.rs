//! What a client's submission passes before anything costly is done with it.
//!
//! Owns the rate of every session in every lane, and the refusal of what would find no room: both
//! are answered on the net thread, before a signature is checked and before anything is queued. Who
//! goes on sending before the time it was told is not read from until then, so that a flood waits
//! in its own socket. Never: the pool, whose word is final.
//!
//! A session's numbers have no gaps, so once one command of a submission is refused all behind it
//! are: they would wait for it. Lanes have rates of their own: however many orders a session has
//! sent, its next command is let through when it is a cancel.
//!
//! Openings have one rate for all sessions: keys cost nothing, so that a rate of each would bound
//! nothing, and each takes a place in the chain's table for an hour. Of that rate one session takes
//! a few at once and one in a while: it needs no more, whether they open it or not.
//!
//! What is remembered is bounded, and nobody's use of a rate is forgotten before it is over: with
//! other keys nobody gets a limit back, neither the own one nor somebody else's.

use crate::config::RateConfig;
use crate::lanes::{CommandVerdict, Verdict};
use crate::state_machine::{SessionId, SessionMap};
use quorate_consensus::payload::{CommandView, Commands, Lane};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Sessions whose rates are remembered at most. One whose rates are all full again is forgotten for
/// another one, about the one that is so for longest; that changes nothing for it.
const SESSIONS_MAX: usize = 65_536;
/// Sessions that are looked at for one that may be forgotten, for one submission.
const LOOKS_MAX: usize = 64;
/// Shortest time after which a session beyond its rate may come again, so that more than one
/// command is let through then.
const RETRY_NS_MIN: u64 = 10_000_000;
/// How much longer than it was told a session may take to send a refused number again, before what
/// comes behind it is let through: it may have become final elsewhere.
const MISSING_NS: u64 = 1_000_000_000;
/// Time of one opening of the same session, and how many of them may come at once.
const OPENING_OWN_NS: u64 = 15_000_000_000;
const OPENINGS_OWN: u64 = 4;
/// Longest time in which a session is not read from.
const HOLD_NS_MAX: u64 = 200_000_000;

/// Which commands would find no room now, and after how many microseconds they may come again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// Those of the cancel lane; none: there is room.
    pub(crate) cancels_hold_us: Option<u32>,
    /// Those of the lanes of prices and administration; none: there is room.
    pub(crate) urgent_hold_us: Option<u32>,
    /// Those of the order lane; none: there is room.
    pub(crate) orders_hold_us: Option<u32>,
}

/// What came of a submission at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passage {
    /// Bytes of entries, from the first on, that go on.
    pub(crate) bytes: usize,
    /// Refused because the session has sent too much.
    pub(crate) over_rate: u64,
    /// Refused because there is no room.
    pub(crate) no_room: u64,
    /// For so long the client is not to be read from: it did not wait when it was told to.
    pub(crate) hold_ns: Option<u64>,
}

/// The openings of all sessions.
#[derive(Clone, Copy, Debug)]
struct Openings {
    rate: Rate,
    /// When all that were let through would have come at the rate.
    due_ns: u64,
}

/// A session's use of its rates.
#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    /// Number of its opening that was let through last: sent again it opens nothing more.
    opened: u64,
    /// When all its openings would have come at its own rate.
    opening_due_ns: u64,
    /// For each lane: when all that was let through would have come at the lane's rate.
    due_ns: [u64; Lane::ALL.len()],
    /// Until when it was told to wait.
    told_ns: u64,
    /// The first number that was refused, and until when it is waited for: what comes behind it
    /// would take room in the pool that the missing one then does not find.
    missing: Option<(u64, u64)>,
}

/// A rate, of a lane or of openings.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// Time of one command; 0: no bound.
    command_ns: u64,
    /// How far ahead of it one may be.
    burst_ns: u64,
}

/// The openings of one session.
const OWN_OPENINGS: Rate = Rate {
    command_ns: OPENING_OWN_NS,
    burst_ns: OPENINGS_OWN * OPENING_OWN_NS,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Door {
    rates: [Rate; Lane::ALL.len()],
    openings: Openings,
    // Looked up, never walked.
    meters: SessionMap<Meter>,
    /// Each of them once, with a time before which it was not to be forgotten when that was looked
    /// at last. It may have been put off since.
    forgettable: BinaryHeap<Reverse<(u64, SessionId)>>,
}

impl Door {
    pub(crate) fn new(config: &RateConfig) -> Self {
        let rate = |per_s: u32| {
            let command_ns = 1_000_000_000_u64.checked_div(u64::from(per_s));
            let command_ns = command_ns.unwrap_or(0);
            Rate {
                command_ns,
                burst_ns: (u64::from(config.burst_ms) * 1_000_000).max(command_ns),
            }
        };
        let per_s = [config.cancel, config.order, config.price, config.admin];
        Self {
            rates: per_s.map(rate),
            openings: Openings {
                rate: Rate::of_openings(config),
                due_ns: 0,
            },
            meters: SessionMap::default(),
            forgettable: BinaryHeap::new(),
        }
    }

    /// Judges a submission of this session; a verdict on every command that is refused is
    /// appended.
    pub(crate) fn judge(
        &mut self,
        now_ns: u64,
        session: SessionId,
        commands: Commands<'_>,
        room: &Room,
        verdicts: &mut Vec<CommandVerdict>,
    ) -> Passage {
        let (rates, mut openings) = (self.rates, self.openings);
        let mut passage = Passage {
            bytes: 0,
            over_rate: 0,
            no_room: 0,
            hold_ns: None,
        };
        let Some(meter) = self.meter(now_ns, session) else {
            let retry_after_us = (RETRY_NS_MIN / 1_000) as u32;
            let busy = |seq| CommandVerdict {
                session,
                seq,
                verdict: Verdict::Busy { retry_after_us },
            };
            verdicts.extend(commands.map(|view| busy(view.seq)));
            passage.no_room = verdicts.len() as u64;
            return passage;
        };
        let mut refused: Option<Refused> = None;
        for view in commands {
            let refusal = match refused {
                Some(refusal) => Err(refusal),
                None => {
                    let shares = (&rates, &mut openings);
                    // What another one is to have opened goes no further than the pool.
                    let is_own = *view.session == session.0;
                    meter.pass(now_ns, shares, (&view, is_own), room)
                }
            };
            let Err(refusal) = refusal else {
                passage.bytes += view.entry.len();
                continue;
            };
            refused = Some(refusal);
            if refusal.is_over_rate {
                passage.over_rate += 1;
            } else {
                passage.no_room += 1;
            }
            verdicts.push(CommandVerdict {
                session,
                seq: view.seq,
                verdict: Verdict::Busy {
                    retry_after_us: refusal.retry_after_us,
                },
            });
        }
        // What was on its way when the answer left says nothing of its sender; held, it would stand
        // before what comes when it should.
        if let Some(refusal) = refused.filter(|refusal| !refusal.is_behind) {
            if now_ns < meter.told_ns {
                let left_ns = meter.told_ns - now_ns;
                passage.hold_ns = Some(left_ns.min(HOLD_NS_MAX));
            }
            let until_ns = now_ns.saturating_add(u64::from(refusal.retry_after_us) * 1_000);
            meter.told_ns = meter.told_ns.max(until_ns);
        }
        self.openings = openings;
        passage
    }

    /// What a session has used; none while there is no place for it, since so many others are using
    /// theirs.
    fn meter(&mut self, now_ns: u64, session: SessionId) -> Option<&mut Meter> {
        if !self.meters.contains_key(&session) {
            if self.meters.len() >= SESSIONS_MAX && !self.forget_one(now_ns) {
                return None;
            }
            self.meters.insert(session, Meter::default());
            self.forgettable.push(Reverse((now_ns, session)));
        }
        self.meters.get_mut(&session)
    }

    /// Forgets a session whose rates are full again; false when none is found at once.
    fn forget_one(&mut self, now_ns: u64) -> bool {
        for _ in 0..LOOKS_MAX {
            match self.forgettable.peek() {
                Some(&Reverse((at_ns, _))) if at_ns <= now_ns => {}
                _ => return false,
            }
            let Some(Reverse((_, session))) = self.forgettable.pop() else {
                return false;
            };
            let until_ns = self.meters.get(&session).map_or(0, Meter::in_use_until_ns);
            if until_ns <= now_ns {
                self.meters.remove(&session);
                return true;
            }
            self.forgettable.push(Reverse((until_ns, session)));
        }
        false
    }
}

/// Why a command does not go on.
#[derive(Clone, Copy, Debug)]
struct Refused {
    retry_after_us: u32,
    is_over_rate: bool,
    /// One before it was refused and has not come again.
    is_behind: bool,
}

impl Meter {
    /// Until when forgetting it would let the session send more.
    fn in_use_until_ns(&self) -> u64 {
        let missing_ns = self.missing.map_or(0, |(_, until_ns)| until_ns);
        let due_ns = self.due_ns.iter().fold(0, |most, &due_ns| most.max(due_ns));
        let due_ns = due_ns.max(self.opening_due_ns);
        due_ns.max(self.told_ns).max(missing_ns)
    }

    /// Lets one command through, unless one before it was refused and has not come again.
    fn pass(
        &mut self,
        now_ns: u64,
        shares: (&[Rate; Lane::ALL.len()], &mut Openings),
        (view, is_own): (&CommandView<'_>, bool),
        room: &Room,
    ) -> Result<(), Refused> {
        let seq = view.seq;
        if let Some((missing, until_ns)) = self.missing
            && missing < seq
            && now_ns < until_ns
        {
            let wait_ns = self.told_ns.saturating_sub(now_ns).max(RETRY_NS_MIN);
            return Err(Refused {
                retry_after_us: u32::try_from(wait_ns / 1_000).unwrap_or(u32::MAX),
                is_over_rate: false,
                is_behind: true,
            });
        }
        let passed = self.take(now_ns, shares, (view, is_own), room);
        self.missing = passed.err().map(|refusal| {
            let wait_ns = u64::from(refusal.retry_after_us) * 1_000;
            (seq, now_ns.saturating_add(wait_ns + MISSING_NS))
        });
        passed
    }

    /// Lets one command through, if there is room and its lane's rate allows, and for an opening
    /// that of all of them.
    fn take(
        &mut self,
        now_ns: u64,
        (rates, openings): (&[Rate; Lane::ALL.len()], &mut Openings),
        (view, is_own): (&CommandView<'_>, bool),
        room: &Room,
    ) -> Result<(), Refused> {
        let lane = view.lane;
        let hold_us = match lane {
            Lane::Cancel => room.cancels_hold_us,
            Lane::Order => room.orders_hold_us,
            Lane::Price | Lane::Admin => room.urgent_hold_us,
        };
        if let Some(retry_after_us) = hold_us {
            return Err(Refused {
                retry_after_us,
                is_over_rate: false,
                is_behind: false,
            });
        }
        let due_ns = rates[lane as usize].after(now_ns, self.due_ns[lane as usize])?;
        if view.is_open() && is_own && self.opened != view.seq && openings.rate.command_ns > 0 {
            let own_ns = OWN_OPENINGS.after(now_ns, self.opening_due_ns)?;
            openings.due_ns = openings.rate.after(now_ns, openings.due_ns)?;
            self.opening_due_ns = own_ns;
            self.opened = view.seq;
        }
        self.due_ns[lane as usize] = due_ns;
        Ok(())
    }
}

impl Rate {
    const fn of_openings(config: &RateConfig) -> Self {
        let command_ns = match config.open_per_min {
            0 => 0,
            per_min => 60_000_000_000 / per_min as u64,
        };
        Self {
            command_ns,
            burst_ns: command_ns.saturating_mul(config.open_burst as u64),
        }
    }

    /// One more than those with which the rate is used until `due_ns`: until when it is used then.
    fn after(&self, now_ns: u64, due_ns: u64) -> Result<u64, Refused> {
        if self.command_ns == 0 {
            return Ok(due_ns);
        }
        let due_ns = due_ns.max(now_ns).saturating_add(self.command_ns);
        let latest_ns = now_ns.saturating_add(self.burst_ns);
        if due_ns > latest_ns {
            let wait_ns = (due_ns - latest_ns).max(RETRY_NS_MIN.min(self.burst_ns));
            return Err(Refused {
                retry_after_us: u32::try_from(wait_ns.div_ceil(1_000)).unwrap_or(u32::MAX),
                is_over_rate: true,
                is_behind: false,
            });
        }
        Ok(due_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_consensus::payload::{
        Entry, FLAG_OPEN, encode_entry, encode_flagged_entry, parse_entries, session_of_key,
    };

    const MS: u64 = 1_000_000;
    const OWN: SessionId = SessionId([7; 16]);
    const OPEN: Room = Room {
        cancels_hold_us: None,
        urgent_hold_us: None,
        orders_hold_us: None,
    };

    fn door(order: u32, cancel: u32, burst_ms: u32) -> Door {
        Door::new(&RateConfig {
            cancel,
            order,
            burst_ms,
            ..RateConfig::default()
        })
    }

    fn entries(first: u64, lanes: &[Lane]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (&lane, seq) in lanes.iter().zip(first..) {
            let entry = Entry {
                lane,
                session: &OWN.0,
                seq,
                signature: None,
                body: b"12345678",
            };
            encode_entry(&entry, &mut bytes);
        }
        bytes
    }

    /// How many go on, what the others are told, and for how long the client is held.
    fn pass(
        door: &mut Door,
        now_ns: u64,
        first: u64,
        lanes: &[Lane],
        room: Room,
    ) -> (usize, Vec<(u64, u32)>, Option<u64>) {
        let bytes = entries(first, lanes);
        let mut verdicts = Vec::new();
        let commands = parse_entries(&bytes).unwrap();
        let passage = door.judge(now_ns, OWN, commands, &room, &mut verdicts);
        let told = verdicts.iter().map(|verdict| match verdict.verdict {
            Verdict::Busy { retry_after_us } => (verdict.seq, retry_after_us),
            other => panic!("{other:?}"),
        });
        let told: Vec<_> = told.collect();
        assert_eq!(passage.over_rate + passage.no_room, told.len() as u64);
        assert_eq!(passage.bytes % (bytes.len() / lanes.len()), 0);
        let passed = passage.bytes / (bytes.len() / lanes.len());
        (passed, told, passage.hold_ns)
    }

    #[test]
    fn a_burst_is_let_through_and_after_it_the_rate() {
        let mut door = door(100, 0, 100);
        // 100 a second and 100 ms of it at once.
        let (passed, told, _) = pass(&mut door, 0, 2, &[Lane::Order; 15], OPEN);
        assert_eq!(passed, 10);
        assert_eq!(told.len(), 5);
        assert!(told.iter().all(|&(_, us)| us == 10_000), "{told:?}");
        assert_eq!(told[0].0, 12);
        let (passed, ..) = pass(&mut door, 10 * MS, 12, &[Lane::Order; 5], OPEN);
        assert_eq!(passed, 1);
        let (passed, ..) = pass(&mut door, 1_000 * MS, 13, &[Lane::Order; 50], OPEN);
        assert_eq!(passed, 10, "silence earns no more than a burst");
        let mut total = 0;
        for at in 1..=1_000 {
            let (passed, ..) = pass(&mut door, (1_000 + at) * MS, 23, &[Lane::Order; 5], OPEN);
            total += passed;
        }
        assert_eq!(total, 100);
    }

    #[test]
    fn orders_never_take_the_room_of_the_session_s_own_cancels() {
        let mut door = door(10, 1_000, 100);
        let (passed, ..) = pass(&mut door, 0, 2, &[Lane::Order; 100], OPEN);
        assert_eq!(passed, 1);
        // In place of the order that was refused.
        let (passed, told, _) = pass(&mut door, 0, 3, &[Lane::Cancel; 50], OPEN);
        assert_eq!((passed, told.len()), (50, 0));
        // Nor does a pool without room for orders, which prices and administration pass as well.
        let full = Room {
            orders_hold_us: Some(5_000),
            ..OPEN
        };
        let (passed, told, _) = pass(
            &mut door,
            0,
            53,
            &[Lane::Cancel, Lane::Cancel, Lane::Order, Lane::Cancel],
            full,
        );
        assert_eq!(passed, 2);
        assert_eq!(told, [(55, 5_000), (56, 5_000)], "a number is missing");
        let (passed, told, _) = pass(&mut door, 0, 55, &[Lane::Price, Lane::Admin], full);
        assert_eq!((passed, told.len()), (2, 0));
    }

    #[test]
    fn who_does_not_wait_is_held_until_it_should_have_come() {
        let mut door = door(100, 0, 100);
        let room = Room {
            orders_hold_us: Some(20_000),
            ..OPEN
        };
        let (_, told, hold) = pass(&mut door, 0, 2, &[Lane::Order], room);
        assert_eq!((told.len(), hold), (1, None), "it has not been told before");
        let (_, _, hold) = pass(&mut door, 5 * MS, 2, &[Lane::Order], room);
        assert_eq!(hold, Some(15 * MS));
        let (passed, _, hold) = pass(&mut door, 6 * MS, 2, &[Lane::Order], OPEN);
        assert_eq!((passed, hold), (1, None), "there is room: nothing to hold");
        let (_, _, hold) = pass(&mut door, 40 * MS, 2, &[Lane::Order], room);
        assert_eq!(hold, None, "it has waited");
    }

    fn name(number: usize) -> SessionId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(number as u64).to_le_bytes());
        SessionId(id)
    }

    /// How many orders of a session go on.
    fn orders(door: &mut Door, now_ns: u64, session: SessionId, count: usize) -> usize {
        let bytes = entries(2, &vec![Lane::Order; count]);
        let commands = parse_entries(&bytes).unwrap();
        let passage = door.judge(now_ns, session, commands, &OPEN, &mut Vec::new());
        passage.bytes * count / bytes.len()
    }

    #[test]
    fn a_flood_of_new_sessions_gives_nobody_a_limit_back() {
        // A command is full again after 100 ms, the whole burst of a session after a second.
        let mut door = door(10, 0, 1_000);
        assert_eq!(orders(&mut door, 0, OWN, 20), 10);
        // More sessions than are remembered, each with one command, which is over soon.
        for number in 0..SESSIONS_MAX * 2 {
            let now_ns = number as u64 * 5_000;
            assert_eq!(orders(&mut door, now_ns, name(number), 1), 1, "{number}");
        }
        assert_eq!(door.meters.len(), SESSIONS_MAX);
        assert_eq!(door.forgettable.len(), SESSIONS_MAX);
        let now_ns = SESSIONS_MAX as u64 * 10_000;
        assert!(now_ns < 1_000 * MS);
        let earned = (now_ns / (100 * MS)) as usize;
        assert_eq!(
            orders(&mut door, now_ns, OWN, 20),
            earned,
            "and no burst anew"
        );
    }

    #[test]
    fn where_all_are_in_use_a_new_session_waits_and_none_of_them_is_forgotten() {
        let mut door = door(10, 0, 1_000);
        for number in 0..SESSIONS_MAX {
            assert_eq!(orders(&mut door, 0, name(number), 10), 10);
        }
        assert_eq!(orders(&mut door, MS, OWN, 5), 0, "there is no place for it");
        assert_eq!(orders(&mut door, MS, name(7), 5), 0, "its limit holds");
        assert_eq!(door.meters.len(), SESSIONS_MAX);
        // Not even those that came back since are forgotten, however they are found.
        for number in 0..SESSIONS_MAX / 2 {
            orders(&mut door, 900 * MS, name(number), 5);
        }
        let passed = (0..SESSIONS_MAX).find_map(|at| {
            let passed = orders(&mut door, 1_001 * MS + at as u64, OWN, 5);
            (passed > 0).then_some(passed)
        });
        assert_eq!(passed, Some(5));
        let left = orders(&mut door, 1_001 * MS, name(7), 20);
        assert_eq!(left, 5, "the other half of its burst is used");
    }

    #[test]
    fn what_comes_behind_a_refused_number_waits_for_it_and_not_for_ever() {
        let mut door = door(0, 0, 1);
        let full = Room {
            orders_hold_us: Some(20_000),
            ..OPEN
        };
        pass(&mut door, 0, 5, &[Lane::Order; 3], full);
        // There is room again, and what was on its way comes before what was refused.
        let told = pass(&mut door, MS, 8, &[Lane::Order, Lane::Cancel], OPEN);
        assert_eq!(told, (0, vec![(8, 19_000), (9, 19_000)], None));
        let (passed, _, hold_ns) = pass(&mut door, 21 * MS, 5, &[Lane::Order; 5], OPEN);
        assert_eq!((passed, hold_ns), (5, None));
        // It became final elsewhere, and never comes.
        pass(&mut door, 30 * MS, 10, &[Lane::Order], full);
        let (passed, ..) = pass(&mut door, 1_051 * MS, 11, &[Lane::Order], OPEN);
        assert_eq!(passed, 1);
    }

    /// Whether the opening of a session goes on, and else when it may come again, microseconds.
    fn open(door: &mut Door, now_ns: u64, client: u8) -> Result<(), u32> {
        open_at(door, now_ns, client, 1)
    }

    fn open_at(door: &mut Door, now_ns: u64, client: u8, seq: u64) -> Result<(), u32> {
        open_held(door, now_ns, (client, seq)).0
    }

    /// The same, and how long its sender is not read from.
    fn open_held(door: &mut Door, now_ns: u64, of: (u8, u64)) -> (Result<(), u32>, Option<u64>) {
        let key = [of.0; 32];
        let session = session_of_key(&key);
        let mut bytes = Vec::new();
        let entry = Entry {
            lane: Lane::Order,
            session: &session,
            seq: of.1,
            signature: None,
            body: &key,
        };
        encode_flagged_entry(&entry, FLAG_OPEN, &mut bytes);
        let mut verdicts = Vec::new();
        let commands = parse_entries(&bytes).unwrap();
        let session = SessionId(session);
        let passage = door.judge(now_ns, session, commands, &OPEN, &mut verdicts);
        let outcome = match verdicts[..] {
            [] => {
                assert_eq!(passage.bytes, bytes.len());
                Ok(())
            }
            [
                CommandVerdict {
                    verdict: Verdict::Busy { retry_after_us },
                    ..
                },
            ] => {
                assert_eq!((passage.bytes, passage.over_rate), (0, 1));
                Err(retry_after_us)
            }
            _ => panic!("{verdicts:?}"),
        };
        (outcome, passage.hold_ns)
    }

    #[test]
    fn sessions_are_opened_at_one_rate_for_all_of_them_and_each_is_counted_once() {
        // One in 10 ms, and three at once.
        let mut door = Door::new(&RateConfig {
            open_per_min: 6_000,
            open_burst: 3,
            ..RateConfig::default()
        });
        for client in 1..4 {
            assert_eq!(open(&mut door, 0, client), Ok(()));
        }
        assert_eq!(open(&mut door, 0, 4), Err(10_000));
        // Who is open sends on, and its opening again.
        assert_eq!(open(&mut door, 0, 1), Ok(()));
        let (passed, ..) = pass(&mut door, 0, 2, &[Lane::Order; 20], OPEN);
        assert_eq!(passed, 20);
        assert_eq!(open(&mut door, 10 * MS, 4), Ok(()));
        assert_eq!(open(&mut door, 10 * MS, 5), Err(10_000));
        // New keys all the time: a hundred a second, whoever comes.
        let mut clients = 5..=255;
        let mut client = clients.next();
        let mut opened = 0;
        for at in 20..1_020 {
            if let Some(next) = client
                && open(&mut door, at * MS, next).is_ok()
            {
                opened += 1;
                client = clients.next();
            }
        }
        assert_eq!(opened, 100);
        let left: Vec<u8> = clients.take(4).collect();
        let passed = left.iter().map(|next| open(&mut door, 9_000 * MS, *next));
        let passed: Vec<bool> = passed.map(|passed| passed.is_ok()).collect();
        assert_eq!(passed, [true, true, true, false], "silence earns a burst");
    }

    #[test]
    fn one_session_does_not_use_up_the_openings_of_all() {
        let mut door = Door::new(&RateConfig {
            open_per_min: 60,
            open_burst: 10,
            ..RateConfig::default()
        });
        // Ever new numbers, and two by turns.
        for seq in 1..=4 {
            assert_eq!(open_at(&mut door, 0, 1, seq), Ok(()), "{seq}");
        }
        assert_eq!(open_at(&mut door, 0, 1, 5), Err(15_000_000));
        // Whoever does not wait until then is not read from for a while, and no longer.
        let held = (Err(14_999_000), Some(HOLD_NS_MAX));
        assert_eq!(open_held(&mut door, MS, (1, 5)), held);
        let passed = (0..5).map(|turn| open_at(&mut door, 0, 2, 7 + turn % 2));
        assert_eq!(passed.filter(Result::is_ok).count(), 4);
        assert_eq!(open(&mut door, 0, 3), Ok(()));
        assert_eq!(open(&mut door, 0, 4), Ok(()));
        assert_eq!(open(&mut door, 0, 5), Err(1_000_000), "ten at once");
        assert_eq!(open_at(&mut door, 15_000 * MS, 1, 5), Ok(()));
    }

    #[test]
    fn who_has_used_up_its_openings_is_not_forgotten_for_a_flood_of_sessions() {
        let mut door = Door::new(&RateConfig {
            order: 10,
            burst_ms: 1_000,
            open_per_min: 6_000,
            open_burst: 10,
            ..RateConfig::default()
        });
        for seq in 1..=4 {
            assert_eq!(open_at(&mut door, 0, 1, seq), Ok(()), "{seq}");
        }
        // Its orders are forgotten by then, and only its openings still count.
        for number in 0..SESSIONS_MAX {
            orders(&mut door, 1_000 * MS, name(number), 1);
        }
        assert_eq!(door.meters.len(), SESSIONS_MAX);
        assert_eq!(open_at(&mut door, 1_200 * MS, 1, 5), Err(13_800_000));
    }

    #[test]
    fn without_a_rate_of_openings_all_are_let_through() {
        let mut door = Door::new(&RateConfig {
            open_per_min: 0,
            open_burst: 1,
            ..RateConfig::default()
        });
        assert!((0..=255).all(|client| open(&mut door, 0, client).is_ok()));
    }

    #[test]
    fn without_a_rate_nothing_is_counted() {
        let mut door = door(0, 0, 1);
        let (passed, told, _) = pass(&mut door, 0, 2, &[Lane::Order; 500], OPEN);
        assert_eq!((passed, told.len()), (500, 0));
    }
}
