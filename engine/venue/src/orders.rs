//! The resting orders of all books.
//!
//! Owns the arena in which they lie, the index by which clients name them, and for each session
//! the list of its orders and the lists of those in each instrument. Never: price levels and
//! priority, which are the book's; the book threads its queues through links that lie here.
//!
//! The lists follow from the orders and are no state: all are in the order of arrival, which is
//! that of the numbers, also where they are made anew from a snapshot. Who wants the orders of a
//! session in one instrument looks at no others: it is asked for by commands that cost nothing.
//!
//! An order is known inside by its handle, an index into the arena, and to the world by its
//! number, which is never given twice. Handles are reused and so depend on history beyond the
//! state; nothing that leaves the crate may depend on them. The hash maps are looked up in and
//! never iterated, so their random seeds are as invisible.

use crate::commands::{ClientOrderId, Side};
use crate::instruments::InstrumentId;
use crate::reports::OrderNumber;
use quorate::state_machine::SessionId;
use std::collections::{BTreeMap, HashMap};

/// Index of an order in the arena.
pub(crate) type Handle = u32;

/// No order.
pub(crate) const NONE: Handle = Handle::MAX;

/// The neighbours of an order in a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) before: Handle,
    pub(crate) after: Handle,
}

impl Link {
    const ALONE: Self = Self {
        before: NONE,
        after: NONE,
    };
}

/// What is state of a resting order: all that its later fate depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// Rises in the order of arrival, so it is the priority within a price as well.
    pub(crate) number: OrderNumber,
    pub(crate) session: SessionId,
    pub(crate) client_order: ClientOrderId,
    pub(crate) instrument: InstrumentId,
    pub(crate) side: Side,
    pub(crate) price_ticks: i64,
    /// Invariant: at least 1 while it rests.
    pub(crate) open_lots: u64,
    /// What it has traded, with what the orders it replaced had traded.
    pub(crate) executed_lots: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    order: Order,
    level: Link,
    /// Its neighbours among the orders of its session: of all instruments, and of its own.
    lists: [Link; 2],
    live: bool,
}

/// Place in [`Slot::lists`] of the orders of a session in all instruments.
const ALL: usize = 0;
/// Place in [`Slot::lists`] of its orders in one instrument.
const HERE: usize = 1;

/// The first and last order of a list, and how many there are.
#[derive(Clone, Copy, Debug)]
struct List {
    first: Handle,
    last: Handle,
    count: u32,
}

impl List {
    const EMPTY: Self = Self {
        first: NONE,
        last: NONE,
        count: 0,
    };

    /// Puts an order behind all others; its links lie at `place`.
    fn push(&mut self, slots: &mut [Slot], place: usize, handle: Handle) {
        let before = self.last;
        self.last = handle;
        self.count += 1;
        if before == NONE {
            self.first = handle;
        } else {
            slots[before as usize].lists[place].after = handle;
        }
        slots[handle as usize].lists[place].before = before;
    }

    /// Takes an order out.
    fn unlink(&mut self, slots: &mut [Slot], place: usize, handle: Handle) {
        let Link { before, after } = slots[handle as usize].lists[place];
        if before == NONE {
            self.first = after;
        } else {
            slots[before as usize].lists[place].after = after;
        }
        if after == NONE {
            self.last = before;
        } else {
            slots[after as usize].lists[place].before = before;
        }
        self.count -= 1;
    }
}

/// The orders of a session: all, and those in each instrument where it has any.
#[derive(Debug)]
struct SessionLists {
    all: List,
    by_instrument: BTreeMap<InstrumentId, List>,
}

/// All resting orders.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    slots: Vec<Slot>,
    free: Vec<Handle>,
    by_name: HashMap<(SessionId, ClientOrderId), Handle>,
    /// Only sessions that have an order; so bounded by the number of orders.
    by_session: HashMap<SessionId, SessionLists>,
    /// How often an order was looked at.
    #[cfg(test)]
    pub(crate) visited: core::cell::Cell<usize>,
}

impl Orders {
    /// How many orders there are.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// How many orders the session has.
    pub(crate) fn session_count(&self, session: SessionId) -> u32 {
        let lists = self.by_session.get(&session);
        lists.map_or(0, |lists| lists.all.count)
    }

    /// The order of this name.
    pub(crate) fn find(&self, session: SessionId, client_order: ClientOrderId) -> Option<Handle> {
        self.by_name.get(&(session, client_order)).copied()
    }

    fn slot(&self, handle: Handle) -> &Slot {
        #[cfg(test)]
        self.visited.set(self.visited.get() + 1);
        &self.slots[handle as usize]
    }

    pub(crate) fn order(&self, handle: Handle) -> &Order {
        &self.slot(handle).order
    }

    pub(crate) fn order_mut(&mut self, handle: Handle) -> &mut Order {
        &mut self.slots[handle as usize].order
    }

    /// The neighbours of an order in the queue of its price.
    pub(crate) fn level_link(&self, handle: Handle) -> Link {
        self.slot(handle).level
    }

    pub(crate) fn level_link_mut(&mut self, handle: Handle) -> &mut Link {
        &mut self.slots[handle as usize].level
    }

    /// The order under this handle if it is still the one with this number.
    pub(crate) fn live(&self, handle: Handle, number: OrderNumber) -> Option<&Order> {
        let slot = self.slots.get(handle as usize)?;
        (slot.live && slot.order.number == number).then_some(&slot.order)
    }

    /// All orders, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Order> {
        self.slots
            .iter()
            .filter(|slot| slot.live)
            .map(|slot| &slot.order)
    }

    /// Adds an order behind all others of its session. Its name must be free; the book links it
    /// into its level.
    pub(crate) fn insert(&mut self, order: Order) -> Handle {
        let slot = Slot {
            order,
            level: Link::ALONE,
            lists: [Link::ALONE; 2],
            live: true,
        };
        let handle = match self.free.pop() {
            Some(handle) => {
                self.slots[handle as usize] = slot;
                handle
            }
            None => {
                let handle = Handle::try_from(self.slots.len()).unwrap_or(NONE);
                assert!(handle < NONE, "the limits keep the arena far smaller");
                self.slots.push(slot);
                handle
            }
        };
        let named = self
            .by_name
            .insert((order.session, order.client_order), handle);
        assert!(
            named.is_none(),
            "the caller has checked that the name is free"
        );
        let lists = self.by_session.entry(order.session);
        let lists = lists.or_insert_with(|| SessionLists {
            all: List::EMPTY,
            by_instrument: BTreeMap::new(),
        });
        lists.all.push(&mut self.slots, ALL, handle);
        let here = lists.by_instrument.entry(order.instrument);
        let here = here.or_insert(List::EMPTY);
        here.push(&mut self.slots, HERE, handle);
        handle
    }

    /// Takes an order out, once the book has unlinked it from its level.
    pub(crate) fn remove(&mut self, handle: Handle) -> Order {
        let slot = &mut self.slots[handle as usize];
        debug_assert!(slot.live, "an order is removed once");
        slot.live = false;
        let order = slot.order;
        self.free.push(handle);
        self.by_name.remove(&(order.session, order.client_order));
        if let Some(lists) = self.by_session.get_mut(&order.session) {
            lists.all.unlink(&mut self.slots, ALL, handle);
            if let Some(here) = lists.by_instrument.get_mut(&order.instrument) {
                here.unlink(&mut self.slots, HERE, handle);
                if here.count == 0 {
                    lists.by_instrument.remove(&order.instrument);
                }
            }
            if lists.all.count == 0 {
                self.by_session.remove(&order.session);
            }
        }
        order
    }

    /// The orders of a session, the oldest first.
    pub(crate) fn of(&self, session: SessionId) -> impl Iterator<Item = Handle> {
        let lists = self.by_session.get(&session);
        self.listed(lists.map(|lists| &lists.all), ALL)
    }

    /// The orders of a session in one instrument, the oldest first; looks at no others.
    pub(crate) fn of_in(
        &self,
        session: SessionId,
        instrument: InstrumentId,
    ) -> impl Iterator<Item = Handle> {
        let lists = self.by_session.get(&session);
        let here = lists.and_then(|lists| lists.by_instrument.get(&instrument));
        self.listed(here, HERE)
    }

    fn listed(&self, list: Option<&List>, place: usize) -> impl Iterator<Item = Handle> {
        let some = |handle: Handle| (handle != NONE).then_some(handle);
        let first = list.and_then(|list| some(list.first));
        let next = move |&handle: &Handle| some(self.slot(handle).lists[place].after);
        core::iter::successors(first, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(number: u64, session: u8) -> Order {
        Order {
            number: OrderNumber(number),
            session: SessionId([session; 16]),
            client_order: ClientOrderId(number),
            instrument: InstrumentId(0),
            side: Side::Buy,
            price_ticks: 10,
            open_lots: 1,
            executed_lots: 0,
        }
    }

    fn numbers(orders: &Orders, session: u8) -> Vec<u64> {
        let number = |handle| orders.order(handle).number.0;
        orders.of(SessionId([session; 16])).map(number).collect()
    }

    fn numbers_in(orders: &Orders, session: u8, instrument: u32) -> Vec<u64> {
        let here = orders.of_in(SessionId([session; 16]), InstrumentId(instrument));
        here.map(|handle| orders.order(handle).number.0).collect()
    }

    #[test]
    fn a_session_list_stays_in_order_of_arrival_when_any_place_is_removed() {
        for removed in 1..=3 {
            let mut orders = Orders::default();
            for number in 1..=3 {
                orders.insert(order(number, 1));
                orders.insert(order(number + 10, 2));
            }
            let name = ClientOrderId(removed);
            let handle = orders.find(SessionId([1; 16]), name).unwrap();
            orders.remove(handle);
            let left: Vec<u64> = (1..=3).filter(|&number| number != removed).collect();
            assert_eq!(numbers(&orders, 1), left);
            assert_eq!(numbers(&orders, 2), [11, 12, 13]);
            assert_eq!(orders.session_count(SessionId([1; 16])), 2);
        }
    }

    #[test]
    fn the_lists_of_a_session_by_instrument_stay_in_order_of_arrival_whatever_is_removed() {
        for removed in 1..=6 {
            let mut orders = Orders::default();
            for number in 1..=6 {
                let instrument = InstrumentId((number % 2) as u32);
                orders.insert(Order {
                    instrument,
                    ..order(number, 1)
                });
                orders.insert(Order {
                    instrument,
                    ..order(number + 10, 2)
                });
            }
            let name = ClientOrderId(removed);
            let handle = orders.find(SessionId([1; 16]), name).unwrap();
            orders.remove(handle);
            let left = |of: u64| -> Vec<u64> {
                let numbers = (1..=6).filter(|&number| number != removed);
                numbers.filter(|number| number % 2 == of).collect()
            };
            assert_eq!(numbers_in(&orders, 1, 0), left(0));
            assert_eq!(numbers_in(&orders, 1, 1), left(1));
            assert_eq!(numbers_in(&orders, 2, 1), [11, 13, 15]);
            assert_eq!(numbers_in(&orders, 1, 2), Vec::<u64>::new());
            assert_eq!(numbers(&orders, 2), [11, 12, 13, 14, 15, 16]);
        }
    }

    #[test]
    fn a_session_without_orders_takes_no_memory_and_its_handles_are_used_again() {
        let mut orders = Orders::default();
        let handle = orders.insert(order(1, 1));
        orders.remove(handle);
        assert_eq!(orders.len(), 0);
        assert!(orders.by_session.is_empty());
        assert!(orders.live(handle, OrderNumber(1)).is_none());
        assert_eq!(orders.insert(order(2, 1)), handle);
        assert!(orders.live(handle, OrderNumber(1)).is_none());
        assert!(orders.live(handle, OrderNumber(2)).is_some());
    }
    #[test]
    fn an_instrument_in_which_a_session_has_no_orders_any_more_takes_no_memory() {
        let mut orders = Orders::default();
        orders.insert(order(1, 1));
        let elsewhere = orders.insert(Order {
            instrument: InstrumentId(1),
            ..order(2, 1)
        });
        let count = |orders: &Orders| {
            let lists = &orders.by_session[&SessionId([1; 16])];
            lists.by_instrument.len()
        };
        assert_eq!(count(&orders), 2);
        orders.remove(elsewhere);
        assert_eq!(count(&orders), 1);
    }
}
