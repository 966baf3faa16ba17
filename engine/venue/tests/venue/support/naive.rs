//! A second venue, as simple as can be: one list of orders, scanned for everything, and copied to
//! find out what an order would do. It shares no code with the first but the messages.

use super::{ADMIN, PRICE_MAX, SIZE_MAX, Told};
use quorate::state_machine::SessionId;
use quorate_venue::{
    CancelReason, ClientOrderId, Command, InstrumentId, OrderKind, OrderNumber, PublicEvent,
    Refusal, Role, SelfTrade, SessionReport, Side, Status, VenueLimits,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NaiveOrder {
    pub(crate) number: u64,
    pub(crate) session: SessionId,
    pub(crate) name: ClientOrderId,
    pub(crate) instrument: InstrumentId,
    pub(crate) side: Side,
    pub(crate) price: i64,
    pub(crate) open: u64,
    pub(crate) executed: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Naive {
    pub(crate) orders: Vec<NaiveOrder>,
    pub(crate) status: [Status; 2],
    pub(crate) limits: VenueLimits,
    pub(crate) order_next: u64,
    pub(crate) trade_next: u64,
    told: Vec<Told>,
}

/// Why an order took no more.
#[derive(PartialEq)]
enum Stop {
    Filled,
    NothingLeft,
    OwnOrder,
}

impl Naive {
    pub(crate) fn new(limits: VenueLimits) -> Self {
        let status = [Status::Trading; 2];
        Self {
            orders: Vec::new(),
            status,
            limits,
            order_next: 1,
            trade_next: 1,
            told: Vec::new(),
        }
    }

    pub(crate) fn apply(&mut self, session: SessionId, seq: u64, command: &Command) -> Vec<Told> {
        self.told.clear();
        if let Err(refusal) = self.run(session, seq, command) {
            assert!(self.told.is_empty());
            let (command_kind, client_order) = (command.kind(), command.client_order());
            let report = SessionReport::Refused {
                seq,
                command_kind,
                client_order,
                refusal,
            };
            self.told.push(Told::Session(session, report));
        }
        self.told.clone()
    }

    fn run(&mut self, session: SessionId, seq: u64, command: &Command) -> Result<(), Refusal> {
        match *command {
            Command::New { .. } => self.enter(session, command)?,
            Command::Replace { .. } => self.replace(session, command)?,
            Command::Cancel { client_order } => {
                let at = self
                    .find(session, client_order)
                    .ok_or(Refusal::UnknownOrder)?;
                self.cancel(at, CancelReason::Asked);
            }
            Command::Reduce {
                client_order,
                by_lots,
            } => {
                self.reduce(session, client_order, by_lots)?;
            }
            Command::MassCancel { instrument } => self.mass_cancel(session, seq, instrument)?,
            Command::Halt { instrument } => self.set(session, seq, instrument, Status::Halted)?,
            Command::Resume { instrument } => {
                self.set(session, seq, instrument, Status::Trading)?
            }
            Command::Clearing(_) => return Err(Refusal::NoAccounts),
        }
        Ok(())
    }

    fn enter(&mut self, session: SessionId, command: &Command) -> Result<(), Refusal> {
        let Command::New {
            kind,
            side,
            self_trade,
            instrument,
            client_order,
            price_ticks,
            size_lots,
        } = *command
        else {
            unreachable!()
        };
        self.check(instrument, kind, price_ticks, size_lots)?;
        if self.find(session, client_order).is_some() {
            return Err(Refusal::DuplicateClientOrder);
        }
        let order = NaiveOrder {
            number: self.order_next,
            session,
            name: client_order,
            instrument,
            side,
            price: price_ticks,
            open: size_lots,
            executed: 0,
        };
        self.admit(&order, kind, self_trade, None)?;
        let report = SessionReport::Accepted {
            client_order,
            order: OrderNumber(order.number),
            instrument,
            side,
            kind,
            price_ticks,
            size_lots,
        };
        self.told.push(Told::Session(session, report));
        self.execute(order, kind, self_trade);
        Ok(())
    }

    fn mass_cancel(
        &mut self,
        session: SessionId,
        seq: u64,
        instrument: Option<InstrumentId>,
    ) -> Result<(), Refusal> {
        if instrument.is_some_and(|id| id.0 > 1) {
            return Err(Refusal::UnknownInstrument);
        }
        let meant = |order: &NaiveOrder| {
            order.session == session && instrument.is_none_or(|id| id == order.instrument)
        };
        self.orders.sort_by_key(|order| order.number);
        let mut count = 0;
        while let Some(oldest) = self.orders.iter().position(meant) {
            self.cancel(oldest, CancelReason::MassCancel);
            count += 1;
        }
        let report = SessionReport::MassCancelled { seq, count };
        self.told.push(Told::Session(session, report));
        Ok(())
    }

    fn find(&self, session: SessionId, name: ClientOrderId) -> Option<usize> {
        self.orders
            .iter()
            .position(|order| order.session == session && order.name == name)
    }

    fn check(
        &self,
        instrument: InstrumentId,
        kind: OrderKind,
        price: i64,
        size: u64,
    ) -> Result<(), Refusal> {
        match self.status.get(instrument.0 as usize) {
            None => return Err(Refusal::UnknownInstrument),
            Some(Status::Halted) => return Err(Refusal::Halted),
            Some(Status::Trading) => {}
        }
        if size == 0 {
            return Err(Refusal::SizeZero);
        }
        if size > SIZE_MAX {
            return Err(Refusal::SizeAboveMax);
        }
        if kind != OrderKind::Market && !(1..=PRICE_MAX).contains(&price) {
            return Err(Refusal::PriceOutOfBounds);
        }
        Ok(())
    }

    /// Where the order is that the incoming one takes next.
    fn best_for(&self, incoming: &NaiveOrder, kind: OrderKind) -> Option<usize> {
        let mut best: Option<usize> = None;
        for (at, order) in self.orders.iter().enumerate() {
            let signed = |price: i64| {
                if incoming.side == Side::Buy {
                    price
                } else {
                    -price
                }
            };
            let fits = order.instrument == incoming.instrument
                && order.side != incoming.side
                && (kind == OrderKind::Market || signed(order.price) <= signed(incoming.price));
            let key = |order: &NaiveOrder| (signed(order.price), order.number);
            if fits && best.is_none_or(|b| key(order) < key(&self.orders[b])) {
                best = Some(at);
            }
        }
        best
    }

    fn admit(
        &self,
        order: &NaiveOrder,
        kind: OrderKind,
        self_trade: SelfTrade,
        replaced: Option<usize>,
    ) -> Result<(), Refusal> {
        if kind == OrderKind::PostOnly && self.best_for(order, kind).is_some() {
            return Err(Refusal::WouldTake);
        }
        let mut trial = self.clone();
        let stop = trial.take(&mut order.clone(), kind, self_trade);
        if kind == OrderKind::FillOrKill && stop != Stop::Filled {
            return Err(Refusal::NotFillable);
        }
        let would_rest =
            matches!(kind, OrderKind::Limit | OrderKind::PostOnly) && stop == Stop::NothingLeft;
        if !would_rest {
            return Ok(());
        }
        let mut others = self.orders.clone();
        if let Some(at) = replaced {
            others.remove(at);
        }
        let of_session = others
            .iter()
            .filter(|other| other.session == order.session)
            .count();
        if of_session >= self.limits.orders_per_session_max as usize {
            return Err(Refusal::SessionOrdersFull);
        }
        if others.len() >= self.limits.orders_max as usize {
            return Err(Refusal::OrdersFull);
        }
        let of_side = |o: &&NaiveOrder| o.instrument == order.instrument && o.side == order.side;
        let mut prices: Vec<i64> = others.iter().filter(of_side).map(|o| o.price).collect();
        prices.sort_unstable();
        prices.dedup();
        if !prices.contains(&order.price)
            && prices.len() >= self.limits.levels_per_side_max as usize
        {
            return Err(Refusal::LevelsFull);
        }
        Ok(())
    }

    fn take(&mut self, incoming: &mut NaiveOrder, kind: OrderKind, mode: SelfTrade) -> Stop {
        while incoming.open > 0 {
            let Some(at) = self.best_for(incoming, kind) else {
                return Stop::NothingLeft;
            };
            if self.orders[at].session == incoming.session {
                if mode == SelfTrade::CancelIncoming {
                    return Stop::OwnOrder;
                }
                if mode == SelfTrade::CancelResting {
                    self.cancel(at, CancelReason::SelfTrade);
                    continue;
                }
            }
            self.trade(incoming, at);
        }
        Stop::Filled
    }

    fn trade(&mut self, incoming: &mut NaiveOrder, at: usize) {
        let resting = &mut self.orders[at];
        let size_lots = resting.open.min(incoming.open);
        for order in [&mut *resting, &mut *incoming] {
            order.open -= size_lots;
            order.executed += size_lots;
        }
        let resting = *resting;
        let (trade, price_ticks) = (self.trade_next, resting.price);
        self.trade_next += 1;
        self.told.push(Told::Public(PublicEvent::Traded {
            instrument: incoming.instrument,
            trade,
            resting: OrderNumber(resting.number),
            incoming: OrderNumber(incoming.number),
            incoming_side: incoming.side,
            price_ticks,
            size_lots,
            resting_open_lots: resting.open,
        }));
        for (order, role) in [(resting, Role::Resting), (*incoming, Role::Incoming)] {
            let report = SessionReport::Executed {
                client_order: order.name,
                order: OrderNumber(order.number),
                trade,
                role,
                price_ticks,
                size_lots,
                open_lots: order.open,
            };
            self.told.push(Told::Session(order.session, report));
        }
        if resting.open == 0 {
            self.orders.remove(at);
        }
    }

    fn execute(&mut self, mut order: NaiveOrder, kind: OrderKind, self_trade: SelfTrade) {
        self.order_next += 1;
        let reason = match self.take(&mut order, kind, self_trade) {
            Stop::Filled => return,
            Stop::NothingLeft if matches!(kind, OrderKind::Limit | OrderKind::PostOnly) => {
                self.orders.push(order);
                self.told.push(Told::Public(PublicEvent::Added {
                    instrument: order.instrument,
                    order: OrderNumber(order.number),
                    side: order.side,
                    price_ticks: order.price,
                    open_lots: order.open,
                }));
                return;
            }
            Stop::NothingLeft => CancelReason::Unfilled,
            Stop::OwnOrder => CancelReason::SelfTrade,
        };
        let report = SessionReport::Cancelled {
            client_order: order.name,
            order: OrderNumber(order.number),
            size_lots: order.open,
            reason,
        };
        self.told.push(Told::Session(order.session, report));
    }

    fn cancel(&mut self, at: usize, reason: CancelReason) {
        let order = self.orders.remove(at);
        let (instrument, number) = (order.instrument, OrderNumber(order.number));
        let report = SessionReport::Cancelled {
            client_order: order.name,
            order: number,
            size_lots: order.open,
            reason,
        };
        self.told.push(Told::Session(order.session, report));
        self.told.push(Told::Public(PublicEvent::Removed {
            instrument,
            order: number,
        }));
    }

    fn replace(&mut self, session: SessionId, command: &Command) -> Result<(), Refusal> {
        let Command::Replace {
            kind,
            self_trade,
            client_order: replaced,
            new_client_order: client_order,
            price_ticks,
            size_lots,
        } = *command
        else {
            unreachable!()
        };
        let at = self.find(session, replaced).ok_or(Refusal::UnknownOrder)?;
        let old = self.orders[at];
        self.check(old.instrument, kind, price_ticks, size_lots)?;
        if self
            .find(session, client_order)
            .is_some_and(|other| other != at)
        {
            return Err(Refusal::DuplicateClientOrder);
        }
        if size_lots <= old.executed {
            return Err(Refusal::SizeNotAboveExecuted);
        }
        let open_lots = size_lots - old.executed;
        let number = self.order_next;
        let order = NaiveOrder {
            number,
            name: client_order,
            price: price_ticks,
            open: open_lots,
            ..old
        };
        self.admit(&order, kind, self_trade, Some(at))?;
        self.orders.remove(at);
        let report = SessionReport::Replaced {
            replaced,
            client_order,
            order: OrderNumber(number),
            kind,
            price_ticks,
            open_lots,
        };
        self.told.push(Told::Session(session, report));
        self.told.push(Told::Public(PublicEvent::Removed {
            instrument: old.instrument,
            order: OrderNumber(old.number),
        }));
        self.execute(order, kind, self_trade);
        Ok(())
    }

    fn reduce(&mut self, session: SessionId, name: ClientOrderId, by: u64) -> Result<(), Refusal> {
        let at = self.find(session, name).ok_or(Refusal::UnknownOrder)?;
        if by == 0 {
            return Err(Refusal::SizeZero);
        }
        if by >= self.orders[at].open {
            self.cancel(at, CancelReason::Asked);
            return Ok(());
        }
        self.orders[at].open -= by;
        let NaiveOrder {
            number,
            instrument,
            open,
            ..
        } = self.orders[at];
        let (order, open_lots) = (OrderNumber(number), open);
        let report = SessionReport::Reduced {
            client_order: name,
            order,
            open_lots,
        };
        self.told.push(Told::Session(session, report));
        self.told.push(Told::Public(PublicEvent::Reduced {
            instrument,
            order,
            open_lots,
        }));
        Ok(())
    }

    fn set(
        &mut self,
        session: SessionId,
        seq: u64,
        instrument: InstrumentId,
        status: Status,
    ) -> Result<(), Refusal> {
        if session != ADMIN {
            return Err(Refusal::NotAdmin);
        }
        let now = self
            .status
            .get_mut(instrument.0 as usize)
            .ok_or(Refusal::UnknownInstrument)?;
        if *now == status {
            let halted = status == Status::Halted;
            return Err(if halted {
                Refusal::AlreadyHalted
            } else {
                Refusal::AlreadyTrading
            });
        }
        *now = status;
        let report = SessionReport::Administered {
            seq,
            instrument,
            status,
        };
        self.told.push(Told::Session(session, report));
        self.told.push(Told::Public(PublicEvent::StatusChanged {
            instrument,
            status,
        }));
        Ok(())
    }
}
