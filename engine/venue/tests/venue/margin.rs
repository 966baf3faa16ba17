//! What resting asks are reserved with: what a bid that only closes may spend, and when asks that
//! nobody stands behind any more go.

use crate::support::pit::{self, FEED, OTHER, Pit, ROUND, ask, bid, public, validator};
use crate::support::{Told, session};
use quorate_venue::{
    CancelReason, ClearingCommand, ExerciseStyle, LiquidationStep, PublicEvent, Refusal, Right,
    SessionReport,
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
    pit.done(session(1), &crate::support::cancel(1));
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
    pit.done(session(1), &crate::support::cancel(2));
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
