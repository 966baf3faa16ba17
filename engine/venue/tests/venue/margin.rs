//! What resting asks are reserved with: what a bid that only closes may spend, and when asks that
//! nobody stands behind any more go.

use crate::support::pit::{self, FEED, OTHER, Pit, ROUND, ask, bid, public, validator};
use crate::support::{ADMIN, Told, cancel, replace, session};
use quorate_venue::{
    CancelReason, ClearingCommand, ExerciseStyle, InstrumentId, LiquidationStep, PublicEvent,
    Refusal, Right, SeriesState, SessionReport,
};

/// Calls of strike 100 and 110 at a price of 100.
const NEAR: u32 = 1;
const FAR: u32 = 2;

/// Two accounts with cash for 50 short lots each, a price of 100 and two series.
fn pit() -> Pit {
    let mut pit = Pit::new();
    pit.deposit(session(1), 1_000);
    pit.deposit(session(2), 1_000);
    pit.price(100);
    pit.list(Right::Call, ExerciseStyle::European, 100, 20);
    pit.list(Right::Call, ExerciseStyle::European, 110, 20);
    pit
}

/// Orders that were cancelled for want of margin: of whom, and by what name.
fn cancelled(told: &[Told]) -> Vec<(u8, u64)> {
    let of_margin = |told: &Told| match told {
        Told::Session(
            to,
            SessionReport::Cancelled {
                client_order,
                reason: CancelReason::Margin,
                ..
            },
        ) => Some((to.0[0], client_order.0)),
        _ => None,
    };
    told.iter().filter_map(of_margin).collect()
}

fn steps(told: &[Told]) -> Vec<(LiquidationStep, u64)> {
    let step = |event: PublicEvent| match event {
        PublicEvent::Liquidated { step, lots, .. } => Some((step, lots)),
        _ => None,
    };
    public(told).into_iter().filter_map(step).collect()
}

#[test]
fn a_closing_bid_does_not_spend_what_resting_asks_are_reserved_with() {
    let mut pit = pit();
    pit.trade(session(1), session(2), NEAR, 1, 1);
    // One lot short asks 20 and 49 offered ones 980, of 1,001.
    pit.done(session(1), &ask(FAR, 1, 1, 49));
    for price in [991, 21] {
        let closing = bid(NEAR, 2, price, 1);
        let refusal = pit.refusal(session(1), &closing);
        assert_eq!(refusal, Refusal::MarginInsufficient, "{price}");
    }
    pit.done(session(1), &bid(NEAR, 2, 11, 1));
    pit.done(session(2), &ask(NEAR, 3, 11, 1));
    pit.done(session(2), &bid(FAR, 4, 1, 49));
    let account = pit.account(session(1));
    assert_eq!((account.cash, account.initial), (1_001 - 11 + 49, 980));
}

#[test]
fn an_account_below_initial_margin_closes_once_it_offers_nothing_more() {
    let mut pit = pit();
    pit.trade(session(1), session(2), NEAR, 1, 10);
    pit.done(session(1), &ask(NEAR, 1, 1, 40));
    // At 108 a lot asks 30, and 19 not to be liquidated: 950 of 1,010. Ten lots closed at 30 would
    // leave 750 with 40 lots that ask 760, once they are taken.
    pit.price(108);
    let closing = bid(NEAR, 2, 30, 10);
    assert_eq!(
        pit.refusal(session(1), &closing),
        Refusal::MarginInsufficient
    );
    pit.done(session(1), &cancel(1));
    pit.done(session(1), &closing);
}

#[test]
fn closing_lot_by_lot_takes_out_no_more_than_a_withdrawal_could() {
    let mut pit = pit();
    pit.trade(session(1), session(2), NEAR, 1, 50);
    // It has 1,050 and must have 1,000 to withdraw anything.
    for price in [541, 51] {
        let refusal = pit.refusal(session(1), &bid(NEAR, 2, price, 1));
        assert_eq!(refusal, Refusal::MarginInsufficient, "{price}");
    }
    pit.done(session(1), &bid(NEAR, 2, 50, 1));
    pit.done(session(1), &cancel(2));
    // At 104 a lot asks 4 and 21, which is 1,250 in all; below that it closes at 25 and no dearer.
    pit.price(104);
    let refusal = pit.refusal(session(1), &bid(NEAR, 2, 26, 1));
    assert_eq!(refusal, Refusal::MarginInsufficient);
    pit.done(session(1), &bid(NEAR, 2, 25, 1));
}

#[test]
fn an_ask_goes_when_the_price_leaves_its_account_without_the_margin_of_what_it_offers() {
    let mut pit = pit();
    pit.done(session(1), &ask(NEAR, 1, 1, 50));
    // At 109 a lot asks 9 and 11: all that there is.
    assert_eq!(cancelled(&pit.price(109)), []);
    let told = pit.price(110);
    assert_eq!(cancelled(&told), [(1, 1)]);
    assert_eq!(steps(&told), [], "it is short of nothing");
    pit.done(session(2), &bid(NEAR, 1, 1, 50));
    assert_eq!(pit.position(session(1), NEAR), 0);
}

#[test]
fn an_ask_that_only_closes_is_no_reason_to_lose_orders() {
    let mut pit = pit();
    pit.trade(session(1), session(2), NEAR, 1, 50);
    pit.clear(session(2), ClearingCommand::Withdraw { amount: 950 });
    pit.done(session(2), &ask(NEAR, 1, 300, 50));
    assert_eq!(cancelled(&pit.price(109)), []);
}

#[test]
fn asks_that_nobody_stands_behind_go_before_anybody_buys_back() {
    let mut pit = Pit::new();
    for (number, cash) in [(1, 300), (2, 1_000), (3, 300)] {
        pit.deposit(session(number), cash);
    }
    pit.price(100);
    pit.list(Right::Call, ExerciseStyle::European, 100, 20);
    pit.trade(session(1), session(2), NEAR, 1, 10);
    pit.done(session(3), &ask(NEAR, 1, 20, 15));
    // A lot at 120 asks 32: 320 of 310 for what is short, 480 of 300 for what is offered.
    let told = pit.price(120);
    assert_eq!(cancelled(&told), [(3, 1)]);
    assert_eq!(steps(&told), [(LiquidationStep::Deleveraged, 10)]);
    assert_eq!(pit.position(session(3), NEAR), 0);
}

/// Whether orders went for want of margin before the first step of a liquidation, of which there
/// must be one.
fn orders_went_first(told: &[Told]) -> bool {
    let first = |what: &dyn Fn(&Told) -> bool| told.iter().position(what);
    let gone = first(&|told| !cancelled(std::slice::from_ref(told)).is_empty());
    let closed = first(&|told| !steps(std::slice::from_ref(told)).is_empty());
    let closed = closed.expect("somebody is liquidated");
    gone.is_some_and(|gone| gone < closed)
}

#[test]
fn of_feeds_that_close_together_all_orders_go_before_anybody_buys_back() {
    let mut pit = Pit::with(pit::two_feeds());
    for (number, cash) in [(1, 400), (2, 10_000), (3, 300)] {
        pit.deposit(session(number), cash);
    }
    pit.prices_of(&[(FEED, 100), (OTHER, 100)]);
    pit.list_on(FEED, ExerciseStyle::European, 100, 20);
    pit.list_on(OTHER, ExerciseStyle::European, 100, 20);
    pit.trade(session(1), session(2), 1, 1, 10);
    pit.trade(session(1), session(2), 2, 1, 10);
    pit.done(session(3), &ask(2, 1, 5, 15));
    // The account measured for the first feed would buy in the other, where a lot at 150 asks 65:
    // 975 of 300 for what is offered.
    let told = pit.prices_of(&[(FEED, 121), (OTHER, 150)]);
    assert_eq!(cancelled(&told), [(3, 1)]);
    assert!(orders_went_first(&told), "{told:?}");
    assert_eq!(pit.position(session(3), 2), 0);
    assert_eq!(pit.account(session(3)).cash, 300);
    let expected = [
        (LiquidationStep::TakenOver, 10),
        (LiquidationStep::Deleveraged, 10),
    ];
    assert_eq!(steps(&told), expected);
}

/// All validators observe this price of a feed whose rounds are twice as long.
fn observe_slowly(pit: &mut Pit, price: i64) {
    for number in 0..4 {
        let mut observation = pit.observation(price);
        if let ClearingCommand::Observe { feed, round, .. } = &mut observation {
            (*feed, *round) = (OTHER, *round / 2);
        }
        pit.clear(validator(number), observation);
    }
}

/// The other feed closes every second time, so that who offers in its series is measured for
/// having paid alone.
#[test]
fn the_orders_of_who_was_made_to_pay_go_before_anybody_buys_back() {
    let mut config = pit::two_feeds();
    let clearing = config.clearing.as_mut().expect("it has accounts");
    clearing.feeds[1].round_ns = 2 * ROUND;
    let mut pit = Pit::with(config);
    for (number, cash) in [(1, 830), (2, 10_000), (3, 1_440)] {
        pit.deposit(session(number), cash);
    }
    observe_slowly(&mut pit, 100);
    pit.at(pit.time_ns + 2 * ROUND);
    pit.price(100);
    for (feed, strike, rounds) in [(FEED, 100, 20), (OTHER, 100, 20), (FEED, 100, 2)] {
        pit.list_on(feed, ExerciseStyle::European, strike, rounds);
    }
    pit.trade(session(1), session(2), 1, 1, 10);
    pit.trade(session(1), session(2), 2, 1, 10);
    pit.trade(session(3), session(2), 3, 1, 60);
    pit.done(session(3), &ask(2, 1, 5, 15));
    assert_eq!(cancelled(&pit.price(110)), []);
    // The fixing is 123, of which the third pays 60 times 23 of 1,500; 150 is what it offers asks.
    // The first must have 860 of 850, and has 90 when the fund has taken the first series.
    let told = pit.price(160);
    assert_eq!(cancelled(&told), [(3, 1)]);
    assert!(orders_went_first(&told), "{told:?}");
    let expected = [
        (LiquidationStep::TakenOver, 10),
        (LiquidationStep::Deleveraged, 10),
    ];
    assert_eq!(steps(&told), expected);
    assert_eq!(pit.position(session(3), 2), 0);
    assert_eq!(pit.account(session(3)).cash, 120);
}

/// What it must have there is not known, and so nobody may count it as nothing.
#[test]
fn who_is_short_where_no_price_is_fresh_opens_nothing_on_another_feed() {
    let mut pit = Pit::with(pit::two_feeds());
    for number in [1, 2] {
        pit.deposit(session(number), 1_000);
    }
    pit.prices_of(&[(FEED, 100), (OTHER, 100)]);
    pit.list_on(OTHER, ExerciseStyle::European, 100, 20);
    pit.list_on(FEED, ExerciseStyle::European, 100, 20);
    pit.trade(session(1), session(2), 1, 1, 10);
    for _ in 0..4 {
        pit.price(100);
    }
    let opening = ask(2, 1, 5, 1);
    let refusal = pit.refusal(session(1), &opening);
    assert_eq!(refusal, Refusal::PriceNotFresh);
    // Who is long there owes nothing.
    pit.done(session(2), &opening);
    pit.prices_of(&[(FEED, 100), (OTHER, 100)]);
    pit.done(session(1), &opening);
}

/// The first is short of ten lots to the third on one feed, and of `lots` of this strike to the
/// second on the other one; each has 1,000 in cash.
fn short_on_two_feeds(strike: i64, lots: u64) -> Pit {
    let mut config = pit::two_feeds();
    let clearing = config.clearing.as_mut().expect("it has accounts");
    clearing.feeds[0].move_limit_bps = 1_000;
    let mut pit = Pit::with(config);
    for number in 1..=3 {
        pit.deposit(session(number), 1_000);
    }
    pit.prices_of(&[(FEED, 100), (OTHER, 100)]);
    pit.list_on(FEED, ExerciseStyle::European, 100, 20);
    pit.list_on(OTHER, ExerciseStyle::American, strike, 20);
    pit.trade(session(1), session(3), 1, 0, 10);
    pit.trade(session(1), session(2), 2, 0, lots);
    pit
}

/// Halts the first feed, at which 130 stands and 100 was taken last.
fn halt(pit: &mut Pit) {
    pit.prices_of(&[(FEED, 130), (OTHER, 100)]);
    assert!(pit.feed().halted);
}

/// The halted feed is resumed, and its price taken.
fn resumed(pit: &mut Pit) -> Vec<Told> {
    pit.clear(ADMIN, ClearingCommand::ResumeFeed { feed: FEED });
    pit.prices_of(&[(FEED, 130), (OTHER, 100)])
}

/// It must have 220 for all that is known, so that no price of up to 780 a lot would leave less.
#[test]
fn a_closing_bid_takes_out_no_more_than_it_frees_while_a_feed_is_halted() {
    let mut pit = short_on_two_feeds(100, 1);
    halt(&mut pit);
    let withdraw = ClearingCommand::Withdraw { amount: 1 };
    assert_eq!(pit.refused(session(1), withdraw), Refusal::PriceNotFresh);
    pit.done(session(2), &ask(2, 1, 780, 1));
    for price in [780, 21, 11] {
        let refusal = pit.refusal(session(1), &bid(2, 1, price, 1));
        assert_eq!(refusal, Refusal::MarginInsufficient, "{price}");
    }
    pit.done(session(1), &bid(2, 1, 10, 1));
    let dearer = replace(1, 2, 780, 1);
    let refusal = pit.refusal(session(1), &dearer);
    assert_eq!(refusal, Refusal::MarginInsufficient);
    pit.done(session(2), &replace(1, 2, 10, 1));
    assert_eq!(pit.position(session(1), 2), 0);
    assert_eq!(pit.account(session(1)).cash, 990);
    // What it must have is known again: 56 for each of ten lots, and not to be liquidated 43.
    assert_eq!(steps(&resumed(&mut pit)), []);
    let withdraw = |amount| ClearingCommand::Withdraw { amount };
    let refusal = pit.refused(session(1), withdraw(431));
    assert_eq!(refusal, Refusal::MarginInsufficient);
    pit.clear(session(1), withdraw(430));
}

/// It must have 430 and 400 at the price that nobody has taken yet.
#[test]
fn lots_closed_one_by_one_while_a_price_is_missing_leave_the_margin_of_the_rest() {
    let mut pit = short_on_two_feeds(100, 40);
    halt(&mut pit);
    for name in 1..=40 {
        let refusal = pit.refusal(session(1), &bid(2, name, 11, 1));
        assert_eq!(refusal, Refusal::MarginInsufficient, "{name}");
        pit.done(session(1), &bid(2, name, 10, 1));
        pit.done(session(2), &ask(2, name, 10, 1));
    }
    assert_eq!(pit.account(session(1)).cash, 600);
    assert_eq!(steps(&resumed(&mut pit)), []);
    let account = pit.account(session(1));
    assert_eq!((account.cash, account.maintenance), (600, 430));
}

#[test]
fn a_closing_bid_where_the_price_is_not_fresh_is_no_dearer_than_the_margin_that_the_last_one_asks()
{
    let mut pit = pit();
    pit.trade(session(1), session(2), NEAR, 0, 10);
    pit.at(pit.time_ns + 6 * ROUND);
    for (price, lots) in [(900, 1), (90, 10), (11, 10), (11, 1)] {
        let refusal = pit.refusal(session(1), &bid(NEAR, 1, price, lots));
        assert_eq!(refusal, Refusal::MarginInsufficient, "{price}");
    }
    pit.done(session(1), &bid(NEAR, 1, 10, 10));
    pit.done(session(2), &ask(NEAR, 1, 10, 10));
    // Short of nothing it knows what it must have.
    pit.clear(session(1), ClearingCommand::Withdraw { amount: 900 });
}

/// The first has 1,160 and is short of ten calls of strike 50 and of 23 puts of strike 100, which
/// asks that much at 100; the second is long of the calls.
fn short_both_ways() -> Pit {
    let mut config = pit::config();
    let clearing = config.clearing.as_mut().expect("it has accounts");
    clearing.feeds[0].move_limit_bps = 1_000;
    let mut pit = Pit::with(config);
    for (number, cash) in [(1, 1_160), (2, 1_000), (3, 1_000)] {
        pit.deposit(session(number), cash);
    }
    pit.price(100);
    pit.list(Right::Call, ExerciseStyle::European, 50, 20);
    pit.list(Right::Put, ExerciseStyle::European, 100, 20);
    pit.trade(session(1), session(2), 1, 0, 10);
    pit.trade(session(1), session(3), 2, 0, 23);
    assert_eq!(pit.account(session(1)).initial, 1_160);
    pit
}

/// A lot of the calls asks 60 at 100, which was taken last, and 5 at 50, which is shown: for 60 a
/// lot it would be left with 560 of the 1,150 that the puts owe at 50.
#[test]
fn a_closing_bid_is_no_dearer_than_the_margin_at_the_price_that_is_shown_and_not_taken_yet() {
    let resumed = |pit: &mut Pit| {
        pit.price(50);
        pit.clear(ADMIN, ClearingCommand::ResumeFeed { feed: FEED });
    };
    let degraded = |pit: &mut Pit| {
        pit.at(pit.time_ns + 6 * ROUND);
        pit.price_by(0..2, 50);
    };
    for missing in [&resumed as &dyn Fn(&mut Pit), &degraded] {
        let mut pit = short_both_ways();
        missing(&mut pit);
        let feed = pit.feed();
        assert_eq!((feed.halted, feed.price, feed.mark), (false, 50, 100));
        for (price, lots) in [(60, 5), (6, 1)] {
            let refusal = pit.refusal(session(1), &bid(1, 1, price, lots));
            assert_eq!(refusal, Refusal::MarginInsufficient, "{price}");
        }
        pit.done(session(1), &bid(1, 1, 5, 10));
        pit.done(session(2), &ask(1, 1, 5, 10));
        assert_eq!(pit.account(session(1)).cash, 1_110);
    }

    // Where the last price taken is the one that asks less, it is that one.
    let mut pit = short_both_ways();
    pit.price(130);
    pit.clear(ADMIN, ClearingCommand::ResumeFeed { feed: FEED });
    let refusal = pit.refusal(session(1), &bid(1, 1, 61, 1));
    assert_eq!(refusal, Refusal::MarginInsufficient);
    pit.done(session(1), &bid(1, 1, 60, 1));
}

/// Whoever has enough for twice the price and more pays what a lot is worth, though margin does not
/// know that: nobody is locked in.
#[test]
fn who_could_bear_twice_the_missing_price_closes_at_any_price() {
    // Ten calls ask 150 or, at 130, 210 each, and 23 puts 100 each, at whatever price.
    for (shown, whole) in [(50, 3_800), (130, 4_400)] {
        let mut pit = short_both_ways();
        pit.at(pit.time_ns + 6 * ROUND);
        pit.price_by(0..2, shown);
        pit.deposit(session(1), whole - 1_160 + 99);
        let refusal = pit.refusal(session(1), &bid(1, 1, 100, 1));
        assert_eq!(refusal, Refusal::MarginInsufficient, "{shown}");
        pit.deposit(session(1), 1);
        pit.done(session(1), &bid(1, 1, 100, 1));
        let refusal = pit.refusal(session(1), &bid(1, 2, 100, 1));
        assert_eq!(refusal, Refusal::MarginInsufficient, "{shown}");
    }

    // Ten lots ask 160 each at 130, and where the price is known one asks 20.
    let mut pit = short_on_two_feeds(100, 1);
    halt(&mut pit);
    pit.deposit(session(1), 10 * 160 + 20 + 780 - 1_000 - 1);
    let closing = bid(2, 1, 780, 1);
    let refusal = pit.refusal(session(1), &closing);
    assert_eq!(refusal, Refusal::MarginInsufficient);
    pit.deposit(session(1), 1);
    pit.done(session(1), &closing);
}

/// It may be that no price ever comes.
#[test]
fn a_series_that_is_deferred_for_good_keeps_nobody_in_another_one() {
    let mut pit = Pit::with(pit::two_feeds());
    for number in [1, 2] {
        pit.deposit(session(number), 1_000);
    }
    pit.prices_of(&[(FEED, 100), (OTHER, 100)]);
    pit.list_on(FEED, ExerciseStyle::European, 100, 10);
    pit.list_on(OTHER, ExerciseStyle::European, 100, 40);
    pit.trade(session(1), session(2), 1, 0, 1);
    pit.trade(session(1), session(2), 2, 0, 1);
    for _ in 0..12 {
        pit.prices_of(&[(OTHER, 100)]);
    }
    assert_eq!(pit.series_state(1).state, SeriesState::Deferred);
    // The lot there asks 100, and the one here 20.
    let refusal = pit.refusal(session(1), &bid(2, 1, 881, 1));
    assert_eq!(refusal, Refusal::MarginInsufficient);
    pit.done(session(1), &bid(2, 1, 880, 1));
}

/// While all was known it could have withdrawn as much.
#[test]
fn a_bid_that_rests_from_before_a_halt_is_taken_at_its_price() {
    let mut pit = short_on_two_feeds(100, 1);
    let refusal = pit.refusal(session(1), &bid(2, 1, 781, 1));
    assert_eq!(refusal, Refusal::MarginInsufficient);
    pit.done(session(1), &bid(2, 1, 780, 1));
    halt(&mut pit);
    pit.done(session(2), &ask(2, 1, 780, 1));
    assert_eq!(pit.account(session(1)).cash, 220);
}

/// The second exercises what the first is about to close, and would then sell to its bids what the
/// first was paid nothing for and is short of no more: 360 that nothing is freed for.
#[test]
fn bids_that_no_longer_close_go_when_their_account_is_assigned_and_could_not_bid_so() {
    let exercise = ClearingCommand::Exercise {
        instrument: InstrumentId(2),
        lots: 6,
    };
    let mut pit = short_on_two_feeds(50, 6);
    halt(&mut pit);
    pit.done(session(1), &bid(2, 1, 60, 6));
    pit.done(session(1), &replace(1, 2, 60, 5));
    assert_eq!(cancelled(&pit.clear(session(2), exercise)), [(1, 2)]);
    assert_eq!(pit.account(session(1)).cash, 700);
    pit.done(session(2), &ask(2, 1, 60, 6));
    assert_eq!(pit.position(session(1), 2), 0);

    // At 109 it must have 310 of the 700 that are left, and its bids.
    for (price, expected) in [(60, vec![]), (70, vec![(1, 1)])] {
        let mut pit = short_on_two_feeds(50, 6);
        pit.prices_of(&[(FEED, 109), (OTHER, 100)]);
        pit.done(session(1), &bid(2, 1, price, 6));
        let told = pit.clear(session(2), exercise);
        assert_eq!(cancelled(&told), expected, "{price}");
    }

    // Bids that would have opened before are reserved for, and that is not changed by what becomes
    // of the position.
    let one = ClearingCommand::Exercise {
        instrument: InstrumentId(2),
        lots: 1,
    };
    for (lots, expected) in [(1, vec![(1, 1)]), (2, vec![]), (5, vec![])] {
        let mut pit = short_on_two_feeds(50, 1);
        pit.done(session(1), &bid(2, 1, 50, lots));
        halt(&mut pit);
        assert_eq!(cancelled(&pit.clear(session(2), one)), expected, "{lots}");
    }

    // What still closes stays, whatever is known.
    let mut pit = short_on_two_feeds(50, 6);
    halt(&mut pit);
    pit.done(session(1), &bid(2, 1, 60, 2));
    let some = ClearingCommand::Exercise {
        instrument: InstrumentId(2),
        lots: 4,
    };
    assert_eq!(cancelled(&pit.clear(session(2), some)), []);
}

#[test]
fn a_closing_bid_leaves_what_keeps_the_rest_from_liquidation() {
    let mut pit = Pit::new();
    pit.deposit(session(1), 100);
    pit.deposit(session(2), 1_000);
    pit.price(50);
    pit.list(Right::Call, ExerciseStyle::European, 200, 20);
    pit.trade(session(1), session(2), 1, 1, 10);
    // At 75 a lot asks 15, and 8 not to be liquidated: 80 of 110.
    pit.price(75);
    let refusal = pit.refusal(session(1), &bid(1, 1, 4, 10));
    assert_eq!(refusal, Refusal::MarginInsufficient);
    pit.done(session(1), &bid(1, 1, 3, 10));
}

/// At 120 its asks would need 22, 32 and 22, were they taken.
#[test]
fn orders_of_several_series_go_in_the_order_in_which_they_came() {
    let mut pit = pit();
    pit.deposit(session(4), 70);
    for (client_order, series) in [(1, 2), (2, 1), (3, 2)] {
        pit.done(session(4), &ask(series, client_order, 50, 1));
    }
    assert_eq!(cancelled(&pit.price(120)), [(4, 1), (4, 2), (4, 3)]);
}
