//! Tests of the one payment: against a model that adds up, and of what is told of it.

use super::*;
use crate::accounts::AMOUNT_MAX;
use crate::reports::SessionReport;
use crate::series::{Series, SeriesState};
use crate::settlement::tests::{cash, clearing, series};
use proptest::prelude::*;
use quorate::state_machine::{Audience, Output, SessionId};

/// Three accounts of clients; the fund is place 0 of the model.
const CLIENTS: usize = 3;
const A: AccountIndex = FIRST;
const B: AccountIndex = FIRST + 1;
const C: AccountIndex = FIRST + 2;

/// A series that pays this much for a lot.
fn fixed(id: u32, units: i64) -> Fixed {
    let series = Series {
        state: SeriesState::Settled,
        fixing: 100 + units,
        ..series()
    };
    Fixed {
        id: InstrumentId(id),
        series,
        samples: 1,
        first_round: 0,
        last_round: 0,
    }
}

/// What was told: the public events, and the amounts of each account and series.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    /// By series: to the long accounts, and of it from the fund.
    settled: BTreeMap<u32, (i64, i64)>,
    amounts: BTreeMap<(SessionId, u32), i64>,
}

impl Heard {
    fn of_account(&self, index: AccountIndex) -> i64 {
        let session = SessionId([(index - 1) as u8; 16]);
        let own = self.amounts.iter().filter(|((of, _), _)| *of == session);
        own.map(|(_, amount)| amount).sum()
    }

    fn of_series(&self, id: u32) -> i64 {
        let own = self.amounts.iter().filter(|((_, of), _)| *of == id);
        own.map(|(_, amount)| amount).sum()
    }
}

fn pay(clearing: &mut Clearing, fixed: &[Fixed]) -> (Vec<AccountIndex>, Heard) {
    let (mut output, mut scratch) = (Output::new(), Vec::new());
    let mut desk = Desk {
        output: &mut output,
        scratch: &mut scratch,
    };
    let payers = clearing.pay_out(fixed, &mut desk);
    let mut heard = Heard::default();
    for (audience, bytes) in output.iter() {
        match audience {
            Audience::Public => match PublicEvent::decode(bytes).unwrap() {
                PublicEvent::Settled {
                    instrument,
                    paid,
                    fund_paid,
                    ..
                } => assert_eq!(heard.settled.insert(instrument.0, (paid, fund_paid)), None),
                other => panic!("{other:?}"),
            },
            Audience::Session(session) => match SessionReport::decode(bytes).unwrap() {
                SessionReport::PositionChanged {
                    instrument,
                    amount,
                    position_lots,
                    cash,
                    ..
                } => {
                    let index = clearing.accounts.find(session).unwrap();
                    assert_eq!(clearing.accounts.get(index).cash, cash, "what it has now");
                    assert_eq!(position_lots, 0);
                    let before = heard.amounts.insert((session, instrument.0), amount);
                    assert_eq!(before, None, "a series is told of once");
                }
                other => panic!("{other:?}"),
            },
        }
    }
    (payers, heard)
}

/// A is short the one and long the other, and can pay no more than the difference.
#[test]
fn what_an_account_is_due_is_set_off_against_what_it_owes_whichever_id_is_lower() {
    for (short, long) in [(1, 2), (2, 1)] {
        let mut clearing = clearing(0, &[10, 0, 100]);
        clearing.accounts.transfer(A, B, InstrumentId(short), 10);
        clearing.accounts.transfer(C, A, InstrumentId(long), 10);
        let (payers, heard) = pay(&mut clearing, &[fixed(1, 10), fixed(2, 10)]);
        assert_eq!(cash(&clearing), [0, 10, 100, 0]);
        assert_eq!(payers, [C], "A was paid as much as it had to pay");
        assert_eq!(
            heard.settled,
            BTreeMap::from([(1, (100, 0)), (2, (100, 0))])
        );
    }
}

#[test]
fn a_loss_falls_on_all_who_are_due_and_not_on_one_series() {
    let mut clearing = clearing(0, &[60, 0, 0]);
    clearing.accounts.transfer(A, B, InstrumentId(1), 10);
    clearing.accounts.transfer(A, C, InstrumentId(2), 10);
    let (payers, heard) = pay(&mut clearing, &[fixed(1, 10), fixed(2, 20)]);
    assert_eq!(cash(&clearing), [0, 0, 20, 40]);
    assert_eq!(payers, [A]);
    assert_eq!(heard.settled, BTreeMap::from([(1, (20, 0)), (2, (40, 0))]));
}

/// A series of which nobody who owes can pay takes from the fund what another puts in.
#[test]
fn what_is_told_of_a_series_sums_to_what_the_fund_put_in() {
    let mut clearing = clearing(0, &[0, 0, 100, 0]);
    clearing.accounts.transfer(A, B, InstrumentId(1), 10);
    clearing.accounts.transfer(C, C + 1, InstrumentId(2), 10);
    let (_, heard) = pay(&mut clearing, &[fixed(1, 10), fixed(2, 10)]);
    assert_eq!(cash(&clearing), [0, 0, 50, 0, 50]);
    let expected = BTreeMap::from([(1, (50, 50)), (2, (50, -50))]);
    assert_eq!(heard.settled, expected);
}

/// Claims that no number of the wire holds are set off against each other all the same.
#[test]
fn claims_beyond_all_cash_are_set_off() {
    let mut clearing = clearing(0, &[7, 0, 0, 0, 0, 0]);
    let lots = (AMOUNT_MAX / 1_000) as u64;
    for pair in 0..3 {
        let (one, other) = (FIRST + 2 * pair, FIRST + 2 * pair + 1);
        clearing
            .accounts
            .transfer(one, other, InstrumentId(1), lots);
        clearing
            .accounts
            .transfer(other, one, InstrumentId(2), lots);
    }
    let (payers, heard) = pay(&mut clearing, &[fixed(1, 1_000), fixed(2, 1_000)]);
    assert_eq!(cash(&clearing), [0, 7, 0, 0, 0, 0, 0]);
    assert!(payers.is_empty());
    assert_eq!(heard.settled[&1], (i64::MAX, 0));
    assert!(
        heard
            .amounts
            .values()
            .all(|a| a.abs() == 1_000 * lots as i64)
    );
}

/// The model: the net of each, what they have, and the share of what there is.
fn model(has: &[i64], net: &[i64]) -> Vec<i64> {
    let mut after = has.to_vec();
    let pays: Vec<_> = (0..has.len())
        .map(|at| {
            if at == 0 {
                0
            } else {
                has[at].min((-net[at]).max(0))
            }
        })
        .collect();
    let due_all: i64 = net.iter().filter(|&&net| net > 0).sum();
    let from_clients: i64 = pays.iter().sum();
    let pool = from_clients + has[0].min(due_all - from_clients);
    for at in 0..has.len() {
        let got = if net[at] > 0 {
            net[at] * pool / due_all
        } else {
            0
        };
        after[at] += got - pays[at];
        after[0] += pays[at] - got;
    }
    after
}

proptest! {
    #[test]
    fn a_payment_is_what_a_naive_model_foretells_whatever_the_ids(
        has in prop::collection::vec(0..120_i64, CLIENTS + 1),
        units in prop::collection::vec(0..12_i64, 1..4),
        // From any to a client, in one of the series.
        moves in prop::collection::vec((0..=CLIENTS, 1..=CLIENTS, 0..4_usize, 1..9_u64), 0..9),
    ) {
        let last = units.len() as u32 - 1;
        let mut net = vec![0; CLIENTS + 1];
        let mut both = [clearing(has[0], &has[1..]), clearing(has[0], &has[1..])];
        for (from, to, at, lots) in moves {
            let at = at % units.len();
            let (from_index, to_index) = (FUND + from as u32, FUND + to as u32);
            let ids = [at as u32, last - at as u32];
            for (clearing, id) in both.iter_mut().zip(ids) {
                clearing.accounts.transfer(from_index, to_index, InstrumentId(id), lots);
            }
            net[from] -= units[at] * lots as i64;
            net[to] += units[at] * lots as i64;
        }
        let expected = model(&has, &net);
        let forth: Vec<_> = (0..).zip(&units).map(|(id, &units)| fixed(id, units)).collect();
        let back: Vec<_> = (0..).zip(units.iter().rev()).map(|(id, &u)| fixed(id, u)).collect();
        for (clearing, fixed) in both.iter_mut().zip([forth, back]) {
            let (payers, heard) = pay(clearing, &fixed);
            prop_assert_eq!(&cash(clearing), &expected);
            clearing.accounts.assert_zero_sum();
            prop_assert_eq!(clearing.accounts.holders().count(), 0);
            for (at, index) in (1..).zip(FIRST..FIRST + CLIENTS as u32) {
                prop_assert_eq!(heard.of_account(index), expected[at] - has[at]);
                prop_assert_eq!(payers.contains(&index), net[at] < 0);
            }
            for (&id, &(_, fund_paid)) in &heard.settled {
                prop_assert_eq!(heard.of_series(id), fund_paid);
            }
            let by_fund: i64 = heard.settled.values().map(|s| s.1).sum();
            prop_assert_eq!(by_fund, has[0] - expected[0]);
        }
    }
}
