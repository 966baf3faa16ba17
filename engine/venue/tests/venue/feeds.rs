//! Two feeds side by side: every series goes by the prices of its own.

use crate::support::pit::{self, FEED, OTHER, Pit, ask, public};
use crate::support::{Told, session};
use quorate_venue::{
    ClearingCommand, ExerciseStyle, FeedId, InstrumentId, LiquidationStep, PriceState, PublicEvent,
    Refusal,
};

/// Two accounts with cash and a price on each feed.
fn pit(cash: i64, prices: [i64; 2]) -> Pit {
    let mut pit = Pit::with(pit::two_feeds());
    pit.deposit(session(1), cash);
    pit.deposit(session(2), 10_000);
    both(&mut pit, prices);
    pit
}

/// A round in which each feed has its price.
fn both(pit: &mut Pit, [one, other]: [i64; 2]) -> Vec<Told> {
    pit.prices_of(&[(FEED, one), (OTHER, other)])
}

/// Price and samples of a settlement.
fn settled(told: &[Told]) -> Vec<(u32, i64, u32)> {
    let settled = |event: PublicEvent| match event {
        PublicEvent::Settled {
            instrument,
            price,
            samples,
            ..
        } => Some((instrument.0, price, samples)),
        _ => None,
    };
    public(told).into_iter().filter_map(settled).collect()
}

#[test]
fn an_order_is_measured_by_the_price_of_its_own_series() {
    let mut pit = pit(1_000, [100, 1_000]);
    pit.list_on(FEED, ExerciseStyle::European, 100, 20);
    pit.list_on(OTHER, ExerciseStyle::European, 1_000, 20);
    // A fifth of 1,000 for each lot of the one, and of 100 for each of the other.
    let beyond = ask(2, 1, 1, 6);
    assert_eq!(
        pit.refusal(session(1), &beyond),
        Refusal::MarginInsufficient
    );
    pit.done(session(1), &ask(2, 1, 1, 4));
    assert_eq!(pit.account(session(1)).initial, 800);
    pit.done(session(1), &ask(1, 2, 1, 10));
    assert_eq!(pit.account(session(1)).initial, 1_000);
}

#[test]
fn a_halt_of_one_feed_halts_its_own_series_and_no_other() {
    for halted in [FEED, OTHER] {
        let mut pit = pit(1_000, [100, 100]);
        pit.list_on(FEED, ExerciseStyle::European, 100, 20);
        pit.list_on(OTHER, ExerciseStyle::European, 100, 20);
        let price = |feed: FeedId| if feed == halted { 151 } else { 100 };
        both(&mut pit, [price(FEED), price(OTHER)]);
        let (stopped, going) = (halted.0 + 1, 2 - halted.0);
        let refusal = pit.refusal(session(1), &ask(stopped, 1, 1, 1));
        assert_eq!(refusal, Refusal::Halted);
        pit.done(session(1), &ask(going, 1, 1, 1));
    }
}

#[test]
fn an_exercise_pays_by_the_price_of_its_own_series() {
    let mut pit = pit(1_000, [100, 1_000]);
    pit.list_on(OTHER, ExerciseStyle::American, 1_000, 20);
    pit.trade(session(1), session(2), 1, 5, 2);
    both(&mut pit, [100, 1_100]);
    let instrument = InstrumentId(1);
    let exercise = ClearingCommand::Exercise {
        instrument,
        lots: 2,
    };
    pit.clear(session(2), exercise);
    assert_eq!(pit.account(session(1)).cash, 1_010 - 200);
    assert_eq!(pit.account(session(2)).cash, 9_990 + 200);
}

/// The rounds of both feeds close when the series expire, and the last counts like the others.
#[test]
fn each_series_settles_with_the_round_of_its_own_feed_that_closes_at_its_expiry() {
    let mut pit = pit(1_000, [100, 1_000]);
    pit.list_on(FEED, ExerciseStyle::European, 100, 5);
    pit.list_on(OTHER, ExerciseStyle::European, 1_000, 5);
    for _ in 0..4 {
        assert_eq!(settled(&both(&mut pit, [100, 1_000])), []);
    }
    let told = both(&mut pit, [110, 1_100]);
    assert_eq!(settled(&told), [(1, 102, 5), (2, 1_020, 5)]);
}

#[test]
fn a_series_whose_price_is_not_fresh_is_left_alone_when_another_leaves_its_account_in_want() {
    for (fresh, stale) in [(FEED, OTHER), (OTHER, FEED)] {
        let mut pit = pit(400, [100, 100]);
        pit.list_on(FEED, ExerciseStyle::European, 100, 20);
        pit.list_on(OTHER, ExerciseStyle::European, 100, 20);
        for series in [1, 2] {
            pit.trade(session(1), session(2), series, 1, 10);
        }
        for _ in 0..4 {
            pit.prices_of(&[(fresh, 100)]);
        }
        // Ten lots at 121 ask 340, and the others 100 as they did: 440 of 420.
        let told = pit.prices_of(&[(fresh, 121)]);
        let liquidated = public(&told).into_iter().filter_map(|event| match event {
            PublicEvent::Liquidated {
                instrument, step, ..
            } => Some((instrument.0, step)),
            _ => None,
        });
        assert_eq!(
            liquidated.collect::<Vec<_>>(),
            [(fresh.0 + 1, LiquidationStep::TakenOver)]
        );
        assert_eq!(pit.position(session(1), stale.0 + 1), -10);
        let account = pit.account(session(1));
        assert_eq!((account.cash, account.maintenance), (80, 100));
    }
}

/// One of four has a price: too little stake for one that counts, and nothing to deviate from.
#[test]
fn where_no_price_comes_of_a_round_nothing_deviates_or_is_dispersed_about_it() {
    let mut pit = Pit::new();
    let told = pit.price_by(0..1, 100);
    let [closed, observed] = public(&told)[..] else {
        panic!("{told:?}");
    };
    let PublicEvent::PriceClosed {
        state,
        price,
        dispersion,
        ..
    } = closed
    else {
        panic!("{closed:?}");
    };
    assert_eq!((state, price, dispersion), (PriceState::Stale, 0, 0));
    let PublicEvent::PriceObserved {
        price, deviation, ..
    } = observed
    else {
        panic!("{observed:?}");
    };
    assert_eq!((price, deviation), (100, 0));
}
