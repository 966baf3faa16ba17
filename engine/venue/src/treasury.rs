//! The commands of a venue with accounts.
//!
//! Owns their checks, in a fixed order, the first that fails being the refusal. Never: a change
//! before the last check has passed; nor the exercise of an option, which is `settlement`'s.

use crate::accounts::{AMOUNT_MAX, EXTERNAL, FUND};
use crate::book::Book;
use crate::clearing::{BPS, Clearing};
use crate::commands::ClearingCommand;
use crate::config::INSTRUMENTS_MAX;
use crate::feeds::{FeedId, Observation};
use crate::instruments::{Instrument, InstrumentId, Listing, SIZE_LOTS_MAX, Status};
use crate::refusal::Refusal;
use crate::reports::{CashCause, Desk, PublicEvent, SessionReport};
use crate::series::{self, NEVER_NS, Series, SeriesState, SeriesTerms};
use crate::venue::{SECTION_INSTRUMENTS, SECTION_SERIES, Venue};
use quorate::state_machine::{Context, SessionId};

// A margin is at most a position at twice the price, and fits what sums of them are kept in.
const _: () = assert!(BPS == 10_000 && AMOUNT_MAX as i128 * 4 < i128::MAX >> 32);

/// An amount that a client named, checked.
fn amount_of(amount: i64) -> Result<i64, Refusal> {
    let good = (1..=AMOUNT_MAX).contains(&amount);
    good.then_some(amount).ok_or(Refusal::AmountOutOfBounds)
}

/// Whether this much more may come in from outside.
fn check_inflow(clearing: &Clearing, amount: i64) -> Result<(), Refusal> {
    let inside = -clearing.accounts.get(EXTERNAL).cash;
    if inside > AMOUNT_MAX - amount {
        return Err(Refusal::AmountOverflow);
    }
    Ok(())
}

impl Venue {
    /// Whether the session is an administrator's.
    pub(crate) fn is_admin(&self, session: SessionId) -> bool {
        self.admins.binary_search(&session).is_ok()
    }

    /// Does one command of a venue with accounts.
    pub(crate) fn clear(
        &mut self,
        context: &Context,
        command: &ClearingCommand,
        desk: &mut Desk<'_>,
    ) -> Result<(), Refusal> {
        self.market.clearing_mut()?;
        match *command {
            ClearingCommand::Exercise { instrument, lots } => {
                return self.exercise(context, instrument, lots, desk);
            }
            ClearingCommand::ListSeries { .. } => return self.list(context, command, desk),
            ClearingCommand::Withdraw { amount } => return self.withdraw(context, amount, desk),
            ClearingCommand::Deposit { account, amount } => {
                return self.deposit(context, account, amount, desk);
            }
            ClearingCommand::Observe {
                feed,
                round,
                price,
                confidence,
                source_time_ns,
            } => {
                let observation = Observation {
                    round,
                    price,
                    confidence,
                    source_time_ns,
                };
                self.observe(context, feed, observation)?;
            }
            ClearingCommand::EndowFund { amount } => {
                self.check_admin(context)?;
                let amount = amount_of(amount)?;
                let clearing = self.market.clearing_mut()?;
                check_inflow(clearing, amount)?;
                clearing.accounts.pay(EXTERNAL, FUND, amount);
            }
            ClearingCommand::ResumeFeed { feed } => {
                self.check_admin(context)?;
                self.market.clearing_mut()?.feed_mut(feed)?.resume()?;
                desk.tell(context.session, &applied(context, command));
                let (halted, before, price) = (false, 0, 0);
                desk.publish(&PublicEvent::FeedChanged {
                    feed,
                    halted,
                    before,
                    price,
                });
                return Ok(());
            }
        }
        desk.tell(context.session, &applied(context, command));
        Ok(())
    }

    fn observe(
        &mut self,
        context: &Context,
        feed: FeedId,
        observation: Observation,
    ) -> Result<(), Refusal> {
        let clearing = self.market.clearing_mut()?;
        let mut validators = clearing.validators.iter();
        let validator = validators.position(|v| v.session == context.session);
        let validator = validator.ok_or(Refusal::NotValidator)?;
        let feed = clearing.feed_mut(feed)?;
        feed.observe(context.time_ns, validator, observation)
    }

    fn deposit(
        &mut self,
        context: &Context,
        session: SessionId,
        amount: i64,
        desk: &mut Desk<'_>,
    ) -> Result<(), Refusal> {
        self.check_admin(context)?;
        let amount = amount_of(amount)?;
        let clearing = self.market.clearing_mut()?;
        check_inflow(clearing, amount)?;
        let index = match clearing.accounts.find(session) {
            Some(index) => index,
            None if clearing.accounts.clients().len() >= clearing.rules.accounts_max as usize => {
                return Err(Refusal::AccountsFull);
            }
            None => clearing.accounts.open(session),
        };
        clearing.accounts.pay(EXTERNAL, index, amount);
        let command = ClearingCommand::Deposit {
            account: session,
            amount,
        };
        desk.tell(context.session, &applied(context, &command));
        let report = SessionReport::CashChanged {
            cause: CashCause::Deposit,
            amount,
            cash: clearing.accounts.get(index).cash,
        };
        desk.tell(session, &report);
        Ok(())
    }

    fn withdraw(
        &mut self,
        context: &Context,
        amount: i64,
        desk: &mut Desk<'_>,
    ) -> Result<(), Refusal> {
        let amount = amount_of(amount)?;
        let clearing = self.market.clearing_mut()?;
        let index = clearing.accounts.find(context.session);
        let index = index.ok_or(Refusal::UnknownAccount)?;
        let account = clearing.accounts.get(index);
        let need = clearing.initial(account)? + i128::from(amount);
        if need > i128::from(account.cash) {
            return Err(Refusal::MarginInsufficient);
        }
        clearing.accounts.pay(index, EXTERNAL, amount);
        let cash = clearing.accounts.get(index).cash;
        let command = ClearingCommand::Withdraw { amount };
        desk.tell(context.session, &applied(context, &command));
        let report = SessionReport::CashChanged {
            cause: CashCause::Withdrawal,
            amount: -amount,
            cash,
        };
        desk.tell(context.session, &report);
        Ok(())
    }

    fn list(
        &mut self,
        context: &Context,
        command: &ClearingCommand,
        desk: &mut Desk<'_>,
    ) -> Result<(), Refusal> {
        let ClearingCommand::ListSeries {
            feed,
            strike,
            expiry_ns,
            right,
            style,
            multiplier,
            price_ticks_max,
            size_lots_max,
        } = *command
        else {
            return Err(Refusal::Malformed);
        };
        let terms = SeriesTerms {
            feed,
            strike,
            expiry_ns,
            right,
            style,
            multiplier,
        };
        let series = self.check_series(context, terms)?;
        let price_max = self.market.clearing_mut()?.feed(feed)?.config.price_max;
        let prices = 1..=price_max;
        if !prices.contains(&price_ticks_max) || !(1..=SIZE_LOTS_MAX).contains(&size_lots_max) {
            return Err(Refusal::TermsOutOfBounds);
        }
        let id = InstrumentId(self.listings.len() as u32);
        let instrument = Instrument {
            symbol: series::symbol(id),
            price_ticks_min: 0,
            price_ticks_max,
            size_lots_max,
        };
        self.add_series(instrument, series)?;
        let (seq, instrument) = (context.seq, id);
        desk.tell(context.session, &SessionReport::Listed { seq, instrument });
        desk.publish(&PublicEvent::SeriesListed {
            instrument,
            feed,
            strike,
            expiry_ns,
            right,
            style,
            multiplier,
            price_ticks_max,
            size_lots_max,
        });
        Ok(())
    }

    /// Whether a series of these terms may be listed, and as what.
    fn check_series(&self, context: &Context, terms: SeriesTerms) -> Result<Series, Refusal> {
        self.check_admin(context)?;
        let clearing = self.market.clearing.as_ref();
        let clearing = clearing.ok_or(Refusal::NoAccounts)?;
        let price_max = clearing.feed(terms.feed)?.config.price_max;
        let lots_max = terms.lots_max(price_max);
        if !(1..=price_max).contains(&terms.strike) || terms.multiplier == 0 || lots_max == 0 {
            return Err(Refusal::TermsOutOfBounds);
        }
        if terms.expiry_ns <= context.time_ns || terms.expiry_ns == NEVER_NS {
            return Err(Refusal::ExpiryPast);
        }
        if clearing.series.has(&terms) {
            return Err(Refusal::SeriesTwice);
        }
        if self.listings.len() >= INSTRUMENTS_MAX {
            return Err(Refusal::SeriesFull);
        }
        Ok(Series {
            terms,
            state: SeriesState::Trading,
            due_ns: terms.expiry_ns,
            fixing: 0,
            lots_max,
        })
    }

    /// Adds a checked series with a book of its own.
    fn add_series(&mut self, instrument: Instrument, series: Series) -> Result<(), Refusal> {
        let id = InstrumentId(self.listings.len() as u32);
        self.market.clearing_mut()?.series.set(id, series);
        self.market.books.push(Book::default());
        self.listings.push(Listing {
            instrument,
            status: Status::Trading,
        });
        self.roots[SECTION_INSTRUMENTS] = None;
        self.roots[SECTION_SERIES] = None;
        Ok(())
    }

    pub(crate) fn check_admin(&self, context: &Context) -> Result<(), Refusal> {
        match self.admins.binary_search(&context.session) {
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal::NotAdmin),
        }
    }
}

fn applied(context: &Context, command: &ClearingCommand) -> SessionReport {
    SessionReport::Applied {
        seq: context.seq,
        command_kind: command.kind(),
    }
}
