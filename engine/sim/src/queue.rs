//! The events to come, in the order of virtual time.
//!
//! Owns the queue. Two events of one time come in the order in which they were put in, so a run
//! depends on nothing but its seed.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use quorate::journal::SyncJob;
use quorate::replica::Job;

/// Something that will happen. A life is named by its number: what belongs to an ended life never
/// happens.
#[derive(Debug)]
pub(crate) enum Due {
    /// A frame arrives, if the connection still stands at its receiver.
    Frame {
        from: usize,
        to: usize,
        connection: u64,
        bytes: Arc<[u8]>,
    },
    /// The verify worker has done these.
    Jobs {
        at: usize,
        life: u64,
        jobs: Vec<Job>,
    },
    /// The sync thread has done this.
    Disk { at: usize, life: u64, job: SyncJob },
    /// A validator looks at what came.
    Turn { at: usize, life: u64 },
    /// A validator looks at its clock.
    Wake { at: usize, life: u64 },
    /// Two validators try to connect.
    Connect { one: usize, other: usize },
    /// A validator learns that a connection is gone.
    Lost {
        own: usize,
        peer: usize,
        connection: u64,
    },
    /// A process is started.
    Start { at: usize },
    /// A process that was told to stop ends.
    StopEnds { at: usize, life: u64, down_ns: u64 },
    /// The power that was to go in the middle of something goes now at latest.
    PowerEnds { at: usize, life: u64 },
    /// A scrubber looks on.
    Scrub { at: usize, life: u64 },
    /// What a validator does about snapshots goes on.
    Snapshots { at: usize, life: u64 },
    /// A process that was just started dies again.
    Crash { at: usize, life: u64 },
    /// A fault of the schedule.
    Fault { number: usize },
    /// The cut of a fault of the schedule is over.
    Mend { number: usize },
    /// A client acts.
    Client { number: usize },
    /// A Byzantine validator acts, or the script of twins goes on.
    Act { at: usize },
    /// A machine loses its power with the site.
    Dark { at: usize },
    /// The whole site is without power: its disks are read.
    ReadDisks,
    /// What is left after the loss of a site is judged.
    SiteEnds,
    /// Trouble is over.
    Heal,
}

#[derive(Debug)]
struct Entry {
    at_ns: u64,
    number: u64,
    due: Due,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at_ns, self.number).cmp(&(other.at_ns, other.number))
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    numbers: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at_ns: u64, due: Due) {
        self.numbers += 1;
        let number = self.numbers;
        self.heap.push(Reverse(Entry { at_ns, number, due }));
    }

    /// The next event and its time.
    pub(crate) fn pop(&mut self) -> Option<(u64, Due)> {
        let Reverse(entry) = self.heap.pop()?;
        Some((entry.at_ns, entry.due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_of_their_coming() {
        let mut queue = Queue::default();
        for (at_ns, number) in [(5, 0), (3, 1), (5, 2), (3, 3)] {
            queue.push(at_ns, Due::Client { number });
        }
        let mut order = Vec::new();
        while let Some((at_ns, Due::Client { number })) = queue.pop() {
            order.push((at_ns, number));
        }
        assert_eq!(order, [(3, 1), (3, 3), (5, 0), (5, 2)]);
    }
}
