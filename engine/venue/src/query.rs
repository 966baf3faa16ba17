//! Read-only questions about the state between two blocks.
//!
//! Owns the questions, the answers and their bytes. Never: a change of the state. A malformed
//! question, or one about what does not exist, is answered by [`Answer::Refused`]; so is a client's
//! about an order or the account of another session, unless it is an administrator's
//! ([`Refusal::NotAdmin`]). It is judged by the session that its key has, open or not.
//!
//! | kind | question | fields after the kind byte |
//! |---|---|---|
//! | 1 | best | instrument u32 |
//! | 2 | depth | instrument u32, levels u16 (1 to [`DEPTH_LEVELS_MAX`]) |
//! | 3 | order | session 16 bytes, client order u64 |
//! | 4 | instrument | instrument u32 |
//! | 5 | roots | |
//! | 6 | account | session 16 bytes |
//! | 7 | fund | |
//! | 8 | feed | feed u32 |
//! | 9 | series | instrument u32 |
//!
//! | kind | answer | fields after the kind byte |
//! |---|---|---|
//! | 0 | refused | refusal u8 |
//! | 2 | depth (also of best) | instrument u32, bids u16, asks u16, then bids and asks from the best on: price i64, open u64, orders u32 |
//! | 3 | order | order u64, instrument u32, side u8, price i64, open u64, executed u64 |
//! | 4 | instrument | instrument u32, status u8, lowest price i64, highest price i64, greatest size u64, symbol to the end |
//! | 5 | roots | for each section, in root order: known u8, root 32 bytes (zeros if not known) |
//! | 6 | account (also of fund) | cash i64, initial i64, maintenance i64, count u32, for each position instrument u32 and lots i64 |
//! | 8 | feed | feed u32, state u8, halted u8, price i64, mark i64, open round u64 |
//! | 9 | series | instrument u32, feed u32, strike i64, expiry u64, right u8, style u8, multiplier u32, state u8, due u64, fixing i64 |
//!
//! *roots* are those after the block whose height is the greatest multiple of 64 below the last
//! block that did anything to the venue, so that all validators who stand there answer alike,
//! whoever asked them before. One that was restored from a snapshot does not know them until the
//! next such height is behind it.
//!
//! *initial* of an account is 2^63 - 1 where it cannot be told, since a price that it needs is not
//! fresh: the account may open nothing and take nothing out until there is one.

mod clearing;

pub use clearing::{AccountAnswer, FeedAnswer, SeriesAnswer};

use crate::book::Book;
use crate::commands::{ClientOrderId, Side};
use crate::config::DEPTH_LEVELS_MAX;
use crate::feeds::FeedId;
use crate::instruments::{Instrument, InstrumentId, Status};
use crate::refusal::Refusal;
use crate::reports::OrderNumber;
use crate::venue::{SECTIONS, Venue};
use crate::wire::{DecodeError, Reader, Writer};
use quorate::state_machine::SessionId;

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The best bid and ask of an instrument. Answered by [`Answer::Depth`] of one level.
    Best {
        /// Which.
        instrument: InstrumentId,
    },
    /// The price levels of an instrument.
    Depth {
        /// Which.
        instrument: InstrumentId,
        /// How many levels of each side at most, 1 to [`DEPTH_LEVELS_MAX`].
        levels: u16,
    },
    /// An open order. A client is answered about its own session's, and an administrator about
    /// all.
    Order {
        /// The session that entered it.
        session: SessionId,
        /// The client's name of it.
        client_order: ClientOrderId,
    },
    /// The definition and status of an instrument.
    Instrument {
        /// Which.
        instrument: InstrumentId,
    },
    /// The section roots of the last height at which all validators took them
    /// ([`Answer::Roots`]).
    Roots,
    /// The account of a session. A client is answered about its own session's, and an
    /// administrator about all.
    Account {
        /// Whose.
        session: SessionId,
    },
    /// The shared fund. Answered by [`Answer::Account`].
    Fund,
    /// A feed and its price.
    Feed {
        /// Which.
        feed: FeedId,
    },
    /// An option series.
    Series {
        /// The instrument that it trades as.
        instrument: InstrumentId,
    },
}

/// What stands at one price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepthLevel {
    /// The price in ticks.
    pub price_ticks: i64,
    /// The sum of the open sizes in lots.
    pub open_lots: u64,
    /// How many orders there are.
    pub order_count: u32,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There is no answer: [`Refusal::Malformed`], or what the question is about does not exist.
    Refused(Refusal),
    /// The levels of an instrument.
    Depth {
        /// Which.
        instrument: InstrumentId,
        /// The bids from the highest down.
        bids: Vec<DepthLevel>,
        /// The asks from the lowest up.
        asks: Vec<DepthLevel>,
    },
    /// An open order.
    Order {
        /// The venue's number of it.
        order: OrderNumber,
        /// What it trades.
        instrument: InstrumentId,
        /// Which way.
        side: Side,
        /// Its price in ticks.
        price_ticks: i64,
        /// Its open size in lots.
        open_lots: u64,
        /// What it has traded in lots, with the orders it replaced.
        executed_lots: u64,
    },
    /// An instrument.
    Instrument {
        /// Which.
        id: InstrumentId,
        /// Whether it trades.
        status: Status,
        /// Its definition.
        instrument: Instrument,
    },
    /// The section roots, in root order, after the block whose height is the greatest multiple of
    /// 64 below the last block that did anything to the venue: of these all validators take them,
    /// and a question cannot bring a root up to date. `None` where that is not known: in a venue
    /// that was restored, until the next such height is behind it.
    Roots(Vec<Option<[u8; 32]>>),
    /// An account, or the fund.
    Account(AccountAnswer),
    /// A feed.
    Feed(FeedAnswer),
    /// A series.
    Series(SeriesAnswer),
}

/// Answers a client that has logged in with the key of this session. What an account has and what
/// rests for it are told to whom they belong: the reports of it are private as well.
pub(crate) fn answer_to(venue: &Venue, asker: SessionId, question: &[u8]) -> Answer {
    match Question::decode(question) {
        Ok(Question::Order { session, .. } | Question::Account { session })
            if session != asker && !venue.is_admin(asker) =>
        {
            Answer::Refused(Refusal::NotAdmin)
        }
        _ => answer(venue, question),
    }
}

/// Answers the question in these bytes, for the program that embeds the venue.
pub(crate) fn answer(venue: &Venue, question: &[u8]) -> Answer {
    let Ok(question) = Question::decode(question) else {
        return Answer::Refused(Refusal::Malformed);
    };
    match question {
        Question::Best { instrument } => depth(venue, instrument, 1),
        Question::Depth { instrument, levels } => depth(venue, instrument, levels),
        Question::Order {
            session,
            client_order,
        } => order(venue, session, client_order),
        Question::Instrument { instrument: id } => match venue.listing(id) {
            Err(refusal) => Answer::Refused(refusal),
            Ok(listing) => Answer::Instrument {
                id,
                status: listing.status,
                instrument: listing.instrument.clone(),
            },
        },
        Question::Roots => {
            let roots = venue.told_roots.iter().take(venue.section_count());
            Answer::Roots(roots.copied().collect())
        }
        other => clearing_answer(venue, other).unwrap_or_else(Answer::Refused),
    }
}

fn clearing_answer(venue: &Venue, question: Question) -> Result<Answer, Refusal> {
    let clearing = venue.market.clearing.as_deref();
    match question {
        Question::Account { session } => clearing::account(clearing, session).map(Answer::Account),
        Question::Fund => clearing::fund(clearing).map(Answer::Account),
        Question::Feed { feed } => clearing::feed(clearing, feed).map(Answer::Feed),
        Question::Series { instrument } => {
            venue.listing(instrument)?;
            clearing::series(clearing, instrument).map(Answer::Series)
        }
        _ => Err(Refusal::Malformed),
    }
}

fn depth(venue: &Venue, instrument: InstrumentId, levels: u16) -> Answer {
    if let Err(refusal) = venue.listing(instrument) {
        return Answer::Refused(refusal);
    }
    let book = venue.market.book(instrument);
    let side = |book: &Book, side| {
        let levels = book.best_first(side).take(usize::from(levels));
        let level = levels.map(|(price_ticks, level)| DepthLevel {
            price_ticks,
            open_lots: level.open_lots,
            order_count: level.count,
        });
        level.collect()
    };
    Answer::Depth {
        instrument,
        bids: side(book, Side::Buy),
        asks: side(book, Side::Sell),
    }
}

fn order(venue: &Venue, session: SessionId, client_order: ClientOrderId) -> Answer {
    match venue.market.orders.find(session, client_order) {
        None => Answer::Refused(Refusal::UnknownOrder),
        Some(handle) => {
            let order = venue.market.orders.order(handle);
            Answer::Order {
                order: order.number,
                instrument: order.instrument,
                side: order.side,
                price_ticks: order.price_ticks,
                open_lots: order.open_lots,
                executed_lots: order.executed_lots,
            }
        }
    }
}

impl Question {
    /// Appends the bytes of this question.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let mut w = Writer(bytes);
        match *self {
            Self::Best { instrument } => w.u8(1).u32(instrument.0),
            Self::Depth { instrument, levels } => w.u8(2).u32(instrument.0).u16(levels),
            Self::Order {
                session,
                client_order,
            } => w.u8(3).bytes(&session.0).u64(client_order.0),
            Self::Instrument { instrument } => w.u8(4).u32(instrument.0),
            Self::Roots => w.u8(5),
            Self::Account { session } => w.u8(6).bytes(&session.0),
            Self::Fund => w.u8(7),
            Self::Feed { feed } => w.u8(8).u32(feed.0),
            Self::Series { instrument } => w.u8(9).u32(instrument.0),
        };
    }

    /// The question in these bytes.
    ///
    /// # Errors
    ///
    /// See [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes)?;
        let question = match r.kind() {
            1 => Self::Best {
                instrument: InstrumentId(r.u32()?),
            },
            2 => Self::Depth {
                instrument: InstrumentId(r.u32()?),
                levels: r.u16()?,
            },
            3 => Self::Order {
                session: r.session()?,
                client_order: ClientOrderId(r.u64()?),
            },
            4 => Self::Instrument {
                instrument: InstrumentId(r.u32()?),
            },
            5 => Self::Roots,
            6 => Self::Account {
                session: r.session()?,
            },
            7 => Self::Fund,
            8 => Self::Feed {
                feed: FeedId(r.u32()?),
            },
            9 => Self::Series {
                instrument: InstrumentId(r.u32()?),
            },
            kind => return Err(DecodeError::UnknownKind(kind)),
        };
        if let Self::Depth { levels, .. } = question
            && !(1..=DEPTH_LEVELS_MAX).contains(&levels)
        {
            return Err(r.field_error("levels"));
        }
        r.finish()?;
        Ok(question)
    }
}

impl Answer {
    /// Appends the bytes of this answer.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let mut w = Writer(bytes);
        match self {
            Self::Refused(refusal) => {
                w.u8(0).u8(*refusal as u8);
            }
            Self::Depth {
                instrument,
                bids,
                asks,
            } => {
                w.u8(2)
                    .u32(instrument.0)
                    .u16(bids.len() as u16)
                    .u16(asks.len() as u16);
                for level in bids.iter().chain(asks) {
                    w.i64(level.price_ticks)
                        .u64(level.open_lots)
                        .u32(level.order_count);
                }
            }
            Self::Order {
                order,
                instrument,
                side,
                price_ticks,
                open_lots,
                executed_lots,
            } => {
                w.u8(3).u64(order.0).u32(instrument.0).u8(*side as u8);
                w.i64(*price_ticks).u64(*open_lots).u64(*executed_lots);
            }
            Self::Instrument {
                id,
                status,
                instrument,
            } => {
                w.u8(4)
                    .u32(id.0)
                    .u8(*status as u8)
                    .i64(instrument.price_ticks_min);
                w.i64(instrument.price_ticks_max)
                    .u64(instrument.size_lots_max);
                w.bytes(instrument.symbol.as_bytes());
            }
            Self::Roots(roots) => {
                w.u8(5);
                for root in roots {
                    w.u8(u8::from(root.is_some()))
                        .bytes(&root.unwrap_or_default());
                }
            }
            Self::Account(account) => account.write(w.u8(6)),
            Self::Feed(feed) => feed.write(w.u8(8)),
            Self::Series(series) => series.write(w.u8(9)),
        }
    }

    /// The answer in these bytes.
    ///
    /// # Errors
    ///
    /// See [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes)?;
        let answer = match r.kind() {
            0 => Self::Refused(r.choice("refusal", Refusal::from_u8)?),
            2 => {
                let instrument = InstrumentId(r.u32()?);
                let (bid_count, ask_count) = (r.u16()?, r.u16()?);
                Self::Depth {
                    instrument,
                    bids: read_levels(&mut r, bid_count)?,
                    asks: read_levels(&mut r, ask_count)?,
                }
            }
            3 => Self::Order {
                order: OrderNumber(r.u64()?),
                instrument: InstrumentId(r.u32()?),
                side: r.choice("side", Side::from_u8)?,
                price_ticks: r.i64()?,
                open_lots: r.u64()?,
                executed_lots: r.u64()?,
            },
            4 => Self::Instrument {
                id: InstrumentId(r.u32()?),
                status: r.choice("status", Status::from_u8)?,
                instrument: read_instrument(&mut r)?,
            },
            5 => Self::Roots(read_roots(&mut r)?),
            6 => Self::Account(AccountAnswer::read(&mut r)?),
            8 => Self::Feed(FeedAnswer::read(&mut r)?),
            9 => Self::Series(SeriesAnswer::read(&mut r)?),
            kind => return Err(DecodeError::UnknownKind(kind)),
        };
        r.finish()?;
        Ok(answer)
    }
}

fn read_levels(r: &mut Reader<'_>, count: u16) -> Result<Vec<DepthLevel>, DecodeError> {
    let mut level = || {
        Ok(DepthLevel {
            price_ticks: r.i64()?,
            open_lots: r.u64()?,
            order_count: r.u32()?,
        })
    };
    (0..count).map(|_| level()).collect()
}

fn read_instrument(r: &mut Reader<'_>) -> Result<Instrument, DecodeError> {
    let (price_ticks_min, price_ticks_max, size_lots_max) = (r.i64()?, r.i64()?, r.u64()?);
    let symbol = (0..r.rest_bytes())
        .map(|_| r.u8())
        .collect::<Result<Vec<u8>, _>>()?;
    let symbol = String::from_utf8(symbol).map_err(|_| r.field_error("symbol"))?;
    Ok(Instrument {
        symbol,
        price_ticks_min,
        price_ticks_max,
        size_lots_max,
    })
}

fn read_roots(r: &mut Reader<'_>) -> Result<Vec<Option<[u8; 32]>>, DecodeError> {
    let mut roots = Vec::with_capacity(SECTIONS.len());
    while r.rest_bytes() > 0 {
        if roots.len() == SECTIONS.len() {
            return Err(r.field_error("root"));
        }
        let known = r.u8()?;
        let hash = r.array()?;
        roots.push(match known {
            1 => Some(hash),
            0 if hash == [0; 32] => None,
            _ => return Err(r.field_error("root")),
        });
    }
    Ok(roots)
}
