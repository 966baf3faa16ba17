//! The decisions about connections, without sockets: every order of events that two sides can see.

use super::*;
use crate::slots::Slots;

const LOW: u16 = 2;
const HIGH: u16 = 7;

struct Bench {
    peers: Peers,
    slots: Slots<()>,
    now: Instant,
}

impl Bench {
    fn new(own: u16, other: u16) -> Self {
        let now = Instant::now();
        let mut peers = Peers::new(own, 1, &Limits::default());
        peers.set(now, other, "127.0.0.1:1");
        Self {
            peers,
            slots: Slots::new(),
            now,
        }
    }

    fn slot(&mut self) -> Slot {
        self.slots.insert(())
    }

    fn peer(&mut self) -> &mut Peer {
        let index = self.peers.indices().next().unwrap();
        self.peers.get_mut(index).unwrap()
    }

    fn install(&mut self, slot: Slot, dialer: Dialer, incarnation: u64) -> Installed {
        let (now, own) = (self.now, self.peers.own);
        self.peer().install(now, own, slot, dialer, incarnation)
    }

    /// The connection that this retires.
    fn confirm(&mut self, slot: Slot) -> Option<Slot> {
        let own = self.peers.own;
        self.peer().confirm(own, slot).map(|retired| retired.slot)
    }
}

fn retired_by(installed: Installed) -> Option<Slot> {
    installed.retired.map(|retired| retired.slot)
}

#[test]
fn a_connection_that_is_read_to_its_end_goes_with_a_new_incarnation_a_fault_and_the_last_one() {
    let retired = || {
        let mut bench = Bench::new(HIGH, LOW);
        let (own, remote) = (bench.slot(), bench.slot());
        bench.install(own, Dialer::Own, 1);
        bench.install(remote, Dialer::Remote, 1);
        assert_eq!(bench.confirm(remote), Some(own));
        (bench, own, remote)
    };
    let (mut bench, own, remote) = retired();
    let newer = bench.slot();
    let installed = bench.install(newer, Dialer::Remote, 2);
    assert_eq!(installed.replaced, [None, Some(remote), Some(own)]);
    assert_eq!(bench.peer().all_slots(), [None, Some(newer), None]);
    // A fault closes all that there are.
    let (mut bench, own, remote) = retired();
    assert_eq!(bench.peer().all_slots(), [None, Some(remote), Some(own)]);
    // The last one that counts takes it along; its own end is no loss.
    let now = bench.now;
    assert!(bench.peer().lost(now, remote));
    assert_eq!(bench.peer().take_retired(), Some(own));
    let (mut bench, own, remote) = retired();
    let now = bench.now;
    assert!(!bench.peer().lost(now, own));
    assert_eq!(bench.peer().all_slots(), [None, Some(remote), None]);
}

#[test]
fn the_first_connection_brings_the_peer_up_and_the_last_takes_it_down() {
    let mut bench = Bench::new(LOW, HIGH);
    let (a, b) = (bench.slot(), bench.slot());
    assert!(bench.install(a, Dialer::Own, 1).comes_up);
    assert!(!bench.install(b, Dialer::Remote, 1).comes_up);
    let now = bench.now;
    assert!(!bench.peer().lost(now, a));
    assert_eq!(bench.peer().send_on(), Some(b));
    assert!(bench.peer().lost(now, b));
    assert_eq!(bench.peer().send_on(), None);
    assert!(!bench.peer().lost(now, b), "a connection is lost once");
}

#[test]
fn the_lower_index_never_closes_a_duplicate() {
    for first in [Dialer::Own, Dialer::Remote] {
        let mut bench = Bench::new(LOW, HIGH);
        let second = if first == Dialer::Own {
            Dialer::Remote
        } else {
            Dialer::Own
        };
        let (a, b) = (bench.slot(), bench.slot());
        let (one, two) = (bench.install(a, first, 1), bench.install(b, second, 1));
        assert_eq!((one.retired, two.retired), (None, None));
        assert_eq!((bench.confirm(a), bench.confirm(b)), (None, None));
    }
}

#[test]
fn the_higher_index_ends_its_own_dial_once_the_other_is_confirmed() {
    let mut bench = Bench::new(HIGH, LOW);
    let (own, remote) = (bench.slot(), bench.slot());
    bench.install(own, Dialer::Own, 1);
    assert_eq!(bench.install(remote, Dialer::Remote, 1).retired, None);
    assert_eq!(
        bench.peer().send_on(),
        Some(own),
        "not confirmed: the other side may not be through"
    );
    assert_eq!(bench.confirm(remote), Some(own));
    assert_eq!(bench.peer().send_on(), Some(remote));
    assert_eq!(bench.confirm(remote), None);
    // Its own dial may also be the later one.
    let late = bench.slot();
    let retired = bench.install(late, Dialer::Own, 1).retired.unwrap();
    assert_eq!((retired.slot, retired.earlier), (late, Some(own)));
    assert_eq!(bench.peer().send_on(), Some(remote));
}

#[test]
fn in_every_order_of_events_exactly_one_connection_is_left_and_it_is_the_same_one() {
    // Events of both sides for simultaneous dials. The order inside a connection is fixed:
    // the acceptor installs, then the dialer, then the acceptor sees the confirmation.
    let mut orders = Vec::new();
    for choice in 0..64_u32 {
        if choice.count_ones() == 3 {
            orders.push((0..6).map(|bit| choice >> bit & 1 == 1).collect::<Vec<_>>());
        }
    }
    assert_eq!(orders.len(), 20);
    for order in orders {
        let (mut low, mut high) = (Bench::new(LOW, HIGH), Bench::new(HIGH, LOW));
        let ends = [(low.slot(), high.slot()), (low.slot(), high.slot())];
        let mut steps = [0, 0];
        let mut retired = Vec::new();
        for by_low in order {
            let connection = usize::from(by_low);
            let (at_low, at_high) = ends[connection];
            let (dialer_is_low, step) = (by_low, steps[connection]);
            steps[connection] += 1;
            let (dialer, dialer_slot, acceptor, acceptor_slot) = if dialer_is_low {
                (&mut low, at_low, &mut high, at_high)
            } else {
                (&mut high, at_high, &mut low, at_low)
            };
            retired.extend(match step {
                0 => retired_by(acceptor.install(acceptor_slot, Dialer::Remote, 1)),
                1 => retired_by(dialer.install(dialer_slot, Dialer::Own, 1)),
                _ => acceptor.confirm(acceptor_slot),
            });
            assert!(low.peer().send_on().is_some() || high.peer().send_on().is_some());
        }
        assert_eq!(
            retired,
            [ends[0].1],
            "only the connection dialed by the higher index goes"
        );
        let now = low.now;
        assert!(
            !low.peer().lost(now, ends[0].0),
            "its end reaches the lower side"
        );
        assert_eq!(
            low.peer().slots().iter().flatten().collect::<Vec<_>>(),
            [&ends[1].0]
        );
        assert_eq!(
            high.peer().slots().iter().flatten().collect::<Vec<_>>(),
            [&ends[1].1]
        );
        assert_eq!(
            (low.peer().send_on(), high.peer().send_on()),
            (Some(ends[1].0), Some(ends[1].1))
        );
    }
}

#[test]
fn a_second_dial_by_the_same_side_replaces_the_first() {
    for dialer in [Dialer::Own, Dialer::Remote] {
        let mut bench = Bench::new(LOW, HIGH);
        let (a, b) = (bench.slot(), bench.slot());
        bench.install(a, dialer, 1);
        let installed = bench.install(b, dialer, 1);
        assert_eq!(installed.replaced, [Some(a), None, None]);
        assert!(
            !installed.comes_up && !installed.was_up,
            "the same process: no change to tell"
        );
        assert_eq!(bench.peer().send_on(), Some(b));
        let now = bench.now;
        assert!(
            !bench.peer().lost(now, a),
            "the end of the old one is not the end of the peer"
        );
    }
}

#[test]
fn a_newer_incarnation_replaces_all_and_an_older_one_is_refused() {
    let mut bench = Bench::new(LOW, HIGH);
    let (a, b, c) = (bench.slot(), bench.slot(), bench.slot());
    bench.install(a, Dialer::Own, 5);
    bench.install(b, Dialer::Remote, 5);
    let installed = bench.install(c, Dialer::Remote, 6);
    assert_eq!(installed.replaced, [Some(a), Some(b), None]);
    assert!(installed.was_up && installed.comes_up);
    assert_eq!(bench.peer().slots(), [None, Some(c)]);
    let now = bench.now;
    assert_eq!(
        bench.peer().admit(now, 5),
        Err(CloseReason::StaleIncarnation)
    );
    assert_eq!(bench.peer().admit(now, 6), Ok(()));
    assert!(bench.peer().lost(now, c));
    assert_eq!(
        bench.peer().admit(now, 5),
        Err(CloseReason::StaleIncarnation),
        "it is remembered"
    );
}

#[test]
fn a_lost_peer_is_dialed_again_with_growing_delays_that_a_long_connection_ends() {
    let mut bench = Bench::new(LOW, HIGH);
    let limits = Limits::default();
    let mut now = bench.now;
    assert_eq!(bench.peer().dial_at(), Some(now));
    for _ in 0..20 {
        let slot = bench.slot();
        bench.now = now;
        bench.install(slot, Dialer::Remote, 1);
        assert_eq!(
            bench.peer().dial_at(),
            None,
            "a connected peer is not dialed"
        );
        assert!(bench.peer().lost(now, slot));
        now = bench.peer().dial_at().unwrap();
    }
    let slot = bench.slot();
    bench.now = now;
    bench.install(slot, Dialer::Remote, 1);
    now += limits.redial_max;
    assert!(bench.peer().lost(now, slot));
    assert!(bench.peer().dial_at().unwrap() <= now + limits.redial_min);
}

#[test]
fn a_faulty_peer_is_refused_until_it_is_dialed() {
    let mut bench = Bench::new(LOW, HIGH);
    let (now, slot) = (bench.now, bench.slot());
    bench.install(slot, Dialer::Remote, 1);
    bench.peer().refuse_until_redial(now);
    bench.peer().lost(now, slot);
    assert_eq!(bench.peer().admit(now, 1), Err(CloseReason::CoolingDown));
    let at = bench.peer().dial_at().unwrap();
    assert!(at > now);
    assert_eq!(bench.peer().admit(at, 1), Ok(()));
}

#[test]
fn peer_lists_that_cannot_be_are_refused() {
    let list = |indices: &[u16]| {
        indices
            .iter()
            .map(|i| (*i, String::new()))
            .collect::<Vec<_>>()
    };
    assert!(Peers::check(1, &list(&[0, 2, 3])).is_ok());
    for (indices, text) in [
        (&[0, 1][..], "peer 1 is this validator itself"),
        (&[0, 65535], "peer 65535 has the index reserved for clients"),
        (&[0, 2, 0], "peer 0 is listed twice"),
    ] {
        assert_eq!(
            Peers::check(1, &list(indices)).unwrap_err().to_string(),
            text
        );
    }
}

#[test]
fn incarnations_that_rise_all_the_time_are_admitted_seldom() {
    let mut bench = Bench::new(LOW, HIGH);
    let offer = |bench: &mut Bench, incarnation| {
        let now = bench.now;
        let admitted = bench.peer().admit(now, incarnation);
        if admitted.is_ok() {
            let slot = bench.slot();
            bench.install(slot, Dialer::Remote, incarnation);
        } else {
            assert_eq!(admitted, Err(CloseReason::CoolingDown));
        }
        admitted.is_ok()
    };
    let mut admitted = 0;
    for incarnation in 1..=10 {
        admitted += u32::from(offer(&mut bench, incarnation));
        bench.now += Duration::from_millis(2);
    }
    assert_eq!(admitted, 2, "the first one, and a restart at once");
    // For a minute: the pauses double up to the longest.
    let mut incarnation = 10;
    admitted = 0;
    for _ in 0..30_000 {
        incarnation += 1;
        admitted += u32::from(offer(&mut bench, incarnation));
        bench.now += Duration::from_millis(2);
    }
    assert!((30..=38).contains(&admitted), "{admitted}");
    // One that has held for long may be replaced at once, and the next one soon.
    bench.now += 3 * Limits::default().redial_max;
    assert!(offer(&mut bench, incarnation + 1));
    bench.now += Limits::default().redial_min;
    assert!(offer(&mut bench, incarnation + 2));
    // The same one comes back whenever it likes.
    assert!(offer(&mut bench, incarnation + 2));
}

#[test]
fn a_peer_that_is_lost_and_comes_back_again_and_again_is_admitted_seldom() {
    let mut bench = Bench::new(LOW, HIGH);
    let come = |bench: &mut Bench| {
        let now = bench.now;
        let admitted = bench.peer().admit(now, 1);
        if admitted.is_ok() {
            let slot = bench.slot();
            assert!(bench.install(slot, Dialer::Remote, 1).comes_up);
            assert!(bench.peer().lost(now, slot));
        } else {
            assert_eq!(admitted, Err(CloseReason::CoolingDown));
        }
        admitted.is_ok()
    };
    assert!(come(&mut bench), "the first one");
    assert!(come(&mut bench), "a link that was lost comes back at once");
    let mut admitted = 0;
    for _ in 0..30_000 {
        bench.now += Duration::from_millis(2);
        admitted += u32::from(come(&mut bench));
    }
    assert!((60..=70).contains(&admitted), "{admitted} in a minute");
    // What has held for long may be lost and come back at once.
    let limits = Limits::default();
    let (now, slot) = (bench.now + limits.redial_max, bench.slot());
    bench.now = now;
    assert_eq!(bench.peer().admit(now, 1), Ok(()));
    bench.install(slot, Dialer::Remote, 1);
    bench.now += limits.redial_max;
    let now = bench.now;
    bench.peer().lost(now, slot);
    assert!(come(&mut bench) && come(&mut bench));
    // A duplicate of one that is there is no coming back.
    bench.now += limits.redial_max;
    for dialer in [Dialer::Own, Dialer::Remote, Dialer::Remote] {
        let (now, slot) = (bench.now, bench.slot());
        assert_eq!(bench.peer().admit(now, 1), Ok(()));
        bench.install(slot, dialer, 1);
    }
}

#[test]
fn two_honest_sides_whose_link_breaks_again_and_again_are_never_too_early_for_one_another() {
    for holds_ms in [0, 1, 30, 1_500, 2_500] {
        let (mut low, mut high) = (Bench::new(LOW, HIGH), Bench::new(HIGH, LOW));
        let mut now = low.now.max(high.now);
        for loss in 0..40 {
            let slots = (low.slot(), high.slot());
            let low_dials = low.peer().dial_at() <= high.peer().dial_at();
            for (bench, slot, is_dialer) in [
                (&mut low, slots.0, low_dials),
                (&mut high, slots.1, !low_dials),
            ] {
                assert_eq!(
                    bench.peer().admit(now, 1),
                    Ok(()),
                    "{holds_ms} ms, loss {loss}"
                );
                bench.now = now;
                let dialer = if is_dialer {
                    Dialer::Own
                } else {
                    Dialer::Remote
                };
                bench.install(slot, dialer, 1);
            }
            now += Duration::from_millis(holds_ms);
            assert!(low.peer().lost(now, slots.0) && high.peer().lost(now, slots.1));
            let dials = low.peer().dial_at().min(high.peer().dial_at());
            let waits = dials.unwrap() - now;
            assert!(
                loss > 0 || waits <= Limits::default().redial_min,
                "{waits:?}"
            );
            now = dials.unwrap();
        }
    }
}

#[test]
fn an_old_incarnation_that_comes_all_the_time_is_told_of_once_a_minute() {
    let mut bench = Bench::new(LOW, HIGH);
    let mut told = 0;
    for _ in 0..600 {
        let now = bench.now;
        told += u32::from(bench.peer().tells_stale(now));
        bench.now += Duration::from_millis(500);
    }
    assert_eq!(told, 5, "in five minutes");
}
