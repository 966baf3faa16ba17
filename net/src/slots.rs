//! Connections by slot. Owns: the numbering. Never: what a connection is.
//!
//! A slot's number is used again with a new generation, so that an event or an id that outlived
//! its connection finds nothing instead of another connection.

/// Generations start at 1: tokens below this value are free for listeners and the waker.
pub(crate) const RESERVED_TOKENS: usize = 1 << 32;

const _: () = assert!(usize::BITS == 64, "a token holds a slot and its generation");

/// Place and generation of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot {
    place: u32,
    generation: u32,
}

impl Slot {
    pub(crate) const fn token(self) -> mio::Token {
        mio::Token((self.generation as usize) << 32 | self.place as usize)
    }

    pub(crate) const fn from_token(token: mio::Token) -> Option<Self> {
        if token.0 < RESERVED_TOKENS {
            return None;
        }
        // Both halves are 32 bits wide.
        Some(Self {
            place: (token.0 & 0xffff_ffff) as u32,
            generation: (token.0 >> 32) as u32,
        })
    }

    pub(crate) const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.place as u64
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self {
            place: (bits & 0xffff_ffff) as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

/// A table whose places are used again.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The slot that the next [`Slots::insert`] will use.
    pub(crate) fn next(&self) -> Slot {
        match self.free.last() {
            Some(place) => Slot {
                place: *place,
                generation: self.entries[*place as usize].generation,
            },
            None => Slot {
                place: u32::try_from(self.entries.len())
                    .expect("connections are bounded far below"),
                generation: 1,
            },
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> Slot {
        let slot = self.next();
        if self.free.pop().is_some() {
            self.entries[slot.place as usize].value = Some(value);
        } else {
            self.entries.push(Entry {
                generation: slot.generation,
                value: Some(value),
            });
        }
        slot
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        let entry = self.entries.get(slot.place as usize)?;
        entry
            .value
            .as_ref()
            .filter(|_| entry.generation == slot.generation)
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let entry = self.entries.get_mut(slot.place as usize)?;
        entry
            .value
            .as_mut()
            .filter(|_| entry.generation == slot.generation)
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        let entry = self.entries.get_mut(slot.place as usize)?;
        if entry.generation != slot.generation {
            return None;
        }
        let value = entry.value.take()?;
        // Generation 0 is reserved; after 2^32 uses of one place an old id could match again.
        entry.generation = entry.generation.checked_add(1).unwrap_or(1);
        self.free.push(slot.place);
        Some(value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.entries
            .iter()
            .zip(0_u32..)
            .filter_map(|(entry, place)| {
                let slot = Slot {
                    place,
                    generation: entry.generation,
                };
                entry.value.as_ref().map(|value| (slot, value))
            })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut T)> {
        self.entries
            .iter_mut()
            .zip(0_u32..)
            .filter_map(|(entry, place)| {
                let slot = Slot {
                    place,
                    generation: entry.generation,
                };
                entry.value.as_mut().map(|value| (slot, value))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_slot_does_not_find_the_new_connection_at_its_place() {
        let mut slots = Slots::new();
        let (a, b) = (slots.insert('a'), slots.insert('b'));
        assert_eq!(slots.remove(a), Some('a'));
        assert_eq!(slots.next().place, a.place);
        let c = slots.insert('c');
        assert_eq!(c.place, a.place);
        assert_eq!(
            (slots.get(a), slots.get(b), slots.get(c)),
            (None, Some(&'b'), Some(&'c'))
        );
        assert_eq!(slots.remove(a), None);
        assert_eq!(slots.get_mut(a), None);
        assert_eq!(
            slots
                .iter_mut()
                .map(|(slot, value)| (slot, *value))
                .collect::<Vec<_>>(),
            [(c, 'c'), (b, 'b')]
        );
    }

    #[test]
    fn a_slot_survives_its_token_and_its_bits() {
        let slot = Slot {
            place: 77,
            generation: u32::MAX,
        };
        assert_eq!(Slot::from_token(slot.token()), Some(slot));
        assert_eq!(Slot::from_bits(slot.to_bits()), slot);
        assert_eq!(Slot::from_token(mio::Token(2)), None);
    }
}
