//! What a recorded message becomes, as the module above documents it.
//!
//! Owns the tracking of the recorded orders that are open, and their names. Never: times.

use super::file::{BookLevel, Message, MessageKind};
use crate::orders::{Sender, client_of};
use quorate_venue::{ClientOrderId, Command, InstrumentId, OrderKind, SelfTrade, Side};
use std::collections::{HashMap, VecDeque};

/// What is the same in each pass.
#[derive(Debug)]
pub(super) struct Plan {
    levels: Vec<BookLevel>,
    instrument: InstrumentId,
    clients: u32,
    /// The first name without a recorded id.
    extra_first: u64,
    /// Names of one pass.
    stride: u64,
}

impl Plan {
    /// `None` if the names do not fit.
    pub(super) fn new(
        messages: &[Message],
        levels: Vec<BookLevel>,
        instrument: InstrumentId,
        clients: u32,
    ) -> Option<Self> {
        let id_last = messages
            .iter()
            .map(|message| message.order)
            .max()
            .unwrap_or(0);
        let extra_first = id_last.checked_add(1)?;
        let immediate = messages
            .iter()
            .filter(|m| m.kind == MessageKind::Execution)
            .count();
        let stride = extra_first.checked_add((levels.len() + immediate) as u64)?;
        Some(Self {
            levels,
            instrument,
            clients,
            extra_first,
            stride,
        })
    }
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Send(Command, Sender),
    Skipped,
    Unknown,
}

/// An order that the recording says is open.
#[derive(Clone, Copy, Debug)]
struct Open {
    name: ClientOrderId,
    client: u32,
    open_lots: u64,
}

/// Turns messages into commands.
#[derive(Debug)]
pub(super) struct Translator {
    plan: Plan,
    /// Recorded orders by id.
    open: HashMap<u64, Open>,
    /// Orders set up from the book, by side and price.
    seeded: HashMap<(Side, i64), Open>,
    /// Added to every name of this pass.
    name_base: u64,
    /// The next name without a recorded id.
    extra_next: u64,
    /// Whether the last halt has not been followed by a resumption.
    halted: bool,
}

/// The resting order a message is about.
enum About {
    Recorded(Open),
    Seeded(Open),
    Nothing,
}

impl Translator {
    pub(super) fn new(plan: Plan) -> Self {
        let (open, seeded) = (HashMap::new(), HashMap::new());
        Self {
            plan,
            open,
            seeded,
            name_base: 0,
            extra_next: 0,
            halted: false,
        }
    }

    /// Forgets the pass before and gives the commands that come before the messages: in all
    /// passes but the first a resumption, if the pass before ended halted, and the mass cancels;
    /// then the orders that set up the book. `None` if the
    /// names of this pass do not fit.
    pub(super) fn start_pass(
        &mut self,
        pass: u64,
        prelude: &mut VecDeque<(Command, Sender)>,
    ) -> Option<()> {
        let name_base = pass.checked_mul(self.plan.stride)?;
        name_base.checked_add(self.plan.stride)?;
        self.name_base = name_base;
        self.extra_next = name_base + self.plan.extra_first;
        self.open.clear();
        self.seeded.clear();
        let halted = std::mem::take(&mut self.halted);
        if pass > 0 {
            if halted {
                let command = Command::Resume {
                    instrument: self.plan.instrument,
                };
                prelude.push_back((command, Sender::Admin));
            }
            for client in 0..self.plan.clients {
                let command = Command::MassCancel {
                    instrument: Some(self.plan.instrument),
                };
                prelude.push_back((command, Sender::Client(client)));
            }
        }
        for at in 0..self.plan.levels.len() {
            let BookLevel {
                side,
                price_ticks,
                size_lots,
            } = self.plan.levels[at];
            let name = self.extra_name();
            let client = client_of(name.0, self.plan.clients);
            self.seeded.insert(
                (side, price_ticks),
                Open {
                    name,
                    client,
                    open_lots: size_lots,
                },
            );
            let command = self.order(OrderKind::Limit, side, name, price_ticks, size_lots);
            prelude.push_back((command, Sender::Client(client)));
        }
        Some(())
    }

    /// Whether this is the name of an order that sets up the book.
    pub(super) fn is_seed(&self, name: ClientOrderId) -> bool {
        let first = self.name_base + self.plan.extra_first;
        (first..first + self.plan.levels.len() as u64).contains(&name.0)
    }

    pub(super) fn step(&mut self, message: &Message) -> Step {
        let instrument = self.plan.instrument;
        match message.kind {
            MessageKind::Limit => self.enter(message),
            MessageKind::Reduce => self.reduce(message),
            MessageKind::Delete => self.delete(message),
            MessageKind::Execution => self.execute(message),
            MessageKind::Unseen => Step::Skipped,
            MessageKind::Halt => {
                self.halted = true;
                Step::Send(Command::Halt { instrument }, Sender::Admin)
            }
            MessageKind::Resume => {
                self.halted = false;
                Step::Send(Command::Resume { instrument }, Sender::Admin)
            }
        }
    }

    fn extra_name(&mut self) -> ClientOrderId {
        let name = ClientOrderId(self.extra_next);
        self.extra_next += 1;
        name
    }

    const fn order(
        &self,
        kind: OrderKind,
        side: Side,
        client_order: ClientOrderId,
        price_ticks: i64,
        size_lots: u64,
    ) -> Command {
        let instrument = self.plan.instrument;
        let self_trade = SelfTrade::Permit;
        Command::New {
            kind,
            side,
            self_trade,
            instrument,
            client_order,
            price_ticks,
            size_lots,
        }
    }

    fn enter(&mut self, message: &Message) -> Step {
        let client = client_of(message.order, self.plan.clients);
        let name = ClientOrderId(self.name_base + message.order);
        let Message {
            size_lots,
            price_ticks,
            side,
            ..
        } = *message;
        self.open.insert(
            message.order,
            Open {
                name,
                client,
                open_lots: size_lots,
            },
        );
        let command = self.order(OrderKind::Limit, side, name, price_ticks, size_lots);
        Step::Send(command, Sender::Client(client))
    }

    /// Takes the size of the message off the order it is about, and says which that is.
    fn charge(&mut self, message: &Message) -> About {
        let size_lots = message.size_lots;
        if let Some(open) = self.open.get_mut(&message.order) {
            let charged = *open;
            open.open_lots = open.open_lots.saturating_sub(size_lots);
            if open.open_lots == 0 {
                self.open.remove(&message.order);
            }
            return About::Recorded(charged);
        }
        match self.seeded.get_mut(&(message.side, message.price_ticks)) {
            Some(open) if open.open_lots >= size_lots => {
                open.open_lots -= size_lots;
                About::Seeded(*open)
            }
            _ => About::Nothing,
        }
    }

    fn reduce(&mut self, message: &Message) -> Step {
        match self.charge(message) {
            About::Nothing => Step::Unknown,
            About::Recorded(open) | About::Seeded(open) => {
                let (client_order, by_lots) = (open.name, message.size_lots);
                let command = Command::Reduce {
                    client_order,
                    by_lots,
                };
                Step::Send(command, Sender::Client(open.client))
            }
        }
    }

    fn delete(&mut self, message: &Message) -> Step {
        match self.open.remove(&message.order) {
            Some(open) => {
                let command = Command::Cancel {
                    client_order: open.name,
                };
                Step::Send(command, Sender::Client(open.client))
            }
            None => self.reduce(message),
        }
    }

    fn execute(&mut self, message: &Message) -> Step {
        let resting = match self.charge(message) {
            About::Nothing => return Step::Unknown,
            About::Recorded(open) | About::Seeded(open) => open,
        };
        let name = self.extra_name();
        let Message {
            size_lots,
            price_ticks,
            side,
            ..
        } = *message;
        let kind = OrderKind::ImmediateOrCancel;
        let command = self.order(kind, side.opposite(), name, price_ticks, size_lots);
        Step::Send(
            command,
            Sender::Client((resting.client + 1) % self.plan.clients),
        )
    }
}
