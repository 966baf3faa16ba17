//! Random streams of commands: sums that stay zero, reports that tell all, snapshots that hold
//! all, and settlements that a naive model foretells.
//!
//! The ordinary run takes 20,000 commands. A million, as many as the venue is judged by:
//!
//! ```sh
//! cargo test --release -p quorate-venue --test venue streams -- --ignored
//! ```

use crate::support::pit::{Pit, ROUND, validator};
use crate::support::stream::{self, Step, Stream};
use crate::support::{ADMIN, Told, session};
use proptest::prelude::*;
use quorate::state_machine::{SessionId, StateMachine};
use quorate_venue::{
    ClearingCommand, Command, ExerciseStyle, InstrumentId, LiquidationStep, PositionCause,
    PriceState, PublicEvent, Refusal, Right, SeriesState, SessionReport,
};
use std::collections::BTreeMap;

/// What happened in a stream, so that one that shows nothing is noticed.
#[derive(Debug, Default)]
struct Seen {
    trades: u64,
    settled_in_money: u64,
    deferred: u64,
    exercised: u64,
    halted: u64,
    bought_back: u64,
    taken_over: u64,
    deleveraged: u64,
    fund_paid: u64,
    refused: BTreeMap<Refusal, u64>,
}

impl Seen {
    fn note(&mut self, told: &Told) {
        match *told {
            Told::Public(PublicEvent::Traded { .. }) => self.trades += 1,
            Told::Public(PublicEvent::Settled {
                paid, fund_paid, ..
            }) => {
                self.settled_in_money += u64::from(paid > 0);
                self.fund_paid += u64::from(fund_paid > 0);
            }
            Told::Public(PublicEvent::SettlementDeferred { .. }) => self.deferred += 1,
            Told::Public(PublicEvent::Exercised { .. }) => self.exercised += 1,
            Told::Public(PublicEvent::FeedChanged { halted, .. }) => {
                self.halted += u64::from(halted);
            }
            Told::Public(PublicEvent::Liquidated { step, .. }) => match step {
                LiquidationStep::BoughtBack => self.bought_back += 1,
                LiquidationStep::TakenOver => self.taken_over += 1,
                LiquidationStep::Deleveraged => self.deleveraged += 1,
            },
            Told::Session(_, SessionReport::Refused { refusal, .. }) => {
                *self.refused.entry(refusal).or_default() += 1;
            }
            _ => {}
        }
    }
}

/// Cash and positions as a client keeps them from its private reports alone.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shadow {
    cash: i64,
    positions: BTreeMap<InstrumentId, i64>,
}

fn listen(shadows: &mut BTreeMap<SessionId, Shadow>, told: &Told) {
    let Told::Session(who, report) = *told else {
        return;
    };
    match report {
        SessionReport::CashChanged { amount, cash, .. } => {
            let shadow = shadows.entry(who).or_default();
            shadow.cash += amount;
            assert_eq!(shadow.cash, cash);
        }
        SessionReport::PositionChanged {
            instrument,
            lots,
            amount,
            ..
        } => {
            let shadow = shadows.entry(who).or_default();
            shadow.cash += amount;
            let position = shadow.positions.entry(instrument).or_default();
            *position += lots;
            if *position == 0 {
                shadow.positions.remove(&instrument);
            }
        }
        _ => {}
    }
}

/// What accounts are told of a payment sums, in each series, to what the fund is said to have paid.
fn assert_sums_are_told(told: &[Told]) {
    let mut sums: BTreeMap<InstrumentId, i64> = BTreeMap::new();
    for told in told {
        match *told {
            Told::Session(
                _,
                SessionReport::PositionChanged {
                    instrument,
                    cause:
                        PositionCause::Settlement
                        | PositionCause::Exercise
                        | PositionCause::Assignment
                        | PositionCause::Deleveraging,
                    amount,
                    ..
                },
            ) => *sums.entry(instrument).or_default() += amount,
            Told::Public(
                PublicEvent::Settled {
                    instrument,
                    fund_paid,
                    ..
                }
                | PublicEvent::Exercised {
                    instrument,
                    fund_paid,
                    ..
                }
                | PublicEvent::Liquidated {
                    instrument,
                    fund_paid,
                    ..
                },
            ) => *sums.entry(instrument).or_default() -= fund_paid,
            _ => {}
        }
    }
    assert!(sums.values().all(|&sum| sum == 0), "{sums:?} in {told:?}");
}

/// The clients whose cash does not meet their maintenance requirement.
fn in_want(pit: &Pit) -> Vec<SessionId> {
    let accounts = (1..=6).map(session).filter(|&who| match pit.find(who) {
        Some(account) => account.cash < account.maintenance,
        None => false,
    });
    accounts.collect()
}

/// Margin is measured when a round closes and when somebody was made to pay. Between these no
/// command takes an account below its maintenance requirement, be it its own or another's.
fn assert_margin_kept(pit: &Pit, before: &[SessionId], command: &Command) {
    let new: Vec<_> = in_want(pit)
        .into_iter()
        .filter(|who| !before.contains(who))
        .collect();
    assert_eq!(new, [], "in want after {command:?}");
}

/// When timers have fired everybody has what it must have, or had not before either, or is short
/// where the waterfall does not go: in a series that has expired, or whose price cannot be used.
fn assert_margin_restored(pit: &Pit, before: &[SessionId]) {
    let feed = pit.feed();
    if feed.state != PriceState::Fresh || feed.halted {
        return;
    }
    let left_alone = |who: &SessionId| {
        let mut positions = pit.account(*who).positions.into_iter();
        let waits = |series: InstrumentId| pit.series_state(series.0).state != SeriesState::Trading;
        positions.any(|(series, lots)| lots < 0 && waits(series))
    };
    let new = in_want(pit)
        .into_iter()
        .filter(|who| !before.contains(who) && !left_alone(who));
    assert_eq!(new.collect::<Vec<_>>(), [], "in want after its timers");
}

/// Runs a stream; the pit audits all sums after every step, and fires timers before commands.
fn run(seed: u64, commands: u64) -> (Pit, Seen) {
    let mut pit = Pit::with(stream::config());
    let mut stream = Stream::new(seed);
    let mut seen = Seen::default();
    let mut shadows = BTreeMap::new();
    let mut given = 0;
    while given < commands {
        let told = match stream.step(pit.time_ns) {
            Step::Wait(ns) => {
                let before = in_want(&pit);
                let told = pit.at(pit.time_ns + ns);
                assert_margin_restored(&pit, &before);
                told
            }
            Step::Command(who, command) => {
                given += 1;
                let before = in_want(&pit);
                let told = pit.apply(who, &command);
                let is_exercise =
                    matches!(command, Command::Clearing(ClearingCommand::Exercise { .. }));
                if !is_exercise {
                    assert_margin_kept(&pit, &before, &command);
                }
                told
            }
        };
        assert_sums_are_told(&told);
        for told in &told {
            seen.note(told);
            listen(&mut shadows, told);
            stream.heard(told);
        }
        if given % 64 == 0 {
            for (&who, shadow) in &shadows {
                let account = pit.account(who);
                let positions = account.positions.into_iter().collect();
                let held = Shadow {
                    cash: account.cash,
                    positions,
                };
                assert_eq!(&held, shadow, "reports tell all");
            }
        }
    }
    (pit, seen)
}

fn assert_all_happened(seen: &Seen) {
    for (what, count) in [
        ("trades", seen.trades),
        ("settlements in the money", seen.settled_in_money),
        ("deferrals", seen.deferred),
        ("exercises", seen.exercised),
        ("halts", seen.halted),
        ("buying back", seen.bought_back),
        ("take-overs", seen.taken_over),
        ("deleveraging", seen.deleveraged),
        ("payments of the fund", seen.fund_paid),
    ] {
        assert!(count > 0, "no {what} in {seen:?}");
    }
}

#[test]
fn all_sums_are_zero_after_every_command() {
    let (_, seen) = run(7, 20_000);
    assert_all_happened(&seen);
}

#[test]
#[ignore = "a million commands take a while"]
fn all_sums_are_zero_after_every_one_of_a_million_commands() {
    let mut all = 0;
    for seed in 0..20 {
        let (_, seen) = run(seed, 50_000);
        all += 50_000;
        println!("seed {seed}, {all} commands: {seen:?}");
    }
}

#[test]
fn a_run_in_the_middle_of_which_a_snapshot_is_restored_is_the_same_run() {
    let mut first = Pit::with(stream::config());
    let mut stream = Stream::new(11);
    let mut second: Option<Pit> = None;
    for step in 0..6_000 {
        if step % 500 == 300 {
            let mut copy = first.restored();
            assert_eq!(copy.snapshot(), first.snapshot());
            assert_eq!(copy.roots(), first.roots());
            second = Some(copy);
        }
        let what = stream.step(first.time_ns);
        let apply = |pit: &mut Pit| match &what {
            Step::Wait(ns) => pit.at(pit.time_ns + ns),
            Step::Command(who, command) => pit.apply(*who, command),
        };
        let told = apply(&mut first);
        told.iter().for_each(|told| stream.heard(told));
        if let Some(copy) = &mut second {
            assert_eq!(apply(copy), told, "step {step}");
            assert_eq!(copy.venue.timer_next_ns(), first.venue.timer_next_ns());
        }
    }
    let mut second = second.expect("restored");
    assert_eq!(second.snapshot(), first.snapshot());
    assert_eq!(second.roots(), first.roots());
}

#[test]
fn roots_differ_exactly_where_sections_do() {
    let mut pit = Pit::with(stream::config());
    let mut stream = Stream::new(5);
    let (mut sections, mut roots) = (pit.snapshot(), pit.roots());
    for _ in 0..2_000 {
        let told = match stream.step(pit.time_ns) {
            Step::Wait(ns) => pit.at(pit.time_ns + ns),
            Step::Command(who, command) => pit.apply(who, &command),
        };
        told.iter().for_each(|told| stream.heard(told));
        let (sections_now, roots_now) = (pit.snapshot(), pit.roots());
        for at in 0..sections.len() {
            assert_eq!(sections[at] == sections_now[at], roots[at] == roots_now[at]);
        }
        (sections, roots) = (sections_now, roots_now);
    }
}

#[test]
fn a_damaged_snapshot_is_refused_or_shows_in_the_root() {
    let (mut pit, _) = run(3, 1_500);
    let (sections, roots) = (pit.snapshot(), pit.roots());
    for (section, bytes) in sections.iter().enumerate().skip(3) {
        for at in 0..bytes.len() {
            let mut copy = Pit::with(stream::config());
            for (earlier, bytes) in sections.iter().enumerate().take(section) {
                copy.venue.restore_section(earlier, bytes).unwrap();
            }
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            if copy.venue.restore_section(section, &changed).is_ok() {
                assert_ne!(copy.venue.section_root(section), roots[section]);
                assert_eq!(copy.snapshot()[section], changed);
            }
            let cut = copy.venue.restore_section(section, &bytes[..at]);
            assert!(cut.is_err(), "section {section} cut to {at}");
        }
    }
}

/// The bytes of a command of random kind, all of whose fields are random, most of them small.
fn spoiled() -> impl Strategy<Value = Vec<u8>> {
    let lengths = [32, 9, 35, 17, 1, 5, 5, 5, 37, 43, 25, 9, 9, 13, 5];
    let byte = || prop_oneof![6 => Just(0_u8), 3 => 0..4_u8, 1 => any::<u8>()];
    (0..lengths.len()).prop_flat_map(move |kind| {
        prop::collection::vec(byte(), lengths[kind] - 1).prop_map(move |mut fields| {
            fields.insert(0, kind as u8 + 1);
            fields
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn no_bytes_and_no_time_make_a_venue_with_accounts_panic(
        steps in prop::collection::vec(
            (0..7_usize, prop_oneof![9 => 0..5 * ROUND, 1 => any::<u64>()], spoiled()),
            1..60,
        ),
    ) {
        let mut pit = Pit::new();
        let clients = [ADMIN, session(1), session(2)];
        let senders: Vec<_> = clients.into_iter().chain((0..4).map(validator)).collect();
        for (sender, wait_ns, bytes) in steps {
            pit.at(pit.time_ns.saturating_add(wait_ns));
            let told = pit.apply_bytes(senders[sender], &bytes);
            prop_assert!(!told.is_empty());
        }
    }

    /// The model: add the samples and divide, multiply what is in the money by what is held.
    #[test]
    fn a_settlement_pays_what_a_naive_model_foretells(
        put in any::<bool>(),
        strike in 80..120_i64,
        trades in prop::collection::vec((1..5_u8, 1..5_u8, 1..30_i64, 1..20_u64), 0..12),
        samples in prop::collection::vec(90..110_i64, 5),
    ) {
        let mut pit = Pit::new();
        let mut model: BTreeMap<u8, (i64, i64)> = BTreeMap::new();
        for number in 1..5 {
            pit.deposit(session(number), 1_000_000);
            model.insert(number, (1_000_000, 0));
        }
        pit.price(100);
        let right = if put { Right::Put } else { Right::Call };
        pit.list(right, ExerciseStyle::European, strike, 5);
        for (seller, buyer, premium, lots) in trades {
            if seller == buyer {
                continue;
            }
            pit.trade(session(seller), session(buyer), 1, premium, lots);
            let lots = lots as i64;
            for (who, sign) in [(seller, -1), (buyer, 1)] {
                let entry = model.get_mut(&who).unwrap();
                entry.0 -= sign * premium * lots;
                entry.1 += sign * lots;
            }
        }
        for &sample in &samples {
            pit.price(sample);
        }
        let mean = samples.iter().sum::<i64>() / 5;
        let value = if put { strike - mean } else { mean - strike }.max(0);
        prop_assert_eq!(pit.series_state(1).fixing, mean);
        for (number, (cash, lots)) in model {
            let account = pit.account(session(number));
            prop_assert_eq!(account.cash, cash + lots * value);
            prop_assert!(account.positions.is_empty());
        }
        prop_assert!(pit.venue.timer_next_ns().is_some_and(|due| due <= pit.time_ns + ROUND));
    }
}
