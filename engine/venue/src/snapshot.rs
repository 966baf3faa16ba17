//! The state as canonical bytes.
//!
//! Owns the format of the sections and the checks of bytes to restore from. Never: when a
//! snapshot is taken, or how it travels. One state has one encoding, and [`restore`] takes
//! nothing else: what it accepts, [`write()`] gives back byte for byte.
//!
//! Each section starts with its format version, one byte, now 1. Integers are little-endian.
//!
//! - `venue`: orders max u32, orders per session max u32, levels per side max u32, next order
//!   u64, next trade u64, count of administrators u32, their sessions in ascending order, 16
//!   bytes each.
//! - `instruments`: count u32; for each its symbol (length u8, characters), lowest price i64,
//!   highest price i64, greatest size u64, status u8.
//! - `book`: count u64; for each order, in ascending order of their numbers, number u64, session
//!   16 bytes, client order u64, instrument u32, side u8, price i64, open u64, executed u64.
//!
//! - a venue with accounts has three more, told in [`clearing`].
//!
//! Sections are restored in this order, since the later ones are checked against the earlier:
//! restoring the instruments empties the books, restoring the feeds forgets series and accounts.

mod clearing;

use crate::audit::AuditError;
use crate::commands::{ClientOrderId, Side};
use crate::config::{self, ConfigError, VenueLimits};
use crate::instruments::{Instrument, InstrumentId, Listing, Status};
use crate::orders::Order;
use crate::reports::OrderNumber;
use crate::venue::{SECTION_BOOK, SECTION_INSTRUMENTS, SECTION_VENUE, Venue};
use crate::wire::{DecodeError, Reader, Writer};
use quorate::state_machine::SessionId;
use thiserror::Error;

/// Bytes of one order in the book section.
pub(crate) const ORDER_BYTES: usize = 8 + 16 + 8 + 4 + 1 + 8 + 8 + 8;

const VERSION: u8 = 1;

/// Why bytes are no section.
#[derive(Debug, Error)]
pub(crate) enum RestoreError {
    #[error("there is no such section")]
    UnknownSection,
    #[error("format version {0} is unknown")]
    Version(u8),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("administrators are not in ascending order")]
    AdminOrder,
    #[error("a next number is zero")]
    NumberZero,
    #[error("count {0} does not fit the bytes or the limits")]
    Count(u64),
    #[error("a symbol is not text")]
    Symbol,
    #[error("order {number}: {fault}")]
    Order { number: u64, fault: &'static str },
    #[error("the book of instrument {0} is crossed")]
    Crossed(u32),
    #[error("feed {index}: {fault}")]
    Feed { index: usize, fault: &'static str },
    #[error("series {id}: {fault}")]
    Series { id: u32, fault: &'static str },
    #[error("account {index}: {fault}")]
    Account { index: u32, fault: &'static str },
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl Order {
    /// The bytes of this order in the book section, and under its leaf of the tree.
    pub(crate) fn canonical_bytes(&self) -> [u8; ORDER_BYTES] {
        let mut bytes = [0; ORDER_BYTES];
        bytes[..8].copy_from_slice(&self.number.0.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.session.0);
        bytes[24..32].copy_from_slice(&self.client_order.0.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.instrument.0.to_le_bytes());
        bytes[36] = self.side as u8;
        bytes[37..45].copy_from_slice(&self.price_ticks.to_le_bytes());
        bytes[45..53].copy_from_slice(&self.open_lots.to_le_bytes());
        bytes[53..].copy_from_slice(&self.executed_lots.to_le_bytes());
        bytes
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            number: OrderNumber(reader.u64()?),
            session: reader.session()?,
            client_order: ClientOrderId(reader.u64()?),
            instrument: InstrumentId(reader.u32()?),
            side: reader.choice("side", Side::from_u8)?,
            price_ticks: reader.i64()?,
            open_lots: reader.u64()?,
            executed_lots: reader.u64()?,
        })
    }
}

/// Appends the bytes of a section; nothing if there is no such section.
pub(crate) fn write(venue: &Venue, section: usize, bytes: &mut Vec<u8>) {
    match section {
        SECTION_VENUE => write_venue(venue, bytes),
        SECTION_INSTRUMENTS => write_instruments(venue, bytes),
        SECTION_BOOK => write_book(venue, bytes),
        _ if section < venue.section_count() => clearing::write(venue, section, bytes),
        _ => {}
    }
}

/// Replaces a section by what [`write()`] wrote.
pub(crate) fn restore(venue: &mut Venue, section: usize, bytes: &[u8]) -> Result<(), RestoreError> {
    let mut reader = Reader::bare(bytes);
    let version = reader.u8()?;
    if version != VERSION {
        return Err(RestoreError::Version(version));
    }
    match section {
        SECTION_VENUE => restore_venue(venue, &mut reader)?,
        SECTION_INSTRUMENTS => restore_instruments(venue, &mut reader)?,
        SECTION_BOOK => restore_book(venue, &mut reader)?,
        _ => clearing::restore(venue, section, &mut reader)?,
    }
    Ok(reader.finish()?)
}

fn write_venue(venue: &Venue, bytes: &mut Vec<u8>) {
    let mut w = Writer(bytes);
    let VenueLimits {
        orders_max,
        orders_per_session_max,
        levels_per_side_max,
    } = venue.limits;
    w.u8(VERSION)
        .u32(orders_max)
        .u32(orders_per_session_max)
        .u32(levels_per_side_max);
    w.u64(venue.market.order_next).u64(venue.market.trade_next);
    w.u32(venue.admins.len() as u32);
    for admin in &venue.admins {
        w.bytes(&admin.0);
    }
}

fn restore_venue(venue: &mut Venue, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
    let limits = VenueLimits {
        orders_max: reader.u32()?,
        orders_per_session_max: reader.u32()?,
        levels_per_side_max: reader.u32()?,
    };
    limits.check()?;
    let order_next = reader.u64()?;
    let trade_next = reader.u64()?;
    if order_next == 0 || trade_next == 0 {
        return Err(RestoreError::NumberZero);
    }
    let count = u64::from(reader.u32()?);
    if count > config::ADMINS_MAX as u64 {
        return Err(RestoreError::Count(count));
    }
    let admins: Vec<SessionId> = (0..count)
        .map(|_| reader.session())
        .collect::<Result<_, _>>()?;
    if config::check_admins(admins.clone())? != admins {
        return Err(RestoreError::AdminOrder);
    }
    venue.limits = limits;
    venue.admins = admins;
    venue.market.order_next = order_next;
    venue.market.trade_next = trade_next;
    venue.roots[SECTION_VENUE] = None;
    Ok(())
}

fn write_instruments(venue: &Venue, bytes: &mut Vec<u8>) {
    let mut w = Writer(bytes);
    w.u8(VERSION).u32(venue.listings.len() as u32);
    for Listing { instrument, status } in &venue.listings {
        w.u8(instrument.symbol.len() as u8)
            .bytes(instrument.symbol.as_bytes());
        w.i64(instrument.price_ticks_min)
            .i64(instrument.price_ticks_max);
        w.u64(instrument.size_lots_max).u8(*status as u8);
    }
}

fn restore_instruments(venue: &mut Venue, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
    let count = reader.u32()?;
    if count as usize > config::INSTRUMENTS_MAX {
        return Err(RestoreError::Count(u64::from(count)));
    }
    let mut listings = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let length = reader.u8()?;
        let symbol: Vec<u8> = (0..length).map(|_| reader.u8()).collect::<Result<_, _>>()?;
        let instrument = Instrument {
            symbol: String::from_utf8(symbol).map_err(|_| RestoreError::Symbol)?,
            price_ticks_min: reader.i64()?,
            price_ticks_max: reader.i64()?,
            size_lots_max: reader.u64()?,
        };
        listings.push(Listing {
            instrument,
            status: reader.choice("status", Status::from_u8)?,
        });
    }
    config::check_instruments(listings.iter().map(|listing| &listing.instrument))?;
    venue.listings = listings;
    venue.roots[SECTION_INSTRUMENTS] = None;
    venue.clear_books();
    Ok(())
}

fn write_book(venue: &Venue, bytes: &mut Vec<u8>) {
    let orders = &venue.market.orders;
    let mut sorted: Vec<&Order> = orders.iter().collect();
    sorted.sort_unstable_by_key(|order| order.number);
    bytes.reserve(9 + sorted.len() * ORDER_BYTES);
    let mut w = Writer(bytes);
    w.u8(VERSION).u64(sorted.len() as u64);
    for order in sorted {
        w.bytes(&order.canonical_bytes());
    }
}

fn restore_book(venue: &mut Venue, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
    let count = reader.u64()?;
    let fits = reader.rest_bytes() as u64 == count.saturating_mul(ORDER_BYTES as u64);
    if !fits || count > u64::from(venue.limits.orders_max) {
        return Err(RestoreError::Count(count));
    }
    venue.clear_books();
    let mut number_before = 0;
    for _ in 0..count {
        let order = Order::read(reader)?;
        let number = order.number.0;
        if let Some(fault) = order_fault(venue, &order, number_before) {
            return Err(RestoreError::Order { number, fault });
        }
        number_before = number;
        // The accounts, which come later, reserve for all orders at once.
        let clearing = venue.market.clearing.take();
        venue.market.add(order);
        venue.market.clearing = clearing;
        venue.market.tree.relieve(&venue.market.orders);
    }
    for (index, book) in (0..).zip(&venue.market.books) {
        if let (Some((bid, _)), Some((ask, _))) = (book.best(Side::Buy), book.best(Side::Sell))
            && bid >= ask
        {
            return Err(RestoreError::Crossed(index));
        }
    }
    Ok(())
}

/// What keeps the order from being the next one of the book, if anything.
fn order_fault(venue: &Venue, order: &Order, number_before: u64) -> Option<&'static str> {
    let Ok(Listing { instrument, .. }) = venue.listing(order.instrument) else {
        return Some("its instrument does not exist");
    };
    let market = &venue.market;
    let limits = &venue.limits;
    let book = market.book(order.instrument);
    let size_lots = order.open_lots.checked_add(order.executed_lots);
    if order.number.0 <= number_before {
        Some("its number does not rise")
    } else if order.number.0 >= market.order_next {
        Some("its number has not been given yet")
    } else if order.open_lots == 0 {
        Some("it has nothing open")
    } else if size_lots.is_none_or(|size| size > instrument.size_lots_max) {
        Some("its size is above what its instrument allows")
    } else if !instrument.allows_price(order.price_ticks) {
        Some("its price is outside of what its instrument allows")
    } else if market
        .orders
        .find(order.session, order.client_order)
        .is_some()
    {
        Some("its session has another order of this name")
    } else if market.orders.session_count(order.session) >= limits.orders_per_session_max {
        Some("its session has more orders than it may")
    } else if book.level(order.side, order.price_ticks).is_none()
        && book.level_count(order.side) >= limits.levels_per_side_max as usize
    {
        Some("its side has more levels than it may")
    } else {
        None
    }
}
