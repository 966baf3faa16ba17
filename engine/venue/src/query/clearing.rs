//! What can be asked about accounts, feeds and series.
//!
//! Owns these answers and their bytes. Never: a change of the state.

use crate::accounts::{AccountIndex, FUND};
use crate::clearing::Clearing;
use crate::feeds::{FeedId, PriceState};
use crate::instruments::InstrumentId;
use crate::refusal::Refusal;
use crate::series::{ExerciseStyle, Right, SeriesState, SeriesTerms};
use crate::wire::{DecodeError, Reader, Writer};
use quorate::state_machine::SessionId;

/// An account, or the shared fund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountAnswer {
    /// Its cash.
    pub cash: i64,
    /// What it must have to open more or to withdraw; the greatest number there is where that
    /// cannot be told, as a price is not fresh.
    pub initial: i64,
    /// What it must have not to be liquidated.
    pub maintenance: i64,
    /// Its positions by series, below zero if short.
    pub positions: Vec<(InstrumentId, i64)>,
}

/// A feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedAnswer {
    /// Which.
    pub feed: FeedId,
    /// As of the last close of a round.
    pub state: PriceState,
    /// Whether the move limit has halted its product.
    pub halted: bool,
    /// The price of the last round; 0 if there is none.
    pub price: i64,
    /// The last price that was taken for margin and fixings; 0 if there is none.
    pub mark: i64,
    /// The round that is open; 0 while the feed sleeps.
    pub open_round: u64,
}

/// A series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesAnswer {
    /// The instrument that it trades as.
    pub instrument: InstrumentId,
    /// What it promises.
    pub terms: SeriesTerms,
    /// Where it stands in its life.
    pub state: SeriesState,
    /// When it is settled, or tried again; 0 once it is settled.
    pub due_ns: u64,
    /// The settlement price; 0 before.
    pub fixing: i64,
}

fn clamp(amount: i128) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

fn account_at(clearing: &Clearing, index: AccountIndex) -> AccountAnswer {
    let account = clearing.accounts.get(index);
    AccountAnswer {
        cash: account.cash,
        initial: clearing.initial(account).map_or(i64::MAX, clamp),
        maintenance: clamp(clearing.maintenance(account)),
        positions: account.positions().collect(),
    }
}

pub(super) fn account(
    clearing: Option<&Clearing>,
    session: SessionId,
) -> Result<AccountAnswer, Refusal> {
    let clearing = clearing.ok_or(Refusal::NoAccounts)?;
    let index = clearing.accounts.find(session);
    Ok(account_at(clearing, index.ok_or(Refusal::UnknownAccount)?))
}

pub(super) fn fund(clearing: Option<&Clearing>) -> Result<AccountAnswer, Refusal> {
    Ok(account_at(clearing.ok_or(Refusal::NoAccounts)?, FUND))
}

pub(super) fn feed(clearing: Option<&Clearing>, id: FeedId) -> Result<FeedAnswer, Refusal> {
    let feed = clearing.ok_or(Refusal::NoAccounts)?.feed(id)?;
    Ok(FeedAnswer {
        feed: id,
        state: feed.state,
        halted: feed.halted,
        price: feed.shown,
        mark: feed.mark,
        open_round: feed.open.unwrap_or_default(),
    })
}

pub(super) fn series(
    clearing: Option<&Clearing>,
    instrument: InstrumentId,
) -> Result<SeriesAnswer, Refusal> {
    let clearing = clearing.ok_or(Refusal::NoAccounts)?;
    let series = clearing.series.get(instrument).ok_or(Refusal::NotSeries)?;
    Ok(SeriesAnswer {
        instrument,
        terms: series.terms,
        state: series.state,
        due_ns: series.due_ns,
        fixing: series.fixing,
    })
}

impl AccountAnswer {
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.i64(self.cash).i64(self.initial).i64(self.maintenance);
        w.u32(self.positions.len() as u32);
        for &(id, lots) in &self.positions {
            w.u32(id.0).i64(lots);
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (cash, initial, maintenance) = (r.i64()?, r.i64()?, r.i64()?);
        let count = r.u32()?;
        let mut positions = Vec::new();
        for _ in 0..count {
            positions.push((InstrumentId(r.u32()?), r.i64()?));
        }
        Ok(Self {
            cash,
            initial,
            maintenance,
            positions,
        })
    }
}

impl FeedAnswer {
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        w.u32(self.feed.0).u8(self.state as u8);
        w.u8(u8::from(self.halted)).i64(self.price).i64(self.mark);
        w.u64(self.open_round);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            feed: FeedId(r.u32()?),
            state: r.choice("state", PriceState::from_u8)?,
            halted: r.flag("halted")?,
            price: r.i64()?,
            mark: r.i64()?,
            open_round: r.u64()?,
        })
    }
}

impl SeriesAnswer {
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        let terms = &self.terms;
        w.u32(self.instrument.0).u32(terms.feed.0).i64(terms.strike);
        w.u64(terms.expiry_ns).u8(terms.right as u8);
        w.u8(terms.style as u8).u32(terms.multiplier);
        w.u8(self.state as u8).u64(self.due_ns).i64(self.fixing);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            instrument: InstrumentId(r.u32()?),
            terms: SeriesTerms {
                feed: FeedId(r.u32()?),
                strike: r.i64()?,
                expiry_ns: r.u64()?,
                right: r.choice("right", Right::from_u8)?,
                style: r.choice("style", ExerciseStyle::from_u8)?,
                multiplier: r.u32()?,
            },
            state: r.choice("state", SeriesState::from_u8)?,
            due_ns: r.u64()?,
            fixing: r.i64()?,
        })
    }
}
