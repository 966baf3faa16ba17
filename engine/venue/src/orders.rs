//! The resting orders of all books.
//!
//! Owns the arena in which they lie, the index by which clients name them, and for each session
//! the list of its orders. Never: price levels and priority, which are the book's; the book
//! threads its queues through links that lie here.
//!
//! An order is known inside by its handle, an index into the arena, and to the world by its
//! number, which is never given twice. Handles are reused and so depend on history beyond the
//! state; nothing that leaves the crate may depend on them. The hash maps are looked up in and
//! never iterated, so their random seeds are as invisible.

use crate::commands::{ClientOrderId, Side};
use crate::instruments::InstrumentId;
use crate::reports::OrderNumber;
use quorate::state_machine::SessionId;
use std::collections::HashMap;

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
    session: Link,
    live: bool,
}

/// The first and last order of a session, and how many there are.
#[derive(Clone, Copy, Debug)]
struct SessionList {
    first: Handle,
    last: Handle,
    count: u32,
}

/// All resting orders.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    slots: Vec<Slot>,
    free: Vec<Handle>,
    by_name: HashMap<(SessionId, ClientOrderId), Handle>,
    /// Only sessions that have an order; so bounded by the number of orders.
    by_session: HashMap<SessionId, SessionList>,
}

impl Orders {
    /// How many orders there are.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// How many orders the session has.
    pub(crate) fn session_count(&self, session: SessionId) -> u32 {
        self.by_session.get(&session).map_or(0, |list| list.count)
    }

    /// The order of this name.
    pub(crate) fn find(&self, session: SessionId, client_order: ClientOrderId) -> Option<Handle> {
        self.by_name.get(&(session, client_order)).copied()
    }

    pub(crate) fn order(&self, handle: Handle) -> &Order {
        &self.slots[handle as usize].order
    }

    pub(crate) fn order_mut(&mut self, handle: Handle) -> &mut Order {
        &mut self.slots[handle as usize].order
    }

    /// The neighbours of an order in the queue of its price.
    pub(crate) fn level_link(&self, handle: Handle) -> Link {
        self.slots[handle as usize].level
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
            session: Link::ALONE,
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
        let list = self.by_session.entry(order.session).or_insert(SessionList {
            first: NONE,
            last: NONE,
            count: 0,
        });
        let last = list.last;
        list.last = handle;
        list.count += 1;
        if last == NONE {
            list.first = handle;
        } else {
            self.slots[last as usize].session.after = handle;
            self.slots[handle as usize].session.before = last;
        }
        handle
    }

    /// Takes an order out, once the book has unlinked it from its level.
    pub(crate) fn remove(&mut self, handle: Handle) -> Order {
        let slot = &mut self.slots[handle as usize];
        debug_assert!(slot.live, "an order is removed once");
        slot.live = false;
        let Slot {
            order,
            session: link,
            ..
        } = *slot;
        self.free.push(handle);
        self.by_name.remove(&(order.session, order.client_order));
        if link.before != NONE {
            self.slots[link.before as usize].session.after = link.after;
        }
        if link.after != NONE {
            self.slots[link.after as usize].session.before = link.before;
        }
        if let Some(list) = self.by_session.get_mut(&order.session) {
            list.count -= 1;
            if list.first == handle {
                list.first = link.after;
            }
            if list.last == handle {
                list.last = link.before;
            }
            if list.count == 0 {
                self.by_session.remove(&order.session);
            }
        }
        order
    }

    /// The oldest order of a session; [`NONE`] if it has none.
    pub(crate) fn session_first(&self, session: SessionId) -> Handle {
        self.by_session
            .get(&session)
            .map_or(NONE, |list| list.first)
    }

    /// The order of the same session that came next; [`NONE`] after the youngest.
    pub(crate) fn session_next(&self, handle: Handle) -> Handle {
        self.slots[handle as usize].session.after
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
        let mut handle = orders.session_first(SessionId([session; 16]));
        let mut numbers = Vec::new();
        while handle != NONE {
            numbers.push(orders.order(handle).number.0);
            handle = orders.session_next(handle);
        }
        numbers
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
}
