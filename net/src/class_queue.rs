//! The frames of one class that wait for one remote, first in first out.
//!
//! Owns: their bytes, and the hold on what is shared. Never: the order of classes or what is
//! dropped ([`crate::queue`]).
//!
//! A short frame is copied in. Of a long one, which mostly goes to several remotes, the long part
//! is held and not copied: it is what a block costs on its way to each of them.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::buffer::Buffer;
use crate::frame;
use crate::limits::FRAME_PREFIX_BYTES;

/// A frame in up to three parts, one behind the other.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// What comes first. It is copied where it waits.
    pub head: &'a [u8],
    /// What comes next. It is held where it waits, and not copied.
    pub body: Option<&'a Arc<[u8]>>,
    /// What comes last. It is copied where it waits.
    pub tail: &'a [u8],
}

impl<'a> Parts<'a> {
    /// A frame that is copied, all of it.
    #[must_use]
    pub const fn whole(frame: &'a [u8]) -> Self {
        Self {
            head: frame,
            body: None,
            tail: &[],
        }
    }

    /// Bytes of the frame.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.head.len() + self.body.map_or(0, |body| body.len()) + self.tail.len()
    }
}

/// A frame of which a part is shared.
#[derive(Debug)]
struct Shared {
    /// Bytes that had been queued as copies before it, since the beginning.
    place: u64,
    /// Of its copied bytes, those in front of the body, its prefix included.
    head_bytes: usize,
    body: Arc<[u8]>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ClassQueue {
    /// Prefixes, short frames, and of others what is around their bodies.
    copied: Buffer,
    /// Bytes that were ever taken off `copied`.
    taken: u64,
    shared: VecDeque<Shared>,
    /// Bytes of all bodies.
    shared_bytes: usize,
}

impl ClassQueue {
    /// Keeps `bytes` of memory when it runs empty.
    pub(crate) const fn keep(&mut self, bytes: usize) {
        self.copied.keep(bytes);
    }

    /// Bytes that wait, prefixes included.
    pub(crate) const fn len(&self) -> usize {
        self.copied.len() + self.shared_bytes
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.copied.is_empty()
    }

    /// What waits, or the memory that it takes beyond what is kept, bytes: the longer.
    pub(crate) fn weight(&self) -> usize {
        self.copied.weight() + self.shared_bytes
    }

    pub(crate) fn push(&mut self, frame: Parts<'_>) {
        let place = self.taken + self.copied.len() as u64;
        self.copied.push(&frame::prefix(frame.bytes()));
        self.copied.push(frame.head);
        self.copied.push(frame.tail);
        if let Some(body) = frame.body {
            self.shared_bytes += body.len();
            self.shared.push_back(Shared {
                place,
                head_bytes: FRAME_PREFIX_BYTES + frame.head.len(),
                body: Arc::clone(body),
            });
        }
    }

    /// The frame in front with its prefix, and the bytes of it that are copied.
    fn front(&self) -> Option<(Parts<'_>, usize)> {
        let waits = self.copied.bytes();
        let bytes = FRAME_PREFIX_BYTES + frame::announced(waits)?;
        match self.shared.front() {
            Some(shared) if shared.place == self.taken => {
                let copied = bytes - shared.body.len();
                let (head, tail) = waits.get(..copied)?.split_at(shared.head_bytes);
                let body = Some(&shared.body);
                Some((Parts { head, body, tail }, copied))
            }
            _ => Some((Parts::whole(waits.get(..bytes)?), bytes)),
        }
    }

    /// Copies what `to` has room for of the frame in front and its prefix, from byte `from` on.
    /// Says how many bytes that were, and whether they were the last ones.
    pub(crate) fn copy_front(&self, from: usize, to: &mut [u8]) -> (usize, bool) {
        let Some((frame, _)) = self.front() else {
            return (0, true);
        };
        let (mut skip, mut filled) = (from, 0);
        let body = frame.body.map_or(&[][..], |body| body);
        for part in [frame.head, body, frame.tail] {
            let rest = &part[skip.min(part.len())..];
            skip -= skip.min(part.len());
            let bytes = rest.len().min(to.len() - filled);
            to[filled..filled + bytes].copy_from_slice(&rest[..bytes]);
            filled += bytes;
        }
        (filled, from + filled == frame.bytes())
    }

    /// Forgets the frame in front. Returns its bytes, prefix included.
    pub(crate) fn pop(&mut self) -> Option<usize> {
        let (frame, copied) = self.front()?;
        let bytes = frame.bytes();
        if frame.body.is_some() {
            self.shared.pop_front();
            self.shared_bytes -= bytes - copied;
        }
        self.taken += copied as u64;
        self.copied.take(copied);
        Some(bytes)
    }

    /// Forgets what memory it has beyond what it keeps. Nothing may wait.
    pub(crate) fn clear(&mut self) {
        self.copied.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn drain(queue: &mut ClassQueue, piece: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while !queue.is_empty() {
            let (mut frame, mut room) = (Vec::new(), vec![0; piece]);
            loop {
                let (bytes, is_whole) = queue.copy_front(frame.len(), &mut room);
                frame.extend_from_slice(&room[..bytes]);
                if is_whole {
                    break;
                }
                assert_eq!(bytes, piece, "all of the room is used");
            }
            let before = queue.len();
            assert_eq!(queue.pop(), Some(frame.len()));
            assert_eq!(before - queue.len(), frame.len());
            frames.push(frame);
        }
        frames
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_whatever_of_them_is_shared(
            frames in prop::collection::vec(
                (
                    prop::collection::vec(any::<u8>(), 0..20),
                    prop::option::of(prop::collection::vec(any::<u8>(), 0..100)),
                    prop::collection::vec(any::<u8>(), 0..20),
                ),
                0..20,
            ),
            piece in 1_usize..150,
        ) {
            let mut queue = ClassQueue::default();
            let mut expected = Vec::new();
            for (head, body, tail) in &frames {
                let body: Option<Arc<[u8]>> = body.as_deref().map(Arc::from);
                let parts = Parts { head, body: body.as_ref(), tail };
                queue.push(parts);
                let mut frame = frame::prefix(parts.bytes()).to_vec();
                frame.extend_from_slice(head);
                frame.extend_from_slice(body.as_deref().unwrap_or_default());
                frame.extend_from_slice(tail);
                expected.push(frame);
            }
            let bytes: usize = expected.iter().map(Vec::len).sum();
            prop_assert_eq!(queue.len(), bytes);
            prop_assert_eq!(drain(&mut queue, piece), expected);
            prop_assert_eq!(queue.len(), 0);
            prop_assert_eq!(queue.weight(), 0);
        }
    }

    #[test]
    fn what_is_shared_is_held_once_and_let_go_with_its_frame() {
        let body: Arc<[u8]> = vec![7; 100_000].into();
        let mut queues = [ClassQueue::default(), ClassQueue::default()];
        for queue in &mut queues {
            queue.push(Parts {
                head: b"head",
                body: Some(&body),
                tail: b"tail",
            });
            assert!(queue.copied.memory_bytes() < 1000);
            assert_eq!(queue.weight(), 100_012, "it counts for each that holds it");
        }
        assert_eq!(Arc::strong_count(&body), 3);
        for queue in &mut queues {
            queue.pop();
        }
        assert_eq!(Arc::strong_count(&body), 1);
    }
}
