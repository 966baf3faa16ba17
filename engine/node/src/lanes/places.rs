//! Where each session stands in the pool, by its name.
//!
//! Owns the map, and what was found last: commands come in runs of one session, from its client as
//! in blocks, and one look-up serves such a run. Never: what stands in a place.

use crate::state_machine::{SessionId, SessionMap};

/// Places by names.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Looked up, never walked.
    map: SessionMap<u32>,
    /// What was found last, for as long as it is so.
    last: Option<(SessionId, u32)>,
}

impl Places {
    /// How many sessions there are.
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// The place of a session, of which more commands follow.
    pub(super) fn find(&mut self, id: &SessionId) -> Option<u32> {
        if let Some((last, place)) = self.last
            && last == *id
        {
            return Some(place);
        }
        let place = *self.map.get(id)?;
        self.last = Some((*id, place));
        Some(place)
    }

    /// The place of a session.
    pub(super) fn get(&self, id: &SessionId) -> Option<u32> {
        self.map.get(id).copied()
    }

    /// Gives a session a place.
    pub(super) fn insert(&mut self, id: SessionId, place: u32) {
        self.last = None;
        self.map.insert(id, place);
    }

    /// Takes a session's place away; whether it had one.
    pub(super) fn remove(&mut self, id: &SessionId) -> bool {
        self.last = None;
        self.map.remove(id).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: SessionId = SessionId([1; 16]);
    const BOB: SessionId = SessionId([2; 16]);

    #[test]
    fn what_was_found_last_is_found_where_it_stands_now_and_not_when_it_is_gone() {
        let mut places = Places::default();
        assert_eq!(places.find(&ALICE), None);
        places.insert(ALICE, 7);
        places.insert(BOB, 8);
        for (id, place) in [(ALICE, 7), (ALICE, 7), (BOB, 8), (ALICE, 7)] {
            assert_eq!(places.find(&id), Some(place));
            assert_eq!(places.get(&id), Some(place));
        }
        places.insert(ALICE, 9);
        assert_eq!(places.find(&ALICE), Some(9));
        assert!(places.remove(&ALICE) && !places.remove(&ALICE));
        assert_eq!((places.find(&ALICE), places.len()), (None, 1));
        places.insert(ALICE, 8);
        assert_eq!(places.find(&ALICE), Some(8));
    }
}
