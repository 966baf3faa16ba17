//! Memory of commands that are gone, for those that come.
//!
//! Owns the emptied buffers: under a steady load each command takes one that another has left, and
//! nobody asks the system for any. Never: what is kept, or who finds room.
//!
//! A buffer is at most [`STEP_BYTES`] longer than the command in it, whatever stood in it before,
//! so that what the pool holds by its bound is what it takes.

/// What stands empty at most, bytes, those of the lists included.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Emptied buffers at most.
const BUFFERS_MAX: usize = 16_384;
/// The longest buffer that is used again; longer commands are few.
const LENGTH_MAX: usize = 4096;
/// Buffers have a multiple of so many bytes.
const STEP_BYTES: usize = 64;
/// Places that a list keeps though they are empty: there is one for each length.
const PLACES_KEPT: usize = 1024;

/// Emptied buffers.
#[derive(Debug, Default)]
pub(super) struct Spare {
    /// By the steps that fit into each.
    lists: Vec<Vec<Vec<u8>>>,
    buffers: usize,
    /// Of the buffers, and of what names them.
    bytes: usize,
}

/// What a buffer counts for.
fn weight(buffer: &Vec<u8>) -> usize {
    buffer.capacity() + size_of::<Vec<u8>>()
}

impl Spare {
    /// A buffer with these bytes.
    pub(super) fn filled(&mut self, entry: &[u8]) -> Vec<u8> {
        if entry.len() > LENGTH_MAX {
            return entry.to_vec();
        }
        let steps = entry.len().div_ceil(STEP_BYTES);
        let mut buffer = self.take(steps);
        buffer.extend_from_slice(entry);
        buffer
    }

    /// An empty buffer that so many steps fit into.
    fn take(&mut self, steps: usize) -> Vec<u8> {
        if let Some(list) = self.lists.get_mut(steps)
            && let Some(buffer) = list.pop()
        {
            self.buffers -= 1;
            self.bytes -= weight(&buffer);
            shrink(list);
            return buffer;
        }
        Vec::with_capacity(steps * STEP_BYTES)
    }

    /// What stood in this buffer is gone.
    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        let (steps, weight) = (buffer.capacity() / STEP_BYTES, weight(&buffer));
        if steps == 0 || buffer.capacity() > LENGTH_MAX {
            return;
        }
        if self.buffers >= BUFFERS_MAX || self.bytes + weight > BYTES_MAX {
            self.thin();
        }
        if self.lists.len() <= steps {
            self.lists.resize_with(steps + 1, Vec::new);
        }
        buffer.clear();
        self.lists[steps].push(buffer);
        self.buffers += 1;
        self.bytes += weight;
    }

    /// Gives back a part of each length, so that those find room that are in use now.
    #[cold]
    fn thin(&mut self) {
        for list in &mut self.lists {
            for buffer in list.drain(list.len() - list.len().div_ceil(16)..) {
                self.buffers -= 1;
                self.bytes -= weight(&buffer);
            }
            shrink(list);
        }
    }
}

/// Gives places back that stand empty.
fn shrink(list: &mut Vec<Vec<u8>>) {
    if list.capacity() > PLACES_KEPT && list.len() < list.capacity() / 8 {
        list.shrink_to(PLACES_KEPT.max(2 * list.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_by_what_is_about_as_long_and_by_nothing_shorter() {
        let mut spare = Spare::default();
        let long = spare.filled(&[1; 600]);
        assert_eq!((long.as_slice(), long.capacity()), (&[1; 600][..], 640));
        let place = long.as_ptr();
        spare.give_back(long);
        let short = spare.filled(&[2; 576]);
        assert_eq!((short.as_slice(), short.capacity()), (&[2; 576][..], 576));
        let again = spare.filled(&[3; 577]);
        assert_eq!((again.as_slice(), again.as_ptr()), (&[3; 577][..], place));
        assert_eq!((spare.buffers, spare.bytes), (0, 0));
    }

    #[test]
    fn what_stands_empty_is_bounded_in_number_and_bytes_and_none_of_it_is_long() {
        for (length, many) in [(100, 2 * BUFFERS_MAX), (4096, BYTES_MAX / 2048)] {
            let mut spare = Spare::default();
            let all: Vec<_> = (0..many).map(|_| spare.filled(&vec![7; length])).collect();
            let mut most = (0, 0);
            for buffer in all {
                spare.give_back(buffer);
                most = (most.0.max(spare.buffers), most.1.max(spare.bytes));
            }
            assert!(most.0 <= BUFFERS_MAX && most.1 <= BYTES_MAX, "{most:?}");
            let is_full = most.0 == BUFFERS_MAX || most.1 > BYTES_MAX - 2 * 4096;
            assert!(is_full, "{most:?}");
            // The load is another one now: its buffers find room all the same.
            let other = spare.filled(&[8; 1000]);
            let place = other.as_ptr();
            spare.give_back(other);
            let other = spare.filled(&[9; 1000]);
            assert_eq!(other.as_ptr(), place);
            // And the lists are no longer than what stands in them asks for.
            while spare.buffers > 0 {
                spare.take(length.div_ceil(STEP_BYTES));
            }
            let places = spare.lists.iter().map(Vec::capacity);
            assert!(places.max() <= Some(PLACES_KEPT));
        }
        // One length after the other: what is gone leaves no places behind, though nothing of its
        // length comes again.
        let mut spare = Spare::default();
        for length in (64..=1024).step_by(64) {
            let all: Vec<_> = (0..BUFFERS_MAX)
                .map(|_| spare.filled(&vec![7; length]))
                .collect();
            all.into_iter().for_each(|buffer| spare.give_back(buffer));
        }
        let places: usize = spare.lists.iter().map(Vec::capacity).sum();
        assert!(places <= 4 * BUFFERS_MAX, "{places}");
        let mut spare = Spare::default();
        let long = spare.filled(&[7; 4097]);
        spare.give_back(long);
        spare.give_back(Vec::new());
        assert_eq!((spare.buffers, spare.bytes), (0, 0));
    }
}
