//! The waterfall step by step: at what price and with what cash it buys back, what the fund takes
//! and with how much, and what is left alone. Its ordinary course is in `accounts`.

use crate::support::pit::{self, Pit, ask, public};
use crate::support::{ADMIN, Told, session};
use quorate_venue::{
    ClearingCommand, Command, ExerciseStyle, InstrumentId, LiquidationStep, PublicEvent, Right,
    SeriesState, SessionReport,
};

/// Calls of strike 100 and 110 at a price of 100.
const NEAR: u32 = 1;
const FAR: u32 = 2;

/// Session 1 has this cash and sells to session 2 ten calls of each of these series, for one each.
/// Session 3 has cash to offer whatever the test wants.
fn short(cash: i64, series: &[u32]) -> Pit {
    let mut pit = Pit::new();
    pit.deposit(session(1), cash);
    for number in [2, 3] {
        pit.deposit(session(number), 10_000);
    }
    pit.price(100);
    pit.list(Right::Call, ExerciseStyle::European, 100, 20);
    pit.list(Right::Call, ExerciseStyle::European, 110, 20);
    for &series in series {
        pit.trade(session(1), session(2), series, 1, 10);
    }
    pit
}

fn steps(told: &[Told]) -> Vec<(u32, LiquidationStep, u64, i64)> {
    let step = |event: PublicEvent| match event {
        PublicEvent::Liquidated {
            instrument,
            step,
            lots,
            paid,
            ..
        } => Some((instrument.0, step, lots, paid)),
        _ => None,
    };
    public(told).into_iter().filter_map(step).collect()
}

/// At 120 a lot of the near calls asks 32, and one of the far calls 22: 540 of 470.
#[test]
fn however_much_cash_there_is_a_lot_is_bought_back_at_no_more_than_its_margin() {
    let mut pit = short(450, &[NEAR, FAR]);
    pit.done(session(3), &ask(NEAR, 1, 32, 1));
    pit.done(session(3), &ask(NEAR, 2, 33, 9));
    let expected = [
        (NEAR, LiquidationStep::BoughtBack, 1, 32),
        (NEAR, LiquidationStep::TakenOver, 9, 288),
        (FAR, LiquidationStep::Deleveraged, 10, 100),
    ];
    assert_eq!(steps(&pit.price(120)), expected);
    assert_eq!(pit.position(session(3), NEAR), -1);
}

/// Ten lots ask 320 of 310, so that 31 is all that can be paid for each of them.
#[test]
fn it_buys_back_for_no_more_in_all_than_there_is_cash() {
    let told_with_asks_at = |price| {
        let mut pit = short(300, &[NEAR]);
        pit.done(session(3), &ask(NEAR, 1, price, 10));
        let told = pit.price(120);
        (steps(&told), pit.account(session(1)).cash)
    };
    let bought = vec![(NEAR, LiquidationStep::BoughtBack, 10, 310)];
    assert_eq!(told_with_asks_at(31), (bought, 0));
    let closed = vec![(NEAR, LiquidationStep::Deleveraged, 10, 200)];
    assert_eq!(told_with_asks_at(32), (closed, 110));
}

/// It has 310 of the 320 that its lots ask. Two of them cost 54, and the other eight ask 256.
#[test]
fn who_has_exactly_enough_when_it_has_bought_back_keeps_the_rest() {
    let mut pit = short(300, &[NEAR]);
    pit.done(session(3), &ask(NEAR, 1, 27, 2));
    let expected = [(NEAR, LiquidationStep::BoughtBack, 2, 54)];
    assert_eq!(steps(&pit.price(120)), expected);
    let account = pit.account(session(1));
    assert_eq!((account.cash, account.maintenance), (256, 256));
    assert_eq!(pit.position(session(1), NEAR), -8);
}

/// Its number alone tells it from the order of a client.
#[test]
fn the_number_with_which_the_venue_bought_back_is_given_to_no_order_after_it() {
    let mut pit = short(450, &[NEAR, FAR]);
    pit.done(session(3), &ask(NEAR, 1, 25, 1));
    let told = pit.price(120);
    let numbers = public(&told).into_iter().filter_map(|event| match event {
        PublicEvent::Traded { incoming, .. } => Some(incoming),
        _ => None,
    });
    let bought: Vec<_> = numbers.collect();
    assert_eq!(bought.len(), 1, "{told:?}");
    let told = pit.done(session(3), &ask(FAR, 9, 500, 1));
    match told[0] {
        Told::Session(_, SessionReport::Accepted { order, .. }) => assert!(order > bought[0]),
        _ => panic!("{told:?}"),
    }
}

#[test]
fn nothing_is_bought_back_in_a_series_that_is_halted_and_the_next_step_runs() {
    let mut pit = short(300, &[NEAR]);
    pit.done(session(3), &ask(NEAR, 1, 25, 10));
    let instrument = InstrumentId(NEAR);
    pit.done(ADMIN, &Command::Halt { instrument });
    let expected = [(NEAR, LiquidationStep::Deleveraged, 10, 200)];
    assert_eq!(steps(&pit.price(120)), expected);
    assert_eq!(pit.position(session(3), NEAR), 0);
    assert_eq!(pit.venue.order_count(), 1, "the ask still rests");
}

#[test]
fn the_fund_takes_the_margin_of_one_series_and_leaves_the_rest_for_the_next() {
    let mut pit = short(450, &[NEAR, FAR]);
    pit.clear(ADMIN, ClearingCommand::EndowFund { amount: 70 });
    let expected = [
        (NEAR, LiquidationStep::TakenOver, 10, 320),
        (FAR, LiquidationStep::TakenOver, 10, 150),
    ];
    assert_eq!(steps(&pit.price(120)), expected);
    assert_eq!(pit.account(session(1)).cash, 0);
    let fund = pit.fund();
    assert_eq!((fund.cash, fund.maintenance), (540, 540));
}

/// Each brings 310 of the 320 that its lots ask, so that the fund needs 10 for each of the two.
#[test]
fn what_the_fund_has_taken_over_must_have_its_margin_before_it_takes_more() {
    let taken_with = |amount| {
        let mut pit = short(300, &[NEAR]);
        pit.deposit(session(4), 300);
        pit.trade(session(4), session(2), NEAR, 1, 10);
        pit.clear(ADMIN, ClearingCommand::EndowFund { amount });
        let told = pit.price(120);
        let steps = steps(&told).into_iter().map(|(_, step, ..)| step);
        steps.collect::<Vec<_>>()
    };
    let (taken, closed) = (LiquidationStep::TakenOver, LiquidationStep::Deleveraged);
    assert_eq!(taken_with(9), [closed], "both at one time");
    assert_eq!(taken_with(10), [taken, closed]);
    assert_eq!(taken_with(19), [taken, closed]);
    assert_eq!(taken_with(20), [taken, taken]);
}

#[test]
fn a_series_that_has_expired_and_waits_for_its_settlement_liquidates_nobody() {
    let mut pit = short(300, &[NEAR]);
    let due = pit.series_state(NEAR).due_ns;
    pit.at(due);
    assert_eq!(pit.series_state(NEAR).state, SeriesState::Deferred);
    let told = pit.price(120);
    let account = pit.account(session(1));
    assert!(account.cash < account.maintenance, "{account:?}");
    assert_eq!(steps(&told), []);
    assert_eq!(pit.position(session(1), NEAR), -10);
}

/// Of ten lots closed against eleven, ten fall to the older of the two who are long.
#[test]
fn who_is_long_and_was_not_closed_against_keeps_the_asks_that_close() {
    let mut pit = short(300, &[NEAR]);
    pit.deposit(session(4), 10_000);
    pit.trade(session(4), session(3), NEAR, 1, 1);
    pit.done(session(3), &ask(NEAR, 1, 300, 1));
    let expected = [(NEAR, LiquidationStep::Deleveraged, 10, 200)];
    assert_eq!(steps(&pit.price(120)), expected);
    assert_eq!(pit.position(session(2), NEAR), 0);
    assert_eq!(pit.position(session(3), NEAR), 1);
    assert_eq!(pit.venue.order_count(), 1, "the ask still rests");
}

/// Ten accounts are short a lot each, all of them sold to the older of two who are long ten, and
/// one with more cash than it needs is short the others.
#[test]
fn lots_of_many_small_accounts_are_shared_by_all_who_are_long_in_proportion() {
    let mut config = pit::config();
    let clearing = config.clearing.as_mut().expect("it has accounts");
    clearing.rules.accounts_max = 16;
    let mut pit = Pit::with(config);
    let (older, younger, rich) = (session(11), session(12), session(13));
    for who in [older, younger, rich] {
        pit.deposit(who, 10_000);
    }
    pit.price(100);
    pit.list(Right::Call, ExerciseStyle::European, 100, 20);
    for number in 1..=10 {
        pit.deposit(session(number), 30);
        pit.trade(session(number), older, NEAR, 1, 1);
    }
    pit.trade(rich, younger, NEAR, 1, 10);
    let told = pit.price(120);
    assert_eq!(
        steps(&told),
        [(NEAR, LiquidationStep::Deleveraged, 10, 200)]
    );
    for who in [older, younger] {
        assert_eq!(pit.position(who, NEAR), 5);
        assert_eq!(pit.account(who).cash, 10_000 - 10 + 5 * 20);
    }
    for number in 1..=10 {
        assert_eq!(pit.position(session(number), NEAR), 0);
        assert_eq!(pit.account(session(number)).cash, 30 + 1 - 20);
    }
    assert_eq!(pit.position(rich, NEAR), -10);
}

/// At 150 a lot asks 65, and is worth 50. Both have 31 for one lot, and there is no fund.
#[test]
fn what_those_that_end_together_cannot_pay_is_the_loss_of_all_who_were_closed_against() {
    let mut pit = Pit::new();
    for (number, cash) in [(1, 30), (2, 30), (3, 1_000), (4, 1_000)] {
        pit.deposit(session(number), cash);
    }
    pit.price(100);
    pit.list(Right::Call, ExerciseStyle::European, 100, 20);
    pit.trade(session(1), session(3), NEAR, 1, 1);
    pit.trade(session(2), session(4), NEAR, 1, 1);
    pit.deposit(session(2), 19);
    let told = pit.price(150);
    // 31 and 50 of 100.
    let expected = [(NEAR, LiquidationStep::Deleveraged, 2, 80)];
    assert_eq!(steps(&told), expected);
    let cash = |number| pit.account(session(number)).cash;
    assert_eq!((cash(1), cash(2)), (0, 0));
    assert_eq!((cash(3), cash(4)), (999 + 40, 999 + 40));
    assert_eq!(pit.fund().cash, 1, "what rounding left");
}

/// At 125 a lot asks 38 and 28, and is worth 25 and 15. The one that is short in both series has
/// 470, and 90 when the fund has taken the first; the other one has 125 for its five.
#[test]
fn who_comes_to_a_series_from_another_one_ends_there_with_all_others() {
    let mut pit = short(450, &[NEAR, FAR]);
    pit.deposit(session(4), 120);
    pit.trade(session(4), session(3), FAR, 1, 5);
    let told = pit.price(125);
    let expected = [
        (NEAR, LiquidationStep::TakenOver, 10, 380),
        (FAR, LiquidationStep::Deleveraged, 15, 225),
    ];
    assert_eq!(steps(&told), expected);
    assert_eq!(pit.account(session(1)).cash, 0);
    assert_eq!(pit.account(session(4)).cash, 125 - 75);
    assert_eq!(pit.fund().cash, 380 - 60);
}

/// At 130 a lot asks 43, 53 and 33, and is worth 30, 40 and 20. Session 1 has 420 for what it is
/// short in the first and the third; session 4 has 460 for the second, in which it is short to
/// session 1.
#[test]
fn who_was_paid_while_it_waited_for_its_next_series_buys_nothing_back() {
    let (mid, last) = (2, 3);
    let mut pit = Pit::new();
    for (number, cash) in [(1, 410), (2, 10_000), (3, 10_000), (4, 450)] {
        pit.deposit(session(number), cash);
    }
    pit.price(100);
    for strike in [100, 90, 110] {
        pit.list(Right::Call, ExerciseStyle::European, strike, 20);
    }
    pit.trade(session(4), session(1), mid, 1, 10);
    pit.trade(session(1), session(2), NEAR, 1, 10);
    pit.trade(session(1), session(2), last, 1, 10);
    // What it could buy back, were it to.
    pit.done(session(3), &ask(last, 1, 25, 10));
    let expected = [
        (NEAR, LiquidationStep::Deleveraged, 10, 300),
        (mid, LiquidationStep::Deleveraged, 10, 400),
    ];
    assert_eq!(steps(&pit.price(130)), expected);
    assert_eq!(pit.position(session(1), last), -10);
    assert_eq!(pit.account(session(1)).cash, 420 - 300 + 400);
}
