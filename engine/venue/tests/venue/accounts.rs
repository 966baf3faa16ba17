//! Every refusal of a venue with accounts, by the command that earns it, and the waterfall of an
//! account that has too little. `Pit::refusal` checks that nothing changed.

use crate::support;
use crate::support::pit::{self, FEED, Pit, ROUND, ask, bid, public, validator};
use crate::support::{ADMIN, Desk, Told, session};
use quorate::state_machine::StateMachine;
use quorate_venue::query::AccountAnswer;
use quorate_venue::{
    Answer, CancelReason, ClearingCommand, ClientOrderId, Command, ExerciseStyle, FeedId,
    Instrument, InstrumentId, LiquidationStep, OrderKind, PublicEvent, Question, Refusal, Right,
    SelfTrade, SessionReport, Side, VenueLimits,
};
use std::collections::BTreeSet;

const CALL: u32 = 1;
const MAX: i64 = quorate_venue::accounts::AMOUNT_MAX;

/// Two accounts, a price of 100 and an American call of strike 100 that expires in 20 rounds.
fn pit() -> Pit {
    let mut pit = Pit::new();
    pit.deposit(session(1), 300);
    pit.deposit(session(2), 1_000);
    pit.price(100);
    pit.list(Right::Call, ExerciseStyle::American, 100, 20);
    pit
}

fn exercise(instrument: u32, lots: u64) -> ClearingCommand {
    ClearingCommand::Exercise {
        instrument: InstrumentId(instrument),
        lots,
    }
}

fn deposit(amount: i64) -> ClearingCommand {
    let account = session(1);
    ClearingCommand::Deposit { account, amount }
}

type Terms = fn(&mut ListedTerms);

/// The fields of a listing, to be spoiled one by one.
struct ListedTerms {
    feed: FeedId,
    strike: i64,
    expiry_ns: u64,
    multiplier: u32,
    price_ticks_max: i64,
    size_lots_max: u64,
}

fn listing(pit: &Pit, spoil: Terms) -> ClearingCommand {
    let mut terms = ListedTerms {
        feed: FEED,
        strike: 200,
        expiry_ns: pit.time_ns + 9 * ROUND,
        multiplier: 1,
        price_ticks_max: 1_000,
        size_lots_max: 100,
    };
    spoil(&mut terms);
    ClearingCommand::ListSeries {
        feed: terms.feed,
        strike: terms.strike,
        expiry_ns: terms.expiry_ns,
        right: Right::Put,
        style: ExerciseStyle::European,
        multiplier: terms.multiplier,
        price_ticks_max: terms.price_ticks_max,
        size_lots_max: terms.size_lots_max,
    }
}

#[test]
fn a_venue_without_accounts_refuses_all_that_needs_them() {
    let mut desk = Desk::new(VenueLimits::default());
    let pit = Pit::new();
    for command in [
        pit.observation(100),
        pit.series(Right::Call, ExerciseStyle::European, 100, 5),
        deposit(1),
        ClearingCommand::EndowFund { amount: 1 },
        ClearingCommand::Withdraw { amount: 1 },
        exercise(0, 1),
        ClearingCommand::ResumeFeed { feed: FEED },
    ] {
        let refusal = desk.refusal(ADMIN, &Command::Clearing(command));
        assert_eq!(refusal, Refusal::NoAccounts);
    }
}

#[test]
fn only_administrators_bring_in_cash_list_series_and_resume_feeds() {
    let mut pit = pit();
    for command in [
        listing(&pit, |_| {}),
        deposit(1),
        ClearingCommand::EndowFund { amount: 1 },
        ClearingCommand::ResumeFeed { feed: FEED },
    ] {
        assert_eq!(pit.refused(session(1), command), Refusal::NotAdmin);
    }
}

#[test]
fn prices_come_from_validators_and_are_prices() {
    let mut pit = pit();
    let good = pit.observation(100);
    assert_eq!(pit.refused(session(1), good), Refusal::NotValidator);
    assert_eq!(pit.refused(ADMIN, good), Refusal::NotValidator);
    let with = |spoil: fn(&mut (FeedId, u64, i64, i64, u64))| {
        let mut parts = (FEED, pit.time_ns / ROUND, 100, 0, pit.time_ns);
        spoil(&mut parts);
        ClearingCommand::Observe {
            feed: parts.0,
            round: parts.1,
            price: parts.2,
            confidence: parts.3,
            source_time_ns: parts.4,
        }
    };
    let bad = [
        (with(|p| p.0 = FeedId(1)), Refusal::UnknownFeed),
        (with(|p| p.2 = -100), Refusal::PriceAbsurd),
        (with(|p| p.2 = 0), Refusal::PriceAbsurd),
        (with(|p| p.2 = i64::MAX), Refusal::PriceAbsurd),
        (with(|p| p.3 = -1), Refusal::ConfidenceAbsurd),
        (with(|p| p.1 += 2), Refusal::ObservationAhead),
        (with(|p| p.1 = 0), Refusal::ObservationStale),
        (with(|p| p.4 = 0), Refusal::ObservationStale),
        (with(|p| p.1 -= 1), Refusal::ObservationRepeated),
    ];
    for (command, refusal) in bad {
        assert_eq!(pit.refused(validator(0), command), refusal, "{command:?}");
    }
    pit.clear(validator(0), good);
    let again = pit.refused(validator(0), good);
    assert_eq!(again, Refusal::ObservationRepeated);
}

#[test]
fn amounts_are_positive_and_their_sum_is_bounded() {
    let mut pit = pit();
    for amount in [0, -1, i64::MIN, MAX + 1, i64::MAX] {
        let endow = ClearingCommand::EndowFund { amount };
        let withdraw = ClearingCommand::Withdraw { amount };
        assert_eq!(
            pit.refused(ADMIN, deposit(amount)),
            Refusal::AmountOutOfBounds
        );
        assert_eq!(pit.refused(ADMIN, endow), Refusal::AmountOutOfBounds);
        assert_eq!(
            pit.refused(session(1), withdraw),
            Refusal::AmountOutOfBounds
        );
    }
    assert_eq!(pit.refused(ADMIN, deposit(MAX)), Refusal::AmountOverflow);
    let endow = ClearingCommand::EndowFund { amount: MAX };
    assert_eq!(pit.refused(ADMIN, endow), Refusal::AmountOverflow);
    pit.clear(ADMIN, deposit(MAX - 1_300));
    assert_eq!(pit.refused(ADMIN, deposit(1)), Refusal::AmountOverflow);
}

#[test]
fn price_times_size_that_overflows_is_refused() {
    let mut pit = pit();
    let command = listing(&pit, |terms| {
        terms.multiplier = u32::MAX;
        terms.price_ticks_max = 1_000_000;
        terms.size_lots_max = 2_000;
    });
    pit.clear(ADMIN, command);
    for command in [bid(2, 1, 1_000_000, 2_000), ask(2, 1, 1_000_000, 2_000)] {
        assert_eq!(pit.refusal(session(2), &command), Refusal::AmountOverflow);
    }
    let far = pit.refusal(session(2), &bid(2, 1, 1, 1_500));
    assert_eq!(far, Refusal::PositionFull, "what it might pay is no amount");
}

#[test]
fn who_has_no_account_or_too_little_cash_cannot_trade_or_withdraw() {
    let mut pit = pit();
    let withdraw = |amount| ClearingCommand::Withdraw { amount };
    assert_eq!(
        pit.refused(session(3), withdraw(1)),
        Refusal::UnknownAccount
    );
    assert_eq!(
        pit.refused(session(3), exercise(CALL, 1)),
        Refusal::UnknownAccount
    );
    let order = ask(CALL, 1, 5, 1);
    assert_eq!(pit.refusal(session(3), &order), Refusal::UnknownAccount);
    // Sixteen lots would need 320 of 300.
    let order = ask(CALL, 1, 5, 16);
    assert_eq!(pit.refusal(session(1), &order), Refusal::MarginInsufficient);
    pit.done(session(1), &ask(CALL, 1, 5, 15));
    let order = bid(CALL, 2, 1, 1);
    assert_eq!(pit.refusal(session(1), &order), Refusal::MarginInsufficient);
    let more = support::replace(1, 2, 5, 16);
    assert_eq!(pit.refusal(session(1), &more), Refusal::MarginInsufficient);
    assert_eq!(
        pit.refused(session(1), withdraw(1)),
        Refusal::MarginInsufficient
    );
    assert_eq!(
        pit.refused(session(2), withdraw(1_001)),
        Refusal::MarginInsufficient
    );
    // What the replaced order has reserved is the new one's.
    pit.done(session(1), &support::replace(1, 2, 6, 15));
}

#[test]
fn without_a_fresh_price_nothing_is_opened_exercised_or_withdrawn_and_closing_goes_on() {
    let mut pit = pit();
    pit.trade(session(1), session(2), CALL, 5, 10);
    pit.at(pit.time_ns + 6 * ROUND);
    // Who is short is told that all its cash is bound, and who is long that none is.
    let (short, long) = (pit.account(session(1)), pit.account(session(2)));
    assert_eq!((short.initial, short.maintenance), (i64::MAX, 100));
    assert_eq!((long.initial, long.maintenance), (0, 0));
    for (who, command) in [(1, ask(CALL, 1, 5, 1)), (2, bid(CALL, 1, 5, 1))] {
        assert_eq!(pit.refusal(session(who), &command), Refusal::PriceNotFresh);
    }
    assert_eq!(
        pit.refused(session(2), exercise(CALL, 1)),
        Refusal::PriceNotFresh
    );
    let withdraw = ClearingCommand::Withdraw { amount: 1 };
    assert_eq!(pit.refused(session(1), withdraw), Refusal::PriceNotFresh);
    pit.clear(session(2), withdraw);
    pit.done(session(1), &bid(CALL, 1, 5, 10));
    pit.done(session(2), &ask(CALL, 1, 5, 10));
    assert_eq!(pit.position(session(1), CALL), 0);
    pit.clear(session(1), withdraw);
}

#[test]
fn what_is_done_is_told_first_and_by_the_kind_of_the_command() {
    let mut pit = pit();
    pit.trade(session(1), session(2), CALL, 5, 2);
    pit.price(113);
    let observation = pit.observation(113);
    let applied = [
        (ADMIN, deposit(5), 11),
        (ADMIN, ClearingCommand::EndowFund { amount: 5 }, 12),
        (validator(0), observation, 9),
        (session(1), ClearingCommand::Withdraw { amount: 5 }, 13),
        (session(2), exercise(CALL, 1), 14),
    ];
    let first = |pit: &mut Pit, (who, command, command_kind)| {
        let told = pit.clear(who, command);
        let seq = pit.seq;
        let report = SessionReport::Applied { seq, command_kind };
        assert_eq!(told[0], Told::Session(who, report));
    };
    for row in applied {
        first(&mut pit, row);
    }
    pit.at(pit.time_ns + ROUND);
    pit.price(500);
    let resume = ClearingCommand::ResumeFeed { feed: FEED };
    first(&mut pit, (ADMIN, resume, 15));
}

#[test]
fn an_account_below_initial_margin_may_still_close() {
    let mut pit = pit();
    pit.trade(session(1), session(2), CALL, 1, 10);
    pit.price(115);
    let account = pit.account(session(1));
    assert!(account.initial > account.cash && account.cash >= account.maintenance);
    let open = ask(CALL, 1, 50, 1);
    assert_eq!(pit.refusal(session(1), &open), Refusal::MarginInsufficient);
    pit.done(session(1), &bid(CALL, 1, 3, 10));
    let beyond = bid(CALL, 2, 3, 1);
    assert_eq!(
        pit.refusal(session(1), &beyond),
        Refusal::MarginInsufficient
    );
}

#[test]
fn a_series_has_sound_terms_and_a_future() {
    let mut pit = pit();
    let bad: [(Terms, Refusal); 12] = [
        (|t| t.feed = FeedId(1), Refusal::UnknownFeed),
        (|t| t.strike = 0, Refusal::TermsOutOfBounds),
        (|t| t.strike = -7, Refusal::TermsOutOfBounds),
        (|t| t.strike = 1_000_001, Refusal::TermsOutOfBounds),
        (|t| t.multiplier = 0, Refusal::TermsOutOfBounds),
        (|t| t.price_ticks_max = 0, Refusal::TermsOutOfBounds),
        (|t| t.price_ticks_max = 1_000_001, Refusal::TermsOutOfBounds),
        (|t| t.size_lots_max = 0, Refusal::TermsOutOfBounds),
        (|t| t.size_lots_max = u64::MAX, Refusal::TermsOutOfBounds),
        (|t| t.expiry_ns = 1, Refusal::ExpiryPast),
        (|t| t.expiry_ns = 1_001 * ROUND, Refusal::ExpiryPast),
        (|t| t.expiry_ns = u64::MAX, Refusal::ExpiryPast),
    ];
    for (spoil, refusal) in bad {
        let command = listing(&pit, spoil);
        assert_eq!(pit.refused(ADMIN, command), refusal, "{command:?}");
    }
    let good = listing(&pit, |_| {});
    pit.clear(ADMIN, good);
    assert_eq!(pit.refused(ADMIN, good), Refusal::SeriesTwice);
}

/// At a price of 2^40 a lot of multiplier 2^22 pays 2^62, the greatest amount there is.
#[test]
fn a_series_of_which_a_single_lot_may_pay_more_than_an_amount_is_refused() {
    let mut config = pit::config();
    let clearing = config.clearing.as_mut().expect("it has accounts");
    clearing.feeds[0].price_max = 1 << 40;
    let mut pit = Pit::with(config);
    let beyond = listing(&pit, |t| t.multiplier = (1 << 22) + 1);
    assert_eq!(pit.refused(ADMIN, beyond), Refusal::TermsOutOfBounds);
    let most = listing(&pit, |t| t.multiplier = 1 << 22);
    pit.clear(ADMIN, most);
}

#[test]
fn full_is_full() {
    let mut config = pit::config();
    let instrument = |at: u32| Instrument::with_symbol(&format!("I{at}"));
    config.instruments = (0..4096).map(instrument).collect();
    let mut full = Pit::with(config);
    let command = listing(&full, |_| {});
    assert_eq!(full.refused(ADMIN, command), Refusal::SeriesFull);

    let mut pit = pit();
    for number in 3..=8 {
        pit.deposit(session(number), 1);
    }
    let account = session(9);
    let ninth = ClearingCommand::Deposit { account, amount: 1 };
    assert_eq!(pit.refused(ADMIN, ninth), Refusal::AccountsFull);
    pit.deposit(session(1), 1);
    assert_eq!(pit.account(session(1)).cash, 301, "who is in gets more");

    for strike in [110, 120, 130] {
        pit.list(Right::Put, ExerciseStyle::European, strike, 20);
    }
    for series in 1..=3 {
        pit.done(session(2), &bid(series, u64::from(series), 1, 1));
    }
    let fourth = bid(4, 4, 1, 1);
    assert_eq!(pit.refusal(session(2), &fourth), Refusal::PositionFull);
    pit.done(session(2), &support::cancel(1));
    pit.done(session(2), &fourth);
}

#[test]
fn what_cannot_be_exercised_is_refused() {
    let mut pit = pit();
    pit.list(Right::Call, ExerciseStyle::European, 90, 20);
    pit.trade(session(1), session(2), CALL, 5, 3);
    for (instrument, lots, refusal) in [
        (99, 1, Refusal::UnknownInstrument),
        (0, 1, Refusal::NotSeries),
        (2, 1, Refusal::NotAmerican),
        (CALL, 0, Refusal::SizeZero),
        (CALL, 4, Refusal::PositionTooSmall),
        (CALL, 1, Refusal::NotInTheMoney),
    ] {
        let refused = pit.refused(session(2), exercise(instrument, lots));
        assert_eq!(refused, refusal);
    }
    let short = pit.refused(session(1), exercise(CALL, 1));
    assert_eq!(short, Refusal::PositionTooSmall);
    pit.at(pit.time_ns + 30 * ROUND);
    let late = pit.refused(session(2), exercise(CALL, 1));
    assert_eq!(late, Refusal::SeriesExpired);
}

#[test]
fn a_series_takes_no_market_order_and_no_negative_price() {
    let mut pit = pit();
    let order = |kind, price_ticks| Command::New {
        kind,
        side: Side::Buy,
        self_trade: SelfTrade::Permit,
        instrument: InstrumentId(CALL),
        client_order: ClientOrderId(1),
        price_ticks,
        size_lots: 1,
    };
    let market = pit.refusal(session(2), &order(OrderKind::Market, 0));
    assert_eq!(market, Refusal::MarketInSeries);
    let negative = pit.refusal(session(2), &order(OrderKind::Limit, -1));
    assert_eq!(negative, Refusal::PriceOutOfBounds);
    let none = pit.refused(ADMIN, ClearingCommand::ResumeFeed { feed: FEED });
    assert_eq!(none, Refusal::FeedNotHalted);
    let none = pit.refused(ADMIN, ClearingCommand::ResumeFeed { feed: FeedId(7) });
    assert_eq!(none, Refusal::UnknownFeed);
}

/// An option may be worth nothing, and who is short of it wants to be rid of it.
#[test]
fn a_lot_of_a_series_may_be_sold_for_nothing() {
    let mut pit = pit();
    pit.done(session(1), &ask(CALL, 1, 0, 3));
    pit.done(session(2), &bid(CALL, 1, 0, 2));
    let positions = |number| pit.account(session(number)).positions;
    assert_eq!(positions(1), [(InstrumentId(CALL), -2)]);
    assert_eq!(positions(2), [(InstrumentId(CALL), 2)]);
    assert_eq!(pit.account(session(1)).cash, 300);
    assert_eq!(pit.account(session(2)).cash, 1_000);
}

#[test]
fn questions_about_what_does_not_exist_are_refused() {
    let pit = pit();
    let unknown = session(7);
    for (question, refusal) in [
        (
            Question::Account { session: unknown },
            Refusal::UnknownAccount,
        ),
        (Question::Feed { feed: FeedId(1) }, Refusal::UnknownFeed),
        (
            Question::Series {
                instrument: InstrumentId(0),
            },
            Refusal::NotSeries,
        ),
    ] {
        assert_eq!(pit.ask(question), Answer::Refused(refusal));
    }
}

/// Every refusal that came with accounts is earned by a test of this file or of `options`.
#[test]
fn the_refusals_of_accounts_are_all_told_of_here() {
    let tests = [include_str!("accounts.rs"), include_str!("options.rs")].concat();
    let missing: BTreeSet<_> = Refusal::ALL
        .iter()
        .filter(|&&refusal| (Refusal::NoAccounts..=Refusal::FeedNotHalted).contains(&refusal))
        .map(|refusal| format!("Refusal::{refusal:?}"))
        .filter(|name| !tests.contains(name))
        .collect();
    assert_eq!(missing, BTreeSet::new());
}

/// Session 1 is short ten calls of strike 100 with 310 of cash; session 2 is long.
fn short() -> Pit {
    let mut pit = pit();
    pit.trade(session(1), session(2), CALL, 1, 10);
    pit
}

fn steps(told: &[Told]) -> Vec<(LiquidationStep, u64, i64, i64)> {
    let step = |event: PublicEvent| match event {
        PublicEvent::Liquidated {
            step,
            lots,
            paid,
            fund_paid,
            ..
        } => Some((step, lots, paid, fund_paid)),
        _ => None,
    };
    public(told).into_iter().filter_map(step).collect()
}

fn cancelled(told: &[Told]) -> usize {
    let of_margin = |told: &&Told| {
        let reason = CancelReason::Margin;
        matches!(told, Told::Session(_, SessionReport::Cancelled { reason: r, .. }) if *r == reason)
    };
    told.iter().filter(of_margin).count()
}

fn cash_and_positions(account: &AccountAnswer) -> (i64, Vec<i64>) {
    let lots = account.positions.iter().map(|&(_, lots)| lots).collect();
    (account.cash, lots)
}

#[test]
fn first_the_orders_go() {
    let mut pit = short();
    pit.done(session(1), &bid(CALL, 5, 5, 10));
    let spot = support::limit(6, Side::Buy, 10, 5);
    pit.done(session(1), &spot);
    // A lot at 118 asks 18 and 12, so 300 of 310; but the bid costs 50.
    let told = pit.price(118);
    assert_eq!((cancelled(&told), steps(&told)), (1, vec![]));
    assert_eq!(
        pit.venue.order_count(),
        1,
        "the order in the plain book stays"
    );
    assert_eq!(
        cash_and_positions(&pit.account(session(1))),
        (310, vec![-10])
    );
}

#[test]
fn then_it_buys_back_from_the_book_no_dearer_than_its_margin() {
    let mut pit = short();
    pit.deposit(session(3), 10_000);
    pit.done(session(3), &ask(CALL, 1, 25, 4));
    pit.done(session(3), &ask(CALL, 2, 33, 6));
    // A lot at 120 asks 20 and 12: four lots are bought for 100, and six ask 192 of 210.
    let told = pit.price(120);
    assert_eq!(steps(&told), [(LiquidationStep::BoughtBack, 4, 100, 0)]);
    assert_eq!(
        cash_and_positions(&pit.account(session(1))),
        (210, vec![-6])
    );
    assert_eq!(pit.position(session(3), CALL), -4);
}

#[test]
fn then_the_fund_takes_what_is_left_with_its_margin() {
    let mut pit = short();
    pit.clear(ADMIN, ClearingCommand::EndowFund { amount: 500 });
    let told = pit.price(120);
    assert_eq!(steps(&told), [(LiquidationStep::TakenOver, 10, 310, 0)]);
    assert_eq!(cash_and_positions(&pit.account(session(1))), (0, vec![]));
    assert_eq!(cash_and_positions(&pit.fund()), (810, vec![-10]));
    for _ in 0..20 {
        pit.price(120);
    }
    assert_eq!(pit.fund().cash, 610, "it has paid at expiry like any other");
    assert_eq!(pit.account(session(2)).cash, 990 + 200);
}

#[test]
fn without_a_fund_it_is_closed_against_the_long_accounts_at_intrinsic_value() {
    let mut pit = short();
    pit.done(session(2), &ask(CALL, 5, 300, 10));
    let told = pit.price(120);
    assert_eq!(steps(&told), [(LiquidationStep::Deleveraged, 10, 200, 0)]);
    assert_eq!(cash_and_positions(&pit.account(session(1))), (110, vec![]));
    assert_eq!(
        cash_and_positions(&pit.account(session(2))),
        (990 + 200, vec![])
    );
    assert_eq!(cancelled(&told), 1, "the ask has nothing to close any more");
}

/// Its bids open something, and what it has elsewhere is still there to be closed.
#[test]
fn who_is_closed_against_keeps_its_bids_and_its_asks_in_other_series() {
    let mut pit = short();
    pit.list(Right::Call, ExerciseStyle::European, 130, 20);
    let other = CALL + 1;
    pit.deposit(session(3), 1_000);
    pit.trade(session(3), session(2), other, 1, 1);
    pit.done(session(2), &ask(CALL, 5, 300, 10));
    pit.done(session(2), &bid(CALL, 6, 1, 1));
    pit.done(session(2), &ask(other, 7, 300, 1));
    let told = pit.price(120);
    assert_eq!(steps(&told), [(LiquidationStep::Deleveraged, 10, 200, 0)]);
    assert_eq!(cancelled(&told), 1);
    pit.done(session(2), &support::cancel(6));
    pit.done(session(2), &support::cancel(7));
}

#[test]
fn the_loss_beyond_account_and_fund_is_shared_by_the_long_accounts() {
    let mut pit = pit();
    pit.deposit(session(3), 1_000);
    pit.clear(ADMIN, ClearingCommand::EndowFund { amount: 51 });
    pit.trade(session(1), session(2), CALL, 1, 6);
    pit.trade(session(1), session(3), CALL, 1, 4);
    // 500 is owed, the account has 310 and the fund 51: of 361 the shares are 216.6 and 144.4.
    let told = pit.price(150);
    assert_eq!(steps(&told), [(LiquidationStep::Deleveraged, 10, 360, 50)]);
    assert_eq!(pit.account(session(1)).cash, 0);
    assert_eq!(pit.account(session(2)).cash, 994 + 216);
    assert_eq!(pit.account(session(3)).cash, 996 + 144);
    assert_eq!(pit.fund().cash, 1, "what rounding left");
}

/// At a price of 120 two accounts fall short of ten lots each, in a series of which an account may
/// have 16 at most, and the fund could stand behind all of them.
#[test]
fn the_fund_takes_no_more_lots_of_a_series_than_can_be_paid_in_an_amount() {
    const CASH: i64 = u32::MAX as i64;
    let mut config = pit::config();
    let clearing = config.clearing.as_mut().expect("it has accounts");
    clearing.feeds[0].price_max = 1 << 26;
    let mut pit = Pit::with(config);
    for (number, cash) in [(1, 300), (2, 1_000), (3, 300), (4, 1_000)] {
        pit.deposit(session(number), cash * CASH);
    }
    let amount = 10_000 * CASH;
    pit.clear(ADMIN, ClearingCommand::EndowFund { amount });
    pit.price(100);
    pit.clear(
        ADMIN,
        ClearingCommand::ListSeries {
            feed: FEED,
            strike: 100,
            expiry_ns: pit.time_ns + 9 * ROUND,
            right: Right::Call,
            style: ExerciseStyle::European,
            multiplier: u32::MAX,
            price_ticks_max: 1_000,
            size_lots_max: 100,
        },
    );
    pit.trade(session(1), session(2), CALL, 1, 10);
    let most = pit.refusal(session(2), &bid(CALL, 1, 1, 7));
    assert_eq!(most, Refusal::PositionFull);
    let most = pit.refusal(session(1), &ask(CALL, 1, 1, 7));
    assert_eq!(most, Refusal::PositionFull);
    pit.trade(session(3), session(4), CALL, 1, 10);
    let told = pit.price(120);
    let expected = [
        (LiquidationStep::TakenOver, 10, 310 * CASH, 0),
        (LiquidationStep::Deleveraged, 10, 200 * CASH, 0),
    ];
    assert_eq!(steps(&told), expected);
    assert_eq!(pit.fund().positions, [(InstrumentId(CALL), -10)]);
}

#[test]
fn when_numbers_of_orders_have_run_out_nothing_is_bought_back() {
    let mut pit = short();
    pit.deposit(session(3), 10_000);
    pit.done(session(3), &ask(CALL, 1, 25, 10));
    let mut sections = pit.snapshot();
    // Behind the version and the limits stands the number of the next order.
    sections[0][13..21].copy_from_slice(&(u64::MAX - 1).to_le_bytes());
    for (section, bytes) in sections.iter().enumerate() {
        pit.venue.restore_section(section, bytes).expect("sound");
    }
    let told = pit.price(120);
    assert_eq!(steps(&told), [(LiquidationStep::Deleveraged, 10, 200, 0)]);
    let order = pit.refusal(session(2), &bid(CALL, 1, 25, 1));
    assert_eq!(order, Refusal::NumbersExhausted);
}

#[test]
fn an_account_with_enough_is_left_alone() {
    let mut pit = short();
    let told = pit.price(118);
    assert_eq!((steps(&told), cancelled(&told)), (vec![], 0));
}

#[test]
fn a_halted_product_liquidates_nobody() {
    let mut pit = short();
    let told = pit.price(190);
    assert_eq!(steps(&told), [], "the price was not taken");
    assert_eq!(pit.position(session(1), CALL), -10);
}

#[test]
fn orders_and_accounts_are_told_to_whose_they_are_and_to_administrators_alone() {
    let mut pit = pit();
    pit.done(session(1), &bid(CALL, 1, 10, 2));
    let ask = |asker, question: Question| {
        let (mut bytes, mut answer) = (Vec::new(), Vec::new());
        question.encode(&mut bytes);
        pit.venue.query_from(asker, &bytes, &mut answer);
        Answer::decode(&answer).expect("answers decode")
    };
    let order = Question::Order {
        session: session(1),
        client_order: ClientOrderId(1),
    };
    let account = Question::Account {
        session: session(1),
    };
    for question in [order, account] {
        let told = pit.ask(question);
        assert!(!matches!(told, Answer::Refused(_)), "{told:?}");
        assert_eq!(ask(session(1), question), told);
        assert_eq!(ask(ADMIN, question), told);
        let refused = Answer::Refused(Refusal::NotAdmin);
        assert_eq!(ask(session(2), question), refused);
    }
    // Also of what does not exist: that would tell what does.
    let none = Question::Account {
        session: session(9),
    };
    assert_eq!(ask(session(2), none), Answer::Refused(Refusal::NotAdmin));
    // What everybody may see is for everybody.
    let fund = ask(session(2), Question::Fund);
    assert!(matches!(fund, Answer::Account(_)), "{fund:?}");
}
