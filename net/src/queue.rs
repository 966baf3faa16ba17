//! What waits to be sealed for one remote, and what is dropped when too much waits.
//!
//! Owns: the order of frames and the drop policy. Never: sealed bytes. A frame leaves this queue
//! whole, so nothing that has begun to be sent is ever dropped.
//!
//! Frames leave by class, in the order of [`Class`], and first in first out inside a class: a vote
//! overtakes a snapshot chunk. The order across classes is therefore not kept, nor is anything
//! delivered for certain; the protocol above retransmits.
//!
//! # When the queue is full
//! A new frame may push out waiting frames, oldest first, in this order, until it fits:
//!
//! | new frame   | pushes out                         | otherwise |
//! |-------------|------------------------------------|-----------|
//! | certificate | bulk, proposals, votes             | refused   |
//! | vote        | bulk, votes (a later record holds more than an earlier one) | refused |
//! | proposal    | bulk, proposals                    | refused   |
//! | bulk        | nothing                            | refused   |
//!
//! Certificates are never pushed out. Nothing is pushed out unless the new frame then fits.
//! Everything dropped and refused is counted by class.

use crate::class_queue::{ClassQueue, Parts};
use crate::limits::FRAME_PREFIX_BYTES;

/// What a frame for a peer is to the protocol, as far as its queue must know. The order is the
/// order of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Vote records and statuses: small, and superseded by the next one.
    Vote,
    /// Certificates and finality proofs: dropped last.
    Certificate,
    /// Blocks of the leader, retransmitted by it.
    Proposal,
    /// Repair, snapshots and everything else that can be asked for again.
    Bulk,
}

/// Number of classes.
pub(crate) const CLASSES: usize = 4;

impl Class {
    /// Every class, in the order of sending.
    pub const ALL: [Self; CLASSES] = [Self::Vote, Self::Certificate, Self::Proposal, Self::Bulk];

    /// The classes a new frame of this class pushes out, first to go first.
    const fn pushes_out(self) -> &'static [Self] {
        match self {
            Self::Certificate => &[Self::Bulk, Self::Proposal, Self::Vote],
            Self::Vote => &[Self::Bulk, Self::Vote],
            Self::Proposal => &[Self::Bulk, Self::Proposal],
            Self::Bulk => &[],
        }
    }
}

/// The new frame does not fit and may push nothing out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Frames with their prefixes, by class.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    classes: [ClassQueue; CLASSES],
}

impl Outbound {
    /// For a remote of whose queues each keeps so many bytes of memory when it is empty.
    pub(crate) fn keeping(bytes: usize) -> Self {
        let mut outbound = Self::default();
        for queue in &mut outbound.classes {
            queue.keep(bytes);
        }
        outbound
    }

    /// Bytes that wait, prefixes included.
    pub(crate) fn len(&self) -> usize {
        self.classes.iter().map(ClassQueue::len).sum()
    }

    /// What waits, or the memory that it takes beyond what is kept, bytes: the longer, by class.
    pub(crate) fn weight(&self) -> usize {
        self.classes.iter().map(ClassQueue::weight).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.classes.iter().all(ClassQueue::is_empty)
    }

    /// Queues `frame`; all that waits stays within `bytes_max`. Adds what it pushed out to
    /// `dropped`.
    ///
    /// # Errors
    /// [`Full`]: it does not fit. Nothing changed.
    pub(crate) fn push(
        &mut self,
        frame: Parts<'_>,
        class: Class,
        bytes_max: usize,
        dropped: &mut [u64; CLASSES],
    ) -> Result<(), Full> {
        let needed = FRAME_PREFIX_BYTES + frame.bytes();
        let waiting = self.len();
        if waiting + needed > bytes_max {
            let droppable: usize = class
                .pushes_out()
                .iter()
                .map(|other| self.classes[*other as usize].len())
                .sum();
            if waiting - droppable + needed > bytes_max {
                return Err(Full);
            }
            self.push_out(class, waiting + needed - bytes_max, dropped);
        }
        self.classes[class as usize].push(frame);
        Ok(())
    }

    /// Drops at least `excess` bytes of whole frames for a new frame of `class`.
    fn push_out(&mut self, class: Class, excess: usize, dropped: &mut [u64; CLASSES]) {
        let mut excess = excess;
        for other in class.pushes_out() {
            while excess > 0 {
                let Some(bytes) = self.classes[*other as usize].pop() else {
                    break;
                };
                dropped[*other as usize] += 1;
                excess = excess.saturating_sub(bytes);
            }
        }
    }

    /// [`ClassQueue::copy_front`] of the frame that is to be sent next.
    pub(crate) fn copy_front(&self, from: usize, to: &mut [u8]) -> (usize, bool) {
        let next = self.classes.iter().find(|queue| !queue.is_empty());
        next.map_or((0, true), |queue| queue.copy_front(from, to))
    }

    /// Forgets the frame that was to be sent next.
    pub(crate) fn pop(&mut self) {
        let next = self.classes.iter_mut().find(|queue| !queue.is_empty());
        next.and_then(ClassQueue::pop);
    }

    /// Drops everything: the connection is lost.
    pub(crate) fn clear(&mut self, dropped: &mut [u64; CLASSES]) {
        for class in Class::ALL {
            while self.classes[class as usize].pop().is_some() {
                dropped[class as usize] += 1;
            }
            self.classes[class as usize].clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room for ten frames of six bytes (ten with the prefix).
    const MAX: usize = 100;

    fn frame(tag: u8) -> [u8; 6] {
        [tag; 6]
    }

    struct Filled {
        queue: Outbound,
        dropped: [u64; CLASSES],
    }

    impl Filled {
        fn with(classes: &[(Class, u8)]) -> Self {
            let mut filled = Self {
                queue: Outbound::default(),
                dropped: [0; CLASSES],
            };
            for (place, (class, count)) in classes.iter().enumerate() {
                for number in 0..*count {
                    let tag = u8::try_from(place).unwrap() * 16 + number;
                    filled.push(*class, tag).unwrap();
                }
            }
            filled
        }

        fn push(&mut self, class: Class, tag: u8) -> Result<(), Full> {
            let frame = frame(tag);
            let frame = Parts::whole(&frame);
            self.queue.push(frame, class, MAX, &mut self.dropped)
        }

        fn drain(&mut self) -> Vec<u8> {
            let mut tags = Vec::new();
            while !self.queue.is_empty() {
                let mut front = [0; 11];
                assert_eq!(self.queue.copy_front(0, &mut front), (10, true));
                tags.push(front[4]);
                self.queue.pop();
            }
            tags
        }
    }

    #[test]
    fn votes_leave_first_and_each_class_keeps_its_order() {
        let mut filled = Filled::with(&[
            (Class::Bulk, 2),
            (Class::Proposal, 2),
            (Class::Certificate, 2),
            (Class::Vote, 2),
        ]);
        assert_eq!(filled.drain(), [48, 49, 32, 33, 16, 17, 0, 1]);
    }

    #[test]
    fn bulk_is_refused_when_full_and_nothing_is_lost_for_it() {
        let mut filled = Filled::with(&[(Class::Bulk, 5), (Class::Vote, 5)]);
        assert_eq!(filled.push(Class::Bulk, 99), Err(Full));
        assert_eq!(filled.dropped, [0; CLASSES]);
        assert_eq!(filled.queue.len(), MAX);
    }

    #[test]
    fn bulk_makes_room_first_for_every_other_class_oldest_first() {
        for class in [Class::Vote, Class::Certificate, Class::Proposal] {
            let mut filled =
                Filled::with(&[(Class::Bulk, 2), (Class::Proposal, 4), (Class::Vote, 4)]);
            filled.push(class, 99).unwrap();
            assert_eq!(filled.dropped, [0, 0, 0, 1]);
            assert!(
                !filled.drain().contains(&0),
                "the oldest bulk frame goes first"
            );
        }
    }

    #[test]
    fn a_vote_pushes_out_the_oldest_vote_but_no_proposal_and_no_certificate() {
        let mut filled = Filled::with(&[
            (Class::Vote, 4),
            (Class::Proposal, 3),
            (Class::Certificate, 3),
        ]);
        filled.push(Class::Vote, 99).unwrap();
        assert_eq!(filled.dropped, [1, 0, 0, 0]);
        assert_eq!(filled.drain(), [1, 2, 3, 99, 32, 33, 34, 16, 17, 18]);
        let mut filled = Filled::with(&[(Class::Proposal, 5), (Class::Certificate, 5)]);
        assert_eq!(filled.push(Class::Vote, 99), Err(Full));
    }

    #[test]
    fn a_proposal_pushes_out_a_proposal_and_never_a_vote() {
        let mut filled = Filled::with(&[(Class::Vote, 6), (Class::Proposal, 4)]);
        filled.push(Class::Proposal, 99).unwrap();
        assert_eq!(filled.dropped, [0, 0, 1, 0]);
        let mut filled = Filled::with(&[(Class::Vote, 10)]);
        assert_eq!(filled.push(Class::Proposal, 99), Err(Full));
        assert_eq!(filled.dropped, [0; CLASSES]);
    }

    #[test]
    fn a_certificate_pushes_out_all_others_and_is_never_pushed_out() {
        let mut filled = Filled::with(&[(Class::Bulk, 1), (Class::Proposal, 4), (Class::Vote, 5)]);
        for tag in 0..10 {
            filled.push(Class::Certificate, 100 + tag).unwrap();
        }
        assert_eq!(filled.dropped, [5, 0, 4, 1]);
        for class in Class::ALL {
            assert_eq!(filled.push(class, 99), Err(Full), "{class:?}");
        }
        assert_eq!(filled.drain(), (100..110).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_is_dropped_for_a_frame_that_cannot_fit_anyway() {
        let mut filled = Filled::with(&[(Class::Bulk, 3), (Class::Certificate, 7)]);
        let result = filled.queue.push(
            Parts::whole(&[0; 40]),
            Class::Vote,
            MAX,
            &mut filled.dropped,
        );
        assert_eq!(result, Err(Full));
        assert_eq!((filled.dropped, filled.queue.len()), ([0; CLASSES], MAX));
    }
}
