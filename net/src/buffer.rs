//! A byte queue that keeps its memory: filled at the back, taken from the front.
//!
//! Owns: the bytes between session and socket, outward, and their growth.
//! Never: grows because of a number that a remote sent. It grows by what is written into it, and
//! whoever writes checks the bound first. Once little waits in it, it gives back what it had grown
//! beyond a bound, so that a remote that was slow once does not hold the memory for good, and what
//! waits for all of them says what memory they hold.

/// Memory that an empty buffer keeps, bytes, unless [`Buffer::keep`] says otherwise.
pub(crate) const KEPT_BYTES: usize = 256 * 1024;

/// Bytes between a read position and a write position in storage that is reused.
///
/// All of the storage is initialised, so that [`Buffer::room`] can be handed out.
/// Invariant: `start <= end <= data.len()`.
#[derive(Debug)]
pub(crate) struct Buffer {
    data: Vec<u8>,
    start: usize,
    end: usize,
    /// Memory that is kept when it runs empty.
    kept_bytes: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Buffer {
    pub(crate) const fn new() -> Self {
        Self {
            data: Vec::new(),
            start: 0,
            end: 0,
            kept_bytes: KEPT_BYTES,
        }
    }

    /// Keeps `bytes` of memory when it runs empty: where long frames come all the time they would
    /// else be given back and taken again for each one.
    pub(crate) const fn keep(&mut self, bytes: usize) {
        self.kept_bytes = bytes;
    }

    pub(crate) const fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes that wait to be taken.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// Free space behind the bytes, at least `bytes_min` long; follow with [`Buffer::filled`].
    ///
    /// Moves the bytes to the front before it grows, and grows by half at least, so that the cost
    /// of a long queue stays linear.
    pub(crate) fn room(&mut self, bytes_min: usize) -> &mut [u8] {
        if self.data.len() - self.end < bytes_min {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let needed = self.end + bytes_min;
            if self.data.len() < needed {
                grow(&mut self.data, needed);
            }
        }
        &mut self.data[self.end..]
    }

    /// Counts the first `bytes` of the last [`Buffer::room`] as written.
    pub(crate) fn filled(&mut self, bytes: usize) {
        assert!(
            bytes <= self.data.len() - self.end,
            "more bytes were filled than there was room"
        );
        self.end += bytes;
    }

    /// Forgets the first `bytes`.
    pub(crate) fn take(&mut self, bytes: usize) {
        assert!(bytes <= self.len(), "more bytes were taken than there are");
        self.start += bytes;
        if self.is_empty() {
            self.clear();
        } else if self.data.len() > self.kept_bytes && self.len() <= self.data.len() / 2 {
            self.shrink();
        }
    }

    /// Gives back a third of its memory or more, and moves what waits, half of it at most: so it
    /// holds no more than twice what waits, and the cost stays linear.
    #[cold]
    fn shrink(&mut self) {
        self.data.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        self.data
            .truncate(self.kept_bytes.max(self.end + self.end / 4));
        self.data.shrink_to_fit();
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.filled(bytes.len());
    }

    pub(crate) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
        if self.data.len() > self.kept_bytes {
            self.data.truncate(self.kept_bytes);
            self.data.shrink_to_fit();
        }
    }

    /// Memory that it holds, bytes.
    #[cfg(test)]
    pub(crate) const fn memory_bytes(&self) -> usize {
        self.data.capacity()
    }

    /// What waits, or the memory that it holds beyond what it keeps when empty, bytes: the longer.
    pub(crate) fn weight(&self) -> usize {
        let beyond = self.data.capacity().saturating_sub(self.kept_bytes);
        beyond.max(self.len())
    }
}

/// Makes storage as long as `needed` and by half longer than it was at least, so that the cost of
/// what is long stays linear.
pub(crate) fn grow(data: &mut Vec<u8>, needed: usize) {
    // A short one doubles: there it saves turns, and elsewhere it would be memory.
    let more = match data.len() {
        short if short < KEPT_BYTES => short,
        long => long / 2,
    };
    let bytes = needed.max(data.len() + more);
    data.reserve_exact(bytes - data.len());
    data.resize(bytes, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    use proptest::prelude::*;

    #[test]
    fn memory_is_kept_when_the_queue_runs_empty() {
        let mut buffer = Buffer::new();
        buffer.push(&[7; 1000]);
        let storage = buffer.data.len();
        for _ in 0..100 {
            buffer.take(buffer.len());
            buffer.push(&[8; 1000]);
        }
        assert_eq!(buffer.data.len(), storage);
    }

    #[test]
    fn what_was_long_once_gives_its_memory_back_when_it_has_run_empty() {
        let mut buffer = Buffer::new();
        for _ in 0..40 {
            buffer.push(&[7; 100_000]);
        }
        assert!(buffer.memory_bytes() >= 4_000_000);
        buffer.take(3_600_000);
        assert!(buffer.memory_bytes() <= 800_000, "400,000 bytes wait");
        assert!(buffer.bytes().iter().all(|byte| *byte == 7));
        assert_eq!(buffer.len(), 400_000);
        buffer.take(399_999);
        assert!(buffer.memory_bytes() <= KEPT_BYTES);
        assert_eq!(buffer.bytes(), [7]);
        buffer.take(1);
        assert!(buffer.memory_bytes() <= KEPT_BYTES);
        buffer.push(&[8; 1_000_000]);
        buffer.clear();
        assert!(buffer.memory_bytes() <= KEPT_BYTES);
        // Where it is to be kept it is.
        buffer.keep(2_000_000);
        buffer.push(&[9; 1_000_000]);
        buffer.take(1_000_000);
        assert!(buffer.memory_bytes() >= 1_000_000);
    }

    /// Of a slow reader, whose queue is long and moves on.
    #[test]
    fn a_long_queue_holds_no_more_than_twice_what_waits() {
        let mut buffer = Buffer::new();
        buffer.keep(1000);
        for step in 1..=400_usize {
            buffer.push(&[7; 30_000]);
            if step % 3 != 0 {
                buffer.take(20_000);
            }
            let memory = buffer.memory_bytes();
            assert!(memory <= 2 * buffer.len() + 60_000, "{memory} at {step}");
            assert_eq!(buffer.weight(), buffer.len().max(memory - 1000));
        }
        while buffer.len() > 30_000 {
            buffer.take(30_000);
            let memory = buffer.memory_bytes();
            assert!(memory <= 2 * buffer.len() + 1000, "{memory}");
        }
        buffer.take(buffer.len());
        assert_eq!(buffer.weight(), 0, "what it keeps anyway is nobody's queue");
    }

    #[test]
    fn a_queue_that_is_never_empty_does_not_creep() {
        let mut buffer = Buffer::new();
        buffer.push(&[0; 100]);
        for _ in 0..10_000 {
            buffer.push(&[1; 50]);
            buffer.take(50);
        }
        assert_eq!(buffer.len(), 100);
        assert!(
            buffer.data.len() <= 1000,
            "{} bytes for 100",
            buffer.data.len()
        );
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_queue_of_bytes(
            steps in prop::collection::vec((any::<bool>(), 0_usize..300), 0..200)
        ) {
            let mut buffer = Buffer::new();
            let mut model = VecDeque::new();
            let mut next = 0_u8;
            for (push, count) in steps {
                if push {
                    let bytes: Vec<u8> = (0..count)
                        .map(|_| {
                            next = next.wrapping_add(1);
                            next
                        })
                        .collect();
                    buffer.push(&bytes);
                    model.extend(bytes);
                } else {
                    let count = count.min(model.len());
                    buffer.take(count);
                    model.drain(..count);
                }
                prop_assert_eq!(buffer.bytes(), model.make_contiguous() as &[u8]);
            }
        }
    }
}
