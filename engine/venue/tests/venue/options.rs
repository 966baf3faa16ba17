//! Accounts, option series, exercise and settlement, step by step.

use crate::support;
use crate::support::pit::{FEED, Pit, ROUND, ask, bid, public, validator};
use crate::support::{ADMIN, Told, cancel, session};
use quorate::state_machine::StateMachine;
use quorate_venue::{
    CancelReason, CashCause, ClearingCommand, ExerciseStyle, InstrumentId, PositionCause,
    PriceState, PublicEvent, Refusal, Right, SeriesState, SessionReport,
};

const CALL: u32 = 1;

/// Two accounts with cash, a price of 100, and one series of strike 100 that expires in 20 rounds.
fn pit(right: Right, style: ExerciseStyle) -> Pit {
    let mut pit = Pit::new();
    pit.deposit(session(1), 1_000);
    pit.deposit(session(2), 1_000);
    pit.price(100);
    pit.list(right, style, 100, 20);
    pit
}

fn european() -> Pit {
    pit(Right::Call, ExerciseStyle::European)
}

fn american() -> Pit {
    pit(Right::Call, ExerciseStyle::American)
}

/// Observes these prices round by round.
fn prices(pit: &mut Pit, prices: &[i64]) -> Vec<PublicEvent> {
    let mut events = Vec::new();
    for &price in prices {
        events.extend(public(&pit.price(price)));
    }
    events
}

/// Prices at 100 until so many rounds before the expiry of a series of 20 rounds, of which one has
/// passed for each price given after.
fn until_last(pit: &mut Pit, rounds: u64) {
    let due = pit.series_state(CALL).due_ns;
    while pit.time_ns + rounds * ROUND < due {
        pit.price(100);
    }
}

#[test]
fn a_deposit_and_a_withdrawal_tell_the_account() {
    let mut pit = Pit::new();
    let told = pit.clear(
        ADMIN,
        ClearingCommand::Deposit {
            account: session(1),
            amount: 70,
        },
    );
    let changed = |cause, amount, cash| {
        let report = SessionReport::CashChanged {
            cause,
            amount,
            cash,
        };
        Told::Session(session(1), report)
    };
    assert_eq!(told[1], changed(CashCause::Deposit, 70, 70));
    let told = pit.clear(session(1), ClearingCommand::Withdraw { amount: 30 });
    assert_eq!(told[1], changed(CashCause::Withdrawal, -30, 40));
    assert_eq!(pit.account(session(1)).cash, 40);
}

#[test]
fn premium_position_and_margin_move_in_the_command_of_the_trade() {
    let mut pit = european();
    pit.done(session(1), &ask(CALL, 1, 7, 10));
    // Initial margin of a lot: worth nothing now, and a fifth of 100.
    assert_eq!(pit.account(session(1)).initial, 200);
    let told = pit.done(session(2), &bid(CALL, 1, 9, 4));
    let moved = |who, lots: i64, amount: i64, cash| {
        let report = SessionReport::PositionChanged {
            instrument: InstrumentId(CALL),
            cause: PositionCause::Trade,
            lots,
            amount,
            position_lots: lots,
            cash,
        };
        Told::Session(session(who), report)
    };
    assert!(told.contains(&moved(2, 4, -28, 972)), "{told:?}");
    assert!(told.contains(&moved(1, -4, 28, 1_028)), "{told:?}");
    let (seller, buyer) = (pit.account(session(1)), pit.account(session(2)));
    assert_eq!((seller.initial, seller.maintenance), (200, 40));
    assert_eq!((buyer.initial, buyer.maintenance), (0, 0));
    pit.done(session(1), &cancel(1));
    assert_eq!(pit.account(session(1)).initial, 80);
}

#[test]
fn a_resting_bid_is_reserved_for_at_its_price() {
    let mut pit = european();
    pit.done(session(1), &bid(CALL, 1, 100, 10));
    let more = bid(CALL, 2, 1, 1);
    assert_eq!(pit.refusal(session(1), &more), Refusal::MarginInsufficient);
    let withdraw = ClearingCommand::Withdraw { amount: 1 };
    assert_eq!(
        pit.refused(session(1), withdraw),
        Refusal::MarginInsufficient
    );
    pit.done(session(1), &support::reduce(1, 1));
    pit.done(session(1), &more);
    // A replacement gives back what the replaced order had reserved.
    pit.done(session(1), &support::replace(1, 1, 110, 9));
}

#[test]
fn a_series_settles_at_the_mean_of_its_window_and_pays_what_is_in_the_money() {
    let mut pit = european();
    pit.trade(session(1), session(2), CALL, 5, 10);
    until_last(&mut pit, 5);
    let events = prices(&mut pit, &[110, 111, 112, 113, 116]);
    // The mean is 112.4, rounded down.
    let settled = PublicEvent::Settled {
        instrument: InstrumentId(CALL),
        price: 112,
        samples: 5,
        first_round: 1_016,
        last_round: 1_020,
        lots: 10,
        paid: 120,
        fund_paid: 0,
    };
    assert_eq!(events.last(), Some(&settled));
    assert_eq!(pit.account(session(1)).cash, 1_000 + 50 - 120);
    assert_eq!(pit.account(session(2)).cash, 1_000 - 50 + 120);
    assert_eq!(pit.position(session(2), CALL), 0);
    let series = pit.series_state(CALL);
    assert_eq!((series.state, series.fixing), (SeriesState::Settled, 112));
}

/// It expires between two rounds: the one that is open then is no part of its window.
#[test]
fn a_window_ends_with_the_last_round_that_closed_by_the_expiry() {
    let mut pit = Pit::new();
    pit.deposit(session(1), 1_000);
    pit.price(100);
    let mut command = pit.series(Right::Call, ExerciseStyle::European, 100, 20);
    if let ClearingCommand::ListSeries { expiry_ns, .. } = &mut command {
        *expiry_ns += ROUND / 2;
    }
    pit.clear(ADMIN, command);
    until_last(&mut pit, 6);
    prices(&mut pit, &[110, 120, 130, 140, 150]);
    let settled = PublicEvent::Settled {
        instrument: InstrumentId(CALL),
        price: 130,
        samples: 5,
        first_round: 1_016,
        last_round: 1_020,
        lots: 0,
        paid: 0,
        fund_paid: 0,
    };
    let due = pit.series_state(CALL).due_ns;
    assert_eq!(public(&pit.at(due)), [settled]);
}

#[test]
fn out_of_the_money_a_series_ends_without_a_payment() {
    let mut pit = pit(Right::Put, ExerciseStyle::European);
    pit.trade(session(1), session(2), CALL, 5, 10);
    until_last(&mut pit, 0);
    assert_eq!(pit.account(session(1)).cash, 1_050);
    assert_eq!(pit.account(session(2)).cash, 950);
    assert!(pit.account(session(1)).positions.is_empty());
}

#[test]
fn expiry_ends_trading_and_cancels_what_rests() {
    let mut pit = european();
    pit.done(session(1), &bid(CALL, 1, 3, 10));
    until_last(&mut pit, 1);
    let told = pit.price(100);
    let cancelled = told.iter().any(|told| {
        let reason = CancelReason::Expired;
        matches!(told, Told::Session(_, SessionReport::Cancelled { reason: r, .. }) if *r == reason)
    });
    assert!(cancelled, "{told:?}");
    assert_eq!(pit.account(session(1)).initial, 0, "nothing is reserved");
    let late = pit.refusal(session(1), &bid(CALL, 1, 3, 10));
    assert_eq!(late, Refusal::SeriesExpired);
}

#[test]
fn too_few_samples_defer_the_settlement_by_a_window_and_say_so() {
    let mut pit = european();
    pit.trade(session(1), session(2), CALL, 5, 10);
    let due = pit.series_state(CALL).due_ns;
    pit.at(due - 2 * ROUND);
    let events = prices(&mut pit, &[120, 120]);
    let deferred = PublicEvent::SettlementDeferred {
        instrument: InstrumentId(CALL),
        samples: 2,
        samples_min: 3,
        next_ns: due + 5 * ROUND,
    };
    assert_eq!(events.last(), Some(&deferred));
    let series = pit.series_state(CALL);
    assert_eq!(
        (series.state, series.due_ns),
        (SeriesState::Deferred, due + 5 * ROUND)
    );
    assert_eq!(pit.position(session(2), CALL), 10, "nothing is paid yet");
    let late = pit.refusal(session(2), &ask(CALL, 1, 3, 1));
    assert_eq!(late, Refusal::SeriesExpired);
    let events = prices(&mut pit, &[120, 120, 120, 130, 130]);
    let Some(PublicEvent::Settled { price, .. }) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!(*price, 124);
    assert_eq!(pit.account(session(2)).cash, 950 + 240);
}

#[test]
fn as_many_samples_as_the_rules_ask_for_are_enough_to_settle() {
    let mut pit = european();
    let due = pit.series_state(CALL).due_ns;
    pit.at(due - 3 * ROUND);
    let events = prices(&mut pit, &[120, 121, 122]);
    let Some(PublicEvent::Settled { price, samples, .. }) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!((*price, *samples), (121, 3));
}

#[test]
fn a_block_that_comes_late_defers_once_to_the_next_window_after_it() {
    let mut pit = european();
    pit.trade(session(1), session(2), CALL, 5, 10);
    let due = pit.series_state(CALL).due_ns;
    let events = public(&pit.at(due + 12 * ROUND));
    let deferrals = events
        .iter()
        .filter(|e| matches!(e, PublicEvent::SettlementDeferred { .. }));
    assert_eq!(deferrals.count(), 1);
    assert_eq!(pit.series_state(CALL).due_ns, due + 15 * ROUND);
}

#[test]
fn degraded_prices_are_shown_and_used_for_nothing() {
    let mut pit = european();
    pit.trade(session(1), session(2), CALL, 5, 10);
    until_last(&mut pit, 5);
    // Let all observations grow old, then hear of two validators of four only.
    pit.at(pit.time_ns + 4 * ROUND);
    let events = public(&pit.price_by(0..2, 120));
    let closed = events.iter().find_map(|event| match *event {
        PublicEvent::PriceClosed {
            state,
            price,
            taken,
            fresh_stake,
            ..
        } => Some((state, price, taken, fresh_stake)),
        _ => None,
    });
    assert_eq!(closed, Some((PriceState::Degraded, 120, false, 20)));
    assert!(matches!(
        events.last(),
        Some(PublicEvent::SettlementDeferred { .. })
    ));
    assert_eq!((pit.feed().price, pit.feed().mark), (120, 100));
}

#[test]
fn deviations_and_dispersion_are_published() {
    let mut pit = Pit::new();
    for (number, price) in [(0, 100), (1, 103), (2, 110), (3, 90)] {
        let observation = pit.observation(price);
        pit.clear(validator(number), observation);
    }
    let events = public(&pit.at(pit.time_ns + ROUND));
    let PublicEvent::PriceClosed {
        price, dispersion, ..
    } = events[0]
    else {
        panic!("{events:?}");
    };
    assert_eq!((price, dispersion), (100, 3), "the lower medians of both");
    let deviations: Vec<i64> = events[1..]
        .iter()
        .map(|event| match *event {
            PublicEvent::PriceObserved { deviation, .. } => deviation,
            _ => panic!("{event:?}"),
        })
        .collect();
    assert_eq!(deviations, [0, 3, 10, -10]);
}

#[test]
fn a_wild_move_halts_the_product_and_nothing_else() {
    let mut pit = european();
    pit.trade(session(1), session(2), CALL, 5, 10);
    let events = public(&pit.price(151));
    let halted = PublicEvent::FeedChanged {
        feed: FEED,
        halted: true,
        before: 100,
        price: 151,
    };
    assert!(events.contains(&halted), "{events:?}");
    let order = ask(CALL, 7, 5, 1);
    assert_eq!(pit.refusal(session(2), &order), Refusal::Halted);
    let spot = support::limit(1, quorate_venue::Side::Buy, 10, 5);
    pit.done(session(2), &spot);
    let told = pit.clear(ADMIN, ClearingCommand::ResumeFeed { feed: FEED });
    let resumed = PublicEvent::FeedChanged {
        feed: FEED,
        halted: false,
        before: 0,
        price: 0,
    };
    assert_eq!(public(&told), [resumed]);
    pit.price(151);
    pit.done(session(2), &order);
}

#[test]
fn an_exercise_pays_at_once_and_twice_is_refused() {
    let mut pit = american();
    pit.trade(session(1), session(2), CALL, 5, 10);
    let exercise = |lots| ClearingCommand::Exercise {
        instrument: InstrumentId(CALL),
        lots,
    };
    assert_eq!(pit.refused(session(2), exercise(4)), Refusal::NotInTheMoney);
    pit.price(113);
    let told = pit.clear(session(2), exercise(4));
    let exercised = PublicEvent::Exercised {
        instrument: InstrumentId(CALL),
        lots: 4,
        price: 113,
        paid: 52,
        fund_paid: 0,
    };
    assert!(public(&told).contains(&exercised), "{told:?}");
    let causes = told.iter().filter_map(|told| match told {
        Told::Session(of, SessionReport::PositionChanged { cause, .. }) => Some((*of, *cause)),
        _ => None,
    });
    let expected = [
        (session(2), PositionCause::Exercise),
        (session(1), PositionCause::Assignment),
    ];
    assert_eq!(causes.collect::<Vec<_>>(), expected);
    assert_eq!(pit.account(session(2)).cash, 950 + 52);
    assert_eq!(pit.account(session(1)).cash, 1_050 - 52);
    pit.clear(session(2), exercise(6));
    for lots in [1, 6, u64::MAX] {
        assert_eq!(
            pit.refused(session(2), exercise(lots)),
            Refusal::PositionTooSmall
        );
    }
}

/// Each looks at all holders of the series, also for one lot.
#[test]
fn an_account_exercises_once_in_a_block_in_each_series() {
    let mut pit = american();
    pit.deposit(session(3), 1_000);
    pit.trade(session(1), session(2), CALL, 5, 10);
    pit.trade(session(1), session(3), CALL, 5, 10);
    let other = 2;
    pit.list(Right::Call, ExerciseStyle::American, 90, 20);
    pit.trade(session(1), session(2), other, 15, 2);
    pit.price(113);
    pit.clear(session(2), one_lot(CALL));
    // A height of its own has each command of a pit, but for those that follow here.
    pit.seq -= 1;
    let again = pit.refused(session(2), one_lot(CALL));
    assert_eq!(again, Refusal::ExercisedInBlock);
    for (number, series) in [(3, CALL), (2, other)] {
        pit.seq -= 1;
        pit.clear(session(number), one_lot(series));
    }
    pit.seq -= 1;
    let again = pit.refused(session(2), one_lot(other));
    assert_eq!(again, Refusal::ExercisedInBlock);
    // Who begins with the state between two blocks goes on as who executed the first does.
    let mut restored = pit.restored();
    for pit in [&mut pit, &mut restored] {
        pit.clear(session(2), one_lot(CALL));
    }
    assert_eq!(pit.roots(), restored.roots());
}

fn one_lot(series: u32) -> ClearingCommand {
    ClearingCommand::Exercise {
        instrument: InstrumentId(series),
        lots: 1,
    }
}

#[test]
fn lots_that_are_offered_cannot_be_exercised_as_well() {
    let mut pit = american();
    pit.trade(session(1), session(2), CALL, 5, 10);
    pit.done(session(2), &ask(CALL, 1, 50, 7));
    pit.price(113);
    let exercise = |lots| ClearingCommand::Exercise {
        instrument: InstrumentId(CALL),
        lots,
    };
    assert_eq!(
        pit.refused(session(2), exercise(4)),
        Refusal::PositionTooSmall
    );
    pit.clear(session(2), exercise(3));
}

#[test]
fn an_exercise_is_assigned_in_proportion() {
    let mut pit = american();
    pit.deposit(session(3), 1_000);
    pit.trade(session(1), session(2), CALL, 5, 10);
    pit.trade(session(3), session(2), CALL, 5, 5);
    pit.price(110);
    let instrument = InstrumentId(CALL);
    // Of four lots the shares are 2.67 and 1.33: two and one, and the lot left goes to the first.
    pit.clear(
        session(2),
        ClearingCommand::Exercise {
            instrument,
            lots: 4,
        },
    );
    assert_eq!(pit.position(session(1), CALL), -7);
    assert_eq!(pit.position(session(3), CALL), -4);
}

#[test]
fn what_an_american_series_has_left_at_expiry_is_exercised_by_the_venue() {
    let mut pit = american();
    pit.trade(session(1), session(2), CALL, 5, 10);
    until_last(&mut pit, 5);
    prices(&mut pit, &[110; 5]);
    assert_eq!(pit.account(session(2)).cash, 950 + 100);
}

#[test]
fn every_fixing_can_be_counted_anew_from_the_public_events() {
    let mut pit = european();
    pit.trade(session(1), session(2), CALL, 5, 10);
    let mut taken = std::collections::BTreeMap::new();
    let mut fixing = None;
    for step in 0..25_i64 {
        for event in public(&pit.price(100 + step * step % 7)) {
            match event {
                PublicEvent::PriceClosed {
                    round,
                    price,
                    taken: true,
                    ..
                } => {
                    taken.insert(round, price);
                }
                PublicEvent::Settled {
                    price,
                    samples,
                    first_round,
                    last_round,
                    ..
                } => {
                    fixing = Some((price, samples, first_round, last_round));
                }
                _ => {}
            }
        }
    }
    let (price, samples, first, last) = fixing.expect("it has expired");
    let window: Vec<i64> = taken.range(first..=last).map(|(_, &price)| price).collect();
    assert_eq!(samples as usize, window.len());
    assert_eq!(price, window.iter().sum::<i64>() / window.len() as i64);
}

#[test]
fn timers_do_not_depend_on_how_time_is_cut_into_blocks() {
    let run = |stops: &[u64]| {
        let mut pit = european();
        pit.trade(session(1), session(2), CALL, 5, 10);
        until_last(&mut pit, 3);
        let start = pit.time_ns;
        let mut events = Vec::new();
        for number in 0..4 {
            let observation = pit.observation(120);
            pit.clear(validator(number), observation);
        }
        for stop in stops {
            events.extend(pit.at(start + stop));
        }
        (events, pit.snapshot(), pit.roots())
    };
    let end = 4 * ROUND;
    let whole = run(&[end]);
    assert_eq!(run(&[ROUND, 2 * ROUND, 3 * ROUND, end]), whole);
    assert_eq!(
        run(&[1, ROUND - 1, 2 * ROUND + 5, 3 * ROUND - 1, end]),
        whole
    );
}

#[test]
fn without_observations_and_series_no_timer_is_set() {
    let mut pit = Pit::new();
    assert_eq!(pit.venue.timer_next_ns(), None);
    pit.price(100);
    pit.at(pit.time_ns + 100 * ROUND);
    assert_eq!(pit.venue.timer_next_ns(), None, "the feed sleeps");
}

#[test]
fn spot_instruments_trade_beside_accounts_as_they_do_without() {
    let mut pit = Pit::new();
    pit.done(
        session(5),
        &support::limit(1, quorate_venue::Side::Sell, 10, 5),
    );
    let told = pit.done(
        session(6),
        &support::limit(1, quorate_venue::Side::Buy, 10, 5),
    );
    let moved = |told: &Told| {
        matches!(
            told,
            Told::Session(_, SessionReport::PositionChanged { .. })
        )
    };
    assert!(
        !told.iter().any(moved),
        "no account is needed and none moves"
    );
}

/// What only a session can do, or only it can reach, is not lost because others want room.
#[test]
fn the_sessions_kept_are_administrators_validators_and_who_has_something() {
    let mut pit = european();
    pit.deposit(session(3), 5);
    let kept = |pit: &Pit| {
        let others = [ADMIN, validator(0), validator(3), validator(4)];
        let all = others.into_iter().chain((1..=4).map(session));
        let copy = pit.restored();
        let kept = all.map(|session| {
            let kept = pit.venue.keeps(session);
            assert_eq!(copy.venue.keeps(session), kept, "{session:?}");
            kept
        });
        kept.collect::<Vec<_>>()
    };
    let of_venue = [true, true, true, false];
    assert_eq!(kept(&pit), [of_venue, [true, true, true, false]].concat());
    // All it had is a long position now, and then nothing.
    pit.trade(session(1), session(3), CALL, 5, 1);
    assert_eq!(pit.account(session(3)).cash, 0);
    assert_eq!(kept(&pit), [of_venue, [true, true, true, false]].concat());
    pit.trade(session(3), session(1), CALL, 5, 1);
    pit.clear(session(3), ClearingCommand::Withdraw { amount: 5 });
    assert_eq!(kept(&pit), [of_venue, [true, true, false, false]].concat());
}

/// Three calls of one expiry, whose fixing is 130 while the last price is 100. Of 870 that is owed
/// there is 630, and of each claim as much is paid, whichever series it is of.
#[test]
fn series_that_expire_together_are_all_paid_before_anybody_is_measured() {
    let mut pit = Pit::new();
    for (number, cash) in [(1, 600), (2, 1_000), (3, 1_000)] {
        pit.deposit(session(number), cash);
    }
    pit.price(100);
    for strike in [100, 101, 102] {
        pit.list(Right::Call, ExerciseStyle::European, strike, 20);
    }
    until_last(&mut pit, 5);
    prices(&mut pit, &[150, 150, 150, 100]);
    for series in [1, 2] {
        pit.trade(session(1), session(2), series, 1, 10);
    }
    pit.trade(session(1), session(2), 3, 1, 5);
    pit.trade(session(1), session(3), 3, 1, 5);
    assert_eq!(pit.account(session(1)).cash, 630);
    let events = prices(&mut pit, &[100]);
    let paid = events.iter().filter_map(|event| match *event {
        PublicEvent::Settled {
            price,
            paid,
            fund_paid,
            ..
        } => Some((price, paid, fund_paid)),
        PublicEvent::Liquidated { .. } => panic!("liquidated at its expiry"),
        _ => None,
    });
    assert_eq!(
        paid.collect::<Vec<_>>(),
        [(130, 216, -1), (130, 210, 0), (130, 203, 0)]
    );
    assert_eq!(pit.account(session(1)).cash, 0);
    assert_eq!(pit.account(session(2)).cash, 1_000 - 25 + 528);
    assert_eq!(pit.account(session(3)).cash, 1_000 - 5 + 101);
    assert_eq!(pit.fund().cash, 1, "what rounding left");
}

/// Session 1 is short the one call and long the other, and has less than it owes of the one.
#[test]
fn series_that_expire_together_are_settled_by_one_payment_whichever_id_is_lower() {
    let end = |strikes: [i64; 2]| {
        let mut pit = Pit::new();
        for (number, cash) in [(1, 210), (2, 1_000), (3, 1_000)] {
            pit.deposit(session(number), cash);
        }
        pit.price(100);
        for strike in strikes {
            pit.list(Right::Call, ExerciseStyle::European, strike, 20);
        }
        until_last(&mut pit, 5);
        prices(&mut pit, &[150, 150, 150, 100]);
        let (near, far) = if strikes[0] == 100 { (1, 2) } else { (2, 1) };
        pit.trade(session(1), session(3), near, 1, 10);
        pit.trade(session(2), session(1), far, 1, 10);
        prices(&mut pit, &[100]);
        [1, 2, 3].map(|number| pit.account(session(number)).cash)
    };
    // At 130 it owes 300 and is due 250.
    let expected = [210 - 50, 1_010 - 250, 990 + 300];
    assert_eq!(end([100, 105]), expected);
    assert_eq!(end([105, 100]), expected);
}

#[test]
fn the_price_at_the_expiry_of_a_series_liquidates_nobody_in_it() {
    let mut pit = Pit::new();
    pit.deposit(session(1), 210);
    pit.deposit(session(2), 1_000);
    pit.price(100);
    pit.list(Right::Call, ExerciseStyle::European, 100, 20);
    pit.trade(session(1), session(2), CALL, 1, 10);
    until_last(&mut pit, 1);
    // A lot at 120 asks 32, more than there is; but what is owed is 4, over the last five rounds.
    let events = prices(&mut pit, &[120]);
    let liquidated = |event: &PublicEvent| matches!(event, PublicEvent::Liquidated { .. });
    assert!(!events.iter().any(liquidated), "{events:?}");
    assert_eq!(pit.account(session(1)).cash, 220 - 40);
}

/// The first of three calls expires between two rounds, so that no price is taken when it is paid.
#[test]
fn who_has_paid_at_a_settlement_is_measured_at_once() {
    let mut pit = Pit::new();
    pit.deposit(session(1), 800);
    pit.deposit(session(2), 2_000);
    pit.price(100);
    for (strike, late_ns) in [(100, ROUND / 2), (101, 9 * ROUND), (102, 9 * ROUND)] {
        let mut command = pit.series(Right::Call, ExerciseStyle::European, strike, 20);
        if let ClearingCommand::ListSeries { expiry_ns, .. } = &mut command {
            *expiry_ns += late_ns;
        }
        pit.clear(ADMIN, command);
    }
    until_last(&mut pit, 6);
    prices(&mut pit, &[150, 200, 200, 100, 100]);
    for series in [CALL, 2] {
        pit.trade(session(1), session(2), series, 1, 10);
    }
    pit.done(session(1), &bid(3, 7, 30, 10));
    // The mean is 150, so that 500 of 820 is paid. The bid costs 300, and ten lots ask 100.
    let told = pit.at(pit.series_state(CALL).due_ns);
    let cancelled = told.iter().filter_map(|told| match told {
        Told::Session(to, SessionReport::Cancelled { reason, .. }) => Some((*to, *reason)),
        _ => None,
    });
    assert_eq!(
        cancelled.collect::<Vec<_>>(),
        [(session(1), CancelReason::Margin)]
    );
    let account = pit.account(session(1));
    assert_eq!((account.cash, account.maintenance), (320, 100));
}
