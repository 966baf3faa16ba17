//! The venue: one state machine over all books.
//!
//! Owns the checks that decide whether a command can be done, in a fixed order, and the calls of
//! the engine. Never: a change of state before all checks of a command have passed, so that a
//! refused command has no effect but its report.

use crate::book::Book;
use crate::clearing::Clearing;
use crate::commands::{self, ClientOrderId, Command};
use crate::config::{self, ConfigError, VenueConfig, VenueLimits};
use crate::instruments::{Instrument, InstrumentId, Listing, Status};
use crate::matching::Market;
use crate::orders::Handle;
use crate::query;
use crate::refusal::Refusal;
use crate::reports::{CancelReason, Desk, PublicEvent, SessionReport};
use crate::roots;
use crate::snapshot;
use quorate::roots::ROOT_HEIGHTS;
use quorate::state_machine::{Context, Output, SessionEvent, SessionId, StateMachine};

/// Names of the sections, in root order. A venue without accounts has the first three.
pub(crate) const SECTIONS: [&str; 6] = [
    "venue",
    "instruments",
    "book",
    "feeds",
    "series",
    "accounts",
];

/// Section of the limits, the administrators and the next numbers.
pub(crate) const SECTION_VENUE: usize = 0;
/// Section of the definitions and the status of the instruments.
pub(crate) const SECTION_INSTRUMENTS: usize = 1;
/// Section of the resting orders.
pub(crate) const SECTION_BOOK: usize = 2;
/// Section of the validators of the feeds, and of the feeds.
pub(crate) const SECTION_FEEDS: usize = 3;
/// Section of the rules of accounts, and of the option series.
pub(crate) const SECTION_SERIES: usize = 4;
/// Section of the accounts.
pub(crate) const SECTION_ACCOUNTS: usize = 5;

/// How many sections a venue without accounts has.
const SECTIONS_PLAIN: usize = 3;

/// The reference application.
#[derive(Debug)]
pub struct Venue {
    pub(crate) limits: VenueLimits,
    /// Sorted.
    pub(crate) admins: Vec<SessionId>,
    pub(crate) listings: Vec<Listing>,
    pub(crate) market: Market,
    /// The section roots when they were last asked for; `None` where the section may have changed
    /// since.
    pub(crate) roots: [Option<[u8; 32]>; SECTIONS.len()],
    /// What a question about the roots is answered: those after the block whose height is the
    /// greatest multiple of [`ROOT_HEIGHTS`] below the last block that did anything here. `roots`
    /// would tell by whom this validator was asked, these are the same at each.
    pub(crate) told_roots: [Option<[u8; 32]>; SECTIONS.len()],
    /// How many such heights are below that block; none in a venue that no block did anything to.
    root_heights_below: Option<u64>,
    scratch: Vec<u8>,
}

impl Venue {
    /// A venue with empty books, all instruments trading.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the configuration.
    pub fn new(config: VenueConfig) -> Result<Self, ConfigError> {
        config.limits.check()?;
        config::check_instruments(config.instruments.iter())?;
        let admins = config::check_admins(config.admins)?;
        let clearing = match config.clearing {
            None => None,
            Some(clearing) => {
                config::check_reserved(&config.instruments)?;
                Some(Box::new(Clearing::new(clearing)?))
            }
        };
        let list = |instrument| Listing {
            instrument,
            status: Status::Trading,
        };
        let listings: Vec<Listing> = config.instruments.into_iter().map(list).collect();
        Ok(Self {
            limits: config.limits,
            admins,
            market: Market::new(listings.len(), clearing),
            listings,
            roots: [None; SECTIONS.len()],
            told_roots: [None; SECTIONS.len()],
            root_heights_below: None,
            scratch: Vec::new(),
        })
    }

    /// How many orders rest in all books.
    #[must_use]
    pub fn order_count(&self) -> usize {
        self.market.orders.len()
    }

    /// The definition of an instrument.
    #[must_use]
    pub fn instrument(&self, id: InstrumentId) -> Option<&Instrument> {
        self.listings
            .get(id.0 as usize)
            .map(|listing| &listing.instrument)
    }

    /// The status of an instrument.
    #[must_use]
    pub fn status(&self, id: InstrumentId) -> Option<Status> {
        self.listings
            .get(id.0 as usize)
            .map(|listing| listing.status)
    }

    /// How many sections the state has.
    pub(crate) fn section_count(&self) -> usize {
        match self.market.clearing {
            Some(_) => SECTIONS.len(),
            None => SECTIONS_PLAIN,
        }
    }

    pub(crate) fn listing(&self, id: InstrumentId) -> Result<&Listing, Refusal> {
        self.listings
            .get(id.0 as usize)
            .ok_or(Refusal::UnknownInstrument)
    }

    fn dispatch(
        &mut self,
        context: &Context,
        command: &Command,
        desk: &mut Desk<'_>,
    ) -> Result<(), Refusal> {
        match *command {
            Command::New { .. } => self.enter(context, command, desk),
            Command::Replace { .. } => self.replace(context, command, desk),
            Command::Cancel { client_order } => {
                let handle = self.find(context, client_order)?;
                self.market.cancel(handle, CancelReason::Asked, desk);
                Ok(())
            }
            Command::Reduce {
                client_order,
                by_lots,
            } => self.reduce(context, client_order, by_lots, desk),
            Command::MassCancel { instrument } => self.mass_cancel(context, instrument, desk),
            Command::Halt { instrument } => {
                self.administer(context, instrument, Status::Halted, desk)
            }
            Command::Resume { instrument } => {
                self.administer(context, instrument, Status::Trading, desk)
            }
            Command::Clearing(ref command) => self.clear(context, command, desk),
        }
    }

    pub(crate) fn find(&self, context: &Context, name: ClientOrderId) -> Result<Handle, Refusal> {
        self.market
            .orders
            .find(context.session, name)
            .ok_or(Refusal::UnknownOrder)
    }

    fn reduce(
        &mut self,
        context: &Context,
        client_order: ClientOrderId,
        by_lots: u64,
        desk: &mut Desk<'_>,
    ) -> Result<(), Refusal> {
        let handle = self.find(context, client_order)?;
        if by_lots == 0 {
            return Err(Refusal::SizeZero);
        }
        let order = *self.market.orders.order(handle);
        let Some(open_lots) = order
            .open_lots
            .checked_sub(by_lots)
            .filter(|&open| open > 0)
        else {
            self.market.cancel(handle, CancelReason::Asked, desk);
            return Ok(());
        };
        self.market.shrink(handle, by_lots);
        let report = SessionReport::Reduced {
            client_order,
            order: order.number,
            open_lots,
        };
        desk.tell(context.session, &report);
        desk.publish(&PublicEvent::Reduced {
            instrument: order.instrument,
            order: order.number,
            open_lots,
        });
        Ok(())
    }

    fn mass_cancel(
        &mut self,
        context: &Context,
        instrument: Option<InstrumentId>,
        desk: &mut Desk<'_>,
    ) -> Result<(), Refusal> {
        if let Some(instrument) = instrument {
            self.listing(instrument)?;
        }
        let (orders, session) = (&self.market.orders, context.session);
        let handles: Vec<Handle> = match instrument {
            Some(instrument) => orders.of_in(session, instrument).collect(),
            None => orders.of(session).collect(),
        };
        for &handle in &handles {
            self.market.cancel(handle, CancelReason::MassCancel, desk);
        }
        desk.tell(
            context.session,
            &SessionReport::MassCancelled {
                seq: context.seq,
                count: handles.len() as u32,
            },
        );
        Ok(())
    }

    fn administer(
        &mut self,
        context: &Context,
        instrument: InstrumentId,
        status: Status,
        desk: &mut Desk<'_>,
    ) -> Result<(), Refusal> {
        self.check_admin(context)?;
        if self.listing(instrument)?.status == status {
            return Err(match status {
                Status::Halted => Refusal::AlreadyHalted,
                Status::Trading => Refusal::AlreadyTrading,
            });
        }
        self.listings[instrument.0 as usize].status = status;
        self.roots[SECTION_INSTRUMENTS] = None;
        let report = SessionReport::Administered {
            seq: context.seq,
            instrument,
            status,
        };
        desk.tell(context.session, &report);
        desk.publish(&PublicEvent::StatusChanged { instrument, status });
        Ok(())
    }

    /// Ends a command or a run of timers that may have changed the state: asserts the sums, and
    /// forgets the roots of what changes often.
    fn conclude(&mut self) {
        for section in [SECTION_VENUE, SECTION_BOOK, SECTION_FEEDS, SECTION_ACCOUNTS] {
            self.roots[section] = None;
        }
        self.market.tree.relieve(&self.market.orders);
        if let Some(clearing) = &self.market.clearing {
            clearing.accounts.assert_zero_sum();
        }
    }

    /// Begins a call of a block, before it changes anything: what stands now is the state after the
    /// block below, and after each one since the last call.
    fn note_block(&mut self, height: u64) {
        let below = height.saturating_sub(1);
        let count = below / ROOT_HEIGHTS;
        let is_of_one = match self.root_heights_below.replace(count) {
            Some(before) => before < count,
            // Restored from whatever height: it is known that of the block below alone.
            None => below.is_multiple_of(ROOT_HEIGHTS),
        };
        if is_of_one {
            for section in 0..self.section_count() {
                self.told_roots[section] = Some(self.section_root(section));
            }
        }
    }

    /// Empty books for the instruments there are now.
    pub(crate) fn clear_books(&mut self) {
        self.market.books = self.listings.iter().map(|_| Book::default()).collect();
        self.market.orders = Default::default();
        self.market.tree = Default::default();
        self.roots[SECTION_BOOK] = None;
    }
}

impl StateMachine for Venue {
    fn sections(&self) -> &'static [&'static str] {
        let all: &'static [&'static str] = &SECTIONS;
        all.get(..self.section_count()).unwrap_or(all)
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        self.note_block(context.height);
        let mut scratch = core::mem::take(&mut self.scratch);
        let mut desk = Desk {
            output,
            scratch: &mut scratch,
        };
        let (client_order, outcome) = match Command::decode(command) {
            Err(_) => (ClientOrderId(0), Err(Refusal::Malformed)),
            Ok(decoded) if !commands::lane_allowed(commands::lane(command), context.lane) => {
                (decoded.client_order(), Err(Refusal::WrongLane))
            }
            Ok(decoded) => (
                decoded.client_order(),
                self.dispatch(context, &decoded, &mut desk),
            ),
        };
        match outcome {
            Ok(()) => self.conclude(),
            Err(refusal) => {
                let seq = context.seq;
                let command_kind = command.first().copied().unwrap_or_default();
                let report = SessionReport::Refused {
                    seq,
                    command_kind,
                    client_order,
                    refusal,
                };
                desk.tell(context.session, &report);
            }
        }
        self.scratch = scratch;
    }

    fn timer_next_ns(&self) -> Option<u64> {
        self.market.clearing.as_ref()?.due_ns()
    }

    fn apply_timers(&mut self, height: u64, time_ns: u64, output: &mut Output) {
        self.note_block(height);
        let mut scratch = core::mem::take(&mut self.scratch);
        let mut desk = Desk {
            output,
            scratch: &mut scratch,
        };
        self.run_timers(time_ns, &mut desk);
        self.conclude();
        self.scratch = scratch;
    }

    fn apply_session(&mut self, context: &Context, event: SessionEvent, output: &mut Output) {
        self.note_block(context.height);
        if !event.is_absence() {
            return;
        }
        let mut scratch = core::mem::take(&mut self.scratch);
        let mut desk = Desk {
            output,
            scratch: &mut scratch,
        };
        let handles: Vec<Handle> = self.market.orders.of(context.session).collect();
        if !handles.is_empty() {
            for handle in handles {
                self.market.cancel(handle, CancelReason::Absent, &mut desk);
            }
            self.conclude();
        }
        self.scratch = scratch;
    }

    /// Those in whose place nobody can act: administrators, validators of the feeds, and who has
    /// cash or a position, which only its own session can withdraw or close.
    fn keeps(&self, session: SessionId) -> bool {
        if self.is_admin(session) {
            return true;
        }
        let Some(clearing) = &self.market.clearing else {
            return false;
        };
        let observes = clearing.validators.iter().any(|v| v.session == session);
        let has_something = |index| {
            let account = clearing.accounts.get(index);
            account.cash > 0 || account.positions().next().is_some()
        };
        observes || clearing.accounts.find(session).is_some_and(has_something)
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        if let Some(root) = self.roots.get(section).copied().flatten() {
            return root;
        }
        let clearing = self.market.clearing.as_mut();
        let root = if section == SECTION_BOOK {
            self.market.tree.root(&self.market.orders)
        } else if let (SECTION_ACCOUNTS, Some(clearing)) = (section, clearing) {
            clearing.accounts.root()
        } else {
            let mut bytes = Vec::new();
            snapshot::write(self, section, &mut bytes);
            roots::section_root(SECTIONS.get(section).copied().unwrap_or_default(), &bytes)
        };
        if let Some(kept) = self.roots.get_mut(section) {
            *kept = Some(root);
        }
        root
    }

    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
        snapshot::write(self, section, bytes);
    }

    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        self.told_roots = [None; SECTIONS.len()];
        self.root_heights_below = None;
        snapshot::restore(self, section, bytes).map_err(|error| {
            let name = SECTIONS.get(section).copied().unwrap_or("unknown");
            format!("section {name}: {error}")
        })
    }

    fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
        query::answer(self, question).encode(answer);
    }

    fn query_from(&self, asker: SessionId, question: &[u8], answer: &mut Vec<u8>) {
        query::answer_to(self, asker, question).encode(answer);
    }
}

#[cfg(test)]
mod tests;
