//! Recorded order flow in the LOBSTER format.
//!
//! Owns the flow made from a message file and, if given, an order book file. Never: the venue's
//! answers; it replays what was recorded.
//!
//! Inter-arrival times are stretched evenly so that the mean rate is the target rate: bursts stay
//! bursts. Prices stay as they are (10,000ths of a dollar are the ticks), sizes too.
//!
//! | type | becomes |
//! |---|---|
//! | 1 new | a limit order |
//! | 2 partial cancel | a reduction by the size |
//! | 3 delete | a cancel |
//! | 4 execution | an immediate-or-cancel order of the other side, at that price and size, from another client if there is one |
//! | 5 hidden execution, 6 auction | nothing; counted as skipped |
//! | 7 halt, resume | a halt or resume from the administrator |
//!
//! A message about an order that was entered before the recording has nothing to refer to. With a
//! book, it falls to the order that was set up at its price, as long as that one is large enough:
//! a deletion there is a reduction by its size. Otherwise it is unknown.
//!
//! Names: an order has its recorded id as its client order id in the first pass; orders without
//! one (those set up, and immediate ones) have the numbers behind the greatest id; and in each
//! later pass all names are higher by the count of all of them.
//!
//! Recorded clients are not known, so the clients here are spread by order id, and orders permit
//! trades within a client: preventing them would change what was recorded.
//!
//! A file that is shorter than the run **wraps**: each client cancels all it has open, the book is
//! set up again, and the messages follow again with fresh order names. Those first commands all
//! have the offset at which the pass starts and are not part of the target rate. The flow ends
//! only where no fresh names are left in 64 bits.

mod file;
mod translate;

use super::pace::Stretch;
use super::{CLIENTS_MAX, Counters, OrderFlow, Planned, Sender};
use file::{BookLevel, Message};
use quorate_venue::{Command, InstrumentId, lane};
use std::collections::VecDeque;
use std::io::BufRead;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use thiserror::Error;
use translate::{Plan, Step, Translator};

/// Messages of a file at most: they are held in memory, 40 bytes each.
pub const MESSAGES_MAX: usize = 1 << 24;

/// What to replay and how.
#[derive(Clone, Debug)]
pub struct LobsterConfig {
    /// The message file.
    pub messages: PathBuf,
    /// The order book file of the same recording, of which the first line is read.
    pub book: Option<PathBuf>,
    /// Target rate of the commands that come from messages.
    pub rate_per_s: NonZeroU64,
    /// Over how many clients the orders are spread, 1 to [`CLIENTS_MAX`]; what is out of bounds
    /// is brought to the nearest bound.
    pub clients: u32,
    /// The instrument they trade.
    pub instrument: InstrumentId,
}

/// Why a recording cannot be replayed.
#[derive(Debug, Error)]
pub enum LobsterError {
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A field of a line is not what it should be.
    #[error("{path}, line {line}, column {column}: expected {expected}, found {found:?}", path = path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What should stand there.
        expected: &'static str,
        /// What stands there, at most its first 40 characters.
        found: String,
    },
    /// A file holds more messages than a flow takes.
    #[error("{path} holds more than {MESSAGES_MAX} messages", path = path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// No message of the file becomes a command.
    #[error("no message of {path} becomes a command", path = path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
    },
    /// The order ids of the file leave no room for those of the orders that have none.
    #[error("the order ids of {path} leave no room in 64 bits for other names", path = path.display())]
    Names {
        /// The file.
        path: PathBuf,
    },
}

/// A flow made from a recording.
#[derive(Debug)]
pub struct Lobster {
    messages: Vec<Message>,
    translator: Translator,
    stretch: Stretch,
    /// Commands that set up the pass and are still to be given.
    prelude: VecDeque<(Command, Sender)>,
    pass: u64,
    /// The next message of the pass.
    position: usize,
    /// Commands of the pass that came from messages.
    given: u64,
    counters: Counters,
    instrument: InstrumentId,
}

impl Lobster {
    /// Reads and checks the files whole.
    ///
    /// # Errors
    ///
    /// See [`LobsterError`].
    pub fn open(config: &LobsterConfig) -> Result<Self, LobsterError> {
        let messages = file::opened(&config.messages)?;
        match &config.book {
            Some(path) => Self::read(config, messages, Some(file::opened(path)?)),
            None => Self::read(config, messages, None),
        }
    }

    /// Reads and checks the texts of the files, which need not exist: the paths of `config` stand
    /// in errors. There is a book only if `config` names one.
    ///
    /// # Errors
    ///
    /// See [`LobsterError`].
    pub fn read<R: BufRead>(
        config: &LobsterConfig,
        messages: R,
        book: Option<R>,
    ) -> Result<Self, LobsterError> {
        let mut messages = file::read_messages(messages, &config.messages)?;
        let mut levels = match (&config.book, book) {
            (Some(path), Some(book)) => file::read_book(book, path)?,
            (None, _) | (_, None) => Vec::new(),
        };
        let mut counters = Counters::default();
        if config.book.is_some() {
            align(&mut levels, &mut messages, &mut counters);
        }
        let clients = config.clients.clamp(1, CLIENTS_MAX);
        let nothing = || LobsterError::Nothing {
            path: config.messages.clone(),
        };
        let plan = Plan::new(&messages, levels, config.instrument, clients).ok_or_else(|| {
            LobsterError::Names {
                path: config.messages.clone(),
            }
        })?;
        let mut translator = Translator::new(plan);
        let stretch =
            rehearse(&mut translator, &messages, config.rate_per_s).ok_or_else(nothing)?;
        let mut prelude = VecDeque::new();
        translator.start_pass(0, &mut prelude).ok_or_else(nothing)?;
        Ok(Self {
            messages,
            translator,
            stretch,
            prelude,
            pass: 0,
            position: 0,
            given: 0,
            counters,
            instrument: config.instrument,
        })
    }

    /// The instrument that the orders trade.
    #[must_use]
    pub const fn instrument(&self) -> InstrumentId {
        self.instrument
    }

    fn next_command(&mut self) -> Option<(Command, Sender, u64)> {
        loop {
            if let Some((command, sender)) = self.prelude.pop_front() {
                return Some((command, sender, self.stretch.start_ns(self.pass)));
            }
            let Some(message) = self.messages.get(self.position) else {
                self.translator
                    .start_pass(self.pass + 1, &mut self.prelude)?;
                self.pass += 1;
                self.counters.wraps += 1;
                (self.position, self.given) = (0, 0);
                continue;
            };
            self.position += 1;
            match self.translator.step(message) {
                Step::Skipped => self.counters.skipped += 1,
                Step::Unknown => self.counters.unknown += 1,
                Step::Send(command, sender) => {
                    let offset_ns = self
                        .stretch
                        .offset_ns(self.pass, self.given, message.time_ns);
                    self.given += 1;
                    return Some((command, sender, offset_ns));
                }
            }
        }
    }

    fn count(&mut self, command: &Command) {
        let counters = &mut self.counters;
        let counter = match command {
            Command::New {
                kind, client_order, ..
            } => {
                if self.translator.is_seed(*client_order) {
                    &mut counters.seeds
                } else if kind.may_rest() {
                    &mut counters.limits
                } else {
                    &mut counters.iocs
                }
            }
            Command::Cancel { .. } => &mut counters.cancels,
            Command::Reduce { .. } | Command::Replace { .. } => &mut counters.reduces,
            Command::MassCancel { .. } => &mut counters.mass_cancels,
            Command::Halt { .. } | Command::Resume { .. } => &mut counters.halts,
            // A recorded day has no accounts, and the translator makes no such command.
            Command::Clearing(_) => return,
        };
        *counter += 1;
    }
}

impl OrderFlow for Lobster {
    fn plan_next(&mut self, command: &mut Vec<u8>) -> Option<Planned> {
        let (next, sender, offset_ns) = self.next_command()?;
        self.count(&next);
        command.clear();
        next.encode(command);
        Some(Planned {
            offset_ns,
            sender,
            lane: lane(command),
        })
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// Takes back from the book what the first message had already done to it: line k of a LOBSTER
/// book is the state after message k. A new order is taken off its level, as it will be sent; any
/// other message is dropped, as its effect is there.
fn align(levels: &mut Vec<BookLevel>, messages: &mut Vec<Message>, counters: &mut Counters) {
    let Some(first) = messages.first().copied() else {
        return;
    };
    if !matches!(first.kind, file::MessageKind::Limit) {
        messages.remove(0);
        counters.skipped += 1;
        return;
    }
    for level in &mut *levels {
        if level.side == first.side && level.price_ticks == first.price_ticks {
            level.size_lots = level.size_lots.saturating_sub(first.size_lots);
        }
    }
    levels.retain(|level| level.size_lots > 0);
}

/// Goes through the messages once to learn how many become commands, and when; `None` if none
/// does.
fn rehearse(
    translator: &mut Translator,
    messages: &[Message],
    rate_per_s: NonZeroU64,
) -> Option<Stretch> {
    translator.start_pass(0, &mut VecDeque::new())?;
    let (mut count, mut first_ns, mut last_ns) = (0, None, 0);
    for message in messages {
        if let Step::Send(..) = translator.step(message) {
            count += 1;
            first_ns = first_ns.or(Some(message.time_ns));
            last_ns = message.time_ns;
        }
    }
    Some(Stretch::new(
        rate_per_s,
        NonZeroU64::new(count)?,
        first_ns?,
        last_ns,
    ))
}

fn read_error(path: &Path, source: std::io::Error) -> LobsterError {
    LobsterError::Read {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod replayed_book_tests;
#[cfg(test)]
mod tests;
