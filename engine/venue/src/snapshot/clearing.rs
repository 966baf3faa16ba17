//! The sections of a venue with accounts.
//!
//! Owns their bytes and their checks. They come behind the book, in this order, each starting with
//! its format version like the others:
//!
//! - `feeds`: count of validators u32, for each its session 16 bytes and stake u64; count of feeds
//!   u32; for each its symbol (length u8, characters), round length u64, fresh rounds u32, move
//!   limit u32, greatest price i64, awake u8, open round u64, state u8, shown price i64, mark i64,
//!   reference i64, halted u8, for each validator a u8 that says whether there is an observation
//!   and then round u64, price i64, confidence i64, source time u64; count of samples u32, for each
//!   round u64 and price i64.
//! - `series`: the rules, six u32 in the order of [`ClearingRules`]; count u32; for each its
//!   instrument u32, feed u32, strike i64, expiry u64, right u8, style u8, multiplier u32, state
//!   u8, due u64, fixing i64.
//! - `accounts`: count u32; for each, the external account and the fund first and the others in the
//!   order of opening, session 16 bytes, cash i64, count of positions u32, for each instrument u32
//!   and lots i64.
//!
//! What is reserved for orders follows from the book and is counted anew.

use super::{RestoreError, VERSION};
use crate::accounts::{Account, Accounts, FIRST, Holding};
use crate::clearing::{self, ClearingRules};
use crate::feeds::{Feed, FeedValidator};
use crate::instruments::InstrumentId;
use crate::orders::Order;
use crate::series::{self, Series, SeriesList, SeriesState};
use crate::settlement::Exercised;
use crate::venue::{SECTION_ACCOUNTS, SECTION_FEEDS, SECTION_SERIES, Venue};
use crate::wire::{Reader, Writer};
use quorate::state_machine::SessionId;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn write(venue: &Venue, section: usize, bytes: &mut Vec<u8>) {
    let Some(clearing) = &venue.market.clearing else {
        return;
    };
    let mut w = Writer(bytes);
    w.u8(VERSION);
    match section {
        SECTION_FEEDS => {
            w.u32(clearing.validators.len() as u32);
            for validator in &clearing.validators {
                w.bytes(&validator.session.0).u64(validator.stake);
            }
            w.u32(clearing.feeds.len() as u32);
            for feed in &clearing.feeds {
                feed.write(&mut w);
            }
        }
        SECTION_SERIES => {
            for number in rule_numbers(&clearing.rules) {
                w.u32(number);
            }
            w.u32(clearing.series.iter().count() as u32);
            for (id, series) in clearing.series.iter() {
                w.u32(id.0);
                series.write(&mut w);
            }
        }
        _ => {
            w.u32(clearing.accounts.list().len() as u32);
            for account in clearing.accounts.list() {
                account.write(&mut w);
            }
        }
    }
}

const fn rule_numbers(rules: &ClearingRules) -> [u32; 6] {
    [
        rules.accounts_max,
        rules.positions_per_account_max,
        rules.window_rounds,
        rules.samples_min,
        rules.initial_bps,
        rules.maintenance_bps,
    ]
}

pub(super) fn restore(
    venue: &mut Venue,
    section: usize,
    reader: &mut Reader<'_>,
) -> Result<(), RestoreError> {
    if venue.market.clearing.is_none() {
        return Err(RestoreError::UnknownSection);
    }
    match section {
        SECTION_FEEDS => restore_feeds(venue, reader),
        SECTION_SERIES => restore_series(venue, reader),
        SECTION_ACCOUNTS => restore_accounts(venue, reader),
        _ => Err(RestoreError::UnknownSection),
    }
}

fn restore_feeds(venue: &mut Venue, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
    let count = reader.u32()?;
    if count as usize > clearing::FEED_VALIDATORS_MAX {
        return Err(RestoreError::Count(u64::from(count)));
    }
    let mut validators = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let session = reader.session()?;
        let stake = reader.u64()?;
        validators.push(FeedValidator { session, stake });
    }
    clearing::check_validators(&validators)?;
    let count = reader.u32()?;
    if count as usize > clearing::FEEDS_MAX {
        return Err(RestoreError::Count(u64::from(count)));
    }
    let mut feeds = Vec::with_capacity(count as usize);
    for _ in 0..count {
        feeds.push(Feed::read(reader, validators.len())?);
    }
    clearing::check_feeds(feeds.iter().map(|feed| &feed.config))?;
    for (index, feed) in feeds.iter().enumerate() {
        if let Some(fault) = feed.state_fault(clearing::WINDOW_ROUNDS_MAX) {
            return Err(RestoreError::Feed { index, fault });
        }
    }
    for stale in [SECTION_FEEDS, SECTION_SERIES, SECTION_ACCOUNTS] {
        venue.roots[stale] = None;
    }
    let Ok(clearing) = venue.market.clearing_mut() else {
        return Err(RestoreError::UnknownSection);
    };
    clearing.validators = validators;
    clearing.feeds = feeds;
    clearing.series = SeriesList::default();
    clearing.accounts = Accounts::default();
    Ok(())
}

fn restore_series(venue: &mut Venue, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
    let rules = ClearingRules {
        accounts_max: reader.u32()?,
        positions_per_account_max: reader.u32()?,
        window_rounds: reader.u32()?,
        samples_min: reader.u32()?,
        initial_bps: reader.u32()?,
        maintenance_bps: reader.u32()?,
    };
    rules.check()?;
    let count = reader.u32()?;
    let mut list = SeriesList::default();
    let mut ids = BTreeSet::new();
    for _ in 0..count {
        let id = InstrumentId(reader.u32()?);
        let mut series = Series::read(reader)?;
        let before = ids.last().copied();
        if let Some(fault) = series_fault(venue, id, &mut series, before) {
            return Err(RestoreError::Series { id: id.0, fault });
        }
        ids.insert(id);
        list.set(id, series);
    }
    for (id, listing) in (0..).map(InstrumentId).zip(&venue.listings) {
        let marked = listing.instrument.symbol.starts_with(series::SYMBOL_MARK);
        if marked != ids.contains(&id) {
            let fault = "only a series has, and each must have, a symbol that begins with #";
            return Err(RestoreError::Series { id: id.0, fault });
        }
    }
    venue.roots[SECTION_SERIES] = None;
    venue.roots[SECTION_ACCOUNTS] = None;
    let Ok(clearing) = venue.market.clearing_mut() else {
        return Err(RestoreError::UnknownSection);
    };
    let samples = clearing.feeds.iter().map(|feed| feed.samples.len());
    if samples.max().unwrap_or_default() > rules.window_rounds as usize {
        return Err(RestoreError::Count(u64::from(rules.window_rounds)));
    }
    clearing.rules = rules;
    clearing.series = list;
    clearing.accounts = Accounts::default();
    Ok(())
}

/// What keeps this from being the next series, if anything. Fills its bound of lots.
fn series_fault(
    venue: &Venue,
    id: InstrumentId,
    series: &mut Series,
    before: Option<InstrumentId>,
) -> Option<&'static str> {
    let clearing = venue.market.clearing.as_ref()?;
    let Ok(listing) = venue.listing(id) else {
        return Some("its instrument does not exist");
    };
    let Ok(feed) = clearing.feed(series.terms.feed) else {
        return Some("its feed does not exist");
    };
    let price_max = feed.config.price_max;
    series.lots_max = series.terms.lots_max(price_max);
    let instrument = &listing.instrument;
    let settled = series.state == SeriesState::Settled;
    let due = match series.state {
        SeriesState::Trading => series.due_ns == series.terms.expiry_ns,
        SeriesState::Deferred => series.due_ns > series.terms.expiry_ns,
        SeriesState::Settled => series.due_ns == 0,
    };
    if before.is_some_and(|before| id <= before) {
        Some("its id does not rise")
    } else if instrument.symbol != series::symbol(id)
        || instrument.price_ticks_min != 0
        || !(1..=price_max).contains(&instrument.price_ticks_max)
    {
        Some("its instrument is not that of a series")
    } else if !(1..=price_max).contains(&series.terms.strike)
        || series.terms.multiplier == 0
        || series.lots_max == 0
    {
        Some("its terms are out of bounds")
    } else if !due {
        Some("it is not due when a series in its state is")
    } else if settled != (series.fixing > 0) || !(0..=price_max).contains(&series.fixing) {
        Some("it has a settlement price that it cannot have")
    } else {
        None
    }
}

fn restore_accounts(venue: &mut Venue, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
    let Ok(clearing) = venue.market.clearing_mut() else {
        return Err(RestoreError::UnknownSection);
    };
    let count = reader.u32()?;
    let most = u64::from(clearing.rules.accounts_max) + u64::from(FIRST);
    if !(u64::from(FIRST)..=most).contains(&u64::from(count)) {
        return Err(RestoreError::Count(u64::from(count)));
    }
    let mut list = Vec::new();
    let mut sessions = BTreeSet::new();
    for index in 0..count {
        let account = read_account(reader)?;
        let fault = if index < FIRST {
            (account.session != SessionId([0; 16])).then_some("it belongs to nobody")
        } else {
            (!sessions.insert(account.session)).then_some("its session has another account")
        };
        if let Some(fault) = fault {
            return Err(RestoreError::Account { index, fault });
        }
        list.push(account);
    }
    clearing.accounts = Accounts::restored(list);
    clearing.exercised = Exercised::default();
    let orders: Vec<Order> = venue.market.orders.iter().copied().collect();
    let Ok(clearing) = venue.market.clearing_mut() else {
        return Err(RestoreError::UnknownSection);
    };
    for order in &orders {
        let series = clearing.series.get(order.instrument);
        if series.is_some_and(|series| series.state != SeriesState::Trading) {
            let number = order.number.0;
            let fault = "its series has expired";
            return Err(RestoreError::Order { number, fault });
        }
        clearing.rested(order);
    }
    venue.roots[SECTION_ACCOUNTS] = None;
    Ok(venue.audit()?)
}

fn read_account(reader: &mut Reader<'_>) -> Result<Account, RestoreError> {
    let session = reader.session()?;
    let cash = reader.i64()?;
    let count = reader.u32()?;
    let mut holdings = BTreeMap::new();
    for _ in 0..count {
        let (id, lots) = (InstrumentId(reader.u32()?), reader.i64()?);
        let last = holdings.last_key_value().map(|(&last, _)| last);
        if lots == 0 || last.is_some_and(|last| id <= last) {
            return Err(reader.field_error("position").into());
        }
        let holding = Holding {
            lots,
            ..Holding::default()
        };
        holdings.insert(id, holding);
    }
    Ok(Account {
        session,
        cash,
        holdings,
    })
}
