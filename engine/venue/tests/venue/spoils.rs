//! Each check of what a venue is made or restored from, by the words with which it refuses: one
//! that any other check might stand in for is not shown to be there.

use crate::state::{restored, traded};
use crate::support::pit::{self, Pit, bid};
use crate::support::{ADMIN, Desk, limit, session};
use quorate::state_machine::{SessionId, StateMachine};
use quorate_venue::{
    ClearingConfig, ExerciseStyle, FeedConfig, Instrument, Right, SeriesState, Side, Venue,
    VenueConfig, VenueLimits,
};

const SECTION_VENUE: usize = 0;
const SECTION_INSTRUMENTS: usize = 1;
const SECTION_BOOK: usize = 2;
const SECTION_FEEDS: usize = 3;
const SECTION_SERIES: usize = 4;
const SECTION_ACCOUNTS: usize = 5;

/// Other bytes from a place on, and what is said of them.
type Row<'a> = (usize, &'a [u8], &'a str);

/// Every row is refused in its own words, and what it changes is not without it.
fn each_is_refused(pit: &Pit, section: usize, rows: &[Row<'_>]) {
    assert_eq!(restored(pit, section, |_| ()), Ok(()));
    for &(at, bytes, expected) in rows {
        let spoilt = restored(pit, section, |now| {
            now[at..at + bytes.len()].copy_from_slice(bytes);
        });
        let error = spoilt.expect_err(expected);
        assert!(error.contains(expected), "{error} instead of {expected}");
    }
}

const ZERO: [u8; 8] = [0; 8];
const ONE: [u8; 8] = 1_i64.to_le_bytes();
const MINUS_ONE: [u8; 8] = (-1_i64).to_le_bytes();

#[test]
fn limits_numbers_and_administrators_that_cannot_be_are_each_refused() {
    let above = (quorate_venue::config::ORDERS_MAX + 1).to_le_bytes();
    let rows: [Row<'_>; 7] = [
        (1, &ZERO[..4], "limit orders_max"),
        (5, &ZERO[..4], "limit orders_per_session_max"),
        (9, &above, "limit levels_per_side_max"),
        (13, &ZERO, "a next number is zero"),
        (21, &ZERO, "a next number is zero"),
        (29, &[65, 0, 0, 0], "count 65"),
        (0, &[2], "format version 2"),
    ];
    each_is_refused(&traded(), SECTION_VENUE, &rows);
    let mut config = pit::config();
    config.admins.push(session(1));
    let with_two = Pit::with(config);
    let in_turn: Row<'_> = (33, &[0xff; 16], "not in ascending order");
    let twice: Row<'_> = (33, &ADMIN.0, "is named twice");
    each_is_refused(&with_two, SECTION_VENUE, &[in_turn, twice]);
}

/// Without a check sizes add up beyond what a level holds, and an order in a series may have a
/// price below zero, which nobody could pay.
#[test]
fn instruments_that_cannot_be_are_each_refused() {
    let beyond = 1_000_001_i64.to_le_bytes();
    let series = "its instrument is not that of a series";
    // A count, then SPOT: symbol 6, prices 10 and 18, size 26, status 34; and #1: symbol 36, prices
    // 38 and 46, size 54.
    let rows: [Row<'_>; 13] = [
        (1, &ZERO[..4], "instruments, not 0"),
        (1, &[1, 16], "count 4097"),
        (6, b" ", "instrument 0: symbol must be"),
        (6, &[0xff], "a symbol is not text"),
        (10, &i64::MIN.to_le_bytes(), "price bounds must be"),
        (18, &i64::MAX.to_le_bytes(), "price bounds must be"),
        (26, &ZERO, "size_lots_max must be"),
        (26, &i64::MAX.to_le_bytes(), "size_lots_max must be"),
        (34, &[2], "field status"),
        (54, &ZERO, "instrument 1: size_lots_max must be"),
        (38, &MINUS_ONE, series),
        (46, &ZERO, series),
        (46, &beyond, series),
    ];
    each_is_refused(&traded(), SECTION_INSTRUMENTS, &rows);
    let mut twice = bids().snapshot().swap_remove(SECTION_INSTRUMENTS);
    let second = twice.len() - 28;
    assert_eq!(twice[second..second + 3], *b"BBB");
    twice[second..second + 3].copy_from_slice(b"AAA");
    let mut copy = Desk::new(VenueLimits::default());
    let error = copy.venue.restore_section(SECTION_INSTRUMENTS, &twice);
    let error = error.expect_err("one symbol twice");
    assert!(error.contains("two instruments are called AAA"), "{error}");
}

/// Its first trade would move the cash of nobody.
#[test]
fn an_order_in_a_series_of_who_has_no_account_is_refused() {
    let mut pit = traded();
    pit.done(session(2), &bid(1, 1, 5, 10));
    // The last order is a number and then its session.
    let of_session = |number: u8| {
        restored(&pit, SECTION_BOOK, |book| {
            let last = book.len() - 61;
            book[last + 8..last + 24].fill(number);
        })
    };
    assert_eq!(of_session(2), Ok(()));
    let error = of_session(9).expect_err("nobody stands behind it");
    assert!(error.contains("in a series has no account"), "{error}");
}

/// Three bids of one session at three prices, and one of another.
fn bids() -> Desk {
    let mut desk = Desk::new(VenueLimits::default());
    for name in 1..=3 {
        desk.apply(session(1), &limit(name, Side::Buy, 90 + name as i64, 5));
    }
    desk.apply(session(2), &limit(1, Side::Buy, 91, 5));
    desk
}

#[test]
fn a_book_with_more_than_the_limits_allow_is_refused_and_one_with_as_much_is_not() {
    let sections = bids().snapshot();
    let with = |at: usize, most: u8| {
        let mut copy = Desk::new(VenueLimits::default());
        let mut limits = sections[SECTION_VENUE].clone();
        limits[at..at + 4].copy_from_slice(&[most, 0, 0, 0]);
        copy.venue.restore_section(SECTION_VENUE, &limits).unwrap();
        let book = &sections[SECTION_BOOK];
        copy.venue.restore_section(SECTION_BOOK, book)
    };
    let rows = [
        (1, 4, "count 4"),
        (5, 3, "its session has more orders than it may"),
        (9, 3, "its side has more levels than it may"),
    ];
    for (at, held, expected) in rows {
        assert_eq!(with(at, held), Ok(()), "{expected}");
        let error = with(at, held - 1).expect_err(expected);
        assert!(error.contains(expected), "{error} instead of {expected}");
    }
}

#[test]
fn validators_and_feeds_that_cannot_be_are_each_refused() {
    let first = traded().snapshot()[SECTION_FEEDS][5..21].to_vec();
    // Four validators of 24 bytes each, then the feeds: the one that there is begins at 105.
    let rows: [Row<'_>; 7] = [
        (1, &[0], "1 to 64 validators, not 0"),
        (1, &[65], "count 65"),
        (21, &ZERO, "stake of feed validator 0"),
        (29, &first, "is named twice"),
        (101, &[65], "count 65"),
        (106, b" ", "feed 0: symbol must be"),
        (117, &ZERO[..4], "feed 0: fresh_rounds must be"),
    ];
    each_is_refused(&traded(), SECTION_FEEDS, &rows);
}

#[test]
fn rules_and_series_that_cannot_be_are_each_refused() {
    let beyond = 1_000_001_i64.to_le_bytes();
    let bps = 10_001_u32.to_le_bytes();
    // Six rules and a count, then the series: instrument 29, feed 33, strike 37, multiplier 55,
    // state 59, due 60, fixing 68.
    let rows: [Row<'_>; 14] = [
        (1, &ZERO[..4], "limit accounts_max"),
        (5, &ZERO[..4], "limit positions_per_account_max"),
        (9, &ZERO[..4], "limit window_rounds"),
        (13, &[6], "limit samples_min"),
        (17, &bps, "limit initial_bps"),
        (21, &ZERO[..4], "limit maintenance_bps"),
        (29, &[7], "series 7: its instrument does not exist"),
        (29, &[0], "its instrument is not that of a series"),
        (33, &[1], "its feed does not exist"),
        (37, &ZERO, "its terms are out of bounds"),
        (37, &MINUS_ONE, "its terms are out of bounds"),
        (37, &beyond, "its terms are out of bounds"),
        (55, &ZERO[..4], "its terms are out of bounds"),
        (68, &ONE, "it has a settlement price that it cannot have"),
    ];
    each_is_refused(&traded(), SECTION_SERIES, &rows);
}

#[test]
fn a_series_of_which_not_even_one_lot_could_be_paid_is_refused() {
    let with = |price_max| {
        let mut config = pit::config();
        let clearing = config.clearing.as_mut().expect("it has accounts");
        clearing.feeds[0].price_max = price_max;
        let mut pit = Pit::with(config);
        pit.price(100);
        pit.list(Right::Call, ExerciseStyle::European, 100, 20);
        restored(&pit, SECTION_SERIES, |series| series[55..59].fill(0xff))
    };
    assert_eq!(with(1 << 30), Ok(()), "2^62 and no more");
    let error = with((1 << 30) + 1).expect_err("a lot costs more");
    assert!(error.contains("its terms are out of bounds"), "{error}");
}

#[test]
fn series_that_are_not_in_order_or_not_those_of_the_instruments_are_refused() {
    let mut pit = traded();
    pit.list(Right::Put, ExerciseStyle::European, 100, 20);
    const SERIES_BYTES: usize = 47;
    let twice = restored(&pit, SECTION_SERIES, |series| {
        series.copy_within(29..29 + SERIES_BYTES, 29 + SERIES_BYTES);
    });
    let error = twice.expect_err("one series twice");
    assert!(error.contains("its id does not rise"), "{error}");
    let one_less = restored(&pit, SECTION_SERIES, |series| {
        series[25] -= 1;
        series.truncate(series.len() - SERIES_BYTES);
    });
    let error = one_less.expect_err("an instrument without its series");
    assert!(
        error.contains("only a series has, and each must"),
        "{error}"
    );
}

/// An account: whose it is, its cash, and its lots of the only series.
type Held = (SessionId, i64, i64);

const NOBODY: SessionId = SessionId([0; 16]);

fn account_bytes(accounts: &[Held]) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend_from_slice(&u32::try_from(accounts.len()).expect("few").to_le_bytes());
    for &(session, cash, lots) in accounts {
        bytes.extend_from_slice(&session.0);
        bytes.extend_from_slice(&cash.to_le_bytes());
        bytes.extend_from_slice(&u32::from(lots != 0).to_le_bytes());
        if lots != 0 {
            bytes.extend_from_slice(&1_u32.to_le_bytes());
            bytes.extend_from_slice(&lots.to_le_bytes());
        }
    }
    bytes
}

/// What comes of these accounts in the place of those that there are.
fn with(pit: &Pit, accounts: &[Held]) -> Result<(), String> {
    let bytes = account_bytes(accounts);
    restored(pit, SECTION_ACCOUNTS, |now| now.clone_from(&bytes))
}

#[test]
fn accounts_that_cannot_be_are_each_refused() {
    const MOST: i64 = 1 << 62;
    let pit = traded();
    let (one, two) = (session(1), session(2));
    let good = [
        (NOBODY, -2_000, 0),
        (NOBODY, 0, 0),
        (one, 1_010, -10),
        (two, 990, 10),
    ];
    assert_eq!(pit.snapshot()[SECTION_ACCOUNTS], account_bytes(&good));
    let [external, fund, short, long] = good;
    let of_fund = |cash, lots| (NOBODY, cash, lots);
    let good_also = [
        [external, of_fund(10, 0), (one, 1_000, -10), long],
        [external, of_fund(0, -10), (one, 1_010, 0), long],
        [of_fund(-MOST, 0), fund, (one, MOST, -10), (two, 0, 10)],
    ];
    for accounts in good_also {
        assert_eq!(with(&pit, &accounts), Ok(()), "{accounts:?}");
    }
    let many = i64::MAX;
    let rows: [(&[Held], &str); 14] = [
        (&[], "count 0"),
        (&good[..1], "count 1"),
        (&[external, of_fund(1, 0), short, long], "sums to 1, not"),
        (&[external, fund, short, (two, 989, 10)], "sums to -1, not"),
        (
            &[external, of_fund(-1, 0), (one, 1_011, -10), long],
            "account 1 has -1 units",
        ),
        (
            &[external, fund, (one, 2_001, -10), (two, -1, 10)],
            "account 3 has -1 units",
        ),
        (&[of_fund(1, 0), fund, short, long], "account 0 has 1 units"),
        (
            &[of_fund(-MOST - 1, 0), of_fund(1, 0), short, long],
            "account 0 has -4611686018427387905 units",
        ),
        (
            &[of_fund(-MOST, 0), fund, (one, MOST + 1, -10), long],
            "account 2 has 4611686018427387905 units",
        ),
        (
            &[(NOBODY, -2_000, -10), fund, (one, 1_010, 0), long],
            "account 0: it has a position that it cannot have",
        ),
        (
            &[external, of_fund(0, 10), short, (two, 990, 0)],
            "account 1: it has a position that it cannot have",
        ),
        (
            &[external, fund, (one, 1_010, -many), (two, 990, many)],
            "account 2: its position is above its bound",
        ),
        (
            &[(one, -2_000, 0), fund, short, long],
            "it belongs to nobody",
        ),
        (
            &[external, (one, 0, 0), short, long],
            "it belongs to nobody",
        ),
    ];
    for (accounts, expected) in rows {
        let error = with(&pit, accounts).expect_err(expected);
        assert!(error.contains(expected), "{error} instead of {expected}");
    }
}

/// One state has one encoding, and so one root.
#[test]
fn positions_of_an_account_that_are_not_in_order_are_refused() {
    let mut pit = traded();
    pit.list(Right::Put, ExerciseStyle::European, 100, 20);
    pit.trade(session(1), session(2), 2, 1, 10);
    // The last account ends with the number of its positions, and an instrument and lots for each.
    let with = |series: &[u32]| {
        restored(&pit, SECTION_ACCOUNTS, |accounts| {
            accounts.truncate(accounts.len() - 28);
            let count = u32::try_from(series.len()).expect("few");
            accounts.extend_from_slice(&count.to_le_bytes());
            for series in series {
                accounts.extend_from_slice(&series.to_le_bytes());
                accounts.extend_from_slice(&10_i64.to_le_bytes());
            }
        })
    };
    assert_eq!(with(&[1, 2]), Ok(()));
    for series in [&[2, 1][..], &[1, 2, 2], &[1, 1, 2]] {
        let error = with(series).expect_err("not in order");
        assert!(error.contains("field position"), "{error}");
    }
}

/// The rules of this venue allow eight.
#[test]
fn as_many_accounts_as_the_rules_allow_are_restored_and_not_one_more() {
    let with_clients = |clients: u8| {
        let pit = Pit::new();
        let mut accounts = vec![(NOBODY, 0, 0); 2];
        accounts.extend((1..=clients).map(|number| (session(number), 0, 0)));
        with(&pit, &accounts)
    };
    assert_eq!((with_clients(0), with_clients(8)), (Ok(()), Ok(())));
    let error = with_clients(9).expect_err("one more");
    assert!(error.contains("count 11"), "{error}");
}

/// It would be paid for twice, or never.
#[test]
fn a_position_in_a_settled_series_or_in_none_is_refused() {
    let pit = traded();
    // The series ends with its state, when it is due and its settlement price.
    let settled = restored(&pit, SECTION_SERIES, |series| {
        let state = series.len() - 17;
        series[state] = SeriesState::Settled as u8;
        series[state + 1..state + 9].fill(0);
        series[state + 9..].copy_from_slice(&100_i64.to_le_bytes());
    });
    let error = settled.expect_err("those positions are paid");
    assert!(
        error.contains("it has a position in a settled series"),
        "{error}"
    );
    let in_none = restored(&pit, SECTION_ACCOUNTS, |accounts| {
        // Both accounts of sessions end with an instrument and lots.
        for from_end in [12, 52] {
            let at = accounts.len() - from_end;
            accounts[at] = 0;
        }
    });
    let error = in_none.expect_err("the plain instrument has no positions");
    assert!(error.contains("it has a position in no series"), "{error}");
}

/// What is wrong with a venue of this configuration.
fn fault(spoil: impl FnOnce(&mut VenueConfig, &mut ClearingConfig)) -> String {
    let mut config = pit::config();
    let mut clearing = config.clearing.take().expect("it has accounts");
    spoil(&mut config, &mut clearing);
    config.clearing = Some(clearing);
    match Venue::new(config) {
        Ok(_) => "nothing".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_venue_is_made_of_nothing_that_a_check_refuses() {
    assert_eq!(fault(|_, _| ()), "nothing");
    type Spoil = fn(&mut VenueConfig, &mut ClearingConfig);
    let rows: [(Spoil, &str); 10] = [
        (|venue, _| venue.limits.orders_max = 0, "limit orders_max"),
        (|venue, _| venue.instruments.clear(), "instruments, not 0"),
        (|venue, _| venue.admins.push(ADMIN), "is named twice"),
        (
            |venue, _| venue.instruments[0].symbol = "#7".to_owned(),
            "symbol #7 begins with #",
        ),
        (|_, of| of.rules.samples_min = 6, "limit samples_min"),
        (
            |_, of| of.rules.maintenance_bps = 2_001,
            "limit maintenance_bps",
        ),
        (|_, of| of.validators.clear(), "validators, not 0"),
        (
            |_, of| of.validators[3].stake = 0,
            "stake of feed validator 3",
        ),
        (
            |_, of| of.validators[3].session = of.validators[0].session,
            "is named twice",
        ),
        (|_, of| of.feeds.clear(), "1 to 64 feeds, not 0"),
    ];
    for (spoil, expected) in rows {
        let fault = fault(spoil);
        assert!(fault.contains(expected), "{fault} instead of {expected}");
    }
    let twice = fault(|_, of| of.feeds.push(of.feeds[0].clone()));
    assert!(twice.contains("two instruments are called IDX"), "{twice}");
    let endless = fault(|_, of| {
        of.feeds.push(FeedConfig {
            fresh_rounds: 0,
            ..FeedConfig::with_symbol("OTH")
        });
    });
    assert!(
        endless.contains("feed 1: fresh_rounds must be"),
        "{endless}"
    );
    let mut plain = pit::config();
    plain.clearing = None;
    plain.instruments = vec![Instrument::with_symbol("#7")];
    assert!(Venue::new(plain).is_ok(), "it has no series to take it for");
}
